package agent

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/pathmtu"
	"github.com/causeway-net/causeway/internal/reconcile"
	"github.com/causeway-net/causeway/internal/testutil"
)

// fabricWords are what an agent says of the fabric: of itself, then of each other host.
func fabricWords(t *testing.T, cfg Config) string {
	t.Helper()
	s, err := AskStatus(t.Context(), cfg.MetricsListen, false)
	if err != nil || s.Fabric == nil {
		return fmt.Sprintf("no fabric: %v", err)
	}
	words := []string{fmt.Sprintf("%s mtu %d %s", s.Fabric.Address, s.Fabric.MTU, s.Fabric.Problem)}
	for _, h := range s.Fabric.Hosts {
		words = append(words, fmt.Sprintf("%s %s %s %d %s", h.Host, h.Address, h.State, h.MTU, h.Why))
	}
	return strings.Join(words, "\n")
}

func untilFabric(t *testing.T, cfg Config, what string, want ...string) {
	t.Helper()
	testutil.Succeeds(t, what, func() error {
		now := fabricWords(t, cfg)
		for _, w := range want {
			if !strings.Contains(now, w) {
				return fmt.Errorf("no %q in\n%s", w, now)
			}
		}
		return nil
	})
}

// fabricVTEPs are the VTEPs that an agent keeps.
func fabricVTEPs(t *testing.T, cfg Config) (out []string) {
	t.Helper()
	s, err := AskStatus(t.Context(), cfg.MetricsListen, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range s.Objects {
		if o.Kind == "vteps" {
			out = append(out, o.Name)
		}
	}
	return out
}

// TestFabric: other hosts are reached from the host's address on the fabric as the kernel's routes
// say, and the agent says of each how it stands; a host that comes, moves or goes is followed.
func TestFabric(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	other := newNamespace(t)
	sh(t, "ip link add eth1 type veth peer name far netns "+other.pid+"; ip link set eth1 up")
	sh(t, other.in("ip link set far up")+";"+other.in("ip addr add 172.31.0.2/24 dev far")+";"+other.in("ip addr add 172.31.0.3/24 dev far"))
	c := newController(t)
	cfg := testConfig(t)
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	cfg.Fabric = hostenv.Fabric{Addr: netip.MustParseAddr("172.31.0.1"), Port: 4798}
	a := startAgent(t, cfg, c)
	host := func(addr string) hoststate.Host {
		return hoststate.Host{Addr: netip.MustParseAddr(addr), Port: 4798}
	}
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		s.Hosts = map[model.HostName]hoststate.Host{"h1": host("172.31.0.1"), "h2": host("172.31.0.2")}
	})
	device := func() string { return sh(t, "ip -d link show dev "+hostnet.FabricDevice) }
	if d := device(); !strings.Contains(d, "dstport 4798") || !strings.Contains(d, ",UP") {
		t.Error(d)
	}
	missing := "no interface of this host has the address 172.31.0.1 (--fabric-address)"
	untilFabric(t, cfg, "the address is missed", "172.31.0.1 mtu 0 "+missing, "h2 172.31.0.2 unreachable 0 "+missing)
	if o, ok := object(t, cfg, "fabric", "address"); !ok || o.Cause != missing || o.State != reconcile.Waiting {
		t.Errorf("the address as an object: %+v", o)
	}
	if o, ok := object(t, cfg, "vteps", "172.31.0.2 from 172.31.0.1"); !ok || o.Cause != missing || o.Wanted != "packets leave for host h2, and come in from it" {
		t.Errorf("the way to the other host as an object: %+v", o)
	}

	sh(t, "ip addr add 172.31.0.1/24 dev eth1")
	untilFabric(t, cfg, "the other host answers", "172.31.0.1 mtu 1500 \n", "h2 172.31.0.2 proven 1500 the VTEP's own echo")
	c.until("the MTU of the fabric is reported", func() bool { return c.fabric == 1500 })
	if vs := fabricVTEPs(t, cfg); !slices.Equal(vs, []string{"172.31.0.2 from 172.31.0.1"}) {
		t.Errorf("VTEPs: %q", vs)
	}
	testutil.Eventually(t, "the program is on eth1", func() bool {
		s, err := AskStatus(t.Context(), cfg.MetricsListen, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range s.Objects {
			if o.Kind == "underlay" && o.Name == "eth1" && o.State == "done" {
				return true
			}
		}
		return false
	})

	c.set(func(s *hoststate.State) {
		s.Hosts["h2"] = host("172.31.0.3")
		s.Hosts["h3"] = host("192.0.2.9")
	})
	untilFabric(t, cfg, "a host moves, and one comes that no route leads to", "h2 172.31.0.3 proven 1500",
		"h3 192.0.2.9 unreachable 0 the host has no route from 172.31.0.1 to 192.0.2.9")
	if vs := fabricVTEPs(t, cfg); len(vs) != 2 || slices.ContainsFunc(vs, func(s string) bool { return strings.HasPrefix(s, "172.31.0.2 ") }) {
		t.Errorf("VTEPs: %q", vs)
	}
	sh(t, other.in("ip addr add 192.0.2.9/32 dev far")+"; ip route add 192.0.2.9/32 dev eth1 src 172.31.0.1")
	untilFabric(t, cfg, "a route leads to it", "h3 192.0.2.9 proven 1500")
	sh(t, "ip link set eth1 mtu 1400")
	c.until("the lower MTU of the fabric is reported", func() bool { return c.fabric == 1400 })
	untilFabric(t, cfg, "the path too", "h2 172.31.0.3 proven 1400")
	sh(t, "ip link set eth1 down")
	untilFabric(t, cfg, "the link is down", "h2 172.31.0.3 unreachable 1400")
	sh(t, "ip link set eth1 up; ip route add 192.0.2.9/32 dev eth1 src 172.31.0.1")
	untilFabric(t, cfg, "the link is up", "h2 172.31.0.3 proven 1400")
	c.set(func(s *hoststate.State) { delete(s.Hosts, "h2"); delete(s.Hosts, "h3") })
	testutil.Eventually(t, "hosts that are gone are forgotten", func() bool { return len(fabricVTEPs(t, cfg)) == 0 })

	// Another port is another device, and a host that leaves the fabric has none.
	restart := func(f hostenv.Fabric) {
		t.Helper()
		a.stop()
		cfg.Fabric = f
		c.mu.Lock()
		c.acked = 0
		c.mu.Unlock()
		a = startAgent(t, cfg, c)
		c.until("the agent goes on from its journal", func() bool { return c.acked == c.rev })
	}
	cfg.Fabric.Port = 5000
	restart(cfg.Fabric)
	if d := device(); !strings.Contains(d, "dstport 5000") || !strings.Contains(d, ",UP") {
		t.Errorf("on another port: %s", d)
	}
	restart(hostenv.Fabric{})
	testutil.Eventually(t, "the device is gone", func() bool { return try("ip link show dev "+hostnet.FabricDevice) != nil })
	if w := fabricWords(t, cfg); w != "no fabric: <nil>" {
		t.Errorf("off the fabric: %s", w)
	}
}

