package trace

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

var (
	otherMAC = model.MAC{0x16, 0xb7, 0xb5, 0, 0, 2}
	fabric1  = hoststate.Host{Addr: netip.MustParseAddr("10.99.0.1"), Port: 4798}
	fabric2  = hoststate.Host{Addr: netip.MustParseAddr("10.99.0.2"), Port: 4798, MTU: 1400}
	stranger = netip.MustParseAddr("10.99.0.3")
)

// twoHosts is site A on two hosts: host-1 has its VM, host-2 another one of the same network and, where gateway
// is set, the gateway device.
func twoHosts(gateway model.HostName) map[model.HostName]hoststate.State {
	st := siteA()
	st.Hosts = map[model.HostName]hoststate.Host{"host-1": fabric1, "host-2": fabric2}
	st.Members = map[hoststate.MemberKey]hoststate.Member{{Network: tenantNet, Host: "host-1"}: {}, {Network: tenantNet, Host: "host-2"}: {}}
	st.Speakers = map[hoststate.SpeakerKey]hoststate.Speaker{{Domain: 1, Host: "host-1"}: {}, {Domain: 1, Host: "host-2"}: {}}
	st.Ports[2] = hoststate.Port{ID: "vm-2", Network: tenantNet, Interface: "vm2", MAC: otherMAC, Addrs: []netip.Addr{addr("10.0.0.4")}, PortSecurity: true}
	st.Neighbors[hoststate.NeighborKey{Network: tenantNet, IP: addr("10.0.0.4")}] = otherMAC
	st.FDB[hoststate.FDBKey{Network: tenantNet, MAC: otherMAC}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 2, Host: "host-2"}
	for k, e := range st.FDB {
		switch e.Kind {
		case hoststate.FDBPort:
			if e.Port == 1 {
				e.Host = "host-1"
			}
		case hoststate.FDBRouter:
			e.Domain = 1
		case hoststate.FDBRemote:
			e.Host = gateway
		}
		st.FDB[k] = e
	}
	all := map[model.HostName]hoststate.State{}
	for port, host := range map[model.PortKey]model.HostName{1: "host-1", 2: "host-2"} {
		s := st.Clone()
		for k := range s.Ports {
			if k != port {
				delete(s.Ports, k)
			}
		}
		if host != gateway {
			clear(s.Gateways)
			clear(s.VNIs)
			clear(s.Peers)
		}
		all[host] = s
	}
	return all
}

// site is the pipelines of all hosts of a site, which know each other.
func site(all map[model.HostName]hoststate.State, change func(model.HostName, *Env)) map[model.HostName]*Pipeline {
	ps := map[model.HostName]*Pipeline{}
	for name, st := range all {
		env := Env{
			Fabric: hostenv.Fabric{Addr: st.Hosts[name].Addr, Port: st.Hosts[name].Port},
			Other:  func(h model.HostName) *Pipeline { return ps[h] },
		}
		if change != nil {
			change(name, &env)
		}
		ps[name] = New(st, env)
	}
	return ps
}

var tenant = []Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")}}

