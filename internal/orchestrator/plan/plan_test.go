package plan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

var cidr = netip.MustParsePrefix("192.168.0.0/24")

// topology draws sites in any state that a peering can be in: all of it there, parts
// missing, parts changed, and other people's things beside it. mine are the ids of
// what bears the peering's marks, or is told by them.
func topology(t *rapid.T) (p *peering.Peering, obs []observed.Site, mine map[string]bool) {
	n := rapid.IntRange(2, 5).Draw(t, "sites")
	mine = map[string]bool{}
	p = &peering.Peering{Name: "acme", Network: peering.Network{CIDR: cidr, VNI: model.VNI(rapid.SampledFrom([]int{0, 100, 101}).Draw(t, "vni"))}}
	maybe := func(percent int, what string) bool { return rapid.IntRange(1, 100).Draw(t, what) <= percent }
	mac := func(i int) model.NamedMAC {
		m, _ := model.ParseNamedMAC(fmt.Sprintf("02:00:00:00:00:%02x", i+1))
		return m
	}
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)}) }
	for i := range n {
		name := fmt.Sprintf("site-%d", i)
		s := peering.Site{Name: name, Router: "r", Gateway: peering.Gateway{Device: "dev"}}
		if maybe(30, "address") {
			s.Address = netip.AddrFrom4([4]byte{192, 168, 0, byte(rapid.IntRange(1, 9).Draw(t, "a"))})
		}
		p.Sites = append(p.Sites, s)
		o := observed.Site{Name: name, Routers: []observed.Router{{ID: "r", Name: "r", AdminStateUp: true}},
			Devices: []observed.Device{{ID: "dev", Name: "dev", Type: "router_vtep", RouterID: "v", TunnelIPs: []netip.Addr{netip.AddrFrom4([4]byte{200, 0, 0, byte(i + 1)})}}}}
		tenantOf(&o, i)
		if maybe(75, "there") {
			id := func(what string) string {
				mine[name+"/"+what] = true
				return what
			}
			tag := observed.Tag("acme", name)
			marks := func() ([]string, string) {
				if maybe(15, "untagged") {
					return nil, tag
				}
				return []string{tag}, tag
			}
			tags, desc := marks()
			o.Networks = append(o.Networks, observed.Network{ID: id("net"), Tags: tags, Description: desc, AdminStateUp: maybe(90, "up"), PortSecurity: maybe(10, "ps"), MTU: 1450})
			if maybe(90, "subnet") {
				tags, desc = marks()
				o.Subnets = append(o.Subnets, observed.Subnet{ID: id("sub"), Tags: tags, Description: desc, NetworkID: "net", CIDR: cidr, DHCP: maybe(10, "dhcp")})
			}
			if maybe(85, "l2") {
				vni := model.VNI(100)
				if maybe(15, "vni") {
					vni = 300
				}
				o.L2Gateways = append(o.L2Gateways, observed.L2Gateway{ID: id("l2"), Name: tag, DeviceID: "dev", VNI: vni})
				if maybe(85, "conn") {
					o.Connections = append(o.Connections, observed.Connection{ID: id("conn"), L2GatewayID: "l2", NetworkID: "net"})
				}
			}
			for j := range n + 1 { // one more than there are sites in the file
				if maybe(15, "no port") {
					continue
				}
				other := fmt.Sprintf("site-%d", j)
				port := observed.Port{ID: id("port-" + other), Tags: []string{observed.Tag("acme", other)}, NetworkID: "net", MAC: mac(j), AdminStateUp: maybe(95, "up"),
					IPs: []observed.IP{{SubnetID: "sub", Addr: addr(j)}}, DeviceOwner: "network:remote_site"}
				if maybe(10, "moved") {
					port.IPs[0].Addr = addr(j + 20)
				}
				if maybe(10, "other mac") {
					port.MAC = mac(j + 20)
				}
				if j == i {
					port.DeviceOwner = ""
					if maybe(90, "attached") {
						port.DeviceOwner, port.DeviceID = "network:router_interface", "r"
						o.Interfaces = append(o.Interfaces, port)
					}
				} else {
					if port.Addr() == addr(j) && maybe(80, "route") && port.DeviceID == "" {
						o.Routers[0].Routes = append(o.Routers[0].Routes, observed.Route{Destination: tenantCIDR(j), NextHop: addr(j)})
					}
					if maybe(80, "entry") {
						vtep := netip.AddrFrom4([4]byte{200, 0, 0, byte(j + 1)})
						if maybe(10, "vtep") {
							vtep = netip.MustParseAddr("200.9.9.9")
						}
						o.RemoteMACs = append(o.RemoteMACs, observed.RemoteMAC{ID: id("entry-" + other), DeviceID: "dev", MAC: port.MAC, VTEP: vtep, VNI: 100})
					}
				}
				o.Ports = append(o.Ports, port)
			}
		}
		foreignOf(t, &o)
		obs = append(obs, o)
	}
	return p, obs, mine
}

func tenantCIDR(i int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i)) }

func tenantOf(o *observed.Site, i int) {
	o.Networks = append(o.Networks, observed.Network{ID: "tnet", MTU: 1450, AdminStateUp: true})
	o.Subnets = append(o.Subnets, observed.Subnet{ID: "tsub", NetworkID: "tnet", CIDR: tenantCIDR(i)})
	o.Interfaces = append(o.Interfaces, observed.Port{ID: "tport", NetworkID: "tnet", DeviceID: "r", DeviceOwner: "network:router_interface",
		IPs: []observed.IP{{SubnetID: "tsub", Addr: tenantCIDR(i).Addr().Next()}}})
}

