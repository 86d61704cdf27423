package dataplane

import (
	"github.com/causeway-net/causeway/internal/hoststate"
)

// Several next hops of one destination: which of them flows may take.

// openHops are those of a destination's next hops that are not known to be down, or all
// where each is. The programs choose among them by the flow.
func (t translator) openHops(k hoststate.RouteKey) []hoststate.Hop {
	all := t.st.Hops[k]
	var open []hoststate.Hop
	for _, h := range all {
		if !t.isDown(h) {
			open = append(open, h)
		}
	}
	if len(open) == 0 {
		open = all
	}
	return open[:min(len(open), hopsMost)]
}

// isDown tells whether it is known that packets do not pass a next hop: its address is
// nobody's, nor may be by an allowed address pair or on a VLAN, or there is no way
// to who has it.
func (t translator) isDown(h hoststate.Hop) bool {
	mac, ok := t.st.Neighbors[hoststate.NeighborKey{Network: h.Network, IP: h.NextHop}]
	if !ok {
		return !t.allowed.mayHave(h.Network, h.NextHop)
	}
	e, ok := t.fdbEntry(hoststate.FDBKey{Network: h.Network, MAC: mac})
	return ok && e.Kind == fdbDrop
}

// hop is a next hop as a route.
func (t translator) hop(h hoststate.Hop) bpfRoute {
	return bpfRoute{Kind: routeVia, Mac: h.MAC, Net: uint32(h.Network), Mtu: uint32(t.st.Networks[h.Network].MTU), Nexthop: addrRow(h.NextHop)}
}

// hops is the row of a destination that flows may go to by several next hops.
func (t translator) hops(k hoststate.RouteKey) (row bpfNextHops, ok bool) {
	open := t.openHops(k)
	if t.st.Routes[k].Kind != hoststate.RouteVia || len(open) < 2 {
		return row, false
	}
	row.Count = uint32(len(open))
	for i, h := range open {
		row.Hop[i] = t.hop(h)
	}
	return row, true
}

// notedHops notes which networks a destination's next hops are on.
func (x *index) notedHops(tr translator, k hoststate.RouteKey) {
	for _, n := range x.hopsOn[k] {
		drop(x.hops, n, k)
	}
	delete(x.hopsOn, k)
	for _, h := range tr.st.Hops[k] {
		insert(x.hops, h.Network, k)
		x.hopsOn[k] = append(x.hopsOn[k], h.Network)
	}
}

// touchHops adds to what a delta touches the destinations with several next hops that it
// may open or shut one of, and their routes.
func (x *index) touchHops(d hoststate.Delta, t touched) {
	for k := range t.routes {
		if _, several := x.hopsOn[k]; several {
			t.hops[k] = true
		}
	}
	if len(x.hops) > 0 {
		nets := keysOf(d.Set.Networks, d.Unset.Networks)
		for k := range t.fdb {
			nets[k.Network] = true
		}
		for k := range keysOf(d.Set.Neighbors, d.Unset.Neighbors) {
			nets[k.Network] = true
		}
		for k := range t.pairs {
			nets[k.Network] = true
		}
		for k := range t.ports {
			nets[x.ports[k].net], nets[d.Set.Ports[k].Network] = true, true
		}
		if len(d.Set.VLANs)+len(d.Unset.VLANs) > 0 {
			for n := range x.vlanNets {
				nets[n] = true
			}
			for _, v := range d.Set.VLANs {
				nets[v.Network] = true
			}
		}
		for n := range nets {
			for k := range x.hops[n] {
				t.hops[k] = true
			}
		}
	}
	for k := range t.hops {
		t.routes[k] = true
	}
}
