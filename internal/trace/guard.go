package trace

import (
	"encoding/binary"
	"slices"

	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// What a guarded port may not send: UDP ports of DHCP's servers and clients, and the
// ICMPv6 type of router advertisements.
const (
	dhcpServer, dhcpClient   = 67, 68
	dhcp6Server, dhcp6Client = 547, 546
	routerAdvertisement      = 134
	// maxExtensions is how many extension headers are looked behind.
	maxExtensions = 8
)

// untag takes off a tag of VLAN 0, which has a priority and no VLAN. taken: the network card
// took a tag off.
func (r *run) untag(taken bool) reason.Reason {
	t := packet.EtherType(binary.BigEndian.Uint16(r.frame[12:]))
	switch {
	case taken:
		return reason.VLANTagged
	case !t.IsVLAN():
		return reason.None
	case t != packet.TypeVLAN, len(r.frame) < packet.EthernetLen+2, binary.BigEndian.Uint16(r.frame[packet.EthernetLen:])&0xfff != 0:
		return reason.VLANTagged
	case len(r.frame) < packet.EthernetLen+tagLen:
		return reason.FrameMalformed
	}
	if packet.EtherType(binary.BigEndian.Uint16(r.frame[12+tagLen:])).IsVLAN() {
		return reason.VLANTagged
	}
	r.mark("port/priority-tag")
	r.frame = slices.Delete(r.frame, packet.EthernetLen-2, packet.EthernetLen-2+tagLen)
	return reason.None
}

// guard refuses what only a network's services say to its members.
func (r *run) guard(t packet.EtherType) reason.Reason {
	ip := r.frame[packet.EthernetLen:]
	if t == packet.TypeIPv6 {
		return r.guard6(packet.Protocol(ip[6]), ip[packet.IPv6Len:])
	}
	l4 := int(ip[0]&15) * 4
	if offset, _ := packet.FragmentOffset(ip); packet.Protocol(ip[9]) != packet.ProtoUDP || offset != 0 || len(ip) < l4+4 {
		return reason.None
	}
	if binary.BigEndian.Uint16(ip[l4:]) == dhcpServer && binary.BigEndian.Uint16(ip[l4+2:]) == dhcpClient {
		return reason.DHCPAnswer
	}
	return reason.None
}

// guard6 looks behind the extension headers of an IPv6 packet.
func (r *run) guard6(next packet.Protocol, b []byte) reason.Reason {
	for range maxExtensions + 1 {
		switch next {
		case packet.ProtoUDP, packet.ProtoICMPv6, packet.ProtoHopByHop, packet.ProtoRouting, packet.ProtoFragment, packet.ProtoAH, packet.ProtoDestination:
		default:
			return reason.None
		}
		if len(b) < 4 {
			return reason.FrameMalformed
		}
		n := (int(b[1]) + 1) * 8
		switch next {
		case packet.ProtoICMPv6:
			if b[0] == routerAdvertisement {
				return reason.RouterAdvertisement
			}
			return reason.None
		case packet.ProtoUDP:
			if binary.BigEndian.Uint16(b) == dhcp6Server && binary.BigEndian.Uint16(b[2:]) == dhcp6Client {
				return reason.DHCPAnswer
			}
			return reason.None
		case packet.ProtoFragment:
			if binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				r.mark("guard/later-fragment")
				return reason.None
			}
			n = 8
		case packet.ProtoAH:
			n = (int(b[1]) + 2) * 4
		}
		r.mark("guard/extension")
		next, b = packet.Protocol(b[0]), b[min(n, len(b)):]
	}
	return reason.FrameMalformed
}
