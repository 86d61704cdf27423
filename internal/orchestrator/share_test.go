package orchestrator_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestShare: peerings share sites, routers and a gateway device that was made for
// them. The last one takes it away.
func TestShare(t *testing.T) {
	l, acme := madeLab(t, 2)
	before := l.states()
	beta := &peering.Peering{Name: "beta", Network: peering.Network{CIDR: netip.MustParsePrefix("192.168.1.0/24")}}
	for _, s := range acme.Sites {
		s.Advertise = []netip.Prefix{}
		beta.Sites = append(beta.Sites, s)
	}
	acme.Network.VNI = 0
	// At once: they meet at the gateway device. One may find it made by the other in
	// the middle, and says so at worst; the second time there is nothing to meet.
	var all sync.WaitGroup
	for _, p := range []*peering.Peering{acme, beta} {
		all.Go(func() {
			if _, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{}); err != nil {
				t.Logf("%s: %v", p.Name, err)
			}
		})
	}
	testutil.Wait(t, "both", all.Wait)
	a, b := l.apply(acme), l.apply(beta)
	if a.Plan.Choices.VNI == b.Plan.Choices.VNI {
		t.Errorf("both have VNI %d", a.Plan.Choices.VNI)
	}
	for _, p := range []*peering.Peering{acme, beta} {
		if st := l.status(p); !st.InSync {
			t.Errorf("%s: %v %v", p.Name, st.Drift, st.Problems)
		}
	}
	with := l.states()
	l.destroy(beta)
	if st := l.status(acme); !st.InSync {
		t.Errorf("acme without beta: %v %v", st.Drift, st.Problems)
	}
	l.apply(beta)
	if n, m := count(with), count(l.states()); n != m {
		t.Errorf("%d resources, had %d", m, n)
	}
	l.destroy(acme)
	if len(l.clouds[1].list("gw/gateway_devices")) != 1 {
		t.Error("the gateway device is gone while beta uses it")
	}
	if st := l.status(beta); !st.InSync {
		t.Errorf("beta without acme: %v %v", st.Drift, st.Problems)
	}
	l.destroy(beta)
	if d := cmp.Diff(before, l.states()); d != "" {
		t.Errorf("after both: %s", d)
	}
}

func count(states []map[string]object) (n int) {
	for _, s := range states {
		n += len(s)
	}
	return n
}

// TestTwoAtOnce: of two applies of one file one waits, and then finds nothing to do;
// one that does not wait says who has the lease.
func TestTwoAtOnce(t *testing.T) {
	l, p := madeLab(t, 2)
	inside, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.clouds[0].interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
		if r.Method == http.MethodPost {
			once.Do(func() { close(inside); <-goOn })
		}
		next(w)
	})
	first := make(chan error, 1)
	go func() {
		_, err := orchestrator.New(options("first")).Run(t.Context(), p, applied, orchestrator.RunOptions{})
		first <- err
	}()
	testutil.Receive(t, "the first request", inside)
	_, err := orchestrator.New(options("second")).Run(t.Context(), p, applied, orchestrator.RunOptions{})
	var held lease.Held
	if !errors.As(err, &held) || held.Holder != "first" || !strings.HasPrefix(err.Error(), "another run is at work on peering acme: causeway peer apply of first, since ") || !strings.HasSuffix(err.Error(), "(its lease is at site-a)") {
		t.Errorf("the second: %v", err)
	}
	waits := make(chan struct{})
	var waiting sync.Once
	var after orchestrator.Waited
	third := make(chan error, 1)
	go func() {
		_, err := orchestrator.New(options("third")).Run(t.Context(), p, applied, orchestrator.RunOptions{
			Wait: term * 10, OnWait: func(lease.Held) { waiting.Do(func() { close(waits) }) },
			AfterWait: func(w orchestrator.Waited) { after = w },
		})
		third <- err
	}()
	testutil.Receive(t, "the third to wait", waits)
	close(goOn)
	if err := testutil.Receive(t, "the first", first); err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := testutil.Receive(t, "the third", third); err != nil {
		t.Errorf("the third: %v", err)
	}
	if after.Holder != "first" || after.Doing != "apply" || after.Of == 0 || after.Did != after.Of || after.Left != 0 || after.Died {
		t.Errorf("the third was told %+v", after)
	}
	if st := l.status(p); !st.InSync {
		t.Errorf("%v %v", st.Drift, st.Problems)
	}
	l.clouds[0].interpose(nil)
	l.writes()
	l.destroy(p)
}

