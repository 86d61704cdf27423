package agent

import (
	"bufio"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// addPeering has router 1 reach 10.0.1.0/24 over VNI 100 at 200.200.0.2.
func addPeering(s *hoststate.State, gw hoststate.Gateway) {
	mac, remote := model.MustMAC("16:b7:b5:a4:57:75"), model.MustMAC("6f:e4:5a:fa:8e:09")
	vtep := netip.MustParseAddr("200.200.0.2")
	ip := netip.MustParseAddr
	s.Gateways["gw-1"] = gw
	s.Networks[2] = hoststate.Network{ID: "net-2", Name: "multi-site", MTU: 1450}
	s.FDB[hoststate.FDBKey{Network: 2, MAC: mac}] = hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: 1, Addr: ip("192.168.0.1")}
	s.FDB[hoststate.FDBKey{Network: 2, MAC: remote}] = hoststate.FDBEntry{
		Kind: hoststate.FDBRemote, Addr: vtep, TunnelIP: gw.TunnelIP, VNI: 100, Gateway: "gw-1",
	}
	s.Neighbors[hoststate.NeighborKey{Network: 2, IP: ip("192.168.0.1")}] = mac
	s.Neighbors[hoststate.NeighborKey{Network: 2, IP: ip("192.168.0.2")}] = remote
	s.Routes[hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("192.168.0.0/24")}] = hoststate.Route{Kind: hoststate.RouteConnected, Network: 2, MAC: mac}
	s.Routes[hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("192.168.0.1/32")}] = hoststate.Route{Kind: hoststate.RouteLocal}
	s.Routes[hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("10.0.1.0/24")}] = hoststate.Route{Kind: hoststate.RouteVia, Network: 2, NextHop: ip("192.168.0.2"), MAC: mac}
	s.VNIs[hoststate.VNIKey{TunnelIP: gw.TunnelIP, VNI: 100}] = 2
	s.Peers[hoststate.PeerKey{TunnelIP: gw.TunnelIP, Remote: vtep, VNI: 100}] = hoststate.Peer{Network: 2, Gateway: "gw-1"}
}

// underlayRouter joins eth1 of the host with a router whose way on to 200.200.0.2
// takes packets of mtu bytes.
func underlayRouter(t *testing.T, mtu string) namespace {
	t.Helper()
	r := newNamespace(t)
	sh(t, "ip link add eth1 type veth peer name ra netns "+r.pid+"; ip link set eth1 up")
	sh(t, r.in("ip link set ra up")+";"+r.in("ip addr add 172.31.0.2/24 dev ra")+
		";"+r.in("ip link add rb mtu "+mtu+" type veth peer name rc")+";"+r.in("ip link set rb up")+";"+r.in("ip link set rc up")+
		";"+r.in("ip addr add 172.31.1.2/24 dev rb")+";"+r.in("ip route add 200.200.0.2 dev rb")+
		";"+r.in("ip route add 200.200.0.1 via 172.31.0.1")+
		";"+r.in("ip neigh add 200.200.0.2 lladdr 02:00:00:00:00:09 dev rb")+
		";"+r.in("sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"))
	return r
}

const pingTooBig = "ping -n -c 1 -W 1 -M do -s 1372 10.0.1.3" // 1400 bytes, 1450 outside

func TestPathMTU(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	underlayRouter(t, "1300")
	sh(t, "ip addr add 172.31.0.1/24 dev eth1; ip route add 200.200.0.2 via 172.31.0.2")
	c := newController(t)
	cfg := testConfig(t)
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	startAgent(t, cfg, c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		bind(s, 1, vm1)
		addPeering(s, hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1})
	})
	c.until("the underlay's MTU is reported", func() bool { return c.mtu == 1500 })
	// Nothing answers at the VTEP. An ICMP error counts there, but not one whose port is guessed.
	socket := strings.TrimPrefix(cfg.MetricsListen, "unix:")
	untilPath(t, socket, "unproven 1500 by none")
	sent := probesSent(t, socket)
	forge(t, 1, "200.200.0.2", 1400)
	testutil.Eventually(t, "the path is looked at", func() bool { return probesSent(t, socket) > sent })
	if s := pathState(t, socket); s != "unproven 1500 by none" {
		t.Errorf("an error with a guessed port made it %s", s)
	}
	// The router's ICMP about the outer packet lowers the path's MTU, and the
	// workload learns of it from its own router.
	testutil.Eventually(t, "the workload is told the path's MTU", func() bool {
		err := try(vm.in(pingTooBig))
		return err != nil && strings.Contains(err.Error(), "mtu = 1250")
	})
	// What may be cut is, at the router.
	sh(t, vm.in("ip route flush cache")) // else the workload cuts it itself
	_ = try(vm.in("ping -n -c 1 -W 0.1 -M dont -s 1372 10.0.1.3"))
	testutil.Eventually(t, "fragments are made", func() bool {
		m := scrape(t, socket)
		return strings.Contains(m, `slow_path_frames_total{kind="fragment"} 1`) && !strings.Contains(m, `slow_path_frames_total{kind="sent"} 0`)
	})
	if m := scrape(t, socket); !strings.Contains(m, `tunnel_transmit_packets_total{tunnel_ip="200.200.0.1",vni="100",vtep="200.200.0.2"}`) {
		t.Errorf("no counter of the tunnel:\n%s", m)
	}
	// The interface's own MTU falls below that.
	sh(t, "ip link set eth1 mtu 1200")
	c.until("the smaller MTU is reported", func() bool { return c.mtu == 1200 })
	sh(t, vm.in("ip route flush cache"))
	testutil.Eventually(t, "the workload is told the smaller MTU", func() bool {
		err := try(vm.in(pingTooBig))
		return err != nil && strings.Contains(err.Error(), "mtu = 1150")
	})
}

