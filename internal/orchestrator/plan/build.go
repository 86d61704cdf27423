package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// Options change how a plan is made.
type Options struct {
	// WithoutDown leaves sites that do not answer alone, and what the others have
	// for them as it is, in place of refusing to plan.
	WithoutDown bool
	// Around plans what nothing stands in the way of, in place of refusing: nothing is
	// done at a site, or between two, that a blocker concerns.
	Around bool
	// Only are the sites at which something is to be done; all if empty.
	Only []string
}

// builder puts a plan together.
type builder struct {
	spec   *peering.Peering
	opts   Options
	plan   *Plan
	views  []*view
	choice map[string]*SiteChoice
	// attach are the actions that make a site's peer router reachable, by site.
	attach map[string]string
	// clashes are advertised networks that overlap. Of what stands in the way, aside are the
	// sites that are left alone, and withheld the networks that get no routes.
	clashes  [][2]behind
	standing map[string][]standing // by site
	aside    map[string]bool
	withheld map[behind]bool
}

func newBuilder(p *peering.Peering, obs []observed.Site, goal Goal, opts Options) *builder {
	b := &builder{spec: p, opts: opts, attach: map[string]string{}, standing: map[string][]standing{}, aside: map[string]bool{}, withheld: map[behind]bool{}, plan: &Plan{
		Peering: p.Name, Goal: goal, Sites: p.SiteNames(), Blockers: []Problem{}, Warnings: []Problem{}, Actions: []Action{},
	}}
	for i := range p.Sites {
		at := slices.IndexFunc(obs, func(o observed.Site) bool { return o.Name == p.Sites[i].Name })
		var o *observed.Site
		if at >= 0 {
			o = &obs[at]
		}
		b.views = append(b.views, newView(p, &p.Sites[i], o))
	}
	return b
}

// Build plans what makes the sites as the file says.
func Build(p *peering.Peering, obs []observed.Site, opts Options) *Plan {
	if opts.Around {
		return buildAround(p, obs, opts)
	}
	return build(p, obs, opts, nil)
}

// build plans around what is in the way, if anything is given.
func build(p *peering.Peering, obs []observed.Site, opts Options, around []Problem) *Plan {
	b := newBuilder(p, obs, Apply, opts)
	b.choose()
	b.check()
	if len(around) > 0 {
		b.goAround(around)
		defer b.settle()
	}
	for _, v := range b.views {
		if v.ready() && !b.aside[v.spec.Name] && (len(opts.Only) == 0 || slices.Contains(opts.Only, v.spec.Name)) {
			b.site(v)
		}
	}
	b.joinSites()
	b.order()
	return b.plan
}

// ready tells whether enough of a site is known to plan there.
func (v *view) ready() bool {
	return !v.down && v.router != nil && (v.device != nil || v.spec.Gateway.Make() && (v.vtep != nil || len(v.obs.GatewayRouters) == 0))
}

func (b *builder) block(p Problem) { b.plan.Blockers = append(b.plan.Blockers, p) }
func (b *builder) warn(p Problem)  { b.plan.Warnings = append(b.plan.Warnings, p) }

// add appends an action and returns its id.
func (b *builder) add(v *view, name string, a Action, after ...string) string {
	a.Site = v.spec.Name
	a.ID = v.spec.Name + "/" + name
	for _, id := range after {
		if id != "" && !slices.Contains(a.After, id) {
			a.After = append(a.After, id)
		}
	}
	b.plan.Actions = append(b.plan.Actions, a)
	return a.ID
}

// mark tags a resource that has no tag yet. made is the action that makes it.
func (b *builder) mark(v *view, name string, k Kind, what, remote string, target Ref, tag, made string) string {
	return b.add(v, name, Action{Op: AddTag, Kind: k, What: what, Remote: remote, Target: target, Tag: tag}, made)
}

// siteWork is what planning one site carries from step to step.
type siteWork struct {
	device  Ref
	network Ref
	subnet  Ref
	// conn, gateway, net and peer are the actions that must come before what needs
	// them; "" where that exists.
	deviceMade, netMade, subnetMade, connMade string
	// peerMoved is the action after which the peer router port has its address.
	peerMoved string
	// unrouted and unlisted are the removals of routes and of remote MAC entries,
	// which come before any change of the ports that they are told by.
	unrouted string
	unlisted []string
}

