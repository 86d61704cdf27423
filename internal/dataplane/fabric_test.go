package dataplane

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

func fabricAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 0, byte(i)}) }

// drawFabric adds hosts to a small random State, and puts what it has there.
func drawFabric(r *rand.Rand, st *hoststate.State) {
	name := func(i int) model.HostName { return model.HostName(fmt.Sprint("host", i)) }
	turn := r.IntN(2)
	for i := range r.IntN(4) {
		st.Hosts[name(i)] = hoststate.Host{Addr: fabricAddr((i + turn) % 3), Port: 4798, MTU: 1500 * r.IntN(3)}
	}
	for range r.IntN(6) {
		st.Members[hoststate.MemberKey{Network: model.NetworkKey(1 + r.IntN(3)), Host: name(r.IntN(3))}] = hoststate.Member{}
		st.Speakers[hoststate.SpeakerKey{Domain: model.NetworkKey(1 + r.IntN(2)), Host: name(r.IntN(3))}] = hoststate.Speaker{}
	}
	for range r.IntN(5) {
		k := hoststate.HostPairKey{Network: model.NetworkKey(1 + r.IntN(3)), Host: name(r.IntN(3)), MAC: vmMAC(r.IntN(3))}
		if r.IntN(3) > 0 {
			k.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(2))}), 32)
		}
		st.HostPairs[k] = hoststate.HostPair{Port: model.PortKey(r.IntN(3)), MAC: vmMAC(r.IntN(2))}
	}
	for net := range model.NetworkKey(3) {
		for i := range 3 {
			if r.IntN(3) > 0 {
				continue
			}
			k := hoststate.StationsKey(net+1, name(i))
			v := hoststate.HostPair{Port: hoststate.StationsPort(net+1) * model.PortKey(r.IntN(2))}
			st.HostPairs[k] = v
			if k.Prefix = netip.MustParsePrefix("10.0.0.0/24"); v.Port != 0 && r.IntN(2) == 0 {
				st.HostPairs[k] = v
			}
		}
	}
	for k, e := range st.FDB {
		switch e.Kind {
		case hoststate.FDBPort, hoststate.FDBRemote:
			if i := r.IntN(4); i < 3 {
				e.Host = name(i)
			}
			if i := r.IntN(6); i < 3 && name(i) != e.Host {
				e.Also = name(i)
			}
		case hoststate.FDBRouter:
			e.Domain = model.NetworkKey(1 + r.IntN(2))
		}
		st.FDB[k] = e
	}
}

// drawEnd is this host's end of the fabric, if it has one.
func drawEnd(r *rand.Rand) hostenv.Fabric {
	if r.IntN(4) == 0 {
		return hostenv.Fabric{}
	}
	return hostenv.Fabric{Addr: fabricAddr(r.IntN(2)), Port: 4798, Index: 60 + r.IntN(2)}
}

// namedHosts changes what env says of the way to a host, and names the hosts that have its address.
func namedHosts(r *rand.Rand, st hoststate.State, env *Env, set map[model.HostName]hoststate.Host) map[model.HostName]hoststate.Host {
	a := fabricAddr(r.IntN(3))
	named := map[model.HostName]hoststate.Host{}
	for name, h := range st.Hosts {
		if h.Addr == a {
			named[name] = h
		}
	}
	if len(named) == 0 {
		return set
	}
	env.Ways, env.PathMTU, set = maps.Clone(env.Ways), maps.Clone(env.PathMTU), maps.Clone(set)
	if env.Ways == nil {
		env.Ways = map[VTEP]Way{}
	}
	if set == nil {
		set = map[model.HostName]hoststate.Host{}
	}
	v := VTEP{Local: env.Fabric.Addr, Remote: a}
	env.Ways[v] = Way{Interfaces: [MaxWays]uint32{uint32(1 + r.IntN(3))}, Kernel: r.IntN(3) == 0}
	if r.IntN(3) == 0 {
		env.Ways[v] = Way{Drop: reason.UnderlayPolicy}
	}
	env.PathMTU[a] = 1400 + r.IntN(3)
	maps.Copy(set, named)
	return set
}

