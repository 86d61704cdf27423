package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
)

// ARPLen is the length of ARP for Ethernet and IPv4 (RFC 826).
const ARPLen = 28

// The ARP operations.
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

// ErrNotARP says that an ARP packet is not about Ethernet and IPv4.
var ErrNotARP = errors.New("not ARP for Ethernet and IPv4")

// ARP is an ARP packet for Ethernet and IPv4.
type ARP struct {
	Op        uint16
	SenderMAC model.MAC
	SenderIP  netip.Addr
	TargetMAC model.MAC
	TargetIP  netip.Addr
}

// ParseARP reads what follows an Ethernet header of type ARP.
func ParseARP(b []byte) (ARP, error) {
	var a ARP
	if len(b) < ARPLen {
		return a, fmt.Errorf("ARP packet: %w", ErrShort)
	}
	if binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != uint16(TypeIPv4) || b[4] != 6 || b[5] != 4 {
		return a, ErrNotARP
	}
	a.Op = binary.BigEndian.Uint16(b[6:])
	a.SenderMAC, a.TargetMAC = model.MAC(b[8:14]), model.MAC(b[18:24])
	a.SenderIP, a.TargetIP = netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	return a, nil
}

// Append writes the packet behind b. Both addresses must be IPv4.
func (a ARP) Append(b []byte) []byte {
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, a.Op)
	b = append(b, a.SenderMAC[:]...)
	s, t := a.SenderIP.As4(), a.TargetIP.As4()
	b = append(b, s[:]...)
	b = append(b, a.TargetMAC[:]...)
	return append(b, t[:]...)
}

// BuildARPRequest is the whole broadcast frame that asks for target.
func BuildARPRequest(mac model.MAC, ip, target netip.Addr) []byte {
	f := Ethernet{Dst: Broadcast, Src: mac, Type: TypeARP}.Append(make([]byte, 0, EthernetLen+ARPLen))
	return ARP{Op: ARPRequest, SenderMAC: mac, SenderIP: ip, TargetIP: target}.Append(f)
}
