package dataplane

import (
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/causeway-net/causeway/internal/testutil"
)

// slowReader looks the endpoint of an all-zero key up and reads its first word (kind,
// flags, drop) again and again for some milliseconds. marks: 0: it has begun;
// 1: what it read last; 2: it has ended.
func slowReader(t *testing.T, endpoints, marks *ebpf.Map) *ebpf.Program {
	t.Helper()
	key := bpfEndpointKey{}
	var insns asm.Instructions
	mark := func(i int64, value asm.Instructions) {
		insns = append(insns,
			asm.StoreImm(asm.RFP, -16, i, asm.Word),
			asm.LoadMapPtr(asm.R1, marks.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -16),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "end"),
		)
		insns = append(insns, value...)
		insns = append(insns, asm.StoreMem(asm.R0, 0, asm.R1, asm.Word))
	}
	insns = append(insns,
		asm.StoreImm(asm.RFP, -12, int64(key.Net), asm.Word), asm.StoreImm(asm.RFP, -8, 0, asm.Word), asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, endpoints.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -12),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Reg(asm.R7, asm.R0),
	)
	mark(0, asm.Instructions{asm.Mov.Imm(asm.R1, 1)})
	insns = append(insns,
		asm.Mov.Imm(asm.R6, 150000),
		asm.FnKtimeGetNs.Call().WithSymbol("again"),
		asm.Add.Imm(asm.R6, -1),
		asm.JNE.Imm(asm.R6, 0, "again"),
	)
	mark(1, asm.Instructions{asm.LoadMem(asm.R1, asm.R7, 0, asm.Word)})
	mark(2, asm.Instructions{asm.Mov.Imm(asm.R1, 1)})
	insns = append(insns, asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: insns, License: "GPL"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// A program that has looked a row up and reads it late reads that row, or one
// to drop by: never a row that was written after it.
func TestRowsThatAreStillRead(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireCPUs(t, 2) // a program and a writer at once
	dp, err := Open(Config{PinDir: labPins(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	marks, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer marks.Close()
	table := dp.tables.endpoints
	reader := slowReader(t, table.m, marks)
	read := func(i uint32) (v uint32) {
		if err := marks.Lookup(i, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	var read1 bpfEndpointKey
	other := bpfEndpointKey{Net: 7}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const flag = 0x55 // marks the other tenant's row
	for what, change := range map[string]func(){
		"removed":  func() { check(table.del(read1)) },
		"replaced": func() { check(table.put(read1, bpfEndpoint{Kind: endpointPort, Ifindex: 9})) },
	} {
		for seen := 0; seen < 20; {
			check(table.put(read1, bpfEndpoint{Kind: endpointPort, Ifindex: 8}))
			check(table.del(other))
			for i := range uint32(3) {
				check(marks.Put(i, uint32(0)))
			}
			done := make(chan error, 1)
			onOneCPU(func() {
				go func() {
					_, err := reader.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
					done <- err
				}()
				for read(0) == 0 {
					runtime.Gosched()
				}
				change()
				check(table.put(other, bpfEndpoint{Kind: endpointPort, Flags: flag, Ifindex: 10}))
				if read(2) == 0 { // else it had ended before
					seen++
				}
			})
			check(testutil.Receive(t, "the reader's end", done))
			if v := read(1); v>>8&0xff == flag {
				t.Fatalf("the memory of a row that was %s, and is still read, is another's: %#x", what, v)
			}
		}
	}
}

// Spare rows take no room, end at a bound, and are known again after a restart.
func TestSpareRows(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	cfg := Config{PinDir: labPins(t), Limits: Limits{Endpoints: 4}}
	dp, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint32(4) {
		if err := dp.tables.endpoints.put(bpfEndpointKey{Net: n}, bpfEndpoint{}); err != nil {
			t.Fatal(err)
		}
	}
	// All rows replaced, a few times the bound, with the map full.
	for i := range uint32(maxSpares) {
		for n := range uint32(4) {
			if err := dp.tables.endpoints.put(bpfEndpointKey{Net: n}, bpfEndpoint{Id: i + 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := dp.tables.endpoints.put(bpfEndpointKey{Net: 4}, bpfEndpoint{}); err == nil {
		t.Error("a fifth row fits")
	}
	spare := dp.tables.endpoints.spares.n
	if spare == 0 || spare > maxSpares {
		t.Errorf("%d spare rows", spare)
	}
	if err := dp.Close(); err != nil {
		t.Fatal(err)
	}
	if dp, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	if err := dp.tables.load(); err != nil {
		t.Fatal(err)
	}
	if e := dp.tables.endpoints; len(e.have) != 4 || e.spares.n != spare {
		t.Errorf("%d rows and %d spare ones after a restart, want 4 and %d", len(e.have), e.spares.n, spare)
	}
}
