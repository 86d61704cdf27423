// Package slowpath does what the eBPF programs leave to user space: ICMP errors
// (RFC 1812 §4.3), the fragments of packets that are too big and may be cut, and the
// frames for routers' ARP requests. Packets come and go by a
// tap device, with a small header between Ethernet and IP header
// (struct slow_header of dataplane/bpf/types.h); the programs take what is written
// through the whole pipeline again, so nothing here decides where a packet goes.
// Routers' probes (package probe) leave and come back by the same device.
//
// The work is bounded thrice: each router's allowance of punts and the tap's queue,
// both in the kernel, and the limits of a Server over all of them.
package slowpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/packet"
)

// Kinds of frames on the tap device: enum slow_kind.
const (
	KindICMP     = 1
	KindFragment = 2
	KindRoute    = 3
	KindBridge   = 4
	KindProbe    = 5
	KindARP      = 6
)

// HeaderLen is sizeof(struct slow_header).
const HeaderLen = 32

// Header is struct slow_header.
type Header struct {
	Kind     uint8
	Reason   uint8
	ICMPType uint8
	ICMPCode uint8
	Router   uint32
	Net      uint32
	MTU      uint32
	Src      netip.Addr // unmapped
}

// Limits of what a frame can be.
const (
	minFrame = packet.EthernetLen + HeaderLen + packet.IPv4Len
	// maxFragments: 65535 bytes for an MTU of 576; no network here has a smaller
	// one, and whoever claims so is not obeyed.
	maxFragments = 128
)

// ErrFrame says that a frame is none that the programs make.
var ErrFrame = errors.New("not a frame of the slow path")

// ParseHeader reads the header behind the Ethernet header.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, ErrFrame
	}
	return Header{
		Kind: b[0], Reason: b[1], ICMPType: b[2], ICMPCode: b[3],
		Router: binary.NativeEndian.Uint32(b[4:]),
		Net:    binary.NativeEndian.Uint32(b[8:]),
		MTU:    binary.NativeEndian.Uint32(b[12:]),
		Src:    netip.AddrFrom16([16]byte(b[16:32])).Unmap(),
	}, nil
}

// Append writes the header behind b.
func (h Header) Append(b []byte) []byte {
	b = append(b, h.Kind, h.Reason, h.ICMPType, h.ICMPCode)
	b = binary.NativeEndian.AppendUint32(b, h.Router)
	b = binary.NativeEndian.AppendUint32(b, h.Net)
	b = binary.NativeEndian.AppendUint32(b, h.MTU)
	if !h.Src.IsValid() {
		return append(b, make([]byte, 16)...)
	}
	a := h.Src.As16()
	return append(b, a[:]...)
}

// Handle works out what goes back for one frame from the tap. It calls emit for each frame;
// emit must not keep it. An error means that nothing comes of the frame: one
// that wraps packet.ErrNoICMPError or packet.ErrDF is a rule that forbids it.
// Handle is pure but for emit, and takes any bytes.
func Handle(frame []byte, emit func([]byte) error) error {
	if len(frame) < minFrame {
		return ErrFrame
	}
	if packet.EtherType(binary.BigEndian.Uint16(frame[12:])) != packet.TypeIPv4 {
		return ErrFrame
	}
	h, err := ParseHeader(frame[packet.EthernetLen:])
	if err != nil {
		return err
	}
	ip := frame[packet.EthernetLen+HeaderLen:]
	switch h.Kind {
	case KindICMP:
		return icmpError(frame, h, ip, emit)
	case KindFragment:
		return fragments(frame, h, ip, emit)
	case KindARP:
		return arpRequest(frame, h, emit)
	}
	return ErrFrame
}

// RouteFrame is the frame by which router makes the IPv4 packet ip.
func RouteFrame(router uint32, ip []byte) []byte {
	out := make([]byte, 12, packet.EthernetLen+HeaderLen+len(ip)) // the router writes the addresses
	out = binary.BigEndian.AppendUint16(out, uint16(packet.TypeIPv4))
	return append(Header{Kind: KindRoute, Router: router}.Append(out), ip...)
}

// arpRequest gives the programs a frame to make an ARP request of: one of no more than
// that, and without what the kernel still has to do to the packet that asked for it. An
// EtherType of IP lets them take the header out again.
func arpRequest(frame []byte, h Header, emit func([]byte) error) error {
	if h.Net == 0 || !h.Src.Is4() {
		return ErrFrame
	}
	out := make([]byte, 0, packet.EthernetLen+HeaderLen+packet.ARPLen)
	out = append(out, packet.Broadcast[:]...)
	out = append(out, frame[6:12]...)
	out = binary.BigEndian.AppendUint16(out, uint16(packet.TypeIPv4))
	out = Header{Kind: KindARP, Reason: h.Reason, Router: h.Router, Net: h.Net, Src: h.Src}.Append(out)
	return emit(append(out, make([]byte, packet.ARPLen)...))
}

func icmpError(frame []byte, h Header, ip []byte, emit func([]byte) error) error {
	// A link-layer broadcast gets no answer (RFC 1812 §4.3.2.7). A group MAC
	// alone is no sign of one: ports may have such addresses.
	if [6]byte(frame[:6]) == packet.Broadcast {
		return fmt.Errorf("%w: it came as a broadcast", packet.ErrNoICMPError)
	}
	if h.Router == 0 {
		return ErrFrame
	}
	e, err := packet.BuildICMPError(ip, packet.ICMPError{Type: h.ICMPType, Code: h.ICMPCode, MTU: int(h.MTU), Src: h.Src})
	if err != nil {
		return err
	}
	out := make([]byte, 0, packet.EthernetLen+HeaderLen+len(e))
	out = append(out, make([]byte, 12)...) // the router writes the addresses
	out = binary.BigEndian.AppendUint16(out, uint16(packet.TypeIPv4))
	out = Header{Kind: KindRoute, Reason: h.Reason, Router: h.Router}.Append(out)
	return emit(append(out, e...))
}

func fragments(frame []byte, h Header, ip []byte, emit func([]byte) error) error {
	fs, err := fragment(ip, h.MTU)
	if err != nil {
		return err
	}
	out := make([]byte, 0, packet.EthernetLen+HeaderLen+int(min(h.MTU, 65535)))
	out = append(out, frame[:packet.EthernetLen]...)
	out = Header{Kind: KindBridge, Net: h.Net}.Append(out)
	for _, f := range fs {
		if err := emit(append(out, f...)); err != nil {
			return err
		}
	}
	return nil
}

func fragment(ip []byte, mtu uint32) ([][]byte, error) {
	if mtu < 68 || mtu > 65535 || len(ip)/int(mtu) > maxFragments { // RFC 791: 68 always passes
		return nil, fmt.Errorf("%w: %d bytes for an MTU of %d", ErrFrame, len(ip), mtu)
	}
	return packet.Fragment(ip, int(mtu))
}
