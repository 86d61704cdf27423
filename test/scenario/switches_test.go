package scenario

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testutil"
)

var secondTor = torSpec{"tor2", "127.0.0.2", "to-tor2", "172.16.8.1", "172.16.8.2", map[string]string{"p0": "wl3"}}

// withTwoTors adds a second switch, and a workload "wl3" behind its port p0, on the
// same network.
func withTwoTors(f *testbed.File) {
	withTor(f)
	prefix := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	f.Routers = append(f.Routers, testbed.Node{Name: "tor2"}, testbed.Node{Name: "wl3"})
	f.Links = append(f.Links,
		testbed.Link{Ends: []testbed.End{
			{Node: "core", Interface: "to-tor2", Address: prefix("172.16.8.1/24")},
			{Node: "tor2", Interface: "up0", Address: prefix("172.16.8.2/24")},
		}},
		testbed.Link{Ends: []testbed.End{
			{Node: "tor2", Interface: "p0", Address: prefix("192.0.2.1/24")},
			{Node: "wl3", Interface: "eth0", Address: prefix("192.168.0.51/24")},
		}, MTU: 1450},
	)
	f.Routes["wl3"] = f.Routes["wl"]
}

// TestTwoSwitches: two switches of a site carry one network with one VNI. What is
// behind them and the site's router reach each other; one that loses its database, or
// refuses what is asked of it, is told apart in the status, and the other goes on.
func TestTwoSwitches(t *testing.T) {
	l := newLab(t, 1, withTwoTors)
	first, second := newTor(l, firstTor), newTor(l, secondTor)
	a := l.sites[0]
	tn := a.newTenant("t", 100)
	tn.attach("vm-a", 3, "")
	devices := map[*tor]string{}
	for tor, workload := range map[*tor][2]string{first: {"wl", workloadIP}, second: {"wl3", "192.168.0.51"}} {
		devices[tor] = a.switchDevice(tor)
		gateway := a.create(client.L2Gateways, client.Attrs{"name": tor.node, "devices": []client.Attrs{{
			"device_id": devices[tor], "segmentation_id": "100", "interfaces": []client.Attrs{{"name": "p0"}},
		}}})
		a.create(client.L2GatewayConnections, client.Attrs{"l2_gateway_id": gateway, "network_id": tn.multiSite})
		a.create(client.Ports, client.Attrs{
			"network_id": tn.multiSite, "device_owner": "network:remote_site", "mac_address": l.linkMAC(workload[0], "eth0"),
			"fixed_ips": []client.Attrs{{"ip_address": workload[1]}},
		})
	}
	for _, d := range devices {
		a.untilSwitch(d, "the switch is in sync", settled)
	}
	all := func(t *testing.T) {
		t.Helper()
		for _, p := range [][2]string{{"wl", "10.0.0.3"}, {"wl3", "10.0.0.3"}, {"wl", "192.168.0.51"}, {"wl3", workloadIP}} {
			l.reach(p[0], p[1])
		}
	}
	l.sub("all reach each other", func(t *testing.T) {
		all(t)
		l.bulkTCP("wl", "wl3", "192.168.0.51", 1<<20)
	})
	l.sub("one loses its database", func(t *testing.T) {
		second.end(second.emu)
		second.end(second.db)
		a.untilSwitch(devices[second], "the site sees it", func(v switchView) bool { return !v.Connected && v.Error != "" })
		first.goesOn(devices[first])
		l.mustPing("wl", "10.0.0.3")
		second.replaceDB(vtepSchema)
		a.untilSwitch(devices[second], "in sync again", settled)
		all(t)
	})
	l.sub("one has no room", func(t *testing.T) {
		second.end(second.emu)
		second.end(second.db)
		// As the schema has it, a table with few rows.
		schema, err := os.ReadFile(vtepSchema)
		if err != nil {
			t.Fatal(err)
		}
		small := strings.Replace(string(schema), `"Ucast_Macs_Remote": {`, `"Ucast_Macs_Remote": {"maxRows": 4,`, 1)
		if small == string(schema) {
			t.Fatal("the schema has no Ucast_Macs_Remote")
		}
		path := second.path("small.ovsschema")
		if err := os.WriteFile(path, []byte(small), 0o600); err != nil {
			t.Fatal(err)
		}
		second.replaceDB(path)
		a.untilSwitch(devices[second], "in sync: so many there may be", settled)
		var entries []string
		for i := range 5 {
			entries = append(entries, a.create(client.RemoteMACEntries(devices[second]), client.Attrs{
				"mac_address": fmt.Sprintf("02:00:00:00:01:%02x", i), "vtep_address": "200.200.0.9", "segmentation_id": 100,
			}))
		}
		const refuses = "VNI 100: the switch refuses: constraint violation: "
		a.untilSwitch(devices[second], "the site says what the switch refuses", func(v switchView) bool {
			return v.Connected && !v.InSync && strings.HasPrefix(v.Error, refuses) && strings.Contains(v.Error, "Ucast_Macs_Remote")
		})
		counts, err := l.metrics(a.name)
		if err != nil {
			t.Fatal(err)
		}
		device := fmt.Sprintf("device=%q", devices[second])
		if counts["causeway_controller_switch_in_sync{"+device+"}"] != 0 || counts["causeway_controller_switch_connected{"+device+"}"] != 1 ||
			counts["causeway_controller_switch_transactions_total{"+device+`,result="refused"}`] == 0 {
			t.Errorf("the metrics are %v", counts)
		}
		first.goesOn(devices[first])
		all(t) // what it had goes on
		for _, e := range entries {
			a.remove(client.RemoteMACEntries(devices[second]), e)
		}
		a.untilSwitch(devices[second], "in sync again", settled)
		all(t)
	})
}

// replaceDB gives the switch a new database.
func (s *tor) replaceDB(schema string) {
	s.t.Helper()
	if err := os.Remove(s.path("vtep")); err != nil {
		s.t.Fatal(err)
	}
	s.newDB("vtep", schema)
	s.startDB()
	s.addSwitch()
	s.startEmulator()
}

// goesOn makes sure that the switch gets what changes at the site.
func (s *tor) goesOn(device string) {
	s.t.Helper()
	a := s.sites[0]
	const mac = "02:00:00:00:00:77"
	entry := a.create(client.RemoteMACEntries(device), client.Attrs{"mac_address": mac, "vtep_address": "200.200.0.9", "segmentation_id": 100})
	for _, there := range []bool{true, false} {
		testutil.Succeeds(s.t, "the change reaches the other switch", func() error {
			if macs := s.tool("vtep-ctl", "list-remote-macs", s.tool("vtep-ctl", "list-ls")); strings.Contains(macs, mac) != there {
				return fmt.Errorf("it has\n%s", macs)
			}
			return nil
		})
		if there {
			a.remove(client.RemoteMACEntries(device), entry)
		}
	}
}
