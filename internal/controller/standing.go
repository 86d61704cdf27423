package controller

import (
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// standings are the hosts that are not gone, by the controller of their last session. They are kept as hosts acknowledge, are sent
// something, come and go: so what all hosts have passed is found by those alone that are behind. hub.mu guards them.
type standings struct {
	controllers map[string]*model.Controller // as the store has them
	fellows     map[string]*fellows          // by controller
	at          map[model.HostName]string    // the controller that each is listed with
}

// fellows are the hosts of one controller.
type fellows struct {
	hosts map[model.HostName]*model.Host
	// apart are those that are looked at one by one. Of this controller: which have not applied all that they were sent. Of
	// another: which its mark does not speak for.
	apart    map[model.HostName]struct{}
	sessions uint64 // the last of them
}

func newStandings() standings {
	return standings{controllers: map[string]*model.Controller{}, fellows: map[string]*fellows{}, at: map[model.HostName]string{}}
}

// place lists a host where it belongs. It is called when its row in the store, its connection, or what it was sent or has acknowledged
// has changed. It needs mu.
func (h *hub) place(name model.HostName) {
	s, x := &h.standings, h.life.hosts[name]
	if x != nil && x.Gone {
		x = nil
	}
	if id, listed := s.at[name]; listed && (x == nil || x.Controller != id || s.fellows[id].hosts[name].Session != x.Session) {
		s.drop(name, id)
	}
	if x == nil {
		return
	}
	f := s.fellows[x.Controller]
	if f == nil {
		f = &fellows{hosts: map[model.HostName]*model.Host{}, apart: map[model.HostName]struct{}{}}
		s.fellows[x.Controller] = f
	}
	s.at[name], f.hosts[name], f.sessions = x.Controller, x, max(f.sessions, x.Session)
	if h.keepsUp(x) {
		delete(f.apart, name)
	} else {
		f.apart[name] = struct{}{}
	}
}

// keepsUp tells whether what is known of all its controller's hosts is known of a host.
func (h *hub) keepsUp(x *model.Host) bool {
	if x.Controller == h.id {
		host := h.hosts[x.Name]
		return host != nil && host.session == x.Session && host.acked >= host.sent
	}
	c := h.standings.controllers[x.Controller]
	return c != nil && x.Session <= c.LiveSessions
}

func (s *standings) drop(name model.HostName, id string) {
	f := s.fellows[id]
	last := f.hosts[name].Session
	delete(s.at, name)
	delete(f.hosts, name)
	delete(f.apart, name)
	if len(f.hosts) == 0 {
		delete(s.fellows, id)
		return
	}
	if last == f.sessions {
		f.sessions = 0
		for _, x := range f.hosts {
			f.sessions = max(f.sessions, x.Session)
		}
	}
}

// placeOf takes in a controller's row; nil: it is no more. It needs mu.
func (h *hub) placeOf(id string, c *model.Controller) {
	if c == nil {
		delete(h.standings.controllers, id)
	} else {
		h.standings.controllers[id] = c
	}
	f := h.standings.fellows[id]
	if f == nil || id == h.id {
		return
	}
	if c == nil {
		for name := range f.hosts {
			f.apart[name] = struct{}{}
		}
		return
	}
	for name := range f.apart { // its sessions grow only
		if h.keepsUp(f.hosts[name]) {
			delete(f.apart, name)
		}
	}
}

// readStandings starts from a snapshot, whose hosts have been read. It needs mu.
func (h *hub) readStandings(r store.Reader) {
	h.standings = newStandings()
	for c := range store.All(r, store.Controllers) {
		h.standings.controllers[c.ID] = c
	}
	for name := range h.life.hosts {
		h.place(name)
	}
}

// passed are the revisions that hosts have applied.
type passed struct {
	prompt int64 // all but those that do not keep up
	all    int64
	// Those of this controller: the same two.
	ownPrompt, ownAll int64
}

// passed finds what all hosts have applied. It needs mu.
func (h *hub) passed(now time.Time) passed {
	p := passed{h.revision, h.revision, h.revision, h.revision}
	for id, f := range h.standings.fellows {
		if id == h.id {
			for name := range f.apart {
				at := h.passedBy(f.hosts[name])
				p.ownAll = min(p.ownAll, at)
				if !h.late(f.hosts[name], now) {
					p.ownPrompt = min(p.ownPrompt, at)
				}
			}
			p.all, p.prompt = min(p.all, p.ownAll), min(p.prompt, p.ownPrompt)
			continue
		}
		others := h.revision
		if len(f.apart) < len(f.hosts) {
			c := h.standings.controllers[id]
			if others = min(others, c.LiveRevision); c.Sessions >= c.LiveSessions {
				others = min(h.revision, max(others, c.AckedRevision))
			}
		}
		for name := range f.apart {
			others = min(others, h.passedBy(f.hosts[name]))
		}
		p.all = min(p.all, others)
		if c := h.standings.controllers[id]; c != nil && c.PromptSessions >= f.sessions {
			others = min(h.revision, max(others, c.PromptRevision))
		}
		p.prompt = min(p.prompt, others)
	}
	return p
}

// passedBy is the revision that a host which is not gone has applied. It needs mu.
func (h *hub) passedBy(x *model.Host) int64 {
	c := h.standings.controllers[x.Controller]
	at := site.Vouched(x, c)
	switch {
	case h.keepsUp(x) && x.Controller == h.id:
		return h.revision
	case h.keepsUp(x):
		return max(at, c.LiveRevision)
	}
	if host := h.hosts[x.Name]; host != nil && x.Controller == h.id && host.session == x.Session {
		at = max(at, host.acked)
	}
	return at
}

// hasPassed tells whether a host is there and has applied a revision itself. It needs mu.
func (h *hub) hasPassed(name model.HostName, revision int64) bool {
	x := h.life.hosts[name]
	return x != nil && !x.Gone && h.passedBy(x) >= revision
}

// late tells of a host of this controller whether it does not keep up, or its agent is away: ports that move do not wait for it.
// It needs mu.
func (h *hub) late(x *model.Host, now time.Time) bool {
	if host := h.hosts[x.Name]; host != nil {
		return host.session == x.Session && host.acked < host.sent && now.Sub(host.heard) > h.moves.wait
	}
	return now.Sub(h.life.heard[x.Name]) > h.moves.wait
}

// markDue tells whether other controllers may wait to hear what this one's hosts have applied: those have all passed a revision,
// and with it a stage of what moves, and the mark does not say so. It needs mu.
func (h *hub) markDue(p passed) bool {
	f := h.standings.fellows[h.id]
	if f == nil || len(h.standings.fellows) == 1 {
		return false
	}
	var c model.Controller
	if known := h.standings.controllers[h.id]; known != nil {
		c = *known
	}
	for _, s := range h.moves.ports {
		if s.revision <= p.ownPrompt && (s.revision > c.PromptRevision || f.sessions > c.PromptSessions) {
			return true
		}
	}
	for _, m := range h.devices.moves {
		if m.revision <= p.ownAll && (m.revision > c.LiveRevision || f.sessions > c.LiveSessions) {
			return true
		}
	}
	return false
}
