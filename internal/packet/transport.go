package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Lengths of the headers without options.
const (
	UDPLen = 8
	TCPLen = 20
)

// UDP is a UDP header (RFC 768).
type UDP struct {
	Src, Dst uint16
	Length   int
	Checksum uint16
}

// ParseUDP reads a header and returns the payload as far as both the length
// field and the bytes there reach.
func ParseUDP(b []byte) (UDP, []byte, error) {
	var u UDP
	if len(b) < UDPLen {
		return u, nil, fmt.Errorf("UDP header: %w", ErrShort)
	}
	u.Src, u.Dst = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	u.Length, u.Checksum = int(binary.BigEndian.Uint16(b[4:])), binary.BigEndian.Uint16(b[6:])
	if u.Length < UDPLen {
		return u, nil, fmt.Errorf("UDP header: %w", ErrMalformed)
	}
	return u, b[UDPLen:min(u.Length, len(b))], nil
}

// Append writes header and payload behind b. The checksum is computed for src and
// dst; invalid addresses leave it 0, which for IPv4 means none.
func (u UDP) Append(b []byte, src, dst netip.Addr, payload []byte) []byte {
	start, n := len(b), UDPLen+len(payload)
	b = binary.BigEndian.AppendUint16(b, u.Src)
	b = binary.BigEndian.AppendUint16(b, u.Dst)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(append(b, 0, 0), payload...)
	if src.IsValid() && dst.IsValid() {
		c := Checksum(b[start:], PseudoSum(src, dst, ProtoUDP, n))
		if c == 0 {
			c = 0xffff // RFC 768: 0 would mean "no checksum"
		}
		binary.BigEndian.PutUint16(b[start+6:], c)
	}
	return b
}

// TCP is a TCP header (RFC 9293 §3.1).
type TCP struct {
	Src, Dst uint16
	Seq, Ack uint32
	Flags    uint8 // FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128
	Window   uint16
	Checksum uint16
	Urgent   uint16
	Options  []byte // a view of the packet
}

// The TCP flags that are used here.
const (
	TCPSyn uint8 = 2
	TCPAck uint8 = 16
)

// ParseTCP reads a header and returns the payload.
func ParseTCP(b []byte) (TCP, []byte, error) {
	var t TCP
	if len(b) < TCPLen {
		return t, nil, fmt.Errorf("TCP header: %w", ErrShort)
	}
	t.Src, t.Dst = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	t.Seq, t.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	off := int(b[12]>>4) * 4
	t.Flags, t.Window = b[13], binary.BigEndian.Uint16(b[14:])
	t.Checksum, t.Urgent = binary.BigEndian.Uint16(b[16:]), binary.BigEndian.Uint16(b[18:])
	if off < TCPLen {
		return t, nil, fmt.Errorf("TCP header: %w", ErrMalformed)
	}
	if off > len(b) {
		return t, nil, fmt.Errorf("TCP options: %w", ErrShort)
	}
	t.Options = b[TCPLen:off]
	return t, b[off:], nil
}

// Append writes header and payload behind b with the checksum for src and dst.
// Options must be a multiple of 4 bytes.
func (t TCP) Append(b []byte, src, dst netip.Addr, payload []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, t.Src)
	b = binary.BigEndian.AppendUint16(b, t.Dst)
	b = binary.BigEndian.AppendUint32(b, t.Seq)
	b = binary.BigEndian.AppendUint32(b, t.Ack)
	b = append(b, uint8((TCPLen+len(t.Options))/4)<<4, t.Flags)
	b = binary.BigEndian.AppendUint16(b, t.Window)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, t.Urgent)
	b = append(append(b, t.Options...), payload...)
	n := len(b) - start
	binary.BigEndian.PutUint16(b[start+16:], Checksum(b[start:], PseudoSum(src, dst, ProtoTCP, n)))
	return b
}
