package scenario

import (
	"fmt"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestVLANOverFabric: a server on a VLAN of one host is a member of its network for the workloads of all hosts, and
// for those of other networks that routers join on hosts without a port of this one.
func TestVLANOverFabric(t *testing.T) {
	const vlan = 42
	l := newHostsLab(t, 1, 3, withSwitch)
	s := l.sites[0]
	for node, iface := range map[string]string{"a1": "eth2", "server": "eth0"} {
		l.mustRun(node, "ethtool", "-K", iface, "tx", "off", "tso", "off", "gso", "off")
	}
	sw := l.newSwitch(vlan)
	near := s.create(client.Networks, client.Attrs{"name": "near"})
	far := s.create(client.Networks, client.Attrs{"name": "far"})
	router := s.create(client.Routers, client.Attrs{"name": "router"})
	for n, cidr := range map[string]string{near: "10.0.0.0/24", far: "10.0.60.0/24"} {
		s.addInterface(router, "subnet_id", s.create(client.Subnets, client.Attrs{"network_id": n, "ip_version": 4, "cidr": cidr}))
	}
	s.attachOn("a1", "near-a1", near, "10.0.0.11")
	s.attachOn("a2", "near-a2", near, "10.0.0.12")
	s.attachOn("a3", "far-a3", far, "10.0.60.13")

	uplink := s.create(client.Networks, client.Attrs{"name": "vlans", "provider:network_type": "uplink"})
	trunk := s.create(client.Ports, client.Attrs{"network_id": uplink, "binding:host_id": "a1", "binding:profile": client.Attrs{"interface_name": "eth2"}})
	device := s.create(client.GatewayDevices, client.Attrs{"name": "vlans", "type": "network_vlan", "resource_id": uplink})
	gateway := s.create(client.L2Gateways, client.Attrs{"name": "vlan-42", "devices": []client.Attrs{{"device_id": device, "segmentation_id": fmt.Sprint(vlan)}}})
	s.create(client.L2GatewayConnections, client.Attrs{"l2_gateway_id": gateway, "network_id": near})
	s.waitStatus(trunk, "ACTIVE")

	l.reach("far-a3", "10.0.0.50") // by a router that has to ask, on a host without a port of the network
	l.reach("near-a2", "10.0.0.50")
	l.reach("near-a1", "10.0.0.50")
	for _, to := range []string{"10.0.0.11", "10.0.0.12", "10.0.0.1", "10.0.60.13"} {
		l.reach("server", to)
	}
	l.bulkTCP("near-a2", "server", "10.0.0.50", 4<<20)
	l.bulkTCP("server", "near-a2", "10.0.0.12", 4<<20)
	l.bulkTCP("far-a3", "server", "10.0.0.50", 4<<20)
	sw.onlyTag(vlan)
	if drops := l.fabricDrops("a1", "a2", "a3"); len(drops) > 0 {
		t.Errorf("dropped: %v", drops)
	}

	// The server moves to another MAC, and says so.
	l.mustRun("server", "sysctl", "-w", "net.ipv4.conf.eth0.arp_notify=1")
	l.mustRun("server", "ip", "link", "set", "eth0", "address", "02:00:5e:00:77:02")
	l.mustRun("server", "ip", "route", "replace", "default", "via", "10.0.0.1")
	l.reach("server", "10.0.0.12")
	l.reach("far-a3", "10.0.0.50")
	l.reach("near-a2", "10.0.0.50")

	// No VLAN, no server.
	s.update(client.Ports, trunk, client.Attrs{"admin_state_up": false})
	testutil.Succeeds(t, "the VLAN is off", func() error { return mustFail(l.ping("near-a2", "10.0.0.50", 1)) })
	s.update(client.Ports, trunk, client.Attrs{"admin_state_up": true})
	l.reach("near-a2", "10.0.0.50")
}
