// SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0)
/* The programs. docs/PIPELINE.md says rule by rule what they do. */
#include "ecn.h"
#include "fabric.h"
#include "guard.h"
#include "icmp.h"
#include "l3.h"
#include "transit.h"
#include "vlan.h"

/* Headers that the programs read: Ethernet, IPv6, ports. */
#define WANT (14 + 40 + 8)

SEC("tcx/ingress")
int from_workload(struct __sk_buff *skb)
{
	struct packet *p = packet_of(HOOK_WORKLOAD);
	bool other = false, paired = false;
	struct flow_row *known;
	struct port *port;
	struct eth *eth;
	__u32 why = 0;

	if (unlikely(!p))
		return drop(skb, DROP_INTERNAL);
	if (unlikely(agent_dead()))
		return drop(skb, DROP_AGENT_DEAD);
	p->from = SOURCE_WORKLOAD;
	p->ifindex = skb->ifindex;
	pull(skb, WANT);
	known = flow_of_workload(skb, p);
	if (likely(known)) {
		int act;

		if (known->ifindex) {
			count_rx(known->rx, skb->len);
			return deliver_known(skb, known);
		}
		act = tunnel_known(skb, p, known);
		if (likely(act != NO_ROOM))
			return act;
	}
	port = bpf_map_lookup_elem(&ports, &p->ifindex);
	if (unlikely(!port))
		return drop(skb, DROP_PORT_UNBOUND);
	if (unlikely(port->drop))
		return drop(skb, port->drop);
	p->rx = port->counter;
	eth = DATA(skb);
	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(skb, DROP_FRAME_MALFORMED);
	if (unlikely(VLAN(skb, eth))) {
		why = untag(skb);
		pull(skb, WANT);
		eth = DATA(skb);
		if (unlikely((void *)(eth + 1) > DATA_END(skb)))
			return drop(skb, DROP_INTERNAL);
	}
	count_rx(port->counter, skb->len);
	if (unlikely(why))
		return drop(skb, why);
	if (port->flags & PORT_F_SECURITY && unlikely(!mac_equal(eth->src, port->mac))) {
		if (!pair_mac(port, eth->src))
			return drop(skb, DROP_SPOOF_MAC);
		other = true;
	}
	p->net = port->net;
	if (unlikely(eth->type == bpf_htons(ETH_P_ARP))) {
		int act = answer_arp(skb, p, NULL);

		if (act != ARP_BRIDGE)
			return act;
		return bridge(skb, p, SOURCE_WORKLOAD);
	}
	if (port->flags & PORT_F_SECURITY) {
		if (likely(eth->type == bpf_htons(ETH_P_IP))) {
			struct ipv4 *ip = (void *)(eth + 1);

			if (unlikely((void *)(ip + 1) > DATA_END(skb) || ip->vihl >> 4 != 4))
				return drop(skb, DROP_FRAME_MALFORMED);
			addr_v4(&p->addr, ip->src);
			if (unlikely(other || !addr_allowed(port, &p->addr))) {
				if (!pair_addr(port, eth->src, &p->addr))
					return drop(skb, DROP_SPOOF_IP);
				paired = true;
			}
			if (ip->protocol == PROTO_UDP && unlikely(dhcp_answer(skb, ip)))
				return drop(skb, DROP_DHCP_ANSWER);
		} else if (eth->type == bpf_htons(ETH_P_IPV6)) {
			struct ipv6 *ip = (void *)(eth + 1);

			if ((void *)(ip + 1) > DATA_END(skb) || (bpf_ntohl(ip->flow) >> 28) != 6)
				return drop(skb, DROP_FRAME_MALFORMED);
			addr_copy(&p->addr, (void *)ip->src);
			if ((other || !addr_allowed(port, &p->addr)) && !pair_addr(port, eth->src, &p->addr))
				return drop(skb, DROP_SPOOF_IP);
			if (ip->next != PROTO_TCP) {
				why = guard6(skb);
				if (unlikely(why))
					return drop(skb, why);
			}
		} else {
			return drop(skb, DROP_ETHERTYPE);
		}
	}
	if (unlikely(other))
		learn_mac(p, port, eth->src);
	if (unlikely(paired))
		learn_addr(p, port, &p->addr, eth->src, false);
	return bridge(skb, p, SOURCE_WORKLOAD);
}

