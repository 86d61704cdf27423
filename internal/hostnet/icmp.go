package hostnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// ICMP errors about tunnels are read no faster than this: anybody can send them, and they are
// no more than a reason to look at a path. What the queue of the socket has no room for
// is lost before the kernel copies it.
const (
	tooSmallRate, tooSmallBurst = 20, 20
	tooSmallQueue               = 4096
)

// PathTooSmall is an ICMP "fragmentation needed" that quotes one of our outer packets.
type PathTooSmall struct {
	Local, Remote netip.Addr
	Port          uint16 // source port of the packet
	MTU           int    // what it says passes; 0: nothing (RFC 1191 §5)
}

// WatchPathMTU calls tell, from one goroutine that it waits for, for ICMP
// "fragmentation needed" about outer packets to these UDP ports, a few a second of them at most,
// until ctx ends.
func (h *Host) WatchPathMTU(ctx context.Context, ports []uint16, tell func(PathTooSmall)) error {
	fd, err := errorSocket(ports)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, tooSmallQueue); err != nil {
		unix.Close(fd)
		return fmt.Errorf("set queue of packet socket: %w", err)
	}
	limit := rate.NewLimiter(tooSmallRate, tooSmallBurst)
	return readICMP(ctx, os.NewFile(uintptr(fd), "icmp errors"), func(b []byte) error {
		if p, ok := parsePathTooSmall(b, ports); ok {
			tell(p)
		}
		return limit.Wait(ctx)
	})
}

// Pinger sends and gets ICMP echo on the underlay.
type Pinger struct {
	f    *os.File
	conn syscall.RawConn
}

// OpenPinger makes one whose replies have the identifier id.
func OpenPinger(id uint16) (*Pinger, error) {
	fd, err := icmpSocket(0, echoReply(id))
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up ICMP socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "icmp")
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("set up ICMP socket: %w", err)
	}
	return &Pinger{f, conn}, nil
}

// Send sends an IPv4 packet from local to remote, by the rules and tables of the kernel. Only the
// link's MTU bounds it; larger is an error.
func (p *Pinger) Send(local, remote netip.Addr, ip []byte) error {
	oob := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	var err error
	cerr := p.conn.Control(func(fd uintptr) {
		_, err = unix.SendmsgN(int(fd), ip, oob, &unix.SockaddrInet4{Addr: remote.As4()}, unix.MSG_DONTWAIT)
	})
	return errors.Join(err, cerr)
}

// Close ends a Pinger that does not run.
func (p *Pinger) Close() error { return p.f.Close() }

// Run calls tell for each reply, from one goroutine that it waits for, until ctx ends. It
// closes the Pinger.
func (p *Pinger) Run(ctx context.Context, tell func(ip []byte)) error {
	return readICMP(ctx, p.f, func(b []byte) error { tell(b); return nil })
}

// errorSocket is a packet socket, which hears what the host's stack does not get to hear: the
// programs keep ICMP errors about tunnels from it.
func errorSocket(ports []uint16) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // nothing yet
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	filter := fragmentationNeeded(ports)
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_IP>>8 | unix.ETH_P_IP&0xff<<8}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set up packet socket: %w", err)
	}
	return fd, nil
}

// icmpSocket is a raw socket that gets messages of one type that pass filter.
func icmpSocket(kind uint, filter []unix.SockFilter) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if err != nil {
		return -1, fmt.Errorf("open ICMP socket: %w", err)
	}
	// ICMP_FILTER (linux/icmp.h): a set bit blocks the type.
	const solRaw, icmpFilter = 255, 1
	err = errors.Join(
		unix.SetsockoptInt(fd, solRaw, icmpFilter, int(^uint32(1<<kind))),
		// The kernel takes no MTU from ICMP errors that quote packets of such a socket (else it
		// would of any that quotes ICMP), and holds what it sends against the link's alone.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE),
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set up ICMP socket: %w", err)
	}
	return fd, nil
}

func readICMP(ctx context.Context, f *os.File, take func([]byte) error) error {
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	defer f.Close()
	buf := make([]byte, 65536)
	for {
		n, err := f.Read(buf)
		if err == nil {
			err = take(buf[:n])
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read ICMP socket: %w", err)
		}
	}
}

