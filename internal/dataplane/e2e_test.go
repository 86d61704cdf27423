package dataplane

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

func reasonName(r int) string { return reason.Reason(r).String() }

func TestPing(t *testing.T) {
	l := newLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.1")
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.1.3")
	l.exec("vB", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.3")
	l.exec("vB", "ping -c 3 -i 0.2 -W 2 -q 192.168.0.1")
	l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 192.168.0.2")
}

// bulk sends TCP both ways between vA and an address of a namespace.
func (l *lab) bulk(serverNS, to string) {
	l.t.Helper()
	server := exec.Command("ip", "netns", "exec", l.ns(serverNS), "iperf3", "-s", "-p", "5201", "--forceflush")
	out, err := server.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		l.t.Fatal(err)
	}
	defer func() {
		if err := server.Process.Kill(); err != nil {
			l.t.Error(err)
		}
		_ = testutil.Exit(l.t, server) // killed
	}()
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			l.t.Fatalf("iperf3 server: %v", err)
		}
		if strings.Contains(line, "Server listening") {
			break
		}
	}
	for _, dir := range []string{"", "-R"} {
		text := l.exec("vA", "timeout 60 iperf3 -c %s -p 5201 -n 200M -J %s", to, dir)
		var res struct {
			End struct {
				SumReceived struct {
					Bytes   int64
					Seconds float64
				} `json:"sum_received"`
				SumSent struct{ Retransmits int } `json:"sum_sent"`
			}
		}
		if err := json.Unmarshal([]byte(text), &res); err != nil {
			l.t.Fatal(err)
		}
		r := res.End.SumReceived
		// What is in the socket buffers when the sender has sent all may be cut off.
		if r.Bytes < 150<<20 {
			l.t.Fatalf("only %d bytes arrived\n%s", r.Bytes, text)
		}
		l.t.Logf("%s: %.2f Gb/s, %d retransmitted", dir, float64(r.Bytes)*8/r.Seconds/1e9, res.End.SumSent.Retransmits)
	}
}

func TestBulkTCP(t *testing.T) {
	testutil.RequireTool(t, "iperf3")
	for _, mtu := range []int{1450, 8950} {
		for _, offloads := range []string{"on", "off"} {
			t.Run(fmt.Sprintf("mtu=%d,offloads=%s", mtu, offloads), func(t *testing.T) {
				l := newLab(t, mtu, mtu+50)
				defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
				if offloads == "off" {
					for _, s := range []string{"A", "B"} {
						l.exec("v"+s, "ethtool -K eth0 tso off gso off gro off tx off rx off")
						l.exec("h"+s, "ethtool -K tap0 tso off gso off gro off tx off rx off")
					}
				}
				l.bulk("vB", "10.0.1.3")
			})
		}
	}
}

// TestPeerHere: the workload's end of the veth is in the host's own namespace.
func TestPeerHere(t *testing.T) {
	testutil.RequireTool(t, "iperf3")
	for _, offloads := range []string{"on", "off"} {
		t.Run("offloads="+offloads, func(t *testing.T) {
			l := newLab(t, 1450, 1500)
			defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
			run(t, `ip -n %[1]s link set eth0 netns %[2]s name w0 && ip -n %[2]s addr add 10.0.1.3/24 dev w0 &&
				ip -n %[2]s link set w0 up && ip -n %[2]s route add 10.0.0.0/24 via 10.0.1.1`, l.ns("vB"), l.ns("hB"))
			site := l.sites["B"]
			site.env.Links["tap0"] = Link{Index: site.tap, MTU: 1450}
			l.sync("B")
			if offloads == "off" {
				l.exec("vA", "ethtool -K eth0 tso off gso off gro off tx off rx off")
				for _, dev := range []string{"tap0", "w0"} {
					l.exec("hB", "ethtool -K %s tso off gso off gro off tx off rx off", dev)
				}
			}
			l.exec("vA", "ping -c 2 -i 0.2 -W 2 -q 10.0.1.3")
			l.bulk("hB", "10.0.1.3")
		})
	}
}

