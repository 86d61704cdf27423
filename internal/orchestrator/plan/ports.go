package plan

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/orchestrator/observed"
)

// remoteSiteOwner is spelled so that MidoNet knows it.
const remoteSiteOwner = "network:remote_site"

// strayPorts removes the ports of sites that are no longer in the file, and those
// that hold an address or a MAC that another port of the peering is to have. It
// returns the removals by the port's id.
func (b *builder) strayPorts(v *view, w *siteWork) map[string]string {
	gone := map[string]string{}
	remove := func(p *observed.Port) {
		if gone[p.ID] == "" {
			gone[p.ID] = b.deletePort(v, p, w.before()...)
		}
	}
	for _, p := range v.stray {
		if site, _ := v.siteOf(p.Tags, p.Description); site == v.spec.Name || !b.keep(v, site) {
			remove(p)
		}
	}
	for _, site := range sortedKeys(v.remote) {
		if b.spec.Site(site) == nil && !b.keep(v, site) {
			remove(v.remote[site])
		}
	}
	// Two sites that change places cannot both be updated: whoever comes first would
	// find the address taken. One is made anew. It is never the router's own port:
	// while routes need it, it cannot go.
	for _, c := range b.plan.Choices.Sites {
		mine := v.portFor(c.Site)
		for _, other := range b.plan.Choices.Sites {
			p := v.portFor(other.Site)
			if p == nil || p == mine || !c.known() || p.Addr() != c.Address && p.MAC.MAC != c.MAC.MAC || other.Site != v.spec.Name && b.keep(v, other.Site) {
				continue
			}
			site := other.Site
			if p == v.peer {
				site = c.Site // it waits until the router's own port has moved
			}
			if r := v.remote[site]; r != nil {
				remove(r)
				delete(v.remote, site)
			}
		}
	}
	return gone
}

// before are the actions that come before any change of a port: what is told by a
// port goes first, so that it can always be told.
func (w *siteWork) before() []string {
	return append(slices.Clone(w.unlisted), w.unrouted)
}

// deletePort takes a port away, from its router too.
func (b *builder) deletePort(v *view, p *observed.Port, after ...string) string {
	site, _ := v.siteOf(p.Tags, p.Description)
	a := Action{Op: Delete, Kind: Port, What: portWhat(v, site, p), Remote: otherThan(v, site), Target: Ref{ID: p.ID}, Before: portAttrs(p), Tags: ours(p.Tags)}
	if observed.OwnerRouterInterface(p.DeviceOwner) && p.DeviceID != "" {
		a.Op, a.Parent = Detach, Ref{ID: p.DeviceID}
	}
	return b.add(v, "port-delete:"+p.ID, a, after...)
}

// ours are the tags of a resource that are marks.
func ours(tags []string) []string {
	return slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return !observed.IsMark(t) })
}

func otherThan(v *view, site string) string {
	if site == v.spec.Name {
		return ""
	}
	return site
}

func portWhat(v *view, site string, p *observed.Port) string {
	addr := "without an address"
	if a := p.Addr(); a.IsValid() {
		addr = a.String()
	}
	if site == v.spec.Name {
		return fmt.Sprintf("peer router port %s, %s", addr, p.MAC)
	}
	return fmt.Sprintf("remote-site port of %s, %s, %s", site, addr, p.MAC)
}

// portAttrs are what it takes to make a port again.
func portAttrs(p *observed.Port) Attrs {
	ips := []any{}
	for _, ip := range p.IPs {
		ips = append(ips, map[string]any{"subnet_id": Ref{ID: ip.SubnetID}, "ip_address": ip.Addr.String()})
	}
	a := Attrs{"name": p.Name, "description": p.Description, "network_id": Ref{ID: p.NetworkID}, "fixed_ips": ips,
		"mac_address": p.MAC.String(), "admin_state_up": p.AdminStateUp}
	if !observed.OwnerRouterInterface(p.DeviceOwner) {
		a["device_owner"] = p.DeviceOwner
	}
	return a
}

func (b *builder) fixedIPs(w *siteWork, c *SiteChoice) []any {
	return []any{map[string]any{"subnet_id": w.subnet, "ip_address": c.Address.String()}}
}

