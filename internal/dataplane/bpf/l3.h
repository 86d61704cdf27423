/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Through routers. */
#pragma once

#include "drop.h"
#include "l2.h"
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

/* The frame goes into router. in: the endpoint whose MAC took it there, NULL where
 * the router makes the packet itself (the slow path). A global function: the
 * verifier looks at it once, not once for each way that leads here. */
__noinline int route_frame(struct __sk_buff *skb, struct endpoint *in, __u32 router)
{
	bool originator = !in, df;
	/* One after the other: a program's stack is small. */
	union {
		struct route_key route;
		struct {
			__u32 plen;
			struct neighbor_key neighbor;
		};
	} k;
	struct endpoint_key ek = {};
	struct eth *eth = DATA(skb);
	struct ipv4 *ip = (void *)(eth + 1);
	struct neighbor *n;
	struct endpoint *ep = NULL;
	struct route *r = NULL;
	__u32 size, mtu = 0;
	union verdict_icmp why = {.type = ICMP_UNREACH};
	__u8 ttl, protocol;
	__be32 src, dst;

	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(DROP_FRAME_MALFORMED);
	if (in) {
		__u32 tot_len;

		if (unlikely(eth->type != bpf_htons(ETH_P_IP)))
			return drop(DROP_ROUTER_NOT_IP);
		if (unlikely((void *)(ip + 1) > DATA_END(skb)))
			return drop(DROP_IP_MALFORMED);
		tot_len = bpf_ntohs(ip->tot_len);
		if (unlikely(ip->vihl != 0x45)) {
			__u32 header = (ip->vihl & 15) * 4;

			if (ip->vihl >> 4 != 4 || header < 20 || tot_len < header ||
			    (!skb->gso_size && tot_len > skb->len - sizeof(*eth)))
				return drop(DROP_IP_MALFORMED);
			return drop(DROP_IP_OPTIONS);
		}
		if (unlikely(tot_len < sizeof(*ip) || (tot_len > skb->len - sizeof(*eth) && !skb->gso_size) ||
			     ipv4_sum(ip) != 0xffff))
			return drop(DROP_IP_MALFORMED);
		if (unlikely(martian(ip->src) || martian(ip->dst)))
			return drop(DROP_MARTIAN);
	} else if (eth->type != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > DATA_END(skb)) {
		return drop(DROP_FRAME_MALFORMED);
	}
	ttl = ip->ttl;
	protocol = ip->protocol;
	df = ip->frag & bpf_htons(IP_DF);
	src = ip->src;
	dst = ip->dst;
	size = bpf_ntohs(ip->tot_len);
	if (unlikely(skb->gso_size))
		size = segment_len(skb, bpf_htons(ETH_P_IP));

	for (int turn = 0; turn < MAX_ROUTERS; turn++) {
		__u8 lowered = ttl;

		k.route.plen = 32 + 128;
		k.route.router = bpf_htonl(router);
		addr_v4(&k.route.addr, dst);
		r = bpf_map_lookup_elem(&routes, &k.route);
		if (unlikely(!r)) {
			why.reason = DROP_NO_ROUTE;
			why.code = ICMP_UNREACH_NET;
			goto punt;
		}
		if (unlikely(r->kind == ROUTE_DROP))
			return drop(r->drop);
		if (unlikely(r->kind == ROUTE_LOCAL)) {
			if (originator)
				return drop(DROP_TO_ROUTER);
			why.reason = DROP_TO_ROUTER;
			if (protocol == PROTO_ICMP) {
				int turned = turn_round(skb);

				if (turned < 0)
					return drop(DROP_INTERNAL);
				if (turned)
					return punt_probe(skb, router, ttl);
				/* The reply is a packet of this router. */
				originator = true;
				ttl = 64;
				{
					__be32 own = dst;

					dst = src;
					src = own;
				}
				continue;
			}
			why.code = protocol == PROTO_TCP || protocol == PROTO_UDP ? ICMP_UNREACH_PORT
											     : ICMP_UNREACH_PROTOCOL;
			goto punt;
		}
		if (likely(!originator)) {
			if (unlikely(ttl <= 1)) {
				why.reason = DROP_TTL_EXCEEDED;
				why.type = ICMP_TIME_EXCEEDED;
				goto punt;
			}
			lowered = ttl - 1;
		}
		k.neighbor.net = r->net;
		if (r->kind == ROUTE_VIA)
			addr_copy(&k.neighbor.addr, &r->nexthop);
		n = bpf_map_lookup_elem(&neighbors, &k.neighbor);
		ek.net = r->net;
		if (likely(n)) {
			mac_copy(ek.mac, n->mac);
		} else {
			__u64 mac = learned_neighbor(r->net, &k.neighbor.addr);

			if (!mac && pair_net(r->net, &k.neighbor.addr))
				return punt_arp(skb, router, r, addr_to_v4(&k.neighbor.addr), ttl);
			if (!mac) {
				why.reason = DROP_NEIGHBOR_UNKNOWN;
				why.code = ICMP_UNREACH_HOST;
				goto punt;
			}
			mac_unpack(ek.mac, mac);
		}
		ep = find_endpoint(&ek);
		if (unlikely(!ep))
			return drop(DROP_L2_UNKNOWN);
		if (unlikely(ep->kind == ENDPOINT_DROP))
			return drop(ep->drop);
		mtu = r->mtu;
		if (ep->kind != ENDPOINT_ROUTER && ep->mtu < mtu)
			mtu = ep->mtu;
		if (unlikely(size > mtu)) {
			if (df || skb->gso_size) {
				why.reason = DROP_FRAGMENTATION_NEEDED;
					why.code = ICMP_UNREACH_FRAG;
				goto punt;
			}
			ttl = lowered;
			goto leave;
		}
		ttl = lowered;
		if (likely(ep->kind != ENDPOINT_ROUTER))
			goto leave;
		router = ep->id;
		in = ep;
		originator = false;
	}
	return drop(DROP_ROUTER_LOOP);

leave:
	eth = DATA(skb);
	ip = (void *)(eth + 1);
	if (unlikely((void *)(ip + 1) > DATA_END(skb)))
		return drop(DROP_INTERNAL);
	mac_copy(eth->dst, ek.mac);
	mac_copy(eth->src, r->mac);
	set_ttl(ip, ttl);
	if (unlikely(size > mtu))
		return punt_fragment(skb, r->net, mtu);
	if (ep->kind == ENDPOINT_PORT)
		return deliver(skb, ep);
	if (likely(ep->kind == ENDPOINT_REMOTE))
		return tunnel(skb, ep, false);
	if (ep->kind == ENDPOINT_VLAN)
		return deliver_vlan(skb, ep);
	return drop(DROP_INTERNAL);

punt:
	why.ttl = ttl;
	return punt_icmp(skb, originator ? NULL : in, router, why.word, mtu);
}