// site plans one site.
func (b *builder) site(v *view) {
	w := &siteWork{}
	b.hops(v) // while every port is in its place
	b.gateway(v, w)
	b.network(v, w)
	b.staleRoutes(v, w)
	b.staleMACs(v, w)
	b.l2(v, w)
	gone := b.strayPorts(v, w)
	b.peerPort(v, w, gone)
	for _, other := range b.views {
		if other != v && b.choice[other.spec.Name].known() {
			b.remotePort(v, w, other.spec.Name, gone)
		}
	}
}

// known tells whether a site's place in the peering is known.
func (c *SiteChoice) known() bool {
	return c.Address.IsValid() && !c.MAC.IsZero() && c.TunnelIP.IsValid()
}

func (b *builder) gateway(v *view, w *siteWork) {
	if v.device != nil {
		w.device = Ref{ID: v.device.ID}
	}
	if !v.spec.Gateway.Make() {
		return
	}
	b.deleteSpareRouters(v)
	uses := observed.UsesTag(v.peering, v.spec.Name)
	router, routerMade := Ref{}, ""
	name := v.spec.Gateway.Router
	if v.vtep != nil {
		router, name = Ref{ID: v.vtep.ID}, v.vtep.Name
	} else {
		routerMade = b.add(v, "gateway-router", Action{Op: Create, Kind: Router, What: "VTEP router " + name,
			Attrs: Attrs{"name": name, "description": observed.GatewayMark}})
		router = Ref{From: routerMade}
	}
	if v.device == nil {
		w.deviceMade = b.add(v, "gateway-device", Action{Op: Create, Kind: Device, What: "gateway device on router " + name,
			Attrs: Attrs{"name": observed.DeviceName(name), "type": routerVTEP, "resource_id": router, "tunnel_ips": []any{v.spec.Gateway.TunnelIP.String()}}}, routerMade)
		w.device = Ref{From: w.deviceMade}
	} else if ip := v.device.TunnelIP(); v.ownDevice() && ip != v.spec.Gateway.TunnelIP {
		b.add(v, "gateway-device-update", Action{Op: Update, Kind: Device, What: named("gateway device", v.device.Name, ""), Target: w.device,
			Attrs: Attrs{"tunnel_ips": []any{v.spec.Gateway.TunnelIP.String()}}, Before: Attrs{"tunnel_ips": addrTexts(v.device.TunnelIPs)}})
	}
	if v.ownVTEP() && !v.vtep.AdminStateUp {
		b.add(v, "gateway-router-update", Action{Op: Update, Kind: Router, What: "VTEP router " + name, Target: router,
			Attrs: Attrs{"admin_state_up": true}, Before: Attrs{"admin_state_up": false}})
	}
	if own := v.device == nil || v.ownDevice() || v.ownVTEP(); own && (v.vtep == nil || !slices.Contains(v.vtep.Tags, uses)) {
		w.deviceMade = b.mark(v, "gateway-mark", Router, "VTEP router "+name, "", router, uses, firstOf(w.deviceMade, routerMade))
	}
}

func (b *builder) deleteSpareRouters(v *view, after ...string) {
	for _, r := range v.spareRouters() {
		b.add(v, "gateway-router-delete:"+r.ID, Action{Op: Delete, Kind: Router, What: "VTEP router " + r.Name, Target: Ref{ID: r.ID},
			Before: Attrs{"name": r.Name, "description": r.Description}}, after...)
	}
}

const routerVTEP = "router_vtep"

func addrTexts(as []netip.Addr) []any {
	out := []any{}
	for _, a := range as {
		out = append(out, a.String())
	}
	return out
}

func firstOf(ids ...string) string {
	for _, id := range ids {
		if id != "" {
			return id
		}
	}
	return ""
}

