package demo

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testbed/probe"
)

var (
	hostMAC = model.MustMAC("02:00:00:00:00:01")
	coreMAC = model.MustMAC("02:00:00:00:00:02")
)

// goodFrame is the chapter's packet from site A to site B, byte by byte.
func goodFrame() []byte {
	icmp := make([]byte, 8+56)
	icmp[0] = 8
	binary.BigEndian.PutUint16(icmp[2:], packet.Checksum(icmp, 0))
	ip := make([]byte, 20, 20+len(icmp))
	ip[0], ip[8], ip[9] = 0x45, 63, 1
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(icmp)))
	copy(ip[12:], netip.MustParseAddr(plans[0].vmIP).AsSlice())
	copy(ip[16:], netip.MustParseAddr(plans[1].vmIP).AsSlice())
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip, 0))
	inner := packet.Ethernet{Src: model.MustMAC(plans[0].peerMAC), Dst: model.MustMAC(plans[1].peerMAC), Type: packet.TypeIPv4}.Append(nil)
	inner = append(append(inner, ip...), icmp...)
	frame := packet.Encapsulate(nil, packet.Outer{
		Local: netip.MustParseAddr(plans[0].tunnelIP), Remote: netip.MustParseAddr(plans[1].tunnelIP), VNI: vni, SrcPort: 50000,
	}, inner)
	copy(frame, coreMAC[:])
	copy(frame[6:], hostMAC[:])
	return frame
}

func wrongFields(t *testing.T, frame []byte) []string {
	t.Helper()
	if !isVXLAN(frame) {
		t.Fatal("the capture would not keep it")
	}
	d, err := decode(probe.Frame{Data: frame})
	if err != nil {
		t.Fatal(err)
	}
	var wrong []string
	for _, f := range headerTable(d, hostMAC, coreMAC, plans[0], plans[1]) {
		if !f.OK {
			wrong = append(wrong, f.Header+" "+f.Field)
		}
	}
	return wrong
}

// TestHeaderTable: the right packet is right, and each wrong byte is seen in the row
// that is about it.
func TestHeaderTable(t *testing.T) {
	if wrong := wrongFields(t, goodFrame()); len(wrong) > 0 {
		t.Fatalf("the right packet is wrong in %q", wrong)
	}
	const outer, udp, vxlan, inner, innerIP, icmp = 14, 34, 42, 50, 64, 84
	for _, tc := range []struct {
		at   int
		bits byte
		want []string
	}{
		{0, 2, []string{"outer Ethernet destination"}},
		{6, 2, []string{"outer Ethernet source"}},
		{outer + 1, 0x04, []string{"outer IPv4 DSCP", "outer IPv4 checksum"}},
		{outer + 1, 0x01, []string{"outer IPv4 ECN", "outer IPv4 checksum"}},
		{outer + 5, 1, []string{"outer IPv4 identification", "outer IPv4 checksum"}},
		{outer + 6, 0x40, []string{"outer IPv4 flags", "outer IPv4 checksum"}},
		{outer + 8, 1, []string{"outer IPv4 TTL", "outer IPv4 checksum"}},
		{outer + 10, 1, []string{"outer IPv4 checksum"}},
		{outer + 15, 1, []string{"outer IPv4 source", "outer IPv4 checksum"}},
		{outer + 19, 1, []string{"outer IPv4 destination", "outer IPv4 checksum"}},
		{udp, 0x80, []string{"UDP source port"}},
		{udp + 7, 1, []string{"UDP checksum"}},
		{vxlan + 0, 0x80, []string{"VXLAN flags"}},
		{vxlan + 1, 1, []string{"VXLAN reserved bits"}},
		{vxlan + 6, 1, []string{"VXLAN VNI"}},
		{vxlan + 7, 1, []string{"VXLAN reserved bits"}},
		{inner + 5, 1, []string{"inner Ethernet destination"}},
		{inner + 11, 1, []string{"inner Ethernet source"}},
		{innerIP + 8, 1, []string{"inner IPv4 TTL, of 64 that were sent", "inner IPv4 checksum"}},
		{innerIP + 15, 1, []string{"inner IPv4 source", "inner IPv4 checksum"}},
		{icmp + 10, 1, []string{"ICMP checksum"}},
	} {
		f := goodFrame()
		f[tc.at] ^= tc.bits
		got := wrongFields(t, f)
		slices.Sort(got)
		slices.Sort(tc.want)
		if !slices.Equal(got, tc.want) {
			t.Errorf("byte %d changed: wrong are %q, want %q", tc.at, got, tc.want)
		}
	}
	// Bytes beyond the outer length.
	if got := wrongFields(t, append(goodFrame(), 0)); !slices.Contains(got, "outer IPv4 length") {
		t.Errorf("a byte too many: wrong are %q", got)
	}
}

