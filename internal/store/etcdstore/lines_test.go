package etcdstore

import (
	"context"
	"errors"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

func (l *lines) waiting(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys[key] == nil {
		return -1
	}
	return len(l.keys[key].waiting)
}

// TestLines: who waits at a key is served in order, who gives up leaves no gap, and
// other keys are not held up.
func TestLines(t *testing.T) {
	var l lines
	join := func(key string) *turn {
		t.Helper()
		x, err := l.join(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	first := join("a")
	other := join("b")
	order := make(chan int, 3)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	for i := range 3 {
		go func() {
			if i == 1 {
				_, err := l.join(ctx, "a")
				gone <- err
				return
			}
			x, err := l.join(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			x.leave()
		}()
		testutil.Eventually(t, "it to wait", func() bool { return l.waiting("a") == i+1 })
	}
	cancel()
	if err := testutil.Receive(t, "the end of who gave up", gone); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	other.leave()
	first.leave()
	for _, want := range []int{0, 2} {
		if got := testutil.Receive(t, "a turn", order); got != want {
			t.Errorf("%d before %d", got, want)
		}
	}
	testutil.Eventually(t, "the lines to end", func() bool { return l.waiting("a") == -1 && l.waiting("b") == -1 })
	var none *turn
	none.leave()
}

// TestMet: where transactions met others' changes is the same for all that met the same.
func TestMet(t *testing.T) {
	tree := func(revs map[string]int64) *snapshot {
		var s snapshot
		var t master
		for k, rev := range revs {
			name, key := familyOf(k)
			t.write(name).Set(key, &item{rev: rev})
			s.rev = max(s.rev, rev)
		}
		s.tree = t.copy()
		return &s
	}
	before := tree(map[string]int64{"k/a": 1, "k/b": 2, "k/c": 3})
	tx := newTx(before)
	tx.reads = map[string]int64{"k/a": 1, "k/b": 2, "k/new": 0}
	tx.ranges = []keyRange{{"r/", "r0"}, {"q/", "q0"}}
	for name, c := range map[string]struct {
		now  map[string]int64
		want string
	}{
		"nothing":  {map[string]int64{"k/a": 1, "k/b": 2, "k/c": 9}, ""},
		"one":      {map[string]int64{"k/a": 1, "k/b": 5}, "k/b"},
		"two":      {map[string]int64{"k/a": 5, "k/b": 5}, "k/a"},
		"deleted":  {map[string]int64{"k/b": 2}, "k/a"},
		"made":     {map[string]int64{"k/a": 1, "k/b": 2, "k/new": 7}, "k/new"},
		"a range":  {map[string]int64{"k/a": 1, "k/b": 2, "r/x": 7}, "r/"},
		"ranges":   {map[string]int64{"k/a": 1, "k/b": 2, "r/x": 7, "q/x": 8}, "q/"},
		"old ones": {map[string]int64{"k/a": 1, "k/b": 2, "r/x": 2}, ""},
	} {
		if got := met(tx, tree(c.now)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	l := lines{keys: map[string]*line{"k/c": {}}}
	if got := l.at(tx); got != "" {
		t.Error(got)
	}
	l.keys["q/"], l.keys["k/b"] = &line{}, &line{}
	if got := l.at(tx); got != "k/b" {
		t.Error(got)
	}
}
