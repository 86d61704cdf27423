package etcdstore

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// gateKV holds each transaction until it is let go, and tells how each ends.
type gateKV struct {
	clientv3.KV
	came   chan int        // the number of keys that it puts
	let    chan error      // what it fails with; nil: it goes on
	failed chan bool       // of those that went on
	ended  <-chan struct{} // with the test, so that nothing waits for it then
}

func newGateKV(t *testing.T, kv clientv3.KV) *gateKV {
	return &gateKV{KV: kv, came: make(chan int, 64), let: make(chan error), failed: make(chan bool, 64), ended: t.Context().Done()}
}

func (g *gateKV) Txn(ctx context.Context) clientv3.Txn { return &gateTxn{Txn: g.KV.Txn(ctx), kv: g} }

// errAnswerLost has a transaction come to its end, and the answer lost.
var errAnswerLost = errors.New("answer lost")

type gateTxn struct {
	clientv3.Txn
	kv   *gateKV
	puts int
}

func (t *gateTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.Txn = t.Txn.If(c...); return t }
func (t *gateTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }
func (t *gateTxn) Then(o ...clientv3.Op) clientv3.Txn {
	t.Txn, t.puts = t.Txn.Then(o...), len(o)-slotOps
	return t
}

func (t *gateTxn) Commit() (*clientv3.TxnResponse, error) {
	t.kv.came <- t.puts
	var err error
	select {
	case err = <-t.kv.let:
	case <-t.kv.ended:
	}
	switch {
	case errors.Is(err, errAnswerLost):
		_, _ = t.Txn.Commit()
		return nil, rpctypes.ErrLeaderChanged
	case err != nil:
		return nil, err
	}
	resp, err := t.Txn.Commit()
	t.kv.failed <- err != nil || !resp.Succeeded
	return resp, err
}

// gated lets a first transaction come to etcd and holds it there, and has others wait
// behind it. revs gives the revision of each, by its name, in the end.
func gated(t *testing.T, others map[string]func(store.Tx) error) (s *Store, kv *gateKV, revs func() map[string]int64) {
	s = openAt(t, Options{DataDir: t.TempDir()})
	s.groups.patience = time.Hour
	put(t, s, "seen", "1")
	kv = newGateKV(t, s.client.KV)
	s.client.KV = kv
	var wg sync.WaitGroup
	var mu sync.Mutex
	found := map[string]int64{}
	update := func(name string, fn func(store.Tx) error) {
		wg.Go(func() {
			done, err := s.Update(t.Context(), fn)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			found[name] = done.Revision
		})
	}
	update("first", putNetwork("first", "first"))
	if n := testutil.Receive(t, "the first transaction", kv.came); n != 2 {
		t.Fatalf("the first writes %d keys", n)
	}
	for name, fn := range others {
		update(name, fn)
	}
	testutil.Eventually(t, "the others wait", func() bool {
		s.groups.mu.Lock()
		defer s.groups.mu.Unlock()
		return len(s.groups.waiting) == len(others)
	})
	return s, kv, func() map[string]int64 {
		testutil.Wait(t, "the transactions", wg.Wait)
		return found
	}
}

// finish lets what is with etcd go on, or fail with err, and wants it to fail or not.
func (g *gateKV) finish(t *testing.T, err error, failed bool) {
	t.Helper()
	g.let <- err
	if err == nil && testutil.Receive(t, "the end of a transaction", g.failed) != failed {
		t.Fatalf("a transaction failed: %v", !failed)
	}
}

