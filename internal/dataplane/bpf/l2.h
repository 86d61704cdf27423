/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Inside a network: delivery, flooding, ARP. */
#pragma once

#include "drop.h"
#include "fair.h"
#include "flows.h"
#include "learn.h"
#include "parse.h"
#include "vtep.h"

/* Where frames may go that came from there: the table of docs/PIPELINE.md. */
static __always_inline __u32 may_follow(__u32 from)
{
	switch (from) {
	case SOURCE_WORKLOAD:
		return FROM_WORKLOAD;
	case SOURCE_VLAN:
		return FROM_VLAN;
	case SOURCE_TUNNEL:
		return FROM_TUNNEL;
	case SOURCE_SLOW:
		return FROM_SLOW;
	case SOURCE_FABRIC:
		return FROM_FABRIC;
	}
	return 0;
}

/* Whether a frame may go to an FDB entry. */
static __always_inline bool may_go(__u32 may, const struct fdb_entry *ep)
{
	__u32 to = 1U << (ep->kind & 31);

	if (unlikely(ep->flags & FDB_F_REMOTE))
		to |= TO_REMOTE;
	return (may & to) == to;
}

/* Out of the interface of a port. */
static __always_inline int to_port(struct __sk_buff *skb, __u32 ifindex, __u32 flags, __u32 counter, bool known)
{
	/* bpf_redirect_peer goes straight into the receiving stack, which takes
	 * only what is for its host. */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	count_tx(counter, skb->len);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_PORT);

		if (r) {
			r->ifindex = ifindex;
			r->flags = flags;
			r->known = known;
		}
	}
	if (flags & FDB_F_PEER)
		return bpf_redirect_peer(ifindex, 0);
	return bpf_redirect(ifindex, 0);
}

static __always_inline int deliver(struct __sk_buff *skb, struct packet *p, struct fdb_entry *ep)
{
	if (p->generation)
		remember(skb, p, ep);
	return to_port(skb, ep->ifindex, ep->flags, ep->counter, false);
}

/* As a row of flows says. It is counted where it came from. */
static __always_inline int deliver_known(struct __sk_buff *skb, const struct flow_row *r)
{
	struct eth *eth = DATA(skb);
	struct ipv4 *ip = (void *)(eth + 1);

	if (unlikely((void *)(ip + 1) > DATA_END(skb)))
		return drop(skb, DROP_INTERNAL);
	if (likely(r->turns)) {
		mac_copy(eth->dst, r->dst);
		mac_copy(eth->src, r->src);
		set_ttl(ip, ip->ttl - r->turns);
	}
	return to_port(skb, r->ifindex, r->flags, r->tx, true);
}

/* With a tag, out of the interface that carries the VLAN. */
static __always_inline int deliver_vlan(struct __sk_buff *skb, const struct fdb_entry *ep)
{
	count_tx(ep->counter, skb->len);
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), ep->vni))
		return drop(skb, DROP_INTERNAL);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_VLAN);

		if (r) {
			r->ifindex = ep->ifindex;
			r->vni = ep->vni;
		}
	}
	return bpf_redirect(ep->ifindex, 0);
}

/* Addresses that no bridge lets out of a link: 01-80-C2-00-00-00 to -0F (IEEE 802.1Q
 * §8.6.3). */
static __always_inline bool link_local(const __u8 *mac)
{
	const __u16 *w = (const void *)mac;

	return w[0] == bpf_htons(0x0180) && w[1] == bpf_htons(0xc200) && !(w[2] & bpf_htons(0xfff0));
}

/* Between a VLAN and the fabric copies go by a VLAN that serves others, and to hosts that have none. */
#define SERVED (1U << 31)

/* A frame that is flooded. On the stack: clones may come to use the packet's row. */
struct flooding {
	struct __sk_buff *skb;
	__u32 net;
	__u32 ifindex; /* that it came from */
	__u32 may;     /* where its copies may go */
	__u32 copies;
	__u32 list; /* whose rows of floods */
	struct packet *p;
};

/* A copy to another host, by the fabric's device. The kernel sees to the ECN field. The packet's
 * row has room for the key, which the helper copies: whoever else uses the row does so before
 * or after this. */
