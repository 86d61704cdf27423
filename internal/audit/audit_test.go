package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

func lines(t *testing.T, path string) []Entry {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []Entry
	for line := range strings.Lines(string(b)) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(path, slog.New(slog.DiscardHandler), func() { t.Error("failed") })
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l.Write(Entry{Method: "POST", Status: 201})
			}
		})
	}
	testutil.Wait(t, "the writers", wg.Wait)
	if n := len(lines(t, path)); n != 400 {
		t.Errorf("%d lines", n)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	// Moved away, it is made anew; the old one has all that was written.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.stat = time.Time{}
	l.Write(Entry{Method: "DELETE", Status: 204})
	if n := len(lines(t, path+".1")); n != 400 {
		t.Errorf("%d lines in the old file", n)
	}
	if got := lines(t, path); len(got) != 1 || got[0].Method != "DELETE" {
		t.Errorf("%v", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	// A second run appends.
	if l, err = Open(path, slog.New(slog.DiscardHandler), nil); err != nil {
		t.Fatal(err)
	}
	l.Write(Entry{})
	if n := len(lines(t, path)); n != 2 {
		t.Errorf("%d lines after a second run", n)
	}
}

type broken struct{ err error }

func (b *broken) Write(p []byte) (int, error) { return len(p), b.err }

// What cannot be written is counted each time, and said once.
func TestFailure(t *testing.T) {
	var said bytes.Buffer
	failed := 0
	w := &broken{errors.New("no space left on device")}
	l := To(w, slog.New(slog.NewTextHandler(&said, nil)), func() { failed++ })
	for range 3 {
		l.Write(Entry{RequestID: "req-1"})
	}
	if n := strings.Count(said.String(), "no space left"); failed != 3 || n != 1 || !strings.Contains(said.String(), "req-1") {
		t.Errorf("%d failures, said: %s", failed, said.String())
	}
	w.err = nil
	l.Write(Entry{})
	if failed != 3 || !strings.Contains(said.String(), "written again") {
		t.Errorf("%d failures, said: %s", failed, said.String())
	}
}

// A directory that is gone is a failure; once it is back, so is the log.
func TestFileComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	path := filepath.Join(dir, "audit.log")
	if _, err := Open(path, nil, nil); err == nil {
		t.Error("opened in a directory that does not exist")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	failed := 0
	l, err := Open(path, slog.New(slog.DiscardHandler), func() { failed++ })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.stat = time.Time{}
	if l.Write(Entry{}); failed != 1 {
		t.Errorf("%d failures", failed)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if l.Write(Entry{Status: 201}); failed != 1 || len(lines(t, path)) != 1 {
		t.Errorf("%d failures, %v", failed, lines(t, path))
	}
}

func TestOutcome(t *testing.T) {
	for status, want := range map[int]string{200: "done", 201: "done", 204: "done", 400: "refused", 404: "refused", 429: "refused", 500: "failed", 503: "failed"} {
		if got := OutcomeOf(status); got != want {
			t.Errorf("%d: %s", status, got)
		}
	}
}
