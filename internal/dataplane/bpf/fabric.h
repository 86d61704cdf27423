/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* From other hosts of the site. */
#pragma once

#include "l3.h"
#include "parse.h"

/* Whether a UDP port is that of the fabric. */
static __always_inline bool fabric_port(__be16 port)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);

	return cfg && cfg->fabric_port && port == bpf_htons(cfg->fabric_port);
}

/* Whether a packet is for our end of the fabric. */
static __always_inline bool fabric_packet(const struct ipv4 *ip, const struct udp *udp)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);

	return cfg && cfg->fabric_port && udp->dst == bpf_htons(cfg->fabric_port) && ip->dst == addr_to_v4(&cfg->fabric_addr);
}

/* The port of another host as one that something is learned of. */
static __always_inline struct port *host_station(struct packet *p, const struct host_pair *hp)
{
	struct port *s = &p->station;

	__builtin_memset(s, 0, sizeof(*s));
	s->port = hp->port;
	s->net = p->net;
	mac_copy(s->mac, hp->mac);
	s->learn_limit = hp->learn_limit;
	return s;
}

/* Whether a host may send from p->fdb, a MAC that the tables do not know: a port of it has that by a pair. The
 * MAC is learned. */
static __noinline bool host_pair_mac(struct packet *p)
{
	struct host_pair *hp = find_host_pair(p, p->fdb.mac, NULL);

	if (!hp || (hp->port & LEARNER_VLAN && (!mac_pack(p->fdb.mac) || p->fdb.mac[0] & 1 || held_by_port(sender_mac(p, p->net, p->fdb.mac)))))
		return false;
	learn_mac(p, host_station(p, hp), p->fdb.mac);
	return true;
}

/* Whether a station may say by ARP that it has p->addr. */
static __noinline bool may_hear(struct packet *p, const struct arp *a)
{
	return mac_pack(a->sender_mac) && mac_equal(a->sender_mac, p->eth.src) && !held_by_port(sender_addr(p, p->net, &p->addr));
}

/* Learns from ARP who of another host has an address of a pair. Drop reason, or 0. The host has checked the
 * sender at its port. What a router asks, or who is at another site, is none of that. */
static __noinline __u32 hear(struct __sk_buff *skb, struct packet *p)
{
	struct arp *a = &p->arp;
	struct fdb_entry *ep;
	struct host_pair *hp;
	struct port *s;

	if (bpf_skb_load_bytes(skb, 0, &p->eth, sizeof(p->eth)) || bpf_skb_load_bytes(skb, sizeof(p->eth), a, sizeof(*a)))
		return DROP_FRAME_MALFORMED;
	if (a->hardware != bpf_htons(1) || a->protocol != bpf_htons(ETH_P_IP) || a->hardware_len != 6 || a->protocol_len != 4)
		return DROP_FRAME_MALFORMED;
	if (!a->sender_ip)
		return 0;
	ep = bpf_map_lookup_elem(&fdb, fdb_key(p, p->net, p->eth.src));
	if (ep && (ep->kind == FDB_ROUTER || ep->kind == FDB_REMOTE || ep->flags & FDB_F_REMOTE))
		return 0;
	addr_v4(&p->addr, a->sender_ip);
	if (bpf_map_lookup_elem(&neighbors, neighbor_key(p, p->net, &p->addr)) || !pair_net(p->net, &p->addr))
		return 0;
	hp = find_host_pair(p, a->sender_mac, &p->addr);
	if (!hp)
		return DROP_FABRIC_SOURCE_IP;
	if (!hp->port)
		return 0;
	if (hp->port & LEARNER_VLAN && !may_hear(p, a))
		return DROP_FABRIC_SOURCE_IP;
	s = host_station(p, hp);
	if (!mac_equal(s->mac, a->sender_mac))
		learn_mac(p, s, a->sender_mac);
	learn_addr(p, s, &p->addr, a->sender_mac, true);
	p->heard = true;
	return 0;
}

/* IP from another host, to the FDB entry of its destination MAC. */
__noinline int bridge_inner(struct __sk_buff *skb, struct packet *p, struct fdb_entry *ep)
{
	if (!p)
		return drop(skb, DROP_INTERNAL);
	return bridge_to(skb, p, SOURCE_FABRIC, ep);
}

/* A frame from another host, in the network p->net. */
__noinline int bridge_fabric(struct __sk_buff *skb, struct packet *p)
{
	struct eth *eth = DATA(skb);
	struct fdb_entry *ep;
	__u32 why;

	if (!p || (void *)(eth + 1) > DATA_END(skb))
		return drop(skb, DROP_INTERNAL);
	if (unlikely(eth->type == bpf_htons(ETH_P_ARP))) {
		why = hear(skb, p);
		if (why)
			return drop(skb, why);
		if (p->heard) {
			ep = bpf_map_lookup_elem(&fdb, fdb_key(p, p->net, p->eth.dst));
			if (ep && ep->kind == FDB_ROUTER)
				return drop(skb, DROP_ARP_TO_ROUTER);
		}
	}
	return bridge(skb, p, SOURCE_FABRIC);
}
