package orchestrator_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// TestInTheWay: what stands in the way is told before anything is touched, with the
// site, the resource and a way out.
func TestInTheWay(t *testing.T) {
	router := func(c *cloud) string { return id(c.one("routers", object{"name": "tenant-router"})) }
	for _, tc := range []struct {
		name   string
		change func(l *lab, p *peering.Peering)
		want   []string
	}{
		{"no router", func(_ *lab, p *peering.Peering) { p.Sites[0].Router = "nowhere" },
			[]string{"site-a: router nowhere: there is none with this name or id"}},
		{"two routers", func(l *lab, _ *peering.Peering) { l.clouds[0].tenant("tenant-router", "10.5.0.0/24") },
			[]string{"site-a: router tenant-router: the name is ambiguous: "}},
		{"no gateway", func(_ *lab, p *peering.Peering) { p.Sites[1].Gateway.Device = "nowhere" },
			[]string{"site-b: gateway device nowhere: there is none with this name or id"}},
		{"two gateways", func(l *lab, _ *peering.Peering) { l.clouds[0].gateway("gateway", "200.200.9.9") },
			[]string{"site-a: gateway device gateway: the name is ambiguous: "}},
		{"equal tunnel IPs", func(l *lab, _ *peering.Peering) {
			c := l.clouds[1]
			c.put("gw/gateway_devices/"+id(c.one("gw/gateway_devices", nil)), "gateway_device", object{"tunnel_ips": []string{tunnelIP(0)}})
		}, []string{"site-b: its tunnel IP 200.200.0.1 is that of site site-a too"}},
		{"overlapping tenants", func(l *lab, _ *peering.Peering) { l.clouds[1].connect(router(l.clouds[1]), "second", "10.0.0.128/25") },
			[]string{"site-b: 10.0.0.128/25 (subnet second-10.0.0.128 (", "overlaps with 10.0.0.0/24 (subnet tenant-router-10.0.0.0 ("}},
		{"overlaps though not advertised", func(l *lab, p *peering.Peering) {
			l.clouds[1].connect(router(l.clouds[1]), "second", "10.0.0.128/25")
			p.Sites[1].Advertise = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}
		}, []string{"overlaps with 10.0.0.0/24"}},
		{"overlaps with the peering", func(l *lab, _ *peering.Peering) { l.clouds[0].connect(router(l.clouds[0]), "second", "192.168.0.0/16") },
			[]string{"site-a: router tenant-router", "overlaps with the peering's own 192.168.0.0/24"}},
		{"hand-made", func(l *lab, _ *peering.Peering) { l.clouds[0].connect(router(l.clouds[0]), "second", "192.168.0.0/24") },
			[]string{"site-a: router tenant-router", "bears no mark of this peering"}},
		{"VNI in use", func(l *lab, _ *peering.Peering) {
			c := l.clouds[0]
			g := c.make("l2-gateways", "l2_gateway", object{"name": "other", "devices": []object{{"device_id": c.one("gw/gateway_devices", nil)["id"], "segmentation_id": "100"}}})
			c.make("l2-gateway-connections", "l2_gateway_connection", object{"l2_gateway_id": g, "network_id": c.make("networks", "network", object{"name": "n"})})
		}, []string{"site-a: gateway device gateway", "VNI 100 is in use on it by L2 gateway other"}},
		{"VNI in use by a connection", func(l *lab, _ *peering.Peering) {
			c := l.clouds[0]
			g := c.make("l2-gateways", "l2_gateway", object{"name": "other", "devices": []object{{"device_id": c.one("gw/gateway_devices", nil)["id"]}}})
			c.make("l2-gateway-connections", "l2_gateway_connection", object{"l2_gateway_id": g, "network_id": c.make("networks", "network", object{"name": "n"}), "segmentation_id": "100"})
		}, []string{"VNI 100 is in use on it by L2 gateway other"}},
		{"remote MAC taken", func(l *lab, p *peering.Peering) {
			setMACs(p)
			c := l.clouds[0]
			c.make("gw/gateway_devices/"+id(c.one("gw/gateway_devices", nil))+"/remote_mac_entries", "remote_mac_entry",
				object{"mac_address": p.Sites[1].MAC.String(), "vtep_address": "200.1.1.1", "segmentation_id": "100"})
		}, []string{"site-a: gateway device gateway", "its remote MAC table has 6f:e4:5a:fa:8e:09, VNI 100 at 200.1.1.1 already"}},
		{"route in the way", func(l *lab, _ *peering.Peering) {
			l.clouds[0].put("routers/"+router(l.clouds[0]), "router", object{"routes": []object{{"destination": "10.0.1.0/24", "nexthop": "10.0.0.99"}}})
		}, []string{"site-a: router tenant-router", "its route to 10.0.1.0/24 by 10.0.0.99 is in the way of site site-b's"}},
		{"mtu", func(_ *lab, p *peering.Peering) { p.Network.MTU = 1500 },
			[]string{"site-a: an mtu of 1500 does not fit: the networks of the site carry 1450", "site-b: an mtu of 1500 does not fit"}},
		{"no answer", func(l *lab, _ *peering.Peering) { l.clouds[1].srv.Close() },
			[]string{"site-b: reach the API at ", "connection refused"}},
		{"not allowed", func(l *lab, _ *peering.Peering) {
			l.clouds[1].interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
				if strings.Contains(r.URL.Path, "l2-gateways") {
					refuse(w, http.StatusForbidden)
					return
				}
				next(w)
			})
		}, []string{"site-b: the account may not see or do this: refused (Injected, HTTP 403)"}},
		{"no such API", func(l *lab, _ *peering.Peering) {
			l.clouds[1].interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
				if strings.HasSuffix(r.URL.Path, "/extensions") {
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(`{"extensions":[{"alias":"router"}]}`))
					return
				}
				next(w)
			})
		}, []string{"site-b: the API lacks the extensions gateway-device, l2-gateway, l2-gateway-connection, standard-attr-tag"}},
		{"another's tunnel IP", func(l *lab, p *peering.Peering) {
			p.Sites[0].Gateway = peering.Gateway{Router: "new", TunnelIP: netip.MustParseAddr(tunnelIP(0))}
		}, []string{"site-a: gateway device gateway", "it has the tunnel IP 200.200.0.1"}},
		{"a gateway with another tunnel IP", func(l *lab, p *peering.Peering) {
			p.Sites[0].Gateway = peering.Gateway{Router: "gateway-router", TunnelIP: netip.MustParseAddr("200.200.9.1")}
		}, []string{"site-a: gateway device gateway", "it is on router gateway-router already, with tunnel IP 200.200.0.1, not 200.200.9.1"}},
		{"a gateway of VLANs", func(l *lab, p *peering.Peering) {
			net := l.clouds[0].make("networks", "network", object{"name": "trunk", "provider:network_type": "uplink"})
			l.clouds[0].make("gw/gateway_devices", "gateway_device", object{"name": "vlans", "type": "network_vlan", "resource_id": net})
			p.Sites[0].Gateway.Device = "vlans"
		}, []string{"site-a: gateway device vlans", "it is of type network_vlan, which has no tunnel to other sites"}},
		{"a gateway without tunnel IP", func(l *lab, _ *peering.Peering) {
			l.clouds[0].interpose(func(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter)) {
				rec := httptest.NewRecorder()
				next(rec)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(rec.Code)
				_, _ = w.Write([]byte(strings.Replace(rec.Body.String(), `["200.200.0.1"]`, "[]", 1)))
			})
		}, []string{"site-a: gateway device gateway", "it has no tunnel IP"}},
		{"one router twice", func(l *lab, p *peering.Peering) {
			l.clouds[0].gateway("second", "200.200.8.1")
			p.Sites[1].Access, p.Sites[1].Gateway.Device = p.Sites[0].Access, "second"
		}, []string{"site-b: router tenant-router", "it is the peer router of site site-a too"}},
		{"no room", func(l *lab, p *peering.Peering) {
			p.Network.CIDR = netip.MustParsePrefix("192.168.0.0/30")
			c := newCloud(l.t, "site-c")
			c.tenant("tenant-router", "10.0.2.0/24")
			c.gateway("gateway", tunnelIP(2))
			l.clouds = append(l.clouds, c)
			p.Sites = append(p.Sites, peering.Site{Name: "site-c", Access: peering.Access{Endpoint: c.srv.URL}, Gateway: peering.Gateway{Device: "gateway"}, Router: "tenant-router"})
		}, []string{"site-c: no address is left in 192.168.0.0/30"}},
		{"several at once", func(l *lab, p *peering.Peering) {
			p.Sites[0].Router, p.Sites[1].Gateway.Device = "nowhere", "nowhere"
			p.Network.MTU = 9000
		}, []string{"site-a: router nowhere", "site-b: gateway device nowhere", "site-b: an mtu of 9000 does not fit"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 2)
			p := l.peering()
			tc.change(l, p)
			before := l.states()
			out, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{})
			var blocked orchestrator.Blocked
			if !errors.As(err, &blocked) {
				t.Fatalf("not refused: %v, %d steps", err, out.Steps)
			}
			var got []string
			for _, b := range out.Plan.Blockers {
				got = append(got, b.String())
				if b.Hint == "" || b.Site == "" {
					t.Errorf("no way out, or no site: %+v", b)
				}
			}
			all := strings.Join(got, "\n")
			for _, w := range tc.want {
				if !strings.Contains(all, w) {
					t.Errorf("it says\n%s\nwants %q", all, w)
				}
			}
			if d := cmp.Diff(before, l.states()); d != "" {
				t.Errorf("touched: %s", d)
			}
		})
	}
}

