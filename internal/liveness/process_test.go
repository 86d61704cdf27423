package liveness

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// process runs one for a state directory; the function returned ends it.
func running(t *testing.T, dir string, rules func() (Rules, error), hangups <-chan struct{}) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{StateDir: dir, Rules: rules, Hangups: hangups, MetricsListen: "127.0.0.1:9699", Log: slog.New(slog.DiscardHandler)})
	}()
	testutil.Succeeds(t, "its socket", func() error { _, err := Ask(ctx, dir); return err })
	return func() {
		t.Helper()
		cancel()
		if err := testutil.Receive(t, "end", done); err != nil {
			t.Error(err)
		}
	}
}

// TestRun: what the agent says is watched, also what it said before the process began, and what it said last where it
// says nothing that can be read; settings are read anew at a hangup; there is one process for a state directory.
func TestRun(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	sh(t, "for i in 1 2 3; do ip addr add 200.200.0.$i/32 dev lo; done")
	third := netip.MustParseAddr("200.200.0.3")
	dir := t.TempDir()
	if _, err := Ask(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a process: %v", err)
	}
	tell := func(r ...Remote) {
		t.Helper()
		if err := Tell(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	means := ICMP
	rules := func() (Rules, error) {
		s := fast
		s.Means = means
		return Rules{Default: s}, nil
	}
	ask := func(what string, ok func(Status) bool) (s Status) {
		t.Helper()
		testutil.Eventually(t, what, func() bool {
			var err error
			s, err = Ask(t.Context(), dir)
			return err == nil && ok(s)
		})
		return s
	}
	up := func(n int) func(Status) bool {
		return func(s Status) bool {
			for _, r := range s.Remotes {
				if r.State != Up {
					return false
				}
			}
			return len(s.Remotes) == n
		}
	}
	tell(Remote{near, far})
	hangups := make(chan struct{})
	stop := running(t, dir, rules, hangups)
	s := ask("what it was told before it began", up(1))
	if s.RealTime == "" || s.Memory == "" {
		t.Errorf("nothing is said of the scheduling: %+v", s)
	}
	t.Logf("real time: %s; memory: %s", s.RealTime, s.Memory)
	tell(Remote{near, far}, Remote{near, third})
	ask("what it is told", up(2))
	if err := Run(t.Context(), Config{StateDir: dir, Rules: rules, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("a second process: %v", err)
	}

	file := filepath.Join(Dir(dir), remotesFile)
	testutil.Replace(t, file, []byte("{"))
	s = ask("a problem", func(s Status) bool { return s.Problem != "" })
	if !up(2)(s) {
		t.Errorf("what cannot be read ends the watching: %+v", s)
	}
	means = SBFD
	hangups <- struct{}{}
	tell(Remote{near, far})
	s = ask("the other means", func(s Status) bool { return len(s.Remotes) == 1 && s.Remotes[0].Means == SBFD })
	if s.Problem != "" {
		t.Errorf("problem %q", s.Problem)
	}
	res, err := http.Get("http://127.0.0.1:9699/metrics")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("metrics: %s", res.Status)
	}
	stop()
	if err := Forget(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

// TestBound: no more than MaxRemotes are watched, and it is said how many are not.
func TestBound(t *testing.T) {
	w, err := NewWatcher(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var remotes []Remote
	for i := range MaxRemotes + 5 {
		remotes = append(remotes, Remote{near, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
	}
	w.Watch(remotes, Rules{Default: fast}, nil)
	if s := w.Status(); len(s.Remotes) != MaxRemotes || s.Unwatched != 5 {
		t.Errorf("%d are watched, %d not", len(s.Remotes), s.Unwatched)
	}
}
