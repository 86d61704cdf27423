package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/fair"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// heldKV holds large transactions back until they are let go.
type heldKV struct {
	clientv3.KV
	came chan struct{} // one for each that has been sent
	let  chan struct{} // one lets one go
}

func (h *heldKV) Txn(ctx context.Context) clientv3.Txn { return &heldTxn{Txn: h.KV.Txn(ctx), kv: h} }

type heldTxn struct {
	clientv3.Txn
	kv   *heldKV
	many bool
}

func (t *heldTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.Txn = t.Txn.If(c...); return t }
func (t *heldTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }
func (t *heldTxn) Then(o ...clientv3.Op) clientv3.Txn {
	t.Txn, t.many = t.Txn.Then(o...), len(o) > smallOps
	return t
}

func (t *heldTxn) Commit() (*clientv3.TxnResponse, error) {
	if t.many {
		t.kv.came <- struct{}{}
		<-t.kv.let
	}
	return t.Txn.Commit()
}

// TestLargeTransactionsAreFew: of one name's large transactions one of 256 operations or
// more is with etcd at a time, so that another name's large one waits for one at most, and a small one for
// nobody's turn.
func TestLargeTransactionsAreFew(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	kv := &heldKV{KV: s.client.KV, came: make(chan struct{}, 16), let: make(chan struct{})}
	s.client.KV = kv
	var wg sync.WaitGroup
	write := func(who string, i, entries int) {
		wg.Go(func() {
			_, err := s.Update(fair.As(t.Context(), who), func(tx store.Tx) error {
				for n := range entries {
					tx.SetIndex("i", fmt.Sprint(who, "-", i, "-", n), "")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	const mine = 4
	for i := range mine {
		write("a", i, 300)
	}
	testutil.Receive(t, "a's first transaction", kv.came)
	testutil.Eventually(t, "a's others to wait", func() bool { return s.bulks.Waiting() == mine-1 })
	put(t, s, "small", "1") // in no name, and at once
	write("b", 0, 300)
	testutil.Receive(t, "b's transaction beside a's", kv.came)
	select {
	case <-kv.came:
		t.Error("a third large transaction is with etcd")
	default:
	}
	for range mine + 1 {
		kv.let <- struct{}{}
	}
	testutil.Wait(t, "all of them", wg.Wait)
	if n := s.bulks.Held(); n != 0 {
		t.Errorf("%d operations are still held", n)
	}
}

// entries is a transaction of n operations.
func entries(name string, n int) func(store.Tx) error {
	return func(tx store.Tx) error {
		for i := range n {
			tx.SetIndex("i", fmt.Sprint(name, "-", i), "")
		}
		return nil
	}
}

// TestLargeOnesWaitWithoutLane: large transactions that wait for others of their name
// hold up neither small ones of other names nor one that goes alone.
func TestLargeOnesWaitWithoutLane(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	release, err := s.bulks.Acquire(t.Context(), "a", bulkOps)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range maxConcurrentCommits {
		wg.Go(func() {
			if _, err := s.Update(fair.As(t.Context(), "a"), entries(fmt.Sprint("a", i), 100)); err != nil {
				t.Error(err)
			}
		})
	}
	testutil.Eventually(t, "all of a to wait", func() bool { return s.bulks.Waiting() == maxConcurrentCommits })
	testutil.Wait(t, "a small one of another name", func() {
		if _, err := s.Update(fair.As(t.Context(), "b"), entries("b", 1)); err != nil {
			t.Error(err)
		}
	})
	testutil.Wait(t, "one that goes alone", func() {
		snap, err := s.mirror.current()
		if err != nil {
			t.Error(err)
			return
		}
		u := &update{s: s, fn: entries("c", 300), snap: snap, conflicts: conflictsBeforeAlone}
		if _, err := u.attempt(fair.As(t.Context(), "c")); err != nil {
			t.Error(err)
		}
	})
	release()
	testutil.Wait(t, "all of a", wg.Wait)
	nothingHeld(t, s)
}

func nothingHeld(t *testing.T, s *Store) {
	t.Helper()
	if held, waiting := s.bulks.Held(), s.bulks.Waiting(); held != 0 || waiting != 0 {
		t.Errorf("%d operations are held, %d transactions wait", held, waiting)
	}
	if !s.lanes.TryAcquire(maxConcurrentCommits) {
		t.Fatal("a lane is held")
	}
	s.lanes.Release(maxConcurrentCommits)
}

// TestLargeOneIsMadeAnew: a large transaction that has waited for room is run again, and
// has room for what it has become; what it holds is given back however it ends.
func TestLargeOneIsMadeAnew(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		next func(run int) (ops int, err error) // of the runs after the first one, which has 100
		gone bool                               // the caller, while it waits
		want error
		runs int
	}{
		"as large": {next: func(int) (int, error) { return 100, nil }, runs: 2},
		"smaller":  {next: func(int) (int, error) { return 1, nil }, runs: 2},
		"grows":    {next: func(run int) (int, error) { return 100 * run, nil }, runs: 3},
		"fails":    {next: func(int) (int, error) { return 0, broken }, want: broken, runs: 2},
		"panics":   {next: func(int) (int, error) { panic(broken) }, want: broken, runs: 2},
		"gone":     {gone: true, want: context.Canceled, runs: 1},
	} {
		t.Run(name, func(t *testing.T) {
			release, err := s.bulks.Acquire(t.Context(), "a", bulkOps)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(fair.As(t.Context(), "a"))
			defer cancel()
			runs, ended := 0, make(chan error, 1)
			go func() {
				defer func() {
					if e, ok := recover().(error); ok {
						ended <- e
					}
				}()
				_, err := s.Update(ctx, func(tx store.Tx) error {
					ops := 100
					if runs++; runs > 1 {
						var err error
						if ops, err = c.next(runs); err != nil {
							return err
						}
					}
					return entries(name, ops)(tx)
				})
				ended <- err
			}()
			testutil.Eventually(t, "it to wait", func() bool { return s.bulks.Waiting() == 1 })
			if c.gone {
				cancel()
			} else {
				release()
			}
			if err := testutil.Receive(t, "its end", ended); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if c.gone {
				release()
			}
			if runs != c.runs {
				t.Errorf("%d runs, want %d", runs, c.runs)
			}
			nothingHeld(t, s)
		})
	}
}
