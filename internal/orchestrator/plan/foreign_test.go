package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// TestOthersStay: what looks like the peering's own, and is not, is neither changed nor taken
// away, by no plan.
func TestOthersStay(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(p *peering.Peering, obs []observed.Site)
		theirs []string // ids, or next hops, at site-0
		apply  string   // begins what apply says of it; "" for nothing
	}{
		{"a VLAN on a network that was taken over", func(_ *peering.Peering, obs []observed.Site) {
			o := &obs[0]
			o.Networks[0].Description = "by hand"
			o.L2Gateways[0].Name = "by hand"
			o.Devices = append(o.Devices, observed.Device{ID: "vlans", Name: "vlans", Type: "network_vlan", RouterID: "trunk"})
			o.L2Gateways = append(o.L2Gateways, observed.L2Gateway{ID: "f-l2", Name: "vlan", DeviceID: "vlans", VNI: 7})
			o.Connections = append(o.Connections, observed.Connection{ID: "f-conn", L2GatewayID: "f-l2", NetworkID: "net"})
		}, []string{"f-l2", "f-conn"}, "site-0: L2 gateway connection f-conn: it puts the multi-site network on an L2 gateway that the peering did not make"},
		{"a second VNI on a network that was taken over", func(_ *peering.Peering, obs []observed.Site) {
			o := &obs[0]
			o.Networks[0].Description = "by hand"
			o.L2Gateways[0].Name = "by hand"
			o.L2Gateways = append(o.L2Gateways, observed.L2Gateway{ID: "f-l2", Name: "second", DeviceID: "dev", VNI: 7})
			o.Connections = append(o.Connections, observed.Connection{ID: "f-conn", L2GatewayID: "f-l2", NetworkID: "net"})
		}, []string{"f-l2", "f-conn"}, "site-0: L2 gateway connection f-conn"},
		{"a connection on a network whose description somebody changed", func(_ *peering.Peering, obs []observed.Site) {
			o := &obs[0]
			o.Networks[0].Description = "do not touch"
			o.L2Gateways = append(o.L2Gateways, observed.L2Gateway{ID: "f-l2", Name: "other", DeviceID: "dev", VNI: 7})
			o.Connections = append(o.Connections, observed.Connection{ID: "f-conn", L2GatewayID: "f-l2", NetworkID: "net"})
		}, []string{"f-l2", "f-conn"}, "site-0: L2 gateway connection f-conn"},
		{"an entry of the same VNI and MAC on another device", func(p *peering.Peering, obs []observed.Site) {
			o := &obs[0]
			o.Devices = append(o.Devices, observed.Device{ID: "dev2", Name: "dev2", Type: "router_vtep", RouterID: "v2", TunnelIPs: []netip.Addr{netip.MustParseAddr("200.0.0.99")}})
			p.Sites[0].Gateway.Device = "dev2" // the file names another one now
			e := o.RemoteMACs[0]
			e.ID, e.DeviceID, e.VTEP = "f-entry", "dev2", netip.MustParseAddr("200.7.7.7")
			o.RemoteMACs = append(o.RemoteMACs, e)
		}, []string{"f-entry"}, "site-0: gateway device dev2 (dev2): its remote MAC table has 02:00:00:00:00:02, VNI 100 at 200.7.7.7 already"},
		{"a route to an address outside of the multi-site network", func(_ *peering.Peering, obs []observed.Site) {
			hop := netip.MustParseAddr("10.0.0.77")
			obs[0].Routers[0].Routes = append(obs[0].Routers[0].Routes, observed.Route{Destination: netip.MustParsePrefix("172.31.0.0/16"), NextHop: hop})
			for i := range obs[1].Ports { // somebody gave the other router's port that address
				if p := &obs[1].Ports[i]; p.DeviceID == "r" {
					p.IPs = []observed.IP{{SubnetID: "second", Addr: hop}}
				}
			}
		}, []string{"10.0.0.77"}, ""},
		{"an entry of the same MAC and another VNI", func(_ *peering.Peering, obs []observed.Site) {
			e := obs[0].RemoteMACs[0]
			e.ID, e.VNI = "f-entry", 7
			obs[0].RemoteMACs = append(obs[0].RemoteMACs, e)
		}, []string{"f-entry"}, ""},
		{"a port without a mark", func(_ *peering.Peering, obs []observed.Site) {
			obs[0].Ports = append(obs[0].Ports, observed.Port{ID: "f-port", NetworkID: "net", MAC: model.NamedMAC{MAC: model.MAC{2, 9}}, DeviceOwner: "network:remote_site",
				IPs: []observed.IP{{SubnetID: "sub", Addr: netip.MustParseAddr("192.168.0.50")}}})
		}, []string{"f-port"}, ""},
		{"another peering's port", func(_ *peering.Peering, obs []observed.Site) {
			obs[0].Ports = append(obs[0].Ports, observed.Port{ID: "f-port", NetworkID: "net", MAC: model.NamedMAC{MAC: model.MAC{2, 9}}, Tags: []string{observed.Tag("acme2", "site-1"), observed.Tag("ac", "site-1")}})
		}, []string{"f-port"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, obs := wholePeering(3)
			tc.change(p, obs)
			up := Build(p, obs, Options{})
			for goal, pl := range map[string]*Plan{"apply": up, "around": Build(p, obs, Options{Around: true}), "destroy": Teardown(p, obs, Options{})} {
				for _, a := range pl.Actions {
					if a.Site == "site-0" && (slices.Contains(tc.theirs, a.Target.ID) || slices.ContainsFunc(a.Routes, func(r observed.Route) bool { return slices.Contains(tc.theirs, r.NextHop.String()) })) {
						t.Errorf("%s: %s %s", goal, a.ID, a.What)
					}
				}
			}
			if tc.apply == "" {
				return
			}
			for _, pr := range append(up.Blockers, up.Warnings...) {
				if strings.HasPrefix(pr.String(), tc.apply) {
					return
				}
			}
			t.Errorf("not told: %v %v", up.Blockers, up.Warnings)
		})
	}
}

