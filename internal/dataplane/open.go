package dataplane

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/kernel"
	"github.com/causeway-net/causeway/internal/model"
)

// Dataplane is the programs and maps of one pin directory. Its methods may be called
// from several goroutines.
type Dataplane struct {
	dir string

	linkMu sync.Mutex // the pins of links; taken after mu where both are

	mu       sync.Mutex
	programs map[string]*ebpf.Program
	tables   *tables
	index    *index
	synced   bool           // tables and index are what the maps hold
	fabric   hostenv.Fabric // that the tables go by
	portIDs  map[model.PortKey]model.PortID
	trunks   map[uint32]string // interfaces of VLANs
	// forgotten is how many rows of learned that were charged to a port have been
	// removed, as its row of ports says.
	forgotten   map[model.PortKey]uint32
	learnedRows int // rows of learned when they were last looked through

	// generation is the programs' variable: what they remember of flows counts while it is the
	// same. raised is its value.
	generation *ebpf.Variable
	raised     uint64

	config     bpfConfig
	configured bool // the map holds config
	localICMP  bool // this process's local_icmp runs

	stopAfter time.Duration // as in Config

	// pending: the maps are new and the links run other programs with other
	// maps, until the first Sync.
	pending *migration
}

// migration leads from the maps in use to new ones beside them.
type migration struct {
	from  string // directory of the maps in use; "" where there are none
	to    string // directory of the new ones, with newSuffix
	final string
}

// Open loads the programs. They run on the interfaces that are attached already from
// then on, or from the first Sync on (see the package's doc). One process at a time
// may have a pin directory open.
func Open(cfg Config) (*Dataplane, error) {
	return open(cfg, layoutVersion)
}

func open(cfg Config, version int) (*Dataplane, error) {
	if cfg.PinDir == "" {
		return nil, errors.New("no pin directory given")
	}
	// Kernels since 5.11 account for maps otherwise, and some sandboxes refuse.
	_ = rlimit.RemoveMemlock()
	if err := pinDir(cfg.PinDir); err != nil {
		return nil, err
	}
	spec, err := loadBpf()
	if cfg.Object != nil {
		spec, err = ebpf.LoadCollectionSpecFromReader(cfg.Object)
	}
	if err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	if err := kernel.Check(spec); err != nil {
		return nil, err
	}
	for name, n := range entries(cfg.Limits) {
		spec.Maps[name].MaxEntries = n
	}
	if cfg.Record {
		if err := spec.Variables[bpfVarCfgRecord].Set(uint8(1)); err != nil {
			return nil, fmt.Errorf("set %s: %w", bpfVarCfgRecord, err)
		}
	}
	if cfg.StopAfter > 0 {
		if err := spec.Variables[bpfVarCfgStop].Set(uint8(1)); err != nil {
			return nil, fmt.Errorf("set %s: %w", bpfVarCfgStop, err)
		}
	}
	if err := sizeFlows(spec); err != nil {
		return nil, err
	}
	d := &Dataplane{dir: cfg.PinDir, stopAfter: cfg.StopAfter, index: newIndex(), portIDs: map[model.PortKey]model.PortID{}, forgotten: map[model.PortKey]uint32{}}
	if err := d.open(cfg, spec, layoutOf(spec, version)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Dataplane) open(cfg Config, spec *ebpf.CollectionSpec, layout string) error {
	if err := d.cleanLinks(); err != nil {
		return err
	}
	used, leftover, err := mapDirs(d.dir)
	if err != nil {
		return err
	}
	for _, dir := range leftover {
		if err := removeDir(dir); err != nil {
			return err
		}
	}
	final := filepath.Join(d.dir, mapsPrefix+layout)
	var maps map[string]*ebpf.Map
	var from string
	for _, dir := range used {
		if dir != final {
			from = dir
			continue
		}
		if maps, err = openMaps(spec, dir); err != nil {
			// Pins that were tampered with.
			if err := removeDir(dir); err != nil {
				return err
			}
		}
	}
	if maps == nil {
		d.pending = &migration{from: from, to: final + newSuffix, final: final}
		if maps, err = createMaps(spec, d.pending.to); err != nil {
			return err
		}
	}
	d.tables = newTables(maps)
	if err := d.load(spec, maps); err != nil {
		return err
	}
	if err := d.configure(cfg); err != nil {
		return err
	}
	// Before any of the programs runs. Those that run now go on with the maps they have, for as long as it takes.
	if err := d.vouchAtStart(); err != nil {
		return err
	}
	// From here on the programs remember.
	if err := d.raise(); err != nil {
		return err
	}
	if d.pending == nil {
		for _, dir := range used {
			if dir != final {
				if err := removeDir(dir); err != nil {
					return err
				}
			}
		}
		return d.updateLinks()
	}
	links, err := d.linkPins()
	if err != nil {
		return err
	}
	if len(links) == 0 {
		// Nothing runs: there is nothing to wait for.
		return d.switchOver()
	}
	return nil
}

// load verifies the programs.
func (d *Dataplane) load(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) error {
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return fmt.Errorf("load the programs: %w", err)
	}
	d.programs, d.generation = c.Programs, c.Variables[bpfVarGeneration]
	c.Programs = nil // they outlive the collection, whose maps are clones
	c.Close()
	return nil
}

