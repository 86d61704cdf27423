package site_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
)

// with has hosts come, each of which has applied the newest state and is at the controller of
// its name.
func (f *fixture) with(hosts map[model.HostName]string) {
	f.Helper()
	for name, controller := range hosts {
		f.join(name, controller, 1, f.view().Revision())
	}
}

// fabricEnd is the end of the fabric of a host whose name ends in a letter or figure of its own.
func fabricEnd(name model.HostName) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, name[len(name)-1]}), 4798)
}

func (f *fixture) join(name model.HostName, controller string, number uint64, applied int64) {
	f.Helper()
	f.ok(f.RegisterHost(f.Context(), site.Session{Host: name, Controller: controller, Number: number, Applied: applied, Fabric: fabricEnd(name)}))
}

// vouch says what a controller's hosts have, of their first sessions.
func (f *fixture) vouch(controller string, applied map[model.HostName]int64) {
	f.Helper()
	out := map[model.HostName]site.Applied{}
	for name, rev := range applied {
		out[name] = site.Applied{Session: 1, Revision: rev}
	}
	f.ok(f.Vouch(f.Context(), controller, out))
}

// quiet fails where fn writes.
func (f *fixture) quiet(what string, fn func()) {
	f.Helper()
	before := f.view().Revision()
	fn()
	if now := f.view().Revision(); now != before {
		f.Errorf("%s made %d writes", what, now-before)
	}
}

func TestKeysWaitForTheHost(t *testing.T) {
	f := newSite(t)
	f.with(map[model.HostName]string{"h1": "c1"})
	n := f.network("")
	f.ok(f.DeleteNetwork(t.Context(), string(n.ID), nil))
	freed := f.view().Revision()
	f.ok(f.ReclaimKeys(t.Context()))
	if !keyHeld(f.view(), n) {
		t.Fatal("the key is free before the host has acknowledged")
	}
	f.quiet("an acknowledgement that nothing waits for", func() { f.vouch("c1", map[model.HostName]int64{"h1": freed - 1}) })
	if !keyHeld(f.view(), n) {
		t.Fatal("the key is free after an older acknowledgement")
	}
	f.vouch("c1", map[model.HostName]int64{"h1": freed})
	if keyHeld(f.view(), n) {
		t.Error("the key is not free after the acknowledgement")
	}
	if wrote := f.view().Revision() - freed; wrote != 2 {
		t.Errorf("%d writes: want one for the mark and one for the key", wrote)
	}
	f.quiet("an acknowledgement that nothing waits for", func() { f.vouch("c1", map[model.HostName]int64{"h1": freed + 2}) })
	f.ok(f.SetMTUs(t.Context(), "h1", 9000, 0))
	f.quiet("the MTU that is known", func() { f.ok(f.SetMTUs(t.Context(), "h1", 9000, 0)) })
	if h := store.Get(f.view(), store.Hosts, "h1"); h.UnderlayMTU != 9000 {
		t.Errorf("underlay MTU: %+v", h)
	}
}

// TestKeysOfSeveralControllers: a key is free once each controller has vouched for its hosts,
// by whichever of them comes last; one mark a controller and one write for the key.
func TestKeysOfSeveralControllers(t *testing.T) {
	f := newSite(t)
	f.with(map[model.HostName]string{"h1": "c1", "h2": "c1", "h3": "c2"})
	n := f.network("")
	keep := f.network("")
	f.ok(f.DeleteNetwork(t.Context(), string(n.ID), nil))
	freed := f.view().Revision()
	// Another process, which has not deleted it itself.
	f.Site = site.New(f.st, site.Options{})
	f.vouch("c1", map[model.HostName]int64{"h1": freed, "h2": freed - 1})
	if !keyHeld(f.view(), n) {
		t.Fatal("the key is free before h2 has passed")
	}
	f.vouch("c1", map[model.HostName]int64{"h1": freed, "h2": freed})
	if !keyHeld(f.view(), n) {
		t.Fatal("the key is free before c2 has vouched")
	}
	f.quiet("what has been said", func() { f.vouch("c1", map[model.HostName]int64{"h1": freed + 1, "h2": freed + 1}) })
	f.vouch("c2", map[model.HostName]int64{"h3": freed})
	if keyHeld(f.view(), n) || !keyHeld(f.view(), keep) {
		t.Error("the wrong keys are free")
	}
	if wrote := f.view().Revision() - freed; wrote != 3 {
		t.Errorf("%d writes: want one for each mark and one for the key", wrote)
	}
}

