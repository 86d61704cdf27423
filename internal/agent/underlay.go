package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// vtep is a remote VTEP as seen from one of our tunnel IPs.
type vtep struct{ local, remote netip.Addr }

// defaultPathMTU is what the maps hold for a VTEP whose path is not known.
const defaultPathMTU = 1500

// want of the state's gateway devices on the host's network.
func (a *Agent) gatewayNeeds() (ips []netip.Addr, routers []hostnet.VTEPRouter) {
	for id, g := range a.state.Gateways {
		ips = append(ips, g.TunnelIP)
		if len(g.Uplinks) == 0 {
			continue
		}
		r := hostnet.VTEPRouter{ID: string(id), TunnelIP: g.TunnelIP}
		for _, u := range g.Uplinks {
			if !u.Down {
				r.Uplinks = append(r.Uplinks, hostnet.Uplink{Interface: u.Interface, Addr: u.Addr})
			}
		}
		for _, rt := range g.Routes {
			r.Routes = append(r.Routes, hostnet.Route{Prefix: rt.Prefix, NextHop: rt.NextHop})
		}
		routers = append(routers, r)
	}
	return ips, routers
}

// gateways brings up the tunnel IPs and the routing tables of VTEP routers.
func (a *Agent) gateways(t *agenda) error {
	ips, routers := a.gatewayNeeds()
	// Routers first: a tunnel IP that is an uplink's address belongs on the uplink.
	err := errors.Join(a.host.AddVTEPRouters(routers), a.host.AddTunnelIPs(ips))
	for id := range a.env.Tables {
		if _, ok := a.state.Gateways[id]; !ok {
			delete(a.env.Tables, id)
		}
	}
	for id, g := range a.state.Gateways {
		table := hostnet.TableMain
		if len(g.Uplinks) > 0 {
			n, terr := a.host.Table(string(id))
			if terr != nil {
				err = errors.Join(err, terr)
				continue
			}
			table = n
		}
		if a.env.Tables[id] == uint32(table) {
			continue
		}
		a.env.Tables[id] = uint32(table)
		a.touchRemotes(t, func(e hoststate.Endpoint) bool { return e.Gateway == id })
	}
	a.changedUplinks = true
	return err
}

// prune takes away what the state no longer needs on the host's network. Rows
// do not point at it any more.
func (a *Agent) prune() error {
	ips, routers := a.gatewayNeeds()
	return errors.Join(
		a.host.PruneTunnelIPs(ips),
		a.host.PruneVTEPRouters(routers),
		a.host.ForgetTables(func(id string) bool { _, ok := a.state.Gateways[model.GatewayDeviceID(id)]; return ok }),
	)
}

// touchRemotes puts the rows of remote VTEPs for which is holds among those to be
// written.
func (a *Agent) touchRemotes(t *agenda, is func(hoststate.Endpoint) bool) {
	if t.full {
		return
	}
	for k, e := range a.state.Endpoints {
		if e.Kind == hoststate.EndpointRemote && is(e) {
			t.setEndpoint(k, e)
		}
	}
}

// paths asks the kernel how large a packet each VTEP's path takes, and by which
// interface it goes.
func (a *Agent) paths(t *agenda) error {
	carried := maps.Clone(a.carriers)
	defer func() {
		if !maps.Equal(carried, a.carriers) {
			t.underlay = true // the MTU that is reported is theirs
		}
	}()
	if t.paths {
		a.vteps = map[vtep]struct{}{}
		for _, e := range a.state.Endpoints {
			if e.Kind == hoststate.EndpointRemote {
				a.vteps[vtep{e.TunnelIP, e.Addr}] = struct{}{}
			}
		}
		a.carriers = map[int]int{}
	}
	mtus := map[netip.Addr]int{}
	var errs []error
	for v := range a.vteps {
		if _, ok := t.vteps[v.remote]; !ok && !t.paths {
			continue
		}
		p, ok, err := a.host.Path(v.local, v.remote)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !ok {
			continue
		}
		a.carriers[p.Index] = p.LinkMTU
		// From two tunnel IPs there may be two ways: what is sent must pass both.
		if m, ok := mtus[v.remote]; !ok || p.MTU < m {
			mtus[v.remote] = p.MTU
		}
	}
	mtuOf := func(m map[netip.Addr]int, ip netip.Addr) int {
		if n, ok := m[ip]; ok {
			return n
		}
		return defaultPathMTU
	}
	moved := map[netip.Addr]bool{}
	for v := range a.vteps {
		if _, ok := t.vteps[v.remote]; ok || t.paths {
			if mtuOf(mtus, v.remote) != mtuOf(a.env.PathMTU, v.remote) {
				moved[v.remote] = true
				a.log.Info("path MTU", "vtep", v.remote, "mtu", mtuOf(mtus, v.remote))
			}
		}
	}
	if t.paths {
		a.env.PathMTU = mtus
	} else {
		for ip := range t.vteps {
			delete(a.env.PathMTU, ip)
		}
		for ip, m := range mtus {
			a.env.PathMTU[ip] = m
		}
	}
	if len(moved) > 0 {
		a.touchRemotes(t, func(e hoststate.Endpoint) bool { return moved[e.Addr] })
	}
	return errors.Join(errs...)
}

