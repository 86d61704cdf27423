package etcdstore

import (
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/tidwall/btree"
)

// longScan is the number of keys from which on a scan depends on the mark that
// deletions leave in the family, instead of on each key.
const longScan = 64

// tx is a transaction being built on a snapshot. One goroutine uses it.
type tx struct {
	base   *snapshot
	writes btree.Map[string, *write]
	reads  map[string]int64 // key → the ModRevision seen, 0: absent
	ranges []keyRange
	err    error // of a write that cannot be
}

var _ store.Tx = (*tx)(nil)

// keyRange was gone through; nothing in it may be newer than the snapshot.
type keyRange struct{ from, end string }

// write is what becomes of a key: a deletion if item is nil.
type write struct {
	item  *item
	value string
}

func newTx(base *snapshot) *tx { return &tx{base: base, reads: make(map[string]int64)} }

func (t *tx) get(key string) *item {
	if w, ok := t.writes.Get(key); ok {
		return w.item
	}
	it, ok := t.base.tree.Get(key)
	if !ok {
		t.reads[key] = 0
		return nil
	}
	t.reads[key] = it.rev
	return it
}

func (t *tx) Get(kind store.Kind, id string) store.Object {
	if it := t.get(objectKey(kind, id)); it != nil {
		return it.obj
	}
	return nil
}

func (t *tx) Lookup(ix store.Index, key string) (string, bool) {
	if it := t.get(indexKey(ix, key)); it != nil {
		return it.val, true
	}
	return "", false
}

func (t *tx) List(kind store.Kind) iter.Seq2[string, store.Object] {
	return func(yield func(string, store.Object) bool) {
		p := kindPrefix(kind)
		t.ascend(p, func(key string, it *item) bool { return yield(key[len(p):], it.obj) })
	}
}

func (t *tx) Scan(ix store.Index, prefix string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		cut := len(indexPrefix(ix, ""))
		t.ascend(indexPrefix(ix, prefix), func(key string, it *item) bool { return yield(key[cut:], it.val) })
	}
}

// ascend merges the transaction's own writes, as they are now, into the
// snapshot's keys, and records what was looked at.
func (t *tx) ascend(prefix string, fn func(key string, it *item) bool) {
	own := t.writes.Copy().Iter()
	more := own.Seek(prefix) && strings.HasPrefix(own.Key(), prefix)
	next := func() { more = own.Next() && strings.HasPrefix(own.Key(), prefix) }

	seen := make(map[string]int64)
	end := prefixEnd(prefix)
	stop := func(at string) { end = at + "\x00" }
	// Also where the caller leaves by a panic.
	defer func() { t.depend(keyRange{prefix, end}, seen) }()

	stopped := false
	t.base.ascend(prefix, func(key string, it *item) bool {
		for more && own.Key() < key {
			k, w := own.Key(), own.Value()
			next()
			if w.item != nil && !fn(k, w.item) {
				stop(k)
				stopped = true
				return false
			}
		}
		seen[key] = it.rev
		if more && own.Key() == key {
			w := own.Value()
			next()
			if w.item == nil {
				return true
			}
			it = w.item
		}
		if !fn(key, it) {
			stop(key)
			stopped = true
			return false
		}
		return true
	})
	for more && !stopped {
		k, w := own.Key(), own.Value()
		next()
		if w.item != nil && !fn(k, w.item) {
			stop(k)
			return
		}
	}
}

// depend records a range that was gone through. That nothing in it is newer than
// the snapshot says nothing of what has been deleted since: for that the
// transaction depends on every key it saw, or, where those are many, on the mark
// of deletions in the family.
func (t *tx) depend(r keyRange, seen map[string]int64) {
	t.ranges = append(t.ranges, r)
	if len(seen) >= longScan {
		gone := goneKey(r.from)
		t.ranges = append(t.ranges, keyRange{gone, gone + "\x00"})
		return
	}
	for k, rev := range seen {
		t.reads[k] = rev
	}
}

func (t *tx) fail(format string, args ...any) {
	if t.err == nil {
		t.err = model.Errf(model.KindInternal, "StoreMisuse", format, args...)
	}
}

func (t *tx) Put(kind store.Kind, id string, o store.Object) {
	want, err := kind.New()
	switch {
	case err != nil:
		t.fail("put %s %q: %s", kind, id, err)
		return
	case id == "":
		t.fail("put %s: the id is empty", kind)
		return
	case reflect.TypeOf(o) != reflect.TypeOf(want) || reflect.ValueOf(o).IsNil():
		t.fail("put %s %s: the object is %s, must be a %T", kind, id, describe(o), want)
		return
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.fail("put %s %s: %s", kind, id, err)
		return
	}
	t.writes.Set(objectKey(kind, id), &write{item: &item{obj: o}, value: string(b)})
}

func describe(o store.Object) string {
	if o == nil {
		return "nil"
	}
	if reflect.ValueOf(o).Kind() == reflect.Pointer && reflect.ValueOf(o).IsNil() {
		return fmt.Sprintf("a nil %T", o)
	}
	return fmt.Sprintf("a %T", o)
}

func (t *tx) Delete(kind store.Kind, id string) {
	if _, err := kind.New(); err != nil || id == "" {
		t.fail("delete %s %q: no such kind, or no id", kind, id)
		return
	}
	t.writes.Set(objectKey(kind, id), &write{})
}

func (t *tx) SetIndex(ix store.Index, key, value string) {
	if !t.indexOK(ix, key) {
		return
	}
	t.writes.Set(indexKey(ix, key), &write{item: &item{val: value}, value: value})
}

func (t *tx) DeleteIndex(ix store.Index, key string) {
	if t.indexOK(ix, key) {
		t.writes.Set(indexKey(ix, key), &write{})
	}
}

func (t *tx) indexOK(ix store.Index, key string) bool {
	if ix == "" || strings.Contains(string(ix), "/") || key == "" {
		t.fail("index entry %q of %q: an index needs a name without a slash, an entry a key", key, ix)
		return false
	}
	return true
}
