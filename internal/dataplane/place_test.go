package dataplane

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// routeTable is a table of routes without a map. Routers are of one project each where
// projects says so.
func routeTable(limit uint32, projects map[model.RouterKey]model.ProjectID) *table[bpfRouteKey, bpfRoute] {
	t := newTables(nil)
	st := hoststate.NewState()
	for k, p := range projects {
		st.Routers[k] = hoststate.Router{Project: p}
	}
	t.who = &concerned{t: t, tr: translator{st: st}}
	t.routes.limit = limit
	return t.routes
}

func testRoute(router uint32, n int, kind uint8) (bpfRouteKey, bpfRoute) {
	return bpfRouteKey{Plen: 32 + 96 + 24, Router: bigEndian(router), Addr: bpfAddr{B: [16]uint8{13: uint8(n >> 8), 14: uint8(n)}}}, bpfRoute{Kind: kind}
}

// admitAll moves what is admitted into the table, as write does.
func admitAll(t *table[bpfRouteKey, bpfRoute], c change[bpfRouteKey, bpfRoute]) {
	t.settle(&plan{routes: c})
}

// count tells how many rows of each router there are of a kind.
func count(t *table[bpfRouteKey, bpfRoute], kind uint8) map[uint32]int {
	out := map[uint32]int{}
	for k, v := range t.have {
		if v.Kind == kind {
			out[bigEndian(k.Router)]++
		}
	}
	return out
}

// TestWhoGetsARoute: three routers want more than the map takes. Another's few routes, its
// subnets and its addresses find room all the same.
func TestWhoGetsARoute(t *testing.T) {
	rt, all := routeTable(64, nil), newChange[bpfRouteKey, bpfRoute]()
	for router := uint32(1); router <= 3; router++ {
		for n := range 100 {
			k, v := testRoute(router, n, routeVia)
			all.put[k] = v
		}
	}
	admitAll(rt, all)
	// A quarter is kept for what comes first; the rest is dealt out in turns.
	if d := cmp.Diff(map[uint32]int{1: 16, 2: 16, 3: 16}, count(rt, routeVia)); d != "" {
		t.Error(d)
	}
	newcomer := newChange[bpfRouteKey, bpfRoute]()
	for n := range 4 {
		for _, kind := range []uint8{routeConnected, routeLocal} {
			k, v := testRoute(4, 1000+10*n+int(kind), kind)
			newcomer.put[k] = v
		}
		k, v := testRoute(4, n, routeVia)
		newcomer.put[k] = v
	}
	admitAll(rt, newcomer)
	if d := cmp.Diff(map[uint32]int{1: 15, 2: 15, 3: 14, 4: 4}, count(rt, routeVia)); d != "" {
		t.Error(d)
	}
	if count(rt, routeConnected)[4] != 4 || count(rt, routeLocal)[4] != 4 {
		t.Errorf("the newcomer has %v and %v", count(rt, routeConnected), count(rt, routeLocal))
	}
	// Room comes back: who has least is served first.
	gone := newChange[bpfRouteKey, bpfRoute]()
	for n := range 94 {
		k, _ := testRoute(1, n, routeVia)
		gone.del = append(gone.del, k)
		delete(all.put, k)
	}
	admitAll(rt, gone)
	if d := cmp.Diff(map[uint32]int{1: 6, 2: 19, 3: 19, 4: 4}, count(rt, routeVia)); d != "" {
		t.Error(d)
	}
	// From nothing, all at once: what a restart without pins makes of it.
	again := routeTable(64, nil)
	maps.Copy(all.put, newcomer.put)
	admitAll(again, change[bpfRouteKey, bpfRoute]{put: all.put})
	if d := cmp.Diff(rt.have, again.have); d != "" {
		t.Error(d)
	}
}

