/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Numbers and layouts of the network and of the kernel that the UAPI headers of
 * old distributions lack, or that drag the C library in. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* enum tcx_action_base, include/uapi/linux/bpf.h of Linux 6.6 */
#define TCX_NEXT (-1)
#define TCX_DROP 2

/* include/uapi/linux/bpf.h of Linux 6.6: bpf_fib_lookup's flags */
#define FIB_LOOKUP_DIRECT (1U << 0)
#define FIB_LOOKUP_TBID (1U << 3)
#define FIB_RET_SUCCESS 0
#define FIB_RET_NO_NEIGH 7

/* include/uapi/linux/bpf.h of Linux 6.3: bpf_skb_adjust_room takes IPv4 off IPv6 */
#define ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)

/* include/linux/socket.h */
#define AF_INET 2

/* include/linux/skbuff.h: the segments of a GSO packet (SCTP's) have no common size */
#define GSO_BY_FRAGS 0xffff

/* include/uapi/linux/if_packet.h */
#define PACKET_HOST 0

/* include/uapi/linux/if_ether.h */
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8
#define VLAN_ID 0x0fff

/* RFC 791, RFC 3168 */
#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
#define ECN_MASK 3
#define ECN_CE 3
#define ECN_ECT1 1
#define ECN_ECT0 2

/* IANA protocol numbers */
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ESP 50
#define PROTO_AH 51
#define PROTO_SCTP 132
#define PROTO_HOPOPTS 0
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_AH 51
#define PROTO_ICMPV6 58
#define PROTO_DSTOPTS 60

/* RFC 792 */
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACH 3
#define ICMP_UNREACH_NET 0
#define ICMP_UNREACH_HOST 1
#define ICMP_UNREACH_PROTOCOL 2
#define ICMP_UNREACH_PORT 3
#define ICMP_UNREACH_FRAG 4
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11

/* Identifier of the echo requests that the agent sends as a router's probes. What
 * answers one goes to the agent, which knows by the sequence number and by what the
 * message carries whether it is waited for. */
#define PROBE_ID 0x6377

/* What is kept of a GSO packet for the slow path, bytes of the IP packet. RFC 1812
 * §4.3.2.3: an ICMP error should not exceed 576 bytes. */
#define SLOW_GSO_KEEP 576

#define VXLAN_PORT 4789 /* RFC 7348 §8 */
#define NAT_T_PORT 4500 /* RFC 3948: ESP in UDP */
#define VXLAN_FLAG_VNI 0x08

#define ARP_REQUEST 1
#define ARP_REPLY 2

struct eth {
	__u8 dst[6];
	__u8 src[6];
	__be16 type;
};

struct ipv4 {
	__u8 vihl; /* version, header length in words */
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 src;
	__be32 dst;
};

struct ipv6 {
	__be32 flow; /* version, traffic class, flow label */
	__be16 len;
	__u8 next;
	__u8 hops;
	__be32 src[4];
	__be32 dst[4];
};

struct udp {
	__be16 src;
	__be16 dst;
	__be16 len;
	__u16 check;
};

struct vxlan {
	__u8 flags;
	__u8 reserved[3];
	__be32 vni; /* shifted left by 8 */
};

struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 op;
	__u8 sender_mac[6];
	__be32 sender_ip;
	__u8 target_mac[6];
	__be32 target_ip;
} __attribute__((packed));

struct icmp {
	__u8 type;
	__u8 code;
	__u16 check;
	__be32 rest;
};

/* Where the headers of a tunnel packet start. No packed struct of them all: the
 * compiler would read and write it byte by byte. */
#define OUTER_IP 14
#define OUTER_UDP 34
#define OUTER_VXLAN 42
#define OUTER_INNER 50 /* the inner Ethernet header */
#define OUTER_END 64
#define OUTER_LEN 50 /* bytes that the tunnel adds to a frame */

_Static_assert(sizeof(struct eth) == 14, "Ethernet header");
_Static_assert(sizeof(struct ipv4) == 20, "IPv4 header");
_Static_assert(sizeof(struct ipv6) == 40, "IPv6 header");
_Static_assert(sizeof(struct arp) == 28, "ARP packet");
