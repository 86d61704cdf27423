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

func late(h *model.Host, applied map[model.HostName]Applied) bool {
	a, ok := applied[h.Name]
	return ok && a.Late && a.Session == h.Session
}

// hasApplied tells whether a host of a controller has applied a revision.
func hasApplied(r store.Reader, h *model.Host, revision int64, applied map[model.HostName]Applied) bool {
	a, ok := applied[h.Name]
	return vouched(r, h) >= revision || ok && a.Session == h.Session && a.Revision >= revision
}

// takeBackMark lowers what a controller has said that its hosts have applied to what one of them has that was gone meanwhile: it was said
// without regard to that one.
func (t *tx) takeBackMark(h *model.Host) {
	was, known := t.controller(h.Controller), vouched(t, h)
	c := was
	if h.Session <= c.LiveSessions {
		c.LiveRevision = min(c.LiveRevision, known)
	}
	if h.Session <= c.PromptSessions {
		c.PromptRevision = min(c.PromptRevision, known)
	}
	if c != was {
		store.Put(t, store.Controllers, c.ID, &c)
	}
}

// Live are revisions that hosts of a controller have applied.
type Live struct {
	All    int64 // those that are not gone
	Prompt int64 // those of them that keep up
}

// VouchLive writes what all hosts of a controller have applied, and what all that keep up have, if that is so and other controllers
// do not know of it.
func (s *Site) VouchLive(ctx context.Context, controller string, live Live, applied map[model.HostName]Applied) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	if _, news := liveMarks(snap, controller, live, applied); !news {
		return nil
	}
	return s.update(ctx, func(t *tx) error {
		if c, news := liveMarks(t, controller, live, applied); news {
			store.Put(t, store.Controllers, controller, &c)
		}
		return nil
	})
}

// liveMarks is a controller with the marks that it may write. news: there is something to say, and somebody to say it to.
func liveMarks(r store.Reader, controller string, live Live, applied map[model.HostName]Applied) (c model.Controller, news bool) {
	c.ID = controller
	if old := store.Get(r, store.Controllers, controller); old != nil {
		c = *old
	}
	var own []*model.Host
	others := false
	for h := range store.All(r, store.Hosts) {
		switch {
		case h.Gone:
		case h.Controller == controller:
			own = append(own, h)
		default:
			others = true
		}
	}
	if !others {
		return c, false
	}
	for _, m := range []struct {
		revision *int64
		sessions *uint64
		applied  int64
		prompt   bool
	}{{&c.LiveRevision, &c.LiveSessions, live.All, false}, {&c.PromptRevision, &c.PromptSessions, live.Prompt, true}} {
		revision := max(m.applied, *m.revision)
		sessions, ok := spokenFor(r, own, revision, applied, m.prompt)
		if ok && (*m.revision < revision || *m.sessions < sessions) {
			*m.revision, *m.sessions, news = revision, sessions, true
		}
	}
	return c, news
}

// spokenFor is the last session of a controller's hosts if they all have applied a revision, or all that keep up.
func spokenFor(r store.Reader, own []*model.Host, revision int64, applied map[model.HostName]Applied, prompt bool) (sessions uint64, ok bool) {
	for _, h := range own {
		if !(prompt && late(h, applied)) && !hasApplied(r, h, revision, applied) {
			return 0, false
		}
		sessions = max(sessions, h.Session)
	}
	return sessions, sessions > 0
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