func (b *builder) network(v *view, w *siteWork) {
	name, tag := observed.NetworkName(v.peering, v.spec.Name), observed.Tag(v.peering, v.spec.Name)
	made := ""
	if v.net == nil {
		attrs := Attrs{"name": name, "description": tag, "port_security_enabled": false}
		if mtu := b.plan.Choices.MTU; mtu != 0 && v.setsMTU() {
			attrs["mtu"] = mtu
		}
		made = b.add(v, "network", Action{Op: Create, Kind: Network, What: "multi-site network " + name, Attrs: attrs})
		w.network = Ref{From: made}
		w.netMade = b.mark(v, "network-mark", Network, "multi-site network "+name, "", w.network, tag, made)
	} else {
		w.network = Ref{ID: v.net.ID}
		b.existingNetwork(v, w)
	}
	v.subnet = v.subnetOf(b.spec.Network.CIDR)
	what := "multi-site subnet " + b.spec.Network.CIDR.String()
	if v.subnet == nil {
		made = b.add(v, "subnet", Action{Op: Create, Kind: Subnet, What: what, Attrs: Attrs{
			"name": name, "description": tag, "network_id": w.network, "ip_version": 4,
			"cidr": b.spec.Network.CIDR.String(), "gateway_ip": nil, "enable_dhcp": false,
		}}, w.netMade)
		w.subnet = Ref{From: made}
		w.subnetMade = b.mark(v, "subnet-mark", Subnet, what, "", w.subnet, tag, made)
		return
	}
	w.subnet = Ref{ID: v.subnet.ID}
	if _, tagged := v.siteOf(v.subnet.Tags, v.subnet.Description); !tagged {
		b.mark(v, "subnet-mark", Subnet, what, "", w.subnet, tag, "")
	}
	now, before := Attrs{}, Attrs{}
	if v.subnet.DHCP {
		now["enable_dhcp"], before["enable_dhcp"] = false, true
	}
	if v.subnet.Gateway.IsValid() {
		now["gateway_ip"], before["gateway_ip"] = nil, v.subnet.Gateway.String()
	}
	if len(now) > 0 {
		b.add(v, "subnet-update", Action{Op: Update, Kind: Subnet, What: what, Target: w.subnet, Attrs: now, Before: before})
	}
}

func (b *builder) existingNetwork(v *view, w *siteWork) {
	what := named("multi-site network", v.net.Name, "")
	if _, tagged := v.siteOf(v.net.Tags, v.net.Description); !tagged {
		w.netMade = b.mark(v, "network-mark", Network, what, "", w.network, observed.Tag(v.peering, v.spec.Name), "")
	}
	now, before := Attrs{}, Attrs{}
	if !v.net.AdminStateUp {
		now["admin_state_up"], before["admin_state_up"] = true, false
	}
	if v.net.PortSecurity {
		now["port_security_enabled"], before["port_security_enabled"] = false, true
	}
	if mtu := b.plan.Choices.MTU; mtu != 0 && v.setsMTU() && v.net.MTU != 0 && v.net.MTU != mtu {
		now["mtu"], before["mtu"] = mtu, v.net.MTU
	}
	if len(now) > 0 {
		b.add(v, "network-update", Action{Op: Update, Kind: Network, What: what, Target: w.network, Attrs: now, Before: before})
	}
	// Duplicates are what a request left that was thought lost.
	for _, n := range v.nets[1:] {
		b.teardownNetwork(v, n, nil)
	}
}

// l2 plans the L2 gateway and its connection.
func (b *builder) l2(v *view, w *siteWork) {
	vni := b.plan.Choices.VNI
	var keep *observed.Connection
	var keepGateway *observed.L2Gateway
	fits := func(g *observed.L2Gateway) bool { return g != nil && v.device != nil && g.DeviceID == v.device.ID }
	for _, c := range v.conns {
		if g := v.obs.L2Gateway(c.L2GatewayID); keep == nil && c.NetworkID == netID(v) && fits(g) && v.obs.VNIOf(c) == vni {
			keep, keepGateway = c, g
		}
	}
	connected := func(g *observed.L2Gateway) bool {
		return slices.ContainsFunc(v.obs.Connections, func(c observed.Connection) bool { return c.L2GatewayID == g.ID })
	}
	for _, g := range v.l2gws {
		if keepGateway == nil && fits(g) && g.VNI == vni && !connected(g) {
			keepGateway = g
		}
	}
	gone := b.strayL2(v, w, keep, keepGateway)
	if keep != nil {
		return
	}
	name := observed.Tag(v.peering, v.spec.Name)
	gateway, made := Ref{}, ""
	if keepGateway != nil {
		gateway = Ref{ID: keepGateway.ID}
	} else {
		made = b.add(v, "l2-gateway", Action{Op: Create, Kind: L2Gateway, What: fmt.Sprintf("L2 gateway, VNI %d", vni), Attrs: Attrs{
			"name": name, "devices": []any{map[string]any{"device_id": w.device, "segmentation_id": strconv.Itoa(int(vni))}},
		}}, w.deviceMade)
		gateway = Ref{From: made}
	}
	w.connMade = b.add(v, "connection", Action{Op: Create, Kind: Connection, What: fmt.Sprintf("L2 gateway connection, VNI %d", vni),
		Attrs: Attrs{"l2_gateway_id": gateway, "network_id": w.network}}, append(gone, made, w.netMade)...)
}

