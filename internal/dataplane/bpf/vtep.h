/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Into a tunnel. */
#pragma once

#include "drop.h"
#include "flows.h"
#include "packet.h"
#include "parse.h"

/* Four bytes of ports of a transport that has them there, else 0. */
static __always_inline __u64 ports_of(__u8 protocol, const void *l4, const void *end)
{
	const __be16 *p = l4;

	if (!has_ports(protocol))
		return 0;
	if ((const void *)(p + 2) > end)
		return 0;
	return (__u64)bpf_ntohs(p[0]) << 16 | bpf_ntohs(p[1]);
}

static __always_inline void flow_of(struct flow *f, const struct eth *eth, const void *end, __u64 key)
{
	__u64 h = key;

	f->tos = 0;
	if (eth->type == bpf_htons(ETH_P_IP)) {
		const struct ipv4 *ip = (const void *)(eth + 1);

		f->ip = true;
		if ((const void *)(ip + 1) <= end && ip->vihl >> 4 == 4) {
			__u64 ports = 0;

			f->tos = ip->tos & ECN_MASK;
			if (ip->vihl == 0x45 && !(ip->frag & bpf_htons(IP_MF | IP_OFFSET)))
				ports = ports_of(ip->protocol, ip + 1, end);
			h = mix(h, (__u64)bpf_ntohl(ip->src) << 32 | bpf_ntohl(ip->dst));
			f->hash = mix(h, (__u64)ip->protocol << 32 | ports);
			return;
		}
	} else if (eth->type == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6 *ip = (const void *)(eth + 1);

		f->ip = true;
		if ((const void *)(ip + 1) <= end && bpf_ntohl(ip->flow) >> 28 == 6) {
			const __u8 *l4 = (const void *)(ip + 1);
			__u8 next = ip->next;

			/* As jumbo_tcp: a flow has one port whatever its packets' length. */
			if (unlikely(next == PROTO_HOPOPTS) && l4 + 8 <= (const __u8 *)end && l4[0] == PROTO_TCP && !l4[1] &&
			    l4[2] == 0xc2 && l4[3] == 4) {
				next = PROTO_TCP;
				l4 += 8;
			}
			f->tos = bpf_ntohl(ip->flow) >> 20 & ECN_MASK;
			h = mix(h, (__u64)bpf_ntohl(ip->src[0]) << 32 | bpf_ntohl(ip->src[1]));
			h = mix(h, (__u64)bpf_ntohl(ip->src[2]) << 32 | bpf_ntohl(ip->src[3]));
			h = mix(h, (__u64)bpf_ntohl(ip->dst[0]) << 32 | bpf_ntohl(ip->dst[1]));
			h = mix(h, (__u64)bpf_ntohl(ip->dst[2]) << 32 | bpf_ntohl(ip->dst[3]));
			f->hash = mix(h, (__u64)next << 32 | ports_of(next, l4, end));
			return;
		}
	} else {
		f->ip = false;
	}
	h = mix(h, mac_number(eth->dst) << 16 | bpf_ntohs(eth->type));
	f->hash = mix(h, mac_number(eth->src));
}

static __always_inline void record_tunnel(enum verdict v, const struct outer *o, __u32 ifindex, __u32 flags, __u8 tos, bool known,
					  bool stays)
{
	struct record *r = record_of(v);

	if (!r)
		return;
	r->ifindex = ifindex;
	r->flags = flags;
	r->tos = tos;
	r->vni = o->vni;
	r->table = o->table;
	addr_v4(&r->local, o->local);
	addr_v4(&r->remote, o->remote);
	r->known = known;
	r->stays = stays;
}

/* By the kernel's vxlan device, or that of the fabric, which take any frame. Its own route look-up goes
 * by the host's rules. Without DF: the sizes were checked before, and what an ICMP error
 * made the kernel believe of the path (a route exception, which anybody can bring about)
 * would have it drop what is larger. So it sends fragments, which the peer's kernel
 * puts together. */
