package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// hub turns the store's changes into deltas for the connected hosts, and takes
// their reports.
type hub struct {
	st     store.Store
	rules  *site.Site
	counts *metrics.Controller
	log    *slog.Logger
	ready  chan struct{} // closed once there is a topology

	mu       sync.Mutex
	topology *hoststate.Topology
	revision int64 // that topology is at
	hosts    map[model.HostName]*host
	budgets  map[model.HostName]*rate.Limiter // of what hosts have written, bytes
	wake     chan struct{}                    // capacity 1: there are reports to deliver
	moved    chan struct{}                    // closed, and made anew, when revision or a host's acked has changed
}

// host is a connected host.
type host struct {
	compiler *hoststate.Compiler
	queue    *hostsync.Queue
	sent     int64 // revision of the last delta queued
	// nudge, when not 0, is a revision whose acknowledgement somebody waits for,
	// whether or not it changes anything for the host.
	nudge int64
	inbox
}

// maxWaiting bounds the ports of a host whose reports wait for the store: far more
// than a host has.
const maxWaiting = 1 << 14

// inbox is what a host has reported and the store does not have yet.
type inbox struct {
	acked  int64
	mtu    int
	ports  map[model.PortID]hostsync.PortReport
	writes bool // acked or mtu has changed since it was last passed on
	// fresh: it has connected, and what was said before of ports that are not bound is void.
	fresh bool
	// freed is how many acknowledgements the store still wants to see because
	// keys were freed: one shows when, the next that the host knows.
	freed int
}

func newHub(st store.Store, rules *site.Site, counts *metrics.Controller, log *slog.Logger) *hub {
	return &hub{
		st: st, rules: rules, counts: counts, log: log, ready: make(chan struct{}),
		hosts: map[model.HostName]*host{}, budgets: map[model.HostName]*rate.Limiter{}, wake: make(chan struct{}, 1),
		moved: make(chan struct{}),
	}
}

// watch follows the store until ctx ends. When the feed breaks it begins anew.
func (h *hub) watch(ctx context.Context) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		snap, feed, err := h.st.Watch(ctx)
		if err == nil {
			h.reset(snap)
			wait = 10 * time.Millisecond
			for b := range feed {
				h.apply(b)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		h.log.Warn("the feed of changes broke; it begins anew", "error", err)
		if pause.For(ctx, wait) != nil {
			return nil
		}
	}
}

// topologyKinds are the kinds that a topology is made of.
func topologyKinds() []store.Kind {
	return []store.Kind{
		store.Networks.Kind(), store.Subnets.Kind(), store.Routers.Kind(), store.Ports.Kind(), store.GatewayDevices.Kind(),
		store.Placements.Kind(), store.RemoteMACEntries.Kind(), store.L2Gateways.Kind(), store.L2GatewayConnections.Kind(),
		store.LearnedMACs.Kind(),
	}
}

func topologyOf(r store.Reader) *hoststate.Topology {
	t := hoststate.NewTopology()
	for _, kind := range topologyKinds() {
		for _, o := range r.List(kind) {
			t.Apply(hoststate.Change{New: o})
		}
	}
	return t
}

// reset starts from a snapshot. Hosts get what differs from what they had.
func (h *hub) reset(snap store.Snapshot) {
	t := topologyOf(snap)
	h.mu.Lock()
	defer h.mu.Unlock()
	first := h.topology == nil
	h.topology, h.revision = t, snap.Revision()
	h.wakeSettled()
	h.counts.Revision(h.revision)
	for name, host := range h.hosts {
		compiler := hoststate.NewCompiler(t, name)
		d := hoststate.Diff(host.compiler.State(), compiler.State())
		host.compiler, host.freed = compiler, 2
		h.push(name, host, d)
	}
	if first {
		close(h.ready)
	}
}

