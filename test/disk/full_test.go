package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestFullDisk: on a disk that fills under writers nothing that was acknowledged is lost and
// nothing is written half; further writes are refused with words, reads go on, also after
// a start on the full disk; with room again writes are taken without a restart.
func TestFullDisk(t *testing.T) {
	testutil.RequireRoot(t)
	const mib = 640
	for _, kind := range []struct {
		name string
		make func(*testing.T) *volume
	}{
		{"tmpfs", func(t *testing.T) *volume { return newTmpfs(t, mib) }},
		{"ext4", func(t *testing.T) *volume { return newExt4(t, t.TempDir(), mib) }},
	} {
		t.Run(kind.name, func(t *testing.T) { fullDisk(t, kind.make(t)) })
	}
}

func fullDisk(t *testing.T, v *volume) {
	dir := filepath.Join(v.dir, "store")
	s := open(t, dir)
	wrote := map[string]int{}
	for round := range 3 {
		t.Logf("round %d: the disk fills", round)
		for id, n := range writeUntilRefused(t, s, round, func() { v.fill(t, 150) }) {
			wrote[id] = n
		}
		holds(t, s, wrote)
		refused(t, s)
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			v.fill(t, 0)
			t.Logf("round %d: a start on the full disk", round)
			s = open(t, dir)
			holds(t, s, wrote)
			refused(t, s)
		}
		v.free(t)
		testutil.Succeeds(t, "a write once there is room", func() error { return put(t.Context(), s, "again", round) })
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *etcdstore.Store {
	t.Helper()
	s, err := etcdstore.Open(t.Context(), etcdstore.Options{DataDir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // it logs to the test while it is open
	return s
}

func put(ctx context.Context, s *etcdstore.Store, id string, n int) error {
	_, err := s.Update(ctx, func(tx store.Tx) error {
		store.Put(tx, store.Networks, id, &model.Network{ID: model.NetworkID(id), MTU: n, Standard: model.Standard{Description: fmt.Sprintf("%4096d", n)}})
		return nil
	})
	return err
}

// writeUntilRefused has writers write while the disk fills, and tells what was
// acknowledged last of each.
func writeUntilRefused(t *testing.T, s *etcdstore.Store, round int, fill func()) map[string]int {
	t.Helper()
	const writers = 4
	last := make([]int, writers)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }() // where the test ends under way, its writers end before it
	started := make(chan struct{}, writers)
	for w := range writers {
		wg.Go(func() {
			for n := 1; ; n++ {
				if err := put(ctx, s, name(round, w), n); err != nil {
					if ctx.Err() == nil {
						isFull(t, err)
					}
					return
				}
				last[w] = n
				if n == 20 {
					started <- struct{}{}
				}
			}
		})
	}
	for range writers {
		testutil.Receive(t, "a writer's first writes", started)
	}
	fill()
	wg.Wait()
	out := map[string]int{}
	for w := range writers {
		out[name(round, w)] = last[w]
	}
	return out
}

func name(round, w int) string { return fmt.Sprintf("writer-%d-%d", round, w) }

func isFull(t *testing.T, err error) {
	t.Helper()
	var e *model.Error
	if !errors.As(err, &e) || e.Type != "StoreFull" || e.Kind != model.KindUnavailable {
		t.Errorf("%v, want StoreFull", err)
	}
}

func refused(t *testing.T, s *etcdstore.Store) {
	t.Helper()
	if err := put(t.Context(), s, "more", 1); err == nil {
		t.Error("a write was taken on a full disk")
	} else {
		isFull(t, err)
	}
}

func holds(t *testing.T, s *etcdstore.Store, wrote map[string]int) {
	t.Helper()
	snap, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id, n := range wrote {
		if net := store.Get(snap, store.Networks, id); net == nil || net.MTU != n {
			t.Errorf("%s is %v, and %d was acknowledged", id, net, n)
		}
	}
}
