package hostnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Path is the way of outer packets to a VTEP.
type Path struct {
	Index int // of the interface they leave by
	MTU   int // largest outer IP packet, bytes; what ICMP has taught the kernel counts
	// LinkMTU is the interface's own.
	LinkMTU int
}

// Path asks the kernel for the way from local to remote, by its rules and tables, as
// the kernel's own packets go. ok is false where there is none.
func (h *Host) Path(local, remote netip.Addr) (p Path, ok bool, err error) {
	rs, err := h.nl.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{SrcAddr: local.AsSlice()})
	if err != nil {
		// Not a route, or a source address that the host has not got (yet).
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return Path{}, false, nil
		}
		return Path{}, false, fmt.Errorf("look up route from %s to %s: %w", local, remote, err)
	}
	if len(rs) == 0 || rs[0].Type != unix.RTN_UNICAST {
		return Path{}, false, nil
	}
	p = Path{Index: rs[0].LinkIndex, MTU: rs[0].MTU}
	l, err := h.nl.LinkByIndex(p.Index)
	if err != nil {
		if isNotFound(err) {
			return Path{}, false, nil
		}
		return Path{}, false, fmt.Errorf("look up interface %d: %w", p.Index, err)
	}
	p.LinkMTU = l.Attrs().MTU
	if p.MTU == 0 || p.LinkMTU < p.MTU {
		p.MTU = p.LinkMTU
	}
	return p, true, nil
}

// DefaultRouteInterfaces are the interfaces of the main table's default routes.
func (h *Host) DefaultRouteInterfaces() ([]int, error) {
	rs, err := retryDump(func() ([]netlink.Route, error) {
		return h.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: TableMain}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	out := []int{}
	for _, r := range rs {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if r.LinkIndex != 0 {
			out = append(out, r.LinkIndex)
		}
		for _, n := range r.MultiPath {
			out = append(out, n.LinkIndex)
		}
	}
	return out, nil
}

// PathTooSmall is an ICMP "fragmentation needed" that quotes one of our outer packets.
type PathTooSmall struct {
	Local, Remote netip.Addr
}

// WatchPathMTU calls tell, from one goroutine that it waits for, for each ICMP
// "fragmentation needed" about an outer packet, until ctx ends. The kernel has judged the
// message and remembers the new MTU by then; Path tells it.
func (h *Host) WatchPathMTU(ctx context.Context, tell func(PathTooSmall)) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if err != nil {
		return fmt.Errorf("open ICMP socket: %w", err)
	}
	// ICMP_FILTER (linux/icmp.h): a set bit blocks the type. Only type 3 comes.
	const solRaw, icmpFilter = 255, 1
	if err := unix.SetsockoptInt(fd, solRaw, icmpFilter, int(^uint32(1<<3))); err != nil {
		unix.Close(fd)
		return fmt.Errorf("set ICMP filter: %w", err)
	}
	f := os.NewFile(uintptr(fd), "icmp")
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	defer f.Close()
	buf := make([]byte, 2048)
	for {
		n, err := f.Read(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read ICMP socket: %w", err)
		}
		if p, ok := parsePathTooSmall(buf[:n]); ok {
			tell(p)
		}
	}
}

// parsePathTooSmall reads an IPv4 packet with ICMP 3/4 that quotes a UDP packet to port
// 4789 (RFC 792, RFC 1191 §4).
func parsePathTooSmall(b []byte) (PathTooSmall, bool) {
	ip, ok := ipv4Payload(b, unix.IPPROTO_ICMP)
	if !ok || len(ip) < 8 || ip[0] != 3 || ip[1] != 4 {
		return PathTooSmall{}, false
	}
	quoted := ip[8:]
	udp, ok := ipv4Payload(quoted, unix.IPPROTO_UDP)
	if !ok || len(udp) < 4 || binary.BigEndian.Uint16(udp[2:]) != VXLANPort {
		return PathTooSmall{}, false
	}
	return PathTooSmall{
		Local:  netip.AddrFrom4([4]byte(quoted[12:16])),
		Remote: netip.AddrFrom4([4]byte(quoted[16:20])),
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
