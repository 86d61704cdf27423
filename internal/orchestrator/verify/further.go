package verify

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
)

// further is what is known of a network that a site advertises and that is not on its peer router:
// the address of a further router that answers there, or why there is none.
type further struct {
	address
	router  string         // id of the router that has target
	through []string       // names of the routers on the way
	why     string         // without a target: why there is none
	off     []plan.Problem // what is switched off on the way
}

const (
	// maxFurther bounds the routers between a peer router and a network.
	maxFurther = 4
	// mostFurther bounds the networks that are looked for behind further routers.
	mostFurther = 500
)

// lookFurther finds the further routers that the networks are on which are not on the peer routers. It
// goes as packets do: by the routes, from next hop to next hop.
func (r *run) lookFurther(ctx context.Context) error {
	var keys []siteNet
	for _, c := range r.status.Choices.Sites {
		for _, net := range c.Advertise {
			o := r.observed(c.Site)
			_, known := r.addressIn(c.Site, net)
			if !known && o != nil && o.Problem == nil && len(o.Routers) == 1 && r.sites[c.Site] != nil && len(keys) < mostFurther {
				keys = append(keys, siteNet{c.Site, net})
			}
		}
	}
	found := make([]further, len(keys))
	err := r.eachOf(ctx, len(keys), func(ctx context.Context, i int) error {
		found[i] = r.behind(ctx, keys[i])
		return nil
	})
	for i, k := range keys {
		r.further[k] = found[i]
	}
	return err
}

// behind follows the routes of a site to a network.
func (r *run) behind(ctx context.Context, k siteNet) further {
	peer := atPeer(r.observed(k.site))
	at := &peer
	var f further
	ends := func(format string, args ...any) further {
		f.why = joined(fmt.Sprintf(format, args...), f.rest)
		return f
	}
	for range maxFurther {
		hop, ok := nextHop(at.Router.Routes, k.net)
		switch {
		case !ok && slices.ContainsFunc(at.Router.Routes, func(x observed.Route) bool { return k.net.Overlaps(x.Destination) }):
			return ends("router %s has routes to parts of %s alone", called(at.Router), k.net)
		case !ok:
			return ends("router %s has no address in %s and no route to it, as far as the site's API says", called(at.Router), k.net)
		}
		f.rest = joined(f.rest, r.split(at.Router, k.net), shared(at.Router, k.net, hop))
		h, err := r.sites[k.site].Holder(ctx, networksOf(at.Interfaces), hop)
		switch {
		case err != nil:
			return ends("what %s lies behind could not be asked: %v", k.net, err)
		case h == nil:
			return ends("%s lies behind %s, the next hop of router %s, which is no port of the site's API: nothing is known there that answers", k.net, hop, called(at.Router))
		case h.Router == nil:
			return ends("%s lies behind %s, the next hop of router %s, which is port %s and no router of the site's API: nothing is known there that answers", k.net, hop, called(at.Router), h.Port.ID)
		}
		off := r.disabled(k, h, h.Port.NetworkID, append(portsTo(at, h.Port.NetworkID, hop), h.Port))
		f.off = append(f.off, off...)
		f.rest = joined(f.rest, unknown(h, h.Port.NetworkID))
		at = h
		f.through = append(f.through, called(at.Router))
		if a := r.addressOf(at, k.net); a.target.IsValid() {
			f.off = append(f.off, r.disabled(k, at, a.port.NetworkID, []observed.Port{*a.port})...)
			a.rest = joined(f.rest, a.rest, unknown(at, a.port.NetworkID))
			f.address, f.router = a, at.Router.ID
			return f
		}
	}
	return ends("%s lies behind more than %d routers, which are not followed", k.net, maxFurther)
}

// joined are what several texts say, some of them joined before, each once.
func joined(texts ...string) string {
	const between = "; "
	var out []string
	for _, t := range texts {
		for s := range strings.SplitSeq(t, between) {
			if s != "" && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return strings.Join(out, between)
}

// disabled is what is switched off where packets into a network pass a further router: these ports of its
// network, that network, and the router.
func (r *run) disabled(k siteNet, h *observed.Holder, network string, ports []observed.Port) []plan.Problem {
	spec := r.spec.Site(k.site)
	if spec == nil {
		return nil
	}
	var out []plan.Problem
	off := func(kind plan.Kind, name, id string) {
		out = append(out, plan.Disabled(spec, kind, string(kind), name, id, fmt.Sprintf("no packet of %s passes", k.net), k.net))
	}
	if !h.Router.AdminStateUp {
		off(plan.Router, h.Router.Name, h.Router.ID)
	}
	if n := h.Network(network); n != nil && !n.AdminStateUp {
		off(plan.Network, n.Name, n.ID)
	}
	for _, p := range ports {
		if !p.AdminStateUp {
			off(plan.Port, p.Name, p.ID)
		}
	}
	return out
}

// unknown tells that the API does not show a network on the way.
func unknown(h *observed.Holder, network string) string {
	if h.Network(network) != nil {
		return ""
	}
	return fmt.Sprintf("the site's API does not say whether network %s, which router %s is on, is enabled", network, called(h.Router))
}

// portsTo are the ports by which a router reaches a next hop on a network.
func portsTo(at *observed.Holder, network string, hop netip.Addr) []observed.Port {
	var out []observed.Port
	for _, p := range at.Interfaces {
		if p.NetworkID == network && slices.ContainsFunc(p.IPs, func(ip observed.IP) bool { return subnetOf(at, ip).Contains(hop) }) {
			out = append(out, p)
		}
	}
	return out
}

// nextHop is that of the route by which packets into all of a network go.
func nextHop(routes []observed.Route, net netip.Prefix) (hop netip.Addr, ok bool) {
	best := -1
	for _, route := range routes {
		if d := route.Destination; d.Bits() <= net.Bits() && d.Contains(net.Addr()) && d.Bits() > best {
			best, hop = d.Bits(), route.NextHop
		}
	}
	return hop, best >= 0
}

// shared says which next hops of a router share the packets to a network with the one that is followed.
func shared(router *observed.Router, net netip.Prefix, hop netip.Addr) string {
	best, others := -1, []string{}
	for _, route := range router.Routes {
		d := route.Destination
		if d.Bits() > net.Bits() || !d.Contains(net.Addr()) || d.Bits() < best {
			continue
		}
		if d.Bits() > best {
			best, others = d.Bits(), nil
		}
		if route.NextHop != hop {
			others = append(others, route.NextHop.String())
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("router %s has several next hops to %s, and each packet goes by that of its flow: only what lies behind %s was followed, not behind %s", called(router), net, hop, strings.Join(others, " and "))
}

func networksOf(ports []observed.Port) []string {
	var out []string
	for _, p := range ports {
		if p.NetworkID != "" && !slices.Contains(out, p.NetworkID) {
			out = append(out, p.NetworkID)
		}
	}
	return out
}

// called is a router's name, or its id.
func called(r *observed.Router) string {
	if r.Name != "" {
		return r.Name
	}
	return r.ID
}

// routerOf is the name of a site's peer router.
func (r *run) routerOf(site string) string {
	if o := r.observed(site); o != nil && len(o.Routers) == 1 {
		return called(&o.Routers[0])
	}
	return "ROUTER"
}
