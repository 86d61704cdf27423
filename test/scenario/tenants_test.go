package scenario

import (
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestTenantsWithEqualCIDRs peers two tenants with the same addresses everywhere,
// each over its own VNI, on one gateway device. Each reaches its own peer; neither
// ever sees a packet of the other.
func TestTenantsWithEqualCIDRs(t *testing.T) {
	l := newLab(t, 2)
	red := []*tenant{l.sites[0].newTenant("red", 100), l.sites[1].newTenant("red", 100)}
	blue := []*tenant{l.sites[0].newTenant("blue", 200), l.sites[1].newTenant("blue", 200)}
	peer(red...)
	peer(blue...)
	red[0].attach("red-a", 3, "")
	red[1].attach("red-b", 3, "")
	blue[0].attach("blue-a", 3, "")
	blue[1].attach("blue-b", 3, "")

	// Pings of different lengths tell the tenants apart in the captures.
	const redSize, blueSize = 101, 202
	captures := map[string]*probe.Capture{}
	for _, w := range []string{"red-a", "red-b", "blue-a", "blue-b"} {
		ns, err := l.NetNS(w)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		c, err := probe.StartCapture(ns, []string{"eth0"}, 10000, func([]byte) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		captures[w] = c
	}
	for range 3 {
		l.mustPing("red-a", "10.0.1.3", "-s", "101")
		l.mustPing("blue-a", "10.0.1.3", "-s", "202")
		l.mustPing("red-b", "10.0.0.3", "-s", "101")
		l.mustPing("blue-b", "10.0.0.3", "-s", "202")
	}
	// Only one tenant's workload at site B is left: the other's packets must not
	// find their way to it.
	red[1].site.update(portsCollection, red[1].workloadPorts["red-b"], map[string]any{"admin_state_up": false})
	testutil.Succeeds(t, "red-b to be cut off", func() error { return mustFail(l.ping("red-a", "10.0.1.3", 1, "-s", "101")) })

	for w, c := range captures {
		frames, err := c.Stop()
		if err != nil {
			t.Fatal(err)
		}
		own := redSize
		if w[:4] == "blue" {
			own = blueSize
		}
		n := 0
		for _, f := range frames {
			p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
			if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
				n++
				if len(icmp.Payload) != own {
					t.Errorf("%s saw a packet of another tenant: %v", w, p)
				}
			}
		}
		if n < 12 {
			t.Errorf("%s saw %d ICMP packets, fewer than its own", w, n)
		}
	}
}

// TestThreeSites peers three sites with one another over one multi-site network.
func TestThreeSites(t *testing.T) {
	l := newLab(t, 3)
	tns := []*tenant{l.sites[0].newTenant("t", 100), l.sites[1].newTenant("t", 100), l.sites[2].newTenant("t", 100)}
	peer(tns...)
	names := []string{
		tns[0].attach("vm-a", 3, ""), tns[1].attach("vm-b", 3, ""), tns[2].attach("vm-c", 3, ""),
	}
	for i, from := range names {
		for j := range names {
			if i != j {
				l.reach(from, tns[j].workloadAddresses[names[j]])
			}
		}
	}
}

// TestWorkloadOnMultiSiteNetwork puts a workload of site A on the multi-site
// network itself: a remote MAC may be any port. It reaches the other site's
// router and, by that, its workload, and a workload there at layer 2.
func TestWorkloadOnMultiSiteNetwork(t *testing.T) {
	p := newPair(t)
	direct := func(tn, other *tenant, name, ip, mac string) {
		port := tn.site.create(portsCollection, map[string]any{
			"network_id": tn.multiSite, "name": name, "mac_address": mac, "port_security_enabled": false,
			"fixed_ips": []map[string]any{{"ip_address": ip}},
		})
		tn.workloadPorts[name] = port
		tn.attachPort(name, port)
		other.site.create(portsCollection, map[string]any{
			"network_id": other.multiSite, "device_owner": "network:remote-site", "mac_address": mac,
			"fixed_ips": []map[string]any{{"ip_address": ip}},
		})
		other.site.create(remoteMACs(other.device), map[string]any{
			"vtep_address": tn.site.tunnel.String(), "mac_address": mac, "segmentation_id": 100,
		})
	}
	direct(p.a, p.b, "direct-a", "192.168.0.11", "fa:16:3e:00:11:01")
	direct(p.b, p.a, "direct-b", "192.168.0.12", "fa:16:3e:00:11:02")
	p.reach("direct-a", "192.168.0.12") // layer 2 all the way
	p.reach("direct-a", "192.168.0.2")  // the other site's router
	p.mustRun("direct-a", "ip", "route", "add", "10.0.1.0/24", "via", "192.168.0.2")
	p.mustRun("direct-a", "ip", "route", "add", "10.0.0.0/24", "via", "192.168.0.1")
	p.b.setRoutes(p.a)
	p.reach("direct-a", p.addrB)
	p.reach(p.vmB, "192.168.0.11")

	// Every EtherType crosses, here one for local experiments (IEEE 802).
	testEtherType(t, p.lab, "direct-a", "direct-b", 0x88b5)
}
