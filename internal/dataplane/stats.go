package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// Drops are the drop counters by reason, since the maps were made.
func (d *Dataplane) Drops() ([reason.Count]uint64, error) {
	var sums [reason.Count]uint64
	d.mu.Lock()
	defer d.mu.Unlock()
	var perCPU []uint64
	for r := range sums {
		if err := d.tables.maps[bpfMapDrops].Lookup(uint32(r), &perCPU); err != nil {
			return sums, fmt.Errorf("read map %s: %w", bpfMapDrops, err)
		}
		for _, n := range perCPU {
			sums[r] += n
		}
	}
	return sums, nil
}

// Traffic is a counter: received from the workload or the remote VTEP, and sent to
// it. Bytes are those of the (inner) frames.
type Traffic struct {
	RxPackets, RxBytes, TxPackets, TxBytes uint64
}

// Tunnel names the counter of a VNI between a tunnel IP and a remote VTEP.
type Tunnel struct {
	Local, Remote netip.Addr
	VNI           model.VNI
}

// Counters is the traffic of the ports and tunnels that the last Sync and Updates
// told of.
type Counters struct {
	Ports   map[model.PortID]Traffic
	Tunnels map[Tunnel]Traffic
	VLANs   map[hoststate.VLANKey]Traffic
}

// traffic reads a counter.
func (t *tables) traffic(i uint32) (Traffic, error) {
	var sum Traffic
	var perCPU []bpfCounter
	if err := t.maps[bpfMapCounters].Lookup(i, &perCPU); err != nil {
		return sum, fmt.Errorf("read map %s: %w", bpfMapCounters, err)
	}
	for _, n := range perCPU {
		sum.RxPackets += n.RxPackets
		sum.RxBytes += n.RxBytes
		sum.TxPackets += n.TxPackets
		sum.TxBytes += n.TxBytes
	}
	return sum, nil
}

// Counters reads all counters.
func (d *Dataplane) Counters() (Counters, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := Counters{Ports: map[model.PortID]Traffic{}, Tunnels: map[Tunnel]Traffic{}, VLANs: map[hoststate.VLANKey]Traffic{}}
	read := d.tables.traffic
	for k, i := range d.tables.counters.ports {
		id, ok := d.portIDs[k]
		if !ok {
			continue
		}
		t, err := read(i)
		if err != nil {
			return c, err
		}
		c.Ports[id] = t
	}
	for k, i := range d.tables.counters.tunnels {
		t, err := read(i)
		if err != nil {
			return c, err
		}
		c.Tunnels[Tunnel{k.local, k.remote, k.vni}] = t
	}
	for k, i := range d.tables.counters.vlans {
		name, ok := d.trunks[k.ifindex]
		if !ok {
			continue
		}
		t, err := read(i)
		if err != nil {
			return c, err
		}
		c.VLANs[hoststate.VLANKey{Interface: name, ID: uint16(k.vlan)}] = t
	}
	return c, nil
}

// ProgramStats is what the kernel says of a program. Runs and Time stay 0 unless
// the sysctl kernel.bpf_stats_enabled is on.
type ProgramStats struct {
	Name string
	Runs uint64
	Time time.Duration
}

// Programs returns the statistics of the programs.
func (d *Dataplane) Programs() ([]ProgramStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []ProgramStats
	for _, name := range []string{bpfProgFromWorkload, bpfProgFromUnderlay, bpfProgFromVxlan, bpfProgFromSlow, bpfProgLocalIcmp} {
		s, err := d.programs[name].Stats()
		if err != nil {
			return nil, fmt.Errorf("ask for the statistics of %s: %w", name, err)
		}
		all = append(all, ProgramStats{Name: name, Runs: s.RunCount, Time: s.Runtime})
	}
	return all, nil
}

// MapUse is how much of a map is used.
type MapUse struct {
	Name  string
	Rows  int    // that Sync and Update wrote; 0 for arrays
	Limit uint32 // the most rows it takes
	// Waiting are rows that found no room.
	Waiting int
	Memory  uint64 // bytes of kernel memory
}

// use is how many rows a table has, and how many more it should.
type use struct{ rows, waiting int }

func (t *table[K, V]) use() use { return use{len(t.have), len(t.waiting)} }

// uses are those of all tables, by the names of their maps, and how many rows these have
// more than their limits say.
func (t *tables) uses() (uses map[string]use, extra map[string]uint32) {
	uses, extra = map[string]use{}, map[string]uint32{}
	for _, x := range t.all {
		uses[x.mapName()] = x.use()
		extra[x.mapName()] = x.extraRows()
	}
	u := uses[bpfMapFloods]
	for _, beyond := range t.crowded {
		u.waiting += len(beyond)
	}
	uses[bpfMapFloods] = u
	return uses, extra
}

