package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// view is one site as a peering sees it: what of it is the peering's own.
type view struct {
	peering string
	vni     model.VNI // that the file says; 0: none
	spec    *peering.Site
	obs     *observed.Site
	// down tells that the site did not answer: nothing is known of it.
	down   bool
	router *observed.Router // the peer router; nil unless there is exactly one
	device *observed.Device // nil if missing, ambiguous or yet to be made
	vtep   *observed.Router // of a device that is the peering's to make; nil if it is yet to be made
	nets   []*observed.Network
	net    *observed.Network // the first of nets
	subnet *observed.Subnet
	peer   *observed.Port
	remote map[string]*observed.Port // by site
	stray  []*observed.Port          // the peering's, and of no use
	// foreign are other people's ports on the multi-site network.
	foreign []*observed.Port
	l2gws   []*observed.L2Gateway
	conns   []*observed.Connection
	// foreignConns put the multi-site network on L2 gateways of other people.
	foreignConns []*observed.Connection
	// hops are the next hops that lead to other sites, and routes what the router
	// has; both are filled when first asked for.
	hops   map[netip.Addr]string
	routes map[observed.Route]bool
}

func newView(p *peering.Peering, spec *peering.Site, obs *observed.Site) *view {
	v := &view{peering: p.Name, vni: p.Network.VNI, spec: spec, obs: obs, remote: map[string]*observed.Port{}}
	if obs == nil || obs.Problem != nil {
		v.down = true
		return v
	}
	if len(obs.Routers) == 1 {
		v.router = &obs.Routers[0]
	}
	v.vtep = GatewayRouter(obs)
	v.device = FindDevice(spec, obs)
	v.findNetworks()
	v.findPorts()
	v.findL2()
	return v
}

// FindDevice is the gateway device of a site, nil if there is none or not exactly one.
func FindDevice(spec *peering.Site, obs *observed.Site) *observed.Device {
	if spec.Gateway.Make() {
		if r := GatewayRouter(obs); r != nil {
			return deviceOn(obs, r.ID)
		}
		return nil
	}
	if found := devicesNamed(spec, obs); len(found) == 1 {
		return obs.Device(found[0].ID)
	}
	return nil
}

func deviceOn(obs *observed.Site, routerID string) *observed.Device {
	i := slices.IndexFunc(obs.Devices, func(d observed.Device) bool { return d.RouterID == routerID })
	if i < 0 {
		return nil
	}
	return &obs.Devices[i]
}

// GatewayRouter is the router that the gateway device is, or is to be, on; nil if
// there is none, or nobody can say which. Of several that were all made for peerings
// (two runs may have met, or an answer was lost) it is the one in use.
func GatewayRouter(obs *observed.Site) *observed.Router {
	var best *observed.Router
	score := func(r *observed.Router) int {
		n := len(observed.Users(r.Tags))
		if deviceOn(obs, r.ID) != nil {
			n += 1000
		}
		return n
	}
	for i := range obs.GatewayRouters {
		r := &obs.GatewayRouters[i]
		if len(obs.GatewayRouters) > 1 && r.Description != observed.GatewayMark {
			return nil
		}
		if best == nil || score(r) > score(best) || score(r) == score(best) && r.ID < best.ID {
			best = r
		}
	}
	return best
}

// spareRouters are VTEP routers that were made for peerings and that nobody uses.
func (v *view) spareRouters() []*observed.Router {
	var out []*observed.Router
	for i := range v.obs.GatewayRouters {
		if r := &v.obs.GatewayRouters[i]; v.vtep != nil && r != v.vtep && deviceOn(v.obs, r.ID) == nil && len(observed.Users(r.Tags)) == 0 {
			out = append(out, r)
		}
	}
	return out
}

func devicesNamed(spec *peering.Site, obs *observed.Site) []observed.Device {
	return observed.ByNameOrID(obs.Devices, func(d observed.Device) (string, string) { return d.ID, d.Name }, spec.Gateway.Device)
}

// ownDevice tells whether the gateway device was made for peerings.
func (v *view) ownDevice() bool {
	return v.device != nil && strings.HasPrefix(v.device.Name, observed.GatewayMark)
}

// ownVTEP tells whether the VTEP router was made for peerings.
func (v *view) ownVTEP() bool {
	return v.vtep != nil && v.vtep.Description == observed.GatewayMark
}

// tunnelIP is the address that the other sites send to.
func (v *view) tunnelIP() netip.Addr {
	switch {
	case v.spec.Gateway.Make():
		return v.spec.Gateway.TunnelIP
	case v.device != nil:
		return v.device.TunnelIP()
	}
	return netip.Addr{}
}

