package hostnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Path is the way of outer packets to a VTEP.
type Path struct {
	Index int // of the interface they leave by
	MTU   int // largest outer IP packet that the link and the route's own setting let pass, bytes
	// LinkMTU is the interface's own.
	LinkMTU int
}

// Path asks the kernel for the way from local to remote, by its rules and tables, as
// the kernel's own packets go. ok is false where there is none. What ICMP errors have taught the
// kernel (route exceptions) does not count: anybody can send those.
func (h *Host) Path(local, remote netip.Addr) (p Path, ok bool, err error) {
	r, ok, err := h.route(local, remote, false)
	if err != nil || !ok {
		return Path{}, false, err
	}
	p = Path{Index: r.LinkIndex}
	l, err := h.nl.LinkByIndex(p.Index)
	if err != nil {
		if isNotFound(err) {
			return Path{}, false, nil
		}
		return Path{}, false, fmt.Errorf("look up interface %d: %w", p.Index, err)
	}
	p.LinkMTU = l.Attrs().MTU
	p.MTU = p.LinkMTU
	// The route as it stands in its table has the MTU that somebody gave it.
	r, ok, err = h.route(local, remote, true)
	if err != nil {
		return Path{}, false, err
	}
	if ok && r.MTU > 0 {
		p.MTU = min(p.MTU, r.MTU)
	}
	return p, true, nil
}

// route looks up a route, or with fib the entry of the table that it was made of.
func (h *Host) route(local, remote netip.Addr, fib bool) (netlink.Route, bool, error) {
	rs, err := h.nl.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{SrcAddr: local.AsSlice(), FIBMatch: fib})
	if err != nil {
		// Not a route, or a source address that the host has not got (yet).
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return netlink.Route{}, false, nil
		}
		return netlink.Route{}, false, fmt.Errorf("look up route from %s to %s: %w", local, remote, err)
	}
	if len(rs) == 0 || rs[0].Type != unix.RTN_UNICAST {
		return netlink.Route{}, false, nil
	}
	return rs[0], true, nil
}

// Unresolved gives the next hop of the kernel's packets from local to remote, and the name of the
// interface, if that next hop has answered no ARP request.
func (h *Host) Unresolved(local, remote netip.Addr) (hop netip.Addr, device string, is bool) {
	r, ok, err := h.route(local, remote, false)
	if err != nil || !ok {
		return hop, "", false
	}
	hop = remote
	if gw, ok := netip.AddrFromSlice(r.Gw.To4()); ok {
		hop = gw
	}
	known, err := retryDump(func() ([]netlink.Neigh, error) { return h.nl.NeighList(r.LinkIndex, netlink.FAMILY_V4) })
	if err != nil {
		return hop, "", false
	}
	for _, n := range known {
		if ip, ok := netip.AddrFromSlice(n.IP.To4()); ok && ip == hop && n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0 {
			l, err := h.nl.LinkByIndex(r.LinkIndex)
			if err != nil {
				return hop, "", false
			}
			return hop, l.Attrs().Name, true
		}
	}
	return hop, "", false
}

// DefaultRouteInterfaces are the interfaces of the main table's default routes.
func (h *Host) DefaultRouteInterfaces() ([]int, error) {
	rs, err := retryDump(func() ([]netlink.Route, error) {
		return h.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: TableMain}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	out := []int{}
	for _, r := range rs {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if r.LinkIndex != 0 {
			out = append(out, r.LinkIndex)
		}
		for _, n := range r.MultiPath {
			out = append(out, n.LinkIndex)
		}
	}
	return out, nil
}
