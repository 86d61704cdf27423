package etcdstore

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/causeway-net/causeway/internal/store"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// mirror is the state in memory. One goroutine (feed.go) writes it.
type mirror struct {
	keys   keys
	buffer int // of each watcher

	// tree belongs to the writing goroutine; what others see are copies.
	tree *tree

	mu      sync.Mutex
	cur     *snapshot
	err     error // why the mirror cannot go on; nil while it can
	waiters map[*waiter]struct{}
	subs    map[*subscriber]struct{}

	// yielded is told who asks the others to pause.
	yielded func(id string)
}

type waiter struct {
	rev  int64
	done chan waited // has room for one
}

type waited struct {
	snap *snapshot
	err  error
}

type subscriber struct{ ch chan store.Batch }

func newMirror(k keys, buffer int, yielded func(id string)) *mirror {
	return &mirror{
		keys: k, buffer: buffer, yielded: yielded, tree: new(tree), cur: &snapshot{tree: new(tree)},
		waiters: make(map[*waiter]struct{}), subs: make(map[*subscriber]struct{}),
	}
}

func (m *mirror) current() (*snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cur, m.err
}

// wait returns a snapshot that is at rev or later.
func (m *mirror) wait(ctx context.Context, rev int64) (*snapshot, error) {
	m.mu.Lock()
	if m.err != nil || m.cur.rev >= rev {
		defer m.mu.Unlock()
		return m.cur, m.err
	}
	w := &waiter{rev: rev, done: make(chan waited, 1)}
	m.waiters[w] = struct{}{}
	m.mu.Unlock()
	select {
	case r := <-w.done:
		return r.snap, r.err
	case <-ctx.Done():
		m.mu.Lock()
		delete(m.waiters, w)
		m.mu.Unlock()
		return nil, fmt.Errorf("the watch has not reached revision %d: %w", rev, context.Cause(ctx))
	}
}

// decode makes an item of what etcd holds; nil for keys that are no part of the
// state (those under meta, and what a later version adds).
func decode(rel string, kv *mvccpb.KeyValue) (*item, error) {
	if isMetaKey(rel) {
		return nil, nil
	}
	it := &item{rev: kv.ModRevision}
	if isIndexKey(rel) {
		it.val = string(kv.Value)
		return it, nil
	}
	kind, _ := splitObjectKey(rel)
	obj, err := store.Kind(kind).New()
	if err != nil {
		return nil, nil
	}
	if err := json.Unmarshal(kv.Value, obj); err != nil {
		return nil, fmt.Errorf("decode %s: %w", kv.Key, err)
	}
	it.obj = obj
	return it, nil
}

// load replaces everything by a listing. Feeds break: what happened in between
// is not known change by change.
func (m *mirror) load(kvs []*mvccpb.KeyValue, rev int64) error {
	t := new(tree)
	for _, kv := range kvs {
		rel := m.keys.rel(string(kv.Key))
		it, err := decode(rel, kv)
		if err != nil {
			return err
		}
		if it != nil {
			t.Set(rel, it)
		}
	}
	m.tree = t
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = nil
	m.cur = &snapshot{rev: rev, tree: m.tree.Copy()}
	m.breakFeeds()
	m.wakeWaiters()
	return nil
}

// apply takes the events of one revision.
func (m *mirror) apply(rev int64, events []*clientv3.Event) error {
	type put struct {
		rel string
		it  *item
	}
	puts := make([]put, 0, len(events))
	for _, e := range events {
		rel := m.keys.rel(string(e.Kv.Key))
		if rel == yieldKey {
			m.yielded(string(e.Kv.Value))
			continue
		}
		p := put{rel: rel}
		if e.Type == clientv3.EventTypePut {
			it, err := decode(rel, e.Kv)
			if err != nil {
				return err
			}
			if it == nil {
				continue
			}
			p.it = it
		}
		puts = append(puts, p)
	}
	var changes []store.Change
	changed := false
	for _, p := range puts {
		var old *item
		if p.it == nil {
			old, _ = m.tree.Delete(p.rel)
		} else {
			old, _ = m.tree.Set(p.rel, p.it)
		}
		if old == nil && p.it == nil {
			continue
		}
		changed = true
		if isIndexKey(p.rel) {
			continue
		}
		kind, id := splitObjectKey(p.rel)
		c := store.Change{Kind: store.Kind(kind), ID: id}
		if p.it != nil {
			c.Object = p.it.obj
		}
		if old != nil {
			c.Old = old.obj
		}
		changes = append(changes, c)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if !changed {
		// The tree is as it was: the copy that readers have stays true.
		m.cur = &snapshot{rev: rev, tree: m.cur.tree}
		m.wakeWaiters()
		return nil
	}
	m.cur = &snapshot{rev: rev, tree: m.tree.Copy()}
	b := store.Batch{Revision: rev, Changes: changes, Snapshot: m.cur}
	for s := range m.subs {
		select {
		case s.ch <- b:
		default: // too slow: it must begin again from a snapshot
			delete(m.subs, s)
			close(s.ch)
		}
	}
	// Last: whoever got a view finds all batches up to it in its feed.
	m.wakeWaiters()
	return nil
}

func (m *mirror) wakeWaiters() {
	for w := range m.waiters {
		if w.rev <= m.cur.rev {
			delete(m.waiters, w)
			w.done <- waited{snap: m.cur}
		}
	}
}

// fail makes every read answer err until a listing succeeds.
func (m *mirror) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
	for w := range m.waiters {
		delete(m.waiters, w)
		w.done <- waited{err: err}
	}
	m.breakFeeds()
}

func (m *mirror) breakFeeds() {
	for s := range m.subs {
		delete(m.subs, s)
		close(s.ch)
	}
}

// subscribe returns the present snapshot and what comes after it.
func (m *mirror) subscribe() (*snapshot, *subscriber, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, nil, m.err
	}
	s := &subscriber{ch: make(chan store.Batch, m.buffer)}
	m.subs[s] = struct{}{}
	return m.cur, s, nil
}

func (m *mirror) unsubscribe(s *subscriber) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.subs[s]; ok {
		delete(m.subs, s)
		close(s.ch)
	}
}
