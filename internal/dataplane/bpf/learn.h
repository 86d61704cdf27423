/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Senders that allowed address pairs let pass: who they are, and where they are.
 * Functions of their own where they can be: a program's stack is small. */
#pragma once

#include "drop.h"
#include "packet.h"
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
static __always_inline bool charge(const struct port *p, const struct config *cfg)
{
	struct learner *l, fresh = {};
	__u32 key = p->port, less = cfg->learn_less;

	l = bpf_map_lookup_elem(&learners, &key);
	if (!l) {
		/* Another processor may have been first; both use the same row. */
		bpf_map_update_elem(&learners, &key, &fresh, BPF_NOEXIST);
		l = bpf_map_lookup_elem(&learners, &key);
		if (!l)
			return false;
	}
	if (key & LEARNER_VLAN)
		less *= LEARN_PORTS_OF_VLAN;
	if ((__s32)(p->learn_limit - less - __sync_fetch_and_add(&l->used, 1)) > 0)
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

/* The key of an FDB entry. In whole words, as the hash reads it: a processor waits for
 * smaller stores to reach its cache before it loads what they are parts of. */
static __always_inline struct fdb_key *fdb_key(struct packet *p, __u32 net, const void *mac)
{
	__u32 *to = (void *)&p->fdb;
	const __u16 *rest = mac + 4;

	to[0] = net;
	to[1] = *(const __u32 *)mac;
	to[2] = *rest;
	return &p->fdb;
}

/* The other place of the MAC that fdb_key was made for; NULL: it is not on the move. */
static __always_inline struct fdb_entry *other_place(struct packet *p)
{
	__u32 *to = (void *)&p->fdb;

	to[2] = (to[2] & 0xffff) | OTHER_PLACE << 16;
	return bpf_map_lookup_elem(&fdb, &p->fdb);
}

static __always_inline struct neighbor_key *neighbor_key(struct packet *p, __u32 net, const struct addr *a)
{
	p->neighbor.net = net;
	addr_copy(&p->neighbor.addr, a);
	return &p->neighbor;
}

/* The key of what was learned of a MAC. */
static __always_inline struct learned_key *sender_mac(struct packet *p, __u32 net, const void *mac)
{
	__builtin_memset(&p->source, 0, sizeof(p->source));
	p->source.net = net;
	p->source.kind = SENDER_MAC;
	mac_copy(&p->source.addr, mac);
	return &p->source;
}

static __always_inline struct learned_key *sender_addr(struct packet *p, __u32 net, const struct addr *a)
{
	p->source.net = net;
	p->source.kind = SENDER_ADDR;
	addr_copy(&p->source.addr, a);
	return &p->source;
}

/* Whether the tables say who has p->source, so that nothing can be learned. */
static __always_inline bool known(struct packet *p)
{
	struct learned_key *k = &p->source;

	if (k->kind == SENDER_MAC)
		return bpf_map_lookup_elem(&fdb, fdb_key(p, k->net, &k->addr));
	return bpf_map_lookup_elem(&neighbors, neighbor_key(p, k->net, &k->addr));
}

/* Notes that a port, whose checks the frame has passed, has the MAC or the address p->source.
 * moves: also where another port was heard of lately.
 *
 * Values of rows that are there are written in place: the kernel would give the
 * memory of a replaced row away while other processors read it. The agent, which
 * removes rows, does not wait for readers either: what such a reader takes from the
 * row leads it nowhere but to a port of its own network, by another look-up. */
__noinline int learn(struct packet *p, struct port *port, __u64 mac, __u32 moves)
{
	struct learned_row *l;
	__u32 zero = 0, holder;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	__u64 now = bpf_ktime_get_coarse_ns();

	if (!p || !port || !cfg)
		return 0;
	p->generation = 0; /* each packet is to be seen */
	l = bpf_map_lookup_elem(&learned, &p->source);
	if (!l) {
		if (known(p))
			return 0;
		if (charge(port, cfg)) {
			p->fresh.mac = mac;
			p->fresh.seen = now;
			p->fresh.port = port->port;
			p->fresh.pad = 0;
			if (!bpf_map_update_elem(&learned, &p->source, &p->fresh, BPF_NOEXIST))
				return 0;
			discharge(port->port);
		}
		count_drop(p->ifindex, DROP_LEARN_LIMITED);
		return 0;
	}
	holder = l->port;
	if (holder != port->port) {
		if (!moves && within(now, l->seen, cfg->learn_hold))
			return 0;
		if (!charge(port, cfg)) {
			count_drop(p->ifindex, DROP_LEARN_LIMITED);
			return 0;
		}
		if (__sync_val_compare_and_swap(&l->port, holder, port->port) != holder) {
			discharge(port->port); /* it moves right now, elsewhere */
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

static __always_inline void learn_mac(struct packet *p, struct port *port, const void *mac)
{
	sender_mac(p, port->net, mac);
	learn(p, port, mac_pack(port->mac), true);
}

static __always_inline void learn_addr(struct packet *p, struct port *port, const struct addr *a, const void *mac, bool moves)
{
	sender_addr(p, port->net, a);
	learn(p, port, mac_pack(mac), moves);
}

/* What was learned, if it is not too old. */
static __always_inline struct learned_row *find_learned(const struct learned_key *k)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct learned_row *l = bpf_map_lookup_elem(&learned, k);

	if (!l || !cfg || !within(bpf_ktime_get_coarse_ns(), l->seen, cfg->learn_age))
		return NULL;
	return l;
}

/* Whether a port holds a MAC or an address by a pair. */
static __always_inline bool held_by_port(const struct learned_key *k)
{
	struct learned_row *l = find_learned(k);

	return l && !(l->port & LEARNER_VLAN);
}

/* The port that the learned MAC of p->fdb leads to, by the row of its own MAC, be it here or on another
 * host; or the VLAN. The host that serves the network's VLANs has the row of MAC 0. */
static __noinline struct fdb_entry *learned_fdb_entry(struct packet *p)
{
	__u32 net = p->fdb.net;
	struct fdb_entry *ep;
	struct learned_row *l;

	p->generation = 0; /* other processors move what is learned */
	l = find_learned(sender_mac(p, net, p->fdb.mac));
	if (!l)
		return NULL;
	if (l->port & LEARNER_VLAN && l->mac) {
		struct vlan_key vk = {.ifindex = l->mac, .vlan = l->mac >> 32};

		ep = bpf_map_lookup_elem(&vlans, &vk);
		return ep && ep->id == net && !ep->drop ? ep : NULL;
	}
	p->holder.net = net;
	mac_unpack(p->holder.mac, l->mac);
	p->holder.other = 0;
	ep = bpf_map_lookup_elem(&fdb, &p->holder);
	if (!ep || (ep->kind != FDB_PORT && ep->kind != FDB_HOST) || ep->id != l->port)
		return NULL;
	return ep;
}

/* Where frames for the MAC of p->fdb go. */
static __always_inline struct fdb_entry *find_fdb_entry(struct packet *p)
{
	struct fdb_entry *ep = bpf_map_lookup_elem(&fdb, &p->fdb);

	if (likely(ep))
		return ep;
	return learned_fdb_entry(p);
}

/* Whether frames can be sent to what was learned. */
static __always_inline bool reachable(const struct fdb_entry *ep)
{
	if (!ep)
		return false;
	return ep->kind == FDB_PORT || ep->kind == FDB_VLAN || (ep->kind == FDB_HOST && !(ep->flags & FDB_F_REMOTE));
}

/* The MAC that was learned for the address of p->neighbor, 0 where there is none that leads
 * to a port, here or elsewhere, or a VLAN. */
static __noinline __u64 learned_neighbor(struct packet *p)
{
	__u32 net = p->neighbor.net;
	struct learned_row *l;
	__u64 mac;

	p->generation = 0; /* as above */
	l = find_learned(sender_addr(p, net, &p->neighbor.addr));
	if (!l)
		return 0;
	mac = l->mac;
	p->fdb.net = net;
	mac_unpack(p->fdb.mac, mac);
	p->fdb.other = 0;
	return reachable(find_fdb_entry(p)) ? mac : 0;
}

/* A key of host_pairs of the network p->net and another host. */
static __always_inline struct host_pair_key *host_pair_key(struct packet *p, const struct addr *host, __u8 kind)
{
	struct host_pair_key *k = &p->host_pair;

	__builtin_memset(k, 0, sizeof(*k));
	k->plen = HOST_PAIR_PLEN;
	k->id = bpf_htonl(p->net);
	addr_copy(&k->host, host);
	k->kind = kind;
	return k;
}

/* The port of the host that sent p->tunnel that may send from a MAC, or with it from an address, by a
 * pair; or the stations of that host. */
static __noinline struct host_pair *find_host_pair(struct packet *p, const void *mac, const struct addr *a)
{
	struct host_pair_key *k = host_pair_key(p, &p->tunnel.remote, a ? PAIR_ADDR : PAIR_MAC);

	mac_copy(k->mac, mac);
	if (a) {
		k->plen += 128;
		k->family = family_of(a);
		addr_copy(&k->addr, a);
	}
	return bpf_map_lookup_elem(&host_pairs, k);
}

/* Whether another host has a VLAN of its own on the network p->net. */
static __always_inline bool has_vlan(struct packet *p, const struct addr *host)
{
	struct host_pair *hp = bpf_map_lookup_elem(&host_pairs, host_pair_key(p, host, PAIR_VLAN));

	return hp && !hp->port;
}

/* Whether what came from a VLAN may go to another host: this one serves the hosts that have none. */
static __noinline bool serves(struct packet *p, const struct fdb_entry *ep)
{
	return ep && p->serves && !has_vlan(p, &ep->addr);
}

/* Whether what the fabric brought may go onto a VLAN: this host serves the one that sent it. */
static __noinline bool served(struct packet *p, const struct fdb_entry *vlan)
{
	return vlan && vlan->flags & FDB_F_SERVES && !has_vlan(p, &p->tunnel.remote);
}
