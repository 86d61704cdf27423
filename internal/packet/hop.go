package packet

import (
	"encoding/binary"
	"net/netip"
)

// HopOfFlow is which of several next hops an IPv4 packet takes, header there: the one
// with the highest weight, a hash of the packet's flow and the hop (RFC 2991 §4.1), the same in the eBPF
// programs. A hop that comes or goes so moves no flows but its own. The flow is both addresses
// and the protocol, and the ports where all its packets have them: not in fragments. Each
// router, by its key, chooses for itself. See
// "Several next hops" in docs/PIPELINE.md.
func HopOfFlow(router uint32, ip []byte, hops []netip.Addr) int {
	key := uint64(router)
	proto, ports := ip[9], uint32(0)
	if binary.BigEndian.Uint16(ip[6:])&0x3fff == 0 && ip[0] == 0x45 {
		ports = flowPorts(Protocol(proto), ip[IPv4Len:])
	}
	flow := mix(mix(key, binary.BigEndian.Uint64(ip[12:])), uint64(proto)<<32|uint64(ports))
	var most uint64
	chosen := 0
	for i, hop := range hops {
		a := hop.As16()
		if w := mix(flow, mix(mix(key, binary.BigEndian.Uint64(a[:])), binary.BigEndian.Uint64(a[8:]))); w >= most {
			most, chosen = w, i
		}
	}
	return chosen
}
