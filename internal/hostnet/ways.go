package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interfaces are those that the kernel's packets from local to remote may leave by: those
// of every next hop of the route that it takes by its rules and tables. None: there is
// no route.
func (h *Host) Interfaces(local, remote netip.Addr) ([]int, error) {
	get := func(all bool) ([]netlink.Route, error) {
		return h.nl.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{SrcAddr: local.AsSlice(), FIBMatch: all})
	}
	rs, err := get(true)
	if err == nil && len(rs) > 0 && rs[0].LinkIndex == 0 && len(rs[0].MultiPath) == 0 {
		// A next hop object, and net.ipv4.nexthop_compat_mode is off.
		rs, err = get(false)
	}
	if err != nil {
		// No route, or a source address that the host has not got (yet).
		if slices.ContainsFunc([]error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EINVAL, unix.ENOENT, unix.EACCES},
			func(e error) bool { return errors.Is(err, e) }) {
			return nil, nil
		}
		return nil, fmt.Errorf("look up interfaces from %s to %s: %w", local, remote, err)
	}
	var out []int
	add := func(i int) {
		if i != 0 && !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	for _, r := range rs {
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		add(r.LinkIndex)
		for _, n := range r.MultiPath {
			add(n.LinkIndex)
		}
	}
	return out, nil
}
