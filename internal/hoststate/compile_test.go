package hoststate

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// chapter is site A of the guide's example: tenant network with a VM, peer
// router, multi-site network with the peer router's port and the remote site's.
type chapter struct {
	tenant, multi, uplink                 *model.Network
	tenantSubnet, multiSubnet, upSubnet   *model.Subnet
	vm, gatewayPort, peerPort, remotePort *model.Port
	router, vtep                          *model.Router
	device                                *model.GatewayDevice
	place                                 *model.Placement
	entry                                 *model.RemoteMACEntry
	gateway                               *model.L2Gateway
	conn                                  *model.L2GatewayConnection
	upPort                                *model.Port
}

var (
	mac1      = model.MustMAC("16:B7:B5:A4:57:75")
	mac2      = model.MustMAC("6F:E4:5A:FA:8E:09")
	vmMAC     = model.MustMAC("fa:16:3e:00:00:03")
	tenantMAC = model.MustMAC("fa:16:3e:00:00:01")
	tunnelA   = netip.MustParseAddr("200.200.0.1")
	tunnelB   = netip.MustParseAddr("200.200.0.2")
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func named(m model.MAC) model.NamedMAC {
	return model.NamedMAC{MAC: m}
}
func fixed(subnet, ip string) []model.AddrPair {
	return []model.AddrPair{{SubnetID: model.SubnetID(subnet), IP: addr(ip)}}
}

func newChapter() *chapter {
	iface := func(id string, key model.PortKey, net model.NetworkID, mac model.MAC, subnet, ip, router string) *model.Port {
		return &model.Port{ID: model.PortID(id), Key: key, NetworkID: net, MAC: named(mac), FixedIPs: fixed(subnet, ip), AdminStateUp: true,
			DeviceOwner: model.OwnerRouterInterface, DeviceID: router}
	}
	c := &chapter{
		tenant:       &model.Network{ID: "tenant", Key: 1, AdminStateUp: true, MTU: 1450},
		multi:        &model.Network{ID: "multi", Key: 2, AdminStateUp: true, MTU: 1450},
		uplink:       &model.Network{ID: "uplink", Key: 3, AdminStateUp: true, MTU: 1500, Type: model.NetworkUplink},
		tenantSubnet: &model.Subnet{ID: "ts", NetworkID: "tenant", CIDR: prefix("10.0.0.0/24")},
		multiSubnet:  &model.Subnet{ID: "ms", NetworkID: "multi", CIDR: prefix("192.168.0.0/24")},
		upSubnet:     &model.Subnet{ID: "us", NetworkID: "uplink", CIDR: prefix("203.0.113.0/24")},
		router: &model.Router{ID: "peer", Key: 1, AdminStateUp: true, Routes: []model.HostRoute{
			{Destination: prefix("10.0.1.0/24"), NextHop: addr("192.168.0.2")}}},
		vtep:    &model.Router{ID: "vtep", Key: 2, AdminStateUp: true},
		device:  &model.GatewayDevice{ID: "dev", ResourceID: "vtep", TunnelIP: tunnelA, Type: model.RouterVTEP},
		place:   &model.Placement{DeviceID: "dev", Host: "h", Epoch: 3},
		entry:   &model.RemoteMACEntry{ID: "entry", DeviceID: "dev", MAC: named(mac2), VTEPAddress: tunnelB, VNI: 100},
		gateway: &model.L2Gateway{ID: "gw", DeviceID: "dev", VNI: 100},
		conn:    &model.L2GatewayConnection{ID: "conn", L2GatewayID: "gw", NetworkID: "multi"},
	}
	c.vm = &model.Port{ID: "vm", Key: 1, NetworkID: "tenant", MAC: named(vmMAC), FixedIPs: fixed("ts", "10.0.0.3"), AdminStateUp: true,
		PortSecurity: true, HostID: "h", Profile: profile("tap0")}
	c.gatewayPort = iface("gwport", 2, "tenant", tenantMAC, "ts", "10.0.0.1", "peer")
	c.peerPort = iface("peerport", 3, "multi", mac1, "ms", "192.168.0.1", "peer")
	c.remotePort = &model.Port{ID: "remote", Key: 4, NetworkID: "multi", MAC: named(mac2), FixedIPs: fixed("ms", "192.168.0.2"),
		AdminStateUp: true, DeviceOwner: "network:remote_site"}
	return c
}

func (c *chapter) compile(more ...any) State {
	t := NewTopology()
	for _, o := range []any{c.tenant, c.multi, c.uplink, c.tenantSubnet, c.multiSubnet, c.upSubnet, c.vm, c.gatewayPort, c.peerPort,
		c.remotePort, c.router, c.vtep, c.device, c.place, c.entry, c.gateway, c.conn, c.upPort} {
		if !reflect.ValueOf(o).IsNil() {
			t.Apply(Change{New: o})
		}
	}
	for _, o := range more {
		t.Apply(Change{New: o})
	}
	return Compile(t, "h")
}

func TestChapter(t *testing.T) {
	got := newChapter().compile()
	remote := FDBEntry{Kind: FDBRemote, Addr: tunnelB, TunnelIP: tunnelA, VNI: 100, Gateway: "dev", Host: "h"}
	want := State{
		Ports: map[model.PortKey]Port{1: {ID: "vm", Network: 1, Interface: "tap0", MAC: vmMAC, Addrs: []netip.Addr{addr("10.0.0.3")}, PortSecurity: true}},
		Networks: map[model.NetworkKey]Network{
			1: {ID: "tenant", MTU: 1450}, 2: {ID: "multi", MTU: 1450}},
		Routers: map[model.RouterKey]Router{1: {ID: "peer"}, 2: {ID: "vtep"}},
		FDB: map[FDBKey]FDBEntry{
			{1, vmMAC}:     {Kind: FDBPort, Port: 1, Host: "h"},
			{1, tenantMAC}: {Kind: FDBRouter, Router: 1, Addr: addr("10.0.0.1"), Domain: 1},
			{2, mac1}:      {Kind: FDBRouter, Router: 1, Addr: addr("192.168.0.1"), Domain: 1},
			{2, mac2}:      remote,
		},
		Neighbors: map[NeighborKey]model.MAC{
			{1, addr("10.0.0.3")}: vmMAC, {1, addr("10.0.0.1")}: tenantMAC,
			{2, addr("192.168.0.1")}: mac1, {2, addr("192.168.0.2")}: mac2,
		},
		Routes: map[RouteKey]Route{
			{1, prefix("10.0.0.1/32")}:    {Kind: RouteLocal},
			{1, prefix("192.168.0.1/32")}: {Kind: RouteLocal},
			{1, prefix("10.0.0.0/24")}:    {Kind: RouteConnected, Network: 1, MAC: tenantMAC},
			{1, prefix("192.168.0.0/24")}: {Kind: RouteConnected, Network: 2, MAC: mac1},
			{1, prefix("10.0.1.0/24")}:    {Kind: RouteVia, Network: 2, NextHop: addr("192.168.0.2"), MAC: mac1},
		},
		VNIs:     map[VNIKey]model.NetworkKey{{tunnelA, 100}: 2},
		Peers:    map[PeerKey]Peer{{tunnelA, tunnelB, 100}: {Network: 2, Gateway: "dev"}},
		Members:  map[MemberKey]Member{{1, "h"}: {}},
		Speakers: map[SpeakerKey]Speaker{{1, "h"}: {}},
		Gateways: map[model.GatewayDeviceID]Gateway{"dev": {TunnelIP: tunnelA, Epoch: 3, Router: 2}},
	}
	if !got.Equal(want) {
		t.Error(diff(want, got))
	}
}

// TestPieces: what each missing, wrong or shut piece does to the rows.
func TestPieces(t *testing.T) {
	drop := func(r reason.Reason) *FDBEntry { e := dropped(r); return &e }
	vm, peer, remote := FDBKey{1, vmMAC}, FDBKey{2, mac1}, FDBKey{2, mac2}
	tests := []struct {
		name   string
		change func(*chapter)
		more   []any
		// What must be there; a nil FDB entry must not.
		fdb   map[FDBKey]*FDBEntry
		check func(t *testing.T, s State)
	}{
		{name: "no remote MAC entry", change: func(c *chapter) { c.entry = nil }, fdb: map[FDBKey]*FDBEntry{remote: drop(reason.RemoteMACMissing)},
			check: func(t *testing.T, s State) {
				if len(s.Peers) != 0 || len(s.VNIs) != 1 || len(s.Neighbors) != 4 {
					t.Errorf("peers %v, VNIs %v", s.Peers, s.VNIs)
				}
			}},
		{name: "entry of another VNI", change: func(c *chapter) { c.entry.VNI = 101 }, fdb: map[FDBKey]*FDBEntry{remote: drop(reason.RemoteMACMissing)}},
		{name: "no connection", change: func(c *chapter) { c.conn = nil }, fdb: map[FDBKey]*FDBEntry{remote: drop(reason.ConnectionMissing)},
			check: func(t *testing.T, s State) {
				if len(s.Peers)+len(s.VNIs) != 0 {
					t.Errorf("peers %v, VNIs %v", s.Peers, s.VNIs)
				}
			}},
		{name: "no remote-site port", change: func(c *chapter) { c.remotePort = nil },
			fdb: map[FDBKey]*FDBEntry{remote: {Kind: FDBRemote, Addr: tunnelB, TunnelIP: tunnelA, VNI: 100, Gateway: "dev", Host: "h"}},
			check: func(t *testing.T, s State) {
				if _, ok := s.Neighbors[NeighborKey{2, addr("192.168.0.2")}]; ok {
					t.Error("a neighbor without a port")
				}
			}},
		{name: "VNI of the connection", change: func(c *chapter) { c.gateway.VNI, c.conn.VNI, c.entry.VNI = 0, 7, 7 },
			fdb: map[FDBKey]*FDBEntry{remote: {Kind: FDBRemote, Addr: tunnelB, TunnelIP: tunnelA, VNI: 7, Gateway: "dev", Host: "h"}}},
		{name: "placed elsewhere", change: func(c *chapter) { c.place.Host = "other" }, fdb: map[FDBKey]*FDBEntry{remote: {Kind: FDBRemote, Addr: tunnelB, TunnelIP: tunnelA, VNI: 100, Gateway: "dev", Host: "other"}},
			check: func(t *testing.T, s State) {
				if len(s.Gateways)+len(s.VNIs)+len(s.Peers) != 0 {
					t.Errorf("%+v", s)
				}
			}},
		{name: "placed nowhere", change: func(c *chapter) { c.place, c.remotePort = nil, nil }, fdb: map[FDBKey]*FDBEntry{remote: drop(reason.ConnectionMissing)}},
		{name: "no route", change: func(c *chapter) { c.router.Routes = nil }, check: func(t *testing.T, s State) {
			if len(s.Routes) != 4 {
				t.Errorf("%v", s.Routes)
			}
		}},
		{name: "VM unbound", change: func(c *chapter) { c.vm.HostID = "" }, fdb: map[FDBKey]*FDBEntry{vm: drop(reason.DestinationUnbound)},
			check: func(t *testing.T, s State) {
				if len(s.Ports) != 0 || s.Neighbors[NeighborKey{1, addr("10.0.0.3")}] != vmMAC {
					t.Errorf("%+v", s)
				}
			}},
		{name: "VM bound elsewhere", change: func(c *chapter) { c.vm.HostID = "other" }, fdb: map[FDBKey]*FDBEntry{vm: {Kind: FDBPort, Port: 1, Host: "other"}},
			check: func(t *testing.T, s State) {
				if e := s.FDB[vm]; len(s.Ports) != 0 || s.Here(e) {
					t.Errorf("%+v, here: %v", s.Ports, s.Here(e))
				}
			}},
		{name: "VM without interface", change: func(c *chapter) { c.vm.Profile = nil }, fdb: map[FDBKey]*FDBEntry{vm: drop(reason.DestinationUnbound)}},
		{name: "VM down", change: func(c *chapter) { c.vm.AdminStateUp = false }, fdb: map[FDBKey]*FDBEntry{vm: drop(reason.PortAdminDown)},
			check: func(t *testing.T, s State) {
				if s.Ports[1].Drop != reason.PortAdminDown {
					t.Errorf("%+v", s.Ports)
				}
			}},
		{name: "tenant network down", change: func(c *chapter) { c.tenant.AdminStateUp = false },
			fdb: map[FDBKey]*FDBEntry{vm: drop(reason.NetworkAdminDown), {1, tenantMAC}: drop(reason.NetworkAdminDown)},
			check: func(t *testing.T, s State) {
				if s.Ports[1].Drop != reason.NetworkAdminDown {
					t.Errorf("%+v", s.Ports)
				}
			}},
		{name: "multi-site network down", change: func(c *chapter) { c.multi.AdminStateUp = false },
			fdb: map[FDBKey]*FDBEntry{peer: drop(reason.NetworkAdminDown), remote: drop(reason.NetworkAdminDown)},
			check: func(t *testing.T, s State) {
				if s.Peers[PeerKey{tunnelA, tunnelB, 100}].Drop != reason.NetworkAdminDown {
					t.Errorf("%+v", s.Peers)
				}
			}},
		{name: "peer router down", change: func(c *chapter) { c.router.AdminStateUp = false },
			fdb: map[FDBKey]*FDBEntry{peer: drop(reason.RouterAdminDown), {1, tenantMAC}: drop(reason.RouterAdminDown)}},
		{name: "VTEP router down", change: func(c *chapter) { c.vtep.AdminStateUp = false }, fdb: map[FDBKey]*FDBEntry{remote: drop(reason.RouterAdminDown)},
			check: func(t *testing.T, s State) {
				if s.Peers[PeerKey{tunnelA, tunnelB, 100}].Drop != reason.RouterAdminDown {
					t.Errorf("%+v", s.Peers)
				}
			}},
		{name: "peer port down", change: func(c *chapter) { c.peerPort.AdminStateUp = false }, fdb: map[FDBKey]*FDBEntry{peer: drop(reason.PortAdminDown)},
			check: func(t *testing.T, s State) {
				for _, p := range []string{"192.168.0.1/32", "192.168.0.0/24", "10.0.1.0/24"} {
					if r := s.Routes[RouteKey{1, prefix(p)}]; r != (Route{Kind: RouteDrop, Drop: reason.PortAdminDown}) {
						t.Errorf("%s: %+v", p, r)
					}
				}
			}},
		{name: "remote-site port down", change: func(c *chapter) { c.remotePort.AdminStateUp = false }, fdb: map[FDBKey]*FDBEntry{remote: drop(reason.PortAdminDown)}},
		{name: "a VM on the multi-site network has the MAC", more: []any{&model.Port{ID: "z", Key: 9, NetworkID: "multi", MAC: named(mac2), AdminStateUp: true, HostID: "h", Profile: profile("tap1")}},
			fdb: map[FDBKey]*FDBEntry{remote: {Kind: FDBPort, Port: 9, Host: "h"}}},
		{name: "two ports on one interface", more: []any{&model.Port{ID: "z", Key: 9, NetworkID: "tenant", MAC: named(mac2), AdminStateUp: true, HostID: "h", Profile: profile("tap0")}},
			fdb: map[FDBKey]*FDBEntry{vm: {Kind: FDBPort, Port: 1, Host: "h"}, {1, mac2}: drop(reason.DestinationUnbound)}},
		{name: "three sites", more: []any{&model.RemoteMACEntry{ID: "e3", DeviceID: "dev", MAC: named(vmMAC), VTEPAddress: addr("200.200.0.3"), VNI: 100}},
			fdb: map[FDBKey]*FDBEntry{{2, vmMAC}: {Kind: FDBRemote, Addr: addr("200.200.0.3"), TunnelIP: tunnelA, VNI: 100, Gateway: "dev", Host: "h"}},
			check: func(t *testing.T, s State) {
				if len(s.Peers) != 2 {
					t.Errorf("%+v", s.Peers)
				}
			}},
		{name: "remote site's entry for an unconnected VNI", more: []any{&model.RemoteMACEntry{ID: "e3", DeviceID: "dev", MAC: named(vmMAC), VTEPAddress: tunnelB, VNI: 999}},
			fdb: map[FDBKey]*FDBEntry{{2, vmMAC}: nil}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			site := newChapter()
			if c.change != nil {
				c.change(site)
			}
			s := site.compile(c.more...)
			for k, want := range c.fdb {
				got, ok := s.FDB[k]
				if want == nil && ok || want != nil && got != *want {
					t.Errorf("FDB entry %v: %+v, want %+v", k, got, want)
				}
			}
			if c.check != nil {
				c.check(t, s)
			}
		})
	}
}

