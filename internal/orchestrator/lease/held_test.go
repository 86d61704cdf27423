package lease

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestWaitIsTold: who waits is told for whom, since when and what it does, again when that changes; and
// afterwards how it ended.
func TestWaitIsTold(t *testing.T) {
	r := newRouters()
	const term = 2 * time.Second
	holder := "web-1.0a1b2c3d-4026531836.4711.12345.beef"
	first, err := Take(t.Context(), "acme", places(r, 1), Options{Holder: holder, Doing: "apply", Term: term})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan Held, 100)
	second := make(chan *Lease, 1)
	go func() {
		l, err := Take(t.Context(), "acme", places(r, 1), Options{Holder: "second", Term: term, Wait: time.Hour, OnWait: func(h Held) { told <- h }})
		if err != nil {
			t.Error(err)
		}
		second <- l
	}()
	h := testutil.Receive(t, "the first word", told)
	if h.Holder != holder || h.Doing != "apply" || h.Since.IsZero() || time.Since(h.Since) > time.Minute || h.Died {
		t.Errorf("%+v", h)
	}
	first.Report(12, 96)
	testutil.Eventually(t, "its progress to be told", func() bool {
		h := testutil.Receive(t, "a word", told)
		return h.Done == 12 && h.All == 96 && h.Waited > 0
	})
	first.Release(t.Context())
	l := testutil.Receive(t, "the second", second)
	defer l.Release(t.Context())
	if w := l.Waited(); w == nil || w.Holder != holder || w.Done != 12 || w.Died {
		t.Errorf("waited for %+v", w)
	}
	if first.Waited() != nil {
		t.Error("the first waited for nobody")
	}
}

// TestDiedIsTold: that a run ended without giving its lease back is told.
func TestDiedIsTold(t *testing.T) {
	r := newRouters()
	if _, err := Take(t.Context(), "acme", places(r, 1), Options{Holder: "first", Term: time.Hour}); err != nil {
		t.Fatal(err)
	}
	dead := false
	l, err := Take(t.Context(), "acme", places(r, 1), Options{
		Holder: "second", Term: time.Second * 10, Wait: time.Hour, OnWait: func(Held) { dead = true }, Dead: func(string) bool { return dead },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release(t.Context())
	if w := l.Waited(); w == nil || !w.Died || w.Holder != "first" {
		t.Errorf("%+v", w)
	}
}

// TestHeldInWords: the holder is named so that one finds it; tags of earlier releases, and what others
// write there, are no news.
func TestHeldInWords(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)
	at := func(suffix string) Held {
		return heldBy("acme", "site-a", "web-1.0a1b2c3d-4026531836.4711.12345.beef", "causeway:lease:acme:web-1.0a1b2c3d-4026531836.4711.12345.beef:"+suffix)
	}
	h := at(work{"destroy", noon, 3, 22}.suffix(7))
	if got := h.Who(); got != "causeway peer destroy on host web-1, process 4711, since 2026-01-02 12:00:00, 3 of 22 steps done" {
		t.Error(got)
	}
	if got := h.Error(); got != "another run is at work on peering acme: "+h.Who()+" (its lease is at site-a)" {
		t.Error(got)
	}
	for _, old := range []string{"7", "", "7.apply", "7.rm.1.0.0", "7.apply.x.0.0", "7.apply.-4.0.0", "7.apply.99999999999999999999.0.0", "7.apply.1.5.2", "7.apply.1.-1.2"} {
		if got := at(old).Who(); got != "a run on host web-1, process 4711" {
			t.Errorf("%q: %s", old, got)
		}
	}
	long := "causeway:lease:" + strings.Repeat("p", 60) + ":" + strings.Repeat("h", 60) + ".0a1b2c3d-4026531836.4194304.99999999999.beef:" + work{"destroy", noon, 99999, 99999}.suffix(99999)
	if len(long) > 255 {
		t.Errorf("a tag of %d characters", len(long))
	}
	if errors.As(error(h), new(Held)) == false {
		t.Error("no error")
	}
}