// TestTaken: other people's ports on the multi-site network are in the way of new
// sites, and of destroy.
func TestTaken(t *testing.T) {
	l := newLab(t, 3)
	p := l.peering()
	third := p.Sites[2]
	p.Sites = p.Sites[:2]
	l.apply(p)
	net := l.clouds[0].one("networks", object{"name": "causeway-acme-site-a"})
	stranger := l.clouds[0].make("ports", "port", object{"name": "stranger", "network_id": net["id"], "fixed_ips": []object{{"ip_address": "192.168.0.3"}}})
	third.Address = netip.MustParseAddr("192.168.0.3")
	p.Sites = append(p.Sites, third)
	_, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{})
	var blocked orchestrator.Blocked
	if !errors.As(err, &blocked) || !strings.Contains(blocked.Plan.Blockers[0].String(), "site-a: port stranger ("+stranger+"): it has the address 192.168.0.3 on the multi-site network") {
		t.Fatalf("%v %+v", err, blocked.Plan)
	}
	// Left out, the address is another one.
	p.Sites[2].Address = netip.Addr{}
	out := l.apply(p)
	if a := out.Plan.Choices.Sites[2].Address.String(); a != "192.168.0.4" {
		t.Errorf("the third site has %s", a)
	}
	_, err = l.o.Run(t.Context(), p, destroyed, orchestrator.RunOptions{})
	if !errors.As(err, &blocked) || !strings.Contains(blocked.Plan.Blockers[0].String(), "it is on the multi-site network and was not made by the peering") {
		t.Fatalf("%v", err)
	}
	l.clouds[0].call(http.MethodDelete, "ports/"+stranger, nil)
	l.destroy(p)
}

