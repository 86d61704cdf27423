package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

func testReads(t *testing.T, f Factory) {
	s := f(t)()
	if v := mustView(t, s); v.Get(store.Networks.Kind(), "a") != nil || ids(v, store.Networks.Kind()) != "[]" {
		t.Fatal("an empty store holds something")
	}
	rev := mustUpdate(t, s, func(tx store.Tx) {
		for _, id := range []string{"b", "a", "c"} {
			store.Put(tx, store.Networks, id, network(id, "net "+id))
		}
		store.Put(tx, store.Routers, "b", &model.Router{ID: "b"})
		tx.SetIndex("name", "x/1", "a")
		tx.SetIndex("name", "x/10", "")
		tx.SetIndex("name", "x/2", "c")
		tx.SetIndex("name", "y", "b")
		tx.SetIndex("names", "x/3", "other")
	})
	v := mustView(t, s)
	if v.Revision() < rev {
		t.Fatalf("view at revision %d after an update at %d", v.Revision(), rev)
	}
	if n := store.Get(v, store.Networks, "a"); n == nil || n.Name != "net a" {
		t.Fatalf("network a is %+v", n)
	}
	if got := ids(v, store.Networks.Kind()); got != "[a b c]" {
		t.Errorf("networks %s", got)
	}
	if got := ids(v, store.Routers.Kind()); got != "[b]" {
		t.Errorf("routers %s", got)
	}
	if got := entries(v, "name", "x/"); got != "[x/1=a x/10= x/2=c]" {
		t.Errorf("entries %s", got)
	}
	if got := entries(v, "name", ""); got != "[x/1=a x/10= x/2=c y=b]" {
		t.Errorf("entries %s", got)
	}
	if got := entries(v, "name", "x/1"); got != "[x/1=a x/10=]" {
		t.Errorf("entries %s", got)
	}
	if val, ok := v.Lookup("name", "x/10"); !ok || val != "" {
		t.Errorf("an entry with an empty value: %q %v", val, ok)
	}
	if _, ok := v.Lookup("name", "x/"); ok {
		t.Error("a prefix was taken for an entry")
	}

	mustUpdate(t, s, func(tx store.Tx) {
		store.Delete(tx, store.Networks, "b")
		store.Delete(tx, store.Networks, "nothing")
		tx.DeleteIndex("name", "x/1")
	})
	if got := ids(v, store.Networks.Kind()) + entries(v, "name", "x"); got != "[a b c][x/1=a x/10= x/2=c]" {
		t.Errorf("the old snapshot changed: %s", got)
	}
	v = mustView(t, s)
	if got := ids(v, store.Networks.Kind()) + entries(v, "name", "x"); got != "[a c][x/10= x/2=c]" {
		t.Errorf("after deletion: %s", got)
	}
}

func testTransactions(t *testing.T, f Factory) {
	s := f(t)()
	mustUpdate(t, s, func(tx store.Tx) {
		for _, id := range []string{"b", "d", "f"} {
			store.Put(tx, store.Networks, id, network(id, "old"))
			tx.SetIndex("i", id, "old")
		}
	})
	mustUpdate(t, s, func(tx store.Tx) {
		store.Put(tx, store.Networks, "a", network("a", "new"))
		store.Put(tx, store.Networks, "d", network("d", "new"))
		store.Put(tx, store.Networks, "g", network("g", "new"))
		store.Delete(tx, store.Networks, "f")
		tx.SetIndex("i", "c", "new")
		tx.DeleteIndex("i", "b")
		if got := ids(tx, store.Networks.Kind()); got != "[a b d g]" {
			t.Errorf("own writes in a list: %s", got)
		}
		if n := store.Get(tx, store.Networks, "d"); n == nil || n.Name != "new" {
			t.Errorf("own write: %+v", n)
		}
		if tx.Get(store.Networks.Kind(), "f") != nil {
			t.Error("own deletion is not seen")
		}
		if got := entries(tx, "i", ""); got != "[c=new d=old f=old]" {
			t.Errorf("own writes in a scan: %s", got)
		}
		// Writing while going through is allowed; the iteration goes on as it began.
		for id := range tx.List(store.Networks.Kind()) {
			store.Delete(tx, store.Networks, id)
		}
		if got := ids(tx, store.Networks.Kind()); got != "[]" {
			t.Errorf("after deleting in a list: %s", got)
		}
		store.Put(tx, store.Networks, "z", network("z", ""))
		for k := range tx.Scan("i", "") {
			if k == "d" {
				break
			}
		}
	})
	v := mustView(t, s)
	if got := ids(v, store.Networks.Kind()) + entries(v, "i", ""); got != "[z][c=new d=old f=old]" {
		t.Errorf("committed: %s", got)
	}
}

