/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* The values in the maps: the ABI between the agent and the programs.
 * Addresses are 16 bytes, network order; IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2).
 * Integers are in host order unless a comment says otherwise. No implicit padding.
 */
#pragma once

struct addr {
	__u8 b[16];
};

/* Where a packet came from. A kind that is not here may reach nothing (may_follow). */
enum source {
	SOURCE_UPLINK = 1,   /* no tunnel packet, and of no VLAN of ours: the host's */
	SOURCE_WORKLOAD = 2, /* a port's interface */
	SOURCE_VLAN = 3,     /* a network's VLAN on an uplink */
	SOURCE_TUNNEL = 4,   /* another site */
	SOURCE_SLOW = 5,     /* the agent's slow path */
	SOURCE_FABRIC = 6,   /* another host of the site */
};

/* ports: host-side interface index → the port that is plugged there */
#define PORT_F_SECURITY 1 /* check source MAC, IP and ARP */
#define PORT_F_ADDRS 2    /* more addresses than addr: look in port_addrs */
#define PORT_F_ADDR 4     /* addr is set: the port has at least one address */
#define PORT_F_PAIRS 8    /* further senders are allowed: look in pairs */
struct port {
	__u32 port; /* site key of the port */
	__u32 net;  /* site key of the network */
	__u8 mac[6];
	__u8 flags;
	__u8 drop; /* enum drop_reason; 0: the port works */
	struct addr addr;
	__u32 counter; /* index in counters */
	/* What the port's row of learners may come to: the bound of rows at a time,
	 * and those that the agent has taken away. Wraps round. */
	__u32 learn_limit;
};

/* port_addrs: further addresses that a port with port security may send from */
struct port_addr_key {
	__u32 port;
	struct addr addr;
};

/* pairs: further senders that port security lets pass, and what networks have such
 * addresses; a longest-prefix trie. A hit is the permission. */
enum pair_kind {
	PAIR_MAC = 1,  /* (port, MAC) */
	PAIR_ADDR = 2, /* (port, MAC, prefix) */
	PAIR_NET = 3,  /* (network, prefix): a port here may have it */
	PAIR_VLAN = 4, /* host_pairs: the host has a VLAN of its own on the network */
};
#define PAIR_PLEN 96 /* of all before addr */
struct pair_key {
	__u32 plen; /* 96 + prefix length in 128 bits (IPv4: 96 + 96 + n); PAIR_MAC: 96 */
	__be32 id;  /* port or network, network order, as in route_key */
	__u8 mac[6]; /* PAIR_MAC, PAIR_ADDR */
	__u8 kind;
	__u8 family; /* 4 or 6: a prefix of IPv6 has no IPv4 address in it */
	struct addr addr;
};

/* host_pairs: (network, a host's address on the fabric, MAC, prefix) → the port of that host that may send
 * from it by a pair; a longest-prefix trie. A hit is the permission. */
#define HOST_PAIR_PLEN 224 /* of all before addr */
#define HOST_PAIR_ANY 160  /* of all before mac: what the stations of the host's VLANs may be */
struct host_pair_key {
	__u32 plen; /* as in struct pair_key, with 224 for 96; PAIR_VLAN: 224; HOST_PAIR_ANY */
	__be32 id; /* network, in network order as in route_key */
	struct addr host;
	__u8 mac[6];
	__u8 kind;   /* PAIR_MAC, PAIR_ADDR, PAIR_VLAN */
	__u8 family; /* as in struct pair_key */
	struct addr addr;
};
struct host_pair {
	__u32 port;        /* 0: one without port security, of which nothing is learned; LEARNER_VLAN: a station */
	__u32 learn_limit; /* as in struct port */
	__u8 mac[6];       /* the port's own */
	__u16 pad;
};

/* learned: what the programs saw of senders that pairs allow. Written by the
 * programs; the agent removes rows. What fdb or neighbors say of a MAC or an
 * address comes first. */
enum sender_kind {
	SENDER_MAC = 1,  /* MAC (in the first bytes of addr) → port */
	SENDER_ADDR = 2, /* address → MAC */
};
struct learned_key {
	__u32 net;
	__u32 kind;
	struct addr addr;
};
struct learned_row {
	__u64 mac;  /* SENDER_ADDR: of the address; SENDER_MAC: of the port itself.
	               Little-endian: six bytes, then two of 0. SENDER_MAC on a VLAN:
	               its key in vlans, the interface in the lower half; 0: one of another host */
	__u64 seen; /* bpf_ktime_get_coarse_ns */
	__u32 port; /* who holds it, and whose allowance it is charged to; with
	               LEARNER_VLAN: the VLANs of that network */
	__u32 pad;
};

