package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// ErrRequest says that a request makes no packet: words for whoever asked.
var ErrRequest = errors.New("cannot trace")

// Trace sends a packet from a workload's port, its ARP first, and follows what
// comes back by itself. Errors are ErrRequest.
func (p *Pipeline) Trace(q Request) (Report, error) {
	var rep Report
	key, port, ok := p.portByID(q.Port)
	if !ok {
		at := Object{Kind: "port", Name: p.env.Names[string(q.Port)], ID: string(q.Port)}
		rep.fail(reason.PortUnbound, Hop{
			Decision: at.String() + " is not bound to an interface of a host",
			Remedy:   "bind it: `causeway port bind " + at.name() + " --host HOST --interface INTERFACE`",
		}.at(at))
		return rep, nil
	}
	at := p.portObject(key)
	if slices.Contains(port.Addrs, q.To) {
		return rep, fmt.Errorf("%w: %s is the address of %s itself, whose packets to it never leave the workload", ErrRequest, q.To, at)
	}
	src, next, err := firstHop(port, q)
	if err != nil {
		return rep, err
	}
	if !next.IsValid() {
		rep.fail(reason.NoRoute, Hop{
			Decision: fmt.Sprintf("the workload has no way to %s: it is in no subnet of the port, and the subnet has no gateway", q.To),
			Remedy:   "give the subnet a gateway: `openstack subnet set --gateway IP SUBNET`",
		}.at(at))
		return rep, nil
	}
	mac, done := p.ask(&rep, port, at, src, next)
	if done {
		return rep, nil
	}
	ip, err := q.Packet.build(src, q.To)
	if err != nil {
		return rep, err
	}
	frame := packet.Ethernet{Dst: mac, Src: port.MAC, Type: packet.TypeIPv4}.Append(nil)
	rep.follow(p, append(frame, ip...), func(f []byte) Result { return p.FromWorkload(port.Interface, Frame{Data: f}) })
	return rep, nil
}

// TraceTunnel receives a packet from another site. Errors are ErrRequest.
func (p *Pipeline) TraceTunnel(q TunnelRequest) (Report, error) {
	var rep Report
	g, ok := p.st.Gateways[q.Gateway]
	switch {
	case !ok:
		return rep, fmt.Errorf("%w: gateway device %s is not served by this host", ErrRequest, q.Gateway)
	case !q.Remote.Is4() || !q.From.Is4() || !q.To.Is4():
		return rep, fmt.Errorf("%w: remote, from and to must be IPv4 addresses", ErrRequest)
	case q.VNI == 0 || q.VNI > model.MaxVNI:
		return rep, fmt.Errorf("%w: VNI %d is none", ErrRequest, q.VNI)
	}
	ip, err := q.Packet.build(q.From, q.To)
	if err != nil {
		return rep, err
	}
	frame := append(packet.Ethernet{Dst: q.DstMAC, Src: q.SrcMAC, Type: packet.TypeIPv4}.Append(nil), ip...)
	outer := packet.Encapsulate(nil, packet.Outer{
		Local: q.Remote, Remote: g.TunnelIP, VNI: q.VNI, SrcPort: packet.SourcePort(p.env.HashKey, frame),
	}, frame)
	rep.follow(p, outer, func(f []byte) Result { return p.FromUnderlay(Frame{Data: f}) })
	return rep, nil
}

func (p *Pipeline) portByID(id model.PortID) (model.PortKey, hoststate.Port, bool) {
	for k, port := range p.st.Ports {
		if port.ID == id {
			_, there := p.link(port)
			return k, port, there
		}
	}
	return 0, hoststate.Port{}, false
}

