package agent

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reconcile"
	"github.com/causeway-net/causeway/internal/testutil"
)

// vm2 is a second port of the tests' topology.
var vm2 = hoststate.Port{
	ID: "port-2", Network: 1, Interface: "tap2", MAC: model.MustMAC("fa:16:3e:00:00:04"),
	Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.4")}, PortSecurity: true,
}

// object is the status of one object as the agent tells it; false where it is as wanted.
func object(t *testing.T, cfg Config, kind, name string) (reconcile.Status, bool) {
	t.Helper()
	s, err := AskStatus(t.Context(), cfg.MetricsListen, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range s.Objects {
		if o.Kind == kind && o.Name == name {
			return o, true
		}
	}
	return reconcile.Status{}, false
}

// TestStatus: an interface that cannot have its program is told with its cause and its next try, the
// ports of others work, and what is mended is told no more.
func TestStatus(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	c := newController(t)
	startAgent(t, cfg, c)
	vm, other := newNamespace(t), newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	other.vm(t, "tap2", vm2, "10.0.0.1")
	l, err := net.InterfaceByName("tap1")
	if err != nil {
		t.Fatal(err)
	}
	c.set(addNetwork)
	pin := filepath.Join(cfg.PinDir, "links", "workload-"+itoa(l.Index))
	if err := os.Mkdir(pin, 0o700); err != nil {
		t.Fatal(err)
	}
	c.set(func(s *hoststate.State) { bind(s, 1, vm1) })
	c.untilPort("port-1", model.PortError, "attach to tap1")
	// Another tenant's port does not wait for it.
	c.set(func(s *hoststate.State) { bind(s, 2, vm2) })
	c.untilPort("port-2", model.PortActive, "")
	sh(t, other.in(pingRouter))

	testutil.Succeeds(t, "the failure and its next try are told", func() error {
		o, ok := object(t, cfg, "links", "tap1")
		p, pok := object(t, cfg, "ports", "port-1")
		if !ok || o.State != reconcile.Failed || !strings.Contains(o.Cause, "attach to tap1") || o.Failures < 2 || o.NextTry == nil ||
			o.Wanted != "the workloads' program on it, for port port-1" {
			return fmt.Errorf("tap1: %+v", o)
		}
		if !pok || p.State != reconcile.Failed || p.On != (reconcile.Ref{Kind: "links", Name: "tap1"}) || p.NextTry == nil {
			return fmt.Errorf("port-1: %+v", p)
		}
		return nil
	})
	if o, ok := object(t, cfg, "links", "tap2"); ok {
		t.Errorf("an interface that works is told: %+v", o)
	}
	socket := strings.TrimPrefix(cfg.MetricsListen, "unix:")
	m := scrape(t, socket)
	for _, want := range []string{
		`causeway_agent_objects{kind="links",state="failed"} 1`, `causeway_agent_objects{kind="links",state="done"} 1`,
		`causeway_agent_step_failing{step="links"} 1`, `causeway_agent_objects{kind="ports",state="failed"} 1`,
	} {
		if !strings.Contains(m, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(m, `causeway_agent_object_failures_total{kind="links"} 0`) {
		t.Error("failures are not counted")
	}
	// An agent whose objects fail is itself well.
	if code, a := askHealth(t, socket, "/healthz"); code != http.StatusOK || a.Status != "ok" {
		t.Errorf("health: %d %+v", code, a)
	}
	// But it is not ready.
	if code, a := askHealth(t, socket, "/readyz"); code != http.StatusServiceUnavailable || !strings.HasPrefix(a.Status, "objects: 2 have failed, such as links tap1: attach to tap1") {
		t.Errorf("ready: %d %+v", code, a)
	}

	if err := os.Remove(pin); err != nil {
		t.Fatal(err)
	}
	c.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))
	testutil.Succeeds(t, "nothing is told any more", func() error {
		s, err := AskStatus(t.Context(), cfg.MetricsListen, false)
		if err != nil || len(s.Objects) > 0 || !s.Connected || s.AppliedRevision != c.rev {
			return fmt.Errorf("%+v, %v", s, err)
		}
		return nil
	})
	// What waits for an event has no next try.
	sh(t, "ip link del tap1")
	c.untilPort("port-1", model.PortDown, "does not exist")
	if o, ok := object(t, cfg, "links", "tap1"); !ok || o.State != reconcile.Waiting || o.NextTry != nil {
		t.Errorf("an interface that is not there: %+v", o)
	}
	s, err := AskStatus(t.Context(), cfg.MetricsListen, true)
	if err != nil || len(s.Objects) < 6 || s.Counts["ports"][reconcile.Done] != 1 {
		t.Errorf("all objects: %+v, %v", s, err)
	}
	// An interface that is nobody's is no object.
	c.set(func(s *hoststate.State) { delete(s.Ports, 1) })
	if o, ok := object(t, cfg, "links", "tap1"); ok {
		t.Errorf("an interface without a port: %+v", o)
	}
}

// TestOneChange: what one port's binding costs does not grow with what else is on the host.
func TestOneChange(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	c := newController(t)
	startAgent(t, cfg, c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	shared := vm2
	shared.Interface = "tap1" // somebody's mistake: it has port 1
	c.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1); bind(s, 2, shared) })
	c.untilPort("port-1", model.PortActive, "")
	c.set(func(*hoststate.State) {}) // a revision without rows is acknowledged too
	cost := func() uint64 {
		least := ^uint64(0)
		for range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			for range 20 {
				c.change(t, hoststate.Delta{Unset: hoststate.Keys{Ports: []model.PortKey{1}}})
				c.change(t, hoststate.Delta{Set: hoststate.State{Ports: map[model.PortKey]hoststate.Port{1: vm1}}})
			}
			runtime.ReadMemStats(&after)
			t.Logf("%v and %d bytes for each change", time.Since(begin)/40, (after.TotalAlloc-before.TotalAlloc)/40)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		return least
	}
	alone := cost()
	const others = 2000
	file := filepath.Join(t.TempDir(), "links")
	var batch strings.Builder
	for i := range others / 10 {
		fmt.Fprintf(&batch, "link add other%d type bridge\n", i)
	}
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	sh(t, "ip -batch "+file)
	c.set(func(s *hoststate.State) {
		for i := range others {
			p := vm2
			p.ID, p.Interface = model.PortID(fmt.Sprint("other-", i)), fmt.Sprint("none", i)
			p.Network, p.MAC = model.NetworkKey(100+i), model.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
			s.Networks[p.Network] = hoststate.Network{ID: model.NetworkID(fmt.Sprint("net-", i)), MTU: 1450}
			bind(s, model.PortKey(100+i), p)
		}
	})
	if crowded := cost(); crowded > 2*alone {
		t.Errorf("a change allocates %d bytes beside %d other ports, and %d alone", crowded/40, others, alone/40)
	}
}