/* Whether an interface is among those that lead to a VTEP. Most often it is the first. */
static __always_inline bool leads(const __u32 *ways, __u32 ifindex)
{
#pragma unroll
	for (int i = 0; i < WAYS; i++)
		if (ways[i] == ifindex)
			return true;
	return false;
}

/* Who sends with p->tunnel, by which interface (0: that was looked at before), and from which
 * MAC: the checks of every tunnel packet. NULL: *why says why not. */
static __always_inline struct peer *peer_of(struct packet *p, __u32 ifindex, const __u8 *mac, __u32 *why)
{
	struct fdb_entry *ep;
	struct peer *peer;

	peer = bpf_map_lookup_elem(&peers, &p->tunnel);
	if (unlikely(!peer)) {
		p->vni.vni = p->tunnel.vni;
		addr_copy(&p->vni.local, &p->tunnel.local);
		*why = bpf_map_lookup_elem(&vnis, &p->vni) ? DROP_VTEP_UNKNOWN : DROP_VNI_UNKNOWN;
		return NULL;
	}
	if (unlikely(ifindex && !leads(peer->ways, ifindex))) {
		*why = DROP_VTEP_INTERFACE;
		return NULL;
	}
	if (unlikely(peer->drop)) {
		*why = peer->drop;
		return NULL;
	}
	ep = bpf_map_lookup_elem(&fdb, fdb_key(p, peer->net, mac));
	if (unlikely(!ep || ep->kind != FDB_REMOTE || ep->vni != p->tunnel.vni ||
		     !addr_equal(&ep->addr, &p->tunnel.remote) || !addr_equal(&ep->local, &p->tunnel.local))) {
		*why = DROP_VTEP_SOURCE_MAC;
		return NULL;
	}
	p->from = SOURCE_TUNNEL;
	p->ifindex = 0;
	p->net = peer->net;
	return peer;
}

/* Which host of the site sends with p->tunnel, by which interface (0: that was looked at before), and
 * from which MAC: of what the host has, or of a router that it may speak for. NULL: *why says why
 * not. */
static __always_inline struct peer *host_of(struct packet *p, __u32 ifindex, const __u8 *mac, __u32 *why)
{
	struct fdb_entry *ep;
	struct peer *host;

	/* A peer's key begins with that of a VTEP. */
	host = bpf_map_lookup_elem(&fabric_hosts, &p->tunnel);
	if (unlikely(!host)) {
		*why = DROP_FABRIC_HOST_UNKNOWN;
		return NULL;
	}
	if (unlikely(ifindex && !leads(host->ways, ifindex))) {
		*why = DROP_VTEP_INTERFACE;
		return NULL;
	}
	if (unlikely(host->drop)) {
		*why = host->drop;
		return NULL;
	}
	*why = DROP_FABRIC_SOURCE_MAC;
	p->net = p->tunnel.vni;
	ep = bpf_map_lookup_elem(&fdb, fdb_key(p, p->net, mac));
	if (unlikely(!ep)) {
		if (!host_pair_mac(p))
			return NULL;
	} else if (ep->kind == FDB_ROUTER) {
		p->speaker.domain = ep->table;
		addr_copy(&p->speaker.host, &p->tunnel.remote);
		if (unlikely(!bpf_map_lookup_elem(&speakers, &p->speaker)))
			return NULL;
	} else if (unlikely(ep->kind != FDB_HOST || !addr_equal(&ep->addr, &p->tunnel.remote))) {
		if (ep->kind == FDB_DROP)
			*why = ep->drop;
		ep = other_place(p);
		if (!ep || ep->kind != FDB_HOST || !addr_equal(&ep->addr, &p->tunnel.remote))
			return NULL;
	}
	p->from = SOURCE_FABRIC;
	p->ifindex = 0;
	return host;
}

/* A packet for our port is ours only if its destination is a tunnel IP. Rows of peers
 * are there for tunnel IPs alone, so that one that is accepted need not be asked;
 * all that is refused must be. One that is for our end of the fabric is ours. */