func TestEdgeRouter(t *testing.T) {
	c := newChapter()
	c.upPort = &model.Port{ID: "up", Key: 8, NetworkID: "uplink", MAC: named(vmMAC), FixedIPs: fixed("us", "203.0.113.2"), AdminStateUp: true,
		DeviceOwner: model.OwnerRouterInterface, DeviceID: "vtep", HostID: "h", Profile: profile("eth1")}
	c.vtep.Routes = []model.HostRoute{
		{Destination: prefix("200.200.0.2/32"), NextHop: addr("203.0.113.1")},
		{Destination: prefix("198.51.100.0/24"), NextHop: addr("192.0.2.1")}, // through none of its uplinks
	}
	want := Gateway{TunnelIP: tunnelA, Epoch: 3, Router: 2,
		Uplinks: []Uplink{{Port: "up", Interface: "eth1", MAC: vmMAC, Addr: prefix("203.0.113.2/24")}},
		Routes:  []UnderlayRoute{{Prefix: prefix("200.200.0.2/32"), NextHop: addr("203.0.113.1")}},
	}
	s := c.compile()
	if got := s.Gateways["dev"]; !got.Equal(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if _, there := s.Networks[3]; there || len(s.Ports) != 1 || len(s.FDB) != 4 {
		t.Error("the uplink network is forwarded as if it were an overlay")
	}
	for k := range s.Routes {
		if k.Router == 2 {
			t.Errorf("the VTEP router routes %v in the overlay", k)
		}
	}
	for name, change := range map[string]func(){
		"port":    func() { c.upPort.AdminStateUp = false },
		"network": func() { c.upPort.AdminStateUp, c.uplink.AdminStateUp = true, false },
		"router":  func() { c.uplink.AdminStateUp, c.vtep.AdminStateUp = true, false },
	} {
		change()
		g := c.compile().Gateways["dev"]
		c.upPort.AdminStateUp, c.uplink.AdminStateUp, c.vtep.AdminStateUp = true, true, true
		if len(g.Uplinks) != 1 || !g.Uplinks[0].Down || len(g.Routes) != 0 {
			t.Errorf("%s down: %+v", name, g)
		}
	}
	c.upPort.HostID = "other"
	if g := c.compile().Gateways["dev"]; len(g.Uplinks)+len(g.Routes) != 0 {
		t.Errorf("another host's uplink: %+v", g)
	}
}

// TestEqualCIDRs: two tenants with the same addresses share no row.
func TestEqualCIDRs(t *testing.T) {
	a := newChapter()
	s := a.compile(
		&model.Network{ID: "tenant2", Key: 11, AdminStateUp: true}, &model.Network{ID: "multi2", Key: 12, AdminStateUp: true},
		&model.Subnet{ID: "ts2", NetworkID: "tenant2", CIDR: prefix("10.0.0.0/24")}, &model.Subnet{ID: "ms2", NetworkID: "multi2", CIDR: prefix("192.168.0.0/24")},
		&model.Router{ID: "peer2", Key: 11, AdminStateUp: true, Routes: a.router.Routes},
		&model.Port{ID: "vm2", Key: 11, NetworkID: "tenant2", MAC: named(vmMAC), FixedIPs: fixed("ts2", "10.0.0.3"), AdminStateUp: true, HostID: "h", Profile: profile("tap2")},
		&model.Port{ID: "gp2", Key: 12, NetworkID: "tenant2", MAC: named(tenantMAC), FixedIPs: fixed("ts2", "10.0.0.1"), AdminStateUp: true, DeviceOwner: model.OwnerRouterInterface, DeviceID: "peer2"},
		&model.Port{ID: "pp2", Key: 13, NetworkID: "multi2", MAC: named(mac1), FixedIPs: fixed("ms2", "192.168.0.1"), AdminStateUp: true, DeviceOwner: model.OwnerRouterInterface, DeviceID: "peer2"},
		&model.Port{ID: "rp2", Key: 14, NetworkID: "multi2", MAC: named(mac2), FixedIPs: fixed("ms2", "192.168.0.2"), AdminStateUp: true, DeviceOwner: "network:remote-site"},
		&model.L2Gateway{ID: "gw2", DeviceID: "dev", VNI: 200}, &model.L2GatewayConnection{ID: "conn2", L2GatewayID: "gw2", NetworkID: "multi2"},
		&model.RemoteMACEntry{ID: "e2", DeviceID: "dev", MAC: named(mac2), VTEPAddress: tunnelB, VNI: 200},
	)
	one := a.compile()
	for name, n := range map[string][2]int{
		"ports": {len(s.Ports), len(one.Ports)}, "fdb": {len(s.FDB), len(one.FDB)}, "neighbors": {len(s.Neighbors), len(one.Neighbors)},
		"routes": {len(s.Routes), len(one.Routes)}, "VNIs": {len(s.VNIs), len(one.VNIs)}, "peers": {len(s.Peers), len(one.Peers)},
	} {
		if n[0] != 2*n[1] {
			t.Errorf("%s: %d for two tenants, %d for one", name, n[0], n[1])
		}
	}
	if s.FDB[FDBKey{2, mac2}].VNI != 100 || s.FDB[FDBKey{12, mac2}].VNI != 200 {
		t.Error("the tenants' VNIs are mixed up")
	}
}

// bigSite has one tenant network with many ports, and as many remote MAC entries.
func bigSite(ports int) (*Topology, *chapter) {
	c := newChapter()
	t := NewTopology()
	for _, o := range []any{c.tenant, c.multi, c.tenantSubnet, c.multiSubnet, c.vm, c.gatewayPort, c.peerPort, c.remotePort, c.router, c.vtep, c.device, c.place, c.entry, c.gateway, c.conn} {
		t.Apply(Change{New: o})
	}
	for i := range ports {
		mac := model.MAC{2, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
		ip := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		t.Apply(Change{New: &model.Port{ID: model.PortID(fmt.Sprint("p", i)), Key: model.PortKey(100 + i), NetworkID: "tenant", MAC: named(mac), AdminStateUp: true,
			FixedIPs: []model.AddrPair{{SubnetID: "ts", IP: ip}}, HostID: "h", Profile: profile(fmt.Sprint("big", i))}})
		t.Apply(Change{New: &model.RemoteMACEntry{ID: model.RemoteMACEntryID(fmt.Sprint("e", i)), DeviceID: "dev", MAC: named(mac), VTEPAddress: tunnelB, VNI: 100}})
	}
	return t, c
}

// BenchmarkChange is a port's change and an entry's, in sites of different sizes:
// the times must be alike.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("port/%d", n), func(b *testing.B) {
			t, c := bigSite(n)
			compiler := NewCompiler(t)
			up, down := *c.vm, *c.vm
			down.AdminStateUp = false
			for b.Loop() {
				compiler.Apply(t.Apply(Change{New: &down}))
				compiler.Apply(t.Apply(Change{New: &up}))
			}
		})
		b.Run(fmt.Sprintf("entry/%d", n), func(b *testing.B) {
			t, c := bigSite(n)
			compiler := NewCompiler(t)
			for b.Loop() {
				compiler.Apply(t.Apply(Change{Old: c.entry}))
				compiler.Apply(t.Apply(Change{New: c.entry}))
			}
		})
		b.Run(fmt.Sprintf("whole/%d", n), func(b *testing.B) {
			t, _ := bigSite(n)
			for b.Loop() {
				CompileSite(t)
			}
		})
	}
}

