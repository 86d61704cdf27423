package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
)

// Protocol is an IP protocol number.
type Protocol uint8

const (
	ProtoICMP   Protocol = 1
	ProtoTCP    Protocol = 6
	ProtoUDP    Protocol = 17
	ProtoICMPv6 Protocol = 58
	ProtoSCTP   Protocol = 132
)

// Extension headers of IPv6 (RFC 8200 §4), as protocols.
const (
	ProtoHopByHop    Protocol = 0
	ProtoRouting     Protocol = 43
	ProtoFragment    Protocol = 44
	ProtoAH          Protocol = 51
	ProtoDestination Protocol = 60
)

// String is the protocol's name, or the number.
func (p Protocol) String() string {
	switch p {
	case ProtoICMP:
		return "ICMP"
	case ProtoTCP:
		return "TCP"
	case ProtoUDP:
		return "UDP"
	case ProtoICMPv6:
		return "ICMPv6"
	case ProtoSCTP:
		return "SCTP"
	}
	return fmt.Sprint(uint8(p))
}

// Lengths of the fixed headers.
const (
	IPv4Len = 20
	IPv6Len = 40
)

// ErrMalformed says that a header contradicts itself or the bytes there are.
var ErrMalformed = errors.New("malformed")

// IPv4 is an IPv4 header (RFC 791).
type IPv4 struct {
	TOS      uint8
	TotalLen int // filled by Append from the payload's length where it is 0
	ID       uint16
	DF, MF   bool
	Offset   int // of this fragment, bytes
	TTL      uint8
	Protocol Protocol
	Checksum uint16 // as read; Append computes it
	Src, Dst netip.Addr
	Options  []byte // a multiple of 4 bytes; a view of the packet
}

// ParseIPv4 reads a header and returns the payload as far as both the total
// length and the bytes there reach. The checksum is read, not checked: see
// ValidIPv4Checksum.
func ParseIPv4(b []byte) (IPv4, []byte, error) {
	var h IPv4
	if len(b) < IPv4Len {
		return h, nil, fmt.Errorf("IPv4 header: %w", ErrShort)
	}
	ihl := int(b[0]&15) * 4
	h.TotalLen = int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || ihl < IPv4Len || h.TotalLen < ihl {
		return h, nil, fmt.Errorf("IPv4 header: %w", ErrMalformed)
	}
	if len(b) < ihl {
		return h, nil, fmt.Errorf("IPv4 options: %w", ErrShort)
	}
	h.TOS, h.ID = b[1], binary.BigEndian.Uint16(b[4:])
	frag := binary.BigEndian.Uint16(b[6:])
	h.DF, h.MF, h.Offset = frag&0x4000 != 0, frag&0x2000 != 0, int(frag&0x1fff)*8
	h.TTL, h.Protocol, h.Checksum = b[8], Protocol(b[9]), binary.BigEndian.Uint16(b[10:])
	h.Src, h.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	h.Options = b[IPv4Len:ihl]
	return h, b[ihl:min(h.TotalLen, len(b))], nil
}

// HeaderLen is the header's length in bytes, options included.
func (h IPv4) HeaderLen() int { return IPv4Len + len(h.Options) }

// IsFragment tells whether the packet is a part of another.
func (h IPv4) IsFragment() bool { return h.MF || h.Offset != 0 }

// Append writes the header behind b with its checksum; payloadLen counts where
// TotalLen is 0. Both addresses must be IPv4.
func (h IPv4) Append(b []byte, payloadLen int) []byte {
	start := len(b)
	total := h.TotalLen
	if total == 0 {
		total = h.HeaderLen() + payloadLen
	}
	frag := uint16(h.Offset / 8)
	if h.DF {
		frag |= 0x4000
	}
	if h.MF {
		frag |= 0x2000
	}
	b = append(b, 0x40|uint8(h.HeaderLen()/4), h.TOS)
	b = binary.BigEndian.AppendUint16(b, uint16(total))
	b = binary.BigEndian.AppendUint16(b, h.ID)
	b = binary.BigEndian.AppendUint16(b, frag)
	b = append(b, h.TTL, uint8(h.Protocol), 0, 0)
	s, d := h.Src.As4(), h.Dst.As4()
	b = append(b, s[:]...)
	b = append(b, d[:]...)
	b = append(b, h.Options...)
	binary.BigEndian.PutUint16(b[start+10:], Checksum(b[start:], 0))
	return b
}

// ValidIPv4Checksum tells whether the header at b (at least as long as its own
// length field says, else false) has the right checksum.
func ValidIPv4Checksum(b []byte) bool {
	if len(b) < IPv4Len {
		return false
	}
	ihl := int(b[0]&15) * 4
	return ihl >= IPv4Len && len(b) >= ihl && Checksum(b[:ihl], 0) == 0
}

// SetTTL changes the TTL of the IPv4 header at b, at least 20 bytes, and adjusts
// its checksum.
func SetTTL(b []byte, ttl uint8) {
	from := binary.BigEndian.Uint16(b[8:])
	b[8] = ttl
	check := UpdateChecksum(binary.BigEndian.Uint16(b[10:]), from, binary.BigEndian.Uint16(b[8:]))
	binary.BigEndian.PutUint16(b[10:], check)
}

// IPv6 is the fixed IPv6 header (RFC 8200).
type IPv6 struct {
	TrafficClass uint8
	FlowLabel    uint32
	PayloadLen   int
	NextHeader   Protocol
	HopLimit     uint8
	Src, Dst     netip.Addr
}

// ParseIPv6 reads the fixed header and returns what follows it, as far as both
// the payload length and the bytes there reach.
func ParseIPv6(b []byte) (IPv6, []byte, error) {
	var h IPv6
	if len(b) < IPv6Len {
		return h, nil, fmt.Errorf("IPv6 header: %w", ErrShort)
	}
	if b[0]>>4 != 6 {
		return h, nil, fmt.Errorf("IPv6 header: %w", ErrMalformed)
	}
	w := binary.BigEndian.Uint32(b)
	h.TrafficClass, h.FlowLabel = uint8(w>>20), w&0xfffff
	h.PayloadLen = int(binary.BigEndian.Uint16(b[4:]))
	h.NextHeader, h.HopLimit = Protocol(b[6]), b[7]
	h.Src, h.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	return h, b[IPv6Len:min(IPv6Len+h.PayloadLen, len(b))], nil
}

// Append writes the header behind b. Both addresses must be IPv6.
func (h IPv6) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, 6<<28|uint32(h.TrafficClass)<<20|h.FlowLabel&0xfffff)
	b = binary.BigEndian.AppendUint16(b, uint16(h.PayloadLen))
	b = append(b, uint8(h.NextHeader), h.HopLimit)
	s, d := h.Src.As16(), h.Dst.As16()
	b = append(b, s[:]...)
	return append(b, d[:]...)
}

// Martian tells whether an IPv4 packet from src or to dst may not be forwarded
// by a router, as the pipeline decides it; see model.IsRouted.
func Martian(src, dst netip.Addr) bool { return !model.IsRouted(src) || !model.IsRouted(dst) }
