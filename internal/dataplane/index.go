package dataplane

import (
	"iter"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// index knows which rows depend on which, so that the cost of a change follows the
// change.
type index struct {
	ports     map[model.PortKey]portRows
	ofPair    map[bpfPairKey]map[model.PortKey]bool // ports of a network may share a row
	vlanIDs   map[vlanID]bool
	vlanNets  map[model.NetworkKey]bool
	vlanPairs map[bpfPairKey]bool
	byNetwork map[model.NetworkKey]map[model.PortKey]bool
	fdb       map[model.PortKey]map[hoststate.FDBKey]bool
	ofPort    map[hoststate.FDBKey]model.PortKey
	remote    map[model.GatewayDeviceID]map[hoststate.FDBKey]bool
	ofGateway map[hoststate.FDBKey]model.GatewayDeviceID
	gateways  map[model.GatewayDeviceID]bool // that are here
	routes    map[model.NetworkKey]map[hoststate.RouteKey]bool
	ofNetwork map[hoststate.RouteKey]model.NetworkKey
	hops      map[model.NetworkKey]map[hoststate.RouteKey]bool // of destinations with several next hops
	hopsOn    map[hoststate.RouteKey][]model.NetworkKey
	tunnels   map[tunnelKey]int // rows that count there
	ofRemote  map[hoststate.FDBKey]tunnelKey
	ofPeer    map[hoststate.PeerKey]tunnelKey
	onFabric  hostIndex
	// allowed is ahead of the rest: it has what a plan is to come to, not what the maps have.
	allowed *allowed
}

// portRows is what the maps hold of a port.
type portRows struct {
	ifindex uint32
	net     model.NetworkKey
	addrs   []bpfPortAddrKey
	pairs   []bpfPairKey
}

func newIndex() *index {
	return &index{
		ports:     map[model.PortKey]portRows{},
		ofPair:    map[bpfPairKey]map[model.PortKey]bool{},
		byNetwork: map[model.NetworkKey]map[model.PortKey]bool{},
		fdb:       map[model.PortKey]map[hoststate.FDBKey]bool{},
		ofPort:    map[hoststate.FDBKey]model.PortKey{},
		remote:    map[model.GatewayDeviceID]map[hoststate.FDBKey]bool{},
		ofGateway: map[hoststate.FDBKey]model.GatewayDeviceID{},
		gateways:  map[model.GatewayDeviceID]bool{},
		routes:    map[model.NetworkKey]map[hoststate.RouteKey]bool{},
		ofNetwork: map[hoststate.RouteKey]model.NetworkKey{},
		hops:      map[model.NetworkKey]map[hoststate.RouteKey]bool{},
		hopsOn:    map[hoststate.RouteKey][]model.NetworkKey{},
		tunnels:   map[tunnelKey]int{},
		ofRemote:  map[hoststate.FDBKey]tunnelKey{},
		ofPeer:    map[hoststate.PeerKey]tunnelKey{},
		onFabric:  newHostIndex(),
	}
}

// indexOf is the index of a whole State.
func indexOf(tr translator) *index {
	x := newIndex()
	x.allowed = tr.allowed
	x.onFabric.own = tr.own
	for k := range tr.st.Ports {
		x.port(tr, k)
	}
	for id := range tr.st.Gateways {
		x.gateways[id] = true
	}
	for k := range tr.st.FDB {
		x.fdbEntry(tr, k)
	}
	for k := range tr.st.Peers {
		x.peer(tr, k)
	}
	for k := range tr.st.Routes {
		x.route(tr, k)
	}
	for k := range tr.st.Hops {
		x.notedHops(tr, k)
	}
	for name := range tr.st.Hosts {
		x.host(tr, name)
	}
	for k := range tr.st.Members {
		x.onFabric.member(tr, k)
	}
	for k := range tr.st.Speakers {
		x.onFabric.speaker(tr, k)
	}
	for k := range tr.st.HostPairs {
		x.onFabric.pair(tr, k)
	}
	x.noteVLANs(tr)
	return x
}

// touched are the rows whose translation a delta may change, and the networks whose lists
// it may.
type touched struct {
	ports  map[model.PortKey]bool
	fdb    map[hoststate.FDBKey]bool
	routes map[hoststate.RouteKey]bool
	hops   map[hoststate.RouteKey]bool
	nets   map[model.NetworkKey]bool
	// Of the fabric.
	hosts    map[model.HostName]bool
	members  map[hoststate.MemberKey]bool
	speakers map[hoststate.SpeakerKey]bool
	pairs    map[hoststate.HostPairKey]bool
}

func (x *index) touched(d hoststate.Delta) touched {
	t := touched{
		ports: keysOf(d.Set.Ports, d.Unset.Ports), fdb: keysOf(d.Set.FDB, d.Unset.FDB),
		routes: keysOf(d.Set.Routes, d.Unset.Routes), hops: keysOf(d.Set.Hops, d.Unset.Hops), nets: map[model.NetworkKey]bool{},
		hosts: keysOf(d.Set.Hosts, d.Unset.Hosts), members: keysOf(d.Set.Members, d.Unset.Members), speakers: keysOf(d.Set.Speakers, d.Unset.Speakers),
		pairs: keysOf(d.Set.HostPairs, d.Unset.HostPairs),
	}
	x.onFabric.touch(t)
	x.allowed.touch(d, t)
	for k := range t.ports {
		for e := range x.fdb[k] {
			t.fdb[e] = true
		}
	}
	for id := range keysOf(d.Set.Gateways, d.Unset.Gateways) {
		if _, here := d.Set.Gateways[id]; here != x.gateways[id] {
			for e := range x.remote[id] {
				t.fdb[e] = true
			}
		}
	}
	for n := range keysOf(d.Set.Networks, d.Unset.Networks) {
		for r := range x.routes[n] {
			t.routes[r] = true
		}
		// An interface without an MTU of its own has the network's.
		for p := range x.byNetwork[n] {
			for e := range x.fdb[p] {
				t.fdb[e] = true
			}
		}
	}
	x.touchHops(d, t)
	return t
}

func keysOf[K comparable, V any](set map[K]V, unset []K) map[K]bool {
	keys := make(map[K]bool, len(set)+len(unset))
	for k := range set {
		keys[k] = true
	}
	for _, k := range unset {
		keys[k] = true
	}
	return keys
}

// members are a network's ports, and others that may be.
func (x *index) members(net model.NetworkKey, others map[model.PortKey]bool) iter.Seq[model.PortKey] {
	return func(yield func(model.PortKey) bool) {
		for k := range x.byNetwork[net] {
			if !others[k] && !yield(k) {
				return
			}
		}
		for k := range others {
			if !yield(k) {
				return
			}
		}
	}
}

// note follows a delta whose plan has been written, and frees the counters that lost their rows. It
// tells whether something may have been learned by allowed address pairs that a port had, here or on another host.
func (x *index) note(tr translator, t touched, d hoststate.Delta) (paired bool) {
	for k := range t.ports {
		paired = paired || len(x.ports[k].pairs) > 0
		if x.port(tr, k) {
			tr.counters.freePort(k)
		}
	}
	if x.vlansTouched(d, t) {
		for _, id := range x.noteVLANs(tr) {
			tr.counters.freeVLAN(id)
		}
	}
	for id := range keysOf(d.Set.Gateways, d.Unset.Gateways) {
		delete(x.gateways, id)
		if _, here := tr.st.Gateways[id]; here {
			x.gateways[id] = true
		}
	}
	paired = x.onFabric.notePairs(tr, t) || paired
	left := x.noteFabric(tr, t) // counters that lost rows
	for k := range t.fdb {
		if free, last := x.fdbEntry(tr, k); last {
			left = append(left, free)
		}
	}
	for k := range keysOf(d.Set.Peers, d.Unset.Peers) {
		if free, last := x.peer(tr, k); last {
			left = append(left, free)
		}
	}
	for _, k := range left {
		// A row that came later may count there now.
		if x.tunnels[k] == 0 {
			tr.counters.freeTunnel(k)
		}
	}
	for k := range t.routes {
		x.route(tr, k)
	}
	for k := range t.hops {
		x.notedHops(tr, k)
	}
	return paired
}

// port notes a port's rows, as the maps now have them. It tells whether the port has
// gone for good.
func (x *index) port(tr translator, k model.PortKey) (gone bool) {
	if old, ok := x.ports[k]; ok {
		drop(x.byNetwork, old.net, k)
		for _, a := range old.pairs {
			drop(x.ofPair, a, k)
		}
		delete(x.ports, k)
	}
	p, ok := tr.st.Ports[k]
	if !ok {
		return true
	}
	r := portRows{net: p.Network, addrs: tr.portAddrs(k), pairs: tr.pairs(k)}
	for _, a := range r.pairs {
		insert(x.ofPair, a, k)
	}
	r.ifindex, _, _ = tr.port(k)
	x.ports[k] = r
	insert(x.byNetwork, p.Network, k)
	return false
}

// fdbEntry notes what an FDB entry depends on, and returns the counter that lost its
// last row.
func (x *index) fdbEntry(tr translator, k hoststate.FDBKey) (tunnelKey, bool) {
	if p, ok := x.ofPort[k]; ok {
		drop(x.fdb, p, k)
		delete(x.ofPort, k)
	}
	if id, ok := x.ofGateway[k]; ok {
		drop(x.remote, id, k)
		delete(x.ofGateway, k)
	}
	x.onFabric.fdbEntry(tr, k)
	e := tr.st.FDB[k]
	switch e.Kind {
	case hoststate.FDBPort:
		insert(x.fdb, e.Port, k)
		x.ofPort[k] = e.Port
	case hoststate.FDBRemote:
		insert(x.remote, e.Gateway, k)
		x.ofGateway[k] = e.Gateway
	}
	return counts(x, x.ofRemote, k, tunnelKey{e.TunnelIP, e.Addr, e.VNI}, e.Kind == hoststate.FDBRemote && tr.st.Here(e))
}

func (x *index) peer(tr translator, k hoststate.PeerKey) (tunnelKey, bool) {
	_, ok := tr.st.Peers[k]
	return counts(x, x.ofPeer, k, tunnelKey{k.TunnelIP, k.Remote, k.VNI}, ok)
}

// counts notes whether a row counts at a tunnel's counter, and returns the counter that lost its
// last row.
func counts[K comparable](x *index, of map[K]tunnelKey, row K, k tunnelKey, yes bool) (free tunnelKey, last bool) {
	old, had := of[row]
	if yes {
		x.tunnels[k]++
		of[row] = k
	} else {
		delete(of, row)
	}
	if !had {
		return tunnelKey{}, false
	}
	x.tunnels[old]--
	if x.tunnels[old] > 0 {
		return tunnelKey{}, false
	}
	delete(x.tunnels, old)
	return old, true
}

func (x *index) route(tr translator, k hoststate.RouteKey) {
	if n, ok := x.ofNetwork[k]; ok {
		drop(x.routes, n, k)
		delete(x.ofNetwork, k)
	}
	r, ok := tr.st.Routes[k]
	if ok && (r.Kind == hoststate.RouteConnected || r.Kind == hoststate.RouteVia) {
		insert(x.routes, r.Network, k)
		x.ofNetwork[k] = r.Network
	}
}

func insert[K, V comparable](m map[K]map[V]bool, k K, v V) {
	if m[k] == nil {
		m[k] = map[V]bool{}
	}
	m[k][v] = true
}

func drop[K, V comparable](m map[K]map[V]bool, k K, v V) {
	delete(m[k], v)
	if len(m[k]) == 0 {
		delete(m, k)
	}
}

// paired tells whether a port beside others has the row.
func (x *index) paired(a bpfPairKey, others map[model.PortKey]bool) bool {
	for k := range x.ofPair[a] {
		if !others[k] {
			return true
		}
	}
	return false
}
