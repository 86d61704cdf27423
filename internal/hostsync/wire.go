package hostsync

import (
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
)

// wire says how a table's rows look in messages M, and keys of rows that are gone as G:
// M with nothing else in it, or a number or text.
type wire[K comparable, V, M, G any] struct {
	table *hoststate.Table[K, V]
	// rows and gone are where they lie in a Delta.
	rows func(*pb.Delta) *[]M
	gone func(*pb.Delta) *[]G
	// goneOf and goneKey lead from a key to G and back.
	goneOf  func(K) G
	goneKey func(*decoder, G) K
	// row makes a message of a key, to which fill adds the value; key and value read them.
	row   func(K) M
	fill  func(M, V)
	key   func(*decoder, M) K
	value func(*decoder, M) V
}

// byMessage has keys of rows that are gone sent in the same message as the rows.
func byMessage[K comparable, V, M any](w wire[K, V, M, M]) *wire[K, V, M, M] {
	w.goneOf, w.goneKey = w.row, w.key
	return &w
}

// byNumber has them sent as numbers.
func byNumber[K ~uint32, V, M any](w wire[K, V, M, uint32]) *wire[K, V, M, uint32] {
	w.goneOf = func(k K) uint32 { return uint32(k) }
	w.goneKey = func(_ *decoder, n uint32) K { return K(n) }
	return &w
}

// byText has them sent as texts.
func byText[K ~string, V, M any](w wire[K, V, M, string]) *wire[K, V, M, string] {
	w.goneOf = func(k K) string { return string(k) }
	w.goneKey = func(_ *decoder, s string) K { return K(s) }
	return &w
}

// wired is the wire form of a table of whatever key and value.
type wired interface {
	name() string
	encode(d *hoststate.Delta, next func() *pb.Delta)
	encodeGone(d *hoststate.Delta, next func() *pb.Delta)
	decode(d *decoder, p *pb.Delta, to *hoststate.Delta)
}

func (w *wire[K, V, M, G]) name() string { return w.table.Name }

func (w *wire[K, V, M, G]) encode(d *hoststate.Delta, next func() *pb.Delta) {
	for k, v := range *w.table.Rows(&d.Set) {
		p := next()
		if p == nil {
			return
		}
		m := w.row(k)
		w.fill(m, v)
		rows := w.rows(p)
		*rows = append(*rows, m)
	}
}

func (w *wire[K, V, M, G]) encodeGone(d *hoststate.Delta, next func() *pb.Delta) {
	for _, k := range *w.table.Gone(&d.Unset) {
		p := next()
		if p == nil {
			return
		}
		gone := w.gone(p)
		*gone = append(*gone, w.goneOf(k))
	}
}

func (w *wire[K, V, M, G]) decode(d *decoder, p *pb.Delta, to *hoststate.Delta) {
	set, gone := *w.table.Rows(&to.Set), w.table.Gone(&to.Unset)
	for _, m := range *w.rows(p) {
		v := w.value(d, m)
		set[w.key(d, m)] = v
	}
	for _, g := range *w.gone(p) {
		*gone = append(*gone, w.goneKey(d, g))
	}
}

