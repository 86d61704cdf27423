package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/journal"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

func requireMachine(t *testing.T) bool {
	t.Helper()
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "ping", "nsenter", "unshare")
	return testutil.InNetNS(t)
}

const pingRouter = "ping -n -c 1 -W 20 10.0.0.1"

// cannotPing makes sure that packets do not pass, without waiting long for what must
// not come.
func (n namespace) cannotPing(t *testing.T, what string) {
	t.Helper()
	if try(n.in("ping -n -c 2 -i 0.05 -W 0.3 10.0.0.1")) == nil {
		t.Errorf("%s: the router answers", what)
	}
	// Else the next ping fails with the ARP requests of this one, which the kernel gives up after 3 s.
	sh(t, n.in("ip neigh flush all"))
}

func scrape(t *testing.T, socket string) string {
	t.Helper()
	c := http.Client{Timeout: wait, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	defer c.CloseIdleConnections()
	r, err := c.Get("http://agent/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 {
		t.Fatalf("metrics: %s %v %s", r.Status, err, b)
	}
	return string(b)
}

func TestWorkloadReachesItsRouter(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	c := newController(t)
	startAgent(t, cfg, c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	vm.cannotPing(t, "before a state")
	c.set(addNetwork)
	c.set(func(s *hoststate.State) { bind(s, 1, vm1) })
	c.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))

	// An ICMP error goes by way of the slow path.
	if err := try(vm.in("ping -n -c 1 -W 20 10.9.9.9")); err == nil || !strings.Contains(err.Error(), "Net Unreachable") {
		t.Errorf("no net unreachable: %v", err)
	}
	m := scrape(t, strings.TrimPrefix(cfg.MetricsListen, "unix:"))
	for _, want := range []string{
		`causeway_agent_applied_revision 2`, `causeway_agent_ports{status="ACTIVE"} 1`, `causeway_agent_drops_total{reason="no_route"} 1`,
		`causeway_agent_slow_path_frames_total{kind="sent"} 1`, `causeway_agent_port_receive_packets_total{interface="tap1",port="port-1"}`,
	} {
		if !strings.Contains(m, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(m)
	}

	// Unbound: counted drops, and nothing for the host's own stack, though it
	// has the address that is asked for.
	sh(t, "ip addr add 10.0.0.1/24 dev tap1")
	c.set(func(s *hoststate.State) {
		delete(s.Ports, 1)
		delete(s.FDB, hoststate.FDBKey{Network: 1, MAC: vm1.MAC})
	})
	sh(t, vm.in("ip neigh flush dev eth0"))
	vm.cannotPing(t, "after it is unbound")
	if m := scrape(t, strings.TrimPrefix(cfg.MetricsListen, "unix:")); strings.Contains(m, `drops_total{reason="port_unbound"} 0`) {
		t.Error("drops of an unbound port are not counted")
	}
	sh(t, "ip addr del 10.0.0.1/24 dev tap1")
	// And bound again.
	c.set(func(s *hoststate.State) { bind(s, 1, vm1) })
	sh(t, vm.in(pingRouter))
	// A row that comes though it is as it was is a question: how is the port?
	c.mu.Lock()
	delete(c.ports, "port-1")
	c.mu.Unlock()
	c.send(hoststate.Delta{Set: hoststate.State{Ports: map[model.PortKey]hoststate.Port{1: c.state.Ports[1]}}}, c.state)
	c.untilPort("port-1", model.PortActive, "")
}

func TestInterfaceVanishesAndComesBack(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	c := newController(t)
	startAgent(t, testConfig(t), c)
	c.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1) })
	c.untilPort("port-1", model.PortDown, "interface tap1 does not exist on host")
	vm := newNamespace(t)
	for range 2 {
		vm.vm(t, "tap1", vm1, "10.0.0.1")
		c.untilPort("port-1", model.PortActive, "")
		sh(t, vm.in(pingRouter))
		sh(t, "ip link del tap1")
		c.untilPort("port-1", model.PortDown, "does not exist")
	}
	// A change of namespace, and of name.
	other := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	c.untilPort("port-1", model.PortActive, "")
	sh(t, "ip link set tap1 netns "+other.pid)
	c.untilPort("port-1", model.PortDown, "does not exist")
	sh(t, other.in("ip link set tap1 netns "+namespaceOfTest()))
	sh(t, "ip link set tap1 up")
	c.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))
	sh(t, "ip link set tap1 name tap9")
	c.untilPort("port-1", model.PortDown, "does not exist")
	vm.cannotPing(t, "with the interface called otherwise")
	sh(t, "ip link set tap9 name tap1")
	c.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))
}

