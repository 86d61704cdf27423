package plan

import (
	"fmt"
	"slices"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// Teardown plans what takes away all that the peering made, and nothing else.
func Teardown(p *peering.Peering, obs []observed.Site, opts Options) *Plan {
	b := newBuilder(p, obs, Destroy, opts)
	b.choose()
	b.plan.Blockers = []Problem{} // what the choices lack is no matter here
	for _, v := range b.views {
		if len(opts.Only) > 0 && !slices.Contains(opts.Only, v.spec.Name) {
			continue
		}
		if v.down {
			b.checkDown(v)
			continue
		}
		if v.router == nil && len(v.nets) > 0 {
			b.checkOne(v, "router", v.spec.Router, routerIDs(v.obs.Routers))
			continue
		}
		b.teardown(v)
	}
	b.order()
	return b.plan
}

// teardown takes one site's part away.
func (b *builder) teardown(v *view) {
	var first []string
	if v.router != nil {
		var gone []observed.Route
		for _, r := range v.router.Routes {
			switch {
			case b.routeOf(v, r) != "":
				gone = append(gone, r)
			case v.peer != nil && v.peer.DeviceID == v.router.ID && b.spec.Network.CIDR.Contains(r.NextHop):
				b.block(Problem{Site: v.spec.Name, Resource: named("router", v.router.Name, v.router.ID),
					Text: fmt.Sprintf("its route to %s by %s leads through the multi-site network, and is not the peering's", r.Destination, r.NextHop),
					Hint: "Remove the route first."})
			}
		}
		if len(gone) > 0 {
			first = append(first, b.add(v, "routes-remove", Action{Op: RemoveRoutes, Kind: Router, What: named("peer router", v.router.Name, ""),
				Target: Ref{ID: v.router.ID}, Routes: gone}))
		}
	}
	if v.peer != nil && v.router != nil && v.peer.DeviceID != v.router.ID {
		if id := b.formerRoutes(v); id != "" {
			first = append(first, id)
		}
	}
	for _, e := range b.ownMACs(v) {
		first = append(first, b.deleteMAC(v, e))
	}
	var last []string
	for _, n := range v.nets {
		last = append(last, b.teardownNetwork(v, n, first))
	}
	for _, g := range v.l2gws {
		if b.foreignUse(v, g) {
			b.block(Problem{Site: v.spec.Name, Resource: named("L2 gateway", g.Name, g.ID), Text: "a network that the peering did not make is on it", Hint: "Remove that L2 gateway connection first."})
			continue
		}
		var after []string
		for _, c := range v.conns {
			if c.L2GatewayID == g.ID {
				after = append(after, v.spec.Name+"/connection-delete:"+c.ID)
			}
		}
		last = append(last, b.deleteL2Gateway(v, g, append(after, first...)...))
	}
	b.teardownGateway(v, last)
}

// teardownNetwork takes a network of the peering with all that is on it. It returns
// the action that removes it.
func (b *builder) teardownNetwork(v *view, n *observed.Network, first []string) string {
	var before []string
	for _, c := range v.conns {
		if c.NetworkID == n.ID {
			before = append(before, b.deleteConnection(v, c, first...))
		}
	}
	for _, c := range v.foreignConns {
		if c.NetworkID == n.ID {
			b.block(Problem{Site: v.spec.Name, Resource: "L2 gateway connection " + c.ID, Text: "it holds the multi-site network and was not made by the peering", Hint: "Remove it first."})
		}
	}
	for i := range v.obs.Ports {
		p := &v.obs.Ports[i]
		if p.NetworkID != n.ID {
			continue
		}
		if site, _ := v.siteOf(p.Tags, p.Description); site == "" {
			b.block(Problem{Site: v.spec.Name, Resource: named("port", p.Name, p.ID), Text: "it is on the multi-site network and was not made by the peering", Hint: "Remove the port first."})
			continue
		}
		before = append(before, b.deletePort(v, p, first...))
	}
	var subnets []string
	for _, s := range v.obs.Subnets {
		if s.NetworkID == n.ID {
			subnets = append(subnets, b.add(v, "subnet-delete:"+s.ID, Action{Op: Delete, Kind: Subnet, What: "multi-site subnet " + s.CIDR.String(), Target: Ref{ID: s.ID}}, before...))
		}
	}
	return b.add(v, "network-delete:"+n.ID, Action{Op: Delete, Kind: Network, What: named("multi-site network", n.Name, ""), Target: Ref{ID: n.ID}}, append(subnets, before...)...)
}

// teardownGateway takes away the gateway device and the VTEP router where they were
// made for peerings and this one is the last that uses them.
func (b *builder) teardownGateway(v *view, after []string) {
	if !v.spec.Gateway.Make() || v.vtep == nil {
		return
	}
	b.deleteSpareRouters(v, after...)
	uses := observed.UsesTag(v.peering, v.spec.Name)
	others := slices.DeleteFunc(observed.Users(v.vtep.Tags), func(t string) bool { return t == uses })
	if slices.Contains(v.vtep.Tags, uses) {
		after = append(slices.Clone(after), b.add(v, "gateway-unmark", Action{Op: RemoveTag, Kind: Router, What: "VTEP router " + v.vtep.Name,
			Target: Ref{ID: v.vtep.ID}, Tag: uses}, after...))
	}
	if len(others) > 0 {
		return
	}
	if v.ownDevice() {
		// Other people's L2 gateways keep the device, and it is theirs from then on.
		for _, g := range v.obs.L2Gateways {
			if g.DeviceID == v.device.ID && !slices.ContainsFunc(v.l2gws, func(o *observed.L2Gateway) bool { return o.ID == g.ID }) {
				b.warn(Problem{Site: v.spec.Name, Resource: named("gateway device", v.device.Name, v.device.ID),
					Text: "it stays, since " + named("L2 gateway", g.Name, g.ID) + " is on it"})
				return
			}
		}
		after = append(slices.Clone(after), b.add(v, "gateway-device-delete", Action{Op: Delete, Kind: Device, What: named("gateway device", v.device.Name, ""),
			Target: Ref{ID: v.device.ID}}, after...))
	}
	if v.ownVTEP() && (v.device == nil || v.ownDevice()) {
		for _, p := range v.obs.GatewayPorts {
			b.warn(Problem{Site: v.spec.Name, Resource: named("router", v.vtep.Name, v.vtep.ID), Text: "it stays, since " + named("port", p.Name, p.ID) + " is on it"})
			return
		}
		b.add(v, "gateway-router-delete", Action{Op: Delete, Kind: Router, What: "VTEP router " + v.vtep.Name, Target: Ref{ID: v.vtep.ID}}, after...)
	}
}
