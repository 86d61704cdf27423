package controller

import (
	"log/slog"
	"strconv"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
)

// hubWith makes a hub with one host and no store.
func hubWith(t *testing.T, name model.HostName) (*hub, *host) {
	t.Helper()
	h := newHub(nil, nil, metrics.NewController("test"), slog.New(slog.DiscardHandler))
	h.topology, h.revision = hoststate.NewTopology(), 10
	ho := &host{compiler: hoststate.NewCompiler(h.topology, name), queue: hostsync.NewQueue()}
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
	h.Report("h", report(5, "a", "ACTIVE", "b", "ACTIVE"))
	taken := h.takeReports()
	if len(taken) != 1 || len(taken[0].ports) != 2 {
		t.Fatalf("%+v", taken)
	}
	if again := h.takeReports(); len(again) != 0 {
		t.Fatalf("taken twice: %+v", again)
	}
	h.Report("h", report(5, "a", "DOWN"))
	h.giveBack(taken[0])
	taken = h.takeReports()
	if len(taken) != 1 || taken[0].ports["a"].Status != model.PortDown || taken[0].ports["b"].Status != model.PortActive {
		t.Fatalf("%+v", taken)
	}
	// With nothing new of its own.
	h.giveBack(taken[0])
	if taken = h.takeReports(); len(taken) != 1 || len(taken[0].ports) != 2 {
		t.Fatalf("%+v", taken)
	}
}

// TestAcksAreNotWrites: an acknowledgement that nobody waits for writes nothing.
func TestAcksAreNotWrites(t *testing.T) {
	h, ho := hubWith(t, "h")
	h.Report("h", report(5))
	if taken := h.takeReports(); len(taken) != 0 {
		t.Errorf("%+v", taken)
	}
	ho.freed = 1
	h.Report("h", report(6))
	if taken := h.takeReports(); len(taken) != 1 || taken[0].acked != 6 {
		t.Errorf("%+v", taken)
	}
	h.Report("h", hostsync.Report{Revision: 6, UnderlayMTU: 1400})
	if taken := h.takeReports(); len(taken) != 1 || taken[0].mtu != 1400 {
		t.Errorf("%+v", taken)
	}
	// A revision from the future acknowledges nothing; the rest counts.
	h.Report("h", report(11, "a", "ACTIVE"))
	if taken := h.takeReports(); len(taken) != 1 || taken[0].acked != 6 || len(taken[0].ports) != 1 {
		t.Errorf("%+v", taken)
	}
	h.Report("stranger", report(1))
}

// TestReplaced: a host's newer connection ends the older, and the end of the
// older does not touch the newer.
func TestReplaced(t *testing.T) {
	h, old := hubWith(t, "h")
	newer := &host{compiler: old.compiler, queue: hostsync.NewQueue()}
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

// TestReportsAreBounded: a host that makes ports up does not fill the memory.
func TestReportsAreBounded(t *testing.T) {
	h, ho := hubWith(t, "h")
	h.Report("h", report(5, "mine", "ACTIVE"))
	for i := range 2 * maxWaiting {
		h.Report("h", report(5, strconv.Itoa(i), "ACTIVE"))
	}
	h.Report("h", report(5, "mine", "DOWN"))
	if len(ho.ports) != maxWaiting || ho.ports["mine"].Status != model.PortDown {
		t.Errorf("%d reports wait; mine is %+v", len(ho.ports), ho.ports["mine"])
	}
}
