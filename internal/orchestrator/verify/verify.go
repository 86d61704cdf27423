// Package verify proves a peering on packets. Each site's peer router sends probes to every other's,
// and from its tenant networks into each network that another site advertises: by its own routes, through
// the tunnel, and back by the other router's routes, as tenants' packets go. Where they do not come back it
// says which piece is missing or wrong, by what both sites' tables make of the packet and by how the
// sites differ from the file. What it finds it names once, with the command that mends it; what it could
// not look at it names too.
package verify

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/probe"
)

// State is what became of the packets of a way.
type State string

// The states, the gravest last.
const (
	Passes State = "passes"
	// Small: packets pass, but none as large as the multi-site network's MTU.
	Small State = "small packets only"
	Lossy State = "lossy"
	// NotProbed: it was one too many (Options.Most).
	NotProbed State = "not probed"
	// NotMeasured: no packets were sent, or the host that sends them had too much to do to tell.
	NotMeasured State = "not measured"
	Broken      State = "broken"
)

var graver = []State{Passes, Small, Lossy, NotProbed, NotMeasured, Broken}

// worse is the graver of two states.
func worse(a, b State) State {
	if slices.Index(graver, a) >= slices.Index(graver, b) {
		return a
	}
	return b
}

// Result is what was proved.
type Result struct {
	Peering string `json:"peering"`
	// Passes: every site reaches every other, and each network that it advertises, with whole packets and
	// without loss, and nothing was found that is not as it should be. All of that was looked at.
	Passes bool `json:"passes"`
	// MTU is the multi-site network's, bytes of an IP packet; 0: not known.
	MTU int `json:"mtu,omitempty"`
	// Ways counts those from a router into a network of another site.
	Ways Tally `json:"ways"`
	// Findings are what is wrong, and what could not be looked at, each once.
	Findings []Finding `json:"findings"`
	Pairs    []Way     `json:"pairs"`
	// Drift, Problems and Warnings are those of the peering's status.
	Drift    []plan.Drift   `json:"drift"`
	Problems []plan.Problem `json:"problems"`
	Warnings []plan.Problem `json:"warnings"`
}

// Tally is how many there are, were probed and pass.
type Tally struct {
	All    int `json:"all"`
	Probed int `json:"probed"`
	Passed int `json:"passed"`
}

// Way is what was found of the way from one site to another and back: between the addresses that their
// peer routers have on the multi-site network, and into the other site's networks.
type Way struct {
	From string `json:"from"`
	To   string `json:"to"`
	// State is the gravest of what was found.
	State State `json:"state"`
	// Probe is what was sent between the peer routers and came back; nil where nothing was sent.
	Probe *probe.Report `json:"probe,omitempty"`
	// Networks are the ways into the other site's networks.
	Networks []NetworkWay `json:"networks,omitempty"`
	// Why says in words what is missing or wrong, the most likely first.
	Why []string `json:"why,omitempty"`
	// Traces are the packet's way by the sites' tables: out of the one and into the other,
	// and what the other sends out and into the one.
	Traces []SiteTrace `json:"traces,omitempty"`

	base     State // between the peer routers
	noProbes bool  // From's API has none
	ex       explained
}

// NetworkWay is the way from one of a router's networks into one of another site's.
type NetworkWay struct {
	Network netip.Prefix `json:"network"`
	// Source and Target are the two routers' addresses in their networks.
	Source netip.Addr `json:"source,omitzero"`
	Target netip.Addr `json:"target,omitzero"`
	// Through are the further routers, by name, that the network is behind; the last of them has Target.
	Through []string      `json:"through,omitempty"`
	State   State         `json:"state"`
	Probe   *probe.Report `json:"probe,omitempty"`
	Why     []string      `json:"why,omitempty"`
	Traces  []SiteTrace   `json:"traces,omitempty"`

	answers string // id of the router that has Target
	hint    string // how what is not proved can be
	rest    string // what of the network a packet to Target does not prove
	ex      explained
}

// Site is the API of a site: *sites.Site.
type Site interface {
	Probe(ctx context.Context, routerID string, q probe.Question) (probe.Report, error)
	// Holder is who has an address on one of these networks; nil: nobody.
	Holder(ctx context.Context, networkIDs []string, addr netip.Addr) (*observed.Holder, error)
	Traces
}

