package controller

import (
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
)

// hubWith makes a hub with one host and no store.
func hubWith(t *testing.T, name model.HostName) (*hub, *host) {
	t.Helper()
	h := newHub(nil, nil, metrics.NewController("test"), slog.New(slog.DiscardHandler))
	h.topology, h.revision = hoststate.NewTopology(), 10
	h.compiler, h.interest = hoststate.NewCompiler(h.topology), hoststate.NewInterest(h.topology, hoststate.MaxGroups)
	h.interest.Add(name)
	ho := &host{queue: hostsync.NewQueue(h.source(name), &h.forms)}
	h.hosts[name] = ho
	return h, ho
}

func report(rev int64, states ...string) hostsync.Report {
	r := hostsync.Report{Revision: rev}
	for i := 0; i < len(states); i += 2 {
		r.Ports = append(r.Ports, hostsync.PortReport{ID: model.PortID(states[i]), Status: model.PortStatus(states[i+1])})
	}
	return r
}

// TestReportsWait: what the store did not take waits, and gives way to what the
// host has said since.
func TestReportsWait(t *testing.T) {
	h, _ := hubWith(t, "h")
	h.Report("h", queueOf(h, "h"), report(5, "a", "ACTIVE", "b", "ACTIVE"))
	taken, _ := h.takeReports()
	if len(taken) != 1 || len(taken[0].ports) != 2 {
		t.Fatalf("%+v", taken)
	}
	if again, _ := h.takeReports(); len(again) != 0 {
		t.Fatalf("taken twice: %+v", again)
	}
	h.Report("h", queueOf(h, "h"), report(5, "a", "DOWN"))
	h.giveBack(taken[0])
	taken, _ = h.takeReports()
	if len(taken) != 1 || taken[0].ports["a"].Status != model.PortDown || taken[0].ports["b"].Status != model.PortActive {
		t.Fatalf("%+v", taken)
	}
	// With nothing new of its own.
	h.giveBack(taken[0])
	if taken, _ = h.takeReports(); len(taken) != 1 || len(taken[0].ports) != 2 {
		t.Fatalf("%+v", taken)
	}
}

// TestAcksAreNotWrites: an acknowledgement writes nothing.
func TestAcksAreNotWrites(t *testing.T) {
	h, ho := hubWith(t, "h")
	h.Report("h", queueOf(h, "h"), report(6))
	if taken, _ := h.takeReports(); len(taken) != 0 || ho.acked != 6 {
		t.Errorf("%+v, %d", taken, ho.acked)
	}
	h.Report("h", queueOf(h, "h"), hostsync.Report{Revision: 6, UnderlayMTU: 1400})
	if taken, _ := h.takeReports(); len(taken) != 1 || taken[0].mtu != 1400 {
		t.Errorf("%+v", taken)
	}
	// A revision from the future acknowledges nothing; the rest counts.
	h.Report("h", queueOf(h, "h"), report(11, "a", "ACTIVE"))
	if taken, _ := h.takeReports(); len(taken) != 1 || ho.acked != 6 || len(taken[0].ports) != 1 {
		t.Errorf("%+v", taken)
	}
	h.Report("stranger", nil, report(1))
}

// TestReplaced: a host's newer connection ends the older, and the end of the
// older does not touch the newer.
func TestReplaced(t *testing.T) {
	h, old := hubWith(t, "h")
	newer := &host{queue: hostsync.NewQueue(h.source("h"), &h.forms)}
	h.hosts["h"] = newer
	h.Disconnect("h", old.queue)
	if h.hosts["h"] != newer {
		t.Error("the newer connection is gone")
	}
	h.Disconnect("h", newer.queue)
	if len(h.hosts) != 0 {
		t.Error("the host is still there")
	}
}

// rowsOf is a group with its rows.
type rowsOf struct {
	group hoststate.Group
	rows  *hoststate.GroupRows
}

func (r rowsOf) All() iter.Seq[hoststate.Group] { return slices.Values([]hoststate.Group{r.group}) }

func (r rowsOf) Rows(hoststate.Group) *hoststate.GroupRows { return r.rows }

