package hoststate

import (
	"cmp"
	"maps"
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
}

// Keys names rows of a State.
type Keys struct {
	Ports     []model.PortKey
	Networks  []model.NetworkKey
	Routers   []model.RouterKey
	Endpoints []EndpointKey
	Neighbors []NeighborKey
	Routes    []RouteKey
	VNIs      []VNIKey
	Peers     []PeerKey
	Gateways  []model.GatewayDeviceID
	VLANs     []VLANKey
}

// NewState makes an empty State with all its maps.
func NewState() State {
	return State{
		Ports:     map[model.PortKey]Port{},
		Networks:  map[model.NetworkKey]Network{},
		Routers:   map[model.RouterKey]Router{},
		Endpoints: map[EndpointKey]Endpoint{},
		Neighbors: map[NeighborKey]model.MAC{},
		Routes:    map[RouteKey]Route{},
		VNIs:      map[VNIKey]model.NetworkKey{},
		Peers:     map[PeerKey]Peer{},
		Gateways:  map[model.GatewayDeviceID]Gateway{},
		VLANs:     map[VLANKey]VLAN{},
	}
}

// Equal tells whether two ports are the same row.
func (p Port) Equal(q Port) bool {
	return p.ID == q.ID && p.Network == q.Network && p.Interface == q.Interface && p.MAC == q.MAC &&
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
	applyRows(&s.Ports, d.Set.Ports, d.Unset.Ports)
	applyRows(&s.Networks, d.Set.Networks, d.Unset.Networks)
	applyRows(&s.Routers, d.Set.Routers, d.Unset.Routers)
	applyRows(&s.Endpoints, d.Set.Endpoints, d.Unset.Endpoints)
	applyRows(&s.Neighbors, d.Set.Neighbors, d.Unset.Neighbors)
	applyRows(&s.Routes, d.Set.Routes, d.Unset.Routes)
	applyRows(&s.VNIs, d.Set.VNIs, d.Unset.VNIs)
	applyRows(&s.Peers, d.Set.Peers, d.Unset.Peers)
	applyRows(&s.Gateways, d.Set.Gateways, d.Unset.Gateways)
	applyRows(&s.VLANs, d.Set.VLANs, d.Unset.VLANs)
}

func applyRows[K comparable, V any](to *map[K]V, set map[K]V, unset []K) {
	if *to == nil {
		*to = make(map[K]V, len(set))
	}
	for _, k := range unset {
		delete(*to, k)
	}
	maps.Copy(*to, set)
}

// Diff is the Delta that leads from one state to the other. Its Revision is 0;
// Unset is in order, so that equal inputs give equal deltas.
func Diff(from, to State) Delta {
	var d Delta
	d.Set.Ports, d.Unset.Ports = diffRows(from.Ports, to.Ports, Port.Equal, cmp.Compare)
	d.Set.Networks, d.Unset.Networks = diffRows(from.Networks, to.Networks, same, cmp.Compare)
	d.Set.Routers, d.Unset.Routers = diffRows(from.Routers, to.Routers, same, cmp.Compare)
	d.Set.Endpoints, d.Unset.Endpoints = diffRows(from.Endpoints, to.Endpoints, same, EndpointKey.Compare)
	d.Set.Neighbors, d.Unset.Neighbors = diffRows(from.Neighbors, to.Neighbors, same, NeighborKey.Compare)
	d.Set.Routes, d.Unset.Routes = diffRows(from.Routes, to.Routes, same, RouteKey.Compare)
	d.Set.VNIs, d.Unset.VNIs = diffRows(from.VNIs, to.VNIs, same, VNIKey.Compare)
	d.Set.Peers, d.Unset.Peers = diffRows(from.Peers, to.Peers, same, PeerKey.Compare)
	d.Set.Gateways, d.Unset.Gateways = diffRows(from.Gateways, to.Gateways, Gateway.Equal, cmp.Compare)
	d.Set.VLANs, d.Unset.VLANs = diffRows(from.VLANs, to.VLANs, VLAN.Equal, VLANKey.Compare)
	return d
}

func diffRows[K comparable, V any](from, to map[K]V, equal func(V, V) bool, order func(K, K) int) (map[K]V, []K) {
	set := map[K]V{}
	for k, v := range to {
		if old, ok := from[k]; !ok || !equal(old, v) {
			set[k] = v
		}
	}
	var unset []K
	for k := range from {
		if _, ok := to[k]; !ok {
			unset = append(unset, k)
		}
	}
	slices.SortFunc(unset, order)
	return set, unset
}

