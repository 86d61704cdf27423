package agent

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
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

// links looks at workload interfaces: attaches programs, and touches the rows of
// ports whose interface is another than before. It returns the names that are
// to be looked at again.
func (a *Agent) links(t *agenda) (failed map[string]struct{}, err error) {
	look := a.host.Link
	names := t.links
	if t.allLinks {
		all, err := a.host.Links()
		if err != nil {
			return nil, err
		}
		byName := make(map[string]hostnet.Link, len(all))
		names = map[string]struct{}{}
		for _, l := range all {
			byName[l.Name] = l
			if a.isWorkload(l.Name) {
				names[l.Name] = struct{}{}
			}
		}
		for n := range a.byIf {
			names[n] = struct{}{}
		}
		for _, n := range a.attached.Workload {
			names[n] = struct{}{}
		}
		look = func(name string) (hostnet.Link, bool, error) { l, ok := byName[name]; return l, ok, nil }
	}
	if a.defaults == nil {
		if a.defaults, err = a.host.DefaultRouteInterfaces(); err != nil {
			return nil, err
		}
	}
	var errs []error
	for name := range names {
		if err := a.link(name, look, t); err != nil {
			errs = append(errs, err)
			failed = add(failed, name)
		}
	}
	return failed, errors.Join(errs...)
}

func (a *Agent) link(name string, look func(string) (hostnet.Link, bool, error), t *agenda) error {
	l, ok, err := look(name)
	if err != nil {
		return err
	}
	a.share(name, t)
	err = a.dropStale(name, l.Index)
	var refused error
	usable := false
	if ok && (a.isWorkload(name) || a.attached.has(l.Index)) {
		if refused = a.refuse(l); refused == nil {
			if aerr := a.prepare(l); aerr != nil {
				refused = aerr
				err = errors.Join(err, aerr)
			} else {
				usable = true
				t.attach = append(t.attach, l)
			}
		}
	}
	a.setLink(name, l, usable, refused, t)
	return err
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
	// Noted first: a program that is attached and not known would never be taken
	// away.
	a.attached.addWorkload(l.Index, l.Name)
	return a.attached.save()
}

// attachWorkloads begins to attach the program to interfaces; the returned function waits for
// the end and returns the errors by name. A new program is in effect at the
// beginning of its call, which then waits out a grace period: rows may be
// written meanwhile. Many take their turns, so those are waited for here: no
// row shall be long before its program.
func (a *Agent) attachWorkloads(ctx context.Context, ls []hostnet.Link) (done func() map[string]error) {
	failed := map[string]error{}
	if len(ls) == 0 {
		return func() map[string]error { return failed }
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, l := range ls {
			if ctx.Err() != nil {
				return // the next agent goes on
			}
			if err := a.dp.AttachWorkload(l.Index); err != nil {
				failed[l.Name] = fmt.Errorf("attach to %s: %w", l.Name, err)
			}
		}
	})
	if len(ls) > fewAttachments {
		wg.Wait()
	}
	return func() map[string]error { wg.Wait(); return failed }
}

const fewAttachments = 2

// notAttached takes back what was set up for interfaces that got no program.
func (a *Agent) notAttached(failed map[string]error, t *agenda) error {
	var errs []error
	for name, err := range failed {
		errs = append(errs, err)
		a.refused[name] = err
		delete(a.env.Links, name)
		for k := range a.byIf[name] {
			a.changed = add(a.changed, k)
			t.setPort(k, a.ports[k], a.state)
		}
	}
	return errors.Join(errs...)
}

// dropStale forgets interfaces that had this name and have gone. One that is
// only called otherwise now keeps its program.
func (a *Agent) dropStale(name string, now int) error {
	var errs []error
	for index, n := range a.attached.Workload {
		if n != name || index == now {
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
func (a *Agent) setLink(name string, l hostnet.Link, usable bool, refused error, t *agenda) {
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
			t.setPort(k, a.ports[k], a.state)
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
	case a.isUplink(l.Name):
		return fmt.Errorf("interface %s is an uplink", l.Name)
	case slices.Contains(a.defaults, l.Index):
		return fmt.Errorf("interface %s carries the host's default route", l.Name)
	}
	return nil
}

func (a *Agent) isUplink(name string) bool {
	for _, g := range a.state.Gateways {
		for _, u := range g.Uplinks {
			if u.Interface == name {
				return true
			}
		}
	}
	return false
}
