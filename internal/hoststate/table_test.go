package hoststate_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hoststate/statetest"
)

// TestTablesAreAll: each field of State and of Keys is the table of one descriptor.
func TestTablesAreAll(t *testing.T) {
	names := hoststate.TableNames()
	state, keys := reflect.TypeFor[hoststate.State](), reflect.TypeFor[hoststate.Keys]()
	if state.NumField() != len(names) || keys.NumField() != len(names) {
		t.Fatalf("%d descriptors for the %d tables of State and the %d of Keys", len(names), state.NumField(), keys.NumField())
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != state.NumField() {
		t.Errorf("two descriptors have one name: %v", names)
	}
	for i := range state.NumField() {
		f := state.Field(i)
		k, ok := keys.FieldByName(f.Name)
		if !ok || k.Type.Elem() != f.Type.Key() {
			t.Errorf("%s is %v in State and %v in Keys", f.Name, f.Type, k.Type)
		}
		// One row in this table alone: all that walks the descriptors sees it.
		st := hoststate.NewState()
		for reflect.ValueOf(st).Field(i).Len() == 0 {
			only := statetest.Random(rand.New(rand.NewPCG(uint64(i), rand.Uint64())), 1)
			reflect.ValueOf(&st).Elem().Field(i).Set(reflect.ValueOf(only).Field(i))
		}
		d := hoststate.Diff(hoststate.NewState(), st)
		if st.Len() != 1 || d.Set.Len() != 1 || st.Equal(hoststate.NewState()) || !st.Clone().Equal(st) {
			t.Errorf("a row of %s is not seen: %+v", f.Name, d)
		}
		if back := hoststate.Diff(st, hoststate.NewState()); back.Unset.Len() != 1 || back.Set.Len() != 0 {
			t.Errorf("a row of %s that goes is not seen: %+v", f.Name, back)
		}
	}
}

// TestEqualLooksAtAllFields of each table's rows: a change of one that it overlooked would
// never reach a host.
func TestEqualLooksAtAllFields(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		for field, st := range statetest.EachField(r) {
			if st[0].Equal(st[1]) || hoststate.Diff(st[0], st[1]).Set.Len() != 1 {
				t.Errorf("a change of %s is overlooked", field)
			}
			if st[0].Digests().Total() == st[1].Digests().Total() {
				t.Errorf("a change of %s does not change the digest", field)
			}
		}
	}
}

// TestDiffLeadsThere: in every table, applying a difference is the identity, two deltas
// are one, and a full state forgets what was before.
func TestDiffLeadsThere(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		a := statetest.Random(r, 5)
		b := statetest.Change(r, a, 2)
		c := statetest.Change(r, b, 2)
		ab, bc := hoststate.Diff(a, b), hoststate.Diff(b, c)
		s := a.Clone()
		s.Apply(ab)
		if !s.Equal(b) {
			t.Fatalf("seed %d: %+v leads to %+v, not %+v", seed, ab, s, b)
		}
		var both hoststate.Delta
		both.Merge(ab)
		both.Merge(bc)
		s = a.Clone()
		s.Apply(both)
		if !s.Equal(c) {
			t.Fatalf("seed %d: merged, %+v leads to %+v, not %+v", seed, both, s, c)
		}
		both.Merge(hoststate.Delta{Full: true, Set: a})
		s.Apply(both)
		if !s.Equal(a) {
			t.Fatalf("seed %d: a full state leads to %+v, not %+v", seed, s, a)
		}
	}
}
