package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

var addr = netip.MustParseAddr

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestChecksum(t *testing.T) {
	// RFC 1071 §3: the sum of this sequence is ddf2.
	if got := Checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, 0); got != ^uint16(0xddf2) {
		t.Errorf("RFC 1071 example: %04x", got)
	}
	if got := Checksum([]byte{0xff}, 0); got != 0x00ff {
		t.Errorf("odd length: %04x", got)
	}
	// RFC 1624 §4: HC = dd2f, m = 5555, m' = 3285, where the older equation 2
	// would give ffff.
	if got := UpdateChecksum(0xdd2f, 0x5555, 0x3285); got != 0 {
		t.Errorf("RFC 1624 example: %04x", got)
	}
}

func TestUpdateChecksumEqualsFull(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		h := IPv4{TOS: uint8(r.Uint32()), ID: uint16(r.Uint32()), TTL: uint8(r.Uint32()), Protocol: ProtoTCP,
			Src: netip.AddrFrom4([4]byte{10, byte(r.Uint32()), 0, 1}), Dst: netip.AddrFrom4([4]byte{10, 0, byte(r.Uint32()), 2})}
		b := h.Append(nil, 100)
		SetTTL(b, uint8(r.Uint32()))
		if !ValidIPv4Checksum(b) {
			t.Fatalf("%x", b)
		}
	}
}

