package dataplane

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// portDrops are the rows of port_drops: what was dropped of the packets of each port, by reason. A port
// gets one with its row of ports, and keeps it until it has gone from the host, so that it counts on where
// its interface comes and goes. The map takes as many rows as ports does: where it is full, rows of ports
// that have no row of ports give way.
type portDrops struct {
	m    *ebpf.Map
	rows map[uint32]bool
	// resting are rows of ports that have gone: a program that has read the port's row may still count
	// there. They are removed by and by.
	resting map[uint32]bool
}

func newPortDrops(m *ebpf.Map) *portDrops {
	return &portDrops{m: m, rows: map[uint32]bool{}, resting: map[uint32]bool{}}
}

// load reads which rows there are. Programs make none.
func (d *portDrops) load() error {
	clear(d.rows)
	clear(d.resting)
	var k uint32
	var v bpfDropCounts
	it := d.m.Iterate()
	for it.Next(&k, &v) {
		d.rows[k] = true
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read map %s: %w", bpfMapPortDrops, err)
	}
	return nil
}

// want makes a port's row, if there is none. served tells of a port whether it has a row of ports.
func (d *portDrops) want(port uint32, served func(uint32) bool) error {
	if d.resting[port] { // of another port, which had the key before
		if err := d.rested(); err != nil {
			return err
		}
	}
	if d.rows[port] {
		return nil
	}
	err := d.m.Update(port, &bpfDropCounts{}, ebpf.UpdateNoExist)
	if errors.Is(err, unix.E2BIG) {
		for k := range d.rows {
			if !served(k) {
				d.resting[k] = true
			}
		}
		if err := d.rested(); err != nil {
			return err
		}
		err = d.m.Update(port, &bpfDropCounts{}, ebpf.UpdateNoExist)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("write map %s: %w", bpfMapPortDrops, err)
	}
	d.rows[port] = true
	return nil
}

// free gives up the row of a port that has gone.
func (d *portDrops) free(port model.PortKey) {
	if d.rows[uint32(port)] {
		d.resting[uint32(port)] = true
	}
}

// rested removes the rows that rest. No row of ports names their ports since the change of rows that is
// under way, or an earlier one.
func (d *portDrops) rested() error {
	if len(d.resting) == 0 {
		return nil
	}
	gracePeriod()
	var err error
	for k := range d.resting {
		if e := d.m.Delete(k); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("delete from map %s: %w", bpfMapPortDrops, e))
			continue
		}
		delete(d.rows, k)
		delete(d.resting, k)
	}
	return err
}

// carry takes over what maps of another layout have counted. Releases before had no such map.
func (d *portDrops) carry(dir string) error {
	from, err := ebpf.LoadPinnedMap(filepath.Join(dir, bpfMapPortDrops), nil)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open pinned map %s: %w", bpfMapPortDrops, err)
	}
	defer func() { _ = from.Close() }()
	if from.Type() != d.m.Type() || from.KeySize() != d.m.KeySize() || from.ValueSize() != d.m.ValueSize() {
		return nil
	}
	var k uint32
	var v bpfDropCounts
	it := from.Iterate()
	for it.Next(&k, &v) {
		if !d.rows[k] {
			continue
		}
		if err := d.m.Update(k, &v, ebpf.UpdateExist); err != nil {
			return fmt.Errorf("carry over %s: %w", bpfMapPortDrops, err)
		}
	}
	return it.Err()
}

// countDrops sees to it that drops of each port that a plan has written a row of are counted.
func (t *tables) countDrops(p *plan) error {
	f := &failures{}
	var served map[uint32]bool
	has := func(port uint32) bool {
		if served == nil {
			served = make(map[uint32]bool, len(t.ports.have))
			for _, row := range t.ports.have {
				served[row.Port] = true
			}
		}
		return served[port]
	}
	for _, r := range p.ports.rows {
		if t.ports.have[r.k].Port == r.v.Port {
			f.add(t.drops.want(r.v.Port, has))
		}
	}
	return f.err()
}

// PortState is what the host has of a port.
type PortState struct {
	There   bool // its interface is there, and has its row
	Traffic Traffic
	Drops   [reason.Count]uint64 // of packets that its workload sent
	// Whether the maps had room for what counts them.
	TrafficCounted, DropsCounted bool
}

// Port reads what the host has of a port; false: it has nothing of it.
func (d *Dataplane) Port(k model.PortKey) (PortState, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var s PortState
	if d.tables == nil || d.index == nil {
		return s, false, nil
	}
	rows, known := d.index.ports[k]
	if !known {
		return s, false, nil
	}
	s.There = d.tables.ports.row(rows.ifindex).Port == uint32(k)
	if i, ok := d.tables.counters.ports[k]; ok {
		var err error
		if s.Traffic, err = d.tables.traffic(i); err != nil {
			return s, true, err
		}
		s.TrafficCounted = true
	}
	var counts bpfDropCounts
	switch err := d.tables.drops.m.Lookup(uint32(k), &counts); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
	case err != nil:
		return s, true, fmt.Errorf("read map %s: %w", bpfMapPortDrops, err)
	default:
		s.DropsCounted = true
	}
	copy(s.Drops[:], counts.N[:])
	return s, true, nil
}
