package etcdstore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/btree"
)

// Small transactions that meet are committed together: those that come while others are
// with etcd wait, and the next one takes all with it that fit. That makes one proposal, one
// entry of the log, one event of the watch and one copy of the mirror of many, and a lone
// transaction waits for nothing.
//
// A group is one transaction of etcd that compares what all its members have read and
// writes what they write. It is as if they ran one after the other, in the order of
// the group: each has read what holds before the group, and none may be in it that has
// read, or writes, what an earlier one writes. Where a comparison fails nothing is written, and the members are
// committed each on its own, which tells whose it was. A transaction of which the mirror shows that
// its comparison will fail is left out, so that others do not pay for it.
//
// Large transactions have room of their own (bulk.go) and are in no group.
const (
	groupsAtOnce = 1
	groupOps     = 256 // of all members
	// groupPatience is how long those that wait leave a group to be the only one. A member of
	// etcd that is cut off answers nothing for many seconds; others may answer at once.
	groupPatience = time.Second
)

// member is a transaction on its way to a group.
type member struct {
	t    *tx
	size size
	// turn says what became of it, or gives it the group that it is the first of. It has
	// room for one.
	turn chan verdict
}

// verdict is what a member is told: its outcome, or the group that it is to commit.
type verdict struct {
	rev  int64
	err  error
	lead *group
}

type groups struct {
	s        *Store
	patience time.Duration

	mu      sync.Mutex
	running int // groups that others wait for
	waiting []*member
}

// errAlone: the group was not committed; its members may be.
var errAlone = errors.New("the group met other changes")

// errUnanswered: nothing is known of the group yet.
var errUnanswered = errors.New("etcd has not answered")

// commit puts a transaction through, together with others where it meets any.
func (g *groups) commit(ctx context.Context, t *tx, n size) (int64, error) {
	if n.ops > smallOps {
		return g.s.send(ctx, alone(t, n))
	}
	v := g.enter(ctx, &member{t: t, size: n, turn: make(chan verdict, 1)})
	if v.lead != nil {
		v = g.run(ctx, v.lead)
	}
	if errors.Is(v.err, errAlone) {
		return g.s.send(ctx, alone(t, n))
	}
	return v.rev, v.err
}

// enter waits until m is committed, or is to commit a group.
func (g *groups) enter(ctx context.Context, m *member) verdict {
	g.mu.Lock()
	if g.running < groupsAtOnce {
		g.running++
		g.mu.Unlock()
		return verdict{lead: newGroup(m)}
	}
	g.waiting = append(g.waiting, m)
	g.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, g.s.opt.RequestTimeout)
	defer cancel()
	select {
	case v := <-m.turn:
		return v
	case <-bounded.Done():
	}
	if g.leave(m) {
		return verdict{err: context.Cause(bounded)}
	}
	return <-m.turn // what is once sent has to be known
}

// leave takes m out of those that wait; false where it has been told something.
func (g *groups) leave(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, m)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return i >= 0
}

// run commits a group, of which the caller is the first, lets the next group begin, once,
// and tells the others. Groups that are with etcd at the same time are transactions like
// any two: only the waiting is for fewer of them.
func (g *groups) run(ctx context.Context, gr *group) verdict {
	var begin sync.Once
	late := time.AfterFunc(g.patience, func() {
		begin.Do(func() { g.next(gr, verdict{err: errUnanswered}) })
	})
	defer late.Stop()
	rev, err := g.s.send(ctx, gr)
	var conflict *errConflict
	if len(gr.members) > 1 && err != nil && (errors.As(err, &conflict) || refused(err)) {
		err = errAlone
	}
	v := verdict{rev: rev, err: err}
	begin.Do(func() { g.next(gr, v) })
	for _, m := range gr.members[1:] {
		m.turn <- v
	}
	return v
}

// next begins the next group, of those that wait.
func (g *groups) next(last *group, v verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var next *group
	var rest []*member
	now, err := g.s.mirror.current()
	for _, m := range g.waiting {
		switch {
		case v.err == nil && m.t.base.rev < v.rev && last.changes(m.t):
			// What it has read is no more: etcd need not be asked.
			m.turn <- verdict{err: &errConflict{rev: v.rev}}
		case err == nil && stale(m.t, now):
			m.turn <- verdict{err: &errConflict{rev: now.rev}}
		case next == nil:
			next = newGroup(m)
		case !next.add(m, g.s.opt):
			rest = append(rest, m)
		}
	}
	g.waiting = rest
	if next == nil {
		g.running--
		return
	}
	next.members[0].turn <- verdict{lead: next}
}

// group is what is committed as one transaction of etcd.
type group struct {
	members []*member
	size    size
	reads   map[string]int64
	ranges  []since
	// writes has the marks of deletions too, once there are several members: without a
	// write.
	writes *btree.Map[string, *write]
}

// since is a range in which nothing may be newer than a revision.
type since struct {
	keyRange
	rev int64
}

// alone is a group of one transaction.
func alone(t *tx, n size) *group {
	gr := &group{size: n, reads: t.reads, writes: &t.writes}
	for _, r := range t.ranges {
		gr.ranges = append(gr.ranges, since{r, t.base.rev})
	}
	return gr
}

func newGroup(m *member) *group {
	gr := alone(m.t, m.size)
	gr.members = []*member{m}
	return gr
}

// add takes a member in, if it can be.
func (gr *group) add(m *member, opt Options) bool {
	n := gr.size.plus(m.size)
	if n.ops > groupOps || n.beyond(opt) != nil {
		return false
	}
	if len(gr.members) == 1 {
		gr.detach()
	}
	if gr.changes(m.t) || gr.writesWith(m.t) {
		return false
	}
	for key, rev := range m.t.reads {
		if have, both := gr.reads[key]; both && have != rev {
			return false // one of them has read what is no more
		}
	}
	maps.Copy(gr.reads, m.t.reads)
	for _, r := range m.t.ranges {
		if x := (since{r, m.t.base.rev}); !slices.Contains(gr.ranges, x) {
			gr.ranges = append(gr.ranges, x)
		}
	}
	gr.write(m)
	gr.size, gr.members = n, append(gr.members, m)
	return true
}

// detach gives the group what it has taken from its first member, which stays as it is.
func (gr *group) detach() {
	first := gr.members[0]
	gr.reads = maps.Clone(gr.reads)
	gr.writes = new(btree.Map[string, *write])
	gr.write(first)
}

func (gr *group) write(m *member) {
	m.t.writes.Scan(func(key string, w *write) bool {
		gr.writes.Set(key, w)
		return true
	})
	for _, key := range m.size.gone {
		gr.writes.Set(key, nil)
	}
}

// changes tells whether the group writes something that t has read.
func (gr *group) changes(t *tx) bool {
	for key := range t.reads {
		if _, ok := gr.writes.Get(key); ok {
			return true
		}
	}
	return slices.ContainsFunc(t.ranges, func(r keyRange) (in bool) {
		gr.writes.Ascend(r.from, func(key string, _ *write) bool {
			in = key < r.end
			return false
		})
		return in
	})
}

// writesWith tells whether the group writes a key that t writes too.
func (gr *group) writesWith(t *tx) (both bool) {
	t.writes.Scan(func(key string, _ *write) bool {
		_, both = gr.writes.Get(key)
		return !both
	})
	return both
}
