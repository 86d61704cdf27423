package controller

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

// lines is a log for the test to read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

// port makes a port that is bound to a host.
func (m *manyHosts) port(host model.HostName) *model.Port {
	m.t.Helper()
	made, err := m.rules.CreatePorts(m.t.Context(), []*site.PortInput{{Port: model.Port{
		NetworkID: m.network().ID, HostID: host, AdminStateUp: true}}})
	if err != nil {
		m.t.Fatal(err)
	}
	return made[0]
}

func (m *manyHosts) status(p *model.Port) (model.PortStatus, string) {
	snap := m.view()
	p = store.Get(snap, store.Ports, string(p.ID))
	return site.PortStatus(snap, p), site.PortReason(snap, p)
}

func (m *manyHosts) becomes(p *model.Port, want model.PortStatus, words string) {
	m.t.Helper()
	testutil.Eventually(m.t, string(want)+" "+words, func() bool {
		st, why := m.status(p)
		return st == want && strings.Contains(why, words)
	})
}

func (m *manyHosts) says(p *model.Port, st model.PortStatus) {
	m.mu.Lock()
	q := m.queues[p.HostID]
	m.mu.Unlock()
	m.Report(p.HostID, q, hostsync.Report{Revision: 1, Ports: []hostsync.PortReport{{ID: p.ID, Status: st}}})
}

func (m *manyHosts) gone(host model.HostName) bool {
	return store.Get(m.view(), store.Hosts, string(host)).Gone
}

// TestHostGone: an agent that is away for long makes its host gone and its ports DOWN, in
// words; when it is back, its ports are as it says.
func TestHostGone(t *testing.T) {
	st := openStore(t)
	names := hostNames(2)
	knowHosts(t, st, names)
	log := new(lines)
	m := startHubWith(t, st, slog.New(slog.NewTextHandler(log, nil)), 300*time.Millisecond)
	m.connect(0, names...)
	p, other := m.port(names[0]), m.port(names[1])
	m.says(p, model.PortActive)
	m.says(other, model.PortActive)
	m.becomes(p, model.PortActive, "")
	m.becomes(other, model.PortActive, "")
	m.Disconnect(names[0], m.queues[names[0]])
	m.becomes(p, model.PortDown, "the agent of host h0000 is away")
	if st, _ := m.status(other); st != model.PortActive {
		t.Errorf("the other host's port is %s", st)
	}
	testutil.Eventually(t, "a warning", func() bool { return log.has("level=WARN msg=\"a host is gone") && log.has("host=h0000") })
	m.connect(0, names[0])
	if !m.gone(names[0]) {
		t.Error("the host is back before its agent has said anything")
	}
	m.says(p, model.PortError)
	m.becomes(p, model.PortError, "")
	testutil.Eventually(t, "the host is back", func() bool { return !m.gone(names[0]) })
	m.says(p, model.PortActive)
	m.becomes(p, model.PortActive, "")
}

