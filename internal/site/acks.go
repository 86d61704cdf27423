package site

import (
	"context"
	"math"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Session is a connection of a host's agent to a controller.
type Session struct {
	Host model.HostName
	// Controller is the id of the controller's run; Number counts its sessions, from 1.
	Controller string
	Number     uint64
	// Applied is the last revision that the agent says it has applied; 0: none.
	Applied int64
	Version string // of the agent
	// Fabric is the host's end of the fabric: address and UDP port; zero: it has none.
	Fabric netip.AddrPort
	// GatewayPriority is as model.Host has it.
	GatewayPriority uint8
}

// Applied is what a controller knows of a host that is connected to it: the revision
// whose state the host has, since the session of that number.
type Applied struct {
	Session  uint64
	Revision int64
	// Late: the host does not keep up, or its agent is away: what moves does not wait for it.
	Late bool
}

// errSessionOver: the host has connected again.
func errSessionOver(name model.HostName) *model.Error {
	return conflict("HostSessionOver", "host %s has connected again meanwhile", name)
}

// ErrSessionLate: a mark was written that counts a session among those it speaks for, before the
// session was in the store. It is to begin anew, with another number.
var ErrSessionLate = conflict("HostSessionLate", "a later session of the controller has begun before")

// begin notes a session of a known host. From its commit on, nobody vouches for the host by
// what was known of an earlier session: it may have been set back to an older state.
func (t *tx) begin(h *model.Host, s Session) error {
	if h.Controller == s.Controller && h.Session > s.Number {
		return errSessionOver(h.Name)
	}
	if c := store.Get(t, store.Controllers, s.Controller); c != nil && s.Number <= max(c.Sessions, c.LiveSessions, c.PromptSessions) {
		return ErrSessionLate
	}
	n := *h
	n.AckedRevision = min(vouched(t, h), s.Applied)
	n.Controller, n.Session, n.StartedAt, n.HeardAt = s.Controller, s.Number, t.now, t.now
	n.Returned = h.Gone
	n.Fabric = model.Fabric{}
	if s.Fabric.Addr().IsValid() {
		n.Fabric = model.Fabric{Addr: s.Fabric.Addr(), Port: s.Fabric.Port()}
	}
	if n.Fabric.Addr == h.Fabric.Addr {
		n.Fabric.MTU = h.Fabric.MTU
	}
	n.GatewayPriority = s.GatewayPriority
	t.noteGatewayHost(&n)
	store.Put(t, store.Hosts, string(n.Name), &n)
	t.agentOf(n.Name, s.Version)
	return nil
}

// vouched is the revision whose state a host is known to have applied.
func vouched(r store.Reader, h *model.Host) int64 {
	return Vouched(h, store.Get(r, store.Controllers, h.Controller))
}

// Vouched is the revision whose state a host is known to have applied by its controller's row; nil: it has none.
func Vouched(h *model.Host, c *model.Controller) int64 {
	if h.Controller == "" || c == nil || h.Session > c.Sessions {
		return h.AckedRevision
	}
	return max(h.AckedRevision, c.AckedRevision)
}

// ackedByAll is the revision that every registered host has applied.
func ackedByAll(r store.Reader) int64 {
	acked := int64(math.MaxInt64)
	for h := range store.All(r, store.Hosts) {
		acked = min(acked, vouched(r, h))
	}
	return acked
}

// KeysWait tells whether freed keys wait for the hosts, as far as this process knows.
func (s *Site) KeysWait() bool { return s.freed.wait(s.now()) }

// Vouch writes the low-water mark of what a controller's hosts have applied, if keys wait
// for it, and then gives back the keys that no host holds any more. A host that is away,
// or that has begun a session which the controller does not know of, is not vouched for beyond
// what was. It is one write however many the hosts.
func (s *Site) Vouch(ctx context.Context, controller string, applied map[model.HostName]Applied) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	s.freed.refresh(snap, s.now())
	if m := markOf(snap, controller, applied); len(s.freed.between(m.before, m.revision)) > 0 {
		err := s.update(ctx, func(t *tx) error {
			m := markOf(t, controller, applied)
			if m.revision <= m.before {
				return nil
			}
			c := t.controller(controller)
			c.Sessions, c.AckedRevision = m.sessions, m.revision
			store.Put(t, store.Controllers, controller, &c)
			t.forgetControllers(controller)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.ReclaimKeys(ctx)
}

// controller is a copy of what is known of a controller's run.
func (t *tx) controller(id string) model.Controller {
	if c := store.Get(t, store.Controllers, id); c != nil {
		return *c
	}
	return model.Controller{ID: id}
}

// mark is what a controller can say of its hosts.
type mark struct {
	before   int64 // what is known of all of them
	revision int64 // what may be said
	sessions uint64
}

func markOf(r store.Reader, controller string, applied map[model.HostName]Applied) mark {
	m := mark{before: math.MaxInt64, revision: math.MaxInt64}
	for h := range store.All(r, store.Hosts) {
		if h.Controller != controller {
			continue
		}
		known := vouched(r, h)
		m.before = min(m.before, known)
		m.sessions = max(m.sessions, h.Session)
		if a, ok := applied[h.Name]; ok && a.Session == h.Session {
			known = max(known, a.Revision)
		}
		m.revision = min(m.revision, known)
	}
	return m
}

// forgetControllers deletes what runs of controllers have vouched for that no host has had
// its last session with.
func (t *tx) forgetControllers(but string) {
	last := map[string]bool{but: true}
	for h := range store.All(t, store.Hosts) {
		last[h.Controller] = true
	}
	var gone []string
	for c := range store.All(t, store.Controllers) {
		if !last[c.ID] {
			gone = append(gone, c.ID)
		}
	}
	for _, id := range slices.Sorted(slices.Values(gone)) {
		store.Delete(t, store.Controllers, id)
	}
}
