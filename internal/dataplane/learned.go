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
)

// What is learned of senders that allowed address pairs let pass. The programs write
// it; here is what ends it.
const (
	// LearnPerPort is how many addresses and MACs one port may hold at a time, so that
	// a pair with a wide prefix cannot fill the map.
	LearnPerPort = 256
	// learnHold is longer than senders pause that share an address in turns, and
	// shorter than people wait.
	learnHold = 10 * time.Second
	// learnAge is what bridges take (IEEE 802.1Q §8.8.3).
	learnAge = 300 * time.Second
)

// Learned is one thing that was learned: who holds an address, or a MAC that is no
// port's own (then Addr is the zero Addr).
type Learned struct {
	Network model.NetworkKey
	Addr    netip.Addr
	MAC     model.MAC
	Port    model.PortKey // 0: it is on a VLAN
	// Trunk is the index of the VLAN's interface, and VLAN its number; known of MACs. Trunk 0: the VLAN
	// is another host's.
	Trunk int
	VLAN  uint16
}

// Learned lists what the programs have learned and would still use.
func (d *Dataplane) Learned() ([]Learned, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Learned
	now := monotonic()
	err := d.eachLearned(func(k bpfLearnedKey, v bpfLearnedRow) {
		if !d.old(now, v) {
			all = append(all, learnedOf(k, v))
		}
	})
	return all, err
}

func learnedOf(k bpfLearnedKey, v bpfLearnedRow) Learned {
	l := Learned{Network: model.NetworkKey(k.Net)}
	onVLAN := v.Port&learnerVLAN != 0
	if !onVLAN {
		l.Port = model.PortKey(v.Port)
	}
	if k.Kind == senderMAC {
		l.MAC = model.MAC(k.Addr.B[:6])
		if onVLAN {
			l.Trunk, l.VLAN = int(uint32(v.Mac)), uint16(v.Mac>>32)
		}
		return l
	}
	l.Addr, l.MAC = netip.AddrFrom16(k.Addr.B).Unmap(), macOf(v.Mac)
	return l
}

// macOf reads a MAC as the programs pack it.
func macOf(n uint64) (m model.MAC) {
	for i := range m {
		m[i] = byte(n >> (8 * i))
	}
	return m
}

// monotonic is the programs' clock (bpf_ktime_get_coarse_ns), ns.
func monotonic() uint64 {
	var t unix.Timespec
	// It cannot fail: the clock is there, and so is t.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &t)
	return uint64(t.Nano())
}

// old tells whether a row counts for nothing any more. The programs may have written it
// after now.
func (d *Dataplane) old(now uint64, v bpfLearnedRow) bool {
	return int64(now-v.Seen) >= int64(d.config.LearnAge)
}

func (d *Dataplane) eachLearned(f func(bpfLearnedKey, bpfLearnedRow)) error {
	var k bpfLearnedKey
	var v bpfLearnedRow
	it := d.tables.maps[bpfMapLearned].Iterate()
	for it.Next(&k, &v) {
		f(k, v)
	}
	// Aborted: the programs added rows meanwhile; the next time sees the rest.
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read map %s: %w", bpfMapLearned, err)
	}
	return nil
}

// Forget removes what is too old of what was learned, and what was counted of ports that have gone. Call it now and then: until
// then the programs do not use it, but it takes room.
func (d *Dataplane) Forget(st hoststate.State, env Env) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.synced {
		return nil
	}
	wrote := len(d.tables.drops.resting) > 0
	err = d.tables.drops.rested()
	some, ferr := d.forget(translator{st, env, d.tables.counters, d.forgotten, d.index.allowed, d.index.onFabric.own})
	err = errors.Join(err, ferr)
	if wrote || some {
		// Only then: the flows of all who send are decided anew.
		d.raiseAfter(&err)
	}
	return err
}

// forget removes rows that are too old, or that no pair allows any more. wrote: it has written maps, or tried to.
func (d *Dataplane) forget(tr translator) (wrote bool, err error) {
	var gone []bpfLearnedKey
	config := d.config
	now, rows, vlans := monotonic(), 0, tr.vlans()
	held := heldRows{}
	err = d.eachLearned(func(k bpfLearnedKey, v bpfLearnedRow) {
		rows++
		l := learnedOf(k, v)
		_, shared := tr.env.Shared[l.Port]
		if d.old(now, v) || shared || !tr.holds(vlans, l, v) {
			gone = append(gone, k)
		} else {
			held.add(k, v)
		}
	})
	over, lerr := d.level(held, rows-len(gone))
	gone, err = append(gone, over...), errors.Join(err, lerr)
	learned, learners := d.tables.maps[bpfMapLearned], d.tables.maps[bpfMapLearners]
	changed := map[model.PortKey]bool{}
	for _, k := range gone {
		var v bpfLearnedRow
		// In one step, so that the port is the one that the row is charged to.
		if e := learned.LookupAndDelete(&k, &v); e != nil {
			if !errors.Is(e, ebpf.ErrKeyNotExist) {
				err = errors.Join(err, fmt.Errorf("delete from map %s: %w", bpfMapLearned, e))
			}
			continue
		}
		rows--
		p := model.PortKey(v.Port)
		d.forgotten[p]++
		changed[p] = true
	}
	d.learnedRows = rows
	for k := range changed {
		l, ok := tr.link(k)
		if !ok {
			continue
		}
		// The row as it is, but for the one field: a port that has no counter yet gets none here,
		// where none is zeroed.
		row := d.tables.ports.row(uint32(l.Index))
		if row.Port == uint32(k) && row.LearnLimit > 0 {
			row.LearnLimit = LearnPerPort + d.forgotten[k]
			err = errors.Join(err, d.tables.ports.change(uint32(l.Index), row))
		}
	}
	for k, row := range vlans {
		if changed[vlanLearner(model.NetworkKey(row.Id))] {
			row.Table = LearnPerNetwork + d.forgotten[vlanLearner(model.NetworkKey(row.Id))]
			err = errors.Join(err, d.tables.vlans.change(k, row))
		}
	}
	err = errors.Join(err, d.raiseAfar(tr, changed))
	some, ferr := d.forgetPorts(tr, learners)
	return some || len(gone) > 0 || lerr != nil || d.config != config, errors.Join(err, ferr)
}

