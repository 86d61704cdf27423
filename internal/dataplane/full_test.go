package dataplane

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestUpdatesOfFullMaps: whatever comes and goes, each row that is wanted is written or
// waits, none waits while there is room, and the rows are those that empty maps would
// get.
func TestUpdatesOfFullMaps(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	limits := Limits{Ports: 3, PortAddrs: 2, Pairs: 6, FDB: 5, Neighbors: 5, Routes: 5, TunnelIPs: 1, VNIs: 4, VLANs: 1, Peers: 4, Floods: 3}
	cfg := Config{PinDir: labPins(t), Limits: limits}
	dp, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	env := Env{Links: map[string]Link{}, Trunks: map[string]Link{"up0": {Index: 50}, "up1": {Index: 51, MTU: 1500}}}
	for i := range 6 {
		env.Links[fmt.Sprint("tap", i)] = Link{Index: 100 + i, MTU: 1500}
	}
	st := hoststate.NewState()
	var crowded *hoststate.State // the last one for which there was no room
	for step := range 200 {
		next := owned(mix(r, st, drawState(r)))
		if r.IntN(20) == 0 {
			if err := dp.Close(); err != nil {
				t.Fatal(err)
			}
			if dp, err = Open(cfg); err != nil {
				t.Fatal(err)
			}
		}
		err := dp.Update(hoststate.Diff(st, next), next, env)
		if _, only := LeftOut(err); err != nil && !only {
			t.Fatalf("step %d: %v", step, err)
		}
		if dp.tables.waits() != (err != nil) {
			t.Fatalf("step %d: rows wait: %v; told: %v", step, dp.tables.waits(), err)
		}
		if err != nil {
			c := next.Clone()
			crowded = &c
		}
		st = next
		checkFullMaps(t, dp, st, env)
		if err != nil && step%20 == 0 {
			if d := cmp.Diff(fromNothing(t, st, env, limits), written(dp)); d != "" {
				t.Errorf("rows differ (- from empty maps, + after all that came before):\n%s", d)
			}
		}
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
	}
	if crowded == nil {
		t.Fatal("all rows found room: the test is of no use")
	}
	rows := fromNothing(t, *crowded, env, limits)
	for range 2 {
		if d := cmp.Diff(rows, fromNothing(t, *crowded, env, limits)); d != "" {
			t.Error(d)
		}
	}
}

// written are the rows of tables in which no row moves, as texts.
func written(dp *Dataplane) map[string]map[string]bool {
	rows := map[string]map[string]bool{}
	for _, x := range tested(dp.tables) {
		if x.mapName() != bpfMapFloods && x.mapName() != bpfMapVteps {
			rows[x.mapName()] = x.written()
		}
	}
	return rows
}

