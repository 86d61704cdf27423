package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// The tests run real agents, with real programs, in a network namespace of their own; only
// the controller is played.

const wait = 60 * time.Second // far more than anything here takes

func sh(t *testing.T, cmd string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-ec", cmd).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func try(cmd string) error {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-ec", cmd).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// namespace is a second network namespace, held by a process that sleeps.
type namespace struct{ pid string }

func newNamespace(t *testing.T) namespace {
	t.Helper()
	cmd := exec.Command("unshare", "-n", "sleep", "170")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = testutil.Exit(t, cmd) })
	own, err := os.Readlink("/proc/thread-self/ns/net") // the main thread may have been left in another
	if err != nil {
		t.Fatal(err)
	}
	n := namespace{strconv.Itoa(cmd.Process.Pid)}
	testutil.Eventually(t, "a second namespace", func() bool {
		ns, err := os.Readlink("/proc/" + n.pid + "/ns/net")
		return err == nil && ns != own
	})
	return n
}

func (n namespace) in(cmd string) string { return "nsenter -t " + n.pid + " -n " + cmd }

// vm puts a workload into the namespace, behind the host-side interface tap.
func (n namespace) vm(t *testing.T, tap string, p hoststate.Port, gw string) {
	t.Helper()
	n.plug(t, tap, "eth0", p)
	sh(t, n.in("ip route add default via "+gw))
}

// plug joins the namespace to the host by a veth pair.
func (n namespace) plug(t *testing.T, tap, inside string, p hoststate.Port) {
	t.Helper()
	sh(t, "ip link add "+tap+" type veth peer name "+inside+" address "+p.MAC.String()+" netns "+n.pid+"; ip link set "+tap+" up")
	sh(t, n.in("ip link set lo up")+";"+n.in("ip link set "+inside+" up")+";"+n.in("ip addr add "+p.Addrs[0].String()+"/24 dev "+inside))
}

// controller plays the site's controller.
type controller struct {
	t       *testing.T
	updates chan hostsync.Update
	state   hoststate.State
	rev     int64

	mu      sync.Mutex
	away    bool
	ports   map[model.PortID]hostsync.PortReport
	acked   int64
	mtu     int
	fabric  int             // its MTU
	prober  hostsync.Prober // of the agent that runs
	changed chan struct{}   // closed and made anew at each report
}

func newController(t *testing.T) *controller {
	return &controller{
		t: t, updates: make(chan hostsync.Update), state: hoststate.NewState(),
		ports: map[model.PortID]hostsync.PortReport{}, changed: make(chan struct{}),
	}
}

func (c *controller) Run(ctx context.Context, sink hostsync.Sink) error {
	c.mu.Lock()
	c.prober, _ = sink.(hostsync.Prober)
	c.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-c.updates:
			sink.Update(ctx, u)
		}
	}
}

func (c *controller) Problem() string { return "" }

func (c *controller) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.away
}

func (c *controller) setAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

func (c *controller) Report(r hostsync.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range r.Ports {
		c.ports[p.ID] = p
	}
	c.acked, c.mtu, c.fabric = r.Revision, r.UnderlayMTU, r.FabricMTU
	close(c.changed)
	c.changed = make(chan struct{})
}

// until waits for a report after which ok holds.
func (c *controller) until(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.After(wait)
	for {
		c.mu.Lock()
		good, changed := ok(), c.changed
		now := fmt.Sprintf("acked %d, mtu %d, that of the fabric %d, ports %v", c.acked, c.mtu, c.fabric, c.ports)
		c.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			c.t.Fatalf("never: %s; now: %s", what, now)
		}
	}
}

// set changes the state, sends what changed (all of it the first time) and waits until
// the agent has acknowledged it.
func (c *controller) set(change func(*hoststate.State)) {
	c.t.Helper()
	next := c.state.Clone()
	change(&next)
	d := hoststate.Diff(c.state, next)
	if c.rev == 0 {
		d = hoststate.Delta{Full: true, Set: next}
	}
	c.send(d, next)
	c.until("revision "+strconv.FormatInt(c.rev, 10)+" acknowledged", func() bool { return c.acked == c.rev })
}

func (c *controller) send(d hoststate.Delta, next hoststate.State) {
	c.t.Helper()
	c.rev++
	d.Revision = c.rev
	c.state = next
	select {
	case c.updates <- hostsync.Update{Delta: d}:
	case <-time.After(wait):
		c.t.Fatal("the agent takes no update")
	}
}

func (c *controller) untilPort(id model.PortID, status model.PortStatus, words string) {
	c.t.Helper()
	c.until(fmt.Sprintf("port %s is %s %q", id, status, words), func() bool {
		p := c.ports[id]
		return p.Status == status && strings.Contains(p.Reason, words)
	})
}

// running is an agent in this process.
type running struct {
	t    *testing.T
	cfg  Config
	stop func() // and wait; an error fails the test
}

func testConfig(t *testing.T) Config {
	t.Helper()
	pins := filepath.Join("/sys/fs/bpf", fmt.Sprintf("causeway-agenttest-%d-%s", os.Getpid(), t.Name()))
	t.Cleanup(func() { os.RemoveAll(pins) })
	level := slog.LevelInfo
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	return Config{
		PinDir: pins, StateDir: t.TempDir(), ICMPRate: 100, ICMPBurst: 50,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
}

func startAgent(t *testing.T, cfg Config, ctl Controller) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, ctl) }()
	var once sync.Once
	r := &running{t: t, cfg: cfg}
	r.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("agent: %v", err)
				}
			case <-time.After(wait):
				t.Error("the agent does not end")
			}
		})
	}
	t.Cleanup(func() {
		r.stop()
		if err := Cleanup(cfg); err != nil {
			t.Errorf("cleanup: %v", err)
		}
	})
	return r
}

// The topology of the tests: network 1 (10.0.0.0/24) with router 1 and port 1.
var (
	routerMAC = model.MustMAC("fa:16:3e:00:00:01")
	vm1       = hoststate.Port{
		ID: "port-1", Network: 1, Interface: "tap1", MAC: model.MustMAC("fa:16:3e:00:00:03"),
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.3")}, PortSecurity: true,
	}
)

func addNetwork(s *hoststate.State) {
	gw := netip.MustParseAddr("10.0.0.1")
	s.Networks[1] = hoststate.Network{ID: "net-1", Name: "net", MTU: 1450}
	s.Routers[1] = hoststate.Router{ID: "router-1", Name: "router"}
	s.FDB[hoststate.FDBKey{Network: 1, MAC: routerMAC}] = hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: 1, Addr: gw}
	s.Neighbors[hoststate.NeighborKey{Network: 1, IP: gw}] = routerMAC
	s.Routes[hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("10.0.0.0/24")}] = hoststate.Route{Kind: hoststate.RouteConnected, Network: 1, MAC: routerMAC}
	s.Routes[hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("10.0.0.1/32")}] = hoststate.Route{Kind: hoststate.RouteLocal}
}

func bind(s *hoststate.State, k model.PortKey, p hoststate.Port) {
	s.Ports[k] = p
	s.FDB[hoststate.FDBKey{Network: p.Network, MAC: p.MAC}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: k}
	s.Neighbors[hoststate.NeighborKey{Network: p.Network, IP: p.Addrs[0]}] = p.MAC
}
