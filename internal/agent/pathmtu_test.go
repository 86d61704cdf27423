package agent

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/pathmtu"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

var peerMAC = model.MustMAC("02:00:00:00:00:02")

// peerOf is addPeering with a remote MAC that a kernel's device can have.
func peerOf(s *hoststate.State) {
	addPeering(s, hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1})
	old := hoststate.FDBKey{Network: 2, MAC: model.MustMAC("6f:e4:5a:fa:8e:09")}
	s.FDB[hoststate.FDBKey{Network: 2, MAC: peerMAC}] = s.FDB[old]
	delete(s.FDB, old)
	s.Neighbors[hoststate.NeighborKey{Network: 2, IP: netip.MustParseAddr("192.168.0.2")}] = peerMAC
}

// silentUnderlay joins eth1 with a peer by a bridge, which drops what is too long for its
// port rb and tells nobody. The peer has the VTEP 200.200.0.2.
func silentUnderlay(t *testing.T) (bridge, peer namespace) {
	t.Helper()
	bridge, peer = newNamespace(t), newNamespace(t)
	sh(t, "ip link add eth1 type veth peer name ra netns "+bridge.pid+"; ip link set eth1 up; ip addr add 172.31.0.1/24 dev eth1; ip route add 200.200.0.2 via 172.31.0.2")
	sh(t, bridge.in("ip link add rb type veth peer name rc netns "+peer.pid)+";"+bridge.in("ip link add br0 type bridge")+
		";"+bridge.in("ip link set ra master br0 up")+";"+bridge.in("ip link set rb master br0 up")+";"+bridge.in("ip link set br0 up"))
	sh(t, peer.in("ip link set lo up")+";"+peer.in("ip addr add 200.200.0.2/32 dev lo")+";"+peer.in("ip addr add 10.0.1.3/32 dev lo")+
		";"+peer.in("ip link set rc up")+";"+peer.in("ip addr add 172.31.0.2/24 dev rc")+";"+peer.in("ip route add 200.200.0.1 via 172.31.0.1"))
	return bridge, peer
}

// kernelRouter makes the peer a plain VXLAN device with an address.
func kernelRouter(t *testing.T, peer namespace) {
	t.Helper()
	sh(t, peer.in("ip link add vx0 address "+peerMAC.String()+" type vxlan id 100 dstport 4789 local 200.200.0.2 nolearning")+
		";"+peer.in("ip link set vx0 mtu 1450 up")+";"+peer.in("ip addr add 192.168.0.2/24 dev vx0")+
		";"+peer.in("bridge fdb add 16:b7:b5:a4:57:75 dev vx0 dst 200.200.0.1")+
		";"+peer.in("ip neigh add 192.168.0.1 lladdr 16:b7:b5:a4:57:75 dev vx0")+";"+peer.in("ip route add 10.0.0.0/24 via 192.168.0.1"))
}

// within runs f with a thread in the namespace; a socket that it opens stays there.
func (n namespace) within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		ns, err := os.Open("/proc/" + n.pid + "/ns/net")
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := testutil.Receive(t, "a thread in the namespace", done); err != nil {
		t.Fatal(err)
	}
}

// tooSmall is an ICMP error from somebody about an outer packet to remote from a source port, on a
// VNI that nobody has.
func tooSmall(remote string, port uint16, mtu int) []byte {
	return tooSmallTo(netip.MustParseAddr("200.200.0.1"), remote, port, packet.VXLANPort, mtu)
}

func tooSmallTo(local netip.Addr, remote string, port, to uint16, mtu int) []byte {
	quote := packet.IPv4{DF: true, TTL: 60, Protocol: packet.ProtoUDP, Src: local, Dst: netip.MustParseAddr(remote), TotalLen: 1500}.Append(nil, 0)
	quote = binary.BigEndian.AppendUint16(quote, port)
	quote = binary.BigEndian.AppendUint16(quote, to)
	quote = append(quote, 5, 200, 0, 0, 8, 0, 0, 0, 0xab, 0xcd, 0xef, 0)
	m := packet.ICMP{Type: packet.ICMPUnreachable, Code: packet.ICMPFragmentationNeeded, Rest: uint32(mtu)}
	h := packet.IPv4{TTL: 64, Protocol: packet.ProtoICMP, Src: netip.MustParseAddr("172.31.0.77"), Dst: local}
	return m.Append(h.Append(nil, packet.ICMPLen+len(quote)), quote)
}