// TestFabricBesideNamedInterfaces: the fabric goes by the interfaces that lead to other hosts, also
// where those that carry tunnels are named.
func TestFabricBesideNamedInterfaces(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	other, core := newNamespace(t), newNamespace(t)
	sh(t, "ip link add eth1 type veth peer name far netns "+other.pid+"; ip link set eth1 up; ip addr add 172.31.0.1/24 dev eth1")
	sh(t, "ip link add eth2 mtu 1400 type veth peer name far netns "+core.pid+"; ip link set eth2 up; ip addr add 172.31.9.1/24 dev eth2")
	sh(t, other.in("ip link set far up")+";"+other.in("ip addr add 172.31.0.2/24 dev far")+";"+core.in("ip link set far up"))
	c := newController(t)
	cfg := testConfig(t)
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	cfg.UnderlayInterfaces = []string{"eth2"}
	cfg.Fabric = hostenv.Fabric{Addr: netip.MustParseAddr("172.31.0.1"), Port: 4798}
	startAgent(t, cfg, c)
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		s.Hosts = map[model.HostName]hoststate.Host{"h2": {Addr: netip.MustParseAddr("172.31.0.2"), Port: 4798}}
	})
	untilFabric(t, cfg, "the other host answers", "h2 172.31.0.2 proven 1500")
	c.until("each MTU is that of its own interfaces", func() bool { return c.fabric == 1500 && c.mtu == 1400 })
	testutil.Eventually(t, "the program is on both", func() bool {
		s, err := AskStatus(t.Context(), cfg.MetricsListen, true)
		if err != nil {
			t.Fatal(err)
		}
		on := map[string]bool{}
		for _, o := range s.Objects {
			on[o.Name] = on[o.Name] || o.Kind == "underlay" && o.State == "done"
		}
		return on["eth1"] && on["eth2"]
	})
}

// TestFabricPort: what the host's network says of the fabric's port is heard, and what it says of the
// tunnels' is not of the fabric: ICMP errors and IPsec policies.
func TestFabricPort(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	requireXFRM(t)
	other := newNamespace(t)
	sh(t, "ip link add eth1 type veth peer name far netns "+other.pid+"; ip link set eth1 up; ip addr add 172.31.0.1/24 dev eth1")
	sh(t, other.in("ip link set far up")+";"+other.in("ip addr add 172.31.0.2/24 dev far"))
	c := newController(t)
	cfg := testConfig(t)
	metrics := filepath.Join(t.TempDir(), "metrics")
	cfg.MetricsListen = "unix:" + metrics
	cfg.PathMTU = pathmtu.Settings{Interval: time.Hour}
	cfg.Fabric = hostenv.Fabric{Addr: netip.MustParseAddr("172.31.0.1"), Port: 4798}
	startAgent(t, cfg, c)
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		s.Hosts = map[model.HostName]hoststate.Host{"h2": {Addr: netip.MustParseAddr("172.31.0.2"), Port: 4798}}
	})
	untilFabric(t, cfg, "the other host answers", "h2 172.31.0.2 proven 1500")

	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	before := probesSent(t, metrics)
	testutil.Eventually(t, "the path is looked at after an ICMP error", func() bool {
		if err := unix.Sendto(fd, tooSmallTo(cfg.Fabric.Addr, "172.31.0.2", 50000, 4798, 1400), 0, &unix.SockaddrInet4{Addr: cfg.Fabric.Addr.As4()}); err != nil {
			t.Fatal(err)
		}
		return probesSent(t, metrics) > before
	})
	untilFabric(t, cfg, "a forged error proves nothing", "h2 172.31.0.2 proven 1500")

	pair := "src 172.31.0.1/32 dst 172.31.0.2/32 proto udp dport "
	sh(t, "ip xfrm policy add "+pair+"4789 dir out action block")
	sh(t, "ip xfrm policy add "+pair+"4798 dir out action block")
	untilFabric(t, cfg, "a policy of the fabric's port shuts it", "h2 172.31.0.2 unreachable", "IPsec policy", "dport 4798")
	sh(t, "ip xfrm policy delete "+pair+"4798 dir out")
	untilFabric(t, cfg, "one of the tunnels' port does not", "h2 172.31.0.2 proven 1500")
}