// TestVouchedForNoMore: a mark does not speak for a host that is away, has gone to another
// controller, or has begun another session.
func TestVouchedForNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		between func(f *fixture, freed int64) // the deletion and the mark of c1, which knows of h1's first session
		then    func(f *fixture, freed int64) // gives the key back
	}{
		"away": {
			func(f *fixture, freed int64) { f.vouch("c1", map[model.HostName]int64{"h2": freed}) },
			func(f *fixture, freed int64) { f.vouch("c1", map[model.HostName]int64{"h1": freed, "h2": freed}) },
		},
		"elsewhere": {
			func(f *fixture, freed int64) {
				f.join("h1", "c2", 1, freed-1)
				f.vouch("c1", map[model.HostName]int64{"h1": freed, "h2": freed})
			},
			func(f *fixture, freed int64) { f.vouch("c2", map[model.HostName]int64{"h1": freed}) },
		},
		"another session": {
			func(f *fixture, freed int64) {
				f.join("h1", "c1", 2, freed-1)
				f.vouch("c1", map[model.HostName]int64{"h1": freed, "h2": freed})
			},
			func(f *fixture, freed int64) {
				f.ok(f.Vouch(context.Background(), "c1", map[model.HostName]site.Applied{"h1": {Session: 2, Revision: freed}, "h2": {Session: 1, Revision: freed}}))
			},
		},
		// The host is set back to an older state after the mark, before the key is given back.
		"set back": {
			func(f *fixture, freed int64) {
				f.with(map[model.HostName]string{"h3": "c3"}) // holds the key
				f.vouch("c1", map[model.HostName]int64{"h1": freed, "h2": freed})
				f.join("h1", "c2", 1, freed-1)
				f.vouch("c3", map[model.HostName]int64{"h3": freed + 10})
			},
			func(f *fixture, freed int64) { f.vouch("c2", map[model.HostName]int64{"h1": freed}) },
		},
		"set back, at the same controller": {
			func(f *fixture, freed int64) {
				f.with(map[model.HostName]string{"h3": "c3"}) // holds the key
				f.vouch("c1", map[model.HostName]int64{"h1": freed, "h2": freed})
				f.join("h1", "c1", 2, freed-1)
				f.vouch("c3", map[model.HostName]int64{"h3": freed + 10})
			},
			func(f *fixture, freed int64) {
				f.ok(f.Vouch(context.Background(), "c1", map[model.HostName]site.Applied{"h1": {Session: 2, Revision: freed}, "h2": {Session: 1, Revision: freed}}))
			},
		},
		// Its controller has died, and it is at another: what was known of it holds.
		"of a dead controller": {
			func(f *fixture, freed int64) {
				f.vouch("c1", map[model.HostName]int64{"h1": freed, "h2": freed - 1})
				f.join("h1", "c2", 1, freed)
				f.vouch("c2", map[model.HostName]int64{"h1": freed})
			},
			func(f *fixture, freed int64) {
				f.join("h2", "c2", 2, 0)
				f.ok(f.Vouch(context.Background(), "c2", map[model.HostName]site.Applied{"h1": {Session: 1, Revision: freed}, "h2": {Session: 2, Revision: freed}}))
				if store.Get(f.view(), store.Controllers, "c1") != nil {
					f.Error("the dead controller is remembered")
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newSite(t)
			f.with(map[model.HostName]string{"h1": "c1", "h2": "c1"})
			n := f.network("")
			f.ok(f.DeleteNetwork(t.Context(), string(n.ID), nil))
			freed := f.view().Revision()
			c.between(f, freed)
			if !keyHeld(f.view(), n) {
				t.Fatal("the key is free while a host may have rows of it")
			}
			c.then(f, freed)
			if keyHeld(f.view(), n) {
				t.Error("the key is not free after all have passed")
			}
		})
	}
}

// TestOlderSession: a session that another has overtaken does not become the last one.
func TestOlderSession(t *testing.T) {
	f := newSite(t)
	f.with(map[model.HostName]string{"h1": "c1"})
	f.join("h1", "c1", 3, 0)
	err := f.RegisterHost(t.Context(), site.Session{Host: "h1", Controller: "c1", Number: 2, Fabric: fabricEnd("h1")})
	f.wantErr(err, model.KindConflict, "HostSessionOver")
}

// hastyHost has a host acknowledge what a transaction did before its caller hears of it.
type hastyHost struct {
	*sitetest.Store
	ack func(revision int64)
}

func (h *hastyHost) Update(ctx context.Context, fn func(store.Tx) error) (store.Result, error) {
	before, err := h.View(ctx)
	if err != nil {
		return store.Result{}, err
	}
	r, err := h.Store.Update(ctx, fn)
	if ack := h.ack; ack != nil && err == nil && r.Revision != before.Revision() {
		h.ack = nil
		ack(r.Revision)
	}
	return r, err
}

// TestKeysAcknowledgedAtOnce: the feed tells of freed keys before a host can have passed them,
// so that the key is free even where the hosts are faster than the request.
func TestKeysAcknowledgedAtOnce(t *testing.T) {
	f := newSite(t)
	h := &hastyHost{Store: f.st}
	f.Site = site.New(h, site.Options{Logger: slog.New(slog.DiscardHandler)})
	f.with(map[model.HostName]string{"h1": "c1"})
	n := f.network("")
	f.ok(f.ReclaimKeys(t.Context())) // what is looked for once in a while has been looked for
	h.ack = func(revision int64) {
		f.Freed(store.Batch{Revision: revision, Changes: []store.Change{{Kind: store.Networks.Kind(), ID: string(n.ID), Old: n}}})
		f.vouch("c1", map[model.HostName]int64{"h1": revision})
	}
	f.ok(f.DeleteNetwork(t.Context(), string(n.ID), nil))
	if keyHeld(f.view(), n) {
		t.Error("the key is not free after the acknowledgement")
	}
	f.quiet("what is free", func() { f.vouch("c1", map[model.HostName]int64{"h1": f.view().Revision()}) })
}