func netID(v *view) string {
	if v.net == nil {
		return ""
	}
	return v.net.ID
}

// strayL2 removes the peering's L2 gateways and connections that are of no use, and
// returns the actions.
func (b *builder) strayL2(v *view, w *siteWork, keep *observed.Connection, keepGateway *observed.L2Gateway) []string {
	var gone []string
	for _, c := range v.conns {
		if c == keep || c.NetworkID != netID(v) && v.isOwn(c.NetworkID) {
			continue // the latter go with their network
		}
		gone = append(gone, b.deleteConnection(v, c, w.unlisted...))
	}
	for _, g := range v.l2gws {
		if g != keepGateway && !b.foreignUse(v, g) {
			gone = append(gone, b.deleteL2Gateway(v, g, gone...))
		}
	}
	return gone
}

// foreignUse tells whether an L2 gateway of the peering holds a network of others.
func (b *builder) foreignUse(v *view, g *observed.L2Gateway) bool {
	for i := range v.obs.Connections {
		if c := &v.obs.Connections[i]; c.L2GatewayID == g.ID && !slices.Contains(v.conns, c) {
			return true
		}
	}
	return false
}

func (b *builder) deleteConnection(v *view, c *observed.Connection, after ...string) string {
	before := Attrs{"l2_gateway_id": Ref{ID: c.L2GatewayID}, "network_id": Ref{ID: c.NetworkID}}
	if c.VNI != 0 {
		before["segmentation_id"] = strconv.Itoa(int(c.VNI))
	}
	return b.add(v, "connection-delete:"+c.ID, Action{Op: Delete, Kind: Connection,
		What: fmt.Sprintf("L2 gateway connection, VNI %d", v.obs.VNIOf(c)), Target: Ref{ID: c.ID}, Before: before}, after...)
}

func (b *builder) deleteL2Gateway(v *view, g *observed.L2Gateway, after ...string) string {
	d := map[string]any{"device_id": Ref{ID: g.DeviceID}}
	if g.VNI != 0 {
		d["segmentation_id"] = strconv.Itoa(int(g.VNI))
	}
	return b.add(v, "l2-gateway-delete:"+g.ID, Action{Op: Delete, Kind: L2Gateway, What: fmt.Sprintf("L2 gateway, VNI %d", g.VNI),
		Target: Ref{ID: g.ID}, Before: Attrs{"name": g.Name, "devices": []any{d}}}, after...)
}

// staleMACs removes the peering's rows of the remote MAC table that lead nowhere
// any more.
func (b *builder) staleMACs(v *view, w *siteWork) {
	for _, e := range b.ownMACs(v) {
		if b.wanted(v, e) {
			continue
		}
		if b.keep(v, e.site) {
			continue
		}
		w.unlisted = append(w.unlisted, b.deleteMAC(v, e))
	}
}

// wanted tells whether a row is as it should be.
func (b *builder) wanted(v *view, e ownMAC) bool {
	if e.VNI != b.plan.Choices.VNI || v.device == nil || e.DeviceID != v.device.ID {
		return false
	}
	for _, c := range b.plan.Choices.Sites {
		if c.Site != v.spec.Name && c.MAC.MAC == e.MAC.MAC {
			return c.TunnelIP == e.VTEP || !c.TunnelIP.IsValid()
		}
	}
	return false
}