// TestTraceOverFabric: a packet is followed to the host that has its destination, or the gateway device.
func TestTraceOverFabric(t *testing.T) {
	ps := site(twoHosts("host-2"), nil)
	near, err := ps["host-1"].Trace(Request{Port: "vm-a", To: addr("10.0.0.4"), Subnets: tenant})
	if err != nil || near.Verdict != Port || !near.Delivered || !slices.Equal(near.Hosts, []model.HostName{"host-2"}) || near.Next != nil {
		t.Fatalf("to the other host's VM: %+v, %v", near, err)
	}
	var words []string
	for _, h := range near.Hops {
		words = append(words, h.At+": "+h.Decision+" → "+h.Result)
	}
	all := strings.Join(words, "\n")
	for _, want := range []string{"host host-2: ", "over the fabric from 10.99.0.1 to 10.99.0.2", "from host host-1", "delivered to interface vm2"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	far, err := ps["host-1"].Trace(Request{Port: "vm-a", To: addr("10.0.1.3"), Subnets: tenant})
	if err != nil || far.Next == nil || far.Next.TunnelIP != addr("200.200.0.2") || !slices.Equal(far.Hosts, []model.HostName{"host-2"}) {
		t.Fatalf("to the other site by the other host: %+v, %v", far, err)
	}
	back, err := ps["host-2"].TraceTunnel(TunnelRequest{
		Gateway: device, Remote: addr("200.200.0.2"), VNI: 100, SrcMAC: peerB, DstMAC: peerA, From: addr("10.0.1.3"), To: addr("10.0.0.3"),
	})
	if err != nil || back.Verdict != Port || !slices.Equal(back.Hosts, []model.HostName{"host-1"}) {
		t.Errorf("back: %+v, %v", back, err)
	}
	// Nobody to ask: the host is named.
	alone := New(twoHosts("host-2")["host-1"], Env{Fabric: hostenv.Fabric{Addr: fabric1.Addr, Port: fabric1.Port}})
	if rep, err := alone.Trace(Request{Port: "vm-a", To: addr("10.0.0.4"), Subnets: tenant}); err != nil || rep.Summary != "sent over the fabric to host host-2" || rep.Next != nil {
		t.Errorf("without the other host's state: %q, %v", rep.Summary, err)
	}
}

// TestHostUnreachable: what is known of the hosts, and what is on none.
func TestHostUnreachable(t *testing.T) {
	q := Request{Port: "vm-a", To: addr("10.0.0.4"), Subnets: tenant}
	for name, c := range map[string]struct {
		change func(*hoststate.State, *Env)
		reason string
	}{
		"this host is not on the fabric": {func(_ *hoststate.State, e *Env) { e.Fabric = hostenv.Fabric{} }, "host_unreachable"},
		"the other host is not":          {func(s *hoststate.State, _ *Env) { delete(s.Hosts, "host-2") }, "host_unreachable"},
		"there is no fabric":             {func(s *hoststate.State, e *Env) { clear(s.Hosts); e.Fabric = hostenv.Fabric{} }, "destination_unbound"},
		"shut": {func(_ *hoststate.State, e *Env) {
			e.Ways = map[VTEP]Way{{Local: fabric1.Addr, Remote: fabric2.Addr}: {Drop: reason.UnderlayPolicy}}
		}, "underlay_policy"},
		"on this host, and not there": {func(s *hoststate.State, _ *Env) {
			k := hoststate.FDBKey{Network: tenantNet, MAC: otherMAC}
			e := s.FDB[k]
			e.Host = "host-1"
			s.FDB[k] = e
		}, "destination_unbound"},
		"no route": {func(_ *hoststate.State, e *Env) {
			e.NoRoute = map[Underlay]bool{{Table: hostenv.MainTable, Remote: fabric2.Addr}: true}
		}, "underlay_no_route"},
	} {
		st := twoHosts("host-2")["host-1"]
		env := Env{Fabric: hostenv.Fabric{Addr: fabric1.Addr, Port: fabric1.Port}}
		c.change(&st, &env)
		rep, err := New(st, env).Trace(q)
		if err != nil || rep.Reason != c.reason || rep.Delivered {
			t.Errorf("%s: %q, %v: want %s", name, rep.Summary, err, c.reason)
		}
	}
}

// TestFabricAdmission: who may send what over the fabric.
func TestFabricAdmission(t *testing.T) {
	st := twoHosts("host-1")["host-2"]
	st.Gateways = map[model.GatewayDeviceID]hoststate.Gateway{}
	vm := model.MAC(siteA().Ports[1].MAC)
	p := New(st, Env{Fabric: hostenv.Fabric{Addr: fabric2.Addr, Port: fabric2.Port}, Mark: 1})
	send := func(from netip.Addr, vni model.VNI, src, dst model.MAC, t packet.EtherType, body []byte) [2]Result {
		inner := append(packet.Ethernet{Dst: dst, Src: src, Type: t}.Append(nil), body...)
		outer := packet.Encapsulate(nil, packet.Outer{Local: from, Remote: fabric2.Addr, VNI: vni, DstPort: fabric2.Port}, inner)
		return [2]Result{
			p.FromUnderlay(Frame{Data: outer, Interface: "eth0"}),
			p.FromFabric(Frame{Data: inner, Mark: 1}, &TunnelKey{Local: fabric2.Addr, Remote: from, VNI: vni}),
		}
	}
	ip := packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: addr("10.0.0.3"), Dst: addr("10.0.0.4")}.Append(nil, 0)
	arp := packet.ARP{Op: packet.ARPRequest, SenderMAC: vm, SenderIP: addr("10.0.0.3"), TargetIP: addr("10.0.0.1")}.Append(nil)
	net := model.VNI(tenantNet)
	for name, c := range map[string]struct {
		from     netip.Addr
		vni      model.VNI
		src, dst model.MAC
		want     reason.Reason
	}{
		"the VM of the other host":    {fabric1.Addr, net, vm, otherMAC, reason.None},
		"a router that it speaks for": {fabric1.Addr, net, gwMAC, otherMAC, reason.None},
		"nobody's host":               {stranger, net, vm, otherMAC, reason.FabricHostUnknown},
		"this host itself":            {fabric2.Addr, net, vm, otherMAC, reason.FabricHostUnknown},
		"this host's VM":              {fabric1.Addr, net, otherMAC, otherMAC, reason.FabricSourceMAC},
		"nobody's MAC":                {fabric1.Addr, net, model.MAC{2}, otherMAC, reason.FabricSourceMAC},
		"no network":                  {fabric1.Addr, net + 77, vm, otherMAC, reason.FabricSourceMAC},
		"to a router":                 {fabric1.Addr, net, vm, gwMAC, reason.FabricHairpin},
		"back to where it came from":  {fabric1.Addr, net, vm, vm, reason.FabricHairpin},
		"to everybody":                {fabric1.Addr, net, vm, packet.Broadcast, reason.None},
	} {
		for i, res := range send(c.from, c.vni, c.src, c.dst, packet.TypeIPv4, ip) {
			if res.Reason != c.want || c.want == reason.None && res.Verdict != Port && (res.Verdict != Flood || !slices.Equal(res.Copies, []string{"vm2"})) {
				t.Errorf("%s, %d: %s %s, copies %v: want %s", name, i, res.Verdict, res.Reason, res.Copies, c.want)
			}
		}
	}
	delete(st.Speakers, hoststate.SpeakerKey{Domain: 1, Host: "host-1"})
	for i, res := range send(fabric1.Addr, net, gwMAC, otherMAC, packet.TypeIPv4, ip) {
		if res.Reason != reason.FabricSourceMAC {
			t.Errorf("a router that the host does not speak for, %d: %s %s", i, res.Verdict, res.Reason)
		}
	}
	asked := send(fabric1.Addr, net, vm, packet.Broadcast, packet.TypeARP, arp)
	if asked[0].Verdict != Pass || asked[0].Mark != 1 || asked[1].Verdict != Flood {
		t.Errorf("ARP for a router: %s, mark %d, then %s %s", asked[0].Verdict, asked[0].Mark, asked[1].Verdict, asked[1].Reason)
	}
	delete(st.FDB, hoststate.FDBKey{Network: tenantNet, MAC: vm})
	st.FDB[hoststate.FDBKey{Network: tenantNet, MAC: vm}] = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Drop: reason.PortAdminDown}
	if res := send(fabric1.Addr, net, vm, otherMAC, packet.TypeIPv4, ip)[0]; res.Reason != reason.PortAdminDown {
		t.Errorf("a port that is down: %s %s", res.Verdict, res.Reason)
	}
}

