package liveness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/bfd"
)

// network control, as routing protocols have it (RFC 4594 §3.2: CS6).
const tos = 0xc0

// udpSocket is one bound to local, connected if remote has a port. Its queue and the kernel's search for a socket
// keep what others send from what a connected one gets.
func udpSocket(local, remote netip.AddrPort) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open UDP socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, bfd.TTL),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, tos),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTTL, 1),
		// ICMP errors, which anybody can forge, change no path of these.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE),
	)
	if err == nil {
		if err = unix.Bind(fd, sockaddr(local)); err != nil {
			err = fmt.Errorf("bind to %s: %w", local, err)
		}
	}
	if err == nil && remote.Port() != 0 {
		if err = unix.Connect(fd, sockaddr(remote)); err != nil {
			err = fmt.Errorf("no way from %s to %s: %w", local.Addr(), remote.Addr(), err)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Source ports of BFD (RFC 5881 §4).
const firstSource, sources = 49152, 65536 - 49152

// bfdSocket sends the packets of one session.
func bfdSocket(local, remote netip.Addr, port uint16, r *rand.Rand) (fd int, err error) {
	for range 16 {
		from := netip.AddrPortFrom(local, uint16(firstSource+r.IntN(sources)))
		if fd, err = udpSocket(from, netip.AddrPortFrom(remote, port)); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return fd, err
}

// icmpSocket gets the echo replies to local whose identifier is id.
func icmpSocket(local netip.Addr, id uint16) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if err != nil {
		return -1, fmt.Errorf("open ICMP socket: %w", err)
	}
	filter := []unix.SockFilter{ // X is the length of the IP header
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(id), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, tos),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE),
	)
	if err == nil {
		if err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
			err = fmt.Errorf("bind to %s: %w", local, err)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// inbox receives packets without allocating memory, which the functions of the standard library do for addresses.
type inbox struct {
	hdr  unix.Msghdr
	iov  unix.Iovec
	name unix.RawSockaddrInet4
	oob  [64]byte
	buf  [2048]byte

	n    int
	from netip.Addr
	ttl  int
}

func newInbox() *inbox {
	in := &inbox{}
	in.iov.Base = &in.buf[0]
	in.iov.SetLen(len(in.buf))
	in.hdr.Iov, in.hdr.Iovlen = &in.iov, 1
	in.hdr.Name = (*byte)(unsafe.Pointer(&in.name))
	in.hdr.Control = &in.oob[0]
	return in
}

// receive takes one packet off a socket; false: there is none, or there was an error, which tells nothing that can be
// believed. more: there may be another one.
func (in *inbox) receive(fd int) (ok, more bool) {
	in.hdr.Namelen = unix.SizeofSockaddrInet4
	in.hdr.SetControllen(len(in.oob))
	in.hdr.Flags = 0
	n, _, errno := syscall.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.hdr)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return false, errno != unix.EAGAIN && errno != unix.EBADF
	}
	if in.hdr.Flags&unix.MSG_TRUNC != 0 {
		return false, true
	}
	in.n, in.from, in.ttl = int(n), netip.AddrFrom4(in.name.Addr), -1
	for rest := in.oob[:in.hdr.Controllen]; len(rest) > unix.SizeofCmsghdr; {
		h, data, more, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL && len(data) >= 4 {
			in.ttl = int(binary.NativeEndian.Uint32(data))
		}
		rest = more
	}
	return true, true
}

func (in *inbox) data() []byte { return in.buf[:in.n] }

// reply sends b to where the packet came from.
func (in *inbox) reply(fd int, b []byte, to *unix.SockaddrInet4) {
	to.Addr, to.Port = in.name.Addr, int(in.name.Port>>8|in.name.Port<<8)
	_ = unix.Sendto(fd, b, unix.MSG_DONTWAIT, to) // a lost answer is one that the path may lose too
}

// Lengths of an ICMP echo: its header, the number of the question, and a sign that it is ours.
const echoLen, echoMagic = 8 + 8, 0x43776854

// echo writes an echo request.
func echo(b *[echoLen]byte, ident, seq uint16, id uint32) {
	be := binary.BigEndian
	b[0], b[1], b[2], b[3] = 8, 0, 0, 0
	be.PutUint16(b[4:], ident)
	be.PutUint16(b[6:], seq)
	be.PutUint32(b[8:], id)
	be.PutUint32(b[12:], echoMagic)
	sum := uint32(0)
	for i := 0; i < echoLen; i += 2 {
		sum += uint32(be.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	be.PutUint16(b[2:], ^uint16(sum))
}

// echoed reads an IPv4 packet with an echo reply.
func echoed(ip []byte, ident uint16) (id uint32, ok bool) {
	if len(ip) < 20 || ip[0]>>4 != 4 {
		return 0, false
	}
	ihl := int(ip[0]&0xf) * 4
	if ihl < 20 || len(ip) < ihl+echoLen {
		return 0, false
	}
	b, be := ip[ihl:], binary.BigEndian
	if b[0] != 0 || b[1] != 0 || be.Uint16(b[4:]) != ident || be.Uint32(b[12:]) != echoMagic {
		return 0, false
	}
	return be.Uint32(b[8:]), true
}
