package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// drawState makes a small random State over a small domain, so that rows collide
// and depend on each other.
func drawState(r *rand.Rand) hoststate.State {
	st := hoststate.NewState()
	mac := func() model.MAC { return model.MAC{2, 0, 0, 0, 0, byte(r.IntN(8))} }
	ip := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(8))}) }
	net := func() model.NetworkKey { return model.NetworkKey(1 + r.IntN(3)) }
	why := func() reason.Reason {
		if r.IntN(4) == 0 {
			return reason.PortAdminDown
		}
		return reason.None
	}
	gw := func() model.GatewayDeviceID { return model.GatewayDeviceID(fmt.Sprint("gw", r.IntN(2))) }
	for k := range 3 {
		if r.IntN(4) > 0 {
			st.Networks[model.NetworkKey(k+1)] = hoststate.Network{MTU: 1400 + 10*r.IntN(2)}
		}
		if r.IntN(2) > 0 {
			st.Routers[model.RouterKey(k+1)] = hoststate.Router{}
		}
	}
	taps := r.Perm(6)
	for k := range 5 {
		if r.IntN(3) == 0 {
			continue
		}
		p := hoststate.Port{
			ID: model.PortID(fmt.Sprint("port", k)), Network: net(), Interface: fmt.Sprint("tap", taps[k]),
			MAC: mac(), PortSecurity: r.IntN(2) == 0, Drop: why(),
		}
		for i := range r.IntN(4) {
			p.Addrs = append(p.Addrs, netip.AddrFrom4([4]byte{10, 0, byte(i), byte(r.IntN(4))}))
		}
		for i := range r.IntN(3) {
			p.Pairs = append(p.Pairs, hoststate.Pair{MAC: model.MAC{2, 0, 0, 0, 1, byte(r.IntN(2))}, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24)})
		}
		st.Ports[model.PortKey(k+1)] = p
	}
	for range r.IntN(10) {
		e := hoststate.FDBEntry{Kind: hoststate.FDBKind(1 + r.IntN(4))}
		switch e.Kind {
		case hoststate.FDBPort:
			e.Port = model.PortKey(1 + r.IntN(5))
		case hoststate.FDBRouter:
			e.Router, e.Addr = model.RouterKey(1+r.IntN(3)), ip()
		case hoststate.FDBRemote:
			e.Addr, e.TunnelIP, e.VNI, e.Gateway = ip(), ip(), model.VNI(1+r.IntN(3)), gw()
		case hoststate.FDBDrop:
			e.Drop = reason.RemoteMACMissing
		}
		st.FDB[hoststate.FDBKey{Network: net(), MAC: mac()}] = e
	}
	for range r.IntN(8) {
		st.Neighbors[hoststate.NeighborKey{Network: net(), IP: ip()}] = mac()
		rt := hoststate.Route{Kind: hoststate.RouteKind(1 + r.IntN(4))}
		switch rt.Kind {
		case hoststate.RouteConnected, hoststate.RouteVia:
			rt.Network, rt.MAC = net(), mac()
			if rt.Kind == hoststate.RouteVia {
				rt.NextHop = ip()
			}
		case hoststate.RouteDrop:
			rt.Drop = reason.NetworkAdminDown
		}
		p, _ := ip().Prefix(8 * (1 + r.IntN(4)))
		to := hoststate.RouteKey{Router: model.RouterKey(1 + r.IntN(3)), Prefix: p}
		st.Routes[to] = rt
		for range r.IntN(4) {
			st.Hops[to] = append(st.Hops[to], hoststate.Hop{Network: net(), NextHop: ip(), MAC: mac()})
		}
		st.VNIs[hoststate.VNIKey{TunnelIP: ip(), VNI: model.VNI(1 + r.IntN(3))}] = net()
		st.Peers[hoststate.PeerKey{TunnelIP: ip(), Remote: ip(), VNI: model.VNI(1 + r.IntN(3))}] = hoststate.Peer{Network: net(), Drop: why()}
	}
	for range r.IntN(4) {
		v := hoststate.VLAN{Network: net(), Gateway: gw(), Drop: why()}
		for i := range r.IntN(3) {
			v.Prefixes = append(v.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24))
		}
		st.VLANs[hoststate.VLANKey{Interface: fmt.Sprint("up", r.IntN(2)), ID: uint16(1 + r.IntN(2))}] = v
	}
	for i := range r.IntN(3) {
		st.Gateways[model.GatewayDeviceID(fmt.Sprint("gw", i))] = hoststate.Gateway{TunnelIP: ip()}
	}
	drawFabric(r, &st)
	return st
}