// foreignOf adds what other people have.
func foreignOf(t *rapid.T, o *observed.Site) {
	if rapid.Bool().Draw(t, "foreign") {
		o.L2Gateways = append(o.L2Gateways, observed.L2Gateway{ID: "f-l2", Name: "other", DeviceID: "dev", VNI: 500})
		o.Connections = append(o.Connections, observed.Connection{ID: "f-conn", L2GatewayID: "f-l2", NetworkID: "f-net"})
		m, _ := model.ParseNamedMAC("02:00:00:00:01:01")
		o.RemoteMACs = append(o.RemoteMACs, observed.RemoteMAC{ID: "f-entry", DeviceID: "dev", MAC: m, VTEP: netip.MustParseAddr("200.7.7.7"), VNI: 500})
		same, _ := model.ParseNamedMAC("02:00:00:00:00:02")
		o.RemoteMACs = append(o.RemoteMACs, observed.RemoteMAC{ID: "f-entry2", DeviceID: "dev", MAC: same, VTEP: netip.MustParseAddr("200.7.7.7"), VNI: 500})
		o.Routers[0].Routes = append(o.Routers[0].Routes, observed.Route{Destination: netip.MustParsePrefix("172.31.0.0/16"), NextHop: netip.MustParseAddr("10.0.0.9")})
	}
}

// checkPlan checks what every plan must be.
func checkPlan(t *rapid.T, p *Plan, mine map[string]bool) {
	at := map[string]int{}
	for i, a := range p.Actions {
		if _, twice := at[a.ID]; twice {
			t.Fatalf("two actions are called %s", a.ID)
		}
		at[a.ID] = i
		for _, id := range a.After {
			if j, ok := at[id]; !ok || j >= i {
				t.Fatalf("%s comes before %s", a.ID, id)
			}
		}
		for _, from := range refs(a) {
			if _, ok := at[from]; !ok {
				t.Fatalf("%s needs what %s makes, which is not before it", a.ID, from)
			}
			if !reaches(p.Actions, a.ID, from) {
				t.Fatalf("%s needs what %s makes and does not wait for it", a.ID, from)
			}
		}
		switch a.Op {
		case Delete, Update, Detach, AddTag:
			if a.Target.ID != "" && !mine[a.Site+"/"+a.Target.ID] {
				t.Fatalf("%s does %s to %s, which is not the peering's", a.ID, a.Op, a.Target.ID)
			}
		case AddRoutes, RemoveRoutes:
			for _, r := range a.Routes {
				if !cidr.Contains(r.NextHop) {
					t.Fatalf("%s: the route to %s by %s is not the peering's", a.ID, r.Destination, r.NextHop)
				}
			}
		}
	}
}

// refs are the actions whose results an action needs.
func refs(a Action) []string {
	var out []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case Ref:
			if v.From != "" {
				out = append(out, v.From)
			}
		case Attrs:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(a.Target)
	walk(a.Parent)
	walk(a.Attrs)
	return out
}

func reaches(actions []Action, from, to string) bool {
	i := slices.IndexFunc(actions, func(a Action) bool { return a.ID == from })
	return i >= 0 && slices.ContainsFunc(actions[i].After, func(id string) bool { return id == to || reaches(actions, id, to) })
}

// TestPlanOfAnything: plans of any state keep their order, touch only what is the
// peering's, and are the same however the sites list what they have.
func TestPlanOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, obs, mine := topology(t)
		pl := Build(p, obs, Options{})
		checkPlan(t, pl, mine)
		down := Teardown(p, obs, Options{})
		checkPlan(t, down, mine)
		// What is there of the peering, goes.
		for i := range obs {
			for key := range mine {
				id, of := "", obs[i].Name+"/"
				if len(key) > len(of) && key[:len(of)] == of {
					id = key[len(of):]
				}
				if id == "" || len(down.Blockers) > 0 || slices.ContainsFunc(down.Actions, func(a Action) bool { return a.Site == obs[i].Name && a.Target.ID == id }) {
					continue
				}
				// An entry is told by a VNI and a MAC; where both have changed, nothing
				// tells it any more.
				if id[:1] != "e" {
					t.Fatalf("destroy leaves %s of %s", id, obs[i].Name)
				}
			}
		}
		addrs, macs := map[netip.Addr]bool{}, map[model.MAC]bool{}
		for _, c := range pl.Choices.Sites {
			if len(pl.Blockers) > 0 {
				break
			}
			if !cidr.Contains(c.Address) || addrs[c.Address] || c.MAC.IsZero() || macs[c.MAC.MAC] {
				t.Fatalf("choices: %+v", pl.Choices)
			}
			addrs[c.Address], macs[c.MAC.MAC] = true, true
		}
		again := make([]observed.Site, len(obs))
		for i, o := range obs {
			slices.Reverse(o.Networks)
			slices.Reverse(o.Subnets)
			slices.Reverse(o.Ports)
			slices.Reverse(o.RemoteMACs)
			slices.Reverse(o.L2Gateways)
			slices.Reverse(o.Connections)
			again[len(obs)-1-i] = o
		}
		if a, b := sorted(pl), sorted(Build(p, again, Options{})); a != b {
			t.Fatalf("two plans of the same sites differ:\n%s\n%s", a, b)
		}
	})
}

// sorted is a plan as text, without the order of what may be in any.
func sorted(p *Plan) string {
	var parts []string
	for _, a := range p.Actions {
		slices.Sort(a.After)
		b, err := json.Marshal(a)
		if err != nil {
			panic(err)
		}
		parts = append(parts, string(b))
	}
	slices.Sort(parts)
	return fmt.Sprint(parts, p.Choices)
}
