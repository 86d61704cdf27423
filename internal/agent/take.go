package agent

import (
	"context"
	"maps"
	"slices"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
)

// take makes what the controller says the state to be reached. It costs what has changed:
// the rows before are found in the state, which is the only copy.
func (a *Agent) take(u hostsync.Update) {
	d := u.Delta
	if !a.known && !d.Full {
		// The controller begins with a full state; a delta before it has nothing
		// to stand on.
		a.log.Error("a delta came before the first full state", "revision", d.Revision)
		return
	}
	a.want, a.known = d.Revision, true
	if u.First {
		// Revisions may have begun anew: what the maps hold is told again, once it is known.
		a.have, a.reports.revision = 0, -1
	}
	if slices.ContainsFunc(d.Replaced, func(g hoststate.Group) bool { return g.Kind == hoststate.GroupHost || g.Kind == hoststate.GroupDevice }) {
		a.changedAll = true // what the controller knew of ports may have ended in between
		a.reports.sayAgain()
	}
	d = a.state.Resolve(d)
	if d.Full {
		before := a.state
		a.digests.Change(&a.state, d)
		a.state = hoststate.NewState()
		a.state.Apply(d)
		a.adopt(before)
	} else {
		a.change(d)
	}
	a.keepJournal(d)
}

// Have is what rows there are, for the controller to say what differs.
func (a *Agent) Have(ctx context.Context) (hostsync.Have, bool) {
	r := make(chan hostsync.Have, 1)
	select {
	case a.asked <- r:
	case <-ctx.Done():
		return hostsync.Have{}, false
	}
	select {
	case h := <-r:
		return h, h.Digests != nil
	case <-ctx.Done():
		return hostsync.Have{}, false
	}
}

// rows are what Have says.
func (a *Agent) rows() hostsync.Have {
	if !a.known {
		return hostsync.Have{}
	}
	return hostsync.Have{
		Digests: a.digests.Digests(&a.state),
		Names:   hoststate.State{Ports: maps.Clone(a.state.Ports), Gateways: maps.Clone(a.state.Gateways), VLANs: maps.Clone(a.state.VLANs)},
	}
}

// Rows implements hostsync.RowTeller. The digests are worked out anew, at the cost of all rows.
func (a *Agent) Rows(ctx context.Context) (hostsync.Rows, error) {
	r := make(chan hostsync.Rows, 1)
	select {
	case a.audits <- r:
	case <-ctx.Done():
		return hostsync.Rows{}, ctx.Err()
	}
	select {
	case rows := <-r:
		return rows, nil
	case <-ctx.Done():
		return hostsync.Rows{}, ctx.Err()
	}
}

// adopt takes over a full state in place of another.
func (a *Agent) adopt(before hoststate.State) {
	for k, old := range before.Ports {
		if _, ok := a.state.Ports[k]; !ok {
			a.indexPort(k, &old, nil)
		}
	}
	for k, p := range a.state.Ports {
		if old, ok := before.Ports[k]; ok {
			a.indexPort(k, &old, &p)
		} else {
			a.indexPort(k, nil, &p)
		}
	}
	for id := range before.Gateways {
		if _, ok := a.state.Gateways[id]; !ok {
			a.dropGateway(id)
		}
	}
	a.noteUplinks()
	a.remote = newRemoteRows()
	for k, e := range a.state.FDB {
		a.remote.fdbEntry(k, hoststate.FDBEntry{}, a.here(e))
	}
	for k := range a.state.Peers {
		a.remote.peer(k, true)
	}
	for name, h := range a.state.Hosts {
		a.indexHost(name, hoststate.Host{}, h)
	}
	a.fabric.setHosts(a.state.Hosts)
	for _, v := range a.objs.vteps.Keys() {
		if !a.remote.has(v) {
			a.dropVTEP(v)
		}
	}
	for v := range a.remote.rows {
		a.objs.vteps.Due(v)
	}
	a.pathMTU.stale()
	a.objs.files.Due(remotesFile)
	a.changedAll = true
	a.everything()
}

