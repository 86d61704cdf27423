package model

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// AllowedPair is a further sender that a port with port security may be: these
// addresses from this MAC.
type AllowedPair struct {
	Addresses AddressRange `json:"ip_address"`
	// MAC is zero where the pair goes with the port's own, whatever that is.
	MAC NamedMAC `json:"mac_address,omitzero"`
}

// AddressRange is one address or a prefix, and which of the two it was given as.
type AddressRange struct {
	Prefix netip.Prefix // masked
	Plain  bool         // given as an address
}

// ParseAddressRange reads an address or a prefix. An IPv4 address in IPv6's form is
// the IPv4 address.
func ParseAddressRange(s string) (AddressRange, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return AddressRange{}, fmt.Errorf("%q is no prefix", s)
		}
		if p != p.Masked() {
			return AddressRange{}, fmt.Errorf("prefix %q has host bits", s)
		}
		if p.Addr().Is4In6() {
			return AddressRange{}, fmt.Errorf("%q is an IPv4 prefix in IPv6's form", s)
		}
		return AddressRange{Prefix: p}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return AddressRange{}, fmt.Errorf("%q is no address", s)
	}
	a = a.Unmap()
	return AddressRange{Prefix: netip.PrefixFrom(a, a.BitLen()), Plain: true}, nil
}

// String is what it was given as.
func (r AddressRange) String() string {
	if r.Plain {
		return r.Prefix.Addr().String()
	}
	return r.Prefix.String()
}

// MarshalJSON writes what it was given as.
func (r AddressRange) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (r *AddressRange) UnmarshalJSON(b []byte) error {
	var s string
	err := json.Unmarshal(b, &s)
	if err == nil {
		*r, err = ParseAddressRange(s)
	}
	return err
}

// PairMAC is the MAC that a pair of the port goes with.
func (p *Port) PairMAC(a AllowedPair) NamedMAC {
	if a.MAC.IsZero() {
		return p.MAC
	}
	return a.MAC
}
