package site

import (
	"net/netip"
	"strconv"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

const (
	// tunnelPort is the UDP port of the tunnels between sites (RFC 7348): no host has it on the fabric.
	tunnelPort = 4789
	// fabricPortKey is the one key of ixFabricPort.
	fabricPortKey = "site"
)

func fabricEntry(h *model.Host) entry {
	return entry{ix: ixFabricAddress, key: h.Fabric.Addr.String(), value: string(h.Name)}
}

// firstOther is a host of the site other than one; nil: there is none.
func (t *tx) firstOther(name model.HostName) *model.Host {
	for h := range store.All(t, store.Hosts) {
		if h.Name != name {
			return h
		}
	}
	return nil
}

// away tells whether a host is gone and its agent has not connected again.
func away(h *model.Host) bool { return h.Gone && !h.Returned }

func refusedHost(name model.HostName, format string, args ...any) error {
	return conflict("HostNotOnFabric", "host %s is refused: "+format, append([]any{name}, args...)...)
}

// checkEnd refuses an end of the fabric that no host can have.
func checkEnd(name model.HostName, end netip.AddrPort) error {
	addr := end.Addr()
	switch {
	case addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return refusedHost(name, "no other host could reach it at %s: give its agent an address that they can, by --fabric-address", addr)
	case !addr.Is4():
		return refusedHost(name, "its fabric address %s is not IPv4, and the fabric does not go over IPv6 yet: see --fabric-address", addr)
	case end.Port() == 0:
		return refusedHost(name, "its fabric port is 0, which is none: see --fabric-port")
	case end.Port() == tunnelPort:
		return refusedHost(name, "its fabric port %d is that of the tunnels between sites: give its agent the site's by --fabric-port", tunnelPort)
	}
	return nil
}

// joinFabric takes in a host's end of the fabric. It refuses a host that has none where there are others,
// and one whose end does not go with theirs. A host that comes again with the end it had reads only what
// does not change meanwhile, so that all hosts of a site can come at once.
func (t *tx) joinFabric(h *model.Host, s Session) error {
	addr := s.Fabric.Addr()
	if h.Fabric.Addr != addr {
		t.leaveFabric(h)
	}
	if !addr.IsValid() {
		if o := t.firstOther(h.Name); o != nil {
			return refusedHost(h.Name, "the site has another host, %s, and this one has no address for the packets between hosts: give its agent one by --fabric-address", o.Name)
		}
		t.DeleteIndex(ixFabricPort, fabricPortKey)
		return nil
	}
	if err := checkEnd(h.Name, s.Fabric); err != nil {
		return err
	}
	switch holder, taken := t.Lookup(ixFabricAddress, addr.String()); {
	case taken && holder != string(h.Name):
		return refusedHost(h.Name, "its fabric address %s is that of host %s: give its agent another by --fabric-address, or delete host %s if it is no more", addr, holder, holder)
	case !taken:
		t.SetIndex(ixFabricAddress, addr.String(), string(h.Name))
	}
	return t.goWithOthers(h.Name, s.Fabric.Port())
}

// goWithOthers refuses a host where another one is not on the fabric, or has another port. Where all others
// are away it makes its port the site's, which the others must have too when they come back.
func (t *tx) goWithOthers(name model.HostName, port uint16) error {
	text := strconv.FormatUint(uint64(port), 10)
	if now, _ := t.Lookup(ixFabricPort, fabricPortKey); now == text {
		return nil
	}
	for o := range store.All(t, store.Hosts) {
		switch {
		case o.Name == name:
		case !o.Fabric.On():
			return refusedHost(name, "host %s has no address for the packets between hosts: give its agent one by --fabric-address, or delete the host if it is no more", o.Name)
		case o.Fabric.Port != port && !away(o):
			return refusedHost(name, "its fabric port is %d and that of host %s is %d: all hosts of a site must have the same --fabric-port", port, o.Name, o.Fabric.Port)
		}
	}
	t.SetIndex(ixFabricPort, fabricPortKey, text)
	return nil
}

// leaveFabric gives a host's address on the fabric back.
func (t *tx) leaveFabric(h *model.Host) {
	if !h.Fabric.On() {
		return
	}
	e := fabricEntry(h)
	if holder, ok := t.Lookup(e.ix, e.key); ok && holder == e.value {
		t.DeleteIndex(e.ix, e.key)
	}
}

// fabric checks the hosts' ends of the fabric.
func (c *checker) fabric() {
	port, known := c.r.Lookup(ixFabricPort, fabricPortKey)
	for h := range store.All(c.r, store.Hosts) {
		if !h.Fabric.On() {
			if known {
				c.problem("host %s is not on the fabric, and the site has a fabric port", h.Name)
			}
			continue
		}
		c.owe([]entry{fabricEntry(h)})
		if has := strconv.FormatUint(uint64(h.Fabric.Port), 10); known && !away(h) && has != port {
			c.problem("host %s has fabric port %s, and the site's is %s", h.Name, has, port)
		}
	}
}