/* Forwards a frame in the network it is in. ifindex: of the port it came from, or of the
 * interface that vlan is on; 0: a tunnel. */
static __always_inline int bridge(struct __sk_buff *skb, __u32 net, __u32 ifindex, bool vlan)
{
	struct eth *eth = DATA(skb);
	struct endpoint_key k = {.net = net};
	struct endpoint *ep;

	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(DROP_FRAME_MALFORMED);
	mac_copy(k.mac, eth->dst);
	ep = find_endpoint(&k);
	if (unlikely(!ep))
		return flood_net(skb, net, ifindex, ifindex && !vlan ? FLOOD_VLANS : 0);
	if (likely(ep->kind == ENDPOINT_ROUTER)) {
		if (unlikely(eth->type == bpf_htons(ETH_P_ARP)))
			return drop(DROP_ARP_TO_ROUTER);
		return route_frame(skb, ep, ep->id);
	}
	if (unlikely(ep->kind == ENDPOINT_DROP))
		return drop(ep->drop);
	if (ep->kind == ENDPOINT_PORT && ep->ifindex == ifindex)
		return drop(DROP_HAIRPIN);
	if (ep->kind == ENDPOINT_REMOTE && !ifindex)
		return drop(DROP_TUNNEL_HAIRPIN);
	if (unlikely(ep->kind == ENDPOINT_VLAN && vlan))
		return drop(DROP_HAIRPIN);
	if (packet_len(skb) > ep->mtu)
		return drop(DROP_MTU_EXCEEDED);
	if (ep->kind == ENDPOINT_PORT)
		return deliver(skb, ep);
	if (unlikely(ep->kind == ENDPOINT_VLAN))
		return deliver_vlan(skb, ep);
	return tunnel(skb, ep, false);
}