// TestFabricSizes: the underlay of the fabric has an MTU, and what is too big for a tunnel of another host is told to the
// sender.
func TestFabricSizes(t *testing.T) {
	q := Request{Port: "vm-a", To: addr("10.0.1.3"), Subnets: tenant, Packet: Packet{Size: 1351, DontFragment: true}}
	ps := site(twoHosts("host-2"), nil)
	if rep, err := ps["host-1"].Trace(q); err != nil || rep.Reason != "fragmentation_needed" || len(rep.Hosts) != 0 || !strings.Contains(rep.Summary, "1350 bytes") {
		t.Errorf("beyond the other host's MTU: %q, %v", rep.Summary, err)
	}
	ps = site(twoHosts("host-2"), func(name model.HostName, e *Env) {
		if name == "host-2" {
			e.PathMTU = map[netip.Addr]int{addr("200.200.0.2"): 1300}
		}
	})
	q.Size = 1251
	rep, err := ps["host-1"].Trace(q)
	if err != nil || rep.Reason != "fragmentation_needed" || !strings.Contains(rep.Summary, "1250 bytes") || !slices.Equal(rep.Hosts, []model.HostName{"host-2", "host-1"}) {
		t.Fatalf("beyond the path of the other host's tunnel: %q by %v, %v", rep.Summary, rep.Hosts, err)
	}
	q.DontFragment = false
	if cut, err := ps["host-1"].Trace(q); err != nil || cut.Next == nil || cut.Next.Request.Size > 1250 {
		t.Errorf("what may be cut: %q, %v", cut.Summary, err)
	}
	if last := rep.Answer[len(rep.Answer)-1]; !strings.Contains(last.Result, "delivered to interface vm") {
		t.Errorf("the error does not come back: %+v", rep.Answer)
	}
}

