package site

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// SubnetInput is a subnet as requested.
type SubnetInput struct {
	model.Subnet // CIDR may be left to the pool
	// UseDefaultPool asks for the default subnet pool.
	UseDefaultPool bool
	// PrefixLen is the length of the prefix to take from the pool; 0: the pool's
	// default.
	PrefixLen int
	// AutoGateway asks for the first address of the range as gateway_ip.
	AutoGateway bool
	// AutoPools asks for every usable address but the gateway's.
	AutoPools bool
}

// CreateSubnets creates all or none.
func (s *Site) CreateSubnets(ctx context.Context, in []*SubnetInput) ([]*model.Subnet, error) {
	var out []*model.Subnet
	err := s.update(ctx, func(t *tx) error {
		out = nil
		for _, req := range in {
			sub, err := t.createSubnet(*req)
			if err != nil {
				return err
			}
			out = append(out, sub)
		}
		return nil
	})
	return out, err
}

func (t *tx) createSubnet(in SubnetInput) (*model.Subnet, error) {
	if in.CIDR.IsValid() && in.PrefixLen != 0 {
		return nil, badRequest("subnets", "cidr and prefixlen must not be supplied together")
	}
	net, err := find(t, store.Networks, string(in.NetworkID), NetworkNotFound)
	if err != nil {
		return nil, err
	}
	if net.MTU < minMTU {
		return nil, mtuConflict(net)
	}
	if in.CIDR.IsValid() {
		if err := checkCIDR(in.CIDR); err != nil {
			return nil, err
		}
	}
	if err := t.fromPool(&in); err != nil {
		return nil, err
	}
	sub := in.fill()
	id, err := t.newID(QuotaSubnet, sub.ProjectID)
	if err != nil {
		return nil, err
	}
	sub.ID = model.SubnetID(id)
	if err := checkSubnet(&sub); err != nil {
		return nil, err
	}
	others := t.subnetsOf(sub.NetworkID)
	for _, other := range others {
		if other.CIDR.Overlaps(sub.CIDR) {
			return nil, invalidInput("Requested subnet with cidr: %s for network: %s overlaps with another subnet", sub.CIDR, sub.NetworkID)
		}
	}
	if err := t.s.limits.checkListLengths(&sub, nil); err != nil {
		return nil, err
	}
	if err := checkLists(&sub, nil); err != nil {
		return nil, err
	}
	if err := t.checkPoolAffinity(&sub, others); err != nil {
		return nil, err
	}
	if err := t.reindex(nil, subnetEntries(&sub)); err != nil {
		return nil, err
	}
	t.stamp(&sub.Standard, 0)
	store.Put(t, store.Subnets, string(sub.ID), &sub)
	t.reviseNetwork(sub.NetworkID)
	return &sub, nil
}

// fill works out what is left to the server.
func (in *SubnetInput) fill() model.Subnet {
	sub := in.Subnet
	if in.AutoGateway {
		sub.Gateway = defaultGateway(sub.CIDR)
	}
	if in.AutoPools {
		sub.AllocationPools = defaultPools(sub.CIDR, sub.Gateway)
	}
	return sub
}

func subnetEntries(sub *model.Subnet) []entry {
	id := string(sub.ID)
	out := []entry{ownedEntry(QuotaSubnet, sub.ProjectID, id), {ix: ixSubnetOfNetwork, key: join(sub.NetworkID, id)}}
	if sub.PoolID != "" {
		out = append(out,
			entry{ix: ixPrefixOfPool, key: prefixKey(sub.PoolID, sub.CIDR), value: id},
			entry{ix: ixPrefixOfProject, key: join(sub.PoolID, projectKey(sub.ProjectID), bitText(sub.CIDR)), value: id})
	}
	return out
}

// UpdateSubnet applies change to a copy of the subnet and stores it.
func (s *Site) UpdateSubnet(ctx context.Context, id string, change func(*SubnetInput) error) (*model.Subnet, error) {
	var out *model.Subnet
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.Subnets, id, SubnetNotFound)
		if err != nil {
			return err
		}
		in := SubnetInput{Subnet: *old} // its lists are replaced, never changed
		if err := change(&in); err != nil {
			return err
		}
		sub := in.fill()
		if err := checkSubnet(&sub); err != nil {
			return err
		}
		if err := t.s.limits.checkListLengths(&sub, old); err != nil {
			return err
		}
		if err := checkLists(&sub, old); err != nil {
			return err
		}
		if sub.Gateway != old.Gateway && old.Gateway.IsValid() {
			// The router's interface has this address; it would no longer be
			// the gateway that the subnet promises.
			if port, ok := t.Lookup(ixIP, join(sub.ID, addrKey(old.Gateway))); ok {
				if p := store.Get(t, store.Ports, port); p != nil && p.DeviceOwner == model.OwnerRouterInterface {
					return conflict("GatewayIpInUse", "Current gateway ip %s already in use by port %s. Unable to update.", old.Gateway, port)
				}
			}
		}
		t.touch(&sub.Standard)
		store.Put(t, store.Subnets, id, &sub)
		t.reviseNetwork(sub.NetworkID)
		out = &sub
		return nil
	})
	return out, err
}

