package difftest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// strangers is how many hosts a network's VLANs have.
const strangers = 30

// stranger is a host on a network's VLANs; its address is in the network's subnet.
func stranger(n *network, i int) host {
	b := n.prefix.Addr().As4()
	b[3] = byte(100 + i)
	return host{mac: model.MAC{0x52, 0x54, b[1], b[2], 0, byte(i)}, ip: netip.AddrFrom4(b)}
}

// trunk is a frame with a tag.
func (g *gen) trunk() Case {
	c := Case{Program: FromUnderlay}
	n := &g.t.nets[g.r.IntN(4)]
	h := stranger(n, g.r.IntN(strangers))
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
	}
	f := g.frame(n, src, ip)
	if g.chance(40) {
		f[5], f[4], f[3], f[2], f[1], f[0] = byte(g.r.IntN(20)), 0, 0, 0xc2, 0x80, 0x01
	}
	if g.chance(10) {
		dst := stranger(n, g.r.IntN(strangers)).mac
		copy(f, dst[:])
	}
	k := pick(g.r, n.vlans)
	tci := k.ID | uint16(g.r.IntN(16))<<12
	if g.chance(20) {
		tci = uint16(g.r.Uint32())
	}
	tag := binary.BigEndian.AppendUint16(nil, uint16(packet.TypeVLAN))
	tag = binary.BigEndian.AppendUint16(tag, tci)
	if g.chance(30) {
		tag = append(tag, tag...)
	}
	c.Data = slices.Insert(f, 12, tag...)
	return c
}
