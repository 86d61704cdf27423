package trace

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// vrrp is a virtual MAC of VRRP.
var vrrp = model.MAC{0, 0, 0x5e, 0, 1, 7}

// FuzzPipeline sends any bytes into all four programs: none panics, words or not,
// and each comes to a verdict that agrees with itself.
func FuzzPipeline(f *testing.F) {
	st := siteA()
	vm := st.Ports[1]
	vm.Pairs = []hoststate.Pair{{MAC: vmMAC, Prefix: prefix("10.0.0.96/29")}, {MAC: vrrp, Prefix: prefix("10.0.0.0/8")}}
	st.Ports[1] = vm
	st.VLANs = map[hoststate.VLANKey]hoststate.VLAN{{Interface: "eth2", ID: 42}: {Network: tenantNet, Prefixes: []netip.Prefix{prefix("10.0.0.0/24")}}}
	st.Hosts = map[model.HostName]hoststate.Host{"host-1": fabric1, "host-2": fabric2}
	st.Members = map[hoststate.MemberKey]hoststate.Member{{Network: tenantNet, Host: "host-2"}: {}}
	st.FDB[hoststate.FDBKey{Network: tenantNet, MAC: otherMAC}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 2, Host: "host-2"}
	p := New(st, Env{Memory: NewMemory(4, 4), Fabric: hostenv.Fabric{Addr: fabric1.Addr, Port: fabric1.Port}})
	frame := func(proto string, ttl int) []byte {
		ip, err := Packet{Proto: proto, TTL: ttl}.build(addr("10.0.0.3"), addr("10.0.1.3"))
		if err != nil {
			f.Fatal(err)
		}
		return append(packet.Ethernet{Dst: gwMAC, Src: vmMAC, Type: packet.TypeIPv4}.Append(nil), ip...)
	}
	f.Add(frame("icmp", 64), uint16(0))
	f.Add(frame("udp", 1), uint16(0))
	f.Add(frame("tcp", 64), uint16(1400))
	f.Add(packet.BuildARPRequest(vmMAC, addr("10.0.0.3"), addr("10.0.0.1")), uint16(0))
	f.Add(SlowRouteFrame(routerA, frame("icmp", 64)[packet.EthernetLen:]), uint16(0))
	f.Add(packet.Encapsulate(nil, packet.Outer{Local: addr("200.200.0.2"), Remote: addr("200.200.0.1"), VNI: 100},
		append(packet.Ethernet{Dst: peerA, Src: peerB, Type: packet.TypeIPv4}.Append(nil), frame("udp", 9)[packet.EthernetLen:]...)), uint16(0))
	f.Add(packet.Encapsulate(nil, packet.Outer{Local: fabric2.Addr, Remote: fabric1.Addr, VNI: model.VNI(tenantNet), DstPort: fabric1.Port},
		append(packet.Ethernet{Dst: vmMAC, Src: otherMAC, Type: packet.TypeIPv4}.Append(nil), frame("udp", 9)[packet.EthernetLen:]...)), uint16(0))
	f.Add(SlowRouteFrame(routerA, packet.IPv4{TTL: 64, Src: addr("10.0.1.3"), Dst: addr("10.0.0.50")}.Append(nil, 0)), uint16(0))
	shared := packet.ARP{Op: packet.ARPRequest, SenderMAC: vrrp, SenderIP: addr("10.0.0.97"), TargetIP: addr("10.0.0.97")}
	f.Add(append(packet.Ethernet{Dst: packet.Broadcast, Src: vrrp, Type: packet.TypeARP}.Append(nil), shared.Append(nil)...), uint16(0))
	server := packet.ARP{Op: packet.ARPRequest, SenderMAC: model.MAC{0x52, 0x54, 0, 0, 0, 1}, SenderIP: addr("10.0.0.50"), TargetIP: addr("10.0.0.1")}
	tagged := append(packet.Ethernet{Dst: packet.Broadcast, Src: server.SenderMAC, Type: packet.TypeVLAN}.Append(nil), 0, 42, 8, 6)
	f.Add(append(tagged, server.Append(nil)...), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, gso uint16) {
		in := Frame{Data: data, GSOSize: int(gso), Interface: "eth2"}
		key := &TunnelKey{Local: addr("200.200.0.1"), Remote: addr("200.200.0.2"), VNI: 100}
		over := &TunnelKey{Local: fabric1.Addr, Remote: fabric2.Addr, VNI: model.VNI(tenantNet)}
		before := bytes.Clone(data)
		for i, enter := range []func(p *Pipeline) Result{
			func(p *Pipeline) Result { return p.FromWorkload("vm", in) },
			func(p *Pipeline) Result { return p.FromUnderlay(in) },
			func(p *Pipeline) Result { return p.FromVXLAN(in, key) },
			func(p *Pipeline) Result { return p.FromFabric(in, over) },
			func(p *Pipeline) Result { return p.FromSlow(in) },
		} {
			loud, quiet := enter(p), enter(p.Quiet())
			if loud.Verdict == 0 || loud.Verdict != quiet.Verdict || loud.Reason != quiet.Reason || !bytes.Equal(loud.Output, quiet.Output) {
				t.Errorf("program %d: %s %s, without words %s %s", i, loud.Verdict, loud.Reason, quiet.Verdict, quiet.Reason)
			}
			if loud.Verdict == Drop && (len(loud.Hops) == 0 || loud.Hops[len(loud.Hops)-1].Reason != loud.Reason.String()) {
				t.Errorf("program %d: a drop without its word: %+v", i, loud)
			}
			if !bytes.Equal(data, before) {
				t.Fatalf("program %d changed its input", i)
			}
		}
	})
}

func BenchmarkFromWorkload(b *testing.B) {
	p := New(siteA(), Env{}).Quiet()
	ip, err := Packet{}.build(addr("10.0.0.3"), addr("10.0.1.3"))
	if err != nil {
		b.Fatal(err)
	}
	f := Frame{Data: append(packet.Ethernet{Dst: gwMAC, Src: vmMAC, Type: packet.TypeIPv4}.Append(nil), ip...)}
	for b.Loop() {
		if res := p.FromWorkload("vm", f); res.Verdict != Tunnel {
			b.Fatal(res.Reason)
		}
	}
}
