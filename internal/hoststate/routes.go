package hoststate

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// leg is an address of a router's interface together with the subnet it is in.
type leg struct {
	port    *port
	network *model.Network
	addr    netip.Addr
	prefix  netip.Prefix // the subnet's
}

// legs of a router: longest prefix first, then by prefix, port and address.
func (v view) legs(id model.RouterID) []leg {
	var legs []leg
	for _, p := range v.t.ifacesOfRouter[id] {
		n := v.t.networks[p.NetworkID]
		if n == nil {
			continue
		}
		for _, a := range p.FixedIPs {
			if s := v.t.subnets[a.SubnetID]; s != nil && s.NetworkID == n.ID {
				legs = append(legs, leg{p, n, a.IP, s.CIDR.Masked()})
			}
		}
	}
	slices.SortFunc(legs, func(a, b leg) int {
		return cmp.Or(cmp.Compare(b.prefix.Bits(), a.prefix.Bits()), a.prefix.Addr().Compare(b.prefix.Addr()),
			cmp.Compare(a.port.ID, b.port.ID), a.addr.Compare(b.addr))
	})
	return legs
}

// towards is the leg through which a next hop is reached.
func towards(legs []leg, nexthop netip.Addr) *leg {
	for i := range legs {
		if legs[i].prefix.Contains(nexthop) {
			return &legs[i]
		}
	}
	return nil
}

// ways are what leads out of a router.
type ways struct {
	routes map[RouteKey]Route
	hops   map[RouteKey][]Hop
}

// ways of a router: its own addresses, the subnets it is on, its extra routes,
// in falling precedence where two have one prefix. Legs on uplink networks belong
// to the gateway (see gateway) and are left out.
func (v view) ways(k model.RouterKey) ways {
	r := v.t.routerByKey[k]
	if r == nil {
		return ways{}
	}
	legs := v.legs(r.ID)
	w := ways{make(map[RouteKey]Route, 2*len(legs)+len(r.Routes)), map[RouteKey][]Hop{}}
	set := func(prefix netip.Prefix, row Route) {
		key := RouteKey{k, prefix}
		if _, taken := w.routes[key]; !taken {
			w.routes[key] = row
		}
	}
	for _, l := range legs {
		if overlay(l.network) {
			set(netip.PrefixFrom(l.addr, l.addr.BitLen()), l.route(Route{Kind: RouteLocal}))
		}
	}
	for _, l := range legs {
		if overlay(l.network) {
			set(l.prefix, l.route(Route{Kind: RouteConnected, Network: l.network.Key, MAC: l.port.MAC.MAC}))
		}
	}
	own := make(map[RouteKey]bool, len(w.routes))
	for key := range w.routes {
		own[key] = true
	}
	for _, x := range inOrderOfNextHop(r.Routes) {
		key := RouteKey{k, x.Destination.Masked()}
		if l := towards(legs, x.NextHop); l != nil && overlay(l.network) && !own[key] {
			w.extra(key, l.route(Route{
				Kind: RouteVia, Network: l.network.Key, NextHop: x.NextHop, MAC: l.port.MAC.MAC,
			}))
		}
	}
	for key, hops := range w.hops {
		if len(hops) == 1 {
			delete(w.hops, key)
		}
	}
	return w
}

// extra adds an extra route. One whose interface is down counts where no other leads to
// the destination.
func (w ways) extra(key RouteKey, row Route) {
	have, taken := w.routes[key]
	if !taken || have.Kind == RouteDrop {
		w.routes[key] = row
	}
	hop := Hop{row.Network, row.NextHop, row.MAC}
	if hops := w.hops[key]; row.Kind == RouteVia && len(hops) < model.MaxNextHops && !slices.Contains(hops, hop) {
		w.hops[key] = append(hops, hop)
	}
}

// route is row unless the interface is down.
func (l leg) route(row Route) Route {
	if !l.port.AdminStateUp {
		return Route{Kind: RouteDrop, Drop: reason.PortAdminDown}
	}
	return row
}

// inOrderOfNextHop makes what comes of several next hops for one destination
// the same whatever order they were given in.
func inOrderOfNextHop(routes []model.HostRoute) []model.HostRoute {
	less := func(a, b model.HostRoute) int {
		return cmp.Or(a.NextHop.Compare(b.NextHop), a.Destination.Addr().Compare(b.Destination.Addr()),
			cmp.Compare(a.Destination.Bits(), b.Destination.Bits()))
	}
	if slices.IsSortedFunc(routes, less) {
		return routes
	}
	return slices.SortedFunc(slices.Values(routes), less)
}

// gateway is a device that a host serves. Its VTEP router is the edge router
// where one of the router's ports is an interface of that host on an uplink
// network. Routes through an uplink that is down are left out.
func (v view) gateway(k at[model.GatewayDeviceID]) (Gateway, bool) {
	id := k.key
	dev := v.served(id)
	if dev == nil {
		return Gateway{}, false
	}
	r := v.t.routers[dev.RouterID()]
	g := Gateway{TunnelIP: dev.TunnelIP, Epoch: v.t.placements[id].Epoch, Router: r.Key}
	var up []leg
	seen := map[*port]bool{}
	for _, l := range v.legs(r.ID) {
		if l.network.Type != model.NetworkUplink || !v.boundAt(l.port, v.t.placements[id].Host) {
			continue
		}
		isDown := !l.port.AdminStateUp || !l.network.AdminStateUp || !r.AdminStateUp
		if !isDown {
			up = append(up, l)
		}
		if seen[l.port] {
			continue
		}
		seen[l.port] = true
		g.Uplinks = append(g.Uplinks, Uplink{
			Port: l.port.ID, Interface: l.port.iface, MAC: l.port.MAC.MAC,
			Addr: netip.PrefixFrom(l.addr, l.prefix.Bits()), Down: isDown,
		})
	}
	slices.SortFunc(g.Uplinks, func(a, b Uplink) int { return cmp.Compare(a.Port, b.Port) })
	for _, x := range r.Routes {
		if towards(up, x.NextHop) != nil {
			g.Routes = append(g.Routes, UnderlayRoute{Prefix: x.Destination.Masked(), NextHop: x.NextHop})
		}
	}
	slices.SortFunc(g.Routes, func(a, b UnderlayRoute) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
			a.NextHop.Compare(b.NextHop))
	})
	g.Routes = slices.Compact(g.Routes)
	return g, true
}
