package trace

import (
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// hop is the route by the next hop that the packet's flow takes, where there are several.
func (r *run) hop(router model.RouterKey, m matched) matched {
	all := r.p.st.Hops[hoststate.RouteKey{Router: router, Prefix: m.prefix}]
	if len(all) == 0 {
		return m
	}
	var open []hoststate.Hop
	for _, h := range all {
		if !r.p.isDown(h) {
			open = append(open, h)
		}
	}
	m.hops, m.open = len(all), len(open)
	if len(open) == 0 {
		r.mark("route/hops-down")
		open = all
	}
	open = open[:min(len(open), model.MaxNextHops)]
	chosen := 0
	if len(open) > 1 {
		r.mark("route/hops")
		addrs := make([]netip.Addr, len(open))
		for i, h := range open {
			addrs[i] = h.NextHop
		}
		chosen = packet.HopOfFlow(uint32(router), r.frame[packet.EthernetLen:], addrs)
	} else if len(all) > 1 {
		r.mark("route/hop-left")
	}
	h := open[chosen]
	m.route.Network, m.route.NextHop, m.route.MAC = h.Network, h.NextHop, h.MAC
	return m
}

// isDown tells whether it is known that packets do not pass a next hop.
func (p *Pipeline) isDown(h hoststate.Hop) bool {
	mac, ok := p.st.Neighbors[hoststate.NeighborKey{Network: h.Network, IP: h.NextHop}]
	if !ok {
		return !p.unknown(h.Network, h.NextHop)
	}
	e, ok := p.fixedEntry(h.Network, mac)
	return ok && e.Kind == hoststate.FDBDrop
}