static __always_inline int tunnel_by_device(struct __sk_buff *skb, struct packet *p, const struct fdb_entry *ep, __u8 tos,
					    const struct config *cfg)
{
	struct bpf_tunnel_key *key = &p->key;
	const struct outer *o = &p->outer;
	__u32 len = skb->len, ifindex;

	__builtin_memset(key, 0, sizeof(*key));
	key->tunnel_id = o->vni;
	/* The addresses of a tunnel key are in host order. */
	key->remote_ipv4 = bpf_ntohl(o->remote);
	key->tunnel_tos = tos;
	key->tunnel_ttl = 64;
	key->local_ipv4 = bpf_ntohl(o->local);
	if (bpf_skb_set_tunnel_key(skb, key, sizeof(*key), BPF_F_ZERO_CSUM_TX))
		return drop(skb, DROP_INTERNAL);
	count_tx(ep->counter, len);
	ifindex = ep->kind == FDB_HOST ? cfg->fabric_ifindex : cfg->vxlan_ifindex;
	if (cfg_record)
		record_tunnel(VERDICT_VXLAN, o, ifindex, ep->flags, tos, false, false);
	return bpf_redirect(ifindex, 0);
}

static __always_inline __u16 port_of(const struct flow *f)
{
	return 49152 | f->hash >> 50;
}

/* Before an inner frame of len bytes, in room that is there. */
static __always_inline void write_outer(void *data, const struct outer *o, __u8 tos, __u32 len)
{
	struct eth *eth = data;
	struct ipv4 *ip = data + OUTER_IP;
	struct udp *udp = data + OUTER_UDP;
	struct vxlan *vxlan = data + OUTER_VXLAN;
	__u32 tot_len = len + OUTER_LEN - sizeof(*eth);

	/* Only a GSO packet can be longer than a length field: the kernel writes
	 * its own ones when it cuts it, and 0 is its sign for "too long". */
	if (tot_len > 0xffff)
		tot_len = 0;
	/* bpf_redirect_neigh writes this header, and refuses a group address in it. */
	__builtin_memset(eth, 0, sizeof(*eth));
	eth->type = bpf_htons(ETH_P_IP);
	ip->vihl = 0x45;
	ip->tos = tos;
	ip->tot_len = bpf_htons(tot_len);
	ip->id = 0;
	ip->frag = bpf_htons(IP_DF);
	ip->ttl = 64;
	ip->protocol = PROTO_UDP;
	ip->src = o->local;
	ip->dst = o->remote;
	ip->check = ~fold(bpf_htons(0x4500 | tos) + bpf_htons(tot_len) + bpf_htons(IP_DF) + bpf_htons(64 << 8 | PROTO_UDP) +
			  (o->local & 0xffff) + (o->local >> 16) + (o->remote & 0xffff) + (o->remote >> 16));
	udp->src = bpf_htons(o->port);
	udp->dst = bpf_htons(o->dport);
	udp->len = bpf_htons(tot_len ? tot_len - 20 : 0);
	udp->check = 0;
	*(__u32 *)vxlan = bpf_htonl((__u32)VXLAN_FLAG_VNI << 24);
	vxlan->vni = bpf_htonl(o->vni << 8);
}

/* The source ports of a class are class_port and those behind it. */
static __always_inline __u16 class_of(__u16 port)
{
	return port >> 10 & (NEXTHOP_CLASSES - 1);
}

static __always_inline __u16 class_port(__u16 class)
{
	return 49152 | class << 10;
}

/* Asks the kernel for the next hop to o->remote, for all flows that share the row n. */
static __noinline bool ask_next_hop(struct __sk_buff *skb, struct packet *p, const struct outer *o, struct nexthop *n)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct bpf_fib_lookup *fib = &p->fib;
	long err;

	if (!cfg)
		return false;
	n->tick = 0;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = AF_INET;
	fib->l4_protocol = PROTO_UDP;
	fib->sport = bpf_htons(class_port(class_of(o->port)));
	fib->dport = bpf_htons(o->dport);
	/* Not 0, or the kernel holds the bare frame against the device's MTU; the
	 * FDB entry's mtu has decided that. */
	fib->tot_len = 1;
	/* bpf_ipv4_fib_lookup wants the forwarding switch of this device on, and has
	 * no other use for it with DIRECT. */
	fib->ifindex = cfg->vxlan_ifindex;
	fib->ipv4_src = o->local;
	fib->ipv4_dst = o->remote;
	fib->tbid = o->table;
	err = bpf_fib_lookup(skb, fib, sizeof(*fib), FIB_LOOKUP_DIRECT | FIB_LOOKUP_TBID);
	if (unlikely(err != FIB_RET_SUCCESS && err != FIB_RET_NO_NEIGH))
		return false;
	n->known = err == FIB_RET_SUCCESS;
	mac_copy(n->dmac, fib->dmac);
	mac_copy(n->smac, fib->smac);
	n->table = o->table;
	addr_v4(&n->local, o->local);
	addr_v4(&n->remote, o->remote);
	/* The family is the next hop's: IPv4 routes can have an IPv6 one. */
	n->family = fib->family;
	n->ifindex = fib->ifindex;
	__builtin_memcpy(n->addr, fib->ipv6_dst, sizeof(n->addr));
	return true;
}