static __always_inline int refuse(struct __sk_buff *skb, struct packet *p, __u32 why)
{
	if (p->from != SOURCE_FABRIC && !bpf_map_lookup_elem(&tunnel_ips, &p->tunnel.local))
		return pass();
	return drop(skb, why);
}

static __always_inline bool tcp_inside(struct __sk_buff *skb, __be16 type)
{
	struct ipv4 *v4 = DATA(skb) + OUTER_END;
	struct ipv6 *v6 = DATA(skb) + OUTER_END;

	if (type == bpf_htons(ETH_P_IP))
		return (void *)(v4 + 1) <= DATA_END(skb) && v4->protocol == PROTO_TCP;
	if ((void *)(v6 + 1) > DATA_END(skb))
		return false;
	return v6->next == PROTO_TCP || (v6->next == PROTO_HOPOPTS && jumbo_tcp(skb, OUTER_END + sizeof(*v6)));
}

/* To the kernel's own end of the tunnel, which takes what comes in by any interface:
 * from_vxlan wants the mark, and the kernel keeps it on the way there
 * (skb_scrub_packet clears it only between network namespaces). */
static __always_inline int vouch(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);

	if (cfg)
		skb->mark |= cfg->mark;
	return pass();
}

/* What the kernel may still make a tunnel packet of: fragments, packets with IP options,
 * those that IPsec protects, and all that has no Ethernet header. The VNI is not known
 * here, the VTEP is. */
static __noinline int by_kernel(struct __sk_buff *skb)
{
	struct vtep_key k = {};
	struct vtep *vtep;
	struct ipv4 ip;
	__be16 port;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET))
		return pass();
	if (ip.protocol == PROTO_UDP) {
		/* A fragment other than the first has no port. */
		if (!(ip.frag & bpf_htons(IP_MF | IP_OFFSET)) &&
		    (bpf_skb_load_bytes_relative(skb, (ip.vihl & 15) * 4 + 2, &port, sizeof(port), BPF_HDR_START_NET) ||
		     ((port != bpf_htons(VXLAN_PORT) && port != bpf_htons(NAT_T_PORT)) && !fabric_port(port))))
			return pass();
	} else if (ip.protocol != PROTO_ESP && ip.protocol != PROTO_AH) {
		return pass();
	}
	addr_v4(&k.local, ip.dst);
	addr_v4(&k.remote, ip.src);
	vtep = bpf_map_lookup_elem(&vteps, &k);
	if (!vtep || !leads(vtep->ways, skb->ifindex))
		return pass();
	return vouch(skb);
}

