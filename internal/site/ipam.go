package site

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

const (
	// ipProbes random addresses are tried before the subnet's addresses are read
	// in full: a look-up depends on one entry, reading them all on every other
	// writer. A subnet half full fails them all once in 65,536.
	ipProbes = 16
	// macProbes bounds the random search for a free MAC among 2^24.
	macProbes = 64
)

// FixedIP is a requested address: by subnet, by address, or by both.
type FixedIP struct {
	SubnetID model.SubnetID
	IP       netip.Addr
}

// tooManyIPs tells whether a port would have more addresses than it may, and one that it
// has not yet.
func (t *tx) tooManyIPs(reqs []FixedIP, kept []model.AddrPair) bool {
	has := func(r FixedIP) bool {
		return slices.ContainsFunc(kept, func(a model.AddrPair) bool {
			return r.IP == a.IP && (r.SubnetID == "" || r.SubnetID == a.SubnetID)
		})
	}
	return len(reqs) > t.s.limits.FixedIPs && slices.ContainsFunc(reqs, func(r FixedIP) bool { return !has(r) })
}

// allocate turns requests into addresses for a port of an owner. kept are those
// that the port has already. The result is in order of the requests.
func (t *tx) allocate(net model.NetworkID, owner string, reqs []FixedIP, kept []model.AddrPair) ([]model.AddrPair, error) {
	if t.tooManyIPs(reqs, kept) {
		return nil, invalidInput("Exceeded maximum amount of fixed ips per port")
	}
	all := t.subnetsOf(net)
	subnets := slices.DeleteFunc(slices.Clone(all), func(sub *model.Subnet) bool {
		return !serves(sub, owner) && !slices.ContainsFunc(kept, func(a model.AddrPair) bool { return a.SubnetID == sub.ID })
	})
	if len(subnets) == 0 && len(all) > 0 && len(reqs) > 0 {
		return nil, noMatchingSubnet(net, owner)
	}
	mine := make(map[model.AddrPair]bool, len(kept))
	for _, p := range kept {
		mine[p] = true
	}
	out := make([]model.AddrPair, 0, len(reqs))
	seen := map[model.AddrPair]bool{}
	// Addresses that are named go first, so that none is drawn at random that
	// another request of the same port names.
	for _, r := range reqs {
		if !r.IP.IsValid() {
			continue
		}
		sub, err := subnetFor(net, subnets, r)
		if err != nil {
			return nil, err
		}
		pair := model.AddrPair{SubnetID: sub.ID, IP: r.IP}
		if seen[pair] {
			return nil, invalidInput("Duplicate IP address in fixed_ips: %s", r.IP)
		}
		seen[pair] = true
		if !mine[pair] {
			if _, taken := t.Lookup(ixIP, join(sub.ID, addrKey(r.IP))); taken {
				return nil, ipAllocated(r.IP, sub.ID)
			}
		}
	}
	for _, r := range reqs {
		switch {
		case r.IP.IsValid():
			sub, _ := subnetFor(net, subnets, r)
			out = append(out, model.AddrPair{SubnetID: sub.ID, IP: r.IP})
		case r.SubnetID != "":
			sub, err := subnetFor(net, subnets, r)
			if err != nil {
				return nil, err
			}
			ip, ok := t.freeIP(sub, seen)
			if !ok {
				return nil, generationFailure(net)
			}
			pair := model.AddrPair{SubnetID: sub.ID, IP: ip}
			seen[pair] = true
			out = append(out, pair)
		default:
			return nil, invalidInput("IP allocation requires subnet_id or ip_address")
		}
	}
	return out, nil
}

// allocateAny gives one address of any of the network's subnets, none if it has
// none. Subnets that are for the port's owner go before those that are for all.
func (t *tx) allocateAny(net model.NetworkID, owner string) ([]model.AddrPair, error) {
	all := t.subnetsOf(net)
	if len(all) == 0 {
		return []model.AddrPair{}, nil
	}
	subnets := slices.DeleteFunc(all, func(sub *model.Subnet) bool { return !serves(sub, owner) })
	if len(subnets) == 0 {
		return nil, noMatchingSubnet(net, owner)
	}
	slices.SortStableFunc(subnets, func(a, b *model.Subnet) int {
		return cmp.Compare(min(len(b.ServiceTypes), 1), min(len(a.ServiceTypes), 1))
	})
	for _, sub := range subnets {
		if ip, ok := t.freeIP(sub, nil); ok {
			return []model.AddrPair{{SubnetID: sub.ID, IP: ip}}, nil
		}
	}
	return nil, generationFailure(net)
}

