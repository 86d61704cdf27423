package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// faultyKV loses requests and answers, and lets requests arrive late.
type faultyKV struct {
	clientv3.KV
	fault func() string
	late  sync.WaitGroup
}

func (f *faultyKV) Txn(ctx context.Context) clientv3.Txn {
	return &faultyTxn{Txn: f.KV.Txn(ctx), kv: f, ctx: ctx}
}

type faultyTxn struct {
	clientv3.Txn
	kv   *faultyKV
	ctx  context.Context
	cmps []clientv3.Cmp
	then []clientv3.Op
	els  []clientv3.Op
}

func (t *faultyTxn) If(c ...clientv3.Cmp) clientv3.Txn  { t.cmps = c; return t }
func (t *faultyTxn) Then(o ...clientv3.Op) clientv3.Txn { t.then = o; return t }
func (t *faultyTxn) Else(o ...clientv3.Op) clientv3.Txn { t.els = o; return t }

func (t *faultyTxn) Commit() (*clientv3.TxnResponse, error) {
	send := func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return t.kv.KV.Txn(ctx).If(t.cmps...).Then(t.then...).Else(t.els...).Commit()
	}
	switch t.kv.fault() {
	case "request lost":
		return nil, rpctypes.ErrTimeout
	case "answer lost":
		_, _ = send(t.ctx)
		return nil, rpctypes.ErrLeaderChanged
	case "late":
		t.kv.late.Go(func() {
			time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
			_, _ = send(context.Background())
		})
		return nil, rpctypes.ErrTimeoutDueToConnectionLost
	case "refused":
		return nil, rpctypes.ErrTooManyRequests
	}
	return send(t.ctx)
}

// TestLostAnswers: where requests and answers are lost, nothing is done twice,
// and what is reported as done or as not done is so: of transactions that all change one
// key, and of strangers, which are committed in groups.
func TestLostAnswers(t *testing.T) {
	for name, key := range map[string]func(client int) string{
		"one key":           func(int) string { return "all" },
		"keys of their own": strconv.Itoa,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); lostAnswers(t, key) })
	}
}

func lostAnswers(t *testing.T, key func(client int) string) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	faults := []string{"request lost", "answer lost", "late", "refused", "", "", "", "", "", ""}
	var injected atomic.Int64
	kv := &faultyKV{KV: s.client.KV, fault: func() string {
		f := faults[rand.IntN(len(faults))]
		if f != "" {
			injected.Add(1)
		}
		return f
	}}
	s.client.KV = kv
	const clients, each, most = 8, 15, 600
	var done, refusals atomic.Int64
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			// Few faults become a refusal: they go on until there is one.
			for i := 0; i < each || refusals.Load() == 0 && i < most; i++ {
				id := fmt.Sprint(c, "-", i)
				_, err := s.Update(t.Context(), func(tx store.Tx) error {
					if tx.Get(store.Networks.Kind(), id) != nil {
						return errors.New("it was done before")
					}
					v, _ := tx.Lookup("total", key(c))
					n, _ := strconv.Atoi(v)
					tx.SetIndex("total", key(c), strconv.Itoa(n+1))
					return putNetwork(id, id)(tx)
				})
				there := nameAt(t, s, id) != ""
				switch {
				case err == nil:
					done.Add(1)
					if !there {
						t.Errorf("%s is reported as done and is not there", id)
					}
				case model.KindOf(err) == model.KindUnavailable:
					refusals.Add(1)
					if there {
						t.Errorf("%s is reported as not done (%v) and is there", id, err)
					}
				default:
					t.Errorf("%s: %v", id, err)
				}
			}
		})
	}
	testutil.Wait(t, "the writers", wg.Wait)
	testutil.Wait(t, "what comes late", kv.late.Wait)
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	objects := 0
	for range v.List(store.Networks.Kind()) {
		objects++
	}
	total := 0
	for _, n := range v.Scan("total", "") {
		of, _ := strconv.Atoi(n)
		total += of
	}
	if total != int(done.Load()) || objects != total {
		t.Errorf("%d reported as done, total %d, %d objects", done.Load(), total, objects)
	}
	t.Logf("%d done, %d refused, %d faults", done.Load(), refusals.Load(), injected.Load())
	if done.Load() == 0 || refusals.Load() == 0 {
		t.Error("too little happened for this to prove anything")
	}
}

// TestUnknownOutcome: where etcd stays silent the caller is not told that
// nothing happened.
func TestUnknownOutcome(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir(), RequestTimeout: 300 * time.Millisecond})
	var silent atomic.Bool
	first := make(chan struct{}, 1)
	kv := &faultyKV{KV: s.client.KV, fault: func() string {
		if !silent.Load() {
			return ""
		}
		select {
		case first <- struct{}{}:
			return "answer lost"
		default:
			return "request lost"
		}
	}}
	s.client.KV = kv
	put(t, s, "a", "1")
	silent.Store(true)
	_, err := s.Update(t.Context(), putNetwork("a", "2"))
	var e *model.Error
	if !errors.As(err, &e) || e.Kind != model.KindUnavailable || e.Type != "OutcomeUnknown" {
		t.Fatalf("error is %v", err)
	}
	silent.Store(false)
	if got := nameAt(t, s, "a"); got != "2" {
		t.Errorf("name is %q", got)
	}
	put(t, s, "a", "3")
	if got := nameAt(t, s, "a"); got != "3" {
		t.Errorf("name is %q", got)
	}
}

// TestCompactedWatch: a mirror whose watch fell behind compaction reads all
// again, and the feeds that cannot be told what they missed break.
func TestCompactedWatch(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	for i := range 10 {
		put(t, s, "a", fmt.Sprint(i))
	}
	_, feed, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cur, _ := s.mirror.current()
	if _, err := s.client.Compact(t.Context(), cur.rev); err != nil {
		t.Fatal(err)
	}
	// What the feed would do after a long time without a connection.
	if err := s.watch(t.Context(), cur.rev-3); !errors.Is(err, errCompacted) {
		t.Fatalf("watch from a compacted revision: %v", err)
	}
	if err := s.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case _, open := <-feed:
		if open {
			t.Error("a batch came from a feed that must have broken")
		}
	case <-time.After(testutil.Patience):
		t.Error("the feed does not break")
	}
	if _, _, err := s.Watch(t.Context()); err != nil {
		t.Error(err)
	}
	if got := nameAt(t, s, "a"); got != "9" {
		t.Errorf("name is %q", got)
	}
}

// TestLostLease: a store that was cut off for longer than its lease begins a new
// session by itself.
func TestLostLease(t *testing.T) {
	dir, err := os.MkdirTemp("", "causeway-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	openAt(t, Options{DataDir: filepath.Join(dir, "d"), ClientSocket: socket})
	s := openAt(t, Options{Endpoints: []string{"unix://" + socket}})
	sessions := func() int {
		resp, err := s.client.Get(t.Context(), s.keys.prefix+"tx/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		return int(resp.Count)
	}
	put(t, s, "a", "0")
	for i := range 5 {
		s.slots.mu.Lock()
		ses := s.slots.session
		s.slots.mu.Unlock()
		if ses != nil {
			if _, err := s.client.Revoke(t.Context(), ses.lease); err != nil {
				t.Fatal(err)
			}
		}
		name := strconv.Itoa(i)
		put(t, s, "a", name)
		if got := nameAt(t, s, "a"); got != name {
			t.Fatalf("name is %q, want %q", got, name)
		}
	}
	if n := sessions(); n != 1 {
		t.Errorf("%d slots are left of one writer", n)
	}
}
