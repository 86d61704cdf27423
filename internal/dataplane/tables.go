package dataplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// tables are the maps of one layout with what is in them.
type tables struct {
	maps      map[string]*ebpf.Map
	all       []mapTable // those that follow
	ports     *table[uint32, bpfPort]
	portAddrs *table[bpfPortAddrKey, uint32]
	pairs     *table[bpfPairKey, uint32]
	fdb       *table[bpfFdbKey, bpfFdbEntry]
	neighbors *table[bpfNeighborKey, bpfNeighbor]
	routes    *table[bpfRouteKey, bpfRoute]
	hops      *table[bpfRouteKey, bpfNextHops]
	tunnelIPs *table[bpfAddr, bpfTunnelIp]
	vnis      *table[bpfVniKey, bpfVni]
	vlans     *table[bpfVlanKey, bpfFdbEntry]
	peers     *table[bpfPeerKey, bpfPeer]
	vteps     *table[bpfVtepKey, bpfVtep]
	floods    *table[bpfFloodKey, bpfFlood]

	fabricHosts *table[bpfVtepKey, bpfPeer]
	speakers    *table[bpfSpeakerKey, uint32]
	hostPairs   *table[bpfHostPairKey, bpfHostPair]

	counters *counterIndex
	drops    *portDrops
	// crowded are the rows of networks with more of them than one may have.
	crowded map[model.NetworkKey][]bpfFlood
	// who finds the owners of rows while a plan is written.
	who *concerned
}

func newTables(maps map[string]*ebpf.Map) *tables {
	t := &tables{maps: maps, crowded: map[model.NetworkKey][]bpfFlood{}}
	if m := maps[bpfMapCounters]; m != nil {
		t.counters = newCounterIndex(m.MaxEntries())
	}
	if m := maps[bpfMapPortDrops]; m != nil {
		t.drops = newPortDrops(m)
	}
	t.describe()
	return t
}

// load reads all maps.
func (t *tables) load() error {
	for _, x := range t.all {
		if err := x.load(); err != nil {
			return err
		}
	}
	if t.drops != nil {
		return t.drops.load()
	}
	return nil
}

// adoptCounters has the counters keep the meaning that from's rows give them.
func (t *tables) adoptCounters(from *tables) {
	for _, p := range from.ports.have {
		t.counters.adoptPort(model.PortKey(p.Port), p.Counter)
	}
	for _, e := range from.fdb.have {
		switch e.Kind {
		case fdbPort:
			t.counters.adoptPort(model.PortKey(e.Id), e.Counter)
		case fdbRemote:
			t.counters.adoptTunnel(tunnelOf(e), e.Counter)
		}
	}
	for _, e := range from.vlans.have {
		t.counters.adoptVLAN(vlanIDOf(e), e.Counter)
	}
	for k, p := range from.peers.have {
		t.counters.adoptTunnel(tunnelOfPeer(k), p.Counter)
	}
	for k, h := range from.fabricHosts.have {
		t.counters.adoptTunnel(hostOf(k), h.Counter)
	}
}

func tunnelOf(e bpfFdbEntry) tunnelKey {
	return tunnelKey{netip.AddrFrom16(e.Local.B).Unmap(), netip.AddrFrom16(e.Addr.B).Unmap(), model.VNI(e.Vni)}
}

func tunnelOfPeer(k bpfPeerKey) tunnelKey {
	return tunnelKey{netip.AddrFrom16(k.Local.B).Unmap(), netip.AddrFrom16(k.Remote.B).Unmap(), model.VNI(k.Vni)}
}

// floodList are the flood rows of a network, in order of slots, up to the first gap.
func (t *tables) floodList(net model.NetworkKey) []bpfFlood {
	list := []bpfFlood{}
	for slot := uint32(0); ; slot++ {
		f, ok := t.floods.have[bpfFloodKey{Net: uint32(net), Slot: slot}]
		if !ok {
			return list
		}
		list = append(list, f)
	}
}

// change is what is to be done to one table.
type change[K comparable, V comparable] struct {
	put map[K]V
	del []K
	// rows are those to be written, left those of them that found no room yet, and evicted
	// those to be removed though they are wanted (place.go).
	rows, left []row[K, V]
	evicted    []K
}

func newChange[K comparable, V comparable]() change[K, V] { return change[K, V]{put: map[K]V{}} }