// TestSharedTunnelIP: two files that give one gateway device two tunnel IPs do not take
// turns in changing it.
func TestSharedTunnelIP(t *testing.T) {
	p, obs := wholePeering(2)
	p.Sites[0].Gateway = peering.Gateway{Router: "vtep", TunnelIP: netip.MustParseAddr("200.0.0.9")}
	o := &obs[0]
	o.Devices[0].Name = observed.DeviceName("vtep")
	o.GatewayRouters = []observed.Router{{ID: "v", Name: "vtep", Description: observed.GatewayMark, Tags: []string{observed.UsesTag("acme", "site-0")}}}
	if pl := Build(p, obs, Options{}); len(pl.Blockers) > 0 || !slices.ContainsFunc(pl.Actions, func(a Action) bool { return a.ID == "site-0/gateway-device-update" }) {
		t.Errorf("one file: %v", pl.Blockers)
	}
	o.GatewayRouters[0].Tags = append(o.GatewayRouters[0].Tags, observed.UsesTag("beta", "here"))
	pl := Build(p, obs, Options{})
	if len(pl.Blockers) != 1 || !strings.Contains(pl.Blockers[0].Text, "peering beta") || pl.Blockers[0].Hint == "" {
		t.Errorf("two files: %v", pl.Blockers)
	}
}

// TestRenamed: a site that has another name in the file is told by what it is.
func TestRenamed(t *testing.T) {
	p, obs := wholePeering(3)
	p.Sites[2].Name, obs[2].Name = "renamed", "renamed"
	for goal, pl := range map[string]*Plan{"apply": Build(p, obs, Options{}), "adopt": TakeOver(p, obs)} {
		if len(pl.Blockers) != 1 || !strings.Contains(pl.Blockers[0].Text, "site site-2 of this peering") || pl.Blockers[0].Hint == "" {
			t.Errorf("%s: %v", goal, pl.Blockers)
		}
	}
}
