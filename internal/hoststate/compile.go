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

// Each row is a function of the topology alone: the methods of view. So the rows can be worked
// out one by one, in any order, and again whenever something they look at changes (see Touched).
//
// What is down in several ways is reported in this order: port, network, router.

// Compile works out everything a host needs.
func Compile(t *Topology, host model.HostName) State {
	return CompileSite(t).Cut(Wants(t, host, MaxGroups))
}

// CompileWhole is what a host would have if all networks and routers lay within its reach: the same for packets
// that can come by it, and what there is to say of others. A host that does not get
// all that it should have has no more than it gets.
func CompileWhole(t *Topology, host model.HostName) State {
	s, w := CompileSite(t), Wants(t, host, MaxGroups)
	all := slices.Collect(w.Groups.All())
	for g := range s.rows {
		if !w.Cut && (g.Kind == GroupNetwork || g.Kind == GroupRouter || g.Kind == GroupDomain) {
			all = append(all, g)
		}
	}
	w.Groups = NewGroupSet(all...)
	return s.Cut(w)
}

// Site is what the hosts of a site need, by group.
type Site struct {
	rows map[Group]*GroupRows
}

// GroupRows are the rows of one group. They are not to be changed.
type GroupRows struct {
	State
	Digest Digest
	// Older is the digest of what an agent from before the fabric has of the rows.
	Older Digest
	Len   int
}

// CompileSite works out the rows of all groups.
func CompileSite(t *Topology) Site {
	v := view{t}
	c := &Compiler{view: v, rows: map[Group]*GroupRows{}}
	all := newTouched()
	for _, p := range t.ports {
		all.ports.add(p.at())
		for at := range p.places {
			all.ports.add(p.on(at.host))
		}
		n := t.networks[p.NetworkID]
		if n == nil {
			continue
		}
		all.fdb.add(inGroup(FDBKey{n.Key, p.MAC.MAC}))
		for _, a := range p.FixedIPs {
			all.neighbors.add(inGroup(NeighborKey{n.Key, a.IP}))
		}
		for at := range p.places {
			for _, k := range t.hostPairKeys(p, at.host) {
				all.hostPairs.add(inGroup(k))
			}
		}
	}
	for k := range t.networkByKey {
		all.networks.add(ofNetwork(k))
	}
	for k := range t.routerByKey {
		all.routers.add(ofRouter(k))
	}
	for _, dev := range t.devices {
		all.gateways.add(ofDevice(dev.ID))
	}
	for seg, conns := range t.connsOfSegment {
		t.touchVLAN(seg, all)
		dev := t.devices[seg.device]
		if dev == nil {
			continue
		}
		all.vnis.add(at[VNIKey]{deviceGroup(dev.ID), VNIKey{dev.TunnelIP, seg.vni}})
		for _, e := range t.entriesOfSegment[seg] {
			all.peers.add(at[PeerKey]{deviceGroup(dev.ID), PeerKey{dev.TunnelIP, e.VTEPAddress, e.VNI}})
			for _, conn := range conns {
				if n := t.networks[conn.NetworkID]; n != nil {
					all.fdb.add(inGroup(FDBKey{n.Key, e.MAC.MAC}))
				}
			}
		}
	}
	t.touchFabric(all)
	c.work(all, nil)
	return Site{c.rows}
}

// Cut is the State of a host that wants these groups.
func (s Site) Cut(wants Wanted) State {
	st := NewState()
	for g := range wants.Groups.All() {
		if rows := s.rows[g]; rows != nil {
			st.Apply(Delta{Set: rows.State})
		}
	}
	return st
}

// put puts a row in a map that is made when it gets its first one.
func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// view is the topology as what rows are worked out of.
type view struct {
	t *Topology
}

// bound tells whether p is plugged into an interface of a host. Where several ports
// name one interface, it is the first one's alone.
func (v view) bound(p *port) bool {
	at, ok := p.place()
	return ok && v.has(p, at)
}

// has tells whether one of a port's places is its own.
func (v view) has(p *port, at place) bool { return v.t.portsByPlace[at][0] == p }

// boundAt tells whether the port is plugged in on a host: or, where it moves, is to be or was.
func (v view) boundAt(p *port, host model.HostName) bool {
	_, ok := v.placeOn(p, host)
	return ok
}

// placeOn is the port's place on a host.
func (v view) placeOn(p *port, host model.HostName) (place, bool) {
	for at := range p.places {
		if at.host == host && v.has(p, at) {
			return at, true
		}
	}
	return place{}, false
}

// overlay is the network if it is one that is forwarded here; uplink networks
// only describe the host's ways out.
func overlay(n *model.Network) bool { return n != nil && n.Type == model.NetworkOverlay }

func (v view) network(k at[model.NetworkKey]) (Network, bool) {
	n := v.t.networkByKey[k.key]
	if !overlay(n) {
		return Network{}, false
	}
	return Network{ID: n.ID, Name: n.Name, Project: n.ProjectID, MTU: n.MTU}, true
}

func (v view) router(k at[model.RouterKey]) (Router, bool) {
	r := v.t.routerByKey[k.key]
	if r == nil {
		return Router{}, false
	}
	return Router{ID: r.ID, Name: r.Name, Project: r.ProjectID}, true
}