func TestParseSample(t *testing.T) {
	for line, want := range map[string]*sample{
		"# HELP x y": nil,
		"":           nil,
		"x 1":        {name: "x", value: 1},
		`causeway_agent_drops_total{reason="no_route"} 2e+06`: {name: "causeway_agent_drops_total", labels: map[string]string{"reason": "no_route"}, value: 2e6},
		`t{a="1",b="2.3.4.5"} 7`:                              {name: "t", labels: map[string]string{"a": "1", "b": "2.3.4.5"}, value: 7},
	} {
		got, ok := parseSample(line)
		if ok != (want != nil) {
			t.Errorf("%q: %v", line, ok)
			continue
		}
		if ok && (got.name != want.name || got.value != want.value || len(got.labels) != len(want.labels)) {
			t.Errorf("%q: %+v", line, got)
		}
		for k, v := range got.labels {
			if want.labels[k] != v {
				t.Errorf("%q: label %s is %q", line, k, v)
			}
		}
	}
}

// TestLegs: the ways of a packet from host to host, in whatever order they were heard.
func TestLegs(t *testing.T) {
	frame := func(from, to string, port layers.UDPPort, inner, innerTo string, outgoing bool) probe.Frame {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(from), DstIP: net.ParseIP(to)}
		udp := &layers.UDP{SrcPort: 50000, DstPort: port}
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
			&layers.Ethernet{EthernetType: layers.EthernetTypeIPv4, SrcMAC: hostMAC[:], DstMAC: coreMAC[:]}, ip, udp, &layers.VXLAN{ValidIDFlag: true, VNI: 7},
			&layers.Ethernet{EthernetType: layers.EthernetTypeIPv4, SrcMAC: hostMAC[:], DstMAC: coreMAC[:]},
			&layers.IPv4{Version: 4, TTL: 63, Protocol: layers.IPProtocolICMPv4, SrcIP: net.ParseIP(inner), DstIP: net.ParseIP(innerTo)}); err != nil {
			t.Fatal(err)
		}
		if !isOverlay(b.Bytes()) {
			t.Error("the capture would leave the frame out")
		}
		return probe.Frame{Outgoing: outgoing, Data: b.Bytes()}
	}
	names := map[string]string{"172.16.0.1": "a1", "172.16.0.4": "gw-a", "200.0.0.1": "gw-a", "200.0.0.2": "gw-b", "172.16.1.4": "gw-b", "172.16.1.1": "b1"}
	frames := []probe.Frame{
		frame("172.16.1.4", "172.16.1.1", fabricPort, "10.0.0.1", "10.0.1.1", false),
		frame("200.0.0.1", "200.0.0.2", vxlanPort, "10.0.0.1", "10.0.1.1", true),
		frame("172.16.1.1", "172.16.1.4", fabricPort, "10.0.1.1", "10.0.0.1", false),
		frame("200.0.0.1", "200.0.0.2", vxlanPort, "10.0.0.1", "10.0.1.1", false),
		frame("172.16.0.1", "172.16.0.4", fabricPort, "10.0.0.1", "10.0.1.1", false),
	}
	want := []string{"a1 ─fabric→ gw-a", "gw-a ═tunnel→ gw-b", "gw-b ─fabric→ b1"}
	if got := legs(frames, names, "a1", "10.0.0.1", "10.0.1.1"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
