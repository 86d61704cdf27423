package verify

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/reason"
)

func netOf(site, k int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(site), byte(k), 0}), 24)
}

// tenants is n sites, each with so many networks behind its router. A packet passes where both routers
// have the route to the other end.
type tenants struct {
	p    *peering.Peering
	obs  []observed.Site
	st   *plan.Status
	all  map[string]Site
	less map[string]bool // "a 10.1.0.0/24": a's router has no route there

	mu   sync.Mutex
	sent []probe.Question
}

func newTenants(n, networks int) *tenants {
	w := &tenants{less: map[string]bool{}}
	w.p, w.obs, w.st, w.all = world(n)
	for i := range n {
		for k := range networks {
			net := netOf(i, k)
			w.st.Choices.Sites[i].Advertise = append(w.st.Choices.Sites[i].Advertise, net)
			w.obs[i].Subnets = append(w.obs[i].Subnets, observed.Subnet{ID: net.String(), CIDR: net})
			w.obs[i].Interfaces = append(w.obs[i].Interfaces, observed.Port{ID: "port-in-" + net.String(), AdminStateUp: true,
				DeviceOwner: "network:router_interface", IPs: []observed.IP{{SubnetID: net.String(), Addr: net.Addr().Next()}}})
		}
		w.all[w.obs[i].Name].(*fakeSite).probe = func(q probe.Question) (probe.Report, error) { return w.probe(i, q), nil }
	}
	return w
}

func (w *tenants) probe(from int, q probe.Question) probe.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, q)
	rep := probe.Report{Sent: 3, Received: 3, PathMTU: 1450}
	if q.Target.As4()[0] != 10 {
		return rep
	}
	to := int(q.Target.As4()[1])
	there := w.less[w.obs[from].Name+" "+netOf(to, int(q.Target.As4()[2])).String()]
	back := w.less[w.obs[to].Name+" "+netOf(from, int(q.Source.As4()[2])).String()]
	if there || back {
		return probe.Report{Sent: 3, Loss: 1}
	}
	return rep
}

