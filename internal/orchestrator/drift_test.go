package orchestrator_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// madeLab has a gateway that is to be made at site-b, so that there is something of
// every kind.
func madeLab(t testing.TB, n int) (*lab, *peering.Peering) {
	l := newLab(t, n)
	p := l.peering()
	for i := range p.Sites {
		if i%2 == 1 {
			// In the place of the one that newLab has made.
			g := l.clouds[i].one("gw/gateway_devices", nil)
			l.clouds[i].call(http.MethodDelete, "gw/gateway_devices/"+g["id"].(string), nil)
			l.clouds[i].call(http.MethodDelete, "routers/"+g["resource_id"].(string), nil)
			p.Sites[i].Gateway = peering.Gateway{Router: "vtep", TunnelIP: netip.MustParseAddr(tunnelIP(i))}
		}
	}
	return l, p
}

func (l *lab) apply(p *peering.Peering) orchestrator.Outcome {
	l.t.Helper()
	out, err := l.o.Run(l.t.Context(), p, applied, orchestrator.RunOptions{})
	if err != nil {
		l.t.Fatalf("apply: %v\n%+v", err, out.Plan.Blockers)
	}
	return out
}

func (l *lab) destroy(p *peering.Peering) orchestrator.Outcome {
	l.t.Helper()
	out, err := l.o.Run(l.t.Context(), p, destroyed, orchestrator.RunOptions{})
	if err != nil {
		l.t.Fatalf("destroy: %v\n%+v", err, out.Plan.Blockers)
	}
	return out
}

func (l *lab) status(p *peering.Peering) *plan.Status {
	l.t.Helper()
	st, err := l.o.Status(l.t.Context(), p)
	if err != nil {
		l.t.Fatal(err)
	}
	return st
}

func id(o object) string { return o["id"].(string) }

