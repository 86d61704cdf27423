package hoststate

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestGroupSet: a set is what a map of groups would be.
func TestGroupSet(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	draw := func() (map[Group]bool, GroupSet) {
		m := map[Group]bool{}
		var all []Group
		for range r.IntN(12) {
			g := Group{Kind: GroupKind(r.IntN(5)), Key: uint32(r.IntN(3)) << 30}
			if r.IntN(3) == 0 {
				g.Name = string(rune('a' + r.IntN(3)))
			}
			m[g] = true
			all = append(all, g, g)
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return m, NewGroupSet(all...)
	}
	for range 2000 {
		a, x := draw()
		b, y := draw()
		if x.Len() != len(a) || len(slices.Collect(x.All())) != len(a) {
			t.Fatalf("%v has %d groups, not %d", x, x.Len(), len(a))
		}
		gone, come := map[Group]bool{}, map[Group]bool{}
		x.differ(y, func(g Group) { gone[g] = true }, func(g Group) { come[g] = true })
		for _, s := range []GroupSet{x, y} {
			for g := range s.All() {
				if x.Has(g) != a[g] || y.Has(g) != b[g] || gone[g] != (a[g] && !b[g]) || come[g] != (b[g] && !a[g]) {
					t.Fatalf("%v of %v and %v: gone %v, come %v", g, x, y, gone[g], come[g])
				}
			}
		}
		if x.Equal(y) != (len(gone)+len(come) == 0) {
			t.Fatalf("%v and %v are equal: %v", x, y, x.Equal(y))
		}
		named := x.Without(func(g Group) bool { return g.Name == "" })
		for g := range a {
			if named.Has(g) != (g.Name != "") {
				t.Fatalf("%v of %v without those that have no name: %v", g, x, named)
			}
		}
	}
}

// TestHostSet: a set of hosts is what a map of numbers would be.
func TestHostSet(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	m, s := map[int]bool{}, hostSet{}
	for range 5000 {
		n := r.IntN(300)
		if r.IntN(2) == 0 {
			s.add(n)
			m[n] = true
		} else {
			s.remove(n)
			delete(m, n)
		}
		had := 0
		for n := range s.all {
			if !m[n] {
				t.Fatalf("%d is in it", n)
			}
			had++
		}
		if had != len(m) || s.empty() != (len(m) == 0) {
			t.Fatalf("%d numbers, not %d", had, len(m))
		}
	}
}