// portChange is what must change of a port, and what it was.
func (b *builder) portChange(w *siteWork, p *observed.Port, c *SiteChoice) (now, before Attrs) {
	now, before = Attrs{}, Attrs{}
	if p.MAC.MAC != c.MAC.MAC {
		now["mac_address"], before["mac_address"] = c.MAC.String(), p.MAC.String()
	}
	if p.Addr() != c.Address {
		now["fixed_ips"], before["fixed_ips"] = b.fixedIPs(w, c), portAttrs(p)["fixed_ips"]
	}
	if !p.AdminStateUp {
		now["admin_state_up"], before["admin_state_up"] = true, false
	}
	return now, before
}

// peerPort plans the port by which the peer router is on the multi-site network.
func (b *builder) peerPort(v *view, w *siteWork, gone map[string]string) {
	c := b.choice[v.spec.Name]
	if !c.known() {
		return
	}
	before := w.before()
	for _, id := range sortedKeys(gone) {
		before = append(before, gone[id])
	}
	if v.peer != nil && v.peer.DeviceID != "" && v.peer.DeviceID != v.router.ID {
		// The file names another router than before.
		before = append(before, b.deletePort(v, v.peer, append(w.before(), b.formerRoutes(v))...))
		v.peer = nil
	}
	what := fmt.Sprintf("peer router port %s, %s", c.Address, c.MAC)
	name, tag := observed.NetworkName(v.peering, v.spec.Name), observed.Tag(v.peering, v.spec.Name)
	if v.peer == nil {
		made := b.add(v, "peer-port", Action{Op: Create, Kind: Port, What: what, Attrs: Attrs{
			"name": name, "description": tag, "network_id": w.network, "fixed_ips": b.fixedIPs(w, c), "mac_address": c.MAC.String(),
		}}, append(before, w.subnetMade, w.netMade)...)
		b.attachPort(v, what, Ref{From: made}, b.mark(v, "peer-port-mark", Port, what, "", Ref{From: made}, tag, made))
		w.peerMoved = made
		return
	}
	port, last := Ref{ID: v.peer.ID}, ""
	if _, tagged := v.siteOf(v.peer.Tags, v.peer.Description); !tagged {
		last = b.mark(v, "peer-port-mark", Port, what, "", port, tag, "")
	}
	if now, was := b.portChange(w, v.peer, c); len(now) > 0 {
		last = b.add(v, "peer-port-update", Action{Op: Update, Kind: Port, What: portWhat(v, v.spec.Name, v.peer), Target: port,
			Attrs: now, Before: was}, append(before, last, w.subnetMade)...)
		w.peerMoved = last
	}
	if v.peer.DeviceID == "" {
		b.attachPort(v, what, port, last)
		again := &b.plan.Actions[len(b.plan.Actions)-1]
		again.Before, again.Tags = portAttrs(v.peer), ours(v.peer.Tags)
	} else if last != "" {
		b.attach[v.spec.Name] = last
	}
}

// formerRoutes removes the peering's routes from a router that was the peer router
// before: while they are there, its port cannot go.
func (b *builder) formerRoutes(v *view) string {
	for i := range v.obs.FormerRouters {
		r := &v.obs.FormerRouters[i]
		if v.peer == nil || r.ID != v.peer.DeviceID {
			continue
		}
		var gone []observed.Route
		for _, x := range r.Routes {
			if b.hops(v)[x.NextHop] != "" {
				gone = append(gone, x)
			}
		}
		if len(gone) > 0 {
			return b.add(v, "former-routes-remove", Action{Op: RemoveRoutes, Kind: Router, What: named("former peer router", r.Name, ""), Target: Ref{ID: r.ID}, Routes: gone})
		}
	}
	return ""
}

func (b *builder) attachPort(v *view, what string, port Ref, after string) {
	b.attach[v.spec.Name] = b.add(v, "peer-port-attach", Action{Op: Attach, Kind: Port, What: what + " to " + named("router", v.router.Name, ""),
		Target: port, Parent: Ref{ID: v.router.ID}}, after)
}