SEC("tcx/ingress")
int from_underlay(struct __sk_buff *skb)
{
	struct packet *p = packet_of(HOOK_UNDERLAY);
	__u32 why;
	struct fdb_entry *ep = NULL;
	struct eth *eth, *inner;
	struct flow_row *known;
	struct vxlan *vxlan;
	struct peer *peer;
	struct ipv4 *ip;
	struct udp *udp;
	__u64 flags;

	if (unlikely(!p))
		return drop(skb, DROP_INTERNAL);
	p->from = SOURCE_UPLINK;
	p->ifindex = skb->ifindex;
	p->generation = 0;
	/* The stack takes tags off before this program runs: one that is in the frame still
	 * is a test run's. A tag of VLAN 0 has priority bits alone (IEEE 802.1Q §6.9.1). */
	if (unlikely(skb->vlan_present ? !priority_tag(skb) : skb->protocol == bpf_htons(ETH_P_8021Q)))
		return from_trunk(skb, p);
	if (skb->pkt_type != PACKET_HOST || skb->protocol != bpf_htons(ETH_P_IP))
		return pass();
	pull(skb, OUTER_END + 40);
	eth = DATA(skb);
	ip = DATA(skb) + OUTER_IP;
	udp = DATA(skb) + OUTER_UDP;
	if (DATA(skb) + OUTER_VXLAN > DATA_END(skb) || eth->type != bpf_htons(ETH_P_IP) || ip->vihl != 0x45 ||
	    ip->protocol != PROTO_UDP || ip->frag & bpf_htons(IP_MF | IP_OFFSET))
		return by_kernel(skb);
	if (unlikely(udp->dst != bpf_htons(VXLAN_PORT))) {
		if (!fabric_packet(ip, udp))
			return by_kernel(skb);
		p->from = SOURCE_FABRIC;
	}
	addr_v4(&p->tunnel.local, ip->dst);

	if (unlikely(ipv4_sum(ip) != 0xffff))
		return refuse(skb, p, DROP_VXLAN_MALFORMED);
	p->size = bpf_ntohs(ip->tot_len);
	if (likely(!skb->gso_size)) {
		if (unlikely(p->size > skb->len - 14 || bpf_ntohs(udp->len) != p->size - 20 || p->size < OUTER_END - 14))
			return refuse(skb, p, DROP_VXLAN_MALFORMED);
	} else {
		p->size = skb->len - 14; /* the lengths are those of the segments, or none */
	}
	vxlan = DATA(skb) + OUTER_VXLAN;
	inner = DATA(skb) + OUTER_INNER;
	if (unlikely(DATA(skb) + OUTER_END > DATA_END(skb)))
		return refuse(skb, p, DROP_VXLAN_MALFORMED);
	if (unlikely(!(vxlan->flags & VXLAN_FLAG_VNI)))
		return refuse(skb, p, DROP_VXLAN_FLAGS);
	if (unlikely(agent_dead()))
		return refuse(skb, p, DROP_AGENT_DEAD);
	addr_v4(&p->tunnel.remote, ip->src);
	p->tunnel.vni = bpf_ntohl(vxlan->vni) >> 8;
	p->stays = may_stay(skb, udp);
	known = flow_of_tunnel(skb, p, p->size - (OUTER_END - 14), udp->dst);
	if (known && !known->ifindex && unlikely(!p->stays))
		known = NULL;
	if (likely(known)) {
		p->rx = known->rx;
	} else {
		if (p->from == SOURCE_FABRIC)
			peer = host_of(p, skb->ifindex, inner->src, &why);
		else
			peer = peer_of(p, skb->ifindex, inner->src, &why);
		if (unlikely(!peer))
			return refuse(skb, p, why);
		if (unlikely(peer->flags & PEER_F_KERNEL))
			return vouch(skb);
		p->rx = peer->counter;
	}
	eth_copy(&p->eth, inner);
	if (likely(p->eth.type == bpf_htons(ETH_P_IP)))
		flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	else if (p->eth.type == bpf_htons(ETH_P_IPV6))
		flags = BPF_F_ADJ_ROOM_FIXED_GSO | ADJ_ROOM_DECAP_L3_IPV6;
	else
		return vouch(skb);
	/* The packet must fit its header where the outer length ends, too. */
	if (unlikely(p->size - (OUTER_END - 14) <
		     (p->eth.type == bpf_htons(ETH_P_IP) ? sizeof(struct ipv4) : sizeof(struct ipv6))))
		return drop(skb, DROP_FRAME_MALFORMED);
	/* The helper leaves the mark of a tunnel on a GSO packet, which only the
	 * segmentation of TCP does not look at (udp4_ufo_fragment does). */
	if (unlikely(skb->gso_size) && !tcp_inside(skb, p->eth.type))
		return vouch(skb);
	why = ecn_decap(skb, ip->tos, OUTER_INNER, p->eth.type);
	if (unlikely(why))
		return drop(skb, why);
	if (unlikely(p->size < skb->len - 14) && bpf_skb_change_tail(skb, p->size + 14, 0))
		return drop(skb, DROP_INTERNAL);
	if (likely(known)) {
		if (!known->ifindex)
			return transit_known(skb, p, known);
	} else {
		fdb_key(p, p->net, p->eth.dst);
		ep = find_fdb_entry(p);
		if (p->stays && goes_on(skb, p, ep))
			return transit(skb, p, ep);
	}
	/* Refused for some kinds of segmentation: those go by the vxlan device. */
	if (unlikely(bpf_skb_adjust_room(skb, -OUTER_LEN, BPF_ADJ_ROOM_MAC, flags)))
		return vouch(skb);
	if (unlikely(skb->vlan_present) && bpf_skb_vlan_pop(skb))
		return drop(skb, DROP_INTERNAL);
	eth = DATA(skb);
	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(skb, DROP_INTERNAL);
	eth_copy(eth, &p->eth);
	count_rx(p->rx, skb->len);
	if (likely(known))
		return deliver_known(skb, known);
	if (p->from == SOURCE_FABRIC)
		return bridge_inner(skb, p, ep);
	return bridge_to(skb, p, SOURCE_TUNNEL, ep);
}

