package controller

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

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
	id     string        // of this run
	ready  chan struct{} // closed once there is a topology

	mu       sync.RWMutex
	topology *hoststate.Topology
	compiler *hoststate.Compiler
	interest *hoststate.Interest // of the connected hosts
	forms    hostsync.Forms      // of what compiler has
	revision int64               // that topology is at
	// reach and rows are counted up with each change that may concern what hosts want, and with each change of rows.
	reach, rows uint64
	hosts       map[model.HostName]*host
	budgets     map[model.HostName]*allowance // of what hosts have written
	inboxes     map[model.HostName]struct{}   // that have something since the host has reported, or may
	wake        chan struct{}                 // capacity 1: there are reports to deliver
	sessions    uint64                        // that have begun
	line        *line
	vouching    chan struct{} // capacity 1: keys wait, and hosts may have passed
	life        signs
	moves       moves
	proofs      proofs

	standings   standings
	erring      erring
	questions   *questions
	comparisons *comparisons
	turnMu      sync.Mutex
	turns       chan struct{} // of the goroutine that waits for mu; nil: none does
	moved       chan struct{} // closed, and made anew, when revision or a host's acked has changed
	devices     deviceMoves
}

// host is a connected host.
type host struct {
	queue   *hostsync.Queue
	older   bool  // its agent is from before the fabric
	cut     bool  // it does not get all that it should have
	sent    int64 // revision of the last delta queued
	session uint64
	heard   time.Time // when it acknowledged something last, or got something after it had acknowledged all
	inbox
}

// maxWaiting bounds the ports of a host whose reports wait for the store: far more
// than a host has.
const maxWaiting = 1 << 14

// inbox is what a host has reported and the store does not have yet.
type inbox struct {
	acked  int64
	mtu    int // of the underlay
	fabric int // MTU of the interface that carries the fabric
	ports  map[model.PortID]hostsync.PortReport
	writes bool // an MTU has changed since it was last passed on
	// fresh: it has connected, and what was said before of ports that are not bound is void.
	fresh bool
	// Where the store did not take them: when it is tried again, and the pause before that. Both are
	// deliver's alone.
	notBefore time.Time
	wait      time.Duration
}

func newHub(st store.Store, rules *site.Site, counts *metrics.Controller, log *slog.Logger) *hub {
	h := &hub{
		st: st, rules: rules, counts: counts, log: log, ready: make(chan struct{}),
		hosts: map[model.HostName]*host{}, budgets: map[model.HostName]*allowance{}, inboxes: map[model.HostName]struct{}{}, wake: make(chan struct{}, 1),
		line: newLine(max(leastTurns, 2*runtime.GOMAXPROCS(0))),
		id:   uuid.NewString(), vouching: make(chan struct{}, 1), life: newSigns(), standings: newStandings(), erring: erring{}, moves: newMoves(), moved: make(chan struct{}),
		proofs: proofs{pause: proofPause, letGo: letGoAfter}, questions: newQuestions(), comparisons: newComparisons(),
		devices: newDeviceMoves(),
	}
	h.line.count = counts.AgentsWaiting
	return h
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
		store.LearnedMACs.Kind(), store.Hosts.Kind(), store.RBACPolicies.Kind(),
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
	h.start(topologyOf(snap), snap.Revision(), func() {
		h.readHosts(snap)
		h.readStandings(snap)
		h.readErring(snap)
		h.readMoves(snap)
		h.readDeviceMoves(snap)
	})
}

func (h *hub) start(t *hoststate.Topology, revision int64, also func()) {
	compiler, interest := hoststate.NewCompiler(t), hoststate.NewInterest(t, hoststate.MaxGroups)
	h.mu.Lock()
	defer h.mu.Unlock()
	first := h.topology == nil
	before, wanted := h.compiler, h.interest
	h.topology, h.compiler, h.interest, h.revision = t, compiler, interest, revision
	h.forms.Clear() // also those of groups that are no more; and that digests are equal is no proof that rows are
	h.reach, h.rows = h.reach+1, h.rows+1
	also()
	h.wakeSettled()
	h.counts.Revision(h.revision)
	for name, host := range h.hosts {
		old, now := wanted.Of(name), add(interest, name, host.older)
		h.noteCut(name, host, now.Cut)
		var changes []hostsync.Change
		for g := range now.Groups.All() {
			if !old.Groups.Has(g) || before.Digest(g) != compiler.Digest(g) {
				changes = append(changes, hostsync.Change{Group: g})
			}
		}
		for g := range old.Groups.All() {
			if !now.Groups.Has(g) {
				changes = append(changes, hostsync.Change{Group: g})
			}
		}
		h.push(name, host, changes...)
	}
	if first {
		close(h.ready)
	}
}

