package dataplane

import (
	"net"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testutil"
)

// roomReader stores to room how many bytes the packet has before its frame, and one more, so that 0
// tells that none came.
func roomReader(t *testing.T, room *ebpf.Map) *ebpf.Program {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var cast *btf.Func
	var skb *btf.Struct
	for name, typ := range map[string]any{"bpf_cast_to_kern_ctx": &cast, "sk_buff": &skb} {
		if err := kernel.TypeByName(name, typ); err != nil {
			t.Fatalf("%s of the kernel: %v", name, err)
		}
	}
	id, err := kernel.TypeID(cast)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int16{}
	for _, m := range skb.Members {
		at[m.Name] = int16(m.Offset.Bytes())
	}
	if at["data"] == 0 || at["head"] == 0 {
		t.Fatalf("struct sk_buff of this kernel has no data and head of its own: %v", at)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, AttachType: ebpf.AttachTCXIngress, License: "GPL",
		Instructions: asm.Instructions{
			{OpCode: asm.Call.Op(asm.ImmSource), Src: asm.PseudoKfuncCall, Constant: int64(id)},
			asm.LoadMem(asm.R6, asm.R0, at["data"], asm.DWord), asm.LoadMem(asm.R7, asm.R0, at["head"], asm.DWord),
			asm.Sub.Reg(asm.R6, asm.R7), asm.Add.Imm(asm.R6, 1),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, room.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "end"),
			asm.StoreMem(asm.R0, 0, asm.R6, asm.Word),
			asm.Mov.Imm(asm.R0, 2).WithSymbol("end"), asm.Return(), // TCX_DROP
		},
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestRoomOfTaps: what a virtual machine sends has room for the outer headers, so that the kernel need
// not make its head anew (docs/performance.md).
func TestRoomOfTaps(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	if !testutil.InNetNS(t) {
		return
	}
	room := newArray(t, 4, 1)
	reader := roomReader(t, room)
	const vnetHeader = 10
	for name, tap := range map[string]struct{ flags, header int }{"plain0": {0, 0}, "vnet0": {unix.IFF_VNET_HDR, vnetHeader}} {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		req, err := unix.NewIfreq(name)
		if err != nil {
			t.Fatal(err)
		}
		req.SetUint16(uint16(unix.IFF_TAP | unix.IFF_NO_PI | tap.flags))
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			t.Fatal(err)
		}
		run(t, "ip link set %s up", name)
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: reader, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, size := range []int{60, 1500, 9000} {
			if err := room.Put(uint32(0), uint32(0)); err != nil {
				t.Fatal(err)
			}
			// The program has run when the write returns (tun_rx_batched).
			if _, err := unix.Write(fd, make([]byte, tap.header+size)); err != nil {
				t.Fatal(err)
			}
			var v uint32
			if err := room.Lookup(uint32(0), &v); err != nil {
				t.Fatal(err)
			}
			if v < packet.VXLANOverhead+1 {
				t.Errorf("%s: a frame of %d bytes has room for %d before it, want %d", name, size, int(v)-1, packet.VXLANOverhead)
			}
		}
	}
}
