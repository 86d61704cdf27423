package site

import (
	"context"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// A port that moves from host to host is on both for a while (model.Move). Each stage is one write, and the next one
// waits until all hosts that are there have applied it: who sends to a place that has the port, and is taken from
// there, whatever each host knows. docs/adr/0047-fabric.md.

// moveOf is the move of a port from what it was to what it is to be; nil: it is in one place.
//
// Who moves on, or back, while a move lasts, goes on from where frames go now.
func (t *tx) moveOf(old, p *model.Port) *model.Move {
	if p.HostID == "" || p.InterfaceName() == "" || p.IsRemoteSite() || isInterface(p) || !t.onFabric(p.HostID) {
		return nil
	}
	if n := store.Get(t, store.Networks, string(p.NetworkID)); n == nil || n.Type != model.NetworkOverlay {
		return nil
	}
	m := old.Move
	if p.HostID == old.HostID {
		return m // another interface at most
	}
	at := model.Move{Host: old.HostID, Interface: old.InterfaceName(), Stage: model.MoveAccept, Epoch: old.Revision + 1}
	switch {
	case m == nil:
	case m.Host == p.HostID && m.Interface == p.InterfaceName(): // back
		at.Stage = model.MoveBoth
		if m.Stage < model.MoveSwitched {
			at.Stage = model.MoveSwitched
		}
	case m.Stage < model.MoveSwitched:
		at.Host, at.Interface = m.Host, m.Interface
	}
	if at.Host == "" || at.Host == p.HostID || at.Interface == "" || !t.onFabric(at.Host) {
		return nil
	}
	return &at
}

// onFabric tells whether a host is there, and on the fabric: others can send to it.
func (t *tx) onFabric(name model.HostName) bool {
	h := store.Get(t, store.Hosts, string(name))
	return h != nil && !h.Gone && h.Fabric.On()
}

func late(h *model.Host, controller string, applied map[model.HostName]Applied) bool {
	a, ok := applied[h.Name]
	return ok && a.Late && h.Controller == controller && a.Session == h.Session
}

// hasApplied tells whether a host of a controller has applied a revision.
func hasApplied(r store.Reader, h *model.Host, revision int64, applied map[model.HostName]Applied) bool {
	a, ok := applied[h.Name]
	return vouched(r, h) >= revision || ok && a.Session == h.Session && a.Revision >= revision
}

// takeBackMark lowers what a controller has said that its hosts have applied to what one of them has that was gone meanwhile: it was said
// without regard to that one.
func (t *tx) takeBackMark(h *model.Host) {
	c, known := t.controller(h.Controller), vouched(t, h)
	if h.Session > c.LiveSessions || c.LiveRevision <= known {
		return
	}
	c.LiveRevision = known
	store.Put(t, store.Controllers, c.ID, &c)
}

// VouchLive writes that all hosts of a controller that keep up have applied a revision, if that is so and other controllers do not know
// of it.
func (s *Site) VouchLive(ctx context.Context, controller string, revision int64, applied map[model.HostName]Applied) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	if _, _, ok := liveMark(snap, controller, revision, applied); !ok {
		return nil
	}
	return s.update(ctx, func(t *tx) error {
		mark, sessions, ok := liveMark(t, controller, revision, applied)
		if !ok {
			return nil
		}
		c := t.controller(controller)
		c.LiveRevision, c.LiveSessions = mark, sessions
		store.Put(t, store.Controllers, controller, &c)
		return nil
	})
}

// liveMark is a revision that a controller's hosts have applied, no less than it said before, and the last session that this
// speaks for; false: there is nothing to say, or nobody to say it to. While a gateway
// device moves, it does not speak for hosts that do not keep up: the device must not go to one of them.
func liveMark(r store.Reader, controller string, revision int64, applied map[model.HostName]Applied) (mark int64, sessions uint64, ok bool) {
	c := store.Get(r, store.Controllers, controller)
	if c != nil {
		revision = max(revision, c.LiveRevision)
	}
	others, device := false, deviceMoves(r)
	for h := range store.All(r, store.Hosts) {
		switch {
		case h.Gone:
		case h.Controller != controller:
			others = true
		case (device || !late(h, controller, applied)) && !hasApplied(r, h, revision, applied):
			return 0, 0, false
		default:
			sessions = max(sessions, h.Session)
		}
	}
	return revision, sessions, others && sessions > 0 && (c == nil || c.LiveRevision < revision || c.LiveSessions < sessions)
}

// AdvanceMove begins the stage of a port's move that follows on one, if it is still in that; after the last one the port is in
// its new place alone.
func (s *Site) AdvanceMove(ctx context.Context, id model.PortID, from model.Move) error {
	return s.update(ctx, func(t *tx) error {
		old := store.Get(t, store.Ports, string(id))
		if old == nil || old.Move == nil || *old.Move != from {
			return nil
		}
		p := *old
		p.Move = nil
		if from.Stage < model.MoveSwitched {
			next := from
			next.Stage++
			p.Move = &next
		}
		if err := t.reindex(portEntries(old), portEntries(&p)); err != nil {
			return err
		}
		store.Put(t, store.Ports, string(id), &p)
		return nil
	})
}
