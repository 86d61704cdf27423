package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
	"github.com/causeway-net/causeway/internal/probe"
)

// behindRouters is two sites, and b advertises 10.1.50.0/24, to which its router has a route by 10.1.0.9;
// holders say who has addresses there: "network address".
func behindRouters(holders map[string]*observed.Holder) *tenants {
	w := newTenants(2, 1)
	w.st.Choices.Sites[1].Advertise = append(w.st.Choices.Sites[1].Advertise, netip.MustParsePrefix("10.1.50.0/24"))
	w.obs[1].Interfaces[0].NetworkID = "n1"
	w.obs[1].Routers[0].Name = "peer-b"
	w.obs[0].Routers[0].Name = "peer-a"
	w.obs[1].Routers[0].Routes = []observed.Route{
		{Destination: netip.MustParsePrefix("0.0.0.0/0"), NextHop: netip.MustParseAddr("10.1.0.1")},
		{Destination: netip.MustParsePrefix("10.1.50.0/23"), NextHop: netip.MustParseAddr("10.1.0.9")},
	}
	w.all["b"].(*fakeSite).holder = func(networks []string, a netip.Addr) (*observed.Holder, error) {
		for _, n := range networks {
			if h := holders[n+" "+a.String()]; h != nil {
				out := *h
				out.Port.NetworkID = n
				return &out, nil
			}
		}
		return nil, nil
	}
	return w
}

func further2(id, network, addr string, routes ...observed.Route) *observed.Holder {
	return &observed.Holder{
		Port: observed.Port{ID: "port-of-" + id, AdminStateUp: true}, Router: &observed.Router{ID: id, Name: "name-of-" + id, AdminStateUp: true, Routes: routes},
		Interfaces: []observed.Port{{ID: "port-in-" + network, NetworkID: network, AdminStateUp: true, DeviceOwner: "network:router_interface",
			IPs: []observed.IP{{SubnetID: "subnet", Addr: netip.MustParseAddr(addr)}}}},
		Networks: []observed.Network{{ID: "n1", AdminStateUp: true}, {ID: "n2", AdminStateUp: true}, {ID: "n3", AdminStateUp: true}},
		Subnets:  []observed.Subnet{{ID: "subnet", CIDR: netip.PrefixFrom(netip.MustParseAddr(addr), 24).Masked()}},
	}
}

func via(hop string) observed.Route {
	return observed.Route{Destination: netip.MustParsePrefix("10.1.50.0/24"), NextHop: netip.MustParseAddr(hop)}
}

