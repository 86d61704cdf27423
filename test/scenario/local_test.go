package scenario

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

// TestOneHost is what happens within one host: two networks and two subnets of one
// network on a router, neighbours, the router's own addresses, its errors.
func TestOneHost(t *testing.T) {
	l := newLab(t, 1)
	s := l.sites[0]
	tn := s.newTenant("t", 100)
	// A second subnet of the tenant's network, and a second network, on the router.
	second := s.create(client.Subnets, client.Attrs{"network_id": tn.network, "ip_version": 4, "cidr": "10.0.50.0/24"})
	s.addInterface(tn.router, "subnet_id", second)
	network := s.create(client.Networks, client.Attrs{"name": "other"})
	subnet := s.create(client.Subnets, client.Attrs{"network_id": network, "ip_version": 4, "cidr": "10.0.60.0/24"})
	s.addInterface(tn.router, "subnet_id", subnet)
	workload := func(name, network, ip string) {
		port := s.create(client.Ports, client.Attrs{"network_id": network, "fixed_ips": []client.Attrs{{"ip_address": ip}}})
		tn.workloadPorts[name] = port
		tn.attachPort(name, port)
	}
	workload("vm-1", tn.network, "10.0.0.3")
	workload("vm-2", tn.network, "10.0.0.4")
	workload("vm-3", tn.network, "10.0.50.3")
	workload("vm-4", network, "10.0.60.3")

	l.reach("vm-1", "10.0.0.4")  // the same subnet
	l.reach("vm-1", "10.0.50.3") // another subnet of the network
	l.reach("vm-1", "10.0.60.3") // another network
	l.reach("vm-4", "10.0.50.3")
	l.bulkTCP("vm-1", "vm-4", "10.0.60.3", 16<<20)
	for _, addr := range []string{"10.0.0.1", "10.0.50.1", "10.0.60.1", "192.168.0.1"} {
		l.mustPing("vm-1", addr)
	}

	// RFC 1812 §5.2.7.1: why a router cannot deliver.
	for _, c := range []struct{ to, want string }{
		{"203.0.113.1", "Destination Net Unreachable"},
		{"10.0.60.99", "Destination Host Unreachable"},
	} {
		out, _ := l.run("vm-1", "ping", "-n", "-c", "1", "-W", "5", c.to)
		if !strings.Contains(out, "From 10.0.0.1 ") || !strings.Contains(out, c.want) {
			t.Errorf("ping to %s: want %q from 10.0.0.1:\n%s", c.to, c.want, out)
		}
	}
	if hops := l.traceroute("vm-1", "10.0.60.3"); fmt.Sprint(hops) != "[10.0.0.1 10.0.60.3]" {
		t.Errorf("traceroute to 10.0.60.3: %v", hops)
	}
}

// TestBroadcastStaysAtHome sends broadcasts and unknown unicast on a multi-site
// network: its ports at the site get them, no tunnel does.
func TestBroadcastStaysAtHome(t *testing.T) {
	p := newPair(t)
	direct := func(tn *tenant, name, ip string) {
		port := tn.site.create(client.Ports, client.Attrs{
			"network_id": tn.multiSite, "port_security_enabled": false, "fixed_ips": []client.Attrs{{"ip_address": ip}},
		})
		tn.workloadPorts[name] = port
		tn.attachPort(name, port)
	}
	direct(p.a, "direct-1", "192.168.0.21")
	direct(p.a, "direct-2", "192.168.0.22")
	direct(p.b, "direct-3", "192.168.0.23")
	const etherType = 0x88b5
	mine := func(f []byte) bool { return len(f) > 14 && f[12] == 0x88 && f[13] == 0xb5 }
	home := p.capture("direct-2", "eth0", mine)
	tenant := p.capture(p.vmA, "eth0", mine)
	away := p.capture("direct-3", "eth0", mine)
	wire := p.capture("core", "to-a1", func(f []byte) bool { return len(f) > 24 && f[23] == 17 })
	s := p.newSender("direct-1", "eth0")
	var own model.MAC
	for _, w := range p.Workloads() {
		if w.Name == "direct-1" {
			own = model.MustMAC(w.MAC)
		}
	}
	for _, dst := range []string{"ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb", "02:00:00:00:00:77"} {
		s.send(ethernet(model.MustMAC(dst), own, etherType, make([]byte, 64)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := home.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) == 3 }); err != nil {
		t.Errorf("the neighbour does not see all three frames: %v", err)
	}
	// A ping to the other site is behind them on every road.
	p.mustPing(p.vmA, p.addrB)
	if err := wire.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) >= 6 }); err != nil {
		t.Errorf("the wire does not show the pings: %v", err)
	}
	for name, c := range map[string]*probe.Capture{"the tenant's network": tenant, "the other site": away} {
		if f := c.Frames(); len(f) != 0 {
			t.Errorf("%s saw %d of the frames", name, len(f))
		}
	}
	if f := wire.Frames(); len(f) != 6 {
		t.Errorf("%d packets between the sites; want the pings' 6", len(f))
	}
}
