// Package orchestrator makes peerings of any number of sites as their files say, and
// keeps them so. It has no state of its own: what belongs to a peering is told by
// marks at the sites (package observed), so that any machine with the file and the
// accounts can take over.
//
// Reading (sites), planning (plan), and doing (apply) are packages of their own;
// lease keeps two runs apart. This package puts them together.
package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/orchestrator/apply"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

// Options configure an Orchestrator. The zero value is usable.
type Options struct {
	Sites sites.Options
	// Lease is how leases are taken. OnWait and Wait are given with each call.
	Lease lease.Options
	// Gate, if not nil, keeps sites that are down from being asked.
	Gate Gate
}

// Gate knows which sites are down. Its methods may be called at once.
type Gate interface {
	// Closed is the problem of a site that is not to be asked now; nil: ask it.
	Closed(s *peering.Site) *observed.Problem
	// Seen is told how it went; nil is well.
	Seen(s *peering.Site, problem *observed.Problem)
}

// Orchestrator works on any number of peerings. Its methods may be called at once.
type Orchestrator struct {
	opts Options

	mu    sync.Mutex
	conns map[string]*connection
}

// connection is a site's API, connected to once for all peerings.
type connection struct {
	mu   sync.Mutex
	conn *sites.Conn
}

// New makes an Orchestrator.
func New(o Options) *Orchestrator {
	return &Orchestrator{opts: o, conns: map[string]*connection{}}
}

// Site gives the API of a site of a peering.
func (o *Orchestrator) Site(ctx context.Context, s *peering.Site) (*sites.Site, error) {
	o.mu.Lock()
	key := AccessKey(s.Access)
	c := o.conns[key]
	if c == nil {
		c = &connection{}
		o.conns[key] = c
	}
	o.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		conn, err := sites.Connect(ctx, s.Access, o.opts.Sites)
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	return c.conn.Site(s.Name), nil
}

// AccessKey is the same for two sites that are one API with one account. It holds the account's
// secrets.
func AccessKey(a peering.Access) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q", a.Cloud, a.Endpoint)
	for _, k := range slices.Sorted(maps.Keys(a.Auth)) {
		fmt.Fprintf(&b, " %s=%q", k, a.Auth[k])
	}
	return b.String()
}

// AccessKeys are those of all sites of some peerings.
func AccessKeys(specs []peering.Peering) map[string]bool {
	used := map[string]bool{}
	for i := range specs {
		for _, s := range specs[i].Sites {
			used[AccessKey(s.Access)] = true
		}
	}
	return used
}

// Keep forgets the connections, and the accounts, that none of the peerings has.
func (o *Orchestrator) Keep(specs []peering.Peering) {
	o.mu.Lock()
	defer o.mu.Unlock()
	used := AccessKeys(specs)
	maps.DeleteFunc(o.conns, func(key string, _ *connection) bool { return !used[key] })
}

// forget lets the next one connect anew: clouds.yaml may say something else by now, such as another
// password, and Keystone another endpoint.
func (o *Orchestrator) forget(s *peering.Site) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, AccessKey(s.Access))
}

// parallelSites bounds the sites that are read at once.
const parallelSites = 16

// Observe reads all sites of a peering. A site that does not answer is told so in
// its Problem; only the end of ctx is an error.
func (o *Orchestrator) Observe(ctx context.Context, p *peering.Peering) ([]observed.Site, error) {
	out := make([]observed.Site, len(p.Sites))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelSites)
	for i := range p.Sites {
		g.Go(func() error {
			return o.observeSite(gctx, p, &p.Sites[i], &out[i])
		})
	}
	return out, g.Wait()
}

// observeSite reads one site, unless the gate is closed.
func (o *Orchestrator) observeSite(ctx context.Context, p *peering.Peering, spec *peering.Site, out *observed.Site) error {
	if o.opts.Gate != nil {
		if problem := o.opts.Gate.Closed(spec); problem != nil {
			*out = observed.Site{Name: spec.Name, Endpoint: spec.Access.Endpoint, Problem: problem}
			return nil
		}
	}
	got, err := o.ObserveSite(ctx, p, spec)
	if err != nil {
		return err
	}
	*out = got
	if o.opts.Gate != nil {
		o.opts.Gate.Seen(spec, got.Problem)
	}
	return nil
}

