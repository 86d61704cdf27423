package fair_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/fair"
	"github.com/causeway-net/causeway/internal/testutil"
)

// queue makes who wait at g for n; where it gets it, it is told at got.
func queue(t *testing.T, g *fair.Gate, who string, n int64, got chan<- string) {
	t.Helper()
	before := g.Waiting()
	go func() {
		release, err := g.Acquire(t.Context(), who, n)
		if err != nil {
			return
		}
		got <- who
		release()
	}()
	testutil.Eventually(t, who+" to wait", func() bool { return g.Waiting() == before+1 })
}

// TestTurns: however many of one name wait, another's one is served after the next of
// them.
func TestTurns(t *testing.T) {
	g := fair.NewGate(fair.Options{Capacity: 1})
	release, err := g.Acquire(t.Context(), "many", 1)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 20)
	for range 12 {
		queue(t, g, "many", 1, got)
	}
	queue(t, g, "one", 1, got)
	release()
	var order []string
	for range 13 {
		order = append(order, testutil.Receive(t, "a turn", got))
	}
	if at := slices.Index(order, "one"); at > 1 {
		t.Errorf("one of 13 was served at place %d: %v", at, order)
	}
	if g.Held() != 0 || g.Waiting() != 0 {
		t.Errorf("%d held, %d wait", g.Held(), g.Waiting())
	}
}

// TestLeastHeldIsNext: of those who wait, the one that holds least is served first, whoever came
// first or was served before.
func TestLeastHeldIsNext(t *testing.T) {
	for range 20 { // names are kept in a map, whose order is any
		g := fair.NewGate(fair.Options{Capacity: 10})
		var release func()
		for _, has := range []struct {
			who string
			n   int64
		}{{"much", 5}, {"free", 4}, {"little", 1}} {
			free, err := g.Acquire(t.Context(), has.who, has.n)
			if err != nil {
				t.Fatal(err)
			}
			if has.who == "free" {
				release = free
			}
		}
		got := make(chan string, 2)
		queue(t, g, "much", 4, got)
		queue(t, g, "little", 4, got)
		release()
		if who := testutil.Receive(t, "a turn", got); who != "little" {
			t.Fatal(who, "came first")
		}
	}
}

// TestLeastHeldIsNotOvertaken: what is free is not taken before somebody who waits for
// it and holds less, whoever else waits and holds more.
func TestLeastHeldIsNotOvertaken(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // names are kept in a map, whose order is any
		g := fair.NewGate(fair.Options{Capacity: 10})
		for who, n := range map[string]int64{"much": 6, "some": 2} {
			if _, err := g.Acquire(t.Context(), who, n); err != nil {
				t.Fatal(err)
			}
		}
		got := make(chan string, 2)
		queue(t, g, "much", 4, got)
		release, ok := g.AcquireNow("some", 1)
		if !ok {
			t.Fatal("who holds more comes first")
		}
		release()
		queue(t, g, "little", 4, got)
		if _, ok := g.AcquireNow("some", 1); ok {
			t.Fatal("it was had at once before who holds less")
		}
		if _, err := g.Acquire(gone, "some", 1); !errors.Is(err, context.Canceled) {
			t.Fatal("it was had before who holds less:", err)
		}
	}
}

// TestEach: one name cannot hold all, and those who wait for what they cannot have hold
// up nobody.
func TestEach(t *testing.T) {
	g := fair.NewGate(fair.Options{Capacity: 10, Each: 6})
	release, err := g.Acquire(t.Context(), "a", 100) // cut to 6
	if err != nil || g.Held() != 6 {
		t.Fatal(err, g.Held())
	}
	got := make(chan string, 3)
	queue(t, g, "a", 1, got)
	if _, err := g.Acquire(t.Context(), "b", 4); err != nil {
		t.Fatal(err)
	}
	release()
	if who := testutil.Receive(t, "what was let go", got); who != "a" {
		t.Error(who)
	}
}

// TestLargeIsNotOvertaken: who needs much is not put off for ever by those who need
// little.
func TestLargeIsNotOvertaken(t *testing.T) {
	g := fair.NewGate(fair.Options{Capacity: 4})
	release, err := g.Acquire(t.Context(), "small", 1)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 2)
	queue(t, g, "large", 4, got)
	queue(t, g, "small", 1, got)
	release()
	if who := testutil.Receive(t, "a turn", got); who != "large" {
		t.Error(who, "came first")
	}
}

// TestBounds: the number of those who wait is bounded, and how long they do.
func TestBounds(t *testing.T) {
	g := fair.NewGate(fair.Options{Capacity: 1, Waiting: 2, WaitingEach: 1, Wait: time.Hour})
	release, err := g.Acquire(t.Context(), "a", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	got := make(chan string, 3)
	queue(t, g, "a", 1, got)
	if _, err := g.Acquire(t.Context(), "a", 1); !errors.Is(err, fair.ErrFull) {
		t.Error(err)
	}
	queue(t, g, "b", 1, got)
	if _, err := g.Acquire(t.Context(), "c", 1); !errors.Is(err, fair.ErrFull) {
		t.Error(err)
	}
	if _, ok := g.Try("c", 1); ok {
		t.Error("there is nothing to have")
	}

	short := fair.NewGate(fair.Options{Capacity: 1, Wait: time.Millisecond})
	if _, err := short.Acquire(t.Context(), "a", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := short.Acquire(t.Context(), "b", 1); !errors.Is(err, fair.ErrTimeout) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := short.Acquire(ctx, "b", 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if short.Waiting() != 0 || short.Held() != 1 {
		t.Errorf("%d wait, %d held", short.Waiting(), short.Held())
	}
}
