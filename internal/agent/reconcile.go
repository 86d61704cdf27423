package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// notice turns events of the host's network into objects to look at.
func (a *Agent) notice(c hostnet.Change) {
	o := &a.objs
	if c.AllLinks {
		o.devices.DueAll()
		o.links.Due(allLinks)
		o.gateways.DueAll()
		o.trunks.DueAll()
		o.vteps.SoonAll()
		o.underlay.Due(allUnderlay)
		o.fabric.DueAll()
	}
	for name := range c.Links {
		switch {
		case name == hostnet.FabricDevice && !a.cfg.Fabric.On():
		case hostnet.OwnDevice(name):
			o.devices.Due(name)
		case a.isWorkload(name) || a.attached.hasName(name):
			o.links.Due(name)
			if a.ofUnderlay(name) {
				a.noticeUnderlay(name)
			}
		default:
			a.noticeUnderlay(name)
		}
	}
	if c.Addrs {
		o.gateways.DueAll()
		o.underlay.Due(allUnderlay)
		o.prune.Due(single{})
		o.fabric.DueAll()
	}
	if c.Defaults {
		a.defaults = nil
		a.refusedAgain()
	}
	if c.Routes {
		// A routing daemon may change thousands a second.
		o.gateways.SoonAll()
		o.vteps.SoonAll()
	}
	if c.Conf {
		o.devices.Due(hostnet.VXLANDevice)
		if a.cfg.Fabric.On() {
			o.devices.Due(hostnet.FabricDevice)
		}
	}
}

// refusedAgain has the interfaces looked at again that were refused: what they carried may
// be elsewhere now.
func (a *Agent) refusedAgain() {
	for name := range a.refused {
		a.objs.links.DueAt(name, time.Now()) // at once, also where links have had their turn
	}
}

// ofUnderlay tells whether an interface that is a workload's concerns the underlay all the same,
// as where a port names an uplink.
func (a *Agent) ofUnderlay(name string) bool {
	return a.isUplink(name) || a.objs.trunks.Has(name) || a.attached.holds(name) || a.refused[name] != nil ||
		slices.Contains(a.cfg.UnderlayInterfaces, name)
}

// noticeUnderlay marks what an interface that is not only a workload's may concern: it may carry
// tunnels or VLANs, be an uplink, or routes may lead by it that the kernel says nothing of.
func (a *Agent) noticeUnderlay(name string) {
	o := &a.objs
	for id, g := range a.state.Gateways {
		for _, u := range g.Uplinks {
			if u.Interface == name {
				o.gateways.Due(id)
			}
		}
	}
	if o.trunks.Has(name) {
		o.trunks.Due(name)
	}
	o.underlay.Due(allUnderlay)
	o.vteps.SoonAll() // many interfaces may come and go at once, and each VTEP asks the kernel
	a.changedUplinks = true
}

// reconcile looks at what is due, in the order of the package comment. What fails is due
// again after a pause of its own.
func (a *Agent) reconcile(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	a.reconcileDevices()
	a.reconcileFabric()
	if a.known && a.carry == nil {
		// At first, what leads to VTEPs has to be known before an interface gets a program.
		a.reconcilePolicies()
		a.reconcileGateways()
		a.reconcileVTEPs()
	}
	attaching := a.reconcileLinks(ctx)
	a.reconcilePolicies()
	written := false
	if a.known {
		a.reconcileGateways()
		a.reconcileTrunks()
		a.reconcileVTEPs()
		a.vouch() // what comes may take long
		written = a.reconcileRows()
		a.vouched = a.vouched || written
		a.vouch()
		a.reconcileLearned()
	}
	attached := attaching()
	if ctx.Err() != nil {
		return // not everything was tried, so there is nothing to report
	}
	a.noteAttached(attached)
	if written {
		a.reconcileRows() // without the interfaces that got no program
	}
	if a.known {
		a.reconcilePrune()
	}
	a.reconcileUnderlay()
	a.reconcileFiles()
	if a.known {
		a.report()
	}
}

