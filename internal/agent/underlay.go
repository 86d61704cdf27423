package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pathmtu"
)

// defaultPathMTU is what the maps hold for a VTEP whose path is not known.
const defaultPathMTU = 1500

// vtepRouter is what a gateway device with uplinks needs on the host's network.
func vtepRouter(id model.GatewayDeviceID, g hoststate.Gateway) hostnet.VTEPRouter {
	r := hostnet.VTEPRouter{ID: string(id), TunnelIP: g.TunnelIP}
	for _, u := range g.Uplinks {
		if !u.Down {
			r.Uplinks = append(r.Uplinks, hostnet.Uplink{Interface: u.Interface, Addr: u.Addr})
		}
	}
	for _, rt := range g.Routes {
		r.Routes = append(r.Routes, hostnet.Route{Prefix: rt.Prefix, NextHop: rt.NextHop})
	}
	return r
}

// reconcileGateways brings up the tunnel IPs and the routing tables of gateway devices that
// are due, each by itself.
func (a *Agent) reconcileGateways() {
	o := a.objs.gateways
	due := slices.DeleteFunc(o.Take(), func(id model.GatewayDeviceID) bool { _, ok := a.state.Gateways[id]; return !ok })
	if len(due) == 0 {
		return
	}
	errs := map[model.GatewayDeviceID]error{}
	var ips []netip.Addr
	// Routers first: a tunnel IP that is an uplink's address belongs on the uplink.
	for _, id := range due {
		g := a.state.Gateways[id]
		ips = append(ips, g.TunnelIP)
		if len(g.Uplinks) > 0 {
			errs[id] = a.host.AddVTEPRouter(vtepRouter(id, g))
		}
	}
	failed := a.host.AddTunnelIPs(ips)
	for _, id := range due {
		g := a.state.Gateways[id]
		settle(a, o, id, errors.Join(errs[id], failed[g.TunnelIP], a.table(id, g)))
		a.dueTunnel(g.TunnelIP)
	}
	a.changedUplinks = true
}

// table notes the routing table of a gateway device, and touches the rows that name it.
func (a *Agent) table(id model.GatewayDeviceID, g hoststate.Gateway) error {
	table := hostnet.TableMain
	if len(g.Uplinks) > 0 {
		var err error
		if table, err = a.host.Table(string(id)); err != nil {
			return err
		}
	}
	if a.env.Tables[id] == uint32(table) {
		return nil
	}
	a.env.Tables[id] = uint32(table)
	for v := range a.remote.rows {
		if v.Local == g.TunnelIP {
			a.touchVTEP(v)
		}
	}
	return nil
}

// dueTunnel marks the VTEPs of a tunnel IP.
func (a *Agent) dueTunnel(ip netip.Addr) {
	for v := range a.remote.rows {
		if v.Local == ip {
			a.objs.vteps.Due(v)
		}
	}
}

// prune takes away what the state no longer needs on the host's network. Rows
// do not point at it any more.
func (a *Agent) prune() error {
	var ips []netip.Addr
	var routers []hostnet.VTEPRouter
	for id, g := range a.state.Gateways {
		ips = append(ips, g.TunnelIP)
		if len(g.Uplinks) > 0 {
			routers = append(routers, vtepRouter(id, g))
		}
	}
	return errors.Join(
		a.host.PruneTunnelIPs(ips),
		a.host.PruneVTEPRouters(routers),
		a.pruneFabric(),
		a.host.ForgetTables(func(id string) bool { _, ok := a.state.Gateways[model.GatewayDeviceID(id)]; return ok }),
	)
}

// leaving is how outer packets to a VTEP leave.
type leaving struct {
	index int // of the interface
	mtu   int // that is believed of the path
}

// path asks the kernel by which interface the path to a VTEP goes, and takes over how
// large a packet it takes.
func (a *Agent) path(v dataplane.VTEP) error {
	p, ok, err := a.host.Path(v.Local, v.Remote)
	if err != nil {
		return err
	}
	if !ok {
		a.dropPath(v)
		return nil
	}
	k := pathmtu.Key(v)
	if old, ok := a.out[v]; !ok || old.index != p.Index {
		a.objs.underlay.Due(allUnderlay) // the MTU that is reported is of these interfaces
	}
	if _, ok := a.out[v]; !ok {
		a.pathMTU.stale()
	}
	a.out[v] = leaving{p.Index, a.pathMTU.Set(k, p.MTU, a.pathMTU.believed(k))}
	a.locals[v.Remote] = add(a.locals[v.Remote], v.Local)
	a.noteMTU(v.Remote)
	return nil
}