// remotePort plans what a site has for another one: the port that tells its address
// and MAC, the row that tells where the MAC is, and the routes to its networks.
func (b *builder) remotePort(v *view, w *siteWork, site string, gone map[string]string) {
	c := b.choice[site]
	if b.keep(v, site) {
		return
	}
	before := w.before()
	for _, id := range sortedKeys(gone) {
		before = append(before, gone[id])
	}
	before = append(before, w.peerMoved)
	what := fmt.Sprintf("remote-site port of %s, %s, %s", site, c.Address, c.MAC)
	tag := observed.Tag(v.peering, site)
	p := v.remote[site]
	last := ""
	if p == nil {
		made := b.add(v, "remote-port:"+site, Action{Op: Create, Kind: Port, What: what, Remote: site, Attrs: Attrs{
			"name": "causeway-" + v.peering + "-" + site, "description": tag, "network_id": w.network, "fixed_ips": b.fixedIPs(w, c),
			"mac_address": c.MAC.String(), "device_owner": remoteSiteOwner,
		}}, append(before, w.subnetMade, w.netMade)...)
		last = b.mark(v, "remote-port-mark:"+site, Port, what, site, Ref{From: made}, tag, made)
	} else {
		if _, tagged := v.siteOf(p.Tags, p.Description); !tagged {
			last = b.mark(v, "remote-port-mark:"+site, Port, what, site, Ref{ID: p.ID}, tag, "")
		}
		now, was := b.portChange(w, p, c)
		if !isRemoteSite(p) {
			now["device_owner"], was["device_owner"] = remoteSiteOwner, p.DeviceOwner
		}
		if len(now) > 0 {
			last = b.add(v, "remote-port-update:"+site, Action{Op: Update, Kind: Port, What: portWhat(v, site, p), Remote: site,
				Target: Ref{ID: p.ID}, Attrs: now, Before: was}, append(before, last, w.subnetMade)...)
		}
	}
	listed := b.remoteMAC(v, w, site, last)
	b.routes(v, w, site, last, listed)
}

// remoteMAC adds the row of the remote MAC table. The port with the mark comes
// first: by it the row is told to be the peering's.
func (b *builder) remoteMAC(v *view, w *siteWork, site, port string) string {
	c, vni := b.choice[site], b.plan.Choices.VNI
	for _, e := range v.obs.RemoteMACs {
		if v.device != nil && e.DeviceID == v.device.ID && e.VNI == vni && e.MAC.MAC == c.MAC.MAC && e.VTEP == c.TunnelIP {
			return ""
		}
	}
	return b.add(v, "remote-mac:"+site, Action{Op: Create, Kind: RemoteMAC, Remote: site, Parent: w.device,
		What:  fmt.Sprintf("remote MAC entry %s, VNI %d at %s", c.MAC, vni, c.TunnelIP),
		Attrs: Attrs{"mac_address": c.MAC.String(), "vtep_address": c.TunnelIP.String(), "segmentation_id": strconv.Itoa(int(vni))},
	}, append(slices.Clone(w.unlisted), w.deviceMade, w.connMade, port)...)
}

// routes adds the routes to a site's networks, last of all, so that no packet takes
// a way that is not there yet.
func (b *builder) routes(v *view, w *siteWork, site, port, listed string) {
	c := b.choice[site]
	if v.routes == nil {
		v.routes = make(map[observed.Route]bool, len(v.router.Routes))
		for _, r := range v.router.Routes {
			v.routes[r] = true
		}
	}
	var missing []observed.Route
	for _, p := range c.Advertise {
		if r := (observed.Route{Destination: p, NextHop: c.Address}); !v.routes[r] && !b.withheld[behind{site, p}] {
			missing = append(missing, r)
		}
	}
	if len(missing) > 0 {
		b.add(v, "routes:"+site, Action{Op: AddRoutes, Kind: Router, What: named("peer router", v.router.Name, ""), Remote: site,
			Target: Ref{ID: v.router.ID}, Routes: missing}, w.unrouted, b.attach[v.spec.Name], port, listed, w.connMade)
	}
}

// joinSites lets the routes to a site wait for that site's router to be there.
func (b *builder) joinSites() {
	for i := range b.plan.Actions {
		a := &b.plan.Actions[i]
		if a.Op != AddRoutes {
			continue
		}
		if id := b.attach[a.Remote]; id != "" && !slices.Contains(a.After, id) {
			a.After = append(a.After, id)
		}
	}
}

func isRemoteSite(p *observed.Port) bool { return model.IsRemoteSiteOwner(p.DeviceOwner) }