// siteOf is the site that a mark of this peering names.
func (v *view) siteOf(tags []string, description string) (site string, tagged bool) {
	return observed.SiteOfTag(v.peering, tags, description)
}

// findNetworks finds the networks with the peering's mark. There is more than one
// only where a request that was thought lost was not; the one that is used most is
// the one.
func (v *view) findNetworks() {
	for i := range v.obs.Networks {
		n := &v.obs.Networks[i]
		if site, _ := v.siteOf(n.Tags, n.Description); site == v.spec.Name {
			v.nets = append(v.nets, n)
		}
	}
	score := func(n *observed.Network) int {
		s := 0
		for _, p := range v.obs.Ports {
			if p.NetworkID != n.ID {
				continue
			}
			s += 2
			if v.router != nil && p.DeviceID == v.router.ID {
				s += 10000
			}
		}
		for _, c := range v.obs.Connections {
			if c.NetworkID == n.ID {
				s += 1000
			}
		}
		if _, tagged := v.siteOf(n.Tags, n.Description); tagged {
			s++
		}
		return s
	}
	slices.SortFunc(v.nets, func(a, b *observed.Network) int {
		return cmp.Or(cmp.Compare(score(b), score(a)), cmp.Compare(a.ID, b.ID))
	})
	if len(v.nets) == 0 {
		return
	}
	v.net = v.nets[0]
}

// isOwn tells whether a network is the peering's.
func (v *view) isOwn(networkID string) bool {
	return slices.ContainsFunc(v.nets, func(n *observed.Network) bool { return n.ID == networkID })
}

func (v *view) findPorts() {
	if v.net == nil {
		return
	}
	var mine []*observed.Port
	for i := range v.obs.Ports {
		p := &v.obs.Ports[i]
		if p.NetworkID != v.net.ID {
			continue
		}
		if site, _ := v.siteOf(p.Tags, p.Description); site != "" {
			mine = append(mine, p)
		} else {
			v.foreign = append(v.foreign, p)
		}
	}
	attached := func(p *observed.Port) int {
		if p.DeviceID != "" {
			return 0
		}
		return 1
	}
	slices.SortFunc(mine, func(a, b *observed.Port) int {
		return cmp.Or(cmp.Compare(attached(a), attached(b)), cmp.Compare(a.ID, b.ID))
	})
	for _, p := range mine {
		site, _ := v.siteOf(p.Tags, p.Description)
		switch {
		case site == v.spec.Name && v.peer == nil:
			v.peer = p
		case site != v.spec.Name && v.remote[site] == nil:
			v.remote[site] = p
		default:
			v.stray = append(v.stray, p)
		}
	}
}

// findL2 finds L2 gateways and connections. An L2 gateway is the peering's by its
// name; one that was made by hand and taken over, by its connection to a network
// that was taken over (see tookOver).
func (v *view) findL2() {
	name := observed.Tag(v.peering, v.spec.Name)
	own := map[string]bool{}
	for i := range v.obs.L2Gateways {
		if g := &v.obs.L2Gateways[i]; g.Name == name {
			own[g.ID] = true
		}
	}
	for i := range v.obs.Connections {
		c := &v.obs.Connections[i]
		if !v.isOwn(c.NetworkID) {
			continue
		}
		if own[c.L2GatewayID] || c == v.tookOver(v.obs.Network(c.NetworkID), own) {
			own[c.L2GatewayID] = true
			v.conns = append(v.conns, c)
		} else {
			v.foreignConns = append(v.foreignConns, c)
		}
	}
	for i := range v.obs.L2Gateways {
		if g := &v.obs.L2Gateways[i]; own[g.ID] {
			v.l2gws = append(v.l2gws, g)
		}
	}
	byID := func(a, b *observed.L2Gateway) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(v.l2gws, byID)
	slices.SortFunc(v.conns, func(a, b *observed.Connection) int { return cmp.Compare(a.ID, b.ID) })
}

