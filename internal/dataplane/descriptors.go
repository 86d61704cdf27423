package dataplane

import (
	"bytes"
	"cmp"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// describe makes all tables. Those whose rows programs read from have spare rows; of the
// others the programs only ask whether a row is there, or the kernel has the grace period
// pass (tries). No program looks a spare row up.
func (t *tables) describe() {
	t.describeSources()
	t.describePlaces()
	t.describePorts()
	t.describeTunnels()
	t.describeFabric()
}

// describeSources describes what ports may send from, here and on other hosts.
func (t *tables) describeSources() {
	t.portAddrs = describe(t, descriptor[bpfPortAddrKey, uint32]{
		name: bpfMapPortAddrs, limit: func(l Limits) uint32 { return l.PortAddrs },
		plan:  func(p *plan) *change[bpfPortAddrKey, uint32] { return &p.portAddrs },
		steps: []step{stepSources},
		lacks: (*concerned).portAddr,
		rule: rule[bpfPortAddrKey, uint32]{
			owners:  func(k bpfPortAddrKey, _ uint32, to []owner) []owner { return append(to, t.who.ofPort(k.Port)) },
			compare: func(a bpfPortAddrKey, _ uint32, b bpfPortAddrKey, _ uint32) int { return a.Addr.compare(b.Addr) },
		},
	})
	// Before pairs: those have ARP be refused that no row of host_pairs allows, and nobody repeats a
	// gratuitous ARP that comes in between.
	t.hostPairs = describe(t, descriptor[bpfHostPairKey, bpfHostPair]{
		name: bpfMapHostPairs, limit: func(l Limits) uint32 { return l.HostPairs }, extra: trieExtra,
		plan:  func(p *plan) *change[bpfHostPairKey, bpfHostPair] { return &p.hostPairs },
		steps: []step{stepSources},
		rule: rule[bpfHostPairKey, bpfHostPair]{
			owners: func(k bpfHostPairKey, _ bpfHostPair, to []owner) []owner {
				return append(to, t.who.ofNetwork(bigEndian(k.Id)))
			},
			compare: func(a bpfHostPairKey, _ bpfHostPair, b bpfHostPairKey, _ bpfHostPair) int { return a.compare(b) },
		},
	})
	t.pairs = describe(t, descriptor[bpfPairKey, uint32]{
		name: bpfMapPairs, limit: func(l Limits) uint32 { return l.Pairs }, extra: trieExtra,
		plan:  func(p *plan) *change[bpfPairKey, uint32] { return &p.pairs },
		steps: []step{stepSources},
		lacks: (*concerned).pair,
		rule: rule[bpfPairKey, uint32]{
			owners:  func(k bpfPairKey, _ uint32, to []owner) []owner { return t.who.ofPair(k, to) },
			shared:  true,
			follows: func(p *plan) bool { return p.ports.any() || p.vlans.any() },
			compare: func(a bpfPairKey, _ uint32, b bpfPairKey, _ uint32) int {
				return cmp.Or(cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.Mac[:], b.Mac[:]), a.Addr.compare(b.Addr),
					cmp.Compare(a.Plen, b.Plen), cmp.Compare(a.Family, b.Family))
			},
		},
	})
}

