package hostsync

import (
	"context"
	"sync"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
)

// Queue holds what a host has not been sent yet, as one delta however many went
// into it. Beyond half of the host's whole state it becomes that state.
type Queue struct {
	mu      sync.Mutex
	pending hoststate.Delta
	waiting bool
	err     error
	wake    chan struct{} // capacity 1
	probes  probes
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

// next waits for what is to be sent and takes it out: a delta, or messages about
// probes. A delta comes first: what is probed for may be in it.
func (q *Queue) next(ctx context.Context) (d hoststate.Delta, isDelta bool, messages []*pb.FromController, err error) {
	for {
		q.mu.Lock()
		d, isDelta, err = q.pending, q.waiting, q.err
		q.pending, q.waiting = hoststate.Delta{}, false
		if !isDelta {
			messages = q.probes.take()
		}
		q.mu.Unlock()
		if err != nil || isDelta || len(messages) > 0 {
			return d, isDelta, messages, err
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return d, false, nil, ctx.Err()
		}
	}
}
