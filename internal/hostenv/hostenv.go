// Package hostenv holds what a host's kernel says about the names in a state, as far as
// the programs' loader and the pure pipeline both go by it.
package hostenv

import "net/netip"

// MainTable is the kernel's main routing table (RT_TABLE_MAIN).
const MainTable = 254

// Link is a workload's host-side interface.
type Link struct {
	Index int // where only names count, 0
	// PeerElsewhere: a veth whose peer is in another network namespace.
	PeerElsewhere bool
	MTU           int // bytes of an IP packet; 0: the network's
}

// VTEP is a remote VTEP as seen from one of our tunnel IPs.
type VTEP struct{ Local, Remote netip.Addr }

// Fabric is a host's own end of its site's fabric. Zero: the host is not on one.
type Fabric struct {
	// Addr and Port (UDP) are what the other hosts send to.
	Addr netip.Addr
	Port uint16
	// Index is the collect-metadata vxlan device of the fabric; where only names count, 0.
	Index int
}

// On tells whether the host is on a fabric.
func (f Fabric) On() bool { return f.Addr.IsValid() }