// wires are the forms of all tables.
var wires = []wired{
	byNumber(wire[model.NetworkKey, hoststate.Network, *pb.NetworkRow, uint32]{
		table: hoststate.Networks,
		rows:  func(p *pb.Delta) *[]*pb.NetworkRow { return &p.Networks },
		gone:  func(p *pb.Delta) *[]uint32 { return &p.GoneNetworks },
		row:   func(k model.NetworkKey) *pb.NetworkRow { return &pb.NetworkRow{Key: uint32(k)} },
		key:   func(d *decoder, r *pb.NetworkRow) model.NetworkKey { return model.NetworkKey(d.key(r.Key)) },
		fill: func(r *pb.NetworkRow, v hoststate.Network) {
			r.Id, r.Name, r.Mtu, r.Project = string(v.ID), v.Name, uint32(v.MTU), string(v.Project)
		},
		value: func(_ *decoder, r *pb.NetworkRow) hoststate.Network {
			return hoststate.Network{ID: model.NetworkID(r.Id), Name: r.Name, Project: model.ProjectID(r.Project), MTU: int(r.Mtu)}
		},
	}),
	byNumber(wire[model.RouterKey, hoststate.Router, *pb.RouterRow, uint32]{
		table: hoststate.Routers,
		rows:  func(p *pb.Delta) *[]*pb.RouterRow { return &p.Routers },
		gone:  func(p *pb.Delta) *[]uint32 { return &p.GoneRouters },
		row:   func(k model.RouterKey) *pb.RouterRow { return &pb.RouterRow{Key: uint32(k)} },
		key:   func(d *decoder, r *pb.RouterRow) model.RouterKey { return model.RouterKey(d.key(r.Key)) },
		fill: func(r *pb.RouterRow, v hoststate.Router) {
			r.Id, r.Name, r.Project = string(v.ID), v.Name, string(v.Project)
		},
		value: func(_ *decoder, r *pb.RouterRow) hoststate.Router {
			return hoststate.Router{ID: model.RouterID(r.Id), Name: r.Name, Project: model.ProjectID(r.Project)}
		},
	}),
	byNumber(wire[model.PortKey, hoststate.Port, *pb.PortRow, uint32]{
		table: hoststate.Ports,
		rows:  func(p *pb.Delta) *[]*pb.PortRow { return &p.Ports },
		gone:  func(p *pb.Delta) *[]uint32 { return &p.GonePorts },
		row:   func(k model.PortKey) *pb.PortRow { return &pb.PortRow{Key: uint32(k)} },
		key:   func(d *decoder, r *pb.PortRow) model.PortKey { return model.PortKey(d.key(r.Key)) },
		fill:  fillPort, value: portValue,
	}),
	byMessage(wire[hoststate.FDBKey, hoststate.FDBEntry, *pb.FDBRow, *pb.FDBRow]{
		table: hoststate.FDB,
		rows:  func(p *pb.Delta) *[]*pb.FDBRow { return &p.Fdb },
		gone:  func(p *pb.Delta) *[]*pb.FDBRow { return &p.GoneFdb },
		row: func(k hoststate.FDBKey) *pb.FDBRow {
			return &pb.FDBRow{Network: uint32(k.Network), Mac: macBytes(k.MAC)}
		},
		key: func(d *decoder, r *pb.FDBRow) hoststate.FDBKey {
			return hoststate.FDBKey{Network: model.NetworkKey(d.key(r.Network)), MAC: d.mac(r.Mac)}
		},
		fill: fillFDBEntry, value: fdbEntryValue,
	}),
	byMessage(wire[hoststate.NeighborKey, model.MAC, *pb.NeighborRow, *pb.NeighborRow]{
		table: hoststate.Neighbors,
		rows:  func(p *pb.Delta) *[]*pb.NeighborRow { return &p.Neighbors },
		gone:  func(p *pb.Delta) *[]*pb.NeighborRow { return &p.GoneNeighbors },
		row: func(k hoststate.NeighborKey) *pb.NeighborRow {
			return &pb.NeighborRow{Network: uint32(k.Network), Ip: addrBytes(k.IP)}
		},
		key: func(d *decoder, r *pb.NeighborRow) hoststate.NeighborKey {
			return hoststate.NeighborKey{Network: model.NetworkKey(d.key(r.Network)), IP: d.addr(r.Ip)}
		},
		fill:  func(r *pb.NeighborRow, v model.MAC) { r.Mac = macBytes(v) },
		value: func(d *decoder, r *pb.NeighborRow) model.MAC { return d.mac(r.Mac) },
	}),
	byMessage(wire[hoststate.RouteKey, hoststate.Route, *pb.RouteRow, *pb.RouteRow]{
		table: hoststate.Routes,
		rows:  func(p *pb.Delta) *[]*pb.RouteRow { return &p.Routes },
		gone:  func(p *pb.Delta) *[]*pb.RouteRow { return &p.GoneRoutes },
		row: func(k hoststate.RouteKey) *pb.RouteRow {
			return &pb.RouteRow{Router: uint32(k.Router), Prefix: prefixOf(k.Prefix)}
		},
		key: func(d *decoder, r *pb.RouteRow) hoststate.RouteKey {
			return hoststate.RouteKey{Router: model.RouterKey(d.key(r.Router)), Prefix: d.masked(r.Prefix)}
		},
		fill: fillRoute, value: routeValue,
	}),
	byMessage(wire[hoststate.RouteKey, []hoststate.Hop, *pb.HopsRow, *pb.HopsRow]{
		table: hoststate.Hops,
		rows:  func(p *pb.Delta) *[]*pb.HopsRow { return &p.Hops },
		gone:  func(p *pb.Delta) *[]*pb.HopsRow { return &p.GoneHops },
		row: func(k hoststate.RouteKey) *pb.HopsRow {
			return &pb.HopsRow{Router: uint32(k.Router), Prefix: prefixOf(k.Prefix)}
		},
		key: func(d *decoder, r *pb.HopsRow) hoststate.RouteKey {
			return hoststate.RouteKey{Router: model.RouterKey(d.key(r.Router)), Prefix: d.masked(r.Prefix)}
		},
		fill: fillHops, value: hopsValue,
	}),
	byMessage(wire[hoststate.VNIKey, model.NetworkKey, *pb.VNIRow, *pb.VNIRow]{
		table: hoststate.VNIs,
		rows:  func(p *pb.Delta) *[]*pb.VNIRow { return &p.Vnis },
		gone:  func(p *pb.Delta) *[]*pb.VNIRow { return &p.GoneVnis },
		row: func(k hoststate.VNIKey) *pb.VNIRow {
			return &pb.VNIRow{TunnelIp: addrBytes(k.TunnelIP), Vni: uint32(k.VNI)}
		},
		key: func(d *decoder, r *pb.VNIRow) hoststate.VNIKey {
			return hoststate.VNIKey{TunnelIP: d.addr(r.TunnelIp), VNI: d.vni(r.Vni)}
		},
		fill:  func(r *pb.VNIRow, v model.NetworkKey) { r.Network = uint32(v) },
		value: func(d *decoder, r *pb.VNIRow) model.NetworkKey { return model.NetworkKey(d.key(r.Network)) },
	}),
	byMessage(wire[hoststate.PeerKey, hoststate.Peer, *pb.PeerRow, *pb.PeerRow]{
		table: hoststate.Peers,
		rows:  func(p *pb.Delta) *[]*pb.PeerRow { return &p.Peers },
		gone:  func(p *pb.Delta) *[]*pb.PeerRow { return &p.GonePeers },
		row: func(k hoststate.PeerKey) *pb.PeerRow {
			return &pb.PeerRow{TunnelIp: addrBytes(k.TunnelIP), Remote: addrBytes(k.Remote), Vni: uint32(k.VNI)}
		},
		key: func(d *decoder, r *pb.PeerRow) hoststate.PeerKey {
			return hoststate.PeerKey{TunnelIP: d.addr(r.TunnelIp), Remote: d.addr(r.Remote), VNI: d.vni(r.Vni)}
		},
		fill: func(r *pb.PeerRow, v hoststate.Peer) {
			r.Network, r.Gateway, r.Drop = uint32(v.Network), string(v.Gateway), uint32(v.Drop)
		},
		value: func(d *decoder, r *pb.PeerRow) hoststate.Peer {
			return hoststate.Peer{Network: model.NetworkKey(d.key(r.Network)), Gateway: model.GatewayDeviceID(r.Gateway), Drop: d.reason(r.Drop)}
		},
	}),
	byText(wire[model.GatewayDeviceID, hoststate.Gateway, *pb.GatewayRow, string]{
		table: hoststate.Gateways,
		rows:  func(p *pb.Delta) *[]*pb.GatewayRow { return &p.Gateways },
		gone:  func(p *pb.Delta) *[]string { return &p.GoneGateways },
		row:   func(k model.GatewayDeviceID) *pb.GatewayRow { return &pb.GatewayRow{Id: string(k)} },
		key:   func(_ *decoder, r *pb.GatewayRow) model.GatewayDeviceID { return model.GatewayDeviceID(r.Id) },
		fill:  fillGateway, value: gatewayValue,
	}),
	byMessage(wire[hoststate.VLANKey, hoststate.VLAN, *pb.VLANRow, *pb.VLANRow]{
		table: hoststate.VLANs,
		rows:  func(p *pb.Delta) *[]*pb.VLANRow { return &p.Vlans },
		gone:  func(p *pb.Delta) *[]*pb.VLANRow { return &p.GoneVlans },
		row: func(k hoststate.VLANKey) *pb.VLANRow {
			return &pb.VLANRow{Interface: k.Interface, Vlan: uint32(k.ID)}
		},
		key:  (*decoder).vlanKey,
		fill: fillVLAN, value: vlanValue,
	}),
	byText(wire[model.HostName, hoststate.Host, *pb.HostRow, string]{
		table: hoststate.Hosts,
		rows:  func(p *pb.Delta) *[]*pb.HostRow { return &p.Hosts },
		gone:  func(p *pb.Delta) *[]string { return &p.GoneHosts },
		row:   func(k model.HostName) *pb.HostRow { return &pb.HostRow{Name: string(k)} },
		key:   func(_ *decoder, r *pb.HostRow) model.HostName { return model.HostName(r.Name) },
		fill: func(r *pb.HostRow, v hoststate.Host) {
			r.Addr, r.Port, r.Mtu = addrBytes(v.Addr), uint32(v.Port), uint32(v.MTU)
		},
		value: func(d *decoder, r *pb.HostRow) hoststate.Host {
			return hoststate.Host{Addr: d.addr(r.Addr), Port: d.port(r.Port), MTU: int(r.Mtu)}
		},
	}),
	byMessage(wire[hoststate.MemberKey, hoststate.Member, *pb.MemberRow, *pb.MemberRow]{
		table: hoststate.Members,
		rows:  func(p *pb.Delta) *[]*pb.MemberRow { return &p.Members },
		gone:  func(p *pb.Delta) *[]*pb.MemberRow { return &p.GoneMembers },
		row: func(k hoststate.MemberKey) *pb.MemberRow {
			return &pb.MemberRow{Network: uint32(k.Network), Host: string(k.Host)}
		},
		key: func(d *decoder, r *pb.MemberRow) hoststate.MemberKey {
			return hoststate.MemberKey{Network: model.NetworkKey(d.key(r.Network)), Host: model.HostName(r.Host)}
		},
		fill:  func(*pb.MemberRow, hoststate.Member) {},
		value: func(*decoder, *pb.MemberRow) hoststate.Member { return hoststate.Member{} },
	}),
	byMessage(wire[hoststate.SpeakerKey, hoststate.Speaker, *pb.SpeakerRow, *pb.SpeakerRow]{
		table: hoststate.Speakers,
		rows:  func(p *pb.Delta) *[]*pb.SpeakerRow { return &p.Speakers },
		gone:  func(p *pb.Delta) *[]*pb.SpeakerRow { return &p.GoneSpeakers },
		row: func(k hoststate.SpeakerKey) *pb.SpeakerRow {
			return &pb.SpeakerRow{Domain: uint32(k.Domain), Host: string(k.Host)}
		},
		key: func(d *decoder, r *pb.SpeakerRow) hoststate.SpeakerKey {
			return hoststate.SpeakerKey{Domain: model.NetworkKey(d.key(r.Domain)), Host: model.HostName(r.Host)}
		},
		fill:  func(*pb.SpeakerRow, hoststate.Speaker) {},
		value: func(*decoder, *pb.SpeakerRow) hoststate.Speaker { return hoststate.Speaker{} },
	}),
	byMessage(wire[hoststate.HostPairKey, hoststate.HostPair, *pb.HostPairRow, *pb.HostPairRow]{
		table: hoststate.HostPairs,
		rows:  func(p *pb.Delta) *[]*pb.HostPairRow { return &p.HostPairs },
		gone:  func(p *pb.Delta) *[]*pb.HostPairRow { return &p.GoneHostPairs },
		row: func(k hoststate.HostPairKey) *pb.HostPairRow {
			r := &pb.HostPairRow{Network: uint32(k.Network), Host: string(k.Host), Mac: macBytes(k.MAC)}
			if k.Prefix.IsValid() {
				r.Prefix = prefixOf(k.Prefix)
			}
			return r
		},
		key: func(d *decoder, r *pb.HostPairRow) hoststate.HostPairKey {
			k := hoststate.HostPairKey{Network: model.NetworkKey(d.key(r.Network)), Host: model.HostName(r.Host), MAC: d.mac(r.Mac)}
			if r.Prefix != nil {
				k.Prefix = d.masked(r.Prefix)
			}
			return k
		},
		fill: func(r *pb.HostPairRow, v hoststate.HostPair) { r.Port, r.PortMac = uint32(v.Port), macBytes(v.MAC) },
		value: func(d *decoder, r *pb.HostPairRow) hoststate.HostPair {
			return hoststate.HostPair{Port: model.PortKey(r.Port), MAC: d.mac(r.PortMac)}
		},
	}),
}

