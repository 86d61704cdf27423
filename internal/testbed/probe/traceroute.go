package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostnet"
)

// Hop is one line of a traceroute.
type Hop struct {
	TTL  int
	Addr netip.Addr // zero: nobody answered
	RTT  time.Duration
	// Reached: the destination itself answered.
	Reached bool
	// Answer is the ICMP type and code, for people.
	Answer string
}

// traceroute's first port; each probe takes the next, as traceroute(8) does.
const traceroutePort = 33434

// probesPerHop bounds how often an unanswered hop is asked.
const probesPerHop = 3

// Traceroute sends UDP probes with a rising TTL until the destination says that the
// port is closed.
func Traceroute(ctx context.Context, ns *hostnet.NetNS, to netip.Addr, maxHops int, timeout time.Duration) ([]Hop, error) {
	icmp, err := listenICMP(ns, netip.Addr{})
	if err != nil {
		return nil, err
	}
	defer icmp.Close()
	defer context.AfterFunc(ctx, func() { icmp.SetDeadline(time.Unix(1, 0)) })()
	var udp *net.UDPConn
	err = ns.Do(func() (err error) {
		udp, err = net.ListenUDP("udp4", nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("traceroute from %s: %w", ns.Name, err)
	}
	defer udp.Close()
	source := uint16(udp.LocalAddr().(*net.UDPAddr).Port)

	var hops []Hop
	port := uint16(traceroutePort)
	for ttl := 1; ttl <= maxHops; ttl++ {
		hop := Hop{TTL: ttl}
		for range probesPerHop {
			if ctx.Err() != nil {
				return hops, ctx.Err()
			}
			port++
			if err := setTTL(udp, ttl); err != nil {
				return hops, fmt.Errorf("traceroute from %s: %w", ns.Name, err)
			}
			sent := time.Now()
			if _, err := udp.WriteToUDPAddrPort([]byte("causeway traceroute"), netip.AddrPortFrom(to, port)); err != nil {
				return hops, fmt.Errorf("traceroute from %s to %s: %w", ns.Name, to, err)
			}
			if answered, err := awaitAnswer(icmp, source, port, to, sent.Add(timeout), &hop); err != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				return hops, err
			} else if answered {
				hop.RTT = time.Since(sent)
				break
			}
		}
		hops = append(hops, hop)
		if hop.Reached {
			break
		}
	}
	return hops, nil
}

func setTTL(c *net.UDPConn, ttl int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl) })
	return errors.Join(err, serr)
}

// awaitAnswer waits for the ICMP error that quotes our probe.
func awaitAnswer(icmp net.PacketConn, source, port uint16, to netip.Addr, deadline time.Time, hop *Hop) (bool, error) {
	if err := icmp.SetReadDeadline(deadline); err != nil {
		return false, fmt.Errorf("traceroute: %w", err)
	}
	buf := make([]byte, 65536)
	for {
		n, from, err := icmp.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("traceroute: %w", err)
		}
		b := buf[:n]
		if len(b) < 8+20 || b[0] != icmpTimeExceeded && b[0] != icmpUnreachable {
			continue
		}
		quoted := b[8:]
		ihl := int(quoted[0]&15) * 4
		dst, _ := netip.AddrFromSlice(quoted[16:20])
		if len(quoted) < ihl+4 || quoted[9] != unix.IPPROTO_UDP || dst != to ||
			binary.BigEndian.Uint16(quoted[ihl:]) != source || binary.BigEndian.Uint16(quoted[ihl+2:]) != port {
			continue
		}
		hop.Addr = fromAddr(from)
		hop.Answer = fmt.Sprintf("%d/%d", b[0], b[1])
		hop.Reached = b[0] == icmpUnreachable && b[1] == codePortUnreachable && hop.Addr == to
		return true, nil
	}
}
