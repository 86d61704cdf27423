package orchestrator_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/orchestrator/apply"
)

// chapterWorld is the guide's example, with a gateway to be made at site-b.
func chapterWorld(t testing.TB, seed uint64) *world {
	l, p := madeLab(t, 2)
	w := &world{lab: l, rnd: rand.New(rand.NewPCG(seed, 3)), p: p, dead: map[string]bool{}, cidr: netip.MustParsePrefix("192.168.0.0/24")}
	w.before = w.states()
	return w
}

// TestKilledAtEveryCall: whichever request of apply is the last that is heard of, a
// second apply completes it; and the same for destroy.
func TestKilledAtEveryCall(t *testing.T) {
	t.Parallel()
	w := chapterWorld(t, 1)
	calls := 0
	for k := 1; ; k++ {
		_, err := w.run(applied, &faults{killAt: k})
		if err == nil {
			calls = k
			break
		}
		if _, err := w.run(applied, &faults{}); err != nil {
			t.Fatalf("apply after a kill at request %d: %v", k, err)
		}
		w.checkApplied()
		if _, err := w.run(destroyed, &faults{killAt: k}); err == nil && k < 40 {
			t.Fatalf("destroy was not killed at request %d", k)
		}
		if _, err := w.run(destroyed, &faults{}); err != nil {
			t.Fatalf("destroy after a kill at request %d: %v", k, err)
		}
		if d := cmp.Diff(w.before, w.states()); d != "" {
			t.Fatalf("after a kill at request %d and destroy: %s", k, d)
		}
	}
	if calls < 60 {
		t.Errorf("apply took %d requests only", calls)
	}
	t.Logf("killed at each of %d requests", calls)
}

// TestRefusedAtEveryStep: whichever step the site refuses for good, everything is as
// it was before, to the last attribute.
func TestRefusedAtEveryStep(t *testing.T) {
	t.Parallel()
	w := chapterWorld(t, 2)
	refused := 0
	for k := 1; ; k++ {
		f := &faults{refuseAt: k}
		_, err := w.run(applied, f)
		if err == nil {
			break
		}
		var step *apply.StepError
		if !errors.As(err, &step) {
			t.Fatalf("refused at %d: %v", k, err)
		}
		refused++
		if !step.TakenBack {
			t.Fatalf("refused at %d: %v, and not taken back: %q", k, err, step.Left)
		}
		if d := cmp.Diff(w.before, w.states()); d != "" {
			t.Fatalf("refused at %d: %v: %s", k, err, d)
		}
	}
	if refused < 25 {
		t.Errorf("%d steps were refused only", refused)
	}
	w.checkApplied()
}
