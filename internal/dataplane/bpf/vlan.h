/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* From a VLAN of an uplink. Whoever is there is a station of its own: it is what no port, router or
 * remote site is, and takes nothing from them. */
#pragma once

#include "drop.h"
#include "l2.h"
#include "l3.h"
#include "learn.h"

#define VLAN(skb, eth) \
	((skb)->vlan_present || (eth)->type == bpf_htons(ETH_P_8021Q) || (eth)->type == bpf_htons(ETH_P_8021AD))

/* Whether an address is somebody's who is not on a VLAN. */
static __always_inline bool addr_taken(struct packet *p, __u32 net, const struct addr *a)
{
	if (bpf_map_lookup_elem(&neighbors, neighbor_key(p, net, a)))
		return true;
	return held_by_port(sender_addr(p, net, a));
}

/* The allowance that what is learned on a network's VLANs is charged to. */
static __always_inline struct port *vlan_station(struct packet *p, const struct fdb_entry *vlan)
{
	struct port *s = &p->station;

	__builtin_memset(s, 0, sizeof(*s));
	s->port = LEARNER_VLAN | vlan->id;
	s->net = vlan->id;
	s->learn_limit = vlan->table;
	return s;
}

/* Checks an address with the MAC it came with, and learns it if it can be one of the
 * network's. */
static __noinline bool vlan_addr(struct packet *p, const struct fdb_entry *vlan, __be32 v4)
{
	addr_v4(&p->addr, v4);
	if (addr_taken(p, vlan->id, &p->addr))
		return false;
	if (pair_net(vlan->id, &p->addr))
		learn_addr(p, vlan_station(p, vlan), &p->addr, p->eth.src, true);
	return true;
}

/* Checks and learns the source of a frame. Drop reason, or 0. */
static __noinline __u32 vlan_source(struct packet *p, const struct fdb_entry *vlan)
{
	const __u8 *src = p->eth.src;
	__u32 net = vlan->id;

	if (src[0] & 1 || bpf_map_lookup_elem(&fdb, fdb_key(p, net, src)) || held_by_port(sender_mac(p, net, src)))
		return DROP_SPOOF_MAC;
	learn(p, vlan_station(p, vlan), p->ifindex | (__u64)vlan->vni << 32, true);
	return 0;
}

/* Checks who sends a frame, without its tag, and learns it. Drop reason, or 0. */
static __noinline __u32 vlan_check(struct __sk_buff *skb, struct packet *p, const struct fdb_entry *vlan)
{
	__u32 why;

	if (bpf_skb_load_bytes(skb, 0, &p->eth, sizeof(p->eth)))
		return DROP_FRAME_MALFORMED;
	if (link_local(p->eth.dst))
		return DROP_LINK_LOCAL;
	if (p->eth.type == bpf_htons(ETH_P_ARP)) {
		struct arp *a = &p->arp;

		if (bpf_skb_load_bytes(skb, sizeof(p->eth), a, sizeof(*a)))
			return DROP_FRAME_MALFORMED;
		why = vlan_source(p, vlan);
		if (why)
			return why;
		if (__builtin_memcmp(a->sender_mac, p->eth.src, 6) || (a->sender_ip && !vlan_addr(p, vlan, a->sender_ip)))
			return DROP_SPOOF_ARP;
		p->heard = a->sender_ip && p->serves;
	} else if (p->eth.type == bpf_htons(ETH_P_IP)) {
		struct ipv4 *ip = &p->ip;

		if (bpf_skb_load_bytes(skb, sizeof(p->eth), ip, sizeof(*ip)) || ip->vihl >> 4 != 4)
			return DROP_FRAME_MALFORMED;
		why = vlan_source(p, vlan);
		if (why)
			return why;
		if (ip->src && !vlan_addr(p, vlan, ip->src))
			return DROP_SPOOF_IP;
	} else {
		return vlan_source(p, vlan);
	}
	return 0;
}

/* Tagged frames. Those of a VLAN that no network is on are the host's. */
static __always_inline int from_trunk(struct __sk_buff *skb, struct packet *p)
{
	struct vlan_key k = {.ifindex = skb->ifindex};
	struct fdb_entry *vlan;
	struct eth *eth;
	__be16 inner;
	__u32 why;

	if (skb->vlan_present) {
		if (skb->vlan_proto != bpf_htons(ETH_P_8021Q))
			return pass();
		k.vlan = skb->vlan_tci & VLAN_ID;
	} else {
		if (bpf_skb_load_bytes(skb, 14, &inner, sizeof(inner)))
			return pass();
		k.vlan = bpf_ntohs(inner) & VLAN_ID;
	}
	vlan = bpf_map_lookup_elem(&vlans, &k);
	if (!vlan)
		return pass();
	if (unlikely(agent_dead()))
		return drop(skb, DROP_AGENT_DEAD);
	if (unlikely(vlan->drop))
		return drop(skb, vlan->drop);
	if (bpf_skb_load_bytes(skb, skb->vlan_present ? 12 : 16, &inner, sizeof(inner)))
		return drop(skb, DROP_FRAME_MALFORMED);
	if (inner == bpf_htons(ETH_P_8021Q) || inner == bpf_htons(ETH_P_8021AD))
		return drop(skb, DROP_VLAN_TAGGED);
	if (bpf_skb_vlan_pop(skb))
		return drop(skb, DROP_INTERNAL);
	count_rx(vlan->counter, skb->len);
	p->from = SOURCE_VLAN;
	p->net = vlan->id;
	p->serves = vlan->flags & FDB_F_SERVES;
	why = vlan_check(skb, p, vlan);
	if (why)
		return drop(skb, why);
	pull(skb, 14 + 40 + 8);
	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb))
		return drop(skb, DROP_INTERNAL);
	if (eth->type == bpf_htons(ETH_P_ARP)) {
		int act = answer_arp(skb, p, vlan);

		if (act != ARP_BRIDGE)
			return act;
	}
	return bridge(skb, p, SOURCE_VLAN);
}
