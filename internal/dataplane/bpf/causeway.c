// SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
/* The four programs. docs/PIPELINE.md says rule by rule what they do. */
#include "l3.h"
#include "vlan.h"

#define VLAN(skb, eth) \
	((skb)->vlan_present || (eth)->type == bpf_htons(ETH_P_8021Q) || (eth)->type == bpf_htons(ETH_P_8021AD))

/* Headers that the programs read: Ethernet, IPv6, ports. */
#define WANT (14 + 40 + 8)

SEC("tcx/ingress")
int from_workload(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);
	bool other = false, paired = false;
	struct eth *eth;
	struct addr src;

	if (unlikely(!port))
		return drop(DROP_PORT_UNBOUND);
	if (unlikely(port->drop))
		return drop(port->drop);
	pull(skb, WANT);
	eth = DATA(skb);
	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(DROP_FRAME_MALFORMED);
	count_rx(port->counter, skb->len);
	if (unlikely(VLAN(skb, eth)))
		return drop(DROP_VLAN_TAGGED);
	if (port->flags & PORT_F_SECURITY && unlikely(!mac_equal(eth->src, port->mac))) {
		if (!pair_mac(port, eth->src))
			return drop(DROP_SPOOF_MAC);
		other = true;
	}
	if (unlikely(eth->type == bpf_htons(ETH_P_ARP))) {
		__u32 net = port->net;
		int act = answer_arp(skb, net, ifindex, NULL);

		if (act != ARP_BRIDGE)
			return act;
		return bridge(skb, net, ifindex, false);
	}
	if (port->flags & PORT_F_SECURITY) {
		if (likely(eth->type == bpf_htons(ETH_P_IP))) {
			struct ipv4 *ip = (void *)(eth + 1);

			if (unlikely((void *)(ip + 1) > DATA_END(skb) || ip->vihl >> 4 != 4))
				return drop(DROP_FRAME_MALFORMED);
			addr_v4(&src, ip->src);
			if (unlikely(other || !addr_allowed(port, &src))) {
				if (!pair_addr(port, eth->src, &src))
					return drop(DROP_SPOOF_IP);
				paired = true;
			}
		} else if (eth->type == bpf_htons(ETH_P_IPV6)) {
			struct ipv6 *ip = (void *)(eth + 1);

			if ((void *)(ip + 1) > DATA_END(skb) || (bpf_ntohl(ip->flow) >> 28) != 6)
				return drop(DROP_FRAME_MALFORMED);
			addr_copy(&src, (void *)ip->src);
			if ((other || !addr_allowed(port, &src)) && !pair_addr(port, eth->src, &src))
				return drop(DROP_SPOOF_IP);
		}
	}
	if (unlikely(other))
		learn_mac(port, eth->src);
	if (unlikely(paired))
		learn_addr(port, &src, eth->src, false);
	return bridge(skb, port->net, ifindex, false);
}

/* Who sends on a VNI, and from which MAC: the checks of every tunnel packet. NULL:
 * *why says why not. */
static __always_inline struct peer *peer_of(const struct addr *local, const struct addr *remote, __u32 vni,
					    const __u8 *mac, __u32 *why)
{
	struct peer_key pk = {.vni = vni};
	struct endpoint_key ek = {};
	struct endpoint *ep;
	struct peer *peer;

	addr_copy(&pk.local, local);
	addr_copy(&pk.remote, remote);
	peer = bpf_map_lookup_elem(&peers, &pk);
	if (unlikely(!peer)) {
		struct vni_key vk = {.vni = vni};

		addr_copy(&vk.local, local);
		*why = bpf_map_lookup_elem(&vnis, &vk) ? DROP_VTEP_UNKNOWN : DROP_VNI_UNKNOWN;
		return NULL;
	}
	if (unlikely(peer->drop)) {
		*why = peer->drop;
		return NULL;
	}
	ek.net = peer->net;
	mac_copy(ek.mac, mac);
	ep = bpf_map_lookup_elem(&endpoints, &ek);
	if (unlikely(!ep || ep->kind != ENDPOINT_REMOTE || ep->vni != vni || !addr_equal(&ep->addr, remote) ||
		     !addr_equal(&ep->local, local))) {
		*why = DROP_VTEP_SOURCE_MAC;
		return NULL;
	}
	return peer;
}