// set asks for a row, or for its removal.
func (c *change[K, V]) set(k K, v V, ok bool) {
	if ok {
		c.put[k] = v
	} else {
		c.del = append(c.del, k)
	}
}

// any tells whether rows are asked for, or their removal.
func (c *change[K, V]) any() bool { return len(c.put)+len(c.del) > 0 }

// only removes every row of t that is not put.
func (c *change[K, V]) only(t *table[K, V]) {
	for k := range t.have {
		if _, ok := c.put[k]; !ok {
			c.del = append(c.del, k)
		}
	}
	for k := range t.waiting {
		if _, ok := c.put[k]; !ok {
			c.del = append(c.del, k)
		}
	}
}

// plan is a change of all tables.
type plan struct {
	ports     change[uint32, bpfPort]
	portAddrs change[bpfPortAddrKey, uint32]
	pairs     change[bpfPairKey, uint32]
	fdb       change[bpfFdbKey, bpfFdbEntry]
	neighbors change[bpfNeighborKey, bpfNeighbor]
	routes    change[bpfRouteKey, bpfRoute]
	hops      change[bpfRouteKey, bpfNextHops]
	tunnelIPs change[bpfAddr, bpfTunnelIp]
	vnis      change[bpfVniKey, bpfVni]
	vlans     change[bpfVlanKey, bpfFdbEntry]
	peers     change[bpfPeerKey, bpfPeer]
	vteps     change[bpfVtepKey, bpfVtep]
	floods    change[bpfFloodKey, bpfFlood]

	fabricHosts change[bpfVtepKey, bpfPeer]
	speakers    change[bpfSpeakerKey, uint32]
	hostPairs   change[bpfHostPairKey, bpfHostPair]

	// who finds the owners of rows. owners are the keys of networks, routers and ports of which
	// the rows' owners may be others than before; allOwners: of all.
	who       *concerned
	owners    map[uint32]bool
	allOwners bool
}

func (t *tables) newPlan(tr translator) *plan {
	p := &plan{who: &concerned{t: t, tr: tr}}
	for _, x := range t.all {
		x.begin(p)
	}
	return p
}

// flood plans the rows of a network's list. Slots are filled from the front and
// emptied from the back, so that there is never a gap.
func (t *tables) flood(p *plan, net model.NetworkKey, want map[bpfFlood]uint32) {
	have := t.floodList(net)
	list, beyond := floodList(have, want)
	if delete(t.crowded, net); len(beyond) > 0 {
		t.crowded[net] = beyond
	}
	for slot, f := range list {
		p.floods.put[bpfFloodKey{Net: uint32(net), Slot: uint32(slot)}] = f
	}
	for slot := floodMax - 1; slot >= len(list); slot-- {
		k := bpfFloodKey{Net: uint32(net), Slot: uint32(slot)}
		if has(t.floods.have, k) || has(t.floods.waiting, k) {
			p.floods.del = append(p.floods.del, k)
		}
	}
}

// full plans all of a State.
func (t *tables) full(tr translator) (*plan, error) {
	p, fail := t.newPlan(tr), &failures{}
	p.allOwners = true
	tr.count()
	for k := range tr.st.Ports {
		ifindex, row, ok := tr.port(k)
		if !ok {
			continue
		}
		if old, taken := p.ports.put[ifindex]; taken {
			fail.add(fmt.Errorf("ports %d and %d are both on interface %s", old.Port, k, tr.st.Ports[k].Interface))
			if old.Port < row.Port {
				continue
			}
		}
		p.ports.put[ifindex] = row
		for _, a := range tr.portAddrs(k) {
			p.portAddrs.put[a] = 0
		}
		for _, a := range tr.pairs(k) {
			p.pairs.put[a] = 0
		}
	}
	for _, x := range t.all {
		x.fullPlan(p, tr)
	}
	want := wantedFloods{}
	p.vlans.put = tr.vlans()
	for _, row := range p.vlans.put {
		want.vlan(row)
	}
	for _, a := range tr.vlanPairs() {
		p.pairs.put[a] = 0
	}
	for k := range tr.st.Ports {
		want.port(tr, k)
	}
	for k := range tr.st.Members {
		want.host(tr, k)
	}
	for net := range tr.allowed.pairedHere {
		want.hearers(tr, net)
	}
	p.fullFabric(tr)
	clear(t.crowded)
	for net, rows := range want {
		t.flood(p, net, rows)
	}
	for _, x := range t.all {
		x.onlyPlan(p)
	}
	return p, fail.err()
}