func TestRefusedInterfaces(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	sh(t, "ip link add eth9 type veth peer name eth9p; ip link set eth9 up; ip link set eth9p up; ip addr add 192.0.2.1/24 dev eth9; ip route add default via 192.0.2.9")
	c := newController(t)
	startAgent(t, testConfig(t), c)
	c.set(addNetwork)
	for i, x := range []struct{ name, words string }{
		{"lo", "loopback"}, {"cw-vxlan", "agent's own"}, {"eth9", "default route"},
	} {
		c.set(func(s *hoststate.State) {
			p := vm1
			p.Interface, p.ID = x.name, model.PortID(x.name)
			p.MAC[5] = byte(10 + i)
			bind(s, model.PortKey(10+i), p)
		})
		c.untilPort(model.PortID(x.name), model.PortError, x.words)
	}
	// What refused one is looked at again when it changes.
	sh(t, "ip route del default")
	c.untilPort("eth9", model.PortActive, "")
}

func TestTwoPortsOnOneInterface(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	c := newController(t)
	startAgent(t, testConfig(t), c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	other := vm1
	other.ID, other.MAC, other.Addrs = "port-2", model.MustMAC("fa:16:3e:00:00:09"), []netip.Addr{netip.MustParseAddr("10.0.0.9")}
	c.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1) })
	c.set(func(s *hoststate.State) { bind(s, 2, other) })
	c.untilPort("port-1", model.PortActive, "")
	c.untilPort("port-2", model.PortError, "interface tap1 carries port port-1 already")
	sh(t, vm.in(pingRouter))
	c.set(func(s *hoststate.State) { delete(s.Ports, 1) })
	c.untilPort("port-2", model.PortActive, "")
	vm.cannotPing(t, "with another port's MAC")
	sh(t, vm.in("ip link set eth0 address "+other.MAC.String())+";"+vm.in("ip addr flush dev eth0")+";"+vm.in("ip addr add 10.0.0.9/24 dev eth0"))
	sh(t, vm.in(pingRouter))
}

func TestAttachFails(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	c := newController(t)
	startAgent(t, cfg, c)
	c.set(addNetwork)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	l, err := net.InterfaceByName("tap1")
	if err != nil {
		t.Fatal(err)
	}
	// Something is in the way of the link's pin.
	pin := filepath.Join(cfg.PinDir, "links", "workload-"+itoa(l.Index))
	if err := os.Mkdir(pin, 0o700); err != nil {
		t.Fatal(err)
	}
	c.set(func(s *hoststate.State) { bind(s, 1, vm1) })
	c.untilPort("port-1", model.PortError, "attach to tap1")
	if err := os.Remove(pin); err != nil {
		t.Fatal(err)
	}
	c.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))
}

