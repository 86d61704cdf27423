package site

import (
	"context"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

const (
	// minPoolPrefixLen is the shortest prefix of a subnet from a pool, as Neutron
	// has it for IPv4, and min_prefixlen where none is given.
	minPoolPrefixLen = 8
	// maxPoolPrefixes bounds the prefixes of a pool.
	maxPoolPrefixes = 1000
)

// SubnetPoolInput is a subnet pool as requested. Of the lengths, 0 asks for the
// default.
type SubnetPoolInput struct {
	model.SubnetPool
}

// CreateSubnetPools creates all or none.
func (s *Site) CreateSubnetPools(ctx context.Context, in []*SubnetPoolInput) ([]*model.SubnetPool, error) {
	var out []*model.SubnetPool
	err := s.update(ctx, func(t *tx) error {
		out = nil
		for _, req := range in {
			p := req.SubnetPool
			id, err := t.newID(QuotaSubnetPool, p.ProjectID)
			if err != nil {
				return err
			}
			p.ID = model.SubnetPoolID(id)
			if err := t.storePool(nil, &p); err != nil {
				return err
			}
			if p.Shared {
				if err := t.share(shareOfPool(&p), true); err != nil {
					return err
				}
			}
			out = append(out, &p)
		}
		return nil
	})
	return out, err
}

// UpdateSubnetPool applies change to a copy of the pool and stores it. Prefixes may
// be added; ShrinkSubnetPool takes them away.
func (s *Site) UpdateSubnetPool(ctx context.Context, id string, change func(*SubnetPoolInput) error) (*model.SubnetPool, error) {
	var out *model.SubnetPool
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.SubnetPools, id, SubnetPoolNotFound)
		if err != nil {
			return err
		}
		in := SubnetPoolInput{SubnetPool: *old}
		in.Prefixes = slices.Clone(old.Prefixes)
		if err := change(&in); err != nil {
			return err
		}
		p := in.SubnetPool
		if err := t.checkScopeOwner(old); err != nil {
			return err
		}
		for _, prefix := range old.Prefixes {
			// Merged: a prefix may be covered by several together.
			if !holds(compact(p.Prefixes), prefix) {
				return model.Errf(model.KindInvalid, "IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.")
			}
		}
		if p.AddressScopeID != old.AddressScopeID {
			if err := t.checkScopeOfNetworks(&p); err != nil {
				return err
			}
		}
		if err := t.storePool(old, &p); err != nil {
			return err
		}
		out = &p
		return nil
	})
	return out, err
}

// GrowSubnetPool adds prefixes.
func (s *Site) GrowSubnetPool(ctx context.Context, id string, prefixes []netip.Prefix) (*model.SubnetPool, error) {
	return s.UpdateSubnetPool(ctx, id, func(in *SubnetPoolInput) error {
		in.Prefixes = append(in.Prefixes, prefixes...)
		return nil
	})
}

// ShrinkSubnetPool takes prefixes away that no subnet was taken from. What the pool
// does not have is passed over.
func (s *Site) ShrinkSubnetPool(ctx context.Context, id string, prefixes []netip.Prefix) (*model.SubnetPool, error) {
	var out *model.SubnetPool
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.SubnetPools, id, SubnetPoolNotFound)
		if err != nil {
			return err
		}
		out = old
		var b netipx.IPSetBuilder
		for _, prefix := range old.Prefixes {
			b.AddPrefix(prefix)
		}
		for _, prefix := range prefixes {
			if err := checkPoolPrefix(prefix); err != nil {
				return err
			}
			b.RemovePrefix(prefix)
		}
		left := setPrefixes(&b)
		if slices.Equal(left, old.Prefixes) {
			return nil
		}
		if len(left) > maxPoolPrefixes {
			return tooManyPrefixes()
		}
		for _, sid := range t.Scan(ixPrefixOfPool, id+"/") {
			if sub := store.Get(t, store.Subnets, sid); sub != nil && !holds(left, sub.CIDR) {
				return model.Errf(model.KindInvalid, "IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: One or more the prefixes to be removed is in use by a subnet.")
			}
		}
		p := *old
		p.Prefixes = left
		t.touch(&p.Standard)
		store.Put(t, store.SubnetPools, id, &p)
		out = &p
		return nil
	})
	return out, err
}

// DeleteSubnetPool deletes a pool that no subnet was taken from.
func (s *Site) DeleteSubnetPool(ctx context.Context, id string, guard func(*model.SubnetPool) error) error {
	return s.update(ctx, func(t *tx) error {
		p, err := find(t, store.SubnetPools, id, SubnetPoolNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, p); err != nil {
			return err
		}
		if first(t, ixPrefixOfPool, id+"/") != "" {
			return model.Errf(model.KindInvalid, "SubnetPoolDeleteError", "Unable to delete subnet pool: Subnet pool has existing allocations.")
		}
		if err := t.unshare(id); err != nil {
			return err
		}
		store.Delete(t, store.SubnetPools, id)
		return t.reindex(poolEntries(p), nil)
	})
}

