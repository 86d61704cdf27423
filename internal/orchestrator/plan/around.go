package plan

import (
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// LeftAlone is what a plan that goes around obstacles does nothing about.
type LeftAlone struct {
	Sites []string    `json:"sites,omitempty"` // wholly
	Pairs [][2]string `json:"pairs,omitempty"` // of the other sites
}

// concerns tells whether nothing may be done between two sites because of a problem.
func (p Problem) concerns(a, b string) bool {
	if p.Remote == "" || p.both {
		return p.Site == "" || p.at(a) || p.at(b) || p.both && (p.Remote == a || p.Remote == b)
	}
	return p.at(a) && p.Remote == b || p.at(b) && p.Remote == a
}

// whole tells whether a problem concerns all of a site.
func (p Problem) whole(site string) bool {
	return p.Site == "" || (p.Remote == "" || p.both) && p.at(site) || p.both && p.Remote == site
}

// buildAround plans what nothing stands in the way of. What planning itself comes upon
// is known only when it is done; then it is planned again around that as well. Each time a
// further site is left alone, so that it ends.
func buildAround(p *peering.Peering, obs []observed.Site, opts Options) *Plan {
	pl := build(p, obs, opts, nil)
	for around := pl.Blockers; len(pl.Blockers) > 0; {
		pl = build(p, obs, opts, around)
		around = pl.Around
	}
	return pl
}

// goAround takes what stands in the way out of the plan, and with it all that it concerns.
func (b *builder) goAround(before []Problem) {
	b.plan.Around = slices.Clone(before)
	for _, p := range b.plan.Blockers {
		b.note(p)
	}
	b.plan.Blockers = []Problem{}
	for _, v := range b.views {
		name := v.spec.Name
		b.aside[name] = !v.down && !b.choice[name].known() || slices.ContainsFunc(b.plan.Around, func(p Problem) bool { return p.whole(name) })
	}
	for changed := true; changed; {
		changed = false
		for _, v := range b.views {
			if !v.down && !b.aside[v.spec.Name] && b.mustWait(v) {
				b.aside[v.spec.Name], changed = true, true
			}
		}
	}
	b.withhold()
	for i, v := range b.views {
		if b.aside[v.spec.Name] {
			b.plan.LeftAlone.Sites = append(b.plan.LeftAlone.Sites, v.spec.Name)
			continue
		}
		for _, o := range b.views[i+1:] {
			if !b.aside[o.spec.Name] && b.apart(v, o) {
				b.plan.LeftAlone.Pairs = append(b.plan.LeftAlone.Pairs, [2]string{v.spec.Name, o.spec.Name})
			}
		}
	}
}

// note adds a problem that is planned around.
func (b *builder) note(p Problem) {
	if !slices.ContainsFunc(b.plan.Around, p.same) {
		b.plan.Around = append(b.plan.Around, p)
	}
}

// settle leaves what planning came upon and did not know before: the next plan goes around that
// as well.
func (b *builder) settle() {
	known := len(b.plan.Around)
	for _, p := range b.plan.Blockers {
		b.note(p)
	}
	b.plan.Blockers = slices.Clone(b.plan.Around[known:])
}

// apart tells whether nothing is to be done between two sites.
func (b *builder) apart(v, o *view) bool {
	return b.aside[o.spec.Name] || slices.ContainsFunc(b.plan.Around, func(p Problem) bool { return p.concerns(v.spec.Name, o.spec.Name) })
}

// mustWait tells whether a site is to be left alone because of those that are: none other
// is left that it could be peered with, or a change of it would break what one of them has
// of it.
func (b *builder) mustWait(v *view) bool {
	some, all := false, true
	for _, o := range b.views {
		if o == v || o.down {
			continue
		}
		if !b.apart(v, o) {
			all = false
			continue
		}
		some = true
		if b.moves(v, o) {
			b.note(Problem{Site: v.spec.Name, Text: "what the file changes of it waits, since it would break the way to site " + o.spec.Name + ", where something stands in the way",
				Hint: "Remove what stands in the way, or take the change back."})
			return true
		}
	}
	return some && all
}

// moves tells whether a plan for v would change what o relies on: where v's router is, by
// address, MAC, tunnel IP and VNI. Where o has the new value already, v is only put right.
func (b *builder) moves(v, o *view) bool {
	c, vni := b.choice[v.spec.Name], b.plan.Choices.VNI
	if v.peer != nil && v.router != nil && v.peer.DeviceID != "" && v.peer.DeviceID != v.router.ID {
		return true
	}
	theirs := o.remote[v.spec.Name]
	if theirs != nil && v.peer != nil {
		if theirs.Addr() != c.Address && v.peer.Addr() != c.Address || theirs.MAC.MAC != c.MAC.MAC && v.peer.MAC.MAC != c.MAC.MAC {
			return true
		}
	}
	has := func(w *view) bool {
		return len(w.conns) == 0 || slices.ContainsFunc(w.conns, func(x *observed.Connection) bool { return w.obs.VNIOf(x) == vni })
	}
	if !has(v) && !has(o) {
		return true
	}
	onDevice := len(v.conns) == 0 || slices.ContainsFunc(v.conns, func(x *observed.Connection) bool {
		g := v.obs.L2Gateway(x.L2GatewayID)
		return g != nil && v.device != nil && g.DeviceID == v.device.ID
	})
	moved := !onDevice || v.ownDevice() && v.device.TunnelIP() != c.TunnelIP
	return moved && theirs != nil && slices.ContainsFunc(o.obs.RemoteMACs, func(e observed.RemoteMAC) bool {
		return e.MAC.MAC == theirs.MAC.MAC && e.VTEP != c.TunnelIP
	})
}

// keep tells whether what a site has for another one stays as it is: too little is known of
// that one at the moment, or nothing may be done between the two. A site that does not answer is one; so
// is one whose router or gateway has another name by now. While something is
// in the way, a site that the file does not have any more may be one that it has under
// another name.
func (b *builder) keep(v *view, site string) bool {
	if b.spec.Site(site) == nil {
		return len(b.plan.Around) > 0
	}
	return slices.ContainsFunc(b.views, func(o *view) bool { return o.spec.Name == site && (!o.ready() || b.apart(v, o)) })
}

// behind is a network behind a site.
type behind struct {
	site string
	net  netip.Prefix
}

// withhold finds the networks to which no route is to be added: they overlap with one behind
// another site, and are not the one of the two that the others have already.
func (b *builder) withhold() {
	if len(b.clashes) == 0 {
		return
	}
	routed := map[behind]bool{}
	for _, v := range b.views {
		if v.router == nil {
			continue
		}
		for _, r := range v.router.Routes {
			routed[behind{b.routeOf(v, r), r.Destination}] = true
		}
	}
	for _, c := range b.clashes {
		for i, n := range c {
			if !routed[n] || routed[c[1-i]] {
				b.withheld[n] = true
			}
		}
	}
}
