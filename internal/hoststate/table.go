package hoststate

import (
	"cmp"
	"maps"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
)

// Table describes one table of a State. Everything that is done with all tables alike
// (Diff, Merge, Apply, Equal, the Compiler's updates) follows from it, and the packages
// that carry rows over the wire or write them into maps refer to it.
type Table[K comparable, V any] struct {
	Name string
	// Rows is where the table lies in a State, and Gone where its keys lie in Keys.
	Rows func(*State) *map[K]V
	Gone func(*Keys) *[]K
	// Equal tells whether two values are the same; Compare orders keys.
	Equal   func(V, V) bool
	Compare func(K, K) int

	// group says whose a row of a State is, and hash writes all of the row.
	group func(tunnels, K, V) Group
	hash  func(*hasher, K, V)

	// older is what an agent from before the fabric has of a row, and whether it has it; nil: it has it as
	// it is.
	older func(V) (V, bool)

	// touched is where the table lies in Touched, and row works one row out. Both are nil
	// for routes and hops, which a router's row stands for.
	touched func(*Touched) *set[at[K]]
	row     func(view, at[K]) (V, bool)
}

// The tables of a State.
var (
	Ports = &Table[model.PortKey, Port]{
		group: func(tunnels, model.PortKey, Port) Group { return Group{Kind: GroupHost} },
		hash:  hashPort,
		Name:  "ports", Equal: Port.Equal, Compare: cmp.Compare[model.PortKey], row: view.port,
		Rows:    func(s *State) *map[model.PortKey]Port { return &s.Ports },
		Gone:    func(k *Keys) *[]model.PortKey { return &k.Ports },
		touched: func(t *Touched) *set[at[model.PortKey]] { return &t.ports },
	}
	Networks = &Table[model.NetworkKey, Network]{
		group: func(_ tunnels, k model.NetworkKey, _ Network) Group { return networkGroup(k) },
		hash:  hashNetwork,
		Name:  "networks", Equal: same[Network], Compare: cmp.Compare[model.NetworkKey], row: view.network,
		Rows:    func(s *State) *map[model.NetworkKey]Network { return &s.Networks },
		Gone:    func(k *Keys) *[]model.NetworkKey { return &k.Networks },
		touched: func(t *Touched) *set[at[model.NetworkKey]] { return &t.networks },
	}
	Routers = &Table[model.RouterKey, Router]{
		group: func(_ tunnels, k model.RouterKey, _ Router) Group { return routerGroup(k) },
		hash:  hashRouter,
		Name:  "routers", Equal: same[Router], Compare: cmp.Compare[model.RouterKey], row: view.router,
		Rows:    func(s *State) *map[model.RouterKey]Router { return &s.Routers },
		Gone:    func(k *Keys) *[]model.RouterKey { return &k.Routers },
		touched: func(t *Touched) *set[at[model.RouterKey]] { return &t.routers },
	}
	FDB = &Table[FDBKey, FDBEntry]{
		group: func(_ tunnels, k FDBKey, _ FDBEntry) Group { return k.group() },
		hash:  hashFDBEntry,
		Name:  "fdb", Equal: same[FDBEntry], older: olderFDBEntry, Compare: FDBKey.Compare, row: view.fdbEntry,
		Rows:    func(s *State) *map[FDBKey]FDBEntry { return &s.FDB },
		Gone:    func(k *Keys) *[]FDBKey { return &k.FDB },
		touched: func(t *Touched) *set[at[FDBKey]] { return &t.fdb },
	}
	Neighbors = &Table[NeighborKey, model.MAC]{
		group: func(_ tunnels, k NeighborKey, _ model.MAC) Group { return k.group() },
		hash:  hashNeighbor,
		Name:  "neighbors", Equal: same[model.MAC], Compare: NeighborKey.Compare, row: view.neighbor,
		Rows:    func(s *State) *map[NeighborKey]model.MAC { return &s.Neighbors },
		Gone:    func(k *Keys) *[]NeighborKey { return &k.Neighbors },
		touched: func(t *Touched) *set[at[NeighborKey]] { return &t.neighbors },
	}
	Routes = &Table[RouteKey, Route]{
		group: func(_ tunnels, k RouteKey, _ Route) Group { return k.group() },
		hash:  hashRoute,
		Name:  "routes", Equal: same[Route], Compare: RouteKey.Compare,
		Rows: func(s *State) *map[RouteKey]Route { return &s.Routes },
		Gone: func(k *Keys) *[]RouteKey { return &k.Routes },
	}
	Hops = &Table[RouteKey, []Hop]{
		group: func(_ tunnels, k RouteKey, _ []Hop) Group { return k.group() },
		hash:  hashHops,
		Name:  "hops", Equal: slices.Equal[[]Hop], Compare: RouteKey.Compare,
		Rows: func(s *State) *map[RouteKey][]Hop { return &s.Hops },
		Gone: func(k *Keys) *[]RouteKey { return &k.Hops },
	}
	VNIs = &Table[VNIKey, model.NetworkKey]{
		group: func(t tunnels, k VNIKey, _ model.NetworkKey) Group { return t.group(k) },
		hash:  hashVNI,
		Name:  "vnis", Equal: same[model.NetworkKey], Compare: VNIKey.Compare, row: view.vni,
		Rows:    func(s *State) *map[VNIKey]model.NetworkKey { return &s.VNIs },
		Gone:    func(k *Keys) *[]VNIKey { return &k.VNIs },
		touched: func(t *Touched) *set[at[VNIKey]] { return &t.vnis },
	}
	Peers = &Table[PeerKey, Peer]{
		group: func(_ tunnels, _ PeerKey, p Peer) Group { return deviceGroup(p.Gateway) },
		hash:  hashPeer,
		Name:  "peers", Equal: same[Peer], Compare: PeerKey.Compare, row: view.peer,
		Rows:    func(s *State) *map[PeerKey]Peer { return &s.Peers },
		Gone:    func(k *Keys) *[]PeerKey { return &k.Peers },
		touched: func(t *Touched) *set[at[PeerKey]] { return &t.peers },
	}
	Gateways = &Table[model.GatewayDeviceID, Gateway]{
		group: func(_ tunnels, id model.GatewayDeviceID, _ Gateway) Group { return deviceGroup(id) },
		hash:  hashGateway,
		Name:  "gateways", Equal: Gateway.Equal, Compare: cmp.Compare[model.GatewayDeviceID], row: view.gateway,
		Rows:    func(s *State) *map[model.GatewayDeviceID]Gateway { return &s.Gateways },
		Gone:    func(k *Keys) *[]model.GatewayDeviceID { return &k.Gateways },
		touched: func(t *Touched) *set[at[model.GatewayDeviceID]] { return &t.gateways },
	}
	VLANs = &Table[VLANKey, VLAN]{
		group: func(tunnels, VLANKey, VLAN) Group { return Group{Kind: GroupHost} },
		hash:  hashVLAN,
		Name:  "vlans", Equal: VLAN.Equal, Compare: VLANKey.Compare, row: view.vlan,
		Rows:    func(s *State) *map[VLANKey]VLAN { return &s.VLANs },
		Gone:    func(k *Keys) *[]VLANKey { return &k.VLANs },
		touched: func(t *Touched) *set[at[VLANKey]] { return &t.vlans },
	}
	Hosts = &Table[model.HostName, Host]{
		group: func(tunnels, model.HostName, Host) Group { return Group{Kind: GroupSite} },
		hash:  hashHost,
		Name:  "hosts", Equal: same[Host], older: unknown[Host], Compare: cmp.Compare[model.HostName], row: view.host,
		Rows:    func(s *State) *map[model.HostName]Host { return &s.Hosts },
		Gone:    func(k *Keys) *[]model.HostName { return &k.Hosts },
		touched: func(t *Touched) *set[at[model.HostName]] { return &t.siteHosts },
	}
	Members = &Table[MemberKey, Member]{
		group: func(_ tunnels, k MemberKey, _ Member) Group { return k.group() },
		hash:  hashMember,
		Name:  "members", Equal: same[Member], older: unknown[Member], Compare: MemberKey.Compare, row: view.member,
		Rows:    func(s *State) *map[MemberKey]Member { return &s.Members },
		Gone:    func(k *Keys) *[]MemberKey { return &k.Members },
		touched: func(t *Touched) *set[at[MemberKey]] { return &t.members },
	}
	Speakers = &Table[SpeakerKey, Speaker]{
		group: func(_ tunnels, k SpeakerKey, _ Speaker) Group { return k.group() },
		hash:  hashSpeaker,
		Name:  "speakers", Equal: same[Speaker], older: unknown[Speaker], Compare: SpeakerKey.Compare, row: view.speaker,
		Rows:    func(s *State) *map[SpeakerKey]Speaker { return &s.Speakers },
		Gone:    func(k *Keys) *[]SpeakerKey { return &k.Speakers },
		touched: func(t *Touched) *set[at[SpeakerKey]] { return &t.speakers },
	}
	HostPairs = &Table[HostPairKey, HostPair]{
		group: func(_ tunnels, k HostPairKey, _ HostPair) Group { return k.group() },
		hash:  hashHostPair,
		Name:  "host_pairs", Equal: same[HostPair], older: unknown[HostPair], Compare: HostPairKey.Compare, row: view.hostPair,
		Rows:    func(s *State) *map[HostPairKey]HostPair { return &s.HostPairs },
		Gone:    func(k *Keys) *[]HostPairKey { return &k.HostPairs },
		touched: func(t *Touched) *set[at[HostPairKey]] { return &t.hostPairs },
	}
)