// fromNothing are the rows that a state comes to in empty maps.
func fromNothing(t *testing.T, st hoststate.State, env Env, limits Limits) map[string]map[string]bool {
	t.Helper()
	dp, err := Open(Config{PinDir: labPins(t), Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	if _, only := LeftOut(dp.Sync(st.Clone(), env)); !only {
		t.Fatal("all rows found room: the test is of no use")
	}
	return written(dp)
}

func checkFullMaps(t *testing.T, dp *Dataplane, st hoststate.State, env Env) {
	t.Helper()
	now := newTables(dp.tables.maps)
	if err := now.load(); err != nil {
		t.Fatal(err)
	}
	p, err := now.full(wholeTranslator(st, env, dp.tables.counters, dp.forgotten))
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range tested(dp.tables) {
		x.check(t, p, now.all[i])
	}
	checkPortDrops(t, dp, st)
	for k := range now.floods.have {
		if k.Slot > 0 && !has(now.floods.have, bpfFloodKey{Net: k.Net, Slot: k.Slot - 1}) {
			t.Errorf("floods has a gap before %v", k)
		}
	}
}

// TestFullTrie: a route of a full map can be changed in place.
func TestFullTrie(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	st, env := labState(0, 1450), Env{Links: map[string]Link{"tap0": {Index: 7, MTU: 1450}}}
	dp, err := Open(Config{PinDir: labPins(t), Limits: Limits{Routes: uint32(len(st.Routes))}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	// The last one is no subnet's: nothing is kept of a map that small.
	if err := dp.Sync(st, env); err != nil {
		if _, only := LeftOut(err); !only {
			t.Fatal(err)
		}
	}
	st.Networks[2] = hoststate.Network{ID: "n2", Name: "shared", MTU: 1300}
	d := hoststate.Delta{Set: hoststate.NewState()}
	d.Set.Networks[2] = st.Networks[2]
	if err := dp.Update(d, st, env); err != nil {
		if _, only := LeftOut(err); !only {
			t.Fatal(err)
		}
	}
	k := routeKeyRow(hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix("192.168.0.0/24")})
	var row bpfRoute
	if err := dp.tables.maps[bpfMapRoutes].Lookup(&k, &row); err != nil || row.Mtu != 1300 {
		t.Errorf("%+v, %v", row, err)
	}
}

// TestWhoIsTold: of each kind of row that finds no room, the ports concerned.
func TestWhoIsTold(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	router, shared, vm, remote := at(1, model.MustMAC(labGW)), at(2, msMAC(0)), model.PortKey(1), at(2, msMAC(1))
	st := labState(0, 1450)
	p := st.Ports[1]
	p.Addrs = append(p.Addrs, netip.MustParseAddr("10.0.0.4"))
	p.Pairs = []hoststate.Pair{{MAC: p.MAC, Prefix: netip.MustParsePrefix("10.0.0.64/26")}}
	st.Ports[1] = p
	st.VLANs[hoststate.VLANKey{Interface: "up0", ID: 7}] = hoststate.VLAN{Network: 1, Port: "uplink"}
	env := Env{Links: map[string]Link{"tap0": {Index: 7, MTU: 1450}}, Trunks: map[string]Link{"up0": {Index: 50}}}
	p2, mac2 := st.Ports[1], model.MustMAC("02:00:00:00:77:77")
	p2.ID, p2.Interface, p2.MAC, p2.Addrs, p2.Pairs = "port-2", "tap1", mac2, []netip.Addr{netip.MustParseAddr("10.0.0.9")}, nil
	for name, c := range map[string]struct {
		lim    Limits
		change func(*hoststate.State)
		ports  []model.PortKey
		others []hoststate.FDBKey
		uplink bool
	}{
		"ports":      {lim: Limits{Ports: 1}, change: func(s *hoststate.State) { s.Ports[2] = p2 }, ports: []model.PortKey{2}},
		"port_addrs": {lim: Limits{PortAddrs: 1}, change: func(s *hoststate.State) { q := p2; q.Addrs = p.Addrs; s.Ports[2] = q }, ports: []model.PortKey{2}},
		"pairs":      {lim: Limits{Pairs: 1}, ports: []model.PortKey{vm}},
		"fdb": {lim: Limits{FDB: uint32(len(st.FDB))}, change: func(s *hoststate.State) {
			s.Ports[2] = p2
			s.FDB[at(1, mac2)] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 2}
			s.FDB[at(9, mac2)] = hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: 9}
		}, ports: []model.PortKey{vm}, others: []hoststate.FDBKey{remote}}, // its MAC is the greater one
		"neighbors": {lim: Limits{Neighbors: 1}, ports: []model.PortKey{vm}, others: []hoststate.FDBKey{shared, remote}},
		"routes":    {lim: Limits{Routes: 1}, others: []hoststate.FDBKey{router, shared}},
		"tunnel_ips": {lim: Limits{TunnelIPs: 1}, change: func(s *hoststate.State) {
			s.Gateways["gv"] = hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.0")}
		}, others: []hoststate.FDBKey{remote}},
		"peers": {lim: Limits{Peers: 1}, change: func(s *hoststate.State) {
			s.Peers[hoststate.PeerKey{TunnelIP: netip.MustParseAddr("1.1.1.1"), Remote: netip.MustParseAddr("1.1.1.2"), VNI: 1}] = hoststate.Peer{Network: 1}
		}, others: []hoststate.FDBKey{remote}},
		"vlans": {lim: Limits{VLANs: 1}, change: func(s *hoststate.State) {
			s.VLANs[hoststate.VLANKey{Interface: "up0", ID: 3}] = hoststate.VLAN{Network: 1, Port: "other"}
		}, uplink: true},
		"floods": {lim: Limits{Floods: 1}, ports: []model.PortKey{vm}},
	} {
		t.Run(name, func(t *testing.T) {
			dp, err := Open(Config{PinDir: labPins(t), Limits: c.lim})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := dp.Remove(); err != nil {
					t.Error(err)
				}
			}()
			st, env := st.Clone(), env
			env.Links = maps.Clone(env.Links)
			env.Links["tap1"] = Link{Index: 8, MTU: 1450}
			if c.change != nil {
				c.change(&st)
			}
			lacking, only := LeftOut(dp.Sync(st, env))
			if !only {
				t.Fatal("not only full maps, or none")
			}
			for _, k := range c.ports {
				if lacking.Ports[k] == nil {
					t.Errorf("port %d is not told: %v", k, lacking)
				}
			}
			if len(lacking.Ports) != len(c.ports) {
				t.Errorf("ports %v, want %v", lacking.Ports, c.ports)
			}
			for _, k := range c.others {
				if lacking.Others[k] == nil {
					t.Errorf("%v is not told: %v", k, lacking.Others)
				}
			}
			if (lacking.Uplinks["uplink"] != nil) != c.uplink {
				t.Errorf("uplinks %v", lacking.Uplinks)
			}
		})
	}
}

// TestCrowdedNetwork: a network with more ports on this host than can get a frame flooded
// is no failure of others.
func TestCrowdedNetwork(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	dp, err := Open(Config{PinDir: labPins(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	st, env := labState(0, 1450), Env{Links: map[string]Link{"tap0": {Index: 7, MTU: 1450}}}
	for i := range floodMax + 1 {
		name := fmt.Sprint("many", i)
		st.Ports[model.PortKey(100+i)] = hoststate.Port{ID: model.PortID(name), Network: 5, Interface: name, MAC: model.MAC{2, 1, 0, 0, byte(i >> 8), byte(i)}}
		env.Links[name] = Link{Index: 5000 - i, MTU: 1450}
	}
	lacking, only := LeftOut(dp.Sync(st, env))
	if !only || len(lacking.Ports) != 1 || lacking.Ports[100+floodMax] == nil {
		t.Fatal(only, lacking)
	}
	d := hoststate.Delta{Set: hoststate.NewState(), Unset: hoststate.Keys{}}
	delete(st.Ports, 100)
	d.Unset.Ports = []model.PortKey{100}
	if err := dp.Update(d, st, env); err != nil {
		t.Error(err)
	}
}
