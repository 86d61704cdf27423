/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Into a tunnel. */
#pragma once

#include "drop.h"
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

static __always_inline void record_tunnel(enum verdict v, const struct fdb_entry *ep, __u8 tos)
{
	struct record *r = record_of(v);

	if (!r)
		return;
	r->flags = ep->flags;
	r->tos = tos;
	r->vni = ep->vni;
	r->table = ep->table;
	r->local = ep->local;
	r->remote = ep->addr;
}

/* By the kernel's vxlan device, which takes any frame. Its own route look-up goes
 * by the host's rules. Without DF: the sizes were checked before, and what an ICMP error
 * made the kernel believe of the path (a route exception, which anybody can bring about)
 * would have it drop what is larger. So it sends fragments, which the peer's kernel
 * puts together. */
static __always_inline int tunnel_by_device(struct __sk_buff *skb, struct packet *p, const struct fdb_entry *ep, __u8 tos,
					    const struct config *cfg)
{
	struct bpf_tunnel_key *key = &p->key;
	__u32 len = skb->len;

	__builtin_memset(key, 0, sizeof(*key));
	key->tunnel_id = ep->vni;
	/* The addresses of a tunnel key are in host order. */
	key->remote_ipv4 = bpf_ntohl(addr_to_v4(&ep->addr));
	key->tunnel_tos = tos;
	key->tunnel_ttl = 64;
	key->local_ipv4 = bpf_ntohl(addr_to_v4(&ep->local));
	if (bpf_skb_set_tunnel_key(skb, key, sizeof(*key), BPF_F_ZERO_CSUM_TX))
		return drop(DROP_INTERNAL);
	count_tx(ep->counter, len);
	if (cfg_record)
		record_tunnel(VERDICT_VXLAN, ep, tos);
	return bpf_redirect(cfg->vxlan_ifindex, 0);
}

static __always_inline __u16 port_of(const struct flow *f)
{
	return 49152 | f->hash >> 50;
}

static __always_inline void write_outer(void *data, const struct fdb_entry *ep, const struct flow *flow,
					const struct eth *inner, __u32 len)
{
	struct eth *eth = data;
	struct ipv4 *ip = data + OUTER_IP;
	struct udp *udp = data + OUTER_UDP;
	struct vxlan *vxlan = data + OUTER_VXLAN;
	__be32 src = addr_to_v4(&ep->local), dst = addr_to_v4(&ep->addr);
	__u32 tot_len = len + OUTER_LEN - sizeof(*eth);

	/* Only a GSO packet can be longer than a length field: the kernel writes
	 * its own ones when it cuts it, and 0 is its sign for "too long". */
	if (tot_len > 0xffff)
		tot_len = 0;
	/* bpf_redirect_neigh writes this header, and refuses a group address in it. */
	__builtin_memset(eth, 0, sizeof(*eth));
	eth->type = bpf_htons(ETH_P_IP);
	ip->vihl = 0x45;
	ip->tos = flow->tos;
	ip->tot_len = bpf_htons(tot_len);
	ip->id = 0;
	ip->frag = bpf_htons(IP_DF);
	ip->ttl = 64;
	ip->protocol = PROTO_UDP;
	ip->src = src;
	ip->dst = dst;
	ip->check = ~fold(bpf_htons(0x4500 | flow->tos) + bpf_htons(tot_len) + bpf_htons(IP_DF) +
			  bpf_htons(64 << 8 | PROTO_UDP) + (src & 0xffff) + (src >> 16) + (dst & 0xffff) + (dst >> 16));
	udp->src = bpf_htons(port_of(flow));
	udp->dst = bpf_htons(VXLAN_PORT);
	udp->len = bpf_htons(tot_len ? tot_len - 20 : 0);
	udp->check = 0;
	*(__u32 *)vxlan = bpf_htonl((__u32)VXLAN_FLAG_VNI << 24);
	vxlan->vni = bpf_htonl(ep->vni << 8);
	eth_copy(data + OUTER_INNER, inner);
}

/* The next hop of the outer packet; NULL: no route. The look-up is the dearest part
 * of the way into a tunnel, so that its answer serves the flow for the rest of the
 * clock's tick (10 ms at most). *fresh is set where it was asked just now. */
