package difftest

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/trace"
)

// Program is one of the four.
type Program uint8

const (
	FromWorkload Program = iota
	FromUnderlay
	FromVXLAN
	FromSlow
)

// String is the program's name.
func (p Program) String() string {
	return [...]string{"from_workload", "from_underlay", "from_vxlan", "from_slow"}[p]
}

// maxFrame keeps frames within what a test run takes: a page less the room that
// the kernel keeps around a packet.
const maxFrame = 3300

// Case is one packet at one program.
type Case struct {
	Program   Program
	Interface int    // FromWorkload; onTrunk: the interface that carries tunnels
	Name      string // "": by Interface
	Data      []byte
	GSOSize   int
	Key       *trace.TunnelKey // FromVXLAN; nil: none
	Fabric    bool             // FromVXLAN: by the fabric's device
	Mark      uint32
}

const onTrunk = -1

// iface is the interface that the packet comes in by at FromWorkload.
func (c Case) iface() string {
	switch {
	case c.Name != "":
		return c.Name
	case c.Interface == onTrunk:
		return Trunk
	}
	return InterfaceName(c.Interface)
}

// gen makes the packets of one topology; every packet depends only on the seed and
// its index.
type gen struct {
	t *Topology
	r *rand.Rand
	// underlayMAC is the MAC of the interface that carries tunnels.
	underlayMAC model.MAC
}

func (g *gen) chance(n int) bool { return g.r.IntN(n) == 0 }

func pick[T any](r *rand.Rand, s []T) T { return s[r.IntN(len(s))] }

// Case makes packet index of the topology with seed.
func (g *gen) Case(seed, index uint64) Case {
	g.r = rand.New(rand.NewPCG(seed, index))
	var c Case
	switch n := g.r.IntN(100); {
	case n < 46:
		c = g.workload()
	case n < 58:
		c = g.trunk()
	case n < 80:
		c = g.underlay()
	case n < 90:
		c = g.vxlan()
	default:
		c = g.slow()
	}
	if g.chance(40) {
		c.Data = g.damage(c.Data)
	}
	if len(c.Data) > maxFrame {
		c.Data = c.Data[:maxFrame]
	}
	// The kernel's test run refuses what is shorter than an Ethernet header, and
	// IP that is shorter than its header.
	pad := func(n int) {
		c.Data = append(c.Data, make([]byte, max(0, n-len(c.Data)))...)
	}
	pad(packet.EthernetLen)
	switch packet.EtherType(binary.BigEndian.Uint16(c.Data[12:])) {
	case packet.TypeIPv4:
		pad(packet.EthernetLen + packet.IPv4Len)
	case packet.TypeIPv6:
		pad(packet.EthernetLen + packet.IPv6Len)
	}
	if c.Program == FromVXLAN {
		c.Mark = dataplane.DefaultMark
	}
	if g.chance(8) {
		c.Mark = pick(g.r, []uint32{0, dataplane.DefaultMark, g.r.Uint32(), dataplane.DefaultMark ^ 1<<g.r.IntN(32)})
	}
	jumbo := packet.IPv6Readable(c.Data) && packet.JumboTCP(c.Data[packet.EthernetLen:])
	if c.Program != FromSlow && (g.chance(12) || jumbo && !g.chance(4)) {
		c.GSOSize = 1 + g.r.IntN(2000)
		if g.chance(8) {
			c.GSOSize = trace.GSOByFrags
		}
		if jumbo { // segments about as long as some way's MTU
			c.GSOSize = pick(g.r, []int{1450, 1300}) - 40 - g.r.IntN(64)
		}
		if packet.IPv4Readable(c.Data) && c.Data[23] == byte(packet.ProtoTCP) && g.chance(3) {
			g.beyond64K(c.Data[packet.EthernetLen:])
		}
	}
	return c
}

// damage cuts, flips or lengthens.
func (g *gen) damage(b []byte) []byte {
	switch n := g.r.IntN(3); {
	case n == 0:
		return b[:g.r.IntN(len(b)+1)]
	case n == 1 && len(b) > 0:
		for range 1 + g.r.IntN(3) {
			b[g.r.IntN(min(len(b), 120))] ^= 1 << g.r.IntN(8)
		}
	default:
		b = append(b, make([]byte, g.r.IntN(30))...)
	}
	return b
}

