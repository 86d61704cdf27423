package etcdstore

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/causeway-net/causeway/internal/store"
	"github.com/tidwall/btree"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// mirror is the state in memory. The watch writes it (feed.go), and who has committed the
// next revision.
type mirror struct {
	keys   keys
	buffer int // of each watcher

	// writing is held by who changes the state, before mu.
	writing sync.Mutex
	// tree belongs to who writes; what others see are copies.
	tree *master

	mu      sync.Mutex
	cur     *snapshot
	err     error // why the mirror cannot go on; nil while it can
	waiters map[*waiter]struct{}
	subs    map[*subscriber]struct{}

	// expected are the transactions of this process that may come by, by their marks.
	expected map[string]*expectation

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
		keys: k, buffer: buffer, yielded: yielded, tree: new(master), cur: &snapshot{tree: new(tree)},
		waiters: make(map[*waiter]struct{}), subs: make(map[*subscriber]struct{}),
		expected: make(map[string]*expectation),
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
func decode(rel string, kv *mvccpb.KeyValue, same func(string) string) (*item, error) {
	if isMetaKey(rel) {
		return nil, nil
	}
	it := &item{rev: kv.ModRevision}
	if isIndexKey(rel) {
		it.what = string(kv.Value)
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
	share(obj, same)
	it.what = obj
	return it, nil
}

// expectation is what a transaction of this process writes.
type expectation struct {
	writes *btree.Map[string, *write]
	rev    int64 // that it was committed at; 0: not known yet
}

// expect names a transaction before it is sent: when it comes by, what it has written
// is taken from it instead of being decoded. Nobody may change it from then on.
func (m *mirror) expect(mark string, writes *btree.Map[string, *write]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expected[mark] = &expectation{writes: writes}
}

// committed says at what revision the transaction was committed. If the mirror has all
// that was before, it takes what was written at once: the watch would bring just that, a
// few goroutines later, and whoever asked for the write waits for it.
func (m *mirror) committed(mark string, rev int64) {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	e := m.expected[mark]
	next := e != nil && m.err == nil && m.cur.rev+1 == rev
	if e != nil {
		e.rev = rev
		m.forget()
	}
	if next {
		delete(m.expected, mark)
	}
	m.mu.Unlock()
	if next {
		m.take(rev, e.changes(rev))
	}
}

// never says that the transaction will not come by.
func (m *mirror) never(mark string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.expected, mark)
}

// forget drops what has come by, or has been in a listing. It is called under the lock.
func (m *mirror) forget() {
	for mark, e := range m.expected {
		if e.rev != 0 && e.rev <= m.cur.rev {
			delete(m.expected, mark)
		}
	}
}

// ours is what the transaction of some events has written; nil where another process
// made it.
func (m *mirror) ours(events []*clientv3.Event) *expectation {
	for _, e := range events {
		if m.keys.rel(string(e.Kv.Key)) != headKey {
			continue
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		x := m.expected[string(e.Kv.Value)]
		delete(m.expected, string(e.Kv.Value))
		return x
	}
	return nil
}

// item is what was written to a key, as etcd holds it since, and the key within its
// family.
func (x *expectation) item(rel string, kv *mvccpb.KeyValue) (*item, string) {
	w, _ := x.writes.Get(rel)
	if w == nil || w.item == nil || w.value != string(kv.Value) {
		return nil, ""
	}
	return &item{rev: kv.ModRevision, what: w.item.what}, w.key
}

// load replaces everything by a listing, unless the mirror is beyond it. Feeds break: what happened in between
// is not known change by change.
func (m *mirror) load(kvs []*mvccpb.KeyValue, rev int64) error {
	t, known := new(master), texts{}
	for _, kv := range kvs {
		rel := m.keys.rel(string(kv.Key))
		it, err := decode(rel, kv, known.same)
		if err != nil {
			return err
		}
		if it != nil {
			name, key := familyOf(rel)
			known.ids(it)
			t.write(name).Set(ownID(it.what, key), it)
		}
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil && m.cur.rev > rev {
		// Since the listing the mirror has come to its revision, with all that was before, and
		// further: what it has is true and newer.
		return nil
	}
	m.tree = t
	m.err = nil
	m.cur = &snapshot{rev: rev, tree: m.tree.copy()}
	m.forget()
	m.breakFeeds()
	m.wakeWaiters()
	return nil
}

// keyChange is what becomes of a key of a family: without an item it is deleted.
type keyChange struct {
	family, key string
	it          *item
}

// changes are those of the transaction, once it is committed.
func (x *expectation) changes(rev int64) []keyChange {
	puts := make([]keyChange, 0, x.writes.Len())
	x.writes.Scan(func(rel string, w *write) bool {
		if w == nil { // a mark of deletions
			return true
		}
		var p keyChange
		p.family, p.key = familyOf(rel)
		if w.item != nil {
			p.key, p.it = w.key, &item{rev: rev, what: w.item.what}
		}
		puts = append(puts, p)
		return true
	})
	return puts
}

// apply takes the events of one revision.
func (m *mirror) apply(rev int64, events []*clientv3.Event) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.revision() >= rev {
		return nil // taken when it was committed
	}
	puts := make([]keyChange, 0, len(events))
	own := m.ours(events)
	for _, e := range events {
		rel := m.keys.rel(string(e.Kv.Key))
		if rel == yieldKey {
			m.yielded(string(e.Kv.Value))
			continue
		}
		var p keyChange
		p.family, p.key = familyOf(rel)
		if e.Type == clientv3.EventTypePut {
			var key string
			if own != nil {
				p.it, key = own.item(rel, e.Kv)
			}
			if p.it == nil {
				var err error
				if p.it, err = decode(rel, e.Kv, canonical); err != nil {
					return err
				}
				if p.it == nil {
					continue
				}
				key = ownID(p.it.what, p.key)
			}
			p.key = key
		}
		puts = append(puts, p)
	}
	m.take(rev, puts)
	return nil
}

func (m *mirror) revision() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cur.rev
}

// take changes the state and tells everybody. It is called by who writes.
func (m *mirror) take(rev int64, puts []keyChange) {
	var changes []store.Change
	changed := false
	for _, p := range puts {
		var old *item
		if p.it == nil {
			if m.tree.now.family(p.family) == nil {
				continue
			}
			old, _ = m.tree.write(p.family).Delete(p.key)
		} else {
			old, _ = m.tree.write(p.family).Set(p.key, p.it)
		}
		if old == nil && p.it == nil {
			continue
		}
		changed = true
		if isIndexKey(p.family) {
			continue
		}
		kind, _ := splitObjectKey(p.family)
		c := store.Change{Kind: store.Kind(kind), ID: p.key}
		if p.it != nil {
			c.Object = p.it.what
		}
		if old != nil {
			c.Old = old.what
		}
		changes = append(changes, c)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if !changed {
		// The tree is as it was: the copy that readers have stays true.
		m.cur = &snapshot{rev: rev, tree: m.cur.tree}
		m.wakeWaiters()
		return
	}
	m.cur = &snapshot{rev: rev, tree: m.tree.copy()}
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
