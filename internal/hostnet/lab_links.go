package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/model"
)

// VethEnd is one end of a veth pair of a lab.
type VethEnd struct {
	NetNS *NetNS
	Name  string
	MAC   model.MAC // zero: the kernel chooses
}

// AddVeth makes a veth pair whose ends are born in their namespaces, down.
// mtu is in bytes of an IP packet.
func AddVeth(a, b VethEnd, mtu int) error {
	v := netlink.NewVeth(netlink.LinkAttrs{
		Name: a.Name, MTU: mtu, Namespace: netlink.NsFd(a.NetNS.f.Fd()), HardwareAddr: hardwareAddr(a.MAC),
	})
	v.PeerName, v.PeerNamespace, v.PeerHardwareAddr = b.Name, netlink.NsFd(b.NetNS.f.Fd()), hardwareAddr(b.MAC)
	v.PeerMTU = uint32(mtu)
	// The request is made in one of the two, so that nothing passes through the
	// namespace of the caller, where its name might be taken.
	if err := a.NetNS.nl.LinkAdd(v); err != nil {
		return fmt.Errorf("add veth pair %s in %s, %s in %s: %w", a.Name, a.NetNS.Name, b.Name, b.NetNS.Name, err)
	}
	return nil
}

func hardwareAddr(m model.MAC) net.HardwareAddr {
	if m.IsZero() {
		return nil
	}
	return net.HardwareAddr(m[:])
}

// AddBridge makes a bridge, up, with the named interfaces as its ports. It learns,
// keeps no spanning tree and takes no snooping.
func (n *NetNS) AddBridge(name string, mtu int, ports ...string) error {
	off := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}, MulticastSnooping: &off}
	if err := n.nl.LinkAdd(br); err != nil {
		return fmt.Errorf("add bridge %s in %s: %w", name, n.Name, err)
	}
	for _, p := range ports {
		if err := n.enslave(br, p); err != nil {
			return err
		}
	}
	if err := n.SetSysctl("net.ipv6.conf."+name+".disable_ipv6", "1"); err != nil {
		return err
	}
	return n.SetUp(name)
}

// AddPort makes an interface a port of a bridge, up.
func (n *NetNS) AddPort(bridge, port string) error {
	br, err := n.link(bridge)
	if err != nil {
		return err
	}
	if err := n.enslave(br, port); err != nil {
		return err
	}
	return n.SetUp(port)
}

func (n *NetNS) enslave(br netlink.Link, port string) error {
	l, err := n.link(port)
	if err != nil {
		return err
	}
	if err := n.nl.LinkSetMaster(l, br); err != nil {
		return fmt.Errorf("put %s on bridge %s in %s: %w", port, br.Attrs().Name, n.Name, err)
	}
	return nil
}

func (n *NetNS) link(name string) (netlink.Link, error) {
	l, err := n.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s in %s: %w", name, n.Name, err)
	}
	return l, nil
}

// SetUp sets an interface up.
func (n *NetNS) SetUp(iface string) error {
	l, err := n.link(iface)
	if err != nil {
		return err
	}
	if err := n.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s in %s up: %w", iface, n.Name, err)
	}
	return nil
}

// AddAddr gives an interface an address.
func (n *NetNS) AddAddr(iface string, p netip.Prefix) error {
	l, err := n.link(iface)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if err := n.nl.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s to %s in %s: %w", p, iface, n.Name, err)
	}
	return nil
}

// AddRoute adds a route; a zero via means that iface's link leads there.
func (n *NetNS) AddRoute(to netip.Prefix, via netip.Addr, iface string) error {
	r := &netlink.Route{Dst: &net.IPNet{IP: to.Masked().Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	}
	if iface != "" {
		l, err := n.link(iface)
		if err != nil {
			return err
		}
		r.LinkIndex = l.Attrs().Index
		if !via.IsValid() {
			r.Scope = netlink.SCOPE_LINK
		}
	}
	if err := n.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("add route to %s via %s in %s: %w", to, via, n.Name, err)
	}
	return nil
}

