package controller

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

func arriveHub() *hub {
	return newHub(nil, nil, metrics.NewController("test"), slog.New(slog.DiscardHandler))
}

// TestArrive: agents are taken in some at a time, in the order in which they came; who is tired of waiting leaves the line,
// and a turn ends once.
func TestArrive(t *testing.T) {
	h := arriveHub()
	var all []*arrival
	for _, name := range hostNames(h.line.most) {
		_, a, err := h.arrive(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	tired, leave := context.WithCancel(t.Context())
	refused := make(chan error, 1)
	go func() {
		_, _, err := h.arrive(tired, "tired", nil)
		refused <- err
	}()
	inLine(t, h, 1)
	in := make(chan *arrival, 1)
	go func() {
		_, a, err := h.arrive(t.Context(), "patient", nil)
		if err != nil {
			t.Error(err)
		}
		in <- a
	}()
	inLine(t, h, 2)
	leave()
	if err := testutil.Receive(t, "a refusal", refused); err == nil {
		t.Error("one that had gone was taken in")
	}
	if taken := h.line.taken(); taken != h.line.most {
		t.Fatalf("%d turns of %d are taken", taken, h.line.most)
	}
	all[0].end(true)
	all[0].end(true) // gives no second turn
	a := testutil.Receive(t, "a turn", in)
	if taken := h.line.taken(); taken != h.line.most {
		t.Errorf("%d turns of %d are taken", taken, h.line.most)
	}
	a.end(true)
	for _, a := range all[1:] {
		a.end(true)
	}
	if taken := h.line.taken(); taken != 0 || len(h.line.of) != 0 {
		t.Errorf("%d turns and %d hosts are left", taken, len(h.line.of))
	}
}

// taken is how many turns are.
func (l *line) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turns[0] + l.turns[1]
}

// inLine waits until so many wait.
func inLine(t *testing.T, h *hub, n int) {
	t.Helper()
	testutil.Eventually(t, "the line", func() bool {
		h.line.mu.Lock()
		defer h.line.mu.Unlock()
		return len(h.line.waiting[0])+len(h.line.waiting[1]) == n
	})
}

// came has a host stand in line, or have its turn.
func came(l *line, name model.HostName) *arrival {
	a, _ := l.enter(name, func(error) {})
	a.wait()
	return a
}

func hasTurn(a *arrival) bool {
	a.line.mu.Lock()
	defer a.line.mu.Unlock()
	return a.state == arrivalHasTurn
}

// timeOver has a host have had its time.
func timeOver(a *arrival) {
	a.forHost(true)
	a.line.mu.Lock()
	a.since = a.since.Add(-a.line.hostTime)
	a.line.mu.Unlock()
	a.ranOut()
}

// TestSlowHosts: hosts that do not take what they are sent lose their turns, and from then on have one turn together while
// others wait, and never all.
func TestSlowHosts(t *testing.T) {
	l := newLine(8)
	l.hostTime = time.Hour // none ends by itself here
	names := hostNames(33)
	for _, name := range names[:24] {
		a := came(l, name)
		if len(l.waiting[0]) > 0 {
			t.Fatal("it does not have its turn")
		}
		timeOver(a)
	}
	var slow []*arrival
	for _, name := range names[:24] {
		slow = append(slow, came(l, name))
	}
	if n := len(slices.DeleteFunc(slices.Clone(slow), func(a *arrival) bool { return !hasTurn(a) })); n != slowTurns {
		t.Fatalf("slow hosts have %d turns of %d", n, l.most)
	}
	var well []*arrival
	for _, name := range names[24:] {
		well = append(well, came(l, name))
	}
	for i, a := range well {
		if hasTurn(a) != (i < l.most-slowTurns) {
			t.Errorf("well-behaved host %d has its turn: %v", i, hasTurn(a))
		}
	}
	// Turns that slow hosts give back go to the others while those wait, all but one.
	slow[0].end(true)
	slow[1].end(false)
	if !hasTurn(well[4]) || !hasTurn(well[5]) || hasTurn(slow[4]) {
		t.Error("a slow host goes before others")
	}
	slow[2].end(false)
	slow[3].end(false)
	if !hasTurn(slow[4]) || hasTurn(slow[5]) || hasTurn(well[8]) {
		t.Error("slow hosts do not have one turn while others wait")
	}
	for _, a := range slices.Concat(slow, well) {
		a.end(true)
	}
	if l.taken() != 0 || len(l.waiting[0])+len(l.waiting[1]) != 0 || len(l.slow) != 3 {
		t.Errorf("%d turns, %d and %d wait, %d are slow", l.taken(), len(l.waiting[0]), len(l.waiting[1]), len(l.slow))
	}
	for _, name := range names[1:4] {
		l.forget(name)
	}
	if len(l.slow) != 0 {
		t.Errorf("%v are slow: all others have taken what they were sent", l.slow)
	}
}

// TestTurnsEnd: a turn ends by itself, for the host's slowness or for whatever else, and only the first is the host's doing.
func TestTurnsEnd(t *testing.T) {
	for name, hosts := range map[string]bool{"the host": true, "the store": false} {
		l := newLine(1)
		l.turnTime, l.hostTime = time.Hour, time.Nanosecond
		if !hosts {
			l.turnTime, l.hostTime = time.Nanosecond, time.Hour
		}
		a := came(l, "h")
		a.forHost(hosts)
		testutil.Receive(t, "the end of the turn", a.over)
		if l.slow["h"] != hosts {
			t.Errorf("it waited for %s, and the host is slow: %v", name, l.slow["h"])
		}
		if n := l.taken(); n != 0 {
			t.Errorf("it waited for %s: %d turns are taken", name, n)
		}
	}
}

// TestWaitingIsTold: who waits hears so, and how many are before it.
func TestWaitingIsTold(t *testing.T) {
	h := arriveHub()
	h.line.most = 1
	first := came(h.line, "first")
	second := came(h.line, "second")
	told := make(chan int, 10)
	in := make(chan *arrival, 1)
	go func() {
		_, a, err := h.arrive(t.Context(), "third", func(before int) error { told <- before; return nil })
		if err != nil {
			t.Error(err)
		}
		in <- a
	}()
	if n := testutil.Receive(t, "word", told); n != 1 {
		t.Errorf("%d are before it", n)
	}
	shown := func(line string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.counts.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if !strings.Contains(w.Body.String(), "\ncauseway_controller_agents_waiting "+line+"\n") {
			t.Errorf("the metrics do not show %s waiting", line)
		}
	}
	shown("2")
	first.end(true)
	second.end(true)
	testutil.Receive(t, "its turn", in).end(true)
	shown("0")
	// Who is not there any more is not waited for.
	last := came(h.line, "last")
	gone := errors.New("gone")
	if _, _, err := h.arrive(t.Context(), "fourth", func(int) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("it waits on: %v", err)
	}
	last.end(true)
}

// TestArriveOnce: a host has one turn at a time, however many streams it opens; a newer one ends the older, be that in the
// line or in its turn.
func TestArriveOnce(t *testing.T) {
	h := arriveHub()
	turn, a, err := h.arrive(t.Context(), "h", nil)
	if err != nil {
		t.Fatal(err)
	}
	const more = 16
	in, refused := make(chan *arrival, more), make(chan error, more)
	for range more {
		go func() {
			if _, a, err := h.arrive(t.Context(), "h", nil); err != nil {
				refused <- err
			} else {
				in <- a
			}
		}()
	}
	testutil.Receive(t, "the end of the older one", turn.Done())
	if err := context.Cause(turn); !errors.Is(err, errReplaced) {
		t.Errorf("the older one ends for %v", err)
	}
	if n := h.line.taken(); n != 1 {
		t.Errorf("one host has %d turns", n)
	}
	a.end(false)
	for range more - 1 { // each of them, or all but one at once
		select {
		case err := <-refused:
			if !errors.Is(err, errReplaced) {
				t.Errorf("refused: %v", err)
			}
		case a := <-in:
			if n := h.line.taken(); n != 1 {
				t.Errorf("one host has %d turns", n)
			}
			a.end(false)
		case <-t.Context().Done():
			t.Fatal("they do not end")
		}
	}
	select {
	case a := <-in:
		a.end(false)
	case <-refused:
	}
	if h.line.taken() != 0 || len(h.line.of) != 0 {
		t.Errorf("%d turns and %d hosts are left", h.line.taken(), len(h.line.of))
	}
}

// TestArriveWithoutStore: who waits for its turn or has it when the store is away is sent to another controller.
func TestArriveWithoutStore(t *testing.T) {
	h := arriveHub()
	turn, a, err := h.arrive(t.Context(), "h", nil)
	if err != nil {
		t.Fatal(err)
	}
	a.forHost(true)
	_, other, err := h.arrive(t.Context(), "other", nil) // its turn has only begun
	if err != nil {
		t.Fatal(err)
	}
	h.noteProof(time.Now(), errors.New("away")) // last is zero: it has been away for long
	testutil.Receive(t, "the end of the turn", turn.Done())
	if err := context.Cause(turn); !errors.Is(err, errCutOff) {
		t.Errorf("it ends for %v", err)
	}
	a.end(false)
	timeOver(other)
	if len(h.line.slow) != 0 {
		t.Errorf("hosts count as slow: %v", h.line.slow)
	}
	if _, err := h.takeIn(t.Context(), "h", hostsync.Agent{}, func(bool) {}); !errors.Is(err, errCutOff) {
		t.Errorf("taken in: %v", err)
	}
}

// TestBrokenIsNotSlow: a host whose stream breaks, or is opened anew, before the host has had its time is not slow; one that
// does so again is, until it takes what it is sent.
func TestBrokenIsNotSlow(t *testing.T) {
	l := newLine(8)
	l.hostTime = time.Hour
	for i, slow := range []bool{false, true, true} {
		a := came(l, "h")
		a.forHost(true)
		a.end(false)
		if l.slow["h"] != slow {
			t.Errorf("after %d: slow %v", i+1, l.slow["h"])
		}
	}
	a := came(l, "h")
	a.forHost(true)
	a.end(true)
	a = came(l, "h")
	a.forHost(true)
	a.forHost(false) // the controller waits for something else
	a.ranOut()       // it fired before it was stopped
	if !hasTurn(a) {
		t.Error("its time goes on while the controller waits for something else")
	}
	a.end(false)
	if len(l.slow) != 0 {
		t.Errorf("slow: %v", l.slow)
	}
}

// TestInnocentHosts: what the controller waits for itself is not the time of the host that is taken in.
func TestInnocentHosts(t *testing.T) {
	m := startHub(t, openStore(t))
	m.line.hostTime = time.Hour
	agent := hostsync.Agent{KnowsFabric: true, Digest: &hoststate.Digest{1}}
	waitsFor := func(name model.HostName) bool {
		m.line.mu.Lock()
		defer m.line.mu.Unlock()
		return m.line.of[name].hosts
	}
	broken := errors.New("broken")
	for i, c := range []struct {
		deleted, replaced bool // meanwhile
		err               error
		slow              map[model.HostName]bool // afterwards
	}{
		{deleted: true},
		{deleted: true, err: broken},
		{replaced: true},
		{},
		{err: broken, slow: map[model.HostName]bool{"h0004": false}},
	} {
		name := hostNames(5)[i]
		agent.Fabric = fabricEnd(name)
		agent.Have = func(context.Context) (hoststate.Digests, error) {
			if !waitsFor(name) {
				t.Errorf("%+v: it does not wait for the agent's word", c)
			}
			if c.deleted {
				m.forgetNow(name)
			}
			if c.replaced {
				m.mu.Lock()
				m.hosts[name] = &host{session: math.MaxUint64}
				m.mu.Unlock()
			}
			return nil, c.err
		}
		q, err := m.Connect(t.Context(), name, agent)
		if (err == nil) != (c.err == nil && !c.deleted && !c.replaced) {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil && !waitsFor(name) {
			t.Errorf("%+v: it does not wait until the agent has read", c)
		}
		if err == nil {
			m.Disconnect(name, q)
		}
		if c.replaced {
			m.mu.Lock()
			delete(m.hosts, name)
			m.mu.Unlock()
		}
		m.line.mu.Lock()
		if !maps.Equal(m.line.slow, c.slow) {
			t.Errorf("%+v: slow: %v", c, m.line.slow)
		}
		m.line.mu.Unlock()
	}
}

// forgetNow has the hub know nothing of a host that the site has.
func (m *manyHosts) forgetNow(name model.HostName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropHost(name)
}
