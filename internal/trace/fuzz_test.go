package trace

import (
	"bytes"
	"testing"

	"github.com/causeway-net/causeway/internal/packet"
)

// FuzzPipeline sends any bytes into all four programs: none panics, words or not,
// and each comes to a verdict that agrees with itself.
func FuzzPipeline(f *testing.F) {
	p := New(siteA(), Env{})
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
	f.Fuzz(func(t *testing.T, data []byte, gso uint16) {
		in := Frame{Data: data, GSOSize: int(gso)}
		key := &TunnelKey{Local: addr("200.200.0.1"), Remote: addr("200.200.0.2"), VNI: 100}
		before := bytes.Clone(data)
		for i, enter := range []func(p *Pipeline) Result{
			func(p *Pipeline) Result { return p.FromWorkload("vm", in) },
			func(p *Pipeline) Result { return p.FromUnderlay(in) },
			func(p *Pipeline) Result { return p.FromVXLAN(in, key) },
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
