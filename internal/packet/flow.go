package packet

import "encoding/binary"

// FlowHash mixes what tells the flow of a frame: the hash behind the outer UDP
// source port, the same in the eBPF programs. See "Source port" in
// docs/PIPELINE.md.
func FlowHash(key uint64, frame []byte) uint64 {
	h := key
	mix := func(w uint64) {
		h = (h ^ w) * 0x9E3779B97F4A7C15
		h ^= h >> 32
	}
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
		mix(uint64(ip[6])<<32 | uint64(flowPorts(Protocol(ip[6]), ip[IPv6Len:])))
	default:
		mix(binary.BigEndian.Uint64(frame)&^0xffff | uint64(binary.BigEndian.Uint16(frame[12:])))
		mix(binary.BigEndian.Uint64(frame[4:]) & 0xffffffffffff)
	}
	return h
}

// SourcePort is the outer UDP source port of frame: 49152–65535 (RFC 7348 §5).
func SourcePort(key uint64, frame []byte) uint16 {
	return 49152 + uint16(FlowHash(key, frame)>>50)
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