// TestTunnelsOfTwoHosts: nothing is bridged from a tunnel of one host into one of another.
func TestTunnelsOfTwoHosts(t *testing.T) {
	st := twoHosts("host-1")["host-1"]
	third := model.MAC{2, 0, 0, 0, 0, 3}
	k := hoststate.FDBKey{Network: multiNet, MAC: third}
	st.FDB[k] = hoststate.FDBEntry{Kind: hoststate.FDBRemote, Addr: addr("200.200.0.9"), TunnelIP: addr("200.200.0.7"), VNI: 9, Gateway: "another", Host: "host-2"}
	p := New(st, Env{Fabric: hostenv.Fabric{Addr: fabric1.Addr, Port: fabric1.Port}})
	inner := append(packet.Ethernet{Dst: third, Src: peerB, Type: packet.TypeIPv4}.Append(nil),
		packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: addr("10.0.1.3"), Dst: addr("10.0.1.4")}.Append(nil, 0)...)
	res := p.FromUnderlay(Frame{Data: packet.Encapsulate(nil, packet.Outer{Local: addr("200.200.0.2"), Remote: addr("200.200.0.1"), VNI: 100}, inner)})
	if res.Reason != reason.TunnelHairpin {
		t.Errorf("bridged into the other host's tunnel: %s %s", res.Verdict, res.Reason)
	}
}

