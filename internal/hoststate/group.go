package hoststate

import (
	"cmp"

	"github.com/causeway-net/causeway/internal/model"
)

// GroupKind says what the rows of a Group belong to.
type GroupKind uint8

const (
	GroupHost    GroupKind = iota + 1 // ports and VLANs
	GroupNetwork                      // the network, who is on it
	GroupRouter                       // the router, its routes
	GroupDevice                       // a gateway device, its VNIs and peers
	GroupSite                         // the hosts of the site
	GroupDomain                       // who may speak for the routers of a domain
)

// Group is what a host gets rows by: all of a group, or none.
type Group struct {
	Kind GroupKind
	Key  uint32 // of a network, a router or a domain
	// Name is a host's or a gateway device's. In a State, which is one host's, its own group
	// has no name.
	Name string
}

var siteGroup = Group{Kind: GroupSite}

func hostGroup(h model.HostName) Group           { return Group{Kind: GroupHost, Name: string(h)} }
func networkGroup(k model.NetworkKey) Group      { return Group{Kind: GroupNetwork, Key: uint32(k)} }
func routerGroup(k model.RouterKey) Group        { return Group{Kind: GroupRouter, Key: uint32(k)} }
func deviceGroup(id model.GatewayDeviceID) Group { return Group{Kind: GroupDevice, Name: string(id)} }
func domainGroup(k model.NetworkKey) Group       { return Group{Kind: GroupDomain, Key: uint32(k)} }
func (k MemberKey) group() Group                 { return networkGroup(k.Network) }
func (k SpeakerKey) group() Group                { return domainGroup(k.Domain) }
func (k HostPairKey) group() Group               { return networkGroup(k.Network) }
func (k FDBKey) group() Group                    { return networkGroup(k.Network) }
func (k NeighborKey) group() Group               { return networkGroup(k.Network) }
func (k RouteKey) group() Group                  { return routerGroup(k.Router) }

// OfFabric tells whether only agents know it that know the fabric.
func (g Group) OfFabric() bool { return g.Kind == GroupSite || g.Kind == GroupDomain }

// Own is the group as a State of one host names it.
func (g Group) Own() Group {
	if g.Kind == GroupHost {
		g.Name = ""
	}
	return g
}

// At is the group as a Site names it, if it is the host's own.
func (g Group) At(host model.HostName) Group {
	if g.Kind == GroupHost {
		g.Name = string(host)
	}
	return g
}

// Compare orders groups.
func (g Group) Compare(h Group) int {
	return cmp.Or(cmp.Compare(g.Kind, h.Kind), cmp.Compare(g.Key, h.Key), cmp.Compare(g.Name, h.Name))
}

// at is a row's place: two hosts may have an interface of one name, two devices a tunnel IP.
type at[K comparable] struct {
	in  Group
	key K
}

func inGroup[K interface {
	comparable
	group() Group
}](k K) at[K] {
	return at[K]{k.group(), k}
}

func ofNetwork(k model.NetworkKey) at[model.NetworkKey] {
	return at[model.NetworkKey]{networkGroup(k), k}
}
func ofRouter(k model.RouterKey) at[model.RouterKey] { return at[model.RouterKey]{routerGroup(k), k} }
func ofDevice(id model.GatewayDeviceID) at[model.GatewayDeviceID] {
	return at[model.GatewayDeviceID]{deviceGroup(id), id}
}
func (p *port) at() at[model.PortKey] { return p.on(p.HostID) }

// on is the place of the port's row on a host.
func (p *port) on(h model.HostName) at[model.PortKey] { return at[model.PortKey]{hostGroup(h), p.Key} }

// tunnels says which gateway device of a State has a tunnel IP: rows of VNIs do not name it.
type tunnels map[VNIKey]model.GatewayDeviceID

func tunnelsOf(s *State) tunnels {
	t := make(tunnels, len(s.Gateways))
	for id, g := range s.Gateways {
		t[VNIKey{TunnelIP: g.TunnelIP}] = id
	}
	return t
}

func (t tunnels) group(k VNIKey) Group { return deviceGroup(t[VNIKey{TunnelIP: k.TunnelIP}]) }

// Resolve makes a delta whose Replaced groups are to be taken whole one that says what
// changes: rows of theirs that are not named go, and those that s has already are left out,
// so that nothing is done for them. It walks s once, if there are such groups. It changes d's maps.
func (s *State) Resolve(d Delta) Delta {
	if len(d.Replaced) == 0 || d.Full {
		d.Replaced = nil
		return d
	}
	replaced := make(map[Group]bool, len(d.Replaced))
	for _, g := range d.Replaced {
		replaced[g.Own()] = true
	}
	d.Replaced = nil
	of := tunnelsOf(s)
	for _, t := range tables {
		t.resolve(s, &d, of, replaced)
	}
	return d
}

func (t *Table[K, V]) resolve(s *State, d *Delta, of tunnels, replaced map[Group]bool) {
	rows, set, gone := *t.Rows(s), *t.Rows(&d.Set), t.Gone(&d.Unset)
	for k, old := range rows {
		if !replaced[t.group(of, k, old)] {
			continue
		}
		if v, ok := set[k]; !ok {
			*gone = append(*gone, k)
		} else if t.Equal(old, v) {
			delete(set, k)
		}
	}
}
