package trace

import (
	"encoding/binary"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// MaxRouters is how many routers of one site a packet may pass.
const MaxRouters = hoststate.MaxRouters

// routing is the state between routers.
type routing struct {
	router     model.RouterKey
	in         fdbEntry // the router's interface that it came in by; in.Addr answers
	originator bool     // this router made the packet
	slow       bool     // from the slow path: the header is trusted
}

// check is what a router checks of a packet first.
func (r *run) check() reason.Reason {
	if packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) != packet.TypeIPv4 {
		return reason.RouterNotIP
	}
	if !packet.IPv4Readable(r.frame) {
		return reason.IPMalformed
	}
	ip := r.frame[packet.EthernetLen:]
	ihl, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if total == 0 && r.gso != 0 && packet.Protocol(ip[9]) == packet.ProtoTCP {
		r.mark("route/big-tcp")
		total = len(ip)
	}
	switch {
	case ihl < packet.IPv4Len, total < ihl, r.gso == 0 && total > len(ip),
		ihl == packet.IPv4Len && !packet.ValidIPv4Checksum(ip):
		return reason.IPMalformed
	case ihl > packet.IPv4Len:
		return reason.IPOptions
	case packet.Martian(ip4(ip[12:]), ip4(ip[16:])):
		return reason.Martian
	}
	return reason.None
}

func (r *run) route(s routing) Result {
	r.routed = true
	if !s.slow {
		if why := r.check(); why != reason.None {
			return r.drop(why, r.p.routerObject(s.router), about{})
		}
	}
	ip := r.frame[packet.EthernetLen:]
	for turn := 0; turn < MaxRouters; turn++ {
		at := r.p.routerObject(s.router)
		dst := ip4(ip[16:])
		m, ok := r.p.route(s.router, dst)
		if !ok {
			return r.dropICMP(s, reason.NoRoute, packet.ICMPUnreachable, packet.ICMPNetUnreachable, about{ip: dst})
		}
		switch m.route.Kind {
		case hoststate.RouteDrop:
			r.mark("route/drop")
			return r.drop(m.route.Drop, at, about{ip: dst, route: m})
		case hoststate.RouteLocal:
			r.flow = false
			if s.originator {
				r.mark("route/local-originator")
				return r.drop(reason.ToRouter, at, about{ip: dst})
			}
			if res, done := r.local(s, at, dst); done {
				return res
			}
			s.originator = true
			continue
		}
		ttl := ip[8]
		if !s.originator {
			if ttl <= 1 {
				return r.dropICMP(s, reason.TTLExceeded, packet.ICMPTimeExceeded, 0, about{ip: dst})
			}
			ttl--
		}
		next := dst
		if m.route.Kind == hoststate.RouteVia {
			m = r.hop(s.router, m)
			next = m.route.NextHop
		}
		mac, ok := r.neighbor(m.route.Network, next)
		if !ok && r.p.unknown(m.route.Network, next) {
			return r.ask(s, m, next)
		}
		if !ok {
			return r.dropICMP(s, reason.NeighborUnknown, packet.ICMPUnreachable, packet.ICMPHostUnreachable, about{ip: next, net: m.route.Network})
		}
		e, ok := r.fdbEntry(m.route.Network, mac)
		if !ok {
			r.mark("route/l2-unknown")
			return r.drop(reason.L2Unknown, r.p.networkObject(m.route.Network), about{mac: mac})
		}
		r.hopRoute(at, m, next, mac, ttl)
		if e.Kind == hoststate.FDBDrop {
			r.mark("route/fdb-drop")
			return r.drop(e.Drop, r.p.networkObject(m.route.Network), about{mac: mac, ip: next, net: m.route.Network, port: e.Port, vtep: e.Addr, host: e.host})
		}
		mtu := r.p.st.Networks[m.route.Network].MTU
		if e.Kind != hoststate.FDBRouter {
			mtu = min(mtu, e.mtu)
		}
		big := r.tooBig(mtu)
		if big && (ip[6]&0x40 != 0 || r.gso != 0) {
			return r.dropICMP(s, reason.FragmentationNeeded, packet.ICMPUnreachable, packet.ICMPFragmentationNeeded, about{ip: dst, mtu: mtu, net: m.route.Network})
		}
		if ttl != ip[8] {
			packet.SetTTL(ip, ttl)
		}
		if !big && e.Kind == hoststate.FDBRouter {
			r.mark("route/router")
			s = routing{router: e.Router, in: e}
			continue
		}
		copy(r.frame[0:6], mac[:])
		copy(r.frame[6:12], m.route.MAC[:])
		r.net = m.route.Network
		switch {
		case big:
			r.mark("route/fragment")
			r.hopf(at, "the slow path cuts it into fragments", "larger than %d bytes, and may be cut", mtu)
			r.insertSlowHeader(packet.SlowHeader{Kind: packet.SlowFragment, Net: uint32(m.route.Network), MTU: uint32(mtu)})
			return r.end(Slow)
		case e.Kind == fdbVLAN:
			r.mark("route/vlan")
			return r.tagged(r.p.networkObject(m.route.Network), e)
		case e.Kind == hoststate.FDBPort:
			r.mark("route/port")
			return r.deliver(r.p.networkObject(m.route.Network), e)
		default:
			if e.Kind == fdbHost {
				r.mark("route/host")
			} else {
				r.mark("route/remote")
			}
			return r.encapsulate(e, false)
		}
	}
	return r.drop(reason.RouterLoop, r.p.routerObject(s.router), about{})
}

