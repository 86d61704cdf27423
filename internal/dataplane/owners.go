package dataplane

import (
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// Whose rows are whose: the methods of concerned that find a row's owners. A row of a port
// is its project's, also on a network of another project that is shared with it.

// ownersOf are the keys of what rows belong to that a delta changes.
func ownersOf(d hoststate.Delta, tr translator) map[uint32]bool {
	keys := map[uint32]bool{}
	for k := range keysOf(d.Set.Networks, d.Unset.Networks) {
		keys[uint32(k)] = true
	}
	for k := range keysOf(d.Set.Routers, d.Unset.Routers) {
		keys[uint32(k)] = true
	}
	for k := range keysOf(d.Set.Ports, d.Unset.Ports) {
		keys[uint32(k)] = true
	}
	for k := range keysOf(d.Set.Gateways, d.Unset.Gateways) {
		keys[uint32(tr.st.Gateways[k].Router)] = true
	}
	return keys
}

func (c *concerned) ofNetwork(net uint32) owner {
	return owner{c.tr.st.Networks[model.NetworkKey(net)].Project, net}
}

func (c *concerned) ofRouter(router uint32) owner {
	return owner{c.tr.st.Routers[model.RouterKey(router)].Project, router}
}

func (c *concerned) ofPort(port uint32) owner { return c.ofPortOn(port, port) }

// ofPortOn is a port that takes its turn as one of a network's.
func (c *concerned) ofPortOn(port, net uint32) owner {
	return owner{c.tr.st.Ports[model.PortKey(port)].Project, net}
}

// ofFDBEntry is who has a MAC on a network.
func (c *concerned) ofFDBEntry(net uint32, mac [6]uint8) owner {
	if p := c.tr.st.FDB[at(net, mac)].Project; p != "" {
		return owner{p, net}
	}
	return c.ofNetwork(net)
}

// fdbEntryAt is the kind of what has a MAC on a network.
func (c *concerned) fdbEntryAt(net uint32, mac [6]uint8) bpfFdbEntry {
	switch e := c.tr.st.FDB[at(net, mac)]; e.Kind {
	case hoststate.FDBRouter:
		return bpfFdbEntry{Kind: fdbRouter}
	case hoststate.FDBPort:
		if _, up := c.tr.link(e.Port); up {
			return bpfFdbEntry{Kind: fdbPort}
		}
	}
	return bpfFdbEntry{Kind: fdbDrop}
}

// ofPair is the port of a pair; of a row that says what may be on a network, all who
// bring it.
func (c *concerned) ofPair(k bpfPairKey, to []owner) []owner {
	if k.Kind != pairNet {
		return append(to, c.ofPort(bigEndian(k.Id)))
	}
	if c.pairOwners == nil {
		c.pairOwners = map[bpfPairKey][]owner{}
		for p, row := range c.tr.st.Ports {
			for _, a := range c.tr.pairs(p) {
				if a.Kind == pairNet {
					share(c.pairOwners, a, owner{row.Project, uint32(p)})
				}
			}
		}
		for _, v := range c.tr.st.VLANs {
			for _, prefix := range v.Prefixes {
				share(c.pairOwners, pairRow(pairNet, uint32(v.Network), model.MAC{}, prefix), c.ofNetwork(uint32(v.Network)))
			}
		}
	}
	if owners, ok := c.pairOwners[k]; ok {
		return append(to, owners...)
	}
	return append(to, c.ofNetwork(bigEndian(k.Id)))
}

// ofVTEP are all who have a VNI with a VTEP.
func (c *concerned) ofVTEP(k bpfVtepKey, to []owner) []owner {
	if c.vteps == nil {
		c.vteps = map[bpfVtepKey][]owner{}
		for p, row := range c.tr.st.Peers {
			share(c.vteps, bpfVtepKey{Local: addrRow(p.TunnelIP), Remote: addrRow(p.Remote)}, c.ofNetwork(uint32(row.Network)))
		}
	}
	if owners, ok := c.vteps[k]; ok {
		return append(to, owners...)
	}
	return c.ofTunnelIP(k.Local, to)
}

// ofTunnelIP are the routers of the gateway devices that have the address.
func (c *concerned) ofTunnelIP(k bpfAddr, to []owner) []owner {
	if c.gateways == nil {
		c.gateways = map[bpfAddr][]owner{}
		for _, g := range c.tr.st.Gateways {
			share(c.gateways, addrRow(g.TunnelIP), c.ofRouter(uint32(g.Router)))
		}
	}
	if owners, ok := c.gateways[k]; ok {
		return append(to, owners...)
	}
	return append(to, owner{}) // of no gateway device that is known
}

// share adds an owner of a row. A row is a project's once: of several owners, the one
// with the least key has it.
func share[K comparable](owners map[K][]owner, k K, o owner) {
	for i, p := range owners[k] {
		if p.project == o.project {
			owners[k][i].key = min(p.key, o.key)
			return
		}
	}
	owners[k] = append(owners[k], o)
}
