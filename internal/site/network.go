package site

import (
	"context"
	"iter"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/store"
)

// minMTU is the smallest MTU of a network with IPv4 subnets: RFC 791 §3.1. Without
// subnets a network may have a smaller one, as in Neutron.
const minMTU = 68

// mtuConflict is Neutron's error where an MTU is below minMTU.
func mtuConflict(n *model.Network) error {
	return conflict("NetworkMTUSubnetConflict", "MTU of %s is not valid, subnet requires a minimum of %d", n.ID, minMTU)
}

// CreateNetworks creates all or none. An MTU of 0 means the default.
func (s *Site) CreateNetworks(ctx context.Context, in []*model.Network) ([]*model.Network, error) {
	var out []*model.Network
	err := s.update(ctx, func(t *tx) error {
		out = nil
		for _, req := range in {
			n := *req
			id, err := t.newID(QuotaNetwork, n.ProjectID)
			if err != nil {
				return err
			}
			n.ID = model.NetworkID(id)
			if err := t.reindex(nil, networkEntries(&n)); err != nil {
				return err
			}
			if err := t.checkMTU(&n); err != nil {
				return err
			}
			key, err := t.newKey(store.Networks.Kind(), string(n.ID))
			if err != nil {
				return err
			}
			n.Key = model.NetworkKey(key)
			t.stamp(&n.Standard, 1)
			store.Put(t, store.Networks, string(n.ID), &n)
			if n.Shared {
				if err := t.share(shareOfNetwork(&n), true); err != nil {
					return err
				}
			}
			out = append(out, &n)
		}
		return nil
	})
	return out, err
}

func networkEntries(n *model.Network) []entry {
	return []entry{ownedEntry(QuotaNetwork, n.ProjectID, string(n.ID))}
}

// UpdateNetwork applies change to a copy of the network and stores it.
func (s *Site) UpdateNetwork(ctx context.Context, id string, change func(*model.Network) error) (*model.Network, error) {
	var out *model.Network
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.Networks, id, NetworkNotFound)
		if err != nil {
			return err
		}
		n := *old
		if err := change(&n); err != nil {
			return err
		}
		if n.Type != old.Type {
			return invalidInput("provider attributes of a network cannot be changed")
		}
		if n.MTU != old.MTU {
			if err := t.checkMTU(&n); err != nil {
				return err
			}
		}
		if n.Shared != old.Shared {
			if err := t.share(shareOfNetwork(&n), n.Shared); err != nil {
				return err
			}
		}
		t.touch(&n.Standard)
		store.Put(t, store.Networks, id, &n)
		out = &n
		return nil
	})
	return out, err
}

// checkMTU fills the default and refuses what the underlay cannot carry.
func (t *tx) checkMTU(n *model.Network) error {
	most := t.s.mtu - packet.VXLANOverhead
	if n.Type == model.NetworkUplink {
		most = t.s.mtu // its packets are the underlay's own
	}
	if n.MTU == 0 {
		n.MTU = most
	}
	if n.MTU < minMTU && len(SubnetsOf(t, n.ID)) > 0 {
		return mtuConflict(n)
	}
	if n.MTU > most {
		return invalidInput("Requested MTU is too big, maximum is %d (the underlay carries %d)", most, t.s.mtu)
	}
	return nil
}

// reviseNetwork counts a change of a network's subnets as one of the network.
func (t *tx) reviseNetwork(id model.NetworkID) {
	if old := store.Get(t, store.Networks, string(id)); old != nil {
		n := *old
		t.touch(&n.Standard)
		store.Put(t, store.Networks, string(id), &n)
	}
}

// DeleteNetwork deletes a network without ports, with its subnets and L2 gateway
// connections.
func (s *Site) DeleteNetwork(ctx context.Context, id string, guard func(*model.Network) error) error {
	return s.update(ctx, func(t *tx) error {
		n, err := find(t, store.Networks, id, NetworkNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, n); err != nil {
			return err
		}
		if _, used := t.Lookup(ixDeviceOfNetwork, id); used {
			return deviceInUse(id, "network")
		}
		if ports := some(valuesOf(t, ixMAC, id+"/")); len(ports) > 0 {
			return conflict("NetworkInUse", "Unable to complete operation on network %s. There are one or more ports still in use on the network, id for these ports is %s.", id, strings.Join(ports, ","))
		}
		for _, sid := range SubnetsOf(t, n.ID) {
			if sub := store.Get(t, store.Subnets, sid); sub != nil {
				if err := t.removeSubnet(sub); err != nil {
					return err
				}
			}
		}
		for _, cid := range suffixes(t, ixConnOfNetwork, id+"/") {
			if c := store.Get(t, store.L2GatewayConnections, cid); c != nil {
				if err := t.removeConnection(c); err != nil {
					return err
				}
			}
		}
		if err := t.unshare(id); err != nil {
			return err
		}
		t.freeKey(store.Networks.Kind(), uint32(n.Key))
		store.Delete(t, store.Networks, id)
		return t.reindex(networkEntries(n), nil)
	})
}

// check runs a guard, which may be nil.
func check[M any](guard func(*M) error, m *M) error {
	if guard == nil {
		return nil
	}
	return guard(m)
}

// some names at most ten holders for an error message.
func some(ids iter.Seq[string]) []string {
	var out []string
	for id := range ids {
		if out = append(out, id); len(out) == 10 {
			break
		}
	}
	return out
}
