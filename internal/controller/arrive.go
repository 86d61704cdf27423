package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
)

const (
	// leastTurns is how many agents are taken in at a time at least: twice as many as there are
	// processors, if those are more.
	leastTurns = 8
	// turnTime is how long one of them keeps others waiting at most, whatever it waits for itself.
	turnTime = 10 * time.Second
	// hostTime is how long it does so at most while the controller waits for nothing but the agent: for its word of what
	// it has, and then until it has taken what it is sent. Then the stream goes on without a turn, and the host counts as
	// slow until it has taken what it was sent in time.
	hostTime = 2 * time.Second
	// slowTurns is how many turns slow hosts have together at most; and while others wait, they have one.
	slowTurns = leastTurns / 2
	// tellFirst and tellAgain are after which time in line an agent hears that it waits: much sooner than it is
	// tired of waiting.
	tellFirst, tellAgain = 500 * time.Millisecond, 5 * time.Second
)

// line is where agents wait until it is their turn to be taken in: from their session in the store until they have been
// sent their first delta. They are taken in as they have come, some at a time. Otherwise, where all agents of a large site
// come at once, none would be done early. A host has one place or turn: otherwise a few that open many streams would keep all
// others out. Its newer stream ends its older one, and what that had.
type line struct {
	most               int // turns at a time
	turnTime, hostTime time.Duration
	count              func(waiting int) // hears of each change; nil: nobody does

	mu      sync.Mutex
	of      map[model.HostName]*arrival // that wait or have a turn
	waiting [2][]*arrival               // in the order in which they came; those of slow hosts apart
	turns   [2]int                      // that are taken, likewise
	// slow has an entry for a host that did not take what it was sent, while nothing else was waited for. true: it is slow,
	// for it had its time, or it was not the first such turn in a row. false: its stream may have broken.
	slow map[model.HostName]bool
}

// arrival is an agent that waits for its turn or has it.
type arrival struct {
	line   *line
	host   model.HostName
	class  int // 1: the host is slow
	refuse context.CancelCauseFunc
	turn   chan struct{} // closed when it has its turn
	over   chan struct{} // closed when it neither waits nor has a turn

	// Of mu of the line.
	state   arrivalState
	hosts   bool        // the controller waits for nothing but the agent
	since   time.Time   // when that began
	timer   *time.Timer // of ranOut; nil: it has not begun
	excused bool        // whatever comes of it is not the host's doing
}

type arrivalState uint8

const (
	arrivalWaits arrivalState = iota
	arrivalHasTurn
	arrivalIsOver
)

func newLine(most int) *line {
	return &line{most: most, turnTime: turnTime, hostTime: hostTime, of: map[model.HostName]*arrival{}, slow: map[model.HostName]bool{}}
}

// enter gives a host a place, and the one before it of the same host, if there is one.
func (l *line) enter(name model.HostName, refuse context.CancelCauseFunc) (a, older *arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a = &arrival{line: l, host: name, refuse: refuse, turn: make(chan struct{}), over: make(chan struct{})}
	older = l.of[name]
	l.of[name] = a
	return a, older
}

// wait has it wait behind those that do.
func (a *arrival) wait() {
	l := a.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slow[a.host] {
		a.class = 1
	}
	l.waiting[a.class] = append(l.waiting[a.class], a)
	l.next()
}

// next gives turns to those whose it is. It needs mu.
func (l *line) next() {
	if l.count != nil {
		defer func() { l.count(len(l.waiting[0]) + len(l.waiting[1])) }()
	}
	for l.turns[0]+l.turns[1] < l.most {
		class := 0
		switch {
		case len(l.waiting[1]) > 0 && (l.turns[1] == 0 || len(l.waiting[0]) == 0 && l.turns[1] < slowTurns):
			class = 1
		case len(l.waiting[0]) == 0:
			return
		}
		a := l.waiting[class][0]
		l.waiting[class] = l.waiting[class][1:]
		l.turns[class]++
		a.state = arrivalHasTurn
		close(a.turn)
		time.AfterFunc(l.turnTime, func() { a.end(false) })
	}
}

// before is how many wait that are in front of it.
func (a *arrival) before() int {
	l := a.line
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, slices.Index(l.waiting[a.class], a))
}

// forHost notes whether the controller waits for nothing but the agent from now on.
func (a *arrival) forHost(hosts bool) {
	l := a.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	a.hosts, a.since = hosts, time.Now()
	if hosts {
		a.timer = time.AfterFunc(l.hostTime, a.ranOut)
	}
}

