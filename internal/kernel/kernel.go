// Package kernel says in words what this machine's kernel lacks of what the programs need. It
// tries things and asks for no version: distributions bring features back to older kernels, and
// build newer ones without them.
package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// errLacks says that what was tried is not there.
var errLacks = errors.New("not there")

// need is something that the kernel must have.
type need struct {
	what string // goes on "the kernel lacks …"
	try  func() error
}

// Check names all that the kernel lacks: of what programs of this kind need in general, and of
// what spec has, if it is not nil. It needs root.
func Check(spec *ebpf.CollectionSpec) error {
	// Kernels since 5.11 account for maps otherwise, and some sandboxes refuse.
	_ = rlimit.RemoveMemlock()
	needs := general()
	if spec != nil {
		needs = append(needs, of(spec)...)
	}
	return check(needs)
}

func check(needs []need) error {
	var lacks []string
	for _, n := range needs {
		err := n.try()
		switch {
		case errors.Is(err, errLacks):
			lacks = append(lacks, n.what)
		case err != nil:
			return fmt.Errorf("ask the kernel for %s: %w", n.what, err)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return fmt.Errorf("the kernel (%s) lacks %s; Linux 6.6 has all of it, built as Debian builds it", release(), strings.Join(lacks, "; "))
}

// realTime tells a real-time kernel by uname's version, which names its kind of preemption
// (scripts/mkcompile_h), and by /sys/kernel/realtime, which only the patches outside of
// the kernel's own tree add.
func realTime(version, file string) bool {
	return slices.Contains(strings.Fields(version), "PREEMPT_RT") || strings.TrimSpace(file) == "1"
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown release"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// general is what no list of helpers shows: links, flags, sizes, and how the kernel is built.
func general() []need {
	return []need{
		{"a file system for pinned programs (CONFIG_BPF_SYSCALL)", func() error {
			b, err := os.ReadFile("/proc/filesystems")
			if err == nil && !bytes.Contains(b, []byte("\tbpf\n")) {
				return errLacks
			}
			return err
		}},
		{"its own BTF in /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)", func() error {
			_, err := os.Stat("/sys/kernel/btf/vmlinux")
			if errors.Is(err, os.ErrNotExist) {
				return errLacks
			}
			return err
		}},
		// There a packet's program may be stopped for another packet's on the same processor.
		{"programs that run to their end: this is a real-time kernel (PREEMPT_RT)", func() error {
			var u unix.Utsname
			if err := unix.Uname(&u); err != nil {
				return err
			}
			file, err := os.ReadFile("/sys/kernel/realtime")
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if realTime(unix.ByteSliceToString(u.Version[:]), string(file)) {
				return errLacks
			}
			return nil
		}},
		{"TCX links (CONFIG_NET_XGRESS)", tcx},
		{"netfilter links for eBPF (CONFIG_NETFILTER_BPF_LINK)", netfilterLink},
		{"bpf_fib_lookup in a table of the caller's choice (BPF_FIB_LOOKUP_TBID)", func() error {
			return accepts(fibLookup(fibDirect | fibTBID))
		}},
		{"bpf_skb_adjust_room that puts a header before a frame (BPF_F_ADJ_ROOM_ENCAP_L2_ETH)", func() error {
			return accepts(adjustRoom(tunnelHeader, roomFixedGSO|roomEncapIPv4|roomEncapUDP|14<<roomEncapL2Shift|roomEncapL2Eth))
		}},
		{"bpf_skb_adjust_room that takes IPv4 off IPv6 (BPF_F_ADJ_ROOM_DECAP_L3_IPV6)", func() error {
			return accepts(adjustRoom(-tunnelHeader, roomFixedGSO|roomDecapIPv6))
		}},
		{"tunnel keys with the local address (struct bpf_tunnel_key of 44 bytes)", func() error {
			return accepts(setTunnelKey(44))
		}},
	}
}
