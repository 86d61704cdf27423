package packet

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// maxLayers bounds how deep Describe looks into tunnels within tunnels.
const maxLayers = 32

// Describe decodes frame for people, outer header first, through VXLAN into the
// inner frame. What cannot be read ends the list as a layer "Data" with the
// reason. MACs, addresses and numbers are written as people write them; values
// that the fields of one packet share (lengths, checksums) are shown as read,
// and a checksum says whether it is right.
func Describe(frame []byte) []Layer {
	d := describer{}
	d.ethernet(frame)
	return d.layers
}

type describer struct{ layers []Layer }

func (d *describer) add(name string, pairs ...any) {
	l := Layer{Name: name}
	for i := 0; i+1 < len(pairs); i += 2 {
		l.Fields = append(l.Fields, Field{pairs[i].(string), fmt.Sprint(pairs[i+1])})
	}
	d.layers = append(d.layers, l)
}

func (d *describer) data(b []byte, err error) {
	switch {
	case err != nil:
		d.add("Data", "bytes", len(b), "problem", err)
	case len(b) > 0:
		d.add("Data", "bytes", len(b))
	}
}

func (d *describer) ethernet(b []byte) {
	e, rest, err := ParseEthernet(b)
	if err != nil || len(d.layers) >= maxLayers {
		d.data(b, err)
		return
	}
	d.add("Ethernet", "source", e.Src, "destination", e.Dst, "type", e.Type)
	t := e.Type
	for t.IsVLAN() && len(rest) >= 4 && len(d.layers) < maxLayers {
		tci := binary.BigEndian.Uint16(rest)
		t = EtherType(binary.BigEndian.Uint16(rest[2:]))
		d.add("VLAN", "id", tci&0xfff, "priority", tci>>13, "type", t)
		rest = rest[4:]
	}
	switch t {
	case TypeARP:
		d.arp(rest)
	case TypeIPv4:
		d.ipv4(rest)
	case TypeIPv6:
		d.ipv6(rest)
	default:
		d.data(rest, nil)
	}
}

func (d *describer) arp(b []byte) {
	a, err := ParseARP(b)
	if err != nil {
		d.data(b, err)
		return
	}
	op := fmt.Sprint(a.Op)
	switch a.Op {
	case ARPRequest:
		op = "request"
	case ARPReply:
		op = "reply"
	}
	d.add("ARP", "operation", op, "sender MAC", a.SenderMAC, "sender IP", a.SenderIP,
		"target MAC", a.TargetMAC, "target IP", a.TargetIP)
}

// DescribeIPv4 decodes a packet without an Ethernet header.
func DescribeIPv4(ip []byte) []Layer {
	d := describer{}
	d.ipv4(ip)
	return d.layers
}

func (d *describer) ipv4(b []byte) {
	h, payload, err := ParseIPv4(b)
	if err != nil {
		d.data(b, err)
		return
	}
	var flags []string
	if h.DF {
		flags = append(flags, "DF")
	}
	if h.MF {
		flags = append(flags, "MF")
	}
	if flags == nil {
		flags = []string{"none"}
	}
	d.add("IPv4", "source", h.Src, "destination", h.Dst, "protocol", h.Protocol, "TTL", h.TTL,
		"flags", strings.Join(flags, " "), "fragment offset", h.Offset, "ID", h.ID,
		"DSCP", h.TOS>>2, "ECN", ecnNames[h.TOS&3], "length", h.TotalLen,
		"checksum", describeSum(h.Checksum, ValidIPv4Checksum(b)))
	if h.Offset != 0 {
		d.data(payload, nil)
		return
	}
	whole := !h.MF && h.HeaderLen()+len(payload) == h.TotalLen
	sum := func(c uint16) string {
		if !whole {
			return fmt.Sprintf("0x%04x", c)
		}
		return describeSum(c, Checksum(payload, PseudoSum(h.Src, h.Dst, h.Protocol, len(payload))) == 0)
	}
	d.transport(h.Protocol, payload, sum)
}

var ecnNames = [4]string{"not-ECT", "ECT(1)", "ECT(0)", "CE"}