// forgetPorts removes the allowances of ports that are gone, or that have no pairs any
// more, and of networks without VLANs. wrote is as that of forget.
func (d *Dataplane) forgetPorts(tr translator, learners *ebpf.Map) (wrote bool, err error) {
	vlans := map[model.PortKey]bool{}
	for _, v := range tr.st.VLANs {
		vlans[vlanLearner(v.Network)] = true
	}
	var gone []uint32
	var k uint32
	var v bpfLearner
	it := learners.Iterate()
	for it.Next(&k, &v) {
		p := model.PortKey(k)
		if len(tr.st.Ports[p].Pairs)+len(tr.allowed.ofPortAfar[p]) == 0 && !vlans[p] {
			gone = append(gone, k)
		}
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return false, fmt.Errorf("read map %s: %w", bpfMapLearners, err)
	}
	for _, k := range gone {
		if err := learners.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return true, fmt.Errorf("delete from map %s: %w", bpfMapLearners, err)
		}
		delete(d.forgotten, model.PortKey(k))
	}
	return len(gone) > 0, nil
}

// holds tells whether the port, or the VLAN, may hold what was learned of it.
func (t translator) holds(vlans map[bpfVlanKey]bpfFdbEntry, l Learned, v bpfLearnedRow) bool {
	if l.Port == 0 {
		afar := t.allowed.stationsAfar(l.Network)
		if !l.Addr.IsValid() {
			if l.Trunk == 0 {
				return afar
			}
			return vlans[bpfVlanKey{Ifindex: uint32(l.Trunk), Vlan: uint32(l.VLAN)}].Id == uint32(l.Network)
		}
		return (afar || t.allowed.onVLANs[l.Network]) && t.allowed.permits(l.Network, l.Addr)
	}
	p, ok := t.st.Ports[l.Port]
	if !ok {
		return t.allowed.holdsAfar(t.st, l, v)
	}
	if p.Network != l.Network {
		return false
	}
	if !l.Addr.IsValid() {
		return p.CoversMAC(l.MAC) && macOf(v.Mac) == p.MAC
	}
	return p.Covers(l.MAC, l.Addr)
}

// adoptForgotten reads from the rows of ports what has been removed.
func (d *Dataplane) adoptForgotten() {
	for _, p := range d.tables.ports.have {
		if k := model.PortKey(p.Port); p.Flags&portPairs != 0 {
			if _, ok := d.forgotten[k]; !ok {
				d.forgotten[k] = p.LearnLimit - LearnPerPort
			}
		}
	}
	for _, p := range d.tables.hostPairs.have {
		if k := model.PortKey(p.Port); k != 0 {
			if _, ok := d.forgotten[k]; !ok {
				d.forgotten[k] = p.LearnLimit - learnBound(k)
			}
		}
	}
	for _, e := range d.tables.vlans.have {
		k := vlanLearner(model.NetworkKey(e.Id))
		if _, ok := d.forgotten[k]; !ok {
			d.forgotten[k] = e.Table - LearnPerNetwork
		}
	}
}

// formerLearned is the name that the map learned had in earlier releases.
const formerLearned = "senders"

// carryLearned copies what was learned from the maps in use, which are pinned in dir, to the
// new ones, as far as the layouts are equal.
func (d *Dataplane) carryLearned(dir string) error {
	var from *ebpf.Map
	var err error
	for _, name := range []string{bpfMapLearned, formerLearned} {
		from, err = ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return nil // maps of a release that learned nothing
	}
	if err != nil {
		return fmt.Errorf("open what was learned, pinned in %s: %w", dir, err)
	}
	defer func() { _ = from.Close() }()
	to := d.tables.maps[bpfMapLearned]
	if from.Type() != to.Type() || from.KeySize() != to.KeySize() || from.ValueSize() != to.ValueSize() {
		return nil
	}
	used := map[uint32]uint32{}
	var k bpfLearnedKey
	var v bpfLearnedRow
	it := from.Iterate()
	for it.Next(&k, &v) {
		if limit := uint32(LearnPerPort); used[v.Port] >= limit && v.Port&learnerVLAN == 0 || used[v.Port] >= LearnPerNetwork {
			continue
		}
		if err := to.Put(&k, &v); err != nil {
			break // smaller than the old one: the rest is learned anew
		}
		used[v.Port]++
	}
	for p, n := range used {
		// The port's row is new too: nothing has been taken from it yet.
		if err := d.tables.maps[bpfMapLearners].Put(p, &bpfLearner{Used: n + d.forgotten[model.PortKey(p)]}); err != nil {
			return fmt.Errorf("write map %s: %w", bpfMapLearners, err)
		}
	}
	return nil
}
