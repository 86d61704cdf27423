package agent

import (
	"errors"
	"maps"
	"net/netip"
	"path"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/reason"
)

// wayGrace is how long packets of a VTEP may still come in by an interface that the route
// to it has left: the other side may know later, and what is under way arrives.
const wayGrace = 10 * time.Second

// lead is what the routes say of a VTEP.
type lead struct {
	now    []int             // interfaces that lead to it
	before map[int]time.Time // those that did, and until when they are let in
}

// reconcileVTEPs looks at the ways of VTEPs that are due, and touches the rows of those for
// which something is new.
func (a *Agent) reconcileVTEPs() {
	due := a.objs.vteps.Take()
	if len(due) > 0 {
		u := a.underlays()
		failed := a.objs.vteps.Fails()
		for _, v := range due {
			if a.remote.has(v) {
				a.reconcileVTEP(u, v)
			}
		}
		if failed && !a.objs.vteps.Fails() {
			a.objs.underlay.Due(allUnderlay) // programs may be taken away again
		}
	}
	a.forgetPaths()
	if len(due) > 0 || a.dropped {
		a.dropped = false
		now := interfacesOf(a.env.Ways)
		for index, until := range a.leaving {
			if time.Now().Before(until) {
				now[index], a.dropped = true, true
			} else {
				delete(a.leaving, index)
			}
		}
		if !maps.Equal(now, a.carry) {
			a.carry = now
			a.objs.underlay.Due(allUnderlay)
			a.refusedAgain()
		}
	}
}

// reconcileVTEP looks at one. Where the kernel does not answer, all stays as it was.
func (a *Agent) reconcileVTEP(u *underlays, v dataplane.VTEP) {
	o := a.objs.vteps
	rows := a.remote.of(v)
	var err error
	if rows.sends() {
		err = a.path(v)
	} else {
		a.dropPath(v)
		a.pathsGone = true
	}
	if rows.comes() {
		err = errors.Join(err, a.wayOf(u, v))
	}
	t, terr := a.lookForTrouble(u, v)
	if err = errors.Join(err, terr); err != nil {
		settle(a, o, v, err)
		return
	}
	a.trouble.set(v, t)
	if t.text != "" {
		o.Waits(v, t.text)
	} else {
		settle(a, o, v, nil)
	}
	// An interface that no longer leads there is let in for a grace.
	var until time.Time
	for _, at := range a.leads[v].before {
		if until.IsZero() || at.Before(until) {
			until = at
		}
	}
	if !until.IsZero() {
		o.DueAt(v, until)
	}
}

// wayOf finds by which interfaces packets of a VTEP may come in. One that is new is there at
// once, one that has gone is there for a grace.
func (a *Agent) wayOf(u *underlays, v dataplane.VTEP) error {
	found, err := a.host.Interfaces(v.Local, v.Remote)
	if err != nil {
		return err
	}
	if found, err = u.feasible(v, found); err != nil {
		return err
	}
	if found, err = u.only(v, found); err != nil {
		return err
	}
	l := a.leads[v].next(found, time.Now(), a.cfg.grace)
	w := a.way(v, l)
	a.leads[v] = l
	a.noteShut(v, w.Drop != 0)
	if old, ok := a.env.Ways[v]; ok && old == w {
		return nil
	}
	a.env.Ways[v] = w
	a.log.Debug("interfaces of a VTEP", "tunnel_ip", v.Local, "vtep", v.Remote, "interfaces", w.Interfaces)
	a.touchVTEP(v)
	return nil
}

// touchVTEP puts the rows that speak of a VTEP among those to be written.
func (a *Agent) touchVTEP(v dataplane.VTEP) {
	rows := a.remote.rows[v]
	if rows == nil || a.pending.full {
		return
	}
	for k := range rows.peers {
		a.pending.setPeer(k, a.state.Peers[k])
	}
	for k := range rows.fdb {
		a.pending.setFDBEntry(k, a.state.FDB[k])
	}
	for name := range rows.hosts {
		a.pending.setHost(name, a.state.Hosts[name])
	}
}

// dropVTEP forgets a VTEP that no row speaks of any more. Its interfaces keep the program for a
// grace: what is under way is refused for what it is, a packet of an unknown VTEP.
func (a *Agent) dropVTEP(v dataplane.VTEP) {
	a.objs.vteps.Forget(v)
	until := time.Now().Add(a.cfg.grace)
	for _, index := range a.env.Ways[v].Interfaces {
		if index != 0 {
			a.leaving[index] = until
		}
	}
	a.objs.underlay.DueAt(allUnderlay, until)
	delete(a.leads, v)
	delete(a.env.Ways, v)
	a.dropPath(v)
	a.pathsGone = true
	a.trouble.set(v, trouble{})
	a.noteShut(v, false)
	a.dropped = true
}

func interfacesOf(ways map[dataplane.VTEP]dataplane.Way) map[uint32]bool {
	out := map[uint32]bool{}
	for _, w := range ways {
		for _, i := range w.Interfaces {
			if i != 0 {
				out[i] = true
			}
		}
	}
	return out
}

// next is what becomes of l where the interfaces that lead to the VTEP are now these.
func (l lead) next(now []int, at time.Time, grace time.Duration) lead {
	n := lead{now: now, before: map[int]time.Time{}}
	for i, until := range l.before {
		if at.Before(until) && !slices.Contains(now, i) {
			n.before[i] = until
		}
	}
	for _, i := range l.now {
		if !slices.Contains(now, i) {
			n.before[i] = at.Add(grace)
		}
	}
	return n
}

