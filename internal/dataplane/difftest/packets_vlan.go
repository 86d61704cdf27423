package difftest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// stations is how many hosts a network's VLANs have.
const stations = 30

// station is a host on a network's VLANs; its address is in the network's subnet.
func station(n *network, i int) host {
	b := n.prefix.Addr().As4()
	b[3] = byte(100 + i)
	return host{mac: model.MAC{0x52, 0x54, b[1], b[2], 0, byte(i)}, ip: netip.AddrFrom4(b)}
}

// trunk is a frame with a tag.
func (g *gen) trunk() Case {
	c := Case{Program: FromUnderlay}
	n := &g.t.nets[g.r.IntN(4)]
	h := station(n, g.r.IntN(stations))
	src, ip := h.mac, h.ip
	switch g.r.IntN(24) {
	case 0:
		src = pick(g.r, n.hosts).mac
	case 1:
		src = pick(g.r, n.routes).mac
	case 2:
		ip = pick(g.r, n.hosts).ip
	case 3:
		ip, src = g.shared(n)
	case 4:
		ip, _ = g.shared(n)
	case 5:
		src = newMAC(g.r)
	case 6:
		ip = netip.AddrFrom4([4]byte{198, 51, 100, byte(g.r.Uint32())})
	case 7:
		ip = netip.IPv4Unspecified()
	}
	f := g.frame(n, src, ip)
	if g.chance(40) {
		f[5], f[4], f[3], f[2], f[1], f[0] = byte(g.r.IntN(20)), 0, 0, 0xc2, 0x80, 0x01
	}
	if g.chance(10) {
		dst := station(n, g.r.IntN(stations)).mac
		copy(f, dst[:])
	}
	k := pick(g.r, n.vlans)
	tci := k.ID | uint16(g.r.IntN(16))<<12
	if g.chance(20) {
		tci = uint16(g.r.Uint32())
	}
	tag := g.tag(nil, tci)
	if g.chance(30) {
		tag = g.tag(tag, tci)
	}
	c.Data = slices.Insert(f, 12, tag...)
	if g.chance(100) {
		c.Data = c.Data[:packet.EthernetLen+g.r.IntN(5)] // the tag cut off, or what is behind it
	}
	return c
}

// tag appends a tag, sometimes one of a provider's.
func (g *gen) tag(b []byte, tci uint16) []byte {
	kind := packet.TypeVLAN
	if g.chance(12) {
		kind = packet.TypeSVLAN
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(kind)), tci)
}
