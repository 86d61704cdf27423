/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* What no port with port security may send, whoever it says that it is: what only the
 * services of a network say to its members. And tags without a VLAN. */
#pragma once

#include "parse.h"

#define DHCP_SERVER 67
#define DHCP_CLIENT 68
#define DHCP6_SERVER 547
#define DHCP6_CLIENT 546
#define ICMP6_ROUTER_ADVERTISEMENT 134 /* RFC 4861 §4.2 */

/* How many extension headers are looked behind. RFC 7113 §3: what hides behind more
 * must not pass. */
#define EXTENSIONS 8

/* Whether a tag that the stack took off has priority bits and no VLAN. */
static __always_inline bool priority_tag(const struct __sk_buff *skb)
{
	return skb->vlan_proto == bpf_htons(ETH_P_8021Q) && !(skb->vlan_tci & VLAN_ID);
}

/* Takes off a tag of VLAN 0: such a frame is an untagged one with a priority (IEEE
 * 802.1Q §6.9.1). Drop reason, or 0. */
static __noinline __u32 untag(struct __sk_buff *skb)
{
	__be16 tag[2], inner;

	if (skb->vlan_present) {
		if (!priority_tag(skb))
			return DROP_VLAN_TAGGED;
	} else if (bpf_skb_load_bytes(skb, 12, tag, sizeof(tag)) || tag[0] != bpf_htons(ETH_P_8021Q) ||
		   tag[1] & bpf_htons(VLAN_ID)) {
		return DROP_VLAN_TAGGED;
	}
	if (bpf_skb_load_bytes(skb, skb->vlan_present ? 12 : 16, &inner, sizeof(inner)))
		return DROP_FRAME_MALFORMED;
	if (inner == bpf_htons(ETH_P_8021Q) || inner == bpf_htons(ETH_P_8021AD))
		return DROP_VLAN_TAGGED;
	return bpf_skb_vlan_pop(skb) ? DROP_INTERNAL : 0;
}

/* What a DHCP server says to a client (RFC 2131 §4.1), in a packet or the first fragment of
 * one. Later fragments have no ports, and are nothing without the first. */
static __always_inline bool dhcp_answer(struct __sk_buff *skb, const struct ipv4 *ip)
{
	__be16 ports[2];

	if (ip->frag & bpf_htons(IP_OFFSET))
		return false;
	if (bpf_skb_load_bytes(skb, 14 + (ip->vihl & 15) * 4, ports, sizeof(ports)))
		return false;
	return ports[0] == bpf_htons(DHCP_SERVER) && ports[1] == bpf_htons(DHCP_CLIENT);
}

/* Router advertisements and what a DHCPv6 server says (RFC 8415 §7.2), behind extension
 * headers too. A packet, or a first fragment, that does not say what it carries is dropped
 * (RFC 7112 §5). Drop reason, or 0. */
static __noinline __u32 guard6(struct __sk_buff *skb)
{
	__u32 off = 14 + sizeof(struct ipv6);
	__u8 next, b[4];

	if (bpf_skb_load_bytes(skb, 14 + offsetof(struct ipv6, next), &next, 1))
		return DROP_FRAME_MALFORMED;
	for (int i = 0; i <= EXTENSIONS; i++) {
		switch (next) {
		case PROTO_UDP:
		case PROTO_ICMPV6:
		case PROTO_HOPOPTS:
		case PROTO_ROUTING:
		case PROTO_DSTOPTS:
		case PROTO_FRAGMENT:
		case PROTO_AH:
			break;
		default:
			return 0;
		}
		if (bpf_skb_load_bytes(skb, off, b, sizeof(b)))
			return DROP_FRAME_MALFORMED;
		switch (next) {
		case PROTO_ICMPV6:
			return b[0] == ICMP6_ROUTER_ADVERTISEMENT ? DROP_ROUTER_ADVERTISEMENT : 0;
		case PROTO_UDP:
			return b[0] == DHCP6_SERVER >> 8 && b[1] == (DHCP6_SERVER & 255) &&
			       b[2] == DHCP6_CLIENT >> 8 && b[3] == (DHCP6_CLIENT & 255) ? DROP_DHCP_ANSWER : 0;
		case PROTO_FRAGMENT:
			if (b[2] || b[3] & 0xf8)
				return 0; /* a later fragment: nothing without the first */
			off += 8;
			break;
		case PROTO_AH:
			off += (b[1] + 2) * 4;
			break;
		default:
			off += (b[1] + 1) * 8;
		}
		next = b[0];
	}
	return DROP_FRAME_MALFORMED;
}