// byHand peers the two sites of a lab as the guide does.
func byHand(l *lab, vniOnConnection bool) {
	for i, c := range l.clouds {
		other := 1 - i
		net := c.make("networks", "network", object{"name": "MultiSite", "port_security_enabled": false})
		sub := c.make("subnets", "subnet", object{"network_id": net, "ip_version": 4, "cidr": "192.168.0.0/24", "gateway_ip": nil, "enable_dhcp": false})
		device := object{"device_id": c.one("gw/gateway_devices", object{"name": "gateway"})["id"]}
		conn := object{"network_id": net}
		if vniOnConnection {
			conn["segmentation_id"] = "100"
		} else {
			device["segmentation_id"] = "100"
		}
		conn["l2_gateway_id"] = c.make("l2-gateways", "l2_gateway", object{"name": "L2Gateway", "devices": []object{device}})
		c.make("l2-gateway-connections", "l2_gateway_connection", conn)
		ip := func(n int) []object {
			return []object{{"subnet_id": sub, "ip_address": "192.168.0." + strconv.Itoa(n+1)}}
		}
		mac := func(n int) string { return fmt.Sprintf("16:B7:B5:A4:57:0%d", n) }
		peer := c.make("ports", "port", object{"network_id": net, "fixed_ips": ip(i), "mac_address": mac(i)})
		router := c.one("routers", object{"name": "tenant-router"})
		c.call(http.MethodPut, "routers/"+id(router)+"/add_router_interface", object{"port_id": peer})
		c.put("routers/"+id(router), "router", object{"routes": []object{{"destination": fmt.Sprintf("10.0.%d.0/24", other), "nexthop": "192.168.0." + strconv.Itoa(other+1)}}})
		c.make("ports", "port", object{"network_id": net, "fixed_ips": ip(other), "mac_address": mac(other), "device_owner": "network:remote-site"})
		c.make("gw/gateway_devices/"+device["device_id"].(string)+"/remote_mac_entries", "remote_mac_entry",
			object{"mac_address": mac(other), "vtep_address": tunnelIP(other), "segmentation_id": "100"})
	}
}

// TestAdopt: a peering that was made by hand is taken over by its marks alone, is in
// sync then, and goes like any other.
func TestAdopt(t *testing.T) {
	for _, onConnection := range []bool{false, true} {
		t.Run(fmt.Sprint("vni on the connection ", onConnection), func(t *testing.T) {
			l := newLab(t, 2)
			p := l.peering()
			p.Network.VNI = 0 // what exists wins
			bare := l.states()
			byHand(l, onConnection)
			// Without adopt the file is refused.
			if _, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{}); !errors.As(err, new(orchestrator.Blocked)) {
				t.Errorf("a hand-made peering is overlooked: %v", err)
			}
			before := l.states()
			if out, err := l.o.Run(t.Context(), p, plan.TakeOver, orchestrator.RunOptions{}); err != nil || out.Steps != 8 {
				t.Fatalf("adopt: %v, %d steps, %+v", err, out.Steps, out.Plan.Blockers)
			}
			for _, w := range l.writes() {
				if !strings.Contains(w, "/tags/") {
					t.Errorf("adopt does %s", w)
				}
			}
			for i, s := range l.states() {
				for key, o := range s {
					if _, has := o["tags"]; has {
						o["tags"] = before[i][key]["tags"]
					}
				}
				if d := cmp.Diff(before[i], s); d != "" {
					t.Errorf("more than marks: %s", d)
				}
			}
			if st := l.status(p); !st.InSync || st.Choices.VNI != 100 {
				t.Errorf("VNI %d, %v %v %v", st.Choices.VNI, st.Drift, st.Problems, st.Warnings)
			}
			if out, err := l.o.Run(t.Context(), p, plan.TakeOver, orchestrator.RunOptions{}); err != nil || out.Steps != 0 {
				t.Errorf("adopted twice: %v, %d steps", err, out.Steps)
			}
			l.destroy(p)
			if d := cmp.Diff(bare, l.states()); d != "" {
				t.Errorf("after destroy: %s", d)
			}
		})
	}
	t.Run("nothing there", func(t *testing.T) {
		l := newLab(t, 2)
		out, err := l.o.Run(t.Context(), l.peering(), plan.TakeOver, orchestrator.RunOptions{})
		if !errors.As(err, new(orchestrator.Blocked)) || len(out.Plan.Blockers) != 2 {
			t.Errorf("%v", err)
		}
	})
}

// TestWithoutDown: where a site is away, the others are mended, and what they have
// for it stays.
func TestWithoutDown(t *testing.T) {
	l, p := madeLab(t, 3)
	l.apply(p)
	c := l.clouds[0]
	dev := c.one("gw/gateway_devices", nil)
	for _, e := range c.list("gw/gateway_devices/" + id(dev) + "/remote_mac_entries") {
		if e["vtep_address"] == tunnelIP(1) {
			c.call(http.MethodDelete, "gw/gateway_devices/"+id(dev)+"/remote_mac_entries/"+id(e), nil)
		}
	}
	away := func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) { drop(w) }
	l.clouds[2].interpose(away)
	before := l.states()
	planner := orchestrator.ForApply(plan.Options{WithoutDown: true})
	out, err := l.o.Run(t.Context(), p, planner, orchestrator.RunOptions{})
	if err != nil || out.Steps != 1 {
		t.Fatalf("%v, %d steps: %+v", err, out.Steps, out.Plan)
	}
	st := l.status(p)
	states := map[string]plan.PairState{}
	for _, pair := range st.Pairs {
		states[pair.From+" "+pair.To] = pair.State
	}
	if st.InSync || states["site-a site-b"] != plan.InSync || states["site-a site-c"] != plan.Unreachable {
		t.Errorf("%v", states)
	}
	for i, s := range l.states() {
		for key, o := range s {
			if was := before[i][key]; i != 0 || !strings.HasPrefix(key, "gw/") {
				if d := cmp.Diff(was, o); d != "" {
					t.Errorf("%s: %s", key, d)
				}
			}
		}
	}
	l.clouds[2].interpose(nil)
	if st := l.status(p); !st.InSync {
		t.Errorf("with the site again: %v %v", st.Drift, st.Problems)
	}
}