// ObserveSite reads one site, whatever the gate says.
func (o *Orchestrator) ObserveSite(ctx context.Context, p *peering.Peering, spec *peering.Site) (observed.Site, error) {
	s, err := o.Site(ctx, spec)
	if ctx.Err() != nil {
		return observed.Site{}, ctx.Err()
	}
	if err != nil {
		return observed.Site{Name: spec.Name, Endpoint: spec.Access.Endpoint, Problem: sites.ProblemOf(err)}, nil
	}
	out, err := s.Observe(ctx, p)
	if out.Problem != nil {
		o.forget(spec)
	}
	return out, err
}

// Planner makes a plan of what was observed.
type Planner func(p *peering.Peering, obs []observed.Site) *plan.Plan

// ForApply plans what makes the sites as the file says.
func ForApply(opts plan.Options) Planner {
	return func(p *peering.Peering, obs []observed.Site) *plan.Plan { return plan.Build(p, obs, opts) }
}

// ForDestroy plans what takes the peering away.
func ForDestroy(opts plan.Options) Planner {
	return func(p *peering.Peering, obs []observed.Site) *plan.Plan { return plan.Teardown(p, obs, opts) }
}

// Plan observes the sites and plans.
func (o *Orchestrator) Plan(ctx context.Context, p *peering.Peering, planner Planner) (*plan.Plan, []observed.Site, error) {
	obs, err := o.Observe(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	return planner(p, obs), obs, nil
}

// RunOptions say how a plan is carried out.
type RunOptions struct {
	// Confirm, if not nil, is asked before anything is done. If it says no, Run
	// returns ErrDeclined.
	Confirm func(*plan.Plan) (bool, error)
	// Progress, if not nil, is told of each step.
	Progress func(apply.Event)
	// KeepPartial leaves what was done where a step fails for good.
	KeepPartial bool
	// Doing is the command that the lease says; the plan's goal if empty.
	Doing string
	// Wait bounds the wait for another run's lease; OnWait is told who has it, again and again.
	Wait   time.Duration
	OnWait func(lease.Held)
	// AfterWait, if not nil, is told what the other run did.
	AfterWait func(Waited)
}

// Waited is what came of a wait for another run.
type Waited struct {
	lease.Held
	// Did of the Of steps that this run was to do are done; Left are to be done now, and New of them
	// were not before.
	Did, Of, Left, New int
}

// Outcome is what a run has done.
type Outcome struct {
	// Plan is the last one that was carried out; the last one made if none was.
	Plan *plan.Plan
	// Steps is how many steps were done.
	Steps int
}

// ErrDeclined is what Run returns when it was not to go on.
var ErrDeclined = errors.New("nothing was done")

// ErrChanged is what Run returns when the sites changed between the question and
// the lease.
var ErrChanged = errors.New("the sites have changed since the plan was shown; nothing was done")

// Blocked is a plan that something stands in the way of.
type Blocked struct{ Plan *plan.Plan }

func (b Blocked) Error() string {
	if n := len(b.Plan.Blockers); n > 1 {
		return fmt.Sprintf("%d things stand in the way; nothing was done", n)
	}
	return "something stands in the way; nothing was done"
}

// maxRounds bounds how often a run plans again what it finds left afterwards, such
// as what a request made whose answer was lost.
const maxRounds = 4

// Run plans, takes the lease, plans again under it and carries the plan out, until
// nothing is left to do.
func (o *Orchestrator) Run(ctx context.Context, p *peering.Peering, planner Planner, ro RunOptions) (Outcome, error) {
	pl, obs, err := o.Plan(ctx, p, planner)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Plan: pl}
	if len(pl.Blockers) > 0 {
		return out, Blocked{pl}
	}
	// A run that was killed at its very end has left its lease, and destroy leaves
	// nothing.
	leased := pl.Goal == plan.Destroy && hasLease(p, obs)
	if len(pl.Actions) == 0 && !leased {
		return out, nil
	}
	if ro.Confirm != nil && len(pl.Actions) > 0 {
		ok, err := ro.Confirm(pl)
		if err != nil {
			return out, err
		}
		if !ok {
			return out, ErrDeclined
		}
	}
	doers, places, err := o.places(ctx, p, obs)
	if err != nil {
		return out, err
	}
	lo := o.opts.Lease
	lo.Wait, lo.OnWait, lo.Doing = ro.Wait, ro.OnWait, cmp.Or(ro.Doing, string(pl.Goal))
	if lo.Dead == nil {
		lo.Dead = lease.Ended
	}
	l, err := lease.Take(ctx, p.Name, places, lo)
	if err != nil {
		return out, err
	}
	defer l.Release(context.WithoutCancel(ctx))
	work, stop := l.Context(ctx)
	defer stop()
	run := &apply.Run{Sites: doers, Check: l.Check, KeepPartial: ro.KeepPartial, Progress: func(e apply.Event) {
		l.Report(e.Done, e.All)
		if ro.Progress != nil {
			ro.Progress(e)
		}
	}}
	for round := range maxRounds {
		now, _, err := o.Plan(work, p, planner)
		if err != nil {
			return out, cause(work, err)
		}
		if h := l.Waited(); h != nil && round == 0 && ro.AfterWait != nil {
			ro.AfterWait(waited(*h, pl, now))
		}
		switch {
		case len(now.Blockers) > 0:
			out.Plan = now
			return out, Blocked{now}
		case len(now.Actions) == 0:
			if out.Steps == 0 {
				out.Plan = now
			}
			return out, nil
		case round == 0 && ro.Confirm != nil && !sameActions(pl, now):
			return out, ErrChanged
		}
		out.Plan = now
		n, err := run.Do(work, now)
		out.Steps += n
		if err != nil {
			return out, cause(work, err)
		}
	}
	return out, errors.New("after every round something is left to do: somebody else changes the sites at the same time")
}