func TestUplink(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	r := underlayRouter(t, "1500")
	c := newController(t)
	startAgent(t, testConfig(t), c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	gw := hoststate.Gateway{
		TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1,
		Uplinks: []hoststate.Uplink{{Port: "up", Interface: "eth1", Addr: netip.MustParsePrefix("172.31.0.1/24")}},
		Routes:  []hoststate.UnderlayRoute{{Prefix: netip.MustParsePrefix("200.200.0.2/32"), NextHop: netip.MustParseAddr("172.31.0.2")}},
	}
	// The host is strict, and forwards nothing itself.
	sh(t, "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter; echo 1 > /proc/sys/net/ipv4/conf/eth1/rp_filter")
	c.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1); addPeering(s, gw) })
	c.untilPort("up", model.PortActive, "")
	// The underlay's router asks for the uplink's address by ARP and is answered,
	// and our packets pass it.
	sh(t, r.in("ping -n -c 1 -W 20 172.31.0.1"))
	received := func() string {
		return sh(t, r.in("sh -c \"ip -s -j link show dev rc | tr -d ' \\n' | sed 's/.*\\(\\\"rx\\\":{[^}]*}\\).*/\\1/'\""))
	}
	before := received()
	testutil.Eventually(t, "packets leave by the uplink", func() bool {
		_ = try(vm.in("ping -n -c 1 -W 0.1 10.0.1.3"))
		return received() != before
	})
	// The interface goes and comes back, and all that was on it.
	sh(t, "ip link set eth1 down")
	c.untilPort("up", model.PortDown, "is down")
	sh(t, "ip link set eth1 up")
	c.untilPort("up", model.PortActive, "")
	testutil.Eventually(t, "the routes are back", func() bool { return strings.Contains(sh(t, "ip route show table 10000"), "200.200.0.2") })
	sh(t, r.in("ping -n -c 1 -W 20 172.31.0.1"))
	// Another way: admin state down takes the routes away.
	c.set(func(s *hoststate.State) {
		g := gw
		g.Uplinks = []hoststate.Uplink{gw.Uplinks[0]}
		g.Uplinks[0].Down = true
		s.Gateways["gw-1"] = g
	})
	c.untilPort("up", model.PortDown, "admin_state_up")
	if out := try("ip route show table 10000 | grep ."); out == nil {
		t.Error("the table of a router without a way out has routes")
	}
}

// TestAbsentUnderlayInterface: a misspelt --underlay-interface does not go unnoticed,
// and one that comes later is taken.
func TestAbsentUnderlayInterface(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	r, w := io.Pipe()
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(r); s.Scan(); {
			select {
			case lines <- s.Text():
			default:
			}
		}
	}()
	t.Cleanup(func() { w.Close(); testutil.Receive(t, "the end of the log", done) })
	cfg := testConfig(t)
	cfg.UnderlayInterfaces = []string{"eth9"}
	cfg.Log = slog.New(slog.NewTextHandler(w, nil))
	startAgent(t, cfg, newController(t))
	until := func(words string) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			select {
			case l := <-lines:
				if strings.Contains(l, words) && strings.Contains(l, "interface=eth9") {
					return
				}
			case <-deadline:
				t.Fatalf("never logged: %s", words)
			}
		}
	}
	until("the underlay interface is not there")
	sh(t, "ip link add eth9 type veth peer name eth9p; ip link set eth9 up")
	until("interface carries tunnels")
	sh(t, "ip link del eth9")
	until("the underlay interface is not there")
}

// TestInterfaceOfTunnelsIsRefused: what leads to a VTEP is known before an interface gets a
// workload's program, also where the agent hears of both at once, as at its start. When
// nothing leads there any more, the port gets its interface.
func TestInterfaceOfTunnelsIsRefused(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	underlayRouter(t, "1500")
	sh(t, "ip addr add 172.31.0.1/24 dev eth1; ip route add 200.200.0.2 via 172.31.0.2")
	c := newController(t)
	cfg := testConfig(t)
	cfg.grace = 300 * time.Millisecond
	startAgent(t, cfg, c)
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		addPeering(s, hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1})
		p := vm1
		p.Interface, p.ID = "eth1", "eth1"
		bind(s, 1, p)
	})
	c.untilPort("eth1", model.PortError, "leads to a remote VTEP")
	sh(t, "ip route del 200.200.0.2")
	c.untilPort("eth1", model.PortActive, "")
}

// TestUplinkThatAPortNames: what happens to an uplink is noticed also where a port names it, which is
// refused; and the uplink's own port tells of it.
func TestUplinkThatAPortNames(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	underlayRouter(t, "1500")
	c := newController(t)
	startAgent(t, testConfig(t), c)
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		addPeering(s, hoststate.Gateway{
			TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1,
			Uplinks: []hoststate.Uplink{{Port: "up", Interface: "eth1", Addr: netip.MustParsePrefix("172.31.0.1/24")}},
			Routes:  []hoststate.UnderlayRoute{{Prefix: netip.MustParsePrefix("200.200.0.2/32"), NextHop: netip.MustParseAddr("172.31.0.2")}},
		})
	})
	c.until("the uplink's MTU is reported", func() bool { return c.mtu == 1500 })
	c.untilPort("up", model.PortActive, "")
	c.set(func(s *hoststate.State) {
		p := vm1
		p.Interface = "eth1"
		bind(s, 1, p)
	})
	c.untilPort("port-1", model.PortError, "interface eth1 leads to a remote VTEP")
	c.untilPort("up", model.PortError, "interface eth1 belongs to a workload")
	sh(t, "ip link set eth1 mtu 1200")
	c.until("the smaller MTU is reported", func() bool { return c.mtu == 1200 })
}
