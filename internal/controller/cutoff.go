package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-net/causeway/internal/pause"
)

// A controller that has no word of its store does not know what has changed since. It lets its agents go, for
// another controller may well know: an agent that has none keeps what it has, as without a controller. Until it has
// word again it takes no agent, and is not ready.

const (
	// proofPause is the time between two questions to the store.
	proofPause = time.Second
	// letGoAfter is how long a controller keeps its agents without an answer: longer than a cluster takes to
	// elect another leader (1 to 2 s with etcd's own settings), and than storePatience and proofPause.
	letGoAfter = 8 * time.Second
)

// proofs is what is known of the store. hub.mu guards it.
type proofs struct {
	pause, letGo time.Duration
	last         time.Time // when the last question that was answered was put
	away         error     // why there is no word of it; nil while there is
}

var errCutOff = errors.New("this controller has no word of its store, so others may know better")

// watchStore asks the store from time to time until ctx ends.
func (h *hub) watchStore(ctx context.Context) error {
	h.mu.Lock()
	h.proofs.last = time.Now()
	every := h.proofs.pause
	h.mu.Unlock()
	for {
		begin := time.Now()
		err := h.prove(ctx)
		if ctx.Err() != nil {
			return nil
		}
		h.noteProof(begin, err)
		if pause.For(ctx, every) != nil {
			return nil
		}
	}
}

// noteProof takes in what became of a question that was put at begin.
func (h *hub) noteProof(begin time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &h.proofs
	switch {
	case err == nil:
		if p.away != nil {
			h.log.Info("the store answers again: agents are taken", "was_away", time.Since(p.last).Round(time.Second))
			h.life.begun = time.Now() // agents have their whole time to come back
		}
		p.last, p.away = begin, nil
	case p.away == nil && time.Since(p.last) > p.letGo:
		p.away = err
		h.log.Error("no word of the store: this controller lets its agents go, and takes none until it answers", "for", p.letGo, "agents", len(h.hosts), "error", err)
		for _, host := range h.hosts {
			host.queue.Close(errCutOff)
		}
		h.line.refuse(errCutOff)
	}
}

// cutOff is not nil while this controller takes no agents for want of its store.
func (h *hub) cutOff() error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.proofs.away == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errCutOff, h.proofs.away)
}
