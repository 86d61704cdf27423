package etcdstore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// TestRestartAfterManyWrites: a restart has nothing to complain of, however much was
// written before it. (The files are copied under a running store, as a kill leaves them.)
func TestRestartAfterManyWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, Options{DataDir: dir})
	const writers, each = 16, 450
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprint(w, "-", i)
				if _, err := s.Update(t.Context(), putNetwork(id, id)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	copied := copyOf(t, dir)
	var log bytes.Buffer
	again, err := Open(t.Context(), Options{DataDir: copied, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), notPublished) {
		t.Errorf("the log has %d lines: %.2000s", bytes.Count(log.Bytes(), []byte("\n")), log.String())
	}
}

// TestStartKeepsWhatItApplies: a start never has more entries to apply than etcd keeps in
// memory, for an election in the middle of it looks at all of them.
func TestStartKeepsWhatItApplies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, Options{DataDir: dir})
	const writers, each = 24, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				// So many writes that the transaction is in no group with others.
				if _, err := s.Update(t.Context(), func(tx store.Tx) error {
					for k := range smallOps + 1 {
						id := fmt.Sprint(w, "-", i, "-", k)
						store.Put(tx, store.Networks, id, &model.Network{ID: model.NetworkID(id)})
					}
					return nil
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	logDir := filepath.Join(etcdDir(dir), "member", "wal")
	snaps, err := wal.ValidSnapshotEntries(zap.NewNop(), logDir)
	if err != nil {
		t.Fatal(err)
	}
	newest := snaps[len(snaps)-1]
	state, err := wal.Verify(zap.NewNop(), logDir, newest)
	if err != nil {
		t.Fatal(err)
	}
	left := state.GetCommit() - newest.GetIndex()
	t.Logf("%d entries committed, %d of them after the last of %d snapshots", state.GetCommit(), left, len(snaps))
	if state.GetCommit() < 2*raftCatchUp {
		t.Error("too few entries to prove anything")
	}
	if left > raftCatchUp {
		t.Errorf("a start applies %d entries and keeps %d", left, raftCatchUp)
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", "--sparse=always", dir, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return copied
}

// TestDamaged: a store whose log or database is spoiled names the chapter that says how to
// go back to a copy; a copy made as that chapter says opens.
func TestDamaged(t *testing.T) {
	t.Parallel()
	spoil := func(pattern string, at int64) func(dir string) error {
		return func(dir string) error {
			names, err := filepath.Glob(filepath.Join(etcdDir(dir), pattern))
			if err != nil || len(names) == 0 {
				return errors.Join(err, errors.New("no such file"))
			}
			f, err := os.OpenFile(names[0], os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("\xff\xff\xff damaged \xff\xff\xff"), at)
			return errors.Join(err, f.Close())
		}
	}
	for name, damage := range map[string]func(dir string) error{
		"the log":      spoil("member/wal/*.wal", 700),
		"the database": func(dir string) error { return os.Truncate(filepath.Join(etcdDir(dir), "member/snap/db"), 5000) },
	} {
		dir := t.TempDir()
		s := openAt(t, Options{DataDir: dir})
		for i := range 20 {
			if _, err := s.Update(t.Context(), putNetwork("a", strings.Repeat("x", i+1))); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		copied := copyOf(t, dir)
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Options{DataDir: dir, Logger: slog.New(slog.DiscardHandler)})
		var hint interface{ Hint() string }
		if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "Copies of a site's state") {
			t.Errorf("%s: %v", name, err)
		}
		if s, err := Open(t.Context(), Options{DataDir: copied, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Errorf("%s: the copy: %v", name, err)
		} else if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, no := range []error{unix.ENOSPC, fmt.Errorf("start etcd: %v", unix.EROFS)} {
		if hint := new(damagedError); errors.As(damaged("d", no), &hint) {
			t.Errorf("%v is taken for damage", no)
		}
	}
}

// TestRefusal: writes end early, and begin again with more room than they ended with.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		s          space
		full, lent bool
		refused    bool
	}{
		{space{free: diskFloor}, false, false, false},
		{space{free: diskFloor}, false, true, false},
		{space{free: diskFloor - 1}, false, false, true},
		{space{free: diskFloor}, true, false, true},
		{space{free: diskResume}, true, false, false},
		{space{free: diskResume}, true, true, true},
		{space{free: diskResume + diskReserve}, true, true, false},
		{space{free: 1 << 40, readOnly: true}, false, false, true},
	} {
		if why := c.s.refusal(c.full, c.lent); (why != "") != c.refused {
			t.Errorf("%+v: %q", c, why)
		}
	}
}
