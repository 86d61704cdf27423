package hoststate

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// Each row is a function of the topology and the host: the methods of view. So
// the rows can be worked out one by one, in any order, and again whenever
// something they look at changes (see Touched).
//
// What is down in several ways is reported in this order: port, network, router.

// Compile works out everything a host needs.
func Compile(t *Topology, host model.HostName) State {
	s := NewState()
	v := view{t, host}
	for _, p := range t.ports {
		setRow(s.Ports, p.Key, v.port)
		n := t.networks[p.NetworkID]
		if n == nil {
			continue
		}
		setRow(s.FDB, FDBKey{n.Key, p.MAC.MAC}, v.fdbEntry)
		for _, a := range p.FixedIPs {
			setRow(s.Neighbors, NeighborKey{n.Key, a.IP}, v.neighbor)
		}
	}
	for k := range t.networkByKey {
		setRow(s.Networks, k, v.network)
	}
	for k := range t.routerByKey {
		setRow(s.Routers, k, v.router)
		w := v.ways(k)
		maps.Copy(s.Routes, w.routes)
		maps.Copy(s.Hops, w.hops)
	}
	for _, dev := range t.devices {
		setRow(s.Gateways, dev.ID, v.gateway)
	}
	for seg, conns := range t.connsOfSegment {
		for k := range t.vlanKeys(seg) {
			setRow(s.VLANs, k, v.vlan)
		}
		dev := t.devices[seg.device]
		if dev == nil {
			continue
		}
		setRow(s.VNIs, VNIKey{dev.TunnelIP, seg.vni}, v.vni)
		for _, e := range t.entriesOfSegment[seg] {
			setRow(s.Peers, PeerKey{dev.TunnelIP, e.VTEPAddress, e.VNI}, v.peer)
			for _, c := range conns {
				if n := t.networks[c.NetworkID]; n != nil {
					setRow(s.FDB, FDBKey{n.Key, e.MAC.MAC}, v.fdbEntry)
				}
			}
		}
	}
	return s
}

func setRow[K comparable, V any](m map[K]V, k K, row func(K) (V, bool)) {
	if _, done := m[k]; done {
		return
	}
	if v, ok := row(k); ok {
		m[k] = v
	}
}

// view is the topology as one host sees it.
type view struct {
	t    *Topology
	host model.HostName
}

// boundHere tells whether p is plugged into an interface of this host. Where
// several ports name one interface, it is the first one's alone.
func (v view) boundHere(p *port) bool {
	at, ok := p.place()
	return ok && at.host == v.host && v.t.portsByPlace[at][0] == p
}

// overlay is the network if it is one that is forwarded here; uplink networks
// only describe the host's ways out.
func overlay(n *model.Network) bool { return n != nil && n.Type == model.NetworkOverlay }

func (v view) network(k model.NetworkKey) (Network, bool) {
	n := v.t.networkByKey[k]
	if !overlay(n) {
		return Network{}, false
	}
	return Network{ID: n.ID, Name: n.Name, Project: n.ProjectID, MTU: n.MTU}, true
}

func (v view) router(k model.RouterKey) (Router, bool) {
	r := v.t.routerByKey[k]
	if r == nil {
		return Router{}, false
	}
	return Router{ID: r.ID, Name: r.Name, Project: r.ProjectID}, true
}

func (v view) port(k model.PortKey) (Port, bool) {
	p := v.t.portByKey[k]
	if p == nil {
		return Port{}, false
	}
	n := v.t.networks[p.NetworkID]
	if _, isRouter := p.router(); isRouter || !overlay(n) || !v.boundHere(p) {
		return Port{}, false
	}
	addrs := make([]netip.Addr, 0, len(p.FixedIPs))
	for _, a := range p.FixedIPs {
		addrs = append(addrs, a.IP)
	}
	return Port{
		ID: p.ID, Project: p.ProjectID, Network: n.Key, Interface: p.iface, MAC: p.MAC.MAC, Addrs: addrs,
		PortSecurity: p.PortSecurity, Pairs: p.pairs, Drop: down(p, n),
	}, true
}