// firstHop finds what a workload's own routing table would: the source address
// and the next hop, which is invalid where there is no way.
func firstHop(port hoststate.Port, q Request) (src, next netip.Addr, err error) {
	if !q.To.Is4() {
		return src, next, fmt.Errorf("%w: %s is not an IPv4 address", ErrRequest, q.To)
	}
	best := -1
	consider := func(bits int, s Subnet, hop netip.Addr) {
		a := addrIn(port, s.Prefix)
		if bits > best && (a.IsValid() || q.From.IsValid()) && hop.IsValid() {
			best, src, next = bits, a, hop
		}
	}
	for _, s := range q.Subnets {
		if s.Prefix.Contains(q.To) {
			consider(s.Prefix.Bits(), s, q.To)
		}
		for _, hr := range s.Routes {
			if hr.Destination.Contains(q.To) {
				consider(hr.Destination.Bits(), s, hr.NextHop)
			}
		}
		consider(0, s, s.Gateway)
	}
	if q.From.IsValid() {
		src = q.From
	}
	switch {
	case !src.IsValid() && len(port.Addrs) == 0:
		return src, next, fmt.Errorf("%w: the port has no address to send from", ErrRequest)
	case !src.IsValid():
		src = port.Addrs[0]
	}
	if !src.Is4() {
		return src, next, fmt.Errorf("%w: %s is not an IPv4 address", ErrRequest, src)
	}
	return src, next, nil
}

func addrIn(port hoststate.Port, prefix netip.Prefix) netip.Addr {
	for _, a := range port.Addrs {
		if prefix.Contains(a) {
			return a
		}
	}
	return netip.Addr{}
}

// ask is the workload's ARP for its next hop; true: it got no answer, and rep says
// why.
func (p *Pipeline) ask(rep *Report, port hoststate.Port, at Object, src, next netip.Addr) (model.MAC, bool) {
	res := p.FromWorkload(port.Interface, Frame{Data: packet.BuildARPRequest(port.MAC, src, next)})
	switch res.Verdict {
	case Reply:
		a, err := packet.ParseARP(res.Output[packet.EthernetLen:])
		if err == nil {
			rep.Hops = append(rep.Hops, Hop{
				Decision: fmt.Sprintf("the workload asks by ARP for %s, its next hop", next),
				Result:   fmt.Sprintf("the answer is %s", a.SenderMAC),
			}.at(at))
			return a.SenderMAC, false
		}
	case Drop:
		if res.Reason != reason.L2Unknown {
			rep.Hops, rep.Verdict, rep.Reason = res.Hops, Drop, res.Reason.String()
			rep.summarize(p, res)
			return model.MAC{}, true
		}
	}
	// Nobody is known to have it. Ports of the network that use addresses the
	// site does not know of may still answer.
	net := p.networkObject(port.Network)
	if p.unknown(port.Network, next) {
		what, _ := p.explain(reason.NeighborResolving, net, about{ip: next, net: port.Network})
		what, _, _ = strings.Cut(what, ":")
		rep.fail(reason.NeighborResolving, Hop{
			Decision: fmt.Sprintf("the workload asks by ARP for its next hop, and %s: who has it is learned on the host, and where it is not, the question goes to all of the network's ports and VLANs", what),
			Remedy:   "if nobody answers, look whether a workload, or a host on the VLAN, has the address",
		}.at(net))
		return model.MAC{}, true
	}
	found, remedy := p.explain(reason.NeighborUnknown, net, about{ip: next, net: port.Network})
	rep.fail(reason.NeighborUnknown, Hop{
		Decision: fmt.Sprintf("the workload asks by ARP for %s, and is not answered: %s", next, found), Remedy: remedy,
	}.at(net))
	return model.MAC{}, true
}

func (h Hop) at(o Object) Hop {
	h.At, h.Object = o.String(), o
	return h
}

// fail ends a report at hop h.
func (rep *Report) fail(why reason.Reason, h Hop) {
	h.Result, h.Reason = "dropped", why.String()
	rep.Hops = append(rep.Hops, h)
	rep.Verdict, rep.Reason = Drop, why.String()
	rep.Summary = sentence(h)
}

