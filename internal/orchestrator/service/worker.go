package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/apply"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
	"github.com/causeway-net/causeway/internal/pause"
)

// How long a peering rests after an attempt that failed, at first and at most.
const minPause, maxPause = time.Second, time.Minute

// leaseWait is how long a change waits for a lease that somebody else has: an apply by hand, say.
const leaseWait = 5 * time.Second

// worker looks after one peering.
type worker struct {
	*Service
	spec   *peering.Peering
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{} // capacity 1: look at everything now
	checks sync.WaitGroup

	mu   sync.Mutex
	sum  Summary
	beat time.Time

	// The rest belongs to the worker's goroutine.

	routers map[string]string // site → id of its peer router
	seats   map[string]string // site → id of the router for the leader's lease
	glances map[string]string // site → what it looked like
	told    string            // what was logged last of what stands in the way
	stopped string            // and of what is switched off
	pause   time.Duration     // after a failure
}

// start needs mu.
func (s *Service) start(ctx context.Context, spec *peering.Peering) *worker {
	ctx, cancel := context.WithCancel(ctx)
	w := &worker{
		Service: s, spec: spec, log: s.opts.Log.With("peering", spec.Name), cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1),
		beat: time.Now(), sum: Summary{Sites: len(spec.Sites)}, routers: map[string]string{}, seats: map[string]string{}, glances: map[string]string{},
	}
	go func() {
		defer close(w.done)
		w.run(ctx)
		w.checks.Wait()
	}()
	return w
}

func (w *worker) summary() (Summary, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sum, w.beat
}

func (w *worker) alive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beat = time.Now()
}

func (w *worker) set(change func(*Summary)) {
	w.mu.Lock()
	change(&w.sum)
	sum := w.sum
	w.mu.Unlock()
	w.opts.Counts.Looked(w.spec.Name, sum.Leader, sum.InSync, sum.Drift, sum.Problems)
}

// run leads whenever nobody else does.
func (w *worker) run(ctx context.Context) {
	w.log.Info("looking after the peering", "place", w.spec.Place, "sites", len(w.spec.Sites))
	said, rest := "", w.opts.Poll
	for ctx.Err() == nil {
		l, at, err := w.elect(ctx)
		if err != nil {
			// That another instance leads is as it should be.
			if errors.As(err, new(lease.Held)) {
				said, rest = "", w.opts.Poll
			} else if ctx.Err() == nil {
				if text := err.Error(); text != said {
					said = text
					w.log.Error("this instance cannot lead; it is tried again", "error", err)
				}
				rest = min(2*rest, maxPause)
			}
			if pause.For(ctx, jitter(rest)) != nil {
				return
			}
			continue
		}
		said, rest = "", w.opts.Poll
		w.log.Info("leading", "lease_at", at.site)
		w.set(func(s *Summary) { s.Leader = true })
		work, stop := l.Context(ctx)
		w.lead(work, at)
		lost := ctx.Err() == nil && work.Err() != nil
		stop()
		l.Release(context.WithoutCancel(ctx))
		w.set(func(s *Summary) { s.Leader = false })
		if lost {
			w.log.Warn("the lease of the leader was lost")
		}
	}
}

// elect waits for the lease of the leader. The site that it is on is the first that answers.
func (w *worker) elect(ctx context.Context) (*lease.Lease, seat, error) {
	w.alive()
	w.check(ctx)
	obs, err := w.orch.Observe(ctx, w.spec)
	if err != nil {
		return nil, seat{}, err
	}
	w.look(obs)
	at := w.seat()
	if at.site == "" {
		return nil, at, errors.New("no site with a router answers")
	}
	site, err := w.orch.Site(ctx, w.spec.Site(at.site))
	if err != nil {
		return nil, at, err
	}
	o := w.opts.Lease
	// Then it looks again which site is the first. Longer than the term, after which a lease
	// that nobody renews is taken over.
	o.Wait = 3 * o.Term
	o.Doing = "run"
	o.OnWait = func(h lease.Held) {
		w.log.Debug("another instance leads", "lease_at", h.Site, "holder", h.Holder)
	}
	if o.Dead == nil {
		o.Dead = lease.Ended
	}
	// No peering can have this name.
	l, err := lease.Take(ctx, w.spec.Name+"~leader", []lease.Place{{Site: at.site, Router: site, RouterID: at.router}}, o)
	return l, at, err
}

