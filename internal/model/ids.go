package model

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The identifiers of resources: UUIDs in their canonical lower-case text form.
type (
	NetworkID             string
	SubnetID              string
	PortID                string
	RouterID              string
	GatewayDeviceID       string
	RemoteMACEntryID      string
	L2GatewayID           string
	L2GatewayConnectionID string
	RBACPolicyID          string
	SubnetPoolID          string
	AddressScopeID        string
	// ProjectID is the owner as the client sent it; Neutron takes any text.
	ProjectID string
	// HostName names a host of the site, as in binding:host_id.
	HostName string
	// AgentID names the agent of a host.
	AgentID string
)

// Keys are the small integers that stand for a resource in the dataplane. A key
// never changes during its resource's life and is not given to another one
// before every host has acknowledged that the first is gone. 0 is no key.
type (
	NetworkKey uint32 // 1 … 2^24−1
	PortKey    uint32 // 1 … 2^24−1
	RouterKey  uint32 // 1 … 2^24−1
)

// MaxKey is the largest key of any kind: 24 bits, so that a network's key can be
// the VNI of the site's own fabric.
const MaxKey = 1<<24 - 1

// VNI is a VXLAN network identifier (RFC 7348 §5), 1 … MaxVNI; 0 is none.
type VNI uint32

// MaxVNI is the largest VNI.
const MaxVNI = 1<<24 - 1

// MaxVLAN is the largest VLAN of IEEE 802.1Q; 4095 is reserved and 0 is none.
const MaxVLAN = 4094

// MAC is an Ethernet address.
type MAC [6]byte

// ParseMAC reads what Neutron takes for a MAC address, in either case: six octets of one
// or two digits with colons or hyphens, three words of up to four digits with colons,
// hyphens or dots (aabb.ccdd.eeff), two of five or six with colons or hyphens, or eleven
// or twelve digits alone.
func ParseMAC(s string) (MAC, error) {
	wrong := func() (MAC, error) { return MAC{}, fmt.Errorf("'%s' is not a valid MAC address", s) }
	words := []string{s}
	if i := strings.IndexAny(s, ":-."); i >= 0 {
		words = strings.Split(s, s[i:i+1])
	}
	least, most := 1, 12/len(words) // digits of a word
	switch len(words) {
	case 1:
		least = 11
	case 2:
		least = 5
	case 3, 6:
	default:
		return wrong()
	}
	if len(words) != 3 && strings.Contains(s, ".") {
		return wrong()
	}
	var n uint64
	for _, w := range words {
		if len(w) < least || len(w) > most {
			return wrong()
		}
		for i := range len(w) {
			if _, ok := hexDigit(w[i]); !ok {
				return wrong() // ParseUint takes a sign
			}
		}
		x, err := strconv.ParseUint(w, 16, 64)
		if err != nil {
			return wrong()
		}
		n = n<<(4*most) | x
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return MAC(b[2:]), nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// MustMAC is ParseMAC for constants; it panics on bad text.
func MustMAC(s string) MAC {
	m, err := ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// String writes lower case with colons.
func (m MAC) String() string {
	const digits = "0123456789abcdef"
	var b [17]byte
	for i, x := range m {
		if i > 0 {
			b[3*i-1] = ':'
		}
		b[3*i], b[3*i+1] = digits[x>>4], digits[x&15]
	}
	return string(b[:])
}

// IsGroup tells whether the group bit is set (IEEE 802.3 §3.2.3).
func (m MAC) IsGroup() bool { return m[0]&1 != 0 }

// IsZero tells whether all bits are zero.
func (m MAC) IsZero() bool { return m == MAC{} }

// MarshalText writes the canonical form.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMAC reads.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMAC(string(b))
	return err
}

// NamedMAC is a MAC together with the text in which a client gave it: replies
// echo the text, comparisons use the MAC.
type NamedMAC struct {
	MAC
	Text string // "" where it is the canonical form
}

// ParseNamedMAC keeps s as the text, where it has six octets of two digits and is not
// the canonical form anyway. Other forms are read as that, as by Neutron.
func ParseNamedMAC(s string) (NamedMAC, error) {
	m, err := ParseMAC(s)
	if len(s) != len("aa:bb:cc:dd:ee:ff") || err == nil && s == m.String() {
		return NamedMAC{MAC: m}, err
	}
	return NamedMAC{m, s}, err
}

// String is the text as given, or the canonical form where none was.
func (m NamedMAC) String() string {
	if m.Text != "" {
		return m.Text
	}
	return m.MAC.String()
}

// MarshalJSON writes the text as given.
func (m NamedMAC) MarshalJSON() ([]byte, error) { return json.Marshal(m.String()) }

// UnmarshalJSON reads a string that ParseMAC takes.
func (m *NamedMAC) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := ParseNamedMAC(s)
	if err == nil {
		*m = v
	}
	return err
}

// MarshalText and UnmarshalText would otherwise be promoted from MAC and lose
// the text.
func (m NamedMAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what ParseMAC reads and keeps the text.
func (m *NamedMAC) UnmarshalText(b []byte) error {
	v, err := ParseNamedMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}

// IsRemoteSiteOwner tells whether a port's device_owner makes it a remote-site
// port. Both spellings in use count, in any case.
func IsRemoteSiteOwner(owner string) bool {
	switch strings.ToLower(owner) {
	case "network:remote_site", "network:remote-site":
		return true
	}
	return false
}

// OwnerRouterInterface is the device_owner of a port that is a router's interface.
const OwnerRouterInterface = "network:router_interface"

// AddrPair is one address of a port.
type AddrPair struct {
	SubnetID SubnetID   `json:"subnet_id"`
	IP       netip.Addr `json:"ip_address"`
}

// AddrRange is an allocation pool: both ends belong to it.
type AddrRange struct {
	Start netip.Addr `json:"start"`
	End   netip.Addr `json:"end"`
}

// MaxNextHops is how many next hops a router may have for one destination.
const MaxNextHops = 8

// HostRoute is an extra route of a router, or a host route of a subnet.
type HostRoute struct {
	Destination netip.Prefix `json:"destination"`
	NextHop     netip.Addr   `json:"nexthop"`
}
