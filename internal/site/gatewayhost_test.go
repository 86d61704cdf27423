package site_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
)

// gateways is a site whose hosts may serve gateway devices.
type gateways struct {
	*fixture
	sessions uint64
	etcd     store.Store // instead of the fixture's; nil: that
}

func (g *gateways) view() store.Snapshot {
	g.Helper()
	if g.etcd == nil {
		return g.fixture.view()
	}
	snap, err := g.etcd.View(g.Context())
	g.ok(err)
	return snap
}

// come has a host's agent connect; priority 0: it does not say that it may serve gateway devices.
func (g *gateways) come(name model.HostName, priority uint8) {
	g.Helper()
	g.sessions++
	end := fabricEnd(name)
	if g.etcd != nil { // of many hosts
		end = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(g.sessions >> 8), byte(g.sessions)}), end.Port())
	}
	g.ok(g.RegisterHost(g.Context(), site.Session{Host: name, Controller: "c1", Number: g.sessions, Fabric: end, GatewayPriority: priority}))
}

func (g *gateways) drain(name model.HostName, drained bool) {
	g.Helper()
	_, err := g.UpdateAgent(g.Context(), string(site.AgentID(name)), func(a *model.Agent) error { a.AdminStateUp = !drained; return nil })
	g.ok(err)
}

func (g *gateways) bind(d *model.GatewayDevice, host model.HostName) error {
	_, err := g.UpdateGatewayDevice(g.Context(), string(d.ID), func(in *site.GatewayDeviceInput) error { in.HostID = host; return nil })
	return err
}

// wrote and wroteNot check whether a step of a move was written.
func (g *gateways) wrote(written bool, err error) {
	g.Helper()
	if g.ok(err); !written {
		g.Error("nothing was written")
	}
}

func (g *gateways) wroteNot(written bool, err error) {
	g.Helper()
	if g.ok(err); written {
		g.Error("what is over was written once more")
	}
}

// settle takes all moves to their ends.
func (g *gateways) settle() {
	g.Helper()
	for moves := true; moves; {
		moves = false
		for p := range store.All(g.view(), store.Placements) {
			if p.Other != "" {
				moves = true
				g.wrote(g.Advance(g.Context(), *p))
			}
		}
	}
}

// on checks who serves a device once nothing moves, and that what is said of that has some words; no words: that nothing is.
func (g *gateways) on(d *model.GatewayDevice, host model.HostName, words ...string) {
	g.Helper()
	g.settle()
	at, said := site.GatewayHost(g.view(), store.Get(g.view(), store.GatewayDevices, string(d.ID)))
	if at != host || (said == "") != (len(words) == 0) {
		g.Errorf("served by %q, %q; want %q, %q", at, said, host, words)
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			g.Errorf("%q does not say %q", said, w)
		}
	}
}

// standbys are the standbys of a device in order of rank.
func (g *gateways) standbys(d *model.GatewayDevice) (hosts []model.HostName) {
	g.Helper()
	for _, h := range site.HostsOf(g.view(), d) {
		if h.State == site.HAStandby {
			hosts = append(hosts, h.Host)
		}
	}
	return hosts
}