// TestNoOldForm: after a new start hosts get the rows that there are, even where rows from before have the same digest.
func TestNoOldForm(t *testing.T) {
	h, _ := hubWith(t, "h")
	now := rowsOf{group: hoststate.Group{Kind: hoststate.GroupNetwork, Key: 1}}
	q := hostsync.NewQueue(func(read func(hostsync.Groups)) { read(now) }, &h.forms)
	for _, name := range []string{"before", "after"} {
		now.rows = &hoststate.GroupRows{State: hoststate.NewState(), Digest: hoststate.Digest{7}}
		now.rows.Networks[1] = hoststate.Network{Name: name}
		h.start(hoststate.NewTopology(), h.revision+1, func() {})
		q.PushAll(h.revision)
		if d, _ := q.Take(); d.Set.Networks[1].Name != name {
			t.Errorf("%q is sent for %q", d.Set.Networks[1].Name, name)
		}
	}
}

// TestReportsAreBounded: a host that makes ports up does not fill the memory.
func TestReportsAreBounded(t *testing.T) {
	h, ho := hubWith(t, "h")
	h.Report("h", queueOf(h, "h"), report(5, "mine", "ACTIVE"))
	for i := range 2 * maxWaiting {
		h.Report("h", queueOf(h, "h"), report(5, strconv.Itoa(i), "ACTIVE"))
	}
	h.Report("h", queueOf(h, "h"), report(5, "mine", "DOWN"))
	if len(ho.ports) != maxWaiting || ho.ports["mine"].Status != model.PortDown {
		t.Errorf("%d reports wait; mine is %+v", len(ho.ports), ho.ports["mine"])
	}
}

// TestReportsHaveABudget: what a host has written in its name is bounded in time; what
// is beyond waits, and nothing of it is lost.
func TestReportsHaveABudget(t *testing.T) {
	budget := rate.NewLimiter(reportRate, reportBurst)
	ports := map[model.PortID]hostsync.PortReport{}
	words := strings.Repeat("x", 1000)
	const n = 10_000
	for i := range n {
		id := model.PortID(strconv.Itoa(i))
		ports[id] = hostsync.PortReport{ID: id, Status: model.PortError, Reason: words}
	}
	states, rest := affordable(budget, ports)
	if len(states)+len(rest) != n {
		t.Errorf("%d written, %d wait", len(states), len(rest))
	}
	if most := reportBurst/(reportCost+1000) + 1000; len(states) < 1000 || len(states) > most {
		t.Errorf("%d written at once, the most is %d", len(states), most)
	}
	// A large host that starts has all its ports written at once.
	states, rest = affordable(rate.NewLimiter(reportRate, reportBurst), func() map[model.PortID]hostsync.PortReport {
		for id, p := range ports {
			p.Reason, p.Status = "", model.PortActive
			ports[id] = p
		}
		return ports
	}())
	if len(rest) != 0 || len(states) != n {
		t.Errorf("%d of a large host wait", len(rest))
	}
	// Whose budget is spent is left alone, and keeps nobody else waiting.
	h, _ := hubWith(t, "spent")
	h.hosts["other"] = &host{queue: hostsync.NewQueue(h.source("other"), &h.forms)}
	h.budgets["spent"] = &allowance{rate.NewLimiter(0, 0), rate.NewLimiter(0, 0)}
	for _, name := range []model.HostName{"spent", "other"} {
		h.Report(name, queueOf(h, name), report(5, "a", "DOWN"))
	}
	taken, spent := h.takeReports()
	if len(taken) != 1 || taken[0].name != "other" || !spent {
		t.Errorf("%+v, %v", taken, spent)
	}
}