func fillPort(r *pb.PortRow, p hoststate.Port) {
	r.Id, r.Network, r.Interface, r.Mac = string(p.ID), uint32(p.Network), p.Interface, macBytes(p.MAC)
	r.Project, r.PortSecurity, r.Drop = string(p.Project), p.PortSecurity, uint32(p.Drop)
	for _, a := range p.Addrs {
		r.Addrs = append(r.Addrs, addrBytes(a))
	}
	for _, a := range p.Pairs {
		r.Pairs = append(r.Pairs, &pb.PairRow{Mac: macBytes(a.MAC), Prefix: prefixOf(a.Prefix)})
	}
}

func portValue(d *decoder, r *pb.PortRow) hoststate.Port {
	p := hoststate.Port{
		ID: model.PortID(r.Id), Project: model.ProjectID(r.Project), Network: model.NetworkKey(d.key(r.Network)), Interface: r.Interface,
		MAC: d.mac(r.Mac), PortSecurity: r.PortSecurity, Drop: d.reason(r.Drop),
	}
	for _, a := range r.Addrs {
		p.Addrs = append(p.Addrs, d.addr(a))
	}
	for _, a := range r.Pairs {
		p.Pairs = append(p.Pairs, hoststate.Pair{MAC: d.mac(a.GetMac()), Prefix: d.masked(a.GetPrefix())})
	}
	return p
}

