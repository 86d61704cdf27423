package controller

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

// emptyHub is a hub of a site in which there is nothing.
func emptyHub() *hub {
	log := slog.New(slog.DiscardHandler)
	h := newHub(nil, site.New(sitetest.New(), site.Options{Logger: log}), metrics.NewController("test"), log)
	h.start(hoststate.NewTopology(), 1, func() {})
	return h
}

// walked is passed by a look at every host.
func (h *hub) walked(now time.Time) passed {
	p := passed{h.revision, h.revision, h.revision, h.revision}
	for name, x := range h.life.hosts {
		if x.Gone {
			continue
		}
		c := h.standings.controllers[x.Controller]
		at, late := site.Vouched(x, c), false
		if x.Controller != h.id {
			if c != nil && x.Session <= c.LiveSessions {
				at = max(at, c.LiveRevision)
			}
		} else if host := h.hosts[name]; host == nil {
			late = now.Sub(h.life.heard[name]) > h.moves.wait
		} else if host.session == x.Session {
			at = max(at, host.acked)
			if host.acked >= host.sent {
				at = h.revision
			}
			late = host.acked < host.sent && now.Sub(host.heard) > h.moves.wait
		}
		p.all = min(p.all, at)
		prompt := at
		if x.Controller != h.id && c != nil && x.Session <= c.PromptSessions {
			prompt = max(at, c.PromptRevision)
		}
		if !late {
			p.prompt = min(p.prompt, prompt)
		}
		if x.Controller != h.id {
			continue
		}
		p.ownAll = min(p.ownAll, at)
		if !late {
			p.ownPrompt = min(p.ownPrompt, at)
		}
	}
	return p
}

// drawn does something to a hub that changes what hosts have passed.
func (h *hub) drawn(r *rand.Rand, names []model.HostName) {
	name := names[r.IntN(len(names))]
	ids := []string{h.id, "b", "c"}
	id := ids[r.IntN(len(ids))]
	batch := func(kind store.Kind, id string, o store.Object) {
		h.apply(store.Batch{Revision: h.revision + 1, Changes: []store.Change{{Kind: kind, ID: id, Object: o}}})
	}
	switch r.IntN(8) {
	case 0: // a session begins
		h.sessions++
		batch(store.Hosts.Kind(), string(name), &model.Host{Name: name, Controller: id, Session: h.sessions, AckedRevision: h.revision - r.Int64N(4)})
		if id == h.id && r.IntN(3) > 0 {
			_, _ = h.attach(context.Background(), name, h.sessions, hostsync.Agent{})
		}
	case 1:
		if host := h.hosts[name]; host != nil && r.IntN(3) == 0 {
			h.Disconnect(name, host.queue)
		}
	case 2:
		if x := h.life.hosts[name]; x != nil {
			y := *x
			y.Gone = !x.Gone
			batch(store.Hosts.Kind(), string(name), &y)
		}
	case 3:
		if r.IntN(4) == 0 {
			batch(store.Hosts.Kind(), string(name), nil)
		}
	case 4:
		if r.IntN(10) == 0 {
			batch(store.Controllers.Kind(), id, nil)
			return
		}
		c := model.Controller{ID: id}
		if old := h.standings.controllers[id]; old != nil {
			c = *old
		}
		switch r.IntN(3) {
		case 0:
			c.LiveRevision, c.LiveSessions = h.revision, h.sessions
		case 1:
			c.PromptRevision, c.PromptSessions = h.revision, h.sessions
		default:
			c.AckedRevision, c.Sessions = h.revision, h.sessions
		}
		batch(store.Controllers.Kind(), id, &c)
	case 5:
		if host := h.hosts[name]; host != nil {
			h.mu.Lock()
			h.push(name, host)
			if r.IntN(2) == 0 {
				host.heard = time.Now().Add(-time.Hour)
			}
			h.mu.Unlock()
		}
	default:
		if host := h.hosts[name]; host != nil {
			h.Report(name, host.queue, hostsync.Report{Revision: host.sent - r.Int64N(2)})
		}
	}
}

// TestPassedIsKept: what all hosts have passed, as it is kept while they come, go and acknowledge, is at no time more than a look at each of them
// gives; and it is the same where all that is known of the hosts of another controller is its mark.
func TestPassedIsKept(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		h, same := emptyHub(), 0
		for i := range 2000 {
			h.drawn(r, hostNames(8))
			now := time.Now()
			got, want := h.passed(now), h.walked(now)
			if got.ownAll != want.ownAll || got.ownPrompt != want.ownPrompt || got.all > want.all || got.prompt > want.prompt {
				t.Fatalf("after %d steps: %+v, and the hosts say %+v", i, got, want)
			}
			if got == want {
				same++
			}
			listed := 0
			for id, f := range h.standings.fellows {
				last := slices.Max(slices.Collect(sessionsOf(f)))
				if listed += len(f.hosts); f.sessions != last {
					t.Fatalf("after %d steps: controller %s has had %d sessions, not %d", i, id, f.sessions, last)
				}
			}
			if listed != len(h.standings.at) {
				t.Fatalf("after %d steps: %d hosts are listed, and known to be %d", i, listed, len(h.standings.at))
			}
		}
		if same < 1000 {
			t.Errorf("the hosts had passed more %d times of 2000", 2000-same)
		}
	}
}

