/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* To the agent's slow path. Functions of their own that the verifier looks at
 * once: they are rare. */
#pragma once

#include "drop.h"
#include "fair.h"
#include "packet.h"
#include "parse.h"

/* Why a router drops a packet, and the ICMP error for it. One word, for the few
 * arguments that a function may have. */
union verdict_icmp {
	struct {
		__u8 reason;
		__u8 type;
		__u8 code;
		__u8 ttl; /* of the packet when it came to this router */
	};
	__u32 word;
};

/* RFC 1812 §4.3.2.7: no error about an error or about a later fragment. */
static __noinline bool may_answer(struct __sk_buff *skb)
{
	struct ipv4 ip;
	__u8 type;

	if (bpf_skb_load_bytes(skb, 14, &ip, sizeof(ip)))
		return false;
	if (ip.frag & bpf_htons(IP_OFFSET))
		return false;
	if (ip.protocol != PROTO_ICMP)
		return true;
	if (bpf_ntohs(ip.tot_len) <= (ip.vihl & 15) * 4 || bpf_skb_load_bytes(skb, 14 + (ip.vihl & 15) * 4, &type, 1))
		return false;
	return type == 0 || type == 8 || (type >= 13 && type <= 18);
}

/* What the agent is told, but for what only some kinds have. */
static __always_inline void slow_header(struct packet *p, __u8 kind, __u8 reason)
{
	__builtin_memset(&p->slow, 0, sizeof(p->slow));
	p->slow.kind = kind;
	p->slow.reason = reason;
	p->slow.router = p->router;
}

static __always_inline int to_slow(struct __sk_buff *skb, const struct slow_header *h, const struct config *cfg)
{
	/* The tap takes no GSO packets, and the kernel could not cut one with a
	 * foreign header in it. An error quotes no more than this anyway. */
	if (skb->gso_size && bpf_skb_change_tail(skb, skb->len < 14 + SLOW_GSO_KEEP ? skb->len : 14 + SLOW_GSO_KEEP, 0))
		return drop(skb, DROP_INTERNAL);
	if (bpf_skb_adjust_room(skb, sizeof(*h), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_NO_CSUM_RESET) ||
	    bpf_skb_store_bytes(skb, 14, h, sizeof(*h), 0))
		return drop(skb, DROP_INTERNAL);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_SLOW);

		if (r)
			r->reason = h->reason;
	}
	return bpf_redirect(cfg->slow_ifindex, 0);
}

/* What a probe and its answers look like in the packet at the frame's start. */
struct probe_packet {
	struct ipv4 ip;
	struct icmp icmp;
	struct ipv4 quoted_ip; /* of an ICMP error: the packet it is about */
	struct icmp quoted;
};

/* Whether an ICMP packet belongs to a probe of this router: the request that the
 * agent made (own), or what came back for one: an echo reply, or an error (RFC 792:
 * types 3 and 11) that quotes such a request. */
static __noinline bool of_probe(struct __sk_buff *skb, bool own)
{
	struct probe_packet p;
	const __u32 head = offsetof(struct probe_packet, quoted_ip);
	__u16 len;

	if (bpf_skb_load_bytes(skb, 14, &p, head))
		return false;
	len = bpf_ntohs(p.ip.tot_len);
	if (p.ip.vihl != 0x45 || p.ip.protocol != PROTO_ICMP || p.ip.frag & bpf_htons(IP_MF | IP_OFFSET) || len < head)
		return false;
	if (p.icmp.type == (own ? ICMP_ECHO : ICMP_ECHO_REPLY))
		return !p.icmp.code && bpf_ntohl(p.icmp.rest) >> 16 == PROBE_ID;
	if (own || (p.icmp.type != ICMP_UNREACH && p.icmp.type != ICMP_TIME_EXCEEDED))
		return false;
	if (len < sizeof(p) || bpf_skb_load_bytes(skb, 14 + head, &p.quoted_ip, sizeof(p) - head))
		return false;
	return p.quoted_ip.vihl == 0x45 && p.quoted_ip.protocol == PROTO_ICMP && p.quoted.type == ICMP_ECHO &&
	       bpf_ntohl(p.quoted.rest) >> 16 == PROBE_ID;
}

/* An ICMP packet to the router itself that it does not answer: to the agent where it
 * answers a probe. */
__noinline int punt_probe(struct __sk_buff *skb, struct packet *p)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct ipv4 *ip;

	if (!cfg || !p)
		return drop(skb, DROP_INTERNAL);
	if (!of_probe(skb, false))
		return drop(skb, DROP_TO_ROUTER);
	if (!allowed(cfg, FOR_PROBE, p->router, source_of(skb, cfg), 1)) {
		struct icmp_bucket *b = bpf_map_lookup_elem(&icmp_buckets, &p->router);

		if (b)
			__sync_fetch_and_add(&b->limited, 1);
		count_drop(skb->ifindex, DROP_SLOW_PATH_LIMITED);
		return drop(skb, DROP_TO_ROUTER);
	}
	if (bpf_skb_pull_data(skb, 14 + sizeof(*ip)))
		return drop(skb, DROP_INTERNAL);
	ip = DATA(skb) + 14;
	if ((void *)(ip + 1) > DATA_END(skb))
		return drop(skb, DROP_INTERNAL);
	if (ip->ttl != p->ttl)
		set_ttl(ip, p->ttl);
	slow_header(p, SLOW_PROBE, 0);
	return to_slow(skb, &p->slow, cfg);
}