// TestStandbys: a device goes to its first standby where its host is drained or deleted, and to the next one from there. Hosts that
// come move nothing; one that is gone comes last.
func TestStandbys(t *testing.T) {
	g := &gateways{fixture: newSite(t)}
	for i := range 6 {
		g.come(model.HostName(fmt.Sprintf("h%d", i)), 100)
	}
	g.come("top", 200)
	d := g.device(g.router().ID, "200.0.0.1")
	g.on(d, "top")
	order := g.standbys(d)
	if len(order) != 6 {
		t.Fatalf("%v stand by", order)
	}
	g.come("other", 0)
	g.come("h9", 1)
	if now := g.standbys(d); !slices.Equal(now, append(slices.Clone(order), "h9")) {
		t.Errorf("%v stand by, want %v and h9", now, order)
	}
	g.drain("top", true)
	g.on(d, order[0])
	g.ok(g.DeleteAgent(t.Context(), string(site.AgentID(order[0])), true))
	g.on(d, order[1])
	h := store.Get(g.view(), store.Hosts, string(order[2]))
	if ok, err := g.HostGone(t.Context(), site.Signs{Host: h.Name, Controller: h.Controller, Session: h.Session}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	all := site.HostsOf(g.view(), d)
	if last := all[len(all)-1]; last != (site.RankedHost{Host: order[2], State: site.HAUnknown}) {
		t.Errorf("the last of the hosts is %v, and %s is gone", last, order[2])
	}
	if all[0] != (site.RankedHost{Host: order[1], State: site.HAActive}) {
		t.Errorf("the first of the hosts is %v, and %s serves the device", all[0], order[1])
	}
	g.drain("top", false)
	g.on(d, order[1])
	g.drain(order[1], true)
	g.on(d, "top")
	for _, name := range []model.HostName{"a", "b", "c", "d", "e"} {
		g.come(name, 100)
	}
	if n := len(site.HostsOf(g.view(), d)); n != 9 {
		t.Errorf("%d hosts are shown", n)
	}
	fresh := g.device(g.router().ID, "200.0.0.2")
	if hosts := site.HostsOf(g.view(), fresh); len(hosts) == 0 || hosts[0].Host != "top" {
		t.Errorf("a new device has %v", hosts)
	}
	h = store.Get(g.view(), store.Hosts, "top")
	if ok, err := g.HostGone(t.Context(), site.Signs{Host: h.Name, Controller: h.Controller, Session: h.Session}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if first := site.HostsOf(g.view(), d)[0]; first != (site.RankedHost{Host: "top", State: site.HAUnknown}) {
		t.Errorf("the first of the hosts is %v, and top, which served the device, is gone", first)
	}
}

// TestNobodySaysGateway: where no agent says that it may serve gateway devices, all hosts may, as in releases before.
func TestNobodySaysGateway(t *testing.T) {
	g := &gateways{fixture: newSite(t)}
	first := g.device(g.router().ID, "200.0.0.1")
	g.on(first, "", "no agent has connected")
	g.come("h1", 0)
	g.on(first, "h1")
	g.come("h2", 0)
	g.on(first, "h1")
	g.drain("h1", true)
	g.on(first, "h2")
	g.drain("h2", true)
	g.on(first, "h2", "h2 is drained", "--undo")
	third := g.device(g.router().ID, "200.0.0.3")
	g.on(third, "", "all hosts are drained", "h1, h2", "--undo")
	g.come("h3", 0)
	g.on(third, "h3")
	g.on(first, "h3") // its host was drained, and had nowhere to leave it
	g.ok(g.DeleteAgent(t.Context(), string(site.AgentID("h3")), true))
	g.on(first, "", "drained")
	g.come("h5", 0)
	g.on(first, "h5")
}

// TestGatewayHosts: a new device goes to a host that says that it may serve it, by priority, then by load, then by
// name; and stays there when another one would be chosen by now.
func TestGatewayHosts(t *testing.T) {
	g := &gateways{fixture: newSite(t)}
	g.come("h1", 0)
	old := g.device(g.router().ID, "200.0.0.1")
	g.on(old, "h1")
	g.come("h3", 100)
	g.on(old, "h1", "--gateway", "h3") // nothing moves for it
	g.come("h2", 100)
	a := g.device(g.router().ID, "200.0.0.2")
	b := g.device(g.router().ID, "200.0.0.3")
	c := g.device(g.router().ID, "200.0.0.4")
	g.on(a, "h2")
	g.on(b, "h3")
	g.on(c, "h2")
	g.come("h4", 200)
	g.on(a, "h2")
	d := g.device(g.router().ID, "200.0.0.5")
	g.on(d, "h4")
	g.settle()
	before := g.view().Revision()
	g.come("h4", 200)
	if now := g.view().Revision(); now != before+1 {
		t.Errorf("a host that comes again wrote %d times, not its session alone", now-before)
	}
	g.come("h3", 101)
	g.drain("h4", true)
	g.on(d, "h3") // one device, as h2 has, but of a higher priority
	g.come("h3", 100)
	next := g.standbys(old)[0]
	g.drain("h1", true)
	g.on(old, next)
	g.come("h2", 0) // its agent says so no longer
	g.on(a, "h2", "h2", "--gateway", "--host")
	g.drain("h3", true)
	g.on(b, "h3", "h3 is drained", "h3, h4", "--undo")
	f := g.device(g.router().ID, "200.0.0.6")
	g.on(f, "", "start the agent of another host with --gateway")
}

// TestGatewayBinding: a device is where it is bound to, if that host may serve it.
func TestGatewayBinding(t *testing.T) {
	g := &gateways{fixture: newSite(t)}
	d := g.device(g.router().ID, "200.0.0.1")
	refused := func(host model.HostName, words ...string) {
		t.Helper()
		err := g.bind(d, host)
		g.wantErr(err, model.KindConflict, "GatewayHostInvalid")
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%v does not say %q", err, w)
			}
		}
	}
	refused("h1", "not of this site")
	g.come("h1", 0)
	g.come("h2", 100)
	g.on(d, "h1", "--gateway")
	refused("h1", "h2", "--gateway")
	g.come("h3", 1)
	g.ok(g.bind(d, "h3"))
	g.on(d, "h3")
	g.drain("h3", true)
	g.on(d, "h2", "bound to host h3", "served by host h2", "drained", "--undo")
	g.drain("h3", false)
	g.on(d, "h3")
	g.ok(g.bind(d, ""))
	g.on(d, "h3")
	g.drain("h3", true)
	g.on(d, "h2")
	refused("h3", "drained", "--undo")
	g.drain("h3", false)
	g.on(d, "h2") // bound to none, it stays
	g.ok(g.bind(d, "h3"))
	g.ok(g.DeleteAgent(t.Context(), string(site.AgentID("h3")), true))
	g.on(d, "h2", "bound to host h3", "not of this site")
	g.come("h3", 7)
	g.on(d, "h3")

	network := g.network(model.NetworkUplink)
	_, err := g.CreateGatewayDevice(t.Context(), &site.GatewayDeviceInput{GatewayDevice: model.GatewayDevice{Type: model.NetworkVLAN, ResourceID: string(network.ID), HostID: "h2"}})
	g.wantErr(err, model.KindInvalid, "InvalidInput")
	bound, err := g.CreateGatewayDevice(t.Context(), &site.GatewayDeviceInput{
		GatewayDevice: model.GatewayDevice{Type: model.RouterVTEP, ResourceID: string(g.router().ID), HostID: "h3"},
		TunnelIPs:     []netip.Addr{netip.MustParseAddr("200.0.0.9")},
	})
	g.ok(err)
	g.on(bound, "h3")
}

