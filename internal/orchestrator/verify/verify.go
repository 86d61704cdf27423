// Package verify proves a peering on packets: each site's peer router sends probes to every
// other's, and where they do not come back it says which piece is missing or wrong, by what
// both sites' tables make of the packet and by how the sites differ from the file.
package verify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
	"github.com/causeway-net/causeway/internal/probe"
)

// State is what became of the packets from one site to another.
type State string

// The states, the gravest last.
const (
	Passes State = "passes"
	// Small: packets pass, but none as large as the multi-site network's MTU.
	Small State = "small packets only"
	Lossy State = "lossy"
	// Unknown: the packets were not sent.
	Unknown State = "unknown"
	Broken  State = "broken"
)

// Result is what was proved.
type Result struct {
	Peering string `json:"peering"`
	// Passes: every site reaches every other with whole packets and without loss.
	Passes bool `json:"passes"`
	// MTU is the multi-site network's, bytes of an IP packet; 0: not known.
	MTU   int   `json:"mtu,omitempty"`
	Pairs []Way `json:"pairs"`
	// Drift, Problems and Warnings are those of the peering's status.
	Drift    []plan.Drift   `json:"drift"`
	Problems []plan.Problem `json:"problems"`
	Warnings []plan.Problem `json:"warnings"`
}

// Way is what was found of the way from one site's peer router to another's and back.
type Way struct {
	From  string `json:"from"`
	To    string `json:"to"`
	State State  `json:"state"`
	// Probe is what was sent and came back; nil where nothing was sent.
	Probe *probe.Report `json:"probe,omitempty"`
	// Why says in words what is missing or wrong, the most likely first.
	Why []string `json:"why,omitempty"`
	// Traces are the packet's way by the sites' tables: out of the one and into the other,
	// and what the other sends out and into the one.
	Traces []SiteTrace `json:"traces,omitempty"`

	noProbes bool // From's API has none
}

// SiteTrace is a part of a packet's way.
type SiteTrace struct {
	Site  string      `json:"site"`
	Part  string      `json:"part"`
	Trace sites.Trace `json:"trace"`
}

// Site is the API of a site: *sites.Site.
type Site interface {
	Probe(ctx context.Context, routerID string, q probe.Question) (probe.Report, error)
	Traces
}

// Options say what to send. Zero fields have the defaults of package probe.
type Options struct {
	Count      int
	IntervalMS int
	TimeoutMS  int
	// NoPathMTU leaves out the search for the largest packet.
	NoPathMTU bool
	// Progress, if not nil, is told of each pair, one at a time.
	Progress func(w Way, done, all int)
}

// parallel bounds the pairs that are looked at at once.
const parallel = 32

