package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrDF says that a packet is too large and must not be cut.
var ErrDF = errors.New("the packet is larger than the MTU and DF is set")

// Fragment cuts the IPv4 packet ip into packets of at most mtu bytes (RFC 791
// §3.2, "An Example Fragmentation Procedure"). A packet that fits comes back as
// it is, less the bytes beyond its total length. A fragment is cut further.
// Options go into every fragment where their copy bit says so, else into the
// first only.
func Fragment(ip []byte, mtu int) ([][]byte, error) {
	h, payload, err := ParseIPv4(ip)
	if err != nil {
		return nil, err
	}
	if len(ip) < h.TotalLen {
		return nil, fmt.Errorf("fragment %d bytes of a packet of %d: %w", len(ip), h.TotalLen, ErrShort)
	}
	if h.TotalLen <= mtu {
		return [][]byte{ip[:h.TotalLen]}, nil
	}
	if h.DF {
		return nil, ErrDF
	}
	if h.Offset+len(payload) > 0xffff {
		return nil, fmt.Errorf("fragment that reaches beyond 65535 bytes: %w", ErrMalformed)
	}
	if room := (mtu - h.HeaderLen()) / 8 * 8; room < 8 {
		return nil, fmt.Errorf("fragment for an MTU of %d: no room for 8 bytes behind the header", mtu)
	}
	var out [][]byte
	more, first := h.MF, true
	for len(payload) > 0 {
		hdr := h
		hdr.TotalLen = 0
		if !first {
			hdr.Options = copiedOptions(h.Options)
		}
		n := len(payload)
		if hdr.HeaderLen()+n > mtu {
			n = (mtu - hdr.HeaderLen()) / 8 * 8
		}
		hdr.MF = more || n < len(payload)
		b := hdr.Append(make([]byte, 0, hdr.HeaderLen()+n), n)
		out = append(out, append(b, payload[:n]...))
		payload, first = payload[n:], false
		h.Offset += n
	}
	return out, nil
}

// copiedOptions are the options with the copy bit, padded to 4 bytes. A list that
// ends within an option is cut there.
func copiedOptions(o []byte) []byte {
	var out []byte
	for len(o) > 0 && o[0] != 0 { // 0: end of list
		n := 1
		if o[0] != 1 { // 1: no operation, a single byte
			if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
				break
			}
			n = int(o[1])
		}
		if o[0]&0x80 != 0 {
			out = append(out, o[:n]...)
		}
		o = o[n:]
	}
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	return out
}

// FragmentOffset reads the offset in bytes and the MF bit of the header at ip, at
// least 20 bytes.
func FragmentOffset(ip []byte) (offset int, more bool) {
	f := binary.BigEndian.Uint16(ip[6:])
	return int(f&0x1fff) * 8, f&0x2000 != 0
}
