package hwvtep

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

const (
	schemaFile = "/usr/share/openvswitch/vtep.ovsschema"
	device     = model.GatewayDeviceID("0b6ed1a6-3b8f-4f0e-8f0c-1d2e3f405162")
)

// tunnelIP is the switch's.
func tunnelIP() netip.Addr { return netip.MustParseAddr("10.8.0.1") }

// ovs is a database server of Open vSwitch with a switch vt0 in it, which has the
// ports p0 and p1.
type ovs struct {
	t       *testing.T
	dir     string
	address netip.AddrPort
	cmd     *exec.Cmd
	more    []string // further arguments of the server
}

func newOVS(t *testing.T) *ovs {
	t.Helper()
	o := prepareOVS(t)
	o.start()
	o.ctl("add-ps", "vt0", "--", "set", "Physical_Switch", "vt0", "tunnel_ips="+tunnelIP().String(),
		"--", "add-port", "vt0", "p0", "--", "add-port", "vt0", "p1")
	return o
}

// prepareOVS makes a server's database.
func prepareOVS(t *testing.T) *ovs {
	t.Helper()
	testutil.RequireTool(t, "ovsdb-server", "ovsdb-tool", "vtep-ctl")
	testutil.RequireFile(t, schemaFile)
	addr, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	o := &ovs{t: t, dir: t.TempDir(), address: netip.MustParseAddrPort(addr)}
	o.run("ovsdb-tool", "create", o.path("db"), schemaFile)
	return o
}

func addrPort(l net.Listener) netip.AddrPort { return netip.MustParseAddrPort(l.Addr().String()) }

func (o *ovs) path(name string) string { return filepath.Join(o.dir, name) }

func (o *ovs) run(name string, args ...string) string {
	o.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		o.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// ctl changes the switch's database by hand.
func (o *ovs) ctl(args ...string) string {
	o.t.Helper()
	return o.run("vtep-ctl", append([]string{"--timeout=20", "--db=unix:" + o.path("sock")}, args...)...)
}

func (o *ovs) start() {
	o.t.Helper()
	args := []string{o.path("db"), "--remote=punix:" + o.path("sock"), "--unixctl=" + o.path("ctl"), "--no-chdir", "-vconsole:warn"}
	if o.more == nil {
		o.more = []string{fmt.Sprintf("--remote=ptcp:%d:127.0.0.1", o.address.Port())}
	}
	o.cmd = exec.Command("ovsdb-server", append(args, o.more...)...)
	o.cmd.Env = append(os.Environ(), "OVS_RUNDIR="+o.dir)
	var log strings.Builder
	o.cmd.Stderr = &log
	if err := o.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(o.stop)
	o.answers()
}

// answers waits until the server takes connections.
func (o *ovs) answers() {
	o.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		var there int
		for _, at := range [][2]string{{"unix", o.path("sock")}, {"tcp", o.address.String()}} {
			if c, err := net.Dial(at[0], at[1]); err == nil {
				_ = c.Close()
				there++
			}
		}
		if there == 2 {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			o.t.Fatal("ovsdb-server does not start")
		}
	}
}

func (o *ovs) stop() {
	if o.cmd.ProcessState == nil {
		_ = o.cmd.Process.Kill()
		_ = testutil.Exit(o.t, o.cmd)
	}
}

// watcher looks at the database from a session of its own.
type watcher struct {
	t       *testing.T
	s       *session
	changed chan struct{}
}

func (o *ovs) watch() *watcher {
	o.t.Helper()
	stream, err := net.Dial("tcp", o.address.String())
	if err != nil {
		o.t.Fatal(err)
	}
	s := &session{have: newHave(true), changed: make(chan struct{}, 1), lock: make(chan bool, 2)}
	s.conn = newConn(stream, s.notify)
	o.t.Cleanup(s.conn.close)
	columns, err := s.schema(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	requests := map[string]any{}
	for table, c := range columns {
		requests[table] = map[string]any{"columns": c}
	}
	var initial json.RawMessage
	if err := s.conn.call(o.t.Context(), &initial, "monitor", database, "test", requests); err != nil {
		o.t.Fatal(err)
	}
	if err := s.have.apply(initial); err != nil {
		o.t.Fatal(err)
	}
	return &watcher{o.t, s, s.changed}
}

// until waits for the database to be as ok wants it, which says what is not.
func (w *watcher) until(what string, ok func(*have) string) {
	w.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		if err := w.s.takeIn(); err != nil {
			w.t.Fatal(err)
		}
		missing := ok(w.s.have)
		if missing == "" {
			return
		}
		select {
		case <-w.changed:
		case <-limit:
			w.t.Fatalf("%s: %s", what, missing)
		case <-w.s.conn.ended():
			w.t.Fatalf("%s: the session ended: %v", what, w.s.conn.failure())
		}
	}
}

