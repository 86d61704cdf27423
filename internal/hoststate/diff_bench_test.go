package hoststate

import (
	"testing"
)

// BenchmarkDiffAndApply compares two states of some 30,000 rows that differ in a port, and
// applies the difference.
func BenchmarkDiffAndApply(b *testing.B) {
	t, c := bigSite(10_000)
	from := Compile(t, "h")
	down := *c.vm
	down.AdminStateUp = false
	t.Apply(Change{New: &down})
	to := Compile(t, "h")
	b.Run("diff", func(b *testing.B) {
		for b.Loop() {
			Diff(from, to)
		}
	})
	there, back := Diff(from, to), Diff(to, from)
	st := from.Clone()
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			st.Apply(there)
			st.Apply(back)
		}
	})
	b.Run("merge", func(b *testing.B) {
		var d Delta
		for b.Loop() {
			d.Merge(there)
			d.Merge(back)
		}
	})
	b.Run("clone", func(b *testing.B) {
		for b.Loop() {
			from.Clone()
		}
	})
}
