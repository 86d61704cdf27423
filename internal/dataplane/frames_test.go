package dataplane

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestPriorityTag: a workload's frames with a tag of VLAN 0 are untagged ones, whether the
// tag is in the frame or, as a network card's driver has it, beside it; so are the underlay's.
func TestPriorityTag(t *testing.T) {
	l := newLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	got := rawSocket{fd: l.listen("vA", "eth0", unix.ETH_P_IP)}
	inFrame := rawSocket{fd: l.listen("vA", "eth0", unix.ETH_P_802_3), ifindex: l.index("vA", "eth0")}
	defer unix.Close(got.fd)
	defer unix.Close(inFrame.fd)
	src, dst := l.sites["A"].vm, l.sites["B"].vm
	request := func(seq uint32) []byte {
		m := packet.ICMP{Type: packet.ICMPEchoRequest, Rest: 7<<16 | seq}
		ip := packet.IPv4{TTL: 64, Protocol: packet.ProtoICMP, Src: src, Dst: dst}
		b := packet.Ethernet{Dst: model.MustMAC(labGW), Src: vmMAC(0), Type: packet.TypeIPv4}.Append(nil)
		return m.Append(ip.Append(b, packet.ICMPLen+8), make([]byte, 8))
	}
	answered := func(what string, seq uint32) {
		t.Helper()
		buf := make([]byte, 2048)
		for {
			n, _, err := unix.Recvfrom(got.fd, buf, 0)
			if err != nil {
				t.Fatalf("%s: no answer: %v", what, err)
			}
			if n >= 42 && buf[23] == uint8(packet.ProtoICMP) && buf[34] == packet.ICMPEchoReply && buf[41] == byte(seq) {
				return
			}
		}
	}
	send := func(s rawSocket, f []byte) {
		t.Helper()
		if err := unix.Sendto(s.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: s.ifindex}); err != nil {
			t.Fatal(err)
		}
	}
	send(inFrame, request(1))
	answered("no tag", 1)
	send(inFrame, slices.Insert(request(2), 12, 0x81, 0, 0xe0, 0))
	answered("a tag in the frame", 2)
	before, err := l.sites["A"].dp.Drops()
	must(t, err)
	send(inFrame, slices.Insert(request(4), 12, 0x81, 0, 0, 0, 0x81, 0, 0, 0))
	send(inFrame, slices.Insert(request(5), 12, 0x81, 0, 0, 5))
	send(inFrame, slices.Insert(request(6), 12, 0x88, 0xa8, 0, 0))
	testutil.Eventually(t, "three frames to be dropped for their tags", func() bool {
		after, err := l.sites["A"].dp.Drops()
		must(t, err)
		return after[6]-before[6] == 3 // VLAN_TAGGED
	})

	// What the underlay marks with a priority is taken where it comes in, not by the slower
	// vxlan device.
	l.pushTag("hA", "ul0", 0x6000)
	l.pushTag("hB", "ul0", 0x6000)
	l.pushTag("vA", "eth0", 0xe000)
	l.exec("vA", "ping -c 3 -i 0.01 -W 5 -q %s", dst)
	for _, h := range []string{"hA", "hB"} {
		if n := l.statistic(h, "vx0", "rx_packets"); n != 0 {
			t.Errorf("%s: %d packets came by the vxlan device", h, n)
		}
	}
}

// pushTag has all that leaves an interface tagged.
func (l *lab) pushTag(ns, dev string, tci int32) {
	l.t.Helper()
	index := l.index(ns, dev)
	inNS(l.t, l.ns(ns), func() error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R2, 0x0081), asm.Mov.Imm(asm.R3, tci), asm.FnSkbVlanPush.Call(),
			asm.Mov.Imm(asm.R0, -1), asm.Return(), // TCX_NEXT
		}})
		if err != nil {
			return err
		}
		k, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXEgress})
		if err == nil {
			l.t.Cleanup(func() { _ = k.Close() })
		}
		return errors.Join(err, p.Close())
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen opens a raw socket of a namespace on an interface.
func (l *lab) listen(ns, dev string, protocol uint16) (fd int) {
	l.t.Helper()
	index, be := l.index(ns, dev), protocol<<8|protocol>>8
	inNS(l.t, l.ns(ns), func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(be)); err != nil {
			return err
		}
		return errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: be, Ifindex: index}),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}))
	})
	return fd
}

