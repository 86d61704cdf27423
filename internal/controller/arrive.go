package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

const (
	// leastArrivals is how many agents are taken in at a time at least: twice as many as there are
	// processors, if those are more.
	leastArrivals = 8
	// arrivalTime is how long one of them keeps others waiting at most: it may be one that reads nothing.
	arrivalTime = 10 * time.Second
)

// arriving are the agents that wait for their turn or have it, one of each host.
type arriving struct {
	mu sync.Mutex
	of map[model.HostName]*arrival
}

type arrival struct {
	refuse context.CancelCauseFunc
	over   chan struct{} // closed when it neither waits nor has a turn
}

// arrive waits until it is an agent's turn to be taken in: from its session in the store until it has been sent its first
// delta. They are taken in as they have come, some at a time. Otherwise, where all agents of a large site come at once, none
// would be done before it is tired of waiting and comes again, and nothing that was done for it would be of use. A host has
// one turn at a time: otherwise a few that open many streams would keep all others out. Its newer stream ends its older one,
// and what that had.
//
// arrived ends the turn; it may be called more than once. turn ends when the agent is to be refused, and its cause says why.
func (h *hub) arrive(ctx context.Context, name model.HostName) (turn context.Context, arrived func(), err error) {
	turn, refuse := context.WithCancelCause(ctx)
	a := &arrival{refuse: refuse, over: make(chan struct{})}
	h.arriving.mu.Lock()
	older := h.arriving.of[name]
	h.arriving.of[name] = a
	h.arriving.mu.Unlock()
	leave := func() {
		h.arriving.mu.Lock()
		if h.arriving.of[name] == a {
			delete(h.arriving.of, name)
		}
		h.arriving.mu.Unlock()
		close(a.over)
	}
	if older != nil {
		older.refuse(errReplaced)
		<-older.over // at once, or with its turn
	}
	select {
	case h.arrivals <- struct{}{}: // who waits longest is first: so channels are
	case <-turn.Done():
		leave()
		return nil, nil, fmt.Errorf("wait until other agents have what they are to have: %w", context.Cause(turn))
	}
	arrived = sync.OnceFunc(func() {
		<-h.arrivals
		leave()
	})
	time.AfterFunc(arrivalTime, arrived)
	return turn, arrived, nil
}

// refuse refuses all agents that wait for their turn or have it.
func (a *arriving) refuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.of {
		one.refuse(err)
	}
}