// apply passes one transaction's changes on.
func (h *hub) apply(b store.Batch) {
	changes := make([]hoststate.Change, 0, len(b.Changes))
	for _, c := range b.Changes {
		changes = append(changes, hoststate.Change{Old: c.Old, New: c.Object})
	}
	h.freed(b)
	h.mu.Lock()
	defer h.mu.Unlock()
	begin := time.Now()
	h.revision = b.Revision
	h.noteHosts(b)
	h.noteErring(b)
	h.noteMoves(b)
	h.noteDeviceMoves(b)
	defer h.wakeSettled()
	h.counts.Revision(b.Revision)
	told := h.change(changes)
	h.askAgain(b, told)
	for name, changes := range told {
		h.push(name, h.hosts[name], changes...)
	}
	h.counts.Compiled(time.Since(begin))
}

// change takes changes of resources in, and tells what they are for whom. It costs what they
// concern. It needs mu.
func (h *hub) change(changes []hoststate.Change) map[model.HostName][]hostsync.Change {
	out := map[model.HostName][]hostsync.Change{}
	touched := h.topology.Apply(changes...)
	if touched.Empty() {
		return out
	}
	rows, moves := h.compiler.Apply(touched), h.interest.Update(touched)
	h.rows++
	if touched.Reach() {
		h.reach++
	}
	for g, d := range rows {
		h.forms.Drop(g)
		for name := range h.interest.Hosts(g) {
			out[name] = append(out[name], hostsync.Change{Group: g, Delta: d, Rows: h.compiler.Len(g)})
		}
	}
	for name, m := range moves {
		h.noteCut(name, h.hosts[name], m.Cut)
		// The whole group, and not what has changed of it: that would speak of rows that the host does
		// not have, or has of another group.
		for _, g := range slices.Concat(m.Gained, m.Lost) {
			out[name] = append(out[name], hostsync.Change{Group: g})
		}
	}
	return out
}

// noteCut says where a host does not get all that it should have.
func (h *hub) noteCut(name model.HostName, host *host, cut bool) {
	if cut && !host.cut {
		h.log.Warn("too many networks and routers lie within reach of a host's ports; those that are farthest are left out, and packets to them find no way",
			"host", name, "most", hoststate.MaxGroups)
	}
	host.cut = cut
	h.counts.HostGroups(string(name), h.interest.Of(name).Groups.Len(), cut)
}

// push queues what leads to the present revision. It needs mu.
func (h *hub) push(name model.HostName, host *host, changes ...hostsync.Change) {
	host.queue.Push(h.revision, changes...)
	h.pushed(name, host)
}

func (h *hub) pushed(name model.HostName, host *host) {
	if host.acked >= host.sent {
		host.heard = time.Now()
	}
	host.sent = h.revision
	h.place(name)
	h.counts.HostLag(string(name), host.sent, host.acked)
}

// source lets a host's queue read its rows.
func (h *hub) source(name model.HostName) hostsync.Source {
	return func(read func(hostsync.Groups)) {
		h.mu.RLock()
		defer h.mu.RUnlock()
		read(groups{h.compiler, h.interest.Of(name)})
	}
}

// groups are what a host wants.
type groups struct {
	compiler *hoststate.Compiler
	wanted   hoststate.Wanted
}

func (g groups) All() iter.Seq[hoststate.Group] { return g.wanted.Groups.All() }

func (g groups) Rows(of hoststate.Group) *hoststate.GroupRows {
	if !g.wanted.Groups.Has(of) {
		return nil
	}
	return g.compiler.Rows(of)
}

var errReplaced = errors.New("another agent of this host has connected")

// add makes interest look at a host.
func add(interest *hoststate.Interest, name model.HostName, older bool) hoststate.Wanted {
	if older {
		return interest.AddOlder(name)
	}
	return interest.Add(name)
}

// digests are those of what a host is to have.
func (h *hub) digests(groups hoststate.GroupSet, older bool) hoststate.Digests {
	if older {
		return h.compiler.OlderDigests(groups)
	}
	return h.compiler.Digests(groups)
}

// outlook is what a host is to have, and at which states of the hub that was so.
type outlook struct {
	wanted      hoststate.Wanted
	digests     hoststate.Digests // nil: not asked for
	total       hoststate.Digest
	reach, rows uint64
}