// tookOver is the connection of a network that was taken over which leads to the other sites;
// nil if there is none, or nobody can say which. Such a network does not have the description of
// one that was made. There may be others on it: a VLAN of the site's, or a VNI to somebody else.
func (v *view) tookOver(n *observed.Network, made map[string]bool) *observed.Connection {
	if n.Description == observed.Tag(v.peering, v.spec.Name) {
		return nil
	}
	var found []*observed.Connection
	for i := range v.obs.Connections {
		c := &v.obs.Connections[i]
		g := v.obs.L2Gateway(c.L2GatewayID)
		if c.NetworkID != n.ID || g == nil {
			continue
		}
		if made[g.ID] && g.Name == observed.Tag(v.peering, v.spec.Name) {
			return nil // it was made anew since
		}
		if d := v.obs.Device(g.DeviceID); d == nil || d.Type == routerVTEP {
			found = append(found, c)
		}
	}
	narrow := func(fits func(deviceID string, vni model.VNI) bool) {
		var fit []*observed.Connection
		for _, c := range found {
			if fits(v.obs.L2Gateway(c.L2GatewayID).DeviceID, v.obs.VNIOf(c)) {
				fit = append(fit, c)
			}
		}
		if len(fit) > 0 {
			found = fit
		}
	}
	narrow(func(deviceID string, vni model.VNI) bool {
		return slices.ContainsFunc(v.obs.RemoteMACs, func(e observed.RemoteMAC) bool {
			return e.DeviceID == deviceID && e.VNI == vni && slices.ContainsFunc(slices.Collect(maps.Values(v.remote)), func(p *observed.Port) bool { return p.MAC.MAC == e.MAC.MAC })
		})
	})
	narrow(func(deviceID string, _ model.VNI) bool { return v.device != nil && deviceID == v.device.ID })
	narrow(func(_ string, vni model.VNI) bool { return vni == v.vni })
	if len(found) != 1 {
		return nil
	}
	return found[0]
}

// formerName is the name of the site of the peering that the router is on the network of, where it
// is not this one.
func (v *view) formerName() string {
	for _, p := range v.obs.Interfaces {
		n := v.obs.Network(p.NetworkID)
		if n == nil {
			continue
		}
		if site, _ := v.siteOf(n.Tags, n.Description); site != "" && site != v.spec.Name {
			return site
		}
	}
	return ""
}

// subnetOf finds the multi-site subnet on the network.
func (v *view) subnetOf(cidr netip.Prefix) *observed.Subnet {
	if v.net == nil {
		return nil
	}
	for i := range v.obs.Subnets {
		if s := &v.obs.Subnets[i]; s.NetworkID == v.net.ID && s.CIDR == cidr {
			return s
		}
	}
	return nil
}

// prefixOf is a network behind a router, with the subnet that it is.
type prefixOf struct {
	prefix netip.Prefix
	subnet *observed.Subnet // nil: the file says so
}

func (p prefixOf) String() string {
	if p.subnet == nil {
		return p.prefix.String() + " (advertised by the file)"
	}
	return p.prefix.String() + " (" + named("subnet", p.subnet.Name, p.subnet.ID) + ")"
}

// connected are the networks on the peer router other than the peering's own and
// those that lead out of the site.
func (v *view) connected() []prefixOf {
	if v.router == nil {
		return nil
	}
	var out []prefixOf
	for _, port := range v.obs.Interfaces {
		if !observed.OwnerRouterInterface(port.DeviceOwner) || v.isOwn(port.NetworkID) {
			continue
		}
		for _, ip := range port.IPs {
			if s := v.obs.Subnet(ip.SubnetID); s != nil && s.CIDR.Addr().Is4() {
				out = append(out, prefixOf{s.CIDR, s})
			}
		}
	}
	slices.SortFunc(out, func(a, b prefixOf) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	return out
}

// advertised is what the other sites reach by this one.
func (v *view) advertised(cidr netip.Prefix) []prefixOf {
	if v.spec.Advertise != nil {
		var out []prefixOf
		for _, p := range v.spec.Advertise {
			out = append(out, prefixOf{prefix: p})
		}
		return out
	}
	var out []prefixOf
	for _, c := range v.connected() {
		n := v.obs.Network(c.subnet.NetworkID)
		if n != nil && (n.External || n.Type == uplink || observed.AnyPeering(n.Tags, n.Description)) || c.prefix == cidr {
			continue
		}
		out = append(out, c)
	}
	return out
}

// setsMTU tells whether the MTU of a network can be chosen at the site.
func (v *view) setsMTU() bool {
	return v.obs.Extensions == nil || v.obs.Extensions["net-mtu-writable"]
}

// uplink is the provider:network_type of a network that leads to the underlay.
const uplink = "uplink"

// vnisInUse are the VNIs that a gateway device has already, with who has each.
func (v *view) vnisInUse() map[model.VNI]string {
	out := map[model.VNI]string{}
	if v.device == nil {
		return out
	}
	for i := range v.obs.Connections {
		c := &v.obs.Connections[i]
		g := v.obs.L2Gateway(c.L2GatewayID)
		if g == nil || g.DeviceID != v.device.ID || slices.Contains(v.conns, c) {
			continue
		}
		out[v.obs.VNIOf(c)] = named("L2 gateway", g.Name, g.ID)
	}
	return out
}

// named is how messages call a resource.
func named(what, name, id string) string {
	switch {
	case name != "" && id != "":
		return what + " " + name + " (" + id + ")"
	case name != "":
		return what + " " + name
	}
	return what + " " + id
}
