package hoststate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// wantsSlowly is what Wants says, layer by layer, in sets of groups.
func wantsSlowly(t *Topology, ifaces []*model.Port, host model.HostName, most int) Wanted {
	all, cut := map[Group]bool{hostGroup(host): true}, false
	take := func(layer map[Group]bool) map[Group]bool {
		maps.DeleteFunc(layer, func(g Group, _ bool) bool { return all[g] })
		taken := slices.SortedFunc(maps.Keys(layer), Group.Compare)
		if room := max(0, most-len(all)); len(taken) > room {
			taken, cut = taken[:room], true
		}
		clear(layer)
		for _, g := range taken {
			all[g], layer[g] = true, true
		}
		return layer
	}
	networks := map[Group]bool{}
	for id := range t.nearNetworks(host) {
		if n := t.networks[id]; overlay(n) {
			networks[networkGroup(n.Key)] = true
		}
	}
	networks = take(networks)
	for range MaxRouters {
		routers, next := map[Group]bool{}, map[Group]bool{}
		for _, p := range ifaces {
			n, r := t.networks[p.NetworkID], t.routers[model.RouterID(p.DeviceID)]
			if overlay(n) && r != nil && networks[networkGroup(n.Key)] {
				routers[routerGroup(r.Key)] = true
			}
		}
		routers = take(routers)
		for _, p := range ifaces {
			n, r := t.networks[p.NetworkID], t.routers[model.RouterID(p.DeviceID)]
			if overlay(n) && r != nil && routers[routerGroup(r.Key)] {
				next[networkGroup(n.Key)] = true
			}
		}
		networks = take(next)
	}
	all[siteGroup] = true
	for g := range all {
		if r := t.routerByKey[model.RouterKey(g.Key)]; g.Kind == GroupRouter && r != nil {
			if name := t.domains.nameOf(r.ID); name != 0 {
				all[domainGroup(name)] = true
			}
		}
	}
	return Wanted{NewGroupSet(slices.Collect(maps.Keys(all))...), cut}
}

// wantsSite draws networks and routers in long rows, and what joins, leaves and returns.
type wantsSite struct {
	t    *rapid.T
	topo *Topology
	live map[string]any
}

func (s *wantsSite) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(s.t, label) }

// change draws an object that comes, goes or changes.
func (s *wantsSite) change() Change {
	const places = 14
	at := s.pick("at", places)
	ref, o := "", any(nil)
	switch kind := s.pick("kind", 8); kind {
	case 0:
		n := &model.Network{ID: model.NetworkID(fmt.Sprint(at)), Key: model.NetworkKey(1 + (at+s.pick("key", 2)*places)*5%29), AdminStateUp: true}
		if s.pick("uplink", 3) == 0 {
			n.Type = model.NetworkUplink
		}
		ref, o = fmt.Sprint("net", at), n
	case 1:
		ref, o = fmt.Sprint("router", at), &model.Router{ID: model.RouterID(fmt.Sprint(at)), Key: model.RouterKey(1 + at + s.pick("key", 2)*places), AdminStateUp: true}
	case 2:
		ref, o = fmt.Sprint("port", at), &model.Port{ID: model.PortID(fmt.Sprint("p", at)), Key: model.PortKey(100 + at), AdminStateUp: true,
			NetworkID: model.NetworkID(fmt.Sprint(at)), HostID: model.HostName(fmt.Sprint("h", s.pick("host", 3))), Profile: profile("tap")}
	default:
		near := (at + s.pick("near", 2)) % places
		if s.pick("far", 12) == 0 {
			near = s.pick("any", places)
		}
		i := at*places + near
		ref, o = fmt.Sprint("iface", i), &model.Port{ID: model.PortID(fmt.Sprint("i", i)), Key: model.PortKey(200 + i), AdminStateUp: true,
			NetworkID: model.NetworkID(fmt.Sprint(near)), DeviceOwner: model.OwnerRouterInterface, DeviceID: fmt.Sprint(at)}
	}
	c := Change{Old: s.live[ref], New: o}
	if c.Old != nil && s.pick("gone", 4) == 0 {
		c.New = nil
		delete(s.live, ref)
		return c
	}
	s.live[ref] = o
	return c
}

