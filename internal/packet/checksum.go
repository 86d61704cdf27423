package packet

import (
	"encoding/binary"
	"net/netip"
)

// Checksum is the Internet checksum (RFC 1071) of b, added to the
// uncomplemented sum of what comes before it (0 for none).
func Checksum(b []byte, sum uint32) uint16 { return ^fold(addBytes(b, uint64(sum))) }

// addBytes adds b as big-endian 16-bit words. 64 bits cannot overflow for any
// packet: 2³² words fit.
func addBytes(b []byte, sum uint64) uint64 {
	for len(b) >= 8 {
		w := binary.BigEndian.Uint64(b)
		sum += w>>48 + w>>32&0xffff + w>>16&0xffff + w&0xffff
		b = b[8:]
	}
	for len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// UpdateChecksum is the checksum after a 16-bit word of what it covers has
// changed: RFC 1624 equation 3.
func UpdateChecksum(check, from, to uint16) uint16 {
	return ^fold(uint64(^check) + uint64(^from) + uint64(to))
}

// PseudoSum is the uncomplemented sum of the pseudo header of UDP, TCP (RFC 768,
// RFC 9293 §3.1) or, for IPv6, of any upper layer (RFC 8200 §8.1).
func PseudoSum(src, dst netip.Addr, proto Protocol, length int) uint32 {
	s := addBytes(src.AsSlice(), 0) + uint64(proto) + uint64(length)>>16 + uint64(length)&0xffff
	return uint32(addBytes(dst.AsSlice(), s))
}