// reconcileRows writes the maps. It tells whether they hold the state, as far as there is room.
func (a *Agent) reconcileRows() (written bool) {
	again := len(a.objs.rows.Take()) > 0
	if !a.pending.any() {
		a.have = a.want // nothing failed, so a revision without rows is in the maps too
		return true
	}
	if !again && !a.pending.fresh {
		return false
	}
	p := a.pending
	a.pending = pendingRows{}
	start := time.Now()
	var err error
	if p.full {
		err = a.dp.Sync(a.state, a.env)
	} else {
		err = a.dp.Update(p.delta, a.state, a.env)
	}
	lacking, full := dataplane.LeftOut(err)
	if err != nil && !full {
		// What was in place before still is.
		if a.unproven == nil {
			a.unproven = map[model.PortKey]error{}
		}
		err = fmt.Errorf("write the maps: %w", err)
		for k := range a.changed {
			a.unproven[k] = err
		}
		a.pending = pendingRows{full: true}
		settle(a, a.objs.rows, single{}, err)
		return false
	}
	// Where maps are full, the ports that lack nothing are as they should be.
	for k := range a.unproven {
		a.changed = add(a.changed, k)
	}
	for k := range lacking.Ports {
		a.changed = add(a.changed, k)
	}
	a.unproven = lacking.Ports
	a.changedUplinks = a.changedUplinks || len(lacking.Uplinks)+len(a.leftOut.Uplinks) > 0
	a.leftOut.take(a.log, lacking, err, time.Now())
	if err != nil {
		// Room comes from rows that are removed, and then what waits is written.
		a.objs.rows.Refused(single{}, err, reconcile.Ref{})
	} else {
		settle(a, a.objs.rows, single{}, nil)
	}
	// What has gone from the state has gone from the maps, and what finds no room is told
	// by its port: others need not wait for it.
	a.have = a.want
	a.log.Debug("rows written", "revision", a.have, "full", p.full, "took", time.Since(start))
	return true
}

// reconcileLearned makes room of addresses that nobody has used for long.
func (a *Agent) reconcileLearned() {
	if o := a.objs.learned; len(o.Take()) > 0 {
		settle(a, o, single{}, a.dp.Forget(a.state, a.env))
	}
}

// reconcilePrune takes away what the state no longer needs on the host's network, once rows
// do not point at it any more.
func (a *Agent) reconcilePrune() {
	o := &a.objs
	if len(o.prune.Take()) == 0 {
		return
	}
	if a.pending.any() {
		o.prune.Waits(single{}, "the maps could not be written: rows may still point at what would go")
		o.prune.Due(single{}) // with the pass that writes them
		return
	}
	settle(a, o.prune, single{}, a.prune())
}

// reconcileDevices puts the agent's own devices right, with their programs.
func (a *Agent) reconcileDevices() {
	for _, d := range a.objs.devices.Take() {
		var err error
		switch d {
		case hostnet.VXLANDevice:
			err = a.vxlanDevice()
		case hostnet.FabricDevice:
			err = a.fabricDevice()
		case hostnet.SlowDevice:
			err = a.slowDevice()
		case localICMP:
			err = a.dp.AttachLocalICMP()
		}
		settle(a, a.objs.devices, d, err)
	}
}

// vxlanDevice sets the device up, if it is new, after its program is attached.
func (a *Agent) vxlanDevice() error {
	index, err := a.host.PrepareVXLAN()
	if err != nil {
		return err
	}
	if index != a.env.VXLANIndex {
		a.env.VXLANIndex = index
		a.pending.all()
	}
	if err := a.dp.AttachVXLAN(index); err != nil {
		return err
	}
	_, err = a.host.EnsureVXLAN()
	return err
}

// slowDevice serves the slow path: without its program, the tap would hand what is written
// to it to the host's stack.
func (a *Agent) slowDevice() error {
	index, err := a.host.EnsureSlow()
	if err != nil {
		return err
	}
	if index == a.env.SlowIndex && a.slow.running() {
		return nil
	}
	if index != a.env.SlowIndex {
		a.env.SlowIndex = index
		a.pending.all()
	}
	if err := a.dp.AttachSlow(index); err != nil {
		return err
	}
	return a.slow.restart()
}

// openDevices makes the devices, where there are none, before anything is attached.
func (a *Agent) openDevices() (err error) {
	if a.env.VXLANIndex, err = a.host.PrepareVXLAN(); err != nil {
		return err
	}
	if a.cfg.Fabric.On() {
		a.env.Fabric = a.cfg.Fabric
		if a.env.Fabric.Index, err = a.host.PrepareFabric(a.cfg.Fabric.Port); err != nil {
			return err
		}
	}
	a.env.SlowIndex, err = a.host.EnsureSlow()
	return err
}

// attachOwn attaches the programs of the agent's own devices, and keeps the host's stack
// from ICMP errors about tunnels.
func (a *Agent) attachOwn() error {
	for _, f := range []func() error{a.vxlanDevice, a.fabricDevice, a.dp.AttachLocalICMP, a.slowDevice} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
