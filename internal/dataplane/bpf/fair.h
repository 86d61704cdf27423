/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Who may make how much of the work that all share: a sender at a router or in a network
 * first, then the router or network, then all of the host. So what one sender makes too
 * much of is refused before it costs others anything. */
#pragma once

#include "maps.h"
#include "parse.h"

/* Takes n tokens where there is one: the others are owed. */
static __noinline bool take(__u64 *spent, const struct rate *r, __u32 n)
{
	__u64 now = bpf_ktime_get_ns(), step, full;

	if (!r->rate)
		return true;
	step = 1000000000ULL / r->rate;
	full = step * r->burst;
	for (int try = 0; try < 4; try++) {
		__u64 old = *(volatile __u64 *)spent, next = old;

		if (now > full && next < now - full)
			next = now - full;
		if (next + step > now)
			return false;
		next += step * n;
		if (__sync_val_compare_and_swap(spent, old, next) == old)
			return true;
	}
	return false;
}

/* The sender of none: the allowance of a whole network. */
#define SOURCE_ALL (1ULL << 63)

static __always_inline __u64 *share_of(const struct config *cfg, __u32 purpose, __u32 owner, __u64 source)
{
	__u32 index = mix(mix(cfg->hash_key, (__u64)purpose << 32 | owner), source) >> (64 - SHARES_BITS);

	return bpf_map_lookup_elem(&shares, &index);
}

/* A router's row; NULL where the map is full. */
static __always_inline struct icmp_bucket *bucket_of(__u32 router)
{
	static const struct icmp_bucket fresh = {}; /* not on the stack, which is small */
	struct icmp_bucket *b = bpf_map_lookup_elem(&icmp_buckets, &router);

	if (b)
		return b;
	/* Another processor may have been first; both use the same row. */
	bpf_map_update_elem(&icmp_buckets, &router, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&icmp_buckets, &router);
}

/* Takes n tokens of a sender's allowance for a purpose, and of those behind it. owner is the router
 * or the network. */
static __noinline bool allowed(const struct config *cfg, __u32 purpose, __u32 owner, __u64 source, __u32 n)
{
	const struct rates *r;
	__u64 *spent;

	if (purpose >= PURPOSES)
		return false;
	r = &cfg->rates[purpose];
	if (!r->source.rate)
		return true;
	spent = share_of(cfg, purpose, owner, source);
	if (!spent || !take(spent, &r->source, n))
		return false;
	if (purpose < ROUTER_PURPOSES) {
		struct icmp_bucket *b = bucket_of(owner);

		if (!b || !take(&b->spent[purpose], &r->owner, n))
			return false;
	} else {
		spent = share_of(cfg, purpose, owner, SOURCE_ALL);
		if (!spent || !take(spent, &r->owner, n))
			return false;
	}
	spent = bpf_map_lookup_elem(&hosts, &purpose);
	return spent && take(spent, &r->host, n);
}

/* Senders that are no workloads of this host: so many at a router, by their address. */
#define OTHER_SENDERS 64

/* Who sent a packet that a router has: the interface of a workload, whatever it says that
 * it is; else by its address. */
static __noinline __u64 source_of(struct __sk_buff *skb, const struct config *cfg)
{
	__u32 ifindex = skb->ifindex;
	__be32 src;

	if (bpf_map_lookup_elem(&ports, &ifindex))
		return ifindex;
	if (bpf_skb_load_bytes(skb, sizeof(struct eth) + offsetof(struct ipv4, src), &src, sizeof(src)))
		src = 0;
	return 1ULL << 32 | mix(cfg->hash_key, src) % OTHER_SENDERS;
}