// waited compares what was to be done before a wait with what is to be done after it.
func waited(h lease.Held, before, now *plan.Plan) Waited {
	w := Waited{Held: h, Of: before.Counts.Steps, Left: now.Counts.Steps}
	steps := func(p *plan.Plan) map[string]bool {
		out := map[string]bool{}
		for i := range p.Actions {
			if a := &p.Actions[i]; a.IsStep() {
				out[string(a.Op)+" "+a.ID] = true
			}
		}
		return out
	}
	was, is := steps(before), steps(now)
	for k := range was {
		if !is[k] {
			w.Did++
		}
	}
	for k := range is {
		if !was[k] {
			w.New++
		}
	}
	return w
}

// cause gives the reason for which the work was ended, in the place of "canceled".
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	}
	return err
}

// places are the routers that the lease is taken on, and the sites to work at.
func (o *Orchestrator) places(ctx context.Context, p *peering.Peering, obs []observed.Site) (map[string]apply.Doer, []lease.Place, error) {
	doers := map[string]apply.Doer{}
	var out []lease.Place
	for i := range p.Sites {
		if obs[i].Problem != nil {
			continue
		}
		s, err := o.Site(ctx, &p.Sites[i])
		if err != nil {
			return nil, nil, err
		}
		doers[s.Name] = s
		if len(obs[i].Routers) == 1 {
			out = append(out, lease.Place{Site: s.Name, Router: s, RouterID: obs[i].Routers[0].ID})
		}
	}
	return doers, out, nil
}

// hasLease tells whether a peer router bears a lease of the peering.
func hasLease(p *peering.Peering, obs []observed.Site) bool {
	return slices.ContainsFunc(obs, func(s observed.Site) bool {
		return slices.ContainsFunc(s.Routers, func(r observed.Router) bool {
			return slices.ContainsFunc(r.Tags, func(t string) bool { return strings.HasPrefix(t, observed.LeaseMark+p.Name+":") })
		})
	})
}

// sameActions tells whether two plans would do the same.
func sameActions(a, b *plan.Plan) bool {
	return slices.EqualFunc(a.Actions, b.Actions, func(x, y plan.Action) bool {
		return x.ID == y.ID && x.Op == y.Op && x.Target == y.Target
	})
}

// Status observes the sites and says how they differ from the file.
func (o *Orchestrator) Status(ctx context.Context, p *peering.Peering) (*plan.Status, error) {
	obs, err := o.Observe(ctx, p)
	if err != nil {
		return nil, err
	}
	return plan.StatusOf(p, obs), nil
}