/* RFC 6040 §4.2: what becomes of the inner ECN field; -1: drop. */
static __always_inline int ecn(__u8 outer, __u8 inner)
{
	if (outer == ECN_CE)
		return inner ? ECN_CE : -1;
	if (outer == ECN_ECT1 && inner == ECN_ECT0)
		return ECN_ECT1;
	return inner;
}

/* Writes the inner ECN field. Drop reason, or 0. The frame starts at data + off. */
static __always_inline __u32 ecn_decap(struct __sk_buff *skb, __u8 outer, __u32 off, __be16 type)
{
	void *at = DATA(skb) + off + 14;
	int to;

	if (type == bpf_htons(ETH_P_IP)) {
		struct ipv4 *ip = at;
		__u8 tos;

		if (unlikely((void *)(ip + 1) > DATA_END(skb)))
			return DROP_FRAME_MALFORMED;
		if (likely(!(outer & ECN_MASK)))
			return 0;
		to = ecn(outer & ECN_MASK, ip->tos & ECN_MASK);
		if (to < 0)
			return DROP_ECN_CONGESTION;
		tos = (ip->tos & ~ECN_MASK) | to;
		if (tos != ip->tos) {
			ip->check = csum_replace(ip->check, bpf_htons(ip->vihl << 8 | ip->tos),
						 bpf_htons(ip->vihl << 8 | tos));
			ip->tos = tos;
		}
	} else {
		struct ipv6 *ip = at;
		__be32 flow;

		if (unlikely((void *)(ip + 1) > DATA_END(skb)))
			return DROP_FRAME_MALFORMED;
		if (likely(!(outer & ECN_MASK)))
			return 0;
		flow = ip->flow;
		to = ecn(outer & ECN_MASK, bpf_ntohl(flow) >> 20 & ECN_MASK);
		if (to < 0)
			return DROP_ECN_CONGESTION;
		flow = (flow & ~bpf_htonl(ECN_MASK << 20)) | bpf_htonl(to << 20);
		/* No header checksum makes up for the change: the sum that a
		 * device took over the packet must follow. */
		if (flow != ip->flow && bpf_skb_store_bytes(skb, off + 14, &flow, sizeof(flow), BPF_F_RECOMPUTE_CSUM))
			return DROP_INTERNAL;
	}
	return 0;
}

/* A packet for our port is ours only if its destination is a tunnel IP. Rows of peers
 * are there for tunnel IPs alone, so that one that is accepted need not be asked;
 * all that is refused must be. */
static __always_inline int refuse(const struct addr *local, __u32 why)
{
	if (!bpf_map_lookup_elem(&tunnel_ips, local))
		return pass();
	return drop(why);
}

static __always_inline bool tcp_inside(struct __sk_buff *skb, __be16 type)
{
	struct ipv4 *v4 = DATA(skb) + OUTER_END;
	struct ipv6 *v6 = DATA(skb) + OUTER_END;

	if (type == bpf_htons(ETH_P_IP))
		return (void *)(v4 + 1) <= DATA_END(skb) && v4->protocol == PROTO_TCP;
	return (void *)(v6 + 1) <= DATA_END(skb) && v6->next == PROTO_TCP;
}

