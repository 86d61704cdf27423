/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Through routers. */
#pragma once

#include "drop.h"
#include "l2.h"
#include "packet.h"
#include "parse.h"
#include "slow.h"
#include "vtep.h"

#define MAX_ROUTERS 8

/* Makes an echo request the reply to itself. 1: it is none; -1: a helper refused. */
__noinline int turn_round(struct __sk_buff *skb)
{
	struct icmp *icmp;
	struct ipv4 *ip;
	__be32 src;

	/* Fails where the packet is shorter. */
	if (bpf_skb_pull_data(skb, 14 + sizeof(*ip) + sizeof(*icmp)))
		return 1;
	ip = DATA(skb) + 14;
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 1) > DATA_END(skb))
		return -1;
	if (ip->frag & bpf_htons(IP_MF | IP_OFFSET) || bpf_ntohs(ip->tot_len) < sizeof(*ip) + sizeof(*icmp) ||
	    icmp->type != ICMP_ECHO || icmp->code)
		return 1;
	src = ip->src;
	ip->src = ip->dst;
	ip->dst = src;
	set_ttl(ip, 64);
	icmp->type = ICMP_ECHO_REPLY;
	icmp->check = csum_replace(icmp->check, bpf_htons(ICMP_ECHO << 8), 0);
	return 0;
}

/* Whether the first byte of an address shuts it out of routing: 0/8, 127/8, 224/4
 * and 240/4 (RFC 1812 §5.3.7). */
static __always_inline bool martian(__be32 a)
{
	__u8 first = bpf_ntohl(a) >> 24;

	return first == 0 || first == 127 || first >= 224;
}

/* What a router checks of a packet first. Drop reason, or 0. */
static __always_inline __u32 check_ip(struct __sk_buff *skb, struct eth *eth)
{
	struct ipv4 *ip = (void *)(eth + 1);
	__u32 tot_len;

	if (unlikely(eth->type != bpf_htons(ETH_P_IP)))
		return DROP_ROUTER_NOT_IP;
	if (unlikely((void *)(ip + 1) > DATA_END(skb)))
		return DROP_IP_MALFORMED;
	tot_len = ipv4_len(skb, ip);
	if (unlikely(ip->vihl != 0x45)) {
		__u32 header = (ip->vihl & 15) * 4;

		if (ip->vihl >> 4 != 4 || header < 20 || tot_len < header ||
		    (!skb->gso_size && tot_len > skb->len - sizeof(*eth)))
			return DROP_IP_MALFORMED;
		return DROP_IP_OPTIONS;
	}
	if (unlikely(tot_len < sizeof(*ip) || (tot_len > skb->len - sizeof(*eth) && !skb->gso_size) ||
		     ipv4_sum(ip) != 0xffff))
		return DROP_IP_MALFORMED;
	if (unlikely(martian(ip->src) || martian(ip->dst)))
		return DROP_MARTIAN;
	return 0;
}

/* Which of several next hops the packet's flow takes: the one with the highest weight, a hash of flow
 * and hop (RFC 2991 §4.1). So a hop that comes or goes moves no flows but its own. Ports count
 * where all packets of a flow have them: not in fragments. A global function: the verifier
 * looks at it once, and knows no more of what it returns than route_hop checks. */
__noinline int hop_of_flow(struct __sk_buff *skb, struct packet *p, struct next_hops *several)
{
	struct ipv4 *ip = DATA(skb) + 14;
	__u64 flow, key, most = 0;
	__be16 ports[2] = {};
	__u32 chosen = 0;

	if (unlikely(!p || !several || (void *)(ip + 1) > DATA_END(skb)))
		return 0;
	/* The transport's header may lie beyond what can be read at once. */
	if (has_ports(p->protocol) && ip->vihl == 0x45 && !(ip->frag & bpf_htons(IP_MF | IP_OFFSET)) &&
	    bpf_skb_load_bytes(skb, 14 + sizeof(*ip), ports, sizeof(ports)))
		ports[0] = ports[1] = 0;
	/* No secret: all hosts, and who traces a packet, are to come to the same. */
	key = p->router;
	flow = mix(key, (__u64)bpf_ntohl(p->src) << 32 | bpf_ntohl(p->dst));
	flow = mix(flow, (__u64)p->protocol << 32 | (__u32)bpf_ntohs(ports[0]) << 16 | bpf_ntohs(ports[1]));
	for (__u32 i = 0; i < HOPS; i++) {
		const __u32 *a = (const void *)&several->hop[i].nexthop;
		__u64 weight = mix(key, (__u64)bpf_ntohl(a[0]) << 32 | bpf_ntohl(a[1]));

		weight = mix(flow, mix(weight, (__u64)bpf_ntohl(a[2]) << 32 | bpf_ntohl(a[3])));
		if (i < several->count && weight >= most) {
			most = weight;
			chosen = i;
		}
	}
	return chosen;
}

