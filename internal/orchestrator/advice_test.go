package orchestrator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/apply"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

func (l *lab) plan(p *peering.Peering) *plan.Plan {
	l.t.Helper()
	pl, _, err := l.o.Plan(l.t.Context(), p, applied)
	if err != nil {
		l.t.Fatal(err)
	}
	return pl
}

// TestHandMadeIsOneObstacle: a peering that was made by hand is one thing in the way, at
// both sites, with one advice.
func TestHandMadeIsOneObstacle(t *testing.T) {
	for _, vni := range []int{0, 100} {
		l := newLab(t, 2)
		p := l.peering()
		p.Network.VNI = 0
		byHand(l, vni == 0)
		if vni != 0 {
			p.Network.VNI = 100
			for i := range p.Sites {
				p.Sites[i].MAC = namedMAC(t, fmt.Sprintf("16:B7:B5:A4:57:0%d", i))
			}
		}
		pl := l.plan(p)
		if len(pl.Blockers) != 1 {
			t.Fatalf("%d obstacles: %v", len(pl.Blockers), pl.Blockers)
		}
		b := pl.Blockers[0]
		if !slices.Equal(b.Sites, []string{"site-a", "site-b"}) || !strings.Contains(b.Hint, "causeway peer adopt") || !strings.HasPrefix(b.String(), "site-a, site-b: router tenant-router") {
			t.Errorf("%+v", b)
		}
	}
	// With a third site that has nothing yet, the service leaves the two alone, and adopt takes them over.
	l := newLab(t, 3)
	p := l.peering()
	p.Network.VNI = 0
	two := &lab{t: t, clouds: l.clouds[:2], o: l.o}
	byHand(two, false)
	pl, _, err := l.o.Plan(t.Context(), p, orchestrator.ForApply(plan.Options{Around: true}))
	if err != nil || !slices.Contains(pl.LeftAlone.Sites, "site-a") || !slices.Contains(pl.LeftAlone.Sites, "site-b") {
		t.Errorf("%v, left alone %v", err, pl.LeftAlone)
	}
	if out, err := l.o.Run(t.Context(), p, plan.TakeOver, orchestrator.RunOptions{}); err != nil || out.Steps == 0 {
		t.Fatalf("adopt: %v %v", err, out.Plan.Blockers)
	}
	l.apply(p)
	if st := l.status(p); !st.InSync {
		t.Errorf("%v %v", st.Drift, st.Problems)
	}
}

// TestOrdinaryNetworkInTheWay: a network of the tenant's with the peering's CIDR is no peering, and is not to
// be adopted.
func TestOrdinaryNetworkInTheWay(t *testing.T) {
	l := newLab(t, 2)
	l.clouds[0].connect(id(l.clouds[0].one("routers", object{"name": "tenant-router"})), "second", "192.168.0.0/24")
	pl := l.plan(l.peering())
	if len(pl.Blockers) != 1 || strings.Contains(pl.Blockers[0].Hint, "adopt") || !strings.Contains(pl.Blockers[0].Hint, "another cidr") {
		t.Errorf("%+v", pl.Blockers)
	}
}

// TestRenamedPeering: a peering whose file has another name by now works. What is in the way is one
// thing, and no advice takes it over or apart.
func TestRenamedPeering(t *testing.T) {
	l, p := madeLab(t, 2)
	l.apply(p)
	before := l.states()
	renamed := *p
	renamed.Name = "acme2"
	pl := l.plan(&renamed)
	if len(pl.Blockers) == 0 {
		t.Fatal("nothing is in the way")
	}
	for _, b := range pl.Blockers {
		if strings.Contains(b.Hint, "adopt") || strings.Contains(b.Hint, "destroy") || strings.Contains(b.Hint, "Remove") {
			t.Errorf("%s\n%s", b, b.Hint)
		}
	}
	if len(pl.Blockers) != 1 || !strings.Contains(pl.Blockers[0].Hint, "call it acme again") {
		t.Errorf("%d obstacles: %v", len(pl.Blockers), pl.Blockers)
	}
	if fmt.Sprint(before) != fmt.Sprint(l.states()) {
		t.Error("touched")
	}
}

