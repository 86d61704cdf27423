package etcdstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/causeway-net/causeway/internal/pause"
	"github.com/causeway-net/causeway/internal/store"
)

// Update implements store.Store. The first run of fn reads the mirror as it is:
// what it writes is checked against the truth at commit. Only what has no commit
// to check it, an error or a reading, is confirmed on a linearizable view.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) (store.Result, error) {
	if !s.begin() {
		return store.Result{}, s.callerError(ctx, "write to the store", errClosed)
	}
	defer s.end()
	snap, err := s.mirror.current()
	if err != nil {
		return store.Result{}, s.callerError(ctx, "write to the store", err)
	}
	u := &update{s: s, fn: fn, snap: snap, began: time.Now()}
	defer func() { u.turn.leave() }()
	defer u.room.leave()
	for u.conflicts < maxConflicts && time.Since(u.began) < s.opt.RequestTimeout {
		if u.conflicts <= conflictsBeforeAlone && s.yielding.pause(ctx) {
			if u.snap, err = s.mirror.current(); err != nil {
				return store.Result{}, s.callerError(ctx, "write to the store", err)
			}
			u.fresh = false
		}
		done, err := u.attempt(ctx)
		if err == nil {
			return done, nil
		}
		var failed *fnError
		if errors.As(err, &failed) {
			return store.Result{}, failed.err
		}
		if err = u.again(ctx, err); err != nil {
			return store.Result{}, s.callerError(ctx, "write to the store", err)
		}
		if ctx.Err() != nil {
			return store.Result{}, s.callerError(ctx, "write to the store", context.Cause(ctx))
		}
	}
	return store.Result{}, unavailable("RetryRequest", "the change met other changes %d times in a row; try again", u.conflicts)
}

// update is one call of Update.
type update struct {
	s         *Store
	fn        func(store.Tx) error
	snap      *snapshot
	fresh     bool // snap is linearizable
	began     time.Time
	conflicts int
	failed    *tx   // the last try that was not committed
	turn      *turn // at what it met others' changes at; nil: none
	room      room  // for the next attempt
}

// again makes ready for another try after a try that ended with err. It returns an
// error where there is to be none.
func (u *update) again(ctx context.Context, err error) error {
	var conflict *errConflict
	var stale *staleError
	var queue *errQueue
	var bulk *errBulk
	var lost *notApplied
	switch {
	case errors.As(err, &stale):
		u.snap, u.fresh = stale.view, true
		return nil
	case errors.As(err, &queue):
		return u.line(ctx, queue.key)
	case errors.As(err, &bulk):
		return u.waitForRoom(ctx, bulk.ops)
	case errors.As(err, &conflict):
		if u.conflicts++; u.conflicts > conflictsBeforeAlone {
			u.s.askToYield(ctx)
		}
		if u.snap, err = u.s.reach(ctx, conflict.rev); err != nil {
			return err
		}
		// It reached the head that the commit saw, but that was then.
		u.fresh = false
		if key := met(u.failed, u.snap); key != "" {
			return u.line(ctx, key)
		}
		return nil
	case errors.Is(err, errSlot), errors.As(err, &lost) && ctx.Err() == nil:
		// Nothing was written: once more.
		u.conflicts++
		_ = pause.For(ctx, rand.N(5*time.Millisecond))
		return nil
	}
	return err
}

// line waits for the turn at key. It holds one turn at a time, so that nobody waits
// for somebody who waits for them: what meets changes at several keys keeps its first
// turn, and comes to its end by running alone.
func (u *update) line(ctx context.Context, key string) error {
	if u.turn != nil {
		return nil
	}
	late := unavailable("RetryRequest", "others have been changing the same thing all the time; try again")
	ctx, cancel := context.WithDeadlineCause(ctx, u.began.Add(u.s.opt.RequestTimeout), late)
	defer cancel()
	var err error
	u.turn, err = u.s.lines.join(ctx, key)
	return err
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
	_ = pause.For(ctx, min(d, yieldPause))
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

// errQueue: what the transaction has read is in others' turn.
type errQueue struct{ key string }

func (e *errQueue) Error() string { return "others wait to change " + e.key }

// attempt runs fn once and commits. After some conflicts nothing else of this process
// commits meanwhile, so that the unlucky get through.
func (u *update) attempt(ctx context.Context) (store.Result, error) {
	// Who waits for a turn next must hold no room: who has the turn may wait for it.
	defer u.room.leave()
	s, fresh := u.s, u.fresh
	var share int64 = 1
	if u.conflicts >= conflictsBeforeAlone {
		share = maxConcurrentCommits
	}
	if err := s.lanes.Acquire(ctx, share); err != nil {
		return store.Result{}, err
	}
	defer s.lanes.Release(share)

	// While it waited for its place others have committed: what was read before that
	// is a conflict for certain. A later snapshot is as linearizable as the one before.
	snap, err := s.mirror.current()
	if err != nil {
		return store.Result{}, err
	}
	if snap.rev < u.snap.rev {
		snap = u.snap
	}
	t := newTx(snap)
	if err = u.fn(t); err == nil {
		err = t.err
	}
	if err != nil || t.writes.Len() == 0 {
		if !fresh {
			view, verr := s.view(ctx)
			if verr != nil {
				return store.Result{}, verr
			}
			if view.rev != snap.rev {
				return store.Result{}, &staleError{view}
			}
		}
		if err != nil {
			return store.Result{}, &fnError{err}
		}
		return store.Result{Revision: snap.rev, Snapshot: snap}, nil
	}
	return u.commit(ctx, t)
}

// commit puts a transaction through that has run.
func (u *update) commit(ctx context.Context, t *tx) (store.Result, error) {
	s := u.s
	if t.encode(); t.err != nil {
		return store.Result{}, &fnError{t.err}
	}
	n := s.size(t)
	if err := n.beyond(s.opt); err != nil {
		return store.Result{}, err
	}
	if err := s.maintain.admit(!n.puts || n.frees); err != nil {
		return store.Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return store.Result{}, err
	}
	if u.turn == nil {
		if key := s.lines.at(t); key != "" {
			return store.Result{}, &errQueue{key}
		}
	}
	if err := u.enter(ctx, n.ops); err != nil {
		return store.Result{}, err
	}
	rev, err := s.groups.commit(ctx, t, n)
	if err != nil {
		u.failed = t
		return store.Result{}, err
	}
	// The write is durable. That the mirror has it too serves those who read
	// snapshots next; View finds it in any case.
	reached, err := s.reach(context.WithoutCancel(ctx), rev)
	if err != nil {
		return store.Result{Revision: rev, Snapshot: written{t, rev}}, nil
	}
	return store.Result{Revision: rev, Snapshot: reached}, nil
}

func (s *Store) reach(ctx context.Context, rev int64) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	return s.mirror.wait(ctx, rev)
}
