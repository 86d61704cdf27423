package agent

import (
	"errors"
	"fmt"
	"os"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// reporter remembers what was reported, so that only what changed is again.
type reporter struct {
	said map[model.PortID]hostsync.PortReport
	// again are ports to be told of even if nothing has changed here: what the controller knew of
	// them has ended, as with a binding.
	again    map[model.PortID]bool
	revision int64
	mtu      int
	fabric   int
}

func newReporter() reporter {
	return reporter{said: map[model.PortID]hostsync.PortReport{}, again: map[model.PortID]bool{}}
}

// sayAgain makes all that was said be said again.
func (r *reporter) sayAgain() {
	for id := range r.said {
		r.again[id] = true
	}
}

// forget a port that is no longer the host's.
func (a *Agent) forget(id model.PortID) {
	a.stats.port(a.reports.said[id], hostsync.PortReport{})
	delete(a.reports.said, id)
	a.objs.ports.Forget(id)
}

// report tells the controller of ports whose state has changed and of the
// revision that the maps hold.
func (a *Agent) report() {
	var out []hostsync.PortReport
	say := func(p hostsync.PortReport, s reconcile.State, on reconcile.Ref) {
		switch s {
		case reconcile.Failed:
			a.objs.ports.Refused(p.ID, errors.New(p.Reason), on)
		case reconcile.Waiting:
			a.objs.ports.Waits(p.ID, p.Reason)
		default:
			a.objs.ports.Done(p.ID)
		}
		old, ok := a.reports.said[p.ID]
		changed := !ok || old != p
		if changed || a.reports.again[p.ID] {
			out = append(out, p)
		}
		if changed {
			a.stats.port(old, p)
			a.reports.said[p.ID] = p
			a.log.Info("port", "port", p.ID, "status", p.Status, "reason", p.Reason)
		}
	}
	if a.changedAll {
		for k, p := range a.state.Ports {
			say(a.portReport(k, p))
		}
	} else {
		for k := range a.changed {
			if p, ok := a.state.Ports[k]; ok {
				say(a.portReport(k, p))
			}
		}
	}
	if a.changedAll || a.changedUplinks {
		old := a.uplinkPorts
		a.uplinkPorts = map[model.PortID]struct{}{}
		for _, g := range a.state.Gateways {
			for _, u := range g.Uplinks {
				a.uplinkPorts[u.Port] = struct{}{}
				say(a.uplinkReport(u))
			}
		}
		for k, v := range a.state.VLANs {
			a.uplinkPorts[v.Port] = struct{}{}
			say(a.uplinkReport(hoststate.Uplink{Port: v.Port, Interface: k.Interface, Down: v.Drop == reason.PortAdminDown}))
		}
		for id := range old {
			if _, ok := a.uplinkPorts[id]; !ok {
				a.forget(id)
			}
		}
	}
	a.reportOthers(say)
	a.changed, a.changedAll, a.changedUplinks = nil, false, false
	clear(a.reports.again)
	a.stats.setRevision(a.want, a.have) // also where there is nothing to report
	if len(out) == 0 && a.have == a.reports.revision && a.underlayMTU == a.reports.mtu && a.fabricMTU == a.reports.fabric {
		return
	}
	a.reports.revision, a.reports.mtu, a.reports.fabric = a.have, a.underlayMTU, a.fabricMTU
	a.ctl.Report(hostsync.Report{Revision: a.have, UnderlayMTU: a.underlayMTU, FabricMTU: a.fabricMTU, Ports: out})
}

// portReport is what a port's status comes to: what the controller is told, how that is as
// a status, and the object that keeps the port from working.
func (a *Agent) portReport(k model.PortKey, p hoststate.Port) (r hostsync.PortReport, s reconcile.State, on reconcile.Ref) {
	r = hostsync.PortReport{ID: p.ID, Status: model.PortActive}
	s = reconcile.Failed
	owner, shared := a.env.Shared[k]
	unproven := a.unproven[k]
	_, there := a.env.Links[p.Interface]
	refused := a.refused[p.Interface]
	switch {
	case refused != nil:
		r.Status, r.Reason = model.PortError, refused.Error()
		on = reconcile.Ref{Kind: kindLinks, Name: p.Interface}
	case !there:
		r.Status, r.Reason = model.PortDown, fmt.Sprintf("interface %s does not exist on host %s", p.Interface, a.hostName())
		s = reconcile.Waiting
	case shared:
		r.Status, r.Reason = model.PortError, fmt.Sprintf("interface %s carries port %s already", p.Interface, a.state.Ports[owner].ID)
	case unproven != nil:
		r.Status, r.Reason = model.PortError, unproven.Error()
		on = reconcile.Ref{Kind: kindRows, Name: theMaps}
	case p.Drop != reason.None:
		r.Status, r.Reason = model.PortDown, p.Drop.Text()
		s = reconcile.Done // as somebody has set it
	default:
		s = reconcile.Done
	}
	return r, s, on
}

func (a *Agent) uplinkReport(u hoststate.Uplink) (r hostsync.PortReport, s reconcile.State, on reconcile.Ref) {
	r = hostsync.PortReport{ID: u.Port, Status: model.PortActive}
	s = reconcile.Failed
	l, ok, err := a.host.Link(u.Interface)
	switch {
	case err != nil:
		r.Status, r.Reason = model.PortError, err.Error()
	case !ok:
		r.Status, r.Reason = model.PortDown, fmt.Sprintf("interface %s does not exist on host %s", u.Interface, a.hostName())
		s = reconcile.Waiting
	case a.isWorkload(u.Interface):
		r.Status, r.Reason = model.PortError, fmt.Sprintf("interface %s belongs to a workload", u.Interface)
	case u.Down:
		r.Status, r.Reason = model.PortDown, "admin_state_up is false on the port, its network or its router"
		s = reconcile.Done
	case a.leftOut.Uplinks[u.Port] != nil:
		r.Status, r.Reason = model.PortError, a.leftOut.Uplinks[u.Port].Error()
		on = reconcile.Ref{Kind: kindRows, Name: theMaps}
	case !l.Up:
		r.Status, r.Reason = model.PortDown, fmt.Sprintf("interface %s is down", u.Interface)
		s = reconcile.Waiting
	default:
		s = reconcile.Done
	}
	return r, s, on
}

// hostName is what the controller calls this host, else what it calls itself.
func (a *Agent) hostName() string {
	if c, ok := a.ctl.(interface{ Host() model.HostName }); ok {
		if h := c.Host(); h != "" {
			return string(h)
		}
	}
	if n, err := os.Hostname(); err == nil {
		return n
	}
	return "this host"
}
