package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// isWorkload tells whether an interface belongs to a workload: a port names it, or it is
// configured so.
func (a *Agent) isWorkload(name string) bool {
	if len(a.byIf[name]) > 0 {
		return true
	}
	return slices.ContainsFunc(a.cfg.WorkloadInterfaces, func(p string) bool {
		ok, _ := path.Match(p, name) // patterns were checked at the start
		return ok
	})
}

// reconcileLinks looks at workload interfaces that are due: it begins to attach programs, and
// touches the rows of ports whose interface is another than before. attached waits for the
// programs.
func (a *Agent) reconcileLinks(ctx context.Context) (attached func() map[string]attachment) {
	o := a.objs.links
	due := o.Take()
	look := a.host.Link
	if slices.Contains(due, allLinks) {
		var err error
		if due, look, err = a.listLinks(); err != nil {
			settle(a, o, allLinks, err)
			return a.attachWorkloads(ctx, nil)
		}
		o.Forget(allLinks)
	}
	if len(due) > 0 && a.defaults == nil {
		var err error
		if a.defaults, err = a.host.DefaultRouteInterfaces(); err != nil {
			for _, name := range due {
				settle(a, o, name, err)
			}
			return a.attachWorkloads(ctx, nil)
		}
	}
	var attach []usableLink
	for _, name := range due {
		if l, ok := a.link(name, look); ok {
			attach = append(attach, l)
		}
	}
	// Noted first: a program that is attached and not known would never be taken away.
	if err := a.attached.save(); err != nil && len(attach) > 0 {
		failed := map[string]attachment{}
		for _, l := range attach {
			failed[l.Name] = attachment{err, l.stale}
		}
		return func() map[string]attachment { return failed }
	}
	return a.attachWorkloads(ctx, attach)
}

// listLinks are the names of all interfaces that are workloads' or were, and how to look
// them up in the list.
func (a *Agent) listLinks() (names []string, look func(string) (hostnet.Link, bool, error), err error) {
	all, err := a.host.Links()
	if err != nil {
		return nil, nil, err
	}
	byName := make(map[string]hostnet.Link, len(all))
	set := map[string]struct{}{}
	for _, l := range all {
		byName[l.Name] = l
		if a.isWorkload(l.Name) {
			set[l.Name] = struct{}{}
		}
	}
	for n := range a.byIf {
		set[n] = struct{}{}
	}
	for _, n := range a.attached.Workload {
		set[n] = struct{}{}
	}
	for _, n := range a.objs.links.Keys() {
		if n != allLinks {
			set[n] = struct{}{}
		}
	}
	look = func(name string) (hostnet.Link, bool, error) { l, ok := byName[name]; return l, ok, nil }
	return slices.Collect(maps.Keys(set)), look, nil
}

// usableLink is an interface that is to get the program.
type usableLink struct {
	hostnet.Link
	stale error // why another that had the name before has its program still
}

// attachment is what came of one.
type attachment struct {
	err   error // why it has no program
	stale error
}

// link looks at one interface, and tells whether the program is to be attached to it.
func (a *Agent) link(name string, look func(string) (hostnet.Link, bool, error)) (u usableLink, usable bool) {
	o := a.objs.links
	l, there, err := look(name)
	if err != nil {
		settle(a, o, name, err)
		return u, false
	}
	a.share(name)
	stale := a.dropStale(name, l.Index)
	wanted := a.isWorkload(name) || a.attached.has(l.Index)
	var refused, failed error
	if there && wanted {
		if refused = a.refuse(l); refused == nil {
			failed = a.prepare(l)
			refused = failed
		}
	}
	usable = there && wanted && refused == nil
	a.setLink(name, l, usable, refused)
	switch {
	case errors.Join(stale, failed) != nil:
		settle(a, o, name, errors.Join(stale, failed))
	case refused != nil:
		o.Refused(name, refused, reconcile.Ref{})
	case !there && len(a.byIf[name]) > 0:
		o.Waits(name, "there is no such interface")
	case !usable:
		o.Forget(name)
	}
	return usableLink{l, stale}, usable
}

// prepare does what comes before the program is attached to a workload's interface.
func (a *Agent) prepare(l hostnet.Link) error {
	if _, ok := a.underlay[l.Index]; ok {
		if err := a.dp.DetachUnderlay(l.Index); err != nil {
			return fmt.Errorf("detach from %s: %w", l.Name, err)
		}
		delete(a.underlay, l.Index)
		a.attached.dropUnderlay(l.Index)
	}
	a.attached.addWorkload(l.Index, l.Name)
	return nil
}

