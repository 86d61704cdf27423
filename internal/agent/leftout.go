package agent

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// leftOut is what the maps had no room for when rows were last written. There is nothing
// to try again: room comes from rows that are removed, and then the dataplane writes what
// waits.
type leftOut struct {
	dataplane.Lacking
	err  error
	said time.Time
	// others are the ports without an interface here that were reported.
	others map[model.PortID]struct{}
}

// logEvery is how often a map that stays full is logged.
const logEvery = time.Minute

func (l *leftOut) take(log *slog.Logger, lacking dataplane.Lacking, err error, now time.Time) {
	switch {
	case err != nil && (l.err == nil || now.Sub(l.said) >= logEvery):
		log.Error("maps are full: ports that lack rows are in status ERROR", "err", err, "ports", len(lacking.Ports), "other_ports", len(lacking.Others))
		l.said = now
	case err == nil && l.err != nil:
		log.Info("all rows have room again")
	}
	l.Lacking, l.err = lacking, err
}

// reportOthers tells of ports that have no interface here and lack rows, and of those
// that do so no longer.
func (a *Agent) reportOthers(say func(hostsync.PortReport, reconcile.State, reconcile.Ref)) {
	now := make(map[model.PortID]struct{}, len(a.leftOut.Others))
	for k, err := range a.leftOut.Others {
		net, ok := a.state.Networks[k.Network]
		if !ok {
			continue
		}
		id := hostsync.PortAt(net.ID, k.MAC)
		now[id] = struct{}{}
		say(hostsync.PortReport{ID: id, Status: model.PortError, Reason: err.Error()}, reconcile.Failed, reconcile.Ref{Kind: kindRows, Name: theMaps})
	}
	for _, id := range slices.Sorted(maps.Keys(a.leftOut.others)) {
		if _, still := now[id]; !still {
			say(hostsync.PortReport{ID: id, Status: model.PortActive}, reconcile.Done, reconcile.Ref{})
			a.forget(id)
		}
	}
	a.leftOut.others = now
}