// mix takes rows of one State and of another, so that most rows stay.
func mix(r *rand.Rand, a, b hoststate.State) hoststate.State {
	d := hoststate.Diff(a, b)
	keep := func() bool { return r.IntN(3) > 0 }
	dropSome(keep, d.Set.Ports, &d.Unset.Ports)
	dropSome(keep, d.Set.FDB, &d.Unset.FDB)
	dropSome(keep, d.Set.Neighbors, &d.Unset.Neighbors)
	dropSome(keep, d.Set.Routes, &d.Unset.Routes)
	dropSome(keep, d.Set.Hops, &d.Unset.Hops)
	dropSome(keep, d.Set.Peers, &d.Unset.Peers)
	dropSome(keep, d.Set.VLANs, &d.Unset.VLANs)
	dropSome(keep, d.Set.Hosts, &d.Unset.Hosts)
	dropSome(keep, d.Set.Members, &d.Unset.Members)
	dropSome(keep, d.Set.Speakers, &d.Unset.Speakers)
	out := hoststate.NewState()
	out.Apply(hoststate.Delta{Full: true, Set: a})
	out.Apply(d)
	// One port for each interface, as Compile sees to.
	taken := map[string]bool{}
	for _, k := range slices.Sorted(maps.Keys(out.Ports)) {
		if taken[out.Ports[k].Interface] {
			delete(out.Ports, k)
			continue
		}
		taken[out.Ports[k].Interface] = true
	}
	// One host for each address, as the controller sees to.
	addrs := map[netip.Addr]bool{}
	for _, name := range slices.Sorted(maps.Keys(out.Hosts)) {
		if a := out.Hosts[name].Addr; addrs[a] {
			delete(out.Hosts, name)
		} else {
			addrs[a] = true
		}
	}
	return out
}

func dropSome[K comparable, V any](drop func() bool, set map[K]V, unset *[]K) {
	maps.DeleteFunc(set, func(K, V) bool { return drop() })
	*unset = slices.DeleteFunc(*unset, func(K) bool { return drop() })
}

// TestUpdateEqualsSync: after any Update the maps hold what Sync would write, no
// counter is used twice, and a new process finds it all in the pinned maps.
func TestUpdateEqualsSync(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	cfg := Config{PinDir: labPins(t)}
	dp, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	env := Env{Links: map[string]Link{}, PathMTU: map[netip.Addr]int{}, Tables: map[model.GatewayDeviceID]uint32{}}
	for i := range 6 {
		env.Links[fmt.Sprint("tap", i)] = Link{Index: 100 + i, PeerElsewhere: i%2 == 0, MTU: 1500}
	}
	env.Trunks = map[string]Link{"up0": {Index: 50}, "up1": {Index: 51, MTU: 1500}}
	st := drawState(r)
	if err := dp.Sync(st, env); err != nil {
		t.Fatal(err)
	}
	for step := range 300 {
		next := mix(r, st, drawState(r))
		d := hoststate.Diff(st, next)
		if r.IntN(2) == 0 {
			// An interface comes, goes or is made anew: its port is named.
			name := fmt.Sprint("tap", r.IntN(6))
			env.Links = maps.Clone(env.Links)
			if _, ok := env.Links[name]; ok && r.IntN(2) == 0 {
				delete(env.Links, name)
			} else {
				env.Links[name] = Link{Index: 200 + 10*step + r.IntN(5), PeerElsewhere: r.IntN(2) == 0, MTU: 1500 * r.IntN(2)}
			}
			for k, p := range next.Ports {
				if p.Interface == name {
					d.Set.Ports[k] = p
				}
			}
		}
		if r.IntN(6) == 0 {
			// So does a trunk: its VLANs are named.
			env.Trunks = maps.Clone(env.Trunks)
			if _, ok := env.Trunks["up1"]; ok {
				delete(env.Trunks, "up1")
			} else {
				env.Trunks["up1"] = Link{Index: 50 + r.IntN(3), MTU: 1500 * r.IntN(2)}
			}
			if env.Trunks["up1"].Index == 50 {
				delete(env.Trunks, "up1")
			}
			for k, v := range next.VLANs {
				d.Set.VLANs[k] = v
			}
			for k := range st.VLANs {
				if _, ok := next.VLANs[k]; !ok && !slices.Contains(d.Unset.VLANs, k) {
					d.Unset.VLANs = append(d.Unset.VLANs, k)
				}
			}
		}
		if r.IntN(4) == 0 {
			// A path changes, and others are forgotten: their FDB entries and hosts are named.
			d.Set.Hosts = maps.Clone(d.Set.Hosts)
			for name, h := range next.Hosts {
				if _, known := env.PathMTU[h.Addr]; known {
					d.Set.Hosts[name] = h
				}
			}
			env.PathMTU = map[netip.Addr]int{netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(8))}): 1300}
			for k, e := range next.FDB {
				if e.Kind == hoststate.FDBRemote {
					d.Set.FDB[k] = e
				}
			}
		}
		if r.IntN(6) == 0 {
			// What is known of the way to a host changes: the host is named.
			d.Set.Hosts = namedHosts(r, next, &env, d.Set.Hosts)
		}
		if r.IntN(30) == 0 {
			env.Fabric = drawEnd(r)
		}
		if r.IntN(20) == 0 {
			if err := dp.Close(); err != nil {
				t.Fatal(err)
			}
			if dp, err = Open(cfg); err != nil {
				t.Fatal(err)
			}
		}
		if err := dp.Update(d, next, env); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		st = next
		checkMaps(t, dp, st, env)
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
	}
}