func (b *builder) deleteMAC(v *view, e ownMAC, after ...string) string {
	return b.add(v, "remote-mac-delete:"+e.ID, Action{Op: Delete, Kind: RemoteMAC, Remote: e.site,
		What: fmt.Sprintf("remote MAC entry %s, VNI %d at %s", e.MAC, e.VNI, e.VTEP), Target: Ref{ID: e.ID}, Parent: Ref{ID: e.DeviceID},
		Before: Attrs{"mac_address": e.MAC.String(), "vtep_address": e.VTEP.String(), "segmentation_id": strconv.Itoa(int(e.VNI))}}, after...)
}

// ownMAC is a row of the remote MAC table that the peering made.
type ownMAC struct {
	observed.RemoteMAC
	site string
}

// ownMACs are the rows that are the peering's: those on the device and with the VNI of its
// connection whose MAC is that of a port with its mark, here or at the site
// that the port stands for.
func (b *builder) ownMACs(v *view) []ownMAC {
	type place struct {
		device string
		vni    model.VNI
	}
	places, devices := map[place]bool{}, map[string]bool{}
	for _, c := range v.conns {
		if g := v.obs.L2Gateway(c.L2GatewayID); g != nil {
			places[place{g.DeviceID, v.obs.VNIOf(c)}], devices[g.DeviceID] = true, true
		}
	}
	for _, g := range v.l2gws {
		places[place{g.DeviceID, g.VNI}], devices[g.DeviceID] = true, true
	}
	if len(devices) == 0 && v.device != nil {
		devices[v.device.ID] = true // somebody took the L2 gateway away
	}
	here := map[model.MAC]string{}
	for site, p := range v.remote {
		here[p.MAC.MAC] = site
	}
	for _, p := range v.stray {
		if site, _ := v.siteOf(p.Tags, p.Description); site != v.spec.Name {
			here[p.MAC.MAC] = site
		}
	}
	there := map[model.MAC]string{}
	for _, o := range b.views {
		if o != v && o.peer != nil {
			there[o.peer.MAC.MAC] = o.spec.Name
		}
	}
	var out []ownMAC
	for _, e := range v.obs.RemoteMACs {
		site, isHere := here[e.MAC.MAC]
		if !isHere {
			site = there[e.MAC.MAC]
		}
		if site != "" && e.VNI != 0 && (places[place{e.DeviceID, e.VNI}] || isHere && e.VNI == b.plan.Choices.VNI && devices[e.DeviceID]) {
			out = append(out, ownMAC{e, site})
		}
	}
	return out
}

// staleRoutes removes the peering's routes that no site advertises any more, or
// that lead to where a site is no longer.
func (b *builder) staleRoutes(v *view, w *siteWork) {
	var gone []observed.Route
	for _, r := range v.router.Routes {
		site := b.routeOf(v, r)
		if site == "" || b.keep(v, site) {
			continue
		}
		if c := b.choice[site]; c != nil && c.known() && r.NextHop == c.Address && c.advertises[r.Destination] {
			continue
		}
		gone = append(gone, r)
	}
	if len(gone) > 0 {
		w.unrouted = b.add(v, "routes-remove", Action{Op: RemoveRoutes, Kind: Router, What: named("peer router", v.router.Name, ""),
			Target: Ref{ID: v.router.ID}, Routes: gone})
	}
}

// routeOf is the site that a route of the peer router leads to, "" if it is not the
// peering's. A route is the peering's only if its next hop is the address of a port
// with its mark.
func (b *builder) routeOf(v *view, r observed.Route) string {
	if v.peer == nil || v.router == nil || v.peer.DeviceID != v.router.ID {
		return ""
	}
	return b.hops(v)[r.NextHop]
}

// hops are the next hops that lead to other sites.
func (b *builder) hops(v *view) map[netip.Addr]string {
	if v.hops != nil {
		return v.hops
	}
	out := map[netip.Addr]string{}
	for _, o := range b.views {
		if o != v && o.peer != nil {
			out[o.peer.Addr()] = o.spec.Name
		}
	}
	for _, p := range v.stray {
		if site, _ := v.siteOf(p.Tags, p.Description); site != v.spec.Name {
			out[p.Addr()] = site
		}
	}
	for site, p := range v.remote {
		out[p.Addr()] = site
	}
	maps.DeleteFunc(out, func(a netip.Addr, _ string) bool { return !b.spec.Network.CIDR.Contains(a) })
	v.hops = out
	return out
}
