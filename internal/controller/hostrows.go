package controller

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// rowsTimeout bounds the comparison of a host's rows, which begins anew while they change.
const rowsTimeout = 20 * time.Second

// rowsPause is between the first two tries, and maxRowsPause between two later ones.
const rowsPause, maxRowsPause = 20 * time.Millisecond, time.Second

// maxComparisons bounds the hosts whose rows are compared at a time.
const maxComparisons = 16

// maxDiffering bounds the groups that a comparison names.
const maxDiffering = 20

// hostRows compares the rows that a host has with those that it should have.
type hostRows struct {
	rules *site.Site
	hub   *hub
}

// rowsReport is what came of it.
type rowsReport struct {
	Host model.HostName `json:"host"`
	// Agrees: the host has the rows that the site's resources come to, worked out anew, and they are in its maps.
	Agrees   bool  `json:"agrees"`
	Revision int64 `json:"revision"` // that the host's rows are at
	Applied  int64 `json:"applied"`  // of what is in its maps
	Groups   int   `json:"groups"`   // that the host should have rows of
	// Differing are groups whose rows differ; not all where they are many.
	Differing []string `json:"differing"`
	Reason    string   `json:"reason"` // why not, in words; empty: they agree
}

func (x hostRows) extra() neutronapi.Extra {
	return neutronapi.Extra{
		Method: http.MethodGet, Path: "/v2.0/agents/{id}/causeway_rows", Name: "verify_host",
		Summary: "Compare the rows that a host has with those that it should have.",
		Reply:   keyed("causeway_rows", openapi.Written[rowsReport]()),
		Answer: func(r *http.Request) (any, error) {
			v, err := x.of(r.Context(), r.PathValue("id"))
			if err != nil {
				return nil, err
			}
			return map[string]any{"causeway_rows": v}, nil
		},
	}
}

func (x hostRows) of(ctx context.Context, id string) (*rowsReport, error) {
	ctx, cancel := context.WithTimeout(ctx, rowsTimeout+settleTimeout)
	defer cancel()
	snap, err := x.rules.View(ctx)
	if err != nil {
		return nil, err
	}
	a := store.Get(snap, store.Agents, id)
	if a == nil {
		return nil, site.AgentNotFound(id)
	}
	report, err := x.hub.hostRows(ctx, a.Host)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errRowsMute
	}
	switch {
	case errors.Is(err, hostsync.ErrNoRows), errors.Is(err, hostsync.ErrNoProbes):
		return nil, site.Unsupported("Host %s: %v.", a.Host, err)
	case err != nil:
		return nil, model.Errf(model.KindUnavailable, "ServiceUnavailable", "Host %s: %v.", a.Host, err)
	}
	return report, nil
}

// hostRows compares a host's rows, through the controller that has it.
func (h *hub) hostRows(ctx context.Context, name model.HostName) (*rowsReport, error) {
	if report, err := h.hostRowsHere(ctx, name); !errors.Is(err, hostsync.ErrHostLeft) {
		return report, err
	}
	a, err := h.askElsewhere(ctx, name, hostRequest{Rows: true})
	if err == nil {
		_, err = a.outcome()
	}
	if errors.Is(err, probe.ErrRequest) || err == nil && a.Rows == nil {
		return nil, errors.New("the host's controller is of a release that does not compare rows: upgrade it")
	}
	return a.Rows, err
}

var (
	errRowsMove   = errors.New("its rows change all the time, so that there is no moment to compare them: try again")
	errRowsMute   = errors.New("its agent does not say what rows it has")
	errRowsBehind = errors.New("its controller has not caught up with the store")
	errComparing  = errors.New("its rows, or those of many hosts, are being compared just now: try again")
)

// comparisons bounds how many hosts' rows are compared at a time. Each host has one comparison, and all together one that works out
// the site, which costs as much memory as the site's rows and a processor.
type comparisons struct {
	mu   sync.Mutex
	of   map[model.HostName]struct{} // under way
	turn chan struct{}               // capacity 1: of the one that works out the site
}

func newComparisons() *comparisons {
	return &comparisons{of: map[model.HostName]struct{}{}, turn: make(chan struct{}, 1)}
}

// begin notes a comparison of a host, unless there are too many.
func (c *comparisons) begin(name model.HostName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, under := c.of[name]; under || len(c.of) >= maxComparisons {
		return false
	}
	c.of[name] = struct{}{}
	return true
}

func (c *comparisons) end(name model.HostName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, name)
}