SEC("tcx/ingress")
int from_underlay(struct __sk_buff *skb)
{
	__u32 len = skb->len, tot_len, vni, why, counter, net;
	struct eth *eth, *inner, saved;
	struct addr local, remote;
	struct vxlan *vxlan;
	struct peer *peer;
	struct ipv4 *ip;
	struct udp *udp;
	__u64 flags;
	__u8 tos;

	if (unlikely(skb->vlan_present || skb->protocol == bpf_htons(ETH_P_8021Q)))
		return from_trunk(skb);
	if (skb->pkt_type != PACKET_HOST || skb->protocol != bpf_htons(ETH_P_IP))
		return pass();
	pull(skb, OUTER_END + 40);
	eth = DATA(skb);
	ip = DATA(skb) + OUTER_IP;
	udp = DATA(skb) + OUTER_UDP;
	if (DATA(skb) + OUTER_VXLAN > DATA_END(skb) || eth->type != bpf_htons(ETH_P_IP) || ip->vihl != 0x45 ||
	    ip->protocol != PROTO_UDP || ip->frag & bpf_htons(IP_MF | IP_OFFSET) || udp->dst != bpf_htons(VXLAN_PORT))
		return pass();
	addr_v4(&local, ip->dst);

	if (unlikely(ipv4_sum(ip) != 0xffff))
		return refuse(&local, DROP_VXLAN_MALFORMED);
	tot_len = bpf_ntohs(ip->tot_len);
	if (likely(!skb->gso_size)) {
		if (unlikely(tot_len > len - 14 || bpf_ntohs(udp->len) != tot_len - 20 || tot_len < OUTER_END - 14))
			return refuse(&local, DROP_VXLAN_MALFORMED);
	} else {
		tot_len = len - 14; /* the lengths are those of the segments, or none */
	}
	vxlan = DATA(skb) + OUTER_VXLAN;
	inner = DATA(skb) + OUTER_INNER;
	if (unlikely(DATA(skb) + OUTER_END > DATA_END(skb)))
		return refuse(&local, DROP_VXLAN_MALFORMED);
	if (unlikely(!(vxlan->flags & VXLAN_FLAG_VNI)))
		return refuse(&local, DROP_VXLAN_FLAGS);
	addr_v4(&remote, ip->src);
	vni = bpf_ntohl(vxlan->vni) >> 8;
	peer = peer_of(&local, &remote, vni, inner->src, &why);
	if (unlikely(!peer))
		return refuse(&local, why);
	net = peer->net;
	counter = peer->counter;
	saved = *inner;
	if (likely(saved.type == bpf_htons(ETH_P_IP)))
		flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	else if (saved.type == bpf_htons(ETH_P_IPV6))
		flags = BPF_F_ADJ_ROOM_FIXED_GSO | ADJ_ROOM_DECAP_L3_IPV6;
	else
		return pass();
	/* The packet must fit its header where the outer length ends, too. */
	if (unlikely(tot_len - (OUTER_END - 14) <
		     (saved.type == bpf_htons(ETH_P_IP) ? sizeof(struct ipv4) : sizeof(struct ipv6))))
		return drop(DROP_FRAME_MALFORMED);
	/* The helper leaves the mark of a tunnel on a GSO packet, which only the
	 * segmentation of TCP does not look at (udp4_ufo_fragment does). */
	if (unlikely(skb->gso_size) && !tcp_inside(skb, saved.type))
		return pass();
	tos = ip->tos;
	why = ecn_decap(skb, tos, OUTER_INNER, saved.type);
	if (unlikely(why))
		return drop(why);
	if (unlikely(tot_len < len - 14) && bpf_skb_change_tail(skb, tot_len + 14, 0))
		return drop(DROP_INTERNAL);
	/* Refused for some kinds of segmentation: those go by the vxlan device. */
	if (unlikely(bpf_skb_adjust_room(skb, -OUTER_LEN, BPF_ADJ_ROOM_MAC, flags)))
		return pass();
	eth = DATA(skb);
	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(DROP_INTERNAL);
	*eth = saved;
	count_rx(counter, skb->len);
	return bridge(skb, net, 0, false);
}

SEC("tcx/ingress")
int from_vxlan(struct __sk_buff *skb)
{
	struct addr local, remote;
	struct peer *peer;
	struct eth *eth;
	__u32 why, net, vni;

	if (cfg_record) {
		/* Test runs have no tunnel key: the addresses (host order), the VNI
		 * and "present" stand in the control block. */
		if (!skb->cb[3])
			return drop(DROP_INTERNAL);
		addr_v4(&local, bpf_htonl(skb->cb[0]));
		addr_v4(&remote, bpf_htonl(skb->cb[1]));
		vni = skb->cb[2];
	} else {
		struct bpf_tunnel_key key;

		if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
			return drop(DROP_INTERNAL);
		addr_v4(&local, bpf_htonl(key.local_ipv4));
		addr_v4(&remote, bpf_htonl(key.remote_ipv4));
		vni = key.tunnel_id;
	}
	pull(skb, WANT);
	eth = DATA(skb);
	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(DROP_FRAME_MALFORMED);
	if (unlikely(!bpf_map_lookup_elem(&tunnel_ips, &local)))
		return drop(DROP_TUNNEL_IP_UNKNOWN);
	peer = peer_of(&local, &remote, vni, eth->src, &why);
	if (unlikely(!peer))
		return drop(why);
	net = peer->net;
	/* The kernel has done what ecn_decap does elsewhere. */
	if (eth->type == bpf_htons(ETH_P_IP) || eth->type == bpf_htons(ETH_P_IPV6)) {
		why = ecn_decap(skb, 0, 0, eth->type);
		if (unlikely(why))
			return drop(why);
	}
	count_rx(peer->counter, skb->len);
	if (unlikely(VLAN(skb, eth)))
		return drop(DROP_VLAN_TAGGED);
	if (eth->type == bpf_htons(ETH_P_ARP)) {
		int act = answer_arp(skb, net, 0, NULL);

		if (act != ARP_BRIDGE)
			return act;
	}
	return bridge(skb, net, 0, false);
}