// TestFabricFollows: whatever changes of hosts, of what they have and of the ways to them, the rows are
// those that the state alone gives, and what is known of them too.
func TestFabricFollows(t *testing.T) {
	limits := Limits{}.WithDefaults()
	seen := map[string]int{}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 9))
		env := Env{Links: map[string]Link{}, PathMTU: map[netip.Addr]int{}, Fabric: hostenv.Fabric{Addr: fabricAddr(0), Port: 4798, Index: 60}}
		for i := range 6 {
			env.Links[fmt.Sprint("tap", i)] = Link{Index: 100 + i, MTU: 1500}
		}
		if seed%8 == 7 {
			env.Fabric = hostenv.Fabric{}
		}
		env.Trunks = map[string]Link{"up0": {Index: 200, MTU: 1500}}
		st := drawState(r)
		drawVLANs(r, &st)
		m := newInMemory(limits, env)
		m.sync(t, st)
		for range 40 {
			now := mix(r, st, drawState(r))
			if r.IntN(2) == 0 {
				drawVLANs(r, &now)
			}
			keepPairs(r, st, now)
			d := hoststate.Diff(st, now)
			if r.IntN(3) == 0 {
				d.Set.Hosts = namedHosts(r, now, &m.env, d.Set.Hosts)
			}
			if r.IntN(2) == 0 {
				// What env says of FDB entries may have changed: they are named as they are.
				maps.Copy(d.Set.FDB, now.FDB)
			}
			m.update(t, d, now)
			fresh := newInMemory(limits, m.env)
			fresh.t.counters = m.t.counters
			fresh.sync(t, now)
			for what, rows := range map[string][2]any{
				"fdb":          {fresh.t.fdb.have, m.t.fdb.have},
				"fabric_hosts": {fresh.t.fabricHosts.have, m.t.fabricHosts.have},
				"speakers":     {fresh.t.speakers.have, m.t.speakers.have},
				"host_pairs":   {fresh.t.hostPairs.have, m.t.hostPairs.have},
				"pairs":        {fresh.t.pairs.have, m.t.pairs.have},
				"vteps":        {fresh.t.vteps.have, m.t.vteps.have},
				"vlans":        {fresh.t.vlans.have, m.t.vlans.have},
				"floods":       {floodSets(fresh.t), floodSets(m.t)},
				"who hears":    {fresh.index.allowed.pairedHere, m.index.allowed.pairedHere},
			} {
				if d := cmp.Diff(rows[0], rows[1]); d != "" {
					t.Fatalf("seed %d: %s (- of the state, + after the change):\n%s", seed, what, d)
				}
			}
			for _, e := range m.t.fdb.have {
				seen[fmt.Sprintf("kind %d flags %d drop %s", e.Kind, e.Flags&^fdbPeer, reason.Reason(e.Drop))]++
			}
			for _, e := range m.t.vlans.have {
				if e.Flags&fdbServes != 0 {
					seen["VLANs that serve"]++
				}
			}
			for _, f := range m.t.floods.have {
				if f.Addr != (bpfAddr{}) {
					seen["copies"]++
				}
			}
			seen["speakers"] += len(m.t.speakers.have)
			seen["host_pairs"] += len(m.t.hostPairs.have)
			for k := range m.t.floods.have {
				if k.Net&floodHeard != 0 {
					seen["hearers"]++
				}
			}
			st = now
		}
	}
	for _, what := range []string{
		"copies", "speakers", "host_pairs", "hearers", "VLANs that serve", fmt.Sprintf("kind %d flags 0 drop none", fdbHost), fmt.Sprintf("kind %d flags %d drop none", fdbHost, fdbViaHost),
		fmt.Sprintf("kind %d flags %d drop none", fdbHost, fdbKernel|fdbViaHost), fmt.Sprintf("kind %d flags 0 drop host_unreachable", fdbDrop),
		fmt.Sprintf("kind %d flags 0 drop underlay_policy", fdbDrop), fmt.Sprintf("kind %d flags 0 drop destination_unbound", fdbDrop),
	} {
		if seen[what] < 8 {
			t.Errorf("%d rows of %s: the test sees too little; it saw %v", seen[what], what, seen)
		}
	}
}