// serves tells whether a port of an owner may have addresses of a subnet.
func serves(sub *model.Subnet, owner string) bool {
	return len(sub.ServiceTypes) == 0 || slices.Contains(sub.ServiceTypes, owner)
}

func noMatchingSubnet(net model.NetworkID, owner string) *model.Error {
	return conflict("IpAddressGenerationFailureNoMatchingSubnet", "No valid service subnet for the given device owner, network %s, service type %s.", net, owner)
}

func generationFailure(net model.NetworkID) *model.Error {
	return conflict("IpAddressGenerationFailure", "No more IP addresses available on network %s.", net)
}

func (t *tx) subnetsOf(net model.NetworkID) []*model.Subnet {
	var out []*model.Subnet
	for _, id := range SubnetsOf(t, net) {
		if sub := store.Get(t, store.Subnets, id); sub != nil {
			out = append(out, sub)
		}
	}
	return out
}

// subnetFor finds the subnet a request means and checks its address.
func subnetFor(net model.NetworkID, subnets []*model.Subnet, r FixedIP) (*model.Subnet, error) {
	for _, sub := range subnets {
		if r.SubnetID != "" && sub.ID == r.SubnetID {
			if r.IP.IsValid() && !model.IsHostIn(sub.CIDR, r.IP) {
				return nil, model.Errf(model.KindInvalid, "InvalidIpForSubnet", "IP address %s is not a valid IP for the specified subnet.", r.IP)
			}
			return sub, nil
		}
		if r.SubnetID == "" && model.IsHostIn(sub.CIDR, r.IP) {
			return sub, nil
		}
	}
	if r.SubnetID != "" {
		return nil, invalidInput("Failed to create port on network %s, because fixed_ips included invalid subnet %s", net, r.SubnetID)
	}
	return nil, model.Errf(model.KindInvalid, "InvalidIpForNetwork", "IP address %s is not a valid IP for any of the subnets on the specified network.", r.IP)
}

// freeIP finds a free address in the subnet's pools: at random, and where that
// fails by reading which are taken. avoid holds addresses promised already.
func (t *tx) freeIP(sub *model.Subnet, avoid map[model.AddrPair]bool) (netip.Addr, bool) {
	total := uint64(0)
	for _, p := range sub.AllocationPools {
		total += poolSize(p)
	}
	if total == 0 {
		return netip.Addr{}, false
	}
	for range ipProbes {
		ip := nthAddr(sub.AllocationPools, rand.Uint64N(total))
		if avoid[model.AddrPair{SubnetID: sub.ID, IP: ip}] {
			continue
		}
		if _, taken := t.Lookup(ixIP, join(sub.ID, addrKey(ip))); !taken {
			return ip, true
		}
	}
	// The subnet is dense. Walk pools and taken addresses together, both in
	// order, to the first gap: the cost follows what is taken, not the range.
	taken := map[string]bool{}
	for _, k := range suffixes(t, ixIP, string(sub.ID)+"/") {
		taken[k] = true
	}
	for _, p := range sub.AllocationPools {
		for ip := p.Start; ; ip = ip.Next() {
			if !taken[addrKey(ip)] && !avoid[model.AddrPair{SubnetID: sub.ID, IP: ip}] {
				return ip, true
			}
			if ip == p.End {
				break
			}
		}
	}
	return netip.Addr{}, false
}

func v4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func poolSize(p model.AddrRange) uint64 { return uint64(v4(p.End)) - uint64(v4(p.Start)) + 1 }

// nthAddr is the n-th address of the pools taken together.
func nthAddr(pools []model.AddrRange, n uint64) netip.Addr {
	for _, p := range pools {
		size := poolSize(p)
		if n < size {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], v4(p.Start)+uint32(n))
			return netip.AddrFrom4(b)
		}
		n -= size
	}
	return netip.Addr{}
}

// freeMAC draws a MAC in OpenStack's range, fa:16:3e.
func (t *tx) freeMAC(net model.NetworkID) (model.NamedMAC, error) {
	for range macProbes {
		n := rand.Uint32N(1 << 24)
		mac := model.MAC{0xfa, 0x16, 0x3e, byte(n >> 16), byte(n >> 8), byte(n)}
		if _, taken := t.Lookup(ixMAC, join(net, mac)); !taken {
			return model.NamedMAC{MAC: mac}, nil
		}
	}
	return model.NamedMAC{}, model.Errf(model.KindUnavailable, "MacAddressGenerationFailure", "Unable to generate unique mac on network %s.", net)
}