// local handles a packet to the router itself; false: it is an echo request that
// was turned round and goes on.
func (r *run) local(s routing, at Object, dst netip.Addr) (Result, bool) {
	ip := r.frame[packet.EthernetLen:]
	switch packet.Protocol(ip[9]) {
	case packet.ProtoICMP:
		offset, more := packet.FragmentOffset(ip)
		total := min(int(binary.BigEndian.Uint16(ip[2:])), len(ip))
		if offset != 0 || more || total < packet.IPv4Len+packet.ICMPLen ||
			ip[packet.IPv4Len] != packet.ICMPEchoRequest || ip[packet.IPv4Len+1] != 0 {
			if packet.AnswersProbe(ip) {
				r.mark("route/probe")
				r.hopf(at, "to the probe that waits for it", "%s is the router's own address", dst)
				return r.toSlow(packet.SlowHeader{Kind: packet.SlowProbe, Router: uint32(s.router)}), true
			}
			r.mark("route/local-icmp")
			return r.drop(reason.ToRouter, at, about{ip: dst}), true
		}
		r.mark("route/echo")
		packet.TurnEchoRound(ip)
		r.hopf(at, "it answers with an echo reply", "%s is the router's own address", dst)
		return Result{}, false
	case packet.ProtoTCP, packet.ProtoUDP:
		return r.dropICMP(s, reason.ToRouter, packet.ICMPUnreachable, packet.ICMPPortUnreachable, about{ip: dst}), true
	}
	return r.dropICMP(s, reason.ToRouter, packet.ICMPUnreachable, packet.ICMPProtocolUnreachable, about{ip: dst}), true
}

// dropICMP drops the packet at a router, with an ICMP error where one may be.
func (r *run) dropICMP(s routing, why reason.Reason, icmpType, code uint8, a about) Result {
	res := r.drop(why, r.p.routerObject(s.router), a)
	mtu := 0
	if why == reason.FragmentationNeeded {
		mtu = a.mtu
	}
	if s.originator && packet.IsProbe(r.frame[packet.EthernetLen:]) {
		r.mark("probe-failed")
		return r.toSlow(packet.SlowHeader{Kind: packet.SlowProbe, Reason: uint8(why), ICMPType: icmpType, ICMPCode: code, Router: uint32(s.router), MTU: uint32(mtu)})
	}
	if s.originator || !r.mayAnswer() {
		r.mark("no-icmp")
		res.Path = r.res.Path
		return res
	}
	r.mark("icmp")
	r.hopf(r.p.routerObject(s.router), "to the sender, from "+s.in.Addr.String(), "ICMP %s", packet.ICMPName(icmpType, code))
	return r.toSlow(packet.SlowHeader{
		Kind: packet.SlowICMP, Reason: uint8(why), ICMPType: icmpType, ICMPCode: code, Router: uint32(s.router), MTU: uint32(mtu), Src: s.in.Addr,
	})
}

// toSlow gives the packet to the slow path, which sees no more of a GSO packet than an
// ICMP error quotes.
func (r *run) toSlow(h packet.SlowHeader) Result {
	if r.gso != 0 && len(r.frame) > packet.EthernetLen+slowGSOKeep {
		r.frame = r.frame[:packet.EthernetLen+slowGSOKeep]
	}
	r.insertSlowHeader(h)
	return r.end(Slow)
}

// mayAnswer is what the programs look at of RFC 1812 §4.3.2.7.
func (r *run) mayAnswer() bool {
	ip := r.frame[packet.EthernetLen:]
	if offset, _ := packet.FragmentOffset(ip); offset != 0 {
		return false
	}
	if packet.Protocol(ip[9]) != packet.ProtoICMP {
		return true
	}
	// Packets of the slow path are not checked, so ihl may be anything.
	ihl, total := int(ip[0]&15)*4, min(int(binary.BigEndian.Uint16(ip[2:])), len(ip))
	return total > ihl && !packet.IsICMPError(ip[ihl])
}
