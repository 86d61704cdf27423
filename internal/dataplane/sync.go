package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// Sync makes the maps hold st and nothing else. Where Open found maps of another
// layout, the first Sync also moves the programs over to the new ones. Rows that the
// maps have no room for are left out and named in the error.
func (d *Dataplane) Sync(st hoststate.State, env Env) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.raiseAfter(&err)
	if err := d.tables.load(); err != nil {
		return err
	}
	d.tables.adoptCounters(d.tables)
	d.adoptForgotten()
	if err := d.writeConfig(env); err != nil {
		return err
	}
	tr := wholeTranslator(st, env, d.tables.counters, d.forgotten)
	p, err := d.tables.full(tr)
	err = errors.Join(err, d.tables.apply(p))
	d.index, d.fabric = indexOf(tr), env.Fabric
	for k := range d.tables.counters.vlans {
		if !d.index.vlanIDs[k] {
			d.tables.counters.freeVLAN(k)
		}
	}
	for k := range d.tables.counters.ports {
		if _, ok := st.Ports[k]; !ok {
			d.tables.counters.freePort(k)
		}
	}
	for k := range d.tables.drops.rows {
		if _, ok := st.Ports[model.PortKey(k)]; !ok {
			d.tables.drops.free(model.PortKey(k))
		}
	}
	for k := range d.tables.counters.tunnels {
		if d.index.tunnels[k] == 0 {
			d.tables.counters.freeTunnel(k)
		}
	}
	err = errors.Join(err, d.pruneBuckets(st))
	_, ferr := d.forget(tr)
	err = errors.Join(err, ferr)
	d.names(st)
	d.nameTrunks(env)
	// A map that is full is no reason to keep the programs that ran before.
	err = errors.Join(err, d.switchOver())
	d.synced = true
	return errors.Join(err, d.leftOut(tr))
}

// Update makes the rows that delta names what they are in st and env. Rows that
// depend on them follow. Name a row in delta.Set also where only what env says of it
// has changed.
func (d *Dataplane) Update(delta hoststate.Delta, st hoststate.State, env Env) (err error) {
	if delta.Full {
		return d.Sync(st, env)
	}
	d.mu.Lock()
	if !d.synced || env.Fabric != d.fabric {
		d.mu.Unlock()
		return d.Sync(st, env)
	}
	defer d.mu.Unlock()
	defer d.raiseAfter(&err)
	if err := d.writeConfig(env); err != nil {
		return err
	}
	own, _ := ownHost(st, env, d.index.onFabric.own)
	tr := translator{st, env, d.tables.counters, d.forgotten, d.index.allowed, own}
	x := d.index.touched(delta)
	d.index.allowed.follow(tr, x, delta)
	err = d.tables.apply(d.tables.delta(tr, d.index, x, delta))
	vlans := d.index.vlansTouched(delta, x)
	if paired := d.index.note(tr, x, delta); paired || vlans {
		_, ferr := d.forget(tr)
		err = errors.Join(err, ferr)
	}
	if vlans {
		d.nameTrunks(env)
	}
	for _, k := range delta.Unset.Routers {
		if e := d.tables.maps[bpfMapIcmpBuckets].Delete(uint32(k)); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("delete from map %s: %w", bpfMapIcmpBuckets, e))
		}
	}
	for k := range x.ports {
		if p, ok := st.Ports[k]; ok {
			d.portIDs[k] = p.ID
		} else {
			delete(d.portIDs, k)
			d.tables.drops.free(k)
		}
	}
	return errors.Join(err, d.leftOut(tr))
}

func (d *Dataplane) leftOut(tr translator) error {
	if !d.tables.waits() {
		return nil
	}
	return d.tables.leftOut(tr)
}

// pruneBuckets removes the allowances of routers that are gone. The programs make
// rows as they need them.
func (d *Dataplane) pruneBuckets(st hoststate.State) error {
	m := d.tables.maps[bpfMapIcmpBuckets]
	var gone []uint32
	var k uint32
	var v bpfIcmpBucket
	it := m.Iterate()
	for it.Next(&k, &v) {
		if _, ok := st.Routers[model.RouterKey(k)]; !ok {
			gone = append(gone, k)
		}
	}
	// Aborted: the programs added rows meanwhile; the next Sync sees the rest.
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read map %s: %w", bpfMapIcmpBuckets, err)
	}
	for _, k := range gone {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete from map %s: %w", bpfMapIcmpBuckets, err)
		}
	}
	return nil
}

// ProbesLimited is how many packets that looked like answers to a router's probes have found no
// room in its allowance so far; 0 where it has had none.
func (d *Dataplane) ProbesLimited(router model.RouterKey) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b bpfIcmpBucket
	if d.tables == nil || d.tables.maps[bpfMapIcmpBuckets].Lookup(uint32(router), &b) != nil {
		return 0
	}
	return b.Limited
}

func (d *Dataplane) nameTrunks(env Env) {
	d.trunks = make(map[uint32]string, len(env.Trunks))
	for name, l := range env.Trunks {
		d.trunks[uint32(l.Index)] = name
	}
}

func (d *Dataplane) names(st hoststate.State) {
	d.portIDs = make(map[model.PortKey]model.PortID, len(st.Ports))
	for k, p := range st.Ports {
		d.portIDs[k] = p.ID
	}
}

// writeConfig writes the one row of configs where it differs.
func (d *Dataplane) writeConfig(env Env) error {
	want := d.config
	want.VxlanIfindex, want.SlowIfindex = uint32(max(0, env.VXLANIndex)), uint32(max(0, env.SlowIndex))
	want.FabricIfindex, want.FabricPort, want.FabricAddr = 0, 0, bpfAddr{}
	if f := env.Fabric; f.On() {
		want.FabricIfindex, want.FabricPort, want.FabricAddr = uint32(max(0, f.Index)), uint32(f.Port), addrRow(f.Addr)
	}
	if want == d.config && d.configured {
		return nil
	}
	if err := d.tables.maps[bpfMapConfigs].Put(uint32(0), &want); err != nil {
		return fmt.Errorf("write map %s: %w", bpfMapConfigs, err)
	}
	d.config, d.configured = want, true
	return nil
}