// TestTwoVTEPRouters: where two runs have made the VTEP router at once, one is used
// and the other goes.
func TestTwoVTEPRouters(t *testing.T) {
	l, p := madeLab(t, 2)
	before := l.states()
	l.apply(p)
	for range 2 {
		l.clouds[1].make("routers", "router", object{"name": "vtep", "description": "causeway:gateway"})
	}
	l.apply(p)
	if n := len(l.clouds[1].all("routers", object{"name": "vtep"})); n != 1 {
		t.Errorf("%d VTEP routers", n)
	}
	l.clouds[1].make("routers", "router", object{"name": "vtep", "description": "causeway:gateway"})
	l.destroy(p)
	if d := cmp.Diff(before, l.states()); d != "" {
		t.Errorf("after destroy: %s", d)
	}
	// One that somebody else made makes the name ambiguous.
	l.clouds[1].make("routers", "router", object{"name": "vtep", "description": "causeway:gateway"})
	l.clouds[1].make("routers", "router", object{"name": "vtep"})
	if _, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{}); !errors.As(err, new(orchestrator.Blocked)) {
		t.Errorf("an ambiguous name is taken: %v", err)
	}
}

// TestTwoNetworks: a network that was made twice, since an answer was lost, goes.
func TestTwoNetworks(t *testing.T) {
	l, p := madeLab(t, 2)
	before := l.states()
	l.apply(p)
	c := l.clouds[0]
	twin := func() {
		net := c.make("networks", "network", object{"name": "causeway-acme-site-a", "description": "causeway:peering:acme:site-a"})
		c.make("subnets", "subnet", object{"network_id": net, "ip_version": 4, "cidr": "192.168.0.0/24", "description": "causeway:peering:acme:site-a"})
		c.make("l2-gateways", "l2_gateway", object{"name": "causeway:peering:acme:site-a", "devices": []object{{"device_id": c.one("gw/gateway_devices", nil)["id"], "segmentation_id": "100"}}})
	}
	twin()
	if st := l.status(p); st.InSync {
		t.Error("status does not see the second network")
	}
	l.apply(p)
	if n := len(c.all("networks", object{"name": "causeway-acme-site-a"})); n != 1 {
		t.Errorf("%d networks", n)
	}
	twin()
	l.destroy(p)
	if d := cmp.Diff(before, l.states()); d != "" {
		t.Errorf("after destroy: %s", d)
	}
}

// TestVTEPRouterInUse: a VTEP router that the peering made, and that somebody has connected to an
// uplink since, stays with its interface; all else goes.
func TestVTEPRouterInUse(t *testing.T) {
	l, p := madeLab(t, 2)
	l.apply(p)
	c := l.clouds[1]
	router := id(c.one("routers", object{"name": "vtep"}))
	net := c.make("networks", "network", object{"name": "uplink", "provider:network_type": "uplink"})
	sub := c.make("subnets", "subnet", object{"network_id": net, "ip_version": 4, "cidr": "172.16.0.0/24"})
	c.call(http.MethodPut, "routers/"+router+"/add_router_interface", object{"subnet_id": sub})
	if st := l.status(p); !st.InSync {
		t.Errorf("%v %v", st.Drift, st.Problems)
	}
	out := l.destroy(p)
	if n := len(out.Plan.Warnings); n != 1 || !strings.Contains(out.Plan.Warnings[0].String(), "site-b: router vtep") {
		t.Errorf("%v", out.Plan.Warnings)
	}
	r := c.one("routers", object{"name": "vtep"})
	if tags := r["tags"].([]any); len(tags) != 0 {
		t.Errorf("it keeps %v", tags)
	}
	if n := len(c.list("gw/gateway_devices")); n != 0 {
		t.Errorf("%d gateway devices stay", n)
	}
	if out := l.destroy(p); out.Steps != 0 {
		t.Errorf("destroyed twice: %d steps", out.Steps)
	}
	l.apply(p)
	if n := len(c.all("routers", object{"name": "vtep"})); n != 1 {
		t.Errorf("%d VTEP routers", n)
	}
}