// TestHostileReports: a host that changes its mind about its ports all the time has a
// bounded part of the store's history, and writes nothing about what is not its own.
func TestHostileReports(t *testing.T) {
	st := sitetest.New()
	const ports, rounds = 200, 300
	_, err := st.Update(t.Context(), func(tx store.Tx) error {
		for i := range ports {
			p := &model.Port{ID: model.PortID(strconv.Itoa(i)), HostID: "h"}
			store.Put(tx, store.Ports, string(p.ID), p)
		}
		store.Put(tx, store.Ports, "other", &model.Port{ID: "other", HostID: "another"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	h, _ := hubWith(t, "h")
	h.st, h.rules = st, site.New(st, site.Options{Logger: log})
	begin := time.Now()
	written := 0
	for round := range rounds {
		r := report(5, "other", "DOWN", "none", "DOWN")
		for i := range ports {
			r.Ports = append(r.Ports, hostsync.PortReport{ID: model.PortID(strconv.Itoa(i)), Status: model.PortError, Reason: fmt.Sprint(round, strings.Repeat("x", 1000))})
		}
		h.Report("h", queueOf(h, "h"), r)
		taken, _ := h.takeReports()
		for _, d := range taken {
			rest, err := h.write(t.Context(), d, nil)
			if err != nil {
				t.Fatal(err)
			}
			written += ports - len(rest)
			d.ports = rest
			h.giveBack(d)
		}
	}
	most := reportBurst + int(time.Since(begin).Seconds()+1)*reportRate
	if bytes := written * (reportCost + 1000); bytes > most || written < ports {
		t.Errorf("%d states of %d bytes were written, at most %d were to be", written, bytes, most)
	}
	snap, err := st.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"other", "none"} {
		if store.Get(snap, store.PortStates, id) != nil {
			t.Errorf("the host has written about %s", id)
		}
	}
}

// TestHostileMTUs: a host that says of another MTU each time, which all hosts are told of, has few of them written at once; the
// last of them is not lost, and what others say is written in the same turn. No turn looks at hosts that have said nothing.
func TestHostileMTUs(t *testing.T) {
	h, _ := hubWith(t, "h")
	for i := range 100 {
		name := model.HostName(fmt.Sprint("silent", i))
		h.hosts[name] = &host{queue: hostsync.NewQueue(h.source(name), &h.forms)}
	}
	h.hosts["other"] = &host{queue: hostsync.NewQueue(h.source("other"), &h.forms)}
	h.budgets["h"] = &allowance{rate.NewLimiter(reportRate, reportBurst), rate.NewLimiter(0, mtuBurst)}
	written := 0
	const rounds = 1000
	for i := range rounds {
		h.Report("h", queueOf(h, "h"), hostsync.Report{UnderlayMTU: 1000 + i, FabricMTU: 1000 + i})
		h.Report("other", queueOf(h, "other"), report(5, "a", "DOWN"))
		if len(h.inboxes) != 2 {
			t.Fatalf("%d hosts are looked at", len(h.inboxes))
		}
		others := 0
		taken, spent := h.takeReports()
		for _, d := range taken {
			if d.name == "other" {
				others++
			}
			if d.writes {
				written++
			}
		}
		if others != 1 || spent != (i >= mtuBurst) {
			t.Fatalf("round %d: %d of another host, spent %v", i, others, spent)
		}
	}
	if written != mtuBurst {
		t.Errorf("%d of %d were written", written, rounds)
	}
	h.budgets["h"].mtus = rate.NewLimiter(mtuRate, mtuBurst)
	if taken, spent := h.takeReports(); len(taken) != 1 || taken[0].mtu != 1000+rounds-1 || !taken[0].writes || spent {
		t.Errorf("%+v, %v", taken, spent)
	}
}

func queueOf(h *hub, name model.HostName) *hostsync.Queue { return h.hosts[name].queue }

// TestReportOfAStreamThatIsOver: it says nothing of the session that has taken its place, and a session that
// began before another of its host takes nothing away from that.
func TestReportOfAStreamThatIsOver(t *testing.T) {
	h, _ := hubWith(t, "h")
	h.life.hosts["h"] = &model.Host{Name: "h"}
	old := queueOf(h, "h")
	now, err := h.attach(t.Context(), "h", 7, hostsync.Agent{})
	if err != nil {
		t.Fatal(err)
	}
	h.Report("h", old, report(h.revision, "a", "DOWN"))
	if host := h.hosts["h"]; host.acked != 0 || len(host.ports) != 0 || h.life.reports["h"] != nil {
		t.Errorf("the old stream's report counts: %+v", host.inbox)
	}
	if _, err := h.attach(t.Context(), "h", 6, hostsync.Agent{}); err == nil {
		t.Error("an earlier session takes the place of a later one")
	}
	if queueOf(h, "h") != now {
		t.Error("the later session's stream is no longer the host's")
	}
	h.Disconnect("h", now)
	if len(h.life.reports) != 0 {
		t.Error("the host that has left is kept")
	}
}
