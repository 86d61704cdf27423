package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/health"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

// health asks at the metrics listener.
func (l *lab) health(path string) (code int, a health.Answer) {
	l.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.metrics)
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://controller" + path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode, a
}

// TestStoreAway: a controller whose store has gone is not ready, and lives. It lets its agents go, takes none, and says
// why; they keep what they have, and come again when the store is back.
func TestStoreAway(t *testing.T) {
	dir := socketDir(t)
	socket := filepath.Join(dir, "etcd.sock")
	options := etcdstore.Options{DataDir: filepath.Join(dir, "etcd"), ClientSocket: socket, Migrations: site.Migrations(), Logger: slog.New(slog.DiscardHandler)}
	etcd, err := etcdstore.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	l := startWith(t, dir, func(c *config.Controller) { c.EtcdEndpoints, c.EtcdPrefix = []string{"unix://" + socket}, "/causeway/" })
	testutil.Succeeds(t, "the controller is ready", func() error {
		if code, a := l.health("/readyz?verbose"); code != http.StatusOK || len(a.Checks) != 4 {
			return fmt.Errorf("%d %+v", code, a)
		}
		return nil
	})
	l.network("n")
	log := new(words)
	a := l.agentWith(slog.New(slog.NewTextHandler(log, nil)))
	held := a.until(t, "a network", func(s hoststate.State) bool { return len(s.Networks) == 1 })
	if err := etcd.Close(); err != nil {
		t.Fatal(err)
	}
	testutil.Succeeds(t, "the agent is let go", func() error {
		if a.Connected() {
			return errors.New("it is connected")
		}
		return nil
	})
	testutil.Succeeds(t, "the agent reads why", func() error {
		if n := strings.Count(log.String(), errCutOff.Error()); n < 3 { // its stream ends, and two more do not begin
			return fmt.Errorf("%d times: %s", n, log)
		}
		return nil
	})
	if code, a := l.health("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(a.Status, errCutOff.Error()) {
		t.Errorf("with its agents gone: %d %+v", code, a)
	}
	testutil.Succeeds(t, "the controller is not ready", func() error {
		if code, a := l.health("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(a.Status, "store: ") {
			return fmt.Errorf("%d %+v", code, a)
		}
		return nil
	})
	if code, a := l.health("/healthz"); code != http.StatusOK || a.Status != "ok" {
		t.Errorf("it does not live: %d %+v", code, a)
	}
	if got := a.state.Len(); got != held.State.Len() {
		t.Errorf("the agent has %d rows, had %d", got, held.State.Len())
	}
	if etcd, err = etcdstore.Open(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	testutil.Succeeds(t, "the agent is back", func() error {
		if !a.Connected() {
			return errors.New("it is not connected")
		}
		return nil
	})
	l.network("m")
	a.until(t, "two networks", func(s hoststate.State) bool { return len(s.Networks) == 2 })
	if code, a := l.health("/readyz"); code != http.StatusOK {
		t.Errorf("with its store back: %d %+v", code, a)
	}
}

// words is what was written, for several goroutines.
type words struct {
	mu sync.Mutex
	b  strings.Builder
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// TestHubStuck: a hub whose lock is never given back is told, and so is a site not yet read.
func TestHubStuck(t *testing.T) {
	h := newHub(nil, nil, metrics.NewController("test"), slog.New(slog.DiscardHandler))
	if err := h.live(t.Context()); err != nil {
		t.Errorf("at rest: %v", err)
	}
	if err := h.informed(t.Context()); err == nil {
		t.Error("ready before the site was read")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.live(ctx); err == nil {
		t.Error("a hub that is stuck lives")
	}
}
