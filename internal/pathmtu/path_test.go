package pathmtu

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a path on a clock of its own.
type world struct {
	now     time.Time
	chance  *rand.Rand
	there   int // the largest packet that passes
	back    int
	loss    float64
	outage  bool
	tunnel  bool // the peer's router answers
	echo    bool // the VTEP does
	delay   time.Duration
	flights []flight
	sent    int
	large   int // packets of more than SmallSize
}

type flight struct {
	at time.Time
	pk Packet
}

func newWorld(seed uint64) *world {
	return &world{
		now: time.Unix(1e9, 0), chance: rand.New(rand.NewPCG(seed, 1)), there: 1500, back: 1500,
		tunnel: true, echo: true, delay: 2 * time.Millisecond,
	}
}

func (w *world) path(set Settings, limit, believed, targets int) *Path {
	return New(set, limit, believed, targets, rand.New(rand.NewPCG(7, 7)), w.now)
}

func (w *world) send(pks []Packet) {
	for _, pk := range pks {
		w.sent++
		if pk.Size != SmallSize {
			w.large++
		}
		answers := pk.Method == Tunnel && w.tunnel || pk.Method == Underlay && w.echo
		if w.outage || !answers || pk.Size > w.there || pk.Size > w.back || w.chance.Float64() < w.loss || w.chance.Float64() < w.loss {
			continue
		}
		w.flights = append(w.flights, flight{w.now.Add(w.delay), pk})
	}
}

// run lets time pass, or until ok holds, and returns how much passed.
func (w *world) run(p *Path, most time.Duration, ok func(State) bool) time.Duration {
	start := w.now
	for end := w.now.Add(most); w.now.Before(end); {
		w.send(p.Step(w.now))
		if ok != nil && ok(p.State(w.now)) {
			break
		}
		next := end
		if d := p.Due(); d.Before(next) && !d.IsZero() {
			next = d
		}
		at := -1
		for i, f := range w.flights {
			if f.at.Before(next) {
				next, at = f.at, i
			}
		}
		if next.After(w.now) {
			w.now = next
		}
		if at >= 0 {
			pk := w.flights[at].pk
			w.flights = append(w.flights[:at], w.flights[at+1:]...)
			p.Answered(pk, w.now)
		}
	}
	return w.now.Sub(start)
}

var usual = Settings{Floor: 1280, Interval: 5 * time.Second}

func proven(mtu int) func(State) bool {
	return func(s State) bool { return s.Kind == Proven && s.MTU == mtu && !s.Silent }
}

func within(t *testing.T, what string, took, most time.Duration, s State, ok func(State) bool) {
	t.Helper()
	if !ok(s) || took > most {
		t.Fatalf("%s: after %v %+v, want it within %v", what, took, s, most)
	}
}

func TestFindsEachSize(t *testing.T) {
	for _, limit := range []int{1500, 9000} {
		for _, mtu := range []int{1280, 1281, 1300, 1399, 1400, 1401, 1450, 1472, 1499, 1500, 4000, 8999, 9000} {
			if mtu > limit {
				continue
			}
			w := newWorld(1)
			w.there, w.back = mtu, mtu
			p := w.path(usual, limit, 0, 1)
			took := w.run(p, time.Minute, proven(mtu))
			within(t, fmt.Sprintf("%d of %d", mtu, limit), took, 5*time.Second, p.State(w.now), proven(mtu))
		}
	}
}

// TestStable: what a path costs that does not change.
func TestStable(t *testing.T) {
	for mtu, most := range map[int]int{1500: 16, 1400: 48} {
		w := newWorld(1)
		w.there = mtu
		p := w.path(usual, 1500, 0, 1)
		w.run(p, time.Minute, proven(mtu))
		w.run(p, 10*time.Second, nil)
		w.sent = 0
		w.run(p, time.Minute, func(s State) bool { return !proven(mtu)(s) })
		within(t, "stable", 0, time.Second, p.State(w.now), proven(mtu))
		if w.sent > most {
			t.Errorf("%d packets a minute for a stable path of %d, want at most %d", w.sent, mtu, most)
		}
	}
}

func TestLoweredInSilenceAndRaised(t *testing.T) {
	w := newWorld(1)
	p := w.path(usual, 1500, 0, 1)
	w.run(p, time.Minute, proven(1500))
	for _, mtu := range []int{1400, 1500, 1300, 1472, 1390, 1500} {
		w.there = mtu
		took := w.run(p, time.Minute, proven(mtu))
		within(t, fmt.Sprintf("changed to %d", mtu), took, 10*time.Second, p.State(w.now), proven(mtu))
	}
}