func fillFDBEntry(r *pb.FDBRow, e hoststate.FDBEntry) {
	r.Kind, r.Port, r.Router, r.Addr, r.TunnelIp = uint32(e.Kind), uint32(e.Port), uint32(e.Router), addrBytes(e.Addr), addrBytes(e.TunnelIP)
	r.Vni, r.Gateway, r.Drop, r.Project, r.Host = uint32(e.VNI), string(e.Gateway), uint32(e.Drop), string(e.Project), string(e.Host)
	r.Domain, r.Also = uint32(e.Domain), string(e.Also)
}

func fdbEntryValue(d *decoder, r *pb.FDBRow) hoststate.FDBEntry {
	return hoststate.FDBEntry{
		Kind: hoststate.FDBKind(d.kind(r.Kind, uint8(hoststate.FDBDrop))), Port: model.PortKey(r.Port),
		Router: model.RouterKey(r.Router), Addr: d.maybeAddr(r.Addr), TunnelIP: d.maybeAddr(r.TunnelIp),
		VNI: model.VNI(r.Vni), Gateway: model.GatewayDeviceID(r.Gateway), Drop: d.reason(r.Drop), Project: model.ProjectID(r.Project),
		Host: model.HostName(r.Host), Domain: model.NetworkKey(r.Domain), Also: model.HostName(r.Also),
	}
}

