package etcdstore

import (
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// TestOwnWritesAreNotDecoded: what this process has written its readers get as it was
// given, and not decoded anew.
func TestOwnWritesAreNotDecoded(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	_, feed, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := &model.Network{ID: "a"}
	done, err := s.Update(t.Context(), func(tx store.Tx) error {
		store.Put(tx, store.Networks, "a", n)
		tx.SetIndex("name", "x", "a")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := done.Snapshot.Get(store.Networks.Kind(), "a"); got != store.Object(n) {
		t.Errorf("the result has %p, not %p", got, n)
	}
	if b := <-feed; len(b.Changes) != 1 || b.Changes[0].Object != store.Object(n) {
		t.Errorf("the feed has %+v", b.Changes)
	}
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := v.Lookup("name", "x"); v.Get(store.Networks.Kind(), "a") != store.Object(n) || id != "a" {
		t.Errorf("a view has %p, %q", v.Get(store.Networks.Kind(), "a"), id)
	}
	if len(s.mirror.expected) != 0 {
		t.Errorf("%d transactions are still expected", len(s.mirror.expected))
	}
}

// TestResultWithoutMirror: where the mirror cannot go on, a committed transaction still
// says what it led to.
func TestResultWithoutMirror(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	put(t, s, "a", "1")
	done, err := s.Update(t.Context(), func(tx store.Tx) error {
		s.mirror.fail(unavailable("StoreUnavailable", "the watch broke"))
		return putNetwork("b", "2")(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for id, o := range done.Snapshot.List(store.Networks.Kind()) {
		names[id] = o.(*model.Network).Name
	}
	if id, _ := done.Snapshot.Lookup("name", "2"); len(names) != 2 || names["a"] != "1" || names["b"] != "2" || id != "b" || done.Snapshot.Revision() != done.Revision {
		t.Errorf("it led to %v, %q at %d, committed at %d", names, id, done.Snapshot.Revision(), done.Revision)
	}
}
