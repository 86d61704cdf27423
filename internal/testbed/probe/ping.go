// Package probe sends and receives packets inside a lab's namespaces: ping,
// traceroute and capture, so that nothing need be installed for them.
package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostnet"
)

// ICMP types (RFC 792).
const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEchoRequest  = 8
	icmpTimeExceeded = 11

	codePortUnreachable = 3
)

// PingResult is what came of a ping.
type PingResult struct {
	Sent, Received int
	RTT            []time.Duration // of those received
}

// OK tells whether every echo came back.
func (r PingResult) OK() bool { return r.Sent > 0 && r.Sent == r.Received }

// PingOptions say how to ping.
type PingOptions struct {
	Source  netip.Addr // zero: the kernel chooses
	Count   int
	Size    int           // bytes of ICMP payload
	Timeout time.Duration // for each echo; 1 s if zero
}

// Ping sends echo requests from the namespace, the next one when the answer to the
// last has come or its time is over.
func Ping(ctx context.Context, ns *hostnet.NetNS, to netip.Addr, o PingOptions) (PingResult, error) {
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	var res PingResult
	conn, err := listenICMP(ns, o.Source)
	if err != nil {
		return res, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	id := uint16(rand.Uint32())
	buf := make([]byte, 65536)
	for seq := range o.Count {
		if ctx.Err() != nil {
			return res, ctx.Err()
		}
		sent := time.Now()
		res.Sent++
		if _, err := conn.WriteTo(echo(id, uint16(seq), o.Size), &net.IPAddr{IP: to.AsSlice()}); err != nil {
			if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EMSGSIZE) {
				continue
			}
			return res, fmt.Errorf("ping %s from %s: %w", to, ns.Name, err)
		}
		if err := conn.SetReadDeadline(sent.Add(o.Timeout)); err != nil {
			return res, fmt.Errorf("ping %s from %s: %w", to, ns.Name, err)
		}
		for {
			n, from, err := conn.ReadFrom(buf)
			if ctx.Err() != nil {
				return res, ctx.Err()
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return res, fmt.Errorf("ping %s from %s: %w", to, ns.Name, err)
			}
			if isReply(buf[:n], id, uint16(seq)) && fromAddr(from) == to {
				res.Received++
				res.RTT = append(res.RTT, time.Since(sent))
				break
			}
		}
	}
	return res, nil
}

// listenICMP opens a raw ICMP socket in the namespace.
func listenICMP(ns *hostnet.NetNS, source netip.Addr) (net.PacketConn, error) {
	addr := "0.0.0.0"
	if source.IsValid() {
		addr = source.String()
	}
	var conn net.PacketConn
	err := ns.Do(func() (err error) {
		conn, err = net.ListenPacket("ip4:icmp", addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open an ICMP socket in %s: %w", ns.Name, err)
	}
	return conn, nil
}

func fromAddr(a net.Addr) netip.Addr {
	if ip, ok := a.(*net.IPAddr); ok {
		addr, _ := netip.AddrFromSlice(ip.IP)
		return addr.Unmap()
	}
	return netip.Addr{}
}

func echo(id, seq uint16, size int) []byte {
	b := make([]byte, 8+size)
	b[0] = icmpEchoRequest
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	for i := range size {
		b[8+i] = byte(i)
	}
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

func isReply(b []byte, id, seq uint16) bool {
	return len(b) >= 8 && b[0] == icmpEchoReply && b[1] == 0 &&
		binary.BigEndian.Uint16(b[4:]) == id && binary.BigEndian.Uint16(b[6:]) == seq
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