func fillRoute(r *pb.RouteRow, v hoststate.Route) {
	r.Kind, r.Network, r.Nexthop, r.Mac, r.Drop = uint32(v.Kind), uint32(v.Network), addrBytes(v.NextHop), macBytes(v.MAC), uint32(v.Drop)
}

func routeValue(d *decoder, r *pb.RouteRow) hoststate.Route {
	return hoststate.Route{
		Kind: hoststate.RouteKind(d.kind(r.Kind, uint8(hoststate.RouteDrop))), Network: model.NetworkKey(r.Network),
		NextHop: d.maybeAddr(r.Nexthop), MAC: d.mac(r.Mac), Drop: d.reason(r.Drop),
	}
}

func fillHops(r *pb.HopsRow, hops []hoststate.Hop) {
	for _, h := range hops {
		r.Hops = append(r.Hops, &pb.HopRow{Network: uint32(h.Network), Nexthop: addrBytes(h.NextHop), Mac: macBytes(h.MAC)})
	}
}

func hopsValue(d *decoder, r *pb.HopsRow) []hoststate.Hop {
	hops := make([]hoststate.Hop, 0, len(r.Hops))
	for _, h := range r.Hops {
		hops = append(hops, hoststate.Hop{Network: model.NetworkKey(d.key(h.GetNetwork())), NextHop: d.addr(h.GetNexthop()), MAC: d.mac(h.GetMac())})
	}
	return hops
}

