/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* The ECN field of what comes out of a tunnel. */
#pragma once

#include "parse.h"
#include "reasons.h"

/* RFC 6040 §4.2: what becomes of the inner ECN field; -1: drop. */
static __always_inline int ecn(__u8 outer, __u8 inner)
{
	if (outer == ECN_CE)
		return inner ? ECN_CE : -1;
	if (outer == ECN_ECT1 && inner == ECN_ECT0)
		return ECN_ECT1;
	return inner;
}

/* Writes the inner ECN field. Drop reason, or 0. The frame starts at data + off. */
static __always_inline __u32 ecn_decap(struct __sk_buff *skb, __u8 outer, __u32 off, __be16 type)
{
	void *at = DATA(skb) + off + 14;
	int to;

	if (type == bpf_htons(ETH_P_IP)) {
		struct ipv4 *ip = at;
		__u8 tos;

		if (unlikely((void *)(ip + 1) > DATA_END(skb)))
			return DROP_FRAME_MALFORMED;
		if (likely(!(outer & ECN_MASK)))
			return 0;
		to = ecn(outer & ECN_MASK, ip->tos & ECN_MASK);
		if (to < 0)
			return DROP_ECN_CONGESTION;
		tos = (ip->tos & ~ECN_MASK) | to;
		if (tos != ip->tos) {
			ip->check = csum_replace(ip->check, bpf_htons(ip->vihl << 8 | ip->tos),
						 bpf_htons(ip->vihl << 8 | tos));
			ip->tos = tos;
		}
	} else {
		struct ipv6 *ip = at;
		__be32 flow;

		if (unlikely((void *)(ip + 1) > DATA_END(skb)))
			return DROP_FRAME_MALFORMED;
		if (likely(!(outer & ECN_MASK)))
			return 0;
		flow = ip->flow;
		to = ecn(outer & ECN_MASK, bpf_ntohl(flow) >> 20 & ECN_MASK);
		if (to < 0)
			return DROP_ECN_CONGESTION;
		flow = (flow & ~bpf_htonl(ECN_MASK << 20)) | bpf_htonl(to << 20);
		/* No header checksum makes up for the change: the sum that a
		 * device took over the packet must follow. */
		if (flow != ip->flow && bpf_skb_store_bytes(skb, off + 14, &flow, sizeof(flow), BPF_F_RECOMPUTE_CSUM))
			return DROP_INTERNAL;
	}
	return 0;
}
