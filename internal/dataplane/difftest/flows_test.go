package difftest

import "testing"

// flowMutants are those of the flow table: of the key, of what is looked at of each packet, and of
// what is remembered.
var flowMutants = []mutant{
	{"the destination MAC of a key", "flows.h", "k->macs = *(__u64 *)eth;", "k->macs = *(__u16 *)eth->src;"},
	{"the source MAC's first half of a key", "flows.h", "k->macs = *(__u64 *)eth;", "k->macs = *(__u64 *)eth << 16;"},
	{"the source MAC's second half of a key", "flows.h", "*(__u32 *)(eth->src + 2) | (__u64)p->ifindex << 32", "(__u64)p->ifindex << 32"},
	{"the interface of a key", "flows.h", "*(__u32 *)(eth->src + 2) | (__u64)p->ifindex << 32", "*(__u32 *)(eth->src + 2)"},
	{"the source address of a key", "flows.h", "k->addrs = *(__u64 *)&ip->src;", "k->addrs = ip->dst;"},
	{"the destination address of a key", "flows.h", "k->addrs = *(__u64 *)&ip->src;", "k->addrs = ip->src;"},
	{"the protocol of a key", "flows.h", "ports | (__u64)ip->protocol << 32 |", "ports |"},
	{"the source port of a key", "flows.h", "ports = *(__u32 *)(ip + 1);", "ports = *(__u16 *)((void *)(ip + 1) + 2);"},
	{"the destination port of a key", "flows.h", "ports = *(__u32 *)(ip + 1);", "ports = *(__u16 *)(ip + 1);"},
	{"that all of a key is equal", "flows.h", "flow_equal(&r->key, k, kind) &&", ""},
	{"the generation of a row", "flows.h", "r->generation == now &&", ""},
	{"other EtherTypes than IPv4", "flows.h", "eth->type != bpf_htons(ETH_P_IP) ||", ""},
	{"options", "flows.h", "ip->vihl != 0x45 ||", ""},
	{"fragments", "flows.h", "ip->frag & bpf_htons(IP_MF | IP_OFFSET)", "0"},
	{"first fragments", "flows.h", "ip->frag & bpf_htons(IP_MF | IP_OFFSET)", "ip->frag & bpf_htons(IP_OFFSET)"},
	{"later fragments", "flows.h", "ip->frag & bpf_htons(IP_MF | IP_OFFSET)", "ip->frag & bpf_htons(IP_MF)"},
	{"the size", "flows.h", "if (unlikely(size > r->mtu))", "if (0)"},
	{"the size of segments", "flows.h", "size = segment_len(skb, off, bpf_htons(ETH_P_IP));", ";"},
	{"the TTL", "flows.h", "ip->ttl <= r->turns ||", ""},
	{"the TTL for each router", "flows.h", "ip->ttl <= r->turns ||", "ip->ttl <= 1 ||"},
	{"a length below the header's", "flows.h", "len < sizeof(*ip) ||", ""},
	{"a length beyond the frame's", "flows.h", "(len > room && !skb->gso_size) ||", ""},
	{"the header's checksum", "flows.h", "|| ipv4_sum(ip) != 0xffff);", ");"},
	{"the least MTU on the way", "flows.h", "p->turns ? p->least : ep->mtu", "ep->mtu"},
	{"each router's MTU", "l3.h", "if (p->mtu < p->least)\n\t\t\tp->least", "p->least"},
	{"how many routers there were", "l3.h", "p->turns++;", "p->turns = 1;"},
	{"whose packets a port counts", "flows.h", "r->rx = p->rx;", "r->rx = ep->counter;"},
	{"whose packets are delivered", "flows.h", "r->tx = ep->counter;", "r->tx = p->rx;"},
	{"how a port is reached", "flows.h", "r->flags = ep->flags;", "r->flags = 0;"},
	{"the MACs behind a router", "l2.h", "mac_copy(eth->src, r->src);", ""},
	{"the TTL behind a router", "l2.h", "set_ttl(ip, ip->ttl - r->turns);", ""},
	{"the outer source of a key", "flows.h", "addr_to_v4(&p->tunnel.remote) |", ""},
	{"the outer destination of a key", "flows.h", "| (__u64)addr_to_v4(&p->tunnel.local) << 32", ""},
	{"the VNI of a key", "flows.h", "p->flow_key.vni = p->tunnel.vni;", "p->flow_key.vni = 0;"},
	{"that the tunnel is equal", "flows.h", "differ |= (a->outer ^ b->outer) | (a->vni ^ b->vni);", ""},
	{"where the outer length ends", "flows.h", "if (unlikely(room < sizeof(struct ipv4) + 4))", "if (0)"},
	{"how long the inner packet may be", "causeway.c", "flow_of_tunnel(skb, p, p->size - (OUTER_END - 14))", "flow_of_tunnel(skb, p, skb->len - OUTER_END)"},
	{"ECN of a known flow", "causeway.c", "why = ecn_decap(skb, ip->tos, OUTER_INNER, p->eth.type);", "why = known ? 0 : ecn_decap(skb, ip->tos, OUTER_INNER, p->eth.type);"},
	{"the end of a known flow's packet", "causeway.c", "if (unlikely(p->size < skb->len - 14) &&", "if (unlikely(p->size < skb->len - 14) && !known &&"},
	{"what a tunnel's flow counts", "causeway.c", "p->rx = known->rx;", "p->rx = known->tx;"},
	{"replies", "l3.h", "p->generation = 0; /* a reply */", ""},
	{"senders that are learned", "learn.h", "p->generation = 0; /* each packet is to be seen */", ""},
	{"learned MACs", "learn.h", "p->generation = 0; /* other processors move what is learned */", ""},
	{"learned addresses", "learn.h", "p->generation = 0; /* as above */", ""},
}

// TestFlowMutants: the differential test sees what is missing of the flow table.
func TestFlowMutants(t *testing.T) { mustCatch(t, flowMutants) }