// forge sends n such errors, to any interface of the host that leads to 200.200.0.1.
func forge(t *testing.T, n int, remote string, mtu int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for i := range n {
		if err := unix.Sendto(fd, tooSmall(remote, uint16(49152+i%16384), mtu), 0, &unix.SockaddrInet4{Addr: [4]byte{200, 200, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
}

// pathState is what the metrics say of the path, in one line.
func pathState(t *testing.T, socket string) string {
	t.Helper()
	m := scrape(t, socket)
	mtu := regexp.MustCompile(`causeway_agent_path_mtu_bytes\{tunnel_ip="200.200.0.1",vtep="200.200.0.2"\} (\d+)`).FindStringSubmatch(m)
	state := regexp.MustCompile(`causeway_agent_path_mtu_state\{by="(\w+)",state="(\w+)",tunnel_ip="200.200.0.1",vtep="200.200.0.2"\} 1`).FindStringSubmatch(m)
	if mtu == nil || state == nil {
		return ""
	}
	return state[2] + " " + mtu[1] + " by " + state[1]
}

func probesSent(t *testing.T, socket string) int {
	t.Helper()
	m := regexp.MustCompile(`causeway_agent_path_mtu_probes_total\{kind="sent"\} (\d+)`).FindStringSubmatch(scrape(t, socket))
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

func untilPath(t *testing.T, socket, want string) {
	t.Helper()
	start, last := time.Now(), ""
	testutil.Eventually(t, "the path is "+want, func() bool {
		if now := pathState(t, socket); now != last {
			last = now
			t.Logf("%.1f s: %s", time.Since(start).Seconds(), now)
		}
		return last == want
	})
}

// TestPathMTUByProof: what packets prove holds, and nothing else: forged ICMP errors, a path that
// becomes smaller and larger without a word, an outage, a restart.
func TestPathMTUByProof(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	bridge, peer := silentUnderlay(t)
	kernelRouter(t, peer)
	c := newController(t)
	cfg := testConfig(t)
	cfg.PathMTU = pathmtu.Settings{Interval: time.Second}
	socket := filepath.Join(t.TempDir(), "metrics")
	cfg.MetricsListen = "unix:" + socket
	agent := startAgent(t, cfg, c)
	vm := newNamespace(t)
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	near := newNamespace(t)
	nearPort := hoststate.Port{ID: "port-2", Network: 2, Interface: "tap2", MAC: model.MustMAC("fa:16:3e:00:00:09"), Addrs: []netip.Addr{netip.MustParseAddr("192.168.0.9")}}
	near.plug(t, "tap2", "eth0", nearPort)
	c.set(func(s *hoststate.State) { addNetwork(s); bind(s, 1, vm1); bind(s, 2, nearPort); peerOf(s) })
	untilPath(t, socket, "proven 1500 by tunnel")
	largest := vm.in("ping -n -c 3 -i 0.1 -W 5 -M do -s 1422 10.0.1.3") // 1450 bytes, 1500 outside
	testutil.Succeeds(t, "the largest packets pass", func() error { return try(largest) })

	// Forged errors: the agent looks and sees, and the kernel does not hear them.
	before := probesSent(t, socket)
	forge(t, 100, "200.200.0.2", 552)
	heardNothing(t)
	testutil.Eventually(t, "the path is looked at", func() bool { return probesSent(t, socket) > before })
	if s := pathState(t, socket); s != "proven 1500 by tunnel" {
		t.Errorf("forged errors made it %s", s)
	}
	if err := try(largest); err != nil {
		t.Errorf("after forged errors: %v", err)
	}
	// Nor do they cut what goes by the kernel's vxlan device.
	cut := fragmentsMade(t)
	frames := peer.listen(t)
	testutil.Eventually(t, "a large frame that is not IP, which the vxlan device sends, to arrive", func() bool {
		near.within(t, func() { sendFrame(t, "eth0", nearPort.MAC, peerMAC, 1400) })
		select {
		case n := <-frames:
			return n == 1414
		default:
			return false
		}
	})
	if n := fragmentsMade(t) - cut; n != 0 {
		t.Errorf("the host made %d fragments", n)
	}

	sh(t, bridge.in("ip link set rb mtu 1400"))
	untilPath(t, socket, "proven 1400 by tunnel")
	testutil.Eventually(t, "the workload is told", func() bool {
		err := try(vm.in("ping -n -c 1 -W 1 -M do -s 1422 10.0.1.3"))
		return err != nil && strings.Contains(err.Error(), "mtu = 1350")
	})
	// A restart while the peer is away forgets nothing.
	sh(t, bridge.in("ip link set rb down"))
	agent.stop()
	forge(t, 100, "200.200.0.2", 552) // while no agent runs
	heardNothing(t)
	agent = startAgent(t, cfg, c)
	testutil.Eventually(t, "an agent", func() bool { _, err := os.Stat(socket); return err == nil })
	c.send(hoststate.Delta{Full: true, Set: c.state}, c.state)
	untilPath(t, socket, "proven 1400 by none")
	before = probesSent(t, socket)
	testutil.Eventually(t, "the peer is looked for in vain", func() bool { return probesSent(t, socket) > before+5 })
	if s := pathState(t, socket); s != "proven 1400 by none" {
		t.Errorf("in an outage: %s", s)
	}
	sh(t, bridge.in("ip link set rb up"))
	untilPath(t, socket, "proven 1400 by tunnel")
	sh(t, bridge.in("ip link set rb mtu 1500"))
	untilPath(t, socket, "proven 1500 by tunnel")
	sh(t, vm.in("ip route flush cache"))
	testutil.Succeeds(t, "the largest packets pass again", func() error { return try(largest) })
	agent.stop()
}

// heardNothing tells whether the kernel has taken no forged error about the VTEP.
func heardNothing(t *testing.T) {
	t.Helper()
	if out := sh(t, "ip route get 200.200.0.2 from 200.200.0.1"); strings.Contains(out, "mtu") {
		t.Errorf("the kernel keeps what anybody may say of the path: %s", out)
	}
}

// fragmentsMade is how many fragments this namespace has made of packets.
func fragmentsMade(t *testing.T) int {
	t.Helper()
	f := strings.Fields(sh(t, "grep Ip: /proc/net/snmp"))
	half := len(f) / 2
	n, err := strconv.Atoi(f[half+slices.Index(f[:half], "FragCreates")])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// listen tells the length of the first frame of sendFrame's that comes to the namespace.
func (n namespace) listen(t *testing.T) <-chan int {
	t.Helper()
	var fd int
	n.within(t, func() {
		var err error
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, experimental>>8|experimental&0xff<<8); err != nil {
			t.Error(err)
		}
	})
	f := os.NewFile(uintptr(fd), "frames")
	t.Cleanup(func() { f.Close() })
	got := make(chan int, 1)
	go func() {
		buf := make([]byte, 2000)
		if n, err := f.Read(buf); err == nil {
			got <- n
		}
	}()
	return got
}

// experimental is an EtherType for experiments (IEEE 802, annex).
const experimental = 0x88b5

// sendFrame sends a frame that is not IP.
func sendFrame(t *testing.T, name string, from, to model.MAC, size int) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/dev_mcast", unix.Gettid()))
	if err != nil {
		t.Error(err)
		return
	}
	index := 0
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == name {
			index, _ = strconv.Atoi(f[0])
		}
	}
	frame := packet.Ethernet{Dst: to, Src: from, Type: experimental}.Append(nil)
	frame = append(frame, make([]byte, size)...)
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index, Halen: 6}); err != nil {
		t.Errorf("send by interface %d: %v", index, err)
	}
}

// TestPathMTUByEcho: a VTEP with no router that answers is asked itself.
func TestPathMTUByEcho(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	bridge, _ := silentUnderlay(t)
	c := newController(t)
	cfg := testConfig(t)
	cfg.PathMTU = pathmtu.Settings{Interval: time.Second}
	socket := filepath.Join(t.TempDir(), "metrics")
	cfg.MetricsListen = "unix:" + socket
	startAgent(t, cfg, c)
	c.set(func(s *hoststate.State) { addNetwork(s); peerOf(s) })
	untilPath(t, socket, "proven 1500 by underlay")
	before := probesSent(t, socket)
	forge(t, 100, "200.200.0.2", 552)
	testutil.Eventually(t, "the path is looked at", func() bool { return probesSent(t, socket) > before })
	if s := pathState(t, socket); s != "proven 1500 by underlay" {
		t.Errorf("forged errors made it %s", s)
	}
	sh(t, bridge.in("ip link set rb mtu 1400"))
	untilPath(t, socket, "proven 1400 by underlay")
	sh(t, bridge.in("ip link set rb mtu 1500"))
	untilPath(t, socket, "proven 1500 by underlay")
}

// TestPathsThatHaveGone: a path is forgotten with the last row that sends packets there, also where
// no route led there before.
func TestPathsThatHaveGone(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	underlayRouter(t, "1500")
	sh(t, "ip addr add 172.31.0.1/24 dev eth1")
	c := newController(t)
	startAgent(t, testConfig(t), c)
	vtep := netip.MustParseAddr("200.200.0.2")
	peered := func(s *hoststate.State) {
		addPeering(s, hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1})
	}
	silenced := func(s *hoststate.State) {
		maps.DeleteFunc(s.FDB, func(_ hoststate.FDBKey, e hoststate.FDBEntry) bool { return e.Kind == hoststate.FDBRemote })
		maps.DeleteFunc(s.Neighbors, func(k hoststate.NeighborKey, _ model.MAC) bool { return k.IP == netip.MustParseAddr("192.168.0.2") })
	}
	c.set(addNetwork)
	paths := func() []probe.PathState {
		res, err := c.prober.Probe(t.Context(), probe.Request{Paths: true})
		if err != nil {
			t.Fatal(err)
		}
		return res.Paths
	}
	for name, gone := range map[string]struct {
		routeFirst bool
		change     func(*hoststate.State)
	}{
		"all rows at once":          {false, func(s *hoststate.State) { silenced(s); clear(s.Peers) }},
		"the route before all rows": {true, func(s *hoststate.State) { silenced(s); clear(s.Peers) }},
		"the rows that send, alone": {false, silenced},
		"the route before those":    {true, silenced},
	} {
		sh(t, "ip route replace 200.200.0.2 via 172.31.0.2")
		c.set(peered)
		testutil.Eventually(t, "a path", func() bool { p := paths(); return len(p) == 1 && p[0].Problem == "" && p[0].VTEP == vtep })
		if gone.routeFirst {
			sh(t, "ip route del 200.200.0.2")
			testutil.Eventually(t, "no route", func() bool { p := paths(); return len(p) == 1 && p[0].State == probe.Unreachable })
		}
		c.set(gone.change)
		if p := paths(); len(p) > 0 {
			t.Errorf("%s: the agent still tells of %+v", name, p)
		}
		c.set(func(s *hoststate.State) { clear(s.Peers) })
	}
}

