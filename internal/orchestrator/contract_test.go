package orchestrator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// make creates a resource without a request.
func (n *neutron) make(coll string, attrs object) string {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	// As over the wire: numbers are floats, and lists of any.
	b, err := json.Marshal(attrs)
	if err != nil {
		n.t.Fatal(err)
	}
	var in object
	if err := json.Unmarshal(b, &in); err != nil {
		n.t.Fatal(err)
	}
	k := kinds[coll]
	status, out := n.create(coll, k, object{k.key: in}, "")
	if status != http.StatusCreated {
		n.t.Fatalf("%s %v: %v", coll, attrs, out)
	}
	return out[k.key].(object)["id"].(string)
}

func (n *neutron) tenant(i int) {
	router := n.make("routers", object{"name": "tenant-router"})
	net := n.make("networks", object{"name": "tenant"})
	sub := n.make("subnets", object{"name": "tenant", "network_id": net, "ip_version": 4, "cidr": fmt.Sprintf("10.0.%d.0/24", i)})
	port := n.make("ports", object{"network_id": net, "fixed_ips": []object{{"subnet_id": sub, "ip_address": fmt.Sprintf("10.0.%d.1", i)}}})
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.all["routers"] {
		if r["id"] == router {
			n.routerInterface(true, r, object{"port_id": port})
			// Somebody's own route, which must outlive reading and writing the list.
			r["routes"] = []any{object{"destination": "172.31.0.0/16", "nexthop": fmt.Sprintf("10.0.%d.9", i)}}
		}
	}
}

func (n *neutron) state() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	// A collection that is empty again is as one that never was.
	full := map[string][]object{}
	for k, v := range n.all {
		if len(v) > 0 {
			full[k] = v
		}
	}
	b, err := json.MarshalIndent(full, "", " ")
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

// TestOtherNeutron peers sites of another Neutron, as the contract records it, with
// each other and with one of our own.
func TestOtherNeutron(t *testing.T) {
	a, b := newNeutron(t), newNeutron(t)
	own := newCloud(t, "site-c")
	own.tenant("tenant-router", "10.0.2.0/24")
	for i, n := range []*neutron{a, b} {
		n.tenant(i)
		// More than one page of other people's.
		for j := range 4 {
			n.make("networks", object{"name": fmt.Sprint("other-", j)})
			r := n.make("routers", object{"name": fmt.Sprint("other-", j)})
			n.make("gw/gateway_devices", object{"name": fmt.Sprint("other-", j), "type": "router_vtep", "resource_id": r, "tunnel_ips": []string{fmt.Sprintf("201.0.%d.%d", i, j+1)}})
		}
	}
	r := a.make("routers", object{"name": "vtep"})
	a.make("gw/gateway_devices", object{"name": "gateway", "type": "router_vtep", "resource_id": r, "tunnel_ips": []string{tunnelIP(0)}})
	p := &peering.Peering{Name: "acme", Network: peering.Network{CIDR: netip.MustParsePrefix("192.168.0.0/24")}, Sites: []peering.Site{
		{Name: "site-a", Access: peering.Access{Endpoint: a.srv.URL}, Router: "tenant-router", Gateway: peering.Gateway{Device: "gateway"}},
		{Name: "site-b", Access: peering.Access{Endpoint: b.srv.URL + "/v2.0"}, Router: "tenant-router", Gateway: peering.Gateway{Router: "vtep", TunnelIP: netip.MustParseAddr(tunnelIP(1))}},
		{Name: "site-c", Access: peering.Access{Endpoint: own.srv.URL}, Router: "tenant-router", Gateway: peering.Gateway{Router: "vtep", TunnelIP: netip.MustParseAddr(tunnelIP(2))}},
	}}
	beforeA, beforeB, beforeC := a.state(), b.state(), own.state()
	o := orchestrator.New(options(""))
	l := &lab{t: t, o: o}
	out := l.apply(p)
	if again := l.apply(p); again.Steps != 0 {
		t.Errorf("the second apply did %d steps", again.Steps)
	}
	if st := l.status(p); !st.InSync {
		t.Errorf("%v %v", st.Drift, st.Problems)
	}
	for _, want := range []string{`"network:remote_site"`, fmt.Sprintf(`"segmentation_id": "%d"`, out.Plan.Choices.VNI), `"172.31.0.0/16"`, `"10.0.2.0/24"`} {
		if !strings.Contains(a.state(), want) {
			t.Errorf("%s is not at site-a", want)
		}
	}
	// Drift at a site without atomic routes.
	a.mu.Lock()
	for _, r := range a.all["routers"] {
		if r["name"] == "tenant-router" {
			r["routes"] = r["routes"].([]any)[:1]
		}
	}
	a.mu.Unlock()
	if st := l.status(p); len(st.Drift) != 2 {
		t.Errorf("%v", st.Drift)
	}
	l.apply(p)
	l.destroy(p)
	for i, d := range []string{cmp.Diff(beforeA, a.state()), cmp.Diff(beforeB, b.state()), cmp.Diff(beforeC, own.state())} {
		if d != "" {
			t.Errorf("site %d after destroy: %s", i, d)
		}
	}
	for _, n := range []*neutron{a, b} {
		if len(n.odd) > 0 {
			t.Errorf("odd requests: %q", n.odd)
		}
	}
}