func TestIPv4RoundTrip(t *testing.T) {
	want := IPv4{TOS: 0xb9, ID: 7, MF: true, Offset: 1480, TTL: 3, Protocol: ProtoUDP, Src: addr("10.0.0.3"), Dst: addr("10.0.1.3"), Options: []byte{1, 1, 1, 0}}
	b := append(want.Append(nil, 5), "hello trailing"...)
	got, payload, err := ParseIPv4(b)
	if err != nil || string(payload) != "hello" || !ValidIPv4Checksum(b) {
		t.Fatalf("%v %q", err, payload)
	}
	want.TotalLen, want.Checksum = 29, got.Checksum
	if got.TOS != want.TOS || got.Offset != 1480 || !got.MF || got.DF || got.TTL != 3 || got.Src != want.Src || got.TotalLen != 29 || !bytes.Equal(got.Options, want.Options) {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{
		"", "45", "35000014000000000001000000000000000000000000", // version
		"4400001400000000000100000a0000010a000002", // header length
		"4500001300000000000100000a0000010a000002", // total length
		"4600001800000000000100000a0000010a000002", // options that are not there
	} {
		if _, _, err := ParseIPv4(unhex(t, bad)); !errors.Is(err, ErrShort) && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestUDPChecksum(t *testing.T) {
	src, dst := addr("10.0.0.1"), addr("10.0.0.2")
	b := UDP{Src: 1, Dst: 2}.Append(nil, src, dst, []byte("abc"))
	// 0a00+0001+0a00+0002+0011+000b + 0001+0002+000b+0000+6162+6300 = d88f → 2770
	if got := binary.BigEndian.Uint16(b[6:]); got != 0x2770 {
		t.Errorf("checksum %04x", got)
	}
	if Checksum(b, PseudoSum(src, dst, ProtoUDP, len(b))) != 0 {
		t.Error("does not check")
	}
	u, payload, err := ParseUDP(append(b, 9, 9))
	if err != nil || u.Length != 11 || string(payload) != "abc" {
		t.Errorf("%+v %q %v", u, payload, err)
	}
}

func TestFragment(t *testing.T) {
	payload := make([]byte, 4000)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	// Record route (7) is not copied, the security option (130) is.
	h := IPv4{ID: 99, TTL: 9, Protocol: ProtoUDP, Src: addr("10.0.0.1"), Dst: addr("10.0.1.1"), Options: []byte{7, 3, 4, 130, 4, 1, 2, 0}}
	ip := append(h.Append(nil, len(payload)), payload...)
	check := func(name string, frags [][]byte, mtu int, base int, lastMF bool) {
		t.Helper()
		var got []byte
		for i, f := range frags {
			fh, p, err := ParseIPv4(f)
			if err != nil || !ValidIPv4Checksum(f) || len(f) > mtu || fh.TotalLen != len(f) {
				t.Fatalf("%s: fragment %d: %v, %d bytes", name, i, err, len(f))
			}
			if fh.Offset != base+len(got) || fh.ID != 99 || fh.TTL != 9 {
				t.Errorf("%s: fragment %d: %+v, want offset %d", name, i, fh, base+len(got))
			}
			last := i == len(frags)-1
			if fh.MF != (!last || lastMF) || !last && len(p)%8 != 0 {
				t.Errorf("%s: fragment %d: MF %v, %d bytes", name, i, fh.MF, len(p))
			}
			want := []byte{130, 4, 1, 2}
			if i == 0 && base == 0 {
				want = h.Options
			}
			if !bytes.Equal(fh.Options, want) {
				t.Errorf("%s: fragment %d: options %v", name, i, fh.Options)
			}
			got = append(got, p...)
		}
		if !bytes.Equal(got, payload[base:base+len(got)]) {
			t.Errorf("%s: payload differs", name)
		}
	}
	frags, err := Fragment(ip, 1400)
	if err != nil || len(frags) != 3 {
		t.Fatalf("%d fragments, %v", len(frags), err)
	}
	check("whole", frags, 1400, 0, false)
	// A fragment is cut again, and the last piece keeps MF.
	second, err := Fragment(frags[1], 600)
	if err != nil {
		t.Fatal(err)
	}
	check("fragment of a fragment", second, 600, 1368, true)

	if _, err := Fragment(IPv4{DF: true, TotalLen: 100, Src: h.Src, Dst: h.Dst}.Append(make([]byte, 0, 100), 0)[:20:20], 50); err == nil {
		t.Error("a packet that is not all there was cut")
	}
	df := append(IPv4{DF: true, Src: h.Src, Dst: h.Dst}.Append(nil, 80), payload[:80]...)
	if _, err := Fragment(df, 50); !errors.Is(err, ErrDF) {
		t.Errorf("DF: %v", err)
	}
	if f, err := Fragment(append(df, 1, 2, 3), 100); err != nil || len(f) != 1 || len(f[0]) != 100 {
		t.Errorf("a packet that fits: %v", err)
	}
	if _, err := Fragment(ip, 30); err == nil {
		t.Error("an MTU without room was taken")
	}
}

func TestBuildICMPError(t *testing.T) {
	src, dst, router := addr("10.0.0.3"), addr("10.0.1.3"), addr("10.0.0.1")
	body := UDP{Src: 5, Dst: 33434}.Append(nil, src, dst, make([]byte, 1000))
	orig := append(IPv4{TTL: 1, Protocol: ProtoUDP, Src: src, Dst: dst}.Append(nil, len(body)), body...)
	got, err := BuildICMPError(orig, ICMPError{Type: ICMPUnreachable, Code: ICMPFragmentationNeeded, MTU: 1400, Src: router})
	if err != nil {
		t.Fatal(err)
	}
	h, payload, err := ParseIPv4(got)
	if err != nil || !ValidIPv4Checksum(got) || len(got) != 576 || h.TotalLen != 576 || h.Src != router || h.Dst != src || h.TTL != 64 || h.TOS != 0xc0 {
		t.Fatalf("%v %+v, %d bytes", err, h, len(got))
	}
	m, quote, err := ParseICMP(payload)
	if err != nil || Checksum(payload, 0) != 0 || m.Type != 3 || m.Code != 4 || m.Rest != 1400 || !bytes.Equal(quote, orig[:548]) {
		t.Errorf("%v %+v, quote of %d", err, m, len(quote))
	}
	// Bytes beyond the total length are not quoted.
	short := append(IPv4{TTL: 1, Protocol: ProtoUDP, Src: src, Dst: dst}.Append(nil, 8), make([]byte, 30)...)
	got, _ = BuildICMPError(short, ICMPError{Type: ICMPTimeExceeded, Src: router})
	if len(got) != 20+8+28 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestMayICMPError(t *testing.T) {
	base := IPv4{TTL: 1, Protocol: ProtoUDP, Src: addr("10.0.0.3"), Dst: addr("10.0.1.3")}
	for name, c := range map[string]struct {
		change func(h *IPv4)
		body   []byte
		may    bool
	}{
		"UDP":               {func(*IPv4) {}, make([]byte, 8), true},
		"first fragment":    {func(h *IPv4) { h.MF = true }, make([]byte, 8), true},
		"later fragment":    {func(h *IPv4) { h.Offset = 8 }, make([]byte, 8), false},
		"echo request":      {func(h *IPv4) { h.Protocol = ProtoICMP }, []byte{8, 0, 0, 0, 0, 0, 0, 0}, true},
		"echo reply":        {func(h *IPv4) { h.Protocol = ProtoICMP }, []byte{0, 0, 0, 0, 0, 0, 0, 0}, true},
		"ICMP error":        {func(h *IPv4) { h.Protocol = ProtoICMP }, []byte{11, 0, 0, 0, 0, 0, 0, 0}, false},
		"redirect":          {func(h *IPv4) { h.Protocol = ProtoICMP }, []byte{5, 0, 0, 0, 0, 0, 0, 0}, false},
		"ICMP cut":          {func(h *IPv4) { h.Protocol = ProtoICMP }, nil, false},
		"to a group":        {func(h *IPv4) { h.Dst = addr("224.0.0.5") }, make([]byte, 8), false},
		"to all":            {func(h *IPv4) { h.Dst = addr("255.255.255.255") }, make([]byte, 8), false},
		"from nobody":       {func(h *IPv4) { h.Src = addr("0.0.0.0") }, make([]byte, 8), false},
		"from loopback":     {func(h *IPv4) { h.Src = addr("127.0.0.1") }, make([]byte, 8), false},
		"from a group":      {func(h *IPv4) { h.Src = addr("239.1.1.1") }, make([]byte, 8), false},
		"from all":          {func(h *IPv4) { h.Src = addr("255.255.255.255") }, make([]byte, 8), false},
		"unknown ICMP type": {func(h *IPv4) { h.Protocol = ProtoICMP }, []byte{42, 0, 0, 0}, false},
	} {
		h := base
		c.change(&h)
		err := MayICMPError(append(h.Append(nil, len(c.body)), c.body...))
		if (err == nil) != c.may {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTurnEchoRound(t *testing.T) {
	src, dst := addr("10.0.0.3"), addr("10.0.0.1")
	for seq := range uint32(3000) {
		ip := IPv4{ID: uint16(seq), DF: true, TTL: uint8(seq), Protocol: ProtoICMP, Src: src, Dst: dst}.Append(nil, 8+4)
		ip = ICMP{Type: ICMPEchoRequest, Rest: seq * 0x9e3779b1}.Append(ip, []byte{1, 2, 3, byte(seq)})
		TurnEchoRound(ip)
		h, payload, err := ParseIPv4(ip)
		if err != nil || !ValidIPv4Checksum(ip) || Checksum(payload, 0) != 0 || h.Src != dst || h.Dst != src || h.TTL != 64 || !h.DF || payload[0] != 0 {
			t.Fatalf("%d: %v %+v %x", seq, err, h, payload)
		}
	}
}

// TestEncapsulate builds the outer headers of the example by hand.
func TestEncapsulate(t *testing.T) {
	inner := unhex(t, "6fe45afa8e09 16b7b5a45775 0800 4500")
	got := Encapsulate(nil, Outer{
		Dst: model.MustMAC("02:00:00:00:00:02"), Src: model.MustMAC("02:00:00:00:00:01"),
		Local: addr("200.200.0.1"), Remote: addr("200.200.0.2"), TOS: 1, SrcPort: 0xc001, VNI: 100,
	}, inner)
	// 4501+0034+4000+4011+c8c8+0001+c8c8+0002 = 256d9 → 56db → a924
	want := unhex(t, `020000000002 020000000001 0800
		4501 0034 0000 4000 4011 a924 c8c80001 c8c80002
		c001 12b5 0020 0000 08000000 00006400
		6fe45afa8e09 16b7b5a45775 0800 4500`)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	e, err := Decapsulate(got)
	if err != nil || e.VXLAN.VNI != 100 || e.VXLAN.Flags != 8 || !bytes.Equal(e.Inner, inner) {
		t.Errorf("%+v %v", e, err)
	}
	// A GSO frame beyond 65535 bytes has no lengths.
	long := Encapsulate(nil, Outer{Local: addr("200.200.0.1"), Remote: addr("200.200.0.2")}, make([]byte, 66000))
	if binary.BigEndian.Uint16(long[16:]) != 0 || binary.BigEndian.Uint16(long[38:]) != 0 || !ValidIPv4Checksum(long[14:]) {
		t.Errorf("lengths of a long frame: %x", long[:42])
	}
}

// TestFlowHash fixes the hash, which old and new agents must share.
func TestFlowHash(t *testing.T) {
	src, dst := addr("10.0.0.3"), addr("10.0.1.3")
	frame := func(h IPv4, l4 []byte) []byte {
		h.Src, h.Dst, h.TTL = src, dst, 64
		f := Ethernet{Type: TypeIPv4}.Append(nil)
		return append(h.Append(f, len(l4)), l4...)
	}
	udp := UDP{Src: 1000, Dst: 2000}.Append(nil, src, dst, nil)
	mix := func(h, w uint64) uint64 {
		h = (h ^ w) * 0x9E3779B97F4A7C15
		return h ^ h>>32
	}
	addrs := uint64(0x0a000003)<<32 | 0x0a000103
	want := mix(mix(5, addrs), 17<<32|1000<<16|2000)
	if got := FlowHash(5, frame(IPv4{Protocol: ProtoUDP}, udp)); got != want {
		t.Errorf("UDP: %x, want %x", got, want)
	}
	noPorts := mix(mix(5, addrs), 17<<32)
	for name, f := range map[string][]byte{
		"fragment": frame(IPv4{Protocol: ProtoUDP, MF: true}, udp),
		"later":    frame(IPv4{Protocol: ProtoUDP, Offset: 8}, udp),
		"options":  frame(IPv4{Protocol: ProtoUDP, Options: []byte{1, 1, 1, 1}}, udp),
		"cut":      frame(IPv4{Protocol: ProtoUDP}, udp[:3]),
	} {
		if got := FlowHash(5, f); got != noPorts {
			t.Errorf("%s: %x, want %x", name, got, noPorts)
		}
	}
	eth := Ethernet{Dst: model.MustMAC("01:02:03:04:05:06"), Src: model.MustMAC("0a:0b:0c:0d:0e:0f"), Type: TypeARP}.Append(nil)
	if got, want := FlowHash(5, eth), mix(mix(5, 0x0102030405060806), 0x0a0b0c0d0e0f); got != want {
		t.Errorf("ARP: %x, want %x", got, want)
	}
	seen := map[uint16]bool{}
	for p := range uint16(2000) {
		port := SourcePort(42, frame(IPv4{Protocol: ProtoUDP}, UDP{Src: p, Dst: 53}.Append(nil, src, dst, nil)))
		if port < 49152 {
			t.Fatalf("source port %d", port)
		}
		seen[port] = true
	}
	if len(seen) < 1700 { // 2000 balls in 16384 bins leave about 1884 of them filled
		t.Errorf("2000 flows share %d source ports", len(seen))
	}
}

func TestARP(t *testing.T) {
	f := BuildARPRequest(model.MustMAC("02:00:00:00:00:01"), addr("10.0.0.3"), addr("10.0.0.1"))
	want := unhex(t, "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000003 000000000000 0a000001")
	if !bytes.Equal(f, want) {
		t.Errorf("%x", f)
	}
	if _, err := ParseARP(f[EthernetLen : len(f)-1]); !errors.Is(err, ErrShort) {
		t.Errorf("cut: %v", err)
	}
	f[EthernetLen+1] = 6
	if _, err := ParseARP(f[EthernetLen:]); !errors.Is(err, ErrNotARP) {
		t.Errorf("hardware type: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	src, dst := addr("10.0.0.3"), addr("10.0.1.3")
	inner := Ethernet{Dst: model.MustMAC("6F:E4:5A:FA:8E:09"), Src: model.MustMAC("16:B7:B5:A4:57:75"), Type: TypeIPv4}.Append(nil)
	inner = IPv4{TTL: 63, DF: true, Protocol: ProtoICMP, Src: src, Dst: dst}.Append(inner, ICMPLen+4)
	inner = ICMP{Type: ICMPEchoRequest, Rest: 7<<16 | 3}.Append(inner, []byte("abcd"))
	layers := Describe(Encapsulate(nil, Outer{Local: addr("200.200.0.1"), Remote: addr("200.200.0.2"), SrcPort: 50000, VNI: 100}, inner))
	var names []string
	for _, l := range layers {
		names = append(names, l.Name)
	}
	if got := strings.Join(names, " "); got != "Ethernet IPv4 UDP VXLAN Ethernet IPv4 ICMP Data" {
		t.Fatalf("layers: %s", got)
	}
	for _, c := range []struct {
		layer       int
		field, want string
	}{
		{1, "source", "200.200.0.1"}, {1, "TTL", "64"}, {1, "flags", "DF"}, {1, "checksum", "0xa907 (right)"},
		{2, "destination port", "4789"}, {2, "checksum", "0 (none)"},
		{3, "VNI", "100"}, {3, "flags", "0x08"},
		{4, "destination", "6f:e4:5a:fa:8e:09"}, {5, "TTL", "63"},
		{6, "type", "echo request"}, {6, "id", "7"}, {6, "sequence", "3"},
	} {
		if got := layers[c.layer].Field(c.field); got != c.want {
			t.Errorf("%s %s: %q, want %q", layers[c.layer].Name, c.field, got, c.want)
		}
	}
}
