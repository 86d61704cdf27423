package etcdstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

func wantFull(t testing.TB, err error) {
	t.Helper()
	var e *model.Error
	if !errors.As(err, &e) || e.Kind != model.KindUnavailable || e.Type != "StoreFull" {
		t.Fatalf("error is %v, want StoreFull", err)
	}
}

// TestFull fills the store with resources: writes are refused, reads and
// deletions go on, and what is deleted makes room by itself.
func TestFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opt := Options{DataDir: dir, QuotaBytes: 8 << 20}
	s := openAt(t, opt)
	big := strings.Repeat("x", 256<<10)
	n, err := 0, error(nil)
	for ; err == nil; n++ {
		if n > 200 {
			t.Fatal("50 MiB went into a store of 8")
		}
		_, err = s.Update(t.Context(), putNetwork(fmt.Sprint(n), fmt.Sprint(n, "-", big)))
		// What is in use is known when etcd's batch is on disk.
		s.server.etcd.Backend().ForceCommit()
	}
	wantFull(t, err)
	// The history that a compaction throws away is not in the way for long, the
	// resources are: it is still full afterwards.
	testutil.Succeeds(t, "full of resources", func() error {
		for range 20 {
			if _, err := s.Update(t.Context(), putNetwork(fmt.Sprint(n), fmt.Sprint(n, "-", big))); err != nil {
				continue
			}
			n++
			s.server.etcd.Backend().ForceCommit()
			return errors.New("there was room")
		}
		return nil
	})
	if nameAt(t, s, "0") != "0-"+big {
		t.Error("a read failed on a full store")
	}
	// Also after a restart.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, opt)
	for err = nil; err == nil; n++ { // what compaction freed at last
		_, err = s.Update(t.Context(), putNetwork(fmt.Sprint(n), fmt.Sprint(n, "-", big)))
		s.server.etcd.Backend().ForceCommit()
	}
	wantFull(t, err)

	for i := range n / 2 {
		if _, err := s.Update(t.Context(), func(tx store.Tx) error {
			id := fmt.Sprint(i)
			if o := store.Get(tx, store.Networks, id); o != nil {
				tx.DeleteIndex("name", o.Name)
				store.Delete(tx, store.Networks, id)
			}
			return nil
		}); err != nil {
			t.Fatalf("a deletion was refused: %v", err)
		}
	}
	if nameAt(t, s, "0") != "" {
		t.Error("the deleted is still there")
	}
	// A deletion that counts as a change of something else goes through too.
	last := fmt.Sprint(n - 1)
	for i := n - 1; nameAt(t, s, last) == ""; i-- { // those that found no room are not there
		last = fmt.Sprint(i)
	}
	if _, err := s.Update(t.Context(), func(tx store.Tx) error {
		o := *store.Get(tx, store.Networks, last)
		o.Revision++
		store.Put(tx, store.Networks, last, &o)
		store.Delete(tx, store.Networks, fmt.Sprint(n/2))
		return nil
	}); err != nil {
		t.Errorf("a deletion that also writes was refused: %v", err)
	}
	testutil.Succeeds(t, "write again", func() error {
		_, err := s.Update(t.Context(), putNetwork("more", "more"))
		return err
	})
}

// TestHistoryIsCompacted overwrites far more than the quota holds.
func TestHistoryIsCompacted(t *testing.T) {
	t.Parallel()
	s := openAt(t, Options{DataDir: t.TempDir(), QuotaBytes: 8 << 20})
	big := strings.Repeat("x", 1<<20)
	for i := range 60 {
		testutil.Succeeds(t, "write", func() error {
			_, err := s.Update(t.Context(), func(tx store.Tx) error {
				n := &model.Network{}
				n.Name = fmt.Sprint(i, big)
				store.Put(tx, store.Networks, "a", n)
				return nil
			})
			return err
		})
	}
	if !strings.HasPrefix(nameAt(t, s, "a"), "59x") {
		t.Error("the last write is not there")
	}
}

// TestAlarm fills etcd itself, as a cluster is filled whose quota is not ours to
// watch: with history, which this package then removes.
func TestAlarm(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "causeway-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	// Its own quota is 64 MiB.
	owner := openAt(t, Options{DataDir: filepath.Join(dir, "d"), ClientSocket: socket, QuotaBytes: 1})
	s := openAt(t, Options{Endpoints: []string{"unix://" + socket}, MaxRequestBytes: 4 << 20})
	big := strings.Repeat("x", 2<<20)
	write := func() error {
		_, err := s.Update(t.Context(), func(tx store.Tx) error {
			n := &model.Network{}
			n.Name = big
			store.Put(tx, store.Networks, "a", n)
			return nil
		})
		return err
	}
	put(t, s, "kept", "kept")
	for i := 0; err == nil; i++ {
		if i > 100 {
			t.Fatal("200 MiB went into an etcd of 64")
		}
		err = write()
	}
	wantFull(t, err)
	if nameAt(t, s, "kept") != "kept" || nameAt(t, owner, "kept") != "kept" {
		t.Error("a read failed on a full etcd")
	}
	testutil.Succeeds(t, "write again", write)
	alarms, err := s.maintain.alarms(t.Context())
	if err != nil || len(alarms) > 0 {
		t.Errorf("alarms %v, %v", alarms, err)
	}
}