// dropPath notes that no path leads to a VTEP. What is known of the path stays for the time when
// one does again.
func (a *Agent) dropPath(v dataplane.VTEP) {
	if _, ok := a.out[v]; !ok {
		return
	}
	delete(a.out, v)
	if delete(a.locals[v.Remote], v.Local); len(a.locals[v.Remote]) == 0 {
		delete(a.locals, v.Remote)
	}
	a.objs.underlay.Due(allUnderlay)
	a.noteMTU(v.Remote)
}

// noteMTU works out how large a packet to a remote address may be: from two tunnel IPs
// there may be two ways, and what is sent must pass both.
func (a *Agent) noteMTU(remote netip.Addr) {
	old, now := defaultPathMTU, 0
	if m, ok := a.env.PathMTU[remote]; ok {
		old = m
	}
	for local := range a.locals[remote] {
		if m := a.out[dataplane.VTEP{Local: local, Remote: remote}].mtu; now == 0 || m < now {
			now = m
		}
	}
	if now == 0 {
		delete(a.env.PathMTU, remote)
		now = defaultPathMTU
	} else {
		a.env.PathMTU[remote] = now
	}
	if now == old {
		return
	}
	a.log.Debug("path MTU", "vtep", remote, "mtu", now)
	for _, g := range a.state.Gateways {
		a.touchVTEP(dataplane.VTEP{Local: g.TunnelIP, Remote: remote})
	}
	a.touchVTEP(dataplane.VTEP{Local: a.cfg.Fabric.Addr, Remote: remote})
}

// reconcileUnderlay attaches the program to each interface that carries tunnels, and
// takes it from those that no longer do.
func (a *Agent) reconcileUnderlay() {
	o := a.objs.underlay
	if len(o.Take()) == 0 {
		return
	}
	links, err := a.underlayLinks()
	if err != nil {
		settle(a, o, allUnderlay, err)
		return
	}
	want, errs := map[int]bool{}, map[string]error{}
	for _, l := range links {
		want[l.Index] = true
		errs[l.Name] = errors.Join(a.attachUnderlay(l), a.setPromiscuous(l))
	}
	// What a predecessor began stays until it is known what to look for; and where the way
	// to a VTEP is not known now, no program is taken from an interface that may lead there.
	for index, name := range a.attached.Promiscuous {
		if a.known && !a.carriesVLANs(name, index) {
			errs[name] = errors.Join(errs[name], a.endPromiscuous(index, name))
		}
	}
	for index, name := range a.attached.Underlay {
		if !want[index] && !a.objs.vteps.Fails() {
			errs[name] = errors.Join(errs[name], a.detachUnderlay(index, name))
		}
	}
	for name, err := range errs {
		settle(a, o, name, err)
	}
	a.tidyUnderlay(links, errs)
	if err := a.measureMTU(links); err != nil {
		settle(a, o, allUnderlay, err)
	} else {
		o.Forget(allUnderlay)
	}
}

// tidyUnderlay forgets the status of interfaces that carry nothing, and tells of those that
// are named and not there. What failed at one is tried again first.
func (a *Agent) tidyUnderlay(links []hostnet.Link, failed map[string]error) {
	o := a.objs.underlay
	for _, name := range o.Keys() {
		if name == allUnderlay {
			continue
		}
		switch {
		case slices.ContainsFunc(links, func(l hostnet.Link) bool { return l.Name == name }), a.attached.holds(name):
		case slices.Contains(a.cfg.UnderlayInterfaces, name):
		default:
			o.Forget(name)
		}
	}
	for name := range a.absent {
		if failed[name] == nil {
			o.Waits(name, "there is no such interface")
		}
	}
}

func (a *Agent) attachUnderlay(l hostnet.Link) error {
	if _, ok := a.underlay[l.Index]; ok {
		a.underlay[l.Index] = l.Name
		return nil
	}
	a.attached.addUnderlay(l.Index, l.Name)
	if err := a.attached.save(); err != nil {
		return err
	}
	if err := a.dp.AttachUnderlay(l.Index); err != nil {
		return fmt.Errorf("attach to %s: %w", l.Name, err)
	}
	a.underlay[l.Index] = l.Name
	a.log.Info("interface carries tunnels", "interface", l.Name, "found_by", a.foundBy(l.Name))
	return nil
}

