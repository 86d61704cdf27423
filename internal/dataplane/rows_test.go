package dataplane

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// TestAddressWidth: whatever is an address in the maps has 16 bytes, so that IPv6
// needs no other layout.
func TestAddressWidth(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"addr": true, "local": true, "remote": true, "nexthop": true, "src": true, "ip": true, "fabric_addr": true}
	found := 0
	var walk func(where string, typ btf.Type)
	walk = func(where string, typ btf.Type) {
		if list, ok := btf.UnderlyingType(typ).(*btf.Array); ok {
			typ = list.Type
		}
		s, ok := btf.UnderlyingType(typ).(*btf.Struct)
		if !ok {
			return
		}
		for _, m := range s.Members {
			at := where + "." + m.Name
			if names[m.Name] {
				found++
				size, err := btf.Sizeof(m.Type)
				if err != nil || size != 16 {
					t.Errorf("%s has %d bytes, not 16 (%v)", at, size, err)
				}
				continue
			}
			if td, ok := m.Type.(*btf.Typedef); ok && td.Name == "__be32" && m.Name != "router" && m.Name != "id" {
				t.Errorf("%s looks like an IPv4 address", at)
			}
			walk(at, m.Type)
		}
	}
	// What is not pinned is no interface: packets has headers of packets in it.
	for _, name := range mapNames(spec) {
		m := spec.Maps[name]
		if m.Key != nil {
			walk(name+" key", m.Key)
		}
		if m.Value != nil {
			walk(name, m.Value)
		}
	}
	// port, port_addrs, FDB entries 2, neighbors, routes 2, vnis, peers 2, vteps 2, records 2,
	// nexthops 3, sent_ports 2, pairs, learned, askeds, vlans 2, hops 2, floods, fabric_hosts 2, host_pairs, configs
	if found != 31 {
		t.Errorf("%d addresses found in the maps, not 31", found)
	}
	if k, _ := btf.Sizeof(spec.Maps[bpfMapTunnelIps].Key); k != 16 {
		t.Errorf("tunnel_ips has keys of %d bytes", k)
	}
}

func mapped(s string) bpfAddr { return bpfAddr{B: netip.MustParseAddr(s).As16()} }

func TestTranslation(t *testing.T) {
	st := labState(0, 1450)
	env := Env{
		Links:   map[string]Link{"tap0": {Index: 7, PeerElsewhere: true, MTU: 1400}},
		PathMTU: map[netip.Addr]int{netip.MustParseAddr("200.200.0.2"): 1480},
		Tables:  map[model.GatewayDeviceID]uint32{"gw": 1001},
	}
	v := VTEP{Local: netip.MustParseAddr("200.200.0.1"), Remote: netip.MustParseAddr("200.200.0.2")}
	ways := [MaxWays]uint32{5, 6}
	env.Ways = map[VTEP]Way{v: {Interfaces: ways}}
	tr := wholeTranslator(st, env, newCounterIndex(16), nil)
	check := func(what string, got, want any) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	ifindex, port, ok := tr.port(1)
	check("port", []any{ifindex, port, ok}, []any{uint32(7), bpfPort{
		Port: 1, Net: 1, Mac: [6]uint8{0xfa, 0x16, 0x3e, 0, 0x0a, 3}, Flags: portSecurity | portAddr,
		Addr: mapped("10.0.0.3"), Counter: 1,
	}, true})
	e, ok := tr.fdbEntry(hoststate.FDBKey{Network: 1, MAC: vmMAC(0)})
	check("FDB entry port", []any{e, ok}, []any{bpfFdbEntry{Kind: fdbPort, Flags: fdbPeer, Id: 1, Ifindex: 7, Counter: 1, Mtu: 1400}, true})
	e, ok = tr.fdbEntry(hoststate.FDBKey{Network: 1, MAC: model.MustMAC(labGW)})
	check("FDB entry router", []any{e, ok}, []any{bpfFdbEntry{Kind: fdbRouter, Id: 1, Addr: mapped("10.0.0.1")}, true})
	e, ok = tr.fdbEntry(hoststate.FDBKey{Network: 2, MAC: msMAC(1)})
	check("FDB entry remote", []any{e, ok}, []any{bpfFdbEntry{
		Kind: fdbRemote, Counter: 2, Mtu: 1430, Vni: 100, Table: 1001, UdpPort: vxlanPort,
		Addr: mapped("200.200.0.2"), Local: mapped("200.200.0.1"),
	}, true})
	pk := hoststate.PeerKey{TunnelIP: netip.MustParseAddr("200.200.0.1"), Remote: netip.MustParseAddr("200.200.0.2"), VNI: 100}
	p, ok := tr.peer(pk)
	check("peer", []any{peerKeyRow(pk), p, ok}, []any{
		bpfPeerKey{Local: mapped("200.200.0.1"), Remote: mapped("200.200.0.2"), Vni: 100}, bpfPeer{Net: 2, Counter: 2, Ways: ways}, true,
	})
	check("VTEPs", tr.vteps(), map[bpfVtepKey]bpfVtep{{Local: mapped("200.200.0.1"), Remote: mapped("200.200.0.2")}: {Ways: ways}})
	env.Ways[v] = Way{Interfaces: ways, Kernel: true}
	p, _ = tr.peer(pk)
	e, _ = tr.fdbEntry(hoststate.FDBKey{Network: 2, MAC: msMAC(1)})
	check("by the kernel", []uint8{p.Flags, e.Flags}, []uint8{peerKernel, fdbKernel})
	env.Ways[v] = Way{Interfaces: ways, Drop: reason.UnderlayPolicy}
	p, _ = tr.peer(pk)
	e, _ = tr.fdbEntry(hoststate.FDBKey{Network: 2, MAC: msMAC(1)})
	check("shut", []any{p.Drop, e}, []any{uint8(reason.UnderlayPolicy), bpfFdbEntry{Kind: fdbDrop, Drop: uint8(reason.UnderlayPolicy)}})
	rk := hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("10.0.1.0/24")}
	r, ok := tr.route(rk)
	key := routeKeyRow(rk)
	check("route", []any{key.Plen, key.Addr, r, ok}, []any{
		uint32(32 + 96 + 24), mapped("10.0.1.0"),
		bpfRoute{Kind: routeVia, Mac: msMAC(0), Net: 2, Mtu: 1450, Nexthop: mapped("192.168.0.2")}, true,
	})
	r, ok = tr.route(hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("10.0.0.1/32")})
	check("route local", []any{r, ok}, []any{bpfRoute{Kind: routeLocal}, true})
	v6 := routeKeyRow(hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("2001:db8::/32")})
	check("IPv6 prefix", v6.Plen, uint32(64))

	// No interface: no port, no flooding, and FDB entries that say so.
	tr.env.Links = nil
	if _, _, ok := tr.port(1); ok {
		t.Error("a port without interface has a row")
	}
	if _, _, ok := tr.flood(1); ok {
		t.Error("a port without interface takes flooded frames")
	}
	e, _ = tr.fdbEntry(hoststate.FDBKey{Network: 1, MAC: vmMAC(0)})
	check("FDB entry without interface", e, bpfFdbEntry{Kind: fdbDrop, Drop: uint8(reason.DestinationUnbound)})
	// No environment: main table, 1500.
	tr.env = Env{}
	e, _ = tr.fdbEntry(hoststate.FDBKey{Network: 2, MAC: msMAC(1)})
	check("defaults", []uint32{e.Mtu, e.Table}, []uint32{1450, hostenv.MainTable})
}

