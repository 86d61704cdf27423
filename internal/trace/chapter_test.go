package trace

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

var (
	vmMAC     = model.MustMAC("fa:16:3e:00:00:03")
	gwMAC     = model.MustMAC("fa:16:3e:00:00:01")
	peerA     = model.MustMAC("16:B7:B5:A4:57:75")
	peerB     = model.MustMAC("6F:E4:5A:FA:8E:09")
	addr      = netip.MustParseAddr
	prefix    = netip.MustParsePrefix
	tenantNet = model.NetworkKey(1)
	multiNet  = model.NetworkKey(2)
	routerA   = model.RouterKey(1)
	device    = model.GatewayDeviceID("device-a")
)

// siteA is Site A of the chapter's example.
func siteA() hoststate.State {
	local := hoststate.Route{Kind: hoststate.RouteLocal}
	return hoststate.State{
		Ports: map[model.PortKey]hoststate.Port{
			1: {ID: "vm-a", Network: tenantNet, Interface: "vm", MAC: vmMAC, Addrs: []netip.Addr{addr("10.0.0.3")}, PortSecurity: true},
		},
		Networks: map[model.NetworkKey]hoststate.Network{
			tenantNet: {ID: "net-a", Name: "tenant", MTU: 1450},
			multiNet:  {ID: "net-m", Name: "multi-site", MTU: 1450},
		},
		Routers: map[model.RouterKey]hoststate.Router{routerA: {ID: "router-a", Name: "SiteATenantRouter"}},
		FDB: map[hoststate.FDBKey]hoststate.FDBEntry{
			{Network: tenantNet, MAC: vmMAC}: {Kind: hoststate.FDBPort, Port: 1},
			{Network: tenantNet, MAC: gwMAC}: {Kind: hoststate.FDBRouter, Router: routerA, Addr: addr("10.0.0.1")},
			{Network: multiNet, MAC: peerA}:  {Kind: hoststate.FDBRouter, Router: routerA, Addr: addr("192.168.0.1")},
			{Network: multiNet, MAC: peerB}: {Kind: hoststate.FDBRemote, Addr: addr("200.200.0.2"),
				TunnelIP: addr("200.200.0.1"), VNI: 100, Gateway: device},
		},
		Neighbors: map[hoststate.NeighborKey]model.MAC{
			{Network: tenantNet, IP: addr("10.0.0.3")}:   vmMAC,
			{Network: tenantNet, IP: addr("10.0.0.1")}:   gwMAC,
			{Network: multiNet, IP: addr("192.168.0.1")}: peerA,
			{Network: multiNet, IP: addr("192.168.0.2")}: peerB,
		},
		Routes: map[hoststate.RouteKey]hoststate.Route{
			{Router: routerA, Prefix: prefix("10.0.0.0/24")}:    {Kind: hoststate.RouteConnected, Network: tenantNet, MAC: gwMAC},
			{Router: routerA, Prefix: prefix("10.0.0.1/32")}:    local,
			{Router: routerA, Prefix: prefix("192.168.0.0/24")}: {Kind: hoststate.RouteConnected, Network: multiNet, MAC: peerA},
			{Router: routerA, Prefix: prefix("192.168.0.1/32")}: local,
			{Router: routerA, Prefix: prefix("10.0.1.0/24")}: {Kind: hoststate.RouteVia, Network: multiNet,
				NextHop: addr("192.168.0.2"), MAC: peerA},
		},
		VNIs:     map[hoststate.VNIKey]model.NetworkKey{{TunnelIP: addr("200.200.0.1"), VNI: 100}: multiNet},
		Peers:    map[hoststate.PeerKey]hoststate.Peer{{TunnelIP: addr("200.200.0.1"), Remote: addr("200.200.0.2"), VNI: 100}: {Network: multiNet, Gateway: device}},
		Gateways: map[model.GatewayDeviceID]hoststate.Gateway{device: {TunnelIP: addr("200.200.0.1"), Epoch: 1, Router: 2}},
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An echo request of 32 bytes from 10.0.0.3 to 10.0.1.3, TTL 64, ECT(0), by hand:
// 4502+0020+1234+4000+4001+0a00+0003+0a00+0103 = ec5d, so the checksum is 13a2.
const vmFrame = `
	fa163e000001 fa163e000003 0800
	4502 0020 1234 4000 4001 13a2 0a000003 0a000103
	0800 e5c9 0001 0001 61626364`

// TestChapterPacket follows the packet of the tables in the reference: outer
// 200.200.0.1 → 200.200.0.2, UDP 4789, VNI 100, inner MACs 16:B7… → 6F:E4…, TTL
// one less.
func TestChapterPacket(t *testing.T) {
	in := unhex(t, vmFrame)
	p := New(siteA(), Env{HashKey: 0x0123456789abcdef})
	res := p.FromWorkload("vm", Frame{Data: in})
	if res.Verdict != Tunnel || res.TOS != 2 || res.Table != hostenv.MainTable {
		t.Fatalf("verdict %s (%s), TOS %d, table %d", res.Verdict, res.Reason, res.TOS, res.Table)
	}
	e, err := packet.Decapsulate(res.Output)
	if err != nil {
		t.Fatal(err)
	}
	want := unhex(t, `000000000000 000000000000 0800
		4502 0052 0000 4000 4011 a905 c8c80001 c8c80002
		`+hex.EncodeToString([]byte{byte(e.UDP.Src >> 8), byte(e.UDP.Src)})+` 12b5 003e 0000
		08000000 00006400
		6fe45afa8e09 16b7b5a45775 0800
		4502 0020 1234 4000 3f01 14a2 0a000003 0a000103
		0800 e5c9 0001 0001 61626364`)
	if hex.EncodeToString(res.Output) != hex.EncodeToString(want) {
		t.Errorf("got  %x\nwant %x", res.Output, want)
	}
	if e.UDP.Src < 49152 {
		t.Errorf("source port %d", e.UDP.Src)
	}
}

func TestTraceChapter(t *testing.T) {
	p := New(siteA(), Env{Names: map[string]string{"device-a": "SiteAGateway", "vm-a": "vmA"}})
	q := Request{
		Port: "vm-a", To: addr("10.0.1.3"),
		Subnets: []Subnet{{Prefix: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}},
	}
	rep, err := p.Trace(q)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.MarshalIndent(rep.Hops, "", " ")
	t.Logf("%s\n%s", rep.Summary, b)
	if !rep.Delivered || rep.Verdict != Tunnel || rep.Next == nil || rep.Next.TunnelIP != addr("200.200.0.2") {
		t.Fatalf("%+v", rep)
	}
	if got := rep.Hops[3].Decision; got != "route 10.0.1.0/24 via 192.168.0.2 on network multi-site" || rep.Hops[3].At != "router SiteATenantRouter" {
		t.Errorf("hop 3: %+v", rep.Hops[3])
	}
	n := rep.Next.Request
	if n.SrcMAC != peerA || n.DstMAC != peerB || n.VNI != 100 || n.Remote != addr("200.200.0.1") || n.TTL != 63 {
		t.Errorf("next %+v", n)
	}

	q.TTL = 1
	rep, _ = p.Trace(q)
	if rep.Reason != "ttl_exceeded" || len(rep.Answer) == 0 || rep.Delivered {
		t.Errorf("TTL 1: %+v", rep)
	}
	q.TTL = 0
	q.To = addr("10.0.0.1")
	rep, _ = p.Trace(q)
	if !rep.Delivered || !strings.Contains(rep.Summary, "answered by a router") {
		t.Errorf("ping of the router: %+v", rep)
	}
}

// TestTraceMissing takes pieces away, and looks for the reason and the way out.
func TestTraceMissing(t *testing.T) {
	q := Request{
		Port: "vm-a", To: addr("10.0.1.3"),
		Subnets: []Subnet{{Prefix: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}},
	}
	remote := hoststate.FDBKey{Network: multiNet, MAC: peerB}
	for name, c := range map[string]struct {
		change func(st *hoststate.State)
		env    Env
		reason reason.Reason
		words  string
	}{
		"remote MAC entry": {func(st *hoststate.State) {
			st.FDB[remote] = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Drop: reason.RemoteMACMissing}
		}, Env{}, reason.RemoteMACMissing, "no remote MAC entry for 6f:e4:5a:fa:8e:09 with VNI 100 on gateway device device-a; create one: `causeway remote-mac create --gateway-device device-a --mac-address 6f:e4:5a:fa:8e:09"},
		"connection": {func(st *hoststate.State) {
			st.FDB[remote] = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Drop: reason.ConnectionMissing}
		}, Env{}, reason.ConnectionMissing, "network multi-site has no L2 gateway connection"},
		"remote-site port": {func(st *hoststate.State) {
			delete(st.Neighbors, hoststate.NeighborKey{Network: multiNet, IP: addr("192.168.0.2")})
		}, Env{}, reason.NeighborUnknown, "no port of network multi-site has the address 192.168.0.2"},
		"extra route": {func(st *hoststate.State) {
			delete(st.Routes, hoststate.RouteKey{Router: routerA, Prefix: prefix("10.0.1.0/24")})
		}, Env{}, reason.NoRoute, "router SiteATenantRouter has no route to 10.0.1.3"},
		"underlay route": {func(*hoststate.State) {}, Env{NoRoute: map[Underlay]bool{{254, addr("200.200.0.2")}: true}},
			reason.UnderlayNoRoute, "no route to VTEP 200.200.0.2"},
		"interface": {func(*hoststate.State) {}, Env{Links: map[string]Link{}}, reason.PortUnbound, "not bound"},
		"port":      {func(st *hoststate.State) { delete(st.Ports, 1) }, Env{}, reason.PortUnbound, "causeway port bind vm-a"},
		"admin state": {func(st *hoststate.State) {
			vm := st.Ports[1]
			vm.Drop = reason.NetworkAdminDown
			st.Ports[1] = vm
		}, Env{}, reason.NetworkAdminDown, "network tenant has admin_state_up=false"},
		"gateway": {func(st *hoststate.State) {
			delete(st.Neighbors, hoststate.NeighborKey{Network: tenantNet, IP: addr("10.0.0.1")})
		}, Env{}, reason.NeighborUnknown, "asks by ARP for 10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			st := siteA()
			c.change(&st)
			rep, err := New(st, c.env).Trace(q)
			if err != nil {
				t.Fatal(err)
			}
			if rep.Reason != c.reason.String() || !strings.Contains(rep.Summary, c.words) {
				t.Errorf("got %s: %s\nwant %s: … %s", rep.Reason, rep.Summary, c.reason, c.words)
			}
			if last := rep.Hops[len(rep.Hops)-1]; last.Reason == "" && len(rep.Answer) == 0 {
				t.Errorf("last hop has no reason: %+v", last)
			}
		})
	}
}