// TestHintOnlyLooks: an ICMP error has the path looked at, and changes nothing by itself.
func TestHintOnlyLooks(t *testing.T) {
	w := newWorld(1)
	p := w.path(usual, 1500, 0, 1)
	w.run(p, time.Minute, proven(1500))
	w.run(p, 10*time.Second, nil)
	w.sent = 0
	for range 10000 { // a flood for ten seconds
		p.Hint(552, w.now)
		w.run(p, time.Millisecond, nil)
		if s := p.State(w.now); !proven(1500)(s) {
			t.Fatalf("forged errors: %+v", s)
		}
	}
	if w.sent > 15 {
		t.Errorf("a flood of errors cost %d packets in ten seconds", w.sent)
	}
	w.there = 1400
	p.Hint(1400, w.now)
	took := w.run(p, time.Minute, proven(1400))
	within(t, "a true error", took, 3*time.Second, p.State(w.now), proven(1400))
}

func TestOutageLowersNothing(t *testing.T) {
	w := newWorld(1)
	p := w.path(usual, 1500, 0, 1)
	w.run(p, time.Minute, proven(1500))
	w.outage = true
	w.run(p, 5*time.Minute, func(s State) bool { return s.MTU != 1500 || s.Kind != Proven })
	if s := p.State(w.now); s.MTU != 1500 || s.Kind != Proven || !s.Silent {
		t.Fatalf("in the outage: %+v", s)
	}
	p.Hint(552, w.now)
	if s := p.State(w.now); s.MTU != 1500 {
		t.Fatalf("an ICMP error in the outage: %+v", s)
	}
	w.outage = false
	took := w.run(p, time.Minute, proven(1500))
	within(t, "after the outage", took, 40*time.Second, p.State(w.now), proven(1500))
	// What was proven long ago is no proof any more.
	w.outage = true
	w.run(p, 20*time.Minute, func(s State) bool { return s.Kind == Unproven })
	if s := p.State(w.now); s.Kind != Unproven || s.MTU != 1500 {
		t.Fatalf("after a long outage: %+v", s)
	}
}

func TestUnproven(t *testing.T) {
	w := newWorld(1)
	w.tunnel, w.echo = false, false
	p := w.path(usual, 1500, 0, 1)
	took := w.run(p, time.Minute, func(s State) bool { return s.Kind == Unproven })
	within(t, "nothing answers", took, 5*time.Second, p.State(w.now), func(s State) bool { return s.Kind == Unproven && s.MTU == 1500 })
	for hint, want := range map[int]int{1400: 1400, 552: 1280, 0: 1500, 9000: 1500} {
		p.Hint(hint, w.now)
		if s := p.State(w.now); s.MTU != want || s.Lowered != (want < 1500) {
			t.Errorf("ICMP says %d: %+v, want %d", hint, s, want)
		}
		w.run(p, 15*time.Second, nil)
		if s := p.State(w.now); s.MTU != 1500 || s.Lowered {
			t.Errorf("ICMP said %d: %+v seconds later", hint, s)
		}
	}
	// The VTEP begins to answer, then the peer's router does.
	w.echo, w.there = true, 1450
	took = w.run(p, 2*time.Minute, proven(1450))
	within(t, "echo", took, 45*time.Second, p.State(w.now), func(s State) bool { return s.By == Underlay && s.MTU == 1450 })
	w.tunnel = true
	took = w.run(p, 2*time.Minute, func(s State) bool { return s.By == Tunnel })
	within(t, "the peer's router", took, 70*time.Second, p.State(w.now), proven(1450))
	// And no longer.
	w.tunnel = false
	took = w.run(p, 2*time.Minute, func(s State) bool { return s.By == Underlay && s.MTU == 1450 && !s.Silent })
	within(t, "echo again", took, 20*time.Second, p.State(w.now), proven(1450))
}

func TestAsymmetric(t *testing.T) {
	w := newWorld(1)
	w.back = 1420
	p := w.path(usual, 1500, 0, 1)
	took := w.run(p, time.Minute, proven(1420))
	within(t, "the way back takes less", took, 5*time.Second, p.State(w.now), proven(1420))
}

func TestFixedAndFloor(t *testing.T) {
	w := newWorld(1)
	p := w.path(Settings{Fixed: 1400, Floor: 1280}, 1500, 0, 1)
	w.run(p, time.Minute, nil)
	p.Hint(1300, w.now)
	if s := p.State(w.now); s.Kind != Fixed || s.MTU != 1400 || w.sent > 0 {
		t.Errorf("fixed: %+v after %d packets", s, w.sent)
	}
	p.SetLimit(1300, w.now)
	if s := p.State(w.now); s.MTU != 1300 {
		t.Errorf("fixed to more than the link takes: %+v", s)
	}
	w = newWorld(1)
	w.there = 1000
	p = w.path(usual, 1500, 0, 1)
	took := w.run(p, time.Minute, func(s State) bool { return s.Stuck })
	within(t, "less than the floor", took, 5*time.Second, p.State(w.now), func(s State) bool { return s.Stuck && s.MTU == 1280 && s.Kind == Searching })
	w.there = 1500
	took = w.run(p, time.Minute, proven(1500))
	within(t, "from below the floor", took, 10*time.Second, p.State(w.now), proven(1500))
}

