package orchestrator_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// program is the causeway program under test, built once for all tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(testutil.MainWithProgram(m, "../../cmd/causeway", func(path string) { program = path }))
}

// ground is where the sites of random worlds run.
type ground interface {
	// servers gives n sites that have nothing, until the test ends.
	servers(t testing.TB, n int) []server
}

// server is the API of a site.
type server interface {
	http.Handler
	// kill ends it at once, whatever it is about to do.
	kill()
	// start starts it again with what it had stored.
	start() error
}

// tempDir is short enough for a unix socket, of which a path may have 107 bytes.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw-peer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// inProcess has sites in the test's process: the real API and rules, in one etcd, as
// controllers of many sites have it, each with keys of its own.
type inProcess struct {
	socket string
	made   atomic.Int64
}

func newInProcess(t testing.TB) *inProcess {
	dir := tempDir(t)
	g := &inProcess{socket: filepath.Join(dir, "client.sock")}
	owner, err := etcdstore.Open(t.Context(), etcdstore.Options{
		DataDir: filepath.Join(dir, "data"), ClientSocket: g.socket, Migrations: site.Migrations(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owner.Close() })
	return g
}

func (g *inProcess) servers(t testing.TB, n int) []server {
	var out []server
	for range n {
		s := &api{ctx: t.Context(), opts: etcdstore.Options{
			Endpoints: []string{"unix://" + g.socket}, Prefix: fmt.Sprintf("/site-%d/", g.made.Add(1)),
			Migrations: site.Migrations(), Logger: slog.New(slog.DiscardHandler),
		}}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.kill)
		out = append(out, s)
	}
	return out
}

// api is a site in the test's process.
type api struct {
	ctx  context.Context
	opts etcdstore.Options

	mu    sync.Mutex
	st    store.Store
	serve http.Handler
}

func (a *api) start() error {
	st, err := etcdstore.Open(a.ctx, a.opts)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.st, a.serve = st, apiOn(st, 1500)
	return nil
}

func (a *api) kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.st != nil {
		_ = a.st.Close()
		a.st = nil
	}
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	serve := a.serve
	a.mu.Unlock()
	serve.ServeHTTP(w, r)
}

// controllers has sites that are processes of "causeway controller", each with an etcd
// of its own. They are emptied after each world and used again.
type controllers struct {
	free   chan []server // sets of equal size
	killed atomic.Int64
}

// maxSites is how many sites a random world has at most.
const maxSites = 4

// newControllers starts enough for so many worlds at once, each of so many sites.
func newControllers(t testing.TB, worlds, size int) *controllers {
	g := &controllers{free: make(chan []server, worlds)}
	t.Cleanup(func() { t.Logf("controllers were killed %d times", g.killed.Load()) })
	var starting sync.WaitGroup
	sets := make([][]server, worlds)
	for i := range sets {
		for range size {
			c := &controller{dir: tempDir(t), killed: &g.killed, http: &http.Client{
				Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
				Timeout:       time.Minute,
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}}
			sets[i] = append(sets[i], c)
			t.Cleanup(c.kill)
			starting.Go(func() {
				if err := c.start(); err != nil {
					t.Error(err)
				}
			})
		}
		g.free <- sets[i]
	}
	if starting.Wait(); t.Failed() {
		t.FailNow()
	}
	return g
}

func (g *controllers) servers(t testing.TB, n int) []server {
	var set []server
	select {
	case set = <-g.free:
	case <-time.After(patience):
		t.Fatalf("no controllers are free after %v", patience)
	}
	t.Cleanup(func() {
		for i, s := range set[:n] {
			(&cloud{t: t, name: siteName(i), api: s}).empty()
		}
		g.free <- set
	})
	return set[:n]
}

// controller is a process with its data.
type controller struct {
	dir    string
	http   *http.Client
	killed *atomic.Int64

	mu  sync.Mutex
	p   *process.Process // nil: it does not run
	url string
}

func (c *controller) start() error {
	p, url, err := process.StartController(context.Background(), program, c.dir)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.p, c.url = p, url
	return nil
}

func (c *controller) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.p != nil {
		c.p.Kill()
		c.p = nil
		c.killed.Add(1)
	}
	c.http.CloseIdleConnections()
}

// ServeHTTP hands the request on. Where no answer comes the caller gets none.
func (c *controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	url := c.url
	c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, url+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out.Header, out.Host = r.Header.Clone(), r.Host // links lead back to the caller's host
	resp, err := c.http.Do(out)
	if err != nil {
		drop(w)
		return
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		drop(w)
		return
	}
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer) // the caller may have gone
}

// empty takes away all that is at a site, in the order that its rules want.
func (c *cloud) empty() {
	remove := func(collection string) {
		for _, o := range c.list(collection) {
			c.call(http.MethodDelete, collection+"/"+o["id"].(string), nil)
		}
	}
	remove("l2-gateway-connections")
	remove("l2-gateways")
	for _, d := range c.list("gw/gateway_devices") {
		remove("gw/gateway_devices/" + d["id"].(string) + "/remote_mac_entries")
	}
	remove("gw/gateway_devices")
	for _, r := range c.list("routers") {
		c.put("routers/"+r["id"].(string), "router", object{"routes": []object{}})
	}
	for _, p := range c.list("ports") {
		if p["device_owner"] == "network:router_interface" {
			c.call(http.MethodPut, "routers/"+p["device_id"].(string)+"/remove_router_interface", object{"port_id": p["id"]})
		}
	}
	remove("routers")
	remove("ports")
	remove("subnets")
	remove("networks")
	if left := c.state(); len(left) > 0 {
		c.t.Errorf("%s: not emptied: %v", c.name, left)
	}
}