// TestBudgets: a project that fills the map before others come keeps no more than its
// share; one within its share has all its rows, be they of the kind that comes first or
// not, and however many routers the other has.
func TestBudgets(t *testing.T) {
	projects := map[model.RouterKey]model.ProjectID{90: "small"}
	greedy := newChange[bpfRouteKey, bpfRoute]()
	for router := range uint32(40) {
		projects[model.RouterKey(router+1)] = "greedy"
		for n := range 20 {
			k, v := testRoute(router+1, n, uint8(1+n%4))
			greedy.put[k] = v
		}
	}
	rt := routeTable(64, projects)
	admitAll(rt, greedy)
	if len(rt.have) < 48 {
		t.Fatalf("%d rows while nobody else wants any", len(rt.have))
	}
	small := newChange[bpfRouteKey, bpfRoute]()
	for n := range 24 { // a half of what is not kept
		k, v := testRoute(90, n, routeVia)
		small.put[k] = v
	}
	admitAll(rt, small)
	if n := count(rt, routeVia)[90]; n != 24 {
		t.Errorf("the small project has %d of 24 rows", n)
	}
	if len(rt.have) != 64 {
		t.Errorf("%d rows of 64", len(rt.have))
	}
}

// TestSameRowsInAnyOrder: from empty maps, the same rows that are wanted come to the same
// rows written, whatever came before.
func TestSameRowsInAnyOrder(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		limit := uint32(1 + rnd.IntN(60))
		all := newChange[bpfRouteKey, bpfRoute]()
		for range rnd.IntN(200) {
			k, v := testRoute(uint32(1+rnd.IntN(5)), rnd.IntN(100), uint8(1+rnd.IntN(4)))
			all.put[k] = v
		}
		first := routeTable(limit, nil)
		admitAll(first, all)
		if len(first.have) > int(limit) || len(first.have)+len(first.waiting) != len(all.put) {
			t.Fatalf("seed %d: %d rows, %d wait, of %d; the limit is %d", seed, len(first.have), len(first.waiting), len(all.put), limit)
		}
		for range 5 {
			again := routeTable(limit, nil)
			admitAll(again, change[bpfRouteKey, bpfRoute]{put: maps.Clone(all.put)})
			if d := cmp.Diff(first.have, again.have); d != "" {
				t.Fatalf("seed %d: %s", seed, d)
			}
		}
		// With the rows that are there already, nobody loses one.
		admitAll(first, all)
		if len(first.have) > int(limit) {
			t.Fatalf("seed %d: beyond the limit", seed)
		}
	}
}

// TestMovesTakeNoRows: the second rows of a project whose MACs all move, as a gateway device's do, throw out no row of its own or
// another's, though it wants less than its share without them.
func TestMovesTakeNoRows(t *testing.T) {
	const limit = 40
	ts := newTables(nil)
	st := hoststate.NewState()
	st.Networks[1], st.Networks[2] = hoststate.Network{Project: "moves"}, hoststate.Network{Project: "stays"}
	ts.who = &concerned{t: ts, tr: translator{st: st}}
	fdb := ts.fdb
	fdb.limit = limit
	all := newChange[bpfFdbKey, bpfFdbEntry]()
	for i := range 14 {
		all.put[bpfFdbKey{Net: 1, Mac: vmMAC(i)}] = bpfFdbEntry{Kind: fdbHost}
		all.put[bpfFdbKey{Net: 2, Mac: vmMAC(i)}] = bpfFdbEntry{Kind: fdbHost}
	}
	moves := newChange[bpfFdbKey, bpfFdbEntry]()
	for i := range 14 {
		kind := uint8(fdbHost)
		if i%2 == 0 {
			kind = fdbPort // what was here is no row that others must give way to
		}
		moves.put[bpfFdbKey{Net: 1, Mac: vmMAC(i), Other: fdbOtherPlace}] = bpfFdbEntry{Kind: kind}
	}
	for _, c := range []change[bpfFdbKey, bpfFdbEntry]{all, moves} {
		fdb.settle(&plan{fdb: c})
		fdb.plainly(t)
	}
	for k := range all.put {
		if !has(fdb.have, k) {
			t.Errorf("%v is left out", k)
		}
	}
	if n := len(fdb.have); n != limit*3/4 {
		t.Errorf("%d rows of %d", n, limit)
	}
}
