package hostsync

import (
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// naming is which ports the rows of a host's state name: all that the client needs of the
// state, which the agent keeps.
type naming struct {
	rows     map[model.PortID]int // that name a port
	ports    map[model.PortKey]model.PortID
	gateways map[model.GatewayDeviceID][]model.PortID
	vlans    map[hoststate.VLANKey]model.PortID
}

func newNaming() naming {
	return naming{
		rows: map[model.PortID]int{}, ports: map[model.PortKey]model.PortID{},
		gateways: map[model.GatewayDeviceID][]model.PortID{}, vlans: map[hoststate.VLANKey]model.PortID{},
	}
}

// complete adds to a delta the keys of the rows that go with its replaced groups.
func (n *naming) complete(d hoststate.Delta) hoststate.Delta {
	for _, g := range d.Replaced {
		switch g.Kind {
		case hoststate.GroupHost:
			d.Unset.Ports = append(slices.Clip(d.Unset.Ports), absent(n.ports, d.Set.Ports)...)
			d.Unset.VLANs = append(slices.Clip(d.Unset.VLANs), absent(n.vlans, d.Set.VLANs)...)
		case hoststate.GroupDevice:
			id := model.GatewayDeviceID(g.Name)
			if _, ok := d.Set.Gateways[id]; !ok {
				d.Unset.Gateways = append(slices.Clip(d.Unset.Gateways), id)
			}
		}
	}
	return d
}

// absent are the keys of names that set does not have.
func absent[K comparable, N, V any](names map[K]N, set map[K]V) (keys []K) {
	for k := range names {
		if _, ok := set[k]; !ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// apply takes a delta in, and returns the ports that no row names any more.
func (n *naming) apply(d hoststate.Delta) (gone []model.PortID) {
	var left []model.PortID
	drop := func(ids ...model.PortID) {
		for _, id := range ids {
			n.rows[id]--
			left = append(left, id)
		}
	}
	rename(n.ports, d.Set.Ports, d.Unset.Ports, func(p hoststate.Port) model.PortID { return p.ID }, func(id model.PortID) { n.rows[id]++ }, func(id model.PortID) { drop(id) })
	rename(n.vlans, d.Set.VLANs, d.Unset.VLANs, func(v hoststate.VLAN) model.PortID { return v.Port }, func(id model.PortID) { n.rows[id]++ }, func(id model.PortID) { drop(id) })
	uplinks := func(g hoststate.Gateway) (ids []model.PortID) {
		for _, u := range g.Uplinks {
			ids = append(ids, u.Port)
		}
		return ids
	}
	rename(n.gateways, d.Set.Gateways, d.Unset.Gateways, uplinks, func(ids []model.PortID) {
		for _, id := range ids {
			n.rows[id]++
		}
	}, func(ids []model.PortID) { drop(ids...) })
	for _, id := range left {
		if count, ok := n.rows[id]; ok && count <= 0 {
			delete(n.rows, id)
			gone = append(gone, id)
		}
	}
	return gone
}

// rename keeps what the rows of one table name.
func rename[K comparable, V, N any](names map[K]N, set map[K]V, unset []K, of func(V) N, add, drop func(N)) {
	for _, k := range unset {
		if old, ok := names[k]; ok {
			drop(old)
			delete(names, k)
		}
	}
	for k, v := range set {
		if old, ok := names[k]; ok {
			drop(old)
		}
		names[k] = of(v)
		add(names[k])
	}
}