// TestBelievedUntilGone: what was proven before a restart counts once.
func TestBelievedUntilGone(t *testing.T) {
	k := pathmtu.Key{Local: netip.MustParseAddr("200.200.0.1"), Remote: netip.MustParseAddr("200.200.0.2")}
	other := pathmtu.Key{Local: k.Local, Remote: netip.MustParseAddr("200.200.0.3")}
	p := &pathMTU{before: map[pathmtu.Key]int{k: 1400, other: 1300}}
	p.Paths = pathmtu.NewPaths(pathmtu.Settings{}.WithDefaults(), nil, time.Now)
	p.Keep(func(x pathmtu.Key) bool { return x == other })
	if a, b := p.believed(k), p.believed(other); a != 0 || b != 1300 {
		t.Errorf("of the path that has gone %d is believed, of the other %d", a, b)
	}
}

// TestGoneForTheNextStartToo: an agent that has heard of no path yet leaves the file as it is; one
// whose paths have all gone leaves nothing to believe.
func TestGoneForTheNextStartToo(t *testing.T) {
	file := filepath.Join(t.TempDir(), pathMTUFile)
	start := func() *pathMTU {
		p := &pathMTU{file: file, life: "one", before: map[pathmtu.Key]int{}}
		p.Paths = pathmtu.NewPaths(pathmtu.Settings{}.WithDefaults(), nil, time.Now)
		if err := p.load(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	save := func(p *pathMTU) {
		if err := p.save(); err != nil {
			t.Fatal(err)
		}
	}
	k := pathmtu.Key{Local: netip.MustParseAddr("200.200.0.1"), Remote: netip.MustParseAddr("200.200.0.2")}
	b, err := json.Marshal(provenPaths{Life: "one", Paths: []provenPath{{k, 1400}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start()
	save(p)
	if mtu := start().believed(k); mtu != 1400 {
		t.Errorf("%d is believed before anything was heard, want 1400", mtu)
	}
	p.Keep(func(pathmtu.Key) bool { return false })
	save(p)
	if mtu := start().believed(k); mtu != 0 {
		t.Errorf("%d is believed of a path that has gone", mtu)
	}
}
