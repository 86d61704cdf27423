package hostsync

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// genAddr, genState: any state that can be.
func genAddr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "v6") {
		return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr"))).WithZone("")
	}
	return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))
}

func genMAC(t *rapid.T) model.MAC {
	return model.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
}

func genState(t *rapid.T) hoststate.State {
	s := hoststate.NewState()
	key := func() uint32 { return rapid.Uint32Range(1, model.MaxKey).Draw(t, "key") }
	text := func() string { return rapid.StringN(0, 10, 20).Draw(t, "text") }
	drop := func() reason.Reason {
		return reason.Reason(rapid.Uint8Range(0, uint8(reason.Count)-1).Draw(t, "reason"))
	}
	vni := func() model.VNI { return model.VNI(rapid.Uint32Range(1, model.MaxVNI).Draw(t, "vni")) }
	prefix := func() netip.Prefix {
		a := genAddr(t)
		return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
	}
	for range rapid.IntRange(0, 3).Draw(t, "rows") {
		p := hoststate.Port{ID: model.PortID(text()), Network: model.NetworkKey(key()), Interface: text(), MAC: genMAC(t), PortSecurity: rapid.Bool().Draw(t, "security"), Drop: drop()}
		for range rapid.IntRange(0, 3).Draw(t, "addrs") {
			p.Addrs = append(p.Addrs, genAddr(t))
		}
		for range rapid.IntRange(0, 3).Draw(t, "pairs") {
			p.Pairs = append(p.Pairs, hoststate.Pair{MAC: genMAC(t), Prefix: prefix().Masked()})
		}
		s.Ports[model.PortKey(key())] = p
		s.Networks[model.NetworkKey(key())] = hoststate.Network{ID: model.NetworkID(text()), Name: text(), MTU: rapid.IntRange(0, 65535).Draw(t, "mtu")}
		s.Routers[model.RouterKey(key())] = hoststate.Router{ID: model.RouterID(text()), Name: text()}
		e := hoststate.Endpoint{Kind: hoststate.EndpointKind(rapid.Uint8Range(1, 4).Draw(t, "kind"))}
		switch e.Kind {
		case hoststate.EndpointPort:
			e.Port = model.PortKey(key())
		case hoststate.EndpointRouter:
			e.Router, e.Addr = model.RouterKey(key()), genAddr(t)
		case hoststate.EndpointRemote:
			e.Addr, e.TunnelIP, e.VNI, e.Gateway = genAddr(t), genAddr(t), vni(), model.GatewayDeviceID(text())
		case hoststate.EndpointDrop:
			e.Drop = drop()
		}
		s.Endpoints[hoststate.EndpointKey{Network: model.NetworkKey(key()), MAC: genMAC(t)}] = e
		s.Neighbors[hoststate.NeighborKey{Network: model.NetworkKey(key()), IP: genAddr(t)}] = genMAC(t)
		r := hoststate.Route{Kind: hoststate.RouteKind(rapid.Uint8Range(1, 4).Draw(t, "kind")), Network: model.NetworkKey(key()), MAC: genMAC(t), Drop: drop()}
		if r.Kind == hoststate.RouteVia {
			r.NextHop = genAddr(t)
		}
		s.Routes[hoststate.RouteKey{Router: model.RouterKey(key()), Prefix: prefix().Masked()}] = r
		s.VNIs[hoststate.VNIKey{TunnelIP: genAddr(t), VNI: vni()}] = model.NetworkKey(key())
		s.Peers[hoststate.PeerKey{TunnelIP: genAddr(t), Remote: genAddr(t), VNI: vni()}] = hoststate.Peer{Network: model.NetworkKey(key()), Gateway: model.GatewayDeviceID(text()), Drop: drop()}
		g := hoststate.Gateway{TunnelIP: genAddr(t), Epoch: rapid.Uint64().Draw(t, "epoch"), Router: model.RouterKey(key())}
		for range rapid.IntRange(0, 2).Draw(t, "uplinks") {
			g.Uplinks = append(g.Uplinks, hoststate.Uplink{Port: model.PortID(text()), Interface: text(), MAC: genMAC(t), Addr: prefix(), Down: rapid.Bool().Draw(t, "down")})
			g.Routes = append(g.Routes, hoststate.UnderlayRoute{Prefix: prefix().Masked(), NextHop: genAddr(t)})
		}
		s.Gateways[model.GatewayDeviceID(text())] = g
		v := hoststate.VLAN{Network: model.NetworkKey(key()), Port: model.PortID(text()), Gateway: model.GatewayDeviceID(text()), Drop: drop()}
		for range rapid.IntRange(0, 2).Draw(t, "prefixes") {
			v.Prefixes = append(v.Prefixes, prefix().Masked())
		}
		s.VLANs[hoststate.VLANKey{Interface: text(), ID: rapid.Uint16Range(1, model.MaxVLAN).Draw(t, "vlan")}] = v
	}
	return s
}

