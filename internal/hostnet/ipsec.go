package hostnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// IPsecPolicy is a policy of the kernel's IPsec (xfrm), as far as it matters to tunnels.
type IPsecPolicy struct {
	Out      bool // of what leaves; else of what comes in
	Src, Dst netip.Prefix
	Proto    uint8 // 0: any
	SrcPort  uint16
	DstPort  uint16 // 0: any
	Ifindex  int    // 0: any
	Priority int    // the smallest comes first
	Marked   bool   // only for packets with a mark, or of a device of IPsec's own
	// Clear lets packets pass as they are. Others want them protected, or drop them.
	Clear bool
	Words string
}

// IPsec is what the kernel's IPsec says of IPv4 packets.
type IPsec struct {
	Policies []IPsecPolicy // in the order in which the kernel looks at those of one priority
	// BlockIn and BlockOut: what no policy speaks of is dropped.
	BlockIn, BlockOut bool
}

// About tells in words what speaks of the packets between two addresses to one of these UDP ports:
// they must not go in clear then. "": nothing does.
func (s IPsec) About(local, remote netip.Addr, ports ...uint16) string {
	for _, port := range ports {
		if w := s.about(true, local, remote, port, s.BlockOut); w != "" {
			return w
		}
		if w := s.about(false, remote, local, port, s.BlockIn); w != "" {
			return w
		}
	}
	return ""
}

func (s IPsec) about(out bool, src, dst netip.Addr, port uint16, block bool) string {
	ps := slices.Clone(s.Policies)
	slices.SortStableFunc(ps, func(a, b IPsecPolicy) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, p := range ps {
		some, all := p.match(src, dst, port)
		switch {
		case p.Out != out || !some:
		case !p.Clear:
			return p.Words
		case all:
			return ""
		}
	}
	if block {
		return "default action block (ip xfrm policy getdefault)"
	}
	return ""
}

// match tells whether a policy speaks of some, and of all, packets from src to a UDP port of dst.
// Their source ports are many, and the interface may be one of several.
func (p IPsecPolicy) match(src, dst netip.Addr, port uint16) (some, all bool) {
	some = !p.Marked && p.Src.Contains(src) && p.Dst.Contains(dst) &&
		(p.Proto == 0 || p.Proto == unix.IPPROTO_UDP) && (p.DstPort == 0 || p.DstPort == port)
	return some, some && p.SrcPort == 0 && p.Ifindex == 0
}

// IPsec reads the policies. A kernel without xfrm has none.
func (h *Host) IPsec() (IPsec, error) {
	var s IPsec
	ps, err := retryDump(func() ([]netlink.XfrmPolicy, error) { return h.nl.XfrmPolicyList(netlink.FAMILY_V4) })
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("list IPsec policies: %w", err)
	}
	for _, p := range ps {
		if p.Dir != netlink.XFRM_DIR_OUT && p.Dir != netlink.XFRM_DIR_IN {
			continue
		}
		q := IPsecPolicy{
			Out: p.Dir == netlink.XFRM_DIR_OUT, Src: prefixOf(p.Src), Dst: prefixOf(p.Dst),
			Proto: uint8(p.Proto), SrcPort: uint16(p.SrcPort), DstPort: uint16(p.DstPort),
			Ifindex: p.Ifindex, Priority: p.Priority,
			Marked: p.Ifid != 0 || p.Mark != nil && p.Mark.Value&p.Mark.Mask != 0,
			Clear:  p.Action == netlink.XFRM_POLICY_ALLOW && len(p.Tmpls) == 0,
		}
		q.Words = q.words(p)
		s.Policies = append(s.Policies, q)
	}
	s.BlockIn, s.BlockOut, err = ipsecDefaults()
	return s, err
}

func (p IPsecPolicy) words(q netlink.XfrmPolicy) string {
	w := []string{"src", p.Src.String(), "dst", p.Dst.String()}
	if p.Proto != 0 {
		w = append(w, fmt.Sprint("proto ", p.Proto))
	}
	if p.SrcPort != 0 {
		w = append(w, fmt.Sprint("sport ", p.SrcPort))
	}
	if p.DstPort != 0 {
		w = append(w, fmt.Sprint("dport ", p.DstPort))
	}
	w = append(w, q.Dir.String(), fmt.Sprint("priority ", p.Priority), "action "+q.Action.String())
	for _, t := range q.Tmpls {
		w = append(w, fmt.Sprintf("tmpl proto %s mode %s", t.Proto, t.Mode))
	}
	return strings.Join(w, " ")
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n != nil {
		ones, _ := n.Mask.Size()
		if a, ok := netip.AddrFromSlice(n.IP.To4()); ok {
			return netip.PrefixFrom(a, ones)
		}
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// Of linux/xfrm.h.
const (
	xfrmGetDefault  = 0x28 // XFRM_MSG_GETDEFAULT, with struct xfrm_userpolicy_default: in, fwd, out
	xfrmBlock       = 1    // XFRM_USERPOLICY_BLOCK
	xfrmGroupPolicy = 4    // XFRMNLGRP_POLICY
)

// ipsecDefaults are the default actions, which kernels before 5.14 have not got.
func ipsecDefaults() (in, out bool, err error) {
	req := nl.NewNetlinkRequest(xfrmGetDefault, 0)
	req.AddRawData([]byte{0, 0, 0, 0})
	msgs, err := req.Execute(unix.NETLINK_XFRM, xfrmGetDefault)
	if errors.Is(err, unix.EINVAL) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("ask for the default IPsec policy: %w", err)
	}
	for _, m := range msgs {
		if len(m) >= 3 {
			in, out = m[0] == xfrmBlock, m[2] == xfrmBlock
		}
	}
	return in, out, nil
}

// WatchIPsec calls tell once it watches, and after each change of the policies, from one
// goroutine that it waits for, until ctx ends.
func (h *Host) WatchIPsec(ctx context.Context, tell func()) error {
	sock, err := nl.Subscribe(unix.NETLINK_XFRM, xfrmGroupPolicy)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		h.log.Debug("the kernel has no IPsec", "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("subscribe to IPsec events: %w", err)
	}
	defer sock.Close()
	// The library's Receive does not end when the socket is closed.
	if err := sock.SetReceiveTimeout(&unix.Timeval{Usec: 250_000}); err != nil {
		return fmt.Errorf("set netlink timeout: %w", err)
	}
	tell()
	for ctx.Err() == nil {
		_, _, err := sock.Receive()
		switch {
		case err == nil, errors.Is(err, unix.ENOBUFS): // events were lost: there were some
			tell()
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		default:
			return fmt.Errorf("receive IPsec events: %w", err)
		}
	}
	return nil
}