static __noinline long copy_to_host(struct __sk_buff *skb, struct packet *p, __u32 net, const struct flood *f)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct bpf_tunnel_key *key = &p->key;

	if (!cfg)
		return -1;
	__builtin_memset(key, 0, sizeof(*key));
	key->tunnel_id = net;
	key->remote_ipv4 = bpf_ntohl(addr_to_v4(&f->addr));
	key->local_ipv4 = bpf_ntohl(addr_to_v4(&cfg->fabric_addr));
	key->tunnel_ttl = 64;
	if (bpf_skb_set_tunnel_key(skb, key, sizeof(*key), BPF_F_ZERO_CSUM_TX))
		return -1;
	return bpf_clone_redirect(skb, f->ifindex, 0);
}

static long flood_slot(__u32 slot, struct flooding *fl)
{
	struct flood_key k = {.net = fl->list, .slot = slot};
	struct flood *f = bpf_map_lookup_elem(&floods, &k);
	struct __sk_buff *skb = fl->skb;

	if (!f)
		return 1;
	if (f->ifindex == fl->ifindex)
		return 0;
	if (unlikely(f->vlan)) {
		if (!(fl->may & TO_VLAN_COPIES) || (fl->may & SERVED && !(f->flags & FLOOD_F_SERVES)))
			return 0;
		if (!cfg_record) {
			long err;

			if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), f->vlan))
				return 0;
			err = bpf_clone_redirect(skb, f->ifindex, 0);
			if (bpf_skb_vlan_pop(skb))
				return 1; /* the other copies must not have the tag */
			if (err)
				return 0;
		}
	} else if (unlikely(addr_to_v4(&f->addr))) {
		if (!(fl->may & TO_FABRIC_COPIES) || (fl->may & SERVED && f->flags & FLOOD_F_VLAN))
			return 0;
		if (!cfg_record && copy_to_host(skb, fl->p, fl->net, f))
			return 0;
	} else if (!(fl->may & TO_COPIES) || (!cfg_record && bpf_clone_redirect(skb, f->ifindex, 0))) {
		return 0;
	}
	count_tx(f->counter, skb->len);
	fl->copies++;
	return 0;
}

/* Who floods: a workload's interface, an uplink whose VLAN it came from, another host of the site, or a
 * MAC of a tunnel, which is one that the tables know. */
static __noinline __u64 flooder(struct __sk_buff *skb, const struct packet *p)
{
	__u8 src[6] = {};

	if (p->from == SOURCE_WORKLOAD)
		return p->ifindex;
	if (p->from == SOURCE_VLAN)
		return 1ULL << 32 | p->ifindex;
	if (p->from == SOURCE_FABRIC)
		return 1ULL << 61 | addr_to_v4(&p->tunnel.remote);
	bpf_skb_load_bytes(skb, 6, src, sizeof(src));
	return 1ULL << 62 | mac_number(src);
}

/* The packets that the copies of a frame come to. */
static __always_inline __u32 packets_of(const struct __sk_buff *skb)
{
	return skb->gso_size ? skb->len / skb->gso_size + 1 : 1;
}

/* Whether a frame may be flooded: the copies are owed (owe). A router's questions have an
 * allowance of their own. */
static __always_inline bool may_flood(__u32 net, __u32 from, __u64 who)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);

	if (from == SOURCE_SLOW)
		return true;
	return cfg && allowed(cfg, FOR_FLOOD, net, who, 1);
}

/* Has a flood cost what it has come to. */
static __noinline void owe(__u32 net, __u32 from, __u64 who, __u32 n)
{
	__u32 zero = 0, purpose = FOR_FLOOD;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	const struct rates *r;
	__u64 *spent;

	if (!cfg || from == SOURCE_SLOW)
		return;
	r = &cfg->rates[FOR_FLOOD];
	if (!r->source.rate)
		return;
	spent = share_of(cfg, FOR_FLOOD, net, who);
	if (spent)
		__sync_fetch_and_add(spent, 1000000000ULL / r->source.rate * n);
	spent = share_of(cfg, FOR_FLOOD, net, SOURCE_ALL);
	if (spent && r->owner.rate)
		__sync_fetch_and_add(spent, 1000000000ULL / r->owner.rate * n);
	spent = bpf_map_lookup_elem(&hosts, &purpose);
	if (spent && r->host.rate)
		__sync_fetch_and_add(spent, 1000000000ULL / r->host.rate * n);
}

/* Whether copies of what came over the fabric may go onto a VLAN: the host that sent it has none, and it is not from another
 * site, for what comes from there goes onto none. */
