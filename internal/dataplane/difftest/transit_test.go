package difftest

import "testing"

// transitMutants are those of what is written anew in place.
var transitMutants = []mutant{
	{"what is to be segmented", "transit.h", "!skb->gso_size && ", ""},
	{"an outer checksum", "transit.h", " && !udp->check", ""},
	{"what no tunnel leads to", "transit.h", "(ep->kind != FDB_REMOTE && ep->kind != FDB_HOST)", "0"},
	{"a flow whose outer headers may not stay", "causeway.c", "if (known && !known->ifindex && unlikely(!p->stays))", "if (0)"},
	{"bridged packets whose outer headers may not stay", "causeway.c", "if (p->stays && goes_on(skb, p, ep))", "if (goes_on(skb, p, ep))"},
	{"that outer headers stay", "causeway.c", "if (p->stays && goes_on(skb, p, ep))", "if (0)"},
	{"a VTEP by the kernel, out of a tunnel", "transit.h", "!(ep->flags & FDB_F_KERNEL) && ", ""},
	{"where frames of a tunnel may go", "transit.h", "may_go(p->from == SOURCE_FABRIC ? FROM_FABRIC : FROM_TUNNEL, ep) &&", "1 &&"},
	{"where frames of the fabric may go", "transit.h", "p->from == SOURCE_FABRIC ? FROM_FABRIC : FROM_TUNNEL", "FROM_FABRIC"},
	{"where frames may go that are not the fabric's", "transit.h", "p->from == SOURCE_FABRIC ? FROM_FABRIC : FROM_TUNNEL", "FROM_TUNNEL"},
	{"the size of what goes on", "transit.h", " <= ep->mtu;", ";"},
	{"the size of what goes on, by a byte", "transit.h", " <= ep->mtu;", " <= ep->mtu + 1;"},
	{"where the inner packet begins", "parse.h", "return skb->len - off - sizeof(*eth);", "return skb->len - sizeof(*eth);"},
	{"what comes in and goes on", "transit.h", "count_rx(p->rx, skb->len - OUTER_LEN);", ""},
	{"the length of what comes in and goes on", "transit.h", "count_rx(p->rx, skb->len - OUTER_LEN);", "count_rx(p->rx, skb->len);"},
	{"the length of what goes on", "vtep.h", "len = stays ? skb->len - OUTER_LEN : skb->len;\n\tstruct config", "len = skb->len;\n\tstruct config"},
	{"the length of a known flow's packet that goes on", "vtep.h", "len = stays ? skb->len - OUTER_LEN : skb->len;\n\tconst", "len = skb->len;\n\tconst"},
	{"of which frame the outer header is", "vtep.h", "DATA(skb) + (stays ? OUTER_INNER : 0)", "DATA(skb)"},
	{"which way a flow out of a tunnel goes", "causeway.c", "if (!known->ifindex)\n\t\t\treturn transit_known(skb, p, known);", ""},
	{"that flows out of tunnels are remembered", "vtep.h", "if (p->generation)\n\t\tremember(skb, p, ep);\n\treturn to_next_hop", "if (p->from == SOURCE_WORKLOAD && p->generation)\n\t\tremember(skb, p, ep);\n\treturn to_next_hop"},
}

// TestTransitMutants: the differential test sees what is missing where outer headers are written anew in place.
func TestTransitMutants(t *testing.T) { mustCatch(t, transitMutants) }
