package difftest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/trace"
)

// batch is the packets of one Run.
type batch struct {
	*Runner
	topology    uint64
	ports       map[model.PortKey]hoststate.Port
	updated     bool
	quiet, loud *trace.Pipeline
	want        [reason.Count]uint64
	drops       map[model.PortKey]*[reason.Count]uint64 // by the port that sent what was dropped
	traffic     dataplane.Counters
}

// latelyMost is how many packets of one topology are sent again in the next.
const latelyMost = 500

// again sends packets of the topology before: what the programs remember of them counts no more.
func (b *batch) again(index uint64) error {
	old := b.lately
	b.lately = nil
	for _, c := range old {
		if _, _, err := b.send(index, c); err != nil {
			return err
		}
	}
	return nil
}

// flow sends a packet. What goes to a port, or from one into a tunnel, is sent again, which must go by what was remembered of
// it, or not, as the pipeline says; and so are packets that differ from it in one thing.
func (b *batch) flow(g *gen, index uint64, c Case) error {
	_, res, err := b.send(index, c)
	if err != nil || c.Program != FromWorkload && c.Program != FromUnderlay || res.Verdict != trace.Port && res.Verdict != trace.Tunnel {
		return err
	}
	// A flow gets a row with its second packet.
	got, res, err := b.send(index, c)
	if err == nil {
		got, res, err = b.send(index, c)
	}
	if err != nil {
		return err
	}
	if res.Remembered && !got.Known {
		return &Mismatch{b.topology, index, b.updated, c, "what is not remembered", got, res}
	}
	if res.Stays && !got.Stays {
		return &Mismatch{b.topology, index, b.updated, c, "what is not written anew in place", got, res}
	}
	if got.Stays {
		b.stays(got, res)
	}
	if !res.Remembered {
		return nil
	}
	b.Coverage["flow"]++
	if res.Verdict == trace.Tunnel {
		b.Coverage["flow into tunnel"]++
		if res.Host != "" {
			b.Coverage["flow into fabric"]++
		}
	}
	if len(b.lately) < latelyMost {
		b.lately = append(b.lately, c)
	} else {
		b.lately[index%latelyMost] = c
	}
	variants := g.variants
	if c.Program == FromUnderlay {
		b.Coverage["flow from tunnel"]++
		if slices.Contains(res.Path, "fabric/decapsulated") {
			b.Coverage["flow from fabric"]++
		}
		variants = g.tunneledVariants
	}
	for _, v := range variants(c) {
		for range 3 {
			if _, _, err := b.send(index, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// stays counts what was written anew in place.
func (b *batch) stays(got dataplane.TestRecord, res trace.Result) {
	way := "tunnel to tunnel"
	switch fromFabric := slices.Contains(res.Path, "fabric/decapsulated"); {
	case fromFabric:
		way = "fabric to tunnel"
	case res.Host != "":
		way = "tunnel to fabric"
	}
	b.Coverage["in place, "+way]++
	if got.Known {
		b.Coverage["in place, known, "+way]++
	}
}

// deadOften is how often a packet comes once more while the agent is dead: one in so many.
const deadOften = 16

// dead sends a packet, which may be of a flow that is remembered, while the agent vouches for nothing.
func (b *batch) dead(index uint64, c Case) error {
	if err := b.d.TestVouch(false); err != nil {
		return err
	}
	quiet, loud := b.quiet, b.loud
	b.quiet, b.loud = quiet.WithDeadAgent(), loud.WithDeadAgent()
	got, _, err := b.send(index, c)
	b.quiet, b.loud = quiet, loud
	if err == nil && got.Known {
		err = differ("packet %d went by a flow's row, and the agent is dead", index)
	}
	if err != nil {
		return err
	}
	return b.d.TestVouch(true)
}

// send sends one packet through both.
func (b *batch) send(index uint64, c Case) (dataplane.TestRecord, trace.Result, error) {
	got, err := b.d.TestRun(b.testRun(c))
	if err != nil {
		return got, trace.Result{}, fmt.Errorf("topology %d, packet %d (%s, %x): %w", b.topology, index, c.Program, c.Data, err)
	}
	p := b.quiet
	if index%32 == 0 {
		p = b.loud // the words must not disturb
	}
	res := enter(p, c, b.uplink)
	if what := b.compare(got, res); what != "" {
		return got, res, &Mismatch{b.topology, index, b.updated, c, what, got, enter(b.loud, c, b.uplink)}
	}
	b.want[reason.LearnLimited] += uint64(res.Limited)
	if res.Reason != reason.None {
		b.want[res.Reason]++
	}
	if d := b.drops[res.Sender]; d != nil {
		d[reason.LearnLimited] += uint64(res.Limited)
		d[res.Reason]++
	}
	b.counted(res.Counts)
	b.Total++
	for _, m := range res.Path {
		b.Coverage[c.Program.String()+" "+m]++
		b.Coverage[m]++
	}
	return got, res, nil
}

// counted adds to what the counters should have risen by.
func (b *batch) counted(counts []trace.Count) {
	for _, n := range counts {
		switch {
		case n.VLAN.ID != 0:
			b.traffic.VLANs[n.VLAN] = add(b.traffic.VLANs[n.VLAN], n)
		case n.Port != 0:
			id := b.ports[n.Port].ID
			b.traffic.Ports[id] = add(b.traffic.Ports[id], n)
		default:
			k := dataplane.Tunnel{Local: n.Tunnel.Local, Remote: n.Tunnel.Remote, VNI: n.Tunnel.VNI}
			b.traffic.Tunnels[k] = add(b.traffic.Tunnels[k], n)
		}
	}
}

// variants are packets that differ from c, which the programs remember, in a part of the key or
// in what is looked at of each packet.
func (g *gen) variants(c Case) []Case {
	var out []Case
	with := func(change func(c *Case, ip []byte)) {
		v := c
		v.Data = slices.Clone(c.Data)
		change(&v, v.Data[packet.EthernetLen:])
		out = append(out, v)
	}
	fixed := func(change func(c *Case, ip []byte)) {
		with(func(c *Case, ip []byte) {
			change(c, ip)
			fixChecksum(c.Data[packet.EthernetLen:])
		})
	}
	flip := func(b []byte) { b[g.r.IntN(len(b))] ^= 1 << g.r.IntN(8) }
	ports := func(c *Case, proto packet.Protocol, src, dst uint16) {
		ip := c.Data[packet.EthernetLen:]
		ip[9] = byte(proto)
		binary.BigEndian.PutUint16(ip[20:], src)
		binary.BigEndian.PutUint16(ip[22:], dst)
	}
	switch g.r.IntN(20) {
	case 0:
		with(func(c *Case, _ []byte) { flip(c.Data[0:6]) })
	case 1:
		with(func(c *Case, _ []byte) { flip(c.Data[6:12]) })
	case 2:
		with(func(c *Case, _ []byte) { c.Interface = g.r.IntN(Interfaces) })
	case 3:
		fixed(func(_ *Case, ip []byte) { flip(ip[12:16]) })
	case 4:
		fixed(func(_ *Case, ip []byte) { flip(ip[16:20]) })
	case 5: // the last is what no port with port security may send
		fixed(func(c *Case, _ []byte) { ports(c, packet.ProtoTCP, 67, 68) })
		fixed(func(c *Case, _ []byte) { ports(c, packet.ProtoUDP, 67, 69) })
		fixed(func(c *Case, _ []byte) { ports(c, packet.ProtoUDP, 66, 68) })
		fixed(func(c *Case, _ []byte) { ports(c, packet.ProtoUDP, 67, 68) })
	case 6: // who has several next hops chooses by these
		fixed(func(_ *Case, ip []byte) { flip(ip[20:22]) })
		fixed(func(_ *Case, ip []byte) { flip(ip[22:24]) })
		fixed(func(_ *Case, ip []byte) { ip[9] = pick(g.r, []byte{1, 6, 17, 47, 132}) })
	case 7:
		fixed(func(_ *Case, ip []byte) { ip[6] |= 0x20 })
	case 8:
		fixed(func(_ *Case, ip []byte) { flip(ip[7:8]) })
	case 9:
		with(func(_ *Case, ip []byte) { ip[0] = pick(g.r, []byte{0x46, 0x44, 0x55}) })
	case 10:
		for range 3 {
			fixed(func(_ *Case, ip []byte) { ip[8] = byte(g.r.IntN(5)) })
		}
	case 11:
		with(func(_ *Case, ip []byte) { flip(ip[10:12]) })
	case 12:
		fixed(func(_ *Case, ip []byte) { binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+1)) })
		fixed(func(_ *Case, ip []byte) { binary.BigEndian.PutUint16(ip[2:], uint16(g.r.IntN(20))) })
	case 13:
		fixed(func(c *Case, ip []byte) { g.longer(c) })
	case 14:
		with(func(c *Case, _ []byte) { c.GSOSize = 1 + g.r.IntN(2000) })
	case 15:
		with(func(c *Case, _ []byte) { c.Data = slices.Insert(c.Data, 12, g.tag(nil, uint16(g.r.IntN(2)))...) })
	case 16:
		with(func(c *Case, _ []byte) {
			binary.BigEndian.PutUint16(c.Data[12:], uint16(pick(g.r, []packet.EtherType{packet.TypeARP, packet.TypeIPv6, 0x88cc})))
			c.Data = append(c.Data, make([]byte, packet.IPv6Len)...)
		})
	case 17:
		for tos := range byte(4) {
			fixed(func(_ *Case, ip []byte) { ip[1] = ip[1]&^3 | tos })
		}
	case 18: // padding behind the packet goes along
		with(func(c *Case, _ []byte) { c.Data = append(c.Data, g.bytes(1+g.r.IntN(40))...) })
	default:
		with(func(c *Case, ip []byte) { c.Data = c.Data[:packet.EthernetLen+packet.IPv4Len+g.r.IntN(4)] })
	}
	return out
}

// tunneledVariants are variants of what is in a tunnel packet, or of its outer header.
func (g *gen) tunneledVariants(c Case) []Case {
	if g.chance(2) {
		return g.outerVariants(c)
	}
	total := int(binary.BigEndian.Uint16(c.Data[16:]))
	outer, inner := c.Data[:packet.VXLANOverhead], c
	inner.Data = c.Data[len(outer) : packet.EthernetLen+total]
	// The same frame, from the same interface, but not out of a tunnel.
	outside := inner
	outside.Program, outside.Interface = FromWorkload, onTrunk
	out := []Case{outside}
	for _, v := range g.variants(inner) {
		v.Interface = c.Interface
		v.Data = append(slices.Clone(outer), v.Data...)
		setOuterLen(v.Data, len(v.Data)-packet.EthernetLen)
		out = append(out, v)
	}
	return out
}

func setOuterLen(b []byte, n int) {
	ip := b[packet.EthernetLen:]
	binary.BigEndian.PutUint16(ip[2:], uint16(n))
	binary.BigEndian.PutUint16(ip[packet.IPv4Len+4:], uint16(n-packet.IPv4Len))
	fixChecksum(ip)
}

func (g *gen) outerVariants(c Case) []Case {
	c.Data = slices.Clone(c.Data)
	ip := c.Data[packet.EthernetLen:]
	total := int(binary.BigEndian.Uint16(ip[2:]))
	flip := func(b []byte) { b[g.r.IntN(len(b))] ^= 1 << g.r.IntN(8) }
	const vxlan = packet.IPv4Len + packet.UDPLen
	switch g.r.IntN(11) {
	case 8: // the same tunnel of the other kind
		port := ip[packet.IPv4Len+2:]
		if binary.BigEndian.Uint16(port) == fabricPort {
			binary.BigEndian.PutUint16(port, packet.VXLANPort)
		} else {
			binary.BigEndian.PutUint16(port, fabricPort)
		}
	case 9:
		copy(ip[12:16], pick(g.r, g.t.others).addr.AsSlice())
	case 0:
		copy(ip[12:16], pick(g.r, g.t.vteps).AsSlice())
	case 1:
		flip(ip[12:16])
	case 2:
		flip(ip[16:20])
	case 3:
		flip(ip[vxlan+4 : vxlan+7])
	case 4:
		ip[1] = byte(g.r.IntN(4))
	case 5:
		ip[vxlan] ^= 8
	case 6:
		flip(ip[10:12])
		return []Case{c}
	case 7: // less than there is: the rest comes off
		setOuterLen(c.Data, max(packet.VXLANOverhead+packet.IPv4Len, total-1-g.r.IntN(8)))
		if g.chance(2) {
			setOuterLen(c.Data, packet.VXLANOverhead+packet.IPv4Len+g.r.IntN(5))
		}
		return []Case{c}
	default:
		ip[packet.IPv4Len+5]++
	}
	fixChecksum(ip)
	return []Case{c}
}

func fixChecksum(ip []byte) {
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip[:packet.IPv4Len], 0))
}

// longer makes the packet as long as some way's MTU, or a little longer.
func (g *gen) longer(c *Case) {
	c.GSOSize = 0
	ip := c.Data[packet.EthernetLen:]
	n := pick(g.r, []int{1280, 1300, 1400, 1450, 1500}) + g.r.IntN(3) - 1
	c.Data = append(c.Data, make([]byte, max(0, n-len(ip)))...)
	binary.BigEndian.PutUint16(c.Data[packet.EthernetLen+2:], uint16(n))
}