// TestRowsSurvive: whatever the size of the parts, what is sent is what arrives.
func TestRowsSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := genState(t), genState(t)
		d := hoststate.Diff(from, to)
		d.Revision = rapid.Int64Range(1, 1<<60).Draw(t, "revision")
		got := hoststate.Delta{Set: hoststate.NewState()}
		n, more := rapid.IntRange(1, 50).Draw(t, "part"), true
		for p := range encode(d, n) {
			if !more {
				t.Fatal("a part after the last")
			}
			if err := decode(p, &got); err != nil {
				t.Fatal(err)
			}
			if p.Revision != d.Revision || p.Full {
				t.Fatalf("%v", p)
			}
			more = p.More
		}
		if more {
			t.Fatal("the last part says there is more")
		}
		state := from.Clone()
		state.Apply(got)
		if !state.Equal(to) || got.Set.Len() != d.Set.Len() || got.Unset.Len() != d.Unset.Len() {
			t.Fatalf("sent %+v\ngot %+v", d, got)
		}
	})
}

func TestBadRows(t *testing.T) {
	mac := make([]byte, 6)
	for name, p := range map[string]*pb.Delta{
		"short MAC":      {Neighbors: []*pb.NeighborRow{{Network: 1, Ip: make([]byte, 4), Mac: make([]byte, 5)}}},
		"odd address":    {Neighbors: []*pb.NeighborRow{{Network: 1, Ip: make([]byte, 7), Mac: mac}}},
		"no key":         {Neighbors: []*pb.NeighborRow{{Ip: make([]byte, 4), Mac: mac}}},
		"big key":        {Ports: []*pb.PortRow{{Key: 1 << 24, Network: 1, Mac: mac}}},
		"unknown reason": {Ports: []*pb.PortRow{{Key: 1, Network: 1, Mac: mac, Drop: uint32(reason.Count)}}},
		"unknown kind":   {Endpoints: []*pb.EndpointRow{{Network: 1, Mac: mac, Kind: 5}}},
		"host bits":      {GoneRoutes: []*pb.RouteRow{{Router: 1, Prefix: &pb.Prefix{Addr: []byte{10, 0, 0, 1}, Bits: 24}}}},
		"long prefix":    {GoneRoutes: []*pb.RouteRow{{Router: 1, Prefix: &pb.Prefix{Addr: []byte{10, 0, 0, 0}, Bits: 33}}}},
		"no prefix":      {Routes: []*pb.RouteRow{{Router: 1, Kind: 1, Mac: mac}}},
		"no VNI":         {GoneVnis: []*pb.VNIRow{{TunnelIp: make([]byte, 4)}}},
		"no uplink":      {Gateways: []*pb.GatewayRow{{Id: "g", TunnelIp: make([]byte, 4), Uplinks: []*pb.UplinkRow{{Mac: mac}}}}},
	} {
		d := hoststate.Delta{Set: hoststate.NewState()}
		if err := decode(p, &d); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, r := range map[string]*pb.Report{
		"status":   {Ports: []*pb.PortReport{{Id: "p", Status: "FINE"}}},
		"revision": {Revision: -1},
		"MTU":      {UnderlayMtu: 1 << 20},
		"too many": {Ports: make([]*pb.PortReport, maxReports+1)},
	} {
		if _, err := decodeReport(r); err == nil {
			t.Errorf("report with %s: taken", name)
		}
	}
}

// Words that the store would refuse are cut.
func TestReportWordsAreBounded(t *testing.T) {
	r, err := decodeReport(&pb.Report{Ports: []*pb.PortReport{{Id: "p", Status: "ERROR", Reason: strings.Repeat("ä", 1<<20)}}})
	if err != nil || len(r.Ports) != 1 || len(r.Ports[0].Reason) > maxReason || !utf8.ValidString(r.Ports[0].Reason) {
		t.Errorf("%d ports, %v", len(r.Ports), err)
	}
	if _, err := decodeReport(&pb.Report{Ports: []*pb.PortReport{{Id: strings.Repeat("p", maxID+1), Status: "ERROR"}}}); err == nil {
		t.Error("an id without end passes")
	}
}
