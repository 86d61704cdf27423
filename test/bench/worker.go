package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A worker is this program again, inside a workload's namespace and pinned to
// one CPU. It makes system calls without telling Go's scheduler (RawSyscall), so
// that the runtime adds nothing to a round trip; its main goroutine is the only
// one with work.

// workerEnvironment keeps the runtime quiet: no preemption signals, no collector.
var workerEnvironment = []string{"GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=1", "GOGC=off"}

// result is what a worker prints when it is done, as one JSON line.
type result struct {
	Packets uint64  `json:"packets,omitempty"`
	Bytes   uint64  `json:"bytes,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	P50     float64 `json:"p50_us,omitempty"`
	P99     float64 `json:"p99_us,omitempty"`
}

// worker runs one role: send ADDR SECONDS, echo PORT, ask ADDR:PORT SECONDS,
// receive PORT WARMUP SECONDS, push ADDR:PORT SECONDS.
func worker(args []string) error {
	runtime.LockOSThread()
	var cpus unix.CPUSet
	cpus.Set(0)
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		return fmt.Errorf("pin to CPU 0: %w", err)
	}
	if len(args) < 2 {
		return errors.New("a worker wants a role and where")
	}
	seconds := func(i int) time.Duration {
		if i >= len(args) {
			return 0
		}
		s, _ := strconv.ParseFloat(args[i], 64)
		return time.Duration(s * float64(time.Second))
	}
	var r result
	var err error
	switch args[0] {
	case "send":
		r, err = send(args[1], seconds(2))
	case "echo":
		err = echo(args[1])
	case "ask":
		r, err = ask(args[1], seconds(2))
	case "receive":
		r, err = receive(args[1], seconds(2), seconds(3))
	case "push":
		r, err = push(args[1], seconds(2))
	default:
		err = fmt.Errorf("unknown role %q", args[0])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func socketTo(kind int, to string) (int, error) {
	a, err := netip.ParseAddrPort(to)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
}

// accept listens, says so on standard output, and takes one connection.
func accept(port string) (int, error) {
	p, err := strconv.Atoi(port)
	if err != nil {
		return -1, err
	}
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(l)
	if err := unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, err
	}
	if err := unix.Bind(l, &unix.SockaddrInet4{Port: p}); err != nil {
		return -1, err
	}
	if err := unix.Listen(l, 1); err != nil {
		return -1, err
	}
	fmt.Println("ready")
	for {
		fd, _, err := unix.Accept(l)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// call is a raw read or write; it starts again where a signal cut in.
func call(nr uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(nr, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), nil
	}
}

// mmsghdr is struct mmsghdr (sendmmsg(2)).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// send is 64-byte UDP as fast as it goes, 64 packets a call.
func send(to string, d time.Duration) (result, error) {
	fd, err := socketTo(unix.SOCK_DGRAM, to)
	if err != nil {
		return result{}, err
	}
	payload := make([]byte, 64)
	iov := unix.Iovec{Base: &payload[0]}
	iov.SetLen(len(payload))
	msgs := make([]mmsghdr, 64)
	for i := range msgs {
		msgs[i].hdr.Iov = &iov
		msgs[i].hdr.SetIovlen(1)
	}
	var sent uint64
	start := time.Now()
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), 0, 0, 0)
		switch e {
		case 0:
			sent += uint64(n)
		case unix.EINTR, unix.ENOBUFS, unix.EAGAIN:
		default:
			return result{}, e
		}
		if gone := time.Since(start); gone >= d {
			runtime.KeepAlive(payload)
			return result{Packets: sent, Seconds: gone.Seconds()}, nil
		}
	}
}

// echo answers each byte until the other side closes.
func echo(port string) error {
	fd, err := accept(port)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	b := make([]byte, 64)
	for {
		n, err := call(unix.SYS_READ, fd, b)
		if err != nil || n == 0 {
			return err
		}
		if _, err := call(unix.SYS_WRITE, fd, b[:n]); err != nil {
			return err
		}
	}
}

// ask times round trips of one byte.
func ask(to string, d time.Duration) (result, error) {
	fd, err := socketTo(unix.SOCK_STREAM, to)
	if err != nil {
		return result{}, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return result{}, err
	}
	took := make([]uint32, 0, 1<<20) // ns
	b := make([]byte, 1)
	start := time.Now()
	var before, at time.Duration // since start: one reading of the clock a round trip
	for at < d && len(took) < cap(took) {
		if _, err := call(unix.SYS_WRITE, fd, b); err != nil {
			return result{}, err
		}
		if n, err := call(unix.SYS_READ, fd, b); err != nil || n == 0 {
			return result{}, fmt.Errorf("read %d bytes: %w", n, err)
		}
		at = time.Since(start)
		took = append(took, uint32(at-before))
		before = at
	}
	seconds := at.Seconds()
	if len(took) == 0 {
		return result{}, errors.New("not one round trip")
	}
	slices.Sort(took)
	us := func(q int) float64 { return float64(took[len(took)*q/100]) / 1e3 }
	return result{Packets: uint64(len(took)), Seconds: seconds, P50: us(50), P99: us(99)}, nil
}

// bulkBuffer is how much bulk TCP reads and writes at once, as iperf3 does.
const bulkBuffer = 128 << 10

// receive counts bytes for d, from warmup after the first one.
func receive(port string, warmup, d time.Duration) (result, error) {
	fd, err := accept(port)
	if err != nil {
		return result{}, err
	}
	b := make([]byte, bulkBuffer)
	var bytes uint64
	var from time.Time
	first := time.Now()
	for {
		n, err := call(unix.SYS_READ, fd, b)
		if err != nil {
			return result{}, err
		}
		if n == 0 {
			return result{}, errors.New("the sender closed too early")
		}
		now := time.Now()
		switch {
		case from.IsZero() && now.Sub(first) >= warmup:
			from = now
		case !from.IsZero():
			bytes += uint64(n)
			if gone := now.Sub(from); gone >= d {
				return result{Bytes: bytes, Seconds: gone.Seconds()}, nil
			}
		}
	}
}

// push writes until the receiver has enough and closes, or d is over.
func push(to string, d time.Duration) (result, error) {
	fd, err := socketTo(unix.SOCK_STREAM, to)
	if err != nil {
		return result{}, err
	}
	b := make([]byte, bulkBuffer)
	var bytes uint64
	start := time.Now()
	for time.Since(start) < d {
		n, err := call(unix.SYS_WRITE, fd, b)
		if err == unix.ECONNRESET || err == unix.EPIPE {
			break
		}
		if err != nil {
			return result{}, err
		}
		bytes += uint64(n)
	}
	return result{Bytes: bytes, Seconds: time.Since(start).Seconds()}, nil
}
