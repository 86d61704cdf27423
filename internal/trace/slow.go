package trace

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// slowGSOKeep is how many bytes of a GSO packet the slow path sees.
const slowGSOKeep = 576

// parseSlow reads a frame that insertSlowHeader made.
func parseSlow(frame []byte) (packet.SlowHeader, []byte) {
	b := frame[packet.EthernetLen:]
	h, _ := packet.ParseSlowHeader(b) // it is there
	return h, b[packet.SlowHeaderLen:]
}

func (r *run) insertSlowHeader(h packet.SlowHeader) {
	r.frame = slices.Insert(r.frame, packet.EthernetLen, h.Append(nil)...)
}

// SlowRouteFrame is the frame by which the slow path lets router originate the
// IPv4 packet ip.
func SlowRouteFrame(router model.RouterKey, ip []byte) []byte {
	f := packet.Ethernet{Type: packet.TypeIPv4}.Append(nil)
	return append(append(f, packet.SlowHeader{Kind: packet.SlowRoute, Router: uint32(router)}.Append(nil)...), ip...)
}

// FromSlow is the program at the slow path's tap device.
func (p *Pipeline) FromSlow(f Frame) Result {
	r := p.start(f, SourceSlow)
	at := Object{Kind: "slow path"}
	if p.env.AgentDead {
		return r.drop(reason.AgentDead, at, about{})
	}
	const least = packet.EthernetLen + packet.SlowHeaderLen
	if len(r.frame) < least {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	e, _, err := packet.ParseEthernet(r.frame)
	if err != nil {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	header := 0
	switch e.Type {
	case packet.TypeIPv4:
		header = packet.IPv4Len
	case packet.TypeIPv6:
		header = packet.IPv6Len
	default:
		return r.drop(reason.FrameMalformed, at, about{})
	}
	h := r.frame[packet.EthernetLen:]
	kind, router, net := h[0], model.RouterKey(binary.NativeEndian.Uint32(h[4:])), model.NetworkKey(binary.NativeEndian.Uint32(h[8:]))
	if kind == packet.SlowARP {
		header = max(header, packet.ARPLen)
	}
	if kind != packet.SlowRoute && kind != packet.SlowBridge && kind != packet.SlowARP || len(r.frame) < least+header || kind == packet.SlowRoute && e.Type != packet.TypeIPv4 {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	asked := netip.AddrFrom16([16]byte(h[16:32])).Unmap()
	r.frame = slices.Delete(r.frame, packet.EthernetLen, least)
	if kind == packet.SlowARP {
		return r.askPorts(net, e.Src, asked)
	}
	if kind == packet.SlowRoute {
		r.mark("slow/route")
		r.trusted = true
		return r.route(routing{router: router, originator: true, slow: true})
	}
	r.mark("slow/bridge")
	r.net = net
	at = p.networkObject(net)
	ep, ok := p.fdbEntry(net, e.Dst)
	if !ok {
		return r.drop(reason.L2Unknown, at, about{mac: e.Dst})
	}
	if ep.Kind != hoststate.FDBDrop && !r.source.MayFollow().may(ep) {
		return r.drop(reason.Hairpin, at, about{mac: e.Dst})
	}
	switch ep.Kind {
	case hoststate.FDBPort:
		return r.deliver(at, ep)
	case hoststate.FDBRemote, fdbHost:
		return r.encapsulate(ep, false)
	case hoststate.FDBRouter:
		r.mark("slow/bridge-router")
		return r.route(routing{router: ep.Router, in: ep})
	case fdbVLAN:
		return r.tagged(at, ep)
	}
	return r.drop(ep.Drop, at, about{mac: e.Dst, net: net, port: ep.Port, host: ep.host})
}