func sessionsOf(f *fellows) func(func(uint64) bool) {
	return func(yield func(uint64) bool) {
		for x := range maps.Values(f.hosts) {
			if !yield(x.Session) {
				return
			}
		}
	}
}

// TestMarksUnderSteadyMoves: controllers tell each other that their hosts have passed a stage, though those have not passed that of a port which began
// to move after it.
func TestMarksUnderSteadyMoves(t *testing.T) {
	st := openStore(t)
	one, two := startHub(t, st), startHub(t, st)
	patient := pace{wait: time.Hour, attach: time.Hour, hold: time.Hour}
	one.setPace(patient)
	two.setPace(patient)
	one.connect(0, "h0000", "h0001")
	two.connect(0, "h0002")
	n := one.network()
	first, next := one.portOn(n, "h0000", "a"), one.portOn(n, "h0000", "b")
	one.portOn(n, "h0002", "c")
	one.settle("h0000", "h0001")
	two.settle("h0002")
	one.bind(first, "h0001", "a")
	known := one.view().Revision()
	one.bind(next, "h0001", "b")
	for _, name := range []model.HostName{"h0000", "h0001", "h0002"} {
		m := one
		if name == "h0002" {
			m = two
		}
		m.settle() // the hub has seen both
		m.Report(name, queueOf(m.hub, name), hostsync.Report{Revision: known})
	}
	one.comes(first, model.MoveBoth)
	one.stays(next, model.MoveAccept, "nobody has applied it")
}

// TestLateHostHoldsNoPorts: a host that does not keep up does not hold ports while a device moves, which waits for it. Other controllers hear
// of the other hosts.
func TestLateHostHoldsNoPorts(t *testing.T) {
	st := openStore(t)
	one, two := startHub(t, st), startHub(t, st)
	for _, m := range []*manyHosts{one, two} {
		m.patience(time.Hour)
		m.setPace(pace{wait: time.Hour, attach: time.Hour, hold: time.Hour})
	}
	one.connect(0, "h0000", "h0001")
	two.connect(0, "h0002", "h0003")
	n, d := one.network(), one.deviceOn("h0000")
	p := one.portOn(n, "h0000", "a")
	one.portOn(n, "h0002", "b")
	one.portOn(n, "h0003", "c")
	one.settle("h0000", "h0001")
	two.settle("h0002", "h0003")
	one.bind(p, "h0001", "a")
	begun := one.view().Revision()
	one.bindDevice(d, "h0001")
	one.settle("h0000", "h0001")
	two.settle("h0002")
	two.mu.Lock()
	two.hosts["h0003"].heard = time.Now().Add(-2 * time.Hour)
	two.mu.Unlock()
	one.comes(p, model.MoveBoth)
	testutil.Eventually(t, "one hears of the hosts of two that keep up", func() bool {
		one.mu.Lock()
		defer one.mu.Unlock()
		return one.passed(time.Now()).prompt >= begun
	})
	c := store.Get(two.view(), store.Controllers, two.id)
	if c == nil || c.PromptRevision < begun || c.LiveRevision >= begun {
		t.Errorf("a host of two has not applied %d: the marks are %+v", begun, c)
	}
	if got := one.placement(d); got.Stage != model.MoveAccept {
		t.Errorf("a host has not applied it, and the device is at %+v", got)
	}
}

// BenchmarkLookAtMoves is a look at a hundred ports that move, after one host has been sent something, in sites of different sizes.
func BenchmarkLookAtMoves(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			h := emptyHub()
			h.moves.pace = pace{wait: time.Hour, attach: time.Hour, hold: time.Hour}
			var changes []store.Change
			for i, name := range hostNames(n) {
				changes = append(changes, store.Change{Kind: store.Hosts.Kind(), Object: &model.Host{Name: name, Controller: h.id, Session: uint64(i + 1)}})
			}
			h.apply(store.Batch{Revision: 2, Changes: changes})
			for i, name := range hostNames(n) {
				q, err := h.attach(b.Context(), name, uint64(i+1), hostsync.Agent{})
				if err != nil {
					b.Fatal(err)
				}
				q.Take()
				h.Report(name, q, hostsync.Report{Revision: h.revision})
			}
			for i := range 100 {
				h.noteMove(&model.Port{ID: model.PortID(fmt.Sprint(i)), Move: &model.Move{Host: "h0000", Stage: model.MoveBoth}}, h.revision+1)
			}
			host := h.hosts["h0000"]
			for b.Loop() {
				h.mu.Lock()
				h.revision++
				h.push("h0000", host)
				h.mu.Unlock()
				if err := h.advanceAll(b.Context()); err != nil {
					b.Fatal(err)
				}
				h.Report("h0000", host.queue, hostsync.Report{Revision: h.revision})
			}
		})
	}
}