// change sends a delta and waits until it is acknowledged, at no cost that follows the state.
func (c *controller) change(t *testing.T, d hoststate.Delta) {
	t.Helper()
	c.rev++
	d.Revision = c.rev
	select {
	case c.updates <- hostsync.Update{Delta: d}:
	case <-time.After(wait):
		t.Fatal("the agent takes no update")
	}
	deadline := time.After(wait)
	for {
		c.mu.Lock()
		acked, changed := c.acked == c.rev, c.changed
		c.mu.Unlock()
		if acked {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("revision %d is not acknowledged", c.rev)
		}
	}
}

// stuckPin puts something in place of a pinned link that cannot be taken away as one, and returns
// what ends that.
func stuckPin(t *testing.T, cfg Config, kind string, index int) (mend func()) {
	t.Helper()
	pin := filepath.Join(cfg.PinDir, "links", kind+"-"+itoa(index))
	inner := filepath.Join(pin, "inner")
	if err := errors.Join(os.Remove(pin), os.Mkdir(pin, 0o700), os.Mkdir(inner, 0o700)); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	mend = func() {
		once.Do(func() {
			if err := errors.Join(os.Remove(inner), os.Remove(pin)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(mend)
	return mend
}

// TestStaysAttached: a program that cannot be taken away is told, and tried again, also where another
// interface of the name works, or none is there.
func TestStaysAttached(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	cfg.UnderlayInterfaces = []string{"eth9"}
	sh(t, "ip link add eth9 type veth peer name eth9p; ip link set eth9 up")
	c := newController(t)
	startAgent(t, cfg, c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	c.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1) })
	c.untilPort("port-1", model.PortActive, "")
	fails := func(kind, name, cause string) error {
		o, ok := object(t, cfg, kind, name)
		if !ok || o.State != reconcile.Failed || !strings.Contains(o.Cause, cause) || o.NextTry == nil {
			return fmt.Errorf("%s: %+v", name, o)
		}
		return nil
	}
	well := func(kind, name string) error {
		if o, ok := object(t, cfg, kind, name); ok {
			return fmt.Errorf("%s: %+v", name, o)
		}
		return nil
	}

	tap, err := net.InterfaceByName("tap1")
	if err != nil {
		t.Fatal(err)
	}
	mend := stuckPin(t, cfg, "workload", tap.Index)
	sh(t, "ip link del tap1")
	c.untilPort("port-1", model.PortDown, "does not exist")
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	c.untilPort("port-1", model.PortActive, "")
	if err := fails("links", "tap1", "take the program of tap1 away"); err != nil {
		t.Error(err)
	}
	sh(t, vm.in(pingRouter))
	mend()
	testutil.Succeeds(t, "the old program is taken away", func() error { return well("links", "tap1") })

	eth, err := net.InterfaceByName("eth9")
	if err != nil {
		t.Fatal(err)
	}
	mend = stuckPin(t, cfg, "underlay", eth.Index)
	sh(t, "ip link del eth9")
	testutil.Succeeds(t, "the failure is told", func() error { return fails("underlay", "eth9", "detach from eth9") })
	mend()
	testutil.Succeeds(t, "the interface is waited for", func() error {
		if o, ok := object(t, cfg, "underlay", "eth9"); !ok || o.State != reconcile.Waiting {
			return fmt.Errorf("%+v", o)
		}
		return nil
	})
}

// holding is a controller at which the agent hangs while hold is set.
type holding struct {
	*controller
	mu   sync.Mutex
	hold chan struct{}
}

func (h *holding) set(c chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = c
}

func (h *holding) Report(r hostsync.Report) {
	h.mu.Lock()
	hold := h.hold
	h.mu.Unlock()
	if hold != nil {
		<-hold
	}
	h.controller.Report(r)
}

// TestStuck: an agent that hangs says so, and no longer when it goes on.
func TestStuck(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	cfg.patience = time.Second
	c := &holding{controller: newController(t)}
	startAgent(t, cfg, c)
	stuck := func(want string) func() error {
		return func() error {
			s, err := AskStatus(t.Context(), cfg.MetricsListen, false)
			if err != nil || s.Stuck != want {
				return fmt.Errorf("%+v, %v", s, err)
			}
			return nil
		}
	}
	c.controller.set(addNetwork)
	testutil.Succeeds(t, "all is well", stuck(""))
	hold := make(chan struct{})
	c.set(hold)
	var once sync.Once
	release := func() { once.Do(func() { c.set(nil); close(hold) }) }
	t.Cleanup(release)
	next := c.state.Clone()
	bind(&next, 1, vm1)
	c.send(hoststate.Diff(c.state, next), next)
	testutil.Succeeds(t, "the agent says that it hangs", stuck("the agent's loop has not come round for 1s"))
	release()
	testutil.Succeeds(t, "all is well again", stuck(""))
}