/* A router's ARP request to the ports of a network. The frame has room for it, and says
 * so by its source MAC whose it is. */
static __always_inline int ask_ports(struct __sk_buff *skb, const struct slow_header *h)
{
	struct endpoint_key k = {.net = h->net};
	struct endpoint *router;
	struct arp a = {
		.hardware = bpf_htons(1),
		.protocol = bpf_htons(ETH_P_IP),
		.hardware_len = 6,
		.protocol_len = 4,
		.op = bpf_htons(ARP_REQUEST),
	};
	struct eth eth = {.dst = {255, 255, 255, 255, 255, 255}, .type = bpf_htons(ETH_P_ARP)};

	if (bpf_skb_load_bytes(skb, 6, eth.src, sizeof(eth.src)))
		return drop(DROP_INTERNAL);
	mac_copy(k.mac, eth.src);
	router = bpf_map_lookup_elem(&endpoints, &k);
	if (!router || router->kind != ENDPOINT_ROUTER)
		return drop(DROP_L2_UNKNOWN);
	__builtin_memcpy(a.sender_mac, eth.src, 6);
	a.sender_ip = addr_to_v4(&router->addr);
	a.target_ip = addr_to_v4(&h->src);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) || bpf_skb_store_bytes(skb, sizeof(eth), &a, sizeof(a), 0))
		return drop(DROP_INTERNAL);
	return flood_net(skb, h->net, 0, FLOOD_VLANS);
}

SEC("tcx/ingress")
int from_slow(struct __sk_buff *skb)
{
	struct endpoint_key k = {};
	struct slow_header h;
	struct endpoint *ep;
	struct eth *eth;
	__u32 least;
	__u64 flags;

	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb) || bpf_skb_load_bytes(skb, sizeof(*eth), &h, sizeof(h)))
		return drop(DROP_FRAME_MALFORMED);
	if (eth->type == bpf_htons(ETH_P_IP))
		least = sizeof(struct ipv4);
	else if (eth->type == bpf_htons(ETH_P_IPV6))
		least = sizeof(struct ipv6);
	else
		return drop(DROP_FRAME_MALFORMED);
	if (h.kind == SLOW_ARP)
		least = sizeof(struct arp);
	if ((h.kind != SLOW_ROUTE && h.kind != SLOW_BRIDGE && h.kind != SLOW_ARP) || skb->len < sizeof(*eth) + sizeof(h) + least)
		return drop(DROP_FRAME_MALFORMED);
	flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(h), BPF_ADJ_ROOM_MAC, flags))
		return drop(DROP_INTERNAL);
	pull(skb, WANT);
	if (h.kind == SLOW_ARP)
		return ask_ports(skb, &h);
	if (h.kind == SLOW_ROUTE)
		return route_frame(skb, NULL, h.router);
	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb))
		return drop(DROP_INTERNAL);
	k.net = h.net;
	mac_copy(k.mac, eth->dst);
	ep = find_endpoint(&k);
	if (!ep)
		return drop(DROP_L2_UNKNOWN);
	if (ep->kind == ENDPOINT_PORT)
		return deliver(skb, ep);
	if (ep->kind == ENDPOINT_REMOTE)
		return tunnel(skb, ep, false);
	if (ep->kind == ENDPOINT_ROUTER)
		return route_frame(skb, ep, ep->id);
	if (ep->kind == ENDPOINT_VLAN)
		return deliver_vlan(skb, ep);
	return drop(ep->drop);
}

char _license[] SEC("license") = "Dual BSD/GPL";