// here is an FDB entry that leads to another site from this host; others are none.
func (a *Agent) here(e hoststate.FDBEntry) hoststate.FDBEntry {
	if e.Kind == hoststate.FDBRemote && !a.state.Here(e) {
		return hoststate.FDBEntry{}
	}
	return e
}

// withRemotes adds to a delta the FDB entries whose gateway device comes to this host by it,
// or leaves it.
func (a *Agent) withRemotes(d hoststate.Delta) hoststate.Delta {
	moves := map[model.GatewayDeviceID]bool{}
	for id := range d.Set.Gateways {
		if _, here := a.state.Gateways[id]; !here {
			moves[id] = true
		}
	}
	for _, id := range d.Unset.Gateways {
		moves[id] = true
	}
	if len(moves) == 0 {
		return d
	}
	gone := make(map[hoststate.FDBKey]bool, len(d.Unset.FDB))
	for _, k := range d.Unset.FDB {
		gone[k] = true
	}
	for k, e := range a.state.FDB {
		if _, set := d.Set.FDB[k]; !set && !gone[k] && e.Kind == hoststate.FDBRemote && moves[e.Gateway] {
			d.Set.FDB[k] = e
		}
	}
	return d
}

// change takes over some rows.
func (a *Agent) change(d hoststate.Delta) {
	d = a.withRemotes(d)
	targets := a.touchesTargets(d)
	for _, k := range d.Unset.Ports {
		if old, ok := a.state.Ports[k]; ok {
			a.indexPort(k, &old, nil)
		}
	}
	for k, p := range d.Set.Ports {
		if old, ok := a.state.Ports[k]; ok {
			a.indexPort(k, &old, &p)
		} else {
			a.indexPort(k, nil, &p)
		}
	}
	looked := a.indexRemotes(d)
	tunnels := a.gatewaysOf(d)
	for k := range d.Set.VLANs {
		a.objs.trunks.Due(k.Interface)
	}
	for _, k := range d.Unset.VLANs {
		a.objs.trunks.Due(k.Interface)
	}
	a.digests.Change(&a.state, d)
	a.state.Apply(d)
	if len(d.Set.Hosts)+len(d.Unset.Hosts) > 0 {
		a.fabric.setHosts(a.state.Hosts)
	}
	if targets || a.touchesTargets(d) {
		a.pathMTU.stale()
	}
	if len(looked) > 0 {
		a.objs.files.Due(remotesFile)
	}
	for v := range looked {
		if a.remote.has(v) {
			a.objs.vteps.Due(v)
		} else {
			a.dropVTEP(v)
		}
	}
	if len(d.Set.Gateways)+len(d.Unset.Gateways) > 0 {
		a.changeGateways(d, tunnels)
	}
	if len(d.Set.Gateways)+len(d.Unset.Gateways)+len(d.Set.VLANs)+len(d.Unset.VLANs) > 0 {
		a.changedUplinks = true
		a.objs.underlay.Due(allUnderlay)
		a.objs.prune.Due(single{})
	}
	a.pending.add(d)
}

// gatewaysOf are the gateway devices of a delta as they are before it.
func (a *Agent) gatewaysOf(d hoststate.Delta) []hoststate.Gateway {
	var out []hoststate.Gateway
	for id := range d.Set.Gateways {
		out = append(out, a.state.Gateways[id])
	}
	for _, id := range d.Unset.Gateways {
		out = append(out, a.state.Gateways[id])
	}
	return out
}

func (a *Agent) changeGateways(d hoststate.Delta, before []hoststate.Gateway) {
	for id, g := range d.Set.Gateways {
		a.objs.gateways.Due(id)
		for _, u := range g.Uplinks {
			a.reports.again[u.Port] = true
		}
	}
	for _, id := range d.Unset.Gateways {
		a.dropGateway(id)
	}
	for _, g := range before {
		a.dueTunnel(g.TunnelIP)
	}
	if a.noteUplinks() {
		// Which interfaces carry tunnels may be others now, and which are workloads'.
		a.objs.vteps.DueAll()
		a.objs.links.Due(allLinks)
	}
}

