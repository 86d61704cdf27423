package agent

import (
	"errors"
	"fmt"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// reconcileTrunks looks at the interfaces of VLANs that are due, and touches the rows of those
// that are others than before.
func (a *Agent) reconcileTrunks() {
	o := a.objs.trunks
	for _, name := range o.Take() {
		a.changedUplinks = true
		old := a.env.Trunks[name]
		l, ok, err := a.host.Link(name)
		if err != nil {
			settle(a, o, name, err)
			continue
		}
		var now dataplane.Link
		if ok && l.Ethernet && !a.isWorkload(name) {
			now = dataplane.Link{Index: l.Index, MTU: l.MTU}
		}
		wanted := false
		for k, v := range a.state.VLANs {
			if k.Interface != name {
				continue
			}
			if wanted = true; now != old {
				a.pending.setVLAN(k, v)
			}
		}
		if now.Index != 0 && wanted {
			a.env.Trunks[name] = now
		} else {
			delete(a.env.Trunks, name)
		}
		if now != old {
			a.objs.underlay.Due(allUnderlay)
		}
		switch {
		case !wanted:
			o.Forget(name)
		case now.Index != 0:
			settle(a, o, name, nil)
		case !ok:
			o.Waits(name, "there is no such interface")
		case !l.Ethernet:
			o.Refused(name, errors.New("it is no Ethernet device"), reconcile.Ref{})
		default:
			o.Refused(name, errors.New("it belongs to a workload"), reconcile.Ref{})
		}
	}
}

func (a *Agent) carriesVLANs(name string, index int) bool {
	trunk, ok := a.env.Trunks[name]
	return ok && trunk.Index == index
}

// setPromiscuous has an interface of VLANs take frames for the networks' MACs.
func (a *Agent) setPromiscuous(l hostnet.Link) error {
	if !a.carriesVLANs(l.Name, l.Index) {
		return nil
	}
	if _, done := a.attached.Promiscuous[l.Index]; done || l.Promiscuous {
		return nil
	}
	a.attached.addPromiscuous(l.Index, l.Name)
	if err := a.attached.save(); err != nil {
		return err
	}
	if err := a.host.SetPromiscuous(l.Index, true); err != nil {
		return fmt.Errorf("set %s promiscuous: %w", l.Name, err)
	}
	a.log.Info("interface carries VLANs", "interface", l.Name)
	return nil
}

// endPromiscuous ends it on an interface that it was begun on and that has no VLANs any more.
func (a *Agent) endPromiscuous(index int, name string) error {
	if err := a.host.SetPromiscuous(index, false); err != nil {
		return fmt.Errorf("set %s not promiscuous: %w", name, err)
	}
	a.attached.dropPromiscuous(index)
	a.log.Info("interface carries no VLANs any more", "interface", name)
	return nil
}

// endAllPromiscuous ends it on all interfaces that an agent began it on.
func endAllPromiscuous(stateDir string, host *hostnet.Host) error {
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