// TestSessionThatComesLate: sessions are numbered before they are in the store, and may come there in another
// order. A mark that counts one before it is there must not speak for it.
func TestSessionThatComesLate(t *testing.T) {
	f := newSite(t)
	f.with(map[model.HostName]string{"x": "c0", "y": "c1"})
	n := f.network("")
	f.ok(f.DeleteNetwork(t.Context(), string(n.ID), nil))
	freed := f.view().Revision()
	f.join("y", "c1", 6, freed)
	f.ok(f.Vouch(t.Context(), "c1", map[model.HostName]site.Applied{"y": {Session: 6, Revision: freed}}))
	late := site.Session{Host: "x", Controller: "c1", Number: 5, Applied: freed - 1, Fabric: fabricEnd("x")}
	if err := f.RegisterHost(t.Context(), late); !errors.Is(err, site.ErrSessionLate) {
		t.Errorf("a session that the mark counts already: %v", err)
	}
	late.Number = 7
	f.ok(f.RegisterHost(t.Context(), late))
	f.ok(f.ReclaimKeys(t.Context()))
	if !keyHeld(f.view(), n) {
		t.Error("the key is free, and a host that has not acknowledged holds it")
	}
}

// TestLiveMarkStays: what a controller has said that its hosts have applied is not less after a host's new session, nor is that
// session said to have applied more than it has.
func TestLiveMarkStays(t *testing.T) {
	f := newSite(t)
	f.with(map[model.HostName]string{"h1": "c1", "h2": "c2"})
	high := f.view().Revision() + 100
	for _, s := range []struct {
		session  uint64
		applied  int64
		revision int64
		sessions uint64
	}{{1, high, high, 1}, {2, high - 1, high, 1}, {2, high, high, 2}} {
		if s.session > 1 {
			f.join("h1", "c1", s.session, 0)
		}
		f.ok(f.VouchLive(t.Context(), "c1", site.Live{All: s.applied, Prompt: s.applied}, map[model.HostName]site.Applied{"h1": {Session: s.session, Revision: s.applied}}))
		if c := store.Get(f.view(), store.Controllers, "c1"); c == nil || c.LiveRevision != s.revision || c.LiveSessions != s.sessions {
			t.Errorf("session %d has applied %d of %d: the mark is %+v", s.session, s.applied, high, c)
		}
	}
}

// TestLiveMarkOfHostsThatDoNotKeepUp: what is said of the hosts that keep up does not wait for one that does not; what is said of all does.
// A host that is back from being gone is spoken for by neither, as far as it has not applied that.
func TestLiveMarkOfHostsThatDoNotKeepUp(t *testing.T) {
	f := newSite(t)
	f.with(map[model.HostName]string{"h1": "c1", "h2": "c1", "h3": "c2"})
	high := f.view().Revision() + 100
	says := func(what string, live site.Live, h2 site.Applied, all, prompt int64) {
		t.Helper()
		h2.Session = store.Get(f.view(), store.Hosts, "h2").Session
		h1 := site.Applied{Session: store.Get(f.view(), store.Hosts, "h1").Session, Revision: high + 1}
		f.ok(f.VouchLive(t.Context(), "c1", live, map[model.HostName]site.Applied{"h1": h1, "h2": h2}))
		if c := store.Get(f.view(), store.Controllers, "c1"); c == nil || c.LiveRevision != all || c.PromptRevision != prompt {
			t.Errorf("%s: the marks are %+v, want %d of all and %d of those that keep up", what, c, all, prompt)
		}
	}
	says("all have applied it", site.Live{All: high - 1, Prompt: high - 1}, site.Applied{Revision: high - 1}, high-1, high-1)
	says("one is late", site.Live{All: high - 1, Prompt: high}, site.Applied{Revision: high - 1, Late: true}, high-1, high)
	says("one is behind, and not late", site.Live{All: high - 1, Prompt: high + 1}, site.Applied{Revision: high - 1}, high-1, high)
	h := store.Get(f.view(), store.Hosts, "h2")
	var beat uint64
	if c := store.Get(f.view(), store.Controllers, "c1"); c != nil {
		beat = c.Beat
	}
	gone, err := f.HostGone(t.Context(), site.Signs{Host: "h2", Controller: "c1", Session: h.Session, Beat: beat})
	if f.ok(err); !gone {
		t.Fatal("the host is not gone")
	}
	back, err := f.HostBack(t.Context(), site.Session{Host: "h2", Controller: "c1", Number: h.Session})
	if f.ok(err); !back {
		t.Fatal("the host is not back")
	}
	c := store.Get(f.view(), store.Controllers, "c1")
	if known := site.Vouched(h, c); h.Session > c.LiveSessions || c.LiveRevision > known || c.PromptRevision > known {
		t.Errorf("the host is back and has applied %d: the marks are %+v", known, c)
	}
}