/* learners: port → rows of learned that were charged to it, less those that another
 * port took over */
#define LEARNER_VLAN (1U << 31)
struct learner {
	__u32 used;
};

/* asked: for whom routers have asked by ARP lately, at the low bits of a hash */
#define ASKED 256
struct asked {
	__u64 at; /* bpf_ktime_get_coarse_ns */
	__u32 net;
	__u32 pad;
	struct addr addr;
};

/* fdb: (network, MAC) → what takes the frame. With OTHER_PLACE a second place of the MAC: FDB_HOST: frames
 * with it are taken from that host too; FDB_PORT, FDB_REMOTE: what the fabric brings for it stays here. */
enum fdb_kind {
	FDB_PORT = 1,
	FDB_ROUTER = 2,
	FDB_REMOTE = 3,
	FDB_DROP = 4,
	FDB_VLAN = 5, /* in vlans alone */
	FDB_HOST = 6, /* another host of the site, over the fabric */
};
#define FDB_F_PEER 1   /* bpf_redirect_peer: a veth whose peer is in another namespace */
#define FDB_F_KERNEL 2 /* FDB_REMOTE, FDB_HOST: by the kernel's output path, always */
#define FDB_F_REMOTE 4 /* FDB_HOST: that host sends it to a remote VTEP */
#define FDB_F_SERVES 8 /* FDB_VLAN: hosts without a VLAN of the network reach it by this one */
#define OTHER_PLACE 1 /* of what is on the move from one host to another: its other place */
struct fdb_key {
	__u32 net;
	__u8 mac[6];
	__u16 other; /* 0: where frames go; OTHER_PLACE */
};
struct fdb_entry {
	__u8 kind;
	__u8 flags;
	__u8 drop; /* FDB_DROP; FDB_VLAN, where not 0 */
	__u8 pad;
	__u32 id;      /* port key or router key; FDB_VLAN: network; FDB_HOST: port key, 0 with FDB_F_REMOTE */
	__u32 ifindex; /* FDB_PORT, FDB_VLAN */
	__u32 counter; /* index in counters: all but FDB_ROUTER, FDB_DROP */
	__u32 mtu;     /* largest IP packet, bytes: all but FDB_ROUTER, FDB_DROP */
	__u32 vni;     /* FDB_REMOTE; FDB_HOST: the network; FDB_VLAN: its number */
	__u32 table;   /* FDB_REMOTE, FDB_HOST: kernel routing table of the outer packet;
	                  FDB_VLAN: as learn_limit of a port; FDB_ROUTER: its domain */
	__u16 udp_port; /* FDB_REMOTE, FDB_HOST: that the outer packet goes to */
	__u16 pad2;
	struct addr addr;  /* FDB_ROUTER: its address here; FDB_REMOTE: the VTEP;
	                      FDB_HOST: that host's address on the fabric */
	struct addr local; /* FDB_REMOTE: our tunnel IP; FDB_HOST: our address on the fabric */
};

/* Where a frame that is bridged may go: the bit of an FDB entry's kind, and copies of it.
 * docs/PIPELINE.md has this as a table. */
enum destination {
	TO_PORT = 1 << FDB_PORT,
	TO_ROUTER = 1 << FDB_ROUTER,
	TO_REMOTE = 1 << FDB_REMOTE,
	TO_VLAN = 1 << FDB_VLAN,
	TO_FABRIC = 1 << FDB_HOST,
	TO_COPIES = 1 << 7,        /* to the network's ports, where nobody has the address */
	TO_VLAN_COPIES = 1 << 8,   /* to its VLANs */
	TO_FABRIC_COPIES = 1 << 9, /* to other hosts that are on it */
	TO_STACK = 1 << 10,        /* the host's own */
};
/* An FDB entry with FDB_F_REMOTE is two of these: TO_FABRIC and TO_REMOTE. From a VLAN serves() says to which hosts. */
enum may_follow {
	FROM_UPLINK = TO_STACK,
	FROM_WORKLOAD = TO_PORT | TO_ROUTER | TO_REMOTE | TO_VLAN | TO_FABRIC | TO_COPIES | TO_VLAN_COPIES | TO_FABRIC_COPIES,
	FROM_VLAN = TO_PORT | TO_ROUTER | TO_REMOTE | TO_FABRIC | TO_COPIES | TO_FABRIC_COPIES,
	FROM_TUNNEL = TO_PORT | TO_ROUTER | TO_VLAN | TO_FABRIC | TO_COPIES | TO_FABRIC_COPIES,
	FROM_SLOW = TO_PORT | TO_ROUTER | TO_REMOTE | TO_VLAN | TO_FABRIC | TO_COPIES | TO_VLAN_COPIES | TO_FABRIC_COPIES,
	/* It was routed where it entered the fabric, and crosses it once. Copies to VLANs as onto_vlan() says. */
	FROM_FABRIC = TO_PORT | TO_REMOTE | TO_VLAN | TO_COPIES | TO_VLAN_COPIES,
};
/* Of whose addresses ARP tells the others. A port's workload is told of all that are known. */
enum may_ask {
	ASK_VLAN = TO_PORT | TO_ROUTER | TO_FABRIC,
	ASK_TUNNEL = TO_PORT | TO_ROUTER | TO_VLAN | TO_FABRIC,
};

