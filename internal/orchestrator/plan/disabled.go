package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// checkFound tells where the peer router is not the one that its name means: it was told by the
// peering's own port.
func (b *builder) checkFound(v *view, name string) {
	switch {
	case len(v.obs.Namesakes) > 0:
		b.warn(Problem{Site: v.spec.Name, Resource: name, Text: fmt.Sprintf("%d other routers are called so too; it is taken for the one that is meant, since the peering is on it", len(v.obs.Namesakes)),
			Hint: "Write its id in the file: router: " + v.router.ID})
	case v.router.ID != v.spec.Router && v.router.Name != v.spec.Router:
		b.warn(Problem{Site: v.spec.Name, Resource: name, Text: fmt.Sprintf("no router is called %s any more; it is taken for the one that is meant, since the peering is on it", v.spec.Router),
			Hint: "Somebody has renamed it. Write its id in the file: router: " + v.router.ID})
	}
}

// Disabled is the problem that something on the way of the peering's packets is switched off: what it
// is, its name and id, and what does not pass because of it, of these networks or of all of the site's.
func Disabled(s *peering.Site, k Kind, what, name, id, why string, networks ...netip.Prefix) Problem {
	return Problem{Site: s.Name, Resource: named(what, name, id), Stops: true, Networks: networks, Text: "it is disabled (admin_state_up is false), so that " + why,
		Command: commandAt(s, "openstack", string(k), "set", "--enable", id)}
}

// checkDisabled tells what is switched off of what the peering's packets pass and does not belong to the
// peering: no apply switches on what is somebody else's.
func (b *builder) checkDisabled(v *view) {
	off := func(k Kind, what, name, id, why string, networks ...netip.Prefix) {
		b.warn(Disabled(v.spec, k, what, name, id, why, networks...))
	}
	if r := v.router; !r.AdminStateUp {
		off(Router, "router", r.Name, r.ID, "none of its packets pass")
	}
	if r := v.edge(); r != nil && !r.AdminStateUp && !v.ownVTEP() {
		off(Router, "VTEP router", r.Name, r.ID, "no packet passes the tunnels of gateway device "+v.device.Name)
	}
	seen := map[string]bool{}
	for i := range v.obs.Interfaces {
		p := &v.obs.Interfaces[i]
		nets := b.reachedBy(v, p)
		if len(nets) == 0 || v.isOwn(p.NetworkID) {
			continue
		}
		if !p.AdminStateUp {
			off(Port, "port", p.Name, p.ID, fmt.Sprintf("no packet of %s passes the router", listOf(nets)), nets...)
		}
		n := v.obs.Network(p.NetworkID)
		if n != nil && !n.AdminStateUp && !seen[n.ID] {
			seen[n.ID] = true
			off(Network, "network", n.Name, n.ID, fmt.Sprintf("no packet of %s passes", listOf(nets)), nets...)
		}
	}
}

// reachedBy is what the site advertises of the networks behind a port of the peer router.
func (b *builder) reachedBy(v *view, p *observed.Port) []netip.Prefix {
	var out []netip.Prefix
	for _, ip := range p.IPs {
		s := v.obs.Subnet(ip.SubnetID)
		if s == nil {
			continue
		}
		for _, a := range b.choice[v.spec.Name].Advertise {
			if a.Overlaps(s.CIDR) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

func listOf(nets []netip.Prefix) string {
	const most = 3
	s := ""
	for i, n := range nets {
		switch {
		case i == most:
			return fmt.Sprintf("%s and %d more", s, len(nets)-most)
		case i > 0:
			s += ", "
		}
		s += n.String()
	}
	return s
}

// edge is the VTEP router, nil if it is not known.
func (v *view) edge() *observed.Router {
	if v.vtep != nil {
		return v.vtep
	}
	return v.obs.VTEPRouter
}
