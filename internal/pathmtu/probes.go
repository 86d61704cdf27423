package pathmtu

import (
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// Key names a path: between a tunnel IP of this host and a remote VTEP.
type Key struct{ Local, Remote netip.Addr }

// Target is a router of the peer that is asked through the tunnel, and the router of ours that
// asks.
type Target struct {
	Network        model.NetworkKey // that both have an address on
	Router         model.RouterKey
	MAC, RemoteMAC model.MAC
	Source, Remote netip.Addr
}

// Nonce is what only who got a packet can answer with.
type Nonce [8]byte

// TunnelProbe is the inner frame, without slow path header, of a probe whose outer packet between
// the VTEPs of k has size bytes. It is a short echo request (identifier packet.ProbeID) with
// Ethernet padding behind it: routers hold the length of the IP packet against an MTU, which is short,
// so that what either end believes of the path stands in no probe's way. The peer's
// programs turn it round as it is, padding and all; a router that is the kernel's answers without.
func TunnelProbe(k Key, t Target, size int, n Nonce) []byte {
	frame := make([]byte, 0, size)
	frame = packet.Ethernet{Dst: t.RemoteMAC, Src: t.MAC, Type: packet.TypeIPv4}.Append(frame)
	h := packet.IPv4{DF: true, TTL: 64, Protocol: packet.ProtoICMP, Src: t.Source, Dst: t.Remote}
	m := packet.ICMP{Type: packet.ICMPEchoRequest, Rest: packet.ProbeID << 16}
	frame = m.Append(h.Append(frame, packet.ICMPLen+len(n)), n[:])
	if pad := size - packet.OverheadTo(k.Remote) + packet.EthernetLen - len(frame); pad > 0 {
		frame = append(frame, make([]byte, pad)...)
	}
	return frame
}

// tunnelAnswer reads an inner frame that answers a TunnelProbe.
func tunnelAnswer(frame []byte) (h packet.IPv4, from model.MAC, n Nonce, ok bool) {
	e, ip, err := packet.ParseEthernet(frame)
	if err != nil || !packet.AnswersProbe(ip) {
		return h, from, n, false
	}
	h, body, err := packet.ParseIPv4(ip)
	if err != nil || packet.Checksum(body, 0) != 0 {
		return h, from, n, false
	}
	m, payload, err := packet.ParseICMP(body)
	if err != nil || m.Type != packet.ICMPEchoReply || len(payload) != len(n) {
		return h, from, n, false
	}
	return h, e.Src, Nonce(payload), true
}

// EchoRequest is an IPv4 packet of size bytes that asks the VTEP itself, DF set.
func EchoRequest(k Key, size int, id uint16, n Nonce) []byte {
	h := packet.IPv4{DF: true, TTL: 64, Protocol: packet.ProtoICMP, Src: k.Local, Dst: k.Remote}
	payload := make([]byte, max(size-packet.IPv4Len-packet.ICMPLen, len(n)))
	copy(payload, n[:])
	m := packet.ICMP{Type: packet.ICMPEchoRequest, Rest: uint32(id) << 16}
	return m.Append(h.Append(make([]byte, 0, size), packet.ICMPLen+len(payload)), payload)
}

// echoAnswer reads a packet that answers an EchoRequest.
func echoAnswer(ip []byte, id uint16) (h packet.IPv4, n Nonce, ok bool) {
	h, body, err := packet.ParseIPv4(ip)
	if err != nil || h.Protocol != packet.ProtoICMP || packet.Checksum(body, 0) != 0 {
		return h, n, false
	}
	m, payload, err := packet.ParseICMP(body)
	if err != nil || m.Type != packet.ICMPEchoReply || uint16(m.Rest>>16) != id || len(payload) < len(n) {
		return h, n, false
	}
	return h, Nonce(payload[:len(n)]), true
}
