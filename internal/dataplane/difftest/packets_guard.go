package difftest

import (
	"encoding/binary"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// forbidden is a frame of the kind that a port with port security may not send, or
// almost: what DHCP servers and IPv6 routers say, behind options and extension headers.
func (g *gen) forbidden(n *network, src model.MAC, ip netip.Addr) []byte {
	dst := g.dstMAC(n)
	if g.chance(2) {
		dst = packet.Broadcast
	}
	ports := [2]uint16{67, 68}
	if !ip.Is4() || g.chance(2) {
		ports = [2]uint16{547, 546}
	}
	if g.chance(6) {
		ports[g.r.IntN(2)] ^= 1 << g.r.IntN(16)
	}
	if ip.Is4() && ports[0] < 256 {
		to := netip.AddrFrom4([4]byte{255, 255, 255, 255})
		h := packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: ip, Dst: to}
		if g.chance(4) {
			h.Options = make([]byte, 4*(1+g.r.IntN(10)))
		}
		if g.chance(4) {
			h.MF, h.Offset = g.chance(2), 8*g.r.IntN(2)
		}
		body := packet.UDP{Src: ports[0], Dst: ports[1]}.Append(nil, ip, to, g.bytes(20))
		if g.chance(12) {
			body = body[:g.r.IntN(9)]
		}
		return g.ether(dst, src, packet.TypeIPv4, append(h.Append(nil, len(body)), body...))
	}
	last, body := packet.ProtoUDP, g.bytes(30)
	binary.BigEndian.PutUint16(body, ports[0])
	binary.BigEndian.PutUint16(body[2:], ports[1])
	if g.chance(2) {
		last = packet.ProtoICMPv6
		body[0] = 134
		if g.chance(6) {
			body[0] = byte(g.r.Uint32())
		}
	}
	h := packet.IPv6{HopLimit: 255, Src: ip, Dst: netip.IPv6LinkLocalAllNodes(), NextHeader: last}
	if !ip.Is6() {
		h.Src = netip.AddrFrom16([16]byte(g.bytes(16)))
	}
	if g.chance(2) {
		for range 1 + g.r.IntN(10) {
			h.NextHeader, body = g.extension(h.NextHeader, body)
		}
	}
	if g.chance(8) {
		body = body[:g.r.IntN(len(body))]
	}
	h.PayloadLen = len(body)
	return g.ether(dst, src, packet.TypeIPv6, append(h.Append(nil), body...))
}

// extension puts a header before what is there.
func (g *gen) extension(next packet.Protocol, body []byte) (packet.Protocol, []byte) {
	kind := pick(g.r, []packet.Protocol{packet.ProtoHopByHop, packet.ProtoRouting, packet.ProtoDestination, packet.ProtoFragment, packet.ProtoAH})
	units := 0
	if g.chance(4) {
		units = g.r.IntN(4)
	}
	n := (units + 1) * 8
	if kind == packet.ProtoFragment {
		n, units = 8, int(byte(g.r.Uint32())) // reserved there
	}
	if kind == packet.ProtoAH {
		n = (units + 2) * 4
	}
	h := make([]byte, n, n+len(body))
	h[0], h[1] = byte(next), byte(units)
	if kind == packet.ProtoFragment && !g.chance(4) {
		binary.BigEndian.PutUint16(h[2:], uint16(g.r.IntN(4))<<g.r.IntN(14))
	}
	return kind, append(h, body...)
}
