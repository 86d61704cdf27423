package hostsync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
)

// Groups are the rows that a host wants, by group, at one moment.
type Groups interface {
	// All are the groups that the host wants.
	All() iter.Seq[hoststate.Group]
	// Rows are a group's rows, to be read only; nil: it has none, or the host does not want it.
	Rows(g hoststate.Group) *hoststate.GroupRows
}

// Source lets a queue read a host's rows: it calls read while neither they nor what the host wants
// changes, and nothing is pushed.
type Source func(read func(Groups))

// Change is what a group's rows have become for a host.
type Change struct {
	Group hoststate.Group
	// Delta leads there; it is shared and never changed. nil: the host is to get the whole group, or, where
	// it no longer wants it, to drop it.
	Delta *hoststate.Delta
	Rows  int // of the group, afterwards
}

const (
	// A group of which more rows wait than this, and than half of it has, is sent whole.
	groupSlack = 64
	// sitePause is the least time between two updates of nothing but the hosts of the site: where all hosts of a
	// large site come at once, each would be told of each other one by one.
	sitePause = 200 * time.Millisecond
	// maxWaiting bounds the groups that wait: with more, all are sent whole.
	maxWaiting = 2 * hoststate.MaxGroups
)

// Queue holds what a host has not been sent yet: for each group one delta, however many went
// into it, or only that it is to be sent whole. So a host that takes nothing costs no more than
// half of what it wants, and no push costs more than what it adds.
type Queue struct {
	source Source
	forms  *Forms
	wake   chan struct{} // capacity 1
	closed chan struct{} // by Close
	first  func(bool)    // of OnFirst
	probes probes

	mu      sync.Mutex
	waiting bool
	// hosts: what waits is of nothing but the hosts of the site; toldHosts is when such an update was taken last.
	hosts     bool
	toldHosts time.Time
	full      bool // everything is to be sent, and the rest forgotten
	// ungrouped: the agent is of a release that takes no whole groups; it gets everything instead.
	ungrouped bool
	revision  int64
	groups    map[hoststate.Group]*waiting
	err       error
}

// waiting is what waits of a group; delta nil: all of it.
type waiting struct {
	delta *hoststate.Delta
	own   bool // delta is not shared
}

// NewQueue makes an empty one. Queues of one site share its forms.
func NewQueue(source Source, forms *Forms) *Queue {
	return &Queue{source: source, forms: forms, wake: make(chan struct{}, 1), closed: make(chan struct{}), groups: map[hoststate.Group]*waiting{}}
}

// OnFirst has fn called when the first delta has been sent, or the stream that reads the queue ends without that. It is to
// be called before that stream begins. fn may be called more than once: what it is told first counts.
func (q *Queue) OnFirst(fn func(sent bool)) { q.first = fn }

// hasFirst notes whether a delta has been sent.
func (q *Queue) hasFirst(sent bool) {
	if q.first != nil {
		q.first(sent)
	}
}

// Push adds changes, which lead to a revision; without any, the host only learns of the revision.
func (q *Queue) Push(revision int64, changes ...Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	isHosts := func(c Change) bool { return c.Group.Kind == hoststate.GroupSite }
	q.hosts = len(changes) > 0 && (q.hosts || !q.waiting) && !slices.ContainsFunc(changes, func(c Change) bool { return !isHosts(c) })
	q.revision, q.waiting = revision, true
	if !q.full {
		for _, c := range changes {
			q.add(c)
		}
		if len(q.groups) > maxWaiting {
			q.all()
		}
	}
	q.signal()
}

// PushAll makes the host's whole state, which is of a revision, be sent.
func (q *Queue) PushAll(revision int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.revision, q.waiting, q.hosts = revision, true, false
	q.all()
	q.signal()
}

func (q *Queue) all() { q.full, q.groups = true, map[hoststate.Group]*waiting{} }

func (q *Queue) add(c Change) {
	w := q.groups[c.Group]
	switch {
	case c.Delta == nil:
		q.groups[c.Group] = &waiting{}
		return
	case w == nil:
		w = &waiting{delta: c.Delta}
		q.groups[c.Group] = w
	case w.delta == nil:
		return
	case !w.own:
		own := hoststate.Join([]*hoststate.Delta{w.delta})
		w.delta, w.own = &own, true
		fallthrough
	default:
		w.delta.Merge(*c.Delta)
	}
	if w.delta.Set.Len()+w.delta.Unset.Len() > max(groupSlack, c.Rows/2) {
		w.delta = nil
	}
}

// Close makes the stream that reads the queue end with err.
func (q *Queue) Close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		close(q.closed)
	}
	q.signal()
}

func (q *Queue) closedBy() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for what is to be sent and takes it out: an update, or messages about
// probes. An update comes first: what is probed for may be in it.
func (q *Queue) next(ctx context.Context) (u *update, messages []*pb.FromController, err error) {
	for {
		q.mu.Lock()
		isDelta, err := q.waiting, q.err
		pause := q.pause()
		switch {
		case !isDelta:
			messages = q.probes.take()
		case pause > 0:
			isDelta = false
		}
		q.mu.Unlock()
		if err == nil && isDelta {
			return q.takeOut(), nil, nil
		}
		if err != nil || len(messages) > 0 {
			return nil, messages, err
		}
		var over <-chan time.Time // of the pause; nil: there is none
		if pause > 0 {
			over = time.After(pause)
		}
		select {
		case <-q.wake:
		case <-over:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// pause is how long what waits is to wait on. It needs mu.
func (q *Queue) pause() time.Duration {
	if !q.waiting || !q.hosts || len(q.probes.out) > 0 {
		return 0
	}
	return sitePause - time.Since(q.toldHosts)
}

// Take takes out what waits, if anything does, as the agent gets it.
func (q *Queue) Take() (d hoststate.Delta, ok bool) {
	u := q.takeOut()
	if u == nil {
		return d, false
	}
	d = u.Delta
	for _, f := range u.whole {
		for _, c := range f.chunks {
			var part pb.Delta
			err := errors.Join(c.err, proto.Unmarshal(c.fields, &part))
			if err == nil {
				err = decode(&part, &d)
			}
			if err != nil {
				panic(fmt.Sprintf("what was encoded is not decoded: %v", err))
			}
		}
	}
	return d, true
}

// takeOut takes out what waits; nil: nothing does.
func (q *Queue) takeOut() (u *update) {
	q.source(func(g Groups) {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.waiting {
			u = q.take(g)
		}
	})
	return u
}

// take needs mu.
func (q *Queue) take(of Groups) *update {
	u := &update{}
	var parts []*hoststate.Delta
	whole := func(g hoststate.Group) {
		rows := of.Rows(g)
		switch {
		case rows == nil:
		case shared(g):
			u.whole = append(u.whole, q.forms.whole(g, rows))
		default:
			parts = append(parts, &hoststate.Delta{Set: rows.State})
		}
	}
	var replaced []hoststate.Group
	for _, w := range q.groups {
		if q.ungrouped && w.delta == nil {
			q.all()
			break
		}
	}
	if q.full {
		for g := range of.All() {
			whole(g)
		}
	}
	for g, w := range q.groups {
		if w.delta != nil {
			parts = append(parts, w.delta)
			continue
		}
		replaced = append(replaced, g.Own())
		whole(g)
	}
	u.Delta = hoststate.Join(parts)
	u.Revision, u.Full, u.Replaced = q.revision, q.full, replaced
	if q.hosts {
		q.toldHosts = time.Now()
	}
	q.waiting, q.hosts, q.full, q.groups = false, false, false, map[hoststate.Group]*waiting{}
	return u
}