func TestTraceTunnel(t *testing.T) {
	p := New(siteA(), Env{})
	q := TunnelRequest{
		Gateway: device, Remote: addr("200.200.0.2"), VNI: 100, SrcMAC: peerB, DstMAC: peerA,
		From: addr("10.0.1.3"), To: addr("10.0.0.3"), Packet: Packet{TTL: 63},
	}
	for name, c := range map[string]struct {
		change func(q *TunnelRequest)
		want   string
	}{
		"in":         {func(*TunnelRequest) {}, "delivered to port vm-a at interface vm"},
		"VNI":        {func(q *TunnelRequest) { q.VNI = 101 }, "vni_unknown"},
		"VTEP":       {func(q *TunnelRequest) { q.Remote = addr("200.200.0.9") }, "vtep_unknown"},
		"source MAC": {func(q *TunnelRequest) { q.SrcMAC = vmMAC }, "vtep_source_mac"},
		"echo":       {func(q *TunnelRequest) { q.To = addr("192.168.0.1"); q.From = addr("192.168.0.2") }, "answered by a router; the reply is sent to VTEP 200.200.0.2"},
		"turned":     {func(q *TunnelRequest) { q.DstMAC = peerB }, "tunnel_hairpin"},
	} {
		t.Run(name, func(t *testing.T) {
			q := q
			c.change(&q)
			rep, err := p.TraceTunnel(q)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(rep.Summary, c.want) {
				t.Errorf("got %q, want … %q", rep.Summary, c.want)
			}
		})
	}
	q.Gateway = "other"
	if _, err := p.TraceTunnel(q); err == nil {
		t.Error("a gateway device that is not here was taken")
	}
}
