package agent

import (
	"encoding/binary"
	"fmt"
	"net"
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

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testutil"
)

// inside runs f on a thread in the namespace, whose sockets stay there.
func (n namespace) inside(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		file, err := os.Open("/proc/" + n.pid + "/ns/net")
		if err == nil {
			defer file.Close()
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := testutil.Receive(t, "what runs in a namespace", done); err != nil {
		t.Fatal(err)
	}
}

// nic is an interface of a neighbour of the host, and what sends frames there.
type nic struct {
	t     *testing.T
	name  string // of the host's end
	fd    int
	index int
	mac   model.MAC // of the host's end
	tun   bool      // it has no Ethernet headers
}

// newNIC joins the host's interface name, with addr, to a namespace of its own.
func newNIC(t *testing.T, name, addr string) *nic {
	t.Helper()
	ns := newNamespace(t)
	sh(t, fmt.Sprintf("ip link add %[1]s type veth peer name far netns %[2]s; ip link set %[1]s up; ip addr add %[3]s dev %[1]s", name, ns.pid, addr))
	sh(t, ns.in("ip link set far up")+"; echo 0 > /proc/sys/net/ipv4/conf/"+name+"/rp_filter")
	l, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	n := &nic{t: t, name: name, mac: model.MAC(l.HardwareAddr)}
	ns.inside(t, func() (err error) {
		far, err := net.InterfaceByName("far")
		if err != nil {
			return err
		}
		n.index = far.Index
		n.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	t.Cleanup(func() { unix.Close(n.fd) })
	return n
}

// The kinds of tunnel packets that come in by different ways through the host.
var tunnelKinds = []string{"whole", "fragments", "options"}

// send sends a tunnel packet from VTEP 200.200.0.2 with words for UDP port 9999 of the
// workload 10.0.0.3.
func (n *nic) send(kind, words string) {
	n.t.Helper()
	ip := netip.MustParseAddr
	src, dst := ip("10.0.1.3"), ip("10.0.0.3")
	body := packet.UDP{Src: 7, Dst: 9999}.Append(nil, src, dst, []byte(words+strings.Repeat(".", 64)))
	inner := packet.Ethernet{Dst: model.MustMAC("16:b7:b5:a4:57:75"), Src: model.MustMAC("6f:e4:5a:fa:8e:09"), Type: packet.TypeIPv4}.Append(nil)
	inner = packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: src, Dst: dst}.Append(inner, len(body))
	outer := packet.Encapsulate(nil, packet.Outer{
		Dst: n.mac, Src: model.MustMAC("02:00:00:00:00:09"), Local: ip("200.200.0.2"), Remote: ip("200.200.0.1"), VNI: 100, SrcPort: 50000,
	}, append(inner, body...))
	udp := outer[packet.EthernetLen+packet.IPv4Len:]
	h := packet.IPv4{ID: uint16(binary.BigEndian.Uint16([]byte(words[len(words)-2:]))), TTL: 64, Protocol: packet.ProtoUDP, Src: ip("200.200.0.2"), Dst: ip("200.200.0.1")}
	packets := [][]byte{outer[packet.EthernetLen:]}
	switch kind {
	case "fragments":
		var err error
		if packets, err = packet.Fragment(append(h.Append(nil, len(udp)), udp...), 100); err != nil || len(packets) < 2 {
			n.t.Fatalf("%d fragments, %v", len(packets), err)
		}
	case "options":
		h.Options = []byte{1, 1, 1, 0}
		packets = [][]byte{append(h.Append(nil, len(udp)), udp...)}
	}
	for _, p := range packets {
		if n.tun {
			if _, err := unix.Write(n.fd, p); err != nil {
				n.t.Fatal(err)
			}
			continue
		}
		f := append(slices.Clone(outer[:packet.EthernetLen]), p...)
		if err := unix.Sendto(n.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: n.index, Halen: 6}); err != nil {
			n.t.Fatal(err)
		}
	}
}

// tunnelled is a host with a workload that listens, a VTEP and interfaces.
type tunnelled struct {
	t      *testing.T
	c      *controller
	agent  *running
	vm     namespace
	sock   *net.UDPConn // the workload's
	socket string       // of the metrics
	sent   int
}

func newTunnelled(t *testing.T, cfg Config) *tunnelled {
	t.Helper()
	cfg.MetricsListen = "unix:" + filepath.Join(t.TempDir(), "metrics")
	l := &tunnelled{t: t, c: newController(t), socket: strings.TrimPrefix(cfg.MetricsListen, "unix:")}
	l.agent = startAgent(t, cfg, l.c)
	vm := newNamespace(t)
	l.vm = vm
	vm.vm(t, "tap1", vm1, "10.0.0.1")
	vm.inside(t, func() (err error) {
		l.sock, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 3), Port: 9999})
		return err
	})
	t.Cleanup(func() { l.sock.Close() })
	l.c.set(func(s *hoststate.State) {
		addNetwork(s)
		bind(s, 1, vm1)
		addPeering(s, hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1})
	})
	return l
}