func (g *gen) workload() Case {
	c := Case{Program: FromWorkload}
	n := &g.t.nets[g.r.IntN(4)]
	k := pick(g.r, n.ports)
	if g.chance(3) { // dropped and unbound ports are rarely worth more
		k = pick(g.r, g.t.nets[g.r.IntN(4)].ports)
	}
	p := g.t.State.Ports[k]
	for i := range Interfaces {
		if InterfaceName(i) == p.Interface {
			c.Interface = i
		}
	}
	if g.chance(60) {
		c.Interface = Interfaces - 1 - g.r.IntN(2)
	}
	for i := range g.t.nets {
		if g.t.nets[i].key == p.Network {
			n = &g.t.nets[i]
		}
	}
	src := p.MAC
	if g.chance(30) {
		src = newMAC(g.r)
	}
	ip := netip.MustParseAddr("10.9.9.9")
	if len(p.Addrs) > 0 {
		ip = pick(g.r, p.Addrs)
	}
	if len(p.Pairs) > 0 && g.chance(2) {
		a := pick(g.r, p.Pairs)
		src, ip = a.MAC, g.within(a.Prefix)
		if g.chance(12) {
			src = pick(g.r, p.Pairs).MAC
		}
		if g.chance(12) && len(p.Addrs) > 0 {
			ip = pick(g.r, p.Addrs)
		}
	}
	c.Data = g.frame(n, src, ip)
	if len(p.Pairs) > 0 && ip.Is4() && g.chance(24) { // what routers have asked for
		to := pick(g.r, n.routes)
		c.Data = g.ether(to.mac, src, packet.TypeARP, packet.ARP{Op: packet.ARPReply, SenderMAC: src, SenderIP: ip, TargetMAC: to.mac, TargetIP: to.ip}.Append(nil))
	}
	if p.PortSecurity && g.chance(10) {
		c.Data = g.forbidden(n, src, ip)
	}
	if g.chance(40) {
		tci := uint16(g.r.IntN(16)) << 12
		if g.chance(4) {
			tci |= 1 << g.r.IntN(12)
		}
		tag := g.tag(nil, tci)
		if g.chance(12) {
			tag = g.tag(tag, tci)
		}
		c.Data = slices.Insert(c.Data, 12, tag...)
		if g.chance(30) {
			c.Data = c.Data[:packet.EthernetLen+g.r.IntN(5)]
		}
	}
	return c
}