// describePlaces describes where packets go within networks and between them.
func (t *tables) describePlaces() {
	t.fdb = describe(t, descriptor[bpfFdbKey, bpfFdbEntry]{
		name: bpfMapFdb, limit: func(l Limits) uint32 { return l.FDB },
		plan: func(p *plan) *change[bpfFdbKey, bpfFdbEntry] { return &p.fdb },
		from: eachRow[hoststate.FDBKey, hoststate.FDBEntry, bpfFdbKey, bpfFdbEntry]{
			table: hoststate.FDB, key: fdbKeyRow, row: translator.fdbEntry,
			touched: func(x touched) map[hoststate.FDBKey]bool { return x.fdb },
			second:  translator.otherPlace,
		},
		steps: []step{stepPlaces, stepRouters},
		step: func(v bpfFdbEntry) step {
			if v.Kind == fdbRouter {
				return stepRouters
			}
			return stepPlaces
		},
		lacks: (*concerned).fdbEntry,
		rule: rule[bpfFdbKey, bpfFdbEntry]{
			first: func(_ bpfFdbKey, v bpfFdbEntry) bool { return isHere(v) },
			last:  func(k bpfFdbKey) bool { return k.Other == fdbOtherPlace },
			kept:  "for routers and for ports of this host",
			owners: func(k bpfFdbKey, _ bpfFdbEntry, to []owner) []owner {
				return append(to, t.who.ofFDBEntry(k.Net, k.Mac))
			},
			compare: func(aKey bpfFdbKey, a bpfFdbEntry, bKey bpfFdbKey, b bpfFdbEntry) int {
				return cmp.Or(routersFirst(a, b), bytes.Compare(aKey.Mac[:], bKey.Mac[:]))
			},
		},
		spares: &spares[bpfFdbKey, bpfFdbEntry]{
			key: func(n uint32) bpfFdbKey {
				b := numbered(n)
				return bpfFdbKey{Net: never, Mac: [6]uint8{2: b[0], 3: b[1], 4: b[2], 5: b[3]}}
			},
		},
	})
	t.neighbors = describe(t, descriptor[bpfNeighborKey, bpfNeighbor]{
		name: bpfMapNeighbors, limit: func(l Limits) uint32 { return l.Neighbors },
		plan:  func(p *plan) *change[bpfNeighborKey, bpfNeighbor] { return &p.neighbors },
		from:  eachRow[hoststate.NeighborKey, model.MAC, bpfNeighborKey, bpfNeighbor]{table: hoststate.Neighbors, key: neighborKeyRow, row: translator.neighbor},
		steps: []step{stepNeighbors},
		lacks: (*concerned).neighbor,
		rule: rule[bpfNeighborKey, bpfNeighbor]{
			first: func(k bpfNeighborKey, v bpfNeighbor) bool { return isHere(t.who.fdbEntryAt(k.Net, v.Mac)) },
			kept:  "for routers and for ports of this host",
			owners: func(k bpfNeighborKey, v bpfNeighbor, to []owner) []owner {
				return append(to, t.who.ofFDBEntry(k.Net, v.Mac))
			},
			refer: func(k bpfNeighborKey, v bpfNeighbor) bpfFdbKey { return bpfFdbKey{Net: k.Net, Mac: v.Mac} },
			compare: func(aKey bpfNeighborKey, a bpfNeighbor, bKey bpfNeighborKey, b bpfNeighbor) int {
				return cmp.Or(routersFirst(t.who.fdbEntryAt(aKey.Net, a.Mac), t.who.fdbEntryAt(bKey.Net, b.Mac)), aKey.Addr.compare(bKey.Addr))
			},
		},
		spares: &spares[bpfNeighborKey, bpfNeighbor]{
			key: func(n uint32) bpfNeighborKey { return bpfNeighborKey{Net: never, Addr: numberedAddr(n)} },
		},
	})
	t.hops = describe(t, descriptor[bpfRouteKey, bpfNextHops]{
		name: bpfMapHops, limit: func(l Limits) uint32 { return l.Hops },
		plan: func(p *plan) *change[bpfRouteKey, bpfNextHops] { return &p.hops },
		from: eachRow[hoststate.RouteKey, []hoststate.Hop, bpfRouteKey, bpfNextHops]{
			table: hoststate.Hops, key: routeKeyRow, row: translator.hops,
			touched: func(x touched) map[hoststate.RouteKey]bool { return x.hops },
		},
		steps: []step{stepHops},
		lacks: (*concerned).hop,
		rule: rule[bpfRouteKey, bpfNextHops]{
			owners: func(k bpfRouteKey, _ bpfNextHops, to []owner) []owner {
				return append(to, t.who.ofRouter(bigEndian(k.Router)))
			},
			compare: func(a bpfRouteKey, _ bpfNextHops, b bpfRouteKey, _ bpfNextHops) int {
				return cmp.Or(cmp.Compare(a.Plen, b.Plen), a.Addr.compare(b.Addr))
			},
		},
		spares: &spares[bpfRouteKey, bpfNextHops]{ // no route's key has so few bits
			key: func(n uint32) bpfRouteKey { return bpfRouteKey{Router: n} },
		},
	})
	t.routes = describe(t, descriptor[bpfRouteKey, bpfRoute]{
		name: bpfMapRoutes, limit: func(l Limits) uint32 { return l.Routes }, extra: trieExtra,
		plan: func(p *plan) *change[bpfRouteKey, bpfRoute] { return &p.routes },
		from: eachRow[hoststate.RouteKey, hoststate.Route, bpfRouteKey, bpfRoute]{
			table: hoststate.Routes, key: routeKeyRow, row: translator.route,
			touched: func(x touched) map[hoststate.RouteKey]bool { return x.routes },
		},
		steps: []step{stepRoutes},
		lacks: (*concerned).route,
		rule: rule[bpfRouteKey, bpfRoute]{
			first: func(_ bpfRouteKey, v bpfRoute) bool { return v.Kind == routeConnected || v.Kind == routeLocal },
			kept:  "for routers' own addresses and subnets",
			owners: func(k bpfRouteKey, _ bpfRoute, to []owner) []owner {
				return append(to, t.who.ofRouter(bigEndian(k.Router)))
			},
			// Short prefixes first: a subnet before the address in it, the default route
			// before all others.
			compare: func(a bpfRouteKey, _ bpfRoute, b bpfRouteKey, _ bpfRoute) int {
				return cmp.Or(cmp.Compare(a.Plen, b.Plen), a.Addr.compare(b.Addr))
			},
		},
	})
}

