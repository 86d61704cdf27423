package dataplane

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/maplimit"
	"github.com/causeway-net/causeway/internal/model"
)

// inMemory are tables without maps.
type inMemory struct {
	t       *tables
	index   *index
	env     Env
	updates int
}

func newInMemory(limits Limits, env Env) *inMemory {
	m := &inMemory{t: newTables(nil), index: newIndex(), env: env}
	m.t.counters = newCounterIndex(10_000)
	for _, x := range tested(m.t) {
		x.setLimit(x.maxEntries(limits) - x.extraRows())
	}
	return m
}

func (m *inMemory) tr(st hoststate.State) translator {
	own, _ := ownHost(st, m.env, m.index.onFabric.own)
	return translator{st, m.env, m.t.counters, nil, m.index.allowed, own}
}

func (m *inMemory) write(t *testing.T, p *plan) {
	t.Helper()
	m.t.who = p.who
	for _, x := range m.t.all {
		x.choose(p)
	}
	for _, x := range tested(m.t) {
		x.store(p)
		x.shares(t)
		x.plainly(t)
	}
}

func (m *inMemory) sync(t *testing.T, st hoststate.State) {
	t.Helper()
	tr := wholeTranslator(st, m.env, m.t.counters, nil)
	p, err := m.t.full(tr)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, p)
	m.index = indexOf(tr)
}

func (m *inMemory) update(t *testing.T, d hoststate.Delta, st hoststate.State) {
	t.Helper()
	tr, x := m.tr(st), m.index.touched(d)
	m.index.allowed.follow(tr, x, d)
	m.write(t, m.t.delta(tr, m.index, x, d))
	m.index.note(tr, x, d)
	if m.updates++; m.updates%8 != 0 {
		return // the comparison takes long
	}
	fresh := indexOf(wholeTranslator(st, m.env, m.t.counters, nil))
	if d := cmp.Diff(fresh, m.index, compareIndexes()...); d != "" {
		t.Fatalf("the index (- of the state, + after the change):\n%s", d)
	}
}

func compareIndexes() []cmp.Option {
	return []cmp.Option{
		cmp.AllowUnexported(index{}, portRows{}, allowed{}, hostIndex{}, brought[model.HostName, bpfVtepKey]{},
			brought[hoststate.SpeakerKey, bpfSpeakerKey]{}, brought[hoststate.HostPairKey, bpfHostPairKey]{}, afar{}), cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(allowedPrefix{}, permit{}, uses{}, prefixLength{}, tunnelKey{}, vlanID{}),
		cmpopts.SortSlices(func(a, b permit) bool { return fmt.Sprint(a) < fmt.Sprint(b) }),
	}
}

// written are the keys of the rows that are written. Which port has which slot of a
// network's flood list follows the order of arrival, so that no port loses a copy while
// the list changes; the slots do not.
func (m *inMemory) written() map[string]map[string]bool {
	rows := map[string]map[string]bool{}
	for _, x := range tested(m.t) {
		rows[x.mapName()] = x.written()
	}
	return rows
}

// owned gives the rows of a state to projects, each network, router, port and MAC always
// to the same one.
func owned(st hoststate.State) hoststate.State {
	project := func(n int) model.ProjectID { return model.ProjectID(fmt.Sprint("project", n%3)) }
	for k, n := range st.Networks {
		n.Project = project(int(k))
		st.Networks[k] = n
	}
	for k, r := range st.Routers {
		r.Project = project(int(k) + 1)
		st.Routers[k] = r
	}
	for k, p := range st.Ports {
		p.Project = project(int(k) / 2)
		st.Ports[k] = p
	}
	for k, e := range st.FDB {
		if k.MAC[5]%2 == 0 {
			e.Project = project(int(k.MAC[5]) / 2)
			st.FDB[k] = e
		}
	}
	return st
}

// TestRowsFollowFromTheState: whatever came and went before, in whatever order, and with
// restarts that find the maps or find none, the rows that are written are those of the
// state alone; and no project lacks a row within its share.
func TestRowsFollowFromTheState(t *testing.T) {
	limits := maplimit.Limits{Ports: 3, PortAddrs: 2, Pairs: 6, FDB: 5, Neighbors: 5, Routes: 5, Hops: 1, TunnelIPs: 1, VNIs: 3, VLANs: 1, Peers: 4, Floods: 4, FabricHosts: 1, Speakers: 1, HostPairs: 1}.WithDefaults()
	env := Env{Links: map[string]Link{}, Trunks: map[string]Link{"up0": {Index: 50}, "up1": {Index: 51, MTU: 1500}}, Ways: map[VTEP]Way{},
		Fabric: hostenv.Fabric{Addr: fabricAddr(0), Port: 4798, Index: 60}}
	for i := range 6 {
		env.Links[fmt.Sprint("tap", i)] = Link{Index: 100 + i, MTU: 1500}
	}
	for i := range byte(8) {
		env.Ways[VTEP{Local: netip.AddrFrom4([4]byte{10, 0, 0, i}), Remote: netip.AddrFrom4([4]byte{10, 0, 0, 7 - i})}] = Way{Interfaces: [MaxWays]uint32{uint32(i)}}
	}
	crowded := map[string]bool{}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := newInMemory(limits, env)
		st := hoststate.NewState()
		m.sync(t, st)
		for step := range 12 {
			next := mix(r, st, drawState(r))
			if r.IntN(2) == 0 { // no owner comes or goes
				next.Networks, next.Routers, next.Gateways = maps.Clone(st.Networks), maps.Clone(st.Routers), maps.Clone(st.Gateways)
			}
			next = owned(next)
			m.update(t, hoststate.Diff(st, next), next)
			st = next
			switch r.IntN(6) {
			case 0: // the agent comes back, and finds the maps
				old := m
				m = newInMemory(limits, env)
				for i, x := range tested(m.t) {
					x.adopt(old.t.all[i])
				}
				m.sync(t, st)
			case 1: // the host comes back
				m = newInMemory(limits, env)
				m.sync(t, st)
			}
			fresh := newInMemory(limits, env)
			fresh.sync(t, st)
			if d := cmp.Diff(fresh.written(), m.written()); d != "" {
				t.Errorf("rows differ (- from the state, + after all that came before):\n%s", d)
			}
			for _, x := range m.t.all {
				if x.use().waiting > 0 {
					crowded[x.mapName()] = true
				}
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
	for _, x := range newTables(nil).all {
		if !crowded[x.mapName()] {
			t.Errorf("%s was never full: the test is of no use", x.mapName())
		}
	}
}
