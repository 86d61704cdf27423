package plan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// wholePeering is a peering of n sites as a plan makes it.
func wholePeering(n int) (*peering.Peering, []observed.Site) {
	p := &peering.Peering{Name: "acme", Network: peering.Network{CIDR: cidr, VNI: 100}}
	var obs []observed.Site
	mac := func(i int) model.NamedMAC {
		m, _ := model.ParseNamedMAC(fmt.Sprintf("02:00:00:00:00:%02x", i+1))
		return m
	}
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)}) }
	vtep := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{200, 0, 0, byte(i + 1)}) }
	for i := range n {
		name := fmt.Sprintf("site-%d", i)
		p.Sites = append(p.Sites, peering.Site{Name: name, Router: "r", Gateway: peering.Gateway{Device: "dev"}})
		tag := observed.Tag("acme", name)
		o := observed.Site{Name: name, Endpoint: name, Routers: []observed.Router{{ID: "r", Name: "r", AdminStateUp: true}},
			Devices:     []observed.Device{{ID: "dev", Name: "dev", Type: "router_vtep", RouterID: "v", TunnelIPs: []netip.Addr{vtep(i)}}},
			Networks:    []observed.Network{{ID: "net", Tags: []string{tag}, Description: tag, AdminStateUp: true, MTU: 1450}},
			Subnets:     []observed.Subnet{{ID: "sub", Tags: []string{tag}, Description: tag, NetworkID: "net", CIDR: cidr}},
			L2Gateways:  []observed.L2Gateway{{ID: "l2", Name: tag, DeviceID: "dev", VNI: 100}},
			Connections: []observed.Connection{{ID: "conn", L2GatewayID: "l2", NetworkID: "net"}},
		}
		tenantOf(&o, i)
		for j := range n {
			other := fmt.Sprintf("site-%d", j)
			port := observed.Port{ID: "port-" + other, Tags: []string{observed.Tag("acme", other)}, NetworkID: "net", MAC: mac(j), AdminStateUp: true,
				IPs: []observed.IP{{SubnetID: "sub", Addr: addr(j)}}, DeviceOwner: "network:remote_site"}
			if i == j {
				port.DeviceOwner, port.DeviceID = "network:router_interface", "r"
				o.Interfaces = append(o.Interfaces, port)
			} else {
				o.Routers[0].Routes = append(o.Routers[0].Routes, observed.Route{Destination: tenantCIDR(j), NextHop: addr(j)})
				o.RemoteMACs = append(o.RemoteMACs, observed.RemoteMAC{ID: "entry-" + other, DeviceID: "dev", MAC: mac(j), VTEP: vtep(j), VNI: 100})
			}
			o.Ports = append(o.Ports, port)
		}
		obs = append(obs, o)
	}
	return p, obs
}

// more puts a further tenant network on a site's router.
func more(o *observed.Site, net string) {
	id := "more-" + net
	o.Networks = append(o.Networks, observed.Network{ID: id, MTU: 1450, AdminStateUp: true})
	o.Subnets = append(o.Subnets, observed.Subnet{ID: id, NetworkID: id, CIDR: netip.MustParsePrefix(net)})
	o.Interfaces = append(o.Interfaces, observed.Port{ID: id, NetworkID: id, DeviceID: "r", DeviceOwner: "network:router_interface",
		IPs: []observed.IP{{SubnetID: id, Addr: netip.MustParsePrefix(net).Addr().Next()}}})
}

// said are a plan's actions, and what it goes around, in short.
func said(p *Plan) (actions, around []string) {
	for _, a := range p.Actions {
		actions = append(actions, strings.TrimSpace(fmt.Sprint(a.ID, " ", len(a.Routes))))
	}
	for _, b := range p.Around {
		around = append(around, b.String())
	}
	slices.Sort(actions)
	return actions, around
}