// describePorts describes the host's interfaces, and where flooded frames go.
func (t *tables) describePorts() {
	t.floods = describe(t, descriptor[bpfFloodKey, bpfFlood]{
		name: bpfMapFloods, limit: func(l Limits) uint32 { return l.Floods },
		plan:  func(p *plan) *change[bpfFloodKey, bpfFlood] { return &p.floods },
		steps: []step{stepPorts},
		lacks: (*concerned).flood,
		rule: rule[bpfFloodKey, bpfFlood]{
			owners: func(k bpfFloodKey, _ bpfFlood, to []owner) []owner {
				return append(to, t.who.ofNetwork(k.Net&^floodHeard))
			},
			compare: func(a bpfFloodKey, _ bpfFlood, b bpfFloodKey, _ bpfFlood) int {
				return cmp.Or(cmp.Compare(a.Net, b.Net), cmp.Compare(a.Slot, b.Slot))
			},
			// A slot is only reached through those before it.
			inOrder: true,
		},
		spares: &spares[bpfFloodKey, bpfFlood]{
			key: func(n uint32) bpfFloodKey { return bpfFloodKey{Net: never, Slot: n} },
		},
	})
	t.ports = describe(t, descriptor[uint32, bpfPort]{
		name: bpfMapPorts, limit: func(l Limits) uint32 { return l.Ports },
		plan:  func(p *plan) *change[uint32, bpfPort] { return &p.ports },
		steps: []step{stepPorts},
		lacks: (*concerned).port,
		rule: rule[uint32, bpfPort]{
			owners:  func(_ uint32, v bpfPort, to []owner) []owner { return append(to, t.who.ofPortOn(v.Port, v.Net)) },
			compare: func(_ uint32, a bpfPort, _ uint32, b bpfPort) int { return cmp.Compare(a.Port, b.Port) },
		},
		spares: &spares[uint32, bpfPort]{
			key: func(n uint32) uint32 { return never - n }, // an index is a positive int
		},
	})
	t.vlans = describe(t, descriptor[bpfVlanKey, bpfFdbEntry]{
		name: bpfMapVlans, limit: func(l Limits) uint32 { return l.VLANs },
		plan:  func(p *plan) *change[bpfVlanKey, bpfFdbEntry] { return &p.vlans },
		steps: []step{stepVLANs},
		lacks: (*concerned).vlan,
		rule: rule[bpfVlanKey, bpfFdbEntry]{
			owners: func(_ bpfVlanKey, v bpfFdbEntry, to []owner) []owner { return append(to, t.who.ofNetwork(v.Id)) },
			compare: func(a bpfVlanKey, _ bpfFdbEntry, b bpfVlanKey, _ bpfFdbEntry) int {
				return cmp.Or(cmp.Compare(a.Vlan, b.Vlan), cmp.Compare(a.Ifindex, b.Ifindex))
			},
		},
		spares: &spares[bpfVlanKey, bpfFdbEntry]{
			key: func(n uint32) bpfVlanKey { return bpfVlanKey{Ifindex: never - n} },
		},
	})
}