// tables are all of them.
var tables = []described{Ports, Networks, Routers, FDB, Neighbors, Routes, Hops, VNIs, Peers, Gateways, VLANs, Hosts, Members, Speakers, HostPairs}

// described is a Table of whatever key and value.
type described interface {
	name() string
	reset(*State)
	apply(*State, *Delta)
	diff(d *Delta, from, to *State)
	merge(d, next *Delta)
	join(d *Delta, parts []*Delta)
	equal(a, b *State) bool
	rows(*State) int
	keys(*Keys) int
	digests(*State, tunnels, *hasher, map[Group]*Digest)
	digestChange(*DigestKeeper, tunnels, *State, *Delta)
	resolve(*State, *Delta, tunnels, map[Group]bool)
	resetTouched(*Touched)
	touchedRows(*Touched) int
	update(*Compiler, *Touched, Changes)
}

// TableNames are the names of all tables.
func TableNames() []string {
	names := make([]string, 0, len(tables))
	for _, t := range tables {
		names = append(names, t.name())
	}
	return names
}

func (t *Table[K, V]) name() string      { return t.Name }
func (t *Table[K, V]) reset(s *State)    { *t.Rows(s) = map[K]V{} }
func (t *Table[K, V]) rows(s *State) int { return len(*t.Rows(s)) }
func (t *Table[K, V]) keys(k *Keys) int  { return len(*t.Gone(k)) }
func (t *Table[K, V]) equal(a, b *State) bool {
	return maps.EqualFunc(*t.Rows(a), *t.Rows(b), t.Equal)
}

