package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

const deadline = 30 * time.Second

// lab is a running controller.
type lab struct {
	t       testing.TB
	dir     string
	addrs   Addresses
	stop    func() error
	metrics string
	st      store.Store
}

func start(t testing.TB, dir string) *lab {
	t.Helper()
	return startWith(t, dir, func(*config.Controller) {})
}

func startWith(t testing.TB, dir string, change func(*config.Controller)) *lab {
	t.Helper()
	return startConfig(t, dir, func(c *Config) { change(&c.Controller) })
}

func startConfig(t testing.TB, dir string, change func(*Config)) *lab {
	t.Helper()
	l := &lab{t: t, dir: dir, metrics: filepath.Join(dir, "m.sock")}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan Addresses, 1), make(chan error, 1)
	cfg := Config{
		Controller: config.Controller{
			APIListen: "127.0.0.1:0", DataDir: filepath.Join(dir, "data"), AgentSocket: filepath.Join(dir, "run", "a.sock"),
			LocalHost: "h0", MetricsListen: "unix:" + l.metrics, UnderlayMTU: 1500,
		},
		Version: "test", Logger: slog.New(slog.DiscardHandler), OnReady: func(a Addresses) { ready <- a },
		onStore: func(st store.Store) { l.st = st }, letGo: 500 * time.Millisecond,
	}
	change(&cfg)
	go func() { done <- Run(ctx, cfg) }()
	l.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(deadline):
			return fmt.Errorf("the controller did not end within %v", deadline)
		}
	})
	select {
	case l.addrs = <-ready:
	case err := <-done:
		t.Fatalf("the controller ended: %v", err)
	case <-time.After(deadline):
		t.Fatal("the controller is not ready")
	}
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// socketDir is short enough for a unix socket, wherever the tests run.
func socketDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/tmp", "cw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (l *lab) do(method, path string, body any, want int) map[string]any {
	l.t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			l.t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://"+l.addrs.API.String()+path, r)
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	if resp.StatusCode != want {
		l.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if _, ok := l.t.(*testing.T); ok { // a benchmark measures something else
		checkDescribed(l.t, method, path, body, resp.StatusCode, b)
	}
	var out map[string]any
	if len(b) > 0 {
		if err := json.Unmarshal(b, &out); err != nil {
			l.t.Fatalf("%s %s: %v: %s", method, path, err, b)
		}
	}
	return out
}

type m = map[string]any

// create posts a resource and returns its id.
func (l *lab) create(path, kind string, attrs m) string {
	l.t.Helper()
	out := l.do("POST", path, m{kind: attrs}, http.StatusCreated)
	return out[kind].(m)["id"].(string)
}

// agent is an agent without a dataplane.
type agent struct {
	*hostsync.Client
	state   hoststate.State // of the client's goroutine
	updates chan received
	stop    func()
}

// received is an update with the state after it.
type received struct {
	hostsync.Update
	State hoststate.State
}

func (a *agent) Update(_ context.Context, u hostsync.Update) {
	a.state.Apply(u.Delta)
	a.updates <- received{u, a.state.Clone()}
	a.Report(hostsync.Report{Revision: u.Delta.Revision})
}

func (l *lab) agent() *agent { return l.agentWith(slog.New(slog.DiscardHandler)) }

func (l *lab) agentWith(log *slog.Logger) *agent {
	l.t.Helper()
	c, err := hostsync.NewClient(hostsync.ClientOptions{
		Targets: []string{"unix://" + filepath.Join(l.dir, "run", "a.sock")}, Logger: log,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	a := &agent{Client: c, updates: make(chan received, 1000)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx, a)
	}()
	a.stop = sync.OnceFunc(func() {
		cancel()
		testutil.Receive(l.t, "the agent's end", done)
	})
	l.t.Cleanup(a.stop)
	return a
}

// until waits for a state with the property.
func (a *agent) until(t testing.TB, what string, ok func(hoststate.State) bool) received {
	t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case u := <-a.updates:
			if ok(u.State) {
				return u
			}
		case <-timeout:
			t.Fatalf("no state with %s", what)
		}
	}
}