// TestTenantRenames: a tenant may call its routers and networks what it likes, and others what these were
// called. The routes to them stay right.
func TestTenantRenames(t *testing.T) {
	for name, change := range map[string]func(c *cloud, router string){
		"the router": func(c *cloud, router string) { c.put("routers/"+router, "router", object{"name": "mine"}) },
		"another router as the first": func(c *cloud, _ string) {
			c.make("routers", "router", object{"name": "tenant-router", "tenant_id": "other"})
		},
		"the network": func(c *cloud, _ string) {
			c.put("networks/"+id(c.one("networks", object{"name": "tenant-router-net"})), "network", object{"name": "mine"})
		},
		"the multi-site network": func(c *cloud, _ string) {
			c.put("networks/"+id(c.one("networks", object{"name": "causeway-acme-" + c.name})), "network", object{"name": "mine"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, p := madeLab(t, 3)
			l.apply(p)
			change(l.clouds[0], id(l.clouds[0].one("routers", object{"name": "tenant-router"})))
			st := l.status(p)
			if len(st.Drift) > 0 || len(st.Problems) > 0 {
				t.Errorf("%v %v", st.Drift, st.Problems)
			}
			if strings.Contains(name, "router") && (len(st.Warnings) != 1 || !strings.Contains(st.Warnings[0].Hint, "router: "+firstRouterOf(l.clouds[0]))) {
				t.Errorf("it says %v", st.Warnings)
			}
			if out := l.apply(p); out.Steps != 0 {
				t.Errorf("%d steps", out.Steps)
			}
		})
	}
	// The gateway device is the operator's; until the file has its new name nobody's routes are wrong.
	l := newLab(t, 3)
	p := l.peering()
	l.apply(p)
	c := l.clouds[0]
	c.put("gw/gateway_devices/"+id(c.one("gw/gateway_devices", nil)), "gateway_device", object{"name": "mine"})
	if st := l.status(p); len(st.Drift) > 0 || len(st.Problems) != 1 {
		t.Errorf("%v %v", st.Drift, st.Problems)
	}
}

// firstRouterOf is the id of the router that the peering is on.
func firstRouterOf(c *cloud) string {
	net := c.one("networks", object{"name": "causeway-acme-" + c.name})
	for _, p := range c.all("ports", object{"network_id": net["id"]}) {
		if p["device_owner"] == "network:router_interface" {
			return p["device_id"].(string)
		}
	}
	return ""
}

// TestOneWayOfCounting: the plan, each step's progress and the result have the same number of steps.
func TestOneWayOfCounting(t *testing.T) {
	l, p := madeLab(t, 3)
	pl := l.plan(p)
	c := pl.Counts
	if c.Steps != c.Add+c.Change+c.Remove || c.Steps == 0 || c.Sites != 3 {
		t.Errorf("%+v", c)
	}
	var last apply.Event
	steps := 0
	out, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{Progress: func(e apply.Event) {
		if e.State == apply.Done && e.Action.IsStep() {
			steps++
			last = e
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if out.Steps != c.Steps || steps != c.Steps || last.All != c.Steps || last.Done != c.Steps {
		t.Errorf("the plan has %d steps, %d were told, the last as %d of %d, and the result has %d", c.Steps, steps, last.Done, last.All, out.Steps)
	}
}

// TestDisabled: what is switched off of what packets pass is told, once, with the command that switches
// it on; what is the peering's own, an apply switches on.
func TestDisabled(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(c *cloud) (id string)
		want   string // %s: the id
	}{
		"the tenant's router": {func(c *cloud) string {
			r := id(c.one("routers", object{"name": "tenant-router"}))
			c.put("routers/"+r, "router", object{"admin_state_up": false})
			return r
		}, "openstack router set --enable %s"},
		"the tenant's network": {func(c *cloud) string {
			n := id(c.one("networks", object{"name": "tenant-router-net"}))
			c.put("networks/"+n, "network", object{"admin_state_up": false})
			return n
		}, "openstack network set --enable %s"},
		"the router's port": {func(c *cloud) string {
			n := id(c.one("networks", object{"name": "tenant-router-net"}))
			p := id(c.one("ports", object{"network_id": n, "device_owner": "network:router_interface"}))
			c.put("ports/"+p, "port", object{"admin_state_up": false})
			return p
		}, "openstack port set --enable %s"},
		"the VTEP router": {func(c *cloud) string {
			r := id(c.one("routers", object{"name": "gateway-router"}))
			c.put("routers/"+r, "router", object{"admin_state_up": false})
			return r
		}, "openstack router set --enable %s"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 2)
			p := l.peering()
			l.apply(p)
			target := tc.change(l.clouds[1])
			st := l.status(p)
			if len(st.Warnings) != 1 || len(st.Drift) > 0 {
				t.Fatalf("%v %v", st.Warnings, st.Drift)
			}
			w := st.Warnings[0]
			want := "env -u OS_CLOUD OS_AUTH_TYPE=none OS_ENDPOINT=" + l.clouds[1].srv.URL + " " + fmt.Sprintf(tc.want, target)
			if !w.Stops || w.Site != "site-b" || w.Command != want {
				t.Errorf("%+v, want %s", w, want)
			}
		})
	}
	t.Run("the VTEP router that was made", func(t *testing.T) {
		l, p := madeLab(t, 2)
		l.apply(p)
		c := l.clouds[1]
		c.put("routers/"+id(c.one("routers", object{"name": "vtep"})), "router", object{"admin_state_up": false})
		if st := l.status(p); len(st.Drift) != 1 || st.Drift[0].Text != "admin_state_up is false, and should be true" {
			t.Errorf("%v", st.Drift)
		}
		l.apply(p)
		if c.one("routers", object{"name": "vtep"})["admin_state_up"] != true {
			t.Error("still off")
		}
	})
}

func namedMAC(t *testing.T, s string) model.NamedMAC {
	t.Helper()
	m, err := model.ParseNamedMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
