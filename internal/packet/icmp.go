package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
)

// ICMPLen is the length of the part of the header that all ICMP messages have.
const ICMPLen = 8

// The ICMP types and codes that are used here (RFC 792, RFC 1191).
const (
	ICMPEchoReply    uint8 = 0
	ICMPUnreachable  uint8 = 3
	ICMPEchoRequest  uint8 = 8
	ICMPTimeExceeded uint8 = 11

	ICMPNetUnreachable      uint8 = 0
	ICMPHostUnreachable     uint8 = 1
	ICMPProtocolUnreachable uint8 = 2
	ICMPPortUnreachable     uint8 = 3
	ICMPFragmentationNeeded uint8 = 4
)

// MaxICMPQuote is how many bytes of the original an ICMP error carries: it must
// not exceed 576 bytes (RFC 1812 §4.3.2.3).
const MaxICMPQuote = 576 - IPv4Len - ICMPLen

// ErrNoICMPError says that RFC 1812 §4.3.2.7 forbids an error about a packet.
var ErrNoICMPError = errors.New("no ICMP error may be sent about this packet")

// ICMP is the head of an ICMP message; Rest is its second word.
type ICMP struct {
	Type, Code uint8
	Checksum   uint16
	Rest       uint32
}

// ParseICMP reads the head and returns what follows it.
func ParseICMP(b []byte) (ICMP, []byte, error) {
	if len(b) < ICMPLen {
		return ICMP{}, nil, fmt.Errorf("ICMP header: %w", ErrShort)
	}
	return ICMP{b[0], b[1], binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:])}, b[ICMPLen:], nil
}

// Append writes the message behind b with its checksum.
func (m ICMP) Append(b, payload []byte) []byte {
	start := len(b)
	b = append(b, m.Type, m.Code, 0, 0)
	b = binary.BigEndian.AppendUint32(b, m.Rest)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[start+2:], Checksum(b[start:], 0))
	return b
}

// IsICMPError tells whether t is no query or reply: those are echo, router
// discovery aside, timestamp, information and address mask. Unknown types count
// as errors, so that no error answers one.
func IsICMPError(t uint8) bool {
	switch t {
	case 0, 8, 13, 14, 15, 16, 17, 18:
		return false
	}
	return true
}

// MayICMPError tells whether RFC 1812 §4.3.2.7 lets a router send an error about
// the IPv4 packet: nil, or ErrNoICMPError with the reason. Whether the frame was
// a link-layer broadcast is the caller's to know.
func MayICMPError(ip []byte) error {
	h, payload, err := ParseIPv4(ip)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNoICMPError, err)
	case h.Offset != 0:
		return fmt.Errorf("%w: it is not the first fragment", ErrNoICMPError)
	case !model.IsRouted(h.Src):
		return fmt.Errorf("%w: its source %s is no single host", ErrNoICMPError, h.Src)
	case h.Dst.As4()[0] >= 224:
		return fmt.Errorf("%w: its destination %s is a group or all hosts", ErrNoICMPError, h.Dst)
	case h.Protocol == ProtoICMP && (len(payload) < 1 || IsICMPError(payload[0])):
		return fmt.Errorf("%w: it is an ICMP error itself", ErrNoICMPError)
	}
	return nil
}

// ICMPError says which error to send.
type ICMPError struct {
	Type, Code uint8
	MTU        int        // of the next hop, with fragmentation needed (RFC 1191 §4)
	Src        netip.Addr // of the router's interface that the packet came in by
}

// BuildICMPError makes the IPv4 packet with the error about original, an IPv4
// packet that may have been cut short or carry bytes beyond its length. It
// quotes as much of it as fits 576 bytes (RFC 1812 §4.3.2.3) and has precedence 6
// (§4.3.2.5). The packet is atomic: DF set, ID 0 (RFC 6864 §4).
func BuildICMPError(original []byte, e ICMPError) ([]byte, error) {
	if err := MayICMPError(original); err != nil {
		return nil, err
	}
	if !e.Src.Is4() {
		return nil, fmt.Errorf("ICMP error from %s: not an IPv4 address", e.Src)
	}
	h, _, err := ParseIPv4(original)
	if err != nil {
		return nil, err
	}
	quote := original[:min(len(original), h.TotalLen, MaxICMPQuote)]
	m := ICMP{Type: e.Type, Code: e.Code}
	if e.Type == ICMPUnreachable && e.Code == ICMPFragmentationNeeded {
		m.Rest = uint32(min(max(e.MTU, 0), 0xffff))
	}
	out := IPv4{TOS: 0xc0, DF: true, TTL: 64, Protocol: ProtoICMP, Src: e.Src, Dst: h.Src}.
		Append(make([]byte, 0, IPv4Len+ICMPLen+len(quote)), ICMPLen+len(quote))
	return m.Append(out, quote), nil
}

// TurnEchoRound makes the reply of the echo request in the IPv4 packet ip (no
// options, at least 28 bytes): type 0, addresses exchanged, TTL 64; checksums are
// adjusted, not made anew.
func TurnEchoRound(ip []byte) {
	SetTTL(ip, 64)
	var src [4]byte
	copy(src[:], ip[12:16])
	copy(ip[12:16], ip[16:20])
	copy(ip[16:20], src[:])
	icmp := ip[IPv4Len:]
	check := UpdateChecksum(binary.BigEndian.Uint16(icmp[2:]), binary.BigEndian.Uint16(icmp), uint16(icmp[1]))
	icmp[0] = ICMPEchoReply
	binary.BigEndian.PutUint16(icmp[2:], check)
}
