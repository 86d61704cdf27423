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
)

// A hash map gives the memory of a row that was removed or replaced to the next row
// that is written on the same processor, at once (kernel/bpf/memalloc.c), while a
// program that looked the old row up may still read it: it would take a frame of one
// tenant for another's. So each such piece of memory is first given to a spare row,
// which no program looks up, and is freed with it after a grace period. The spare row has the value of
// the old one, so that the program, which reads a row in parts, reads one row to its end.

// maxSpares is how many spare rows a map holds before a grace period is waited for.
const maxSpares = 1024

// spares are the spare rows of a table.
type spares[K comparable, V comparable] struct {
	key func(n uint32) K // none that a program asks for
	n   uint32           // those that may be there: 0 … n-1
}

// never is the key of no network, and the VNI of no peer.
const never = ^uint32(0)

// numbered is a number as the last bytes of an address or a MAC.
func numbered(n uint32) (b [4]byte) { binary.BigEndian.PutUint32(b[:], n); return b }

func numberedAddr(n uint32) bpfAddr {
	b := numbered(n)
	return bpfAddr{B: [16]uint8{12: b[0], 13: b[1], 14: b[2], 15: b[3]}}
}

// refill gives the memory of a row, which the last change has freed, to a spare row.
func (t *table[K, V]) refill(old V) error {
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
	err := t.m.Update(&k, &old, ebpf.UpdateNoExist)
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
