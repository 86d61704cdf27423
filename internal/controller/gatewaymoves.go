package controller

import (
	"context"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Gateway devices on their way from host to host. The store has how far each has come; any controller takes it on
// once it sees that the hosts have applied that, and of several the first one does.

const (
	// moveWait is how long a stage waits for hosts that do not answer. Their packets for the device may be lost then. Where it is the new
	// host, the device stays where it is.
	moveWait = 30 * time.Second
	// moveLook is how often hosts that are elsewhere are looked at.
	moveLook = 200 * time.Millisecond
)

// deviceMove is a move that this process has seen.
type deviceMove struct {
	stage    model.Placement
	revision int64     // at which the stage was in the store, at the latest
	since    time.Time // it was seen
	passed   time.Time // it was over; zero: it is not
	missed   bool      // and not all hosts had it
	back     bool      // the new host has not taken the device
}

// deviceMoves are the gateway devices on the move. hub.mu guards moves.
type deviceMoves struct {
	moves  map[model.GatewayDeviceID]deviceMove
	begun  chan struct{} // capacity 1: moves has changed
	linger time.Duration // that the former host of a gateway device still takes its packets in
	wait   time.Duration // moveWait, or less in tests
}

func newDeviceMoves() deviceMoves {
	return deviceMoves{moves: map[model.GatewayDeviceID]deviceMove{}, begun: make(chan struct{}, 1), linger: 10 * time.Second, wait: moveWait}
}

// noteDeviceMoves takes from a batch what has changed of placements. It needs mu.
func (h *hub) noteDeviceMoves(b store.Batch) {
	for _, c := range b.Changes {
		if c.Kind != store.Placements.Kind() {
			continue
		}
		p, _ := c.Object.(*model.Placement)
		h.noteDeviceMove(model.GatewayDeviceID(c.ID), p, b.Revision)
	}
}

// readDeviceMoves takes them from a snapshot. It needs mu.
func (h *hub) readDeviceMoves(snap store.Snapshot) {
	h.devices.moves = map[model.GatewayDeviceID]deviceMove{}
	for p := range store.All(snap, store.Placements) {
		h.noteDeviceMove(p.DeviceID, p, snap.Revision())
	}
}

func (h *hub) noteDeviceMove(id model.GatewayDeviceID, p *model.Placement, revision int64) {
	if p == nil || p.Other == "" {
		delete(h.devices.moves, id)
		return
	}
	h.devices.moves[id] = deviceMove{stage: *p, revision: revision, since: time.Now()}
	select {
	case h.devices.begun <- struct{}{}:
	default:
	}
}

// dueMoves are those whose stage is over, and whether there are others.
func (h *hub) dueMoves(now time.Time) (due []deviceMove, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	passed := h.passed(now).all // a host that does not keep up is waited for, unlike where ports move
	for id, m := range h.devices.moves {
		if m.passed.IsZero() {
			h.judge(&m, now, passed)
			h.devices.moves[id] = m
		}
		switch {
		case m.back:
			due = append(due, m)
		case m.passed.IsZero(), m.stage.Stage == model.MoveSwitched && now.Sub(m.passed) < h.devices.linger:
			more = true
		default:
			due = append(due, m)
		}
	}
	return due, more
}

// judge finds out whether a stage is over. The new host must have applied it itself before it is sent to. One that is with
// another controller is that controller's to give up. It needs mu.
func (h *hub) judge(m *deviceMove, now time.Time, passed int64) {
	waited, wait := now.Sub(m.since), h.devices.wait
	m.missed = passed < m.revision
	if m.missed && waited <= wait {
		return
	}
	if m.stage.Stage >= model.MoveSwitched || h.hasPassed(m.stage.Other, m.revision) {
		m.passed, m.back = now, false
		return
	}
	if x := h.life.hosts[m.stage.Other]; x != nil && !x.Gone && x.Controller != h.id {
		wait *= 2
	}
	m.back = waited > wait
}

// take begins the next stage of a move, or turns it back.
func (h *hub) take(ctx context.Context, m deviceMove) error {
	if m.back {
		h.log.Warn("a gateway device has turned back: the host that it was to move to is away or has not applied what it was told. "+
			"Look at that host with causeway host show; once it answers, ask for the move again: causeway gateway-device update --host, or causeway host drain",
			"gateway_device", m.stage.DeviceID, "host", m.stage.Host, "other", m.stage.Other, "waited", h.devices.wait)
		return h.rules.TurnBack(ctx, m.stage)
	}
	if m.missed {
		h.log.Warn("a gateway device moves on, and not all hosts have said that they know: packets of some may be lost",
			"gateway_device", m.stage.DeviceID, "host", m.stage.Host, "other", m.stage.Other, "waited", h.devices.wait)
	}
	return h.rules.Advance(ctx, m.stage)
}

// moveDevices takes moves on until ctx ends.
func (h *hub) moveDevices(ctx context.Context) error {
	var again <-chan time.Time // nil: nothing moves
	for {
		select {
		case <-h.devices.begun:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		more, err := h.advanceDevices(ctx)
		if err != nil && ctx.Err() == nil {
			h.log.Warn("gateway devices that move did not go on; it is tried again", "error", err)
			more = true
		}
		if again = nil; more {
			again = time.After(moveLook)
		}
	}
}

// advanceDevices begins the next stage of each device whose stage has ended; more: there are moves that go on.
func (h *hub) advanceDevices(ctx context.Context) (more bool, err error) {
	due, more := h.dueMoves(time.Now())
	for _, m := range due {
		if err := h.take(ctx, m); err != nil {
			return true, err
		}
	}
	more = more || len(due) > 0
	if !more {
		return false, nil
	}
	return true, h.vouchLive(ctx)
}
