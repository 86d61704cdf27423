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

	// touched is where the table lies in Touched, and row works one row out. Both are nil
	// for routes and hops, which a router's row stands for.
	touched func(*Touched) *set[K]
	row     func(view, K) (V, bool)
}

// The tables of a State.
var (
	Ports = &Table[model.PortKey, Port]{
		Name: "ports", Equal: Port.Equal, Compare: cmp.Compare[model.PortKey], row: view.port,
		Rows:    func(s *State) *map[model.PortKey]Port { return &s.Ports },
		Gone:    func(k *Keys) *[]model.PortKey { return &k.Ports },
		touched: func(t *Touched) *set[model.PortKey] { return &t.ports },
	}
	Networks = &Table[model.NetworkKey, Network]{
		Name: "networks", Equal: same[Network], Compare: cmp.Compare[model.NetworkKey], row: view.network,
		Rows:    func(s *State) *map[model.NetworkKey]Network { return &s.Networks },
		Gone:    func(k *Keys) *[]model.NetworkKey { return &k.Networks },
		touched: func(t *Touched) *set[model.NetworkKey] { return &t.networks },
	}
	Routers = &Table[model.RouterKey, Router]{
		Name: "routers", Equal: same[Router], Compare: cmp.Compare[model.RouterKey], row: view.router,
		Rows:    func(s *State) *map[model.RouterKey]Router { return &s.Routers },
		Gone:    func(k *Keys) *[]model.RouterKey { return &k.Routers },
		touched: func(t *Touched) *set[model.RouterKey] { return &t.routers },
	}
	FDB = &Table[FDBKey, FDBEntry]{
		Name: "fdb", Equal: same[FDBEntry], Compare: FDBKey.Compare, row: view.fdbEntry,
		Rows:    func(s *State) *map[FDBKey]FDBEntry { return &s.FDB },
		Gone:    func(k *Keys) *[]FDBKey { return &k.FDB },
		touched: func(t *Touched) *set[FDBKey] { return &t.fdb },
	}
	Neighbors = &Table[NeighborKey, model.MAC]{
		Name: "neighbors", Equal: same[model.MAC], Compare: NeighborKey.Compare, row: view.neighbor,
		Rows:    func(s *State) *map[NeighborKey]model.MAC { return &s.Neighbors },
		Gone:    func(k *Keys) *[]NeighborKey { return &k.Neighbors },
		touched: func(t *Touched) *set[NeighborKey] { return &t.neighbors },
	}
	Routes = &Table[RouteKey, Route]{
		Name: "routes", Equal: same[Route], Compare: RouteKey.Compare,
		Rows: func(s *State) *map[RouteKey]Route { return &s.Routes },
		Gone: func(k *Keys) *[]RouteKey { return &k.Routes },
	}
	Hops = &Table[RouteKey, []Hop]{
		Name: "hops", Equal: slices.Equal[[]Hop], Compare: RouteKey.Compare,
		Rows: func(s *State) *map[RouteKey][]Hop { return &s.Hops },
		Gone: func(k *Keys) *[]RouteKey { return &k.Hops },
	}
	VNIs = &Table[VNIKey, model.NetworkKey]{
		Name: "vnis", Equal: same[model.NetworkKey], Compare: VNIKey.Compare, row: view.vni,
		Rows:    func(s *State) *map[VNIKey]model.NetworkKey { return &s.VNIs },
		Gone:    func(k *Keys) *[]VNIKey { return &k.VNIs },
		touched: func(t *Touched) *set[VNIKey] { return &t.vnis },
	}
	Peers = &Table[PeerKey, Peer]{
		Name: "peers", Equal: same[Peer], Compare: PeerKey.Compare, row: view.peer,
		Rows:    func(s *State) *map[PeerKey]Peer { return &s.Peers },
		Gone:    func(k *Keys) *[]PeerKey { return &k.Peers },
		touched: func(t *Touched) *set[PeerKey] { return &t.peers },
	}
	Gateways = &Table[model.GatewayDeviceID, Gateway]{
		Name: "gateways", Equal: Gateway.Equal, Compare: cmp.Compare[model.GatewayDeviceID], row: view.gateway,
		Rows:    func(s *State) *map[model.GatewayDeviceID]Gateway { return &s.Gateways },
		Gone:    func(k *Keys) *[]model.GatewayDeviceID { return &k.Gateways },
		touched: func(t *Touched) *set[model.GatewayDeviceID] { return &t.gateways },
	}
	VLANs = &Table[VLANKey, VLAN]{
		Name: "vlans", Equal: VLAN.Equal, Compare: VLANKey.Compare, row: view.vlan,
		Rows:    func(s *State) *map[VLANKey]VLAN { return &s.VLANs },
		Gone:    func(k *Keys) *[]VLANKey { return &k.VLANs },
		touched: func(t *Touched) *set[VLANKey] { return &t.vlans },
	}
)

// tables are all of them.
var tables = []described{Ports, Networks, Routers, FDB, Neighbors, Routes, Hops, VNIs, Peers, Gateways, VLANs}

// described is a Table of whatever key and value.
type described interface {
	name() string
	reset(*State)
	apply(*State, *Delta)
	diff(d *Delta, from, to *State)
	merge(d, next *Delta)
	equal(a, b *State) bool
	rows(*State) int
	keys(*Keys) int
	resetTouched(*Touched)
	touchedRows(*Touched) int
	update(view, *State, *Touched, *Delta)
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

func (t *Table[K, V]) resetTouched(to *Touched) {
	if t.touched != nil {
		*t.touched(to) = set[K]{}
	}
}

func (t *Table[K, V]) touchedRows(of *Touched) int {
	if t.touched == nil {
		return 0
	}
	return len(*t.touched(of))
}

// replace puts rows in the place of old ones, and notes in d what has changed.
func (t *Table[K, V]) replace(s *State, d *Delta, old, now map[K]V) {
	rows, changed, gone := *t.Rows(s), *t.Rows(&d.Set), t.Gone(&d.Unset)
	for k, v := range now {
		if was, ok := old[k]; !ok || !t.Equal(was, v) {
			rows[k] = v
			changed[k] = v
		}
	}
	for k := range old {
		if _, ok := now[k]; !ok {
			delete(rows, k)
			*gone = append(*gone, k)
		}
	}
}

// update works the touched rows out anew, and notes in d what has changed.
func (t *Table[K, V]) update(v view, s *State, touched *Touched, d *Delta) {
	if t.touched == nil {
		return
	}
	rows, changed, gone := *t.Rows(s), *t.Rows(&d.Set), t.Gone(&d.Unset)
	for k := range *t.touched(touched) {
		old, was := rows[k]
		now, is := t.row(v, k)
		switch {
		case is && (!was || !t.Equal(old, now)):
			rows[k] = now
			changed[k] = now
		case was && !is:
			delete(rows, k)
			*gone = append(*gone, k)
		}
	}
}