// Equal tells whether both states have the same rows. A nil map is an empty one.
func (s State) Equal(t State) bool {
	return maps.EqualFunc(s.Ports, t.Ports, Port.Equal) &&
		maps.Equal(s.Networks, t.Networks) &&
		maps.Equal(s.Routers, t.Routers) &&
		maps.Equal(s.Endpoints, t.Endpoints) &&
		maps.Equal(s.Neighbors, t.Neighbors) &&
		maps.Equal(s.Routes, t.Routes) &&
		maps.Equal(s.VNIs, t.VNIs) &&
		maps.Equal(s.Peers, t.Peers) &&
		maps.EqualFunc(s.Gateways, t.Gateways, Gateway.Equal) &&
		maps.EqualFunc(s.VLANs, t.VLANs, VLAN.Equal)
}

// Clone copies the maps; rows are shared, as they never change.
func (s State) Clone() State {
	c := NewState()
	c.Apply(Delta{Set: s})
	return c
}

// Len is the number of rows.
func (s State) Len() int {
	return len(s.Ports) + len(s.Networks) + len(s.Routers) + len(s.Endpoints) + len(s.Neighbors) +
		len(s.Routes) + len(s.VNIs) + len(s.Peers) + len(s.Gateways) + len(s.VLANs)
}

// Len is the number of keys.
func (k Keys) Len() int {
	return len(k.Ports) + len(k.Networks) + len(k.Routers) + len(k.Endpoints) + len(k.Neighbors) +
		len(k.Routes) + len(k.VNIs) + len(k.Peers) + len(k.Gateways) + len(k.VLANs)
}

// Empty tells whether the delta changes nothing but the revision.
func (d Delta) Empty() bool { return !d.Full && d.Set.Len() == 0 && d.Unset.Len() == 0 }

// Compare orders keys by network, then MAC.
func (k EndpointKey) Compare(l EndpointKey) int {
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

// Merge makes d lead through next as well. Cost follows next, and what d unsets.
func (d *Delta) Merge(next Delta) {
	if next.Full {
		*d = Delta{Revision: next.Revision, Full: true, Set: next.Set.Clone()}
		return
	}
	d.Revision = next.Revision
	mergeRows(d.Full, &d.Set.Ports, &d.Unset.Ports, next.Set.Ports, next.Unset.Ports)
	mergeRows(d.Full, &d.Set.Networks, &d.Unset.Networks, next.Set.Networks, next.Unset.Networks)
	mergeRows(d.Full, &d.Set.Routers, &d.Unset.Routers, next.Set.Routers, next.Unset.Routers)
	mergeRows(d.Full, &d.Set.Endpoints, &d.Unset.Endpoints, next.Set.Endpoints, next.Unset.Endpoints)
	mergeRows(d.Full, &d.Set.Neighbors, &d.Unset.Neighbors, next.Set.Neighbors, next.Unset.Neighbors)
	mergeRows(d.Full, &d.Set.Routes, &d.Unset.Routes, next.Set.Routes, next.Unset.Routes)
	mergeRows(d.Full, &d.Set.VNIs, &d.Unset.VNIs, next.Set.VNIs, next.Unset.VNIs)
	mergeRows(d.Full, &d.Set.Peers, &d.Unset.Peers, next.Set.Peers, next.Unset.Peers)
	mergeRows(d.Full, &d.Set.Gateways, &d.Unset.Gateways, next.Set.Gateways, next.Unset.Gateways)
	mergeRows(d.Full, &d.Set.VLANs, &d.Unset.VLANs, next.Set.VLANs, next.Unset.VLANs)
}

func mergeRows[K comparable, V any](full bool, set *map[K]V, unset *[]K, nextSet map[K]V, nextUnset []K) {
	if len(nextSet) > 0 && len(*unset) > 0 {
		*unset = slices.DeleteFunc(*unset, func(k K) bool { _, again := nextSet[k]; return again })
	}
	if *set == nil {
		*set = make(map[K]V, len(nextSet))
	}
	maps.Copy(*set, nextSet)
	for _, k := range nextUnset {
		delete(*set, k)
		if !full {
			*unset = append(*unset, k)
		}
	}
}