// Run sends the probes. st is the status that was worked out of obs. Only the end of ctx is an error.
func Run(ctx context.Context, p *peering.Peering, obs []observed.Site, st *plan.Status, connected map[string]Site, o Options) (*Result, error) {
	res := &Result{Peering: p.Name, MTU: st.Choices.MTU, Drift: st.Drift, Problems: st.Problems, Warnings: st.Warnings}
	for _, from := range p.SiteNames() {
		for _, to := range p.SiteNames() {
			if from != to {
				res.Pairs = append(res.Pairs, Way{From: from, To: to})
			}
		}
	}
	r := &run{Options: o, obs: obs, status: st, sites: connected, all: len(res.Pairs), mtu: res.MTU}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range interleave(len(p.Sites)) {
		w := &res.Pairs[i]
		g.Go(func() error { return r.pair(gctx, w) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	fromTheOtherSide(res.Pairs)
	res.Passes = !slices.ContainsFunc(res.Pairs, func(w Way) bool { return w.State != Passes })
	return res, nil
}

// fromTheOtherSide takes over what was found of a way by packets that went there and back from its
// other end, where a site runs another Neutron that sends no probes.
func fromTheOtherSide(pairs []Way) {
	for i := range pairs {
		w := &pairs[i]
		if !w.noProbes {
			continue
		}
		at := slices.IndexFunc(pairs, func(o Way) bool { return o.From == w.To && o.To == w.From && o.Probe != nil })
		if at >= 0 {
			w.State = pairs[at].State
			w.Why = append(w.Why, fmt.Sprintf("this is what packets from %s and back found", w.To))
		}
	}
}

// interleave gives the indexes of all pairs of n sites so that those that follow each other
// are of different sites: none gets all the requests first.
func interleave(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for j := range n - 1 {
			for i := range n {
				if !yield(i*(n-1) + j) {
					return
				}
			}
		}
	}
}

type run struct {
	Options
	obs    []observed.Site
	status *plan.Status
	sites  map[string]Site
	mtu    int
	all    int

	mu   sync.Mutex
	done int
}

func (r *run) choice(site string) *plan.SiteChoice {
	i := slices.IndexFunc(r.status.Choices.Sites, func(c plan.SiteChoice) bool { return c.Site == site })
	if i < 0 {
		return nil
	}
	return &r.status.Choices.Sites[i]
}

func (r *run) observed(site string) *observed.Site {
	i := slices.IndexFunc(r.obs, func(o observed.Site) bool { return o.Name == site })
	if i < 0 {
		return nil
	}
	return &r.obs[i]
}

// pair finds out about one way.
func (r *run) pair(ctx context.Context, w *Way) error {
	if err := r.prove(ctx, w); err != nil {
		return err
	}
	if w.State == Broken {
		r.explain(ctx, w)
	}
	if w.State == Broken || w.State == Unknown {
		for _, p := range r.status.Pairs { // of both directions: the answers come back
			if (p.From == w.From && p.To == w.To || p.From == w.To && p.To == w.From) && p.State != plan.InSync {
				w.Why = append(w.Why, p.Why...)
			}
		}
		w.Why = unique(w.Why)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if r.Progress != nil {
		r.Progress(*w, r.done, r.all)
	}
	return ctx.Err()
}

// ends are what it takes to send from one site to another.
type ends struct {
	site           Site
	router         string
	source, target netip.Addr
}

// ends says in words what is missing of them.
func (r *run) ends(from, to string) (ends, string) {
	o, site, a, b := r.observed(from), r.sites[from], r.choice(from), r.choice(to)
	switch {
	case o == nil || o.Problem != nil || site == nil:
		return ends{}, from + " does not answer"
	case len(o.Routers) != 1:
		return ends{}, from + ": there is no peer router to send from"
	case a == nil || !a.Address.IsValid():
		return ends{}, from + ": the address of its peer router port is not known"
	case b == nil || !b.Address.IsValid():
		return ends{}, to + ": the address of its peer router port is not known"
	}
	return ends{site, o.Routers[0].ID, a.Address, b.Address}, ""
}

// prove sends the packets.
func (r *run) prove(ctx context.Context, w *Way) error {
	e, lacks := r.ends(w.From, w.To)
	if lacks != "" {
		w.State, w.Why = Unknown, []string{lacks}
		return nil
	}
	rep, err := e.site.Probe(ctx, e.router, probe.Question{
		Source: e.source, Target: e.target, Count: r.Count, IntervalMS: r.IntervalMS, TimeoutMS: r.TimeoutMS, PathMTU: !r.NoPathMTU,
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case sites.HasNoProbes(err):
		w.State, w.noProbes, w.Why = Unknown, true, []string{w.From + ": the site's API sends no probes"}
	case sites.IsRefused(err):
		// The router has no such address, say: a piece is missing that apply makes.
		w.State, w.Why = Broken, []string{fmt.Sprintf("%s: %v", w.From, err)}
	case err != nil:
		w.State, w.Why = Unknown, []string{fmt.Sprintf("%s: %v", w.From, err)}
	default:
		w.Probe = &rep
		r.judge(w)
	}
	return nil
}

func (r *run) judge(w *Way) {
	rep := w.Probe
	switch {
	case rep.Received == 0:
		w.State = Broken
	case rep.Received < rep.Sent:
		w.State = Lossy
		w.Why = append(w.Why, fmt.Sprintf("%d of %d packets were lost on the way there or back", rep.Sent-rep.Received, rep.Sent))
	case rep.PathMTU > 0 && r.mtu > 0 && rep.PathMTU < r.mtu:
		w.State = Small
		w.Why = append(w.Why, fmt.Sprintf("the largest packet that passes has %d bytes, and the multi-site network lets %d in: the underlay takes less than it should", rep.PathMTU, r.mtu))
	default:
		w.State = Passes
	}
	for _, e := range rep.Errors {
		w.Why = append(w.Why, e.Text)
	}
}

// errOther says that a site does not answer a question that others do.
var errOther = errors.New("the site explains no packets")

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
