package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

const (
	// vouchPause is the least time between two marks.
	vouchPause = time.Second
	// vouchAgain is how often keys are looked for that nothing else has brought up: of a
	// controller that died between the mark and what follows from it.
	vouchAgain = 10 * time.Minute
)

// begin notes a host's session in the store, and waits until the hub has seen all that the
// agent may have been sent elsewhere: what it is sent here must not be older.
func (h *hub) begin(ctx context.Context, name model.HostName, agent hostsync.Agent) (session uint64, err error) {
	for err = site.ErrSessionLate; errors.Is(err, site.ErrSessionLate) && ctx.Err() == nil; {
		h.mu.Lock()
		h.sessions++
		session = h.sessions
		h.mu.Unlock()
		err = h.rules.RegisterHost(ctx, site.Session{
			Host: name, Controller: h.id, Number: session, Applied: agent.Revision, Version: agent.Version, Fabric: agent.Fabric,
			GatewayPriority: agent.GatewayPriority,
		})
	}
	if err != nil {
		return 0, err
	}
	return session, h.catchUp(ctx)
}

// catchUp waits until the hub has seen all that is in the store by now.
func (h *hub) catchUp(ctx context.Context) error {
	snap, err := h.rules.View(ctx)
	if err != nil {
		return err
	}
	for {
		h.mu.Lock()
		moved, reached := h.moved, h.topology != nil && h.revision >= snap.Revision()
		h.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("the controller has not read its store: %w", ctx.Err())
		}
	}
}

// freed notes the keys that a batch has freed. It comes before the batch is applied, so
// before anybody can be taken to have passed it.
func (h *hub) freed(b store.Batch) {
	h.rules.Freed(b)
	h.wakeVouching()
}

func (h *hub) wakeVouching() {
	select {
	case h.vouching <- struct{}{}:
	default:
	}
}

// applied is what each connected host has: what it has acknowledged, or, where that is all
// that it was sent, what this controller has seen. It needs mu.
func (h *hub) applied() map[model.HostName]site.Applied {
	out := make(map[model.HostName]site.Applied, len(h.hosts))
	for name, host := range h.hosts {
		a := site.Applied{Session: host.session, Revision: host.acked}
		if host.acked >= host.sent {
			a.Revision = h.revision
		}
		out[name] = a
	}
	return out
}

// vouch keeps what the store knows of what hosts have applied up to date until ctx ends, as
// far as keys wait for it.
func (h *hub) vouch(ctx context.Context) error {
	again := time.NewTicker(vouchAgain)
	defer again.Stop()
	for {
		select {
		case <-h.vouching:
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
		if !h.rules.KeysWait() {
			continue
		}
		h.mu.Lock()
		applied := h.applied()
		h.mu.Unlock()
		if err := h.rules.Vouch(ctx, h.id, applied); err != nil && ctx.Err() == nil {
			h.log.Warn("what hosts have applied was not stored; it is tried again", "error", err)
			h.wakeVouching()
		}
		if pause.For(ctx, vouchPause) != nil {
			return nil
		}
	}
}