func (a *Agent) dropGateway(id model.GatewayDeviceID) {
	delete(a.env.Tables, id)
	a.objs.gateways.Forget(id)
}

// noteUplinks finds the interfaces that are uplinks; it tells whether they are others than
// before.
func (a *Agent) noteUplinks() (changed bool) {
	now := map[string]struct{}{}
	for _, g := range a.state.Gateways {
		for _, u := range g.Uplinks {
			now[u.Interface] = struct{}{}
			if _, was := a.uplinks[u.Interface]; !was {
				changed = true
			}
		}
	}
	changed = changed || len(now) != len(a.uplinks)
	a.uplinks = now
	return changed
}

func (a *Agent) isUplink(name string) bool { _, ok := a.uplinks[name]; return ok }

// indexPort notes a port's row that is new, another, or gone (nil).
func (a *Agent) indexPort(k model.PortKey, old, p *hoststate.Port) {
	if old != nil && (p == nil || p.ID != old.ID) {
		a.forget(old.ID)
		a.stats.setName(old.ID, "")
	}
	if old != nil && (p == nil || p.Interface != old.Interface) {
		delete(a.byIf[old.Interface], k)
		if len(a.byIf[old.Interface]) == 0 {
			delete(a.byIf, old.Interface)
		}
		a.dueLink(old.Interface)
		if a.refused[old.Interface] != nil {
			a.objs.underlay.Due(allUnderlay) // it may be the underlay's
		}
	}
	if p == nil {
		delete(a.env.Shared, k)
		delete(a.unproven, k)
		return
	}
	a.changed = add(a.changed, k)
	a.reports.again[p.ID] = true // also where the row is as it was: what the controller knew of the port has ended
	if old == nil || p.ID != old.ID || p.Interface != old.Interface {
		a.stats.setName(p.ID, p.Interface)
	}
	if old == nil || p.Interface != old.Interface {
		a.byIf[p.Interface] = add(a.byIf[p.Interface], k)
		a.dueLink(p.Interface)
	}
}

// dueLink marks an interface whose ports are others.
func (a *Agent) dueLink(name string) {
	a.objs.links.Due(name)
	if a.isUplink(name) {
		a.changedUplinks = true // an uplink that a port names is told as wrong
	}
	if a.objs.trunks.Has(name) {
		a.objs.trunks.Due(name)
	}
}

// remoteRows are the rows of the state that speak of each remote VTEP.
type remoteRows struct {
	rows map[dataplane.VTEP]*vtepRows
}

type vtepRows struct {
	fdb   map[hoststate.FDBKey]struct{}
	peers map[hoststate.PeerKey]struct{}
	hosts map[model.HostName]struct{} // whose address on the fabric it is
}

// sends tells whether packets go to the VTEP, and comes whether packets are taken from it.
func (x *vtepRows) sends() bool { return len(x.fdb)+len(x.hosts) > 0 }
func (x *vtepRows) comes() bool { return len(x.peers)+len(x.hosts) > 0 }

func newRemoteRows() remoteRows { return remoteRows{map[dataplane.VTEP]*vtepRows{}} }

func (r remoteRows) has(v dataplane.VTEP) bool { return r.rows[v] != nil }

// sendsTo tells whether packets go to a VTEP.
func (r remoteRows) sendsTo(v dataplane.VTEP) bool {
	x := r.rows[v]
	return x != nil && x.sends()
}

func (r remoteRows) of(v dataplane.VTEP) *vtepRows {
	x := r.rows[v]
	if x == nil {
		x = &vtepRows{map[hoststate.FDBKey]struct{}{}, map[hoststate.PeerKey]struct{}{}, map[model.HostName]struct{}{}}
		r.rows[v] = x
	}
	return x
}

func (r remoteRows) tidy(v dataplane.VTEP) {
	if x := r.rows[v]; x != nil && !x.sends() && !x.comes() {
		delete(r.rows, v)
	}
}

func vtepOf(e hoststate.FDBEntry) dataplane.VTEP {
	return dataplane.VTEP{Local: e.TunnelIP, Remote: e.Addr}
}

