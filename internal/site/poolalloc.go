package site

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Which prefixes of a pool are taken is told by index entries whose keys are the
// prefixes' bits as text. Whatever overlaps a prefix then has a key that begins
// with its bits, or is a beginning of them: one scan and a few look-ups, however
// many subnets the pool has, and two creators conflict only where their prefixes
// overlap.

// prefixKey is the entry's key in ixPrefixOfPool.
func prefixKey(pool model.SubnetPoolID, p netip.Prefix) string {
	return string(pool) + "/" + bitText(p)
}

// bitText writes the bits of a prefix as 0 and 1.
func bitText(p netip.Prefix) string {
	s := strconv.FormatUint(uint64(v4(p.Addr())), 2)
	return (strings.Repeat("0", 32-len(s)) + s)[:p.Bits()]
}

// projectKey makes a project usable as a part of a key: it may be any text.
func projectKey(p model.ProjectID) string {
	if !strings.ContainsAny(string(p), "%/") {
		return string(p)
	}
	return strings.NewReplacer("%", "%25", "/", "%2F").Replace(string(p))
}

// fromPool takes the subnet's range out of a pool: what is asked for, or a free
// range of the length that is asked for.
func (t *tx) fromPool(in *SubnetInput) error {
	pool, err := t.poolFor(in)
	if err != nil || pool == nil {
		return err
	}
	in.PoolID = pool.ID
	if !in.CIDR.IsValid() && !in.AutoPools {
		return badRequest("subnets", "allocation_pools allowed only for specific subnet requests")
	}
	length := in.PrefixLen
	switch {
	case in.CIDR.IsValid():
		length = in.CIDR.Bits()
	case length == 0:
		length = pool.DefaultPrefixLen
	}
	if length > pool.MaxPrefixLen {
		return model.Errf(model.KindInvalid, "MaxPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length %d, maximum allowed prefix is %d.", length, pool.MaxPrefixLen)
	}
	if length < pool.MinPrefixLen {
		return model.Errf(model.KindInvalid, "MinPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length %d, minimum allowed prefix is %d.", length, pool.MinPrefixLen)
	}
	if err := t.checkPoolQuota(pool, in.ProjectID, length); err != nil {
		return err
	}
	if in.CIDR.IsValid() {
		base, ok := baseOf(pool.Prefixes, in.CIDR)
		if !ok || !t.prefixFree(pool.ID, base, in.CIDR) {
			return subnetAllocation("Cannot allocate requested subnet from the available set of prefixes")
		}
		return nil
	}
	p, ok := t.freePrefix(pool, length)
	if !ok {
		return subnetAllocation("Insufficient prefix space to allocate subnet size /" + strconv.Itoa(length))
	}
	in.CIDR = p
	return nil
}

// poolFor finds the pool that a request means, nil if it means none.
func (t *tx) poolFor(in *SubnetInput) (*model.SubnetPool, error) {
	if in.UseDefaultPool {
		if in.PoolID != "" {
			return nil, badRequest("subnets", "subnetpool_id and use_default_subnetpool cannot both be specified")
		}
		id, _ := t.Lookup(ixDefaultPool, "4")
		pool := named(t, store.SubnetPools, id)
		if pool == nil {
			return nil, badRequest("subnets", "No default subnetpool found for IPv4")
		}
		return pool, nil
	}
	if in.PoolID == "" {
		if !in.CIDR.IsValid() {
			return nil, badRequest("subnets", "a subnetpool must be specified in the absence of a cidr")
		}
		return nil, nil
	}
	return find(t, store.SubnetPools, string(in.PoolID), SubnetPoolNotFound)
}

// checkPoolQuota makes sure that a project takes no more of a pool than it may.
func (t *tx) checkPoolQuota(pool *model.SubnetPool, project model.ProjectID, length int) error {
	if pool.DefaultQuota == nil || *pool.DefaultQuota == 0 {
		return nil
	}
	used := addresses(length)
	prefix := join(pool.ID, projectKey(project)) + "/"
	for key := range t.Scan(ixPrefixOfProject, prefix) {
		used += addresses(len(key) - len(prefix))
	}
	if used > *pool.DefaultQuota {
		return conflict("SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded.")
	}
	return nil
}

// addresses is how many a prefix of the length has.
func addresses(length int) int64 { return 1 << (32 - length) }

// subnetAllocation is a 409: in Neutron it is an error of the server, which a full
// pool is not.
func subnetAllocation(why string) *model.Error {
	return conflict("SubnetAllocationError", "Failed to allocate subnet: %s.", why)
}