static __always_inline struct nexthop *next_hop(struct __sk_buff *skb, struct packet *p, const struct fdb_entry *ep,
						__u16 port, __u64 hash, const struct config *cfg, bool *fresh)
{
	long err;
	__u32 index = hash & (NEXTHOPS - 1);
	struct nexthop *n = bpf_map_lookup_elem(&nexthops, &index);
	__u64 tick = bpf_jiffies64();
	struct bpf_fib_lookup *fib = &p->fib;

	if (unlikely(!n))
		return NULL;
	if (likely(n->tick == tick && n->port == port && n->table == ep->table && addr_equal(&n->remote, &ep->addr) &&
		   addr_equal(&n->local, &ep->local)))
		return n;
	*fresh = true;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->family = AF_INET;
	fib->l4_protocol = PROTO_UDP;
	fib->sport = bpf_htons(port);
	fib->dport = bpf_htons(VXLAN_PORT);
	/* Not 0, or the kernel holds the bare frame against the device's MTU; the
	 * FDB entry's mtu has decided that. */
	fib->tot_len = 1;
	/* bpf_ipv4_fib_lookup wants the forwarding switch of this device on, and has
	 * no other use for it with DIRECT. */
	fib->ifindex = cfg->vxlan_ifindex;
	fib->ipv4_src = addr_to_v4(&ep->local);
	fib->ipv4_dst = addr_to_v4(&ep->addr);
	fib->tbid = ep->table;
	err = bpf_fib_lookup(skb, fib, sizeof(*fib), FIB_LOOKUP_DIRECT | FIB_LOOKUP_TBID);
	if (unlikely(err != FIB_RET_SUCCESS && err != FIB_RET_NO_NEIGH))
		return NULL;
	n->known = err == FIB_RET_SUCCESS;
	mac_copy(n->dmac, fib->dmac);
	mac_copy(n->smac, fib->smac);
	n->table = ep->table;
	addr_copy(&n->local, &ep->local);
	addr_copy(&n->remote, &ep->addr);
	n->port = port;
	/* The family is the next hop's: IPv4 routes can have an IPv6 one. */
	n->family = fib->family;
	n->ifindex = fib->ifindex;
	__builtin_memcpy(n->addr, fib->ipv6_dst, sizeof(n->addr));
	n->tick = tick;
	return n;
}

/* To a remote VTEP. by_device: always through the vxlan device. A global function:
 * the verifier looks at it once, not once for each way that leads here. */
__noinline int tunnel(struct __sk_buff *skb, struct packet *p, struct fdb_entry *ep, bool by_device)
{
	__u32 zero = 0, len = skb->len;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct nexthop *next;
	struct eth *eth = DATA(skb);
	bool fresh = false;
	struct flow *flow;
	__u16 port;

	if (unlikely(!p || !ep || !cfg || (void *)(eth + 1) > DATA_END(skb)))
		return drop(DROP_INTERNAL);
	flow = &p->flow;
	flow_of(flow, eth, DATA_END(skb), cfg->hash_key);
	eth_copy(&p->eth, eth);
	port = port_of(flow);
	next = next_hop(skb, p, ep, port, flow->hash, cfg, &fresh);
	if (unlikely(!next))
		return drop(DROP_UNDERLAY_NO_ROUTE);
	/* Anything else than these flags and 14 bytes of inner Ethernet header
	 * breaks the segmentation of what is inside. */
	if (unlikely(!flow->ip || by_device || ep->flags & FDB_F_KERNEL ||
		     bpf_skb_adjust_room(skb, OUTER_LEN, BPF_ADJ_ROOM_MAC,
					 BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
						 BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(14) |
						 BPF_F_ADJ_ROOM_ENCAP_L2_ETH)))
		return tunnel_by_device(skb, p, ep, flow->tos, cfg);
	if (unlikely(DATA(skb) + OUTER_END > DATA_END(skb)))
		return drop(DROP_INTERNAL);
	write_outer(DATA(skb), ep, flow, &p->eth, len);
	count_tx(ep->counter, len);
	if (cfg_record)
		record_tunnel(VERDICT_TUNNEL, ep, flow->tos);
	/* One packet of a tick goes by the kernel's neighbour table, which resolves
	 * and confirms the next hop; the others are spared that. */
	if (likely(!fresh && next->known && !cfg_record)) {
		eth = DATA(skb);
		if (unlikely((void *)(eth + 1) > DATA_END(skb)))
			return drop(DROP_INTERNAL);
		mac_copy(eth->dst, next->dmac);
		mac_copy(eth->src, next->smac);
		return bpf_redirect(next->ifindex, 0);
	}
	p->nexthop.nh_family = next->family;
	__builtin_memcpy(p->nexthop.ipv6_nh, next->addr, sizeof(p->nexthop.ipv6_nh));
	return bpf_redirect_neigh(next->ifindex, &p->nexthop, sizeof(p->nexthop), 0);
}