// fdbEntry notes a row that was and is (the zero FDBEntry: was not, is not), and returns
// the VTEPs that are to be looked at for it: those that got their first such row, or lost
// their last.
func (r remoteRows) fdbEntry(k hoststate.FDBKey, was, is hoststate.FDBEntry) (look []dataplane.VTEP) {
	if was.Kind == hoststate.FDBRemote {
		v := vtepOf(was)
		delete(r.of(v).fdb, k)
		look = append(look, v)
	}
	if is.Kind == hoststate.FDBRemote {
		v := vtepOf(is)
		r.of(v).fdb[k] = struct{}{}
		look = append(look, v)
	}
	// One that had other rows before, and has them still, is as it was.
	look = slices.DeleteFunc(look, func(v dataplane.VTEP) bool {
		n := len(r.of(v).fdb)
		if is.Kind == hoststate.FDBRemote && v == vtepOf(is) {
			n--
		}
		return n > 0
	})
	for _, e := range []hoststate.FDBEntry{was, is} {
		r.tidy(vtepOf(e))
	}
	return look
}

func (r remoteRows) peer(k hoststate.PeerKey, is bool) (look []dataplane.VTEP) {
	v := dataplane.VTEP{Local: k.TunnelIP, Remote: k.Remote}
	peers := r.of(v).peers
	before := len(peers)
	if is {
		peers[k] = struct{}{}
	} else {
		delete(peers, k)
	}
	if (before == 0) != (len(peers) == 0) {
		look = []dataplane.VTEP{v}
	}
	r.tidy(v)
	return look
}

// indexRemotes notes the rows of remote VTEPs that a delta changes, before it is applied.
func (a *Agent) indexRemotes(d hoststate.Delta) map[dataplane.VTEP]struct{} {
	look := map[dataplane.VTEP]struct{}{}
	note := func(vs []dataplane.VTEP) {
		for _, v := range vs {
			look[v] = struct{}{}
		}
	}
	leaves := map[model.GatewayDeviceID]bool{}
	for _, id := range d.Unset.Gateways {
		leaves[id] = true
	}
	for _, k := range d.Unset.FDB {
		note(a.remote.fdbEntry(k, a.here(a.state.FDB[k]), hoststate.FDBEntry{}))
	}
	for k, e := range d.Set.FDB {
		is := e
		if _, comes := d.Set.Gateways[e.Gateway]; e.Kind == hoststate.FDBRemote && !comes && (leaves[e.Gateway] || !a.state.Here(e)) {
			is = hoststate.FDBEntry{}
		}
		note(a.remote.fdbEntry(k, a.here(a.state.FDB[k]), is))
	}
	for _, k := range d.Unset.Peers {
		note(a.remote.peer(k, false))
	}
	for k := range d.Set.Peers {
		note(a.remote.peer(k, true))
	}
	for _, name := range d.Unset.Hosts {
		note(a.indexHost(name, a.state.Hosts[name], hoststate.Host{}))
	}
	for name, h := range d.Set.Hosts {
		note(a.indexHost(name, a.state.Hosts[name], h))
	}
	return look
}

// touchesTargets tells whether rows of a delta, as the state has them, say who answers
// probes: routers and what is behind remote VTEPs.
func (a *Agent) touchesTargets(d hoststate.Delta) bool {
	target := func(k hoststate.FDBKey) bool {
		kind := a.state.FDB[k].Kind
		return kind == hoststate.FDBRouter || kind == hoststate.FDBRemote
	}
	neighbor := func(k hoststate.NeighborKey) bool {
		mac, ok := a.state.Neighbors[k]
		return ok && a.state.FDB[hoststate.FDBKey{Network: k.Network, MAC: mac}].Kind == hoststate.FDBRemote
	}
	for k := range d.Set.FDB {
		if target(k) {
			return true
		}
	}
	for k := range d.Set.Neighbors {
		if neighbor(k) {
			return true
		}
	}
	return slices.ContainsFunc(d.Unset.FDB, target) || slices.ContainsFunc(d.Unset.Neighbors, neighbor)
}