func (s *wantsSite) ifaces() []*model.Port {
	var all []*model.Port
	for _, o := range s.live {
		if p, ok := o.(*model.Port); ok && p.DeviceOwner == model.OwnerRouterInterface {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *model.Port) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// TestWants: what hosts want is what a slow search finds, whatever comes, goes and comes again; who wants a group is said by those who
// are looked at.
func TestWants(t *testing.T) {
	var seen struct{ cut, whole, long, returned int }
	check := func(t *rapid.T) {
		s := &wantsSite{t: t, topo: NewTopology(), live: map[string]any{}}
		most := []int{4, 7, MaxGroups}[s.pick("most", 3)]
		in, looked, was := NewInterest(s.topo, most), map[model.HostName]bool{}, map[model.HostName]bool{}
		for i := range 14 { // a row of them, of which the changes break and mend something
			n := &model.Network{ID: model.NetworkID(fmt.Sprint(i)), Key: model.NetworkKey(1 + i*5%29), AdminStateUp: true}
			r := &model.Router{ID: model.RouterID(fmt.Sprint(i)), Key: model.RouterKey(1 + i), AdminStateUp: true}
			s.live["net"+string(n.ID)], s.live["router"+string(r.ID)] = n, r
			s.topo.Apply(Change{New: n}, Change{New: r})
		}
		for range 60 {
			in.Update(s.topo.Apply(s.change(), s.change(), s.change()))
			ifaces := s.ifaces()
			switch h := model.HostName(fmt.Sprint("h", s.pick("who", 3))); {
			case !looked[h]:
				in.Add(h)
				if was[h] {
					seen.returned++
				}
				looked[h], was[h] = true, true
			case s.pick("leaves", 4) == 0:
				in.Remove(h)
				delete(looked, h)
			}
			wanted := map[Group]map[model.HostName]bool{}
			for _, h := range []model.HostName{"h0", "h1", "h2"} {
				want := wantsSlowly(s.topo, ifaces, h, most)
				if got := Wants(s.topo, h, most); !got.Groups.Equal(want.Groups) || got.Cut != want.Cut {
					t.Fatalf("%s of at most %d groups wants %v, not %v", h, most, got, want)
				}
				if want.Cut {
					seen.cut++
				} else {
					seen.whole++
				}
				if want.Groups.Len() > 2*MaxRouters {
					seen.long++
				}
				if !looked[h] {
					continue
				}
				if got := in.Of(h); !got.Groups.Equal(want.Groups) || got.Cut != want.Cut {
					t.Fatalf("%s is said to want %v, not %v", h, got, want)
				}
				for g := range want.Groups.All() {
					if wanted[g] == nil {
						wanted[g] = map[model.HostName]bool{}
					}
					wanted[g][h] = true
				}
			}
			if len(in.all) > 3 {
				t.Fatalf("three hosts have %d numbers", len(in.all))
			}
			if len(in.of) != len(wanted) {
				t.Fatalf("%d groups are wanted, not %d", len(in.of), len(wanted))
			}
			for g, want := range wanted {
				got := map[model.HostName]bool{}
				for h := range in.Hosts(g) {
					got[h] = true
				}
				if !maps.Equal(got, want) {
					t.Fatalf("%v is wanted by %v, not %v", g, got, want)
				}
			}
		}
	}
	testutil.UntilMet(t, func() { rapid.Check(t, check) }, func() bool {
		return seen.cut > 0 && seen.whole > 0 && seen.long > 0 && seen.returned > 0
	}, &seen)
}

// TestWantsAsFarAsPacketsGo: of a row of networks with a router between each two, a host wants those that a packet may reach.
func TestWantsAsFarAsPacketsGo(t *testing.T) {
	topo := NewTopology()
	for i := range 12 {
		id := fmt.Sprint(i)
		topo.Apply(Change{New: &model.Network{ID: model.NetworkID(id), Key: model.NetworkKey(1 + i), AdminStateUp: true}},
			Change{New: &model.Router{ID: model.RouterID(id), Key: model.RouterKey(1 + i), AdminStateUp: true}})
		for k, n := range []int{i, i + 1} {
			topo.Apply(Change{New: &model.Port{ID: model.PortID(fmt.Sprint(i, k)), Key: model.PortKey(1 + 2*i + k), AdminStateUp: true,
				NetworkID: model.NetworkID(fmt.Sprint(n)), DeviceOwner: model.OwnerRouterInterface, DeviceID: id}})
		}
	}
	topo.Apply(Change{New: &model.Port{ID: "p", Key: 100, NetworkID: "0", AdminStateUp: true, HostID: "h", Profile: profile("tap")}})
	w := Wants(topo, "h", MaxGroups)
	for i := range model.NetworkKey(12) {
		if got, want := w.Groups.Has(networkGroup(1+i)), i <= MaxRouters; got != want {
			t.Errorf("the network behind %d routers is wanted: %v", i, got)
		}
		if got, want := w.Groups.Has(routerGroup(model.RouterKey(1+i))), i < MaxRouters; got != want {
			t.Errorf("the router behind %d others is wanted: %v", i, got)
		}
	}
}