// attachWorkloads begins to attach the program to interfaces; the returned function waits for
// the end and returns what came of each, by name. A new program is in effect at the
// beginning of its call, which then waits out a grace period: rows may be
// written meanwhile. Many take their turns, so those are waited for here: no
// row shall be long before its program.
func (a *Agent) attachWorkloads(ctx context.Context, ls []usableLink) (done func() map[string]attachment) {
	results := map[string]attachment{}
	if len(ls) == 0 {
		return func() map[string]attachment { return results }
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, l := range ls {
			if ctx.Err() != nil {
				return // the next agent goes on
			}
			err := a.dp.AttachWorkload(l.Index)
			if err != nil {
				err = fmt.Errorf("attach to %s: %w", l.Name, err)
			}
			results[l.Name] = attachment{err, l.stale}
		}
	})
	if len(ls) > fewAttachments {
		wg.Wait()
	}
	return func() map[string]attachment { wg.Wait(); return results }
}

const fewAttachments = 2

// noteAttached notes which interfaces have got their program, and takes back what was set up
// for those that have not.
func (a *Agent) noteAttached(attached map[string]attachment) {
	for name, at := range attached {
		settle(a, a.objs.links, name, errors.Join(at.err, at.stale))
		if at.err == nil {
			continue
		}
		a.refused[name] = at.err
		delete(a.env.Links, name)
		for k := range a.byIf[name] {
			a.changed = add(a.changed, k)
			a.pending.setPort(k, a.state)
		}
	}
}

// dropStale forgets interfaces that had this name and have gone. One that is
// only called otherwise now keeps its program.
func (a *Agent) dropStale(name string, now int) error {
	var errs []error
	for _, index := range a.attached.called(name) {
		if index == now {
			continue
		}
		l, ok, err := a.host.LinkByIndex(index)
		switch {
		case err != nil:
			errs = append(errs, err)
		case ok:
			a.attached.addWorkload(index, l.Name)
		default:
			if err := a.dp.DetachWorkload(index); err != nil {
				errs = append(errs, fmt.Errorf("take the program of %s away: %w", name, err))
				continue
			}
			a.attached.dropWorkload(index)
		}
	}
	return errors.Join(errs...)
}

// setLink notes what an interface is good for, and touches its ports' rows where
// that is new.
func (a *Agent) setLink(name string, l hostnet.Link, usable bool, refused error) {
	old, had := a.env.Links[name]
	link := dataplane.Link{Index: l.Index, PeerElsewhere: l.PeerElsewhere, MTU: l.MTU}
	usable = usable && len(a.byIf[name]) > 0
	oldRefused := a.refused[name]
	if refused != nil {
		a.refused[name] = refused
	} else {
		delete(a.refused, name)
	}
	if usable {
		a.env.Links[name] = link
	} else {
		delete(a.env.Links, name)
	}
	moved := usable != had || usable && link != old
	if !moved && fmt.Sprint(oldRefused) == fmt.Sprint(refused) {
		return
	}
	for k := range a.byIf[name] {
		a.changed = add(a.changed, k)
		if moved {
			a.pending.setPort(k, a.state)
		}
	}
}

// refuse says why an interface may carry no port: the program would cut the host, or the
// tunnels, off.
func (a *Agent) refuse(l hostnet.Link) error {
	switch {
	case hostnet.OwnDevice(l.Name):
		return fmt.Errorf("interface %s is the agent's own", l.Name)
	case l.Loopback:
		return fmt.Errorf("interface %s is the loopback device", l.Name)
	case !l.Ethernet:
		return fmt.Errorf("interface %s is no Ethernet device", l.Name)
	case slices.Contains(a.cfg.UnderlayInterfaces, l.Name):
		return fmt.Errorf("interface %s carries the tunnels (--underlay-interface)", l.Name)
	case a.carry[uint32(l.Index)] && !a.attached.has(l.Index):
		return fmt.Errorf("interface %s leads to a remote VTEP", l.Name)
	case a.isUplink(l.Name):
		return fmt.Errorf("interface %s is an uplink", l.Name)
	case slices.Contains(a.defaults, l.Index):
		return fmt.Errorf("interface %s carries the host's default route", l.Name)
	}
	return nil
}

// share finds out anew which ports of an interface do not get it, and touches the rows
// of those for which that is new: the one with the smallest key keeps it, and nothing is
// mixed up.
func (a *Agent) share(name string) {
	ports := a.byIf[name]
	var owner model.PortKey
	for k := range ports {
		if owner == 0 || k < owner {
			owner = k
		}
	}
	for k := range ports {
		by, was := a.env.Shared[k]
		shares := k != owner
		if was == shares && (!shares || by == owner) {
			continue
		}
		if shares {
			a.env.Shared[k] = owner
		} else {
			delete(a.env.Shared, k)
		}
		a.changed = add(a.changed, k)
		a.pending.setPort(k, a.state)
	}
}
