package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Kinds of frames on the slow path's tap device: enum slow_kind of the programs.
const (
	SlowICMP     = 1
	SlowFragment = 2
	SlowRoute    = 3
	SlowBridge   = 4
	SlowProbe    = 5
	SlowARP      = 6
)

// SlowHeaderLen is sizeof(struct slow_header).
const SlowHeaderLen = 32

// SlowHeader is struct slow_header of the programs, which stands between the Ethernet
// header and what follows.
type SlowHeader struct {
	Kind     uint8
	Reason   uint8
	ICMPType uint8
	ICMPCode uint8
	Router   uint32
	Net      uint32
	MTU      uint32
	Src      netip.Addr // unmapped
}

// ParseSlowHeader reads the header behind the Ethernet header.
func ParseSlowHeader(b []byte) (SlowHeader, error) {
	if len(b) < SlowHeaderLen {
		return SlowHeader{}, fmt.Errorf("slow path's header: %w", ErrShort)
	}
	return SlowHeader{
		Kind: b[0], Reason: b[1], ICMPType: b[2], ICMPCode: b[3],
		Router: binary.NativeEndian.Uint32(b[4:]),
		Net:    binary.NativeEndian.Uint32(b[8:]),
		MTU:    binary.NativeEndian.Uint32(b[12:]),
		Src:    netip.AddrFrom16([16]byte(b[16:32])).Unmap(),
	}, nil
}

// Append writes the header behind b.
func (h SlowHeader) Append(b []byte) []byte {
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