static __noinline bool onto_vlan(struct __sk_buff *skb, struct packet *p)
{
	struct fdb_entry *ep;

	if (bpf_skb_load_bytes(skb, 6, p->eth.src, sizeof(p->eth.src)))
		return false;
	ep = bpf_map_lookup_elem(&fdb, fdb_key(p, p->net, p->eth.src));
	if (ep && (ep->kind == FDB_REMOTE || ep->flags & FDB_F_REMOTE))
		return false;
	return !has_vlan(p, &p->tunnel.remote);
}

/* Where copies may go. */
static __always_inline __u32 may_copy(struct __sk_buff *skb, struct packet *p, __u32 from)
{
	__u32 may = may_follow(from);

	if (from == SOURCE_VLAN || from == SOURCE_FABRIC)
		may |= SERVED;
	if (from == SOURCE_VLAN && !p->serves)
		may &= ~TO_FABRIC_COPIES;
	if (link_local(p->eth.dst) || (from == SOURCE_FABRIC && !onto_vlan(skb, p)))
		may &= ~TO_VLAN_COPIES;
	return may;
}

/* Copies to every local port of the network but the one it came from, to its VLANs and to the other
 * hosts that are on it where the source may; for the link alone none to VLANs. to_hosts: to hosts alone. What a
 * workload says by ARP of a pair goes to those as well that route into the network. */
__noinline int flood_net(struct __sk_buff *skb, struct packet *p, bool to_hosts)
{
	struct flooding fl = {.skb = skb, .p = p};
	__u32 copies, from;
	__u64 who;

	if (!p || bpf_skb_load_bytes(skb, 0, p->eth.dst, sizeof(p->eth.dst)))
		return drop(skb, DROP_FRAME_MALFORMED);
	from = p->from;
	who = flooder(skb, p);
	fl.net = p->net;
	fl.ifindex = p->ifindex;
	fl.list = p->net;
	fl.may = may_copy(skb, p, from);
	if (to_hosts)
		fl.may &= TO_FABRIC_COPIES | SERVED;
	if (unlikely(!may_flood(fl.net, from, who)))
		return drop(skb, DROP_FLOOD_LIMITED);

	bpf_loop(FLOOD_MAX, flood_slot, &fl, 0);
	if (unlikely(p->heard && from != SOURCE_FABRIC)) {
		fl.list |= FLOOD_HEARD;
		bpf_loop(FLOOD_MAX, flood_slot, &fl, 0);
	}
	copies = fl.copies;
	if (!copies) /* ARP that this host's routers alone have use for */
		return drop(skb, to_hosts || (p->heard && from == SOURCE_FABRIC) ? DROP_ARP_TO_ROUTER : DROP_L2_UNKNOWN);
	if (copies * packets_of(skb) > 1)
		owe(fl.net, from, who, copies * packets_of(skb) - 1);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_FLOOD);

		if (r) {
			r->ifindex = fl.ifindex;
			r->net = fl.net;
			r->copies = copies;
		}
	}
	return TCX_DROP; /* the copies are on their way */
}

/* Where a port with port security may send from. */
static __always_inline bool addr_allowed(const struct port *p, const struct addr *a)
{
	struct port_addr_key k;

	if (likely(p->flags & PORT_F_ADDR && addr_equal(&p->addr, a)))
		return true;
	if (!(p->flags & PORT_F_ADDRS))
		return false;
	k.port = p->port;
	addr_copy(&k.addr, a);
	return bpf_map_lookup_elem(&port_addrs, &k);
}

/* The checks that ARP from a port goes through. What a pair allows is learned: ARP is
 * how an address moves from one holder to the next. */
static __noinline bool arp_allowed(struct packet *p, struct port *port)
{
	const struct arp *a = &p->arp;
	bool own = mac_equal(a->sender_mac, port->mac), paired = false;

	if (a->sender_ip) {
		addr_v4(&p->addr, a->sender_ip);
		if (!own || !addr_allowed(port, &p->addr)) {
			if (!pair_addr(port, a->sender_mac, &p->addr))
				return false;
			paired = true;
		}
	} else if (!own && !pair_mac(port, a->sender_mac)) { /* a probe, RFC 5227 §1.1 */
		return false;
	}
	if (!own)
		learn_mac(p, port, a->sender_mac);
	if (paired) {
		learn_addr(p, port, &p->addr, a->sender_mac, true);
		p->heard = true;
	}
	return true;
}