func (w *tenants) verify(t *testing.T, o Options) *Result {
	t.Helper()
	o.Apply = "causeway peer apply --file x"
	res, err := Run(t.Context(), w.p, w.obs, w.st, w.all, o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestIntoNetworks: packets go from each router's own networks into each network of another site's,
// and back.
func TestIntoNetworks(t *testing.T) {
	w := newTenants(3, 2)
	res := w.verify(t, Options{})
	if !res.Passes || res.Ways != (Tally{12, 12, 12}) || len(res.Findings) != 0 {
		t.Fatalf("%+v %v", res.Ways, res.Findings)
	}
	sources := map[string]bool{}
	for _, q := range w.sent {
		if q.Target.As4()[0] == 10 && (q.Source.As4()[0] != 10 || q.PathMTU) {
			t.Errorf("%+v", q)
		}
		sources[q.Source.String()] = true
	}
	if len(sources) != 9 { // 3 on the multi-site network and 6 behind
		t.Errorf("packets from %v", sources)
	}
}

// TestEachOnce: what differs from the file, or is switched off, is one finding, with its command and the ways
// that do not pass because of it, and with none that does.
func TestEachOnce(t *testing.T) {
	w := newTenants(3, 2)
	missing := netOf(1, 0).String()
	w.less["a "+missing] = true
	w.st.Drift = []plan.Drift{{Site: "a", Remote: "b", Resource: "peer router r", Text: "the route to " + missing + " by 192.168.0.2 is missing"}}
	dropped := sites.Trace{Summary: "dropped at router r (no_route)", Hops: []sites.Hop{{Remedy: "Add a route."}}}
	w.all["a"].(*fakeSite).out = dropped
	w.all["b"].(*fakeSite).out = leaves(tunnelOf(0))
	res := w.verify(t, Options{})
	if res.Passes || len(res.Findings) != 1 {
		t.Fatalf("%+v", res.Findings)
	}
	f := res.Findings[0]
	if f.Command != "causeway peer apply --file x" || f.Unproved || !slices.Contains(f.Ways, "a → b, "+missing) || !slices.Contains(f.Ways, "b → a, "+netOf(0, 0).String()) || len(f.Ways) != 2 {
		t.Errorf("%+v", f)
	}

	w = newTenants(3, 2)
	w.st.Warnings = []plan.Problem{
		{Site: "b", Resource: "network n", Text: "it is disabled", Command: "enable n", Stops: true, Networks: []netip.Prefix{netOf(1, 1)}},
		{Site: "c", Text: "it is slow"},
	}
	res = w.verify(t, Options{})
	if res.Passes || len(res.Findings) != 1 || res.Findings[0].Command != "enable n" {
		t.Fatalf("%+v", res.Findings)
	}
	if ways := res.Findings[0].Ways; !slices.Equal(ways, []string{"a → b, " + netOf(1, 1).String(), "c → b, " + netOf(1, 1).String()}) {
		t.Errorf("%q", ways)
	}
	w.st.Warnings = []plan.Problem{{Site: "b", Resource: "router r", Text: "it is disabled", Command: "enable r", Stops: true}}
	if res = w.verify(t, Options{}); len(res.Findings) != 1 || len(res.Findings[0].Ways) != 4 || res.Ways.Passed != 12-8 {
		t.Errorf("%+v", res.Findings)
	}
}

// TestDriftAlone: what differs from the file is found though all packets pass.
func TestDriftAlone(t *testing.T) {
	w := newTenants(2, 1)
	w.st.Drift = []plan.Drift{{Site: "a", Resource: "subnet", Text: "it bears no mark"}}
	if res := w.verify(t, Options{}); res.Passes || len(res.Findings) != 1 || len(res.Findings[0].Ways) != 0 || res.Ways.Passed != 2 {
		t.Errorf("%+v", res)
	}
}

// TestUnexplained: packets that are lost for a reason that is no difference from the file are a finding of
// their own, one for both directions.
func TestUnexplained(t *testing.T) {
	w := newTenants(2, 1)
	w.less["a "+netOf(1, 0).String()] = true
	w.all["a"].(*fakeSite).out = leaves(tunnelOf(1))
	w.all["b"].(*fakeSite).out = leaves(tunnelOf(0))
	res := w.verify(t, Options{})
	if len(res.Findings) != 1 || !strings.Contains(res.Findings[0].Text, "between the tunnel IPs") || len(res.Findings[0].Ways) != 2 {
		t.Errorf("%+v", res.Findings)
	}
	w.all["a"].(*fakeSite).out = sites.Trace{Summary: "dropped at router r (no_route)", Hops: []sites.Hop{{Remedy: "Add a route."}}}
	res = w.verify(t, Options{})
	if len(res.Findings) != 1 || res.Findings[0].Hint != "Add a route." || res.Findings[0].Site != "a" || len(res.Findings[0].Ways) != 2 {
		t.Errorf("%+v", res.Findings)
	}
}

// TestMost: of many ways so many are probed, of every two sites one before a second; that the others were
// not is told, and all is not called well.
func TestMost(t *testing.T) {
	w := newTenants(4, 10) // 120 ways
	last, of := 0, 0
	res := w.verify(t, Options{Most: 30, Progress: func(done, all int) { last, of = done, all }})
	if res.Passes || res.Ways != (Tally{120, 30, 30}) || len(res.Findings) != 1 || !res.Findings[0].Unproved ||
		!strings.HasPrefix(res.Findings[0].Text, "30 of 120 ways") || !strings.Contains(res.Findings[0].Hint, "--all") {
		t.Errorf("%+v %+v", res.Ways, res.Findings)
	}
	if last != 42 || of != 42 {
		t.Errorf("told of %d of %d", last, of)
	}
	for _, p := range res.Pairs {
		n := 0
		for _, x := range p.Networks {
			if x.State == Passes {
				n++
			}
		}
		if n < 2 || n > 3 {
			t.Errorf("%s → %s: %d of 10 probed", p.From, p.To, n)
		}
	}
	if res := w.verify(t, Options{Most: 30, All: true}); !res.Passes || res.Ways.Probed != 120 {
		t.Errorf("%+v", res.Ways)
	}
}

// TestNotKnown: a network in which no address is known, and a site that does not answer, are named as not
// looked at.
func TestNotKnown(t *testing.T) {
	w := newTenants(2, 1)
	w.st.Choices.Sites[1].Advertise = append(w.st.Choices.Sites[1].Advertise, netip.MustParsePrefix("172.16.0.0/16"))
	res := w.verify(t, Options{})
	if res.Passes || len(res.Findings) != 1 || !res.Findings[0].Unproved || !strings.Contains(res.Findings[0].Text, "no address in 172.16.0.0/16") {
		t.Errorf("%+v", res.Findings)
	}
	// An address that a longer prefix leads to proves nothing of a default route.
	w = newTenants(2, 1)
	w.st.Choices.Sites[1].Advertise = append(w.st.Choices.Sites[1].Advertise, netip.MustParsePrefix("0.0.0.0/0"))
	res = w.verify(t, Options{})
	if res.Passes || len(res.Findings) != 1 || !strings.Contains(res.Findings[0].Text, "in 0.0.0.0/0") {
		t.Errorf("%+v", res.Findings)
	}
	w = newTenants(3, 1)
	w.obs[2].Problem = &observed.Problem{Text: "no answer"}
	w.st.Problems = []plan.Problem{{Site: "c", Text: "no answer"}}
	delete(w.all, "c")
	res = w.verify(t, Options{})
	if res.Passes || len(res.Findings) != 1 || !res.Findings[0].Unproved || res.Findings[0].Text != "no answer" {
		t.Errorf("%+v", res.Findings)
	}
}

// TestNoiseOfOthers: a host that has too much to do, and a loss that does not come again, are no faults
// of the way.
func TestNoiseOfOthers(t *testing.T) {
	busy := &client.APIError{Status: 503, Message: "the host is busy with other probes"}
	good := probe.Report{Sent: 5, Received: 5, PathMTU: 1450}
	lossy := probe.Report{Sent: 5, Received: 3, PathMTU: 1450}
	limitedRep := probe.Report{Sent: 5, Received: 1, Errors: []probe.Instead{{Reason: reason.SlowPathLimited.String()}}}
	for name, c := range map[string]struct {
		answers []any
		want    State
	}{
		"busy once":                   {[]any{busy, good}, Passes},
		"always busy":                 {[]any{busy}, NotMeasured},
		"limited, then well":          {[]any{limitedRep, good}, Passes},
		"always limited":              {[]any{limitedRep}, NotMeasured},
		"a loss that does not return": {[]any{lossy, good}, Passes},
		"a loss that returns":         {[]any{lossy, lossy, good}, Lossy},
		"a loss now and then":         {[]any{lossy, good, lossy}, Lossy},
		"busy after a loss":           {[]any{lossy, busy}, NotMeasured},
		"an error":                    {[]any{errors.New("timed out")}, NotMeasured},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTenants(2, 0)
			n := 0
			w.all["a"].(*fakeSite).probe = func(probe.Question) (probe.Report, error) {
				x := c.answers[min(n, len(c.answers)-1)]
				if n++; n > tries {
					t.Errorf("asked %d times", n)
				}
				if err, ok := x.(error); ok {
					return probe.Report{}, err
				}
				return x.(probe.Report), nil
			}
			res := w.verify(t, Options{})
			if s := res.Pairs[0].State; s != c.want || res.Passes != (c.want == Passes) {
				t.Errorf("%s %v, passes %v", s, res.Pairs[0].Why, res.Passes)
			}
			if unproved := len(res.Findings) == 1 && res.Findings[0].Unproved; unproved != (c.want == NotMeasured) {
				t.Errorf("%+v", res.Findings)
			}
		})
	}
}