// TestFullMap: what does not fit is an error of its port alone; the others come and go as
// ever, and so do revisions.
func TestFullMap(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	cfg.Limits.Ports, cfg.Limits.VNIs = 1, 1
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	c := newController(t)
	startAgent(t, cfg, c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	second := vm1
	second.ID, second.Interface = "port-2", "tap2"
	second.MAC, second.Addrs = model.MustMAC("fa:16:3e:00:00:04"), []netip.Addr{netip.MustParseAddr("10.0.0.4")}
	vm.plug(t, "tap2", "eth1", second)
	// A table that has nothing to do with ports is full before the first one comes.
	vni := func(n int) hoststate.VNIKey {
		return hoststate.VNIKey{TunnelIP: netip.MustParseAddr("200.200.0.1"), VNI: model.VNI(n)}
	}
	c.set(func(s *hoststate.State) { addNetwork(s); s.VNIs[vni(1)], s.VNIs[vni(2)], s.VNIs[vni(3)] = 1, 1, 1 })
	c.set(func(s *hoststate.State) { bind(s, 1, vm1) })
	c.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))
	c.set(func(s *hoststate.State) { bind(s, 2, second) })
	c.untilPort("port-2", model.PortError, "map ports is full: it takes 1 rows, and none was free for rows of this port")
	c.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))
	m := scrape(t, strings.TrimPrefix(cfg.MetricsListen, "unix:"))
	for _, want := range []string{`causeway_agent_step_failing{step="rows"} 1`, `causeway_agent_ports{status="ERROR"} 1`, `causeway_agent_map_rows_limit{map="vnis"} 1`, `causeway_agent_map_rows_left_out{map="vnis"} 2`} {
		if !strings.Contains(m, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	c.set(func(s *hoststate.State) { delete(s.Ports, 1); delete(s.VNIs, vni(1)); delete(s.VNIs, vni(2)) })
	c.untilPort("port-2", model.PortActive, "")
	sh(t, vm.in("ping -n -c 1 -W 20 -I eth1 10.0.0.1"))
	if m := scrape(t, strings.TrimPrefix(cfg.MetricsListen, "unix:")); !strings.Contains(m, `causeway_agent_step_failing{step="rows"} 0`) {
		t.Error("the rows still fail")
	}
}

// TestRoutesOfOthers: three routers want more routes than the map takes. Another's rows
// are there all the same, its static route too, also after a restart with empty maps; the
// others' ports are told, and their routes come as soon as there is room.
func TestRoutesOfOthers(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	cfg.Limits.Routes = 32
	c := newController(t)
	agent := startAgent(t, cfg, c)
	via := func(s *hoststate.State, router model.RouterKey, n int) {
		s.Networks[9] = hoststate.Network{ID: "net-9", MTU: 1450}
		for i := range n {
			s.Routes[hoststate.RouteKey{Router: router, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(router), byte(i), 0}), 24)}] = hoststate.Route{
				Kind: hoststate.RouteVia, Network: 9, MAC: model.MAC{2, 0, 0, 0, 0, byte(router)}, NextHop: netip.MustParseAddr("10.9.0.9")}
		}
	}
	port := func(router byte) model.PortID { return hostsync.PortAt("net-9", model.MAC{2, 0, 0, 0, 0, router}) }
	c.set(func(s *hoststate.State) { via(s, 11, 100); via(s, 12, 100); via(s, 13, 100) })
	for router := byte(11); router <= 13; router++ {
		c.untilPort(port(router), model.PortError, "map routes is full: it takes 32 rows (8 of them only for routers' own addresses and subnets), and none was free for rows of this port")
	}
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	c.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1); via(s, 1, 1) })
	c.untilPort("port-1", model.PortActive, "")
	c.until("the route of router 1 has its place", func() bool { return c.ports[port(1)].Status != model.PortError })
	sh(t, vm.in(pingRouter))
	agent.stop()
	if err := os.RemoveAll(cfg.PinDir); err != nil {
		t.Fatal(err)
	}
	state := c.state
	c = newController(t)
	c.state = state
	startAgent(t, cfg, c)
	c.untilPort("port-1", model.PortActive, "")
	c.untilPort(port(11), model.PortError, "map routes is full")
	sh(t, vm.in(pingRouter))
	c.set(func(s *hoststate.State) {
		for k := range s.Routes {
			if k.Router > 10 {
				delete(s.Routes, k)
			}
		}
	})
	c.untilPort(port(11), model.PortActive, "")
	c.untilPort(port(13), model.PortActive, "")
}

func TestWorkloadPatterns(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	cfg.WorkloadInterfaces = []string{"tap*"}
	c := newController(t)
	startAgent(t, cfg, c)
	c.set(addNetwork)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	vm.plug(t, "oth1", "eth1", hoststate.Port{MAC: model.MustMAC("fa:16:3e:00:00:05"), Addrs: []netip.Addr{netip.MustParseAddr("10.0.5.3")}})
	sh(t, "ip addr add 10.0.0.1/24 dev tap1; ip addr add 10.0.5.1/24 dev oth1")
	// An interface that is nobody's workload is none of the agent's business.
	sh(t, vm.in("ping -n -c 1 -W 20 10.0.5.1"))
	l, err := net.InterfaceByName("tap1")
	if err != nil {
		t.Fatal(err)
	}
	pin := filepath.Join(cfg.PinDir, "links", "workload-"+itoa(l.Index))
	testutil.Eventually(t, "the program is on tap1", func() bool { _, err := os.Stat(pin); return err == nil })
	vm.cannotPing(t, "before a port is bound")
}

func TestPortTaken(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	sh(t, "ip link add other type vxlan external dstport 4789; ip link set other up")
	cfg := testConfig(t)
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	err := Run(ctx, cfg, newController(t))
	if err == nil || !strings.Contains(err.Error(), "vxlan device other") {
		t.Errorf("got %v", err)
	}
	if err := Cleanup(cfg); err != nil {
		t.Error(err)
	}
}