// Options say what to send. Zero fields have the defaults of package probe.
type Options struct {
	Count      int
	IntervalMS int
	TimeoutMS  int
	// NoPathMTU leaves out the search for the largest packet.
	NoPathMTU bool
	// Most bounds the ways into networks that are probed, DefaultMost if zero. Of the ways between routers
	// mostPairs are, or Most if that is more. All probes them all.
	Most int
	All  bool
	// Apply is the command that mends what has drifted.
	Apply string
	// Progress, if not nil, is told how many ways are done, one at a time.
	Progress func(done, all int)
}

// DefaultMost is how many ways into networks are probed where nobody says more.
const DefaultMost = 500

const (
	// parallel bounds the ways that are looked at at once; each site takes fewer.
	parallel = 32
	// networkCount is how many packets go into each network: the ways between the routers are measured
	// by more.
	networkCount = 3
	// mostPairs is all pairs of 50 sites.
	mostPairs = 50 * 49
	// maxExplained bounds the ways that are followed through the tables.
	maxExplained = 64
)

// Run sends the probes. st is the status that was worked out of obs. Only the end of ctx is an error.
func Run(ctx context.Context, p *peering.Peering, obs []observed.Site, st *plan.Status, connected map[string]Site, o Options) (*Result, error) {
	res := &Result{Peering: p.Name, MTU: st.Choices.MTU, Drift: st.Drift, Problems: st.Problems, Warnings: st.Warnings, Findings: []Finding{}}
	for _, from := range p.SiteNames() {
		for _, to := range p.SiteNames() {
			if from != to {
				res.Pairs = append(res.Pairs, Way{From: from, To: to})
			}
		}
	}
	r := &run{Options: o, spec: p, obs: obs, status: st, sites: connected, mtu: res.MTU, addrs: map[siteNet]address{}, further: map[siteNet]further{}}
	most := o.Most
	if most == 0 {
		most = DefaultMost
	}
	if o.All {
		most = int(^uint(0) >> 1)
	}
	order := slices.Collect(interleave(len(p.Sites)))
	if pairs := max(most, mostPairs); len(order) > pairs {
		for _, i := range order[pairs:] {
			res.Pairs[i].base = NotProbed
		}
		order = order[:pairs]
	}
	r.all = len(order) + min(most, r.countNetworks(res.Pairs))
	if err := r.settle(ctx, res.Pairs, order); err != nil {
		return nil, err
	}
	if err := r.each(ctx, len(order), func(ctx context.Context, i int) error { return r.prove(ctx, &res.Pairs[order[i]]) }); err != nil {
		return nil, err
	}
	if err := r.lookFurther(ctx); err != nil {
		return nil, err
	}
	jobs := r.networks(res.Pairs, order, most)
	if err := r.each(ctx, len(jobs), func(ctx context.Context, i int) error { return r.proveNetwork(ctx, jobs[i]) }); err != nil {
		return nil, err
	}
	fromTheOtherSide(res.Pairs)
	if err := r.explainAll(ctx, res.Pairs); err != nil {
		return nil, err
	}
	r.conclude(res)
	return res, nil
}

// each does n things, some of them at once, and tells of each.
func (r *run) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	return r.eachOf(ctx, n, func(ctx context.Context, i int) error {
		if err := do(ctx, i); err != nil {
			return err
		}
		r.told()
		return nil
	})
}

// eachOf does n things, some of them at once.
func (r *run) eachOf(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range n {
		g.Go(func() error {
			if err := do(gctx, i); err != nil {
				return err
			}
			return gctx.Err()
		})
	}
	return g.Wait()
}

// told tells of one more way.
func (r *run) told() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if r.Progress != nil && r.done <= r.all {
		r.Progress(r.done, r.all)
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
	spec   *peering.Peering
	obs    []observed.Site
	status *plan.Status
	sites  map[string]Site
	mtu    int
	all    int
	addrs  map[siteNet]address // addresses in networks; filled by one goroutine
	// further are the networks that are not on the peer routers themselves.
	further map[siteNet]further

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

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
