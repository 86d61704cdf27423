package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
)

// check finds what stands in the way, all of it.
func (b *builder) check() {
	b.checkStanding()
	for _, v := range b.views {
		if v.down {
			b.checkDown(v)
			continue
		}
		if b.checkName(v) {
			continue // all else follows from it
		}
		b.checkRouter(v)
		b.checkGateway(v)
		b.checkNetwork(v)
		b.checkTaken(v)
		b.checkRoutes(v)
	}
	b.checkTunnelIPs()
	b.checkSameRouter()
	b.checkChoices()
	b.checkOverlaps()
}

func (b *builder) checkDown(v *view) {
	p := Problem{Site: v.spec.Name, Text: "nothing was asked of it", Hint: ""}
	if v.obs != nil && v.obs.Problem != nil {
		p.Text, p.Hint = v.obs.Problem.Text, v.obs.Problem.Hint
	}
	if b.opts.WithoutDown {
		b.warn(p)
		return
	}
	b.block(p)
}

// checkName refuses a site that has another name at the sites than in the file.
func (b *builder) checkName(v *view) bool {
	was := v.formerName()
	if was == "" || b.spec.Site(was) != nil {
		return false
	}
	b.block(Problem{Site: v.spec.Name, Resource: named("router", v.router.Name, v.router.ID),
		Text: fmt.Sprintf("it is on the network of site %s of this peering, which the file does not have", was),
		Hint: "A site keeps its name while it is peered. Call it that again; or take it away with the former file first: causeway peer destroy --site " + was + "."})
	return true
}

// checkOne refuses a name that means nothing, or several things.
func (b *builder) checkOne(v *view, what, name string, ids []string) bool {
	switch len(ids) {
	case 0:
		b.block(Problem{Site: v.spec.Name, Resource: what + " " + name, Text: "there is none with this name or id",
			Hint: "Make it, or correct the file. An account of another project may not see it."})
	case 1:
		return true
	default:
		slices.Sort(ids)
		b.block(Problem{Site: v.spec.Name, Resource: what + " " + name, Text: fmt.Sprintf("the name is ambiguous: %s", strings.Join(ids, ", ")),
			Hint: "Write the id in the file."})
	}
	return false
}

func routerIDs(rs []observed.Router) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.ID)
	}
	return out
}

func (b *builder) checkRouter(v *view) {
	if !b.checkOne(v, "router", v.spec.Router, routerIDs(v.obs.Routers)) {
		return
	}
	name := named("router", v.router.Name, v.router.ID)
	b.checkFound(v, name)
	b.checkDisabled(v)
	for _, c := range v.connected() {
		// One with the same CIDR is looked at by checkStanding.
		if c.prefix != b.spec.Network.CIDR && c.prefix.Overlaps(b.spec.Network.CIDR) {
			b.block(Problem{Site: v.spec.Name, Resource: name, Text: fmt.Sprintf("its network %s overlaps with the peering's own %s", c, b.spec.Network.CIDR),
				Hint: "Choose another cidr for the peering."})
		}
	}
	for _, p := range v.spec.Advertise {
		if !slices.ContainsFunc(v.connected(), func(c prefixOf) bool {
			return c.prefix.Bits() >= p.Bits() && p.Overlaps(c.prefix) || c.prefix.Overlaps(p)
		}) &&
			!slices.ContainsFunc(v.router.Routes, func(r observed.Route) bool { return r.Destination.Overlaps(p) }) {
			b.warn(Problem{Site: v.spec.Name, Resource: name, Text: fmt.Sprintf("it is to be advertised for %s and has no way there itself", p),
				Hint: "Connect it to that network, or take the line out of advertise."})
		}
	}
}