// Classic BPF on what these sockets get: the packet from its IPv4 header on. X is the
// length of that header.
const (
	loadX    = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH
	loadByte = unix.BPF_LD | unix.BPF_B | unix.BPF_IND
	loadAbs  = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	loadHalf = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
	jumpEq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGe   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	give     = unix.BPF_RET | unix.BPF_K
)

// test is "load what is at X + at (loadAbs: at), and go on if op holds for one of want".
type test struct {
	load uint16
	at   uint32
	op   uint16
	want []uint32
}

func filterOf(tests []test) []unix.SockFilter {
	rest := 0 // instructions of the tests that are still to come
	for _, t := range tests {
		rest += 1 + len(t.want)
	}
	f := []unix.SockFilter{{Code: loadX}}
	for _, t := range tests {
		rest -= 1 + len(t.want)
		f = append(f, unix.SockFilter{Code: t.load, K: t.at})
		for i, want := range t.want {
			left := len(t.want) - 1 - i
			jump := unix.SockFilter{Code: t.op, K: want, Jt: uint8(left)}
			if left == 0 {
				jump.Jf = uint8(rest + 1)
			}
			f = append(f, jump)
		}
	}
	return append(f, unix.SockFilter{Code: give, K: 0xffff}, unix.SockFilter{Code: give})
}

func is(want uint32) []uint32 { return []uint32{want} }

// fragmentationNeeded: ICMP 3/4 that quotes UDP from a source port that our outer packets
// can have to one of these ports. The quoted header has no options, as ours has none.
func fragmentationNeeded(ports []uint16) []unix.SockFilter {
	const quoted = 8
	const packetType = 0xfffff000 + 4 // SKF_AD_OFF, SKF_AD_PKTTYPE (linux/filter.h)
	var to []uint32
	for _, p := range ports {
		to = append(to, uint32(p))
	}
	return filterOf([]test{
		{loadAbs, 9, jumpEq, is(unix.IPPROTO_ICMP)},
		{loadAbs, packetType, jumpEq, is(unix.PACKET_HOST)},
		{loadHalf, 0, jumpEq, is(3<<8 | 4)},
		{loadByte, quoted, jumpEq, is(0x45)},
		{loadByte, quoted + 9, jumpEq, is(unix.IPPROTO_UDP)},
		{loadHalf, quoted + 20, jumpGe, is(vxlanSrcPortLow)},
		{loadHalf, quoted + 22, jumpEq, to},
	})
}

func echoReply(id uint16) []unix.SockFilter {
	return filterOf([]test{{loadHalf, 0, jumpEq, is(0)}, {loadHalf, 4, jumpEq, is(uint32(id))}})
}

// parsePathTooSmall reads an IPv4 packet with ICMP 3/4 that quotes a UDP packet to one of these
// ports (RFC 792, RFC 1191 §4).
func parsePathTooSmall(b []byte, ports []uint16) (PathTooSmall, bool) {
	icmp, ok := ipv4Payload(b, unix.IPPROTO_ICMP)
	if !ok || len(icmp) < 8 || icmp[0] != 3 || icmp[1] != 4 {
		return PathTooSmall{}, false
	}
	quoted := icmp[8:]
	udp, ok := ipv4Payload(quoted, unix.IPPROTO_UDP)
	if !ok || len(udp) < 4 || binary.BigEndian.Uint16(udp) < vxlanSrcPortLow || !slices.Contains(ports, binary.BigEndian.Uint16(udp[2:])) {
		return PathTooSmall{}, false
	}
	return PathTooSmall{
		Local:  netip.AddrFrom4([4]byte(quoted[12:16])),
		Remote: netip.AddrFrom4([4]byte(quoted[16:20])),
		Port:   binary.BigEndian.Uint16(udp),
		MTU:    int(binary.BigEndian.Uint16(icmp[6:])),
	}, true
}

func ipv4Payload(b []byte, proto byte) ([]byte, bool) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != proto {
		return nil, false
	}
	ihl := int(b[0]&0xf) * 4
	if ihl < 20 || len(b) < ihl {
		return nil, false
	}
	return b[ihl:], true
}
