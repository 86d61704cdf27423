package packet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/causeway-net/causeway/internal/model"
)

// ErrShort says that the bytes end before the header does.
var ErrShort = errors.New("cut short")

// EtherType is an Ethernet frame's type field (IEEE 802 numbers).
type EtherType uint16

const (
	TypeIPv4  EtherType = 0x0800
	TypeARP   EtherType = 0x0806
	TypeVLAN  EtherType = 0x8100 // 802.1Q
	TypeIPv6  EtherType = 0x86dd
	TypeSVLAN EtherType = 0x88a8 // 802.1ad
)

// EthernetLen is the length of an untagged Ethernet header.
const EthernetLen = 14

// Broadcast is the Ethernet broadcast address.
var Broadcast = model.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Ethernet is an Ethernet header.
type Ethernet struct {
	Dst, Src model.MAC
	Type     EtherType
}

// ParseEthernet reads the header of frame and returns what follows it.
func ParseEthernet(frame []byte) (Ethernet, []byte, error) {
	var e Ethernet
	if len(frame) < EthernetLen {
		return e, nil, fmt.Errorf("ethernet header: %w", ErrShort)
	}
	e.Dst, e.Src = model.MAC(frame[0:6]), model.MAC(frame[6:12])
	e.Type = EtherType(binary.BigEndian.Uint16(frame[12:]))
	return e, frame[EthernetLen:], nil
}

// Append writes the header behind b.
func (e Ethernet) Append(b []byte) []byte {
	b = append(b, e.Dst[:]...)
	b = append(b, e.Src[:]...)
	return binary.BigEndian.AppendUint16(b, uint16(e.Type))
}

// IsVLAN tells whether t announces a VLAN tag.
func (t EtherType) IsVLAN() bool { return t == TypeVLAN || t == TypeSVLAN }

// String is the protocol's name, or the number.
func (t EtherType) String() string {
	switch t {
	case TypeIPv4:
		return "IPv4"
	case TypeARP:
		return "ARP"
	case TypeIPv6:
		return "IPv6"
	case TypeVLAN:
		return "802.1Q"
	case TypeSVLAN:
		return "802.1ad"
	}
	return fmt.Sprintf("0x%04x", uint16(t))
}
