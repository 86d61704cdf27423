package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/causeway-net/causeway/internal/testutil"
)

// lateReader looks a row up and copies its first half. When it is told, by marks at 1, it copies the other half; or
// when it may run no longer. It stores to marks at 0 that it has begun, and at 2 that it was told.
func lateReader(t *testing.T, m *ebpf.Map, key []byte, marks, read *ebpf.Map) *ebpf.Program {
	t.Helper()
	var insns asm.Instructions
	at := func(m *ebpf.Map, i int64) {
		insns = append(insns,
			asm.StoreImm(asm.RFP, -4, i, asm.Word),
			asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "end"),
		)
	}
	copied := func(from, to uint32) {
		for at := int16(from); at < int16(to); at += 4 {
			insns = append(insns, asm.LoadMem(asm.R1, asm.R7, at, asm.Word), asm.StoreMem(asm.R8, at, asm.R1, asm.Word))
		}
	}
	at(read, 0)
	insns = append(insns, asm.Mov.Reg(asm.R8, asm.R0))
	start := -8 - int16(len(key)+7)/8*8
	for i := 0; i < len(key); i += 4 {
		insns = append(insns, asm.StoreImm(asm.RFP, start+int16(i), int64(int32(binary.NativeEndian.Uint32(key[i:]))), asm.Word))
	}
	insns = append(insns,
		asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(start)),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Reg(asm.R7, asm.R0),
	)
	half := m.ValueSize() / 8 * 4
	copied(0, half)
	at(marks, 0)
	insns = append(insns, asm.StoreImm(asm.R0, 0, 1, asm.Word))
	at(marks, 1)
	insns = append(insns,
		asm.Mov.Reg(asm.R9, asm.R0),
		asm.Mov.Imm(asm.R6, 5000),
		asm.FnKtimeGetNs.Call().WithSymbol("again"),
		asm.Add.Imm(asm.R6, -1),
		asm.JEq.Imm(asm.R6, 0, "end"),
		asm.LoadMem(asm.R1, asm.R9, 0, asm.Word),
		asm.JEq.Imm(asm.R1, 0, "again"),
		asm.Ja.Label("told"), // where the verifier sees that it has been
		asm.Mov.Imm(asm.R6, 0).WithSymbol("told"),
	)
	copied(half, m.ValueSize())
	at(marks, 2)
	insns = append(insns, asm.StoreImm(asm.R0, 0, 1, asm.Word))
	insns = append(insns, asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: insns, License: "GPL"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func newArray(t *testing.T, size, rows uint32) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: size, MaxEntries: rows})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// readLate has a program look a row up and read half of it after the row was removed or replaced and
// another one was written.
func (x *table[K, V]) readLate(t *testing.T) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	marks, read := newArray(t, 4, 3), newArray(t, x.m.ValueSize(), 1)
	row, other := randomBytes[K](rnd), randomBytes[K](rnd)
	key := unsafe.Slice((*byte)(unsafe.Pointer(&row)), unsafe.Sizeof(row))
	reader := lateReader(t, x.m, key, marks, read)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	marked := func(i uint32) bool {
		var v uint32
		check(marks.Lookup(i, &v))
		return v != 0
	}
	for what, change := range map[string]func(){
		"removed":  func() { check(x.del(row)) },
		"replaced": func() { check(x.put(row, randomBytes[V](rnd))) },
	} {
		for seen, tries := 0, 0; seen < 10; tries++ {
			if tries == 5000 {
				t.Fatalf("%s: a program could wait only %d times", x.name, seen)
			}
			want := randomBytes[V](rnd)
			check(x.put(row, want))
			check(x.del(other))
			for i := range uint32(3) {
				check(marks.Put(i, uint32(0)))
			}
			done := make(chan error, 1)
			onOneCPU(func() {
				go func() {
					_, err := reader.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
					done <- err
				}()
				for !marked(0) {
					runtime.Gosched()
				}
				change()
				check(x.put(other, randomBytes[V](rnd)))
				check(marks.Put(uint32(1), uint32(1)))
			})
			check(testutil.Receive(t, "the reader's end", done))
			if !marked(2) {
				continue // it could wait no longer
			}
			seen++
			var got V
			check(read.Lookup(uint32(0), &got))
			if got != want {
				t.Fatalf("%s: a row that was %s while a program read it was %v, and was read as %v", x.name, what, want, got)
			}
		}
	}
	check(x.del(row))
	check(x.del(other))
}

// TestRowsThatAreStillRead: a program that has looked a row up and reads it in parts reads that row, as it was then: no
// part of one that was written after it, nor of a spare one.
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
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tested(dp.tables) {
		// What is read of the others is that they are there, or waits for a grace period.
		if m := spec.Maps[x.mapName()]; m.Type == ebpf.Hash && !slices.Contains([]string{bpfMapPortAddrs, bpfMapTunnelIps, bpfMapVnis, bpfMapSpeakers}, x.mapName()) {
			x.readLate(t)
		}
	}
}

// Spare rows take no room, end at a bound, and are known again after a restart.
func TestSpareRows(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	cfg := Config{PinDir: labPins(t), Limits: Limits{FDB: 4}}
	dp, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint32(4) {
		if err := dp.tables.fdb.put(bpfFdbKey{Net: n}, bpfFdbEntry{}); err != nil {
			t.Fatal(err)
		}
	}
	// All rows replaced, a few times the bound, with the map full.
	for i := range uint32(maxSpares) {
		for n := range uint32(4) {
			if err := dp.tables.fdb.put(bpfFdbKey{Net: n}, bpfFdbEntry{Id: i + 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := dp.tables.fdb.put(bpfFdbKey{Net: 4}, bpfFdbEntry{}); err == nil {
		t.Error("a fifth row fits")
	}
	spare := dp.tables.fdb.spares.n
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
	if e := dp.tables.fdb; len(e.have) != 4 || e.spares.n != spare {
		t.Errorf("%d rows and %d spare ones after a restart, want 4 and %d", len(e.have), e.spares.n, spare)
	}
}