func checkMaps(t *testing.T, dp *Dataplane, st hoststate.State, env Env) {
	t.Helper()
	now := newTables(dp.tables.maps)
	if err := now.load(); err != nil {
		t.Fatal(err)
	}
	index := dp.tables.counters
	fresh := len(index.fresh)
	p, err := now.full(wholeTranslator(st, env, index, dp.forgotten))
	if err != nil {
		t.Fatal(err)
	}
	if len(index.fresh) != fresh {
		t.Error("a row had no counter")
	}
	for i, x := range tested(dp.tables) {
		x.check(t, p, now.all[i])
		if x.use().waiting > 0 {
			t.Errorf("rows of %s wait", x.mapName())
		}
	}
	checkPortDrops(t, dp, st)
	names := map[uint32]string{}
	claim := func(i uint32, name string) {
		if i == 0 || names[i] != "" {
			t.Errorf("counter %d is %s's and %s's", i, names[i], name)
		}
		names[i] = name
	}
	for k, i := range index.vlans {
		claim(i, fmt.Sprint("VLAN ", k))
	}
	for k, i := range index.ports {
		claim(i, fmt.Sprint("port ", k))
		if _, ok := st.Ports[k]; !ok {
			t.Errorf("port %d is gone and has a counter", k)
		}
	}
	for k, i := range index.tunnels {
		claim(i, fmt.Sprint("tunnel ", k))
	}
	if len(names)+len(index.resting) != len(index.used) {
		t.Errorf("%d counters have an owner, %d rest, %d are in use", len(names), len(index.resting), len(index.used))
	}
}

func TestFullMap(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	dp, err := Open(Config{PinDir: labPins(t), Limits: Limits{Neighbors: 2, Routes: 3}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	st := labState(0, 1450)
	env := Env{Links: map[string]Link{"tap0": {Index: 7, MTU: 1450}}}
	err = dp.Sync(st, env)
	if !errors.Is(err, errFull) || !strings.Contains(err.Error(), fmt.Sprintf("map neighbors is full: it takes 2 rows, and %d more were left out", len(st.Neighbors)-2)) {
		t.Fatal(err)
	}
	if _, only := LeftOut(err); !only {
		t.Errorf("more than full maps: %v", err)
	}
	if n := len(dp.tables.fdb.have); n != len(st.FDB) {
		t.Errorf("%d fdb written, want %d", n, len(st.FDB))
	}
	if len(dp.tables.neighbors.have) != 2 {
		t.Errorf("%d neighbors", len(dp.tables.neighbors.have))
	}
	// What is there stays there, whatever else is asked for.
	before := maps.Clone(dp.tables.neighbors.have)
	if err := dp.Sync(st, env); !errors.Is(err, errFull) || !maps.Equal(before, dp.tables.neighbors.have) {
		t.Errorf("%v; rows %v, before %v", err, dp.tables.neighbors.have, before)
	}
	if ports, only := LeftOut(errors.Join(err, errors.New("else"))); only {
		t.Errorf("only full maps, ports %v", ports)
	}
	// One row in place of another, in a full map, by a delta and at once.
	next := st.Clone()
	d := hoststate.Delta{Set: hoststate.NewState()}
	for k, mac := range st.Neighbors {
		delete(next.Neighbors, k)
		if _, ok := before[neighborKeyRow(k)]; ok && len(d.Set.Neighbors) == 0 {
			other := hoststate.NeighborKey{Network: k.Network, IP: netip.MustParseAddr("10.99.0.1")}
			d.Set.Neighbors[other], next.Neighbors[other] = mac, mac
		}
		d.Unset.Neighbors = append(d.Unset.Neighbors, k)
	}
	if err := dp.Update(d, next, env); err != nil && strings.Contains(err.Error(), "neighbors") {
		t.Error(err)
	}
	if len(dp.tables.neighbors.have) != 1 {
		t.Errorf("neighbors %v", dp.tables.neighbors.have)
	}
}