// seat is the router that has the leader's lease.
type seat struct{ site, router string }

// seat is where the leader's lease belongs, by what was seen last.
func (w *worker) seat() seat {
	var first seat
	for site, router := range w.seats {
		if first.site == "" || site < first.site {
			first = seat{site, router}
		}
	}
	return first
}

// seatAt is the router of a site for the leader's lease, "" for none. The lease is written anew every few
// seconds, and with it the router's revision; so it is on the VTEP router, which is the
// operator's, where there is one.
func (w *worker) seatAt(o *observed.Site) string {
	if d := plan.FindDevice(w.spec.Site(o.Name), o); d != nil && d.RouterID != "" && d.Type == "router_vtep" {
		return d.RouterID
	}
	if len(o.GatewayRouters) == 1 {
		return o.GatewayRouters[0].ID
	}
	if len(o.Routers) == 1 {
		return o.Routers[0].ID
	}
	return ""
}

// lead looks, and mends, until ctx ends or the lease belongs elsewhere.
func (w *worker) lead(ctx context.Context, at seat) {
	tick := time.NewTicker(w.opts.Poll)
	defer tick.Stop()
	full := true
	var next time.Time // of the next whole look
	for {
		w.alive()
		w.check(ctx)
		if w.glance(ctx) || full || !time.Now().Before(next) {
			rest := w.pass(ctx)
			if ctx.Err() != nil {
				return
			}
			next, full = time.Now().Add(rest), false
			if now := w.seat(); now != at && now.site != "" {
				w.log.Info("the lease of the leader moves", "from", at.site, "to", now.site)
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.wake:
			full = true
		}
	}
}

// glance tells whether something shows at a peer router that was not so before.
func (w *worker) glance(ctx context.Context) bool {
	type seen struct {
		site, look string
		err        error
	}
	var all sync.WaitGroup
	results := make(chan seen, len(w.routers))
	slots := make(chan struct{}, 16)
	for name, router := range w.routers {
		spec := w.spec.Site(name)
		if w.gate.Closed(spec) != nil {
			continue
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			s, err := w.orch.Site(ctx, spec)
			var look string
			if err == nil {
				look, err = s.Glance(ctx, router)
			}
			results <- seen{name, look, err}
		})
	}
	all.Wait()
	close(results)
	changed := false
	for r := range results {
		switch {
		case ctx.Err() != nil:
			return false
		case r.err != nil:
			w.gate.Seen(w.spec.Site(r.site), sites.ProblemOf(r.err))
			changed = true
		case w.glances[r.site] != r.look:
			w.glances[r.site] = r.look
			changed = true
		}
	}
	return changed
}

// check looks, beside the work, whether sites that did not answer do so again.
func (w *worker) check(ctx context.Context) {
	for i := range w.spec.Sites {
		s := &w.spec.Sites[i]
		if !w.gate.due(s) {
			continue
		}
		w.checks.Go(func() {
			o, err := w.orch.ObserveSite(ctx, w.spec, s)
			if err != nil {
				w.gate.giveUp(s)
				return
			}
			w.gate.Seen(s, o.Problem)
			if o.Problem == nil {
				select {
				case w.wake <- struct{}{}:
				default:
				}
			}
		})
	}
}

// look notes what was observed of the sites themselves.
func (w *worker) look(obs []observed.Site) (down int) {
	clear(w.routers)
	clear(w.seats)
	for i := range obs {
		up := obs[i].Problem == nil
		w.opts.Counts.Site(w.spec.Name, obs[i].Name, up)
		if !up {
			down++
			continue
		}
		if len(obs[i].Routers) == 1 {
			w.routers[obs[i].Name] = obs[i].Routers[0].ID
		}
		if id := w.seatAt(&obs[i]); id != "" {
			w.seats[obs[i].Name] = id
		}
	}
	maps.DeleteFunc(w.glances, func(site, _ string) bool { return w.routers[site] == "" })
	return down
}

