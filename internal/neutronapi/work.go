package neutronapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/causeway-net/causeway/internal/fair"
	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/ratelimit"
)

// What requests have in hand together is bounded, and shared fairly among projects (see
// package fair): one that sends many requests, or large ones, waits for its own. Each
// request passes these gates, always in this order, so that none holds what another
// waits for:
//
//   - bodies: the bytes of large bodies, from before they are read until they are
//     decoded;
//   - memory: what they become when they are decoded, until the answer is made;
//   - reads or writes: requests that are worked on. Clients that send or read slowly
//     hold no place in them;
//   - turns: the pieces of what takes long.
type gates struct {
	bodies, memory, reads, writes, turns *fair.Gate
	heavy                                int64 // what a body of very many values counts for in writes
}

const (
	// smallBody is read and decoded without waiting for room, and smallCost is what it
	// may become.
	smallBody = 64 << 10
	smallCost = 512 << 10

	// memoryBytes is what decoded bodies and sorted lists may take together.
	memoryBytes = 96 << 20

	// readsEach is the capacity of reads for each processor. That of writes is as many
	// as the store commits at a time, so that nobody waits there in the order of
	// coming; a request takes 1, or more for a body of many values.
	readsEach   = 16
	writesAll   = 32
	heavyValues = 20 // for each of the weight

	// waitForRoom bounds the wait at each gate.
	waitForRoom = 10 * time.Second
)

func newGates(maxBody int64) gates {
	processors := int64(runtime.GOMAXPROCS(0))
	bodies := max(32<<20, 4*maxBody)
	reads := max(2, processors) * readsEach
	gate := func(capacity, each int64) *fair.Gate {
		return fair.NewGate(fair.Options{Capacity: capacity, Each: each, Wait: waitForRoom})
	}
	return gates{
		bodies: gate(bodies, bodies/2),
		memory: gate(memoryBytes, memoryBytes/2),
		reads:  gate(reads, reads*3/4),
		writes: gate(writesAll, writesAll*3/4),
		turns:  gate(max(1, processors/2), 0),
		// Of two processors one is always left to others.
		heavy: min(writesAll*3/4, max(4, writesAll*3/2/processors)),
	}
}

// load is what one request holds. It belongs to the goroutine that serves it.
type load struct {
	g    gates
	who  string
	held []func() // of memory
	work func()   // nil: it has no place in reads or writes
	// writes: it is not one that reads alone.
	writes bool
	limit  int64 // of bodies, bytes
	// elsewhere: the request waits for others most of the time, and is bounded by them.
	elsewhere bool
}

type loadKey struct{}

// loadOf is the load of a request; of one that did not come by ServeHTTP, an idle one.
func loadOf(ctx context.Context) *load {
	if l, ok := ctx.Value(loadKey{}).(*load); ok {
		return l
	}
	return &load{g: newGates(DefaultMaxBody), limit: DefaultMaxBody, elsewhere: true}
}

// nameOf is in whose name a request waits: the caller's project's, or else the
// caller's, or that of the address it comes from.
func (a *API) nameOf(r *http.Request, seen Observation) string {
	c, _ := identity.From(r.Context())
	switch {
	case a.auth == nil || c.ProjectID == "" && c.UserID == "":
		return "address " + ratelimit.Origin(seen.Client.Addr()).String()
	case c.ProjectID == "":
		return "user " + c.UserID
	}
	return "project " + string(c.ProjectID)
}

// enter waits for a place among the requests that are worked on. values are those of the
// request's body.
func (l *load) enter(ctx context.Context, values int) error {
	if l.work != nil || l.elsewhere {
		return nil
	}
	gate, weight := l.g.reads, int64(1)
	if l.writes {
		gate, weight = l.g.writes, min(1+int64(values)/heavyValues, l.g.heavy)
	}
	release, err := gate.Acquire(ctx, l.who, weight)
	if err != nil {
		return crowded(err)
	}
	l.work = release
	return nil
}

// take waits for memory, which the request has until it is done.
func (l *load) take(ctx context.Context, bytes int64) error {
	release, err := l.g.memory.Acquire(ctx, l.who, bytes)
	if err != nil {
		return crowded(err)
	}
	l.held = append(l.held, release)
	return nil
}

// more takes memory beyond what the request has, without waiting: others may wait for
// what it has.
func (l *load) more(bytes int64) error {
	release, ok := l.g.memory.Try(l.who, bytes)
	if !ok {
		return crowded(fair.ErrFull)
	}
	l.held = append(l.held, release)
	return nil
}

// leave gives up the place among those, as before an answer is sent.
func (l *load) leave() {
	if l != nil && l.work != nil {
		l.work()
		l.work = nil
	}
}

// done gives up all.
func (l *load) done() {
	if l == nil {
		return
	}
	l.leave()
	for _, release := range l.held {
		release()
	}
	l.held = nil
}

// crowded is what a client reads for whose request there was no room in time.
func crowded(err error) error {
	if errors.Is(err, fair.ErrFull) || errors.Is(err, fair.ErrTimeout) {
		return model.Errf(model.KindUnavailable, "ServiceUnavailable", "The site has more requests of this project in hand than it can take at a time; wait as Retry-After says.")
	}
	return err
}

// retryAfter puts the header into an answer, in whole seconds, at least one.
func retryAfter(h http.Header, wait time.Duration) {
	h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
}

// pace is a walk through many resources. Beyond some it goes on in turns, of which
// there are half as many as processors, so that short requests always find one.
type pace struct {
	ctx     context.Context
	l       *load
	steps   int
	release func() // of the turn; nil: it has none
}

const (
	freeSteps = 256  // without a turn
	turnSteps = 2048 // in one turn
)

func newPace(ctx context.Context) *pace { return &pace{ctx: ctx, l: loadOf(ctx)} }

// step is to be called before each resource.
func (p *pace) step() error {
	p.steps++
	if p.steps <= freeSteps {
		return nil
	}
	if p.steps%turnSteps == 0 {
		p.rest()
	}
	if p.release != nil {
		return nil
	}
	release, err := p.l.g.turns.Acquire(p.ctx, p.l.who, 1)
	if err != nil {
		return crowded(err)
	}
	p.release = release
	return nil
}

// rest gives up the turn, as before what has been made is sent. The next step waits for
// another.
func (p *pace) rest() {
	if p.release != nil {
		p.release()
		p.release = nil
	}
}
