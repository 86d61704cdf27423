package etcdstore

import (
	"context"
	"errors"
	"math/rand/v2"
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
	for conflicts := 0; conflicts < maxConflicts; {
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
			conflicts++
			if snap, err = s.reach(ctx, conflict.rev); err != nil {
				return 0, s.callerError(ctx, "write to the store", err)
			}
			// It reached the head that the commit saw, but that was then.
			fresh = false
		case errors.Is(err, errSlot), errors.As(err, &lost) && ctx.Err() == nil:
			// Nothing was written: once more.
			conflicts++
		default:
			return 0, s.callerError(ctx, "write to the store", err)
		}
		if conflicts > conflictsBeforeAlone {
			sleep(ctx, time.Duration(rand.Int64N(int64(min(conflicts, 20))*int64(time.Millisecond))))
		}
		if ctx.Err() != nil {
			return 0, s.callerError(ctx, "write to the store", context.Cause(ctx))
		}
	}
	return 0, unavailable("RetryRequest", "the change met other changes %d times in a row; try again", maxConflicts)
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
	if r.puts {
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
