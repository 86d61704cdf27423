package kernel

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// include/uapi/linux/bpf.h
const (
	fibDirect        = 1 << 0
	fibTBID          = 1 << 3
	roomMAC          = 1
	roomFixedGSO     = 1 << 0
	roomEncapIPv4    = 1 << 1
	roomEncapUDP     = 1 << 4
	roomEncapL2Eth   = 1 << 6
	roomDecapIPv6    = 1 << 8
	roomEncapL2Shift = 56
	zeroChecksum     = 1 << 1
)

const tunnelHeader = 50 // IPv4, UDP, VXLAN and Ethernet

// tcx tries to attach to an interface that is not there: who knows TCX looks for it.
func tcx() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		return loadError(err)
	}
	defer p.Close()
	l, err := link.AttachTCX(link.TCXOptions{Interface: math.MaxInt32, Program: p, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, link.ErrNotSupported) {
		return errLacks
	}
	return nil
}

// netfilterLink tries to attach at a family that no such link has.
func netfilterLink() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Netfilter, AttachType: ebpf.AttachNetfilter, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		return loadError(err)
	}
	defer p.Close()
	l, err := link.AttachNetfilter(link.NetfilterOptions{Program: p, ProtocolFamily: link.NetfilterProtoBridge})
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	return errLacks
}

// loadError is what a program that any kernel with the feature takes came to.
func loadError(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EACCES) {
		return errLacks
	}
	return err
}

// accepts runs a program that returns what a helper said: EINVAL where the kernel does not know
// the flags or the size.
func accepts(ins asm.Instructions) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: ins})
	if err != nil {
		return loadError(err)
	}
	defer p.Close()
	packet := make([]byte, 256)
	packet[12], packet[14] = 0x08, 0x45 // IPv4
	said, _, err := p.Test(packet)
	if err != nil {
		return fmt.Errorf("run a program: %w", err)
	}
	if int32(said) == -int32(unix.EINVAL) {
		return errLacks
	}
	return nil
}

// zeros writes n bytes of 0, a multiple of 8, below the frame pointer, and points r2 there. r6
// keeps the packet.
func zeros(n int16) asm.Instructions {
	ins := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1), asm.Mov.Imm(asm.R0, 0)}
	for at := -n; at < 0; at += 8 {
		ins = append(ins, asm.StoreMem(asm.RFP, at, asm.R0, asm.DWord))
	}
	return append(ins, asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(-n)))
}

func fibLookup(flags int32) asm.Instructions {
	const size, family, ifindex = 64, 0, 8 // of struct bpf_fib_lookup
	return append(zeros(size),
		asm.StoreImm(asm.RFP, family-size, unix.AF_INET, asm.Byte),
		asm.StoreImm(asm.RFP, ifindex-size, 1, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R3, size), asm.Mov.Imm(asm.R4, flags),
		asm.FnFibLookup.Call(), asm.Return(),
	)
}

func adjustRoom(by int32, flags int64) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, by), asm.Mov.Imm(asm.R3, roomMAC), asm.LoadImm(asm.R4, flags, asm.DWord),
		asm.FnSkbAdjustRoom.Call(), asm.Return(),
	}
}

func setTunnelKey(size int32) asm.Instructions {
	return append(zeros(48),
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R3, size), asm.Mov.Imm(asm.R4, zeroChecksum),
		asm.FnSkbSetTunnelKey.Call(), asm.Return(),
	)
}

// of is what programs and maps show that they need.
func of(spec *ebpf.CollectionSpec) []need {
	var needs []need
	seen := map[string]bool{}
	add := func(what string, try func() error) {
		if !seen[what] {
			seen[what] = true
			needs = append(needs, need{what, try})
		}
	}
	for _, m := range spec.Maps {
		add(fmt.Sprintf("maps of type %s", m.Type), func() error { return supported(features.HaveMapType(m.Type)) })
	}
	for _, p := range spec.Programs {
		add(fmt.Sprintf("programs of type %s", p.Type), func() error { return supported(features.HaveProgramType(p.Type)) })
		for _, ins := range p.Instructions {
			switch {
			case ins.IsBuiltinCall():
				f := asm.BuiltinFunc(ins.Constant)
				add(fmt.Sprintf("%s for programs of type %s", helperName(f), p.Type), func() error {
					return supported(features.HaveProgramHelper(p.Type, f))
				})
			case ins.IsKfuncCall():
				add(fmt.Sprintf("the function %s for programs", ins.Reference()), func() error { return kfunc(ins.Reference()) })
			}
		}
	}
	return needs
}

// supported reads what package features says. What it cannot tell, loading will.
func supported(err error) error {
	if errors.Is(err, ebpf.ErrNotSupported) {
		return errLacks
	}
	if errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

// kfunc looks for a function of the kernel in its BTF.
func kfunc(name string) error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil // it has no BTF, which is named already
	}
	var f *btf.Func
	err = kernel.TypeByName(name, &f)
	if errors.Is(err, btf.ErrNotFound) {
		return errLacks
	}
	return err
}

// helperName makes bpf_skb_store_bytes of FnSkbStoreBytes.
func helperName(f asm.BuiltinFunc) string {
	var b strings.Builder
	b.WriteString("bpf")
	for _, r := range strings.TrimPrefix(f.String(), "Fn") {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