/* vlans: (interface, VLAN) → network, as an FDB entry of kind FDB_VLAN */
struct vlan_key {
	__u32 ifindex;
	__u32 vlan;
};

/* neighbors: (network, address) → MAC */
struct neighbor_key {
	__u32 net;
	struct addr addr;
};
struct neighbor {
	__u8 mac[6];
	__u16 pad;
};

/* routes: (router, prefix) → where to; a longest-prefix trie, so plen counts
 * the 32 bits of router too */
enum route_kind {
	ROUTE_CONNECTED = 1,
	ROUTE_VIA = 2,
	ROUTE_LOCAL = 3,
	ROUTE_DROP = 4,
};
struct route_key {
	__u32 plen; /* 32 + prefix length in 128 bits (IPv4: 32 + 96 + n) */
	__be32 router; /* network order, so that the trie compares it bit by bit */
	struct addr addr;
};
struct route {
	__u8 kind;
	__u8 drop; /* ROUTE_DROP */
	__u8 mac[6]; /* source MAC on net */
	__u32 net;
	__u32 mtu; /* of net, bytes */
	__u32 plen; /* ROUTE_VIA, one of several: of the row's key, which hops has too; else 0 */
	struct addr nexthop; /* ROUTE_VIA */
};

/* hops: the destination of a route → its next hops, where there are several */
#define HOPS 8
struct next_hops {
	__u32 count; /* 1 … HOPS */
	struct route hop[HOPS]; /* kind ROUTE_VIA, plen 0 */
};

/* tunnel_ips: our tunnel IPs */
struct tunnel_ip {
	__u32 pad;
};

/* vnis: (tunnel IP, VNI) → network */
struct vni_key {
	struct addr local;
	__u32 vni;
};
struct vni {
	__u32 net;
};

/* peers: (tunnel IP, outer source, VNI) → network; a hit is the permission */
#define PEER_F_KERNEL 1 /* by the kernel's input path, always */
#define WAYS 8          /* interfaces that may lead to a VTEP */
struct peer_key {
	struct addr local;
	struct addr remote;
	__u32 vni;
};
struct peer {
	__u32 net;
	__u32 counter; /* index in counters */
	__u8 drop;
	__u8 flags; /* PEER_F_* */
	__u8 pad[2];
	__u32 ways[WAYS]; /* interfaces that the VTEP's packets may come in by; 0: none */
};

/* vteps: (tunnel IP, outer source) → what the rows of peers with them have in common, for
 * packets whose VNI is not known yet */
struct vtep_key {
	struct addr local;
	struct addr remote;
};
struct vtep {
	__u32 ways[WAYS];
};

/* fabric_hosts: (our address on the fabric, another host's), as in struct vtep_key → that host, as a
 * struct peer of no network; a hit is the permission to send */

/* speakers: (domain, host's address on the fabric); a hit is the permission to send for the
 * domain's routers. A domain is all networks and routers that hang together by router
 * interfaces; its number is the least key of a router of it. */
struct speaker_key {
	__u32 domain;
	struct addr host;
};

/* floods: (network, slot) → a local port, a VLAN or another host that takes flooded frames; the
 * slots of a network are 0, 1, 2 … without a gap */
#define FLOOD_MAX 2048
#define FLOOD_HEARD (1U << 31)
struct flood_key {
	__u32 net; /* with FLOOD_HEARD: further hosts, which are not on it and route into it */
	__u32 slot;
};
#define FLOOD_F_SERVES 1 /* a VLAN: as FDB_F_SERVES */
#define FLOOD_F_VLAN 2   /* a host that has a VLAN of its own on the network */
struct flood {
	__u32 ifindex;
	__u32 counter;
	__u32 vlan; /* the tag to send with; 0: a port or a host */
	__u32 flags;
	struct addr addr; /* the host's, behind the fabric's device; 0: a port or a VLAN */
};