/* A word of the control block. The compiler would compute its address first, which the
 * verifier does not take. */
static __always_inline __u32 control(struct __sk_buff *skb, __u32 word)
{
	__u64 v;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(v) : "r"(skb), "i"(offsetof(struct __sk_buff, cb) + 4 * word));
	return v;
}

SEC("tcx/ingress")
int from_vxlan(struct __sk_buff *skb)
{
	struct packet *p = packet_of(HOOK_VXLAN);
	__u32 zero = 0, why;
	struct config *cfg = bpf_map_lookup_elem(&configs, &zero);
	struct peer *peer;
	struct eth *eth;
	bool fabric;

	if (unlikely(!p))
		return drop(skb, DROP_INTERNAL);
	if (unlikely(agent_dead()))
		return drop(skb, DROP_AGENT_DEAD);
	if (cfg_record) {
		/* Test runs have no tunnel key: the addresses (host order), the VNI
		 * and "present" stand in the control block. */
		if (!control(skb, 3))
			return drop(skb, DROP_INTERNAL);
		addr_v4(&p->tunnel.local, bpf_htonl(control(skb, 0)));
		addr_v4(&p->tunnel.remote, bpf_htonl(control(skb, 1)));
		p->tunnel.vni = control(skb, 2);
	} else {
		struct bpf_tunnel_key *key = &p->key;

		if (bpf_skb_get_tunnel_key(skb, key, sizeof(*key), 0))
			return drop(skb, DROP_INTERNAL);
		addr_v4(&p->tunnel.local, bpf_htonl(key->local_ipv4));
		addr_v4(&p->tunnel.remote, bpf_htonl(key->remote_ipv4));
		p->tunnel.vni = key->tunnel_id;
	}
	pull(skb, WANT);
	eth = DATA(skb);
	if (unlikely((void *)(eth + 1) > DATA_END(skb)))
		return drop(skb, DROP_FRAME_MALFORMED);
	fabric = cfg && cfg->fabric_ifindex && skb->ifindex == cfg->fabric_ifindex;
	if (unlikely(fabric ? !addr_equal(&p->tunnel.local, &cfg->fabric_addr) : !bpf_map_lookup_elem(&tunnel_ips, &p->tunnel.local)))
		return drop(skb, DROP_TUNNEL_IP_UNKNOWN);
	if (unlikely(!cfg || (skb->mark & cfg->mark) != cfg->mark))
		return drop(skb, DROP_NOT_UNDERLAY);
	skb->mark &= ~cfg->mark;
	peer = fabric ? host_of(p, 0, eth->src, &why) : peer_of(p, 0, eth->src, &why);
	if (unlikely(!peer))
		return drop(skb, why);
	/* The kernel has done what ecn_decap does elsewhere. */
	if (eth->type == bpf_htons(ETH_P_IP) || eth->type == bpf_htons(ETH_P_IPV6)) {
		why = ecn_decap(skb, 0, 0, eth->type);
		if (unlikely(why))
			return drop(skb, why);
	}
	count_rx(peer->counter, skb->len);
	if (unlikely(VLAN(skb, eth)))
		return drop(skb, DROP_VLAN_TAGGED);
	if (fabric)
		return bridge_fabric(skb, p); /* ARP is answered where it comes from */
	if (eth->type == bpf_htons(ETH_P_ARP)) {
		int act = answer_arp(skb, p, NULL);

		if (act != ARP_BRIDGE)
			return act;
	}
	return bridge(skb, p, SOURCE_TUNNEL);
}

/* A router's ARP request, p->slow, to the ports of a network. The frame has room for it, and
 * says so by its source MAC whose it is. */