func (b *builder) checkGateway(v *view) {
	g := v.spec.Gateway
	if g.Make() {
		if v.vtep == nil && len(v.obs.GatewayRouters) > 1 {
			b.checkOne(v, "router", g.Router, routerIDs(v.obs.GatewayRouters))
			return
		}
		for _, d := range v.obs.Devices {
			if slices.Contains(d.TunnelIPs, g.TunnelIP) && (v.device == nil || d.ID != v.device.ID) {
				b.block(Problem{Site: v.spec.Name, Resource: named("gateway device", d.Name, d.ID), Text: fmt.Sprintf("it has the tunnel IP %s", g.TunnelIP),
					Hint: "Name this device as the gateway, or choose another tunnelIP."})
			}
		}
		if v.device == nil {
			return
		}
		if ip := v.device.TunnelIP(); ip != g.TunnelIP && !v.ownDevice() {
			b.block(Problem{Site: v.spec.Name, Resource: named("gateway device", v.device.Name, v.device.ID),
				Text: fmt.Sprintf("it is on router %s already, with tunnel IP %s, not %s", v.vtep.Name, ip, g.TunnelIP),
				Hint: "Name this device as the gateway, or correct tunnelIP."})
			return
		}
		uses := observed.UsesTag(v.peering, v.spec.Name)
		if ip := v.device.TunnelIP(); ip != g.TunnelIP {
			for _, t := range observed.Users(v.vtep.Tags) {
				if t != uses {
					b.block(Problem{Site: v.spec.Name, Resource: named("gateway device", v.device.Name, v.device.ID),
						Text: fmt.Sprintf("its tunnel IP is %s, not %s, and peering %s uses it too", ip, g.TunnelIP, observed.UserOf(t)),
						Hint: "Correct tunnelIP. To change it, change it in the files of all that use it, and set it with: causeway gateway-device update --tunnel-ip " + g.TunnelIP.String() + "."})
					break
				}
			}
		}
		if !v.ownDevice() && (v.ownVTEP() || slices.Contains(v.vtep.Tags, uses)) {
			b.warn(Problem{Site: v.spec.Name, Resource: named("gateway device", v.device.Name, v.device.ID),
				Text: fmt.Sprintf("it is not called %s any more, so that destroy will leave it", observed.DeviceName(v.vtep.Name)),
				Hint: "Give it that name again if it is to go with the peering."})
		}
	} else {
		var ids []string
		for _, d := range devicesNamed(v.spec, v.obs) {
			ids = append(ids, d.ID)
		}
		if !b.checkOne(v, "gateway device", g.Device, ids) {
			return
		}
	}
	name := named("gateway device", v.device.Name, v.device.ID)
	switch {
	case v.device.Type == "network_vlan":
		b.block(Problem{Site: v.spec.Name, Resource: name, Text: "it is of type network_vlan, which has no tunnel to other sites", Hint: "Use a gateway device of type router_vtep."})
	case !v.device.TunnelIP().IsValid():
		b.block(Problem{Site: v.spec.Name, Resource: name, Text: "it has no tunnel IP", Hint: "Give it one with: causeway gateway-device update --tunnel-ip."})
	case !v.device.TunnelIP().Is4():
		b.block(Problem{Site: v.spec.Name, Resource: name, Text: fmt.Sprintf("its tunnel IP %s is no IPv4 address", v.device.TunnelIP()), Hint: "Tunnels run over IPv4 so far."})
	}
	if holder, used := v.vnisInUse()[b.plan.Choices.VNI]; used && !b.standsVNI(v, v.device.ID, b.plan.Choices.VNI) {
		b.block(Problem{Site: v.spec.Name, Resource: name, Text: fmt.Sprintf("VNI %d is in use on it by %s", b.plan.Choices.VNI, holder),
			Hint: "Choose another vni, or leave it out to have one chosen."})
	}
}

func (b *builder) checkNetwork(v *view) {
	if most := v.carries(); b.spec.Network.MTU != 0 && most != 0 && b.spec.Network.MTU > most {
		b.block(Problem{Site: v.spec.Name, Text: fmt.Sprintf("an mtu of %d does not fit: the networks of the site carry %d", b.spec.Network.MTU, most),
			Hint: "Leave mtu out, or choose one that fits every site."})
	} else if b.plan.Choices.MTU != 0 && most > b.plan.Choices.MTU {
		b.warn(Problem{Site: v.spec.Name, Text: fmt.Sprintf("its networks carry packets of %d bytes, the peering %d", most, b.plan.Choices.MTU),
			Hint: "Larger packets are answered with \"fragmentation needed\"; nothing is to be done where hosts heed that."})
	}
	if mtu := b.plan.Choices.MTU; !v.setsMTU() && mtu != 0 {
		if has := v.carries(); has > mtu || v.net != nil && v.net.MTU > mtu {
			b.warn(Problem{Site: v.spec.Name, Text: fmt.Sprintf("the multi-site network takes packets of up to %d bytes there, and of %d elsewhere; the API cannot change that", max(has, mtuOf(v.net)), mtu),
				Hint: "Larger packets are lost unless the site's tunnels or hosts are given the smaller MTU."})
		}
	}
	if v.net == nil {
		return
	}
	for _, s := range v.obs.Subnets {
		if s.NetworkID == v.net.ID && s.CIDR != b.spec.Network.CIDR {
			b.block(Problem{Site: v.spec.Name, Resource: named("network", v.net.Name, v.net.ID),
				Text: fmt.Sprintf("it has the subnet %s, and the file says %s", s.CIDR, b.spec.Network.CIDR),
				Hint: "The CIDR of a peering cannot be changed while it is there: causeway peer destroy, then apply."})
		}
	}
	for _, c := range v.foreignConns {
		b.warn(Problem{Site: v.spec.Name, Resource: "L2 gateway connection " + c.ID, Text: "it puts the multi-site network on an L2 gateway that the peering did not make",
			Hint: "Remove it, unless it is wanted; destroy needs it gone."})
	}
}