// pairsOf are the port's allowed address pairs, each once and in order; nil where nobody
// checks.
func pairsOf(p *model.Port) []Pair {
	if !p.PortSecurity || len(p.AllowedPairs) == 0 {
		return nil
	}
	rows := make([]Pair, 0, len(p.AllowedPairs))
	for _, a := range p.AllowedPairs {
		rows = append(rows, Pair{MAC: p.PairMAC(a).MAC, Prefix: a.Addresses.Prefix})
	}
	slices.SortFunc(rows, func(a, b Pair) int {
		return cmp.Or(slices.Compare(a.MAC[:], b.MAC[:]), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return slices.Compact(rows)
}

// down is why nothing passes a port, if so.
func down(p *port, n *model.Network) reason.Reason {
	switch {
	case p != nil && !p.AdminStateUp:
		return reason.PortAdminDown
	case !n.AdminStateUp:
		return reason.NetworkAdminDown
	}
	return reason.None
}

// claimant is the port that a key's row is about: ports of this site come before
// remote-site ports.
func claimant(ports []*port) *port {
	for _, p := range ports {
		if !p.remoteSite {
			return p
		}
	}
	if len(ports) > 0 {
		return ports[0]
	}
	return nil
}

func (v view) neighbor(k NeighborKey) (model.MAC, bool) {
	n := v.t.networkByKey[k.Network]
	if !overlay(n) {
		return model.MAC{}, false
	}
	p := claimant(v.t.portsByIP[networkIP{n.ID, k.IP}])
	if p == nil || p.unbound() && (v.trunked(n.ID) || v.t.paired(n.ID, func(a Pair) bool { return a.Prefix.Contains(k.IP) })) {
		return model.MAC{}, false
	}
	return p.MAC.MAC, true
}

// paired tells whether a port of the network has such a pair: then who has what the pair
// allows is learned, and no port keeps it for itself that nothing is behind.
func (t *Topology) paired(id model.NetworkID, such func(Pair) bool) bool {
	for _, p := range t.pairedOfNetwork[id] {
		if slices.ContainsFunc(p.pairs, such) {
			return true
		}
	}
	return false
}

func dropped(r reason.Reason) FDBEntry { return FDBEntry{Kind: FDBDrop, Drop: r} }

func (v view) fdbEntry(k FDBKey) (FDBEntry, bool) {
	n := v.t.networkByKey[k.Network]
	if !overlay(n) {
		return FDBEntry{}, false
	}
	p := claimant(v.t.portsByMAC[networkMAC{n.ID, k.MAC}])
	e, ok := v.fdbEntryOf(n, k, p)
	if ok && p != nil {
		owner := p.ProjectID
		if id, isRouter := p.router(); isRouter && v.t.routers[id] != nil {
			owner = v.t.routers[id].ProjectID
		}
		if owner != n.ProjectID {
			e.Project = owner
		}
	}
	return e, ok
}

// fdbEntryOf is the row of a network's MAC, which port p has, if it is not nil.
func (v view) fdbEntryOf(n *model.Network, k FDBKey, p *port) (FDBEntry, bool) {
	if p == nil || p.remoteSite {
		return v.remoteEntry(n, k.MAC, p)
	}
	if p.unbound() && (v.trunked(n.ID) || v.t.paired(n.ID, func(a Pair) bool { return a.MAC == k.MAC })) {
		return FDBEntry{}, false
	}
	if r := down(p, n); r != reason.None {
		return dropped(r), true
	}
	if id, ok := p.router(); ok {
		r := v.t.routers[id]
		switch {
		case r == nil:
			return dropped(reason.DestinationUnbound), true
		case !r.AdminStateUp:
			return dropped(reason.RouterAdminDown), true
		}
		e := FDBEntry{Kind: FDBRouter, Router: r.Key}
		if len(p.FixedIPs) > 0 {
			e.Addr = p.FixedIPs[0].IP
		}
		return e, true
	}
	if !v.boundHere(p) {
		return dropped(reason.DestinationUnbound), true
	}
	return FDBEntry{Kind: FDBPort, Port: p.Key}, true
}

// remoteEntry is where a MAC of another site is reached; p, if not nil, is its
// remote-site port. A gateway device that another host serves leads nowhere from
// here, so its connections count as missing.
func (v view) remoteEntry(n *model.Network, mac model.MAC, p *port) (FDBEntry, bool) {
	why := reason.ConnectionMissing
	elsewhere := false
	for seg := range v.segments(n.ID) {
		e := least(v.t.entriesByMAC[segmentMAC{seg, mac}])
		if e == nil {
			if !elsewhere {
				why = reason.RemoteMACMissing
			}
			continue
		}
		dev := v.served(seg.device)
		if dev == nil {
			elsewhere, why = true, reason.ConnectionMissing
			continue
		}
		if r := down(p, n); r != reason.None {
			return dropped(r), true
		}
		if !v.t.routers[dev.RouterID()].AdminStateUp {
			return dropped(reason.RouterAdminDown), true
		}
		return FDBEntry{
			Kind: FDBRemote, Addr: e.VTEPAddress, TunnelIP: dev.TunnelIP, VNI: seg.vni, Gateway: dev.ID,
		}, true
	}
	if p == nil && !elsewhere {
		return FDBEntry{}, false
	}
	if r := down(p, n); r != reason.None {
		return dropped(r), true
	}
	return dropped(why), true
}

// segments goes through the VNIs that are the network's, in order of connection.
func (v view) segments(id model.NetworkID) iter.Seq[segment] {
	conns := v.t.connsOfNetwork[id]
	return func(yield func(segment) bool) {
		for _, c := range inOrder(conns) {
			seg, ok := v.t.segmentOf(c)
			if ok && v.t.devices[seg.device] != nil && least(v.t.connsOfSegment[seg]) == c && !yield(seg) {
				return
			}
		}
	}
}

// served is the device if this host serves it. Of several devices on one host
// with one tunnel IP, it is the first alone.
func (v view) served(id model.GatewayDeviceID) *model.GatewayDevice {
	dev := v.t.devices[id]
	if dev == nil || v.servedAt(dev.TunnelIP) != dev {
		return nil
	}
	return dev
}

func (v view) servedAt(tunnel netip.Addr) *model.GatewayDevice {
	var first *model.GatewayDevice
	for id, dev := range v.t.devicesByTunnel[tunnel] {
		pl := v.t.placements[id]
		if pl != nil && pl.Host == v.host && v.t.routers[dev.RouterID()] != nil && (first == nil || id < first.ID) {
			first = dev
		}
	}
	return first
}

// connected is the network that a segment leads to.
func (v view) connected(seg segment) *model.Network {
	if c := least(v.t.connsOfSegment[seg]); c != nil {
		if n := v.t.networks[c.NetworkID]; overlay(n) {
			return n
		}
	}
	return nil
}

func (v view) vni(k VNIKey) (model.NetworkKey, bool) {
	dev := v.servedAt(k.TunnelIP)
	if dev == nil {
		return 0, false
	}
	n := v.connected(segment{dev.ID, k.VNI})
	if n == nil {
		return 0, false
	}
	return n.Key, true
}

func (v view) peer(k PeerKey) (Peer, bool) {
	dev := v.servedAt(k.TunnelIP)
	if dev == nil {
		return Peer{}, false
	}
	seg := segment{dev.ID, k.VNI}
	n := v.connected(seg)
	if n == nil || len(v.t.entriesByVTEP[segmentVTEP{seg, k.Remote}]) == 0 {
		return Peer{}, false
	}
	drop := down(nil, n)
	if drop == reason.None && !v.t.routers[dev.RouterID()].AdminStateUp {
		drop = reason.RouterAdminDown
	}
	return Peer{Network: n.Key, Gateway: dev.ID, Drop: drop}, true
}

// least is the value with the least key, the zero value of an empty map.
func least[K cmp.Ordered, V any](m map[K]V) V {
	var first K
	var v V
	found := false
	for k, w := range m {
		if !found || k < first {
			first, v, found = k, w, true
		}
	}
	return v
}

// inOrder goes through a map in order of its keys.
func inOrder[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if len(m) < 2 {
			for k, v := range m {
				yield(k, v)
			}
			return
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