static __always_inline int ask_ports(struct __sk_buff *skb, struct packet *p)
{
	struct eth *eth = &p->eth;
	struct fdb_entry *router;
	__be32 target;

	if (bpf_skb_load_bytes(skb, 6, eth->src, sizeof(eth->src)))
		return drop(skb, DROP_INTERNAL);
	router = bpf_map_lookup_elem(&fdb, fdb_key(p, p->net, eth->src));
	if (!router || router->kind != FDB_ROUTER)
		return drop(skb, DROP_L2_UNKNOWN);
	__builtin_memset(eth->dst, 255, sizeof(eth->dst));
	eth->type = bpf_htons(ETH_P_ARP);
	target = addr_to_v4(&p->slow.src);
	/* The request lies where the header of the slow path was. */
	__builtin_memset(&p->arp, 0, sizeof(p->arp));
	p->arp.hardware = bpf_htons(1);
	p->arp.protocol = bpf_htons(ETH_P_IP);
	p->arp.hardware_len = 6;
	p->arp.protocol_len = 4;
	p->arp.op = bpf_htons(ARP_REQUEST);
	__builtin_memcpy(p->arp.sender_mac, eth->src, 6);
	p->arp.sender_ip = addr_to_v4(&router->addr);
	p->arp.target_ip = target;
	if (bpf_skb_store_bytes(skb, 0, eth, sizeof(*eth), 0) ||
	    bpf_skb_store_bytes(skb, sizeof(*eth), &p->arp, sizeof(p->arp), 0))
		return drop(skb, DROP_INTERNAL);
	return flood_net(skb, p, false);
}

SEC("tcx/ingress")
int from_slow(struct __sk_buff *skb)
{
	struct packet *p = packet_of(HOOK_SLOW);
	struct slow_header *h;
	struct fdb_entry *ep;
	struct eth *eth;
	__u32 least;
	__u64 flags;

	if (!p)
		return drop(skb, DROP_INTERNAL);
	if (unlikely(agent_dead()))
		return drop(skb, DROP_AGENT_DEAD);
	h = &p->slow;
	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb) || bpf_skb_load_bytes(skb, sizeof(*eth), h, sizeof(*h)))
		return drop(skb, DROP_FRAME_MALFORMED);
	if (eth->type == bpf_htons(ETH_P_IP))
		least = sizeof(struct ipv4);
	else if (eth->type == bpf_htons(ETH_P_IPV6))
		least = sizeof(struct ipv6);
	else
		return drop(skb, DROP_FRAME_MALFORMED);
	if (h->kind == SLOW_ARP && least < sizeof(struct arp))
		least = sizeof(struct arp);
	if ((h->kind != SLOW_ROUTE && h->kind != SLOW_BRIDGE && h->kind != SLOW_ARP) ||
	    skb->len < sizeof(*eth) + sizeof(*h) + least)
		return drop(skb, DROP_FRAME_MALFORMED);
	flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(*h), BPF_ADJ_ROOM_MAC, flags))
		return drop(skb, DROP_INTERNAL);
	pull(skb, WANT);
	p->from = SOURCE_SLOW;
	p->ifindex = 0;
	p->net = h->net;
	if (h->kind == SLOW_ARP)
		return ask_ports(skb, p);
	if (h->kind == SLOW_ROUTE)
		return route_frame(skb, p, NULL, h->router);
	eth = DATA(skb);
	if ((void *)(eth + 1) > DATA_END(skb))
		return drop(skb, DROP_INTERNAL);
	fdb_key(p, p->net, eth->dst);
	ep = find_fdb_entry(p);
	if (!ep)
		return drop(skb, DROP_L2_UNKNOWN);
	if (ep->kind == FDB_DROP)
		return drop(skb, ep->drop);
	if (!may_go(may_follow(SOURCE_SLOW), ep))
		return drop(skb, DROP_HAIRPIN);
	if (ep->kind == FDB_PORT)
		return deliver(skb, p, ep);
	if (ep->kind == FDB_REMOTE || ep->kind == FDB_HOST)
		return tunnel(skb, p, ep, false);
	if (ep->kind == FDB_ROUTER)
		return route_frame(skb, p, ep, ep->id);
	if (ep->kind == FDB_VLAN)
		return deliver_vlan(skb, ep);
	return drop(skb, DROP_INTERNAL);
}

/* Has the generated Go code know these. */
const enum source *unused_source __attribute__((unused));
const enum destination *unused_destination __attribute__((unused));
const enum may_follow *unused_may_follow __attribute__((unused));
const enum may_ask *unused_may_ask __attribute__((unused));

char _license[] SEC("license") = "Dual BSD/GPL";