// waitFull waits for the full state that begins a stream.
func (a *agent) waitFull(t testing.TB, networks int) {
	t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case u := <-a.updates:
			if u.Delta.Full {
				if len(u.State.Networks) != networks {
					t.Errorf("the full state has %d networks, want %d", len(u.State.Networks), networks)
				}
				return
			}
		case <-timeout:
			t.Fatal("no full state")
		}
	}
}

// network makes a network that the host has a port on.
func (l *lab) network(name string) (id string) {
	id = l.create("/v2.0/networks", "network", m{"name": name})
	l.create("/v2.0/ports", "port", m{"network_id": id, "binding:host_id": "h0", "binding:profile": m{"interface_name": "tap-" + name}})
	return id
}

func (l *lab) portStatus(id string) string {
	return l.do("GET", "/v2.0/ports/"+id, nil, 200)["port"].(m)["status"].(string)
}

func TestFromAPIToHostAndBack(t *testing.T) {
	l := start(t, socketDir(t))
	a := l.agent()
	a.until(t, "nothing", func(s hoststate.State) bool { return s.Len() == 0 })
	net := l.create("/v2.0/networks", "network", m{"name": "n"})
	l.create("/v2.0/subnets", "subnet", m{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"})
	port := l.create("/v2.0/ports", "port", m{"network_id": net, "name": "vm"})
	if s := l.portStatus(port); s != "DOWN" {
		t.Errorf("an unbound port is %s", s)
	}
	l.do("PUT", "/v2.0/ports/"+port, m{"port": m{"binding:host_id": "h0", "binding:profile": m{"interface_name": "tap0"}}}, 200)
	u := a.until(t, "the bound port", func(s hoststate.State) bool { return len(s.Ports) == 1 })
	var key model.PortKey
	for k, p := range u.State.Ports {
		if key = k; string(p.ID) != port || p.Interface != "tap0" || len(p.Addrs) != 1 || !p.PortSecurity {
			t.Errorf("%+v", p)
		}
	}
	a.Report(hostsync.Report{Revision: u.Delta.Revision, UnderlayMTU: 1500, Ports: []hostsync.PortReport{{ID: model.PortID(port), Status: model.PortActive}}})
	testutil.Eventually(t, "the port is ACTIVE", func() bool { return l.portStatus(port) == "ACTIVE" })

	// Unbound and bound again, while the agent looks elsewhere: it must be ACTIVE again.
	l.do("PUT", "/v2.0/ports/"+port, m{"port": m{"binding:host_id": ""}}, 200)
	testutil.Eventually(t, "the unbound port is DOWN", func() bool { return l.portStatus(port) == "DOWN" })
	l.do("PUT", "/v2.0/ports/"+port, m{"port": m{"binding:host_id": "h0"}}, 200)
	u = a.until(t, "the port bound again", func(s hoststate.State) bool { return len(s.Ports) == 1 })
	a.Report(hostsync.Report{Revision: u.Delta.Revision, Ports: []hostsync.PortReport{{ID: model.PortID(port), Status: model.PortActive}}})
	testutil.Eventually(t, "the port bound again is ACTIVE", func() bool { return l.portStatus(port) == "ACTIVE" })

	l.do("DELETE", "/v2.0/ports/"+port, nil, http.StatusNoContent)
	a.until(t, "the port gone", func(s hoststate.State) bool { _, there := s.Ports[key]; return !there })
	waitMetric(t, l, `causeway_controller_host_connected{host="h0"} 1`)
	waitMetric(t, l, `causeway_controller_host_revision_lag{host="h0"} 0`)
	a.stop()
	waitMetric(t, l, `causeway_controller_host_connected{host="h0"} 0`)
}

// TestFreedKeys: a key that was freed is given back once the host has
// acknowledged it, without any further change; and not before.
func TestFreedKeys(t *testing.T) {
	for name, c := range map[string]struct {
		agent bool
		want  int
	}{"acknowledged": {true, 0}, "not acknowledged": {false, 1}} {
		t.Run(name, func(t *testing.T) {
			dir := socketDir(t)
			l := start(t, dir)
			a := l.agent()
			a.until(t, "nothing", func(s hoststate.State) bool { return s.Len() == 0 })
			net := l.create("/v2.0/networks", "network", m{"name": "n"})
			if got := l.keys(); got != 1 {
				t.Fatalf("a network has %d keys", got)
			}
			if !c.agent {
				a.stop()
				waitMetric(t, l, `causeway_controller_host_connected{host="h0"} 0`)
			}
			l.do("DELETE", "/v2.0/networks/"+net, nil, http.StatusNoContent)
			if c.agent {
				// The commit that gives the key back has no event here: its count tells.
				testutil.Eventually(t, "the key is given back", func() bool { return l.keys() == 0 })
			}
			if got := l.keys(); got != c.want {
				t.Errorf("%d keys are taken, want %d", got, c.want)
			}
		})
	}
}

// keys is the number of keys that are not free.
func (l *lab) keys() int {
	l.t.Helper()
	snap, err := l.st.View(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	n := 0
	for range snap.Scan("key", "") {
		n++
	}
	return n
}

func waitMetric(t testing.TB, l *lab, line string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.metrics)
	}}}
	defer client.CloseIdleConnections()
	testutil.Eventually(t, line, func() bool {
		resp, err := client.Get("http://x/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return bytes.Contains(b, []byte(line+"\n"))
	})
}

