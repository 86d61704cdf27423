/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Senders that allowed address pairs let pass: who they are, and where they are.
 * Functions of their own where they can be: a program's stack is small. */
#pragma once

#include "drop.h"
#include "parse.h"

/* How old a row's time may get before it is written again: a busy sender need not
 * write to memory that all processors read for every packet. */
#define LEARN_REFRESH 1000000000ULL

static __always_inline __u64 mac_pack(const void *mac)
{
	const __u16 *w = mac;

	return w[0] | (__u64)w[1] << 16 | (__u64)w[2] << 32;
}

static __always_inline void mac_unpack(void *to, __u64 mac)
{
	__u16 *w = to;

	w[0] = mac;
	w[1] = mac >> 16;
	w[2] = mac >> 32;
}

static __always_inline __u8 family_of(const struct addr *a)
{
	const __u32 *w = (const void *)a;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff) ? 4 : 6;
}

/* Whether a row was last written less than span ns ago; by another processor, that may
 * be a moment after now. */
static __always_inline bool within(__u64 now, __u64 seen, __u64 span)
{
	return (__s64)(now - seen) < (__s64)span;
}

/* Whether a pair of the port has the MAC. */
static __noinline bool pair_mac(const struct port *p, const void *mac)
{
	struct pair_key k = {.plen = PAIR_PLEN, .id = bpf_htonl(p->port), .kind = PAIR_MAC};

	if (!(p->flags & PORT_F_PAIRS))
		return false;
	mac_copy(k.mac, mac);
	return bpf_map_lookup_elem(&pairs, &k);
}

/* Whether a pair of the port has the address with the MAC. */
static __noinline bool pair_addr(const struct port *p, const void *mac, const struct addr *a)
{
	struct pair_key k = {.plen = PAIR_PLEN + 128, .id = bpf_htonl(p->port), .kind = PAIR_ADDR};

	if (!(p->flags & PORT_F_PAIRS))
		return false;
	mac_copy(k.mac, mac);
	k.family = family_of(a);
	addr_copy(&k.addr, a);
	return bpf_map_lookup_elem(&pairs, &k);
}

/* Whether a port of the network may have the address by a pair. */
static __noinline bool pair_net(__u32 net, const struct addr *a)
{
	struct pair_key k = {.plen = PAIR_PLEN + 128, .id = bpf_htonl(net), .kind = PAIR_NET};

	k.family = family_of(a);
	addr_copy(&k.addr, a);
	return bpf_map_lookup_elem(&pairs, &k);
}

/* Charges a row to a port. */
static __always_inline bool charge(const struct port *p)
{
	struct learner *l, fresh = {};
	__u32 key = p->port;

	l = bpf_map_lookup_elem(&learners, &key);
	if (!l) {
		/* Another processor may have been first; both use the same row. */
		bpf_map_update_elem(&learners, &key, &fresh, BPF_NOEXIST);
		l = bpf_map_lookup_elem(&learners, &key);
		if (!l)
			return false;
	}
	if ((__s32)(p->learn_limit - __sync_fetch_and_add(&l->used, 1)) > 0)
		return true;
	__sync_fetch_and_add(&l->used, -1);
	return false;
}

static __always_inline void discharge(__u32 port)
{
	struct learner *l = bpf_map_lookup_elem(&learners, &port);

	if (l)
		__sync_fetch_and_add(&l->used, -1);
}

/* Whether the tables say who has it, so that nothing can be learned. */
static __always_inline bool known(const struct sender_key *k)
{
	struct endpoint_key ek = {.net = k->net};
	struct neighbor_key nk = {.net = k->net};

	if (k->kind == SENDER_MAC) {
		mac_copy(ek.mac, &k->addr);
		return bpf_map_lookup_elem(&endpoints, &ek);
	}
	addr_copy(&nk.addr, &k->addr);
	return bpf_map_lookup_elem(&neighbors, &nk);
}

/* Notes that the port p, whose checks the frame has passed, has the MAC or the address k.
 * moves: also where another port was heard of lately.
 *
 * Values of rows that are there are written in place: the kernel would give the
 * memory of a replaced row away while other processors read it. The agent, which
 * removes rows, does not wait for readers either: what such a reader takes from the
 * row leads it nowhere but to a port of its own network, by another look-up. */
