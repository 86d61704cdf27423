package controller

import (
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestProbeThroughAnotherController: a probe is answered by whichever controller is asked, and what was asked by the
// store is there no more afterwards.
func TestProbeThroughAnotherController(t *testing.T) {
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
		return startWith(t, socketDir(t), func(c *config.Controller) { c.EtcdEndpoints, c.EtcdPrefix = []string{"unix://" + socket}, "/causeway/" })
	}
	has, other := on(), on()
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
