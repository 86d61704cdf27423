package verify

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
	"github.com/causeway-net/causeway/internal/probe"
)

func route(to, hop string) observed.Route {
	return observed.Route{Destination: netip.MustParsePrefix(to), NextHop: netip.MustParseAddr(hop)}
}

// TestPartProved: an address in a part of an advertised network does not prove the rest of it.
func TestPartProved(t *testing.T) {
	const narrow = "packets to 10.1.0.1 prove 10.1.0.0/24 alone, which is a part of 10.1.0.0/16"
	for name, c := range map[string]struct {
		change func(*tenants)
		says   string // "": it passes
	}{
		"wider than the subnet": {func(w *tenants) {
			w.st.Choices.Sites[1].Advertise[0] = netip.MustParsePrefix("10.1.0.0/16")
			w.obs[1].Routers[0].Routes = []observed.Route{route("10.1.1.0/24", "10.1.0.9")}
		}, narrow},
		"the subnet is not known": {func(w *tenants) { w.obs[1].Subnets = nil }, "packets to 10.1.0.1 prove 10.1.0.1/32 alone"},
		"a part is routed":        {func(w *tenants) { w.obs[1].Routers[0].Routes = []observed.Route{route("10.1.0.128/25", "10.1.0.9")} }, "sends 10.1.0.128/25, a part of 10.1.0.0/24, by a route of its own to 10.1.0.9"},
		"a part is another site's": {func(w *tenants) {
			w.st.Choices.Sites[0].Advertise = append(w.st.Choices.Sites[0].Advertise, netip.MustParsePrefix("10.1.0.128/25"))
			w.obs[0].Interfaces[0].IPs = append(w.obs[0].Interfaces[0].IPs, observed.IP{SubnetID: "x", Addr: netip.MustParseAddr("10.1.0.129")})
			w.obs[0].Subnets = append(w.obs[0].Subnets, observed.Subnet{ID: "x", CIDR: netip.MustParsePrefix("10.1.0.128/25")})
			w.obs[1].Routers[0].Routes = []observed.Route{route("10.1.0.128/25", "192.168.0.1")}
		}, ""},
		"the subnet is wider": {func(w *tenants) { w.obs[1].Subnets[0].CIDR = netip.MustParsePrefix("10.1.0.0/16") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTenants(2, 1)
			w.obs[1].Routers[0].Name, w.obs[0].Routers[0].Name = "peer-b", "peer-a"
			c.change(w)
			res := w.verify(t, Options{})
			if c.says == "" {
				if !res.Passes {
					t.Errorf("%+v", res.Findings)
				}
				return
			}
			if res.Passes || len(res.Findings) != 1 || res.Pairs[0].State != NotMeasured || res.Pairs[0].Networks[0].Probe == nil {
				t.Fatalf("%+v %+v", res.Findings, res.Pairs[0])
			}
			f := res.Findings[0]
			if !f.Unproved || !strings.Contains(f.Text, c.says) || !strings.Contains(f.Hint, "at a, causeway probe --router peer-a --from 10.0.0.1 --to ADDRESS") {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestFurtherParts: a covering route does not hide narrower ones, at no router on the way.
func TestFurtherParts(t *testing.T) {
	half := route("10.1.50.128/25", "10.1.0.77")
	for name, c := range map[string]struct {
		change func(w *tenants, r2 *observed.Holder)
		says   string
	}{
		"at the peer router": {func(w *tenants, _ *observed.Holder) {
			w.obs[1].Routers[0].Routes = append(w.obs[1].Routers[0].Routes, half)
		}, "router peer-b sends 10.1.50.128/25"},
		"at the further router":     {func(_ *tenants, r2 *observed.Holder) { r2.Router.Routes = append(r2.Router.Routes, half) }, "router name-of-r2 sends 10.1.50.128/25"},
		"a part is connected there": {func(_ *tenants, r2 *observed.Holder) { r2.Subnets[0].CIDR = netip.MustParsePrefix("10.1.50.0/25") }, "prove 10.1.50.0/25 alone"},
	} {
		t.Run(name, func(t *testing.T) {
			r2 := further2("r2", "n2", "10.1.50.1")
			w := behindRouters(map[string]*observed.Holder{"n1 10.1.0.9": r2})
			c.change(w, r2)
			res := w.verify(t, Options{})
			if res.Passes || len(res.Findings) != 1 || !res.Findings[0].Unproved || !strings.Contains(res.Findings[0].Text, c.says) {
				t.Errorf("%+v", res.Findings)
			}
		})
	}
}

// TestFurtherDisabled: a router answers for its address in a network that is switched off. What is
// disabled on the way behind further routers breaks it, and is one finding with its command.
func TestFurtherDisabled(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(w *tenants, r2, r3 *observed.Holder)
		resource string
		command  string // "": not proved
	}{
		"the network":        {func(_ *tenants, _, r3 *observed.Holder) { r3.Networks[2].AdminStateUp = false }, "network n3", "network set --enable n3"},
		"its port":           {func(_ *tenants, _, r3 *observed.Holder) { r3.Interfaces[0].AdminStateUp = false }, "port port-in-n3", "port set --enable port-in-n3"},
		"the last router":    {func(_ *tenants, _, r3 *observed.Holder) { r3.Router.AdminStateUp = false }, "router name-of-r3 (r3)", "router set --enable r3"},
		"a router between":   {func(_ *tenants, r2, _ *observed.Holder) { r2.Router.AdminStateUp = false }, "router name-of-r2 (r2)", "router set --enable r2"},
		"the next hop":       {func(_ *tenants, r2, _ *observed.Holder) { r2.Port.AdminStateUp = false }, "port port-of-r2", "port set --enable port-of-r2"},
		"a network between":  {func(_ *tenants, r2, _ *observed.Holder) { r2.Networks[0].AdminStateUp = false }, "network n1", "network set --enable n1"},
		"the way out":        {func(_ *tenants, r2, _ *observed.Holder) { r2.Interfaces[0].AdminStateUp = false }, "port port-in-n2", "port set --enable port-in-n2"},
		"the peer's own way": {func(w *tenants, _, _ *observed.Holder) { w.obs[1].Interfaces[0].AdminStateUp = false }, "port port-in-10.1.0.0/24", "port set --enable port-in-10.1.0.0/24"},
		"told already": {func(w *tenants, r2, _ *observed.Holder) {
			r2.Networks[0].AdminStateUp = false
			w.st.Warnings = []plan.Problem{{Site: "b", Resource: "network n1", Text: "it is disabled", Command: "network set --enable n1", Stops: true, Networks: []netip.Prefix{netOf(1, 0)}}}
		}, "network n1", "network set --enable n1"},
		"no word of the network": {func(_ *tenants, _, r3 *observed.Holder) { r3.Networks = r3.Networks[:2] }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r2, r3 := further2("r2", "n2", "10.1.60.1", via("10.1.60.9")), further2("r3", "n3", "10.1.50.7")
			w := behindRouters(map[string]*observed.Holder{"n1 10.1.0.9": r2, "n2 10.1.60.9": r3})
			c.change(w, r2, r3)
			res := w.verify(t, Options{})
			if res.Passes || len(res.Findings) != 1 {
				t.Fatalf("%+v", res.Findings)
			}
			f := res.Findings[0]
			if f.Unproved != (c.command == "") || f.Resource != c.resource || !strings.Contains(f.Command, c.command) || !slices.Contains(f.Ways, "a → b, 10.1.50.0/24") {
				t.Errorf("%+v", f)
			}
			want := Broken
			if c.command == "" {
				want = NotMeasured
			}
			if s := res.Pairs[0].Networks[1].State; s != want {
				t.Errorf("%s", s)
			}
		})
	}
}

// TestWithoutProbesFurther: where a site sends no probes, what the other's packets do not prove is named, in
// words, and its routes to wide networks are not taken for proved.
func TestWithoutProbesFurther(t *testing.T) {
	none := func(probe.Question) (probe.Report, error) { return probe.Report{}, &client.APIError{Status: 404} }
	for name, c := range map[string]struct {
		world func() *tenants
		says  string
	}{
		"behind a further router": {func() *tenants {
			return behindRouters(map[string]*observed.Holder{"n1 10.1.0.9": further2("r2", "n2", "10.1.50.1")})
		}, "a sends no probes, and no packet from b comes out of 10.1.50.0/24"},
		"behind a workload": {func() *tenants {
			return behindRouters(map[string]*observed.Holder{"n1 10.1.0.9": {Port: observed.Port{ID: "vm-port"}}})
		}, "b: 10.1.50.0/24 lies behind 10.1.0.9"},
		"a default route": {func() *tenants {
			w := newTenants(2, 1)
			w.st.Choices.Sites[1].Advertise = append(w.st.Choices.Sites[1].Advertise, netip.MustParsePrefix("0.0.0.0/0"))
			return w
		}, "in 0.0.0.0/0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.world()
			w.all["a"].(*fakeSite).probe = none
			res := w.verify(t, Options{})
			if res.Passes || len(res.Findings) != 1 {
				t.Fatalf("%+v", res.Findings)
			}
			f := res.Findings[0]
			if !f.Unproved || !strings.Contains(f.Text, c.says) || name != "a default route" && (!strings.Contains(f.Hint, "a sends no probes") || strings.Contains(f.Hint, "causeway probe")) {
				t.Errorf("%+v", f)
			}
			if s := res.Pairs[0].Networks[1].State; s != NotMeasured {
				t.Errorf("%s", s)
			}
		})
	}
}

// TestCauseBeforeUnderlay: where the routers reach each other, what the tables say of a network is named,
// and no word of a host on its underlay hides it.
func TestCauseBeforeUnderlay(t *testing.T) {
	w := newTenants(2, 1)
	good := w.all["a"].(*fakeSite).probe
	w.all["a"].(*fakeSite).probe = func(q probe.Question) (probe.Report, error) {
		rep, err := good(q)
		if q.Target == netOf(1, 0).Addr().Next() {
			rep = probe.Report{Sent: 3, Loss: 1, Host: "host-a"}
		}
		rep.Path = &probe.PathState{VTEP: tunnelOf(1), Problem: "the next hop answers no ARP"}
		return rep, err
	}
	w.all["a"].(*fakeSite).out = sites.Trace{Summary: "dropped at router r (no_route)", Hops: []sites.Hop{{Remedy: "Add a route."}}}
	w.all["b"].(*fakeSite).out = leaves(tunnelOf(0))
	res := w.verify(t, Options{})
	if len(res.Findings) != 1 || res.Findings[0].Hint != "Add a route." {
		t.Errorf("%+v", res.Findings)
	}
}
