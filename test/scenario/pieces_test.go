package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestEachPiece takes away, or makes wrong, one piece of the peering at site A at a
// time. For each direction exactly one drop counter rises, at one site, and trace
// says the same in words. Put right, traffic flows again.
func TestEachPiece(t *testing.T) {
	p := newPair(t)
	a := p.a
	p.mustPing(p.vmA, p.addrB)

	// want is where and why one direction's pings end. At site "" nothing of ours
	// drops them: they are lost in the underlay.
	type want struct {
		site, reason string
		words        string
	}
	adminState := func(k client.Collection, id string) (broken, put func()) {
		return func() { a.site.update(k, id, client.Attrs{"admin_state_up": false}) },
			func() { a.site.update(k, id, client.Attrs{"admin_state_up": true}) }
	}
	both := func(s, reason, words string) [2]want { return [2]want{{s, reason, words}, {s, reason, words}} }
	type piece struct {
		name   string
		broken func()
		put    func()
		fromA  want
		fromB  want
	}
	remakeWithVNI := func(vni int) {
		a.site.remove(client.L2GatewayConnections, a.connection)
		a.site.remove(client.L2Gateways, a.l2Gateway)
		a.site.remove(client.RemoteMACEntries(a.device), a.remoteMACs[p.b])
		a.vni = vni
		a.l2Gateway = a.site.create(client.L2Gateways, client.Attrs{"name": "again", "devices": []client.Attrs{
			{"device_id": a.device, "segmentation_id": fmt.Sprint(vni)},
		}})
		a.connect()
		a.addRemoteMAC(p.b, p.b.site.tunnel.String())
	}
	pieces := []piece{{
		name:   "remote MAC entry missing",
		broken: func() { a.site.remove(client.RemoteMACEntries(a.device), a.remoteMACs[p.b]) },
		put:    func() { a.addRemoteMAC(p.b, p.b.site.tunnel.String()) },
		fromA:  want{"site-a", "remote_mac_missing", "remote MAC entry"},
		fromB:  want{"site-a", "vtep_unknown", "remote MAC"},
	}, {
		name:   "remote-site port missing",
		broken: func() { a.site.remove(client.Ports, a.remotePorts[p.b]) },
		put:    func() { a.addRemotePort(p.b) },
		fromA:  want{"site-a", "neighbor_unknown", "192.168.0.2"},
		fromB:  want{"site-a", "neighbor_unknown", ""}, // the reply
	}, {
		name:   "L2 gateway connection missing",
		broken: func() { a.site.remove(client.L2GatewayConnections, a.connection) },
		put:    a.connect,
		fromA:  want{"site-a", "l2_gateway_connection_missing", "L2 gateway connection"},
		fromB:  want{"site-a", "vni_unknown", "100"},
	}, {
		name:   "extra route missing",
		broken: func() { a.setRoutes() },
		put:    func() { a.setRoutes(p.b) },
		fromA:  want{"site-a", "no_route", "10.0.1.3"},
		fromB:  want{"site-a", "no_route", ""}, // the reply
	}, {
		name:   "unequal VNIs",
		broken: func() { remakeWithVNI(101) },
		put:    func() { remakeWithVNI(100) },
		fromA:  want{"site-b", "vni_unknown", "101"},
		fromB:  want{"site-a", "vni_unknown", "100"},
	}, {
		name: "remote MAC entry with the wrong tunnel IP",
		broken: func() {
			a.site.remove(client.RemoteMACEntries(a.device), a.remoteMACs[p.b])
			a.addRemoteMAC(p.b, "172.16.2.2") // an address of site B's host, but no tunnel IP
		},
		put: func() {
			a.site.remove(client.RemoteMACEntries(a.device), a.remoteMACs[p.b])
			a.addRemoteMAC(p.b, p.b.site.tunnel.String())
		},
		fromA: want{"site-b", "tunnel_ip_unknown", ""},
		fromB: want{"site-a", "vtep_unknown", "200.200.0.2"},
	}, {
		name: "gateway device with another tunnel IP than the other site knows",
		broken: func() {
			a.site.update(client.GatewayDevices, a.device, client.Attrs{"tunnel_ips": []string{"200.200.0.77"}})
		},
		put: func() {
			a.site.update(client.GatewayDevices, a.device, client.Attrs{"tunnel_ips": []string{"200.200.0.1"}})
		},
		fromA: want{"site-b", "vtep_unknown", "200.200.0.77"},
		fromB: want{"", "", ""},
	}, {
		name:   "port unbound",
		broken: func() { a.site.update(client.Ports, a.workloadPorts[p.vmA], client.Attrs{"binding:host_id": ""}) },
		put: func() {
			a.site.update(client.Ports, a.workloadPorts[p.vmA], client.Attrs{"binding:host_id": a.site.host})
		},
		fromA: want{"site-a", "port_unbound", "bound"},
		fromB: want{"site-a", "destination_unbound", "bound"},
	}}
	for _, d := range []struct {
		name   string
		k      client.Collection
		id     string
		reason string
	}{
		{"port down", client.Ports, a.workloadPorts[p.vmA], "port_admin_down"},
		{"tenant network down", client.Networks, a.network, "network_admin_down"},
		{"multi-site network down", client.Networks, a.multiSite, "network_admin_down"},
		{"peer router down", client.Routers, a.router, "router_admin_down"},
		{"VTEP router down", client.Routers, a.vtepRouter, "router_admin_down"},
	} {
		w := both("site-a", d.reason, "admin_state_up")
		broken, put := adminState(d.k, d.id)
		pieces = append(pieces, piece{name: d.name, broken: broken, put: put, fromA: w[0], fromB: w[1]})
	}

	readDrops := func() map[string]map[string]int {
		return map[string]map[string]int{"site-a": p.a.site.drops(), "site-b": p.b.site.drops()}
	}
	check := func(t *testing.T, from *tenant, workload, to string, w want) {
		t.Helper()
		var got []string
		var before map[string]map[string]int
		// The API has answered; the host applies the change a moment later.
		testutil.Succeeds(t, "the ping from "+workload+" to fail", func() error {
			before = readDrops()
			if n := p.ping(workload, to, 1); n != 0 {
				return fmt.Errorf("it was answered")
			}
			after := readDrops()
			got = nil
			for _, s := range slices.Sorted(maps.Keys(after)) {
				for r := range risen(before[s], after[s]) {
					got = append(got, s+" "+r)
				}
			}
			wanted := []string{}
			if w.site != "" {
				wanted = []string{w.site + " " + w.reason}
			}
			if !slices.Equal(got, wanted) {
				return fmt.Errorf("counters that rose: %q; want %q", got, wanted)
			}
			return nil
		})
		if w.words == "" {
			return
		}
		r, at := from.traceFrom(workload, to)
		if r.Delivered || r.Reason != w.reason || at.name != w.site {
			t.Errorf("trace from %s: delivered %v, reason %q at %s; want %q at %s\n%+v", workload, r.Delivered, r.Reason, at.name, w.reason, w.site, r.Hops)
		}
		if !strings.Contains(r.Summary, w.words) {
			t.Errorf("trace from %s says %q; want words %q", workload, r.Summary, w.words)
		}
	}
	for _, c := range pieces {
		p.sub(c.name, func(t *testing.T) {
			c.broken()
			check(t, p.a, p.vmA, p.addrB, c.fromA)
			check(t, p.b, p.vmB, p.addrA, c.fromB)
			c.put()
			testutil.Succeeds(t, "traffic to flow again", func() error {
				if p.ping(p.vmA, p.addrB, 1) != 1 || p.ping(p.vmB, p.addrA, 1) != 1 {
					return fmt.Errorf("a ping is lost")
				}
				return nil
			})
			r, _ := p.a.traceFrom(p.vmA, p.addrB)
			if !r.Delivered {
				t.Errorf("trace of what works: %s", r.Summary)
			}
		})
		if t.Failed() {
			return // the next pieces stand on this one's being put right
		}
	}
}
