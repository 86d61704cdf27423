package controller

import (
	"context"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Gateway devices on their way from host to host.

// moveWait is how long a stage waits for hosts that do not answer. Their packets for the device may be lost then. Where it is the new
// host, the device stays where it is.
const moveWait = 30 * time.Second

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
	linger time.Duration // that the former host of a gateway device still takes its packets in
	wait   time.Duration // moveWait, or less in tests
}

func newDeviceMoves() deviceMoves {
	return deviceMoves{moves: map[model.GatewayDeviceID]deviceMove{}, linger: 10 * time.Second, wait: moveWait}
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

// readDeviceMoves takes them from a snapshot, as readMoves does. It needs mu.
func (h *hub) readDeviceMoves(snap store.Snapshot) {
	had := h.devices.moves
	h.devices.moves = map[model.GatewayDeviceID]deviceMove{}
	for p := range store.All(snap, store.Placements) {
		if m, ok := had[p.DeviceID]; ok {
			h.devices.moves[p.DeviceID] = m
		}
		h.noteDeviceMove(p.DeviceID, p, snap.Revision())
	}
}

func (h *hub) noteDeviceMove(id model.GatewayDeviceID, p *model.Placement, revision int64) {
	if p == nil || p.Other == "" {
		delete(h.devices.moves, id)
		return
	}
	if m, ok := h.devices.moves[id]; ok { // where it goes on to begins no stage
		stage := m.stage
		if stage.Next = p.Next; stage == *p {
			m.stage = stage
			h.devices.moves[id] = m
			return
		}
	}
	h.devices.moves[id] = deviceMove{stage: *p, revision: revision, since: time.Now()}
	h.wakeMoves()
}

// dueDevices are the moves whose stage is over by what all hosts have passed: one that does not keep up is waited for, unlike where ports
// move. It needs mu.
func (h *hub) dueDevices(now time.Time, passed int64) (due []deviceMove) {
	for id, m := range h.devices.moves {
		if m.passed.IsZero() || m.stage.Stage < model.MoveSwitched { // its new host may be gone since
			h.judge(&m, now, passed)
			h.devices.moves[id] = m
		}
		if m.back || !m.passed.IsZero() && (m.stage.Stage != model.MoveSwitched || now.Sub(m.passed) >= h.devices.linger) {
			due = append(due, m)
		}
	}
	return due
}

// judge finds out whether a stage is over. The new host must have applied it itself before it is sent to. One that is with
// another controller is that controller's to give up. It needs mu.
func (h *hub) judge(m *deviceMove, now time.Time, passed int64) {
	waited, wait := now.Sub(m.since), h.devices.wait
	m.passed, m.back = time.Time{}, false
	m.missed = passed < m.revision
	if m.missed && waited <= wait {
		return
	}
	if m.stage.Stage >= model.MoveSwitched || h.hasPassed(m.stage.Other, m.revision) {
		m.passed = now
		return
	}
	if x := h.life.hosts[m.stage.Other]; x != nil && !x.Gone && x.Controller != h.id {
		wait *= 2
	}
	m.back = waited > wait
}

// take begins the next stage of a move, or turns it back, and says so where another controller has not done it before.
func (h *hub) take(ctx context.Context, m deviceMove) error {
	if m.back {
		done, err := h.rules.TurnBack(ctx, m.stage)
		if done {
			h.log.Warn("a gateway device has turned back: the host that it was to move to is away or has not applied what it was told. "+
				"Look at that host with causeway host show; once it answers, ask for the move again: causeway gateway-device update --host, or causeway host drain",
				"gateway_device", m.stage.DeviceID, "host", m.stage.Host, "other", m.stage.Other, "waited", h.devices.wait)
		}
		return err
	}
	done, err := h.rules.Advance(ctx, m.stage)
	if done && m.missed {
		h.log.Warn("a gateway device moves on, and not all hosts have said that they know: packets of some may be lost",
			"gateway_device", m.stage.DeviceID, "host", m.stage.Host, "other", m.stage.Other, "waited", h.devices.wait)
	}
	return err
}