func sentence(h Hop) string {
	s := fmt.Sprintf("dropped at %s (%s): %s", h.At, h.Reason, h.Decision)
	if h.Remedy != "" {
		s += "; " + h.Remedy
	}
	return s
}

// follow sends frame by enter and writes down what happens to it.
func (rep *Report) follow(p *Pipeline, frame []byte, enter func([]byte) Result) {
	rep.Sent = packet.Describe(frame)
	res := enter(frame)
	for range 2 { // once on each side of the fabric
		if res.Verdict == Slow && res.Reason == reason.None {
			res = p.afterFragmenting(res)
		}
		res, p = rep.across(p, res)
	}
	rep.Hops = append(rep.Hops, res.Hops...)
	rep.Verdict = res.Verdict
	if res.Reason != reason.None {
		rep.Reason = res.Reason.String()
	}
	if res.Verdict == Slow {
		rep.answer(p, res)
	} else if len(res.Output) > 0 {
		rep.Out = packet.Describe(res.Output)
	}
	if (res.Verdict == Tunnel || res.Verdict == VXLAN) && res.Host == "" {
		rep.Next = next(res)
	}
	rep.summarize(p, res)
}

// afterFragmenting is what happens to the first fragment.
func (p *Pipeline) afterFragmenting(res Result) Result {
	h, ip := parseSlow(res.Output)
	fragments, err := packet.Fragment(ip, int(h.MTU))
	if err != nil {
		return res
	}
	f := append(append([]byte(nil), res.Output[:packet.EthernetLen]...), packet.SlowHeader{Kind: packet.SlowBridge, Net: h.Net}.Append(nil)...)
	out := p.FromSlow(Frame{Data: append(f, fragments[0]...)})
	out.Hops = append(append(res.Hops, Hop{
		Decision: fmt.Sprintf("%d fragments; the first goes on", len(fragments)),
	}.at(Object{Kind: "slow path"})), out.Hops...)
	return out
}

// answer follows the ICMP error that a router sends.
func (rep *Report) answer(p *Pipeline, res Result) {
	h, ip := parseSlow(res.Output)
	if h.Kind == packet.SlowARP {
		f := packet.Ethernet{Src: model.MAC(res.Output[6:12]), Type: packet.TypeIPv4}.Append(nil)
		f = append(f, packet.SlowHeader{Kind: packet.SlowARP, Net: h.Net, Src: h.Src}.Append(nil)...)
		asked := p.FromSlow(Frame{Data: append(f, make([]byte, packet.ARPLen)...)})
		rep.Answer = asked.Hops
		return
	}
	e := packet.ICMPError{Type: h.ICMPType, Code: h.ICMPCode, MTU: int(h.MTU), Src: h.Src}
	err4, err := packet.BuildICMPError(ip, e)
	if err != nil {
		return // RFC 1812 forbids one: the slow path sees more than the programs do
	}
	back := p.FromSlow(Frame{Data: SlowRouteFrame(model.RouterKey(h.Router), err4)})
	back, _ = rep.across(p, back)
	rep.Answer = back.Hops
	if len(back.Output) > 0 {
		rep.Out = packet.Describe(back.Output)
	}
}

// next is the question to the other site.
func next(res Result) *Next {
	frame := res.Output
	if res.Verdict == Tunnel {
		frame = frame[packet.VXLANOverhead:]
	}
	e, b, err := packet.ParseEthernet(frame)
	if err != nil {
		return nil
	}
	h, payload, err := packet.ParseIPv4(b)
	if err != nil {
		return nil
	}
	q := TunnelRequest{Remote: res.Local, VNI: res.VNI, SrcMAC: e.Src, DstMAC: e.Dst, From: h.Src, To: h.Dst}
	q.Packet = Packet{Proto: "icmp", Size: h.TotalLen, TTL: int(h.TTL), DontFragment: h.DF}
	switch h.Protocol {
	case packet.ProtoTCP:
		q.Proto = "tcp"
	case packet.ProtoUDP:
		q.Proto = "udp"
	}
	if q.Proto != "icmp" && len(payload) >= 4 && h.Offset == 0 {
		q.SrcPort, q.DstPort = uint16(payload[0])<<8|uint16(payload[1]), uint16(payload[2])<<8|uint16(payload[3])
	}
	return &Next{TunnelIP: res.Remote, Request: q}
}

