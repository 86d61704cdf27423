package scenario

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// bulkTCP sends random bytes from one workload to another and compares what
// arrives.
func (l *lab) bulkTCP(from, to, addr string, n int64) {
	l.t.Helper()
	client, server := l.tcpPair(from, to, addr)
	defer client.Close()
	defer server.Close()
	deadline := time.Now().Add(2 * time.Minute)
	_ = client.SetDeadline(deadline)
	_ = server.SetDeadline(deadline)
	seed := [32]byte{1, 2, 3}
	sum := sha256.New()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.MultiWriter(client, sum), io.LimitReader(rand.NewChaCha8(seed), n))
		sent <- errors.Join(err, client.(*net.TCPConn).CloseWrite())
	}()
	got := sha256.New()
	m, err := io.Copy(got, server)
	if err = errors.Join(err, testutil.Receive(l.t, "the sender's end", sent)); err != nil || m != n {
		l.t.Fatalf("bulk TCP from %s to %s: %d of %d bytes: %v", from, to, m, n, err)
	}
	if !bytes.Equal(sum.Sum(nil), got.Sum(nil)) {
		l.t.Fatalf("bulk TCP from %s to %s: the bytes differ", from, to)
	}
}

// tcpPair connects two workloads.
func (l *lab) tcpPair(from, to, addr string) (client, server net.Conn) {
	l.t.Helper()
	var ln net.Listener
	l.inside(to, func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(l.t.Context(), "tcp4", "0.0.0.0:0")
		return err
	})
	defer ln.Close()
	_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second))
	port := ln.Addr().(*net.TCPAddr).Port
	l.inside(from, func() (err error) {
		d := net.Dialer{Timeout: 30 * time.Second}
		client, err = d.DialContext(l.t.Context(), "tcp4", fmt.Sprintf("%s:%d", addr, port))
		return err
	})
	server, err := ln.Accept()
	if err != nil {
		l.t.Fatal(err)
	}
	return client, server
}

// inside runs fn in the namespace of a node or workload.
func (l *lab) inside(node string, fn func() error) {
	l.t.Helper()
	ns, err := l.NetNS(node)
	if err != nil {
		l.t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Do(fn); err != nil {
		l.t.Fatalf("in %s: %v", node, err)
	}
}

func (l *lab) traceroute(from, to string) []string {
	l.t.Helper()
	ns, err := l.NetNS(from)
	if err != nil {
		l.t.Fatal(err)
	}
	defer ns.Close()
	hops, err := probe.Traceroute(l.t.Context(), ns, netip.MustParseAddr(to), 8, 2*time.Second)
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, h := range hops {
		out = append(out, h.Addr.String())
	}
	return out
}

// offloads switches what a network card would do for a workload.
func (l *lab) offloads(workload, state string) {
	l.t.Helper()
	l.mustRun(workload, "ethtool", "-K", "eth0", "tx", state, "rx", state, "tso", state, "gso", state, "gro", state)
}

// TestTraffic sends what workloads send: bulk TCP with offloads on and off by each
// kind of interface, UDP with segmentation offload, tunnels of the workloads' own,
// large pings with and without DF.
func TestTraffic(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("underlay MTU %d", mtu), func(t *testing.T) {
			p := newPair(t, underlayMTU(mtu))
			p.a.attach("same-a", 4, testbed.KindVethSameNS)
			p.b.attach("same-b", 4, testbed.KindVethSameNS)
			for _, state := range []string{"on", "off"} {
				p.sub("offloads "+state, func(t *testing.T) {
					for _, w := range []string{"vm-a", "vm-b", "same-a", "same-b"} {
						p.offloads(w, state)
					}
					p.bulkTCP("vm-a", "vm-b", "10.0.1.3", 64<<20)
					p.bulkTCP("vm-b", "vm-a", "10.0.0.3", 64<<20)
					p.bulkTCP("same-a", "same-b", "10.0.1.4", 16<<20)
					p.bulkTCP("vm-a", "same-b", "10.0.1.4", 16<<20)
					p.bulkTCP("vm-a", "same-a", "10.0.0.4", 16<<20) // one host
					p.mustPing("same-a", "10.0.1.3")
				})
			}
			p.sub("mixed offloads", func(t *testing.T) {
				p.offloads("vm-a", "on")
				p.offloads("vm-b", "off")
				p.bulkTCP("vm-a", "vm-b", "10.0.1.3", 32<<20)
				p.bulkTCP("vm-b", "vm-a", "10.0.0.3", 32<<20)
				p.offloads("vm-b", "on")
			})
			p.sub("UDP_SEGMENT", func(t *testing.T) { p.udpSegment(p.vmA, p.vmB, p.addrB, mtu-50) })
			p.sub("tunnel of the workloads' own", func(t *testing.T) { p.nestedTunnel(mtu - 50) })
			p.sub("ping without DF", func(t *testing.T) {
				p.reach(p.vmA, p.addrB, "-M", "dont", "-s", "4000")
				p.mustPing(p.vmB, p.addrA, "-M", "dont", "-s", "4000")
			})
		})
	}
}