// drawVLANs puts some networks on VLANs.
func drawVLANs(r *rand.Rand, st *hoststate.State) {
	st.VLANs = map[hoststate.VLANKey]hoststate.VLAN{}
	for i := range 3 {
		if r.IntN(2) == 0 {
			st.VLANs[hoststate.VLANKey{Interface: "up0", ID: uint16(10 + i)}] = hoststate.VLAN{
				Network: model.NetworkKey(1 + r.IntN(3)), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
			}
		}
	}
}

// keepPairs has most rows of HostPairs stay as they were.
func keepPairs(r *rand.Rand, was, now hoststate.State) {
	keys := map[hoststate.HostPairKey]bool{}
	for k := range was.HostPairs {
		keys[k] = true
	}
	for k := range now.HostPairs {
		keys[k] = true
	}
	for k := range keys {
		if v, had := was.HostPairs[k]; r.IntN(4) == 0 {
			continue
		} else if had {
			now.HostPairs[k] = v
		} else {
			delete(now.HostPairs, k)
		}
	}
}

// floodSets are the rows of each network, whatever their order.
func floodSets(t *tables) map[uint32]map[bpfFlood]int {
	sets := map[uint32]map[bpfFlood]int{}
	for k, f := range t.floods.have {
		if sets[k.Net] == nil {
			sets[k.Net] = map[bpfFlood]int{}
		}
		sets[k.Net][f]++
	}
	return sets
}

