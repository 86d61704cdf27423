package site_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
)

// A pool is filled and emptied at random. What comes out of it never overlaps, and
// it says that it is full only where every place is taken indeed.
func TestPoolAgainstModel(t *testing.T) {
	for round := range uint64(20) {
		r := rand.New(rand.NewPCG(round, 7))
		f := newSite(t)
		blocks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/26"), netip.MustParsePrefix("10.9.0.64/27"), netip.MustParsePrefix("10.9.0.128/30")}
		in := &site.SubnetPoolInput{}
		in.Prefixes = blocks
		pools, err := f.CreateSubnetPools(t.Context(), []*site.SubnetPoolInput{in})
		f.ok(err)
		taken := map[model.SubnetID]netip.Prefix{}
		free := func(p netip.Prefix) bool {
			for _, other := range taken {
				if other.Overlaps(p) {
					return false
				}
			}
			return true
		}
		for range 120 {
			if r.IntN(3) == 0 && len(taken) > 0 {
				for id := range taken {
					f.ok(f.DeleteSubnet(t.Context(), string(id), nil))
					delete(taken, id)
					break
				}
				continue
			}
			length := 26 + r.IntN(6)
			net := f.network(model.NetworkOverlay)
			got, err := f.CreateSubnets(t.Context(), []*site.SubnetInput{{
				Subnet: model.Subnet{NetworkID: net.ID, PoolID: pools[0].ID}, PrefixLen: length, AutoGateway: true, AutoPools: true,
			}})
			if err == nil {
				p := got[0].CIDR
				inside := false
				for _, b := range blocks {
					inside = inside || b.Overlaps(p) && b.Bits() <= p.Bits()
				}
				if p.Bits() != length || !inside || !free(p) {
					t.Fatalf("round %d: got %s of length %d beside %v", round, p, length, taken)
				}
				taken[got[0].ID] = p
				continue
			}
			var e *model.Error
			if !errors.As(err, &e) || e.Type != "SubnetAllocationError" {
				t.Fatal(err)
			}
			for _, b := range blocks {
				if b.Bits() > length {
					continue
				}
				for p := netip.PrefixFrom(b.Addr(), length); b.Contains(p.Addr()); p = next(p) {
					if free(p) {
						t.Fatalf("round %d: nothing of length %d, but %s is free beside %v", round, length, p, taken)
					}
				}
			}
		}
		f.sound()
	}
}

// next is the prefix of the same length after p.
func next(p netip.Prefix) netip.Prefix {
	a := p.Addr()
	for range 1 << (32 - p.Bits()) {
		a = a.Next()
	}
	return netip.PrefixFrom(a, p.Bits())
}