func testMisuse(t *testing.T, f Factory) {
	s := f(t)()
	for name, fn := range map[string]func(store.Tx){
		"wrong type":   func(tx store.Tx) { tx.Put(store.Networks.Kind(), "a", &model.Router{}) },
		"nil":          func(tx store.Tx) { tx.Put(store.Networks.Kind(), "a", nil) },
		"typed nil":    func(tx store.Tx) { store.Put(tx, store.Networks, "a", (*model.Network)(nil)) },
		"value":        func(tx store.Tx) { tx.Put(store.Networks.Kind(), "a", model.Network{}) },
		"unknown kind": func(tx store.Tx) { tx.Put("ix", "a", network("a", "")) },
		"delete kind":  func(tx store.Tx) { tx.Delete("meta", "head") },
		"no id":        func(tx store.Tx) { store.Put(tx, store.Networks, "", network("", "")) },
		"index slash":  func(tx store.Tx) { tx.SetIndex("a/b", "c", "d") },
		"index empty":  func(tx store.Tx) { tx.SetIndex("a", "", "d") },
		"index delete": func(tx store.Tx) { tx.DeleteIndex("", "a") },
	} {
		_, err := s.Update(Context(t), func(tx store.Tx) error {
			store.Put(tx, store.Networks, "good", network("good", ""))
			fn(tx)
			return nil
		})
		if err == nil || model.KindOf(err) != model.KindInternal {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if got := ids(mustView(t, s), store.Networks.Kind()); got != "[]" {
		t.Errorf("a refused transaction left %s", got)
	}
}

func testErrors(t *testing.T, f Factory) {
	open := f(t)
	s := open()
	own := errors.New("no")
	_, err := s.Update(Context(t), func(tx store.Tx) error {
		store.Put(tx, store.Networks, "a", network("a", ""))
		return own
	})
	if err != own {
		t.Fatalf("fn's error came back as %v", err)
	}
	if mustView(t, s).Get(store.Networks.Kind(), "a") != nil {
		t.Fatal("a failed transaction left its writes")
	}
	// An error or a reading must be of the present state, also where another
	// store has just made it so.
	other := open()
	for i := range 20 {
		id := fmt.Sprint("n", i)
		rev := mustUpdate(t, other, func(tx store.Tx) { store.Put(tx, store.Networks, id, network(id, "")) })
		_, err := s.Update(Context(t), func(tx store.Tx) error {
			if tx.Get(store.Networks.Kind(), id) != nil {
				return own
			}
			return nil
		})
		if err != own {
			t.Fatalf("the error was computed on an old state: %v", err)
		}
		rev2 := mustUpdate(t, other, func(tx store.Tx) { store.Delete(tx, store.Networks, id) })
		found := true
		got := mustUpdate(t, s, func(tx store.Tx) { found = tx.Get(store.Networks.Kind(), id) != nil })
		if found || got < rev2 || rev2 <= rev {
			t.Fatalf("a reading saw an old state: found %v at %d, deleted at %d, put at %d", found, got, rev2, rev)
		}
	}
}

// testDependencies lets another store interfere between reading and commit:
// whatever was read must make the transaction run again if it has changed, and
// not if it has not.
func testDependencies(t *testing.T, f Factory) {
	open := f(t)
	a, b := open(), open()
	reset := func() {
		mustUpdate(t, b, func(tx store.Tx) {
			for id := range tx.List(store.Networks.Kind()) {
				store.Delete(tx, store.Networks, id)
			}
			for k := range tx.Scan("i", "") {
				tx.DeleteIndex("i", k)
			}
			store.Put(tx, store.Networks, "m", network("m", ""))
			for i := range 200 {
				tx.SetIndex("i", fmt.Sprintf("long/%03d", i), "")
			}
			for _, k := range []string{"p/b", "p/d", "q/a"} {
				tx.SetIndex("i", k, "")
			}
		})
	}
	get := func(id string) func(store.Tx) { return func(tx store.Tx) { tx.Get(store.Networks.Kind(), id) } }
	lookup := func(k string) func(store.Tx) { return func(tx store.Tx) { tx.Lookup("i", k) } }
	list := func(tx store.Tx) { ids(tx, store.Networks.Kind()) }
	scan := func(p string) func(store.Tx) { return func(tx store.Tx) { entries(tx, "i", p) } }
	first := func(p string) func(store.Tx) {
		return func(tx store.Tx) {
			for range tx.Scan("i", p) {
				break
			}
		}
	}
	put := func(id string) func(store.Tx) {
		return func(tx store.Tx) { store.Put(tx, store.Networks, id, network(id, "new")) }
	}
	del := func(id string) func(store.Tx) { return func(tx store.Tx) { store.Delete(tx, store.Networks, id) } }
	set := func(k string) func(store.Tx) { return func(tx store.Tx) { tx.SetIndex("i", k, "new") } }
	unset := func(k string) func(store.Tx) { return func(tx store.Tx) { tx.DeleteIndex("i", k) } }
	for _, c := range []struct {
		name            string
		read, interfere func(store.Tx)
		again           bool
		falseAlarm      bool // may run again without need
	}{
		{name: "changed object", read: get("m"), interfere: put("m"), again: true},
		{name: "deleted object", read: get("m"), interfere: del("m"), again: true},
		{name: "created object", read: get("x"), interfere: put("x"), again: true},
		{name: "another object", read: get("m"), interfere: put("x")},
		{name: "changed entry", read: lookup("p/b"), interfere: set("p/b"), again: true},
		{name: "deleted entry", read: lookup("p/b"), interfere: unset("p/b"), again: true},
		{name: "created entry", read: lookup("p/c"), interfere: set("p/c"), again: true},
		{name: "list, created", read: list, interfere: put("a"), again: true},
		{name: "list, changed", read: list, interfere: put("m"), again: true},
		{name: "list, deleted", read: list, interfere: del("m"), again: true},
		{name: "list, other kind", read: list, interfere: set("p/b")},
		{name: "scan, created", read: scan("p/"), interfere: set("p/a"), again: true},
		{name: "scan, created last", read: scan("p/"), interfere: set("p/~"), again: true},
		{name: "scan, changed", read: scan("p/"), interfere: set("p/d"), again: true},
		{name: "scan, deleted", read: scan("p/"), interfere: unset("p/d"), again: true},
		{name: "scan, beside it", read: scan("p/"), interfere: set("q/b")},
		{name: "scan, deleted beside it", read: scan("p/"), interfere: unset("q/a")},
		{name: "empty scan, created", read: scan("r/"), interfere: set("r/x"), again: true},
		{name: "cut scan, before", read: first("p/"), interfere: set("p/a"), again: true},
		{name: "cut scan, deleted", read: first("p/"), interfere: unset("p/b"), again: true},
		{name: "cut scan, after", read: first("p/"), interfere: set("p/c")},
		{name: "long scan, created", read: scan("long/"), interfere: set("long/0500"), again: true},
		{name: "long scan, changed", read: scan("long/"), interfere: set("long/150"), again: true},
		{name: "long scan, deleted", read: scan("long/"), interfere: unset("long/150"), again: true},
		{name: "long scan, beside it", read: scan("long/"), interfere: set("p/b")},
		{name: "long scan, deleted beside it", read: scan("long/"), interfere: unset("p/b"), falseAlarm: true},
	} {
		reset()
		mustView(t, a) // has seen it: what runs again does so for the interference
		runs := 0
		mustUpdate(t, a, func(tx store.Tx) {
			c.read(tx)
			tx.SetIndex("result", "x", fmt.Sprint(runs))
			if runs++; runs == 1 {
				mustUpdate(t, b, c.interfere)
			}
		})
		if runs > 1 != c.again && !c.falseAlarm {
			t.Errorf("%s: ran %d times", c.name, runs)
		}
	}
}

func testReadYourWrites(t *testing.T, f Factory) {
	open := f(t)
	stores := []store.Store{open(), open(), open()}
	for i := range 60 {
		name := fmt.Sprint(i)
		rev := mustUpdate(t, stores[i%3], func(tx store.Tx) { store.Put(tx, store.Networks, "a", network("a", name)) })
		for j, s := range stores {
			v := mustView(t, s)
			if n := store.Get(v, store.Networks, "a"); n == nil || n.Name != name || v.Revision() < rev {
				t.Fatalf("store %d sees %+v at %d after %q was written at %d", j, n, v.Revision(), name, rev)
			}
		}
	}
}

func testLimits(t *testing.T, f Factory) {
	s := f(t)()
	_, err := s.Update(Context(t), func(tx store.Tx) error {
		for i := range 5000 {
			tx.SetIndex("i", fmt.Sprint(i), "")
		}
		return nil
	})
	wantKind(t, err, model.KindTooLarge)
	if !strings.Contains(err.Error(), "4096") {
		t.Errorf("the limit is not named: %v", err)
	}
	_, err = s.Update(Context(t), func(tx store.Tx) error {
		store.Put(tx, store.Networks, "a", network("a", strings.Repeat("x", 5<<20)))
		return nil
	})
	wantKind(t, err, model.KindTooLarge)
	if !strings.Contains(err.Error(), "4194304") {
		t.Errorf("the limit is not named: %v", err)
	}
	if v := mustView(t, s); entries(v, "i", "") != "[]" || ids(v, store.Networks.Kind()) != "[]" {
		t.Error("a refused transaction left something")
	}
	// Just below both.
	mustUpdate(t, s, func(tx store.Tx) {
		for i := range 4000 {
			tx.SetIndex("i", fmt.Sprint(i), "")
		}
	})
	mustUpdate(t, s, func(tx store.Tx) {
		store.Put(tx, store.Networks, "a", network("a", strings.Repeat("x", 4<<20-4<<10)))
	})
	if n := store.Get(mustView(t, s), store.Networks, "a"); n == nil || len(n.Name) != 4<<20-4<<10 {
		t.Error("a large object did not survive")
	}
}

func testCancelled(t *testing.T, f Factory) {
	s := f(t)()
	ctx, cancel := context.WithCancel(Context(t))
	_, err := s.Update(ctx, func(tx store.Tx) error {
		store.Put(tx, store.Networks, "a", network("a", ""))
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("update: %v", err)
	}
	if _, err := s.View(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("view: %v", err)
	}
	if mustView(t, s).Get(store.Networks.Kind(), "a") != nil {
		t.Error("a cancelled transaction was committed")
	}
}

func testClose(t *testing.T, f Factory) {
	s := f(t)()
	_, feed, err := s.Watch(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	v := mustView(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-feed; open {
		t.Error("a batch came after Close")
	}
	_, err = s.View(Context(t))
	wantKind(t, err, model.KindUnavailable)
	_, err = s.Update(Context(t), func(store.Tx) error { return nil })
	wantKind(t, err, model.KindUnavailable)
	_, _, err = s.Watch(Context(t))
	wantKind(t, err, model.KindUnavailable)
	if got := ids(v, store.Networks.Kind()); got != "[]" {
		t.Errorf("a snapshot after Close: %s", got)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
