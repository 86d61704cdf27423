package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/testutil"
)

// routers keep tags as an API does: each call is one step, and answers may be lost.
type routers struct {
	mu   sync.Mutex
	tags map[string][]string
	// lose, if not nil, decides before and after a step whether it fails.
	lose func() bool
}

func newRouters() *routers { return &routers{tags: map[string][]string{}} }

var errLost = errors.New("no answer")

func (r *routers) step(do func()) error {
	if r.lose != nil && r.lose() {
		return errLost
	}
	r.mu.Lock()
	do()
	r.mu.Unlock()
	if r.lose != nil && r.lose() {
		return errLost
	}
	return nil
}

func (r *routers) RouterTags(_ context.Context, id string) (out []string, err error) {
	err = r.step(func() { out = slices.Clone(r.tags[id]) })
	return out, err
}

func (r *routers) TagRouter(_ context.Context, id, tag string) error {
	return r.step(func() {
		if !slices.Contains(r.tags[id], tag) {
			r.tags[id] = append(r.tags[id], tag)
		}
	})
}

func (r *routers) UntagRouter(_ context.Context, id, tag string) (was, sure bool, err error) {
	err = r.step(func() {
		if i := slices.Index(r.tags[id], tag); i >= 0 {
			was = true
			r.tags[id] = slices.Delete(r.tags[id], i, i+1)
		}
	})
	return was, true, err
}

func (r *routers) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.tags)
}

func places(r *routers, n int) []Place {
	var out []Place
	for i := range n {
		out = append(out, Place{Site: fmt.Sprintf("site-%02d", i), Router: r, RouterID: fmt.Sprintf("router-%d", i)})
	}
	return out
}

// TestOneAtATime: of many runs that want the lease at once, each gets it in its turn,
// and no two have it together.
func TestOneAtATime(t *testing.T) {
	r := newRouters()
	var inside, turns atomic.Int32
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			l, err := Take(t.Context(), "acme", places(r, 3), Options{Holder: fmt.Sprintf("run-%d", i), Term: time.Second, Wait: time.Minute})
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n != 1 {
				t.Errorf("%d runs have the lease at once", n)
			}
			// Long enough for others to look, and for a renewal now and then.
			_ = pause.For(t.Context(), time.Duration(rand.IntN(300))*time.Millisecond)
			if err := l.Check(); err != nil {
				t.Error(err)
			}
			inside.Add(-1)
			turns.Add(1)
			l.Release(t.Context())
		})
	}
	testutil.Wait(t, "the runs", all.Wait)
	if turns.Load() != 8 || strings.Contains(r.all(), "lease") {
		t.Errorf("%d turns; left: %s", turns.Load(), r.all())
	}
}

// TestHeld: who does not wait is told who has the lease.
func TestHeld(t *testing.T) {
	r := newRouters()
	l, err := Take(t.Context(), "acme", places(r, 2), Options{Holder: "first"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release(t.Context())
	_, err = Take(t.Context(), "acme", places(r, 2), Options{Holder: "second"})
	var held Held
	if !errors.As(err, &held) || held != (Held{Peering: "acme", Site: "site-00", Holder: "first"}) {
		t.Errorf("%v", err)
	}
	other, err := Take(t.Context(), "beta", places(r, 2), Options{Holder: "second"})
	if err != nil {
		t.Fatalf("another peering's lease: %v", err)
	}
	other.Release(t.Context())
	var told []Held
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Take(ctx, "acme", places(r, 2), Options{Holder: "third", Wait: time.Hour, OnWait: func(h Held) { told = append(told, h); cancel() }})
	if !errors.Is(err, context.Canceled) || len(told) != 1 {
		t.Errorf("%v, %v", err, told)
	}
	if strings.Contains(r.all(), "second") || strings.Contains(r.all(), "third") {
		t.Errorf("left: %s", r.all())
	}
}

// TestTakeOver: a lease that nobody renews is taken over after its term and not
// before; its old holder has stopped by then, and does not come back.
func TestTakeOver(t *testing.T) {
	r := newRouters()
	const term = 600 * time.Millisecond
	var silent atomic.Bool
	first := &cutOffRouter{routers: r, off: &silent}
	l, err := Take(t.Context(), "acme", []Place{{"site", first, "router"}}, Options{Holder: "first", Term: term})
	if err != nil {
		t.Fatal(err)
	}
	work, stop := l.Context(t.Context())
	defer stop()
	silent.Store(true)
	begin := time.Now()
	second, err := Take(t.Context(), "acme", []Place{{"site", r, "router"}}, Options{Holder: "second", Term: term, Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < term {
		t.Errorf("taken over after %v; the term is %v", took, term)
	}
	if err := l.Check(); !errors.Is(err, ErrLost) {
		t.Errorf("the old holder goes on: %v", err)
	}
	select {
	case <-work.Done():
		if !errors.Is(context.Cause(work), ErrLost) {
			t.Errorf("cause: %v", context.Cause(work))
		}
	case <-time.After(10 * time.Second):
		t.Error("the old holder's work goes on")
	}
	silent.Store(false)
	l.Release(t.Context())
	if err := second.Check(); err != nil {
		t.Errorf("the new holder: %v", err)
	}
	second.Release(t.Context())
	if strings.Contains(r.all(), "lease") {
		t.Errorf("left: %s", r.all())
	}
}

// TestDead: the lease of a process that has ended is taken over at once.
func TestDead(t *testing.T) {
	r := newRouters()
	if _, err := Take(t.Context(), "acme", places(r, 2), Options{Holder: "first", Term: time.Hour}); err != nil {
		t.Fatal(err)
	}
	l, err := Take(t.Context(), "acme", places(r, 2), Options{Holder: "second", Term: time.Hour, Dead: func(h string) bool { return h == "first" }})
	if err != nil {
		t.Fatal(err)
	}
	l.Release(t.Context())
}

// cutOffRouter does nothing any more once it is off.
type cutOffRouter struct {
	*routers
	off *atomic.Bool
}

func (c *cutOffRouter) TagRouter(ctx context.Context, id, tag string) error {
	if c.off.Load() {
		return errLost
	}
	return c.routers.TagRouter(ctx, id, tag)
}

// TestLostAnswers: with answers that are lost, still no two have the lease.
func TestLostAnswers(t *testing.T) {
	r := newRouters()
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(1, 1))
	r.lose = func() bool {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(100) < 10
	}
	var holder atomic.Pointer[Lease]
	var turns atomic.Int32
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	for i := range 4 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil && turns.Load() < 40; n++ {
				l, err := Take(ctx, "acme", places(r, 1), Options{Holder: fmt.Sprintf("run-%d-%d", i, n), Term: 150 * time.Millisecond, Wait: time.Minute})
				if err != nil {
					continue
				}
				if other := holder.Swap(l); other != nil && other.Check() == nil && l.Check() == nil {
					t.Error("two have the lease")
				}
				_ = pause.For(ctx, time.Duration(rand.IntN(60))*time.Millisecond)
				holder.CompareAndSwap(l, nil)
				turns.Add(1)
				l.Release(context.WithoutCancel(ctx))
			}
		})
	}
	testutil.Wait(t, "the runs", all.Wait)
	if turns.Load() < 3 {
		t.Errorf("%d turns only", turns.Load())
	}
}