// storePool checks a new or changed pool and writes it.
func (t *tx) storePool(old, p *model.SubnetPool) error {
	// All of a pool's prefixes may have been removed: that keeps nothing else of it
	// from being changed.
	if old == nil || !slices.Equal(p.Prefixes, old.Prefixes) {
		if err := fillPrefixes(p); err != nil {
			return err
		}
	}
	if err := fillLengths(p); err != nil {
		return err
	}
	if err := t.checkScope(p); err != nil {
		return err
	}
	var had []entry
	if old != nil {
		had = poolEntries(old)
	}
	if err := t.reindex(had, poolEntries(p)); err != nil {
		return err
	}
	if old == nil {
		t.stamp(&p.Standard, 0)
	} else {
		t.touch(&p.Standard)
	}
	store.Put(t, store.SubnetPools, string(p.ID), p)
	return nil
}

// fillPrefixes checks a pool's prefixes and writes them as few as can say the same.
func fillPrefixes(p *model.SubnetPool) error {
	if len(p.Prefixes) == 0 {
		return model.Errf(model.KindInvalid, "EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.")
	}
	for _, prefix := range p.Prefixes {
		if prefix.Addr().Is4() != p.Prefixes[0].Addr().Is4() {
			return model.Errf(model.KindInvalid, "PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
		}
	}
	for _, prefix := range p.Prefixes {
		if err := checkPoolPrefix(prefix); err != nil {
			return err
		}
	}
	if p.Prefixes = compact(p.Prefixes); len(p.Prefixes) > maxPoolPrefixes {
		return tooManyPrefixes()
	}
	return nil
}

// fillLengths works out what is left to the server and checks the lengths against
// each other.
func fillLengths(p *model.SubnetPool) error {
	if p.MinPrefixLen == 0 {
		p.MinPrefixLen = minPoolPrefixLen
	}
	if p.MaxPrefixLen == 0 {
		p.MaxPrefixLen = 32
	}
	if p.DefaultPrefixLen == 0 {
		p.DefaultPrefixLen = p.MinPrefixLen
	}
	bounds := func(kind string, n int, base string, limit int) *model.Error {
		return model.Errf(model.KindInvalid, "IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: %s=%d, %s=%d.", kind, n, base, limit)
	}
	switch {
	case p.MinPrefixLen < minPoolPrefixLen:
		return model.Errf(model.KindInvalid, "UnsupportedMinSubnetPoolPrefix", "Prefix '%d' not supported in IPv4 pool.", p.MinPrefixLen)
	case p.MinPrefixLen > p.MaxPrefixLen:
		return bounds("min_prefixlen", p.MinPrefixLen, "max_prefixlen", p.MaxPrefixLen)
	case p.MaxPrefixLen > 32:
		return bounds("max_prefixlen", p.MaxPrefixLen, "ip_version_max", 32)
	case p.DefaultPrefixLen < p.MinPrefixLen:
		return bounds("default_prefixlen", p.DefaultPrefixLen, "min_prefixlen", p.MinPrefixLen)
	case p.DefaultPrefixLen > p.MaxPrefixLen:
		return bounds("default_prefixlen", p.DefaultPrefixLen, "max_prefixlen", p.MaxPrefixLen)
	}
	return nil
}

func tooManyPrefixes() *model.Error {
	return invalidInput("a subnet pool has at most %d prefixes", maxPoolPrefixes)
}

func checkPoolPrefix(prefix netip.Prefix) error {
	if !prefix.Addr().Is4() {
		return Unsupported("IPv6 subnet pools do not exist yet: %s", prefix)
	}
	if prefix.Addr().IsMulticast() || prefix.Bits() == 0 {
		return invalidInput("%s cannot be a prefix of a subnet pool", prefix)
	}
	return nil
}

func poolEntries(p *model.SubnetPool) []entry {
	out := []entry{ownedEntry(QuotaSubnetPool, p.ProjectID, string(p.ID))}
	if p.AddressScopeID != "" {
		out = append(out, entry{ix: ixPoolOfScope, key: join(p.AddressScopeID, p.ID)})
	}
	if p.IsDefault {
		out = append(out, entry{ix: ixDefaultPool, key: "4", value: string(p.ID), taken: func(string) *model.Error {
			return invalidInput("A default subnetpool for this IP family has already been set. Only one default may exist per IP family")
		}})
	}
	return out
}

// compact writes prefixes as few as can say the same, in order.
func compact(prefixes []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		b.AddPrefix(p)
	}
	return setPrefixes(&b)
}

func setPrefixes(b *netipx.IPSetBuilder) []netip.Prefix {
	set, err := b.IPSet()
	if err != nil {
		return nil // of addresses that are none: there are none here
	}
	return set.Prefixes()
}

// holds tells whether one of the prefixes covers p.
func holds(prefixes []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(x netip.Prefix) bool {
		return x.Bits() <= p.Bits() && x.Contains(p.Addr())
	})
}

func overlapsAny(prefixes []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, p.Overlaps)
}