func (v view) port(k at[model.PortKey]) (Port, bool) {
	p := v.t.portByKey[k.key]
	if p == nil {
		return Port{}, false
	}
	n, host := v.t.networks[p.NetworkID], model.HostName(k.in.Name)
	at, bound := v.placeOn(p, host)
	if _, isRouter := p.router(); isRouter || !overlay(n) || !bound {
		return Port{}, false
	}
	if p.moves() && host == p.HostID && p.Move.Stage < model.MoveBoth {
		return Port{}, false // the others do not take it from there yet
	}
	addrs := make([]netip.Addr, 0, len(p.FixedIPs))
	for _, a := range p.FixedIPs {
		addrs = append(addrs, a.IP)
	}
	return Port{
		ID: p.ID, Project: p.ProjectID, Network: n.Key, Interface: at.iface, MAC: p.MAC.MAC, Addrs: addrs,
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

func (v view) neighbor(at at[NeighborKey]) (model.MAC, bool) {
	k := at.key
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

func (v view) fdbEntry(at at[FDBKey]) (FDBEntry, bool) {
	k := at.key
	n := v.t.networkByKey[k.Network]
	if !overlay(n) {
		return FDBEntry{}, false
	}
	if k.MAC.IsZero() {
		h := v.stationsHost(n)
		return FDBEntry{Kind: FDBPort, Port: StationsPort(n.Key), Host: h}, h != ""
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
		e := FDBEntry{Kind: FDBRouter, Router: r.Key, Domain: v.t.domains.nameOf(id)}
		if len(p.FixedIPs) > 0 {
			e.Addr = p.FixedIPs[0].IP
		}
		return e, true
	}
	to, also := v.hostsOf(p)
	if to == "" {
		return dropped(reason.DestinationUnbound), true
	}
	return FDBEntry{Kind: FDBPort, Port: p.Key, Host: to, Also: also}, true
}

// hostsOf is the host that a port's frames go to, "" if there is none, and the other one that it is on while it
// moves.
func (v view) hostsOf(p *port) (to, also model.HostName) {
	if v.bound(p) {
		to = p.HostID
	}
	if !p.moves() || !v.has(p, p.former()) {
		return to, ""
	}
	switch {
	case to == "":
		return p.Move.Host, ""
	case p.Move.Stage >= model.MoveSwitched:
		return to, p.Move.Host
	}
	return p.Move.Host, to
}

// remoteEntry is where a MAC of another site is reached; p, if not nil, is its
// remote-site port. A gateway device that no host serves leads nowhere, so its
// connections count as missing. Of several that are served, it is the first connection's.
func (v view) remoteEntry(n *model.Network, mac model.MAC, p *port) (FDBEntry, bool) {
	why := reason.ConnectionMissing
	unserved := false
	for seg := range v.segments(n.ID) {
		e := least(v.t.entriesByMAC[segmentMAC{seg, mac}])
		if e == nil {
			if !unserved {
				why = reason.RemoteMACMissing
			}
			continue
		}
		dev := v.served(seg.device)
		if dev == nil {
			unserved, why = true, reason.ConnectionMissing
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
			Host: v.t.placements[dev.ID].Host, Also: v.t.placements[dev.ID].Other,
		}, true
	}
	if p == nil && !unserved {
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

// served is the device if a host serves it. Of several devices on one host
// with one tunnel IP, it is the first alone.
func (v view) served(id model.GatewayDeviceID) *model.GatewayDevice {
	dev := v.t.devices[id]
	if dev == nil || !v.serves(id, dev) {
		return nil
	}
	for other, o := range v.t.devicesByTunnel[dev.TunnelIP] {
		if other < id && v.serves(other, o) && meet(v.t.placements[other], v.t.placements[id]) {
			return nil
		}
	}
	return dev
}

// meet tells whether two devices are on one host.
func meet(p, q *model.Placement) bool {
	for h := range p.Hosts {
		for g := range q.Hosts {
			if h == g {
				return true
			}
		}
	}
	return false
}

func (v view) serves(id model.GatewayDeviceID, dev *model.GatewayDevice) bool {
	return v.t.placements[id] != nil && v.t.routers[dev.RouterID()] != nil
}

// servedAt is the device of a group, if it is served with the tunnel IP.
func (v view) servedAt(g Group, tunnel netip.Addr) *model.GatewayDevice {
	if dev := v.served(model.GatewayDeviceID(g.Name)); dev != nil && dev.TunnelIP == tunnel {
		return dev
	}
	return nil
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

func (v view) vni(at at[VNIKey]) (model.NetworkKey, bool) {
	k := at.key
	dev := v.servedAt(at.in, k.TunnelIP)
	if dev == nil {
		return 0, false
	}
	n := v.connected(segment{dev.ID, k.VNI})
	if n == nil {
		return 0, false
	}
	return n.Key, true
}

func (v view) peer(at at[PeerKey]) (Peer, bool) {
	k := at.key
	dev := v.servedAt(at.in, k.TunnelIP)
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
