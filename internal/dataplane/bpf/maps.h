/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* The maps. max_entries is set by the loader. The kernel gives the memory of a row
 * that is deleted from a hash map to the next one at once; the loader sees to it
 * that what a program still reads stays what it was until it has ended (spare.go). */
#pragma once

#include "consts.h"
#include "reasons.h"
#include "types.h"

#define HASH(name, k, v)                               \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_HASH);       \
		__type(key, k);                        \
		__type(value, v);                      \
		__uint(max_entries, 1);                \
		__uint(map_flags, BPF_F_NO_PREALLOC);  \
	} name SEC(".maps")

#define ARRAY(name, kind, v, n)            \
	struct {                           \
		__uint(type, kind);        \
		__type(key, __u32);        \
		__type(value, v);          \
		__uint(max_entries, n);    \
	} name SEC(".maps")

HASH(ports, __u32, struct port);
HASH(port_addrs, struct port_addr_key, __u32);
HASH(fdb, struct fdb_key, struct fdb_entry);
HASH(hops, struct route_key, struct next_hops);
HASH(neighbors, struct neighbor_key, struct neighbor);
HASH(tunnel_ips, struct addr, struct tunnel_ip);
HASH(vnis, struct vni_key, struct vni);
HASH(vlans, struct vlan_key, struct fdb_entry);
HASH(peers, struct peer_key, struct peer);
HASH(vteps, struct vtep_key, struct vtep);
HASH(fabric_hosts, struct vtep_key, struct peer);
HASH(speakers, struct speaker_key, __u32);
HASH(floods, struct flood_key, struct flood);
HASH(icmp_buckets, __u32, struct icmp_bucket);
HASH(learned, struct learned_key, struct learned_row);
HASH(learners, __u32, struct learner);
HASH(port_drops, __u32, struct drop_counts);

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct route_key);
	__type(value, struct route);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct pair_key);
	__type(value, __u32);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct host_pair_key);
	__type(value, struct host_pair);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} host_pairs SEC(".maps");

ARRAY(counters, BPF_MAP_TYPE_PERCPU_ARRAY, struct counter, 1);
ARRAY(nexthops, BPF_MAP_TYPE_PERCPU_ARRAY, struct nexthop, NEXTHOPS);
ARRAY(sent_ports, BPF_MAP_TYPE_PERCPU_ARRAY, struct sent_port, SENT_PORTS);
ARRAY(shares, BPF_MAP_TYPE_ARRAY, __u64, 1 << SHARES_BITS);
ARRAY(hosts, BPF_MAP_TYPE_ARRAY, __u64, PURPOSES);
ARRAY(askeds, BPF_MAP_TYPE_ARRAY, struct asked, ASKED);
ARRAY(drops, BPF_MAP_TYPE_PERCPU_ARRAY, __u64, DROP_COUNT);
ARRAY(vouched, BPF_MAP_TYPE_ARRAY, __u64, 1);
ARRAY(records, BPF_MAP_TYPE_ARRAY, struct record, 1);
ARRAY(configs, BPF_MAP_TYPE_ARRAY, struct config, 1);

/* Set by the loader before the programs are verified; what is false then is dead
 * code that the verifier removes. */
const volatile __u8 cfg_record = 0; /* keep record; make no flood copies */
const volatile __u8 cfg_stop = 0;   /* forward nothing once the agent vouches for it no more */