/* The next hop of the outer packet; NULL: no route. The look-up is the dearest part
 * of the way into a tunnel, so that its answer serves for the rest of the clock's tick (10 ms at
 * most). *fresh is set where it was asked just now. */
static __always_inline struct nexthop *next_hop(struct __sk_buff *skb, struct packet *p, const struct outer *o, __u64 tick, bool *fresh)
{
	__u32 path = (o->remote ^ o->local) * 0x9E3779B1U;
	__u32 index = (path >> 26) * NEXTHOP_CLASSES + class_of(o->port); /* 6 bits and 4 */
	struct nexthop *n = bpf_map_lookup_elem(&nexthops, &index);

	if (unlikely(!n))
		return NULL;
	if (likely(n->tick == tick && n->table == o->table && addr_to_v4(&n->remote) == o->remote &&
		   addr_to_v4(&n->local) == o->local))
		return n;
	if (!ask_next_hop(skb, p, o, n))
		return NULL;
	*fresh = true;
	n->tick = tick;
	return n;
}

/* Notes that the port was used. */
static __always_inline void note_port(const struct outer *o, __u64 tick)
{
	__u32 index = o->port & (SENT_PORTS - 1);
	struct sent_port *s = bpf_map_lookup_elem(&sent_ports, &index);

	if (unlikely(!s) || (s->tick == tick && s->port == o->port && addr_to_v4(&s->remote) == o->remote &&
			     addr_to_v4(&s->local) == o->local))
		return;
	s->port = o->port;
	addr_v4(&s->local, o->local);
	addr_v4(&s->remote, o->remote);
	s->tick = tick;
}

/* Makes room for the outer header; false: the kernel refuses, and nothing has changed. Anything
 * else than these flags and 14 bytes of inner Ethernet header breaks the segmentation of
 * what is inside. */
static __always_inline bool make_room(struct __sk_buff *skb)
{
	return !bpf_skb_adjust_room(skb, OUTER_LEN, BPF_ADJ_ROOM_MAC,
				    BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
					    BPF_F_ADJ_ROOM_ENCAP_L2(14) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH);
}

/* To the next hop, once the packet is written. One packet of a tick goes by the kernel's
 * neighbour table, which resolves and confirms the next hop; the others are spared that. */
static __always_inline int to_next_hop(struct __sk_buff *skb, struct packet *p, const struct nexthop *next, bool fresh)
{
	struct eth *eth = DATA(skb);

	if (likely(!fresh && next->known && !cfg_record)) {
		if (unlikely((void *)(eth + 1) > DATA_END(skb)))
			return drop(skb, DROP_INTERNAL);
		mac_copy(eth->dst, next->dmac);
		mac_copy(eth->src, next->smac);
		return bpf_redirect(next->ifindex, 0);
	}
	p->nexthop.nh_family = next->family;
	__builtin_memcpy(p->nexthop.ipv6_nh, next->addr, sizeof(p->nexthop.ipv6_nh));
	return bpf_redirect_neigh(next->ifindex, &p->nexthop, sizeof(p->nexthop), 0);
}

/* To a remote VTEP or another host. by_device: always through the vxlan device. stays: the frame is in a tunnel packet
 * still, with the inner Ethernet header in p->eth, and its outer headers are written anew where they are. */