// apply passes one transaction's changes on.
func (h *hub) apply(b store.Batch) {
	changes := make([]hoststate.Change, 0, len(b.Changes))
	freed := false
	for _, c := range b.Changes {
		changes = append(changes, hoststate.Change{Old: c.Old, New: c.Object})
		if c.Object == nil {
			switch c.Kind {
			case store.Networks.Kind(), store.Ports.Kind(), store.Routers.Kind():
				freed = true
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	begin := time.Now()
	touched := h.topology.Apply(changes...)
	h.revision = b.Revision
	defer h.wakeSettled()
	h.counts.Revision(b.Revision)
	for name, host := range h.hosts {
		d := hoststate.Delta{Set: hoststate.NewState()}
		if !touched.Empty() {
			d = host.compiler.Apply(touched)
		}
		if freed {
			host.freed = 2
		}
		if !d.Empty() || freed || host.nudge != 0 && h.revision >= host.nudge {
			h.push(name, host, d)
		}
	}
	h.counts.Compiled(time.Since(begin))
}

// push queues a delta that leads to the present revision. It needs mu.
func (h *hub) push(name model.HostName, host *host, d hoststate.Delta) {
	d.Revision = h.revision
	host.sent = h.revision
	if host.nudge != 0 && host.nudge <= h.revision {
		host.nudge = 0
	}
	host.queue.Push(d, host.compiler.State())
	h.counts.HostLag(string(name), host.sent, host.acked)
}

var errReplaced = errors.New("another agent of this host has connected")

// Connect implements hostsync.Hosts. A host's newer connection takes over from
// the older: it may be one that broke and has not noticed.
func (h *hub) Connect(ctx context.Context, name model.HostName, _ hostsync.Agent) (*hostsync.Queue, error) {
	if err := h.rules.RegisterHost(ctx, name); err != nil {
		return nil, err
	}
	select {
	case <-h.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("the controller has not read its store: %w", ctx.Err())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.hosts[name]; old != nil {
		h.log.Warn("a second connection of the host; the first one ends", "host", name)
		old.queue.Close(errReplaced)
	}
	// Keys may have been freed while this controller did not see the host.
	host := &host{compiler: hoststate.NewCompiler(h.topology, name), queue: hostsync.NewQueue(), inbox: inbox{freed: 2, fresh: true}}
	h.hosts[name] = host
	h.push(name, host, hoststate.Delta{Full: true, Set: host.compiler.State().Clone()})
	h.counts.HostConnected(string(name), true)
	return host.queue, nil
}

// Disconnect implements hostsync.Hosts.
func (h *hub) Disconnect(name model.HostName, q *hostsync.Queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if host := h.hosts[name]; host != nil && host.queue == q {
		delete(h.hosts, name)
		h.wakeSettled()
		h.counts.HostConnected(string(name), false)
	}
}

// Report implements hostsync.Hosts: it only notes, deliver writes.
func (h *hub) Report(name model.HostName, r hostsync.Report) {
	h.mu.Lock()
	defer h.mu.Unlock()
	host := h.hosts[name]
	if host == nil {
		return
	}
	h.counts.HostReport(string(name))
	// What an agent applied from another controller, this one may not have seen
	// yet: that is acknowledged again when it has.
	if r.Revision != host.acked && r.Revision != 0 && r.Revision <= h.revision {
		host.acked = r.Revision
		h.wakeSettled()
		host.writes = host.writes || host.freed > 0
	}
	if r.UnderlayMTU != 0 && r.UnderlayMTU != host.mtu {
		host.mtu, host.writes = r.UnderlayMTU, true
	}
	if host.ports == nil {
		host.ports = map[model.PortID]hostsync.PortReport{}
	}
	for _, p := range r.Ports {
		if _, waits := host.ports[p.ID]; waits || len(host.ports) < maxWaiting {
			host.ports[p.ID] = p
		}
	}
	h.counts.HostLag(string(name), host.sent, host.acked)
	h.wakeDelivery()
}