// TestAround: what nothing stands in the way of is planned, and the rest is left alone.
func TestAround(t *testing.T) {
	withoutRoute := func(o *observed.Site, net netip.Prefix) {
		r := &o.Routers[0]
		r.Routes = slices.DeleteFunc(r.Routes, func(x observed.Route) bool { return x.Destination == net })
	}
	for _, tc := range []struct {
		name   string
		change func(p *peering.Peering, obs []observed.Site)
		want   []string // actions, and how many routes each has
		around string   // the first problem, begins so
		alone  LeftAlone
	}{
		{"two overlap, a third has drifted", func(_ *peering.Peering, obs []observed.Site) {
			more(&obs[2], "10.0.0.0/25") // overlaps with site-0's
			withoutRoute(&obs[1], tenantCIDR(0))
			withoutRoute(&obs[2], tenantCIDR(0)) // between those two: stays
			more(&obs[2], "10.9.0.0/24")         // of no concern to anybody
			obs[3].RemoteMACs = nil              // site-3 still has site-0's network: that one was first
		}, []string{"site-1/routes:site-0 1", "site-1/routes:site-2 1", "site-3/remote-mac:site-0 0", "site-3/remote-mac:site-1 0",
			"site-3/remote-mac:site-2 0", "site-3/routes:site-2 1"},
			"site-2: 10.0.0.0/25 (subnet more-10.0.0.0/25) overlaps with 10.0.0.0/24", LeftAlone{Pairs: [][2]string{{"site-0", "site-2"}}}},
		{"a router is gone", func(_ *peering.Peering, obs []observed.Site) {
			obs[2].Routers = nil
			withoutRoute(&obs[1], tenantCIDR(0))
			withoutRoute(&obs[1], tenantCIDR(2))
		}, []string{"site-1/routes:site-0 1"}, "site-2: router r: there is none", LeftAlone{Sites: []string{"site-2"}}},
		{"a gateway is gone", func(_ *peering.Peering, obs []observed.Site) {
			obs[2].Devices = nil
			withoutRoute(&obs[1], tenantCIDR(0))
			obs[0].RemoteMACs = nil
		}, []string{"site-0/remote-mac:site-1 0", "site-0/remote-mac:site-3 0", "site-1/routes:site-0 1"},
			"site-2: gateway device dev: there is none", LeftAlone{Sites: []string{"site-2"}}},
		{"equal tunnel IPs", func(_ *peering.Peering, obs []observed.Site) {
			obs[3].Devices[0].TunnelIPs = obs[2].Devices[0].TunnelIPs
			withoutRoute(&obs[1], tenantCIDR(0))
		}, []string{"site-1/routes:site-0 1"}, "site-3: its tunnel IP 200.0.0.3 is that of site site-2 too", LeftAlone{Sites: []string{"site-2", "site-3"}}},
		{"a route in the way", func(_ *peering.Peering, obs []observed.Site) {
			withoutRoute(&obs[0], tenantCIDR(1))
			obs[0].Routers[0].Routes = append(obs[0].Routers[0].Routes, observed.Route{Destination: tenantCIDR(1), NextHop: netip.MustParseAddr("10.0.0.9")})
			withoutRoute(&obs[1], tenantCIDR(0)) // the same pair
			withoutRoute(&obs[0], tenantCIDR(2))
		}, []string{"site-0/routes:site-2 1"}, "site-0: router r (r): its route to 10.0.1.0/24", LeftAlone{Pairs: [][2]string{{"site-0", "site-1"}}}},
		{"a site has another name in the file", func(p *peering.Peering, obs []observed.Site) {
			p.Sites[2].Name, obs[2].Name = "renamed", "renamed"
			withoutRoute(&obs[1], tenantCIDR(0))
		}, []string{"site-1/routes:site-0 1"}, "renamed: router r (r): it is on the network of site site-2", LeftAlone{Sites: []string{"renamed"}}},
		{"the VNI changes in the file meanwhile", func(p *peering.Peering, obs []observed.Site) {
			more(&obs[2], "10.0.0.0/25")
			p.Network.VNI = 101
		}, nil, "site-2: 10.0.0.0/25", LeftAlone{Sites: []string{"site-0", "site-1", "site-2", "site-3"}}},
		{"an address changes in the file meanwhile", func(p *peering.Peering, obs []observed.Site) {
			more(&obs[2], "10.0.0.0/25")
			p.Sites[0].Address = netip.MustParseAddr("192.168.0.99")
			withoutRoute(&obs[1], tenantCIDR(3))
		}, []string{"site-1/routes:site-3 1"}, "site-2: 10.0.0.0/25", LeftAlone{Sites: []string{"site-0"}}},
		{"an address was changed by hand", func(_ *peering.Peering, obs []observed.Site) {
			more(&obs[2], "10.0.0.0/25")
			for i := range obs[0].Ports {
				if p := &obs[0].Ports[i]; p.DeviceID == "r" {
					p.IPs = []observed.IP{{SubnetID: "sub", Addr: netip.MustParseAddr("192.168.0.77")}}
				}
			}
		}, []string{"site-0/peer-port-update 0"}, "site-2: 10.0.0.0/25", LeftAlone{Pairs: [][2]string{{"site-0", "site-2"}}}},
		{"nobody is left", func(_ *peering.Peering, obs []observed.Site) {
			for i := range obs {
				more(&obs[i], "10.5.0.0/24")
			}
			withoutRoute(&obs[1], tenantCIDR(0))
		}, nil, "site-1: 10.5.0.0/24", LeftAlone{Sites: []string{"site-0", "site-1", "site-2", "site-3"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, obs := wholePeering(4)
			if pl := Build(p, obs, Options{Around: true}); !pl.Empty() || len(pl.Around) > 0 {
				t.Fatalf("a whole peering: %+v", pl)
			}
			tc.change(p, obs)
			if pl := Build(p, obs, Options{}); len(pl.Blockers) == 0 {
				t.Fatal("nothing stands in the way")
			}
			pl := Build(p, obs, Options{Around: true})
			actions, around := said(pl)
			if d := cmp.Diff(tc.want, actions); d != "" || len(pl.Blockers) > 0 {
				t.Errorf("actions: %s\n%v", d, pl.Blockers)
			}
			if d := cmp.Diff(tc.alone, pl.LeftAlone); d != "" {
				t.Errorf("left alone: %s", d)
			}
			if len(around) == 0 || !strings.HasPrefix(around[0], tc.around) {
				t.Errorf("around %q", around)
			}
		})
	}
}

// TestAroundAnything: a plan around what stands in the way does nothing at a site, or between
// two, that it concerns; it keeps its order; and where nothing stands in the way it is the
// same plan.
func TestAroundAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, obs, mine := topology(t)
		for i := range obs {
			switch rapid.IntRange(0, 12).Draw(t, "trouble") {
			case 0:
				obs[i].Routers = nil
			case 1:
				obs[i].Devices = nil
			case 2:
				more(&obs[i], fmt.Sprintf("10.0.%d.0/25", (i+1)%len(obs)))
			case 3:
				more(&obs[i], "10.77.0.0/24")
			case 4:
				obs[i].Routers[0].Routes = append(obs[i].Routers[0].Routes, observed.Route{Destination: tenantCIDR((i + 1) % len(obs)), NextHop: netip.MustParseAddr("10.0.0.9")})
			case 5:
				obs[i].Ports = append(obs[i].Ports, observed.Port{ID: "f-port", NetworkID: "net", MAC: model.NamedMAC{MAC: model.MAC{2, 9}}, IPs: []observed.IP{{SubnetID: "sub", Addr: netip.MustParseAddr("192.168.0.2")}}})
			case 6:
				tag := observed.Tag("acme", obs[i].Name)
				obs[i].Networks = append(obs[i].Networks, observed.Network{ID: "double", Tags: []string{tag}, Description: tag, AdminStateUp: true})
				obs[i].Ports = append(obs[i].Ports, observed.Port{ID: "f-double", NetworkID: "double"})
				mine[obs[i].Name+"/double"] = true
			case 7:
				obs[i].Problem = &observed.Problem{Text: "down"}
			}
		}
		strict, pl := Build(p, obs, Options{WithoutDown: true}), Build(p, obs, Options{WithoutDown: true, Around: true})
		checkPlan(t, pl, mine)
		if len(pl.Blockers) > 0 || (len(strict.Blockers) > 0) != (len(pl.Around) > 0) {
			t.Fatalf("blockers %v, %v, around %v", strict.Blockers, pl.Blockers, pl.Around)
		}
		if len(strict.Blockers) == 0 {
			a, _ := json.Marshal(strict)
			if b, _ := json.Marshal(pl); string(a) != string(b) {
				t.Fatalf("%s\n%s", a, b)
			}
			return
		}
		for _, b := range strict.Blockers {
			if !slices.ContainsFunc(pl.Around, b.same) {
				t.Fatalf("not told: %v", b)
			}
		}
		for _, a := range pl.Actions {
			for _, b := range pl.Around {
				if b.whole(a.Site) || a.Remote != "" && b.concerns(a.Site, a.Remote) {
					t.Fatalf("%s is done, and there is %v", a.ID, b)
				}
			}
			if a.Op == RemoveRoutes || a.Op == AddRoutes {
				for _, r := range a.Routes {
					for _, c := range pl.Choices.Sites {
						if c.Site == a.Site || c.Address != r.NextHop {
							continue
						}
						for _, b := range pl.Around {
							if b.concerns(a.Site, c.Site) {
								t.Fatalf("%s changes the route %v, and there is %v", a.ID, r, b)
							}
						}
					}
				}
			}
		}
	})
}