// change is another process's, at what readers look at.
func (g *gateKV) change(t *testing.T, s *Store) (rev int64) {
	t.Helper()
	resp, err := g.Put(t.Context(), s.keys.abs(objectKey(store.Networks.Kind(), "seen")), `{"name":"2"}`)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// reader writes a network after it has looked at another.
func reader(id string) func(store.Tx) error {
	return func(tx store.Tx) error {
		return putNetwork(id, store.Get(tx, store.Networks, "seen").Name+id)(tx)
	}
}

// TestGroupsCommitTogether: what waits while a transaction is with etcd is one transaction
// there, whose members all come by as they were given.
func TestGroupsCommitTogether(t *testing.T) {
	s, kv, revs := gated(t, map[string]func(store.Tx) error{"a": reader("a"), "b": reader("b"), "c": reader("c")})
	kv.finish(t, nil, false)
	if n := testutil.Receive(t, "the group", kv.came); n != 6 {
		t.Errorf("a transaction of %d keys came, not the group's 6", n)
	}
	kv.finish(t, nil, false)
	found := revs()
	if found["a"] != found["b"] || found["b"] != found["c"] || found["a"] <= found["first"] {
		t.Errorf("they were committed at %v", found)
	}
	for _, id := range []string{"a", "b", "c"} {
		if name := nameAt(t, s, id); name != "1"+id {
			t.Errorf("%s has the name %q", id, name)
		}
	}
	if len(s.mirror.expected) != 0 {
		t.Errorf("%d transactions are still expected", len(s.mirror.expected))
	}
}

// TestGroupThatMetAChange: where one member has read what another process changes, or
// etcd refuses the group, the others are committed none the less.
func TestGroupThatMetAChange(t *testing.T) {
	for name, refusal := range map[string]error{"conflict": nil, "refused": rpctypes.ErrTooManyRequests} {
		t.Run(name, func(t *testing.T) {
			s, kv, revs := gated(t, map[string]func(store.Tx) error{"a": putNetwork("a", "a"), "b": reader("b"), "c": putNetwork("c", "c")})
			kv.finish(t, nil, false)
			if n := testutil.Receive(t, "the group", kv.came); n != 6 {
				t.Errorf("a transaction of %d keys came, not the group's 6", n)
			}
			if refusal == nil {
				kv.change(t, s)
			}
			kv.finish(t, refusal, true)
			tries, failures := 3, 0
			if refusal == nil {
				tries++ // b's
			}
			for range tries {
				testutil.Receive(t, "a transaction alone", kv.came)
				kv.let <- nil
				if testutil.Receive(t, "its end", kv.failed) {
					failures++
				}
			}
			found := revs()
			if found["a"] == found["c"] || failures != tries-3 {
				t.Errorf("%d failed; they were committed at %v", failures, found)
			}
			want := "1b"
			if refusal == nil {
				want = "2b"
			}
			if got := nameAt(t, s, "b"); got != want {
				t.Errorf("b has the name %q, not %q", got, want)
			}
		})
	}
}

// TestStaleMemberIsLeftOut: what the mirror shows to have read what is no more is in no group, so
// that strangers do not pay for it.
func TestStaleMemberIsLeftOut(t *testing.T) {
	for name, fn := range map[string]func(store.Tx) error{"key": reader("b"), "range": func(tx store.Tx) error {
		for range tx.Scan("other", "") {
		}
		return putNetwork("b", "b")(tx)
	}} {
		t.Run(name, func(t *testing.T) {
			s, kv, revs := gated(t, map[string]func(store.Tx) error{"a": putNetwork("a", "a"), "b": fn, "c": putNetwork("c", "c")})
			if _, err := kv.Put(t.Context(), s.keys.abs(indexKey("other", "2")), "seen"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.mirror.wait(t.Context(), kv.change(t, s)); err != nil {
				t.Fatal(err)
			}
			kv.finish(t, nil, false)
			if n := testutil.Receive(t, "the group", kv.came); n != 4 {
				t.Errorf("a transaction of %d keys came, not the two strangers' 4", n)
			}
			kv.finish(t, nil, false)
			testutil.Receive(t, "the one that was left out", kv.came)
			kv.finish(t, nil, false)
			found := revs()
			if found["a"] != found["c"] || found["b"] <= found["a"] {
				t.Errorf("they were committed at %v", found)
			}
		})
	}
}

// TestGroupLosesItsAnswer: where the answer to a group is lost, each member is told what became of
// it, and what was done is not done again.
func TestGroupLosesItsAnswer(t *testing.T) {
	ids := []string{"a", "b", "c"}
	count := func(id string) func(store.Tx) error {
		return func(tx store.Tx) error {
			v, _ := tx.Lookup("count", id)
			n, _ := strconv.Atoi(v)
			tx.SetIndex("count", id, strconv.Itoa(n+1))
			return putNetwork(id, id)(tx)
		}
	}
	others := map[string]func(store.Tx) error{}
	for _, id := range ids {
		others[id] = count(id)
	}
	for name, c := range map[string]struct {
		lost error
		done bool
	}{
		"the answer":  {errAnswerLost, true},
		"the request": {rpctypes.ErrTimeout, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, kv, revs := gated(t, others)
			kv.finish(t, nil, false)
			if n := testutil.Receive(t, "the group", kv.came); n != 9 {
				t.Fatalf("a transaction of %d keys came, not the group's 9", n)
			}
			kv.finish(t, c.lost, false)
			testutil.Receive(t, "the question what became of it", kv.came)
			kv.finish(t, nil, c.done) // it may write where the group has not
			keys := 0
			for !c.done && keys < 9 { // together again, or not
				keys += testutil.Receive(t, "a transaction that is tried again", kv.came)
				kv.finish(t, nil, false)
			}
			found := revs()
			if c.done && (found["a"] != found["b"] || found["b"] != found["c"] || found["a"] <= found["first"]) {
				t.Errorf("they were committed at %v", found)
			}
			v, err := s.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if n, _ := v.Lookup("count", id); n != "1" {
					t.Errorf("%s was done %s times", id, n)
				}
			}
			if len(s.mirror.expected) != 0 {
				t.Errorf("%d transactions are still expected", len(s.mirror.expected))
			}
		})
	}
}

