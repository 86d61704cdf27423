package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
)

// standing is a network with the peering's CIDR that the peer router is on already, and that is not
// this peering's.
type standing struct {
	v       *view
	at      prefixOf
	network string
	// of is the peering whose marks the network bears; "": none.
	of string
	// joined tells that it looks like a multi-site network: it leads to other sites.
	joined bool
}

// checkStanding finds the networks that routers are on already. All that follows from one (its routes,
// its VNI, its rows) is no obstacle of its own: check leaves it out.
func (b *builder) checkStanding() {
	for _, v := range b.views {
		if v.down || v.router == nil {
			continue
		}
		for _, c := range v.connected() {
			if c.prefix != b.spec.Network.CIDR {
				continue
			}
			s := standing{v: v, at: c, network: c.subnet.NetworkID}
			if n := v.obs.Network(s.network); n != nil {
				s.of, _ = observed.PeeringOf(n.Tags, n.Description)
			}
			if s.of == v.peering {
				continue // a site that has another name in the file: checkName says so
			}
			s.joined = slices.ContainsFunc(v.obs.Connections, func(x observed.Connection) bool { return x.NetworkID == s.network }) ||
				slices.ContainsFunc(v.obs.Ports, func(p observed.Port) bool { return p.NetworkID == s.network && isRemoteSite(&p) })
			b.standing[v.spec.Name] = append(b.standing[v.spec.Name], s)
		}
	}
	// One obstacle for each peering that is there, whatever number of sites it is at.
	groups := map[string][]standing{}
	for _, v := range b.views {
		for _, s := range b.standing[v.spec.Name] {
			key := s.of
			if s.of == "" && !s.joined {
				key = "\x00" // no peering at all
			}
			groups[key] = append(groups[key], s)
		}
	}
	for _, key := range sortedKeys(groups) {
		b.block(b.standingProblem(groups[key]))
	}
}

func (b *builder) standingProblem(group []standing) Problem {
	first := group[0]
	p := Problem{Site: first.v.spec.Name}
	var routers []string
	for _, s := range group {
		if name := s.v.spec.Name; !slices.Contains(p.Sites, name) {
			p.Sites = append(p.Sites, name)
			routers = append(routers, named("router", s.v.router.Name, s.v.router.ID))
		}
	}
	p.Resource = strings.Join(routers, ", ")
	verb, network := "it already is", "a network that bears"
	if len(p.Sites) > 1 {
		verb, network = "they already are", "networks that bear"
	} else {
		p.Sites = nil
	}
	at := first.at.String()
	if len(group) > 1 {
		at = first.at.prefix.String()
	}
	what := fmt.Sprintf("%s on %s, on %s no mark of this peering", verb, at, network)
	switch {
	case first.of != "":
		p.Text = fmt.Sprintf("%s, but those of peering %s", what, first.of)
		p.Hint = fmt.Sprintf("Peering %s works and stays as it is. If the file means that one, call it %s again: the name is part of the marks, so that a peering cannot be renamed. Else choose another cidr.", first.of, first.of)
	case first.joined:
		p.Text = what + ": it looks like a peering that was made by hand, and its routes, entries and VNI are what is there"
		p.Hint = "If it is this peering, take it over as it is with: causeway peer adopt. Else choose another cidr."
	default:
		p.Text, p.Hint = what, "It leads to no other site, so that it is no peering: choose another cidr."
	}
	return p
}

// stands tells whether a network is in the way as a whole.
func (b *builder) stands(v *view, networkID string) bool {
	return slices.ContainsFunc(b.standing[v.spec.Name], func(s standing) bool { return s.network == networkID })
}

// standsRoute tells whether a route goes by such a network.
func (b *builder) standsRoute(v *view, hop netip.Addr) bool {
	return len(b.standing[v.spec.Name]) > 0 && b.spec.Network.CIDR.Contains(hop)
}

// standsVNI tells whether a VNI is in use on a device for such a network alone.
func (b *builder) standsVNI(v *view, deviceID string, vni model.VNI) bool {
	for i := range v.obs.Connections {
		c := &v.obs.Connections[i]
		if g := v.obs.L2Gateway(c.L2GatewayID); g != nil && g.DeviceID == deviceID && v.obs.VNIOf(c) == vni && b.stands(v, c.NetworkID) {
			return true
		}
	}
	return false
}