/* The route to one of several next hops, in place of the first. Where hops has no row for them,
 * the first is the way. p->route has the destination. */
static __always_inline struct route *route_hop(struct __sk_buff *skb, struct packet *p, struct route *first)
{
	__u32 *a = (void *)&p->route.addr;
	struct next_hops *several;
	__u32 left = first->plen - 32, i;

	p->route.plen = first->plen;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (left < 32) {
			a[i] &= bpf_htonl(~(~0U >> left));
			left = 0;
		} else {
			left -= 32;
		}
	}
	several = bpf_map_lookup_elem(&hops, &p->route);
	if (unlikely(!several))
		return first;
	i = hop_of_flow(skb, p, several);
	/* The compiler knows that it is less than HOPS and would leave the mask out; the verifier does not. */
	asm volatile("" : "+r"(i));
	return &several->hop[i & (HOPS - 1)];
}

/* The frame goes into router. in: the FDB entry whose MAC took it there, NULL where
 * the router makes the packet itself (the slow path). A global function: the
 * verifier looks at it once, not once for each way that leads here. */
__noinline int route_frame(struct __sk_buff *skb, struct packet *p, struct fdb_entry *in, __u32 router)
{
	struct eth *eth = DATA(skb);
	struct ipv4 *ip = (void *)(eth + 1);
	struct neighbor *n;
	struct fdb_entry *ep = NULL;
	struct route *r = NULL;
	union verdict_icmp why = {.type = ICMP_UNREACH};

	if (unlikely(!p || (void *)(eth + 1) > DATA_END(skb)))
		return drop(skb, DROP_FRAME_MALFORMED);
	if (in) {
		__u32 refused = check_ip(skb, eth);

		if (unlikely(refused))
			return drop(skb, refused);
	} else if (eth->type != bpf_htons(ETH_P_IP)) {
		return drop(skb, DROP_FRAME_MALFORMED);
	}
	if (unlikely((void *)(ip + 1) > DATA_END(skb)))
		return drop(skb, DROP_FRAME_MALFORMED);
	p->router = router;
	p->ttl = ip->ttl;
	p->protocol = ip->protocol;
	p->df = !!(ip->frag & bpf_htons(IP_DF));
	p->src = ip->src;
	p->dst = ip->dst;
	p->size = bpf_ntohs(ip->tot_len);
	p->mtu = 0;
	if (unlikely(skb->gso_size))
		p->size = segment_len(skb, 0, bpf_htons(ETH_P_IP));

	for (int turn = 0; turn < MAX_ROUTERS; turn++) {
		p->route.plen = 32 + 128;
		p->route.router = bpf_htonl(p->router);
		addr_v4(&p->route.addr, p->dst);
		r = bpf_map_lookup_elem(&routes, &p->route);
		if (unlikely(!r)) {
			why.reason = DROP_NO_ROUTE;
			why.code = ICMP_UNREACH_NET;
			goto punt;
		}
		if (unlikely(r->kind == ROUTE_DROP))
			return drop(skb, r->drop);
		if (unlikely(r->kind == ROUTE_LOCAL)) {
			p->generation = 0; /* a reply */
			if (!in)
				return drop(skb, DROP_TO_ROUTER);
			why.reason = DROP_TO_ROUTER;
			if (p->protocol == PROTO_ICMP) {
				int turned = turn_round(skb);

				if (turned < 0)
					return drop(skb, DROP_INTERNAL);
				if (turned)
					return punt_probe(skb, p);
				/* The reply is a packet of this router. */
				in = NULL;
				p->ttl = 64;
				{
					__be32 own = p->dst;

					p->dst = p->src;
					p->src = own;
				}
				continue;
			}
			why.code = p->protocol == PROTO_TCP || p->protocol == PROTO_UDP ? ICMP_UNREACH_PORT
												   : ICMP_UNREACH_PROTOCOL;
			goto punt;
		}
		if (unlikely(in && p->ttl <= 1)) {
			why.reason = DROP_TTL_EXCEEDED;
			why.type = ICMP_TIME_EXCEEDED;
			goto punt;
		}
		if (unlikely(r->plen))
			r = route_hop(skb, p, r);
		p->neighbor.net = r->net;
		if (r->kind == ROUTE_VIA)
			addr_copy(&p->neighbor.addr, &r->nexthop);
		n = bpf_map_lookup_elem(&neighbors, &p->neighbor);
		if (likely(n)) {
			fdb_key(p, r->net, n->mac);
		} else {
			__u64 mac = learned_neighbor(p);

			if (!mac && pair_net(r->net, &p->neighbor.addr))
				return punt_arp(skb, p, r);
			if (!mac) {
				why.reason = DROP_NEIGHBOR_UNKNOWN;
				why.code = ICMP_UNREACH_HOST;
				goto punt;
			}
			p->fdb.net = r->net;
			mac_unpack(p->fdb.mac, mac);
			p->fdb.other = 0;
		}
		ep = find_fdb_entry(p);
		if (unlikely(!ep))
			return drop(skb, DROP_L2_UNKNOWN);
		if (unlikely(ep->kind == FDB_DROP))
			return drop(skb, ep->drop);
		p->mtu = r->mtu;
		if (ep->kind != FDB_ROUTER && ep->mtu < p->mtu)
			p->mtu = ep->mtu;
		if (unlikely(p->size > p->mtu && (p->df || skb->gso_size))) {
			why.reason = DROP_FRAGMENTATION_NEEDED;
			why.code = ICMP_UNREACH_FRAG;
			goto punt;
		}
		if (likely(in))
			p->ttl--;
		if (p->mtu < p->least)
			p->least = p->mtu;
		p->turns++;
		if (likely(ep->kind != FDB_ROUTER || p->size > p->mtu))
			goto leave;
		p->router = ep->id;
		in = ep;
	}
	return drop(skb, DROP_ROUTER_LOOP);

leave:
	eth = DATA(skb);
	ip = (void *)(eth + 1);
	if (unlikely((void *)(ip + 1) > DATA_END(skb)))
		return drop(skb, DROP_INTERNAL);
	mac_copy(eth->dst, p->fdb.mac);
	mac_copy(eth->src, r->mac);
	set_ttl(ip, p->ttl);
	if (unlikely(p->size > p->mtu))
		return punt_fragment(skb, p, r->net);
	if (ep->kind == FDB_PORT)
		return deliver(skb, p, ep);
	if (likely(ep->kind == FDB_REMOTE || ep->kind == FDB_HOST))
		return tunnel(skb, p, ep, false);
	if (ep->kind == FDB_VLAN)
		return deliver_vlan(skb, ep);
	return drop(skb, DROP_INTERNAL);

punt:
	why.ttl = p->ttl;
	return punt_icmp(skb, p, in, why.word);
}