// arrives tells whether one packet reaches the workload.
func (l *tunnelled) arrives(n *nic, kind string, patience time.Duration) bool {
	l.t.Helper()
	l.sent++
	words := fmt.Sprintf("%s by %s %05d", kind, n.name, l.sent)
	n.send(kind, words)
	if err := l.sock.SetReadDeadline(time.Now().Add(patience)); err != nil {
		l.t.Fatal(err)
	}
	b := make([]byte, 2048)
	for {
		m, err := l.sock.Read(b)
		if err != nil {
			return false
		}
		if strings.HasPrefix(string(b[:m]), words) {
			return true
		}
	}
}

func (l *tunnelled) pass(n *nic) {
	l.t.Helper()
	for _, kind := range tunnelKinds {
		testutil.Eventually(l.t, kind+" by "+n.name+" arrives", func() bool { return l.arrives(n, kind, time.Second) })
	}
}

func (l *tunnelled) drops(why string) int {
	l.t.Helper()
	m := regexp.MustCompile(`drops_total\{reason="` + why + `"\} (\d+)`).FindStringSubmatch(scrape(l.t, l.socket))
	if m == nil {
		l.t.Fatalf("no counter of %s", why)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// refused wants each kind of packet by n to be dropped by the programs: whole ones for the
// first reason (none: the host's stack has them first), the others for not_underlay.
func (l *tunnelled) refused(n *nic, whole string) {
	l.t.Helper()
	for _, kind := range tunnelKinds {
		why := "not_underlay"
		if kind == "whole" && whole != "" {
			why = whole
		}
		for range 5 {
			before := l.drops(why)
			if l.arrives(n, kind, 20*time.Millisecond) {
				l.t.Errorf("a spoofed packet, %s, by %s reaches the workload", kind, n.name)
			}
			testutil.Eventually(l.t, kind+" by "+n.name+" is counted as "+why, func() bool { return l.drops(why) > before })
		}
	}
}

// TestSpoofedVTEP is a neighbour on another interface of the host, who knows the addresses
// and the VNI. Nothing of the host keeps his packets off: it has no reverse-path filter.
func TestSpoofedVTEP(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	testutil.RequireTool(t, "nft")
	sh(t, "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
	eth1, eth2 := newNIC(t, "eth1", "172.31.0.1/24"), newNIC(t, "eth2", "172.31.2.1/24")
	sh(t, "ip neigh add 172.31.0.2 lladdr 02:00:00:00:00:09 dev eth1; ip route add 200.200.0.2 via 172.31.0.2")
	l := newTunnelled(t, testConfig(t))
	l.pass(eth1)
	l.refused(eth2, "not_underlay")
	// A container's network is no other.
	sh(t, "ip link add br0 type bridge; ip link set br0 up; ip link set eth2 master br0")
	eth2.mac = macOf(t, "br0")
	l.refused(eth2, "not_underlay")
	l.pass(eth1)
	// What the host's firewall drops it sees only where the kernel takes the packet.
	sh(t, "nft 'add table ip f; add chain ip f in { type filter hook input priority 0; policy drop; }'")
	if !l.arrives(eth1, "whole", 10*time.Second) {
		t.Error("a packet that the programs take is dropped by the host's firewall")
	}
	if l.arrives(eth1, "options", 100*time.Millisecond) {
		t.Error("a packet that the kernel takes is not dropped by the host's firewall")
	}
	sh(t, "nft delete table ip f")
	firewallSees(t, l, eth1)
}

// firewallSees holds docs/security.md to what it says of the hooks of interfaces: the programs
// come before ingress, and egress does not see what they send.
func firewallSees(t *testing.T, l *tunnelled, n *nic) {
	t.Helper()
	sh(t, "nft 'add table netdev f; add chain netdev f in { type filter hook ingress device eth1 priority -500; policy drop; }'")
	if !l.arrives(n, "whole", 10*time.Second) {
		t.Error("a packet that the programs take is dropped at netdev ingress")
	}
	if l.arrives(n, "options", 100*time.Millisecond) {
		t.Error("a packet that the kernel takes is not dropped at netdev ingress")
	}
	sh(t, "nft delete table netdev f")
	testutil.Eventually(t, "packets leave", func() bool { return l.leaves(l.vm, n, time.Second) })
	sh(t, "nft 'add table netdev f; add chain netdev f out { type filter hook egress device eth1 priority 0; policy accept; udp dport 4789 drop; }'")
	if !l.leaves(l.vm, n, 10*time.Second) {
		t.Error("a packet that the programs send is dropped at netdev egress")
	}
	sh(t, "nft delete table netdev f")
}

func macOf(t *testing.T, name string) model.MAC {
	t.Helper()
	l, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return model.MAC(l.HardwareAddr)
}

// TestReversePath is a host with two interfaces that carry tunnels: a VTEP's packets come in
// by those that routes to it lead by.
func TestReversePath(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	sh(t, "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
	eth1, eth2 := newNIC(t, "eth1", "172.31.0.1/24"), newNIC(t, "eth2", "172.31.2.1/24")
	sh(t, "ip route add 200.200.0.2 via 172.31.0.2")
	cfg := testConfig(t)
	cfg.UnderlayInterfaces = []string{"eth1", "eth2"}
	cfg.grace = 300 * time.Millisecond
	l := newTunnelled(t, cfg)
	l.pass(eth1)
	l.refused(eth2, "vtep_interface")
	// The route moves.
	sh(t, "ip route replace 200.200.0.2 via 172.31.2.2")
	l.pass(eth2)
	testutil.Eventually(t, "the grace ends", func() bool { return !l.arrives(eth1, "whole", 50*time.Millisecond) })
	l.refused(eth1, "vtep_interface")
	// Both ways are as good.
	sh(t, "ip route replace 200.200.0.2 nexthop via 172.31.0.2 nexthop via 172.31.2.2")
	l.pass(eth1)
	l.pass(eth2)
	// And as a group of next hops, as routing daemons make them.
	sh(t, "ip nexthop add id 1 via 172.31.0.2 dev eth1; ip nexthop add id 2 via 172.31.2.2 dev eth2; ip nexthop add id 3 group 1; ip route replace 200.200.0.2 nhid 3")
	testutil.Eventually(t, "the group of one is followed", func() bool { return !l.arrives(eth2, "whole", 50*time.Millisecond) })
	l.refused(eth2, "vtep_interface")
	sh(t, "ip nexthop replace id 3 group 1/2")
	l.pass(eth1)
	l.pass(eth2)
	// Without a route nothing comes in.
	sh(t, "ip route del 200.200.0.2")
	testutil.Eventually(t, "the grace ends", func() bool { return !l.arrives(eth1, "whole", 50*time.Millisecond) })
	l.refused(eth2, "vtep_interface")
}

// newTun makes an interface without Ethernet headers, as WireGuard's are.
func newTun(t *testing.T, name, addr string) *nic {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	sh(t, "ip addr add "+addr+" dev "+name+"; ip link set "+name+" up; echo 0 > /proc/sys/net/ipv4/conf/"+name+"/rp_filter")
	return &nic{t: t, name: name, fd: fd, tun: true}
}

// TestNoEthernet: an interface without Ethernet headers carries tunnels too, and its
// neighbours are no more believed than others.
func TestNoEthernet(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	sh(t, "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
	tun1, tun2 := newTun(t, "tun1", "172.31.0.1/24"), newTun(t, "tun2", "172.31.2.1/24")
	sh(t, "ip route add 200.200.0.2 dev tun1")
	l := newTunnelled(t, testConfig(t))
	l.pass(tun1)
	l.refused(tun2, "not_underlay")
	testutil.Eventually(t, "packets leave", func() bool {
		_ = try(l.vm.in("ping -n -c 1 -W 0.05 10.0.1.3"))
		for b := make([]byte, 2048); ; {
			n, err := unix.Read(tun1.fd, b)
			if err != nil {
				return false
			}
			h, payload, err := packet.ParseIPv4(b[:n])
			if err == nil && h.Protocol == packet.ProtoUDP && len(payload) > 4 && binary.BigEndian.Uint16(payload[2:]) == packet.VXLANPort {
				return true
			}
		}
	})
}

// TestReversePathOff: an interface that carries tunnels is enough, and no other is.
func TestReversePathOff(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	sh(t, "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
	eth1, eth2, eth3 := newNIC(t, "eth1", "172.31.0.1/24"), newNIC(t, "eth2", "172.31.2.1/24"), newNIC(t, "eth3", "172.31.3.1/24")
	sh(t, "ip route add 200.200.0.2 via 172.31.0.2")
	cfg := testConfig(t)
	cfg.UnderlayInterfaces, cfg.AnyUnderlay = []string{"eth1", "eth2"}, true
	l := newTunnelled(t, cfg)
	l.pass(eth1)
	l.pass(eth2)
	l.refused(eth3, "not_underlay")
	// A route by an interface that is not named takes nothing in.
	sh(t, "ip route replace 200.200.0.2 via 172.31.3.2")
	l.refused(eth3, "not_underlay")
}

// TestGrace: the other side may move to another way later than we do.
func TestGrace(t *testing.T) {
	a, b := []int{1, 2}, []int{2, 3}
	now := time.Now()
	l := lead{}.next(a, now, time.Minute).next(b, now, time.Minute)
	if !slices.Equal(l.now, b) || len(l.before) != 1 || !l.before[1].Equal(now.Add(time.Minute)) {
		t.Errorf("%+v: want interface 1 for a minute", l)
	}
	l = l.next(b, now.Add(30*time.Second), time.Minute)
	if !l.before[1].Equal(now.Add(time.Minute)) {
		t.Errorf("%+v: another look made it longer", l)
	}
	if l = l.next(a, now.Add(30*time.Second), time.Minute); len(l.before) != 1 || l.before[3].IsZero() {
		t.Errorf("%+v: want interface 3 alone", l)
	}
	if l = l.next(a, now.Add(2*time.Minute), time.Minute); len(l.before) != 0 {
		t.Errorf("%+v: want none", l)
	}
}

// TestFeasible: by which uplinks of a gateway device a VTEP's packets may come back.
func TestFeasible(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	route := func(to, via string) hoststate.UnderlayRoute {
		return hoststate.UnderlayRoute{Prefix: p(to), NextHop: a(via)}
	}
	uplinks := []hoststate.Uplink{
		{Interface: "eth1", Addr: p("172.16.1.2/24")}, {Interface: "eth2", Addr: p("172.16.2.2/24")}, {Interface: "eth3", Addr: p("172.16.3.2/24")},
	}
	down := slices.Clone(uplinks)
	down[0].Down = true
	one := []hoststate.UnderlayRoute{route("200.200.0.3/32", "172.16.2.1")}
	wider := append(one, route("200.200.0.0/24", "172.16.1.1"))
	for _, c := range []struct {
		name    string
		uplinks []hoststate.Uplink
		routes  []hoststate.UnderlayRoute
		vtep    string
		want    []int
	}{
		{"one route", uplinks, one, "200.200.0.3", []int{12}},
		{"a wider route by another uplink", uplinks, wider, "200.200.0.3", []int{12, 11}},
		{"a default route", uplinks, append(one, route("0.0.0.0/0", "172.16.3.1")), "200.200.0.3", []int{12, 13}},
		{"a wider route to others", uplinks, append(one, route("200.200.1.0/24", "172.16.1.1")), "200.200.0.3", []int{12}},
		{"an uplink that is down", down, wider, "200.200.0.3", []int{12}},
		{"a next hop on no uplink", uplinks, append(one, route("200.200.0.0/24", "172.16.9.1")), "200.200.0.3", []int{12}},
		{"a neighbour on another uplink", uplinks, one, "172.16.1.9", []int{12, 11}},
		{"no uplinks: the host's tables", nil, wider, "200.200.0.3", []int{12}},
	} {
		u := underlays{a: &Agent{attached: &attachments{}}, byName: map[string]hostnet.Link{}, gateways: map[netip.Addr]hoststate.Gateway{}}
		for i := 10; i < 14; i++ {
			name := fmt.Sprint("eth", i-10)
			u.byName[name] = hostnet.Link{Name: name, Index: i}
		}
		local := a("200.200.0.1")
		if c.uplinks != nil {
			u.gateways[local] = hoststate.Gateway{TunnelIP: local, Uplinks: c.uplinks, Routes: c.routes}
		}
		if got, err := u.feasible(dataplane.VTEP{Local: local, Remote: a(c.vtep)}, []int{12}); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: by %v, %v, want %v", c.name, got, err, c.want)
		}
		if got, err := u.feasible(dataplane.VTEP{Local: local, Remote: a(c.vtep)}, nil); err != nil || len(got) > 0 {
			t.Errorf("%s: without a route by %v, %v", c.name, got, err)
		}
	}
}