// TestAddSite: a further site changes nothing of what the others have but what they
// need for it.
func TestAddSite(t *testing.T) {
	l := newLab(t, 4)
	p := l.peering()
	p.Network.VNI = 0
	all := p.Sites
	bare := l.clouds[0].state()
	p.Sites = all[:3]
	l.apply(p)
	p.Sites = all
	pl, _, err := l.o.Plan(t.Context(), p, applied)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range pl.Actions {
		if a.Site != "site-d" && a.Remote != "site-d" {
			t.Errorf("%s is about none of the new site", a.ID)
		}
		if a.Op == plan.Delete || a.Op == plan.Update || a.Op == plan.Detach || a.Op == plan.RemoveRoutes {
			t.Errorf("%s changes what is there", a.ID)
		}
	}
	l.apply(p)
	// And one that leaves the file leaves nothing at the others.
	p.Sites = all[1:]
	l.apply(p)
	for _, c := range l.clouds[1:] {
		for _, port := range c.list("ports") {
			if strings.Contains(port["description"].(string), "site-a") {
				t.Errorf("%s still has %v", c.name, port)
			}
		}
	}
	if st := l.status(p); !st.InSync {
		t.Errorf("%v", st.Drift)
	}
	// What the site itself has, goes with the file that still names it.
	with := *p
	with.Sites = all
	others := l.states()[1:]
	if _, err := l.o.Run(t.Context(), &with, orchestrator.ForDestroy(plan.Options{Only: []string{"site-a"}}), orchestrator.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(others, l.states()[1:]); d != "" {
		t.Errorf("the others: %s", d)
	}
	if d := cmp.Diff(bare, l.clouds[0].state()); d != "" {
		t.Errorf("the site: %s", d)
	}
}

// TestAnotherRouter: where the file names another router than before, the peering
// moves there, and the former one is as it was.
func TestAnotherRouter(t *testing.T) {
	l, p := madeLab(t, 2)
	c := l.clouds[0]
	c.tenant("second-router", "10.7.0.0/24")
	before := l.states()
	l.apply(p)
	p.Sites[0].Router = "second-router"
	l.apply(p)
	if st := l.status(p); !st.InSync || st.Choices.Sites[0].Advertise[0].String() != "10.7.0.0/24" {
		t.Errorf("%v %v %v", st.Choices, st.Drift, st.Problems)
	}
	key := "routers/" + id(c.one("routers", object{"name": "tenant-router"}))
	if d := cmp.Diff(before[0][key], c.state()[key]); d != "" {
		t.Errorf("the former router: %s", d)
	}
	// And a file that names yet another one can still destroy.
	p.Sites[0].Router = "tenant-router"
	l.destroy(p)
	if d := cmp.Diff(before, l.states()); d != "" {
		t.Errorf("after destroy: %s", d)
	}
}

// TestChangePlaces: two sites change their addresses, the router's own port among
// them.
func TestChangePlaces(t *testing.T) {
	l, p := madeLab(t, 3)
	before := l.states()
	at := func(addrs ...string) {
		for i, a := range addrs {
			p.Sites[i].Address = netip.MustParseAddr(a)
		}
	}
	for _, addrs := range [][]string{{"192.168.0.1", "192.168.0.2", "192.168.0.3"}, {"192.168.0.2", "192.168.0.1", "192.168.0.3"}, {"192.168.0.3", "192.168.0.2", "192.168.0.1"}, {"192.168.0.1", "192.168.0.3", "192.168.0.2"}, {"192.168.0.2", "192.168.0.3", "192.168.0.1"}} {
		at(addrs...)
		l.apply(p)
		if st := l.status(p); !st.InSync {
			t.Errorf("%v: %v", addrs, st.Drift)
		}
	}
	l.destroy(p)
	if d := cmp.Diff(before, l.states()); d != "" {
		t.Errorf("after destroy: %s", d)
	}
}

// TestOneCloud: two routers of one cloud are peered like those of two.
func TestOneCloud(t *testing.T) {
	l := newLab(t, 1)
	c := l.clouds[0]
	c.tenant("second-router", "10.7.0.0/24")
	c.gateway("second-gateway", "200.200.8.1")
	before := l.states()
	p := l.peering()
	p.Sites = append(p.Sites, peering.Site{Name: "site-b", Access: p.Sites[0].Access, Gateway: peering.Gateway{Device: "second-gateway"}, Router: "second-router"})
	l.apply(p)
	if st := l.status(p); !st.InSync {
		t.Errorf("%v %v", st.Drift, st.Problems)
	}
	if out := l.apply(p); out.Steps != 0 {
		t.Errorf("the second time: %d steps", out.Steps)
	}
	l.destroy(p)
	if d := cmp.Diff(before, l.states()); d != "" {
		t.Errorf("after destroy: %s", d)
	}
}

// TestRenamedGateway: a gateway device that somebody has given another name is theirs
// from then on. Status warns of it, and destroy leaves it.
func TestRenamedGateway(t *testing.T) {
	l, p := madeLab(t, 2)
	l.clouds[1].make("routers", "router", object{"name": "vtep"}) // so that only the device is made
	l.apply(p)
	c := l.clouds[1]
	c.put("gw/gateway_devices/"+id(c.one("gw/gateway_devices", nil)), "gateway_device", object{"name": "mine"})
	st := l.status(p)
	if len(st.Drift) != 0 || len(st.Warnings) != 1 || !strings.Contains(st.Warnings[0].String(), "site-b: gateway device mine") {
		t.Errorf("%v %v %v", st.Drift, st.Warnings, st.Problems)
	}
	l.destroy(p)
	c.one("gw/gateway_devices", object{"name": "mine"})
	if tags := c.one("routers", object{"name": "vtep"})["tags"].([]any); len(tags) != 0 {
		t.Errorf("marks are left: %v", tags)
	}
}
