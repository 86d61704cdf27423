package dataplane

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// TestHopsFollow: whatever changes of neighbors, FDB entries, ports, pairs, VLANs, interfaces or
// the next hops themselves, the rows of hops and routes are those that the state alone gives.
func TestHopsFollow(t *testing.T) {
	limits := Limits{}.WithDefaults()
	shut, several := 0, 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 38))
		env := Env{Links: map[string]Link{}, Trunks: map[string]Link{"up": {Index: 9}}, Ways: map[VTEP]Way{}}
		st := hoststate.NewState()
		m := newInMemory(limits, env)
		m.sync(t, st)
		for range 60 {
			now := st.Clone()
			touch := changeHops(r, &now, env)
			d := hoststate.Diff(st, now)
			for k := range touch { // what only env says
				if row, ok := now.Ports[k]; ok {
					d.Set.Ports[k] = row
				}
			}
			m.update(t, d, now)
			fresh := newInMemory(limits, env)
			fresh.t.counters = m.t.counters
			fresh.sync(t, now)
			if d := cmp.Diff(fresh.t.hops.have, m.t.hops.have); d != "" {
				t.Fatalf("seed %d: hops (- of the state, + after the change):\n%s", seed, d)
			}
			if d := cmp.Diff(fresh.t.routes.have, m.t.routes.have); d != "" {
				t.Fatalf("seed %d: routes (- of the state, + after the change):\n%s", seed, d)
			}
			for k, all := range now.Hops {
				if row, ok := m.t.hops.have[routeKeyRow(k)]; ok {
					several++
					if int(row.Count) < len(all) {
						shut++
					}
				}
			}
			st = now
		}
	}
	if shut < 100 || several-shut < 100 {
		t.Errorf("%d lists with a next hop that is down, %d without: the test sees too little", shut, several-shut)
	}
}

// changeHops changes a thing or two of a small host, and returns the ports of which only env has changed.
func changeHops(r *rand.Rand, st *hoststate.State, env Env) map[model.PortKey]bool {
	touched := map[model.PortKey]bool{}
	net := func() model.NetworkKey { return model.NetworkKey(1 + r.IntN(2)) }
	host := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + r.IntN(5))}) }
	mac := func() model.MAC { return model.MAC{2, 5: byte(1 + r.IntN(5))} }
	iface := func() string { return []string{"a", "b", "c"}[r.IntN(3)] }
	for range 1 + r.IntN(3) {
		switch r.IntN(9) {
		case 0, 1:
			k := hoststate.RouteKey{Router: model.RouterKey(1 + r.IntN(2)), Prefix: netip.MustParsePrefix([]string{"10.9.0.0/16", "10.8.0.0/16"}[r.IntN(2)])}
			var hops []hoststate.Hop
			for range 2 + r.IntN(3) {
				hops = append(hops, hoststate.Hop{Network: net(), NextHop: host(), MAC: mac()})
			}
			st.Routes[k] = hoststate.Route{Kind: hoststate.RouteVia, Network: hops[0].Network, NextHop: hops[0].NextHop, MAC: hops[0].MAC}
			st.Hops[k] = hops
			if r.IntN(4) == 0 {
				delete(st.Hops, k)
			}
			if r.IntN(6) == 0 {
				st.Routes[k] = hoststate.Route{Kind: hoststate.RouteDrop, Drop: reason.PortAdminDown}
			}
		case 2, 3:
			st.Neighbors[hoststate.NeighborKey{Network: net(), IP: host()}] = mac()
		case 4:
			delete(st.Neighbors, hoststate.NeighborKey{Network: net(), IP: host()})
		case 5, 6:
			k := hoststate.FDBKey{Network: net(), MAC: mac()}
			st.FDB[k] = []hoststate.FDBEntry{
				{Kind: hoststate.FDBPort, Port: model.PortKey(1 + r.IntN(3))}, {Kind: hoststate.FDBDrop, Drop: reason.PortAdminDown},
				{Kind: hoststate.FDBRouter, Router: 1}}[r.IntN(3)]
			if r.IntN(4) == 0 {
				delete(st.FDB, k)
			}
		case 7:
			k := model.PortKey(1 + r.IntN(3))
			p := hoststate.Port{Network: net(), Interface: string(rune('a' + k - 1))}
			if r.IntN(2) == 0 {
				p.Pairs = []hoststate.Pair{{MAC: mac(), Prefix: netip.PrefixFrom(host(), 32)}}
			}
			st.Ports[k] = p
			if r.IntN(4) == 0 {
				delete(st.Ports, k)
			}
			if r.IntN(2) == 0 {
				name := iface()
				env.Links[name] = Link{Index: 10 + int(name[0]) - r.IntN(2)*(10+int(name[0]))}
				for k, p := range st.Ports {
					if p.Interface == name {
						touched[k] = true
					}
				}
			}
		case 8:
			k := hoststate.VLANKey{Interface: "up", ID: uint16(1 + r.IntN(2))}
			st.VLANs[k] = hoststate.VLAN{Network: net(), Prefixes: []netip.Prefix{netip.PrefixFrom(host(), 31).Masked()}}
			if r.IntN(2) == 0 {
				delete(st.VLANs, k)
			}
		}
	}
	return touched
}
