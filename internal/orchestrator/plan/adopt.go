package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// TakeOver plans the marks that make a peering, built by hand, this one. It changes
// nothing else; what is missing or wrong then, a plan to apply says.
func TakeOver(p *peering.Peering, obs []observed.Site) *Plan {
	b := newBuilder(p, obs, Adopt, Options{})
	cands := make([]*candidate, len(b.views))
	for i, v := range b.views {
		if v.down {
			b.checkDown(v)
			continue
		}
		if b.checkOne(v, "router", v.spec.Router, routerIDs(v.obs.Routers)) && !b.checkName(v) {
			b.checkFound(v, named("router", v.router.Name, v.router.ID))
			cands[i] = b.candidate(v)
		}
	}
	// A peering may be half made: what is missing of it, apply makes.
	some := slices.ContainsFunc(cands, func(c *candidate) bool { return c != nil && c.network != nil })
	for i, v := range b.views {
		if c := cands[i]; c != nil && c.network == nil {
			p := Problem{Site: v.spec.Name, Resource: named("router", v.router.Name, v.router.ID),
				Text: fmt.Sprintf("it has no interface on %s, so that there is nothing to take over", b.spec.Network.CIDR), Hint: "Use causeway peer apply."}
			if cands[i] = nil; some {
				b.warn(p)
			} else {
				b.block(p)
			}
		}
	}
	if len(b.plan.Blockers) == 0 {
		for i, v := range b.views {
			if cands[i] != nil {
				b.adopt(v, cands[i], cands)
			}
		}
	}
	b.order()
	return b.plan
}

// candidate is what at a site looks like the peering's; without a network there is nothing.
type candidate struct {
	network *observed.Network
	subnet  *observed.Subnet
	peer    *observed.Port
}

// candidate is found by the peer router: it is on the multi-site network.
func (b *builder) candidate(v *view) *candidate {
	for i := range v.obs.Interfaces {
		p := &v.obs.Interfaces[i]
		for _, ip := range p.IPs {
			s := v.obs.Subnet(ip.SubnetID)
			if s == nil || s.CIDR != b.spec.Network.CIDR {
				continue
			}
			n := v.obs.Network(p.NetworkID)
			if n == nil {
				continue
			}
			if of, _ := observed.PeeringOf(n.Tags, n.Description); of != "" && !v.isOwn(n.ID) {
				b.block(Problem{Site: v.spec.Name, Resource: named("network", n.Name, n.ID), Text: fmt.Sprintf("it bears the mark of another peering already, %s", of),
					Hint: fmt.Sprintf("That peering works and stays as it is. If the file means it, call it %s again; else choose another cidr.", of)})
				return nil
			}
			return &candidate{n, s, p}
		}
	}
	return &candidate{}
}

func (b *builder) adopt(v *view, c *candidate, all []*candidate) {
	tag := observed.Tag(v.peering, v.spec.Name)
	mark := func(name string, k Kind, what, id string, tags []string, description, want, remote string) {
		if site, tagged := v.siteOf(tags, description); !tagged || observed.Tag(v.peering, site) != want {
			b.mark(v, name, k, what, remote, Ref{ID: id}, want, "")
		}
	}
	mark("network-mark", Network, named("multi-site network", c.network.Name, ""), c.network.ID, c.network.Tags, c.network.Description, tag, "")
	mark("subnet-mark", Subnet, "multi-site subnet "+c.subnet.CIDR.String(), c.subnet.ID, c.subnet.Tags, c.subnet.Description, tag, "")
	mark("peer-port-mark", Port, portWhat(v, v.spec.Name, c.peer), c.peer.ID, c.peer.Tags, c.peer.Description, tag, "")
	siteAt := map[netip.Addr]string{}
	for i, o := range all {
		if o != nil && o != c {
			siteAt[o.peer.Addr()] = b.views[i].spec.Name
		}
	}
	for i := range v.obs.Ports {
		p := &v.obs.Ports[i]
		if p.NetworkID != c.network.ID || p.ID == c.peer.ID || !isRemoteSite(p) {
			continue
		}
		site := siteAt[p.Addr()]
		if site == "" {
			b.warn(Problem{Site: v.spec.Name, Resource: named("port", p.Name, p.ID), Text: fmt.Sprintf("the remote-site port %s is that of no site of the file, and stays as it is", p.Addr())})
			continue
		}
		mark("remote-port-mark:"+site, Port, portWhat(v, site, p), p.ID, p.Tags, p.Description, observed.Tag(v.peering, site), site)
	}
}