func TestOneAgent(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	c := newController(t)
	cfg := testConfig(t)
	startAgent(t, cfg, c)
	c.set(addNetwork)
	err := Run(context.Background(), cfg, newController(t))
	if err == nil || !strings.Contains(err.Error(), "process "+itoa(os.Getpid())) {
		t.Errorf("a second one in the same directory: %v", err)
	}
	other := cfg
	other.StateDir = t.TempDir()
	if err := Run(context.Background(), other, newController(t)); err == nil || !strings.Contains(err.Error(), "network namespace") {
		t.Errorf("a second one in the same namespace: %v", err)
	}
}

// Whoever has an account on the host can take the name by which agents see each other.
func TestNameTakenByAStranger(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	takers := []func(sock int) error{
		func(sock int) error { // an ordinary user

			done := make(chan error, 1)
			go func() {
				runtime.LockOSThread() // for good: the thread ends with its user
				const nobody = 65534
				_, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody)
				if e != 0 {
					done <- e
					return
				}
				done <- unix.Listen(sock, 0)
			}()
			return testutil.Receive(t, "the stranger's thread", done)
		},
		func(int) error { return nil }, // somebody who does not listen
	}
	for i, take := range takers {
		sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Bind(sock, &unix.SockaddrUnix{Name: "@causeway-agent"}), take(sock)); err != nil {
			t.Fatal(err)
		}
		unlock, err := lock(t.TempDir())
		if err != nil {
			t.Fatalf("taker %d: %v", i, err)
		}
		unlock()
		if i < len(takers)-1 {
			unix.Close(sock)
		} else {
			defer unix.Close(sock)
		}
	}
	// The name is still taken: two agents meet at the tap, before anything is attached.
	c := newController(t)
	cfg := testConfig(t)
	startAgent(t, cfg, c)
	c.set(addNetwork)
	other := cfg
	other.StateDir, other.PinDir = t.TempDir(), cfg.PinDir+"-other"
	if err := Run(context.Background(), other, newController(t)); err == nil || !strings.Contains(err.Error(), "another process has it") {
		t.Errorf("a second agent: %v", err)
	}
	if _, err := os.Stat(other.PinDir); err == nil {
		t.Error("the second agent has left pins")
	}
}

func TestCleanupLeavesWhatWasThere(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	sh(t, "ip link add eth1 type veth peer name gw1; ip link set eth1 up; ip link set gw1 up; ip addr add 172.31.0.1/24 dev eth1; ip link add up1 type veth peer name up1p; ip link set up1 up; ip link set up1p up")
	world := func() string {
		return sh(t, `ip -o link | awk '{print $2,$4,$5}'; ip -o -4 addr; ip rule; ip -4 route show table all | sed 's/ linkdown//'`)
	}
	before := world()
	cfg := testConfig(t)
	c := newController(t)
	a := startAgent(t, cfg, c)
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		s.Gateways["gw-1"] = hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1}
		s.Gateways["gw-2"] = hoststate.Gateway{
			TunnelIP: netip.MustParseAddr("200.200.1.1"), Epoch: 1, Router: 1,
			Uplinks: []hoststate.Uplink{{Port: "up", Interface: "up1", Addr: netip.MustParsePrefix("172.30.0.1/24")}},
			Routes:  []hoststate.UnderlayRoute{{Prefix: netip.MustParsePrefix("200.200.1.2/32"), NextHop: netip.MustParseAddr("172.30.0.9")}},
		}
	})
	c.untilPort("up", model.PortActive, "")
	if out := sh(t, "ip rule; ip addr; ip route show table 10000"); !strings.Contains(out, "from 200.200.1.1 lookup 10000") ||
		!strings.Contains(out, "200.200.0.1/32 scope global") || !strings.Contains(out, "200.200.1.2 via 172.30.0.9 dev up1") {
		t.Errorf("the underlay is not set up:\n%s", out)
	}
	a.stop()
	if out := sh(t, "ip addr"); !strings.Contains(out, "200.200.0.1/32") {
		t.Error("an agent that ends takes the forwarding with it")
	}
	if err := Cleanup(cfg); err != nil {
		t.Fatal(err)
	}
	if after := world(); after != before {
		t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
	}
	for _, dir := range []string{cfg.PinDir, cfg.StateDir} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
	if err := Cleanup(cfg); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestTunnelIPMoves(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	c := newController(t)
	cfg := testConfig(t)
	startAgent(t, cfg, c)
	gw := func(ip string) func(*hoststate.State) {
		return func(s *hoststate.State) {
			s.Gateways["gw-1"] = hoststate.Gateway{TunnelIP: netip.MustParseAddr(ip), Epoch: 1, Router: 1}
		}
	}
	c.set(func(s *hoststate.State) { addNetwork(s); gw("200.200.0.1")(s) })
	c.set(gw("200.200.0.5"))
	if out := sh(t, "ip addr show dev cw-vxlan"); strings.Contains(out, "200.200.0.1/") || !strings.Contains(out, "200.200.0.5/32") {
		t.Errorf("addresses: %s", out)
	}
	// Somebody takes it away: it comes back by itself.
	sh(t, "ip addr del 200.200.0.5/32 dev cw-vxlan")
	testutil.Eventually(t, "the tunnel IP is back", func() bool { return strings.Contains(sh(t, "ip addr show dev cw-vxlan"), "200.200.0.5/32") })
	sh(t, "echo 0 > /proc/sys/net/ipv4/conf/cw-vxlan/forwarding")
	testutil.Eventually(t, "the forwarding switch is back", func() bool { return sh(t, "cat /proc/sys/net/ipv4/conf/cw-vxlan/forwarding") == "1\n" })
	c.set(func(s *hoststate.State) { delete(s.Gateways, "gw-1") })
	if out := sh(t, "ip addr show dev cw-vxlan"); strings.Contains(out, "inet ") {
		t.Errorf("addresses without a gateway device: %s", out)
	}
}