/* counters: per CPU; 0 is nobody's */
struct counter {
	__u64 rx_packets; /* from the workload, or from the remote VTEP */
	__u64 rx_bytes;   /* of the (inner) frame */
	__u64 tx_packets;
	__u64 tx_bytes;
};

/* port_drops: port → what was dropped of the packets that its workload sent, by reason. The agent makes
 * the rows, and takes them away with the port. Processors share a row: a port's packets come in by one
 * or few of them, and a row for each would take as much memory as all the others together. */
#define PORT_DROPS 64
struct drop_counts {
	__u64 n[PORT_DROPS];
};

/* What allowances are for: each purpose has its own, so that none starves another. */
enum purpose {
	FOR_ERROR = 0,   /* ICMP errors but these: */
	FOR_TOO_BIG = 1, /* fragmentation needed */
	FOR_PROBE = 2,   /* what comes back for routers' probes */
	FOR_ARP = 3,     /* routers' questions for who has an address */
	FOR_FRAGMENT = 4, /* fragments that the slow path cuts */
	FOR_FLOOD = 5,   /* copies of flooded frames */
	PURPOSES = 6,
};
#define ROUTER_PURPOSES 4 /* the first ones are kept by router, the others by network */

/* How many tokens an allowance gets a second, and how many it holds. */
struct rate {
	__u32 rate; /* 0: no limit */
	__u32 burst;
};
struct rates {
	struct rate source; /* of one sender, at one router or network; no limit: none of the others' either */
	struct rate owner;  /* of the router or network */
	struct rate host;   /* of all */
};

/* shares: allowances by a hash of purpose, router or network, and sender: a time each, as in
 * icmp_bucket. Few share one by chance, and who those are nobody outside can tell. */
#define SHARES_BITS 15

/* icmp_buckets: router → what is left of its allowances */
struct icmp_bucket {
	/* By purpose, when the allowance was, or will have been, used up: ns of
	 * bpf_ktime_get_ns. A token moves it on by 1 s / rate; there is one while that
	 * does not go beyond now, and it is never more than burst such steps
	 * behind. One word each, so that processors compare and swap it. */
	__u64 spent[ROUTER_PURPOSES];
	__u64 limited; /* packets that looked like answers to its probes, and found no token */
};

/* hosts: purpose → the allowance of all: a time, as in icmp_bucket */

/* What an outer header has, and the table of its route. */
struct outer {
	__be32 local;
	__be32 remote;
	__u32 vni;
	__u32 table;
	__u16 port; /* the source port */
	__u16 dport;
};

/* nexthops: what bpf_fib_lookup said of a VTEP, per CPU. True for the tick of the clock in
 * which it was asked. All flows to the VTEP whose outer source ports begin with the same four bits
 * share a row: paths of equal cost go by it. */
#define NEXTHOPS 1024
#define NEXTHOP_CLASSES 16
struct nexthop {
	__u64 tick; /* jiffies */
	struct addr local;
	struct addr remote;
	__u32 addr[4]; /* as in struct bpf_redir_neigh */
	__u32 table;
	__u32 ifindex;
	__u16 family; /* of addr */
	__u16 pad;
	__u8 dmac[6]; /* of the next hop, where known */
	__u8 smac[6]; /* of the interface */
	__u32 known;
	__u32 pad2;
};

/* sent_ports: outer source ports that were lately used, per CPU, at the low bits of the port. */
#define SENT_PORTS 256
struct sent_port {
	__u64 tick; /* jiffies */
	struct addr local;
	struct addr remote;
	__u16 port;
	__u16 pad[3];
};

/* flows: what was decided of a flow's packets, per CPU, at some bits of the key's hash. A row counts
 * for the generation in which its packet was looked at (flows.h). Not pinned: a load of the programs
 * has its own. */
enum flow_kind {
	FLOW_WORKLOAD = 1, /* from a workload to a port or into a tunnel */
	FLOW_TUNNEL = 2,   /* from a tunnel or the fabric to a port, or into a tunnel again */
};
struct flow_key {
	__u64 macs;      /* the destination's, and two bytes of the source's */
	__u64 source;    /* the other four; the interface */
	__u64 addrs;     /* IPv4 source and destination */
	__u64 transport; /* ports, 0 where the protocol has none; protocol; enum flow_kind */
	/* FLOW_TUNNEL: the outer source and destination; the VNI, and above it the outer
	 * destination port */
	__u64 outer;
	__u64 vni;
};
struct flow_row {
	struct flow_key key;
	__u64 generation; /* 0: no row */
	__u32 mtu;        /* the least on the way, bytes */
	__u32 turns;      /* routers on the way; 0: the frame stays as it is */
	__u32 rx;         /* index in counters: where it came from */
	__u32 tx;         /* and where it goes */
	__u8 dst[6];
	__u8 src[6];
	__u32 ifindex; /* of the port; 0: into a tunnel */
	__u32 flags;   /* FDB_F_* */
	struct outer outer; /* of the tunnel */
	__u64 noted;   /* the tick in which sent_ports was last told of its port */
	__u64 pad;
};