// pass looks at everything and mends what has drifted. It returns how long to rest if nothing shows.
func (w *worker) pass(ctx context.Context) time.Duration {
	opts := plan.Options{WithoutDown: true, Around: true}
	pl, obs, err := w.orch.Plan(ctx, w.spec, orchestrator.ForApply(opts))
	if err != nil {
		return w.opts.Full
	}
	down := w.look(obs)
	drift := plan.Differences(pl)
	w.set(func(s *Summary) {
		s.Down, s.Drift, s.Problems = down, len(drift), len(pl.Around)
		s.InSync = len(pl.Actions) == 0 && len(pl.Around) == 0 && down == 0
	})
	w.tellBlockers(pl)
	w.tellStops(pl)
	switch {
	case len(pl.Actions) == 0 && len(pl.Around) > 0:
		w.opts.Counts.Applied(w.spec.Name, "blocked", 0, 0)
		return w.opts.Full
	case len(pl.Actions) == 0:
		w.pause = 0
		return w.opts.Full
	}
	for _, d := range drift[:min(len(drift), maxTold)] {
		w.log.Info("drift", "site", d.Site, "remote", d.Remote, "resource", d.Resource, "what", d.Text)
	}
	if len(drift) > maxTold {
		w.log.Info("drift, more of it", "differences", len(drift)-maxTold)
	}
	return w.mend(ctx, opts)
}

// maxTold bounds the differences that one look writes to the log.
const maxTold = 50

func (w *worker) mend(ctx context.Context, opts plan.Options) time.Duration {
	begin := time.Now()
	out, err := w.orch.Run(ctx, w.spec, orchestrator.ForApply(opts), orchestrator.RunOptions{
		Wait: leaseWait, Doing: "run",
		// What was done is right; the next attempt does the rest.
		KeepPartial: true,
		Progress: func(e apply.Event) {
			if e.State == apply.Done {
				w.log.Info("step", "site", e.Action.Site, "op", e.Action.Op, "what", e.Action.What, "remote", e.Action.Remote,
					"routes", e.Action.Routes, "took", e.Took.Round(time.Millisecond))
			}
		},
	})
	took := time.Since(begin)
	result := "done"
	var held lease.Held
	switch {
	case err == nil:
		w.pause = 0
		w.log.Info("mended", "steps", out.Steps, "took", took.Round(time.Millisecond))
		// Seen anew at once: what the steps changed shows at the next glance.
		w.set(func(s *Summary) { s.Drift, s.InSync = 0, s.Down == 0 && s.Problems == 0 })
	case ctx.Err() != nil:
		w.log.Info("stopped in the middle; whoever comes next goes on", "steps", out.Steps)
		return w.opts.Full
	case errors.As(err, &held):
		result = "held"
		w.log.Info("another run is at work on the peering", "site", held.Site, "holder", held.Holder, "who", held.Who())
	default:
		result = "failed"
		w.log.Error("the peering could not be mended; it is tried again", "error", err, "steps", out.Steps)
	}
	w.opts.Counts.Applied(w.spec.Name, result, out.Steps, took)
	if result == "done" {
		return w.opts.Full
	}
	w.pause = min(max(2*w.pause, minPause), maxPause)
	return jitter(w.pause)
}

// tellBlockers writes what stands in the way, and what is left alone because of it, once.
func (w *worker) tellBlockers(pl *plan.Plan) {
	all := ""
	for _, b := range pl.Around {
		all += b.String() + "\n"
	}
	if all != "" {
		all += fmt.Sprint(pl.LeftAlone)
	}
	if all == w.told {
		return
	}
	w.told = all
	for _, b := range pl.Around[:min(len(pl.Around), maxTold)] {
		w.log.Error("something stands in the way of the peering", "site", b.Site, "resource", b.Resource, "what", b.Text, "hint", b.Hint)
	}
	if len(pl.Around) == 0 {
		w.log.Info("nothing stands in the way of the peering any more")
		return
	}
	pairs := pl.LeftAlone.Pairs
	w.log.Warn("until that is gone nothing is mended at these sites, and between these", "sites", pl.LeftAlone.Sites,
		"between", pairs[:min(len(pairs), maxTold)], "pairs", len(pairs))
}

// tellStops writes what is switched off and is not the peering's, once.
func (w *worker) tellStops(pl *plan.Plan) {
	var stops []plan.Problem
	all := ""
	for _, p := range pl.Warnings {
		if p.Stops {
			stops = append(stops, p)
			all += p.String() + "\n"
		}
	}
	if all == w.stopped {
		return
	}
	w.stopped = all
	for _, p := range stops[:min(len(stops), maxTold)] {
		w.log.Warn("packets of the peering are lost", "site", p.Site, "resource", p.Resource, "what", p.Text, "command", p.Command)
	}
	if all == "" {
		w.log.Info("nothing on the way is disabled any more")
	}
}