// TestDrift: status names every single change by hand, apply mends it, and destroy
// leaves what was there before.
func TestDrift(t *testing.T) {
	find := func(c *cloud) (net, sub, peer, remote, gw, conn, router object) {
		net = c.one("networks", object{"name": "causeway-acme-" + c.name})
		sub = c.one("subnets", object{"network_id": net["id"]})
		router = c.one("routers", object{"name": "tenant-router"})
		peer = c.one("ports", object{"network_id": net["id"], "device_id": router["id"]})
		remote = c.one("ports", object{"network_id": net["id"], "device_owner": "network:remote_site"})
		gw = c.one("l2-gateways", nil)
		conn = c.one("l2-gateway-connections", nil)
		return
	}
	for _, tc := range []struct {
		name   string
		change func(a, b *cloud)
		want   []string // what status says
		only   bool     // and nothing else
	}{
		{"nothing", func(a, b *cloud) {}, nil, true},
		{"network down", func(a, b *cloud) {
			net, _, _, _, _, _, _ := find(a)
			a.put("networks/"+id(net), "network", object{"admin_state_up": false})
		}, []string{"site-a: multi-site network causeway-acme-site-a: admin_state_up is false, and should be true"}, true},
		{"port security", func(a, b *cloud) {
			net, _, _, _, _, _, _ := find(a)
			a.put("networks/"+id(net), "network", object{"port_security_enabled": true})
		}, []string{"site-a: multi-site network causeway-acme-site-a: port_security_enabled is true, and should be false"}, true},
		{"mtu", func(a, b *cloud) {
			net, _, _, _, _, _, _ := find(a)
			a.put("networks/"+id(net), "network", object{"mtu": 1400})
		}, []string{"site-a: multi-site network causeway-acme-site-a: mtu is 1400, and should be 1450"}, true},
		{"network renamed", func(a, b *cloud) {
			net, _, _, _, _, _, _ := find(a)
			a.put("networks/"+id(net), "network", object{"name": "mine"})
		}, nil, true},
		{"network unmarked", func(a, b *cloud) {
			net, _, _, _, _, _, _ := find(a)
			a.call(http.MethodDelete, "networks/"+id(net)+"/tags", nil)
		}, []string{"site-a: multi-site network causeway-acme-site-a: it bears no mark causeway:peering:acme:site-a"}, true},
		{"description gone", func(a, b *cloud) {
			net, sub, peer, remote, _, _, _ := find(a)
			a.put("networks/"+id(net), "network", object{"description": ""})
			a.put("subnets/"+id(sub), "subnet", object{"description": ""})
			a.put("ports/"+id(peer), "port", object{"description": ""})
			a.put("ports/"+id(remote), "port", object{"description": ""})
		}, nil, true},
		{"dhcp", func(a, b *cloud) {
			_, sub, _, _, _, _, _ := find(a)
			a.put("subnets/"+id(sub), "subnet", object{"enable_dhcp": true})
		}, []string{"site-a: multi-site subnet 192.168.0.0/24: enable_dhcp is true, and should be false"}, true},
		{"gateway ip", func(a, b *cloud) {
			_, sub, _, _, _, _, _ := find(a)
			a.put("subnets/"+id(sub), "subnet", object{"gateway_ip": "192.168.0.254", "allocation_pools": []object{{"start": "192.168.0.1", "end": "192.168.0.200"}}})
		}, []string{"site-a: multi-site subnet 192.168.0.0/24: gateway_ip is 192.168.0.254, and should be none"}, true},
		{"subnet unmarked", func(a, b *cloud) {
			_, sub, _, _, _, _, _ := find(a)
			a.call(http.MethodDelete, "subnets/"+id(sub)+"/tags", nil)
		}, []string{"site-a: multi-site subnet 192.168.0.0/24: it bears no mark"}, true},
		{"connection gone", func(a, b *cloud) {
			_, _, _, _, _, conn, _ := find(a)
			a.call(http.MethodDelete, "l2-gateway-connections/"+id(conn), nil)
		}, []string{"site-a: L2 gateway connection, VNI 100: it is missing"}, true},
		{"L2 gateway gone", func(a, b *cloud) {
			_, _, _, _, gw, conn, _ := find(a)
			a.call(http.MethodDelete, "l2-gateway-connections/"+id(conn), nil)
			a.call(http.MethodDelete, "l2-gateways/"+id(gw), nil)
		}, []string{"site-a: L2 gateway, VNI 100: it is missing", "site-a: L2 gateway connection, VNI 100: it is missing"}, true},
		{"another VNI", func(a, b *cloud) {
			_, _, _, _, gw, conn, _ := find(a)
			a.call(http.MethodDelete, "l2-gateway-connections/"+id(conn), nil)
			a.call(http.MethodDelete, "l2-gateways/"+id(gw), nil)
			net, _, _, _, _, _, _ := a.one("networks", object{"name": "causeway-acme-site-a"}), 0, 0, 0, 0, 0, 0
			dev := gw["devices"].([]any)[0].(object)["device_id"]
			g := a.make("l2-gateways", "l2_gateway", object{"name": gw["name"], "devices": []object{{"device_id": dev, "segmentation_id": "200"}}})
			a.make("l2-gateway-connections", "l2_gateway_connection", object{"l2_gateway_id": g, "network_id": net["id"]})
		}, []string{"site-a: L2 gateway, VNI 200: it is there, and should not be", "site-a: L2 gateway, VNI 100: it is missing"}, false},
		{"peer port's MAC", func(a, b *cloud) {
			_, _, peer, _, _, _, _ := find(a)
			a.put("ports/"+id(peer), "port", object{"mac_address": "02:00:00:00:00:99"})
		}, []string{"mac_address is 02:00:00:00:00:99, and should be 16:b7:b5:a4:57:75"}, true},
		{"peer port's address", func(a, b *cloud) {
			_, _, peer, _, _, _, _ := find(a)
			a.put("ports/"+id(peer), "port", object{"fixed_ips": []object{{"ip_address": "192.168.0.99"}}})
		}, []string{"site-a: peer router port 192.168.0.99, 16:b7:b5:a4:57:75: fixed_ips is 192.168.0.99, and should be 192.168.0.1"}, true},
		{"peer port down", func(a, b *cloud) {
			_, _, peer, _, _, _, _ := find(a)
			a.put("ports/"+id(peer), "port", object{"admin_state_up": false})
		}, []string{"site-a: peer router port 192.168.0.1, 16:b7:b5:a4:57:75: admin_state_up is false, and should be true"}, true},
		{"peer port gone", func(a, b *cloud) {
			_, _, peer, _, _, _, router := find(a)
			a.put("routers/"+id(router), "router", object{"routes": []object{}})
			a.call(http.MethodPut, "routers/"+id(router)+"/remove_router_interface", object{"port_id": id(peer)})
		}, []string{"site-a: peer router port 192.168.0.1, 16:b7:b5:a4:57:75: it is missing", "the route to 10.0.1.0/24 by 192.168.0.2 is missing"}, true},
		{"remote port gone", func(a, b *cloud) {
			_, _, _, remote, _, _, _ := find(a)
			a.call(http.MethodDelete, "ports/"+id(remote), nil)
		}, []string{"site-a: remote-site port of site-b, 192.168.0.2, 6f:e4:5a:fa:8e:09: it is missing"}, true},
		{"remote port's MAC", func(a, b *cloud) {
			_, _, _, remote, _, _, _ := find(a)
			a.put("ports/"+id(remote), "port", object{"mac_address": "02:00:00:00:00:99"})
		}, []string{"site-a: remote-site port of site-b, 192.168.0.2, 02:00:00:00:00:99: mac_address is 02:00:00:00:00:99, and should be 6f:e4:5a:fa:8e:09"}, true},
		{"remote port's address", func(a, b *cloud) {
			_, _, _, remote, _, _, _ := find(a)
			a.put("ports/"+id(remote), "port", object{"fixed_ips": []object{{"ip_address": "192.168.0.99"}}})
		}, []string{"fixed_ips is 192.168.0.99, and should be 192.168.0.2"}, true},
		{"remote port's owner", func(a, b *cloud) {
			_, _, _, remote, _, _, _ := find(a)
			a.put("ports/"+id(remote), "port", object{"device_owner": ""})
		}, []string{`device_owner is "", and should be network:remote_site`}, true},
		{"remote port down", func(a, b *cloud) {
			_, _, _, remote, _, _, _ := find(a)
			a.put("ports/"+id(remote), "port", object{"admin_state_up": false})
		}, []string{"remote-site port of site-b, 192.168.0.2, 6f:e4:5a:fa:8e:09: admin_state_up is false, and should be true"}, true},
		{"remote port unmarked", func(a, b *cloud) {
			_, _, _, remote, _, _, _ := find(a)
			a.call(http.MethodDelete, "ports/"+id(remote)+"/tags", nil)
		}, []string{"remote-site port of site-b, 192.168.0.2, 6f:e4:5a:fa:8e:09: it bears no mark"}, true},
		{"remote MAC gone", func(a, b *cloud) {
			dev := a.one("gw/gateway_devices", nil)
			e := a.one("gw/gateway_devices/"+id(dev)+"/remote_mac_entries", nil)
			a.call(http.MethodDelete, "gw/gateway_devices/"+id(dev)+"/remote_mac_entries/"+id(e), nil)
		}, []string{"site-a: remote MAC entry 6f:e4:5a:fa:8e:09, VNI 100 at 200.200.0.2: it is missing"}, true},
		{"remote MAC elsewhere", func(a, b *cloud) {
			dev := a.one("gw/gateway_devices", nil)
			table := "gw/gateway_devices/" + id(dev) + "/remote_mac_entries"
			e := a.one(table, nil)
			a.call(http.MethodDelete, table+"/"+id(e), nil)
			a.make(table, "remote_mac_entry", object{"mac_address": e["mac_address"], "vtep_address": "200.200.0.77", "segmentation_id": "100"})
		}, []string{"VNI 100 at 200.200.0.77: it is there, and should not be", "VNI 100 at 200.200.0.2: it is missing"}, true},
		{"route gone", func(a, b *cloud) {
			router := a.one("routers", object{"name": "tenant-router"})
			a.put("routers/"+id(router), "router", object{"routes": []object{}})
		}, []string{"site-a: peer router tenant-router: the route to 10.0.1.0/24 by 192.168.0.2 is missing"}, true},
		{"route too many", func(a, b *cloud) {
			router := a.one("routers", object{"name": "tenant-router"})
			a.put("routers/"+id(router), "router", object{"routes": []object{
				{"destination": "10.0.1.0/24", "nexthop": "192.168.0.2"}, {"destination": "10.9.0.0/16", "nexthop": "192.168.0.2"}}})
		}, []string{"site-a: peer router tenant-router: the route to 10.9.0.0/16 by 192.168.0.2 is there, and should not be"}, true},
		{"tenant's new subnet", func(a, b *cloud) {
			a.connect(id(a.one("routers", object{"name": "tenant-router"})), "second", "10.0.77.0/24")
		}, []string{"site-b: peer router tenant-router: the route to 10.0.77.0/24 by 192.168.0.1 is missing"}, true},
		{"another tunnel IP", func(a, b *cloud) {
			a.put("gw/gateway_devices/"+id(a.one("gw/gateway_devices", nil)), "gateway_device", object{"tunnel_ips": []string{"200.200.0.88"}})
		}, []string{"at 200.200.0.1: it is there, and should not be", "at 200.200.0.88: it is missing"}, true},
		{"made gateway's tunnel IP", func(a, b *cloud) {
			b.put("gw/gateway_devices/"+id(b.one("gw/gateway_devices", nil)), "gateway_device", object{"tunnel_ips": []string{"200.200.0.88"}})
		}, []string{"site-b: gateway device causeway:gateway:vtep: tunnel_ips is 200.200.0.88, and should be 200.200.0.2"}, true},
		{"made gateway unmarked", func(a, b *cloud) {
			b.call(http.MethodDelete, "routers/"+id(b.one("routers", object{"name": "vtep"}))+"/tags", nil)
		}, []string{"site-b: VTEP router vtep: it bears no mark causeway:uses:acme:site-b"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l, p := madeLab(t, 2)
			setMACs(p)
			before := l.states()
			l.apply(p)
			tc.change(l.clouds[0], l.clouds[1])
			st := l.status(p)
			var got []string
			for _, d := range st.Drift {
				got = append(got, d.String())
			}
			all := strings.Join(got, "\n")
			for _, w := range tc.want {
				if !strings.Contains(all, w) {
					t.Errorf("status says\n%s\nwants %q", all, w)
				}
			}
			if tc.only && len(got) != len(tc.want) || st.InSync != (len(tc.want) == 0) || len(st.Problems) > 0 {
				t.Errorf("in sync %v, problems %v, and\n%s", st.InSync, st.Problems, all)
			}
			l.apply(p)
			if st := l.status(p); !st.InSync {
				t.Errorf("after apply: %v %v", st.Drift, st.Problems)
			}
			l.destroy(p)
			after := l.states()
			if tc.name == "tenant's new subnet" || tc.name == "another tunnel IP" {
				return // what the tenant did stays
			}
			if d := cmp.Diff(before, after); d != "" {
				t.Errorf("after destroy: %s", d)
			}
		})
	}
}
