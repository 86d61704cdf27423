package hostsync

import (
	"context"
	"sync"

	"github.com/causeway-net/causeway/internal/hoststate"
)

// Queue holds what a host has not been sent yet, as one delta however many went
// into it. Beyond half of the host's whole state it becomes that state.
type Queue struct {
	mu      sync.Mutex
	pending hoststate.Delta
	waiting bool
	err     error
	wake    chan struct{} // capacity 1
}

// NewQueue makes an empty one.
func NewQueue() *Queue { return &Queue{wake: make(chan struct{}, 1)} }

// Push adds a delta, which becomes the queue's own. state is the host's state
// after it; it is not kept.
func (q *Queue) Push(d hoststate.Delta, state hoststate.State) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.waiting {
		q.pending, q.waiting = d, true
	} else {
		q.pending.Merge(d)
	}
	if p := &q.pending; !p.Full && p.Set.Len()+p.Unset.Len() > max(partRows, state.Len()/2) {
		*p = hoststate.Delta{Revision: p.Revision, Full: true, Set: state.Clone()}
	}
	q.signal()
}

// Close makes the stream that reads the queue end with err; nil is no error.
func (q *Queue) Close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.signal()
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for a delta and takes it out.
func (q *Queue) next(ctx context.Context) (hoststate.Delta, error) {
	for {
		q.mu.Lock()
		d, waiting, err := q.pending, q.waiting, q.err
		q.pending, q.waiting = hoststate.Delta{}, false
		q.mu.Unlock()
		switch {
		case err != nil:
			return hoststate.Delta{}, err
		case waiting:
			return d, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return hoststate.Delta{}, ctx.Err()
		}
	}
}