// within is one of a few addresses of a prefix.
func (g *gen) within(p netip.Prefix) netip.Addr {
	if p.Bits() == 0 && p.Addr().Is4() {
		return netip.AddrFrom4([4]byte{10, byte(g.r.IntN(4)), byte(g.r.IntN(4)), byte(g.r.IntN(200))})
	}
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < min(p.Bits()+16, 8*len(b)); i++ {
		if g.chance(2) {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// shared is an address or a MAC that pairs of the network allow.
func (g *gen) shared(n *network) (netip.Addr, model.MAC) {
	if len(n.afar) > 0 && g.chance(3) {
		a := pick(g.r, n.afar)
		if ip := g.within(a.pair.Prefix); ip.Is4() {
			return ip, a.pair.MAC
		}
	}
	for range 4 {
		if p := g.t.State.Ports[pick(g.r, n.ports)]; len(p.Pairs) > 0 {
			a := pick(g.r, p.Pairs)
			if ip := g.within(a.Prefix); ip.Is4() {
				return ip, a.MAC
			}
		}
	}
	return pick(g.r, n.hosts).ip, pick(g.r, n.hosts).mac
}

// frame is a frame in network n as its members send it.
func (g *gen) frame(n *network, src model.MAC, ip netip.Addr) []byte {
	switch g.r.IntN(20) {
	case 0, 1, 2:
		return g.arp(n, src, ip)
	case 3, 4, 5, 6, 7, 8: // bridged
		dst := g.dstMAC(n)
		to := pick(g.r, n.hosts).ip
		switch g.r.IntN(8) {
		case 0:
			return g.ether(dst, src, g.otherType(), g.bytes(g.r.IntN(200)))
		case 1, 2:
			return g.ether(dst, src, packet.TypeIPv6, g.ipv6(ip))
		}
		return g.ether(dst, src, packet.TypeIPv4, g.ipv4(ip, to))
	}
	// To a router.
	dst := pick(g.r, n.routes).mac
	switch g.r.IntN(60) {
	case 0:
		return g.ether(dst, src, g.otherType(), g.bytes(60))
	case 1:
		return g.ether(dst, src, packet.TypeIPv6, g.ipv6(ip))
	}
	return g.ether(dst, src, packet.TypeIPv4, g.ipv4(ip, g.routedTo(n)))
}

func (g *gen) ether(dst, src model.MAC, t packet.EtherType, b []byte) []byte {
	f := packet.Ethernet{Dst: dst, Src: src, Type: t}.Append(make([]byte, 0, packet.EthernetLen+len(b)))
	return append(f, b...)
}

func (g *gen) otherType() packet.EtherType {
	return pick(g.r, []packet.EtherType{packet.TypeVLAN, packet.TypeSVLAN, 0x88cc, 0x8847, 0x0026, 0x0801, 0x22f0, 0x6003})
}

func (g *gen) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return b
}

func (g *gen) dstMAC(n *network) model.MAC {
	switch g.r.IntN(18) {
	case 0:
		if g.chance(3) {
			return model.MAC{1, 0x80, 0xc2, 0, 0, byte(g.r.IntN(20))}
		}
		return packet.Broadcast
	case 16, 17:
		return station(n, g.r.IntN(stations)).mac
	case 1:
		return newMAC(g.r)
	case 2:
		return pick(g.r, pick(g.r, g.t.nets).hosts).mac // of another network: unknown here
	}
	if len(n.ports) > 0 && g.chance(6) {
		_, mac := g.shared(n)
		return mac
	}
	return pick(g.r, n.hosts).mac
}

// routedTo is a destination for a router of n.
func (g *gen) routedTo(n *network) netip.Addr {
	v4 := func(a, b, c, d int) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)})
	}
	switch g.r.IntN(27) {
	case 25, 26:
		return v4(172, 19, g.r.IntN(hopNets)<<4|g.r.IntN(4), 1+g.r.IntN(3))
	case 0, 1, 2, 3, 4:
		return pick(g.r, pick(g.r, g.t.nets).hosts).ip
	case 5, 6, 7, 8, 9:
		return v4(10, 1, g.r.IntN(24), 5)
	case 10, 11:
		return v4(172, 17, g.r.IntN(24), 5)
	case 12:
		return v4(172, 18, 0, 1) // for ever
	case 13:
		return v4(10, 2, 0, 1)
	case 14, 15:
		b := pick(g.r, g.t.dropNets).Addr().As4()
		b[3] = 9
		return netip.AddrFrom4(b)
	case 16:
		return v4(198, 51, 100, 1) // no route
	case 17:
		return v4(pick(g.r, []int{0, 127, 224, 239, 240, 255}), 1, 2, 3)
	case 18, 19:
		return pick(g.r, n.routes).ip
	case 23:
		m := pick(g.r, g.t.nets)
		return station(&m, g.r.IntN(stations)).ip
	case 20, 21, 22:
		if m := pick(g.r, g.t.nets); len(m.ports) > 0 {
			ip, _ := g.shared(&m)
			return ip
		}
	}
	return pick(g.r, pick(g.r, g.t.nets).routes).ip
}

