package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

// Traces is what a site says of a packet's way by its tables.
type Traces interface {
	TraceRouter(ctx context.Context, routerID string, from, to netip.Addr) (sites.Trace, error)
	TraceTunnel(ctx context.Context, deviceID string, request json.RawMessage) (sites.Trace, error)
}

// SiteTrace is a part of a packet's way.
type SiteTrace struct {
	Site  string      `json:"site"`
	Part  string      `json:"part"`
	Trace sites.Trace `json:"trace"`
}

// errOther says that a site does not answer a question that others do.
var errOther = errors.New("the site explains no packets")

// explained is what the sites' tables make of a packet.
type explained struct {
	asked  bool
	why    []string
	traces []SiteTrace
	causes []cause
	// underlay tells that by the tables the packet arrives.
	underlay bool
}

// cause is where a packet ends by the tables, and what would change that.
type cause struct{ site, text, remedy string }

func (x *explained) add(site, text, remedy string) {
	x.why = append(x.why, site+": "+text)
	x.causes = append(x.causes, cause{site, text, remedy})
}

// explainAll follows the packets of the ways that are broken, as many as are bearable.
func (r *run) explainAll(ctx context.Context, pairs []Way) error {
	type one struct {
		w              *Way
		ex             *explained
		source, target netip.Addr
		answers        string // id of the router that has target; "": the other site's peer router
	}
	var list []one
	for i := range pairs {
		if w := &pairs[i]; w.base == Broken {
			e, _ := r.ends(w.From, w.To)
			list = append(list, one{w, &w.ex, e.source, e.target, ""})
		}
	}
	for k := 0; ; k++ { // again one of every two sites before any second one
		more := false
		for i := range pairs {
			w := &pairs[i]
			if k >= len(w.Networks) {
				continue
			}
			more = true
			if n := &w.Networks[k]; n.State == Broken && w.base != Broken && n.Target.IsValid() {
				list = append(list, one{w, &n.ex, n.Source, n.Target, n.answers})
			}
		}
		if !more {
			break
		}
	}
	list = list[:min(len(list), maxExplained)]
	return r.each(ctx, len(list), func(ctx context.Context, i int) error {
		x := list[i]
		r.explain(ctx, x.ex, x.w.From, x.w.To, x.source, x.target, x.answers)
		return ctx.Err()
	})
}

// explain follows the packet through both sites' tables, and the way back.
func (r *run) explain(ctx context.Context, x *explained, from, to string, source, target netip.Addr, answers string) {
	x.asked = true
	there := r.follow(ctx, x, from, "", to, source, target)
	back := r.follow(ctx, x, to, answers, from, target, source)
	if there && back {
		a, b := r.choice(from), r.choice(to)
		x.underlay = true
		x.why = append(x.why, fmt.Sprintf(
			"by both sites' tables the packets pass: they are lost between the tunnel IPs %s and %s (a route of the underlay, a firewall on UDP 4789), or a host does not have its tables yet",
			a.TunnelIP, b.TunnelIP))
	}
}

// follow traces one direction and tells whether by the tables the packet arrives. router is the id of
// the one that sends, if it is not the site's peer router.
func (r *run) follow(ctx context.Context, x *explained, from, router, to string, source, target netip.Addr) bool {
	e, lacks := r.ends(from, to)
	if lacks != "" {
		x.why = append(x.why, lacks)
		return false
	}
	if router != "" {
		e.router = router
	}
	out, err := e.site.TraceRouter(ctx, e.router, source, target)
	if !r.note(x, from, fmt.Sprintf("from its router to %s", to), out, err) {
		return false
	}
	if out.Next == nil {
		x.add(from, fmt.Sprintf("the packet to %s does not leave by a tunnel: %s", target, out.Summary), "")
		return false
	}
	// Whoever has that tunnel IP gets it, which need not be who should.
	i := slices.IndexFunc(r.status.Choices.Sites, func(c plan.SiteChoice) bool { return c.TunnelIP == out.Next.TunnelIP })
	if i < 0 || r.status.Choices.Sites[i].Site != to {
		who := "none of the peering's sites"
		if i >= 0 {
			who = r.status.Choices.Sites[i].Site
		}
		x.add(from, fmt.Sprintf("the remote MAC entry for %s sends to the tunnel IP %s, which is %s's", to, out.Next.TunnelIP, who), "")
		return false
	}
	other, device := r.sites[to], r.device(to, out.Next.TunnelIP)
	if other == nil || device == "" {
		x.add(to, fmt.Sprintf("no gateway device has the tunnel IP %s", out.Next.TunnelIP), "")
		return false
	}
	in, err := other.TraceTunnel(ctx, device, out.Next.Request)
	return r.note(x, to, fmt.Sprintf("out of the tunnel from %s", from), in, err)
}

// note keeps a part of the way, and says why it ends there.
func (r *run) note(x *explained, site, part string, t sites.Trace, err error) bool {
	if err != nil {
		x.why = append(x.why, fmt.Sprintf("%s: %v: %v", site, errOther, err))
		return false
	}
	x.traces = append(x.traces, SiteTrace{site, part, t})
	if !t.Delivered {
		remedy := ""
		for _, h := range t.Hops {
			if h.Remedy != "" {
				remedy = h.Remedy
			}
		}
		x.add(site, t.Summary, remedy)
	}
	return t.Delivered
}

// device is the gateway device of a site that has a tunnel IP.
func (r *run) device(site string, tunnelIP netip.Addr) string {
	o := r.observed(site)
	if o == nil {
		return ""
	}
	for _, d := range o.Devices {
		if slices.Contains(d.TunnelIPs, tunnelIP) {
			return d.ID
		}
	}
	return ""
}
