package verify

import (
	"context"
	"encoding/json"
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

// explain follows the packet through both sites' tables, and the way back.
func (r *run) explain(ctx context.Context, w *Way) {
	there := r.follow(ctx, w, w.From, w.To)
	back := r.follow(ctx, w, w.To, w.From)
	if there && back {
		a, b := r.choice(w.From), r.choice(w.To)
		w.Why = append(w.Why, fmt.Sprintf(
			"by both sites' tables the packets pass: they are lost between the tunnel IPs %s and %s (a route of the underlay, a firewall on UDP 4789), or a host does not have its tables yet",
			a.TunnelIP, b.TunnelIP))
	}
}

// follow traces one direction and tells whether by the tables the packet arrives.
func (r *run) follow(ctx context.Context, w *Way, from, to string) bool {
	e, lacks := r.ends(from, to)
	if lacks != "" {
		w.Why = append(w.Why, lacks)
		return false
	}
	out, err := e.site.TraceRouter(ctx, e.router, e.source, e.target)
	if !r.note(w, from, fmt.Sprintf("from its router to %s", to), out, err) {
		return false
	}
	if out.Next == nil {
		w.Why = append(w.Why, fmt.Sprintf("%s: the packet to %s does not leave by a tunnel: %s", from, e.target, out.Summary))
		return false
	}
	// Whoever has that tunnel IP gets it, which need not be who should.
	i := slices.IndexFunc(r.status.Choices.Sites, func(c plan.SiteChoice) bool { return c.TunnelIP == out.Next.TunnelIP })
	if i < 0 || r.status.Choices.Sites[i].Site != to {
		who := "none of the peering's sites"
		if i >= 0 {
			who = r.status.Choices.Sites[i].Site
		}
		w.Why = append(w.Why, fmt.Sprintf("%s: the remote MAC entry for %s sends to the tunnel IP %s, which is %s's", from, to, out.Next.TunnelIP, who))
		return false
	}
	other, device := r.sites[to], r.device(to, out.Next.TunnelIP)
	if other == nil || device == "" {
		w.Why = append(w.Why, fmt.Sprintf("%s: no gateway device has the tunnel IP %s", to, out.Next.TunnelIP))
		return false
	}
	in, err := other.TraceTunnel(ctx, device, out.Next.Request)
	return r.note(w, to, fmt.Sprintf("out of the tunnel from %s", from), in, err)
}

// note keeps a part of the way, and says why it ends there.
func (r *run) note(w *Way, site, part string, t sites.Trace, err error) bool {
	if err != nil {
		w.Why = append(w.Why, fmt.Sprintf("%s: %v: %v", site, errOther, err))
		return false
	}
	w.Traces = append(w.Traces, SiteTrace{site, part, t})
	if !t.Delivered {
		w.Why = append(w.Why, site+": "+t.Summary)
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
