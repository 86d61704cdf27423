package etcdstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/causeway-net/causeway/internal/store"
)

// heads learns linearizable revisions: the revision of the last transaction that
// was committed when the question was put. Questions that come while one is
// being answered share the next one, which begins after all of them.
type heads struct {
	ask func() (int64, error)
	run func(func()) bool // starts a goroutine of the store, unless it is closed

	mu      sync.Mutex
	next    *question
	running bool
}

type question struct {
	done chan struct{}
	rev  int64
	err  error
}

func (h *heads) get(ctx context.Context) (int64, error) {
	h.mu.Lock()
	if h.next == nil {
		h.next = &question{done: make(chan struct{})}
	}
	q := h.next
	if !h.running {
		if !h.run(h.answer) {
			h.mu.Unlock()
			return 0, errClosed
		}
		h.running = true
	}
	h.mu.Unlock()
	select {
	case <-q.done:
		return q.rev, q.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (h *heads) answer() {
	for {
		h.mu.Lock()
		q := h.next
		h.next = nil
		if q == nil {
			h.running = false
		}
		h.mu.Unlock()
		if q == nil {
			return
		}
		q.rev, q.err = h.ask()
		close(q.done)
	}
}

// askHead reads the head key, through the leader.
func (s *Store) askHead() (int64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.opt.RequestTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, s.keys.abs(headKey))
	if err != nil {
		return 0, fmt.Errorf("read the present revision: %w", err)
	}
	if len(resp.Kvs) == 0 {
		return 0, nil // nothing was ever written
	}
	return resp.Kvs[0].ModRevision, nil
}

// View implements store.Store.
func (s *Store) View(ctx context.Context) (store.Snapshot, error) {
	snap, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	return snap, nil
}

func (s *Store) view(ctx context.Context) (*snapshot, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	rev, err := s.heads.get(bounded)
	if err != nil {
		return nil, s.callerError(ctx, "read the store", err)
	}
	snap, err := s.mirror.wait(bounded, rev)
	if err != nil {
		return nil, s.callerError(ctx, "read the store", err)
	}
	return snap, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context) (store.Snapshot, <-chan store.Batch, error) {
	if _, err := s.view(ctx); err != nil {
		return nil, nil, err
	}
	snap, sub, err := s.mirror.subscribe()
	if err != nil {
		return nil, nil, s.callerError(ctx, "watch the store", err)
	}
	context.AfterFunc(ctx, func() { s.mirror.unsubscribe(sub) })
	return snap, sub.ch, nil
}