func fillGateway(r *pb.GatewayRow, g hoststate.Gateway) {
	r.TunnelIp, r.Epoch, r.Router = addrBytes(g.TunnelIP), g.Epoch, uint32(g.Router)
	for _, u := range g.Uplinks {
		r.Uplinks = append(r.Uplinks, &pb.UplinkRow{
			Port: string(u.Port), Interface: u.Interface, Mac: macBytes(u.MAC), Addr: prefixOf(u.Addr), Down: u.Down,
		})
	}
	for _, u := range g.Routes {
		r.Routes = append(r.Routes, &pb.UnderlayRouteRow{Prefix: prefixOf(u.Prefix), Nexthop: addrBytes(u.NextHop)})
	}
}

func gatewayValue(d *decoder, r *pb.GatewayRow) hoststate.Gateway {
	g := hoststate.Gateway{TunnelIP: d.addr(r.TunnelIp), Epoch: r.Epoch, Router: model.RouterKey(r.Router)}
	for _, u := range r.Uplinks {
		g.Uplinks = append(g.Uplinks, hoststate.Uplink{
			Port: model.PortID(u.Port), Interface: u.Interface, MAC: d.mac(u.Mac), Addr: d.prefix(u.Addr), Down: u.Down,
		})
	}
	for _, u := range r.Routes {
		g.Routes = append(g.Routes, hoststate.UnderlayRoute{Prefix: d.masked(u.Prefix), NextHop: d.addr(u.Nexthop)})
	}
	return g
}

func fillVLAN(r *pb.VLANRow, v hoststate.VLAN) {
	r.Network, r.Gateway, r.Drop, r.Port = uint32(v.Network), string(v.Gateway), uint32(v.Drop), string(v.Port)
	for _, p := range v.Prefixes {
		r.Prefixes = append(r.Prefixes, prefixOf(p))
	}
}

func vlanValue(d *decoder, r *pb.VLANRow) hoststate.VLAN {
	v := hoststate.VLAN{Network: model.NetworkKey(d.key(r.Network)), Gateway: model.GatewayDeviceID(r.Gateway), Port: model.PortID(r.Port), Drop: d.reason(r.Drop)}
	for _, p := range r.Prefixes {
		v.Prefixes = append(v.Prefixes, d.masked(p))
	}
	return v
}