func describeSum(c uint16, ok bool) string {
	if ok {
		return fmt.Sprintf("0x%04x (right)", c)
	}
	return fmt.Sprintf("0x%04x (wrong)", c)
}

func (d *describer) ipv6(b []byte) {
	h, payload, err := ParseIPv6(b)
	if err != nil {
		d.data(b, err)
		return
	}
	d.add("IPv6", "source", h.Src, "destination", h.Dst, "next header", h.NextHeader, "hop limit", h.HopLimit,
		"DSCP", h.TrafficClass>>2, "ECN", ecnNames[h.TrafficClass&3], "flow label", h.FlowLabel, "length", h.PayloadLen)
	d.transport(h.NextHeader, payload, func(c uint16) string {
		return describeSum(c, Checksum(payload, PseudoSum(h.Src, h.Dst, h.NextHeader, len(payload))) == 0)
	})
}

func (d *describer) transport(p Protocol, b []byte, sum func(uint16) string) {
	switch p {
	case ProtoUDP:
		u, payload, err := ParseUDP(b)
		if err != nil {
			d.data(b, err)
			return
		}
		check := "0 (none)"
		if u.Checksum != 0 {
			check = sum(u.Checksum)
		}
		d.add("UDP", "source port", u.Src, "destination port", u.Dst, "length", u.Length, "checksum", check)
		if u.Dst == VXLANPort {
			d.vxlan(payload)
			return
		}
		d.data(payload, nil)
	case ProtoTCP:
		t, payload, err := ParseTCP(b)
		if err != nil {
			d.data(b, err)
			return
		}
		d.add("TCP", "source port", t.Src, "destination port", t.Dst, "sequence", t.Seq, "acknowledgement", t.Ack,
			"flags", tcpFlags(t.Flags), "window", t.Window, "checksum", sum(t.Checksum))
		d.data(payload, nil)
	case ProtoICMP:
		d.icmp(b)
	default:
		d.data(b, nil)
	}
}

func tcpFlags(f uint8) string {
	var s []string
	for i, n := range [8]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f&(1<<i) != 0 {
			s = append(s, n)
		}
	}
	return strings.Join(s, " ")
}

func (d *describer) vxlan(b []byte) {
	v, inner, err := ParseVXLAN(b)
	if err != nil || len(d.layers) >= maxLayers {
		d.data(b, err)
		return
	}
	d.add("VXLAN", "flags", fmt.Sprintf("0x%02x", v.Flags), "VNI", v.VNI)
	d.ethernet(inner)
}

func (d *describer) icmp(b []byte) {
	m, payload, err := ParseICMP(b)
	if err != nil || len(d.layers) >= maxLayers {
		d.data(b, err)
		return
	}
	check := describeSum(m.Checksum, Checksum(b, 0) == 0)
	switch m.Type {
	case ICMPEchoRequest, ICMPEchoReply:
		d.add("ICMP", "type", ICMPName(m.Type, m.Code), "id", m.Rest>>16, "sequence", m.Rest&0xffff, "checksum", check)
		d.data(payload, nil)
	default:
		l := []any{"type", ICMPName(m.Type, m.Code), "checksum", check}
		if m.Type == ICMPUnreachable && m.Code == ICMPFragmentationNeeded {
			l = append(l, "next MTU", m.Rest&0xffff)
		}
		d.add("ICMP", l...)
		if IsICMPError(m.Type) {
			d.ipv4(payload)
			return
		}
		d.data(payload, nil)
	}
}

// ICMPName is what people call a type and code.
func ICMPName(t, code uint8) string {
	switch t {
	case ICMPEchoReply:
		return "echo reply"
	case ICMPEchoRequest:
		return "echo request"
	case ICMPTimeExceeded:
		if code == 0 {
			return "time exceeded in transit"
		}
		return "reassembly time exceeded"
	case ICMPUnreachable:
		switch code {
		case ICMPNetUnreachable:
			return "network unreachable"
		case ICMPHostUnreachable:
			return "host unreachable"
		case ICMPProtocolUnreachable:
			return "protocol unreachable"
		case ICMPPortUnreachable:
			return "port unreachable"
		case ICMPFragmentationNeeded:
			return "fragmentation needed"
		}
	}
	return fmt.Sprintf("type %d code %d", t, code)
}
