package etcdstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

func openAt(t testing.TB, opt Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t testing.TB, s *Store, id, name string) int64 {
	t.Helper()
	done, err := s.Update(t.Context(), putNetwork(id, name))
	if err != nil {
		t.Fatal(err)
	}
	return done.Revision
}

func putNetwork(id, name string) func(store.Tx) error {
	return func(tx store.Tx) error {
		n := &model.Network{ID: model.NetworkID(id)}
		n.Name = name
		store.Put(tx, store.Networks, id, n)
		tx.SetIndex("name", name, id)
		return nil
	}
}

func nameAt(t testing.TB, s *Store, id string) string {
	t.Helper()
	v, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := store.Get(v, store.Networks, id); n != nil {
		return n.Name
	}
	return ""
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	for i, want := range []string{"", "0", "1"} {
		start := time.Now()
		s := openAt(t, Options{DataDir: dir})
		t.Logf("open %d took %v", i, time.Since(start))
		if got := nameAt(t, s, "a"); got != want {
			t.Fatalf("open %d: name is %q, want %q", i, got, want)
		}
		put(t, s, "a", string(rune('0'+i)))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	refused := func(opt Options, words ...string) {
		t.Helper()
		s, err := Open(t.Context(), opt)
		if err == nil {
			_ = s.Close()
			t.Fatalf("opened, want an error with %q", words)
		}
		text := err.Error()
		var out interface{ Hint() string }
		if errors.As(err, &out) {
			text += "\n" + out.Hint()
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("error %q lacks %q", text, w)
			}
		}
	}
	refused(Options{}, "neither")
	refused(Options{DataDir: "x", Endpoints: []string{"y"}}, "both")

	dir := t.TempDir()
	s := openAt(t, Options{DataDir: dir})
	refused(Options{DataDir: dir}, dir, "in use by another process", "Give another --data-dir, or end that one first: kill "+strconv.Itoa(os.Getpid()))
	put(t, s, "a", "kept")
	if _, err := s.client.Put(t.Context(), s.keys.format(), "2"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused(Options{DataDir: dir}, "format 2", "newer")

	file := filepath.Join(dir, "format")
	if err := os.WriteFile(file, []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(Options{DataDir: dir}, "format 7", "newer")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	refused(Options{DataDir: dir}, "no file", file)

	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(Options{DataDir: plain}, plain)
}

// TestCorruptValue: a value that cannot be read is neither skipped nor taken for
// an absent one.
func TestCorruptValue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, Options{DataDir: dir})
	put(t, s, "a", "1")
	key := s.keys.abs(objectKey(store.Networks.Kind(), "a"))
	if _, err := s.client.Put(t.Context(), key, `{"mtu":"many"}`); err != nil {
		t.Fatal(err)
	}
	testutil.Succeeds(t, "the view's error to name the key", func() error {
		_, err := s.View(t.Context())
		if err == nil || !strings.Contains(err.Error(), key) {
			return fmt.Errorf("it is %v", err)
		}
		return nil
	})
	if _, err := s.Update(t.Context(), putNetwork("b", "2")); err == nil {
		t.Error("a write went through on a state that cannot be read")
	}
	// Repaired, it goes on.
	if _, err := s.client.Put(t.Context(), key, `{"id":"a","name":"repaired"}`); err != nil {
		t.Fatal(err)
	}
	testutil.Succeeds(t, "the repaired object", func() error {
		v, err := s.View(t.Context())
		if err != nil {
			return err
		}
		if got := store.Get(v, store.Networks, "a").Name; got != "repaired" {
			return fmt.Errorf("its name is %q", got)
		}
		return nil
	})
	// Keys of kinds that a later version adds are left alone.
	if _, err := s.client.Put(t.Context(), s.keys.abs("firewall/x"), `?`); err != nil {
		t.Fatal(err)
	}
	put(t, s, "b", "2")
}