// TestVLANOnTwoHosts: a VLAN that two hosts have serves the ports of each on its own: nothing is bridged between it and the
// fabric, though one of them serves hosts without.
func TestVLANOnTwoHosts(t *testing.T) {
	all := twoHosts("host-2")
	for n, st := range all {
		st.VLANs = map[hoststate.VLANKey]hoststate.VLAN{{Interface: "eth2", ID: 77}: {Network: tenantNet}}
		if st.HostPairs == nil {
			st.HostPairs = map[hoststate.HostPairKey]hoststate.HostPair{}
		}
		st.HostPairs[hoststate.StationsKey(tenantNet, "host-1")] = hoststate.HostPair{Port: hoststate.StationsPort(tenantNet)}
		st.HostPairs[hoststate.StationsKey(tenantNet, "host-2")] = hoststate.HostPair{}
		all[n] = st
	}
	ps := site(all, func(_ model.HostName, e *Env) { e.Mark, e.Memory = 1, NewMemory(4, 4) })
	station := model.MustMAC("02:00:00:00:77:01")
	fromVLAN := func(host model.HostName, dst model.MAC, et packet.EtherType, body []byte) Result {
		b := append(packet.Ethernet{Dst: dst, Src: station, Type: 0x8100}.Append(nil), 0, 77, byte(et>>8), byte(et))
		return ps[host].FromUnderlay(Frame{Data: append(b, body...), Interface: "eth2"})
	}
	arp := packet.ARP{Op: packet.ARPRequest, SenderMAC: station, SenderIP: addr("10.0.0.77"), TargetIP: addr("10.0.0.4")}.Append(nil)
	if r := fromVLAN("host-1", packet.Broadcast, packet.TypeARP, arp); r.Verdict != Flood || !slices.Equal(r.Copies, []string{"vm"}) {
		t.Errorf("ARP for the other host's VM: %s %s, copies %v", r.Verdict, r.Reason, r.Copies)
	}
	if r := fromVLAN("host-2", packet.Broadcast, packet.TypeARP, arp); r.Verdict != Tagged {
		t.Errorf("ARP for the VM of the same host: %s %s", r.Verdict, r.Reason)
	}
	ip := packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: addr("10.0.0.77"), Dst: addr("10.0.0.4")}.Append(nil, 0)
	if r := fromVLAN("host-1", otherMAC, packet.TypeIPv4, ip); r.Reason != reason.HostUnreachable {
		t.Errorf("to the other host's VM: %s %s", r.Verdict, r.Reason)
	}
	if r := fromVLAN("host-1", gwMAC, packet.TypeIPv4, ip); r.Verdict != Tunnel || r.Host != "host-2" {
		t.Errorf("routed to the other host's VM: %s %s, host %s", r.Verdict, r.Reason, r.Host)
	}
	if r := fromVLAN("host-1", packet.Broadcast, packet.TypeIPv4, ip); !slices.Equal(r.Copies, []string{"vm"}) {
		t.Errorf("a broadcast: %s %s, copies %v", r.Verdict, r.Reason, r.Copies)
	}
	frame := func(dst, src model.MAC) []byte {
		return append(packet.Ethernet{Dst: dst, Src: src, Type: packet.TypeIPv4}.Append(nil), ip...)
	}
	key := &TunnelKey{Local: fabric2.Addr, Remote: fabric1.Addr, VNI: model.VNI(tenantNet)}
	if r := ps["host-2"].FromFabric(Frame{Data: frame(packet.Broadcast, vmMAC), Mark: 1}, key); !slices.Equal(r.Copies, []string{"vm2"}) {
		t.Errorf("the VM's broadcast at the other host: %s %s, copies %v", r.Verdict, r.Reason, r.Copies)
	}
	fromVLAN("host-2", packet.Broadcast, packet.TypeIPv4, ip) // host-2 learns the station
	if r := ps["host-2"].FromFabric(Frame{Data: frame(station, vmMAC), Mark: 1}, key); r.Reason != reason.FabricHairpin {
		t.Errorf("to a station of the other host: %s %s", r.Verdict, r.Reason)
	}
}

// TestTunnelFloodOverFabric: what is flooded from a tunnel gets to other hosts' ports, and to no VLAN of theirs.
func TestTunnelFloodOverFabric(t *testing.T) {
	all := twoHosts("host-1")
	third := model.MustMAC("02:00:00:00:00:50")
	for n, st := range all {
		st.Members[hoststate.MemberKey{Network: multiNet, Host: "host-2"}] = hoststate.Member{}
		st.FDB[hoststate.FDBKey{Network: multiNet, MAC: third}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 9, Host: "host-2"}
		if n == "host-2" {
			st.VLANs = map[hoststate.VLANKey]hoststate.VLAN{{Interface: "eth2", ID: 77}: {Network: multiNet}}
			st.Ports[9] = hoststate.Port{ID: "vm-9", Network: multiNet, Interface: "vm9", MAC: third, Addrs: []netip.Addr{addr("192.168.0.50")}}
			all[n] = st
		}
	}
	ps := site(all, func(_ model.HostName, e *Env) { e.Mark = 1 })
	arp := packet.ARP{Op: packet.ARPRequest, SenderMAC: peerB, SenderIP: addr("192.168.0.2"), TargetIP: addr("192.168.0.77")}.Append(nil)
	inner := append(packet.Ethernet{Dst: packet.Broadcast, Src: peerB, Type: packet.TypeARP}.Append(nil), arp...)
	near := ps["host-1"].FromVXLAN(Frame{Data: inner, Mark: 1}, &TunnelKey{Local: addr("200.200.0.1"), Remote: addr("200.200.0.2"), VNI: 100})
	far := ps["host-2"].FromFabric(Frame{Data: inner, Mark: 1}, &TunnelKey{Local: fabric2.Addr, Remote: fabric1.Addr, VNI: model.VNI(multiNet)})
	if !slices.Equal(near.Copies, []string{"host host-2"}) || !slices.Equal(far.Copies, []string{"vm9"}) {
		t.Errorf("%s %s, copies %v; at the other host %s %s, copies %v", near.Verdict, near.Reason, near.Copies, far.Verdict, far.Reason, far.Copies)
	}
}

