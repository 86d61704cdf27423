package difftest

import (
	"encoding/binary"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/trace"
)

// tunnelled is a frame that the remote site of a peer sends, and the key it
// comes with.
func (g *gen) tunnelled() (hoststate.PeerKey, []byte) {
	key := pick(g.r, g.t.peers)
	peer := g.t.State.Peers[key]
	n := &g.t.nets[0]
	for i := range g.t.nets {
		if g.t.nets[i].key == peer.Network {
			n = &g.t.nets[i]
		}
	}
	var senders []host
	for _, h := range n.hosts {
		if h.remote == key {
			senders = append(senders, h)
		}
	}
	if len(senders) == 0 || g.chance(20) {
		senders = n.hosts
	}
	h := pick(g.r, senders)
	return key, g.frame(n, h.mac, h.ip)
}

func (g *gen) underlay() Case {
	key, inner := g.tunnelled()
	var port uint16
	remotes := g.t.vteps
	if g.onFabric() && g.chance(3) {
		key, inner = g.fromHost(false)
		port = fabricPort
		remotes = remotes[:1:1]
		for _, o := range g.t.others {
			remotes = append(remotes, o.addr)
		}
	}
	flags := uint8(packet.VXLANFlagI)
	switch g.r.IntN(40) {
	case 0:
		key.VNI ^= 1 << g.r.IntN(24)
	case 1:
		key.Remote = netip.AddrFrom4([4]byte{198, 51, 100, 7})
	case 2:
		key.Remote = pick(g.r, remotes)
	case 3:
		key.TunnelIP = pick(g.r, append([]netip.Addr{key.Remote}, g.t.tunnels...))
	case 6:
		port = pick(g.r, []uint16{packet.VXLANPort, fabricPort})
	case 4:
		flags = uint8(g.r.Uint32())
	case 5: // a tunnel within the tunnel
		inner = packet.Encapsulate(nil, packet.Outer{
			Dst: model.MAC(inner[0:6]), Src: model.MAC(inner[6:12]), Local: key.Remote, Remote: key.TunnelIP, VNI: key.VNI,
		}, inner)
	}
	o := packet.Outer{
		Dst: g.underlayMAC, Src: newMAC(g.r), Local: key.Remote, Remote: key.TunnelIP,
		VNI: key.VNI, SrcPort: uint16(g.r.Uint32()), DstPort: port,
	}
	if g.chance(3) {
		o.TOS = uint8(g.r.Uint32())
	}
	if g.chance(50) {
		o.Dst = newMAC(g.r)
	}
	f := packet.Encapsulate(nil, o, inner)
	f[42] = flags
	ip := f[packet.EthernetLen:]
	switch g.r.IntN(50) {
	case 0:
		f[43+g.r.IntN(3)] = 0xff // reserved bits
		f[49] = 0xff
	case 1:
		f = append(f, g.bytes(1+g.r.IntN(60))...) // trailing bytes
	case 2:
		ip[10] ^= 1 << g.r.IntN(8)
	case 3:
		binary.BigEndian.PutUint16(ip[2:], uint16(g.r.IntN(len(ip)+20)))
		g.sum(ip)
	case 4:
		binary.BigEndian.PutUint16(ip[24:], uint16(g.r.IntN(len(ip)+20)))
	case 5: // both lengths end within the inner packet
		if total := g.r.IntN(len(ip) + 1); total > 28 {
			binary.BigEndian.PutUint16(ip[2:], uint16(total))
			binary.BigEndian.PutUint16(ip[24:], uint16(total-20))
			g.sum(ip)
		}
	case 6:
		binary.BigEndian.PutUint16(ip[6:], uint16(g.r.Uint32()))
		g.sum(ip)
	case 7:
		f[36+g.r.IntN(2)] ^= 1 << g.r.IntN(8) // the port
	case 8:
		ip[9] = pick(g.r, []byte{1, 6, 50, 51, 136})
		g.sum(ip)
	case 13, 14: // what IPsec makes of it, and its keys' exchange
		ip[9] = pick(g.r, []byte{17, 50, 51})
		if ip[9] == 17 {
			binary.BigEndian.PutUint16(ip[22:], pick(g.r, []uint16{4500, 500, 4501, fabricPort}))
		}
		g.sum(ip)
	case 15, 16: // a fragment
		binary.BigEndian.PutUint16(ip[6:], pick(g.r, []uint16{0x2000, 185, 0x2000 | 185}))
		g.sum(ip)
	case 17: // with options, and perhaps a port
		ip[0] = 0x46 + uint8(g.r.IntN(3))
		binary.BigEndian.PutUint16(ip[4*int(ip[0]&15)+2:], 4789+uint16(g.r.IntN(2)))
		g.sum(ip)
	case 9:
		f = f[:g.r.IntN(len(f)+1)]
	case 10:
		f[40], f[41] = 0x12, 0x34 // a UDP checksum is not looked at
	case 11:
		f[12+g.r.IntN(2)] ^= 1 << g.r.IntN(8)
	case 12:
		ip[0] = 0x40 | uint8(g.r.IntN(16))
		g.sum(ip)
	}
	return Case{Program: FromUnderlay, Data: f}
}

