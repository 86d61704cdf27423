package dataplane

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
)

// The flow table: what the programs remember of flows (bpf/flows.h). Each load of the programs has
// its own, which begins empty: so a start, and a change of programs, need not make anything
// forgotten that others have remembered.

const (
	// flowsMost is how many flows each processor remembers at most. With more its caches would not
	// hold them, and a row would save little.
	flowsMost = 1 << 12
	// flowsLeast is how many it does whatever flowsMemory says.
	flowsLeast = 1 << 8
	// flowsMemory is what the rows of all processors that there could be take together, bytes.
	flowsMemory = 64 << 20
)

// flowBits is the number of rows for each of n processors, as a power of two.
func flowBits(n int) int {
	rows := flowsMemory / (n * int(unsafe.Sizeof(bpfFlowRow{})+unsafe.Sizeof(uint64(0))))
	return bits.Len(uint(min(max(rows, flowsLeast), flowsMost))) - 1
}

// sizeFlows sets what the programs are to know of the table.
func sizeFlows(spec *ebpf.CollectionSpec) error {
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count processors: %w", err)
	}
	b := flowBits(n)
	spec.Maps[bpfMapFlows].MaxEntries, spec.Maps[bpfMapFlowTags].MaxEntries = 1<<b, 1<<b
	for name, v := range map[string]any{bpfVarCfgFlowBits: uint32(b), bpfVarCfgFlowSeed: rand.Uint64()} {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// storesInOrder: processors of this kind show stores, and make loads, in the order in which a
// program has them.
const storesInOrder = runtime.GOARCH == "amd64"

// raise makes the programs forget all flows. Call it after each write to maps that they read,
// whether it succeeded or not, and before anybody is told of it: a packet that comes later goes by
// no row that was decided by what the maps held before.
//
// The programs load the generation before they load anything else, and this store comes after all
// those to maps. Where the processors keep no such order, a grace period does: a program that
// began before it has ended before the store, and one that begins later sees all of the maps.
func (d *Dataplane) raise() error {
	if !storesInOrder {
		gracePeriod()
	}
	d.raised++
	if err := d.generation.Set(d.raised); err != nil {
		return fmt.Errorf("raise the generation of flows: %w", err)
	}
	return nil
}

// raiseAfter raises and adds what fails to *err.
func (d *Dataplane) raiseAfter(err *error) { *err = errors.Join(*err, d.raise()) }