/* Drops a packet at a router, with an ICMP error where that may be. in: where the
 * packet came into the router, NULL where the router made it. */
__noinline int punt_icmp(struct __sk_buff *skb, struct packet *p, struct fdb_entry *in, __u32 word)
{
	union verdict_icmp v = {.word = word};
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct ipv4 *ip;

	if (!cfg || !p)
		return drop(skb, DROP_INTERNAL);
	count_drop(skb->ifindex, v.reason);
	slow_header(p, SLOW_ICMP, v.reason);
	p->slow.icmp_type = v.type;
	p->slow.icmp_code = v.code;
	p->slow.mtu = v.reason == DROP_FRAGMENTATION_NEEDED ? p->mtu : 0;
	if (!in && of_probe(skb, true)) {
		p->slow.kind = SLOW_PROBE;
		return to_slow(skb, &p->slow, cfg);
	}
	if (!in || !may_answer(skb))
		return drop_quiet(v.reason);
	addr_copy(&p->slow.src, &in->addr);
	if (!allowed(cfg, v.reason == DROP_FRAGMENTATION_NEEDED ? FOR_TOO_BIG : FOR_ERROR, p->router, source_of(skb, cfg), 1)) {
		count_drop(skb->ifindex, DROP_SLOW_PATH_LIMITED);
		return drop_quiet(v.reason);
	}
	if (bpf_skb_pull_data(skb, 14 + sizeof(*ip)))
		return drop(skb, DROP_INTERNAL);
	ip = DATA(skb) + 14;
	if ((void *)(ip + 1) > DATA_END(skb))
		return drop(skb, DROP_INTERNAL);
	if (ip->ttl != v.ttl)
		set_ttl(ip, v.ttl);
	return to_slow(skb, &p->slow, cfg);
}

/* The next hop's address is one that is learned, and is not: the router asks. Once a
 * second for one address, so that a flow to one that nobody holds leaves the
 * router's allowance to others. */
static __always_inline bool ask_now(struct __sk_buff *skb, const struct config *cfg, struct packet *p)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 net = p->neighbor.net;
	struct addr *addr = &p->neighbor.addr;
	__u32 slot = (((__u64)net << 32 | addr_to_v4(addr)) * 0x9E3779B97F4A7C15ULL) >> 56;
	struct asked *a = bpf_map_lookup_elem(&askeds, &slot);

	if (!cfg->rates[FOR_ARP].source.rate)
		return true;
	if (!a || (a->net == net && addr_equal(&a->addr, addr) && now - a->at < 1000000000ULL))
		return false;
	if (!allowed(cfg, FOR_ARP, p->router, source_of(skb, cfg), 1)) {
		count_drop(skb->ifindex, DROP_SLOW_PATH_LIMITED);
		return false;
	}
	a->at = now;
	a->net = net;
	addr_copy(&a->addr, addr);
	return true;
}

/* Has the agent ask for p->neighbor. */
__noinline int punt_arp(struct __sk_buff *skb, struct packet *p, struct route *r)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct ipv4 *ip;
	struct eth *eth;

	if (!cfg || !p || !r)
		return drop(skb, DROP_INTERNAL);
	count_drop(skb->ifindex, DROP_NEIGHBOR_RESOLVING);
	if (!ask_now(skb, cfg, p))
		return drop_quiet(DROP_NEIGHBOR_RESOLVING);
	if (bpf_skb_pull_data(skb, sizeof(*eth) + sizeof(*ip)))
		return drop(skb, DROP_INTERNAL);
	eth = DATA(skb);
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > DATA_END(skb))
		return drop(skb, DROP_INTERNAL);
	mac_copy(eth->src, r->mac);
	if (ip->ttl != p->ttl)
		set_ttl(ip, p->ttl);
	slow_header(p, SLOW_ARP, DROP_NEIGHBOR_RESOLVING);
	p->slow.net = p->neighbor.net;
	addr_copy(&p->slow.src, &p->neighbor.addr);
	return to_slow(skb, &p->slow, cfg);
}

/* To be cut: the frame is as it would have left. Its fragments are what it costs. */
__noinline int punt_fragment(struct __sk_buff *skb, struct packet *p, __u32 net)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);

	if (!cfg || !p || !p->mtu)
		return drop(skb, DROP_INTERNAL);
	if (!allowed(cfg, FOR_FRAGMENT, net, source_of(skb, cfg), skb->len / p->mtu + 1))
		return drop(skb, DROP_SLOW_PATH_LIMITED);
	slow_header(p, SLOW_FRAGMENT, 0);
	p->slow.router = 0;
	p->slow.net = net;
	p->slow.mtu = p->mtu;
	return to_slow(skb, &p->slow, cfg);
}
