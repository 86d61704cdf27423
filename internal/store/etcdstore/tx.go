package etcdstore

import (
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/tidwall/btree"
)

// longScan is the number of keys from which on a transaction's scans depend on the mark that
// deletions leave in the family, instead of on each key: several scans together stay within a cluster's limit.
const longScan = 64

// tx is a transaction being built on a snapshot. One goroutine uses it.
type tx struct {
	base   *snapshot
	writes btree.Map[string, *write]
	reads  map[string]int64 // key → the ModRevision seen, 0: absent
	ranges []keyRange
	err    error // of a write that cannot be
	boxed  any   // the text of the last index entry, which the next often has too
}

var _ store.Tx = (*tx)(nil)

// keyRange was gone through; nothing in it may be newer than the snapshot.
type keyRange struct{ from, end string }

// write is what becomes of a key: a deletion if item is nil.
type write struct {
	item  *item
	key   string // within the family
	value string // what etcd gets; of a resource only when the request is made
}

// encode makes the values of resources, as they are now.
func (t *tx) encode() {
	t.writes.Scan(func(key string, w *write) bool {
		if w.item == nil || isIndexKey(key) {
			return true
		}
		b, err := json.Marshal(w.item.what)
		if err != nil {
			t.fail("put %s: %s", key, err)
		}
		w.value = string(b)
		return err == nil
	})
}

// written is the state that a committed transaction has seen and made, for the case
// that the mirror does not get to it. It is not for several goroutines.
type written struct {
	*tx
	rev int64
}

func (w written) Revision() int64 { return w.rev }

// Each scan copies the writes so far, and what is written after it their nodes: they are
// small.
const writesDegree = 4

func newTx(base *snapshot) *tx {
	return &tx{base: base, writes: *btree.NewMap[string, *write](writesDegree), reads: make(map[string]int64)}
}

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
		return it.what
	}
	return nil
}

func (t *tx) Lookup(ix store.Index, key string) (string, bool) {
	if it := t.get(indexKey(ix, key)); it != nil {
		return it.text(), true
	}
	return "", false
}

func (t *tx) List(kind store.Kind) iter.Seq2[string, store.Object] {
	return func(yield func(string, store.Object) bool) {
		t.ascend(kindPrefix(kind), func(key string, it *item) bool { return yield(key, it.what) })
	}
}

func (t *tx) Scan(ix store.Index, prefix string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		t.ascend(indexPrefix(ix, prefix), func(key string, it *item) bool { return yield(key, it.text()) })
	}
}

// ascend merges the transaction's own writes, as they are now, into the
// snapshot's keys, and records what was looked at. fn gets what follows the name of
// the keys' family.
func (t *tx) ascend(prefix string, fn func(key string, it *item) bool) {
	name, _ := familyOf(prefix)
	own := t.writes.Copy().Iter()
	more := own.Seek(prefix) && strings.HasPrefix(own.Key(), prefix)
	next := func() { more = own.Next() && strings.HasPrefix(own.Key(), prefix) }

	var seen []looked
	end := prefixEnd(prefix)
	stop := func(at string) { end = name + at + "\x00" }
	// Also where the caller leaves by a panic.
	defer func() { t.depend(name, keyRange{prefix, end}, seen) }()

	stopped := false
	t.base.ascend(prefix, func(key string, it *item) bool {
		for more && own.Key()[len(name):] < key {
			k, w := own.Key()[len(name):], own.Value()
			next()
			if w.item != nil && !fn(k, w.item) {
				stop(k)
				stopped = true
				return false
			}
		}
		seen = append(seen, looked{key, it.rev})
		if more && own.Key()[len(name):] == key {
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
		k, w := own.Key()[len(name):], own.Value()
		next()
		if w.item != nil && !fn(k, w.item) {
			stop(k)
			return
		}
	}
}

// looked is a key of a family that was there, and its ModRevision.
type looked struct {
	key string
	rev int64
}

// depend records a range that was gone through. That nothing in it is newer than
// the snapshot says nothing of what has been deleted since: for that the
// transaction depends on every key it saw, or, where those are many, on the mark
// of deletions in the family.
func (t *tx) depend(family string, r keyRange, seen []looked) {
	if slices.Contains(t.ranges, r) {
		return // of the same snapshot
	}
	t.ranges = append(t.ranges, r)
	if len(t.reads)+len(seen) >= longScan {
		gone := goneKey(r.from)
		t.ranges = append(t.ranges, keyRange{gone, gone + "\x00"})
		return
	}
	for _, x := range seen {
		t.reads[family+x.key] = x.rev
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
	share(o, canonical)
	t.writes.Set(objectKey(kind, id), &write{item: &item{what: o}, key: ownID(o, id)})
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
	if t.boxed == nil || t.boxed.(string) != value {
		t.boxed = value
	}
	t.writes.Set(indexKey(ix, key), &write{item: &item{what: t.boxed}, key: key, value: value})
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