func TestCounterIndex(t *testing.T) {
	c := newCounterIndex(4)
	a, b, d := c.port(1), c.port(2), c.port(3)
	if a == 0 || b == 0 || d == 0 || a == b || b == d || a == d {
		t.Fatalf("indices %d %d %d", a, b, d)
	}
	if c.port(4) != 0 {
		t.Error("an index beyond the map's size")
	}
	if c.port(2) != b {
		t.Error("an index changed")
	}
	c.freePort(2)
	if got := c.tunnel(tunnelKey{vni: 1}); got != b {
		t.Errorf("the free index is %d, got %d", b, got)
	}
	if len(c.fresh) != 4 {
		t.Errorf("indices to be reset: %v", c.fresh)
	}
	c = newCounterIndex(4)
	c.adoptPort(1, 3)
	c.adoptPort(2, 3) // claimed twice
	c.adoptPort(3, 9) // beyond
	if c.port(1) != 3 || c.port(2) == 3 || c.port(3) == 9 || c.port(2) == 0 || c.port(3) == 0 {
		t.Errorf("adopted %v", c.ports)
	}
}

func TestFloodList(t *testing.T) {
	f := func(i uint32) bpfFlood { return bpfFlood{Ifindex: i} }
	set := func(is ...uint32) map[bpfFlood]uint32 {
		m := map[bpfFlood]uint32{}
		for _, i := range is {
			m[f(i)] = 100 - i
		}
		return m
	}
	list, beyond := floodList([]bpfFlood{f(5), f(3), f(9)}, set(9, 5, 2, 1))
	if d := cmp.Diff([]uint32{5, 9, 2, 1}, indices(list)); d != "" || beyond != nil {
		t.Error(d, beyond)
	}
	many := map[bpfFlood]uint32{}
	for i := range uint32(floodMax + 1) {
		many[f(i)] = i
	}
	if list, beyond := floodList(nil, many); len(list) != floodMax || !slices.Equal(indices(beyond), []uint32{floodMax}) {
		t.Errorf("%d rows, beyond them %v", len(list), beyond)
	}
}

func indices(l []bpfFlood) (is []uint32) {
	for _, f := range l {
		is = append(is, f.Ifindex)
	}
	return is
}
