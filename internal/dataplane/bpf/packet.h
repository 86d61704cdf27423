/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* What is known of the packet in hand. It lies in a row of its own on each processor: a
 * program's stack is small, and what comes with a feature goes here.
 *
 * A clone may run another hook's program in the middle of this one, so that each hook has
 * a row. Nothing reads its row after the first clone was sent (flood_net), so that even a
 * clone that came back to the same hook would change nothing. */
#pragma once

#include "consts.h"
#include "reasons.h"
#include "types.h"

enum hook {
	HOOK_WORKLOAD = 0,
	HOOK_UNDERLAY = 1,
	HOOK_VXLAN = 2,
	HOOK_SLOW = 3,
	HOOKS = 4,
};

/* What of a frame its outer header depends on. */
struct flow {
	__u64 hash;
	__u8 tos;
	bool ip; /* EtherType IPv4 or IPv6 */
};

struct packet {
	/* Where it came from, and where it is. */
	__u32 from;    /* enum source */
	__u32 ifindex; /* SOURCE_WORKLOAD, SOURCE_VLAN: the interface; else 0 once that is known */
	__u32 net;     /* the network that it is in */
	__u32 router;  /* the router that has it */

	/* What a router has read of it. */
	__be32 src;
	__be32 dst;
	__u32 size;    /* as an MTU sees it; before, how long the outer packet is */
	__u32 mtu;     /* of the way out */
	__u8 ttl;      /* when it came to the router */
	__u8 protocol;
	__u8 df;
	__u8 heard; /* ARP from a sender that a pair allows, who was learned from it */

	/* The flow's row, and what is to be remembered of the packet. */
	struct flow_key flow_key;
	__u64 generation; /* in which it came; 0: nothing is to be remembered */
	__u64 flow_hash;
	__u32 row;        /* index in flows and flow_tags */
	__u32 seen;       /* a packet of the flow came before */
	__u32 rx;         /* index in counters: where it came from */
	__u32 least;      /* MTU on the way through routers */
	__u32 turns;      /* routers on the way */

	/* The keys that were looked for last. */
	struct fdb_key fdb;
	struct fdb_key holder; /* of a learned MAC */
	union {
		struct route_key route;
		struct {
			__u32 plen; /* so that a neighbor's address lies where a route's does */
			struct neighbor_key neighbor;
		};
	};
	struct peer_key tunnel; /* SOURCE_TUNNEL, SOURCE_FABRIC: also what its outer header says */
	struct vni_key vni;
	struct learned_key source;

	struct flow flow; /* on its way into a tunnel */
	struct outer outer;

	/* What a stage works with. One at a time. */
	struct eth eth;
	__u8 serves; /* SOURCE_VLAN: FDB_F_SERVES */
	__u8 stays;  /* SOURCE_TUNNEL, SOURCE_FABRIC: the outer headers may be written anew where they are */
	union {
		struct arp arp;
		struct ipv4 ip;
		struct bpf_fib_lookup fib;
		struct bpf_redir_neigh nexthop;
		struct bpf_tunnel_key key;
		struct slow_header slow;
		struct speaker_key speaker;
	};
	/* What is learned, and for whom. */
	struct host_pair_key host_pair;
	struct addr addr;
	struct neighbor learned;
	struct learned_row fresh;
	struct port station;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct packet);
	__uint(max_entries, HOOKS);
} packets SEC(".maps");

static __always_inline struct packet *packet_of(enum hook hook)
{
	__u32 key = hook;
	struct packet *p = bpf_map_lookup_elem(&packets, &key);

	if (likely(p))
		p->heard = false;
	return p;
}