/* A frame from the fabric that is larger than what it is to leave by takes: a tunnel, or a port's interface. Where
 * a router sent it, the router does here what it would have done had it known the way: the host where
 * the packet entered the fabric knows its own way alone. */
__noinline int too_big_here(struct __sk_buff *skb, struct packet *p, __u32 mtu)
{
	union verdict_icmp why = {.type = ICMP_UNREACH, .code = ICMP_UNREACH_FRAG, .reason = DROP_FRAGMENTATION_NEEDED};
	struct eth *eth = DATA(skb);
	struct ipv4 *ip = (void *)(eth + 1);
	struct fdb_entry *in;
	__u32 refused;

	if (!p || (void *)(eth + 1) > DATA_END(skb) || eth->type != bpf_htons(ETH_P_IP))
		return drop(skb, DROP_MTU_EXCEEDED);
	in = bpf_map_lookup_elem(&fdb, fdb_key(p, p->net, eth->src));
	if (!in || in->kind != FDB_ROUTER)
		return drop(skb, DROP_MTU_EXCEEDED);
	refused = check_ip(skb, eth);
	if (refused)
		return drop(skb, refused);
	if ((void *)(ip + 1) > DATA_END(skb))
		return drop(skb, DROP_INTERNAL);
	p->router = in->id;
	p->mtu = mtu;
	if (!skb->gso_size && !(ip->frag & bpf_htons(IP_DF)))
		return punt_fragment(skb, p, p->net);
	why.ttl = ip->ttl;
	return punt_icmp(skb, p, in, why.word);
}