// hostRowsHere compares the rows of a host that is connected here.
func (h *hub) hostRowsHere(ctx context.Context, name model.HostName) (*rowsReport, error) {
	if !h.has(name) {
		return nil, hostsync.ErrHostLeft
	}
	if !h.comparisons.begin(name) {
		return nil, errComparing
	}
	defer h.comparisons.end(name)
	ctx, cancel := context.WithTimeout(ctx, rowsTimeout)
	defer cancel()
	snap, rows, err := h.rowsOfOneMoment(ctx, name)
	if err != nil {
		return nil, err
	}
	select {
	case h.comparisons.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, errComparing
	}
	defer func() { <-h.comparisons.turn }()
	return compareRows(snap, name, rows), nil
}

// rowsOfOneMoment are what a host has and the state that it should come from. They are of one moment if nothing was sent to
// the host from before it said what it has until after that state. A host that is about to apply what it was sent gets the time for it.
func (h *hub) rowsOfOneMoment(ctx context.Context, name model.HostName) (store.Snapshot, hostsync.Rows, error) {
	settle, stop := context.WithTimeout(ctx, settleTimeout)
	defer stop()
	behind, wait, late := int64(-1), rowsPause, errRowsMute
	for {
		h.mu.RLock()
		host := h.hosts[name]
		var before int64
		if host != nil {
			before = host.sent
		}
		h.mu.RUnlock()
		if host == nil {
			return nil, hostsync.Rows{}, hostsync.ErrHostLeft
		}
		rows, err := host.queue.Rows(ctx)
		if ctx.Err() != nil {
			return nil, hostsync.Rows{}, late
		}
		if err != nil {
			return nil, hostsync.Rows{}, err
		}
		if rows.Applied < rows.Revision && behind != rows.Revision && settle.Err() == nil {
			behind = rows.Revision
			h.settled(settle, name, 0)
			continue
		}
		snap, err := h.rules.View(ctx)
		if err != nil {
			return nil, hostsync.Rows{}, err
		}
		still, err := h.still(ctx, name, before, snap.Revision())
		switch {
		case err != nil:
			return nil, hostsync.Rows{}, err
		case still && rows.Revision == before:
			return snap, rows, nil
		case still:
			late = fmt.Errorf("its agent has rows of revision %d, and was sent those of %d", rows.Revision, before)
		default:
			late = errRowsMove
		}
		if pause.For(ctx, wait) != nil {
			return nil, hostsync.Rows{}, late
		}
		wait = min(2*wait, maxRowsPause)
	}
}

// still waits until this controller is at a revision, and tells whether a host has been sent nothing beyond another one.
func (h *hub) still(ctx context.Context, name model.HostName, sent, revision int64) (bool, error) {
	for {
		h.mu.RLock()
		host, at, moved := h.hosts[name], h.revision, h.moved
		still := host != nil && host.sent == sent
		h.mu.RUnlock()
		if at >= revision || !still {
			return still, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false, fmt.Errorf("%w: it is at revision %d, and the store at %d", errRowsBehind, at, revision)
		}
	}
}

// compareRows compares what a host has with what all of a state comes to for it.
func compareRows(snap store.Snapshot, name model.HostName, rows hostsync.Rows) *rowsReport {
	state := hoststate.Compile(topologyOf(snap), name)
	want := state.Digests()
	r := &rowsReport{Host: name, Revision: rows.Revision, Applied: rows.Applied, Groups: len(want), Differing: []string{}}
	var groups []hoststate.Group
	for _, c := range differing(name, rows.Digests, want) {
		groups = append(groups, c.Group)
	}
	slices.SortFunc(groups, hoststate.Group.Compare)
	for _, g := range groups[:min(len(groups), maxDiffering)] {
		r.Differing = append(r.Differing, groupWords(snap, g))
	}
	switch {
	case len(groups) > 0:
		r.Reason = fmt.Sprintf("rows differ in %d of %d groups", len(groups), max(len(want), len(groups)))
	case rows.Applied < rows.Revision:
		r.Reason = fmt.Sprintf("the maps hold revision %d, and the rows are at %d: see causeway agent status on the host", rows.Applied, rows.Revision)
	}
	r.Agrees = r.Reason == ""
	return r
}

// groupWords names a group for people, by the resource that its rows are about.
func groupWords(r store.Reader, g hoststate.Group) string {
	switch g.Kind {
	case hoststate.GroupHost:
		return "host " + g.Name
	case hoststate.GroupDevice:
		return "gateway device " + g.Name
	case hoststate.GroupNetwork:
		for n := range store.All(r, store.Networks) {
			if uint32(n.Key) == g.Key {
				return "network " + string(n.ID)
			}
		}
		return fmt.Sprintf("network with key %d, which is gone", g.Key)
	case hoststate.GroupRouter:
		for x := range store.All(r, store.Routers) {
			if uint32(x.Key) == g.Key {
				return "router " + string(x.ID)
			}
		}
		return fmt.Sprintf("router with key %d, which is gone", g.Key)
	case hoststate.GroupDomain:
		return fmt.Sprintf("domain of network key %d", g.Key)
	}
	return "the site's hosts"
}
