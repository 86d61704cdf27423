/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* The flow table: the whole pipeline decides of a flow once, and a row remembers it. Later packets
 * take one look-up, and what is looked at of each packet (docs/PIPELINE.md, "Flows").
 *
 * The agent writes maps, then raises the generation, then acknowledges. A program reads the
 * generation before its first look-up, so that a row never has a newer generation than what it
 * was decided by. */
#pragma once

#include "drop.h"
#include "packet.h"
#include "parse.h"

/* Set by the loader: how many bits of a hash choose the row, and what the hash is keyed by. */
const volatile __u32 cfg_flow_bits = 0;
const volatile __u64 cfg_flow_seed = 0;

/* Raised by the agent. 0: there is nothing to go by yet. */
volatile __u64 generation = 0;

ARRAY(flows, BPF_MAP_TYPE_PERCPU_ARRAY, struct flow_row, 1);

/* Whose row it is, or will be: the hash of the last flow's key. A table so small stays in the
 * processor's cache, so that a packet without a row costs little; and a flow gets a row with its
 * second packet, so that those of one packet cost no more than that. */
ARRAY(flow_tags, BPF_MAP_TYPE_PERCPU_ARRAY, __u64, 1);

/* Who could tell which flows share a row would gain nothing but that they take the whole
 * pipeline in turns. */
static __always_inline __u64 flow_hash(const struct flow_key *k, enum flow_kind kind)
{
	__u64 h = k->macs * 0x9E3779B97F4A7C15ULL + k->source * 0xC2B2AE3D27D4EB4FULL +
		  k->addrs * 0x165667B19E3779F9ULL + k->transport * 0xD6E8FEB86659FD93ULL;

	if (kind == FLOW_TUNNEL)
		h += k->outer * 0xFF51AFD7ED558CCDULL + k->vni * 0xC4CEB9FE1A85EC53ULL;
	return (h ^ h >> 32 ^ cfg_flow_seed) * 0x9E3779B97F4A7C15ULL;
}

/* Keys of two kinds are never equal. */
static __always_inline bool flow_equal(const struct flow_key *a, const struct flow_key *b, enum flow_kind kind)
{
	__u64 differ = (a->macs ^ b->macs) | (a->source ^ b->source) | (a->addrs ^ b->addrs) | (a->transport ^ b->transport);

	if (kind == FLOW_TUNNEL)
		differ |= (a->outer ^ b->outer) | (a->vni ^ b->vni);
	return !differ;
}

/* What may be other in each packet of a flow: whether the row's decision holds for this one. The
 * IP packet is at off + 14, and no longer than room. */
static __always_inline bool flow_holds(struct __sk_buff *skb, const struct ipv4 *ip, __u32 off, __u32 room, const struct flow_row *r)
{
	__u32 size = bpf_ntohs(ip->tot_len), len;

	if (unlikely(skb->gso_size))
		size = segment_len(skb, off, bpf_htons(ETH_P_IP));
	if (unlikely(size > r->mtu))
		return false;
	if (!r->turns)
		return true;
	len = ipv4_len(skb, ip);
	return !unlikely(ip->ttl <= r->turns || len < sizeof(*ip) || (len > room && !skb->gso_size) || ipv4_sum(ip) != 0xffff);
}

/* The row that decides of a packet, whose frame is at off and ends after an IP packet of at most
 * room bytes; NULL: the whole pipeline does. */
static __always_inline struct flow_row *flow_find(struct __sk_buff *skb, struct packet *p, __u32 off, __u32 room, __u64 now,
						  enum flow_kind kind)
{
	struct eth *eth = DATA(skb) + off;
	struct ipv4 *ip = (void *)(eth + 1);
	struct flow_key *k = &p->flow_key;
	__u64 ports = 0, *tag;
	struct flow_row *r;

	if (unlikely(!now || (void *)(ip + 1) + 4 > DATA_END(skb)))
		return NULL;
	if (unlikely(eth->type != bpf_htons(ETH_P_IP) || ip->vihl != 0x45 || ip->frag & bpf_htons(IP_MF | IP_OFFSET)))
		return NULL;
	if (likely(has_ports(ip->protocol)))
		ports = *(__u32 *)(ip + 1);
	k->macs = *(__u64 *)eth;
	k->source = *(__u32 *)(eth->src + 2) | (__u64)p->ifindex << 32;
	k->addrs = *(__u64 *)&ip->src;
	k->transport = ports | (__u64)ip->protocol << 32 | (__u64)kind << 40;
	p->flow_hash = flow_hash(k, kind);
	p->row = p->flow_hash >> (64 - cfg_flow_bits);
	p->generation = now;
	p->least = ~0U;
	p->turns = 0;
	tag = bpf_map_lookup_elem(&flow_tags, &p->row);
	p->seen = tag && *tag == p->flow_hash;
	if (!p->seen)
		return NULL;
	r = bpf_map_lookup_elem(&flows, &p->row);
	if (likely(r && r->generation == now && flow_equal(&r->key, k, kind) && flow_holds(skb, ip, off, room, r)))
		return r;
	return NULL;
}

/* That of a workload's packet. */
static __always_inline struct flow_row *flow_of_workload(struct __sk_buff *skb, struct packet *p)
{
	__u64 now = generation;

	p->generation = 0;
	if (unlikely(skb->vlan_present))
		return NULL;
	return flow_find(skb, p, 0, skb->len - sizeof(struct eth), now, FLOW_WORKLOAD);
}

/* That of what is in a tunnel packet, of the tunnel p->tunnel, whose outer header can be read and has the
 * destination port. */
static __always_inline struct flow_row *flow_of_tunnel(struct __sk_buff *skb, struct packet *p, __u32 room, __be16 port)
{
	__u64 now = generation;

	if (unlikely(room < sizeof(struct ipv4) + 4))
		return NULL;
	p->flow_key.outer = addr_to_v4(&p->tunnel.remote) | (__u64)addr_to_v4(&p->tunnel.local) << 32;
	p->flow_key.vni = p->tunnel.vni | (__u64)port << 32;
	return flow_find(skb, p, OUTER_INNER, room, now, FLOW_TUNNEL);
}

/* Notes that the packet goes to a port, as it is now; or into a tunnel, with p->outer and the inner
 * header p->eth. */
__noinline int remember(struct __sk_buff *skb, struct packet *p, struct fdb_entry *ep)
{
	struct eth *eth = DATA(skb);
	struct flow_row *r;
	__u64 *tag;

	if (!p || !ep || (void *)(eth + 1) > DATA_END(skb))
		return 0;
	if (!p->seen) {
		tag = bpf_map_lookup_elem(&flow_tags, &p->row);
		if (tag)
			*tag = p->flow_hash;
		return 0;
	}
	r = bpf_map_lookup_elem(&flows, &p->row);
	if (!r)
		return 0;
	*(volatile __u64 *)&r->generation = 0;
	r->key = p->flow_key;
	r->turns = p->turns;
	r->mtu = p->turns ? p->least : ep->mtu;
	r->rx = p->rx;
	r->tx = ep->counter;
	r->ifindex = ep->ifindex;
	r->flags = ep->flags;
	if (ep->kind != FDB_PORT) {
		mac_copy(r->dst, p->eth.dst);
		mac_copy(r->src, p->eth.src);
		r->outer = p->outer;
		r->noted = 0;
	} else {
		mac_copy(r->dst, eth->dst);
		mac_copy(r->src, eth->src);
	}
	*(volatile __u64 *)&r->generation = p->generation;
	return 0;
}