// outlook works it out beside whatever else reads.
func (h *hub) outlook(name model.HostName, older, digests bool) outlook {
	h.mu.RLock()
	defer h.mu.RUnlock()
	o := outlook{wanted: h.interest.Look(name, older), reach: h.reach, rows: h.rows}
	if digests {
		o.digests = h.digests(o.wanted.Groups, older)
		o.total = o.digests.Total()
	}
	return o
}

// attach makes an agent's queue. One that has nothing or all gets that; of another, what differs is
// asked for.
func (h *hub) attach(ctx context.Context, name model.HostName, session uint64, agent hostsync.Agent) (*hostsync.Queue, error) {
	older := !agent.KnowsFabric
	seen := h.outlook(name, older, agent.Digest != nil)
	var have hoststate.Digests
	var err error
	if agent.Digest != nil && *agent.Digest != seen.total {
		if have, err = agent.Have(ctx); err != nil {
			return nil, fmt.Errorf("ask what rows the agent has: %w", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proofs.away != nil {
		return nil, errCutOff // since its session began
	}
	if h.life.hosts[name] == nil {
		return nil, errDeleted // since its session began
	}
	if old := h.hosts[name]; old != nil && old.session > session {
		return nil, errReplaced // while this one waited to begin
	} else if old != nil {
		h.log.Warn("a second connection of the host; the first one ends", "host", name)
		old.queue.Close(errReplaced)
	}
	host := &host{queue: hostsync.NewQueue(h.source(name), &h.forms), session: session, older: older, inbox: inbox{fresh: true}}
	h.hosts[name] = host
	if seen.reach != h.reach {
		seen.wanted, seen.rows = h.interest.Look(name, older), 0
	}
	wanted := h.interest.AddAs(name, older, seen.wanted)
	h.noteCut(name, host, wanted.Cut)
	if agent.Digest != nil && seen.rows != h.rows {
		seen.digests = h.digests(wanted.Groups, older)
		seen.total = seen.digests.Total()
	}
	switch {
	case agent.Digest == nil:
		host.queue.PushAll(h.revision)
	case have != nil:
		host.queue.Push(h.revision, differing(name, have, seen.digests)...)
	case *agent.Digest == seen.total:
		host.queue.Push(h.revision)
	default:
		host.queue.PushAll(h.revision) // something has changed since it was compared
	}
	h.pushed(name, host)
	h.counts.HostConnected(string(name), true)
	h.questions.came()
	return host.queue, nil
}

// differing are the groups in which what a host has differs from what it is to have.
func differing(name model.HostName, has, wants hoststate.Digests) []hostsync.Change {
	var changes []hostsync.Change
	for g, d := range wants {
		if has[g] != d {
			changes = append(changes, hostsync.Change{Group: g.At(name)})
		}
	}
	for g := range has {
		if _, ok := wants[g]; !ok {
			changes = append(changes, hostsync.Change{Group: g.At(name)})
		}
	}
	return changes
}

// Disconnect implements hostsync.Hosts.
func (h *hub) Disconnect(name model.HostName, q *hostsync.Queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if host := h.hosts[name]; host != nil && host.queue == q {
		delete(h.hosts, name)
		delete(h.life.reports, name)
		h.place(name)
		h.interest.Remove(name)
		h.wakeSettled()
		if h.life.hosts[name] != nil { // else nothing of it is kept
			h.life.heard[name] = time.Now()
			h.counts.HostConnected(string(name), false)
		} else {
			h.forgetHost(name)
		}
	}
}

// Report implements hostsync.Hosts: it only notes, deliver writes.
func (h *hub) Report(name model.HostName, q *hostsync.Queue, r hostsync.Report) {
	h.mu.Lock()
	defer h.mu.Unlock()
	host := h.hosts[name]
	if host == nil || host.queue != q {
		return // of a stream that is over: it says nothing of the session that is
	}
	h.counts.HostReport(string(name))
	h.life.reports[name] = host
	h.inboxes[name] = struct{}{}
	// What an agent applied from another controller, this one may not have seen
	// yet: that is acknowledged again when it has.
	if r.Revision != host.acked && r.Revision != 0 && r.Revision <= h.revision {
		host.acked, host.heard = r.Revision, time.Now()
		h.place(name)
		h.wakeSettled()
		h.wakeVouching()
	}
	if r.UnderlayMTU != 0 && r.UnderlayMTU != host.mtu {
		host.mtu, host.writes = r.UnderlayMTU, true
	}
	if r.FabricMTU != 0 && r.FabricMTU != host.fabric {
		host.fabric, host.writes = r.FabricMTU, true
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