// DeleteSubnet deletes a subnet of which no port has an address.
func (s *Site) DeleteSubnet(ctx context.Context, id string, guard func(*model.Subnet) error) error {
	return s.update(ctx, func(t *tx) error {
		sub, err := find(t, store.Subnets, id, SubnetNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, sub); err != nil {
			return err
		}
		if first(t, ixIP, id+"/") != "" {
			return conflict("SubnetInUse", "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", id)
		}
		t.reviseNetwork(sub.NetworkID)
		return t.removeSubnet(sub)
	})
}

func (t *tx) removeSubnet(sub *model.Subnet) error {
	store.Delete(t, store.Subnets, string(sub.ID))
	return t.reindex(subnetEntries(sub), nil)
}

func checkCIDR(cidr netip.Prefix) error {
	if !cidr.Addr().Is4() {
		return Unsupported("IPv6 subnets do not exist yet: %s", cidr)
	}
	if cidr.Bits() == 0 || cidr.Addr().IsMulticast() {
		return invalidInput("%s cannot be a subnet", cidr)
	}
	return nil
}

// checkSubnet checks what needs nothing but the subnet itself.
func checkSubnet(sub *model.Subnet) error {
	if err := checkCIDR(sub.CIDR); err != nil {
		return err
	}
	if sub.Gateway.IsValid() && !model.IsHostIn(sub.CIDR, sub.Gateway) {
		return invalidInput("Gateway is not valid on subnet")
	}
	pools := slices.Clone(sub.AllocationPools)
	slices.SortFunc(pools, func(a, b model.AddrRange) int { return a.Start.Compare(b.Start) })
	for i, p := range pools {
		if !p.Start.Is4() || !p.End.Is4() || p.End.Less(p.Start) {
			return model.Errf(model.KindInvalid, "InvalidAllocationPool", "The allocation pool %s is not valid.", poolText(p))
		}
		if !model.IsHostIn(sub.CIDR, p.Start) || !model.IsHostIn(sub.CIDR, p.End) {
			return model.Errf(model.KindInvalid, "OutOfBoundsAllocationPool", "The allocation pool %s spans beyond the subnet cidr %s.", poolText(p), sub.CIDR)
		}
		if i > 0 && !pools[i-1].End.Less(p.Start) {
			return conflict("OverlappingAllocationPools", "Found overlapping allocation pools: %s %s for subnet %s.", poolText(pools[i-1]), poolText(p), sub.CIDR)
		}
		if sub.Gateway.IsValid() && !sub.Gateway.Less(p.Start) && !p.End.Less(sub.Gateway) {
			return conflict("GatewayConflictWithAllocationPools", "Gateway ip %s conflicts with allocation pool %s.", sub.Gateway, poolText(p))
		}
	}
	return nil
}

// checkLists checks what a subnet tells its workloads. What old has of it stays.
func checkLists(sub, old *model.Subnet) error {
	wrong := func(what string, value any) *model.Error {
		return invalidInput("%s '%s' does not match the ip_version '4'", what, value)
	}
	if old == nil || !slices.Equal(sub.DNSNameservers, old.DNSNameservers) {
		for _, s := range sub.DNSNameservers {
			if ip, err := netip.ParseAddr(s); err == nil && !ip.Is4() {
				return wrong("dns_nameserver", s)
			}
		}
	}
	if old == nil || !slices.Equal(sub.HostRoutes, old.HostRoutes) {
		for _, r := range sub.HostRoutes {
			if !r.NextHop.Is4() {
				return wrong("nexthop", r.NextHop)
			}
			if !r.Destination.Addr().Is4() {
				return wrong("destination", r.Destination)
			}
		}
	}
	return nil
}

func poolText(p model.AddrRange) string { return fmt.Sprintf("%s-%s", p.Start, p.End) }

// defaultGateway is the first usable address; a /32 has none to spare.
func defaultGateway(cidr netip.Prefix) netip.Addr {
	if cidr.Bits() >= 32 || !cidr.Addr().Is4() {
		return netip.Addr{}
	}
	a := cidr.Masked().Addr()
	if cidr.Bits() == 31 {
		return a
	}
	return a.Next()
}

// defaultPools is every usable address but the gateway's.
func defaultPools(cidr netip.Prefix, gateway netip.Addr) []model.AddrRange {
	if !cidr.Addr().Is4() {
		return nil
	}
	lo, hi := cidr.Masked().Addr(), netipx.PrefixLastIP(cidr)
	if cidr.Bits() < 31 {
		lo, hi = lo.Next(), hi.Prev()
	}
	whole := model.AddrRange{Start: lo, End: hi}
	if !gateway.IsValid() || gateway.Less(lo) || hi.Less(gateway) {
		return []model.AddrRange{whole}
	}
	pools := []model.AddrRange{}
	if lo.Less(gateway) {
		pools = append(pools, model.AddrRange{Start: lo, End: gateway.Prev()})
	}
	if gateway.Less(hi) {
		pools = append(pools, model.AddrRange{Start: gateway.Next(), End: hi})
	}
	return pools
}