// ipv4 is an IPv4 packet, mostly a good one.
func (g *gen) ipv4(src, dst netip.Addr) []byte {
	if !src.Is4() {
		src = netip.AddrFrom4([4]byte{192, 0, 2, 77})
	}
	if g.chance(40) {
		src = netip.AddrFrom4([4]byte{byte(g.r.Uint32()), 1, 1, 1})
	}
	h := packet.IPv4{
		TOS: uint8(g.r.Uint32()), ID: uint16(g.r.Uint32()), DF: g.chance(2), TTL: uint8(g.r.Uint32()) | 32, Src: src, Dst: dst,
	}
	if g.chance(8) {
		h.TTL = uint8(g.r.IntN(6))
	}
	if g.chance(15) {
		h.MF = g.chance(2)
		h.Offset = g.r.IntN(2) * 8 * g.r.IntN(100)
	}
	if g.chance(50) {
		h.Options = []byte{1, 1, 1, 0}
	}
	size := g.r.IntN(120)
	if g.chance(4) {
		size = g.r.IntN(3200)
	}
	var body []byte
	switch g.r.IntN(10) {
	case 0, 1, 2:
		h.Protocol = packet.ProtoUDP
		body = packet.UDP{Src: uint16(g.r.Uint32()), Dst: uint16(g.r.Uint32())}.Append(nil, src, dst, g.bytes(size))
	case 3, 4, 5:
		h.Protocol = packet.ProtoTCP
		t := packet.TCP{Src: uint16(g.r.Uint32()), Dst: uint16(g.r.Uint32()), Flags: packet.TCPAck}
		if g.chance(2) {
			t.Options = make([]byte, 12)
		}
		body = t.Append(nil, src, dst, g.bytes(size))
	case 6, 7:
		h.Protocol = packet.ProtoICMP
		body = packet.ICMP{Type: packet.ICMPEchoRequest, Rest: g.r.Uint32()}.Append(nil, g.bytes(size))
		if g.r.IntN(20) < 11 {
			h.DF = h.DF || g.chance(3) // one that is too big is told of
			body = g.probe(src, dst, size)
		}
	case 8:
		h.Protocol = packet.ProtoICMP
		body = packet.ICMP{Type: uint8(g.r.IntN(20)), Code: uint8(g.r.IntN(5)), Rest: g.r.Uint32()}.Append(nil, g.bytes(size))
		if g.chance(3) {
			body = body[:g.r.IntN(9)]
		}
	default:
		h.Protocol = pick(g.r, []packet.Protocol{packet.ProtoSCTP, 47, 50, packet.Protocol(g.r.Uint32())})
		body = g.bytes(size)
	}
	b := append(h.Append(nil, len(body)), body...)
	switch g.r.IntN(62) {
	case 60:
		g.beyond64K(b)
	case 0: // a wrong checksum
		b[10] ^= 1 << g.r.IntN(8)
	case 1: // a length that lies
		binary.BigEndian.PutUint16(b[2:], uint16(g.r.IntN(len(b)+40)))
		g.sum(b)
	case 2: // a version that lies
		b[0] ^= 1 << (4 + g.r.IntN(4))
		g.sum(b)
	case 3:
		b[0] = 0x40 | uint8(g.r.IntN(16))
	case 4:
		b = append(b, g.bytes(1+g.r.IntN(20))...)
	case 5:
		b = b[:g.r.IntN(min(len(b), 48)+1)]
	}
	return b
}

// probe is an ICMP message of the kind that routers' probes are made of, or almost.
func (g *gen) probe(src, dst netip.Addr, size int) []byte {
	id := uint32(packet.ProbeID) << 16
	if g.chance(12) {
		id ^= 1 << (16 + g.r.IntN(16))
	}
	request := packet.ICMP{Type: packet.ICMPEchoRequest, Rest: id}
	if g.chance(20) {
		request.Type = uint8(g.r.IntN(14))
	}
	code := uint8(0)
	if g.chance(20) {
		code = 1
	}
	switch g.r.IntN(3) {
	case 0:
		request.Code = code
		return request.Append(nil, g.bytes(size))
	case 1:
		return packet.ICMP{Type: packet.ICMPEchoReply, Code: code, Rest: id}.Append(nil, g.bytes(size))
	}
	about := packet.IPv4{TTL: 1, Protocol: packet.ProtoICMP, Src: dst, Dst: src}
	if g.chance(12) {
		about.Options = []byte{1, 1, 1, 0}
	}
	if g.chance(12) {
		about.Protocol = packet.ProtoUDP
	}
	quote := request.Append(about.Append(nil, packet.ICMPLen+size), g.bytes(size))
	if g.chance(8) {
		quote = quote[:g.r.IntN(packet.IPv4Len+packet.ICMPLen+1)]
	}
	kind := pick(g.r, []uint8{packet.ICMPUnreachable, packet.ICMPTimeExceeded})
	if g.chance(12) {
		kind = uint8(g.r.IntN(14))
	}
	return packet.ICMP{Type: kind, Code: uint8(g.r.IntN(5))}.Append(nil, quote)
}

// beyond64K marks a packet as longer than its field can say, which only GSO can be.
func (g *gen) beyond64K(ip []byte) {
	ip[2], ip[3] = 0, 0
	g.sum(ip)
}

// sum puts a header's checksum right.
func (g *gen) sum(b []byte) {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], packet.Checksum(b[:20], 0))
}

