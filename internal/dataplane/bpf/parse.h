/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Reading packets. Packet pointers die with every helper that changes the packet,
 * so functions fetch them anew. */
#pragma once

#include "consts.h"
#include "maps.h"

#define DATA(skb) ((void *)(long)(skb)->data)
#define DATA_END(skb) ((void *)(long)(skb)->data_end)

/* Makes the first want bytes readable, or the whole packet where it is shorter. */
static __always_inline void pull(struct __sk_buff *skb, __u32 want)
{
	if (likely(DATA(skb) + want <= DATA_END(skb)))
		return;
	if (skb->len < want)
		want = skb->len;
	bpf_skb_pull_data(skb, want);
}

/* MACs sit on even addresses in headers and rows. */
static __always_inline bool mac_equal(const void *a, const void *b)
{
	const __u16 *x = a, *y = b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

static __always_inline void mac_copy(void *to, const void *from)
{
	__u16 *x = to;
	const __u16 *y = from;

	x[0] = y[0];
	x[1] = y[1];
	x[2] = y[2];
}

/* In words: struct eth is on a multiple of 2 only. */
static __always_inline void eth_copy(void *to, const void *from)
{
	__u32 *x = to;
	const __u32 *y = from;

	x[0] = y[0];
	x[1] = y[1];
	x[2] = y[2];
	((__u16 *)to)[6] = ((const __u16 *)from)[6];
}

/* A MAC as a 48-bit number. */
static __always_inline __u64 mac_number(const __u8 *m)
{
	const __u16 *w = (const void *)m;

	return (__u64)bpf_ntohs(w[0]) << 32 | (__u64)bpf_ntohs(w[1]) << 16 | bpf_ntohs(w[2]);
}

static __always_inline void addr_v4(struct addr *a, __be32 v4)
{
	__u32 *w = (void *)a;

	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = v4;
}

/* struct addr has no alignment of its own, but is on a multiple of 4 everywhere:
 * copying it as such would go byte by byte. */
static __always_inline void addr_copy(struct addr *to, const struct addr *from)
{
	__u32 *x = (void *)to;
	const __u32 *y = (const void *)from;

	x[0] = y[0];
	x[1] = y[1];
	x[2] = y[2];
	x[3] = y[3];
}

static __always_inline __be32 addr_to_v4(const struct addr *a)
{
	return ((const __u32 *)a)[3];
}

static __always_inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	const __u32 *x = (const void *)a, *y = (const void *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]));
}

/* Whether a transport begins with two ports. */
static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == PROTO_TCP || protocol == PROTO_UDP || protocol == PROTO_SCTP;
}

/* A step of the hash behind outer source ports, next hops and shares. */
static __always_inline __u64 mix(__u64 h, __u64 w)
{
	h = (h ^ w) * 0x9E3779B97F4A7C15ULL;
	return h ^ h >> 32;
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum over an IPv4 header without options; 0xffff where its checksum holds,
 * the complement of the checksum to write where the field is 0. */
static __always_inline __u16 ipv4_sum(const struct ipv4 *ip)
{
	const __u16 *w = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += w[i];
	return fold(sum);
}

/* Replaces the 16-bit word from by to under a checksum (RFC 1624, equation 3). */
static __always_inline __u16 csum_replace(__u16 check, __u16 from, __u16 to)
{
	return ~fold((__u16)~check + (__u16)~from + to);
}

/* TTL and protocol share a word; the protocol stays. */
static __always_inline void set_ttl(struct ipv4 *ip, __u8 ttl)
{
	__u16 from = bpf_htons((__u16)ip->ttl << 8 | ip->protocol);

	ip->ttl = ttl;
	ip->check = csum_replace(ip->check, from, bpf_htons((__u16)ttl << 8 | ip->protocol));
}

/* How long an IPv4 packet says that it is. Linux has TCP packets for segmentation that are
 * longer than the field can say, with 0 in it (BIG TCP; iph_totlen in its ip.h). */
static __always_inline __u32 ipv4_len(const struct __sk_buff *skb, const struct ipv4 *ip)
{
	__u32 len = bpf_ntohs(ip->tot_len);

	if (unlikely(!len && skb->gso_size && ip->protocol == PROTO_TCP))
		return skb->len - sizeof(struct eth);
	return len;
}

/* Whether a hop-by-hop header with nothing but the length of a jumbogram (RFC 2675) and TCP
 * behind it is at off: Linux before 7.0 says so how long a packet for segmentation is,
 * and takes the header out again when it cuts the packet (ipv6_has_hopopt_jumbo). */
static __always_inline bool jumbo_tcp(struct __sk_buff *skb, __u32 off)
{
	__u8 h[4];

	if (bpf_skb_load_bytes(skb, off, h, sizeof(h)))
		return false;
	return h[0] == PROTO_TCP && !h[1] && h[2] == 0xc2 && h[3] == 4;
}

/* Bytes of the network and transport headers plus one segment of a GSO packet, whose frame is
 * at off; 0 where they cannot be told. */
static __noinline __u32 segment_len(struct __sk_buff *skb, __u32 off, __be16 type)
{
	__u32 network, transport = 8, extra = 0;
	__u8 header[10], b;

	off += sizeof(struct eth);

	if (skb->gso_size == GSO_BY_FRAGS)
		return 0;
	if (bpf_skb_load_bytes(skb, off, header, sizeof(header)) || skb->len < off + sizeof(struct ipv4))
		return 0;
	if (type == bpf_htons(ETH_P_IP) && header[0] >> 4 == 4) {
		network = (header[0] & 15) * 4;
		b = header[9];
	} else if (type == bpf_htons(ETH_P_IPV6) && header[0] >> 4 == 6 && skb->len >= off + sizeof(struct ipv6)) {
		network = 40;
		b = header[6];
		if (b == PROTO_HOPOPTS && jumbo_tcp(skb, off + network)) {
			b = PROTO_TCP;
			extra = 8; /* no segment has it */
		}
	} else {
		return 0;
	}
	if (b == PROTO_TCP && !bpf_skb_load_bytes(skb, off + network + extra + 12, &b, 1))
		transport = (b >> 4) * 4;
	return skb->gso_size + network + transport;
}

/* The size of a frame's packet as an MTU sees it. The frame is at off. */
static __always_inline __u32 packet_len(struct __sk_buff *skb, __u32 off)
{
	struct eth *eth = DATA(skb) + off;
	struct ipv4 *ip = (void *)(eth + 1);

	if ((void *)(eth + 1) > DATA_END(skb))
		return 0;
	if (skb->gso_size)
		return segment_len(skb, off, eth->type);
	if (eth->type == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= DATA_END(skb) && ip->vihl >> 4 == 4)
		return bpf_ntohs(ip->tot_len);
	return skb->len - off - sizeof(*eth);
}
