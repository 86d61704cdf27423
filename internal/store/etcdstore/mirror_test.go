package etcdstore

import (
	"context"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// lone is a mirror without a store: what etcd would tell it the test does.
type lone struct {
	*mirror
	t    *testing.T
	feed chan store.Batch
}

func newMirrorAt(t *testing.T, rev int64) *lone {
	t.Helper()
	m := newMirror(keys{defaultPrefix}, 16, func(string) {})
	if err := m.load(nil, rev); err != nil {
		t.Fatal(err)
	}
	_, sub, err := m.subscribe()
	if err != nil {
		t.Fatal(err)
	}
	return &lone{m, t, sub.ch}
}

// write expects a transaction that fn makes, and returns what etcd will say of it.
func (b *lone) write(mark string, rev int64, fn func(*tx)) []*clientv3.Event {
	b.t.Helper()
	now, err := b.current()
	if err != nil {
		b.t.Fatal(err)
	}
	x := newTx(now)
	fn(x)
	if x.encode(); x.err != nil {
		b.t.Fatal(x.err)
	}
	b.expect(mark, &x.writes)
	events := []*clientv3.Event{putEvent(b.keys.abs(headKey), mark, rev)}
	x.writes.Scan(func(rel string, w *write) bool {
		if w.item == nil {
			events = append(events, &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: []byte(b.keys.abs(rel)), ModRevision: rev}})
		} else {
			events = append(events, putEvent(b.keys.abs(rel), w.value, rev))
		}
		return true
	})
	return events
}

func putEvent(key, value string, rev int64) *clientv3.Event {
	return &clientv3.Event{Type: clientv3.EventTypePut, Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: rev}}
}

// is checks the mirror's revision and the networks that it holds.
func (b *lone) is(rev int64, ids ...string) {
	b.t.Helper()
	now, err := b.current()
	if err != nil {
		b.t.Fatal(err)
	}
	var have []string
	for id := range now.List(store.Networks.Kind()) {
		have = append(have, id)
	}
	if now.rev != rev || len(have) != len(ids) {
		b.t.Errorf("the mirror is at %d with %v, not at %d with %v", now.rev, have, rev, ids)
	}
	for _, id := range ids {
		if now.Get(store.Networks.Kind(), id) == nil {
			b.t.Errorf("%s is not there", id)
		}
	}
}

// told takes a batch out of the feed.
func (b *lone) told(rev int64, changes int) {
	b.t.Helper()
	select {
	case got := <-b.feed:
		if got.Revision != rev || len(got.Changes) != changes || got.Snapshot.Revision() != rev {
			b.t.Errorf("the feed told of %d at %d, not of %d at %d", len(got.Changes), got.Revision, changes, rev)
		}
	default:
		b.t.Errorf("the feed did not tell of revision %d", rev)
	}
}

func putLone(id string) func(*tx) {
	return func(x *tx) { store.Put(x, store.Networks, id, &model.Network{ID: model.NetworkID(id)}) }
}

// TestCommittedIsThereAtOnce: a transaction that follows what the mirror has is in it once
// it is committed, before the watch tells of it, and what the watch tells is not taken again.
func TestCommittedIsThereAtOnce(t *testing.T) {
	b := newMirrorAt(t, 10)
	events := b.write("m", 11, putLone("a"))
	b.committed("m", 11)
	b.is(11, "a")
	b.told(11, 1)
	if err := b.apply(11, events); err != nil {
		t.Fatal(err)
	}
	b.is(11, "a")
	events = b.write("n", 12, func(x *tx) { store.Delete(x, store.Networks, "a") })
	b.committed("n", 12)
	b.is(12)
	b.told(12, 1)
	if err := b.apply(12, events); err != nil {
		t.Fatal(err)
	}
	if len(b.feed) != 0 || len(b.expected) != 0 {
		t.Errorf("%d batches more, %d are expected", len(b.feed), len(b.expected))
	}
}

