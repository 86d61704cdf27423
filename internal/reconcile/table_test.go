package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func newTable() (*clock, *Set, *Table[string]) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	s := NewSet(func() time.Time { return c.now })
	return c, s, NewTable(s, "things", func(k string) string { return "thing " + k }, func(k string) string { return k + " as it should be" })
}

func takes(t *testing.T, x *Table[string], want ...string) {
	t.Helper()
	got := x.Take()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("due: %v, want %v", got, want)
	}
}

// TestPauses: each object has a pause of its own, which doubles, is bounded, and begins
// anew after success.
func TestPauses(t *testing.T) {
	c, s, x := newTable()
	x.Due("a")
	x.Due("b")
	takes(t, x, "a", "b")
	x.Done("b")
	if _, ok := s.Next(); ok {
		t.Error("something is due by time before anything has failed")
	}
	pause := MinPause
	for range 20 {
		x.Failed("a", errors.New("no"))
		at, ok := s.Next()
		if !ok || at.Sub(c.now) != pause {
			t.Fatalf("the next try is in %v, want %v", at.Sub(c.now), pause)
		}
		c.pass(pause - 1)
		takes(t, x)
		c.pass(1)
		takes(t, x, "a")
		pause = min(2*pause, MaxPause)
	}
	if pause != MaxPause {
		t.Errorf("the pause ends at %v", pause)
	}
	// A newcomer that fails does not wait for one that has failed for long.
	x.Failed("a", errors.New("no"))
	x.Failed("b", errors.New("no"))
	if at, _ := s.Next(); at.Sub(c.now) != MinPause {
		t.Errorf("the newcomer waits %v", at.Sub(c.now))
	}
	c.pass(MinPause)
	takes(t, x, "b")
	x.Done("b")
	x.Due("a") // an event comes before the pause is over
	takes(t, x, "a")
	if !x.Done("a") || x.Done("a") {
		t.Error("Done does not tell what was mended, once")
	}
	if _, ok := s.Next(); ok || x.Fails() {
		t.Error("something is still tried again")
	}
	x.Failed("a", errors.New("no"))
	if at, _ := s.Next(); at.Sub(c.now) != MinPause {
		t.Error("the pause does not begin anew")
	}
	x.Forget("a")
	if _, ok := s.Next(); ok || x.Fails() || x.Has("a") {
		t.Error("what is forgotten is tried again")
	}
}

func TestStatus(t *testing.T) {
	c, s, x := newTable()
	begin := c.now
	others := NewTable(s, "others", func(n int) string { return fmt.Sprint(n) }, nil)
	for _, k := range []string{"a", "b", "c", "d"} {
		x.Due(k)
	}
	x.Take()
	x.Done("a")
	if !x.Failed("b", errors.New("broken")) || !x.Waits("c", "not there") {
		t.Error("a failure is no news")
	}
	others.Refused(1, errors.New("for want of b"), Ref{"things", "thing b"})
	c.pass(time.Second)
	if x.Failed("b", errors.New("broken")) || !x.Failed("b", errors.New("broken otherwise")) || x.Waits("c", "not there") {
		t.Error("news is what is new")
	}
	next := c.now.Add(4 * MinPause)
	want := []Status{
		{Kind: "others", Name: "1", State: Failed, Cause: "for want of b", On: Ref{"things", "thing b"}, Since: begin, NextTry: &next},
		{Kind: "things", Name: "thing b", State: Failed, Wanted: "b as it should be", Cause: "broken otherwise", Failures: 3, Since: begin, NextTry: &next},
		{Kind: "things", Name: "thing c", State: Waiting, Wanted: "c as it should be", Cause: "not there", Since: begin},
		{Kind: "things", Name: "thing d", State: Pending, Since: begin},
	}
	show := func(ss []Status) (out []string) {
		for _, s := range ss {
			at := "an event"
			if s.NextTry != nil {
				at = s.NextTry.String()
			}
			s.NextTry = nil
			out = append(out, fmt.Sprintf("%+v, next try: %s", s, at))
		}
		return out
	}
	if got := show(s.List(false)); !slices.Equal(got, show(want)) {
		t.Errorf("got\n%q\nwant\n%q", got, show(want))
	}
	if n := len(s.List(true)); n != 5 {
		t.Errorf("%d objects in all", n)
	}
	counts := s.Counts()[0]
	if counts.Of[Done] != 1 || counts.Of[Failed] != 1 || counts.Of[Waiting] != 1 || counts.Of[Pending] != 1 || counts.Failures != 3 || counts.Next != next {
		t.Errorf("counts %+v", counts)
	}
	x.Done("b")
	others.Done(1)
	if got := s.List(false); len(got) != 2 {
		t.Errorf("mended objects are listed: %v", got)
	}
}

// TestSoon: what strangers ask for in floods is looked at at once, and then no sooner than
// Gap after.
func TestSoon(t *testing.T) {
	c, s, x := newTable()
	x.Soon("a")
	x.SoonAll()
	if _, ok := s.Next(); ok {
		t.Error("something is due that there is not")
	}
	x.Due("a")
	x.Due("b")
	x.Take()
	x.Done("a")
	x.Done("b")
	x.Soon("a")
	takes(t, x, "a")
	for range 3 {
		x.Done("a")
		x.SoonAll()
		takes(t, x)
		x.Due("b") // what is due at once does not wait for that
		takes(t, x, "b")
		c.pass(Gap)
		takes(t, x, "a", "b")
	}
	if _, ok := s.Next(); ok {
		t.Error("something is due")
	}
	x.DueAt("a", c.now.Add(time.Minute))
	if at, ok := s.Next(); !ok || at.Sub(c.now) != time.Minute {
		t.Errorf("due in %v", at.Sub(c.now))
	}
	c.pass(time.Minute)
	takes(t, x, "a")
}

// BenchmarkTake shows that a pass costs what is due, not what there is.
func BenchmarkTake(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint(n, "_objects"), func(b *testing.B) {
			_, s, x := newTable()
			for i := range n {
				k := fmt.Sprint(i)
				x.Due(k)
				x.Done(k)
			}
			x.Take()
			for b.Loop() {
				x.Due("7")
				for _, k := range x.Take() {
					x.Done(k)
				}
				s.Next()
			}
		})
	}
}
