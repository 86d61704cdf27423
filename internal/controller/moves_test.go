package controller

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

func (m *manyHosts) portOn(n *model.Network, host model.HostName, iface string) *model.Port {
	m.t.Helper()
	ports, err := m.rules.CreatePorts(m.t.Context(), []*site.PortInput{{Port: model.Port{NetworkID: n.ID, AdminStateUp: true, HostID: host, Profile: named(iface)}}})
	if err != nil {
		m.t.Fatal(err)
	}
	return ports[0]
}

func named(iface string) map[string]json.RawMessage {
	return map[string]json.RawMessage{"interface_name": json.RawMessage(fmt.Sprintf("%q", iface))}
}

func (m *manyHosts) bind(p *model.Port, host model.HostName, iface string) {
	m.t.Helper()
	if _, err := m.rules.UpdatePort(m.t.Context(), string(p.ID), func(in *site.PortInput) error {
		in.HostID, in.Profile = host, named(iface)
		return nil
	}); err != nil {
		m.t.Fatal(err)
	}
}

// stage is that of a port's move; 0: it does not move.
func (m *manyHosts) stage(p *model.Port) model.MoveStage {
	m.t.Helper()
	if q := store.Get(m.view(), store.Ports, string(p.ID)); q.Move != nil {
		return q.Move.Stage
	}
	return 0
}

func (m *manyHosts) comes(p *model.Port, stage model.MoveStage) {
	m.t.Helper()
	testutil.Eventually(m.t, fmt.Sprintf("stage %d of the move", stage), func() bool { return m.stage(p) == stage })
}

// stays looks whether a stage ends now.
func (m *manyHosts) stays(p *model.Port, stage model.MoveStage, why string) {
	m.t.Helper()
	if err := m.advanceAll(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	if got := m.stage(p); got != stage {
		m.t.Fatalf("%s: the move is in stage %d, not %d", why, got, stage)
	}
}

func (m *manyHosts) setPace(p pace) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moves.pace = p
}

// TestMoveWaitsForAllHosts: each stage of a port's move begins when all hosts have applied the one before, whichever controller they
// are with; frames go to the new host once it has the interface; a host that says nothing does not hold a move for ever.
func TestMoveWaitsForAllHosts(t *testing.T) {
	st := openStore(t)
	one, two := startHub(t, st), startHub(t, st)
	patient := pace{wait: time.Hour, attach: time.Hour}
	one.setPace(patient)
	two.setPace(patient)
	one.connect(0, "h0000", "h0001")
	two.connect(0, "h0002")
	n := one.network()
	p := one.portOn(n, "h0000", "here")
	one.portOn(n, "h0002", "other")
	settle := func() {
		one.settle("h0000", "h0001")
		two.settle("h0002")
	}
	settle()
	one.bind(p, "h0001", "there")
	one.settle("h0000", "h0001")
	one.stays(p, model.MoveAccept, "a host of the other controller has not applied it")
	two.stays(p, model.MoveAccept, "a host of this controller has not applied it")
	two.settle("h0002")
	one.comes(p, model.MoveBoth)
	settle()
	one.stays(p, model.MoveBoth, "the new host has not got the interface")
	one.mu.Lock()
	sent := one.hosts["h0001"].sent
	one.mu.Unlock()
	one.Report("h0001", queueOf(one.hub, "h0001"), hostsync.Report{Revision: sent, Ports: []hostsync.PortReport{{ID: p.ID, Status: model.PortActive}}})
	one.comes(p, model.MoveSwitched)
	two.settle("h0002")
	one.stays(p, model.MoveSwitched, "the hosts of this controller have not applied it")
	settle()
	one.comes(p, 0)

	settle()
	one.bind(p, "h0000", "here")
	one.comes(p, model.MoveAccept)
	one.setPace(pace{})
	one.comes(p, 0) // nobody has applied anything
}

// TestMoveBackAndOn: who moves while a move lasts goes on from where frames go.
func TestMoveBackAndOn(t *testing.T) {
	m := startHub(t, openStore(t))
	m.setPace(pace{wait: time.Hour, attach: time.Hour, hold: time.Hour})
	m.connect(0, "h0000", "h0001", "h0002")
	n := m.network()
	p := m.portOn(n, "h0000", "a")
	all := func() { m.settle("h0000", "h0001", "h0002") }
	moving := func(host model.HostName, stage model.MoveStage) {
		t.Helper()
		q := store.Get(m.view(), store.Ports, string(p.ID))
		if q.Move == nil || q.Move.Host != host || q.Move.Stage != stage {
			t.Fatalf("the port is on %s and moves by %+v, want from %s in stage %d", q.HostID, q.Move, host, stage)
		}
	}
	m.bind(p, "h0001", "b")
	moving("h0000", model.MoveAccept)
	m.bind(p, "h0000", "a") // frames never went elsewhere
	moving("h0001", model.MoveSwitched)
	m.bind(p, "h0001", "b")
	moving("h0000", model.MoveBoth)
	m.bind(p, "h0002", "c")
	moving("h0000", model.MoveAccept)
	all()
	m.comes(p, model.MoveBoth)
	if _, err := m.rules.UpdatePort(t.Context(), string(p.ID), func(in *site.PortInput) error { in.HostID = ""; return nil }); err != nil {
		t.Fatal(err)
	}
	if got := m.stage(p); got != 0 {
		t.Errorf("a port that is bound nowhere moves: stage %d", got)
	}
}