func (g *gen) vxlan() Case {
	c := Case{Program: FromVXLAN}
	key, inner := g.tunnelled()
	remotes := g.t.vteps
	if g.onFabric() && g.chance(2) {
		c.Fabric = true
		key, inner = g.fromHost(true)
		remotes = []netip.Addr{pick(g.r, g.t.others).addr}
	}
	c.Data = inner
	k := trace.TunnelKey{Local: key.TunnelIP, Remote: key.Remote, VNI: key.VNI}
	switch g.r.IntN(40) {
	case 0:
		k.VNI ^= 1 << g.r.IntN(24)
	case 1:
		k.Remote = netip.AddrFrom4([4]byte{198, 51, 100, 7})
	case 2:
		k.Remote = pick(g.r, remotes)
	case 7: // the other device's
		c.Fabric = g.onFabric() && !c.Fabric
	case 3, 4:
		k.Local = netip.AddrFrom4([4]byte{198, 51, 100, 8})
	case 5, 6:
		return c
	}
	c.Key = &k
	return c
}

func (g *gen) slow() Case {
	c := Case{Program: FromSlow}
	n := pick(g.r, g.t.nets)
	h := pick(g.r, n.hosts)
	kind, router, net := byte(3), pick(g.r, g.t.routers), n.key
	asked := netip.IPv6Unspecified().As16()
	var f []byte
	if g.chance(8) {
		kind, asked = 6, pick(g.r, n.hosts).ip.As16()
		src := pick(g.r, n.routes).mac
		if g.chance(6) {
			src = h.mac
		}
		f = g.ether(packet.Broadcast, src, pick(g.r, []packet.EtherType{packet.TypeIPv4, packet.TypeIPv4, packet.TypeIPv6}), make([]byte, packet.ARPLen+g.r.IntN(20)))
		if g.chance(12) {
			asked = [16]byte(g.bytes(16))
			f = f[:packet.EthernetLen+g.r.IntN(packet.ARPLen)]
		}
	} else if g.chance(2) {
		f = g.ether(model.MAC{}, model.MAC{}, packet.TypeIPv4, g.ipv4(pick(g.r, n.routes).ip, g.routedTo(&n)))
		if g.chance(3) {
			src, dst := pick(g.r, n.routes).ip, g.routedTo(&n)
			body := g.probe(src, dst, g.r.IntN(3200))
			ip := packet.IPv4{DF: !g.chance(4), TTL: 64, Protocol: packet.ProtoICMP, Src: src, Dst: dst}.Append(nil, len(body))
			f = g.ether(model.MAC{}, model.MAC{}, packet.TypeIPv4, append(ip, body...))
		}
	} else {
		kind = 4
		dst := g.dstMAC(&n)
		if g.chance(6) {
			dst = pick(g.r, n.routes).mac
		}
		f = g.ether(dst, h.mac, packet.TypeIPv4, g.ipv4(h.ip, g.routedTo(&n)))
		if g.chance(10) {
			f = g.ether(dst, h.mac, packet.TypeIPv6, g.ipv6(h.ip))
		}
	}
	switch g.r.IntN(40) {
	case 0:
		kind = byte(g.r.IntN(8))
	case 1:
		router = model.RouterKey(g.r.Uint32())
	case 2:
		net = model.NetworkKey(g.r.Uint32())
	case 3:
		binary.BigEndian.PutUint16(f[12:], uint16(g.otherType()))
	}
	hdr := make([]byte, packet.SlowHeaderLen)
	hdr[0] = kind
	binary.NativeEndian.PutUint32(hdr[4:], uint32(router))
	binary.NativeEndian.PutUint32(hdr[8:], uint32(net))
	copy(hdr[16:], asked[:])
	c.Data = append(append(append([]byte(nil), f[:packet.EthernetLen]...), hdr...), f[packet.EthernetLen:]...)
	return c
}
