package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
	"github.com/causeway-net/causeway/internal/probe"
)

// fakeSite answers as the test says.
type fakeSite struct {
	probe func(q probe.Question) (probe.Report, error)
	// holder is who has an address; nil: nobody has any.
	holder func(networks []string, a netip.Addr) (*observed.Holder, error)
	out    sites.Trace // of packets that its router makes
	in     sites.Trace // of packets out of the tunnel
	// settles is told of packets that are sent before any counts; nil: nobody is.
	settles func()
}

func (f *fakeSite) Probe(_ context.Context, _ string, q probe.Question) (probe.Report, error) {
	if q.Count == 1 && q.TimeoutMS == settleMS {
		if f.settles != nil {
			f.settles()
		}
		return probe.Report{}, errors.New("what becomes of it counts for nothing")
	}
	return f.probe(q)
}

func (f *fakeSite) Holder(_ context.Context, networks []string, a netip.Addr) (*observed.Holder, error) {
	if f.holder == nil {
		return nil, nil
	}
	return f.holder(networks, a)
}

func (f *fakeSite) TraceRouter(context.Context, string, netip.Addr, netip.Addr) (sites.Trace, error) {
	return f.out, nil
}

func (f *fakeSite) TraceTunnel(context.Context, string, json.RawMessage) (sites.Trace, error) {
	return f.in, nil
}

func addrOf(i int) netip.Addr   { return netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)}) }
func tunnelOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{200, 200, 0, byte(i + 1)}) }

// leaves is a trace that ends in a tunnel.
func leaves(to netip.Addr) sites.Trace {
	var t sites.Trace
	b := fmt.Sprintf(`{"delivered":true,"summary":"sent","hops":[],"next":{"tunnel_ip":%q,"request":{}}}`, to)
	if err := json.Unmarshal([]byte(b), &t); err != nil {
		panic(err)
	}
	return t
}

// world is n sites where all is well.
func world(n int) (*peering.Peering, []observed.Site, *plan.Status, map[string]Site) {
	p := &peering.Peering{Name: "p"}
	st := &plan.Status{Choices: plan.Choices{MTU: 1450}}
	var obs []observed.Site
	all := map[string]Site{}
	for i := range n {
		name := string(rune('a' + i))
		p.Sites = append(p.Sites, peering.Site{Name: name})
		obs = append(obs, observed.Site{Name: name, Routers: []observed.Router{{ID: "router-" + name}},
			Devices: []observed.Device{{ID: "device-" + name, TunnelIPs: []netip.Addr{tunnelOf(i)}}}})
		st.Choices.Sites = append(st.Choices.Sites, plan.SiteChoice{Site: name, Address: addrOf(i), TunnelIP: tunnelOf(i)})
		all[name] = &fakeSite{
			probe: func(q probe.Question) (probe.Report, error) {
				if q.Source != addrOf(i) || q.Target == q.Source || !q.PathMTU {
					return probe.Report{}, fmt.Errorf("asked for %+v", q)
				}
				return probe.Report{Sent: 5, Received: 5, PathMTU: 1450}, nil
			},
			out: leaves(tunnelOf(1 - i%2)),
			in:  sites.Trace{Delivered: true, Summary: "answered"},
		}
	}
	return p, obs, st, all
}

func verify(t *testing.T, p *peering.Peering, obs []observed.Site, st *plan.Status, all map[string]Site) *Result {
	t.Helper()
	told, of := 0, 0
	res, err := Run(t.Context(), p, obs, st, all, Options{Progress: func(done, all int) { told, of = done, all }})
	if err != nil {
		t.Fatal(err)
	}
	if told != of || told < len(res.Pairs) {
		t.Errorf("told of %d ways of %d", told, of)
	}
	return res
}

func TestAllPasses(t *testing.T) {
	p, obs, st, all := world(9)
	res := verify(t, p, obs, st, all)
	if !res.Passes || len(res.Pairs) != 72 {
		t.Errorf("%+v", res)
	}
}

// Each site has what it was told before packets of others come that count.
func TestSitesSettleFirst(t *testing.T) {
	p, obs, st, all := world(3)
	var settled atomic.Int32
	for i := range 3 {
		f := all[string(rune('a'+i))].(*fakeSite)
		answer := f.probe
		f.settles = func() { settled.Add(1) }
		f.probe = func(q probe.Question) (probe.Report, error) {
			if n := settled.Load(); n != 3 {
				t.Errorf("%d of 3 sites have settled", n)
			}
			return answer(q)
		}
	}
	if res := verify(t, p, obs, st, all); !res.Passes {
		t.Errorf("%+v", res)
	}
}