// TestCostFollowsChange compares rows touched, not times, so that a busy machine
// proves nothing wrong.
func TestCostFollowsChange(t *testing.T) {
	topo, c := bigSite(2000)
	vm := *c.vm
	vm.AdminStateUp = false
	for name, ch := range map[string]Change{"port": {New: &vm}, "entry": {Old: c.entry}, "network's name": {New: &model.Network{ID: "tenant", Key: 1, Standard: model.Standard{Name: "x"}, AdminStateUp: true, MTU: 1450}}} {
		d := topo.Apply(ch)
		if n := len(d.ports) + len(d.fdb) + len(d.neighbors) + len(d.peers) + len(d.vnis) + len(d.networks) + len(d.routers) + len(d.gateways); n == 0 || n > 4 {
			t.Errorf("%s: touches %d rows", name, n)
		}
	}
}

// TestCompileWhole: what is beyond a host's reach is there beside what the host has, and nothing of other
// hosts.
func TestCompileWhole(t *testing.T) {
	c := newChapter()
	c.vm.HostID, c.place.Host = "other", "other"
	topo := NewTopology()
	for _, o := range []any{c.tenant, c.multi, c.tenantSubnet, c.multiSubnet, c.vm, c.gatewayPort, c.peerPort, c.remotePort, c.router, c.vtep, c.device, c.place, c.entry, c.gateway, c.conn} {
		topo.Apply(Change{New: o})
	}
	if s := Compile(topo, "h"); s.Len() != 0 {
		t.Errorf("a host with nothing on it has %+v", s)
	}
	if s := CompileWhole(topo, "h"); len(s.Networks) != 2 || len(s.Routers) != 2 || len(s.Ports)+len(s.Gateways)+len(s.Peers) != 0 {
		t.Errorf("%+v", s)
	}
}