// TestFabricTranslation: what a row says of another host.
func TestFabricTranslation(t *testing.T) {
	own, other := fabricAddr(1), fabricAddr(2)
	v := VTEP{Local: own, Remote: other}
	ways := [MaxWays]uint32{5}
	port, far := hoststate.FDBKey{Network: 1, MAC: vmMAC(1)}, hoststate.FDBKey{Network: 2, MAC: msMAC(1)}
	base := func() (hoststate.State, Env) {
		st := hoststate.NewState()
		st.Hosts["a"] = hoststate.Host{Addr: own, Port: 4798, MTU: 9000}
		st.Hosts["b"] = hoststate.Host{Addr: other, Port: 4799, MTU: 1600}
		st.Networks[1], st.Networks[2] = hoststate.Network{MTU: 1500}, hoststate.Network{MTU: 1500}
		st.FDB[port] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 7, Host: "b"}
		st.FDB[far] = hoststate.FDBEntry{Kind: hoststate.FDBRemote, Addr: netip.MustParseAddr("200.200.0.2"), TunnelIP: netip.MustParseAddr("200.200.0.1"), VNI: 100, Gateway: "gw", Host: "b"}
		st.Members[hoststate.MemberKey{Network: 1, Host: "a"}] = hoststate.Member{}
		st.Members[hoststate.MemberKey{Network: 1, Host: "b"}] = hoststate.Member{}
		st.Speakers[hoststate.SpeakerKey{Domain: 4, Host: "a"}] = hoststate.Speaker{}
		st.Speakers[hoststate.SpeakerKey{Domain: 4, Host: "b"}] = hoststate.Speaker{}
		return st, Env{
			Fabric: hostenv.Fabric{Addr: own, Port: 4798, Index: 12}, PathMTU: map[netip.Addr]int{other: 1700}, Ways: map[VTEP]Way{v: {Interfaces: ways}},
		}
	}
	host := bpfFdbEntry{Kind: fdbHost, Id: 7, Counter: 1, Mtu: 1550, Vni: 1, Table: hostenv.MainTable, UdpPort: 4799, Addr: addrRow(other), Local: addrRow(own)}
	behind := host
	behind.Id, behind.Vni, behind.Flags = 0, 2, fdbViaHost
	dropped := func(why reason.Reason) bpfFdbEntry { return bpfFdbEntry{Kind: fdbDrop, Drop: uint8(why)} }
	for _, c := range []struct {
		name      string
		change    func(*hoststate.State, *Env)
		port, far bpfFdbEntry
		floods    int
		reached   bool // fabric_hosts and speakers have the host
	}{
		{"as it is", func(*hoststate.State, *Env) {}, host, behind, 1, true},
		{"nothing known of the path or the other's MTU", func(st *hoststate.State, env *Env) {
			env.PathMTU = nil
			st.Hosts["b"] = hoststate.Host{Addr: other, Port: 4799}
		}, withMTU(host, 1450), withMTU(behind, 1450), 1, true},
		{"small own MTU", func(st *hoststate.State, env *Env) {
			st.Hosts["a"] = hoststate.Host{Addr: own, Port: 4798, MTU: 1400}
		}, withMTU(host, 1350), withMTU(behind, 1350), 1, true},
		{"by the kernel", func(_ *hoststate.State, env *Env) { env.Ways[v] = Way{Interfaces: ways, Kernel: true} },
			withFlags(host, fdbKernel), withFlags(behind, fdbKernel|fdbViaHost), 1, true},
		{"shut", func(_ *hoststate.State, env *Env) { env.Ways[v] = Way{Interfaces: ways, Drop: reason.UnderlayPolicy} },
			dropped(reason.UnderlayPolicy), dropped(reason.UnderlayPolicy), 1, true},
		{"not on the fabric", func(_ *hoststate.State, env *Env) { env.Fabric = hostenv.Fabric{} },
			dropped(reason.HostUnreachable), dropped(reason.HostUnreachable), 0, false},
		{"a host that has none", func(st *hoststate.State, _ *Env) { delete(st.Hosts, "b") },
			dropped(reason.HostUnreachable), dropped(reason.HostUnreachable), 0, false},
		{"no hosts at all", func(st *hoststate.State, _ *Env) { clear(st.Hosts) },
			dropped(reason.DestinationUnbound), dropped(reason.ConnectionMissing), 0, false},
		{"on no host", func(st *hoststate.State, _ *Env) {
			for k, e := range st.FDB {
				e.Host = ""
				st.FDB[k] = e
			}
		}, dropped(reason.DestinationUnbound), dropped(reason.ConnectionMissing), 1, true},
		{"of this host, not here yet", func(st *hoststate.State, _ *Env) {
			for k, e := range st.FDB {
				e.Host = "a"
				st.FDB[k] = e
			}
		}, dropped(reason.DestinationUnbound), dropped(reason.ConnectionMissing), 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, env := base()
			c.change(&st, &env)
			all := newTables(nil)
			all.counters = newCounterIndex(16)
			p, err := all.full(wholeTranslator(st, env, all.counters, nil))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(map[bpfFdbKey]bpfFdbEntry{fdbKeyRow(port): c.port, fdbKeyRow(far): c.far}, p.fdb.put); d != "" {
				t.Errorf("fdb: %s", d)
			}
			hosts, speakers, floods := map[bpfVtepKey]bpfPeer{}, map[bpfSpeakerKey]uint32{}, map[bpfFloodKey]bpfFlood{}
			if c.reached {
				w := env.Ways[v]
				row := bpfPeer{Counter: 1, Ways: w.Interfaces, Drop: uint8(w.Drop)}
				if w.Kernel {
					row.Flags = peerKernel
				}
				hosts[bpfVtepKey{Local: addrRow(own), Remote: addrRow(other)}] = row
				speakers[bpfSpeakerKey{Domain: 4, Host: addrRow(other)}] = 0
			}
			if c.floods > 0 {
				floods[bpfFloodKey{Net: 1}] = bpfFlood{Ifindex: 12, Counter: 1, Addr: addrRow(other)}
			}
			if d := cmp.Diff([]any{hosts, speakers, floods}, []any{p.fabricHosts.put, p.speakers.put, p.floods.put}); d != "" {
				t.Errorf("fabric_hosts, speakers, floods: %s", d)
			}
		})
	}
}

