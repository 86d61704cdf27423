package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/reason"
)

// A hash map gives the memory of a row that was removed or replaced to the next row
// that is written on the same processor, at once (kernel/bpf/memalloc.c), while a
// program that looked the old row up may still read it: it would take a frame of one
// tenant for another's. So each such piece of memory is first given to a spare row,
// which no program looks up and from whose values nothing comes but a drop, and
// is freed with it after a grace period.

// maxSpares is how many spare rows a map holds before a grace period is waited for.
const maxSpares = 1024

// spares are the spare rows of a table.
type spares[K comparable, V comparable] struct {
	key func(n uint32) K // none that a program asks for
	row V
	n   uint32 // those that may be there: 0 … n-1
}

// never is the key of no network, and the VNI of no peer.
const never = ^uint32(0)

// spared are the maps whose rows programs read from. Of the others they only ask whether
// a row is there, or the kernel has the grace period pass (tries).
var spared = map[string]bool{
	bpfMapPorts: true, bpfMapEndpoints: true, bpfMapNeighbors: true, bpfMapPeers: true, bpfMapFloods: true, bpfMapVlans: true,
}

// limitOf is how many rows a map takes beside the spare ones.
func limitOf(name string, m *ebpf.Map) uint32 {
	n := m.MaxEntries()
	if spared[name] && n > maxSpares {
		n -= maxSpares
	}
	return n
}

func (t *tables) makeSpares() {
	last := func(n uint32) (b [4]byte) { binary.BigEndian.PutUint32(b[:], n); return b }
	t.ports.spares = &spares[uint32, bpfPort]{
		key: func(n uint32) uint32 { return never - n }, // an index is a positive int
		row: bpfPort{Flags: portSecurity, Drop: uint8(reason.Internal)},
	}
	t.endpoints.spares = &spares[bpfEndpointKey, bpfEndpoint]{
		key: func(n uint32) bpfEndpointKey {
			b := last(n)
			return bpfEndpointKey{Net: never, Mac: [6]uint8{2: b[0], 3: b[1], 4: b[2], 5: b[3]}}
		},
		row: bpfEndpoint{Kind: endpointDrop, Drop: uint8(reason.Internal)},
	}
	t.neighbors.spares = &spares[bpfNeighborKey, bpfNeighbor]{
		key: func(n uint32) bpfNeighborKey {
			b := last(n)
			return bpfNeighborKey{Net: never, Addr: bpfAddr{B: [16]uint8{12: b[0], 13: b[1], 14: b[2], 15: b[3]}}}
		},
	}
	t.vlans.spares = &spares[bpfVlanKey, bpfEndpoint]{
		key: func(n uint32) bpfVlanKey { return bpfVlanKey{Ifindex: never - n} },
		row: bpfEndpoint{Kind: endpointVLAN, Drop: uint8(reason.Internal)},
	}
	t.peers.spares = &spares[bpfPeerKey, bpfPeer]{
		key: func(n uint32) bpfPeerKey {
			b := last(n)
			return bpfPeerKey{Vni: never, Remote: bpfAddr{B: [16]uint8{12: b[0], 13: b[1], 14: b[2], 15: b[3]}}}
		},
		row: bpfPeer{Drop: uint8(reason.Internal)},
	}
	t.floods.spares = &spares[bpfFloodKey, bpfFlood]{
		key: func(n uint32) bpfFloodKey { return bpfFloodKey{Net: never, Slot: n} },
	}
}

// bury gives the memory that the last change has freed to a spare row.
func (t *table[K, V]) bury() error {
	s := t.spares
	if s == nil {
		return nil
	}
	if s.n >= maxSpares {
		if err := t.freeSpares(); err != nil {
			return err
		}
		// Its own memory has waited with them.
		return nil
	}
	k := s.key(s.n)
	err := t.m.Update(&k, &s.row, ebpf.UpdateNoExist)
	switch {
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOSPC): // no room: what was freed waits now
		return t.freeSpares()
	case err != nil && !errors.Is(err, ebpf.ErrKeyExist):
		return fmt.Errorf("write map %s: %w", t.name, err)
	}
	s.n++
	return nil
}

// freeSpares removes the spare rows after a grace period.
func (t *table[K, V]) freeSpares() error {
	gracePeriod()
	for t.spares.n > 0 {
		k := t.spares.key(t.spares.n - 1)
		if err := t.m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete from map %s: %w", t.name, err)
		}
		t.spares.n--
	}
	return nil
}

// gracePeriod returns when every program that runs now has ended.
func gracePeriod() {
	const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL, include/uapi/linux/membarrier.h: synchronize_rcu
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); e != 0 {
		// Refused where CPUs run without a tick (nohz_full). No program takes
		// longer than microseconds.
		<-time.After(100 * time.Millisecond)
	}
}

// onOneCPU keeps f on the processor that it begins on: memory that was freed there is
// given out there.
func onOneCPU(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var cpu uint32
	var before, one unix.CPUSet
	if _, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); e == 0 && unix.SchedGetaffinity(0, &before) == nil {
		one.Set(int(cpu))
		if unix.SchedSetaffinity(0, &one) == nil {
			defer func() { _ = unix.SchedSetaffinity(0, &before) }()
		}
	}
	f()
}