// describeTunnels describes who may send into the tunnels that end here.
func (t *tables) describeTunnels() {
	t.tunnelIPs = describe(t, descriptor[bpfAddr, bpfTunnelIp]{
		name: bpfMapTunnelIps, limit: func(l Limits) uint32 { return l.TunnelIPs },
		plan:  func(p *plan) *change[bpfAddr, bpfTunnelIp] { return &p.tunnelIPs },
		from:  allRows[model.GatewayDeviceID, hoststate.Gateway, bpfAddr, bpfTunnelIp]{table: hoststate.Gateways, rows: translator.tunnelIPs},
		steps: []step{stepTunnels},
		lacks: (*concerned).tunnelIP,
		rule: rule[bpfAddr, bpfTunnelIp]{
			shared:  true,
			owners:  func(k bpfAddr, _ bpfTunnelIp, to []owner) []owner { return t.who.ofTunnelIP(k, to) },
			compare: func(a bpfAddr, _ bpfTunnelIp, b bpfAddr, _ bpfTunnelIp) int { return a.compare(b) },
		},
	})
	t.vnis = describe(t, descriptor[bpfVniKey, bpfVni]{
		name: bpfMapVnis, limit: func(l Limits) uint32 { return l.VNIs },
		plan:  func(p *plan) *change[bpfVniKey, bpfVni] { return &p.vnis },
		from:  eachRow[hoststate.VNIKey, model.NetworkKey, bpfVniKey, bpfVni]{table: hoststate.VNIs, key: vniKeyRow, row: translator.vni},
		steps: []step{stepTunnels},
		rule: rule[bpfVniKey, bpfVni]{
			owners: func(_ bpfVniKey, v bpfVni, to []owner) []owner { return append(to, t.who.ofNetwork(v.Net)) },
			compare: func(a bpfVniKey, _ bpfVni, b bpfVniKey, _ bpfVni) int {
				return cmp.Or(a.Local.compare(b.Local), cmp.Compare(a.Vni, b.Vni))
			},
		},
	})
	t.vteps = describe(t, descriptor[bpfVtepKey, bpfVtep]{
		name: bpfMapVteps, limit: func(l Limits) uint32 { return l.Peers },
		plan: func(p *plan) *change[bpfVtepKey, bpfVtep] { return &p.vteps },
		from: allRows[hoststate.PeerKey, hoststate.Peer, bpfVtepKey, bpfVtep]{
			table: hoststate.Peers, rows: translator.vteps,
			also: func(d *hoststate.Delta) bool { return len(d.Set.Hosts)+len(d.Unset.Hosts) > 0 },
		},
		steps: []step{stepTunnels},
		lacks: (*concerned).vtep,
		rule: rule[bpfVtepKey, bpfVtep]{
			shared:  true,
			owners:  func(k bpfVtepKey, _ bpfVtep, to []owner) []owner { return t.who.ofVTEP(k, to) },
			follows: func(p *plan) bool { return p.peers.any() },
			compare: func(a bpfVtepKey, _ bpfVtep, b bpfVtepKey, _ bpfVtep) int {
				return cmp.Or(a.Local.compare(b.Local), a.Remote.compare(b.Remote))
			},
		},
		spares: &spares[bpfVtepKey, bpfVtep]{ // no tunnel IP is the zero address
			key: func(n uint32) bpfVtepKey { return bpfVtepKey{Remote: numberedAddr(n)} },
		},
	})
	t.peers = describe(t, descriptor[bpfPeerKey, bpfPeer]{
		name: bpfMapPeers, limit: func(l Limits) uint32 { return l.Peers },
		plan:  func(p *plan) *change[bpfPeerKey, bpfPeer] { return &p.peers },
		from:  eachRow[hoststate.PeerKey, hoststate.Peer, bpfPeerKey, bpfPeer]{table: hoststate.Peers, key: peerKeyRow, row: translator.peer},
		steps: []step{stepPeers},
		lacks: (*concerned).peer,
		rule: rule[bpfPeerKey, bpfPeer]{
			owners: func(_ bpfPeerKey, v bpfPeer, to []owner) []owner { return append(to, t.who.ofNetwork(v.Net)) },
			compare: func(a bpfPeerKey, _ bpfPeer, b bpfPeerKey, _ bpfPeer) int {
				return cmp.Or(a.Local.compare(b.Local), a.Remote.compare(b.Remote), cmp.Compare(a.Vni, b.Vni))
			},
		},
		spares: &spares[bpfPeerKey, bpfPeer]{
			key: func(n uint32) bpfPeerKey { return bpfPeerKey{Vni: never, Remote: numberedAddr(n)} },
		},
	})
}

