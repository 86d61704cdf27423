package verify

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// job is one way into a network that is to be probed.
type job struct {
	pair *Way
	way  *NetworkWay
}

// countNetworks is how many ways into networks there are.
func (r *run) countNetworks(pairs []Way) (n int) {
	for i := range pairs {
		if c := r.choice(pairs[i].To); c != nil {
			n += len(c.Advertise)
		}
	}
	return n
}

// networks lists the ways into networks, and gives those that are to be probed: of every two sites one
// before any of them gets a second one.
func (r *run) networks(pairs []Way, order []int, most int) []job {
	noProbes := map[string]bool{}
	for i := range pairs {
		noProbes[pairs[i].From] = noProbes[pairs[i].From] || pairs[i].noProbes
	}
	longest := 0
	for i := range pairs {
		r.listNetworks(&pairs[i], noProbes[pairs[i].To])
		longest = max(longest, len(pairs[i].Networks))
	}
	var jobs []job
	for k := range longest {
		for _, i := range order {
			w := &pairs[i]
			if k >= len(w.Networks) || w.Networks[k].State != "" {
				continue
			}
			if len(jobs) == most {
				w.Networks[k].State = NotProbed
				continue
			}
			jobs = append(jobs, job{w, &w.Networks[k]})
		}
	}
	return jobs
}

// listNetworks lists the ways of a pair. Those that need no packets get their state: into a network in
// which no address is known; and where the routers do not reach each other, nothing else does.
// The sources take turns, so that the way back is by each route that the other router has;
// where the other site cannot send probes itself, every one has a turn.
func (r *run) listNetworks(w *Way, sources bool) {
	to, from := r.choice(w.To), r.addressesOf(w.From)
	if to == nil {
		return
	}
	if len(from) == 0 {
		if c := r.choice(w.From); c != nil {
			from = []netip.Addr{c.Address}
		}
	}
	n := len(to.Advertise)
	if sources && n > 0 {
		n = max(n, len(from))
	}
	for k := range n {
		net := to.Advertise[k%len(to.Advertise)]
		nw := NetworkWay{Network: net}
		if len(from) > 0 {
			nw.Source = from[k%len(from)]
		}
		target, known := r.addressIn(w.To, net)
		beyond, looked := r.further[siteNet{w.To, net}]
		if !known && beyond.target.IsValid() {
			target, known, nw.Through, nw.answers = beyond.address, true, beyond.through, beyond.router
		}
		nw.Target, nw.rest = target.target, target.rest
		switch {
		case !known && looked:
			nw.State, nw.Why, nw.hint = NotMeasured, []string{w.To + ": " + beyond.why}, r.byHand(w, nw.Source)
		case !known:
			nw.State = NotMeasured
			nw.Why = []string{fmt.Sprintf("%s: its router has no address in %s, so that nothing is known there that answers", w.To, net)}
		case nw.rest != "":
			nw.hint = r.byHand(w, nw.Source) + ". Or advertise each network that is there by itself: then verify probes them."
		}
		if w.base != Passes && w.base != Small && w.base != Lossy {
			nw.State = w.base
		}
		w.Networks = append(w.Networks, nw)
	}
}

// byHand says how an operator who knows an address that answers can prove the way to it.
func (r *run) byHand(w *Way, source netip.Addr) string {
	if w.noProbes {
		return byWorkload(w.From)
	}
	return fmt.Sprintf("To prove it, probe an address there that answers echo requests: at %s, causeway probe --router %s --from %s --to ADDRESS",
		w.From, r.routerOf(w.From), source)
}

func byWorkload(site string) string {
	return fmt.Sprintf("%s sends no probes: to prove it, send packets from a workload there to an address that answers", site)
}

// address is one that a router has in a network.
type address struct {
	target netip.Addr
	port   *observed.Port
	rest   string // which part of the network it does not prove; "": it proves all of it
}

// addressIn is the address that a site's peer router has in a network, and that is reached by the
// route to that network: one in a smaller network that is advertised too proves that one's route.
func (r *run) addressIn(site string, net netip.Prefix) (address, bool) {
	key := siteNet{site, net}
	best, known := r.addrs[key]
	if !known {
		best = r.findAddress(site, net)
		r.addrs[key] = best
	}
	return best, best.target.IsValid()
}

type siteNet struct {
	site string
	net  netip.Prefix
}

func (r *run) findAddress(site string, net netip.Prefix) address {
	o := r.observed(site)
	if o == nil {
		return address{}
	}
	at := atPeer(o)
	return r.addressOf(&at, net)
}

