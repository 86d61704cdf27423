package packet

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
)

// VXLAN numbers (RFC 7348 §5).
const (
	VXLANLen      = 8
	VXLANPort     = 4789
	VXLANFlagI    = 0x08 // the VNI is valid
	VXLANOverhead = IPv4Len + UDPLen + VXLANLen + EthernetLen
)

// OverheadTo is how many bytes a tunnel to remote adds to an inner IP packet: the outer headers by
// their family, and the inner Ethernet header.
func OverheadTo(remote netip.Addr) int {
	if remote.Is6() && !remote.Is4In6() {
		return IPv6Len + UDPLen + VXLANLen + EthernetLen
	}
	return VXLANOverhead
}

// VXLAN is a VXLAN header.
type VXLAN struct {
	Flags uint8
	VNI   model.VNI
}

// ParseVXLAN reads the header and returns the inner frame.
func ParseVXLAN(b []byte) (VXLAN, []byte, error) {
	if len(b) < VXLANLen {
		return VXLAN{}, nil, fmt.Errorf("VXLAN header: %w", ErrShort)
	}
	return VXLAN{b[0], model.VNI(binary.BigEndian.Uint32(b[4:]) >> 8)}, b[VXLANLen:], nil
}

// Append writes the header behind b; reserved bits are 0.
func (v VXLAN) Append(b []byte) []byte {
	b = append(b, v.Flags, 0, 0, 0)
	return binary.BigEndian.AppendUint32(b, uint32(v.VNI)<<8)
}

// Outer is what varies in the outer headers.
type Outer struct {
	Dst, Src      model.MAC // Ethernet
	Local, Remote netip.Addr
	TOS           uint8
	SrcPort       uint16
	DstPort       uint16 // 0: VXLANPort
	VNI           model.VNI
}

// Encapsulate writes the outer headers and frame behind b: DF, ID 0, TTL 64, no
// UDP checksum.
func Encapsulate(b []byte, o Outer, frame []byte) []byte {
	start := len(b) + EthernetLen
	b = Ethernet{o.Dst, o.Src, TypeIPv4}.Append(b)
	b = IPv4{TOS: o.TOS, DF: true, TTL: 64, Protocol: ProtoUDP, Src: o.Local, Dst: o.Remote}.
		Append(b, UDPLen+VXLANLen+len(frame))
	b = binary.BigEndian.AppendUint16(b, o.SrcPort)
	b = binary.BigEndian.AppendUint16(b, cmp.Or(o.DstPort, VXLANPort))
	b = binary.BigEndian.AppendUint16(b, uint16(UDPLen+VXLANLen+len(frame)))
	b = append(b, 0, 0)
	if n := IPv4Len + UDPLen + VXLANLen + len(frame); n > 0xffff {
		// Only a GSO frame is that long: no length at all is its sign.
		ip := b[start:]
		ip[2], ip[3], ip[10], ip[11], ip[24], ip[25] = 0, 0, 0, 0, 0, 0
		binary.BigEndian.PutUint16(ip[10:], Checksum(ip[:IPv4Len], 0))
	}
	b = VXLAN{VXLANFlagI, o.VNI}.Append(b)
	return append(b, frame...)
}

// Encapsulated is what Decapsulate found.
type Encapsulated struct {
	Ethernet Ethernet
	IP       IPv4
	UDP      UDP
	VXLAN    VXLAN
	Inner    []byte // the inner frame; a view
}

// Decapsulate reads a VXLAN packet of any source, or says why frame is none. It
// does not check the I bit.
func Decapsulate(frame []byte) (Encapsulated, error) {
	var e Encapsulated
	var b []byte
	var err error
	if e.Ethernet, b, err = ParseEthernet(frame); err != nil {
		return e, err
	}
	if e.Ethernet.Type != TypeIPv4 {
		return e, fmt.Errorf("outer EtherType %s: %w", e.Ethernet.Type, ErrMalformed)
	}
	if e.IP, b, err = ParseIPv4(b); err != nil {
		return e, err
	}
	if e.IP.Protocol != ProtoUDP || e.IP.IsFragment() {
		return e, fmt.Errorf("outer packet is not whole UDP: %w", ErrMalformed)
	}
	if e.UDP, b, err = ParseUDP(b); err != nil {
		return e, err
	}
	if e.UDP.Dst != VXLANPort {
		return e, fmt.Errorf("UDP port %d is not VXLAN: %w", e.UDP.Dst, ErrMalformed)
	}
	e.VXLAN, e.Inner, err = ParseVXLAN(b)
	return e, err
}