// TestNetworksWithoutProbes: into the networks of a site that sends no probes itself, packets come from each
// network of another one, so that the routes of both are proved.
func TestNetworksWithoutProbes(t *testing.T) {
	w := newTenants(2, 3)
	// One network behind the site without probes, and three behind the other.
	w.st.Choices.Sites[0].Advertise = w.st.Choices.Sites[0].Advertise[:1]
	w.all["a"].(*fakeSite).probe = func(probe.Question) (probe.Report, error) { return probe.Report{}, &client.APIError{Status: 404} }
	w.less["a "+netOf(1, 2).String()] = true
	res := w.verify(t, Options{})
	states := map[string]State{}
	for _, p := range res.Pairs {
		for _, n := range p.Networks {
			states[fmt.Sprint(p.From, " ", n.Network)] = worse(states[fmt.Sprint(p.From, " ", n.Network)], n.State)
		}
	}
	for k := range 3 {
		want := Passes
		if k == 2 {
			want = Broken
		}
		if got := states["a "+netOf(1, k).String()]; got != want {
			t.Errorf("a → b, %s: %s", netOf(1, k), got)
		}
	}
	if res.Passes {
		t.Error("it says that all passes")
	}
}

// TestMostPairs: of very many sites not all pairs are probed, and that is told; each site sends to some.
func TestMostPairs(t *testing.T) {
	w := newTenants(60, 1)
	res := w.verify(t, Options{})
	from := map[string]int{}
	for _, p := range res.Pairs {
		if p.Probe != nil {
			from[p.From]++
		}
	}
	if res.Passes || len(res.Findings) != 2 || !strings.HasPrefix(res.Findings[0].Text, "2450 of 3540 ways between routers") || res.Ways.Probed != DefaultMost {
		t.Errorf("%+v %+v", res.Ways, res.Findings)
	}
	if len(from) != 60 {
		t.Errorf("%d sites send", len(from))
	}
}