// checkTaken looks for other people's ports and rows where the peering's are to be.
func (b *builder) checkTaken(v *view) {
	for _, p := range v.foreign {
		for _, c := range b.plan.Choices.Sites {
			switch {
			case c.Address.IsValid() && slices.ContainsFunc(p.IPs, func(ip observed.IP) bool { return ip.Addr == c.Address }):
				b.taken(v, p, "address "+c.Address.String(), c.Site)
			case !c.MAC.IsZero() && p.MAC.MAC == c.MAC.MAC:
				b.taken(v, p, "MAC "+c.MAC.String(), c.Site)
			}
		}
	}
	if v.device == nil {
		return
	}
	own := map[string]bool{}
	for _, e := range b.ownMACs(v) {
		own[e.ID] = true
	}
	for _, e := range v.obs.RemoteMACs {
		if e.DeviceID != v.device.ID || e.VNI != b.plan.Choices.VNI || own[e.ID] || b.standsVNI(v, e.DeviceID, e.VNI) {
			continue
		}
		for _, c := range b.plan.Choices.Sites {
			if c.Site != v.spec.Name && !c.MAC.IsZero() && c.MAC.MAC == e.MAC.MAC {
				b.block(Problem{Site: v.spec.Name, Remote: c.Site, Resource: named("gateway device", v.device.Name, v.device.ID),
					Text: fmt.Sprintf("its remote MAC table has %s, VNI %d at %s already, and not by this peering", e.MAC, e.VNI, e.VTEP),
					Hint: "Remove that entry, or give site " + c.Site + " another mac."})
			}
		}
	}
}

func (b *builder) taken(v *view, p *observed.Port, what, site string) {
	b.block(Problem{Site: v.spec.Name, Remote: otherThan(v, site), Resource: named("port", p.Name, p.ID),
		Text: fmt.Sprintf("it has the %s on the multi-site network, which is to be site %s's", what, site),
		Hint: "Remove the port, choose another value in the file, or take a hand-made peering over with: causeway peer adopt."})
}

// checkRoutes looks for routes of others to what other sites advertise.
func (b *builder) checkRoutes(v *view) {
	if v.router == nil {
		return
	}
	wanted := map[netip.Prefix]string{}
	for _, c := range b.plan.Choices.Sites {
		if c.Site != v.spec.Name {
			for _, p := range c.Advertise {
				wanted[p] = c.Site
			}
		}
	}
	for _, r := range v.router.Routes {
		site, ok := wanted[r.Destination]
		if !ok || b.routeOf(v, r) != "" || b.standsRoute(v, r.NextHop) {
			continue
		}
		if c := b.choice[site]; c != nil && v.peer != nil && r.NextHop == c.Address {
			continue // ours, and its remote-site port is what is missing
		}
		b.block(Problem{Site: v.spec.Name, Remote: site, Resource: named("router", v.router.Name, v.router.ID),
			Text: fmt.Sprintf("its route to %s by %s is in the way of site %s's", r.Destination, r.NextHop, site),
			Hint: "Remove the route, or leave the network out of " + site + "'s advertise."})
	}
}

