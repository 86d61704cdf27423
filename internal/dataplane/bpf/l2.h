/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Inside a network: delivery, flooding, ARP. */
#pragma once

#include "drop.h"
#include "learn.h"
#include "parse.h"
#include "vtep.h"

/* Where a frame came from. */
struct source {
	__u32 net;
	__u32 ifindex; /* of the port; 0: a tunnel */
};

static __always_inline int deliver(struct __sk_buff *skb, const struct endpoint *ep)
{
	/* bpf_redirect_peer goes straight into the receiving stack, which takes
	 * only what is for its host. */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	count_tx(ep->counter, skb->len);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_PORT);

		if (r) {
			r->ifindex = ep->ifindex;
			r->flags = ep->flags;
		}
	}
	if (ep->flags & ENDPOINT_F_PEER)
		return bpf_redirect_peer(ep->ifindex, 0);
	return bpf_redirect(ep->ifindex, 0);
}

/* With a tag, out of the interface that carries the VLAN. */
static __always_inline int deliver_vlan(struct __sk_buff *skb, const struct endpoint *ep)
{
	count_tx(ep->counter, skb->len);
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), ep->vni))
		return drop(DROP_INTERNAL);
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

/* Where a flooded frame came from, and whether it may go to VLANs. */
#define FLOOD_VLANS 1
struct flooding {
	struct __sk_buff *skb;
	__u32 net;
	__u32 ifindex;
	__u32 flags;
	__u32 copies;
};

static long flood_slot(__u32 slot, struct flooding *fl)
{
	struct flood_key k = {.net = fl->net, .slot = slot};
	struct flood *f = bpf_map_lookup_elem(&floods, &k);
	struct __sk_buff *skb = fl->skb;

	if (!f)
		return 1;
	if (f->ifindex == fl->ifindex)
		return 0;
	if (unlikely(f->vlan)) {
		if (!(fl->flags & FLOOD_VLANS))
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
	} else if (!cfg_record && bpf_clone_redirect(skb, f->ifindex, 0)) {
		return 0;
	}
	count_tx(f->counter, skb->len);
	fl->copies++;
	return 0;
}

/* Copies to every local port of the network but the one it came from, and to its VLANs:
 * none from a tunnel, from another VLAN, or for the link alone. */
__noinline int flood_net(struct __sk_buff *skb, __u32 net, __u32 ifindex, __u32 flags)
{
	struct flooding fl = {.skb = skb, .net = net, .ifindex = ifindex, .flags = flags};
	__u8 dst[6];
	__u32 copies;

	if (bpf_skb_load_bytes(skb, 0, dst, sizeof(dst)))
		return drop(DROP_FRAME_MALFORMED);
	if (link_local(dst))
		fl.flags &= ~FLOOD_VLANS;

	bpf_loop(FLOOD_MAX, flood_slot, &fl, 0);
	copies = fl.copies;
	if (!copies)
		return drop(DROP_L2_UNKNOWN);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_FLOOD);

		if (r) {
			r->ifindex = ifindex;
			r->net = net;
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
static __always_inline bool arp_allowed(struct port *p, const struct arp *a)
{
	bool own = mac_equal(a->sender_mac, p->mac), paired = false;
	struct addr sender;

	if (a->sender_ip) {
		addr_v4(&sender, a->sender_ip);
		if (!own || !addr_allowed(p, &sender)) {
			if (!pair_addr(p, a->sender_mac, &sender))
				return false;
			paired = true;
		}
	} else if (!own && !pair_mac(p, a->sender_mac)) { /* a probe, RFC 5227 §1.1 */
		return false;
	}
	if (!own)
		learn_mac(p, a->sender_mac);
	if (paired)
		learn_addr(p, &sender, a->sender_mac, true);
	return true;
}

#define ARP_BRIDGE 1 /* return value of answer_arp: bridge the frame */

/* Answers an ARP request. ifindex is the interface of the port it came from; 0: it
 * came from a tunnel, or from vlan. */
__noinline int answer_arp(struct __sk_buff *skb, __u32 net, __u32 ifindex, struct endpoint *vlan)
{
	struct port *port = NULL;
	struct endpoint_key ek = {.net = net};
	struct neighbor_key nk = {.net = net};
	struct neighbor *n, learned = {};
	struct endpoint *ep;
	struct eth eth;
	struct arp a;
	__be32 target;

	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) || bpf_skb_load_bytes(skb, sizeof(eth), &a, sizeof(a)))
		return drop(DROP_FRAME_MALFORMED);
	if (a.hardware != bpf_htons(1) || a.protocol != bpf_htons(ETH_P_IP) || a.hardware_len != 6 || a.protocol_len != 4)
		return drop(DROP_FRAME_MALFORMED);
	if (ifindex) {
		port = bpf_map_lookup_elem(&ports, &ifindex);
		if (!port)
			return drop(DROP_PORT_UNBOUND);
		if (port->flags & PORT_F_SECURITY && !arp_allowed(port, &a))
			return drop(DROP_SPOOF_ARP);
	}
	if (a.op != bpf_htons(ARP_REQUEST) || a.target_ip == a.sender_ip)
		return ARP_BRIDGE;
	addr_v4(&nk.addr, a.target_ip);
	n = bpf_map_lookup_elem(&neighbors, &nk);
	if (!n) {
		__u64 mac = 0;

		/* Who asks in nobody's name may be about to take it over. */
		if (a.sender_ip)
			mac = learned_neighbor(net, &nk.addr);
		if (!mac)
			return ARP_BRIDGE;
		mac_unpack(learned.mac, mac);
		n = &learned;
	}
	if (!__builtin_memcmp(n->mac, a.sender_mac, 6)) {
		static const __u8 broadcast[6] = {255, 255, 255, 255, 255, 255};

		if (!__builtin_memcmp(eth.dst, broadcast, 6))
			return ARP_BRIDGE;
		return drop(DROP_HAIRPIN);
	}
	if (!port) {
		mac_copy(ek.mac, n->mac);
		ep = find_endpoint(&ek);
		if (!ep || (vlan && ep->kind == ENDPOINT_VLAN) || ep->kind == ENDPOINT_REMOTE || ep->kind == ENDPOINT_DROP)
			return ARP_BRIDGE;
	}
	mac_copy(eth.dst, a.sender_mac);
	mac_copy(eth.src, n->mac);
	target = a.target_ip;
	a.op = bpf_htons(ARP_REPLY);
	__builtin_memcpy(a.target_mac, a.sender_mac, 6);
	a.target_ip = a.sender_ip;
	__builtin_memcpy(a.sender_mac, n->mac, 6);
	a.sender_ip = target;
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) || bpf_skb_store_bytes(skb, sizeof(eth), &a, sizeof(a), 0))
		return drop(DROP_INTERNAL);
	if (vlan)
		return deliver_vlan(skb, vlan);
	if (!port) {
		mac_copy(ek.mac, eth.dst);
		ep = bpf_map_lookup_elem(&endpoints, &ek);
		if (!ep || ep->kind != ENDPOINT_REMOTE)
			return drop(DROP_L2_UNKNOWN);
		return tunnel(skb, ep, true);
	}
	count_tx(port->counter, skb->len);
	if (cfg_record) {
		struct record *r = record_of(VERDICT_REPLY);

		if (r)
			r->ifindex = ifindex;
	}
	return bpf_redirect(ifindex, 0);
}