static __always_inline bool broadcast(const __u8 *mac)
{
	const __u16 *w = (const void *)mac;

	return (w[0] & w[1] & w[2]) == 0xffff;
}

#define ARP_BRIDGE 1 /* return value of answer_arp: bridge the frame */

/* The MAC of whom an ARP request is for, in p->learned; false: it is not known. */
static __always_inline bool arp_target(struct packet *p, const struct arp *a)
{
	struct neighbor *n;
	__u64 mac = 0;

	p->neighbor.net = p->net;
	addr_v4(&p->neighbor.addr, a->target_ip);
	n = bpf_map_lookup_elem(&neighbors, &p->neighbor);
	if (n) {
		mac_copy(p->learned.mac, n->mac);
		return true;
	}
	/* Who asks in nobody's name may be about to take it over. */
	if (a->sender_ip)
		mac = learned_neighbor(p);
	mac_unpack(p->learned.mac, mac);
	return mac;
}

/* Whether ARP from another source than a workload is told of an FDB entry. */
static __always_inline bool may_ask(struct packet *p, const struct fdb_entry *ep)
{
	if (!ep)
		return false;
	if (p->from == SOURCE_VLAN)
		return may_go(ASK_VLAN, ep) && (ep->kind != FDB_HOST || serves(p, ep));
	return may_go(ASK_TUNNEL, ep);
}

/* Answers an ARP request from a port, a tunnel, or vlan. */
__noinline int answer_arp(struct __sk_buff *skb, struct packet *p, struct fdb_entry *vlan)
{
	struct port *port = NULL;
	struct fdb_entry *ep;
	struct arp *a;
	__be32 target;

	if (!p)
		return drop(skb, DROP_INTERNAL);
	a = &p->arp;
	if (bpf_skb_load_bytes(skb, 0, &p->eth, sizeof(p->eth)) || bpf_skb_load_bytes(skb, sizeof(p->eth), a, sizeof(*a)))
		return drop(skb, DROP_FRAME_MALFORMED);
	if (a->hardware != bpf_htons(1) || a->protocol != bpf_htons(ETH_P_IP) || a->hardware_len != 6 || a->protocol_len != 4)
		return drop(skb, DROP_FRAME_MALFORMED);
	if (p->from == SOURCE_WORKLOAD) {
		port = bpf_map_lookup_elem(&ports, &p->ifindex);
		if (!port)
			return drop(skb, DROP_PORT_UNBOUND);
		if (port->flags & PORT_F_SECURITY && !arp_allowed(p, port))
			return drop(skb, DROP_SPOOF_ARP);
	}
	if (a->op != bpf_htons(ARP_REQUEST) || a->target_ip == a->sender_ip)
		return ARP_BRIDGE;
	if (!arp_target(p, a))
		return ARP_BRIDGE;
	if (mac_equal(p->learned.mac, a->sender_mac)) {
		if (broadcast(p->eth.dst))
			return ARP_BRIDGE;
		return drop(skb, DROP_HAIRPIN);
	}
	if (!port) {
		fdb_key(p, p->net, p->learned.mac);
		if (!may_ask(p, find_fdb_entry(p)))
			return ARP_BRIDGE;
	}
	mac_copy(p->eth.dst, a->sender_mac);
	mac_copy(p->eth.src, p->learned.mac);
	target = a->target_ip;
	a->op = bpf_htons(ARP_REPLY);
	mac_copy(a->target_mac, a->sender_mac);
	a->target_ip = a->sender_ip;
	mac_copy(a->sender_mac, p->learned.mac);
	a->sender_ip = target;
	if (bpf_skb_store_bytes(skb, 0, &p->eth, sizeof(p->eth), 0) ||
	    bpf_skb_store_bytes(skb, sizeof(p->eth), a, sizeof(*a), 0))
		return drop(skb, DROP_INTERNAL);
	if (vlan)
		return deliver_vlan(skb, vlan);
	if (!port) {
		ep = bpf_map_lookup_elem(&fdb, fdb_key(p, p->net, p->eth.dst));
		if (!ep || ep->kind != FDB_REMOTE)
			return drop(skb, DROP_L2_UNKNOWN);
		return tunnel(skb, p, ep, true);
	}
	count_tx(port->counter, skb->len);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_REPLY);

		if (r)
			r->ifindex = p->ifindex;
	}
	return bpf_redirect(p->ifindex, 0);
}
