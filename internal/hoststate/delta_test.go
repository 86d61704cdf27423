package hoststate

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"pgregory.net/rapid"
)

// genState draws a state from small sets of keys, so that states overlap.
func genState(t *rapid.T, label string) State {
	s := NewState()
	for i := range rapid.IntRange(0, 6).Draw(t, label) {
		k := uint32(rapid.IntRange(1, 4).Draw(t, "key"))
		v := rapid.IntRange(0, 2).Draw(t, "value")
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(k)})
		switch i % 5 {
		case 0:
			p := Port{Interface: fmt.Sprint(v)}
			if v > 0 {
				p.Addrs = []netip.Addr{addr}
			}
			s.Ports[model.PortKey(k)] = p
		case 1:
			s.FDB[FDBKey{Network: model.NetworkKey(k)}] = FDBEntry{Kind: FDBKind(v)}
		case 2:
			s.Routes[RouteKey{1, netip.PrefixFrom(addr, 32)}] = Route{Kind: RouteKind(v)}
		case 3:
			s.Peers[PeerKey{Remote: addr}] = Peer{Network: model.NetworkKey(v)}
		case 4:
			s.Gateways[model.GatewayDeviceID(fmt.Sprint(k))] = Gateway{Uplinks: make([]Uplink, v)}
		}
	}
	return s
}

func TestDiffAndMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genState(t, "a"), genState(t, "b"), genState(t, "c")
		ab, bc := Diff(a, b), Diff(b, c)
		if ab.Empty() != a.Equal(b) {
			t.Fatalf("Empty %v, Equal %v", ab.Empty(), a.Equal(b))
		}
		s := a.Clone()
		s.Apply(ab)
		if !s.Equal(b) {
			t.Fatalf("a + (b-a) = %v, want %v", s, b)
		}
		// One delta for two, and for a full state and one.
		merged := Delta{}
		merged.Merge(ab)
		merged.Merge(bc)
		s = a.Clone()
		s.Apply(merged)
		if !s.Equal(c) {
			t.Fatalf("merged: %v, want %v", s, c)
		}
		full := Delta{}
		full.Merge(Delta{Full: true, Set: b})
		full.Merge(bc)
		if full.Unset.Len() != 0 {
			t.Fatal("a full delta unsets")
		}
		s = a.Clone()
		s.Apply(full)
		if !s.Equal(c) {
			t.Fatalf("full: %v, want %v", s, c)
		}
	})
}

func TestApplyToZero(t *testing.T) {
	var s State
	s.Apply(Delta{Set: State{Neighbors: map[NeighborKey]model.MAC{{Network: 1}: {1}}}})
	if s.Len() != 1 || s.Ports == nil {
		t.Fatalf("%+v", s)
	}
	var zero State
	if !zero.Equal(NewState()) {
		t.Fatal("nil maps differ from empty ones")
	}
}