// nobody is the MAC of no interface.
var nobody = net.HardwareAddr{2, 0, 0, 0, 0, 0}

// Cut makes packets of the namespace by the next hop ip at iface go to nobody, as over a cable that was
// cut: no error comes back, and routes stay.
func (n *NetNS) Cut(iface string, ip netip.Addr) error {
	l, err := n.link(iface)
	if err != nil {
		return err
	}
	neigh := &netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ip.AsSlice(), HardwareAddr: nobody, State: netlink.NUD_PERMANENT}
	if err := n.nl.NeighSet(neigh); err != nil {
		return fmt.Errorf("cut %s from %s in %s: %w", iface, ip, n.Name, err)
	}
	return nil
}

// Heal undoes Cut.
func (n *NetNS) Heal(iface string, ip netip.Addr) error {
	l, err := n.link(iface)
	if err != nil {
		return err
	}
	err = n.nl.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ip.AsSlice()})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("heal %s to %s in %s: %w", iface, ip, n.Name, err)
	}
	return nil
}

// SetSysctl sets net.… of the namespace; dots separate the parts of the name.
func (n *NetNS) SetSysctl(key, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	return n.Do(func() error {
		// /proc/sys/net shows the namespace of the thread that opens the file.
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s=%s in %s: %w", key, value, n.Name, err)
		}
		return nil
	})
}

// LabLink is an interface of a lab's namespace.
type LabLink struct {
	Index int
	Name  string
	MAC   model.MAC
	MTU   int
	Up    bool
	Addrs []netip.Prefix
}

// Links lists the interfaces of the namespace with their IPv4 addresses.
func (n *NetNS) Links() ([]LabLink, error) {
	links, err := retryDump(n.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", n.Name, err)
	}
	var out []LabLink
	for _, l := range links {
		a := l.Attrs()
		ll := LabLink{Index: a.Index, Name: a.Name, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
		copy(ll.MAC[:], a.HardwareAddr)
		addrs, err := retryDump(func() ([]netlink.Addr, error) { return n.nl.AddrList(l, netlink.FAMILY_V4) })
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s in %s: %w", a.Name, n.Name, err)
		}
		for _, ad := range addrs {
			if ip, ok := netip.AddrFromSlice(ad.IP); ok {
				bits, _ := ad.Mask.Size()
				ll.Addrs = append(ll.Addrs, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
		out = append(out, ll)
	}
	return out, nil
}

// DeleteLinks removes every interface of the namespace that can be removed, so that
// nothing of it lives on even where a process keeps the namespace alive.
func (n *NetNS) DeleteLinks() error {
	links, err := retryDump(n.nl.LinkList)
	if err != nil {
		return fmt.Errorf("list interfaces of %s: %w", n.Name, err)
	}
	var errs []error
	for _, l := range links {
		if l.Attrs().Name == "lo" || l.Type() == "sit" || l.Type() == "ipip" || l.Type() == "gre" {
			continue // the namespace's own
		}
		if err := n.nl.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, fmt.Errorf("delete %s in %s: %w", l.Attrs().Name, n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// DeleteLink removes an interface; one that is not there is no error.
func (n *NetNS) DeleteLink(name string) error {
	l, err := n.nl.LinkByName(name)
	if isNotFound(err) {
		return nil
	}
	if err == nil {
		err = n.nl.LinkDel(l)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete %s in %s: %w", name, n.Name, err)
	}
	return nil
}

// RouteTo is the next hop (the address itself where it is on a link) of
// the namespace's way to an address.
func (n *NetNS) RouteTo(to netip.Addr) (via netip.Addr, err error) {
	routes, err := n.nl.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return via, fmt.Errorf("route to %s in %s: %w", to, n.Name, err)
	}
	if gw, ok := netip.AddrFromSlice(routes[0].Gw); ok {
		return gw.Unmap(), nil
	}
	return to, nil
}
