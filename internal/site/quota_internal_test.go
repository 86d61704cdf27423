package site

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// However a limit is dealt out, the parts make the whole, and no shard gets less than
// it holds.
func TestDeal(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		limit := r.Int64N(40_000)
		if r.IntN(2) == 0 {
			limit = r.Int64N(100)
		}
		used := make([]int64, 1<<(4*shardDigits(limit)))
		for range min(limit, r.Int64N(200)) {
			used[r.IntN(1+r.IntN(len(used)))]++
		}
		s := deal(limit, used)
		got, ok := parseShards(s.text())
		if !ok || got.limit != limit || got.digits != s.digits || !slices.Equal(got.extra, s.extra) {
			t.Fatalf("%q reads as %+v, %v", s.text(), got, ok)
		}
		sum := int64(0)
		for i := range s.count() {
			if s.holds(i) < used[i] {
				t.Fatalf("limit %d: shard %d may hold %d, and has %d", limit, i, s.holds(i), used[i])
			}
			sum += s.holds(i)
		}
		if sum != limit {
			t.Fatalf("limit %d: the shards may hold %d", limit, sum)
		}
	}
}

func FuzzShards(f *testing.F) {
	for _, s := range []string{"0/1", "500/2", "5/1/1,1,1,1,1,0,0,0,0,0,0,0,0,0,0,0", "", "-1/1", "1/4", "1/1/", "x/y/z", "9223372036854775807/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := parseShards(text)
		if !ok {
			return
		}
		for i := range s.count() {
			s.holds(i)
		}
		again, ok := parseShards(s.text())
		if !ok || again.limit != s.limit || again.digits != s.digits || !slices.Equal(again.extra, s.extra) {
			t.Errorf("%q becomes %q", text, s.text())
		}
	})
}

// The keys of prefixes begin with each other just where the prefixes cover each other.
func TestPrefixKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	random := func() netip.Prefix {
		return netip.PrefixFrom(addrV4(0x0a000000|r.Uint32N(64)<<20|r.Uint32N(16)), 8+r.IntN(25)).Masked()
	}
	for range 5000 {
		a, b := random(), random()
		ka, kb := bitText(a), bitText(b)
		if covers := a.Bits() <= b.Bits() && a.Contains(b.Addr()); covers != (len(ka) <= len(kb) && kb[:len(ka)] == ka) {
			t.Fatalf("%s is %s, %s is %s", a, ka, b, kb)
		}
		from, to := rangeOf(ka)
		if from != uint64(v4(a.Addr())) || to-from != uint64(addresses(a.Bits())) {
			t.Fatalf("%s is %d to %d", a, from, to)
		}
	}
}