// TestBehindFurtherRouters: a network behind further routers is proved at the address that the last of
// them has in it; where there is none, it is said what is not proved, and how it can be.
func TestBehindFurtherRouters(t *testing.T) {
	for name, c := range map[string]struct {
		holders map[string]*observed.Holder
		change  func(*tenants)
		through []string
		state   State
		finding string
	}{
		"one router":  {holders: map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n2", "10.1.50.1")}, through: []string{"name-of-r2"}, state: Passes},
		"two routers": {holders: map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n2", "10.1.60.1", via("10.1.60.9")), "n2 10.1.60.9": further2("r3", "n3", "10.1.50.7")}, through: []string{"name-of-r2", "name-of-r3"}, state: Passes},
		"round and round": {holders: map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n1", "10.1.0.9", via("10.1.0.9"))}, state: NotMeasured,
			finding: "b: 10.1.50.0/24 lies behind more than 4 routers"},
		"a workload": {holders: map[string]*observed.Holder{"n1 10.1.0.9": {Port: observed.Port{ID: "vm-port"}}}, state: NotMeasured,
			finding: "b: 10.1.50.0/24 lies behind 10.1.0.9, the next hop of router peer-b, which is port vm-port and no router"},
		"nobody known": {state: NotMeasured, finding: "b: 10.1.50.0/24 lies behind 10.1.0.9, the next hop of router peer-b, which is no port"},
		"no route at all": {change: func(w *tenants) { w.obs[1].Routers[0].Routes = nil }, state: NotMeasured,
			finding: "b: router peer-b has no address in 10.1.50.0/24 and no route to it"},
		"parts": {change: func(w *tenants) {
			w.obs[1].Routers[0].Routes = []observed.Route{{Destination: netip.MustParsePrefix("10.1.50.0/25"), NextHop: netip.MustParseAddr("10.1.0.9")}}
		}, state: NotMeasured, finding: "b: router peer-b has routes to parts of 10.1.50.0/24 alone"},
		"no route further": {holders: map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n2", "10.1.60.1")}, state: NotMeasured,
			finding: "b: router name-of-r2 has no address in 10.1.50.0/24 and no route to it"},
		"does not say": {change: func(w *tenants) {
			w.all["b"].(*fakeSite).holder = func([]string, netip.Addr) (*observed.Holder, error) { return nil, fmt.Errorf("no time") }
		}, state: NotMeasured, finding: "b: what 10.1.50.0/24 lies behind could not be asked: no time"},
	} {
		t.Run(name, func(t *testing.T) {
			w := behindRouters(c.holders)
			if c.change != nil {
				c.change(w)
			}
			res := w.verify(t, Options{})
			n := res.Pairs[0].Networks[1]
			if n.State != c.state || c.through != nil && !slices.Equal(n.Through, c.through) || res.Passes != (c.state == Passes) {
				t.Fatalf("%+v, passes: %v", n, res.Passes)
			}
			if c.state == Passes {
				if len(res.Findings) != 0 || !slices.ContainsFunc(w.sent, func(q probe.Question) bool { return q.Target == n.Target && n.Network.Contains(n.Target) }) {
					t.Errorf("%v; sent to %v", res.Findings, w.sent)
				}
				return
			}
			if len(res.Findings) != 1 || !strings.HasPrefix(res.Findings[0].String(), c.finding) || res.Findings[0].Unproved != (c.state == NotMeasured) {
				t.Fatalf("%+v", res.Findings)
			}
			if hint := res.Findings[0].Hint; res.Findings[0].Unproved && !strings.Contains(hint, "at a, causeway probe --router peer-a --from 10.0.0.1 --to ADDRESS") {
				t.Errorf("hint %q", hint)
			}
		})
	}
}

// TestFurtherNextHops: where packets may take another next hop than the one that is followed, it is named,
// whatever is found behind the one.
func TestFurtherNextHops(t *testing.T) {
	r2 := func(routes ...observed.Route) *observed.Holder { return further2("r2", "n2", "10.1.60.1", routes...) }
	atPeer := "router peer-b has several next hops to 10.1.50.0/24, and each packet goes by that of its flow: only what lies behind 10.1.0.9 was followed, not behind 10.1.0.8"
	atR2 := "router name-of-r2 has several next hops to 10.1.50.0/24, and each packet goes by that of its flow: only what lies behind 10.1.60.9 was followed, not behind 10.1.60.8 and 10.1.60.7"
	for name, c := range map[string]struct {
		holders map[string]*observed.Holder
		change  func(*tenants)
		says    []string
	}{
		"a router":          {map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n2", "10.1.50.1")}, nil, []string{atPeer}},
		"a workload":        {map[string]*observed.Holder{"n1 10.1.0.9": {Port: observed.Port{ID: "vm-port"}}}, nil, []string{"which is port vm-port and no router", atPeer}},
		"nobody known":      {nil, nil, []string{"which is no port of the site's API", atPeer}},
		"a router's router": {map[string]*observed.Holder{"n1 10.1.0.9": r2(via("10.1.60.9"), via("10.1.60.8"), via("10.1.60.7")), "n2 10.1.60.9": further2("r3", "n3", "10.1.50.7")}, nil, []string{atPeer, atR2}},
		"no router beyond":  {map[string]*observed.Holder{"n1 10.1.0.9": r2(via("10.1.60.9"), via("10.1.60.8"), via("10.1.60.7"))}, nil, []string{"which is no port of the site's API", atPeer, atR2}},
		"no route beyond":   {map[string]*observed.Holder{"n1 10.1.0.9": r2()}, nil, []string{"router name-of-r2 has no address in 10.1.50.0/24 and no route to it", atPeer}},
		"parts beyond":      {map[string]*observed.Holder{"n1 10.1.0.9": r2(route("10.1.50.0/25", "10.1.60.9"))}, nil, []string{"router name-of-r2 has routes to parts of 10.1.50.0/24 alone", atPeer}},
		"round and round":   {map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n1", "10.1.0.9", via("10.1.0.9"))}, nil, []string{"behind more than 4 routers", atPeer}},
		"it does not say": {nil, func(w *tenants) {
			w.all["b"].(*fakeSite).holder = func([]string, netip.Addr) (*observed.Holder, error) { return nil, fmt.Errorf("no time") }
		}, []string{"could not be asked: no time", atPeer}},
		"a part goes elsewhere too": {map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n2", "10.1.50.1")}, func(w *tenants) {
			w.obs[1].Routers[0].Routes = append(w.obs[1].Routers[0].Routes, route("10.1.50.128/25", "10.1.0.77"))
		}, []string{"router peer-b sends 10.1.50.128/25", atPeer}},
	} {
		t.Run(name, func(t *testing.T) {
			w := behindRouters(c.holders)
			w.obs[1].Routers[0].Routes = append(w.obs[1].Routers[0].Routes, route("10.1.50.0/23", "10.1.0.8"))
			if c.change != nil {
				c.change(w)
			}
			res := w.verify(t, Options{})
			if res.Passes || len(res.Findings) != 1 || !res.Findings[0].Unproved {
				t.Fatalf("%+v", res.Findings)
			}
			for _, want := range c.says {
				if strings.Count(res.Findings[0].Text, want) != 1 {
					t.Errorf("%q does not say once %q", res.Findings[0].Text, want)
				}
			}
		})
	}
}

// asked notes the routers whose packets are traced.
type asked struct {
	*fakeSite
	routers []string
}

func (a *asked) TraceRouter(_ context.Context, router string, _, _ netip.Addr) (sites.Trace, error) {
	a.routers = append(a.routers, router)
	return a.out, nil
}

func (a *asked) TraceTunnel(ctx context.Context, device string, r json.RawMessage) (sites.Trace, error) {
	return a.fakeSite.TraceTunnel(ctx, device, r)
}

// TestFurtherRouterAnswers: where packets into a network behind a further router are lost, the way back is
// followed from that router.
func TestFurtherRouterAnswers(t *testing.T) {
	w := behindRouters(map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n2", "10.1.50.1")})
	good := w.all["a"].(*fakeSite).probe
	w.all["a"].(*fakeSite).probe = func(q probe.Question) (probe.Report, error) {
		if q.Target == netip.MustParseAddr("10.1.50.1") {
			return probe.Report{Sent: 3, Loss: 1}, nil
		}
		return good(q)
	}
	b := &asked{fakeSite: w.all["b"].(*fakeSite)}
	b.out = sites.Trace{Summary: "dropped at router name-of-r2 (no_route)", Hops: []sites.Hop{{Remedy: "Add a route."}}}
	w.all["b"] = b
	w.all["a"].(*fakeSite).out = leaves(tunnelOf(1))
	res := w.verify(t, Options{})
	if !slices.Equal(b.routers, []string{"r2"}) || len(res.Findings) != 1 || !strings.Contains(res.Findings[0].String(), "b: dropped at router name-of-r2") {
		t.Errorf("%v: %+v", b.routers, res.Findings)
	}
}

// TestUnderlayNamed: what a host says to be wrong with its underlay is the finding, once for all ways.
func TestUnderlayNamed(t *testing.T) {
	w := newTenants(3, 2)
	const problem = "the underlay interface eth1 is not there"
	for i, s := range w.obs {
		good := w.all[s.Name].(*fakeSite).probe
		w.all[s.Name].(*fakeSite).probe = func(q probe.Question) (probe.Report, error) {
			rep, err := good(q)
			toB := q.Target == addrOf(1) || q.Target.As4()[0] == 10 && q.Target.As4()[1] == 1
			if i != 1 && !toB {
				return rep, err
			}
			rep = probe.Report{Sent: 3, Loss: 1, Host: "host-" + s.Name, Path: &probe.PathState{VTEP: tunnelOf(1), State: "proven", Why: "it answers nothing now"}}
			if i == 1 {
				rep.Path.State, rep.Path.Problem = probe.Unreachable, problem
			}
			return rep, nil
		}
		w.all[s.Name].(*fakeSite).out = leaves(tunnelOf(1 - i%2))
	}
	res := w.verify(t, Options{})
	if res.Passes || len(res.Findings) != 1 {
		t.Fatalf("%d: %+v", len(res.Findings), res.Findings)
	}
	f := res.Findings[0]
	if f.String() != "b: host host-b: "+problem || f.Unproved || len(f.Ways) != 4 || f.Hint == "" {
		t.Errorf("%+v", f)
	}
}

// TestUnderlayWords: where by the tables the packets pass, it is said what both hosts know of the
// underlay between them.
func TestUnderlayWords(t *testing.T) {
	w := newTenants(2, 1)
	for i, s := range w.obs {
		w.all[s.Name].(*fakeSite).probe = func(probe.Question) (probe.Report, error) {
			return probe.Report{Sent: 3, Loss: 1, Host: "host-" + s.Name, Path: &probe.PathState{VTEP: tunnelOf(1 - i), MTU: 1500, State: "unproven", Why: "nothing answers"}}, nil
		}
		w.all[s.Name].(*fakeSite).out = leaves(tunnelOf(1 - i))
	}
	res := w.verify(t, Options{})
	if len(res.Findings) != 1 || !strings.Contains(res.Findings[0].Text, "a, host host-a: the underlay's path to 200.200.0.2: packets of up to 1500 bytes, unproven: nothing answers") ||
		!strings.Contains(res.Findings[0].Text, "b, host host-b: the underlay's path to 200.200.0.1") {
		t.Errorf("%+v", res.Findings)
	}
}
