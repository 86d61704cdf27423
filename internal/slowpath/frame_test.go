package slowpath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/packet"
)

var (
	src    = netip.MustParseAddr("10.0.0.3")
	dst    = netip.MustParseAddr("10.0.1.3")
	router = netip.MustParseAddr("10.0.0.1")
	macs   = []byte{0x6f, 0xe4, 0x5a, 0xfa, 0x8e, 0x09, 0x16, 0xb7, 0xb5, 0xa4, 0x57, 0x75, 8, 0}
)

func frame(h packet.SlowHeader, ip []byte) []byte {
	return append(h.Append(append([]byte(nil), macs...)), ip...)
}

func ipv4(h packet.IPv4, payload []byte) []byte {
	h.Src, h.Dst = src, dst
	if h.TTL == 0 {
		h.TTL = 1
	}
	return append(h.Append(nil, len(payload)), payload...)
}

func handle(f []byte) (out [][]byte, err error) {
	err = Handle(f, func(b []byte) error { out = append(out, bytes.Clone(b)); return nil })
	return out, err
}

func TestHeaderRoundTrip(t *testing.T) {
	h := packet.SlowHeader{Kind: packet.SlowICMP, Reason: 23, ICMPType: 11, ICMPCode: 1, Router: 7, Net: 8, MTU: 1450, Src: router}
	b := h.Append(nil)
	if len(b) != packet.SlowHeaderLen {
		t.Fatalf("header has %d bytes, want %d", len(b), packet.SlowHeaderLen)
	}
	got, err := packet.ParseSlowHeader(b)
	if err != nil || got != h {
		t.Fatalf("got %+v, %v; want %+v", got, err, h)
	}
}