func (rep *Report) summarize(p *Pipeline, res Result) {
	const delivered = "delivered to %s at interface %s"
	switch res.Verdict {
	case Port:
		rep.Delivered = true
		rep.Summary = fmt.Sprintf(delivered, p.portObject(res.Port), res.Interface)
	case Tunnel, VXLAN:
		rep.Delivered = true
		if res.Host != "" {
			rep.Summary = fmt.Sprintf("sent over the fabric to host %s", res.Host)
			break
		}
		rep.Summary = fmt.Sprintf("sent to VTEP %s from %s with VNI %d", res.Remote, res.Local, res.VNI)
	case Flood:
		rep.Delivered = true
		rep.Summary = fmt.Sprintf("copied to %d local ports, VLANs and other hosts of %s", len(res.Copies), p.networkObject(res.Network))
	case Tagged:
		rep.Delivered = true
		rep.Summary = fmt.Sprintf("sent to VLAN %d of interface %s", res.VLAN, res.Interface)
	case Pass:
		rep.Summary = "not a tunnel packet for this host: left to the host itself"
	case Slow, Drop:
		rep.Summary = "handed to the slow path"
		for _, h := range res.Hops {
			if h.Reason != "" {
				rep.Summary = sentence(h)
			}
		}
	}
	if rep.Delivered && slices.Contains(res.Path, "route/echo") {
		rep.Summary = "answered by a router; the reply is " + rep.Summary
	}
}

// build makes the IPv4 packet.
func (q Packet) build(src, dst netip.Addr) ([]byte, error) {
	h := packet.IPv4{TTL: 64, DF: q.DontFragment, Src: src, Dst: dst}
	if q.TTL < 0 || q.TTL > 255 {
		return nil, fmt.Errorf("%w: TTL %d is not within 1 … 255", ErrRequest, q.TTL)
	}
	if q.TTL != 0 {
		h.TTL = uint8(q.TTL)
	}
	size, least, sport, dport := 60, packet.IPv4Len, q.SrcPort, q.DstPort
	if sport == 0 {
		sport = 40000
	}
	switch q.Proto {
	case "", "icmp":
		h.Protocol, size, least = packet.ProtoICMP, 84, least+packet.ICMPLen
	case "tcp":
		h.Protocol, least = packet.ProtoTCP, least+packet.TCPLen
		if dport == 0 {
			dport = 80
		}
	case "udp":
		h.Protocol, least = packet.ProtoUDP, least+packet.UDPLen
		if dport == 0 {
			dport = 33434
		}
	default:
		return nil, fmt.Errorf("%w: protocol %q is none of icmp, tcp, udp", ErrRequest, q.Proto)
	}
	if q.Size != 0 {
		size = q.Size
	}
	if size < least || size > 65535 {
		return nil, fmt.Errorf("%w: a size of %d bytes is not within %d … 65535", ErrRequest, size, least)
	}
	payload := make([]byte, size-least)
	b := h.Append(make([]byte, 0, size), size-packet.IPv4Len)
	switch h.Protocol {
	case packet.ProtoTCP:
		return packet.TCP{Src: sport, Dst: dport, Flags: packet.TCPSyn, Window: 65535}.Append(b, src, dst, payload), nil
	case packet.ProtoUDP:
		return packet.UDP{Src: sport, Dst: dport}.Append(b, src, dst, payload), nil
	}
	return packet.ICMP{Type: packet.ICMPEchoRequest, Rest: 1<<16 | 1}.Append(b, payload), nil
}
