package controller

import (
	"context"
	"errors"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// Ports and gateway devices move from host to host stage by stage: model.Move, model.Placement. The store has how far each has come, and
// any controller brings it on once it sees that the hosts have applied that; of several the first one does. One loop looks at both kinds. A
// stage of a port ends when all hosts have applied it, as far as they are there and keep up, and after some seconds in any case; when that of
// a device does, gatewaymoves.go has. hub.mu guards what is here.

// moves are the ports on the move.
type moves struct {
	ports map[model.PortID]stage
	begun chan struct{} // capacity 1: a port or a device has begun to move
	pace
}

// stage is one that a port's move is in.
type stage struct {
	move     model.Move
	revision int64     // at which it is in the store, or a later one
	seen     time.Time // by this process
}

// portsALook is how many ports are brought on by one look at most.
const portsALook = 64

// pace bounds how long a stage lasts.
type pace struct {
	wait   time.Duration // for hosts that have not applied it
	attach time.Duration // until the new host has the interface, before frames go there
	hold   time.Duration // after all send to the new place, until the former one goes: for a virtual machine that comes later
}

func newMoves() moves {
	return moves{
		ports: map[model.PortID]stage{}, begun: make(chan struct{}, 1),
		pace: pace{wait: 5 * time.Second, attach: 10 * time.Second, hold: 5 * time.Second},
	}
}

// readMoves takes the ports on the move from a snapshot. A stage that was seen before goes on: feeds may break more often than one may
// last. It needs mu.
func (h *hub) readMoves(r store.Snapshot) {
	had := h.moves.ports
	h.moves.ports = map[model.PortID]stage{}
	for p := range store.All(r, store.Ports) {
		if s, ok := had[p.ID]; ok {
			h.moves.ports[p.ID] = s // kept where it is the same
		}
		h.noteMove(p, r.Revision())
	}
}

// noteMoves takes from a batch what has changed of them. It needs mu.
func (h *hub) noteMoves(b store.Batch) {
	for _, c := range b.Changes {
		if c.Kind != store.Ports.Kind() {
			continue
		}
		if p, ok := c.Object.(*model.Port); ok {
			h.noteMove(p, b.Revision)
		} else {
			delete(h.moves.ports, model.PortID(c.ID))
		}
	}
}

func (h *hub) noteMove(p *model.Port, revision int64) {
	if p.Move == nil {
		delete(h.moves.ports, p.ID)
		return
	}
	if s, ok := h.moves.ports[p.ID]; ok && s.move == *p.Move {
		return
	}
	h.moves.ports[p.ID] = stage{*p.Move, revision, time.Now()}
	h.wakeMoves()
}

func (h *hub) wakeMoves() {
	select {
	case h.moves.begun <- struct{}{}:
	default:
	}
}

// askAgain adds the rows of ports whose host has them, and whose state nobody knows: of one that was bound to another host, and is back
// while its former host has it still. Its row does not change then; that the host gets it makes it say how the port is. It needs mu.
func (h *hub) askAgain(b store.Batch, told map[model.HostName][]hostsync.Change) {
	if b.Snapshot == nil {
		return // nobody can tell whose state is known
	}
	for _, c := range b.Changes {
		p, ok := c.Object.(*model.Port)
		if !ok || c.Old == nil || h.hosts[p.HostID] == nil {
			continue
		}
		if st := store.Get(b.Snapshot, store.PortStates, c.ID); st != nil && st.Host == p.HostID {
			continue
		}
		g := hoststate.Group{Kind: hoststate.GroupHost}.At(p.HostID)
		rows := h.compiler.Rows(g)
		if rows == nil {
			continue
		}
		if row, has := rows.Ports[p.Key]; has {
			d := &hoststate.Delta{Set: hoststate.State{Ports: map[model.PortKey]hoststate.Port{p.Key: row}}}
			told[p.HostID] = append(told[p.HostID], hostsync.Change{Group: g, Delta: d, Rows: rows.Len})
		}
	}
}

// advance brings on what moves, ports and gateway devices, until ctx ends.
func (h *hub) advance(ctx context.Context) error {
	const least, most = 5 * time.Millisecond, 250 * time.Millisecond
	for {
		h.mu.Lock()
		moved, any := h.moved, len(h.moves.ports)+len(h.devices.moves) > 0
		h.mu.Unlock()
		if !any {
			select {
			case <-h.moves.begun:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		if err := h.advanceAll(ctx); err != nil && ctx.Err() == nil {
			h.log.Warn("ports or gateway devices that move did not go on; it is tried again", "error", err)
		}
		again := time.NewTimer(most)
		select {
		case <-moved:
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
		if pause.For(ctx, least) != nil {
			return nil
		}
	}
}

// advanceAll begins the next stage of each port and device whose stage has ended, and tells other controllers what they wait for:
// the highest revision that all hosts of this one have applied, which they pass however fast stages follow each other. The ports come last, and
// not all of them in one look: where thousands move, neither other controllers nor devices wait for them.
func (h *hub) advanceAll(ctx context.Context) error {
	snap, err := h.rules.View(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	h.mu.Lock()
	passed := h.passed(now)
	ports, devices := h.duePorts(snap, now, passed.prompt), h.dueDevices(now, passed.all)
	var applied map[model.HostName]site.Applied // nil: nobody waits for it
	if h.markDue(passed) {
		applied = h.keepUp(now)
	}
	h.mu.Unlock()
	var errs []error
	if applied != nil {
		errs = append(errs, h.rules.VouchLive(ctx, h.id, site.Live{All: passed.ownAll, Prompt: passed.ownPrompt}, applied))
	}
	for _, m := range devices {
		if err := h.take(ctx, m); err != nil {
			errs = append(errs, err)
			break
		}
	}
	for id, s := range ports {
		if err := h.rules.AdvanceMove(ctx, id, s.move); err != nil {
			errs = append(errs, err)
			break // the store may be away
		}
	}
	return errors.Join(errs...)
}

// duePorts are ports whose stage has ended, as many as are brought on by one look. It needs mu.
func (h *hub) duePorts(r store.Reader, now time.Time, passed int64) map[model.PortID]stage {
	due := map[model.PortID]stage{}
	for id, s := range h.moves.ports {
		if len(due) == portsALook {
			break
		}
		if h.moves.over(r, id, s, now, passed) {
			due[id] = s
		}
	}
	return due
}

// over tells whether a stage has ended.
func (p pace) over(r store.Reader, id model.PortID, s stage, now time.Time, passed int64) bool {
	lasted := now.Sub(s.seen)
	if lasted < p.wait && passed < s.revision {
		return false
	}
	switch s.move.Stage {
	case model.MoveBoth:
		st := store.Get(r, store.PortStates, string(id))
		return lasted >= p.attach || st != nil && st.Host != s.move.Host && st.Status == model.PortActive
	case model.MoveSwitched:
		return lasted >= p.hold
	}
	return true
}

// keepUp is what each host of this controller has, and which do not keep up. It needs mu.
func (h *hub) keepUp(now time.Time) map[model.HostName]site.Applied {
	out := h.applied()
	for name, host := range h.hosts {
		if a := out[name]; host.acked < host.sent && now.Sub(host.heard) > h.moves.wait {
			a.Late = true
			out[name] = a
		}
	}
	for name, x := range h.life.hosts {
		if _, here := out[name]; !here && x.Controller == h.id && now.Sub(h.life.heard[name]) > h.moves.wait {
			out[name] = site.Applied{Session: x.Session, Late: true}
		}
	}
	return out
}