// TestRouterAsksAllHosts: a router's ARP request goes to the ports and VLANs of the host that has the question, and to the other
// hosts that are on the network: the answer is heard on all.
func TestRouterAsksAllHosts(t *testing.T) {
	st := twoHosts("host-2")["host-1"]
	st.VLANs = map[hoststate.VLANKey]hoststate.VLAN{{Interface: "eth2", ID: 77}: {Network: tenantNet}}
	p := New(st, Env{Fabric: hostenv.Fabric{Addr: fabric1.Addr, Port: fabric1.Port}})
	f := packet.Ethernet{Src: gwMAC, Type: packet.TypeIPv4}.Append(nil)
	f = packet.SlowHeader{Kind: packet.SlowARP, Net: uint32(tenantNet), Src: addr("10.0.0.99")}.Append(f)
	r := p.FromSlow(Frame{Data: append(f, make([]byte, packet.ARPLen)...)})
	if r.Verdict != Flood || len(r.Copies) != 3 || r.Copies[0] != "vm" || r.Copies[2] != "host host-2" {
		t.Errorf("%s %s, copies %v", r.Verdict, r.Reason, r.Copies)
	}
}

// TestSmallPortOfAnotherHost: a routed packet that another host's port does not take is answered, as on one host.
func TestSmallPortOfAnotherHost(t *testing.T) {
	third := model.MustMAC("02:00:00:00:00:50")
	for _, host := range []model.HostName{"host-1", "host-2"} {
		all := twoHosts("host-2")
		for n, st := range all {
			st.Neighbors[hoststate.NeighborKey{Network: multiNet, IP: addr("192.168.0.50")}] = third
			st.FDB[hoststate.FDBKey{Network: multiNet, MAC: third}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 9, Host: host}
			if n == host {
				st.Ports[9] = hoststate.Port{ID: "vm-9", Network: multiNet, Interface: "vm9", MAC: third, Addrs: []netip.Addr{addr("192.168.0.50")}}
			}
		}
		ps := site(all, func(_ model.HostName, e *Env) {
			e.Links = map[string]Link{"vm": {MTU: 1450}, "vm2": {MTU: 1450}, "vm9": {MTU: 1300}}
		})
		q := Request{Port: "vm-a", To: addr("192.168.0.50"), Subnets: tenant, Packet: Packet{Size: 1340, DontFragment: true}}
		rep, err := ps["host-1"].Trace(q)
		if err != nil || rep.Reason != "fragmentation_needed" || !strings.Contains(rep.Summary, "1300 bytes") {
			t.Errorf("the port is on %s: %q, %v", host, rep.Summary, err)
		} else if last := rep.Answer[len(rep.Answer)-1]; !strings.Contains(last.Result, "delivered to interface vm") {
			t.Errorf("the port is on %s: the error does not come back: %+v", host, rep.Answer)
		}
		q.DontFragment = false
		if cut, err := ps["host-1"].Trace(q); err != nil || cut.Reason != "" {
			t.Errorf("the port is on %s: what may be cut: %q, %v", host, cut.Summary, err)
		}
	}
}