func (t *Table[K, V]) apply(s *State, d *Delta) {
	rows, set, gone := t.Rows(s), *t.Rows(&d.Set), *t.Gone(&d.Unset)
	if *rows == nil {
		*rows = make(map[K]V, len(set))
	}
	if len(set)+len(gone) == 0 {
		return
	}
	for _, k := range gone {
		delete(*rows, k)
	}
	maps.Copy(*rows, set)
}

func (t *Table[K, V]) diff(d *Delta, from, to *State) {
	old, now := *t.Rows(from), *t.Rows(to)
	set := map[K]V{}
	for k, v := range now {
		if was, ok := old[k]; !ok || !t.Equal(was, v) {
			set[k] = v
		}
	}
	var gone []K
	for k := range old {
		if _, ok := now[k]; !ok {
			gone = append(gone, k)
		}
	}
	slices.SortFunc(gone, t.Compare)
	*t.Rows(&d.Set), *t.Gone(&d.Unset) = set, gone
}

func (t *Table[K, V]) merge(d, next *Delta) {
	set, gone := t.Rows(&d.Set), t.Gone(&d.Unset)
	nextSet, nextGone := *t.Rows(&next.Set), *t.Gone(&next.Unset)
	if len(nextSet) > 0 && len(*gone) > 0 {
		*gone = slices.DeleteFunc(*gone, func(k K) bool { _, again := nextSet[k]; return again })
	}
	if *set == nil {
		*set = make(map[K]V, len(nextSet))
	}
	if len(nextSet)+len(nextGone) == 0 {
		return
	}
	maps.Copy(*set, nextSet)
	for _, k := range nextGone {
		delete(*set, k)
		if !d.Full {
			*gone = append(*gone, k)
		}
	}
}

