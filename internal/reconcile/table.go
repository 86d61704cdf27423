// Package reconcile keeps a status for each object that somebody brings to its wanted
// state again and again: what is wanted, what is there instead, what failed, and when it is
// tried again.
//
// A Table holds the objects of one kind by typed keys. Its owner marks what is to be
// looked at (Due), takes it (Take), does the work and says what came of it (Done, Failed,
// Refused, Waits, Forget). An object that failed is due again after a pause of its own, which
// doubles up to MaxPause: objects that fail beside it neither hasten nor delay it. An
// object that is refused or waits is due when its owner marks it.
//
// The package does no work itself and knows no kernel, so that it can be tested alone.
package reconcile

import (
	"time"
)

// MinPause and MaxPause bound the time from a failure to the next try.
const MinPause, MaxPause = 100 * time.Millisecond, 30 * time.Second

// Gap is the least time between two takes of what was marked by Soon or SoonAll.
const Gap = 100 * time.Millisecond

// Table is the status of all objects of one kind. One goroutine, the owner, calls its
// methods; others read it through its Set.
type Table[K comparable] struct {
	set   *Set
	kind  string
	name  func(K) string
	wants func(K) string

	rows  map[K]*row
	ready map[K]struct{}  // due now
	timed map[K]time.Time // due then
	soon  paced[K]

	failed   int    // rows in state Failed
	ever     bool   // one was, once
	failures uint64 // tries that failed, ever
}

type row struct {
	state    State
	wanted   string
	cause    string
	on       Ref
	failures int
	since    time.Time
}

// paced are objects that are due together, no sooner than Gap after the last time.
type paced[K comparable] struct {
	keys map[K]struct{}
	all  bool
	at   time.Time // zero: none
	last time.Time
}

