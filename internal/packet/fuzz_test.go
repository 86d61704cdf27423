package packet

import (
	"bytes"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

// seeds are frames of every kind that the decoders know.
func seeds() [][]byte {
	src, dst := addr("10.0.0.3"), addr("10.0.1.3")
	eth := func(t EtherType) []byte {
		return Ethernet{Dst: model.MAC{2, 0, 0, 0, 0, 2}, Src: model.MAC{2, 0, 0, 0, 0, 1}, Type: t}.Append(nil)
	}
	v4 := func(h IPv4, l4 []byte) []byte {
		h.Src, h.Dst, h.TTL = src, dst, 64
		return append(h.Append(eth(TypeIPv4), len(l4)), l4...)
	}
	udp := UDP{Src: 7, Dst: 8}.Append(nil, src, dst, []byte("payload"))
	tcp := TCP{Src: 7, Dst: 8, Flags: TCPSyn, Options: []byte{2, 4, 5, 0xb4}}.Append(nil, src, dst, []byte("x"))
	v6 := IPv6{NextHeader: ProtoUDP, PayloadLen: len(udp), Src: addr("2001:db8::1"), Dst: addr("2001:db8::2")}.Append(eth(TypeIPv6))
	all := [][]byte{
		BuildARPRequest(model.MAC{2, 0, 0, 0, 0, 1}, src, dst),
		v4(IPv4{Protocol: ProtoUDP}, udp),
		v4(IPv4{Protocol: ProtoUDP, MF: true, Offset: 16, Options: []byte{130, 4, 1, 1}}, udp),
		v4(IPv4{Protocol: ProtoTCP}, tcp),
		v4(IPv4{Protocol: ProtoICMP}, ICMP{Type: ICMPEchoRequest}.Append(nil, []byte("abc"))),
		append(v6, udp...),
		append(append(eth(TypeVLAN), 0, 5, 8, 0), v4(IPv4{Protocol: ProtoUDP}, udp)[EthernetLen:]...),
	}
	if e, err := BuildICMPError(all[1][EthernetLen:], ICMPError{Type: ICMPTimeExceeded, Src: dst}); err == nil {
		all = append(all, append(eth(TypeIPv4), e...))
	}
	o := Outer{Local: addr("200.200.0.1"), Remote: addr("200.200.0.2"), VNI: 100}
	once := Encapsulate(nil, o, all[3])
	return append(all, once, Encapsulate(nil, o, once))
}

func FuzzDescribe(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(Describe(b)); n > maxLayers+2 {
			t.Errorf("%d layers", n)
		}
		DescribeIPv4(b)
	})
}

func FuzzDecapsulate(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decapsulate(b)
		if err == nil && len(e.Inner) > len(b) {
			t.Error("more inside than there is")
		}
		FlowHash(1, b)
	})
}

// FuzzARP: what is parsed and written again is the same.
func FuzzARP(f *testing.F) {
	f.Add(seeds()[0][EthernetLen:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := ParseARP(b); err == nil && !bytes.Equal(a.Append(nil), b[:ARPLen]) {
			t.Errorf("%x → %+v", b, a)
		}
	})
}

// FuzzIP parses, builds again and cuts; fragments hold the payload and fit.
func FuzzIP(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s[EthernetLen:], uint16(100))
	}
	f.Fuzz(func(t *testing.T, b []byte, mtu uint16) {
		if h, _, err := ParseIPv6(b); err == nil && !bytes.Equal(h.Append(nil), b[:IPv6Len]) {
			t.Errorf("IPv6 %x → %+v", b, h)
		}
		h, payload, err := ParseIPv4(b)
		if err != nil {
			return
		}
		if b[6]&0x80 == 0 { // the reserved bit is not kept
			got := h.Append(nil, 0)
			if !ValidIPv4Checksum(got) {
				t.Errorf("built with a wrong checksum: %x", got)
			}
			copy(got[10:12], b[10:12])
			if !bytes.Equal(got, b[:h.HeaderLen()]) {
				t.Errorf("IPv4 %x → %x", b[:h.HeaderLen()], got)
			}
		}
		_, _, _ = ParseUDP(payload)
		_, _, _ = ParseTCP(payload)
		_, _, _ = ParseICMP(payload)
		fragments, err := Fragment(b, int(mtu))
		if err != nil {
			return
		}
		var whole []byte
		for _, p := range fragments {
			_, part, err := ParseIPv4(p)
			if err != nil || len(p) > int(mtu) {
				t.Fatalf("fragment of %d bytes for an MTU of %d: %v", len(p), mtu, err)
			}
			whole = append(whole, part...)
		}
		if !bytes.Equal(whole, payload) {
			t.Errorf("fragments of %x hold %x", payload, whole)
		}
	})
}

// FuzzICMPError: an error is at most 576 bytes, right, and no error about an error
// is ever made.
func FuzzICMPError(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s[EthernetLen:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := BuildICMPError(b, ICMPError{Type: ICMPTimeExceeded, Src: addr("10.0.0.1")})
		if err != nil {
			return
		}
		_, payload, err := ParseIPv4(e)
		if err != nil || len(e) > 576 || !ValidIPv4Checksum(e) || Checksum(payload, 0) != 0 {
			t.Errorf("%x: %v", e, err)
		}
		if _, err := BuildICMPError(e, ICMPError{Type: ICMPTimeExceeded, Src: addr("10.0.0.1")}); err == nil {
			t.Errorf("an error about an error: %x", e)
		}
	})
}

func BenchmarkFlowHash(b *testing.B) {
	frame := seeds()[3]
	for b.Loop() {
		FlowHash(1, frame)
	}
}

func BenchmarkParseIPv4(b *testing.B) {
	ip := seeds()[3][EthernetLen:]
	for b.Loop() {
		if _, _, err := ParseIPv4(ip); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncapsulate(b *testing.B) {
	frame := append(seeds()[3], make([]byte, 1400)...)
	buf := make([]byte, 0, len(frame)+EthernetLen+VXLANOverhead)
	o := Outer{Local: addr("200.200.0.1"), Remote: addr("200.200.0.2"), VNI: 100}
	for b.Loop() {
		Encapsulate(buf[:0], o, frame)
	}
}

func BenchmarkChecksum1400(b *testing.B) {
	data := make([]byte, 1400)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		Checksum(data, 0)
	}
}

func BenchmarkBuildICMPError(b *testing.B) {
	ip := seeds()[3][EthernetLen:]
	for b.Loop() {
		if _, err := BuildICMPError(ip, ICMPError{Type: ICMPTimeExceeded, Src: addr("10.0.0.1")}); err != nil {
			b.Fatal(err)
		}
	}
}