// TestMoveOnIsNotWhatHostsKnow: a port that is bound on to a third host, or away and to the same one again, begins its stage anew. That hosts
// know of the former new host, and that a controller wants to end the former stage, counts for nothing.
func TestMoveOnIsNotWhatHostsKnow(t *testing.T) {
	m := startHub(t, openStore(t))
	m.setPace(pace{wait: time.Hour, attach: time.Hour, hold: time.Hour})
	hosts := []model.HostName{"h0000", "h0001", "h0002"}
	m.connect(0, hosts...)
	p := m.portOn(m.network(), "h0000", "a")
	m.settle(hosts...)
	for _, way := range [][]model.HostName{{"h0001", "h0002"}, {"h0002", "h0001", "h0002"}} {
		m.bind(p, way[0], "b")
		seen := *store.Get(m.view(), store.Ports, string(p.ID)).Move
		known := m.view().Revision()
		for _, host := range way[1:] {
			m.bind(p, host, "b")
		}
		m.settle() // the hub has seen it
		for _, name := range hosts {
			m.Report(name, queueOf(m.hub, name), hostsync.Report{Revision: known})
		}
		m.stays(p, model.MoveAccept, "nobody has applied that the port comes to host h0002")
		if err := m.rules.AdvanceMove(t.Context(), p.ID, seen); err != nil {
			t.Fatal(err)
		}
		m.stays(p, model.MoveAccept, "a controller ends a stage of the former move late")
		m.settle(hosts...)
		m.comes(p, model.MoveBoth)
		m.bind(p, "h0000", "a")
		m.setPace(pace{})
		m.comes(p, 0)
		m.setPace(pace{wait: time.Hour, attach: time.Hour, hold: time.Hour})
		m.settle(hosts...)
	}
}

// TestBackWhereItIs: a host to which a port comes back while it has it still is asked how the port is, though nothing of that has changed
// there: what it had said is void since the port was bound to another host.
func TestBackWhereItIs(t *testing.T) {
	m := startHub(t, openStore(t))
	m.setPace(pace{wait: time.Hour, attach: time.Hour, hold: time.Hour})
	hosts := []model.HostName{"h0000", "h0001"}
	m.connect(0, hosts...)
	p := m.portOn(m.network(), "h0000", "a")
	m.portOn(m.network(), "h0000", "another")
	asked := func(host model.HostName) map[model.PortKey]hoststate.Port {
		t.Helper()
		m.settle() // the hub has seen all
		d, _ := queueOf(m.hub, host).Take()
		return d.Set.Ports
	}
	says := func(host model.HostName) {
		t.Helper()
		m.Report(host, queueOf(m.hub, host), hostsync.Report{Ports: []hostsync.PortReport{{ID: p.ID, Status: model.PortActive}}})
		m.becomes(p, model.PortActive, "")
	}
	back := func(host model.HostName, iface string) {
		t.Helper()
		asked(host)
		m.bind(p, host, iface)
		if rows := asked(host); len(rows) != 1 || rows[p.Key].ID != p.ID {
			t.Fatalf("host %s is asked for %+v", host, rows)
		}
		says(host)
	}
	asked("h0000")
	says("h0000")
	m.bind(p, "h0001", "b")
	back("h0000", "a")
	m.setPace(pace{})
	m.comes(p, 0)
	m.setPace(pace{wait: time.Hour, attach: time.Hour, hold: time.Hour})
	m.bind(p, "h0001", "b")
	m.settle(hosts...)
	m.comes(p, model.MoveBoth)
	m.bind(p, "h0000", "a")
	back("h0001", "b")
	if _, err := m.rules.UpdatePort(t.Context(), string(p.ID), func(in *site.PortInput) error { in.Name = "another"; return nil }); err != nil {
		t.Fatal(err)
	}
	if rows := asked("h0001"); len(rows) != 0 {
		t.Errorf("a host that has said how a port is is asked for %+v", rows)
	}
}

// TestLookBringsOnSomePorts: where many ports move, a look brings some of them on and not all, so that devices and other controllers
// do not wait for all.
func TestLookBringsOnSomePorts(t *testing.T) {
	h := emptyHub()
	h.moves.pace = pace{}
	for i := range 3 * portsALook {
		h.noteMove(&model.Port{ID: model.PortID(fmt.Sprint(i)), Move: &model.Move{Host: "h0000", Stage: model.MoveAccept}}, 1)
	}
	snap, err := h.rules.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(h.duePorts(snap, time.Now(), 1)); got != portsALook {
		t.Errorf("a look brings on %d ports, not %d", got, portsALook)
	}
}

// TestStagesOutlastTheFeed: a stage does not begin anew where the feed of changes does; one that is another does.
func TestStagesOutlastTheFeed(t *testing.T) {
	m := startHub(t, openStore(t))
	m.patience(time.Hour)
	m.setPace(pace{wait: time.Hour, attach: time.Hour, hold: time.Hour})
	m.connect(0, "h0000", "h0001", "h0002")
	d, p := m.deviceOn("h0000"), m.portOn(m.network(), "h0000", "a")
	m.bindDevice(d, "h0001")
	m.bind(p, "h0001", "a")
	type seen struct {
		port   stage
		device deviceMove
	}
	look := func() seen {
		m.settle()
		m.mu.Lock()
		defer m.mu.Unlock()
		return seen{m.moves.ports[p.ID], m.devices.moves[d.ID]}
	}
	before := look()
	m.reset(m.view())
	if now := look(); now != before || now.port.seen.IsZero() || now.device.since.IsZero() {
		t.Errorf("after a break of the feed the stages are %+v, and they were %+v", now, before)
	}
	m.stop()
	m.bind(p, "h0002", "a")
	m.bindDevice(d, "h0000")
	m.reset(m.view())
	if now := look(); !now.port.seen.After(before.port.seen) || now.port.move == before.port.move || now.device != (deviceMove{}) {
		t.Errorf("after the port was bound on and the device stayed, the stages are %+v, and they were %+v", now, before)
	}
}