__noinline int learn(struct port *p, struct sender_key *k, __u64 mac, __u32 moves)
{
	struct sender *l, fresh = {};
	__u32 zero = 0, holder;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	__u64 now = bpf_ktime_get_coarse_ns();

	if (!p || !k || !cfg)
		return 0;
	l = bpf_map_lookup_elem(&senders, k);
	if (!l) {
		if (known(k))
			return 0;
		if (charge(p)) {
			fresh.mac = mac;
			fresh.seen = now;
			fresh.port = p->port;
			if (!bpf_map_update_elem(&senders, k, &fresh, BPF_NOEXIST))
				return 0;
			discharge(p->port);
		}
		count_drop(DROP_LEARN_LIMITED);
		return 0;
	}
	holder = l->port;
	if (holder != p->port) {
		if (!moves && within(now, l->seen, cfg->learn_hold))
			return 0;
		if (!charge(p)) {
			count_drop(DROP_LEARN_LIMITED);
			return 0;
		}
		if (__sync_val_compare_and_swap(&l->port, holder, p->port) != holder) {
			discharge(p->port); /* it moves right now, elsewhere */
			return 0;
		}
		discharge(holder);
	} else if (l->mac == mac && within(now, l->seen, LEARN_REFRESH)) {
		return 0;
	}
	l->mac = mac;
	l->seen = now;
	return 0;
}

static __noinline void learn_mac(struct port *p, const void *mac)
{
	struct sender_key k = {.net = p->net, .kind = SENDER_MAC};

	mac_copy(&k.addr, mac);
	learn(p, &k, mac_pack(p->mac), true);
}

static __noinline void learn_addr(struct port *p, const struct addr *a, const void *mac, bool moves)
{
	struct sender_key k = {.net = p->net, .kind = SENDER_ADDR};

	addr_copy(&k.addr, a);
	learn(p, &k, mac_pack(mac), moves);
}

/* What was learned, if it is not too old. */
static __always_inline struct sender *find_learned(const struct sender_key *k)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct sender *l = bpf_map_lookup_elem(&senders, k);

	if (!l || !cfg || !within(bpf_ktime_get_coarse_ns(), l->seen, cfg->learn_age))
		return NULL;
	return l;
}

/* The port that a learned MAC leads to, by the row of its own MAC; or the VLAN. */
static __noinline struct endpoint *learned_endpoint(__u32 net, const __u8 *mac)
{
	struct sender_key k = {.net = net, .kind = SENDER_MAC};
	struct endpoint_key ek = {.net = net};
	struct endpoint *ep;
	struct sender *l;

	mac_copy(&k.addr, mac);
	l = find_learned(&k);
	if (!l)
		return NULL;
	if (l->port & LEARNER_VLAN) {
		struct vlan_key vk = {.ifindex = l->mac, .vlan = l->mac >> 32};

		ep = bpf_map_lookup_elem(&vlans, &vk);
		return ep && ep->id == net && !ep->drop ? ep : NULL;
	}
	mac_unpack(ek.mac, l->mac);
	ep = bpf_map_lookup_elem(&endpoints, &ek);
	if (!ep || ep->kind != ENDPOINT_PORT || ep->id != l->port)
		return NULL;
	return ep;
}

/* Where frames for a MAC go. */
static __always_inline struct endpoint *find_endpoint(const struct endpoint_key *k)
{
	struct endpoint *ep = bpf_map_lookup_elem(&endpoints, k);

	if (likely(ep))
		return ep;
	return learned_endpoint(k->net, k->mac);
}

/* Whether frames can be sent to what was learned. */
static __always_inline bool reachable(const struct endpoint *ep)
{
	return ep && (ep->kind == ENDPOINT_PORT || ep->kind == ENDPOINT_VLAN);
}

/* The MAC that was learned for an address, 0 where there is none that leads to a
 * port or a VLAN. */
static __noinline __u64 learned_neighbor(__u32 net, const struct addr *a)
{
	struct sender_key k = {.net = net, .kind = SENDER_ADDR};
	struct endpoint_key ek = {.net = net};
	struct endpoint *ep;
	struct sender *l;
	__u64 mac;

	addr_copy(&k.addr, a);
	l = find_learned(&k);
	if (!l)
		return 0;
	mac = l->mac;
	mac_unpack(ek.mac, mac);
	ep = find_endpoint(&ek);
	return reachable(ep) ? mac : 0;
}
