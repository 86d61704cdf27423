package etcdstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/causeway-net/causeway/internal/store"
)

// Update implements store.Store. The first run of fn reads the mirror as it is:
// what it writes is checked against the truth at commit. Only what has no commit
// to check it, an error or a reading, is confirmed on a linearizable view.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) (int64, error) {
	if !s.begin() {
		return 0, s.callerError(ctx, "write to the store", errClosed)
	}
	defer s.end()
	snap, err := s.mirror.current()
	if err != nil {
		return 0, s.callerError(ctx, "write to the store", err)
	}
	fresh := false // snap is linearizable
	began := time.Now()
	conflicts := 0
	for conflicts < maxConflicts && time.Since(began) < s.opt.RequestTimeout {
		if conflicts <= conflictsBeforeAlone && s.yielding.pause(ctx) {
			if snap, err = s.mirror.current(); err != nil {
				return 0, s.callerError(ctx, "write to the store", err)
			}
			fresh = false
		}
		rev, err := s.attempt(ctx, snap, fresh, conflicts >= conflictsBeforeAlone, fn)
		var conflict *errConflict
		var stale *staleError
		var failed *fnError
		var lost *notApplied
		switch {
		case err == nil:
			return rev, nil
		case errors.As(err, &failed):
			return 0, failed.err
		case errors.As(err, &stale):
			snap, fresh = stale.view, true
			continue
		case errors.As(err, &conflict):
			if conflicts++; conflicts > conflictsBeforeAlone {
				s.askToYield(ctx)
			}
			if snap, err = s.reach(ctx, conflict.rev); err != nil {
				return 0, s.callerError(ctx, "write to the store", err)
			}
			// It reached the head that the commit saw, but that was then.
			fresh = false
		case errors.Is(err, errSlot), errors.As(err, &lost) && ctx.Err() == nil:
			// Nothing was written: once more.
			conflicts++
			sleep(ctx, rand.N(5*time.Millisecond))
		default:
			return 0, s.callerError(ctx, "write to the store", err)
		}
		if ctx.Err() != nil {
			return 0, s.callerError(ctx, "write to the store", context.Cause(ctx))
		}
	}
	return 0, unavailable("RetryRequest", "the change met other changes %d times in a row; try again", conflicts)
}

// yieldPause is longer than an attempt takes.
const yieldPause = 10 * time.Millisecond

// yielding lets a store that is slower than another one, because it is farther
// from etcd, get through where both change the same things: the others pause
// when it asks for it.
type yielding struct {
	id    string
	until atomic.Int64 // Unix time, nanoseconds
}

func (y *yielding) asked(by string) {
	if by != y.id {
		y.until.Store(time.Now().Add(yieldPause).UnixNano())
	}
}

// pause tells whether it had to wait.
func (y *yielding) pause(ctx context.Context) bool {
	d := time.Until(time.Unix(0, y.until.Load()))
	if d <= 0 {
		return false
	}
	sleep(ctx, min(d, yieldPause))
	return true
}

func (s *Store) askToYield(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
	defer cancel()
	if _, err := s.client.Put(ctx, s.keys.abs(yieldKey), s.yielding.id); err != nil {
		s.log.Debug("the other stores were not asked to yield", "error", err)
	}
}

// fnError carries fn's own error through.
type fnError struct{ err error }

func (e *fnError) Error() string { return e.err.Error() }

// staleError: the run was on a snapshot that others had left behind, and nothing
// but a run on view can say what holds.
type staleError struct{ view *snapshot }

func (*staleError) Error() string { return "the snapshot was not the latest" }

// attempt runs fn once and commits. With alone set nothing else of this process
// commits meanwhile, so that the unlucky get through.
func (s *Store) attempt(ctx context.Context, snap *snapshot, fresh, alone bool, fn func(store.Tx) error) (int64, error) {
	var share int64 = 1
	if alone {
		share = maxConcurrentCommits
	}
	if err := s.lanes.Acquire(ctx, share); err != nil {
		return 0, err
	}
	defer s.lanes.Release(share)

	t := newTx(snap)
	err := fn(t)
	if err == nil {
		err = t.err
	}
	if err != nil || t.writes.Len() == 0 {
		if !fresh {
			view, verr := s.view(ctx)
			if verr != nil {
				return 0, verr
			}
			if view.rev != snap.rev {
				return 0, &staleError{view}
			}
		}
		if err != nil {
			return 0, &fnError{err}
		}
		return snap.rev, nil
	}
	r, err := s.request(t)
	if err != nil {
		return 0, err
	}
	if r.puts && !r.frees {
		if err := s.maintain.admit(); err != nil {
			return 0, err
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	rev, err := s.commit(ctx, r)
	if err != nil {
		return 0, err
	}
	// The write is durable. That the mirror has it too serves those who read
	// snapshots next; View finds it in any case.
	_, _ = s.reach(context.WithoutCancel(ctx), rev)
	return rev, nil
}

func (s *Store) reach(ctx context.Context, rev int64) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	return s.mirror.wait(ctx, rev)
}
