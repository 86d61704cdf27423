/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Ends of a packet's way: counting, dropping, and the tests' record of it. */
#pragma once

#include "maps.h"

_Static_assert(DROP_COUNT <= PORT_DROPS, "port_drops has room for each reason");

static __always_inline struct record *record_of(enum verdict v)
{
	__u32 zero = 0;
	struct record *r = bpf_map_lookup_elem(&records, &zero);

	if (r) {
		__builtin_memset(r, 0, sizeof(*r));
		r->verdict = v;
	}
	return r;
}

static __always_inline void count_reason(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&drops, &reason);

	if (n)
		(*n)++;
}

/* Counts a drop of a packet that came in by an interface, for the interface's port too. A function
 * of its own: what is not dropped pays nothing for it. */
__noinline int count_drop(__u32 ifindex, __u32 reason)
{
	struct drop_counts *d;
	struct port *port;

	count_reason(reason);
	port = bpf_map_lookup_elem(&ports, &ifindex);
	if (!port || reason >= PORT_DROPS)
		return 0;
	d = bpf_map_lookup_elem(&port_drops, &port->port);
	if (d)
		__sync_fetch_and_add(&d->n[reason], 1);
	return 0;
}

static __always_inline int drop(struct __sk_buff *skb, __u32 reason)
{
	count_drop(skb->ifindex, reason);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_DROP);

		if (r)
			r->reason = reason;
	}
	return TCX_DROP;
}

/* A drop that was counted already. */
static __always_inline int drop_quiet(__u32 reason)
{
	if (cfg_record) {
		struct record *r = record_of(VERDICT_DROP);

		if (r)
			r->reason = reason;
	}
	return TCX_DROP;
}

static __always_inline int pass(void)
{
	if (cfg_record)
		record_of(VERDICT_PASS);
	return TCX_NEXT;
}

/* Whether the agent has been dead for longer than it may be. */
static __always_inline bool agent_dead(void)
{
	__u32 zero = 0;
	__u64 *until;

	if (!cfg_stop)
		return false;
	until = bpf_map_lookup_elem(&vouched, &zero);
	return !until || bpf_ktime_get_coarse_ns() > *(volatile __u64 *)until;
}

static __always_inline void count_tx(__u32 index, __u32 len)
{
	struct counter *c = bpf_map_lookup_elem(&counters, &index);

	if (c) {
		c->tx_packets++;
		c->tx_bytes += len;
	}
}

static __always_inline void count_rx(__u32 index, __u32 len)
{
	struct counter *c = bpf_map_lookup_elem(&counters, &index);

	if (c) {
		c->rx_packets++;
		c->rx_bytes += len;
	}
}