// TestCommittedAfterOthers: where another process has written in between, the watch brings
// both in order.
func TestCommittedAfterOthers(t *testing.T) {
	b := newMirrorAt(t, 10)
	events := b.write("m", 12, putLone("a"))
	b.committed("m", 12)
	b.is(10)
	if err := b.apply(11, []*clientv3.Event{putEvent(b.keys.abs(objectKey(store.Networks.Kind(), "b")), `{}`, 11)}); err != nil {
		t.Fatal(err)
	}
	b.is(11, "b")
	b.told(11, 1)
	if err := b.apply(12, events); err != nil {
		t.Fatal(err)
	}
	b.is(12, "a", "b")
	b.told(12, 1)
	if len(b.expected) != 0 {
		t.Errorf("%d are expected", len(b.expected))
	}
}

// TestWatchBeforeCommitted: what the watch has told already is not taken again.
func TestWatchBeforeCommitted(t *testing.T) {
	b := newMirrorAt(t, 10)
	events := b.write("m", 11, putLone("a"))
	if err := b.apply(11, events); err != nil {
		t.Fatal(err)
	}
	b.told(11, 1)
	b.committed("m", 11)
	b.is(11, "a")
	if len(b.feed) != 0 || len(b.expected) != 0 {
		t.Errorf("%d batches more, %d are expected", len(b.feed), len(b.expected))
	}
}

// TestListingBehindTheMirror: a listing that the mirror is already beyond takes nothing back,
// and the feeds go on; one that is newer replaces all.
func TestListingBehindTheMirror(t *testing.T) {
	b := newMirrorAt(t, 10)
	b.write("m", 11, putLone("a"))
	b.committed("m", 11)
	if err := b.load(nil, 10); err != nil {
		t.Fatal(err)
	}
	b.is(11, "a")
	b.told(11, 1)
	b.write("n", 13, putLone("b"))
	if err := b.load(nil, 12); err != nil {
		t.Fatal(err)
	}
	b.is(12)
	if _, open := <-b.feed; open {
		t.Error("the feed goes on after a listing")
	}
	b.fail(errClosed)
	b.committed("n", 13)
	if now, err := b.current(); err == nil || now.rev != 12 {
		t.Errorf("a mirror that cannot go on is at %d, %v", now.rev, err)
	}
}

// lagging is a member that has just come back: it does not have the revision yet of which it is asked without a
// quorum.
type lagging struct{ clientv3.KV }

func (l lagging) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if op := clientv3.OpGet(key, opts...); op.IsSerializable() && op.Rev() != 0 {
		return nil, rpctypes.ErrFutureRev
	}
	return l.KV.Get(ctx, key, opts...)
}

// TestListingByPages: a listing of several pages is whole, and of one revision, also where a member lags.
func TestListingByPages(t *testing.T) {
	s := openAt(t, Options{DataDir: t.TempDir()})
	for _, id := range []string{"a", "b", "c"} {
		put(t, s, id, "name of "+id)
	}
	whole, rev, err := s.list(t.Context())
	if err != nil || len(whole) != 7 { // the head, and for each the network and its name
		t.Fatalf("%d keys: %v", len(whole), err)
	}
	s.client.KV = lagging{s.client.KV}
	for s.listPage = 1; s.listPage < 9; s.listPage++ {
		kvs, at, err := s.list(t.Context())
		if err != nil || at != rev || len(kvs) != len(whole) {
			t.Fatalf("by %d: %d keys at %d, not %d at %d: %v", s.listPage, len(kvs), at, len(whole), rev, err)
		}
		for i, kv := range kvs {
			if string(kv.Key) != string(whole[i].Key) || string(kv.Value) != string(whole[i].Value) {
				t.Errorf("by %d: %q is %q, not %q = %q", s.listPage, kv.Key, kv.Value, whole[i].Key, whole[i].Value)
			}
		}
	}
}