func TestDevicesAreMadeAnew(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	c := newController(t)
	startAgent(t, testConfig(t), c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		bind(s, 1, vm1)
		s.Gateways["gw-1"] = hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1}
	})
	unreachable := func() bool {
		err := try(vm.in("ping -n -c 1 -W 0.3 10.9.9.9"))
		return err != nil && strings.Contains(err.Error(), "Net Unreachable")
	}
	for _, dev := range []string{"cw-slow", "cw-vxlan"} {
		sh(t, "ip link del "+dev)
		testutil.Eventually(t, dev+" is back", func() bool { return strings.Contains(sh(t, "ip -o link"), dev) })
		testutil.Eventually(t, "the tunnel IP is there", func() bool { return strings.Contains(sh(t, "ip addr"), "200.200.0.1/32") })
		testutil.Eventually(t, "ICMP errors come after "+dev+" was deleted", unreachable)
	}
}

func TestRestartWithoutAController(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	c := newController(t)
	a := startAgent(t, cfg, c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	c.set(func(s *hoststate.State) { addNetwork(s) })
	c.set(func(s *hoststate.State) { bind(s, 1, vm1) })
	sh(t, vm.in(pingRouter))
	a.stop()
	sh(t, vm.in(pingRouter)) // nobody is there

	silent := newController(t)
	a = startAgent(t, cfg, silent)
	silent.untilPort("port-1", model.PortActive, "")
	silent.until("the revision from before", func() bool { return silent.acked == 2 })
	sh(t, vm.in(pingRouter))
	// The interface is made anew while no controller is there.
	sh(t, "ip link del tap1")
	silent.untilPort("port-1", model.PortDown, "does not exist")
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	silent.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))
	a.stop()

	// A reboot takes the pins.
	if err := os.RemoveAll(cfg.PinDir); err != nil {
		t.Fatal(err)
	}
	silent = newController(t)
	a = startAgent(t, cfg, silent)
	silent.untilPort("port-1", model.PortActive, "")
	sh(t, vm.in(pingRouter))
	a.stop()

	// Without its memory the agent leaves the maps alone until it hears more.
	if err := os.Remove(filepath.Join(cfg.StateDir, journal.File)); err != nil {
		t.Fatal(err)
	}
	c2 := newController(t)
	startAgent(t, cfg, c2)
	sh(t, vm.in(pingRouter))
	c2.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1) })
	sh(t, vm.in(pingRouter))
	c2.set(func(s *hoststate.State) {
		p := vm1
		p.Drop = reason.PortAdminDown
		s.Ports[1] = p
	})
	c2.untilPort("port-1", model.PortDown, "admin_state_up")
	vm.cannotPing(t, "with the port's admin state down")
}