func (b *builder) checkTunnelIPs() {
	seen := map[netip.Addr]string{}
	for _, v := range b.views {
		ip := v.tunnelIP()
		if !ip.IsValid() {
			continue
		}
		if other := seen[ip]; other != "" {
			b.block(Problem{Site: v.spec.Name, Remote: other, both: true, Text: fmt.Sprintf("its tunnel IP %s is that of site %s too", ip, other),
				Hint: "Each site needs a gateway device with a tunnel IP of its own."})
		}
		seen[ip] = v.spec.Name
	}
}

// checkSameRouter refuses two sites that are one.
func (b *builder) checkSameRouter() {
	seen := map[string]string{}
	for _, v := range b.views {
		if v.router == nil {
			continue
		}
		if other := seen[v.obs.Endpoint+" "+v.router.ID]; other != "" {
			b.block(Problem{Site: v.spec.Name, Remote: other, both: true, Resource: named("router", v.router.Name, v.router.ID), Text: fmt.Sprintf("it is the peer router of site %s too", other),
				Hint: "A router needs no peering with itself; correct the file."})
		}
		seen[v.obs.Endpoint+" "+v.router.ID] = v.spec.Name
	}
}

func (b *builder) checkChoices() {
	addrs, macs := map[netip.Addr]string{}, map[model.MAC]string{}
	for _, c := range b.plan.Choices.Sites {
		if other := addrs[c.Address]; c.Address.IsValid() && other != "" {
			b.block(Problem{Site: c.Site, Remote: other, both: true, Text: fmt.Sprintf("its address %s is that of site %s too", c.Address, other), Hint: "Give each site an address of its own."})
		}
		if other := macs[c.MAC.MAC]; !c.MAC.IsZero() && other != "" {
			b.block(Problem{Site: c.Site, Remote: other, both: true, Text: fmt.Sprintf("its MAC %s is that of site %s too", c.MAC, other), Hint: "Give each site a MAC of its own."})
		}
		addrs[c.Address], macs[c.MAC.MAC] = c.Site, c.Site
		if c.MAC.IsGroup() {
			b.warn(Problem{Site: c.Site, Text: fmt.Sprintf("its MAC %s has the group bit", c.MAC), Hint: "It works between Causeway's sites; others may flood such frames."})
		}
	}
}

// checkOverlaps compares the networks behind every two sites.
func (b *builder) checkOverlaps() {
	type behindSite struct {
		prefixOf
		site string
		// only tells that the network is not advertised: it is in the way of others
		// all the same.
		only bool
	}
	var all []behindSite
	for _, v := range b.views {
		adv := v.advertised(b.plan.Choices.CIDR)
		for _, p := range adv {
			all = append(all, behindSite{p, v.spec.Name, false})
			if p.prefix.Bits() != 0 && p.prefix.Overlaps(b.spec.Network.CIDR) && p.subnet == nil {
				b.block(Problem{Site: v.spec.Name, Text: fmt.Sprintf("%s overlaps with the peering's own %s", p, b.spec.Network.CIDR), Hint: "Correct advertise, or choose another cidr."})
			}
		}
		for _, c := range v.connected() {
			if !slices.ContainsFunc(adv, func(p prefixOf) bool { return p.prefix == c.prefix }) {
				all = append(all, behindSite{c, v.spec.Name, true})
			}
		}
	}
	// In the order of addresses, a network overlaps only with those that begin
	// inside it.
	slices.SortStableFunc(all, func(a, b behindSite) int {
		if c := a.prefix.Addr().Compare(b.prefix.Addr()); c != 0 {
			return c
		}
		return a.prefix.Bits() - b.prefix.Bits()
	})
	for i, a := range all {
		if a.prefix.Bits() == 0 {
			continue // a default route gives way to all others
		}
		for _, o := range all[i+1:] {
			if !a.prefix.Overlaps(o.prefix) {
				break
			}
			if a.site == o.site || a.only && o.only {
				continue
			}
			if !a.only && !o.only {
				b.clashes = append(b.clashes, [2]behind{{a.site, a.prefix}, {o.site, o.prefix}})
			}
			b.block(Problem{Site: o.site, Remote: a.site, Text: fmt.Sprintf("%s overlaps with %s of site %s", o, a, a.site),
				Hint: "Networks that are to reach each other need addresses of their own; leave one out of advertise if it need not."})
		}
	}
}

func mtuOf(n *observed.Network) int {
	if n == nil {
		return 0
	}
	return n.MTU
}
