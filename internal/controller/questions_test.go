package controller

import (
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestProbeThroughAnotherController: a probe is answered by whichever controller is asked, and what was asked by the
// store is there no more afterwards.
func TestProbeThroughAnotherController(t *testing.T) {
	has, other := twoControllers(t)
	outcome := make(chan error, 1)
	has.probingAgent(func(r probe.Request) (probe.Result, error) {
		if err := <-outcome; err != nil {
			return probe.Result{}, err
		}
		return probe.Result{Sent: 4, Received: 3, PathMTU: 1400}, nil
	})
	router := other.router()
	ask := func(want int) m {
		t.Helper()
		return other.do("POST", "/v2.0/routers/"+router+"/probe", m{"probe": m{"target": "192.168.0.2"}}, want)
	}
	outcome <- nil
	if got := ask(http.StatusOK)["probe"].(m); got["host"] != "h0" || got["received"] != 3.0 || got["path_mtu"] != 1400.0 {
		t.Errorf("through the other controller: %v", got)
	}
	for _, want := range []struct {
		err  error
		code int
	}{{fmt.Errorf("%w: too odd", probe.ErrRequest), http.StatusBadRequest}, {probe.ErrBusy, http.StatusServiceUnavailable}} {
		outcome <- want.err
		ask(want.code)
	}
	testutil.Succeeds(t, "no question is left", func() error {
		snap, err := other.st.View(t.Context())
		if err != nil {
			return err
		}
		for q := range store.All(snap, store.HostQuestions) {
			return fmt.Errorf("%+v", *q)
		}
		return nil
	})
}

// twoControllers are those of one site.
func twoControllers(t *testing.T) (one, two *lab) {
	t.Helper()
	dir := socketDir(t)
	socket := filepath.Join(dir, "etcd.sock")
	etcd, err := etcdstore.Open(t.Context(), etcdstore.Options{
		DataDir: filepath.Join(dir, "etcd"), ClientSocket: socket, Migrations: site.Migrations(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	on := func() *lab {
		t.Helper()
		return startConfig(t, socketDir(t), func(c *Config) {
			c.EtcdEndpoints, c.EtcdPrefix = []string{"unix://" + socket}, "/causeway/"
			c.questionWait = time.Minute
		})
	}
	return on(), on()
}

// TestProbeWhileAgentMoves: a probe that is asked for while the host's agent is on its way from one controller to another is served by the one
// that has it next: another, or that which was asked.
func TestProbeWhileAgentMoves(t *testing.T) {
	one, two := twoControllers(t)
	serve := func(probe.Request) (probe.Result, error) { return probe.Result{Sent: 4, Received: 4}, nil }
	router := one.router()
	at := one
	stop := at.probingAgent(serve)
	for i, way := range []struct{ asked, next *lab }{{two, two}, {two, one}, {one, two}, {two, two}} {
		stop()
		waitMetric(t, at, `causeway_controller_host_connected{host="h0"} 0`)
		answers := make(chan m, 1)
		go func() {
			answers <- way.asked.do("POST", "/v2.0/routers/"+router+"/probe", m{"probe": m{"target": "192.168.0.2"}}, http.StatusOK)
		}()
		testutil.Eventually(t, "the question waits", func() bool {
			snap, err := one.st.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range store.All(snap, store.HostQuestions) {
				return true
			}
			return false
		})
		at = way.next
		stop = at.probingAgent(serve)
		if got := testutil.Receive(t, "the answer", answers)["probe"].(m); got["received"] != 4.0 {
			t.Errorf("way %d: %v", i, got)
		}
	}
}