func TestSelf(t *testing.T) {
	self := Self()
	if strings.ContainsAny(self, ":,/") || len(self) > 120 {
		t.Errorf("%q does for no tag", self)
	}
	if Ended(self) {
		t.Errorf("%q has ended, it is said", self)
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := strings.Split(self, ".")
	start, _ := startOf(cmd.Process.Pid)
	f[2], f[3] = fmt.Sprint(cmd.Process.Pid), start
	// First nobody has asked how it ended, then somebody has.
	if f[3] != "" {
		testutil.Eventually(t, "a process that has ended and is still listed to be said to have ended", func() bool { return Ended(strings.Join(f, ".")) })
	}
	if err := testutil.Exit(t, cmd); err != nil {
		t.Fatal(err)
	}
	if f[3] != "" && !Ended(strings.Join(f, ".")) {
		t.Error("a process that has ended is said to run")
	}
	for _, other := range []string{"", "x", "elsewhere." + strings.Join(strings.Split(self, ".")[1:], ".")} {
		if Ended(other) {
			t.Errorf("%q has ended, it is said", other)
		}
	}
}

// TestSuspended: who wakes up after the machine was suspended does not trust its lease, though its
// own timers have stood still.
func TestSuspended(t *testing.T) {
	r := newRouters()
	var asleep atomic.Int64
	l, err := Take(t.Context(), "acme", places(r, 2), Options{Holder: "one", Term: time.Hour, now: func() time.Duration { return sinceBoot() + time.Duration(asleep.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release(t.Context())
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	asleep.Store(int64(50 * time.Minute))
	if err := l.Check(); !errors.Is(err, ErrLost) {
		t.Errorf("trusted after the term: %v", err)
	}
}

// hanging is a router that answers until it hangs; then it tells how long it is waited for.
type hanging struct {
	*routers
	hangs  atomic.Bool
	waited chan time.Duration
}

func (h *hanging) UntagRouter(ctx context.Context, id, tag string) (was, sure bool, err error) {
	if !h.hangs.Load() {
		return h.routers.UntagRouter(ctx, id, tag)
	}
	end, _ := ctx.Deadline()
	select {
	case h.waited <- time.Until(end):
	default:
	}
	return false, false, context.DeadlineExceeded
}

// TestReleaseIsBounded: a site that hangs does not keep who gives the lease back for a term.
func TestReleaseIsBounded(t *testing.T) {
	h := &hanging{routers: newRouters(), waited: make(chan time.Duration, 1)}
	l, err := Take(t.Context(), "acme", []Place{{Site: "site", Router: h, RouterID: "r"}}, Options{Holder: "one", Term: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	h.hangs.Store(true)
	l.Release(t.Context())
	if d := <-h.waited; d > releaseTime {
		t.Errorf("waited for %v", d)
	}
}