// describeFabric describes the other hosts of the site, and for whose routers they may send.
func (t *tables) describeFabric() {
	t.speakers = describe(t, descriptor[bpfSpeakerKey, uint32]{
		name: bpfMapSpeakers, limit: func(l Limits) uint32 { return l.Speakers },
		plan:  func(p *plan) *change[bpfSpeakerKey, uint32] { return &p.speakers },
		steps: []step{stepSpeakers},
		rule: rule[bpfSpeakerKey, uint32]{
			owners:  func(k bpfSpeakerKey, _ uint32, to []owner) []owner { return append(to, t.who.ofNetwork(k.Domain)) },
			compare: func(a bpfSpeakerKey, _ uint32, b bpfSpeakerKey, _ uint32) int { return a.Host.compare(b.Host) },
		},
	})
	t.fabricHosts = describe(t, descriptor[bpfVtepKey, bpfPeer]{
		name: bpfMapFabricHosts, limit: func(l Limits) uint32 { return l.FabricHosts },
		plan:  func(p *plan) *change[bpfVtepKey, bpfPeer] { return &p.fabricHosts },
		steps: []step{stepPeers},
		rule: rule[bpfVtepKey, bpfPeer]{
			owners:  func(_ bpfVtepKey, _ bpfPeer, to []owner) []owner { return append(to, owner{}) }, // the site's
			compare: func(a bpfVtepKey, _ bpfPeer, b bpfVtepKey, _ bpfPeer) int { return a.Remote.compare(b.Remote) },
		},
		spares: &spares[bpfVtepKey, bpfPeer]{ // no host has the zero address
			key: func(n uint32) bpfVtepKey { return bpfVtepKey{Remote: numberedAddr(n)} },
		},
	})
}

func (a bpfAddr) compare(b bpfAddr) int { return bytes.Compare(a.B[:], b.B[:]) }

// isHere tells whether an FDB entry is a router or a port of this host.
func isHere(e bpfFdbEntry) bool { return e.Kind == fdbRouter || e.Kind == fdbPort }

// routersFirst orders what is here: by the kinds' numbers, downwards.
func routersFirst(a, b bpfFdbEntry) int {
	if isHere(a) && isHere(b) {
		return cmp.Compare(b.Kind, a.Kind)
	}
	return 0
}