// way is the row of a VTEP.
func (a *Agent) way(v dataplane.VTEP, l lead) dataplane.Way {
	w := dataplane.Way{Kernel: a.cfg.KernelOutput}
	if !w.Kernel && a.policyAbout(v) != "" {
		w.Drop = reason.UnderlayPolicy
	}
	list := append(slices.Clone(l.now), slices.Sorted(maps.Keys(l.before))...)
	if len(list) > len(w.Interfaces) {
		a.log.Error("more interfaces lead to a VTEP than it may come in by; some of its packets are refused",
			"vtep", v.Remote, "interfaces", len(list), "most", len(w.Interfaces))
		list = list[:len(w.Interfaces)]
	}
	for i, index := range list {
		w.Interfaces[i] = uint32(index)
	}
	return w
}

// underlays looks up the interfaces that may carry tunnels, each once in a pass.
type underlays struct {
	a       *Agent
	byIndex map[int]hostnet.Link // Index 0: not there
	byName  map[string]hostnet.Link
	trouble *string // of the interfaces that --underlay-interface names
	// gateways are those with uplinks, by tunnel IP.
	gateways map[netip.Addr]hoststate.Gateway
}

func (a *Agent) underlays() *underlays {
	u := &underlays{a: a, byIndex: map[int]hostnet.Link{}, byName: map[string]hostnet.Link{}, gateways: map[netip.Addr]hoststate.Gateway{}}
	for _, g := range a.state.Gateways {
		if len(g.Uplinks) > 0 {
			u.gateways[g.TunnelIP] = g
		}
	}
	return u
}

func (u *underlays) link(index int) (hostnet.Link, error) {
	if l, ok := u.byIndex[index]; ok {
		return l, nil
	}
	l, _, err := u.a.host.LinkByIndex(index)
	if err == nil {
		u.byIndex[index] = l
	}
	return l, err
}

func (u *underlays) named(name string) (hostnet.Link, error) {
	if l, ok := u.byName[name]; ok {
		return l, nil
	}
	l, _, err := u.a.host.Link(name)
	if err == nil {
		u.byName[name] = l
	}
	return l, err
}

// may tells whether tunnels may go by an interface, whether --underlay-interface names it or
// not.
func (u *underlays) may(l hostnet.Link) bool {
	return l.Index != 0 && !l.Loopback && !hostnet.OwnDevice(l.Name) && !u.a.attached.has(l.Index) &&
		!slices.ContainsFunc(u.a.cfg.WorkloadInterfaces, func(p string) bool {
			ok, _ := path.Match(p, l.Name) // patterns were checked at the start
			return ok
		})
}

func (u *underlays) isNamed(l hostnet.Link) bool {
	return len(u.a.cfg.UnderlayInterfaces) == 0 || slices.Contains(u.a.cfg.UnderlayInterfaces, l.Name) || u.a.isUplink(l.Name)
}

// feasible adds to the interfaces that lead to a VTEP the uplinks of its gateway device by which
// another route of the VTEP router leads there, a wider one: packets may come back by those
// (feasible path, RFC 3704 §2.3). The host's own tables are not asked so: a default
// route, often by another kind of interface, would lead to every VTEP.
func (u *underlays) feasible(v dataplane.VTEP, found []int) ([]int, error) {
	if len(found) == 0 {
		return nil, nil
	}
	more, err := u.indexes(uplinksTo(u.gateways[v.Local], v.Remote))
	for _, i := range more {
		if !slices.Contains(found, i) {
			found = append(found, i)
		}
	}
	return found, err
}

// indexes are those of interfaces that may carry tunnels, in order.
func (u *underlays) indexes(names []string) (out []int, err error) {
	for _, name := range names {
		l, err := u.named(name)
		if err != nil {
			return nil, err
		}
		if u.may(l) && !slices.Contains(out, l.Index) {
			out = append(out, l.Index)
		}
	}
	slices.Sort(out)
	return out, nil
}

// uplinksTo are the uplinks by which any route of the VTEP router leads to an address.
func uplinksTo(g hoststate.Gateway, to netip.Addr) (names []string) {
	for _, r := range g.Routes {
		if !r.Prefix.Contains(to) {
			continue
		}
		i := slices.IndexFunc(g.Uplinks, func(l hoststate.Uplink) bool { return l.Addr.Contains(r.NextHop) })
		if i >= 0 && !g.Uplinks[i].Down {
			names = append(names, g.Uplinks[i].Interface)
		}
	}
	for _, l := range g.Uplinks {
		if l.Addr.Contains(to) && !l.Down {
			names = append(names, l.Interface)
		}
	}
	return names
}

// only leaves of the interfaces that lead to a VTEP those that carry tunnels. What leads to another host
// carries the fabric, whether --underlay-interface names it or not.
func (u *underlays) only(v dataplane.VTEP, found []int) ([]int, error) {
	a := u.a
	host := a.isHost(v)
	if !host && a.cfg.AnyUnderlay && len(a.cfg.UnderlayInterfaces) > 0 {
		return u.indexes(append(slices.Collect(maps.Keys(a.uplinks)), a.cfg.UnderlayInterfaces...))
	}
	var out []int
	for _, i := range found {
		l, err := u.link(i)
		if err != nil {
			return nil, err
		}
		may := u.may(l)
		if may && (host || u.isNamed(l)) {
			out = append(out, i)
			continue
		}
		if stray := (stray{v, i}); !a.strays[stray] {
			a.strays[stray] = true
			name := ""
			if may {
				name = l.Name
			}
			a.log.Warn("a route to a VTEP leads by an interface that carries no tunnels; what comes in there is refused",
				"vtep", v.Remote, "interface", name, "index", i)
		}
	}
	if len(a.strays) > maxStrays {
		clear(a.strays)
	}
	return out, nil
}

// stray is a route to a VTEP by an interface that carries no tunnels, which was logged.
type stray struct {
	vtep  dataplane.VTEP
	index int
}

const maxStrays = 4096