// NewTable adds a table to a set. name is what people call an object, and wants says in
// words what its wanted state is; nil: the kind says it.
func NewTable[K comparable](s *Set, kind string, name, wants func(K) string) *Table[K] {
	t := &Table[K]{
		set: s, kind: kind, name: name, wants: wants,
		rows: map[K]*row{}, ready: map[K]struct{}{}, timed: map[K]time.Time{},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables = append(s.tables, t)
	return t
}

func (t *Table[K]) row(k K) *row {
	r := t.rows[k]
	if r == nil {
		r = &row{state: Pending, since: t.set.now()}
		t.rows[k] = r
	}
	return r
}

// Due marks an object to be looked at by the next Take. One that is new is Pending.
func (t *Table[K]) Due(k K) {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	t.row(k)
	t.ready[k] = struct{}{}
}

// DueAll marks all objects.
func (t *Table[K]) DueAll() {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	t.dueAll()
}

func (t *Table[K]) dueAll() {
	for k := range t.rows {
		t.ready[k] = struct{}{}
	}
}

// DueAt marks an object to be looked at from a time on. Call it after Done, which ends
// what was due before.
func (t *Table[K]) DueAt(k K, at time.Time) {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	t.row(k)
	t.timed[k] = at
}

// Soon marks an object that strangers can ask for in floods: the first is due at once, the
// next not before Gap has passed. One that there is not stays so.
func (t *Table[K]) Soon(k K) {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	if t.rows[k] == nil {
		return
	}
	if t.soon.keys == nil {
		t.soon.keys = map[K]struct{}{}
	}
	t.soon.keys[k] = struct{}{}
	t.arm()
}

// SoonAll is Soon for all objects that there are when they are taken.
func (t *Table[K]) SoonAll() {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	if len(t.rows) > 0 {
		t.soon.all = true
		t.arm()
	}
}

func (t *Table[K]) arm() {
	if !t.soon.at.IsZero() {
		return
	}
	t.soon.at = t.set.now()
	if next := t.soon.last.Add(Gap); next.After(t.soon.at) {
		t.soon.at = next
	}
}

// Take returns what is due, and forgets that it was. It costs what is due and what has
// failed, not what there is.
func (t *Table[K]) Take() []K {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	now := t.set.now()
	if at := t.soon.at; !at.IsZero() && !at.After(now) {
		if t.soon.all {
			t.dueAll()
		}
		for k := range t.soon.keys {
			if t.rows[k] != nil {
				t.ready[k] = struct{}{}
			}
		}
		t.soon = paced[K]{last: now}
	}
	for k, at := range t.timed {
		if !at.After(now) {
			delete(t.timed, k)
			t.ready[k] = struct{}{}
		}
	}
	if len(t.timed) == 0 {
		t.timed = map[K]time.Time{} // to walk one costs what was ever in it
	}
	if len(t.ready) == 0 {
		return nil
	}
	keys := make([]K, 0, len(t.ready))
	for k := range t.ready {
		keys = append(keys, k)
	}
	t.ready = map[K]struct{}{}
	return keys
}

// Done says that an object is as wanted. It returns true where it was not before.
func (t *Table[K]) Done(k K) (mended bool) {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	r := t.row(k)
	mended = r.state == Failed || r.state == Waiting
	t.become(k, r, Done, "", Ref{})
	r.failures = 0
	return mended
}

// Failed says that a try failed; the next is due after a pause. It returns true where
// the cause is another than before.
func (t *Table[K]) Failed(k K, err error) (news bool) {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	r := t.row(k)
	news = t.become(k, r, Failed, err.Error(), Ref{})
	t.failures++
	pause := MaxPause
	if r.failures < 16 {
		pause = min(MinPause<<r.failures, MaxPause)
	}
	r.failures++
	t.timed[k] = t.set.now().Add(pause)
	return news
}

// Refused says that an object cannot be as wanted until something else changes: its
// owner marks it then. on, unless zero, names the object that it waits for, whose next try
// is then also its own.
func (t *Table[K]) Refused(k K, err error, on Ref) (news bool) {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	return t.become(k, t.row(k), Failed, err.Error(), on)
}

// Waits says that an object waits for something that may well come, as an interface that
// is not there yet.
func (t *Table[K]) Waits(k K, cause string) (news bool) {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	r := t.row(k)
	r.failures = 0 // what comes of it when it is there is another matter
	return t.become(k, r, Waiting, cause, Ref{})
}

// Forget says that an object is not wanted any more, and that nothing of it is left.
func (t *Table[K]) Forget(k K) {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	if r := t.rows[k]; r != nil && r.state == Failed {
		t.failed--
	}
	delete(t.rows, k)
	delete(t.ready, k)
	delete(t.timed, k)
	delete(t.soon.keys, k)
}

// become notes a new state and ends what was due at a time. It returns true where state or
// cause are others.
func (t *Table[K]) become(k K, r *row, s State, cause string, on Ref) (news bool) {
	delete(t.timed, k)
	if news = r.state != s || r.cause != cause; !news {
		r.on = on
		return false
	}
	switch {
	case r.state != Failed && s == Failed:
		t.failed++
		t.ever = true
	case r.state == Failed && s != Failed:
		t.failed--
	}
	if r.state != s {
		r.since = t.set.now()
	}
	r.state, r.cause, r.on, r.wanted = s, cause, on, ""
	if s != Done && t.wants != nil {
		r.wanted = t.wants(k)
	}
	return true
}

// Has tells whether there is such an object.
func (t *Table[K]) Has(k K) bool {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	return t.rows[k] != nil
}

// Fails tells whether any object is in state Failed.
func (t *Table[K]) Fails() bool {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	return t.failed > 0
}

// Keys are those of all objects.
func (t *Table[K]) Keys() []K {
	t.set.mu.Lock()
	defer t.set.mu.Unlock()
	keys := make([]K, 0, len(t.rows))
	for k := range t.rows {
		keys = append(keys, k)
	}
	return keys
}

func (t *Table[K]) next() (at time.Time) {
	at = t.soon.at
	for _, x := range t.timed {
		at = earlier(at, x)
	}
	return at
}

func (t *Table[K]) counts() Counts {
	c := Counts{Kind: t.kind, Failures: t.failures, EverFailed: t.ever, Of: map[State]int{}}
	for _, r := range t.rows {
		c.Of[r.state]++
	}
	for k, at := range t.timed {
		if t.rows[k].state == Failed {
			c.Next = earlier(c.Next, at)
		}
	}
	return c
}

func (t *Table[K]) statuses(all bool, to []Status, ons map[Ref]time.Time) []Status {
	for k, r := range t.rows {
		if r.state == Done && !all {
			continue
		}
		s := Status{
			Kind: t.kind, Name: t.name(k), State: r.state, Wanted: r.wanted, Cause: r.cause,
			On: r.on, Failures: r.failures, Since: r.since,
		}
		if at, ok := t.timed[k]; ok {
			s.NextTry = &at
			ons[Ref{t.kind, s.Name}] = at
		}
		to = append(to, s)
	}
	return to
}

// Kind is what all objects of the table are.
func (t *Table[K]) Kind() string { return t.kind }

// Name is what people call an object.
func (t *Table[K]) Name(k K) string { return t.name(k) }
