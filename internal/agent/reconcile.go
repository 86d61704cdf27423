package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
)

// take makes what the controller says the state to be reached.
func (a *Agent) take(u hostsync.Update) {
	d := u.Delta
	if !a.known && !d.Full {
		// The controller begins with a full state; a delta before it has nothing
		// to stand on.
		a.log.Error("a delta came before the first full state", "revision", d.Revision)
		return
	}
	// A copy of one's own: the client changes its state in place for the next
	// update, and ours is read again when something on the host changes.
	a.state.Apply(d)
	a.want, a.known = d.Revision, true
	if err := a.journal.add(d, a.state); err != nil {
		a.log.Warn("a restart will have to wait for the controller", "err", err)
	}
	if d.Full {
		a.agenda = everything()
		a.reindex()
		return
	}
	for _, k := range d.Unset.Ports {
		a.indexPort(k, nil)
	}
	for k, p := range d.Set.Ports {
		a.indexPort(k, &p)
	}
	if len(d.Set.Gateways) > 0 || len(d.Unset.Gateways) > 0 || len(d.Set.VLANs) > 0 || len(d.Unset.VLANs) > 0 {
		a.agenda.allGateways()
	}
	for _, e := range d.Set.Endpoints {
		if e.Kind != hoststate.EndpointRemote {
			continue
		}
		if _, ok := a.vteps[vtep{e.TunnelIP, e.Addr}]; !ok {
			a.agenda.vteps = add(a.agenda.vteps, e.Addr)
			a.vteps = add(a.vteps, vtep{e.TunnelIP, e.Addr})
		}
	}
	a.agenda.addDelta(d)
}

// reindex looks at all ports of the state anew.
func (a *Agent) reindex() {
	for k := range a.ports {
		if _, ok := a.state.Ports[k]; !ok {
			a.indexPort(k, nil)
		}
	}
	for k, p := range a.state.Ports {
		a.indexPort(k, &p)
	}
}

// indexPort notes a port's row, or that it has gone (nil).
func (a *Agent) indexPort(k model.PortKey, p *hoststate.Port) {
	if old, ok := a.ports[k]; ok {
		if p == nil || p.ID != old.ID {
			a.forget(old.ID)
		}
		if p == nil || p.Interface != old.Interface {
			delete(a.byIf[old.Interface], k)
			if len(a.byIf[old.Interface]) == 0 {
				delete(a.byIf, old.Interface)
			}
			a.agenda.links = add(a.agenda.links, old.Interface)
			a.agenda.underlay = true
		}
		if p == nil {
			a.stats.setName(old.ID, "")
			delete(a.ports, k)
			delete(a.sharers, k)
			delete(a.unproven, k)
			return
		}
		if p.Interface == old.Interface {
			a.ports[k] = *p
			a.changed = add(a.changed, k)
			return
		}
	}
	if p == nil {
		return
	}
	a.stats.setName(p.ID, p.Interface)
	a.ports[k] = *p
	a.byIf[p.Interface] = add(a.byIf[p.Interface], k)
	a.agenda.links = add(a.agenda.links, p.Interface)
	a.changed = add(a.changed, k)
}

// notice turns events of the host's network into things to look at.
func (a *Agent) notice(c hostnet.Change) {
	t := &a.agenda
	if c.AllLinks {
		t.devices, t.allLinks, t.gateways, t.paths, t.underlay = true, true, true, true, true
	}
	for name := range c.Links {
		switch {
		case hostnet.OwnDevice(name):
			t.devices = true
		case a.isWorkload(name) || a.attached.hasName(name):
			t.links = add(t.links, name)
		default:
			// It may carry tunnels, or be an uplink; its MTU may be another.
			t.gateways, t.paths, t.underlay = true, true, true
		}
	}
	if c.Addrs {
		t.gateways, t.underlay, t.prune = true, true, true
	}
	if c.Defaults {
		a.defaults = nil
	}
	if c.Routes {
		// A routing daemon may change thousands a second.
		a.later.gateways, a.later.paths = true, true
	}
	if c.Conf {
		t.devices = true
	}
}

// pace spaces out what others can ask for in floods: the first comes at once, the
// next not before paceGap.
type pace struct {
	timer *time.Timer
	armed bool
	last  time.Time
}

const paceGap = 100 * time.Millisecond

func newPace() *pace {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &pace{timer: t}
}

func (p *pace) arm() {
	if !p.armed {
		p.armed = true
		p.timer.Reset(max(0, paceGap-time.Since(p.last)))
	}
}

func (p *pace) fired() { p.armed, p.last = false, time.Now() }

