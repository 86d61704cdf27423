package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

func next(t testing.TB, feed <-chan store.Batch) store.Batch {
	t.Helper()
	select {
	case b, ok := <-feed:
		if !ok {
			t.Fatal("the feed broke")
		}
		return b
	case <-Context(t).Done():
		t.Fatal("no batch came")
	}
	panic("unreachable")
}

func describe(b store.Batch) string {
	s := ""
	for _, c := range b.Changes {
		name := func(o store.Object) string {
			if n, ok := o.(*model.Network); ok {
				return n.Name
			}
			return "-"
		}
		s += fmt.Sprintf("%s %s:%s>%s;", c.Kind, c.ID, name(c.Old), name(c.Object))
	}
	return s
}

func testWatch(t *testing.T, f Factory) {
	open := f(t)
	s, other := open(), open()
	mustUpdate(t, s, func(tx store.Tx) { store.Put(tx, store.Networks, "a", network("a", "1")) })
	ctx, cancel := context.WithCancel(Context(t))
	defer cancel()
	snap, feed, err := s.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if ids(snap, store.Networks.Kind()) != "[a]" {
		t.Fatalf("the first snapshot has %s", ids(snap, store.Networks.Kind()))
	}
	rev := mustUpdate(t, other, func(tx store.Tx) {
		store.Put(tx, store.Networks, "a", network("a", "2"))
		store.Put(tx, store.Networks, "b", network("b", "1"))
		tx.SetIndex("i", "k", "v")
	})
	b := next(t, feed)
	if b.Revision != rev || b.Snapshot.Revision() != rev || describe(b) != "network a:1>2;network b:->1;" {
		t.Fatalf("batch %d: %s", b.Revision, describe(b))
	}
	if v, _ := b.Snapshot.Lookup("i", "k"); v != "v" {
		t.Error("the batch's snapshot lacks the index entry of the same transaction")
	}
	rev2 := mustUpdate(t, s, func(tx store.Tx) {
		store.Delete(tx, store.Networks, "a")
		store.Delete(tx, store.Networks, "never")
		tx.DeleteIndex("i", "k")
	})
	if b := next(t, feed); b.Revision != rev2 || describe(b) != "network a:2>-;" || b.Snapshot.Get(store.Networks.Kind(), "a") != nil {
		t.Fatalf("batch %d: %s", b.Revision, describe(b))
	}
	if b.Snapshot.Get(store.Networks.Kind(), "a") == nil {
		t.Error("an old batch's snapshot changed")
	}
	// Large transactions stay whole.
	rev3 := mustUpdate(t, other, func(tx store.Tx) {
		for i := range 3000 {
			id := fmt.Sprint("n", i)
			store.Put(tx, store.Networks, id, network(id, id))
		}
	})
	if b := next(t, feed); b.Revision != rev3 || len(b.Changes) != 3000 {
		t.Fatalf("batch %d has %d changes, want all 3000 of revision %d", b.Revision, len(b.Changes), rev3)
	}
	cancel()
	for range feed { // closes
	}
}

// testSlowWatcher: a watcher that does not read must not hold up others; its
// feed breaks, and what it got up to there is in order and without holes.
func testSlowWatcher(t *testing.T, f Factory) {
	s := f(t)()
	_, slow, err := s.Watch(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	const writes = 3000
	done := make(chan error, 4)
	for w := range 4 {
		go func() {
			var err error
			for i := 0; i < writes/4 && err == nil; i++ {
				_, err = s.Update(Context(t), func(tx store.Tx) error {
					store.Put(tx, store.Networks, fmt.Sprint(w), network(fmt.Sprint(w), fmt.Sprint(i)))
					return nil
				})
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]string)
	got, last := 0, int64(0)
	for b := range slow {
		got++
		for _, c := range b.Changes {
			old := ""
			if n, ok := c.Old.(*model.Network); ok {
				old = n.Name
			}
			if old != seen[c.ID] {
				t.Fatalf("a change is missing: %s was %q, the batch says %q", c.ID, seen[c.ID], old)
			}
			seen[c.ID] = c.Object.(*model.Network).Name
		}
		if b.Revision <= last {
			t.Fatalf("revision %d after %d", b.Revision, last)
		}
		last = b.Revision
	}
	if got == 0 || got >= writes {
		t.Errorf("a feed that nobody read kept %d of %d batches", got, writes)
	}
	snap, feed, err := s.Watch(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if n := store.Get(snap, store.Networks, "0"); n == nil || n.Name != fmt.Sprint(writes/4-1) {
		t.Errorf("after watching again: %+v", n)
	}
	mustUpdate(t, s, func(tx store.Tx) { store.Delete(tx, store.Networks, "0") })
	next(t, feed)
}
