package hoststate_test

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hoststate/statetest"
	"github.com/causeway-net/causeway/internal/model"
)

// TestDigestKeeper: after any changes it has what working the digests out anew gives.
func TestDigestKeeper(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 50 {
		var k hoststate.DigestKeeper
		st := hoststate.NewState()
		for step := range 20 {
			next := statetest.Change(r, st, 4)
			if step%2 == 0 { // else the rows of VNIs may be another group's
				next.Gateways = st.Gateways
			}
			d := hoststate.Diff(st, next)
			if r.IntN(10) == 0 {
				d = hoststate.Delta{Full: true, Set: next}
			}
			k.Change(&st, d)
			st.Apply(d)
			if r.IntN(3) > 0 && !maps.Equal(k.Digests(&st), st.Digests()) {
				t.Fatalf("step %d: %v, and not %v", step, k.Digests(&st), st.Digests())
			}
		}
	}
}

// TestDigestKeeperNamedTwice: a key that a delta unsets twice, or unsets and sets, counts once.
func TestDigestKeeperNamedTwice(t *testing.T) {
	var k hoststate.DigestKeeper
	st := hoststate.NewState()
	st.Routers[1], st.Routers[2] = hoststate.Router{}, hoststate.Router{}
	k.Digests(&st)
	d := hoststate.Diff(st, st)
	d.Unset.Routers = []model.RouterKey{1, 1, 2}
	d.Set.Routers = map[model.RouterKey]hoststate.Router{2: {}}
	k.Change(&st, d)
	st.Apply(d)
	if !maps.Equal(k.Digests(&st), st.Digests()) {
		t.Errorf("%v, and not %v", k.Digests(&st), st.Digests())
	}
}
