package model

import "net/netip"

// unrouted are the ranges of IPv4 that no router forwards, as source or destination: this
// network (0/8), loopback (127/8), multicast (224/4) and what is reserved (240/4) (RFC 1122
// §3.2.1.3, RFC 1812 §5.3.7, RFC 6890 §2.2.2). The one rule for the API, for peering files
// and for the data path; the programs have it as martian() in bpf/l3.h, and the
// differential test holds the two to each other.
var unrouted = [...]netip.Prefix{
	netip.PrefixFrom(netip.AddrFrom4([4]byte{0}), 8),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4),
}

// IsRouted tells whether a router forwards packets from and to the IPv4 address a.
func IsRouted(a netip.Addr) bool {
	b := a.As4()[0]
	return b != 0 && b != 127 && b < 224
}

// UnroutedIn is the first range that no router forwards of which p has addresses; false
// if every address of p is routed, and for IPv6.
func UnroutedIn(p netip.Prefix) (netip.Prefix, bool) {
	for _, u := range unrouted {
		if u.Overlaps(p) {
			return u, true
		}
	}
	return netip.Prefix{}, false
}

// IsUnrouted tells whether no router forwards any address of p.
func IsUnrouted(p netip.Prefix) bool {
	for _, u := range unrouted {
		if u.Overlaps(p) && u.Bits() <= p.Bits() {
			return true
		}
	}
	return false
}

// IsHostIn tells whether a host can have the address a in the IPv4 prefix p: not the
// network's own address and not its broadcast address, which a /31 and a /32 do not have
// (RFC 3021).
func IsHostIn(p netip.Prefix, a netip.Addr) bool {
	if !p.Contains(a) {
		return false
	}
	return p.Bits() >= 31 || a != p.Masked().Addr() && p.Contains(a.Next())
}