// apply writes a plan, in the order of the steps; removals go the other way.
//
// Where a map has no room for all, place.go says who gets it. What finds none before the
// removals is written after them.
func (t *tables) apply(p *plan) (err error) {
	onOneCPU(func() { err = t.write(p) })
	return err
}

func (t *tables) write(p *plan) error {
	f := &failures{}
	f.add(t.zeroCounters())
	t.who = p.who
	for _, x := range t.all {
		x.choose(p)
	}
	t.who = nil
	for at := range stepCount {
		for _, x := range t.all {
			x.puts(p, at, f)
		}
	}
	for at := stepCount - 1; at >= 0; at-- {
		for _, x := range slices.Backward(t.all) {
			x.dels(p, at, f)
		}
	}
	for at := range stepCount {
		for _, x := range t.all {
			x.again(p, at, f)
		}
	}
	f.add(t.countDrops(p))
	return f.err()
}

// zeroCounters resets indices that are handed out anew.
func (t *tables) zeroCounters() error {
	if len(t.counters.fresh) == 0 {
		return nil
	}
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count processors: %w", err)
	}
	zero := make([]bpfCounter, n)
	for _, i := range t.counters.fresh {
		if err := t.maps[bpfMapCounters].Put(i, zero); err != nil {
			return fmt.Errorf("reset counter %d: %w", i, err)
		}
	}
	t.counters.fresh = nil
	return nil
}

// delta plans what changes with some rows of a State.
func (t *tables) delta(tr translator, x *index, of touched, d hoststate.Delta) *plan {
	p := t.newPlan(tr)
	p.owners = ownersOf(d, tr)
	for _, x := range t.all {
		x.deltaPlan(p, tr, of, &d)
	}
	ports, nets := of.ports, of.nets
	for k := range ports {
		old, had := x.ports[k]
		ifindex, row, ok := tr.port(k)
		if ok {
			p.ports.put[ifindex] = row
		}
		if had && (!ok || old.ifindex != ifindex) && t.ports.row(old.ifindex).Port == uint32(k) {
			p.ports.del = append(p.ports.del, old.ifindex)
		}
		want := map[bpfPortAddrKey]bool{}
		for _, a := range tr.portAddrs(k) {
			want[a] = true
			p.portAddrs.put[a] = 0
		}
		for _, a := range old.addrs {
			if !want[a] {
				p.portAddrs.del = append(p.portAddrs.del, a)
			}
		}
		for _, a := range tr.pairs(k) {
			p.pairs.put[a] = 0
		}
		if had {
			nets[old.net] = true
		}
		nets[tr.st.Ports[k].Network] = true
	}
	x.onFabric.plan(tr, of, p)
	// An interface that another port has taken over keeps its row.
	kept := p.ports.del[:0]
	for _, i := range p.ports.del {
		if _, taken := p.ports.put[i]; !taken {
			kept = append(kept, i)
		}
	}
	p.ports.del = kept
	if x.vlansTouched(d, of) {
		t.deltaVLANs(tr, x, p, ports, nets)
	}
	// When all that stays is known: a port and a VLAN may share a row.
	for k := range ports {
		for _, a := range x.ports[k].pairs {
			if _, stays := p.pairs.put[a]; !stays && !x.paired(a, ports) && !x.vlanPairs[a] && !tr.allowed.stays(a) {
				p.pairs.del = append(p.pairs.del, a)
			}
		}
	}
	x.onFabric.planPairs(tr, of, p)
	vlans, members := wantedFloods{}, x.onFabric.membersOf(of)
	for _, row := range tr.vlans() {
		vlans.vlan(row)
	}
	for net := range nets {
		want := wantedFloods{}
		maps.Copy(want.of(net), vlans[net])
		for k := range x.members(net, ports) {
			want.port(tr, k)
		}
		for k := range members[net] {
			want.host(tr, k)
		}
		want.hearers(tr, net)
		t.flood(p, net, want[net])
		if heard := heardOn(net); len(want[heard]) > 0 || has(t.floods.have, bpfFloodKey{Net: uint32(heard)}) || has(t.floods.waiting, bpfFloodKey{Net: uint32(heard)}) {
			t.flood(p, heard, want[heard])
		}
	}
	return p
}