// TestRestart: the controller goes and comes back; the state is there, and the
// agent follows without help.
func TestRestart(t *testing.T) {
	dir := socketDir(t)
	l := start(t, dir)
	a := l.agent()
	net := l.network("n")
	a.until(t, "the network", func(s hoststate.State) bool { return len(s.Networks) == 1 })
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	l = start(t, dir)
	l.do("GET", "/v2.0/networks/"+net, nil, 200)
	// What the first controller still sent comes before the full state.
	a.waitFull(t, 1)
	l.network("n2")
	a.until(t, "two networks", func(s hoststate.State) bool { return len(s.Networks) == 2 })
}

func TestTrace(t *testing.T) {
	l := start(t, socketDir(t))
	net := l.create("/v2.0/networks", "network", m{"name": "n"})
	l.create("/v2.0/subnets", "subnet", m{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24",
		"allocation_pools": []m{{"start": "10.0.0.100", "end": "10.0.0.200"}}})
	port := func(name, iface string) string {
		return l.create("/v2.0/ports", "port", m{"network_id": net, "name": name, "binding:host_id": "h0", "binding:profile": m{"interface_name": iface}})
	}
	from := port("vm1", "tap1")
	to := l.do("GET", "/v2.0/ports/"+port("vm2", "tap2"), nil, 200)["port"].(m)["fixed_ips"].([]any)[0].(m)["ip_address"]
	report := l.do("POST", "/v2.0/ports/"+from+"/trace", m{"trace": m{"to": to}}, 200)["trace"].(m)
	if report["delivered"] != true || len(report["hops"].([]any)) == 0 {
		t.Errorf("%v", report)
	}
	// What the host says of a port on the way is told.
	if _, err := l.st.Update(t.Context(), func(tx store.Tx) error {
		store.Put(tx, store.Hosts, "h0", &model.Host{Name: "h0"})
		store.Put(tx, store.PortStates, from, &model.PortState{PortID: model.PortID(from), Host: "h0", Status: model.PortDown, Reason: "interface tap1 does not exist on host h0"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	report = l.do("POST", "/v2.0/ports/"+from+"/trace", m{"trace": m{"to": to}}, 200)["trace"].(m)
	if want := "port " + from + " is in status DOWN: interface tap1 does not exist on host h0"; fmt.Sprint(report["warnings"]) != "["+want+"]" {
		t.Errorf("warnings %v, want %s", report["warnings"], want)
	}
	report = l.do("POST", "/v2.0/ports/"+from+"/trace", m{"trace": m{"to": "10.0.0.77"}}, 200)["trace"].(m)
	if report["delivered"] != false || report["summary"] == "" {
		t.Errorf("%v", report)
	}
	remote := l.create("/v2.0/ports", "port", m{"network_id": net, "device_owner": "network:remote_site"})
	router := l.create("/v2.0/routers", "router", m{"name": "r"})
	rport := l.create("/v2.0/ports", "port", m{"network_id": net})
	l.do("PUT", "/v2.0/routers/"+router+"/add_router_interface", m{"port_id": rport}, 200)
	for _, c := range []struct {
		path string
		body any
		want int
	}{
		{"/v2.0/ports/" + remote + "/trace", m{"trace": m{"to": to}}, 400},
		{"/v2.0/ports/" + rport + "/trace", m{"trace": m{"to": to}}, 400},
		{"/v2.0/ports/00000000-0000-0000-0000-000000000000/trace", m{"trace": m{"to": to}}, 404},
		{"/v2.0/ports/" + from + "/trace", m{}, 400},
		{"/v2.0/ports/" + from + "/trace", m{"trace": strings.Repeat("x", 5<<20)}, 413},
		{"/v2.0/routers/" + router + "/probe", m{"probe": strings.Repeat("x", 5<<20)}, 413},
		{"/v2.0/ports/" + from + "/trace", m{"trace": m{"to": "here"}}, 400},
		{"/v2.0/gw/gateway_devices/00000000-0000-0000-0000-000000000000/trace", m{"trace": m{}}, 404},
	} {
		l.do("POST", c.path, c.body, c.want)
	}
}

// TestTaken: what somebody else holds is named, and nothing is left behind.
func TestTaken(t *testing.T) {
	dir := socketDir(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	sock := filepath.Join(dir, "taken.sock")
	takenSock, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer takenSock.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := config.Controller{APIListen: "127.0.0.1:0", AgentSocket: filepath.Join(dir, "a.sock"), DataDir: filepath.Join(dir, "data")}
	for name, c := range map[string]struct {
		change func(*config.Controller)
		want   string
	}{
		"API":            {func(c *config.Controller) { c.APIListen = taken.Addr().String() }, "--api-listen: another process listens on " + taken.Addr().String()},
		"metrics":        {func(c *config.Controller) { c.MetricsListen = taken.Addr().String() }, "--metrics-listen: another process"},
		"metrics socket": {func(c *config.Controller) { c.MetricsListen = "unix:" + sock }, "--metrics-listen: another process"},
		"agent socket":   {func(c *config.Controller) { c.AgentSocket = sock }, "--agent-socket: another process listens on " + sock},
		"no socket":      {func(c *config.Controller) { c.AgentSocket = file }, "is there and is no socket"},
		"certificate": {func(c *config.Controller) {
			c.APITLS = config.TLSFiles{Cert: "/none", Key: "/none"}
		}, "TLS of the API"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := good
			c.change(&settings)
			err := Run(t.Context(), Config{Controller: settings, Logger: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			var hint interface{ Hint() string }
			if strings.Contains(c.want, "another process") && (!errors.As(err, &hint) || !strings.Contains(hint.Hint(), "or end that process: ss -l")) {
				t.Errorf("%v names no way out", err)
			}
		})
	}
	if _, err := os.Stat(good.DataDir); err == nil {
		t.Error("data were made before the addresses were held")
	}
}

// TestStaleSocket: a socket that a killed controller left is replaced, and only
// its user may reach the new one.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "d", "s")
	l, err := listenUnix("--agent-socket", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = listenUnix("--agent-socket", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		st, err := os.Stat(p)
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", p, st.Mode(), err)
		}
	}
}