// TestNestedTunnel: the workloads run a tunnel of their own, with bulk TCP in it.
func TestNestedTunnel(t *testing.T) {
	testutil.RequireTool(t, "iperf3")
	l := newLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	for i, s := range []string{"A", "B"} {
		run(t, `ip -n %[1]s link add vx5 mtu 1400 type vxlan id 5 local 10.0.%[2]d.3 remote 10.0.%[3]d.3 dstport 4789 &&
			ip -n %[1]s addr add 10.9.0.%[4]d/24 dev vx5 && ip -n %[1]s link set vx5 up`, l.ns("v"+s), i, 1-i, i+1)
	}
	l.exec("vA", "ping -c 2 -i 0.2 -W 2 -q 10.9.0.2")
	l.bulk("vB", "10.9.0.2")
}

// TestFragments: the workload's own fragments, larger than any one packet.
func TestFragments(t *testing.T) {
	l := newLab(t, 1450, 1500)
	l.exec("vA", "ping -M dont -s 4000 -c 3 -i 0.2 -W 2 -q 10.0.1.3")
}

// TestUDPSegment: the kernel cuts one large send into datagrams, behind the tunnel.
func TestUDPSegment(t *testing.T) {
	l := newLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	l.exec("vA", "ping -c 1 -W 5 -q 10.0.1.3")
	to := socketIn(t, l.ns("vB"))
	defer unix.Close(to)
	from := socketIn(t, l.ns("vA"))
	defer unix.Close(from)
	const segment, segments = 1400, 10
	addr := &unix.SockaddrInet4{Port: 7000, Addr: l.sites["B"].vm.As4()}
	for _, err := range []error{
		unix.Bind(to, &unix.SockaddrInet4{Port: 7000}),
		unix.SetsockoptTimeval(to, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}),
		unix.SetsockoptInt(from, unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sent := make([]byte, segment*segments)
	for i := range sent {
		sent[i] = byte(i / 7)
	}
	if err := unix.Sendto(from, sent, 0, addr); err != nil {
		t.Fatal(err)
	}
	var got []byte
	buf := make([]byte, 1<<16)
	for i := range segments {
		n, _, err := unix.Recvfrom(to, buf, 0)
		if err != nil || n != segment {
			t.Fatalf("datagram %d: %d bytes, %v", i, n, err)
		}
		got = append(got, buf[:n]...)
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes arrived than were sent")
	}
}

// TestAnyEtherType: two workloads on the shared network are one layer 2, for frames
// that are not IP too. These go by the vxlan device both out and in.
func TestAnyEtherType(t *testing.T) {
	l := newLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	l.shareNetwork()
	a, b := l.rawSocket("vA"), l.rawSocket("vB")
	defer unix.Close(a.fd)
	defer unix.Close(b.fd)
	frame := slices.Concat(vmMAC1[:], vmMAC0[:], []byte{0x88, 0xb5}, []byte(strings.Repeat("not IP ", 9)))
	for range 3 {
		if err := unix.Sendto(a.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: a.ifindex}); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2048)
		n, _, err := unix.Recvfrom(b.fd, buf, 0)
		if err != nil || !bytes.Equal(buf[:n], frame) {
			t.Fatalf("got %x, %v", buf[:max(n, 0)], err)
		}
	}
}

var vmMAC0, vmMAC1 = vmMAC(0), vmMAC(1)

type rawSocket struct{ fd, ifindex int }

// rawSocket takes frames of EtherType 0x88b5 (IEEE 802, local experiments).
func (l *lab) rawSocket(ns string) rawSocket {
	l.t.Helper()
	s := rawSocket{ifindex: l.index(ns, "eth0")}
	inNS(l.t, l.ns(ns), func() (err error) {
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0xb588); err != nil {
			return err
		}
		return errors.Join(
			unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: 0xb588, Ifindex: s.ifindex}),
			unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}),
		)
	})
	return s
}