// reconcile does what there is to do, in the order of the package comment. What fails is put
// back and named in the status.
func (a *Agent) reconcile(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	t := a.agenda
	a.agenda = agenda{}
	problems := map[string]error{}
	fail := func(step string, err error, again func(*agenda)) {
		if err == nil {
			return
		}
		problems[step] = err
		again(&a.agenda)
	}
	if t.devices {
		replaced, err := a.devices()
		if replaced {
			t.full = true
		}
		fail("devices", err, func(t *agenda) { t.devices = true })
	}
	if t.allLinks || len(t.links) > 0 {
		failed, err := a.links(&t)
		fail("links", err, func(n *agenda) { n.addLinks(failed); n.allLinks = len(failed) == 0 })
	}
	attached := a.attachWorkloads(ctx, t.attach)
	if a.known {
		if t.gateways {
			fail("gateways", a.gateways(&t), func(t *agenda) { t.gateways = true })
			fail("trunks", a.trunks(&t), func(t *agenda) { t.gateways = true })
			t.paths = true
		}
		if t.paths || len(t.vteps) > 0 {
			fail("paths", a.paths(&t), func(t *agenda) { t.paths = true })
		}
		if t.rows() {
			fail("rows", a.rows(&t), func(t *agenda) { t.full = true })
		}
	}
	failed := attached()
	if ctx.Err() != nil {
		return // not everything was tried, so there is nothing to report
	}
	if len(failed) > 0 {
		var undo agenda
		fail("links", a.notAttached(failed, &undo), func(n *agenda) {
			for name := range failed {
				n.links = add(n.links, name)
			}
		})
		if a.known && undo.rows() && problems["rows"] == nil {
			fail("rows", a.rows(&undo), func(t *agenda) { t.full = true })
		}
	}
	if a.known {
		if t.prune {
			if problems["rows"] != nil {
				// Rows may still point at what would go.
				a.agenda.prune = true
			} else {
				fail("prune", a.prune(), func(t *agenda) { t.prune = true })
			}
		}
	}
	if t.underlay {
		fail("underlay", a.attachUnderlay(), func(t *agenda) { t.underlay = true })
	}
	if err := a.attached.save(); err != nil {
		problems["attachments"] = err
	}
	a.stats.setProblems(problems)
	for step, err := range problems {
		a.log.Error("not as the controller says, will try again", "step", step, "err", err)
	}
	if a.known {
		a.report()
	}
}

// rows writes the maps.
func (a *Agent) rows(t *agenda) error {
	start := time.Now()
	st, d := a.withoutSharers(t.delta)
	var err error
	if t.full {
		err = a.dp.Sync(st, a.env)
	} else {
		err = a.dp.Update(d, st, a.env)
	}
	lacking, full := dataplane.LeftOut(err)
	if err != nil && !full {
		// What was in place before still is.
		if a.unproven == nil {
			a.unproven = map[model.PortKey]error{}
		}
		for k := range a.changed {
			a.unproven[k] = fmt.Errorf("write the maps: %w", err)
		}
		return fmt.Errorf("write the maps: %w", err)
	}
	// Where maps are full, the ports that lack nothing are as they should be.
	for k := range a.unproven {
		a.changed = add(a.changed, k)
	}
	for k := range lacking {
		a.changed = add(a.changed, k)
	}
	a.unproven = lacking
	if err != nil {
		return fmt.Errorf("write the maps: %w", err)
	}
	a.have = a.want
	a.log.Debug("rows written", "revision", a.have, "full", t.full, "took", time.Since(start))
	return nil
}

// withoutSharers leaves ports out whose interface another port has: the one with the
// smallest key keeps it, and nothing is mixed up.
func (a *Agent) withoutSharers(d hoststate.Delta) (hoststate.State, hoststate.Delta) {
	if len(a.sharers) == 0 {
		return a.state, d
	}
	st := a.state.Clone()
	if !d.Full {
		d.Set = d.Set.Clone()
		d.Unset.Ports = slices.Clone(d.Unset.Ports)
	}
	for k := range a.sharers {
		delete(st.Ports, k)
		if _, ok := d.Set.Ports[k]; ok {
			delete(d.Set.Ports, k)
			d.Unset.Ports = append(d.Unset.Ports, k)
		}
	}
	return st, d
}

// share finds out anew which ports of an interface do not get it, and touches the rows
// of those for which that is new.
func (a *Agent) share(name string, t *agenda) {
	ports := a.byIf[name]
	var owner model.PortKey
	for k := range ports {
		if owner == 0 || k < owner {
			owner = k
		}
	}
	for k := range ports {
		by, was := a.sharers[k]
		shares := k != owner
		if was == shares && (!shares || by == owner) {
			continue
		}
		if shares {
			a.sharers[k] = owner
		} else {
			delete(a.sharers, k)
		}
		a.changed = add(a.changed, k)
		t.setPort(k, a.ports[k], a.state)
	}
}

// devices puts the agent's own devices right; replaced tells that one has a new index.
func (a *Agent) devices() (replaced bool, err error) {
	oldVXLAN, oldSlow := a.env.VXLANIndex, a.env.SlowIndex
	if err := a.ensureDevices(); err != nil {
		return false, err
	}
	if a.env.VXLANIndex != oldVXLAN || a.env.SlowIndex != oldSlow || !a.slow.running() {
		return true, a.attachOwn()
	}
	_, err = a.host.EnsureVXLAN()
	return false, err
}

func (a *Agent) ensureDevices() (err error) {
	if a.env.VXLANIndex, err = a.host.PrepareVXLAN(); err != nil {
		return err
	}
	a.env.SlowIndex, err = a.host.EnsureSlow()
	return err
}

// attachOwn attaches the programs of the agent's own devices, sets the vxlan device up if
// it is new, and serves the slow path: without its program, the tap would hand what is written to it to the host's stack.
func (a *Agent) attachOwn() error {
	err := a.dp.AttachVXLAN(a.env.VXLANIndex)
	if err == nil {
		_, err = a.host.EnsureVXLAN()
	}
	return errors.Join(err, a.attachSlow())
}

func (a *Agent) attachSlow() error {
	if err := a.dp.AttachSlow(a.env.SlowIndex); err != nil {
		return err
	}
	return a.slow.restart()
}
