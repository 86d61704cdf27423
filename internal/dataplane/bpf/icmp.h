/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* What the host's stack may not learn about the ways to VTEPs. */
#pragma once

#include "drop.h"
#include "parse.h"

/* include/uapi/linux/netfilter.h */
#define NF_DROP 0
#define NF_ACCEPT 1

#define PROTO_DCCP 33
#define ICMP_REDIRECT 5

/* include/linux/bpf.h: the layout is the kernel's promise to netfilter programs. */
struct nf_hook_state;
struct sk_buff;
struct bpf_nf_ctx {
	const struct nf_hook_state *state;
	struct sk_buff *skb;
};

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *to) __ksym;

/* The protocols whose own state the kernel holds an ICMP error against (icmp_strict_tag_validation
 * in its net/ipv4/icmp.c): a forger has to guess a sequence number. */
static __always_inline bool validated(__u8 protocol)
{
	return protocol == PROTO_TCP || protocol == PROTO_SCTP || protocol == PROTO_DCCP;
}

/* At netfilter's LOCAL_IN, behind the kernel's reassembly. By "fragmentation needed" and
 * redirects the kernel keeps an exception to its route, for every packet to that address, after no
 * more proof than an address and a port. */
SEC("netfilter")
int local_icmp(struct bpf_nf_ctx *ctx)
{
	struct {
		struct icmp icmp;
		struct ipv4 quoted;
	} m;
	struct vtep_key k = {};
	struct bpf_dynptr packet;
	struct ipv4 ip;

	if (bpf_dynptr_from_skb((struct __sk_buff *)ctx->skb, 0, &packet) || bpf_dynptr_read(&ip, sizeof(ip), &packet, 0, 0))
		return NF_ACCEPT;
	if (likely(ip.protocol != PROTO_ICMP) || bpf_dynptr_read(&m, sizeof(m), &packet, (ip.vihl & 15) * 4, 0))
		return NF_ACCEPT;
	if (m.icmp.type != ICMP_REDIRECT && (m.icmp.type != ICMP_UNREACH || m.icmp.code != ICMP_UNREACH_FRAG))
		return NF_ACCEPT;
	if (validated(m.quoted.protocol))
		return NF_ACCEPT;
	addr_v4(&k.local, m.quoted.src);
	addr_v4(&k.remote, m.quoted.dst);
	if (!bpf_map_lookup_elem(&vteps, &k))
		return NF_ACCEPT;
	count_reason(DROP_PATH_ERROR);
	return NF_DROP;
}
