package packet

import "encoding/binary"

// ProbeID is the identifier of the echo requests by which a router probes the way to
// an address: PROBE_ID of the programs.
const ProbeID = 0x6377

// IsProbe tells whether the IPv4 packet ip is such a request.
func IsProbe(ip []byte) bool {
	icmp := wholeICMP(ip)
	return icmp != nil && icmp[0] == ICMPEchoRequest && isProbeEcho(icmp)
}

// AnswersProbe tells whether the IPv4 packet ip is what comes back for a probe: its echo
// reply, or an ICMP error (RFC 792: unreachable or time exceeded) that quotes it.
func AnswersProbe(ip []byte) bool {
	icmp := wholeICMP(ip)
	if icmp == nil {
		return false
	}
	switch icmp[0] {
	case ICMPEchoReply:
		return isProbeEcho(icmp)
	case ICMPUnreachable, ICMPTimeExceeded:
		const quoted = ICMPLen + IPv4Len
		if len(icmp) < quoted+ICMPLen {
			return false
		}
		q := icmp[ICMPLen:]
		return q[0] == 0x45 && Protocol(q[9]) == ProtoICMP && q[IPv4Len] == ICMPEchoRequest &&
			binary.BigEndian.Uint16(q[IPv4Len+4:]) == ProbeID
	}
	return false
}

func isProbeEcho(icmp []byte) bool {
	return icmp[1] == 0 && binary.BigEndian.Uint16(icmp[4:]) == ProbeID
}

// wholeICMP is the message of an ICMP packet without IP options that is no fragment, as far
// as both its length and the bytes reach; nil: it is none, or has no whole head.
func wholeICMP(ip []byte) []byte {
	if len(ip) < IPv4Len+ICMPLen || ip[0] != 0x45 || Protocol(ip[9]) != ProtoICMP {
		return nil
	}
	offset, more := FragmentOffset(ip)
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if offset != 0 || more || total < IPv4Len+ICMPLen {
		return nil
	}
	return ip[IPv4Len:min(total, len(ip))]
}