// is waits until the switch has just what w wants.
func (w *watcher) has(want Want) {
	w.t.Helper()
	w.until("the switch has what it is to have", func(h *have) string {
		steps, problems := plan(&want, h)
		if len(steps)+len(problems) == 0 {
			return ""
		}
		b, _ := json.Marshal(steps)
		return fmt.Sprintf("steps %v, problems %q: %s", len(steps), problems, b)
	})
}

// fakeSite notes what it is told.
type fakeSite struct {
	mu      sync.Mutex
	epoch   uint64
	driver  string
	status  model.SwitchStatus
	learned map[model.L2GatewayConnectionID][]model.MAC
	cleaned []model.GatewayDeviceID
	changed chan struct{}
}

func newFakeSite() *fakeSite {
	return &fakeSite{learned: map[model.L2GatewayConnectionID][]model.MAC{}, changed: make(chan struct{}, 1)}
}

func (s *fakeSite) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *fakeSite) TakeSwitch(_ context.Context, _ model.GatewayDeviceID, driver string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.driver = driver
	s.signal()
	return s.epoch, nil
}

func (s *fakeSite) taken(epoch uint64) error {
	if epoch != s.epoch {
		return model.Errf(model.KindConflict, "SwitchTaken", "driven by %s", s.driver)
	}
	return nil
}

func (s *fakeSite) SetSwitchStatus(_ context.Context, _ model.GatewayDeviceID, _ string, epoch uint64, st model.SwitchStatus) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == 0 && !s.status.Connected {
		epoch = s.epoch
	}
	if err := s.taken(epoch); err != nil {
		return err
	}
	s.status = st
	s.signal()
	return nil
}

func (s *fakeSite) SetLearnedMACs(_ context.Context, _ model.GatewayDeviceID, epoch uint64, conn model.L2GatewayConnectionID, macs []model.MAC) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.taken(epoch); err != nil {
		return err
	}
	s.learned[conn] = macs
	s.signal()
	return nil
}

func (s *fakeSite) SwitchCleaned(_ context.Context, id model.GatewayDeviceID, epoch uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.taken(epoch); err != nil {
		return err
	}
	s.cleaned = append(s.cleaned, id)
	s.signal()
	return nil
}

// until waits for what the site was told.
func (s *fakeSite) until(t *testing.T, what string, ok func(*fakeSite) bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		done := ok(s)
		state := fmt.Sprintf("%+v driven by %q, epoch %d, learned %v", s.status, s.driver, s.epoch, s.learned)
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-s.changed:
		case <-limit:
			t.Fatalf("%s: %s", what, state)
		}
	}
}

func inSync(s *fakeSite) bool { return s.status.Connected && s.status.InSync }

type noCounts struct{}

func (noCounts) SwitchStatus(string, model.SwitchStatus) {}
func (noCounts) SwitchLearned(string, int)               {}
func (noCounts) SwitchTransaction(string, bool)          {}
func (noCounts) SwitchGone(string)                       {}

// drive runs a controller's part; its targets go into the channel that it returns,
// and stop ends it.
func drive(t *testing.T, s *fakeSite, name string) (targets chan<- []Target, stop func()) {
	t.Helper()
	return driveWith(t, Options{Site: s, Driver: name, Alive: func(context.Context) error { return nil }})
}

func driveWith(t *testing.T, opts Options) (targets chan<- []Target, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ch := make(chan []Target)
	done := make(chan struct{})
	var out io.Writer = io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	go func() {
		defer close(done)
		opts.Counts, opts.Logger = noCounts{}, slog.New(slog.NewTextHandler(out, nil)).With("driver", opts.Driver)
		if err := Run(ctx, opts, ch); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		testutil.Receive(t, "the driver's end", done)
	}
	t.Cleanup(stop)
	return ch, stop
}