func TestICMPError(t *testing.T) {
	orig := ipv4(packet.IPv4{Protocol: packet.ProtoUDP}, make([]byte, 100))
	out, err := handle(frame(packet.SlowHeader{Kind: packet.SlowICMP, Reason: 23, ICMPType: 3, ICMPCode: 4, Router: 7, MTU: 1400, Src: router}, orig))
	if err != nil || len(out) != 1 {
		t.Fatalf("%d frames, %v", len(out), err)
	}
	h, err := packet.ParseSlowHeader(out[0][14:])
	if err != nil || h.Kind != packet.SlowRoute || h.Router != 7 {
		t.Fatalf("header %+v, %v", h, err)
	}
	ip, payload, err := packet.ParseIPv4(out[0][14+packet.SlowHeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	if ip.Src != router || ip.Dst != src || ip.TTL != 64 {
		t.Errorf("error goes from %s to %s with TTL %d", ip.Src, ip.Dst, ip.TTL)
	}
	m, quote, err := packet.ParseICMP(payload)
	if err != nil || m.Type != 3 || m.Code != 4 || m.Rest != 1400 {
		t.Errorf("message %+v, %v", m, err)
	}
	if !bytes.Equal(quote, orig) {
		t.Errorf("quotes %x, want %x", quote, orig)
	}
}

func TestNoErrorAbout(t *testing.T) {
	h := packet.SlowHeader{Kind: packet.SlowICMP, ICMPType: 11, Router: 7, Src: router}
	set := func(at int, b ...byte) []byte {
		ip := ipv4(packet.IPv4{Protocol: packet.ProtoUDP}, make([]byte, 8))
		copy(ip[at:], b)
		return ip
	}
	broadcast := frame(h, set(0))
	copy(broadcast, packet.Broadcast[:])
	for name, f := range map[string][]byte{
		"an ICMP error":       frame(h, ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, []byte{3, 0, 0, 0, 0, 0, 0, 0})),
		"an empty ICMP":       frame(h, ipv4(packet.IPv4{Protocol: packet.ProtoICMP}, nil)),
		"a later fragment":    frame(h, ipv4(packet.IPv4{Protocol: packet.ProtoUDP, Offset: 8}, make([]byte, 8))),
		"a source of zero":    frame(h, set(12, 0, 0, 0, 0)),
		"a multicast source":  frame(h, set(12, 224, 0, 0, 1)),
		"a multicast packet":  frame(h, set(16, 224, 0, 0, 5)),
		"a limited broadcast": frame(h, set(16, 255, 255, 255, 255)),
		"a broadcast frame":   broadcast,
	} {
		out, err := handle(f)
		if len(out) != 0 || !errors.Is(err, packet.ErrNoICMPError) {
			t.Errorf("about %s: %d frames, %v", name, len(out), err)
		}
	}
}

func TestFragment(t *testing.T) {
	payload := make([]byte, 4000)
	for i := range payload {
		payload[i] = byte(i >> 3)
	}
	in := frame(packet.SlowHeader{Kind: packet.SlowFragment, Net: 5, MTU: 1450}, ipv4(packet.IPv4{Protocol: packet.ProtoUDP, ID: 9}, payload))
	out, err := handle(in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 3 {
		t.Fatalf("%d fragments, want 3", len(out))
	}
	var whole []byte
	for i, f := range out {
		if !bytes.Equal(f[:14], macs) {
			t.Errorf("fragment %d has Ethernet header %x", i, f[:14])
		}
		h, err := packet.ParseSlowHeader(f[14:])
		if err != nil || h.Kind != packet.SlowBridge || h.Net != 5 {
			t.Errorf("fragment %d: header %+v, %v", i, h, err)
		}
		ip, p, err := packet.ParseIPv4(f[14+packet.SlowHeaderLen:])
		if err != nil || ip.Offset != len(whole) || ip.MF != (i < 2) || ip.ID != 9 || ip.TotalLen > 1450 {
			t.Errorf("fragment %d: %+v, %v", i, ip, err)
		}
		whole = append(whole, p...)
	}
	if !bytes.Equal(whole, payload) {
		t.Error("the fragments do not make the packet")
	}
	if out, err := handle(frame(packet.SlowHeader{Kind: packet.SlowFragment, MTU: 1450}, ipv4(packet.IPv4{DF: true}, payload))); len(out) != 0 || !errors.Is(err, packet.ErrDF) {
		t.Errorf("a packet with DF: %d frames, %v", len(out), err)
	}
}

// TestARPRequest: the frame to make a request of has the router's MAC and the question,
// and nothing of the packet that led to it.
func TestARPRequest(t *testing.T) {
	in := frame(packet.SlowHeader{Kind: packet.SlowARP, Reason: 37, Router: 7, Net: 5, Src: dst}, ipv4(packet.IPv4{Protocol: packet.ProtoUDP}, make([]byte, 1000)))
	out, err := handle(in)
	if err != nil || len(out) != 1 {
		t.Fatalf("%d frames, %v", len(out), err)
	}
	h, err := packet.ParseSlowHeader(out[0][14:])
	if err != nil || h.Kind != packet.SlowARP || h.Net != 5 || h.Src != dst {
		t.Errorf("header %+v, %v", h, err)
	}
	want := append(append([]byte{255, 255, 255, 255, 255, 255}, macs[6:12]...), 8, 0)
	if !bytes.Equal(out[0][:14], want) || len(out[0]) != 14+packet.SlowHeaderLen+packet.ARPLen {
		t.Errorf("frame %x", out[0])
	}
	if out, err := handle(frame(packet.SlowHeader{Kind: packet.SlowARP, Net: 5}, ipv4(packet.IPv4{}, nil))); len(out) != 0 || !errors.Is(err, ErrFrame) {
		t.Errorf("for no address: %d frames, %v", len(out), err)
	}
}

func FuzzHandle(f *testing.F) {
	ip := ipv4(packet.IPv4{Protocol: packet.ProtoUDP}, make([]byte, 3000))
	f.Add(frame(packet.SlowHeader{Kind: packet.SlowICMP, ICMPType: 11, Router: 7, Src: router}, ip))
	f.Add(frame(packet.SlowHeader{Kind: packet.SlowFragment, Net: 5, MTU: 1450}, ip))
	f.Add(frame(packet.SlowHeader{Kind: packet.SlowFragment, Net: 5, MTU: 68}, ip))
	f.Add(frame(packet.SlowHeader{Kind: packet.SlowRoute, Router: 7}, ip))
	f.Add(frame(packet.SlowHeader{Kind: packet.SlowARP, Router: 7, Net: 5, Src: src}, ip))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > maxFrame {
			return
		}
		before := bytes.Clone(in)
		out, err := handle(in)
		if !bytes.Equal(in, before) {
			t.Fatal("changed its input")
		}
		if err != nil && len(out) != 0 {
			t.Fatalf("both %d frames and %v", len(out), err)
		}
		for _, o := range out {
			h, err := packet.ParseSlowHeader(o[14:])
			if err != nil || h.Kind != packet.SlowRoute && h.Kind != packet.SlowBridge && h.Kind != packet.SlowARP {
				t.Fatalf("emitted header %+v, %v", h, err)
			}
			p := o[14+packet.SlowHeaderLen:]
			if h.Kind == packet.SlowARP {
				if len(p) != packet.ARPLen {
					t.Fatalf("emitted %d bytes for an ARP request", len(p))
				}
				continue
			}
			if packet.Checksum(p[:int(p[0]&15)*4], 0) != 0 && h.Kind == packet.SlowRoute {
				t.Fatalf("emitted a packet with a wrong checksum: %x", p)
			}
			if int(binary.BigEndian.Uint16(p[2:])) != len(p) {
				t.Fatalf("emitted %d bytes with length %d", len(p), binary.BigEndian.Uint16(p[2:]))
			}
			if h.Kind == packet.SlowBridge && len(p) > int(binary.NativeEndian.Uint32(in[14+12:])) {
				t.Fatalf("emitted %d bytes for an MTU of %d", len(p), binary.NativeEndian.Uint32(in[14+12:]))
			}
		}
	})
}