// udpSegment sends datagrams that the kernel cuts (UDP_SEGMENT) from one workload to another, and
// counts them.
func (l *lab) udpSegment(from, to, addr string, mtu int) {
	t := l.t
	t.Helper()
	var server *net.UDPConn
	l.inside(to, func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{})
		return err
	})
	defer server.Close()
	_ = server.SetReadBuffer(8 << 20)
	var client net.Conn
	l.inside(from, func() (err error) {
		client, err = net.Dial("udp4", net.JoinHostPort(addr, fmt.Sprint(server.LocalAddr().(*net.UDPAddr).Port)))
		return err
	})
	defer client.Close()
	size := mtu - 28
	raw, err := client.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
	}); cerr != nil || err != nil {
		t.Fatalf("UDP_SEGMENT: %v %v", cerr, err)
	}
	const segments = 7
	payload := make([]byte, segments*size)
	for i := range segments {
		binary.BigEndian.PutUint32(payload[i*size:], uint32(i))
	}
	if _, err := client.Write(payload); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(30 * time.Second))
	seen := map[uint32]bool{}
	buf := make([]byte, 65536)
	for len(seen) < segments {
		n, err := server.Read(buf)
		if err != nil {
			t.Fatalf("%d of %d segments arrived: %v", len(seen), segments, err)
		}
		if n != size {
			t.Fatalf("a datagram of %d bytes; want %d", n, size)
		}
		seen[binary.BigEndian.Uint32(buf)] = true
	}
}

// nestedTunnel runs bulk TCP through a VXLAN tunnel between the workloads.
func (p *pair) nestedTunnel(mtu int) {
	p.ownTunnel(vm{p.vmA, p.addrA}, vm{p.vmB, p.addrB}, mtu, 32<<20)
}

// ownTunnel runs bulk TCP, of so many bytes each way, through a VXLAN tunnel that two workloads have between them.
func (l *lab) ownTunnel(a, b vm, mtu int, bytes int64) {
	l.t.Helper()
	for i, w := range []vm{a, b} {
		other := b
		if i == 1 {
			other = a
		}
		for _, c := range []string{
			fmt.Sprintf("ip link add own0 mtu %d type vxlan id 7 local %s remote %s dstport 4790", mtu-50, w.addr, other.addr),
			fmt.Sprintf("ip addr add 172.30.0.%d/24 dev own0", i+1),
			"ip link set own0 up",
		} {
			l.mustRun(w.name, strings.Fields(c)...)
		}
	}
	l.mustPing(a.name, "172.30.0.2")
	l.bulkTCP(a.name, b.name, "172.30.0.2", bytes)
	l.bulkTCP(b.name, a.name, "172.30.0.1", bytes)
	for _, w := range []vm{a, b} {
		l.mustRun(w.name, "ip", "link", "del", "own0")
	}
}

// TestTooBig sends what does not fit the multi-site network: with DF the router
// answers, without it cuts.
func TestTooBig(t *testing.T) {
	l := newLab(t, 2, underlayMTU(9000))
	a, b := l.sites[0].newTenant("t", 100), l.sites[1].newTenant("t", 100)
	for _, tn := range []*tenant{a, b} {
		tn.site.update(networksCollection, tn.multiSite, map[string]any{"mtu": 1450})
	}
	peer(a, b)
	a.attach("vm-a", 3, "")
	b.attach("vm-b", 3, "")
	l.reach("vm-a", "10.0.1.3", "-M", "dont", "-s", "4000")
	l.mustPing("vm-b", "10.0.0.3", "-M", "dont", "-s", "8000")

	before := a.site.drops()
	out, _ := l.run("vm-a", "ping", "-n", "-M", "do", "-s", "4000", "-c", "1", "-W", "5", "10.0.1.3")
	if !strings.Contains(out, "10.0.0.1") || !strings.Contains(out, "1450") {
		t.Errorf("no answer from 10.0.0.1 with the MTU 1450:\n%s", out)
	}
	if d := risen(before, a.site.drops()); d["fragmentation_needed"] == 0 {
		t.Errorf("counters that rose: %v; want fragmentation_needed", d)
	}
	// TCP finds the way's MTU by these answers.
	l.bulkTCP("vm-a", "vm-b", "10.0.1.3", 16<<20)
	l.bulkTCP("vm-b", "vm-a", "10.0.0.3", 16<<20)
}

// TestGroupBitMAC sends bulk TCP and fragments of the outer packet (which come in
// by the kernel's vxlan device) to a router whose MAC has the group bit.
func TestGroupBitMAC(t *testing.T) {
	p := newPair(t)
	if peerMACs[1] != "6F:E4:5A:FA:8E:09" {
		t.Fatal("site B's peer router port must have the chapter's MAC")
	}
	p.bulkTCP(p.vmA, p.vmB, p.addrB, 64<<20)
	// The router of the underlay cuts what goes to site B: DF is taken off on its
	// way in, and the way to site B is said to be small.
	p.mustRun("core", "nft", "add table netdev cut")
	p.mustRun("core", "nft", "add chain netdev cut in { type filter hook ingress device \"to-a1\" priority 0 ; }")
	p.mustRun("core", "nft", "add rule netdev cut in ip frag-off set 0")
	p.mustRun("core", "ip", "route", "replace", "200.200.0.2/32", "via", "172.16.2.2", "mtu", "lock", "1000")
	p.mustPing(p.vmA, p.addrB, "-s", "1300")
	p.bulkTCP(p.vmA, p.vmB, p.addrB, 4<<20)
	if n := p.snmp("b1", "Ip:", "ReasmOKs"); n == 0 {
		t.Error("site B's host put no fragments together: the test shows nothing")
	}
}

// snmp reads a counter of /proc/net/snmp in a node.
func (l *lab) snmp(node, proto, name string) int {
	l.t.Helper()
	var names []string
	for line := range strings.Lines(l.mustRun(node, "cat", "/proc/net/snmp")) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != proto {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, n := range names {
			if n == name {
				var v int
				fmt.Sscan(f[i], &v)
				return v
			}
		}
	}
	l.t.Fatalf("no %s %s in /proc/net/snmp", proto, name)
	return 0
}