// TestGatewayMove: a device moves in stages, each of which is one write, and turns round on its way; a stage that is over already is
// not taken on again.
func TestGatewayMove(t *testing.T) {
	g := &gateways{fixture: newSite(t)}
	g.come("h1", 100)
	g.come("h2", 50)
	g.come("h3", 20)
	d := g.device(g.router().ID, "200.0.0.1")
	at := func() model.Placement { return *store.Get(g.view(), store.Placements, string(d.ID)) }
	is := func(host, other model.HostName, stage model.MoveStage, epoch uint64) {
		t.Helper()
		if now, want := at(), (model.Placement{DeviceID: d.ID, Host: host, Other: other, Stage: stage, Epoch: epoch}); now != want {
			t.Errorf("%+v, want %+v", now, want)
		}
	}
	next := func() {
		t.Helper()
		g.wrote(g.Advance(t.Context(), at()))
	}
	is("h1", "", 0, 1)
	g.ok(g.bind(d, "h2"))
	is("h1", "h2", model.MoveAccept, 2)
	seen := at()
	next()
	is("h1", "h2", model.MoveBoth, 2)
	g.wroteNot(g.Advance(t.Context(), seen)) // another controller, late
	is("h1", "h2", model.MoveBoth, 2)
	next()
	is("h2", "h1", model.MoveSwitched, 3)
	g.ok(g.bind(d, "h1")) // back, while h1 has it still
	is("h2", "h1", model.MoveBoth, 4)
	g.ok(g.bind(d, "h2")) // and stay
	is("h2", "h1", model.MoveSwitched, 5)
	next()
	next()
	is("h2", "", 0, 5)
	g.ok(g.bind(d, "h1"))
	next()
	g.ok(g.bind(d, "h3")) // on to a third, while h1 has it
	waits := model.Placement{DeviceID: d.ID, Host: "h2", Other: "h1", Stage: model.MoveSwitched, Next: "h3", Epoch: 7}
	if now := at(); now != waits {
		t.Errorf("%+v, want %+v", now, waits)
	}
	if host, words := site.GatewayHost(g.view(), d); host != "h2" || !strings.Contains(words, "it goes on to host h3 then") {
		t.Errorf("on its way: %q, %q", host, words)
	}
	g.ok(g.bind(d, "h2")) // not any more
	is("h2", "h1", model.MoveSwitched, 7)
	g.ok(g.bind(d, "h3"))
	next()
	next()
	is("h2", "h3", model.MoveAccept, 8)
	next()
	next()
	is("h3", "h2", model.MoveSwitched, 9)
	if host, words := site.GatewayHost(g.view(), d); host != "h3" || !strings.Contains(words, "from host h2 to host h3") {
		t.Errorf("on its way: %q, %q", host, words)
	}
	next()
	is("h3", "h2", model.MoveLeft, 9)
	g.ok(g.bind(d, "h2")) // back, where it is gone already
	is("h3", "h2", model.MoveAccept, 10)
	g.ok(g.bind(d, "h3"))
	is("h3", "", 0, 11)
	g.ok(g.DeleteAgent(t.Context(), string(site.AgentID("h2")), true))
	is("h3", "", 0, 11)
	g.ok(g.bind(d, "h1"))
	is("h3", "h1", model.MoveAccept, 12)
	g.ok(g.DeleteAgent(t.Context(), string(site.AgentID("h3")), true))
	is("h1", "", 0, 13)

	// Nobody waits for a host that is gone, and uplinks are one host's.
	g.come("h2", 50)
	h := store.Get(g.view(), store.Hosts, "h1")
	if ok, err := g.HostGone(t.Context(), site.Signs{Host: "h1", Controller: h.Controller, Session: h.Session}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	g.ok(g.bind(d, "h2"))
	is("h2", "", 0, 14)
}

// TestGatewayHostsKeepWhatTheyHave: however a device is sent from host to host, and turned back, a host that has it loses it after the linger
// alone, and frames from it are taken until then and a stage longer.
func TestGatewayHostsKeepWhatTheyHave(t *testing.T) {
	g := &gateways{fixture: newSite(t)}
	hosts := []model.HostName{"h1", "h2", "h3"}
	for _, h := range hosts {
		g.come(h, 100)
	}
	d := g.device(g.router().ID, "200.0.0.1")
	at := func() model.Placement { return *store.Get(g.view(), store.Placements, string(d.ID)) }
	r, arrived := rand.New(rand.NewPCG(1, 1)), map[model.HostName]int{}
	for i := range 2000 {
		was := at()
		switch what := r.IntN(10); {
		case what < 3:
			g.ok(g.bind(d, hosts[r.IntN(len(hosts))]))
		case what < 4:
			_, err := g.TurnBack(t.Context(), was)
			g.ok(err)
		default:
			_, err := g.Advance(t.Context(), was)
			g.ok(err)
		}
		now := at()
		for _, h := range hosts {
			if was.Has(h) && !slices.Contains(slices.Collect(now.Hosts), h) || was.Has(h) && !now.Has(h) && (was.Stage != model.MoveSwitched || now.Stage != model.MoveLeft) {
				t.Fatalf("step %d: host %s had the device, and lets go without a linger: %+v after %+v", i, h, now, was)
			}
		}
		if now.Other == "" {
			arrived[now.Host]++
		}
	}
	if len(arrived) != len(hosts) {
		t.Errorf("the device has come to rest on %v", arrived)
	}
	g.ok(g.bind(d, "h2"))
	g.on(d, "h2")
}

// goes has a host's agent be missed, and back has it report again.
func (g *gateways) goes(name model.HostName) {
	g.Helper()
	h := store.Get(g.view(), store.Hosts, string(name))
	if ok, err := g.HostGone(g.Context(), site.Signs{Host: name, Controller: h.Controller, Session: h.Session}); err != nil || !ok {
		g.Fatal(ok, err)
	}
}

func (g *gateways) back(name model.HostName) {
	g.Helper()
	h := store.Get(g.view(), store.Hosts, string(name))
	if ok, err := g.HostBack(g.Context(), site.Session{Host: name, Controller: h.Controller, Number: h.Session}); err != nil || !ok {
		g.Fatal(ok, err)
	}
}

// TestGatewayNotToTheDead: a device stays with a host that answers, whatever stage its move to one that does not has come to; it
// goes there once that one is back.
func TestGatewayNotToTheDead(t *testing.T) {
	g := &gateways{fixture: newSite(t)}
	g.come("h1", 100)
	g.come("h2", 50)
	d := g.device(g.router().ID, "200.0.0.1")
	at := func() model.Placement { return *store.Get(g.view(), store.Placements, string(d.ID)) }
	is := func(host, other model.HostName, stage model.MoveStage) {
		t.Helper()
		if p := at(); p.Host != host || p.Other != other || p.Stage != stage {
			t.Errorf("%+v, want %s, %s, %d", p, host, other, stage)
		}
	}
	g.ok(g.bind(d, "h2"))
	for stage := model.MoveAccept; stage <= model.MoveBoth; stage++ {
		is("h1", "h2", stage)
		g.goes("h2")
		g.wroteNot(g.Advance(t.Context(), at()))
		is("h1", "h2", stage)
		g.back("h2")
		g.wrote(g.Advance(t.Context(), at()))
	}
	is("h2", "h1", model.MoveSwitched)
	g.wroteNot(g.TurnBack(t.Context(), at())) // too late: the hosts send there
	g.on(d, "h2")

	g.ok(g.bind(d, "h1"))
	seen := at()
	g.wrote(g.TurnBack(t.Context(), seen))
	is("h2", "", 0)
	if at().Epoch != seen.Epoch+1 {
		t.Errorf("epoch %d after %d", at().Epoch, seen.Epoch)
	}
	g.on(d, "h2", "bound to host h1", "did not take it", "update --host h1")
	g.ok(g.bind(d, "h1")) // once more
	g.on(d, "h1")

	// None begins to move to a host that is gone, by a binding or by a drain.
	g.goes("h2")
	g.ok(g.bind(d, "h2"))
	g.on(d, "h1", "bound to host h2", "the agent of host h2 is away")
	g.come("h2", 50)
	is("h1", "", 0)
	g.back("h2")
	is("h1", "h2", model.MoveAccept)
	g.on(d, "h2")
	g.ok(g.bind(d, ""))
	g.goes("h1")
	g.drain("h2", true)
	g.on(d, "h2", "h2 is drained and serves it still", "the agent of host h1 is away")
	g.back("h1")
	g.on(d, "h1")
}

// TestGatewaysAtACluster: many devices and hosts get their places within what an etcd cluster takes in one transaction.
func TestGatewaysAtACluster(t *testing.T) {
	st, err := etcdstore.Open(t.Context(), etcdstore.Options{DataDir: t.TempDir(), Migrations: site.Migrations(), Logger: slog.New(slog.DiscardHandler), MaxTxnOps: 128})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	g := &gateways{fixture: &fixture{T: t, Site: site.New(st, site.Options{Logger: slog.New(slog.DiscardHandler)})}, etcd: st}
	const devices, hosts = 150, 145
	for i := range hosts {
		g.come(model.HostName(fmt.Sprintf("h%03d", i)), 0)
	}
	for i := range devices {
		g.device(g.router().ID, fmt.Sprintf("200.0.0.%d", i+1))
	}
	g.come("new", 0)
	all := func(host model.HostName) {
		t.Helper()
		g.settle()
		if n := site.DevicesOn(g.view(), host); n != devices {
			t.Fatalf("host %s has %d devices of %d", host, n, devices)
		}
	}
	for i := range hosts {
		g.drain(model.HostName(fmt.Sprintf("h%03d", i)), true)
	}
	all("new")
	g.drain("h000", false)
	g.drain("new", true)
	all("h000")
	g.drain("new", false)
	g.ok(g.DeleteAgent(t.Context(), string(site.AgentID("h000")), true))
	all("new")
}
