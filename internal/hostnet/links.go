package hostnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Link is an interface of the host.
type Link struct {
	Name  string
	Index int
	Kind  string // veth, tuntap, vxlan, device …
	MTU   int    // bytes of an IP packet
	Up    bool   // administratively
	// Carrier: there is somebody at the other end.
	Carrier bool
	// Ethernet: its frames have Ethernet headers (ARPHRD_ETHER), and it is not
	// the loopback device.
	Ethernet    bool
	Loopback    bool
	Promiscuous bool // somebody has set it so
	// PeerElsewhere: a veth whose other end is in another network namespace
	// (IFLA_LINK_NETNSID is there).
	PeerElsewhere bool
}

func newLink(l netlink.Link) Link {
	a := l.Attrs()
	return Link{
		Name: a.Name, Index: a.Index, Kind: l.Type(), MTU: a.MTU,
		Up:          a.RawFlags&iffUp != 0,
		Carrier:     a.RawFlags&iffLowerUp != 0,
		Promiscuous: a.RawFlags&iffPromisc != 0,
		Ethernet:    a.EncapType == "ether" && a.RawFlags&iffLoopback == 0,
		Loopback:    a.RawFlags&iffLoopback != 0,
		// Of other kinds (vlan, macvlan) the attribute speaks of the device
		// below, which is no peer.
		PeerElsewhere: l.Type() == "veth" && a.NetNsID >= 0,
	}
}

// IFF_UP, IFF_LOOPBACK, IFF_PROMISC and IFF_LOWER_UP of linux/if.h.
const (
	iffLowerUp  = 0x10000
	iffUp       = 0x1
	iffLoopback = 0x8
	iffPromisc  = 0x100
)

// SetPromiscuous has an interface take frames for every MAC, or no longer. One that is
// not there is no error.
func (h *Host) SetPromiscuous(index int, on bool) error {
	l, err := h.nl.LinkByIndex(index)
	if err != nil {
		if isNotFound(err) {
			return nil
		}
		return err
	}
	if on {
		return h.nl.SetPromiscOn(l)
	}
	return h.nl.SetPromiscOff(l)
}

// Link finds an interface by its name; ok is false where there is none.
func (h *Host) Link(name string) (l Link, ok bool, err error) {
	if name == "" || len(name) >= 16 { // IFNAMSIZ
		return Link{}, false, nil
	}
	nl, err := h.nl.LinkByName(name)
	if err != nil {
		if isNotFound(err) {
			return Link{}, false, nil
		}
		return Link{}, false, fmt.Errorf("look up interface %s: %w", name, err)
	}
	// The kernel takes an alternative name as well, and a binding names
	// the interface by its name: two names for one interface are two ports
	// on it.
	if nl.Attrs().Name != name {
		return Link{}, false, nil
	}
	return newLink(nl), true, nil
}

// LinkByIndex finds an interface by its index; ok is false where there is none.
func (h *Host) LinkByIndex(index int) (l Link, ok bool, err error) {
	nl, err := h.nl.LinkByIndex(index)
	if err != nil {
		if isNotFound(err) {
			return Link{}, false, nil
		}
		return Link{}, false, fmt.Errorf("look up interface %d: %w", index, err)
	}
	return newLink(nl), true, nil
}

// Links lists every interface.
func (h *Host) Links() ([]Link, error) {
	nls, err := retryDump(h.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	ls := make([]Link, 0, len(nls))
	for _, nl := range nls {
		ls = append(ls, newLink(nl))
	}
	return ls, nil
}

func isNotFound(err error) bool {
	var nf netlink.LinkNotFoundError
	return errors.As(err, &nf)
}

// Addr is an IPv4 address on an interface.
type Addr struct {
	Index  int // of the interface
	Prefix netip.Prefix
}

// Addrs lists the IPv4 addresses of the host.
func (h *Host) Addrs() ([]Addr, error) {
	nas, err := retryDump(func() ([]netlink.Addr, error) { return h.nl.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	as := make([]Addr, 0, len(nas))
	for _, na := range nas {
		if na.IPNet == nil {
			continue
		}
		ip, ok := netip.AddrFromSlice(na.IP.To4())
		if !ok {
			continue
		}
		ones, _ := na.Mask.Size()
		as = append(as, Addr{Index: na.LinkIndex, Prefix: netip.PrefixFrom(ip, ones)})
	}
	return as, nil
}

// UnderlayCandidates are the interfaces that may carry tunnels without being
// told: Ethernet, with an IPv4 address, and none of the agent's own.
func (h *Host) UnderlayCandidates() ([]Link, error) {
	ls, err := h.Links()
	if err != nil {
		return nil, err
	}
	as, err := h.Addrs()
	if err != nil {
		return nil, err
	}
	has := make(map[int]bool, len(as))
	for _, a := range as {
		has[a.Index] = true
	}
	var out []Link
	for _, l := range ls {
		if l.Ethernet && has[l.Index] && !OwnDevice(l.Name) {
			out = append(out, l)
		}
	}
	return out, nil
}

// OwnDevice tells whether name is that of a device the agent makes.
func OwnDevice(name string) bool {
	return name == VXLANDevice || name == FabricDevice || name == SlowDevice
}
