package site

import (
	"context"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// CreateAddressScopes creates all or none.
func (s *Site) CreateAddressScopes(ctx context.Context, in []*model.AddressScope) ([]*model.AddressScope, error) {
	var out []*model.AddressScope
	err := s.update(ctx, func(t *tx) error {
		out = nil
		for _, req := range in {
			a := *req
			if a.IPVersion != 4 {
				return Unsupported("IPv6 address scopes do not exist yet")
			}
			a.ID = model.AddressScopeID(uuid.NewString())
			store.Put(t, store.AddressScopes, string(a.ID), &a)
			if a.Shared {
				if err := t.share(shareOfScope(&a), true); err != nil {
					return err
				}
			}
			out = append(out, &a)
		}
		return nil
	})
	return out, err
}

// UpdateAddressScope applies change to a copy of the address scope and stores it.
func (s *Site) UpdateAddressScope(ctx context.Context, id string, change func(*model.AddressScope) error) (*model.AddressScope, error) {
	var out *model.AddressScope
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.AddressScopes, id, AddressScopeNotFound)
		if err != nil {
			return err
		}
		a := *old
		if err := change(&a); err != nil {
			return err
		}
		if old.Shared && !a.Shared {
			return model.Errf(model.KindInvalid, "AddressScopeUpdateError", "Unable to update address scope %s : Shared address scope can't be unshared.", id)
		}
		if a.Shared && !old.Shared {
			if err := t.share(shareOfScope(&a), true); err != nil {
				return err
			}
		}
		store.Put(t, store.AddressScopes, id, &a)
		out = &a
		return nil
	})
	return out, err
}

// DeleteAddressScope deletes an address scope that has no subnet pool.
func (s *Site) DeleteAddressScope(ctx context.Context, id string, guard func(*model.AddressScope) error) error {
	return s.update(ctx, func(t *tx) error {
		a, err := find(t, store.AddressScopes, id, AddressScopeNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, a); err != nil {
			return err
		}
		if first(t, ixPoolOfScope, id+"/") != "" {
			return conflict("AddressScopeInUse", "Unable to complete operation on address scope %s. There are one or more subnet pools in use on the address scope.", id)
		}
		if err := t.unshare(id); err != nil {
			return err
		}
		store.Delete(t, store.AddressScopes, id)
		return nil
	})
}

// checkScope makes sure that a pool has no address in common with another pool of
// its address scope.
func (t *tx) checkScope(p *model.SubnetPool) error {
	if p.AddressScopeID == "" {
		return nil
	}
	a, err := find(t, store.AddressScopes, string(p.AddressScopeID), AddressScopeNotFound)
	if err != nil {
		return err
	}
	for _, id := range suffixes(t, ixPoolOfScope, string(a.ID)+"/") {
		other := store.Get(t, store.SubnetPools, id)
		if other == nil || other.ID == p.ID {
			continue
		}
		for _, prefix := range p.Prefixes {
			if overlapsAny(other.Prefixes, prefix) {
				return conflict("AddressScopePrefixConflict", "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
			}
		}
	}
	return nil
}

// checkScopeOwner refuses a change of a pool that is in somebody else's address
// scope, where it would keep others' pools from addresses.
func (t *tx) checkScopeOwner(p *model.SubnetPool) error {
	a := store.Get(t, store.AddressScopes, string(p.AddressScopeID))
	if a == nil || t.owns == nil || t.owns(a.ProjectID) {
		return nil
	}
	return model.Errf(model.KindInvalid, "IllegalSubnetPoolUpdate", "Illegal subnetpool update : subnetpool %s cannot be updated when associated with shared address scope %s.", p.ID, a.ID)
}

// checkScopeShared refuses to share a subnet pool with who has no part in its address
// scope.
func (t *tx) checkScopeShared(p *model.RBACPolicy) error {
	if p.ObjectType != ShareSubnetPool {
		return nil
	}
	pool := store.Get(t, store.SubnetPools, p.ObjectID)
	if pool == nil || pool.AddressScopeID == "" {
		return nil
	}
	a := store.Get(t, store.AddressScopes, string(pool.AddressScopeID))
	if a == nil || a.ProjectID == p.Target || SharedWith(t, string(a.ID), p.Target) {
		return nil
	}
	return model.Errf(model.KindInvalid, "RbacPolicyInitError", "Failed to create RBAC policy on object %s because target project doesn't have access to associated address scope.", pool.ID)
}

// checkScopeOfNetworks makes sure that no network of the pool's subnets has one of
// another pool, whose scope would then be another.
func (t *tx) checkScopeOfNetworks(p *model.SubnetPool) error {
	seen := map[model.NetworkID]bool{}
	for _, sid := range t.Scan(ixPrefixOfPool, string(p.ID)+"/") {
		sub := store.Get(t, store.Subnets, sid)
		if sub == nil || seen[sub.NetworkID] {
			continue
		}
		seen[sub.NetworkID] = true
		for _, other := range t.subnetsOf(sub.NetworkID) {
			if other.PoolID != p.ID {
				return scopeAffinity()
			}
		}
	}
	return nil
}

func scopeAffinity() *model.Error {
	return model.Errf(model.KindInvalid, "NetworkAddressScopeAffinityError", "Subnets of the same address family hosted on the same network must all participate in the same address scope.")
}

// AddressScopeOf is the address scope of a network, by the pools of its subnets;
// "" if it has none.
func AddressScopeOf(r store.Reader, id model.NetworkID) model.AddressScopeID {
	for _, sid := range SubnetsOf(r, id) {
		sub := store.Get(r, store.Subnets, sid)
		if sub == nil || sub.PoolID == "" {
			continue
		}
		if p := store.Get(r, store.SubnetPools, string(sub.PoolID)); p != nil && p.AddressScopeID != "" {
			return p.AddressScopeID
		}
	}
	return ""
}