/* vouched: one row, until when the agent vouches for what is forwarded: ns of bpf_ktime_get_coarse_ns.
 * ~0: for good. The agent writes it, and the programs look where cfg_stop is set. */

/* configs: one row */
struct config {
	__u64 hash_key;      /* of the outer source port's hash */
	__u32 vxlan_ifindex; /* the collect-metadata vxlan device; also the device whose
	                        forwarding switch bpf_fib_lookup asks for */
	__u32 slow_ifindex;  /* the tap device to and from the agent's slow path */
	struct rates rates[PURPOSES];
	/* For how long, in ns, after the holder of an address last spoke nothing but
	 * ARP gives it to another port; and for how long the holder is known. */
	__u64 learn_hold;
	__u64 learn_age;
	__u32 mark; /* bits of skb->mark that from_underlay sets, and from_vxlan wants */
	/* How many rows of learned fewer each port may hold while there are few left; the
	 * VLANs of a network so many times that. */
	__u32 learn_less;
#define LEARN_PORTS_OF_VLAN 16
	/* Our end of the fabric; 0: the host is on none. */
	__u32 fabric_ifindex; /* the fabric's collect-metadata vxlan device */
	__u32 fabric_port;    /* UDP */
	struct addr fabric_addr;
};

/* The header between Ethernet and IP header on the slow path's tap device, in
 * both directions. */
enum slow_kind {
	SLOW_ICMP = 1,     /* to the agent: make an ICMP error of this packet */
	SLOW_FRAGMENT = 2, /* to the agent: cut this packet; its Ethernet header is final */
	SLOW_ROUTE = 3,    /* from the agent: the router originates this packet */
	SLOW_BRIDGE = 4,   /* from the agent: forward this frame in the network, to
	                      the FDB entry of its destination MAC */
	SLOW_PROBE = 5,    /* to the agent: what came back for a probe of the router; with
	                      a reason: the probe itself, which did not leave the router */
	SLOW_ARP = 6,      /* to the agent and back: ask the ports of the network who
	                      has src, for the router with the source MAC */
};
struct slow_header {
	__u8 kind;
	__u8 reason;    /* enum drop_reason that made it */
	__u8 icmp_type; /* SLOW_ICMP; SLOW_PROBE with a reason */
	__u8 icmp_code;
	__u32 router;    /* SLOW_ICMP, SLOW_ROUTE, SLOW_PROBE, SLOW_ARP */
	__u32 net;       /* SLOW_FRAGMENT, SLOW_BRIDGE, SLOW_ARP */
	__u32 mtu;       /* SLOW_FRAGMENT; SLOW_ICMP, SLOW_PROBE for fragmentation needed */
	struct addr src; /* SLOW_ICMP: the address the error comes from; SLOW_ARP:
	                    the one that is asked for */
};

/* records: what the last packet came to, kept only when cfg_record is set (tests).
 * One row: tests run one packet at a time. */
enum verdict {
	VERDICT_PASS = 1,    /* not ours: to the next program and the host */
	VERDICT_DROP = 2,    /* reason says why */
	VERDICT_PORT = 3,    /* to the workload behind ifindex */
	VERDICT_TUNNEL = 4,  /* encapsulated here; outer headers are in the packet */
	VERDICT_VXLAN = 5,   /* to the collect-metadata device ifindex with tunnel key
	                        (local, remote, vni, tos) */
	VERDICT_SLOW = 6,    /* to the slow path; slow_header is in the packet; reason
	                        is set where it counts as a drop too */
	VERDICT_REPLY = 7,   /* an ARP reply, back out of ifindex */
	VERDICT_FLOOD = 8,   /* to the local ports of net except ifindex; copies of them */
	VERDICT_VLAN = 9,    /* out of ifindex with the tag vni */
};
struct record {
	__u8 verdict;
	__u8 reason;
	__u8 flags; /* FDB_F_* of the FDB entry it went to */
	__u8 tos;
	__u32 ifindex;
	__u32 net;
	__u32 vni;
	__u32 table;
	__u32 copies;
	__u16 known; /* a row of flows decided */
	__u16 stays; /* VERDICT_TUNNEL: the outer headers were written anew where they were */
	struct addr local;
	struct addr remote;
};