// attachUnderlay attaches the program to each interface that carries tunnels, and
// takes it from those that no longer do.
func (a *Agent) attachUnderlay() error {
	links, err := a.underlayLinks()
	if err != nil {
		return err
	}
	var errs []error
	want := map[int]bool{}
	for _, l := range links {
		want[l.Index] = true
		if _, ok := a.underlay[l.Index]; ok {
			a.underlay[l.Index] = l.Name
			continue
		}
		a.attached.addUnderlay(l.Index, l.Name)
		if err := a.attached.save(); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := a.dp.AttachUnderlay(l.Index); err != nil {
			errs = append(errs, fmt.Errorf("attach to %s: %w", l.Name, err))
			continue
		}
		a.underlay[l.Index] = l.Name
		a.log.Info("interface carries tunnels", "interface", l.Name)
	}
	errs = append(errs, a.promiscuous(links))
	for index, name := range a.attached.Underlay {
		if want[index] {
			continue
		}
		if err := a.dp.DetachUnderlay(index); err != nil {
			errs = append(errs, fmt.Errorf("detach from %s: %w", name, err))
			continue
		}
		delete(a.underlay, index)
		a.attached.dropUnderlay(index)
		a.log.Info("interface carries no tunnels any more", "interface", name)
	}
	a.underlayMTU = a.smallestMTU(links)
	return errors.Join(errs...)
}

// underlayLinks are the interfaces that carry tunnels, or may.
func (a *Agent) underlayLinks() ([]hostnet.Link, error) {
	var out []hostnet.Link
	if len(a.cfg.UnderlayInterfaces) == 0 {
		ls, err := a.host.UnderlayCandidates()
		if err != nil {
			return nil, err
		}
		for _, l := range ls {
			if !a.isWorkload(l.Name) && !a.attached.has(l.Index) {
				out = append(out, l)
			}
		}
	}
	var names []string
	names = append(names, a.cfg.UnderlayInterfaces...)
	for _, g := range a.state.Gateways {
		for _, u := range g.Uplinks {
			names = append(names, u.Interface)
		}
	}
	for k := range a.state.VLANs {
		if !slices.Contains(names, k.Interface) {
			names = append(names, k.Interface)
		}
	}
	for _, n := range names {
		l, ok, err := a.host.Link(n)
		if err != nil {
			return nil, err
		}
		if configured := slices.Contains(a.cfg.UnderlayInterfaces, n); configured && !ok && !a.absent[n] {
			a.log.Warn("the underlay interface is not there; no tunnels until it is", "interface", n)
			a.absent[n] = true
		} else if ok {
			delete(a.absent, n)
		}
		if ok && !slices.ContainsFunc(out, func(m hostnet.Link) bool { return m.Index == l.Index }) {
			out = append(out, l)
		}
	}
	return out, nil
}

// smallestMTU is the MTU that the controller is told: of the interfaces that outer packets
// leave by; while there is no VTEP yet, of those that were configured, else of the
// default route's, else of all candidates.
func (a *Agent) smallestMTU(links []hostnet.Link) int {
	least := func(use func(hostnet.Link) bool) int {
		m := 0
		for _, l := range links {
			if use(l) && (m == 0 || l.MTU < m) {
				m = l.MTU
			}
		}
		return m
	}
	m := least(func(l hostnet.Link) bool { _, ok := a.carriers[l.Index]; return ok })
	if m == 0 && len(a.cfg.UnderlayInterfaces) == 0 {
		if ds, err := a.host.DefaultRouteInterfaces(); err == nil {
			m = least(func(l hostnet.Link) bool { return slices.Contains(ds, l.Index) })
		}
	}
	if m == 0 {
		m = least(func(hostnet.Link) bool { return true })
	}
	return m
}
