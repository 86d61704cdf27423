/* SPDX-License-Identifier: (Apache-2.0 OR GPL-2.0) */
/* Out of a tunnel and into another: between other sites and the fabric, and by a router from site to site. The outer
 * headers are not taken off and put on, but written anew where they are, as both have the same form. */
#pragma once

#include "l2.h"
#include "parse.h"
#include "vtep.h"

/* Whether the outer headers of a tunnel packet may stay. With a checksum over it (which the kernel may be about
 * to fill in, from where the outer UDP header is) or with a tag of VLAN 0, and where it is to be segmented, the
 * kernel knows more of the packet than stands in it. */
static __always_inline bool may_stay(const struct __sk_buff *skb, const struct udp *udp)
{
	return !skb->gso_size && !skb->vlan_present && !udp->check;
}

/* Whether what is in a tunnel packet is bridged into another one, as it is. Whatever is not so plain takes the
 * whole pipeline. */
static __always_inline bool goes_on(struct __sk_buff *skb, const struct packet *p, const struct fdb_entry *ep)
{
	if (likely(!ep || (ep->kind != FDB_REMOTE && ep->kind != FDB_HOST)))
		return false;
	return !(ep->flags & FDB_F_KERNEL) && may_go(p->from == SOURCE_FABRIC ? FROM_FABRIC : FROM_TUNNEL, ep) &&
	       packet_len(skb, OUTER_INNER) <= ep->mtu;
}

__noinline int transit(struct __sk_buff *skb, struct packet *p, struct fdb_entry *ep)
{
	if (unlikely(!p))
		return drop(skb, DROP_INTERNAL);
	count_rx(p->rx, skb->len - OUTER_LEN);
	return into_tunnel(skb, p, ep, false, true);
}

__noinline int transit_known(struct __sk_buff *skb, struct packet *p, struct flow_row *r)
{
	return into_known(skb, p, r, true);
}