// TestGroupWithoutAnAnswer: a group that etcd does not answer does not hold up those
// behind it.
func TestGroupWithoutAnAnswer(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	s.groups.patience = time.Millisecond
	kv := newGateKV(t, s.client.KV)
	s.client.KV = kv
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b"} {
		wg.Go(func() {
			if _, err := s.Update(t.Context(), putNetwork(id, id)); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
		testutil.Receive(t, "a transaction, whatever became of the one before", kv.came)
	}
	kv.finish(t, nil, false)
	kv.finish(t, nil, false)
	testutil.Wait(t, "the transactions", wg.Wait)
	if a, b := nameAt(t, s, "a"), nameAt(t, s, "b"); a != "a" || b != "b" {
		t.Errorf("they have the names %q and %q", a, b)
	}
}

// TestKeysAreTheStoresOwn: the mirror keeps an id, not the text that the id is a part of.
func TestKeysAreTheStoresOwn(t *testing.T) {
	x := newTx(&snapshot{tree: new(tree)})
	id := "/v2.0/networks/a?and=more"[15:16]
	store.Put(x, store.Networks, id, &model.Network{ID: "a"})
	x.writes.Scan(func(_ string, w *write) bool {
		if w.key != id || unsafe.StringData(w.key) == unsafe.StringData(id) {
			t.Errorf("the key is %q, of the request's own text", w.key)
		}
		return true
	})
	if x.writes.Len() != 1 {
		t.Errorf("%d writes", x.writes.Len())
	}
}

// TestGroupMembers: what has to do with an earlier member is in no group with it.
func TestGroupMembers(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	put(t, s, "x", "x")
	put(t, s, "y", "y")
	base, err := s.mirror.current()
	if err != nil {
		t.Fatal(err)
	}
	mem := func(fn func(store.Tx)) *member {
		x := newTx(base)
		fn(x)
		x.encode()
		return &member{t: x, size: s.size(x)}
	}
	get := func(id string) func(store.Tx) { return func(x store.Tx) { x.Get(store.Networks.Kind(), id) } }
	write := func(id string) func(store.Tx) { return func(x store.Tx) { _ = putNetwork(id, id)(x) } }
	gone := func(id string) func(store.Tx) { return func(x store.Tx) { store.Delete(x, store.Networks, id) } }
	scan := func(x store.Tx) {
		for range x.Scan("name", "") {
		}
		x.SetIndex("count", "all", "2")
	}
	both := func(a, b func(store.Tx)) func(store.Tx) { return func(x store.Tx) { a(x); b(x) } }
	for name, c := range map[string]struct {
		first, second func(store.Tx)
		together      bool
	}{
		"both write new ones":                  {write("a"), write("b"), true},
		"both have read the same":              {both(get("x"), write("a")), both(get("x"), write("b")), true},
		"both delete":                          {gone("x"), gone("y"), true},
		"the first has read what is written":   {both(get("x"), write("a")), write("x"), true},
		"the second has read what is written":  {write("x"), both(get("x"), write("b")), false},
		"the second has missed what is made":   {write("a"), both(get("a"), write("b")), false},
		"the second has read what is deleted":  {gone("x"), both(get("x"), write("b")), false},
		"both write the same":                  {write("a"), write("a"), false},
		"one deletes what the other writes":    {write("x"), gone("x"), false},
		"the second has gone through an index": {write("a"), scan, false},
		"the first has gone through an index":  {scan, write("a"), true},
	} {
		gr := newGroup(mem(c.first))
		if got := gr.add(mem(c.second), s.opt); got != c.together {
			t.Errorf("%s: together %v", name, got)
		}
	}
	// A scan of many depends on the mark of deletions alone.
	x := mem(write("a"))
	x.t.ranges = append(x.t.ranges, keyRange{goneKey("network/x"), goneKey("network/x") + "\x00"})
	if gr := newGroup(mem(gone("x"))); gr.add(x, s.opt) {
		t.Error("a deletion and one that depends on there being none are together")
	}
	small := s.opt
	small.MaxTxnOps = 2*slotOps + 1
	if gr := newGroup(mem(write("a"))); gr.add(mem(write("b")), small) {
		t.Error("a group has more operations than a transaction may have")
	}
	other := mem(both(get("x"), write("b")))
	other.t.reads["network/x"]++
	if gr := newGroup(mem(both(get("x"), write("a")))); gr.add(other, s.opt) {
		t.Error("two are together that have read different revisions of one key")
	}
}