// baseOf finds the pool's prefix that covers p.
func baseOf(prefixes []netip.Prefix, p netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(prefixes, func(x netip.Prefix) bool { return holds([]netip.Prefix{x}, p) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return prefixes[i], true
}

// prefixFree tells whether nothing that overlaps p was taken. base is the pool's
// prefix around it.
func (t *tx) prefixFree(pool model.SubnetPoolID, base, p netip.Prefix) bool {
	key := prefixKey(pool, p)
	for range t.Scan(ixPrefixOfPool, key) {
		return false // p itself, or something in it
	}
	for longer := p.Bits() - base.Bits(); longer > 0; longer-- {
		if _, taken := t.Lookup(ixPrefixOfPool, key[:len(key)-longer]); taken {
			return false
		}
	}
	return true
}

// freePrefix finds a free range of a length. It looks at random in the first two
// places, the first four, and so on: so the pool fills from its beginning and keeps
// large ranges whole, while creators at the same time seldom want the same one. Where
// that fails it reads what is taken, to the first gap.
func (t *tx) freePrefix(pool *model.SubnetPool, length int) (netip.Prefix, bool) {
	// The smallest blocks first, for the same reason.
	blocks := slices.DeleteFunc(slices.Clone(pool.Prefixes), func(p netip.Prefix) bool { return p.Bits() > length })
	slices.SortStableFunc(blocks, func(a, b netip.Prefix) int { return cmp.Compare(b.Bits(), a.Bits()) })
	total := uint64(0)
	for _, b := range blocks {
		total += 1 << (length - b.Bits())
	}
	if total == 0 {
		return netip.Prefix{}, false
	}
	for window := uint64(1); ; window *= 2 {
		base, p := nthPrefix(blocks, length, rand.Uint64N(min(window, total)))
		if t.prefixFree(pool.ID, base, p) {
			return p, true
		}
		if window >= total {
			break
		}
	}
	return t.firstGap(pool.ID, blocks, length)
}

// nthPrefix is the n-th place of a length in blocks, and the block it is in.
func nthPrefix(blocks []netip.Prefix, length int, n uint64) (base, p netip.Prefix) {
	for _, b := range blocks {
		size := uint64(1) << (length - b.Bits())
		if n < size {
			return b, netip.PrefixFrom(addrV4(v4(b.Addr())+uint32(n<<(32-length))), length)
		}
		n -= size
	}
	return netip.Prefix{}, netip.Prefix{}
}

// firstGap reads all that is taken: the cost follows that, not the range.
func (t *tx) firstGap(pool model.SubnetPoolID, blocks []netip.Prefix, length int) (netip.Prefix, bool) {
	taken := suffixes(t, ixPrefixOfPool, string(pool)+"/")
	step := uint64(addresses(length))
	for _, b := range blocks {
		at, end := uint64(v4(b.Addr())), uint64(v4(b.Addr()))+uint64(addresses(b.Bits()))
		// Text order is address order: bits that begin another's come before it.
		i, _ := slices.BinarySearch(taken, bitText(b))
		for ; i < len(taken) && at+step <= end; i++ {
			from, to := rangeOf(taken[i])
			if from >= end {
				break
			}
			if at+step <= from {
				break
			}
			if to > at {
				at = (to + step - 1) / step * step
			}
		}
		if at+step <= end {
			return netip.PrefixFrom(addrV4(uint32(at)), length), true
		}
	}
	return netip.Prefix{}, false
}

// rangeOf reads what bitText wrote: the first address and the one after the last.
func rangeOf(bits string) (from, to uint64) {
	n, _ := strconv.ParseUint(bits, 2, 32)
	from = n << (32 - len(bits))
	return from, from + 1<<(32-len(bits))
}

func addrV4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// checkPoolAffinity makes sure that a network's subnets are all of one pool, or of
// pools of one address scope, or of none.
func (t *tx) checkPoolAffinity(sub *model.Subnet, others []*model.Subnet) error {
	scope := AddressScopeOf(t, sub.NetworkID)
	if scope != "" && sub.PoolID != "" {
		pool, err := find(t.Tx, store.SubnetPools, string(sub.PoolID), SubnetPoolNotFound)
		if err != nil {
			return err
		}
		if pool.AddressScopeID != scope {
			return scopeAffinity()
		}
		return nil
	}
	for _, other := range others {
		if other.PoolID != sub.PoolID {
			return model.Errf(model.KindInvalid, "NetworkSubnetPoolAffinityError", "Subnets hosted on the same network must be allocated from the same subnet pool.")
		}
	}
	return nil
}
