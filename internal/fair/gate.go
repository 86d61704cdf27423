// Package fair shares what is scarce among many who ask for it, so that who asks for
// much keeps nobody else waiting for longer: a weighted semaphore whose waiters have
// names, and that serves names in turn.
package fair

import (
	"context"
	"errors"
	"sync"
	"time"
)

var (
	// ErrFull: as many wait as may wait.
	ErrFull = errors.New("too many wait already")
	// ErrTimeout: the wait was longer than it may be.
	ErrTimeout = errors.New("waited for too long")
)

// Options bound a Gate.
type Options struct {
	// Capacity is what there is, and Each what one name may hold of it at a time
	// (0: all).
	Capacity, Each int64
	// Waiting is how many may wait, and WaitingEach how many of one name (0: any
	// number).
	Waiting, WaitingEach int
	// Wait is how long at most (0: as long as the context lets).
	Wait time.Duration
}

// Gate hands out its capacity. Of the names that wait, the one that holds least is
// next; of those that hold the same, the one that was served longest ago. Those of one
// name are served in order. Its methods may be called from many goroutines.
type Gate struct {
	o Options

	mu      sync.Mutex
	used    int64
	waiting int
	served  uint64 // counts what has been handed out
	names   map[string]*name
}

// name is one who holds something or waits; others are forgotten.
type name struct {
	held   int64
	queue  []*waiter
	served uint64 // when it was last served
}

type waiter struct {
	n     int64
	ready chan struct{} // closed once it holds n
}

// NewGate makes a Gate.
func NewGate(o Options) *Gate {
	if o.Each <= 0 || o.Each > o.Capacity {
		o.Each = o.Capacity
	}
	return &Gate{o: o, names: map[string]*name{}}
}

// Acquire waits until who may hold n more, and returns what gives it back, to be called
// once. More than one name may ever hold is cut to that. Its errors are ErrFull,
// ErrTimeout, and the context's.
func (g *Gate) Acquire(ctx context.Context, who string, n int64) (release func(), err error) {
	n = min(max(n, 1), g.o.Each)
	g.mu.Lock()
	x := g.name(who)
	if g.now(x, n) {
		g.grant(x, n)
		g.mu.Unlock()
		return g.releaser(who, n), nil
	}
	if g.o.Waiting > 0 && g.waiting >= g.o.Waiting || g.o.WaitingEach > 0 && len(x.queue) >= g.o.WaitingEach {
		g.forget(who, x)
		g.mu.Unlock()
		return nil, ErrFull
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	x.queue = append(x.queue, w)
	g.waiting++
	g.mu.Unlock()
	return g.wait(ctx, who, w)
}

func (g *Gate) wait(ctx context.Context, who string, w *waiter) (func(), error) {
	var late <-chan time.Time
	if g.o.Wait > 0 {
		t := time.NewTimer(g.o.Wait)
		defer t.Stop()
		late = t.C
	}
	err := ErrTimeout
	select {
	case <-w.ready:
		return g.releaser(who, w.n), nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-late:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.ready: // at the same moment
		return g.releaser(who, w.n), nil
	default:
	}
	x := g.names[who]
	for i, other := range x.queue {
		if other == w {
			x.queue = append(x.queue[:i], x.queue[i+1:]...)
			break
		}
	}
	g.waiting--
	g.forget(who, x)
	g.serve() // those after it may fit
	return nil, err
}

// AcquireNow is Acquire that does not wait.
func (g *Gate) AcquireNow(who string, n int64) (release func(), ok bool) {
	n = min(max(n, 1), g.o.Each)
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.name(who)
	if !g.now(x, n) {
		g.forget(who, x)
		return nil, false
	}
	g.grant(x, n)
	return g.releaser(who, n), true
}

// Try takes what is free, even before others who wait for more than that: it is for
// what has begun and cannot wait, as others may wait for what it holds.
func (g *Gate) Try(who string, n int64) (release func(), ok bool) {
	n = min(max(n, 1), g.o.Each)
	g.mu.Lock()
	defer g.mu.Unlock()
	x := g.name(who)
	if len(x.queue) > 0 || !g.fits(x, n) {
		g.forget(who, x)
		return nil, false
	}
	g.grant(x, n)
	return g.releaser(who, n), true
}

// Held is what is held at the moment, by all.
func (g *Gate) Held() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used
}

// Waiting is how many wait.
func (g *Gate) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

func (g *Gate) name(who string) *name {
	x := g.names[who]
	if x == nil {
		x = &name{}
		g.names[who] = x
	}
	return x
}

func (g *Gate) forget(who string, x *name) {
	if x.held == 0 && len(x.queue) == 0 {
		delete(g.names, who)
	}
}

func (g *Gate) fits(x *name, n int64) bool {
	return g.used+n <= g.o.Capacity && x.held+n <= g.o.Each
}

// now tells whether x need not wait for n.
func (g *Gate) now(x *name, n int64) bool {
	return len(x.queue) == 0 && g.fits(x, n) && !g.others(x, n)
}

// others tells whether somebody else waits who holds no more than x and has only room
// to wait for: that may not be taken before them.
func (g *Gate) others(x *name, n int64) bool {
	if g.waiting == 0 {
		return false
	}
	for _, y := range g.names {
		if y != x && len(y.queue) > 0 && y.held <= x.held &&
			y.held+y.queue[0].n <= g.o.Each && g.used+n+y.queue[0].n > g.o.Capacity {
			return true
		}
	}
	return false
}

func (g *Gate) grant(x *name, n int64) {
	g.served++
	x.held, x.served = x.held+n, g.served
	g.used += n
}

func (g *Gate) releaser(who string, n int64) func() {
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		x := g.names[who]
		x.held -= n
		g.used -= n
		g.forget(who, x)
		g.serve()
	}
}

// serve hands out what is free. Who is next and needs more than is free is waited for,
// else those who need little would always be first.
func (g *Gate) serve() {
	for g.waiting > 0 {
		var next *name
		for _, x := range g.names {
			if len(x.queue) == 0 || x.held+x.queue[0].n > g.o.Each {
				continue
			}
			if next == nil || x.held < next.held || x.held == next.held && x.served < next.served {
				next = x
			}
		}
		if next == nil || !g.fits(next, next.queue[0].n) {
			return
		}
		w := next.queue[0]
		next.queue = next.queue[1:]
		g.waiting--
		g.grant(next, w.n)
		close(w.ready)
	}
}
