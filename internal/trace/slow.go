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

// enum slow_kind of the programs.
const (
	slowICMP     = 1
	slowFragment = 2
	slowRoute    = 3
	slowBridge   = 4
	slowProbe    = 5
	slowARP      = 6
)

// SlowHeaderLen is sizeof(struct slow_header).
const SlowHeaderLen = 32

// slowGSOKeep is how many bytes of a GSO packet the slow path sees.
const slowGSOKeep = 576

// slowHeader is struct slow_header.
type slowHeader struct {
	kind               uint8
	reason             reason.Reason
	icmpType, icmpCode uint8
	router             model.RouterKey
	net                model.NetworkKey
	mtu                int
	src                netip.Addr
}

func (h slowHeader) bytes() []byte {
	b := []byte{h.kind, uint8(h.reason), h.icmpType, h.icmpCode}
	b = binary.NativeEndian.AppendUint32(b, uint32(h.router))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.net))
	b = binary.NativeEndian.AppendUint32(b, uint32(h.mtu))
	var src [16]byte
	if h.src.IsValid() {
		src = h.src.As16()
	}
	return append(b, src[:]...)
}

// parseSlow reads a frame that insertSlowHeader made.
func parseSlow(frame []byte) (slowHeader, []byte) {
	b := frame[packet.EthernetLen:]
	return slowHeader{
		kind: b[0], reason: reason.Reason(b[1]), icmpType: b[2], icmpCode: b[3],
		router: model.RouterKey(binary.NativeEndian.Uint32(b[4:])),
		net:    model.NetworkKey(binary.NativeEndian.Uint32(b[8:])),
		mtu:    int(binary.NativeEndian.Uint32(b[12:])),
		src:    netip.AddrFrom16([16]byte(b[16:32])).Unmap(),
	}, b[SlowHeaderLen:]
}

func (r *run) insertSlowHeader(h slowHeader) {
	r.frame = slices.Insert(r.frame, packet.EthernetLen, h.bytes()...)
}

// SlowRouteFrame is the frame by which the slow path lets router originate the
// IPv4 packet ip.
func SlowRouteFrame(router model.RouterKey, ip []byte) []byte {
	f := packet.Ethernet{Type: packet.TypeIPv4}.Append(nil)
	return append(append(f, slowHeader{kind: slowRoute, router: router}.bytes()...), ip...)
}

// FromSlow is the program at the slow path's tap device.
func (p *Pipeline) FromSlow(f Frame) Result {
	r := p.start(f)
	at := Object{Kind: "slow path"}
	const least = packet.EthernetLen + SlowHeaderLen
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
	if kind == slowARP {
		header = packet.ARPLen
	}
	if kind != slowRoute && kind != slowBridge && kind != slowARP || len(r.frame) < least+header || kind == slowRoute && e.Type != packet.TypeIPv4 {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	asked := netip.AddrFrom16([16]byte(h[16:32])).Unmap()
	r.frame = slices.Delete(r.frame, packet.EthernetLen, least)
	if kind == slowARP {
		return r.askPorts(net, e.Src, asked)
	}
	if kind == slowRoute {
		r.mark("slow/route")
		r.trusted = true
		return r.route(routing{router: router, originator: true, slow: true})
	}
	r.mark("slow/bridge")
	r.net = net
	at = p.networkObject(net)
	ep, ok := p.endpoint(net, e.Dst)
	if !ok {
		return r.drop(reason.L2Unknown, at, about{mac: e.Dst})
	}
	switch ep.Kind {
	case hoststate.EndpointPort:
		return r.deliver(at, ep)
	case hoststate.EndpointRemote:
		return r.encapsulate(ep, false)
	case hoststate.EndpointRouter:
		r.mark("slow/bridge-router")
		return r.route(routing{router: ep.Router, in: ep})
	case endpointVLAN:
		return r.tagged(at, ep)
	}
	return r.drop(ep.Drop, at, about{mac: e.Dst, net: net, port: ep.Port})
}