// atPeer is a site's peer router as the holder of its addresses.
func atPeer(o *observed.Site) observed.Holder {
	h := observed.Holder{Interfaces: o.Interfaces, Networks: o.Networks, Subnets: o.Subnets}
	if len(o.Routers) == 1 {
		h.Router = &o.Routers[0]
	}
	return h
}

// addressOf is the address that a router has in a network: in its widest subnet there, and the least.
func (r *run) addressOf(at *observed.Holder, net netip.Prefix) (best address) {
	var in netip.Prefix
	for i := range at.Interfaces {
		p := &at.Interfaces[i]
		if !observed.OwnerRouterInterface(p.DeviceOwner) {
			continue
		}
		for _, ip := range p.IPs {
			if !net.Contains(ip.Addr) || r.narrower(net, netip.PrefixFrom(ip.Addr, ip.Addr.BitLen())) {
				continue
			}
			s := subnetOf(at, ip)
			if !best.target.IsValid() || s.Bits() < in.Bits() || s.Bits() == in.Bits() && ip.Addr.Less(best.target) {
				best.target, best.port, in = ip.Addr, p, s
			}
		}
	}
	switch {
	case !best.target.IsValid():
	case in.Bits() > net.Bits():
		best.rest = fmt.Sprintf("packets to %s prove %s alone, which is a part of %s: the rest was not probed", best.target, in, net)
	default:
		best.rest = r.split(at.Router, net)
	}
	return best
}

// subnetOf is the subnet that a router's address is in; of one that was not read, the address alone is known.
func subnetOf(at *observed.Holder, ip observed.IP) netip.Prefix {
	if s := at.Subnet(ip.SubnetID); s != nil && s.CIDR.Contains(ip.Addr) {
		return s.CIDR
	}
	return netip.PrefixFrom(ip.Addr, ip.Addr.BitLen())
}

// split says which part of a network a router sends elsewhere, by a route of its own.
func (r *run) split(router *observed.Router, net netip.Prefix) string {
	if router == nil {
		return ""
	}
	for _, route := range router.Routes {
		if d := route.Destination; d.Bits() > net.Bits() && net.Contains(d.Addr()) && !r.narrower(net, d) {
			return fmt.Sprintf("router %s sends %s, a part of %s, by a route of its own to %s: that part was not probed", called(router), d, net, route.NextHop)
		}
	}
	return ""
}

// narrower tells whether packets to a part of a network go by a longer prefix that the peering has.
func (r *run) narrower(net, part netip.Prefix) bool {
	in := func(p netip.Prefix) bool {
		return p.IsValid() && p.Bits() > net.Bits() && p.Bits() <= part.Bits() && p.Contains(part.Addr())
	}
	return in(r.status.Choices.CIDR) || slices.ContainsFunc(r.status.Choices.Sites, func(c plan.SiteChoice) bool { return slices.ContainsFunc(c.Advertise, in) })
}

// addressesOf are a site's router's addresses in the networks that it advertises: the others know the
// way back to them.
func (r *run) addressesOf(site string) []netip.Addr {
	c := r.choice(site)
	if c == nil {
		return nil
	}
	var out []netip.Addr
	for _, net := range c.Advertise {
		if a, ok := r.addressIn(site, net); ok && !slices.Contains(out, a.target) {
			out = append(out, a.target)
		}
	}
	return out
}

// fromTheOtherSide takes over what was found of a way by packets that went there and back from its
// other end, where a site runs another Neutron that sends no probes.
func fromTheOtherSide(pairs []Way) {
	for i := range pairs {
		w := &pairs[i]
		if !w.noProbes {
			continue
		}
		at := slices.IndexFunc(pairs, func(o Way) bool { return o.From == w.To && o.To == w.From && o.Probe != nil })
		if at < 0 {
			continue
		}
		back := &pairs[at]
		w.base = back.base
		w.Why = append(w.Why, fmt.Sprintf("this is what packets from %s and back found", w.To))
		for k := range w.Networks {
			n := &w.Networks[k]
			for _, b := range back.Networks {
				// Its answers went to the address that stands for this network.
				if n.Target.IsValid() && n.Target == b.Source && b.Probe != nil {
					n.State, n.Why = b.State, []string{fmt.Sprintf("this is what packets from %s and back found", w.To)}
					break
				}
			}
			if n.State == NotMeasured && len(n.Why) == 0 {
				n.Why = []string{fmt.Sprintf("%s sends no probes, and no packet from %s comes out of %s", w.From, w.To, n.Network)}
				n.hint = byWorkload(w.From)
			}
		}
	}
}