// TestGoneInTime: who is gone when, by the clock of one controller that has just begun.
func TestGoneInTime(t *testing.T) {
	st := openStore(t)
	names := hostNames(3)
	knowHosts(t, st, names)
	first := startHub(t, st)
	first.connect(0, names...)
	first.stop()
	m := startHub(t, st)
	m.connect(0, names[0])
	begun, timeout := m.life.begun, m.life.timeout
	in := func(d time.Duration) liveness { return m.look(begun.Add(d)) }
	if l := in(timeout - time.Millisecond); len(l.gone) != 0 {
		t.Errorf("gone before they had time to come back: %+v", l.gone)
	}
	l := in(timeout + time.Minute)
	if len(l.gone) != 2 || l.beat {
		t.Errorf("after the time: %+v", l)
	}
	for _, s := range l.gone {
		if s.Host == names[0] {
			t.Error("the host that is back is gone")
		}
	}
	// A sign that comes between the look and what follows from it.
	m.connect(0, names[1])
	for _, s := range l.gone {
		if _, err := m.rules.HostGone(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if m.gone(names[1]) || !m.gone(names[2]) {
		t.Errorf("gone: %v, %v", m.gone(names[1]), m.gone(names[2]))
	}
	before := m.view().Revision()
	for range 100 {
		if err := m.writeLives(t.Context(), in(timeout/2)); err != nil {
			t.Fatal(err)
		}
	}
	if now := m.view().Revision(); now != before {
		t.Errorf("%d writes while nothing happens", now-before)
	}
}

// TestGoneWithItsController: the hosts of a controller that lives are its own matter; those of
// one that shows no sign of life are gone for the others in time.
func TestGoneWithItsController(t *testing.T) {
	st := openStore(t)
	names := hostNames(2)
	knowHosts(t, st, names)
	a := startHub(t, st)
	a.connect(0, names...)
	b := startHub(t, st)
	timeout := b.life.timeout
	testutil.Eventually(t, "a to show that it lives, since b does", func() bool { return a.look(time.Now().Add(timeout / 3)).beat })
	// seen is when b saw a sign of a that is newer than the last one.
	last := uint64(0)
	seen := func() (at time.Time) {
		t.Helper()
		if err := a.rules.Beat(t.Context(), a.id); err != nil {
			t.Fatal(err)
		}
		beat := store.Get(a.view(), store.Controllers, a.id).Beat
		testutil.Eventually(t, "b sees a sign of a", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			r := b.life.runs[a.id]
			at, last = r.seen, r.beat
			return last >= beat
		})
		return at
	}
	at := seen()
	if l := b.look(at.Add(timeout - time.Second)); len(l.gone) != 0 {
		t.Fatalf("gone while their controller lives: %+v", l.gone)
	}
	late := b.look(at.Add(timeout + time.Second))
	if len(late.gone) != 2 {
		t.Fatalf("not gone with their controller: %+v", late)
	}
	seen() // it lives all the same
	if err := b.writeLives(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if b.gone(names[0]) || b.gone(names[1]) {
		t.Fatal("gone, although there was a sign of their controller meanwhile")
	}
	a.stop()
	b.connect(0, names[0])
	b.mu.Lock()
	at = b.life.runs[a.id].seen
	b.mu.Unlock()
	if err := b.writeLives(t.Context(), b.look(at.Add(timeout+time.Second))); err != nil {
		t.Fatal(err)
	}
	if b.gone(names[0]) || !b.gone(names[1]) {
		t.Errorf("gone: %v, %v; want the one alone that has not come to b", b.gone(names[0]), b.gone(names[1]))
	}
}

// TestDeletedHost: what goes with a host, and that it holds no keys then.
func TestDeletedHost(t *testing.T) {
	st := openStore(t)
	names := hostNames(2)
	knowHosts(t, st, names)
	m := startHub(t, st)
	m.connect(0, names...)
	p := m.port(names[1])
	m.says(p, model.PortActive)
	m.becomes(p, model.PortActive, "")
	n := m.network()
	m.settle(names...)
	m.Disconnect(names[1], m.queues[names[1]])
	m.drop(n)
	m.settle(names[0])
	if !m.round(n) {
		t.Fatal("the key is free while a host is away")
	}
	id := string(site.AgentID(names[1]))
	err := m.rules.DeleteAgent(t.Context(), id, false)
	if err == nil || !strings.Contains(err.Error(), "may still be heard") {
		t.Fatalf("a host that may still be heard: %v", err)
	}
	if err := m.rules.DeleteAgent(t.Context(), id, true); err != nil {
		t.Fatal(err)
	}
	m.free("the key after the host was deleted", n)
	m.becomes(p, model.PortDown, "no agent of host h0001 has connected yet")
	snap := m.view()
	if store.Get(snap, store.Hosts, string(names[1])) != nil || store.Get(snap, store.Agents, id) != nil || store.Get(snap, store.PortStates, string(p.ID)) != nil {
		t.Error("something of the host is left")
	}
	// One that is connected all the same is told, and comes as a new one.
	if err := m.rules.DeleteAgent(t.Context(), string(site.AgentID(names[0])), true); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the stream's end", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.life.hosts[names[0]] == nil
	})
	m.connect(0, "another")
}