func (l *lab) statistic(ns, dev, what string) (n uint64) {
	l.t.Helper()
	_, err := fmt.Sscan(l.exec(ns, "cat /sys/class/net/%s/statistics/%s", dev, what), &n)
	must(l.t, err)
	return n
}

// TestBigTCP: TCP whose packets for segmentation are beyond 64 KiB is routed, and bridged,
// into tunnels and out of them.
func TestBigTCP(t *testing.T) {
	l := newLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	for _, v := range []string{"vA", "vB"} {
		l.big(v, "eth0")
	}
	to := netip.AddrPortFrom(l.sites["B"].vm, 7000)
	t.Run("an underlay that cuts", func(t *testing.T) { l.bigBulk(t, to) })
	// Packets stay whole on an underlay that takes them.
	for _, h := range []string{"hA", "hB"} {
		l.big(h, "ul0")
		l.big(h, "tap0")
	}
	t.Run("an underlay that does not", func(t *testing.T) { l.bigBulk(t, to) })
	t.Run("IPv6", func(t *testing.T) {
		l.shareNetwork()
		for i, v := range []string{"vA", "vB"} {
			l.exec(v, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0")
			l.exec(v, "ip addr add 2001:db8::%d/64 dev eth0 nodad", i+1)
			l.exec(v, "ip neigh replace 2001:db8::%d lladdr %s nud permanent dev eth0", 2-i, vmMAC(1-i))
		}
		l.bigBulk(t, netip.MustParseAddrPort("[2001:db8::2]:7001"))
	})
}

// shareNetwork puts both workloads on the network that the sites share, without port
// security.
func (l *lab) shareNetwork() {
	l.t.Helper()
	for i, s := range []string{"A", "B"} {
		site := l.sites[s]
		p := site.st.Ports[1]
		p.Network, p.PortSecurity = 2, false
		site.st.Ports[1] = p
		site.st.FDB[hoststate.FDBKey{Network: 2, MAC: vmMAC(i)}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 1}
		e := site.st.FDB[hoststate.FDBKey{Network: 2, MAC: msMAC(1 - i)}]
		site.st.FDB[hoststate.FDBKey{Network: 2, MAC: vmMAC(1 - i)}] = e
		l.sync(s)
	}
}

// big lets an interface send and gather packets of more than 64 KiB.
func (l *lab) big(ns, dev string) {
	l.t.Helper()
	const most = 180_000
	inNS(l.t, l.ns(ns), func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetGSOMaxSize(link, most), netlink.LinkSetGROMaxSize(link, most),
			netlink.LinkSetGSOIPv4MaxSize(link, most), netlink.LinkSetGROIPv4MaxSize(link, most))
	})
}

// bigBulk sends TCP from vA to vB, which must be in packets of more than 64 KiB.
func (l *lab) bigBulk(t *testing.T, to netip.AddrPort) {
	const size = 200 << 20
	sink := make(chan error, 1)
	var listener net.Listener
	inNS(t, l.ns("vB"), func() (err error) {
		listener, err = net.Listen("tcp", to.String())
		return err
	})
	defer listener.Close()
	go func() {
		c, err := listener.Accept()
		if err != nil {
			sink <- err
			return
		}
		n, err := io.Copy(io.Discard, c)
		if err == nil && n != size {
			err = fmt.Errorf("%d bytes of %d", n, size)
		}
		sink <- errors.Join(err, c.Close())
	}()
	before := l.statistic("vA", "eth0", "tx_packets")
	dropped := l.drops("A") + l.drops("B")
	inNS(t, l.ns("vA"), func() error {
		c, err := net.Dial("tcp", to.String())
		if err != nil {
			return err
		}
		defer c.Close()
		b := make([]byte, 1<<20)
		for range size / len(b) {
			if _, err := c.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, testutil.Receive(t, "all that was sent", sink))
	mean := size / (l.statistic("vA", "eth0", "tx_packets") - before)
	t.Logf("%d bytes a packet of the workload", mean)
	if mean <= 65536 {
		t.Errorf("packets of %d bytes: none was as long as they were to be", mean)
	}
	// IPv6's groups have no members here.
	if now := l.drops("A") + l.drops("B"); to.Addr().Is4() && now != dropped {
		t.Errorf("drops: %s, before: %s", now, dropped)
	}
}
