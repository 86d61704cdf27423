package scenario

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testutil"
)

// bareHost leaves the underlay interfaces of host a1 without addresses and routes:
// they belong to the VTEP router. With a second link, site B is behind eth1 and
// site C behind eth2.
func bareHost(second bool) labOption {
	return func(f *testbed.File) {
		delete(f.Routes, "a1")
		for i, l := range f.Links {
			for j, e := range l.Ends {
				if e.Node == "a1" {
					f.Links[i].Ends[j].Address = netip.Prefix{}
				}
			}
		}
		if second {
			f.Links = append(f.Links, testbed.Link{Ends: []testbed.End{
				{Node: "a1", Interface: "eth2"},
				{Node: "core", Interface: "to-a1-2", Address: netip.MustParsePrefix("172.16.101.1/24")},
			}})
		}
	}
}

// uplink makes an interface of the host an interface of the site's VTEP router.
func (s *site) uplink(router, iface, cidr, address string) {
	s.lab.t.Helper()
	network := s.create(client.Networks, client.Attrs{"name": "uplink-" + iface, "provider:network_type": "uplink"})
	s.create(client.Subnets, client.Attrs{"network_id": network, "ip_version": 4, "cidr": cidr, "gateway_ip": nil, "enable_dhcp": false})
	port := s.create(client.Ports, client.Attrs{
		"network_id": network, "fixed_ips": []client.Attrs{{"ip_address": address}},
		"binding:host_id": s.host, "binding:profile": client.Attrs{"interface_name": iface},
	})
	s.addInterface(router, "port_id", port)
	s.waitStatus(port, "ACTIVE")
}

// TestUplink makes site A's VTEP router the edge router: the underlay is routed by
// Neutron's routes, and the host has none of its own.
func TestUplink(t *testing.T) {
	for _, c := range []struct{ name, tunnelIP string }{
		{"tunnel IP independent of the port", "200.200.0.1"},
		{"tunnel IP equal to the port's address", "172.16.1.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 2, bareHost(false))
			l.sites[0].tunnel = netip.MustParseAddr(c.tunnelIP)
			l.mustRun("b1", "ip", "route", "replace", "172.16.1.0/24", "via", "172.16.2.1")
			a, b := l.sites[0].newTenant("t", 100), l.sites[1].newTenant("t", 100)
			l.sites[0].uplink(a.vtepRouter, "eth1", "172.16.1.0/24", "172.16.1.2")
			a.site.update(client.Routers, a.vtepRouter, client.Attrs{"routes": []client.Attrs{
				{"destination": "200.200.0.2/32", "nexthop": "172.16.1.1"},
			}})
			peer(a, b)
			a.attach("vm-a", 3, "")
			b.attach("vm-b", 3, "")
			l.reach("vm-a", "10.0.1.3")
			l.reach("vm-b", "10.0.0.3")
			l.bulkTCP("vm-a", "vm-b", "10.0.1.3", 32<<20)
			l.bulkTCP("vm-b", "vm-a", "10.0.0.3", 32<<20)
			l.reach("vm-a", "10.0.1.3", "-M", "dont", "-s", "4000")

			// Without its route, the VTEP router does not know the way.
			before := a.site.drops()
			a.site.update(client.Routers, a.vtepRouter, client.Attrs{"routes": []client.Attrs{}})
			testutil.Succeeds(t, "the way to be lost", func() error { return mustFail(l.ping("vm-a", "10.0.1.3", 1)) })
			if d := risen(before, a.site.drops()); d["underlay_no_route"] == 0 {
				t.Errorf("counters that rose: %v; want underlay_no_route", d)
			}
		})
	}
}

// TestSeveralUplinks gives the VTEP router two uplinks, each the way to another site. What the third site
// sends comes by eth1, though the way to it is eth2: a wider route says that eth1 leads there too.
func TestSeveralUplinks(t *testing.T) {
	l := newLab(t, 3, bareHost(true))
	tns := []*tenant{l.sites[0].newTenant("t", 100), l.sites[1].newTenant("t", 100), l.sites[2].newTenant("t", 100)}
	a := tns[0]
	a.site.uplink(a.vtepRouter, "eth1", "172.16.1.0/24", "172.16.1.2")
	a.site.uplink(a.vtepRouter, "eth2", "172.16.101.0/24", "172.16.101.2")
	a.site.update(client.Routers, a.vtepRouter, client.Attrs{"routes": []client.Attrs{
		{"destination": "200.200.0.0/24", "nexthop": "172.16.1.1"},
		{"destination": "200.200.0.3/32", "nexthop": "172.16.101.1"},
	}})
	peer(tns...)
	a.attach("vm-a", 3, "")
	tns[1].attach("vm-b", 3, "")
	tns[2].attach("vm-c", 3, "")
	for i, iface := range []string{"eth1", "eth2"} {
		before := l.interfaceCount("a1", iface, "tx_packets")
		l.reach("vm-a", fmt.Sprintf("10.0.%d.3", i+1))
		if n := l.interfaceCount("a1", iface, "tx_packets") - before; n < 3 {
			t.Errorf("%s carried %d packets of the pings to site %d", iface, n, i+1)
		}
		l.reach("vm-"+string(rune('b'+i)), "10.0.0.3")
	}
}