/* Where a frame from the fabric goes here for what lies elsewhere, by to: if it is on the move and this host is its other
 * place. Hosts learn of a move one after the other, so that it may come to either. A learned MAC is where its holder is. */
static __noinline struct fdb_entry *moved_here(struct packet *p, struct fdb_entry *to)
{
	struct fdb_entry *ep;

	if (to->kind != FDB_HOST)
		return NULL;
	if (bpf_map_lookup_elem(&fdb, &p->fdb)) {
		ep = other_place(p);
	} else {
		p->holder.other = OTHER_PLACE;
		ep = bpf_map_lookup_elem(&fdb, &p->holder);
		if (ep && ep->id != to->id)
			return NULL;
	}
	if (!ep || !may_go(FROM_FABRIC, ep))
		return NULL;
	return ep;
}

/* Forwards a frame in the network it is in, to the FDB entry of its destination MAC, which was looked
 * for last. from is p->from, known when this is compiled. */
static __always_inline int bridge_to(struct __sk_buff *skb, struct packet *p, enum source from, struct fdb_entry *ep)
{
	struct eth *eth = DATA(skb);
	const __u32 may = may_follow(from);

	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(skb, DROP_FRAME_MALFORMED);
	if (unlikely(!ep))
		return flood_net(skb, p, false);
	if (unlikely(ep->kind == FDB_DROP))
		return drop(skb, ep->drop);
	if (from == SOURCE_VLAN && ep->kind == FDB_HOST && !serves(p, ep))
		return drop(skb, DROP_HOST_UNREACHABLE);
	if (from == SOURCE_FABRIC && unlikely(ep->kind == FDB_VLAN) && !served(p, ep))
		return drop(skb, DROP_FABRIC_HAIRPIN);
	if (unlikely(!may_go(may, ep))) {
		if (from == SOURCE_TUNNEL)
			return drop(skb, DROP_TUNNEL_HAIRPIN);
		if (from != SOURCE_FABRIC)
			return drop(skb, DROP_HAIRPIN);
		ep = moved_here(p, ep);
		if (!ep)
			return drop(skb, DROP_FABRIC_HAIRPIN);
	}
	if (likely(may & TO_ROUTER && ep->kind == FDB_ROUTER)) {
		if (unlikely(eth->type == bpf_htons(ETH_P_ARP))) {
			if ((from == SOURCE_WORKLOAD || from == SOURCE_VLAN) && p->heard)
				return flood_net(skb, p, true); /* other hosts have this router, too */
			return drop(skb, DROP_ARP_TO_ROUTER);
		}
		return route_frame(skb, p, ep, ep->id);
	}
	if (ep->kind == FDB_PORT && ep->ifindex == p->ifindex)
		return drop(skb, DROP_HAIRPIN);
	if (packet_len(skb, 0) > ep->mtu) {
		if (from == SOURCE_FABRIC)
			return too_big_here(skb, p, ep->mtu);
		return drop(skb, DROP_MTU_EXCEEDED);
	}
	if (ep->kind == FDB_PORT)
		return deliver(skb, p, ep);
	if (unlikely(ep->kind == FDB_VLAN))
		return deliver_vlan(skb, ep);
	return tunnel(skb, p, ep, false);
}

/* Forwards a frame in the network it is in. */
static __always_inline int bridge(struct __sk_buff *skb, struct packet *p, enum source from)
{
	struct eth *eth = DATA(skb);

	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(skb, DROP_FRAME_MALFORMED);
	fdb_key(p, p->net, eth->dst);
	return bridge_to(skb, p, from, find_fdb_entry(p));
}
