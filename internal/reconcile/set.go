package reconcile

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// State says how an object is.
type State string

const (
	Pending State = "pending" // it was not looked at yet
	Done    State = "done"    // as wanted
	Waiting State = "waiting" // for something that may well come
	Failed  State = "failed"  // a try failed, or it is refused
)

// States are all of them.
var States = []State{Pending, Done, Waiting, Failed}

// Ref names an object of any kind.
type Ref struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Status is what is known of one object.
type Status struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	State  State  `json:"state"`
	Wanted string `json:"wanted,omitempty"`
	// Cause is what is there instead, or why the last try failed.
	Cause string `json:"cause,omitempty"`
	// On is the object that this one waits for.
	On Ref `json:"on,omitzero"`
	// Failures is how many tries have failed in a row.
	Failures int       `json:"failures"`
	Since    time.Time `json:"since"` // in this state
	// NextTry is nil where the next try comes with an event.
	NextTry *time.Time `json:"next_try,omitempty"`
}

// Counts is how many objects of a kind are in each state.
type Counts struct {
	Kind       string
	Of         map[State]int
	EverFailed bool      // an object was in state Failed, once
	Failures   uint64    // tries that failed, ever
	Next       time.Time // the next try of one that failed; zero: none by time
}

// Set is all tables of one owner. Reading it is safe from any goroutine.
type Set struct {
	mu     sync.Mutex
	tables []table
	now    func() time.Time
}

// table is a Table of whatever key.
type table interface {
	next() time.Time
	counts() Counts
	statuses(all bool, to []Status, ons map[Ref]time.Time) []Status
}

// NewSet makes an empty set. now is the clock.
func NewSet(now func() time.Time) *Set { return &Set{now: now} }

// Next is when the next object is due by time; false: none is.
func (s *Set) Next() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at time.Time
	for _, t := range s.tables {
		at = earlier(at, t.next())
	}
	return at, !at.IsZero()
}

// List is the status of all objects, or of those that are not Done, by kind and name.
func (s *Set) List(all bool) []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, ons := []Status{}, map[Ref]time.Time{}
	for _, t := range s.tables {
		list = t.statuses(all, list, ons)
	}
	for i, x := range list {
		if at, ok := ons[x.On]; ok && x.NextTry == nil {
			list[i].NextTry = &at
		}
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return list
}

// Counts are those of each kind, in the order in which the tables were made.
func (s *Set) Counts() []Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Counts, 0, len(s.tables))
	for _, t := range s.tables {
		out = append(out, t.counts())
	}
	return out
}

// earlier is the earlier of two times, of which the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
