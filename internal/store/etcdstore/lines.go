package etcdstore

import (
	"context"
	"math"
	"slices"
	"sync"
)

// lines let transactions that change the same thing go one after the other. Without
// them all but one of those that run at once are in vain. Who has met another's
// change waits in the line of the key that it met it at; who comes later and reads a
// key that has a line joins it instead of going in between. Transactions about other
// things are not held up.
type lines struct {
	mu   sync.Mutex
	keys map[string]*line
}

// line is the transaction whose turn it is, and those after it in order.
type line struct{ waiting []chan struct{} }

// maxLine bounds the transactions that wait for one key: what is beyond could not be
// done in the time that a transaction has.
const maxLine = 4096

// turn is a place at the head of a line. The nil turn is none.
type turn struct {
	of  *lines
	key string
}

// join waits for a turn at key.
func (l *lines) join(ctx context.Context, key string) (*turn, error) {
	l.mu.Lock()
	ln := l.keys[key]
	if ln == nil {
		if l.keys == nil {
			l.keys = map[string]*line{}
		}
		l.keys[key] = &line{}
		l.mu.Unlock()
		return &turn{l, key}, nil
	}
	if len(ln.waiting) >= maxLine {
		l.mu.Unlock()
		return nil, unavailable("RetryRequest", "%d changes of the same thing wait already; try again", maxLine)
	}
	mine := make(chan struct{})
	ln.waiting = append(ln.waiting, mine)
	l.mu.Unlock()
	select {
	case <-mine:
		return &turn{l, key}, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	if i := slices.Index(ln.waiting, mine); i >= 0 {
		ln.waiting = slices.Delete(ln.waiting, i, i+1)
		l.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	l.mu.Unlock()
	(&turn{l, key}).leave() // it came at the same moment
	return nil, context.Cause(ctx)
}

// leave gives the turn to the next in the line.
func (t *turn) leave() {
	if t == nil {
		return
	}
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	ln := t.of.keys[t.key]
	if len(ln.waiting) == 0 {
		delete(t.of.keys, t.key)
		return
	}
	close(ln.waiting[0])
	ln.waiting = ln.waiting[1:]
}

// at is a key, or the begin of a range, that t has read and that has a line; "" where
// there is none.
func (l *lines) at(t *tx) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := ""
	for key := range l.keys {
		if (found == "" || key < found) && t.dependsOn(key) {
			found = key
		}
	}
	return found
}

func (t *tx) dependsOn(key string) bool {
	_, read := t.reads[key]
	return read || slices.ContainsFunc(t.ranges, func(r keyRange) bool { return r.from == key })
}

// met is where t, built on an older snapshot, met a change that now shows: a key, or
// the begin of a range; "" where that is not known. Of several it is always the same,
// so that those who met the same changes come into one line.
func met(t *tx, now *snapshot) string {
	found := ""
	for key, rev := range t.reads {
		var have int64
		if it, ok := now.tree.Get(key); ok {
			have = it.rev
		}
		if have != rev && (found == "" || key < found) {
			found = key
		}
	}
	if found != "" {
		return found
	}
	for _, r := range t.ranges {
		if newer, _ := now.tree.newer(r, t.base.rev, math.MaxInt); newer && (found == "" || r.from < found) {
			found = r.from
		}
	}
	return found
}

// staleWalk bounds the keys of ranges that are looked at for one transaction: others wait
// meanwhile.
const staleWalk = 1024

// stale tells whether a snapshot shows that t has read what is no more. It looks at
// so much only: etcd says for certain.
func stale(t *tx, now *snapshot) bool {
	if now.rev <= t.base.rev {
		return false
	}
	for key, rev := range t.reads {
		var have int64
		if it, ok := now.tree.Get(key); ok {
			have = it.rev
		}
		if have != rev {
			return true
		}
	}
	left := staleWalk
	for _, r := range t.ranges {
		newer, walked := now.tree.newer(r, t.base.rev, left)
		if newer {
			return true
		}
		left -= walked
	}
	return false
}
