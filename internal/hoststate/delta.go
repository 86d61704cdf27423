package hoststate

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/causeway-net/causeway/internal/model"
)

// Delta leads from one State to another. Rows of Set are new or changed; a row is
// never in both Set and Unset.
type Delta struct {
	Revision int64 // the store's revision that the State after it belongs to
	Full     bool  // Set is everything there is; forget the rest
	Set      State
	Unset    Keys
	// Replaced are groups of which Set has all rows: others of theirs go. State.Resolve
	// says which those are; nothing else heeds it.
	Replaced []Group
}

// Keys names rows of a State.
type Keys struct {
	Ports     []model.PortKey
	Networks  []model.NetworkKey
	Routers   []model.RouterKey
	FDB       []FDBKey
	Neighbors []NeighborKey
	Routes    []RouteKey
	Hops      []RouteKey
	VNIs      []VNIKey
	Peers     []PeerKey
	Gateways  []model.GatewayDeviceID
	VLANs     []VLANKey
	Hosts     []model.HostName
	Members   []MemberKey
	Speakers  []SpeakerKey
	HostPairs []HostPairKey
}

// NewState makes an empty State with all its maps.
func NewState() State {
	var s State
	for _, t := range tables {
		t.reset(&s)
	}
	return s
}

// Equal tells whether two ports are the same row.
func (p Port) Equal(q Port) bool {
	return p.ID == q.ID && p.Project == q.Project && p.Network == q.Network && p.Interface == q.Interface && p.MAC == q.MAC &&
		p.PortSecurity == q.PortSecurity && p.Drop == q.Drop && slices.Equal(p.Addrs, q.Addrs) &&
		slices.Equal(p.Pairs, q.Pairs)
}

// Covers tells whether a pair of the port allows ip from mac.
func (p Port) Covers(mac model.MAC, ip netip.Addr) bool {
	return slices.ContainsFunc(p.Pairs, func(a Pair) bool { return a.MAC == mac && a.Prefix.Contains(ip) })
}

// CoversMAC tells whether a pair of the port has the MAC.
func (p Port) CoversMAC(mac model.MAC) bool {
	return slices.ContainsFunc(p.Pairs, func(a Pair) bool { return a.MAC == mac })
}

// Equal tells whether two gateways are the same row.
func (g Gateway) Equal(h Gateway) bool {
	return g.TunnelIP == h.TunnelIP && g.Epoch == h.Epoch && g.Router == h.Router &&
		slices.Equal(g.Uplinks, h.Uplinks) && slices.Equal(g.Routes, h.Routes)
}

// Equal tells whether two VLANs are the same row.
func (v VLAN) Equal(w VLAN) bool {
	return v.Network == w.Network && v.Gateway == w.Gateway && v.Port == w.Port && v.Drop == w.Drop && slices.Equal(v.Prefixes, w.Prefixes)
}

func same[V comparable](a, b V) bool { return a == b }

// Apply changes s by d. It leaves d alone and shares no map with it. Maps that s
// does not have are made.
func (s *State) Apply(d Delta) {
	if d.Full {
		*s = NewState()
	}
	for _, t := range tables {
		t.apply(s, &d)
	}
}

// Diff is the Delta that leads from one state to the other. Its Revision is 0;
// Unset is in order, so that equal inputs give equal deltas.
func Diff(from, to State) Delta {
	var d Delta
	for _, t := range tables {
		t.diff(&d, &from, &to)
	}
	return d
}

// Equal tells whether both states have the same rows. A nil map is an empty one.
func (s State) Equal(o State) bool {
	for _, t := range tables {
		if !t.equal(&s, &o) {
			return false
		}
	}
	return true
}

// Clone copies the maps; rows are shared, as they never change.
func (s State) Clone() State {
	c := NewState()
	c.Apply(Delta{Set: s})
	return c
}

// Len is the number of rows.
func (s State) Len() int {
	n := 0
	for _, t := range tables {
		n += t.rows(&s)
	}
	return n
}

// Len is the number of keys.
func (k Keys) Len() int {
	n := 0
	for _, t := range tables {
		n += t.keys(&k)
	}
	return n
}

// Empty tells whether the delta changes nothing but the revision.
func (d Delta) Empty() bool {
	return !d.Full && d.Set.Len() == 0 && d.Unset.Len() == 0 && len(d.Replaced) == 0
}

// Compare orders keys by network, then MAC.
func (k FDBKey) Compare(l FDBKey) int {
	return cmp.Or(cmp.Compare(k.Network, l.Network), slices.Compare(k.MAC[:], l.MAC[:]))
}

// Compare orders keys by network, then address.
func (k NeighborKey) Compare(l NeighborKey) int {
	return cmp.Or(cmp.Compare(k.Network, l.Network), k.IP.Compare(l.IP))
}

// Compare orders keys by router, then prefix.
func (k RouteKey) Compare(l RouteKey) int {
	return cmp.Or(cmp.Compare(k.Router, l.Router), k.Prefix.Addr().Compare(l.Prefix.Addr()),
		cmp.Compare(k.Prefix.Bits(), l.Prefix.Bits()))
}

// Compare orders keys by tunnel IP, then VNI.
func (k VNIKey) Compare(l VNIKey) int {
	return cmp.Or(k.TunnelIP.Compare(l.TunnelIP), cmp.Compare(k.VNI, l.VNI))
}

// String is interface.VLAN, as Linux names VLAN devices.
func (k VLANKey) String() string { return k.Interface + "." + strconv.Itoa(int(k.ID)) }

// Compare orders keys by interface, then VLAN.
func (k VLANKey) Compare(l VLANKey) int {
	return cmp.Or(cmp.Compare(k.Interface, l.Interface), cmp.Compare(k.ID, l.ID))
}

// Compare orders keys by tunnel IP, VNI, then remote address.
func (k PeerKey) Compare(l PeerKey) int {
	return cmp.Or(k.TunnelIP.Compare(l.TunnelIP), cmp.Compare(k.VNI, l.VNI), k.Remote.Compare(l.Remote))
}

// Compare orders keys by network, then host.
func (k MemberKey) Compare(l MemberKey) int {
	return cmp.Or(cmp.Compare(k.Network, l.Network), cmp.Compare(k.Host, l.Host))
}

// Compare orders keys by domain, then host.
func (k SpeakerKey) Compare(l SpeakerKey) int {
	return cmp.Or(cmp.Compare(k.Domain, l.Domain), cmp.Compare(k.Host, l.Host))
}

// Compare orders keys by network, then host, MAC and prefix.
func (k HostPairKey) Compare(l HostPairKey) int {
	return cmp.Or(cmp.Compare(k.Network, l.Network), cmp.Compare(k.Host, l.Host), slices.Compare(k.MAC[:], l.MAC[:]),
		k.Prefix.Addr().Compare(l.Prefix.Addr()), cmp.Compare(k.Prefix.Bits(), l.Prefix.Bits()))
}

// Join is one delta of those of several groups, with maps of its own. A row that one group has
// lost and another has now is set.
func Join(parts []*Delta) Delta {
	var d Delta
	for _, t := range tables {
		t.join(&d, parts)
	}
	return d
}

// Merge makes d lead through next as well. Cost follows next, and what d unsets.
func (d *Delta) Merge(next Delta) {
	if next.Full {
		*d = Delta{Revision: next.Revision, Full: true, Set: next.Set.Clone()}
		return
	}
	d.Revision = next.Revision
	for _, t := range tables {
		t.merge(d, &next)
	}
}
