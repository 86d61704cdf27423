// Package storetest holds the tests that every store.Store must pass, and opens
// stores for the tests of other packages.
package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
)

// Factory makes an empty state and returns a function that opens one more store
// on it each time, closed when the test ends.
type Factory func(t testing.TB) (open func() store.Store)

// New opens a store with an etcd of its own in a directory of the test.
func New(t testing.TB) store.Store { return Embedded(t)() }

// Embedded is the Factory of stores on one etcd: the first has it inside, the
// others are its clients, as several controllers of a site are.
func Embedded(t testing.TB) func() store.Store {
	// A socket's path may have 107 bytes, less than some test directories.
	dir, err := os.MkdirTemp("", "causeway-store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "client.sock")
	opened := 0
	return func() store.Store {
		opt := etcdstore.Options{Logger: Logger(t)}
		if opened++; opened == 1 {
			opt.DataDir, opt.ClientSocket = filepath.Join(dir, "data"), socket
		} else {
			opt.Endpoints, opt.MaxTxnOps = []string{"unix://" + socket}, 4096
		}
		s, err := etcdstore.Open(Context(t), opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close the store: %v", err)
			}
		})
		return s
	}
}

// Context bounds what a test waits for: far beyond what it takes.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Logger writes warnings to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Run runs every test of this package on the stores that f opens.
func Run(t *testing.T, f Factory) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Factory)
	}{
		{"Reads", testReads},
		{"Transactions", testTransactions},
		{"Misuse", testMisuse},
		{"Errors", testErrors},
		{"Dependencies", testDependencies},
		{"ReadYourWrites", testReadYourWrites},
		{"Watch", testWatch},
		{"SlowWatcher", testSlowWatcher},
		{"Limits", testLimits},
		{"Uniqueness", testUniqueness},
		{"Contention", testContention},
		{"Cancelled", testCancelled},
		{"Close", testClose},
		{"Linearizable", testLinearizable},
		{"RandomModel", testRandomModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, f) })
	}
}

func network(id, name string) *model.Network {
	n := &model.Network{ID: model.NetworkID(id)}
	n.Name = name
	return n
}

func mustUpdate(t testing.TB, s store.Store, fn func(store.Tx)) int64 {
	t.Helper()
	done, err := s.Update(Context(t), func(tx store.Tx) error { fn(tx); return nil })
	if err != nil {
		t.Fatalf("update: %v", err)
	}
	return done.Revision
}

func mustView(t testing.TB, s store.Store) store.Snapshot {
	t.Helper()
	v, err := s.View(Context(t))
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	return v
}

func wantKind(t testing.TB, err error, kind model.ErrorKind) {
	t.Helper()
	if err == nil || model.KindOf(err) != kind {
		t.Fatalf("error is %v (kind %d), want kind %d", err, model.KindOf(err), kind)
	}
}

func ids(r store.Reader, kind store.Kind) string {
	var out []string
	for id := range r.List(kind) {
		out = append(out, id)
	}
	return fmt.Sprint(out)
}

func entries(r store.Reader, ix store.Index, prefix string) string {
	var out []string
	for k, v := range r.Scan(ix, prefix) {
		out = append(out, k+"="+v)
	}
	return fmt.Sprint(out)
}