static __always_inline int into_tunnel(struct __sk_buff *skb, struct packet *p, struct fdb_entry *ep, bool by_device, bool stays)
{
	__u32 zero = 0, len = stays ? skb->len - OUTER_LEN : skb->len;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct eth *eth = DATA(skb) + (stays ? OUTER_INNER : 0);
	__u64 tick = bpf_jiffies64();
	struct nexthop *next;
	bool fresh = false;
	struct flow *flow;
	struct outer *o;

	if (unlikely(!p || !ep || !cfg || (void *)(eth + 1) > DATA_END(skb)))
		return drop(skb, DROP_INTERNAL);
	flow = &p->flow;
	flow_of(flow, eth, DATA_END(skb), cfg->hash_key);
	if (!stays)
		eth_copy(&p->eth, eth);
	o = &p->outer;
	o->local = addr_to_v4(&ep->local);
	o->remote = addr_to_v4(&ep->addr);
	o->vni = ep->vni;
	o->table = ep->table;
	o->port = port_of(flow);
	o->dport = ep->udp_port;
	next = next_hop(skb, p, o, tick, &fresh);
	if (unlikely(!next))
		return drop(skb, DROP_UNDERLAY_NO_ROUTE);
	if (!stays) {
		if (unlikely(!flow->ip || by_device || ep->flags & FDB_F_KERNEL))
			return tunnel_by_device(skb, p, ep, flow->tos, cfg);
		if (unlikely(!make_room(skb))) {
			/* The next packets of what came out of a tunnel need no room. */
			if (p->from != SOURCE_WORKLOAD && p->generation)
				remember(skb, p, ep);
			return tunnel_by_device(skb, p, ep, flow->tos, cfg);
		}
	}
	eth = DATA(skb) + OUTER_INNER;
	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(skb, DROP_INTERNAL);
	write_outer(DATA(skb), o, flow->tos, len);
	if (!stays)
		eth_copy(eth, &p->eth);
	note_port(o, tick);
	count_tx(ep->counter, len);
	if (cfg_record)
		record_tunnel(VERDICT_TUNNEL, o, 0, ep->flags, flow->tos, false, stays);
	if (p->generation)
		remember(skb, p, ep);
	return to_next_hop(skb, p, next, fresh);
}

/* A global function: the verifier looks at it once, not once for each way that leads here. */
__noinline int tunnel(struct __sk_buff *skb, struct packet *p, struct fdb_entry *ep, bool by_device)
{
	return into_tunnel(skb, p, ep, by_device, false);
}

#define NO_ROOM 1 /* return value of tunnel_known: nothing was done */

/* As a row of flows says, from a workload; or stays, from a tunnel. */
static __always_inline int into_known(struct __sk_buff *skb, struct packet *p, struct flow_row *r, bool stays)
{
	__u32 len = stays ? skb->len - OUTER_LEN : skb->len;
	const struct outer *o;
	__u64 tick = bpf_jiffies64();
	struct nexthop *next;
	bool fresh = false;
	struct ipv4 *ip;
	struct eth *eth;
	__u8 tos;

	if (unlikely(!p || !r))
		return drop(skb, DROP_INTERNAL);
	o = &r->outer;
	next = next_hop(skb, p, o, tick, &fresh);
	if (unlikely(!next)) {
		count_rx(r->rx, len);
		return drop(skb, DROP_UNDERLAY_NO_ROUTE);
	}
	if (!stays && unlikely(!make_room(skb)))
		return NO_ROOM;
	eth = DATA(skb) + OUTER_INNER;
	ip = (void *)(eth + 1);
	if (unlikely((void *)(ip + 1) > DATA_END(skb)))
		return drop(skb, DROP_INTERNAL);
	tos = ip->tos & ECN_MASK;
	write_outer(DATA(skb), o, tos, len);
	mac_copy(eth->dst, r->dst);
	mac_copy(eth->src, r->src);
	if (!stays)
		eth->type = bpf_htons(ETH_P_IP);
	if (r->turns)
		set_ttl(ip, ip->ttl - r->turns);
	count_rx(r->rx, len);
	count_tx(r->tx, len);
	if (unlikely(r->noted != tick)) {
		note_port(o, tick);
		r->noted = tick;
	}
	if (cfg_record)
		record_tunnel(VERDICT_TUNNEL, o, 0, r->flags, tos, true, stays);
	return to_next_hop(skb, p, next, fresh);
}

__noinline int tunnel_known(struct __sk_buff *skb, struct packet *p, struct flow_row *r)
{
	return into_known(skb, p, r, false);
}
