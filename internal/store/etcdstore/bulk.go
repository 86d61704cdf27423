package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/causeway-net/causeway/internal/fair"
)

// etcd applies one transaction after the other, and a large one for as long as many
// small ones. So large ones are few at a time: of one name (see fair.As) bulkOps
// operations, and twice as many of all.
const (
	bulkOps  = 256
	smallOps = 64 // a transaction up to this waits for none
)

func newBulks() *fair.Gate {
	return fair.NewGate(fair.Options{Capacity: 2 * bulkOps, Each: bulkOps, Waiting: maxLine})
}

// room is what a large transaction holds of Store.bulks. Whoever has it waits for
// nothing but a lane, and whoever has a lane does not wait for room.
type room struct {
	ops     int64
	release func() // nil: there is none
}

func (r *room) leave() {
	if r.release != nil {
		r.release()
	}
	*r = room{}
}

// errBulk: the transaction needs room for ops operations. It is waited for without a
// lane, and the transaction is made anew then: what it had read would be old.
type errBulk struct{ ops int64 }

func (e *errBulk) Error() string {
	return fmt.Sprintf("other large changes leave no room for %d operations", e.ops)
}

// enter takes room for ops operations, unless there is enough already, and does not wait.
func (u *update) enter(ctx context.Context, ops int) error {
	n := min(int64(ops), bulkOps)
	if n <= smallOps || n <= u.room.ops {
		return nil
	}
	if u.room.ops > 0 {
		// It has grown meanwhile. What one name may hold is enough for any.
		return &errBulk{bulkOps}
	}
	release, ok := u.s.bulks.AcquireNow(fair.Name(ctx), n)
	if !ok {
		return &errBulk{n}
	}
	u.room = room{n, release}
	return nil
}

// waitForRoom waits for room for ops operations, which the next attempt has.
func (u *update) waitForRoom(ctx context.Context, ops int64) error {
	late := unavailable("RetryRequest", "other large changes have been written all the time; try again")
	bounded, cancel := context.WithDeadlineCause(ctx, u.began.Add(u.s.opt.RequestTimeout), late)
	defer cancel()
	release, err := u.s.bulks.Acquire(bounded, fair.Name(ctx), ops)
	if errors.Is(err, fair.ErrFull) {
		return unavailable("RetryRequest", "%d large changes wait already; try again", maxLine)
	}
	if err != nil {
		return err
	}
	u.room = room{ops, release}
	return nil
}