func (t *Table[K, V]) join(d *Delta, parts []*Delta) {
	n, gone := 0, 0
	for _, p := range parts {
		n, gone = n+len(*t.Rows(&p.Set)), gone+len(*t.Gone(&p.Unset))
	}
	rows := make(map[K]V, n)
	for _, p := range parts {
		maps.Copy(rows, *t.Rows(&p.Set))
	}
	*t.Rows(&d.Set) = rows
	if gone == 0 {
		return
	}
	keys := make([]K, 0, gone)
	for _, p := range parts {
		for _, k := range *t.Gone(&p.Unset) {
			if _, again := rows[k]; !again {
				keys = append(keys, k)
			}
		}
	}
	*t.Gone(&d.Unset) = keys
}

func (t *Table[K, V]) resetTouched(to *Touched) {
	if t.touched != nil {
		*t.touched(to) = set[at[K]]{}
	}
}

func (t *Table[K, V]) touchedRows(of *Touched) int {
	if t.touched == nil {
		return 0
	}
	return len(*t.touched(of))
}

// update works the touched rows out anew.
func (t *Table[K, V]) update(c *Compiler, touched *Touched, out Changes) {
	if t.touched == nil {
		return
	}
	for k := range *t.touched(touched) {
		now, is := t.row(c.view, k)
		t.put(c, k, now, is, out)
	}
}

// put puts a row in its place, or takes it away, and notes what has changed.
func (t *Table[K, V]) put(c *Compiler, k at[K], now V, is bool, out Changes) {
	of := c.rows[k.in]
	var old V
	was := false
	if of != nil {
		old, was = (*t.Rows(&of.State))[k.key]
	}
	if is == was && (!is || t.Equal(old, now)) {
		return
	}
	if of == nil {
		of = &GroupRows{}
		c.rows[k.in] = of
	}
	d := out.of(k.in)
	if was {
		whole, older := t.digestsOf(&c.hasher, k.key, old)
		of.Digest.sub(whole)
		of.Older.sub(older)
		of.Len--
	}
	if is {
		whole, older := t.digestsOf(&c.hasher, k.key, now)
		of.Digest.add(whole)
		of.Older.add(older)
		of.Len++
		put(t.Rows(&of.State), k.key, now)
		put(t.Rows(&d.Set), k.key, now)
		return
	}
	delete(*t.Rows(&of.State), k.key)
	gone := t.Gone(&d.Unset)
	*gone = append(*gone, k.key)
	if of.Len == 0 {
		delete(c.rows, k.in)
	}
}

// replace puts rows in the place of all of a group's.
func (t *Table[K, V]) replace(c *Compiler, g Group, now map[K]V, out Changes) {
	if of := c.rows[g]; of != nil {
		for k := range *t.Rows(&of.State) {
			if _, ok := now[k]; !ok {
				var none V
				t.put(c, at[K]{g, k}, none, false, out)
			}
		}
	}
	for k, v := range now {
		t.put(c, at[K]{g, k}, v, true, out)
	}
}
