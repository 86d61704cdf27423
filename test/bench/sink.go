package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// discard is the UDP port that the sink counts (RFC 863).
const discard = 9

// sink counts and drops UDP packets to the discard port where they come into a
// namespace, before any socket, so that the receiver costs next to nothing.
type sink struct {
	counter *ebpf.Map
	link    link.Link
}

// TCX return codes (linux/bpf.h, enum tcx_action_base).
const (
	tcxNext = -1
	tcxDrop = 2
)

// Offsets in struct __sk_buff (linux/bpf.h).
const (
	skbData    = 76
	skbDataEnd = 80
)

func sinkProgram(counter *ebpf.Map) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name:    "bench_sink",
		Type:    ebpf.SchedCLS,
		License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, skbData, asm.Word),
			asm.LoadMem(asm.R3, asm.R1, skbDataEnd, asm.Word),
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, 14+20+8),
			asm.JGT.Reg(asm.R4, asm.R3, "next"),
			asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
			asm.HostTo(asm.BE, asm.R4, asm.Half),
			asm.JNE.Imm(asm.R4, unix.ETH_P_IP, "next"),
			asm.LoadMem(asm.R4, asm.R2, 14+9, asm.Byte),
			asm.JNE.Imm(asm.R4, unix.IPPROTO_UDP, "next"),
			asm.LoadMem(asm.R4, asm.R2, 14+20+2, asm.Half),
			asm.HostTo(asm.BE, asm.R4, asm.Half),
			asm.JNE.Imm(asm.R4, discard, "next"),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, counter.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "drop"),
			asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, tcxDrop).WithSymbol("drop"),
			asm.Return(),
			asm.Mov.Imm(asm.R0, tcxNext).WithSymbol("next"),
			asm.Return(),
		},
	}
}

// newSink attaches a sink to where packets come in at the device.
func newSink(n netns, device string) (*sink, error) {
	counter, err := ebpf.NewMap(&ebpf.MapSpec{Name: "bench_sink", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make the sink's counter: %w", err)
	}
	program, err := ebpf.NewProgram(sinkProgram(counter))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load the sink: %w", err), counter.Close())
	}
	defer program.Close()
	s := &sink{counter: counter}
	err = n.do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		s.link, err = link.AttachTCX(link.TCXOptions{Interface: dev.Index, Program: program, Attach: ebpf.AttachTCXIngress})
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach the sink to %s in %s: %w", device, n, err), counter.Close())
	}
	return s, nil
}

// count is the packets since it was attached.
func (s *sink) count() (uint64, error) {
	var perCPU []uint64
	if err := s.counter.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("read the sink: %w", err)
	}
	var sum uint64
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

func (s *sink) close() error { return errors.Join(s.link.Close(), s.counter.Close()) }