// configure prepares the row of configs, with the hash key that is pinned already
// unless cfg has one.
func (d *Dataplane) configure(cfg Config) error {
	var have bpfConfig
	if err := d.tables.maps[bpfMapConfigs].Lookup(uint32(0), &have); err != nil {
		return fmt.Errorf("read map %s: %w", bpfMapConfigs, err)
	}
	if have.HashKey == 0 && d.pending != nil && d.pending.from != "" {
		have.HashKey = oldHashKey(d.pending.from)
	}
	d.config = have
	d.config.Rates = cfg.rates()
	d.config.Mark = cmp.Or(cfg.Mark, DefaultMark)
	d.config.LearnHold = uint64(cmp.Or(cfg.LearnHold, learnHold))
	d.config.LearnAge = uint64(cmp.Or(cfg.LearnAge, learnAge))
	switch {
	case cfg.HashKey != 0:
		d.config.HashKey = cfg.HashKey
	case have.HashKey == 0:
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return fmt.Errorf("make a hash key: %w", err)
		}
		d.config.HashKey = binary.NativeEndian.Uint64(b[:])
	}
	if err := d.tables.maps[bpfMapConfigs].Put(uint32(0), &d.config); err != nil {
		return fmt.Errorf("write map %s: %w", bpfMapConfigs, err)
	}
	d.configured = true
	return nil
}

// oldHashKey reads the hash key from maps of another layout, so that flows keep
// their source ports. It has always come first.
func oldHashKey(dir string) uint64 {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, bpfMapConfigs), nil)
	if err != nil {
		return 0
	}
	defer func() { _ = m.Close() }()
	b, err := m.LookupBytes(uint32(0))
	if err != nil || len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}

// HashKey keys the outer UDP source port.
func (d *Dataplane) HashKey() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config.HashKey
}

// switchOver moves the links to the programs with the new maps. Until the new
// directory has its final name, a crash leaves both programs with a complete state,
// and the next Open begins anew.
func (d *Dataplane) switchOver() error {
	m := d.pending
	if m == nil {
		return nil
	}
	var carried error
	if m.from != "" {
		// Counters that cannot be read are no reason to stop.
		carried = errors.Join(d.carry(m), d.tables.drops.carry(m.from), d.carryLearned(m.from))
	}
	if err := d.updateLinks(); err != nil {
		return errors.Join(carried, err)
	}
	if m.from != "" {
		if err := os.Rename(m.from, m.from+oldSuffix); err != nil {
			return fmt.Errorf("put the old maps aside: %w", err)
		}
	}
	if err := os.Rename(m.to, m.final); err != nil {
		return fmt.Errorf("name the new maps: %w", err)
	}
	d.pending = nil
	if m.from != "" {
		return errors.Join(carried, removeDir(m.from+oldSuffix))
	}
	return nil
}

// Close lets go of programs and maps. What is pinned goes on.
func (d *Dataplane) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for _, p := range d.programs {
		err = errors.Join(err, p.Close())
	}
	d.programs = nil
	if d.tables != nil {
		closeMaps(d.tables.maps)
		d.tables = nil
	}
	return err
}

// Remove takes away attachments, maps and pins, and closes. Workload interfaces are
// then open to the host's stack.
func (d *Dataplane) Remove() error {
	d.mu.Lock()
	d.linkMu.Lock()
	pins, err := d.linkPins()
	for _, p := range append(pins, linkPin{path: d.localICMPPin()}, linkPin{path: d.localICMPPin() + newSuffix}) {
		err = errors.Join(err, d.unpin(p))
	}
	d.linkMu.Unlock()
	used, leftover, derr := mapDirs(d.dir)
	err = errors.Join(err, derr)
	for _, dir := range append(used, leftover...) {
		err = errors.Join(err, removeDir(dir))
	}
	err = errors.Join(err, os.Remove(filepath.Join(d.dir, linksDir)))
	// The directory itself may be a mount, or hold what is not ours.
	_ = os.Remove(d.dir)
	d.mu.Unlock()
	return errors.Join(err, d.Close())
}

// CheckKernel says in words what this machine's kernel lacks of what the programs need.
func CheckKernel() error {
	spec, err := loadBpf()
	if err != nil {
		return fmt.Errorf("read the programs: %w", err)
	}
	return kernel.Check(spec)
}
