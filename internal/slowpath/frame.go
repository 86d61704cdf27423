// Package slowpath does what the eBPF programs leave to user space: ICMP errors
// (RFC 1812 §4.3), the fragments of packets that are too big and may be cut, and the
// frames for routers' ARP requests. Packets come and go by a
// tap device, with a small header between Ethernet and IP header
// (struct slow_header of dataplane/bpf/types.h); the programs take what is written
// through the whole pipeline again, so nothing here decides where a packet goes.
// Routers' probes (package probe) leave and come back by the same device.
//
// The work is bounded four times: the allowances of punts and the tap's queue, both in the
// kernel, the limits of a Server over all of them, and a queue for each purpose.
package slowpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/causeway-net/causeway/internal/packet"
)

// Limits of what a frame can be.
const (
	minFrame = packet.EthernetLen + packet.SlowHeaderLen + packet.IPv4Len
	// maxFragments: 65535 bytes for an MTU of 576; no network here has a smaller
	// one, and whoever claims so is not obeyed.
	maxFragments = 128
)

// ErrFrame says that a frame is none that the programs make.
var ErrFrame = errors.New("not a frame of the slow path")

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
	h, err := packet.ParseSlowHeader(frame[packet.EthernetLen:])
	if err != nil {
		return err
	}
	ip := frame[packet.EthernetLen+packet.SlowHeaderLen:]
	switch h.Kind {
	case packet.SlowICMP:
		return icmpError(frame, h, ip, emit)
	case packet.SlowFragment:
		return fragments(frame, h, ip, emit)
	case packet.SlowARP:
		return arpRequest(frame, h, emit)
	}
	return ErrFrame
}

// RouteFrame is the frame by which router makes the IPv4 packet ip.
func RouteFrame(router uint32, ip []byte) []byte {
	out := make([]byte, 12, packet.EthernetLen+packet.SlowHeaderLen+len(ip)) // the router writes the addresses
	out = binary.BigEndian.AppendUint16(out, uint16(packet.TypeIPv4))
	return append(packet.SlowHeader{Kind: packet.SlowRoute, Router: router}.Append(out), ip...)
}

// arpRequest gives the programs a frame to make an ARP request of: one of no more than
// that, and without what the kernel still has to do to the packet that asked for it. An
// EtherType of IP lets them take the header out again.
func arpRequest(frame []byte, h packet.SlowHeader, emit func([]byte) error) error {
	if h.Net == 0 || !h.Src.Is4() {
		return ErrFrame
	}
	out := make([]byte, 0, packet.EthernetLen+packet.SlowHeaderLen+packet.ARPLen)
	out = append(out, packet.Broadcast[:]...)
	out = append(out, frame[6:12]...)
	out = binary.BigEndian.AppendUint16(out, uint16(packet.TypeIPv4))
	out = packet.SlowHeader{Kind: packet.SlowARP, Reason: h.Reason, Router: h.Router, Net: h.Net, Src: h.Src}.Append(out)
	return emit(append(out, make([]byte, packet.ARPLen)...))
}

func icmpError(frame []byte, h packet.SlowHeader, ip []byte, emit func([]byte) error) error {
	// A link-layer broadcast gets no answer (RFC 1812 §4.3.2.7). A group MAC
	// alone is no sign of one: ports may have such addresses.
	if [6]byte(frame[:6]) == packet.Broadcast {
		return fmt.Errorf("%w: it came as a broadcast", packet.ErrNoICMPError)
	}
	if h.Router == 0 {
		return ErrFrame
	}
	// A TCP packet for segmentation beyond 64 KiB does not say how long it is: what is left
	// of it does.
	if binary.BigEndian.Uint16(ip[2:]) == 0 && packet.Protocol(ip[9]) == packet.ProtoTCP {
		ip = slices.Clone(ip)
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[10:], packet.UpdateChecksum(binary.BigEndian.Uint16(ip[10:]), 0, uint16(len(ip))))
	}
	e, err := packet.BuildICMPError(ip, packet.ICMPError{Type: h.ICMPType, Code: h.ICMPCode, MTU: int(h.MTU), Src: h.Src})
	if err != nil {
		return err
	}
	out := make([]byte, 0, packet.EthernetLen+packet.SlowHeaderLen+len(e))
	out = append(out, make([]byte, 12)...) // the router writes the addresses
	out = binary.BigEndian.AppendUint16(out, uint16(packet.TypeIPv4))
	out = packet.SlowHeader{Kind: packet.SlowRoute, Reason: h.Reason, Router: h.Router}.Append(out)
	return emit(append(out, e...))
}

func fragments(frame []byte, h packet.SlowHeader, ip []byte, emit func([]byte) error) error {
	fs, err := fragment(ip, h.MTU)
	if err != nil {
		return err
	}
	out := make([]byte, 0, packet.EthernetLen+packet.SlowHeaderLen+int(min(h.MTU, 65535)))
	out = append(out, frame[:packet.EthernetLen]...)
	out = packet.SlowHeader{Kind: packet.SlowBridge, Net: h.Net}.Append(out)
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