func TestLinkChanges(t *testing.T) {
	w := newWorld(1)
	w.there, w.back = 9000, 9000
	p := w.path(usual, 1500, 0, 1)
	w.run(p, time.Minute, proven(1500))
	p.SetLimit(1200, w.now)
	if s := p.State(w.now); s.MTU != 1200 {
		t.Fatalf("a smaller link: %+v", s)
	}
	w.run(p, 10*time.Second, proven(1200))
	p.SetLimit(9000, w.now)
	if s := p.State(w.now); s.MTU != 1280 {
		t.Fatalf("a larger link proves nothing: %+v", s)
	}
	took := w.run(p, time.Minute, proven(9000))
	within(t, "a larger link", took, 5*time.Second, p.State(w.now), proven(9000))
}

// TestRestart: what was proven before is believed until something else is proven.
func TestRestart(t *testing.T) {
	w := newWorld(1)
	w.there, w.outage = 1400, true
	p := w.path(usual, 1500, 1400, 1)
	w.run(p, time.Minute, func(s State) bool { return s.MTU != 1400 })
	if s := p.State(w.now); s.MTU != 1400 || s.Kind != Proven {
		t.Fatalf("after a restart: %+v", s)
	}
	w.outage = false
	took := w.run(p, time.Minute, proven(1400))
	within(t, "confirmed", took, 40*time.Second, p.State(w.now), proven(1400))
}

// TestSlowPath: answers that come later than anything so far are proofs all the same.
func TestSlowPath(t *testing.T) {
	w := newWorld(1)
	w.delay = 800 * time.Millisecond
	p := w.path(usual, 1500, 0, 1)
	took := w.run(p, time.Minute, proven(1500))
	within(t, "by satellite", took, 10*time.Second, p.State(w.now), proven(1500))
	w.delay = 1500 * time.Millisecond
	if took := w.run(p, 2*time.Minute, func(s State) bool { return s.MTU != 1500 }); took < 2*time.Minute {
		t.Errorf("slower: %+v", p.State(w.now))
	}
}

// TestLossHardlyLowers: loss that hits all sizes alike is no reason to lower.
func TestLossHardlyLowers(t *testing.T) {
	for _, loss := range []float64{0.01, 0.1, 0.3, 0.5} {
		low, total := time.Duration(0), time.Duration(0)
		for seed := range uint64(10) {
			w := newWorld(seed)
			w.loss = loss
			p := w.path(usual, 1500, 1500, 1)
			for range 600 {
				w.run(p, time.Second, nil)
				total += time.Second
				if p.State(w.now).MTU < 1500 {
					low += time.Second
				}
			}
		}
		if float64(low) > 0.01*float64(total) {
			t.Errorf("with %.0f %% lost each way, it was too low for %v of %v", 100*loss, low, total)
		}
	}
}

// TestAnyHistory: whatever happens, the size in use is between floor and link, rounds
// are small, and once the path is quiet its true size is found within seconds.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Uint64().Draw(t, "seed"))
		limit := rapid.SampledFrom([]int{1500, 9000, 1400}).Draw(t, "limit")
		p := w.path(usual, limit, 0, rapid.IntRange(0, 5).Draw(t, "targets"))
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			case 0:
				w.there = rapid.IntRange(1000, 9100).Draw(t, "there")
			case 1:
				w.back = rapid.IntRange(1000, 9100).Draw(t, "back")
			case 2:
				w.loss = rapid.Float64Range(0, 0.6).Draw(t, "loss")
			case 3:
				w.outage = !w.outage
			case 4:
				w.tunnel = !w.tunnel
			case 5:
				w.echo = !w.echo
			case 6:
				limit = rapid.IntRange(1200, 9000).Draw(t, "new limit")
				p.SetLimit(limit, w.now)
			case 7:
				w.delay = time.Duration(rapid.IntRange(1, 900).Draw(t, "delay")) * time.Millisecond
			}
			p.Hint(rapid.IntRange(0, 2000).Draw(t, "hint"), w.now)
			for range rapid.IntRange(0, 30).Draw(t, "seconds") {
				w.run(p, time.Second, nil)
				if s := p.State(w.now); s.MTU > limit || s.MTU < min(1280, limit) {
					t.Fatalf("%+v is beyond floor and link", s)
				}
			}
		}
		w.loss, w.outage, w.tunnel, w.echo = 0, false, true, true
		want := min(w.there, w.back, limit)
		if want < min(1280, limit) {
			return
		}
		took := w.run(p, 10*time.Minute, func(s State) bool { return proven(want)(s) && p.settled() })
		if s := p.State(w.now); !proven(want)(s) {
			t.Fatalf("after %v of quiet: %+v, want %d", took, s, want)
		}
		// A better prober is looked for each minute, and a search may take 30 s of it.
		if took > 2*time.Minute {
			t.Fatalf("found %d only after %v", want, took)
		}
	})
}
