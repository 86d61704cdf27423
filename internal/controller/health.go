package controller

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/causeway-net/causeway/internal/health"
)

const (
	// livePatience is how long the hub may be busy with one thing: longer than the largest
	// site takes to be worked out for a host.
	livePatience = 10 * time.Second
	// storePatience is how long the store may take to answer.
	storePatience = 3 * time.Second
)

// metricsMux serves the metrics, /healthz and /readyz.
func (p *parts) metricsMux(hub *hub) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", p.counts.Handler())
	live := health.Check{Name: "hub", Of: "whether the hub, by which changes and reports go, is not stuck", Look: hub.live}
	health.Serve(mux, []health.Check{live}, []health.Check{live,
		{Name: "store", Of: "whether the store tells its newest revision, and this controller has it", Look: hub.stored},
		{Name: "topology", Of: "whether the site has been read from the store, so that agents are served", Look: hub.informed},
		{Name: "end", Of: "whether the controller was not asked to end", Look: func(context.Context) error {
			if p.ending.Load() {
				return errors.New("the controller ends")
			}
			return nil
		}},
	})
	return mux
}

// live tells whether what the hub does at a time comes to an end: all that it does, it does
// under its lock. A goroutine of the controller that ends ends the process.
func (h *hub) live(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, livePatience)
	defer cancel()
	select {
	case <-h.turn():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the hub has been busy with one thing for %v", livePatience)
	}
}

// turn is closed when the lock was had once. Who waits for it gets it when those have had it who
// were before, however many come after. One goroutine waits at most.
func (h *hub) turn() <-chan struct{} {
	h.turnMu.Lock()
	defer h.turnMu.Unlock()
	if h.turns == nil {
		turn := make(chan struct{})
		h.turns = turn
		go func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.turnMu.Lock()
			defer h.turnMu.Unlock()
			h.turns = nil
			close(turn)
		}()
	}
	return h.turns
}

func (h *hub) stored(ctx context.Context) error {
	if err := h.cutOff(); err != nil {
		return err
	}
	return h.prove(ctx)
}

// prove asks the store for its newest revision, and waits until this process has it.
func (h *hub) prove(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	_, err := h.st.View(bounded)
	if bounded.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("no answer within %v", storePatience)
	}
	return err
}

func (h *hub) informed(context.Context) error {
	select {
	case <-h.ready:
		return nil
	default:
		return errors.New("the site has not been read from the store yet")
	}
}
