package orchestrator_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// chapterLab is the example of the guide: the values that it gives are in the file.
func chapterLab(t testing.TB) *lab {
	l := newLab(t, 2)
	return l
}

var (
	applied   = orchestrator.ForApply(plan.Options{})
	destroyed = orchestrator.ForDestroy(plan.Options{})
)

// TestChapter: apply makes what the chapter makes by hand, each step once; a second
// time nothing; and destroy leaves what was there before.
func TestChapter(t *testing.T) {
	l := chapterLab(t)
	p := l.peering()
	for i, v := range []struct{ addr, mac string }{{"192.168.0.1", "16:B7:B5:A4:57:75"}, {"192.168.0.2", "6F:E4:5A:FA:8E:09"}} {
		p.Sites[i].Address = netip.MustParseAddr(v.addr)
		p.Sites[i].MAC, _ = model.ParseNamedMAC(v.mac)
	}
	before := l.states()
	out, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if w := l.writes(); len(w) != len(out.Plan.Actions) || out.Steps != out.Plan.Counts.Steps {
		t.Errorf("%d requests for %d steps of a plan of %d: %q", len(w), out.Steps, len(out.Plan.Actions), w)
	}
	for i, c := range l.clouds {
		other := 1 - i
		net := c.one("networks", object{"name": "causeway-acme-" + c.name})
		if net["port_security_enabled"] != false || net["mtu"] != 1450.0 {
			t.Errorf("network: %v", net)
		}
		sub := c.one("subnets", object{"network_id": net["id"]})
		if sub["cidr"] != "192.168.0.0/24" || sub["gateway_ip"] != nil || sub["enable_dhcp"] != false {
			t.Errorf("subnet: %v", sub)
		}
		gw := c.one("l2-gateways", nil)
		dev := gw["devices"].([]any)[0].(object)
		if dev["segmentation_id"] != "100" {
			t.Errorf("L2 gateway: %v", gw)
		}
		c.one("l2-gateway-connections", object{"network_id": net["id"], "l2_gateway_id": gw["id"]})
		router := c.one("routers", object{"name": "tenant-router"})
		peer := c.one("ports", object{"network_id": net["id"], "device_id": router["id"]})
		if peer["mac_address"] != p.Sites[i].MAC.String() || addrOf(peer) != p.Sites[i].Address.String() {
			t.Errorf("peer router port: %v", peer)
		}
		remote := c.one("ports", object{"network_id": net["id"], "device_owner": "network:remote_site"})
		if remote["mac_address"] != p.Sites[other].MAC.String() || addrOf(remote) != p.Sites[other].Address.String() {
			t.Errorf("remote-site port: %v", remote)
		}
		entry := c.one("gw/gateway_devices/"+dev["device_id"].(string)+"/remote_mac_entries", nil)
		if entry["mac_address"] != p.Sites[other].MAC.String() || entry["vtep_address"] != tunnelIP(other) || entry["segmentation_id"] != 100.0 {
			t.Errorf("remote MAC entry: %v", entry)
		}
		want := []any{object{"destination": "10.0." + string(rune('0'+other)) + ".0/24", "nexthop": p.Sites[other].Address.String()}}
		if d := cmp.Diff(want, router["routes"]); d != "" {
			t.Errorf("routes: %s", d)
		}
		if d := cmp.Diff([]any{}, router["tags"]); d != "" {
			t.Errorf("the lease stays: %s", d)
		}
	}
	again, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{})
	if err != nil || again.Steps != 0 || len(again.Plan.Actions) != 0 || len(l.writes()) != 0 {
		t.Errorf("the second time: %v, %+v", err, again.Plan)
	}
	if _, err := l.o.Run(t.Context(), p, destroyed, orchestrator.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, l.states()); d != "" {
		t.Errorf("after destroy: %s", d)
	}
	l.writes()
	if out, err := l.o.Run(t.Context(), p, destroyed, orchestrator.RunOptions{}); err != nil || out.Steps != 0 || len(l.writes()) != 0 {
		t.Errorf("destroyed again: %v, %+v", err, out)
	}
}

func addrOf(port object) string {
	ips, _ := port["fixed_ips"].([]any)
	if len(ips) != 1 {
		return ""
	}
	s, _ := ips[0].(object)["ip_address"].(string)
	return s
}

// TestPointToPoint: two sites meet on a /31, which has neither a network's own nor a
// broadcast address (RFC 3021).
func TestPointToPoint(t *testing.T) {
	l := newLab(t, 2)
	p := l.peering()
	p.Network.CIDR = netip.MustParsePrefix("192.168.0.2/31")
	if _, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{}); err != nil {
		t.Fatal(err)
	}
	for i, c := range l.clouds {
		router := c.one("routers", object{"name": "tenant-router"})
		net := c.one("networks", object{"name": "causeway-acme-" + c.name})
		if got, want := addrOf(c.one("ports", object{"network_id": net["id"], "device_id": router["id"]})), []string{"192.168.0.2", "192.168.0.3"}[i]; got != want {
			t.Errorf("%s has %s, want %s", c.name, got, want)
		}
	}
	out, err := l.o.Run(t.Context(), p, applied, orchestrator.RunOptions{})
	if err != nil || len(out.Plan.Actions) != 0 {
		t.Errorf("the second run: %v, %v", err, out.Plan.Actions)
	}
}