// Maps returns the use of all maps.
func (d *Dataplane) Maps() ([]MapUse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tables
	uses, extra := t.uses()
	uses[bpfMapLearned] = use{rows: d.learnedRows}
	uses[bpfMapPortDrops] = use{rows: len(t.drops.rows)}
	all := make([]MapUse, 0, len(t.maps))
	for name, m := range t.maps {
		info, err := m.Info()
		if err != nil {
			return nil, fmt.Errorf("ask for map %s: %w", name, err)
		}
		memory, _ := info.Memlock()
		all = append(all, MapUse{Name: name, Rows: uses[name].rows, Limit: m.MaxEntries() - extra[name], Waiting: uses[name].waiting, Memory: memory})
	}
	return all, nil
}

// carry copies drops and counters from the maps in use to the new ones, as far as
// their layouts are equal. What is counted between this and the replacement of the
// programs is lost: microseconds.
func (d *Dataplane) carry(m *migration) error {
	if err := carryMap(filepath.Join(m.from, bpfMapDrops), d.tables.maps[bpfMapDrops], nil, func() any { return new([]uint64) }); err != nil {
		return err
	}
	old, err := openRows(m.from, d.tables.maps)
	if err != nil || old == nil {
		return err
	}
	defer closeMaps(old.maps)
	moves := map[uint32]uint32{}
	for k, i := range old.counters.ports {
		if to := d.tables.counters.ports[k]; to != 0 {
			moves[i] = to
		}
	}
	for k, i := range old.counters.tunnels {
		if to := d.tables.counters.tunnels[k]; to != 0 {
			moves[i] = to
		}
	}
	for k, i := range old.counters.vlans {
		if to := d.tables.counters.vlans[k]; to != 0 {
			moves[i] = to
		}
	}
	return carryMap(filepath.Join(m.from, bpfMapCounters), d.tables.maps[bpfMapCounters], moves, func() any { return new([]bpfCounter) })
}

// carryMap copies rows of a per-CPU array: all, or those of moves, from index to
// index.
func carryMap(pin string, to *ebpf.Map, moves map[uint32]uint32, value func() any) error {
	from, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return fmt.Errorf("open pinned map %s: %w", pin, err)
	}
	defer func() { _ = from.Close() }()
	if from.Type() != to.Type() || from.ValueSize() != to.ValueSize() {
		return nil
	}
	if moves == nil {
		moves = map[uint32]uint32{}
		for i := range min(from.MaxEntries(), to.MaxEntries()) {
			moves[i] = i
		}
	}
	for i, j := range moves {
		v := value()
		if err := from.Lookup(i, v); err != nil {
			return fmt.Errorf("read %s: %w", pin, err)
		}
		switch v := v.(type) {
		case *[]uint64:
			err = to.Put(j, *v)
		case *[]bpfCounter:
			err = to.Put(j, *v)
		}
		if err != nil {
			return fmt.Errorf("carry over %s: %w", pin, err)
		}
	}
	return nil
}

// openRows reads the rows of another directory that name counters; nil where they
// have another layout than like.
func openRows(dir string, like map[string]*ebpf.Map) (*tables, error) {
	maps := map[string]*ebpf.Map{}
	for _, name := range []string{bpfMapPorts, bpfMapFdb, bpfMapVlans, bpfMapPeers, bpfMapFabricHosts, bpfMapCounters} {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if (name == bpfMapVlans || name == bpfMapFabricHosts) && errors.Is(err, unix.ENOENT) {
			continue // of a release without
		}
		if err != nil {
			closeMaps(maps)
			return nil, fmt.Errorf("open pinned map %s: %w", name, err)
		}
		maps[name] = m
		if m.Type() != like[name].Type() || m.KeySize() != like[name].KeySize() || m.ValueSize() != like[name].ValueSize() {
			closeMaps(maps)
			return nil, nil
		}
	}
	t := newTables(maps)
	err := errors.Join(t.ports.load(), t.fdb.load(), t.peers.load())
	if err == nil && maps[bpfMapVlans] != nil {
		err = t.vlans.load()
	}
	if err == nil && maps[bpfMapFabricHosts] != nil {
		err = t.fabricHosts.load()
	}
	if err != nil {
		closeMaps(maps)
		return nil, err
	}
	t.adoptCounters(t)
	return t, nil
}