func TestStates(t *testing.T) {
	lost := func(probe.Question) (probe.Report, error) {
		return probe.Report{Sent: 5, Loss: 1, Errors: []probe.Instead{{Text: "host unreachable"}}}, nil
	}
	for name, c := range map[string]struct {
		change func(obs []observed.Site, st *plan.Status, all map[string]Site)
		state  State
		words  []string
	}{
		"loss": {func(_ []observed.Site, _ *plan.Status, all map[string]Site) {
			all["a"].(*fakeSite).probe = func(probe.Question) (probe.Report, error) { return probe.Report{Sent: 5, Received: 3}, nil }
		}, Lossy, []string{"4 of 10"}},
		"small": {func(_ []observed.Site, _ *plan.Status, all map[string]Site) {
			all["a"].(*fakeSite).probe = func(probe.Question) (probe.Report, error) {
				return probe.Report{Sent: 5, Received: 5, PathMTU: 1350, Path: &probe.PathState{VTEP: netip.MustParseAddr("200.200.0.2"), MTU: 1400, State: "proven", Why: "the router answers"}}, nil
			}
		}, Small, []string{"1350", "1450", "the underlay's path to 200.200.0.2: packets of up to 1400 bytes, proven: the router answers"}},
		"lost in the underlay": {func(_ []observed.Site, _ *plan.Status, all map[string]Site) { all["a"].(*fakeSite).probe = lost },
			Broken, []string{"host unreachable", "lost between the tunnel IPs 200.200.0.1 and 200.200.0.2"}},
		"dropped here": {func(_ []observed.Site, _ *plan.Status, all map[string]Site) {
			all["a"].(*fakeSite).probe = lost
			all["a"].(*fakeSite).out = sites.Trace{Summary: "dropped at network x (remote_mac_missing)"}
		}, Broken, []string{"a: dropped at network x"}},
		"dropped there": {func(_ []observed.Site, _ *plan.Status, all map[string]Site) {
			all["a"].(*fakeSite).probe = lost
			all["b"].(*fakeSite).in = sites.Trace{Summary: "dropped at gateway device y (vtep_unknown)"}
		}, Broken, []string{"b: dropped at gateway device y"}},
		"sent elsewhere": {func(_ []observed.Site, _ *plan.Status, all map[string]Site) {
			all["a"].(*fakeSite).probe = lost
			all["a"].(*fakeSite).out = leaves(netip.MustParseAddr("200.200.0.99"))
		}, Broken, []string{"200.200.0.99", "none of the peering's sites"}},
		"drifted": {func(_ []observed.Site, st *plan.Status, all map[string]Site) {
			all["a"].(*fakeSite).probe = lost
			st.Pairs = []plan.Pair{{From: "b", To: "a", State: plan.Drifted, Why: []string{"b: remote MAC entry: it is missing"}}}
		}, Broken, []string{"b: remote MAC entry: it is missing"}},
		"down": {func(obs []observed.Site, _ *plan.Status, all map[string]Site) {
			obs[0].Problem = &observed.Problem{Text: "refused"}
			delete(all, "a")
		}, NotMeasured, []string{"a does not answer"}},
		"no router": {func(obs []observed.Site, _ *plan.Status, _ map[string]Site) { obs[0].Routers = nil }, NotMeasured, []string{"no peer router"}},
		"fails": {func(_ []observed.Site, _ *plan.Status, all map[string]Site) {
			all["a"].(*fakeSite).probe = func(probe.Question) (probe.Report, error) { return probe.Report{}, errors.New("timed out") }
		}, NotMeasured, []string{"timed out"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, obs, st, all := world(2)
			c.change(obs, st, all)
			res := verify(t, p, obs, st, all)
			w := res.Pairs[slices.IndexFunc(res.Pairs, func(w Way) bool { return w.From == "a" })]
			why := strings.Join(w.Why, "\n")
			if w.State != c.state || res.Passes {
				t.Errorf("%s, passes %v; want %s: %s", w.State, res.Passes, c.state, why)
			}
			for _, word := range c.words {
				if !strings.Contains(why, word) {
					t.Errorf("no %q in\n%s", word, why)
				}
			}
		})
	}
}

// A site of another kind sends no probes: what is known of its ways, the others' packets have found.
func TestSiteWithoutProbes(t *testing.T) {
	p, obs, st, all := world(3)
	all["a"].(*fakeSite).probe = func(probe.Question) (probe.Report, error) { return probe.Report{}, &client.APIError{Status: 404} }
	all["c"].(*fakeSite).probe = func(q probe.Question) (probe.Report, error) {
		if q.Target == addrOf(0) {
			return probe.Report{Sent: 5, Received: 4}, nil
		}
		return probe.Report{Sent: 5, Received: 5, PathMTU: 1450}, nil
	}
	res := verify(t, p, obs, st, all)
	want := map[string]State{"ab": Passes, "ba": Passes, "ac": Lossy, "ca": Lossy, "bc": Passes, "cb": Passes}
	for _, w := range res.Pairs {
		if w.State != want[w.From+w.To] {
			t.Errorf("%s → %s: %s %v", w.From, w.To, w.State, w.Why)
		}
	}
}

func TestInterleave(t *testing.T) {
	seen := map[int]bool{}
	last := -1
	for i := range interleave(5) {
		if seen[i] || i/4 == last {
			t.Errorf("%d again, or of the same site as before", i)
		}
		seen[i], last = true, i/4
	}
	if len(seen) != 20 {
		t.Errorf("%d pairs", len(seen))
	}
}
