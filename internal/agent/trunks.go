package agent

import (
	"errors"
	"fmt"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
)

// trunks looks at the interfaces of VLANs, and touches the rows of those that are
// others than before.
func (a *Agent) trunks(t *agenda) error {
	now := map[string]dataplane.Link{}
	var errs []error
	for k := range a.state.VLANs {
		if _, done := now[k.Interface]; done {
			continue
		}
		l, ok, err := a.host.Link(k.Interface)
		switch {
		case err != nil:
			errs = append(errs, err)
			if old, was := a.env.Trunks[k.Interface]; was {
				now[k.Interface] = old
			}
		case ok && l.Ethernet && !a.isWorkload(k.Interface):
			now[k.Interface] = dataplane.Link{Index: l.Index, MTU: l.MTU}
		}
	}
	for k, v := range a.state.VLANs {
		if now[k.Interface] != a.env.Trunks[k.Interface] {
			t.setVLAN(k, v)
		}
	}
	a.env.Trunks = now
	return errors.Join(errs...)
}

// promiscuous has the interfaces of VLANs take frames for the networks' MACs, and ends it
// on those that it was begun on and that have none any more.
func (a *Agent) promiscuous(links []hostnet.Link) error {
	var errs []error
	want := map[int]bool{}
	for _, l := range links {
		trunk, ok := a.env.Trunks[l.Name]
		if !ok || trunk.Index != l.Index {
			continue
		}
		want[l.Index] = true
		if _, done := a.attached.Promiscuous[l.Index]; done || l.Promiscuous {
			continue
		}
		a.attached.Promiscuous[l.Index] = l.Name
		if err := a.attached.save(); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := a.host.SetPromiscuous(l.Index, true); err != nil {
			errs = append(errs, fmt.Errorf("set %s promiscuous: %w", l.Name, err))
			continue
		}
		a.log.Info("interface carries VLANs", "interface", l.Name)
	}
	for index, name := range a.attached.Promiscuous {
		if want[index] {
			continue
		}
		if err := a.host.SetPromiscuous(index, false); err != nil {
			errs = append(errs, fmt.Errorf("set %s not promiscuous: %w", name, err))
			continue
		}
		delete(a.attached.Promiscuous, index)
		a.log.Info("interface carries no VLANs any more", "interface", name)
	}
	return errors.Join(errs...)
}

// endPromiscuous ends it on all interfaces that an agent began it on.
func endPromiscuous(stateDir string, host *hostnet.Host) error {
	life, err := hostnet.Life()
	if err != nil {
		return err
	}
	at, err := openAttachments(stateDir, life)
	if err != nil {
		return err
	}
	var errs []error
	for index := range at.Promiscuous {
		errs = append(errs, host.SetPromiscuous(index, false))
	}
	return errors.Join(errs...)
}
