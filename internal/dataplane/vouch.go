package dataplane

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Vouch has the programs forward for as long as StopAfter says from now on. Call it much more often than that.
// It does not wait for what writes the maps.
func (d *Dataplane) Vouch() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tables == nil {
		return nil
	}
	return d.vouch()
}

// vouch writes until when the programs may forward. Where others still run with the maps of another layout, those
// maps are told too.
func (d *Dataplane) vouch() error {
	until := d.vouchedUntil()
	if err := d.tables.maps[bpfMapVouched].Put(uint32(0), until); err != nil {
		return fmt.Errorf("write map %s: %w", bpfMapVouched, err)
	}
	if d.pending == nil || d.pending.from == "" {
		return nil
	}
	old, err := ebpf.LoadPinnedMap(filepath.Join(d.pending.from, bpfMapVouched), nil)
	if errors.Is(err, unix.ENOENT) {
		return nil // of a release that never stops
	}
	if err != nil {
		return fmt.Errorf("open pinned map %s: %w", bpfMapVouched, err)
	}
	defer func() { _ = old.Close() }()
	if err := old.Put(uint32(0), until); err != nil {
		return fmt.Errorf("write map %s of the layout before: %w", bpfMapVouched, err)
	}
	return nil
}

// vouchAtStart leaves until when an earlier agent has vouched: that one has begun says nothing yet of an agent that ends each time
// before it has written the maps. Where nobody has vouched, or nothing was to stop, it vouches.
func (d *Dataplane) vouchAtStart() error {
	m := d.tables.maps[bpfMapVouched]
	var until uint64
	if err := m.Lookup(uint32(0), &until); err != nil {
		return fmt.Errorf("read map %s: %w", bpfMapVouched, err)
	}
	if d.stopAfter > 0 && until != 0 && until != math.MaxUint64 {
		return nil
	}
	if err := m.Put(uint32(0), d.vouchedUntil()); err != nil {
		return fmt.Errorf("write map %s: %w", bpfMapVouched, err)
	}
	return nil
}

// vouchedUntil is a time of the monotonic clock, whose coarse form the programs read at little cost. It stands still
// while the machine sleeps, when nothing is forwarded.
func (d *Dataplane) vouchedUntil() uint64 {
	if d.stopAfter <= 0 {
		return math.MaxUint64
	}
	return monotonic() + uint64(d.stopAfter)
}