func withMTU(e bpfFdbEntry, mtu uint32) bpfFdbEntry { e.Mtu = mtu; return e }

func withFlags(e bpfFdbEntry, flags uint8) bpfFdbEntry { e.Flags = flags; return e }

// TestManyHostsAtOnce: a delta that names many hosts while the own one is unknown costs the FDB once,
// not once for each.
func TestManyHostsAtOnce(t *testing.T) {
	const hosts, entries = 500, 2000
	st := hoststate.NewState()
	name := func(i int) model.HostName { return model.HostName(fmt.Sprint("host", i)) }
	for i := range hosts {
		st.Hosts[name(i)] = hoststate.Host{Addr: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), Port: 4798}
	}
	for i := range entries {
		k := hoststate.FDBKey{Network: 1, MAC: model.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}}
		st.FDB[k] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: model.PortKey(1 + i), Host: name(i % hosts)}
	}
	m := newInMemory(Limits{}.WithDefaults(), Env{})
	m.sync(t, st)
	one, all := hoststate.NewState(), hoststate.NewState()
	one.Hosts[name(0)] = st.Hosts[name(0)]
	maps.Copy(all.Hosts, st.Hosts)
	cost := func(set hoststate.State) (least time.Duration) {
		for range 5 {
			start := time.Now()
			x := m.index.touched(hoststate.Delta{Set: set})
			if d := time.Since(start); least == 0 || d < least {
				least = d
			}
			if len(x.fdb) != entries {
				t.Fatalf("%d of %d FDB rows are touched", len(x.fdb), entries)
			}
		}
		return least
	}
	if a, b := cost(one), cost(all); b > 50*a {
		t.Errorf("one host costs %v, %d cost %v", a, hosts, b)
	}
}

// TestCopiesLeftOut: where hosts find no room among those that get copies, the ports of their
// networks are told, once for each network and map.
func TestCopiesLeftOut(t *testing.T) {
	st := hoststate.NewState()
	for i := range 6 {
		st.Ports[model.PortKey(i+1)] = hoststate.Port{Network: model.NetworkKey(1 + i%2)}
	}
	m := newInMemory(Limits{}.WithDefaults(), Env{})
	w := &concerned{t: m.t, tr: m.tr(st)}
	full, crowded := (&Full{}).tell(), (&Full{}).tell()
	host := func(i int) bpfFlood { return bpfFlood{Ifindex: 60, Addr: addrRow(fabricAddr(i))} }
	told := func(f *Full) string { return fmt.Sprint(slices.Sorted(maps.Keys(f.Ports))) }
	w.flood(full, bpfFloodKey{Net: 1}, host(1))
	if got := told(full); got != "[1 3 5]" {
		t.Errorf("ports that are told: %s", got)
	}
	full.Ports = map[model.PortKey]error{}
	w.flood(full, bpfFloodKey{Net: 1, Slot: 1}, host(2))
	if got := told(full); got != "[]" {
		t.Errorf("ports that are told once more: %s", got)
	}
	w.flood(full, bpfFloodKey{Net: 2}, host(1))
	w.flood(crowded, bpfFloodKey{Net: 1}, host(1))
	if got := told(full) + told(crowded); got != "[2 4 6][1 3 5]" {
		t.Errorf("ports that are told of another network, and of another map: %s", got)
	}
}