// late tells whether the host has had its time. It needs mu.
func (a *arrival) late() bool { return a.hosts && time.Since(a.since) >= a.line.hostTime }

// ranOut ends its turn for the host's time.
func (a *arrival) ranOut() {
	a.line.mu.Lock()
	defer a.line.mu.Unlock()
	if a.late() { // else the timer was stopped just now
		a.endNow(false)
	}
}

// end ends its turn, or takes it out of the line. It may be called more than once; the first time counts.
func (a *arrival) end(taken bool) {
	a.line.mu.Lock()
	defer a.line.mu.Unlock()
	a.endNow(taken)
}

// endNow needs mu.
func (a *arrival) endNow(taken bool) {
	l := a.line
	switch a.state {
	case arrivalIsOver:
		return
	case arrivalHasTurn:
		l.turns[a.class]--
	default:
		l.waiting[a.class] = slices.DeleteFunc(l.waiting[a.class], func(b *arrival) bool { return a == b })
	}
	a.state = arrivalIsOver
	switch {
	case taken:
		delete(l.slow, a.host)
	case a.hosts && !a.excused:
		// Otherwise who opens its stream anew before its time is over would keep its turn for good.
		_, again := l.slow[a.host]
		l.slow[a.host] = again || a.late()
	}
	if l.of[a.host] == a {
		delete(l.of, a.host)
	}
	close(a.over)
	l.next()
}

// refuse refuses all agents that wait for their turn or have it.
func (l *line) refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.of {
		a.excused = true
		a.refuse(err)
	}
}

// forget drops what is known of a host.
func (l *line) forget(name model.HostName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.slow, name)
}

// arrive waits until it is an agent's turn to be taken in; see line. The turn ends with a.end, or by itself after a while.
// turn ends when the agent is to be refused, and its cause says why. tell, if not nil, has the agent know that it waits.
func (h *hub) arrive(ctx context.Context, name model.HostName, tell func(before int) error) (turn context.Context, a *arrival, err error) {
	turn, refuse := context.WithCancelCause(ctx)
	a, older := h.line.enter(name, refuse)
	if older != nil {
		older.refuse(errReplaced)
		<-older.over // at once, or with its turn
	}
	a.wait()
	due := time.NewTimer(tellFirst)
	defer due.Stop()
	for err == nil {
		select {
		case <-a.turn:
			return turn, a, nil
		case <-turn.Done():
			err = context.Cause(turn)
		case <-due.C:
			if tell != nil {
				err = tell(a.before())
			}
			due.Reset(tellAgain)
		}
	}
	a.end(false)
	return nil, nil, fmt.Errorf("wait until other agents have what they are to have: %w", err)
}

// Connect implements hostsync.Hosts. A host's newer connection takes over from
// the older: it may be one that broke and has not noticed.
func (h *hub) Connect(ctx context.Context, name model.HostName, agent hostsync.Agent) (*hostsync.Queue, error) {
	if err := h.cutOff(); err != nil {
		return nil, err
	}
	turn, a, err := h.arrive(ctx, name, agent.Waiting)
	if err != nil {
		return nil, err
	}
	q, err := h.takeIn(turn, name, agent, a.forHost)
	if err != nil {
		a.end(false)
		h.forgetUnknown(name)
		if why := context.Cause(turn); why != nil {
			return nil, fmt.Errorf("%w: %w", why, err)
		}
		return nil, err
	}
	a.forHost(true)
	q.OnFirst(a.end)
	context.AfterFunc(turn, func() { a.end(false) })
	return q, nil
}

// forgetUnknown drops what is known of a host that was deleted while its agent was taken in: nothing else would.
func (h *hub) forgetUnknown(name model.HostName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.life.hosts[name] == nil {
		h.line.forget(name)
	}
}

// takeIn takes in an agent whose turn it is. forHost hears whether it waits for nothing but the agent.
func (h *hub) takeIn(ctx context.Context, name model.HostName, agent hostsync.Agent, forHost func(bool)) (*hostsync.Queue, error) {
	if err := h.cutOff(); err != nil {
		return nil, err // since it began to wait
	}
	session, err := h.begin(ctx, name, agent)
	if err != nil {
		return nil, err
	}
	if ask := agent.Have; ask != nil {
		agent.Have = func(ctx context.Context) (hoststate.Digests, error) {
			forHost(true)
			have, err := ask(ctx)
			if err == nil {
				forHost(false)
			}
			return have, err
		}
	}
	return h.attach(ctx, name, session, agent)
}
