package packet

import "encoding/binary"

// FlowHash mixes what tells the flow of a frame: the hash behind the outer UDP
// source port, the same in the eBPF programs. See "Source port" in
// docs/PIPELINE.md.
func FlowHash(key uint64, frame []byte) uint64 {
	h := key
	mix := func(w uint64) { h = mix(h, w) }
	if len(frame) < EthernetLen {
		return h
	}
	ip := frame[EthernetLen:]
	switch {
	case IPv4Readable(frame):
		mix(binary.BigEndian.Uint64(ip[12:]))
		proto, ports := ip[9], uint32(0)
		if binary.BigEndian.Uint16(ip[6:])&0x3fff == 0 && ip[0] == 0x45 {
			ports = flowPorts(Protocol(proto), ip[IPv4Len:])
		}
		mix(uint64(proto)<<32 | uint64(ports))
	case IPv6Readable(frame):
		for i := 8; i < IPv6Len; i += 8 {
			mix(binary.BigEndian.Uint64(ip[i:]))
		}
		next, l4 := Protocol(ip[6]), ip[IPv6Len:]
		if len(l4) >= JumboLen && JumboTCP(ip) {
			next, l4 = ProtoTCP, l4[JumboLen:]
		}
		mix(uint64(next)<<32 | uint64(flowPorts(next, l4)))
	default:
		mix(binary.BigEndian.Uint64(frame)&^0xffff | uint64(binary.BigEndian.Uint16(frame[12:])))
		mix(binary.BigEndian.Uint64(frame[4:]) & 0xffffffffffff)
	}
	return h
}

// JumboLen is the length of the hop-by-hop header that says how long a jumbogram is.
const JumboLen = 8

// JumboTCP tells whether an IPv6 packet, its header there, has such a header (RFC 2675) and TCP
// behind it: Linux before 7.0 marks packets for segmentation beyond 64 KiB so, and takes
// the header out of their segments.
func JumboTCP(ip []byte) bool {
	h := ip[IPv6Len:]
	return Protocol(ip[6]) == ProtoHopByHop && len(h) >= 4 && Protocol(h[0]) == ProtoTCP && h[1] == 0 && h[2] == 0xc2 && h[3] == 4
}

// SourcePort is the outer UDP source port of frame: 49152–65535 (RFC 7348 §5).
func SourcePort(key uint64, frame []byte) uint16 {
	return 49152 + uint16(FlowHash(key, frame)>>50)
}

// mix is a step of the hash.
func mix(h, w uint64) uint64 {
	h = (h ^ w) * 0x9E3779B97F4A7C15
	return h ^ h>>32
}

func flowPorts(p Protocol, b []byte) uint32 {
	if len(b) < 4 || p != ProtoTCP && p != ProtoUDP && p != ProtoSCTP {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// IPv4Readable tells whether frame has an IPv4 header whose fields can be read:
// EtherType IPv4, 20 bytes there, version 4.
func IPv4Readable(frame []byte) bool {
	return len(frame) >= EthernetLen+IPv4Len && EtherType(binary.BigEndian.Uint16(frame[12:])) == TypeIPv4 &&
		frame[EthernetLen]>>4 == 4
}

// IPv6Readable is the same for IPv6: 40 bytes there, version 6.
func IPv6Readable(frame []byte) bool {
	return len(frame) >= EthernetLen+IPv6Len && EtherType(binary.BigEndian.Uint16(frame[12:])) == TypeIPv6 &&
		frame[EthernetLen]>>4 == 6
}