func (a *Agent) detachUnderlay(index int, name string) error {
	if err := a.dp.DetachUnderlay(index); err != nil {
		return fmt.Errorf("detach from %s: %w", name, err)
	}
	delete(a.underlay, index)
	a.attached.dropUnderlay(index)
	a.log.Info("interface carries no tunnels any more", "interface", name)
	return nil
}

// measureMTU works out the MTU that the controller is told. The candidates are looked up
// where they are needed only: that lists all interfaces of the host.
func (a *Agent) measureMTU(links []hostnet.Link) error {
	known := func(index int) bool {
		return slices.ContainsFunc(links, func(l hostnet.Link) bool { return l.Index == index })
	}
	carriers := map[int]bool{}
	enough := true
	for v, l := range a.out {
		if a.isHost(v) {
			continue // measured by measureFabric
		}
		carriers[l.index] = true
		enough = enough && known(l.index)
	}
	enough = enough && len(carriers) > 0
	var candidates []hostnet.Link
	var err error
	if !enough {
		candidates, err = a.candidates()
	}
	a.underlayMTU = a.smallestMTU(append(candidates, links...), carriers)
	mtu, ferr := a.measureFabric()
	if ferr == nil {
		a.fabricMTU = mtu
		a.fabric.setMTU(mtu)
	}
	return errors.Join(err, ferr)
}

// foundBy tells why an interface carries tunnels, or VLANs.
func (a *Agent) foundBy(name string) string {
	switch {
	case slices.Contains(a.cfg.UnderlayInterfaces, name):
		return "--underlay-interface"
	case a.isUplink(name):
		return "an uplink of a gateway device"
	case slices.ContainsFunc(slices.Collect(maps.Keys(a.state.VLANs)), func(k hoststate.VLANKey) bool { return k.Interface == name }):
		return "a network on its VLAN"
	}
	return "a route to a remote VTEP or to another host"
}

// candidates are the interfaces of which some will carry tunnels, where none are named: of
// what they can do the controller is told before there is a VTEP.
func (a *Agent) candidates() ([]hostnet.Link, error) {
	if len(a.cfg.UnderlayInterfaces) > 0 {
		return nil, nil
	}
	ls, err := a.host.UnderlayCandidates()
	return slices.DeleteFunc(ls, func(l hostnet.Link) bool { return a.isWorkload(l.Name) || a.attached.has(l.Index) }), err
}

// foundInterfaces are the indexes of the interfaces that routes to VTEPs lead by, or to other hosts alone
// where those that carry tunnels are named.
func (a *Agent) foundInterfaces() map[uint32]bool {
	found := map[uint32]bool{}
	if len(a.cfg.UnderlayInterfaces) == 0 {
		maps.Copy(found, a.carry)
	} else {
		for v, w := range a.env.Ways {
			if a.isHost(v) {
				maps.Copy(found, interfacesOf(map[dataplane.VTEP]dataplane.Way{v: w}))
			}
		}
	}
	if !a.known && (len(a.cfg.UnderlayInterfaces) == 0 || a.cfg.Fabric.On()) {
		// What a predecessor found stays until it is known what to look for.
		for i := range a.attached.Underlay {
			found[uint32(i)] = true
		}
	}
	return found
}

// underlayLinks are the interfaces that carry tunnels, or the fabric.
func (a *Agent) underlayLinks() ([]hostnet.Link, error) {
	var out []hostnet.Link
	for i := range a.foundInterfaces() {
		l, ok, err := a.host.LinkByIndex(int(i))
		if err != nil {
			return nil, err
		}
		if ok && !a.attached.has(l.Index) {
			out = append(out, l)
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
func (a *Agent) smallestMTU(links []hostnet.Link, carriers map[int]bool) int {
	least := func(use func(hostnet.Link) bool) int {
		m := 0
		for _, l := range links {
			if use(l) && (m == 0 || l.MTU < m) {
				m = l.MTU
			}
		}
		return m
	}
	m := least(func(l hostnet.Link) bool { return carriers[l.Index] })
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