// TestRoomForManyHosts: by default each of a thousand hosts has room in each of twenty networks.
func TestRoomForManyHosts(t *testing.T) {
	if n := (Limits{}).WithDefaults().Floods; n < 1000*20 {
		t.Errorf("floods takes %d rows by default", n)
	}
}

// TestSpeakersBeforeRouters: the FDB entry of a router names a domain, of which speakers must know the hosts before it is
// written, and until it is gone; else what those hosts send in routers' names is lost while domains merge or split.
func TestSpeakersBeforeRouters(t *testing.T) {
	for _, at := range newTables(nil).speakers.steps {
		if at >= stepRouters {
			t.Errorf("speakers are written at step %d, the FDB entries of routers at %d", at, stepRouters)
		}
	}
}

// TestHostPairsBeforePairs: a row of pairs of kind net has the ARP of an address refused that no row of host_pairs allows, so those are
// there before it, and as long as it.
func TestHostPairsBeforePairs(t *testing.T) {
	x := newTables(nil)
	pairs, hostPairs := slices.Index(x.all, mapTable(x.pairs)), slices.Index(x.all, mapTable(x.hostPairs))
	if !slices.Equal(x.hostPairs.steps, []step{stepSources}) || !slices.Equal(x.pairs.steps, []step{stepSources}) || hostPairs > pairs {
		t.Errorf("host_pairs are written at %v, as table %d; pairs at %v, as table %d", x.hostPairs.steps, hostPairs, x.pairs.steps, pairs)
	}
}

// TestMovingToAHostThatIsGone: on a third host frames for what moves go to its other place, where the new host is no more.
func TestMovingToAHostThatIsGone(t *testing.T) {
	st := hoststate.NewState()
	st.Hosts["a"], st.Hosts["b"] = hoststate.Host{Addr: fabricAddr(1), Port: 4798}, hoststate.Host{Addr: fabricAddr(2), Port: 4798}
	k := hoststate.FDBKey{Network: 1, MAC: vmMAC(1)}
	for _, kind := range []hoststate.FDBKind{hoststate.FDBPort, hoststate.FDBRemote} {
		st.FDB[k] = hoststate.FDBEntry{Kind: kind, Port: 7, Host: "gone", Also: "b"}
		tr := wholeTranslator(st, Env{Fabric: hostenv.Fabric{Addr: fabricAddr(1), Port: 4798, Index: 60}}, newCounterIndex(16), nil)
		to, other := tr.moving(k, st.FDB[k])
		if to.Kind != fdbHost || to.Addr != addrRow(fabricAddr(2)) || other.Kind != fdbDrop {
			t.Errorf("kind %v: to %+v, other place %+v", kind, to, other)
		}
	}
}

// TestGatewayHostsHear: the hosts of a network's gateway device hear of pairs, also of a network without a router.
func TestGatewayHostsHear(t *testing.T) {
	st := hoststate.NewState()
	for i, h := range []model.HostName{"a", "b", "c"} {
		st.Hosts[h] = hoststate.Host{Addr: fabricAddr(i), Port: 4798}
	}
	pair := hoststate.Pair{MAC: vmMAC(1), Prefix: netip.MustParsePrefix("10.8.0.1/32")}
	st.Ports[1] = hoststate.Port{Network: 1, MAC: vmMAC(1), PortSecurity: true, Pairs: []hoststate.Pair{pair}}
	st.FDB[hoststate.FDBKey{Network: 1, MAC: msMAC(1)}] = hoststate.FDBEntry{Kind: hoststate.FDBRemote, Host: "b", Also: "c"}
	tr := wholeTranslator(st, Env{Fabric: hostenv.Fabric{Addr: fabricAddr(0), Port: 4798, Index: 60}}, newCounterIndex(16), nil)
	if got := tr.allowed.hearers(tr, 1); len(got) != 2 {
		t.Errorf("%v hear, want b and c", got)
	}
}