func (g *gen) ipv6(src netip.Addr) []byte {
	if !src.Is6() {
		src = netip.AddrFrom16([16]byte(g.bytes(16)))
		if src.Is4In6() {
			src = netip.IPv6LinkLocalAllNodes()
		}
		if g.chance(10) { // a mapped address is the IPv4 address to the tables
			src = netip.AddrFrom16(netip.MustParseAddr("::ffff:192.0.2.77").As16())
		}
	}
	h := packet.IPv6{
		TrafficClass: uint8(g.r.Uint32()), FlowLabel: g.r.Uint32() & 0xfffff, HopLimit: 64, Src: src,
		Dst: netip.AddrFrom16([16]byte(g.bytes(16))), NextHeader: pick(g.r, []packet.Protocol{packet.ProtoUDP, packet.ProtoTCP, packet.ProtoICMPv6, 44}),
	}
	body := g.bytes(g.r.IntN(100))
	if g.chance(2) { // a jumbogram's header, or almost
		h.NextHeader = packet.ProtoHopByHop
		jumbo := []byte{byte(packet.ProtoTCP), 0, 0xc2, 4, 0, 1, 0, 0}
		if g.chance(3) {
			jumbo[g.r.IntN(4)] ^= 1
		}
		body = append(jumbo, body...)
	}
	if g.chance(5) {
		body = g.bytes(g.r.IntN(3000))
	}
	h.PayloadLen = len(body)
	b := append(h.Append(nil), body...)
	switch g.r.IntN(20) {
	case 0:
		b[0] ^= 1 << (4 + g.r.IntN(4))
	case 1:
		b = b[:g.r.IntN(42)]
	}
	return b
}

func (g *gen) arp(n *network, src model.MAC, ip netip.Addr) []byte {
	a := packet.ARP{Op: packet.ARPRequest, SenderMAC: src, SenderIP: ip, TargetIP: pick(g.r, n.hosts).ip}
	if !ip.Is4() {
		a.SenderIP = netip.IPv4Unspecified()
	}
	dst := packet.Broadcast
	switch g.r.IntN(28) {
	case 24:
		a.TargetIP = station(n, g.r.IntN(stations)).ip
	case 25:
		if len(n.ports) > 0 {
			a.TargetIP, _ = g.shared(n)
		}
	case 26:
		a.Op, a.TargetIP = packet.ARPReply, pick(g.r, n.routes).ip
		dst = pick(g.r, n.routes).mac
	case 27:
		a.SenderIP = netip.IPv4Unspecified()
		if len(n.ports) > 0 {
			a.TargetIP, _ = g.shared(n)
		}
	case 0:
		a.Op = uint16(g.r.IntN(5))
		dst = g.dstMAC(n)
	case 1:
		a.TargetIP = a.SenderIP
	case 2:
		a.TargetIP = netip.AddrFrom4([4]byte{10, 0, 0, byte(200 + g.r.IntN(50))})
	case 3:
		a.SenderMAC = newMAC(g.r)
	case 4:
		a.SenderIP = netip.AddrFrom4([4]byte{10, 0, 0, byte(g.r.Uint32())})
	case 5:
		a.SenderIP = netip.IPv4Unspecified()
	case 6, 7: // whoever it says it is asks for itself
		h := pick(g.r, n.hosts)
		a.SenderMAC, a.TargetIP = h.mac, h.ip
		for _, own := range n.hosts {
			if own.mac == src {
				a.SenderMAC, a.TargetIP = own.mac, own.ip
			}
		}
		a.SenderIP = netip.IPv4Unspecified()
		if g.chance(2) {
			dst = g.dstMAC(n)
		}
	case 8, 9, 10, 11, 12:
		a.TargetIP = pick(g.r, n.routes).ip
	case 13:
		dst = g.dstMAC(n)
	}
	f := g.ether(dst, src, packet.TypeARP, a.Append(nil))
	switch g.r.IntN(30) {
	case 0:
		f[packet.EthernetLen+g.r.IntN(8)] ^= 1 << g.r.IntN(8)
	case 1:
		f = f[:packet.EthernetLen+g.r.IntN(packet.ARPLen)]
	case 2:
		f = append(f, make([]byte, 18)...) // padded to the least frame length
	}
	return f
}