// TestPortStatus: why a port is not ACTIVE, in words, for each reason there is.
func TestPortStatus(t *testing.T) {
	st := openStore(t)
	names := hostNames(1)
	m := startHubWith(t, st, slog.New(slog.DiscardHandler), time.Hour)
	s := portStatuses{m.rules, m.hub}
	p := m.port(names[0])
	want := func(what string, check func(v portStatus) bool, status model.PortStatus, words string) {
		t.Helper()
		var last portStatus
		testutil.Eventually(t, what, func() bool {
			v, err := s.of(t.Context(), string(p.ID))
			if err != nil {
				t.Fatal(err)
			}
			last = v
			return v.Status == status && strings.Contains(v.Reason, words) && (words != "" || v.Reason == "") && check(v)
		})
		t.Logf("%s: %+v", what, last)
	}
	bind := func(in site.PortInput) {
		t.Helper()
		if _, err := m.rules.UpdatePort(t.Context(), string(p.ID), func(old *site.PortInput) error {
			old.HostID, old.Profile, old.AdminStateUp = in.HostID, in.Profile, in.AdminStateUp
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.of(t.Context(), "none"); err == nil {
		t.Error("a port that does not exist has a status")
	}
	off := func(v portStatus) bool { return !v.AgentConnected && v.WantedRevision == 0 && v.AppliedRevision == 0 }
	on := func(v portStatus) bool { return v.AgentConnected && v.AgentSince != "" && v.HostAlive }
	want("no agent", func(v portStatus) bool { return off(v) && v.AgentSince == "" && !v.HostAlive }, model.PortDown, "no agent of host h0000 has connected yet")
	m.connect(0, names[0])
	want("nothing applied", on, model.PortDown, "has not applied the last change")
	m.settle(names[0])
	want("no interface", on, model.PortDown, "the binding names no interface")
	m.Report(names[0], m.queues[names[0]], hostsync.Report{Ports: []hostsync.PortReport{{ID: p.ID, Status: model.PortDown, Reason: "interface tap1 does not exist on host h0000"}}})
	want("reported", on, model.PortDown, "interface tap1 does not exist on host h0000")
	m.says(p, model.PortActive)
	want("active", func(v portStatus) bool { return on(v) && v.WantedRevision > 0 }, model.PortActive, "")
	m.Disconnect(names[0], m.queues[names[0]])
	want("away", func(v portStatus) bool { return off(v) && v.AgentSince != "" && v.HostAlive }, model.PortActive, "")
	h := store.Get(m.view(), store.Hosts, string(names[0]))
	if _, err := m.rules.HostGone(t.Context(), site.Signs{Host: h.Name, Controller: h.Controller, Session: h.Session, Beat: store.Get(m.view(), store.Controllers, m.id).Beat}); err != nil {
		t.Fatal(err)
	}
	want("gone", func(v portStatus) bool { return off(v) && !v.HostAlive }, model.PortDown, "is away")
	bind(site.PortInput{Port: model.Port{HostID: names[0]}})
	want("admin state", off, model.PortDown, "admin_state_up of the port is false")
	bind(site.PortInput{Port: model.Port{AdminStateUp: true}})
	want("unbound", off, model.PortDown, "bound to no host")
}

// TestNothingWatched: what happened while the feed was broken is not known, so a controller whose
// hosts were well before is not taken for silent since.
func TestNothingWatched(t *testing.T) {
	st := openStore(t)
	names := hostNames(1)
	knowHosts(t, st, names)
	a := startHub(t, st)
	a.connect(0, names...)
	b := startHub(t, st)
	testutil.Eventually(t, "b sees the host", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		x := b.life.hosts[names[0]]
		return x != nil && x.Controller == a.id
	})
	// The feed breaks; a beats meanwhile, and only the next snapshot tells of it.
	b.stop()
	b.mu.Lock()
	long := time.Now().Add(-time.Hour)
	b.life.begun, b.life.runs[a.id] = long, run{b.life.runs[a.id].beat, long}
	b.mu.Unlock()
	if l := b.look(time.Now()); len(l.gone) != 1 {
		t.Fatalf("an hour without a sign, and gone are %+v", l.gone)
	}
	if err := a.rules.Beat(t.Context(), a.id); err != nil {
		t.Fatal(err)
	}
	snap, err := st.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.reset(snap)
	if l := b.look(time.Now()); len(l.gone) != 0 {
		t.Errorf("gone at the first look after the feed broke: %+v", l.gone)
	}
}

// TestAwayWithTheStore: hosts whose agents were let go while the store was away have their whole time to come back, and what was
// found before is not written any more.
func TestAwayWithTheStore(t *testing.T) {
	st := openStore(t)
	names := hostNames(2)
	knowHosts(t, st, names)
	m := startHub(t, st)
	m.connect(0, names...)
	m.settle(names...)
	testutil.Eventually(t, "the hub knows of its own run", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.life.runs[m.id].beat == 1
	})
	m.Disconnect(names[0], m.queues[names[0]])
	found := m.look(time.Now().Add(2 * m.life.timeout))
	if len(found.gone) != 1 || found.gone[0].Host != names[0] {
		t.Fatalf("before: %+v", found.gone)
	}
	m.noteProof(time.Now(), errors.New("away")) // last is zero: it has been away for long
	m.Disconnect(names[1], m.queues[names[1]])
	m.mu.Lock()
	long := time.Now().Add(-time.Hour)
	m.life.begun, m.life.heard = long, map[model.HostName]time.Time{names[0]: long, names[1]: long}
	m.mu.Unlock()
	if l := m.look(time.Now()); len(l.gone) != 0 {
		t.Errorf("gone while the store is away: %+v", l.gone)
	}
	if err := m.writeLives(t.Context(), liveness{gone: found.gone, since: long}); err != nil || m.gone(names[0]) {
		t.Errorf("written while the store is away: %v", err)
	}
	m.noteProof(time.Now(), nil)
	if l := m.look(time.Now()); len(l.gone) != 0 {
		t.Errorf("gone before they had time to come back: %+v", l.gone)
	}
	if err := m.writeLives(t.Context(), found); err != nil || m.gone(names[0]) {
		t.Errorf("what was found before is written: %v", err)
	}
	if l := m.look(time.Now().Add(m.life.timeout)); len(l.gone) != 2 {
		t.Errorf("after the time: %+v", l.gone)
	}
}
