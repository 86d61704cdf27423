package hoststate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// domainsOf are the domains of a topology's routers.
func domainsOf(t *Topology) map[model.RouterID]model.NetworkKey {
	out := map[model.RouterID]model.NetworkKey{}
	for id := range t.routers {
		out[id] = t.domains.nameOf(id)
	}
	return out
}

// floodDomains finds them by going from each router as far as interfaces lead.
func floodDomains(live map[string]any) map[model.RouterID]model.NetworkKey {
	names, nets := map[model.RouterID]*model.Network{}, map[model.NetworkID]*model.Network{}
	var edges []edge
	shares := NewTopology()
	for _, o := range live {
		switch o := o.(type) {
		case *model.RBACPolicy:
			shares.sharedWith.add(model.NetworkID(o.ObjectID), o.Target, struct{}{})
		case *model.Router:
			names[o.ID] = nil
		case *model.Network:
			if o.Type == model.NetworkOverlay {
				nets[o.ID] = o
			}
		case *model.Port:
			if o.DeviceOwner == model.OwnerRouterInterface {
				edges = append(edges, edge{model.RouterID(o.DeviceID), o.NetworkID})
			}
		}
	}
	edges = slices.DeleteFunc(edges, func(e edge) bool {
		_, there := names[e.router]
		return !there || nets[e.network] == nil
	})
	best := maps.Clone(nets)
	for again := true; again; {
		again = false
		for _, e := range edges {
			if r := names[e.router]; r == nil || shares.heads(best[e.network], r) < 0 {
				names[e.router], again = best[e.network], true
			} else if shares.heads(r, best[e.network]) < 0 {
				best[e.network], again = r, true
			}
		}
	}
	out := map[model.RouterID]model.NetworkKey{}
	for id, n := range names {
		if out[id] = 0; n != nil {
			out[id] = n.Key
		}
	}
	return out
}

// checkFabric holds the fabric's rows to the other rows of the site.
func checkFabric(t *rapid.T, s Site, live map[string]any) {
	t.Helper()
	hosts, members, speakers := map[model.HostName]Host{}, map[MemberKey]Member{}, map[SpeakerKey]Speaker{}
	for g, rows := range s.rows {
		if rows.Len == 0 || rows.Hosts != nil && g != siteGroup {
			t.Fatalf("group %v has %+v", g, rows)
		}
		maps.Copy(hosts, rows.Hosts)
		maps.Copy(members, rows.Members)
		maps.Copy(speakers, rows.Speakers)
	}
	wantHosts, wantMembers, enters := map[model.HostName]Host{}, map[MemberKey]Member{}, map[MemberKey]bool{}
	places, onVLAN := map[string]*model.Placement{}, map[MemberKey][]netip.Prefix{}
	domain := map[model.NetworkKey]model.NetworkKey{}
	nets, names := map[model.NetworkID]model.NetworkKey{}, floodDomains(live)
	for _, o := range live {
		switch o := o.(type) {
		case *model.Host:
			if o.Fabric.Addr.IsValid() {
				wantHosts[o.Name] = Host{o.Fabric.Addr, o.Fabric.Port, o.Fabric.MTU}
			}
		case *model.Placement:
			places[string(o.DeviceID)] = o
		case *model.Network:
			if o.Type == model.NetworkOverlay {
				nets[o.ID] = o.Key
			}
		}
	}
	for _, o := range live {
		if p, ok := o.(*model.Port); ok && p.DeviceOwner == model.OwnerRouterInterface && names[model.RouterID(p.DeviceID)] != 0 {
			domain[nets[p.NetworkID]] = names[model.RouterID(p.DeviceID)]
		}
	}
	for g, rows := range s.rows {
		for _, p := range rows.Ports {
			if k := (MemberKey{p.Network, model.HostName(g.Name)}); p.Drop == reason.None {
				wantMembers[k], enters[k] = Member{}, true
			}
		}
		for _, v := range rows.VLANs {
			if v.Drop == reason.None {
				enters[MemberKey{v.Network, model.HostName(g.Name)}] = true
				onVLAN[MemberKey{v.Network, model.HostName(g.Name)}] = v.Prefixes
			}
		}
		for _, n := range rows.VNIs {
			for h := range places[g.Name].Hosts { // from where it goes, too, before it is there
				enters[MemberKey{n, h}] = true
			}
		}
	}
	for _, k := range announced(live, nets) {
		wantMembers[k], enters[k] = Member{}, true
	}
	checkStations(t, s, onVLAN, wantMembers, wantHosts)
	wantSpeakers := map[SpeakerKey]Speaker{}
	for k := range enters {
		if d := domain[k.Network]; d != 0 {
			wantSpeakers[SpeakerKey{d, k.Host}] = Speaker{}
		}
	}
	if !maps.Equal(hosts, wantHosts) || !maps.Equal(members, wantMembers) || !maps.Equal(speakers, wantSpeakers) {
		t.Fatalf("hosts %v, want %v\nmembers %v, want %v\nspeakers %v, want %v", hosts, wantHosts, members, wantMembers, speakers, wantSpeakers)
	}
}

// checkStations holds the rows of who is on VLANs to the VLANs of the hosts, whose subnets onVLAN has, and notes who serves others.
func checkStations(t *rapid.T, s Site, onVLAN map[MemberKey][]netip.Prefix, members map[MemberKey]Member, onFabric map[model.HostName]Host) {
	t.Helper()
	serves := map[model.NetworkKey]model.HostName{}
	for k := range onVLAN {
		_, on := onFabric[k.Host]
		if first, ok := serves[k.Network]; on && (!ok || k.Host < first) {
			serves[k.Network] = k.Host
		}
	}
	want, wantFDB := map[HostPairKey]HostPair{}, map[FDBKey]FDBEntry{}
	for k, prefixes := range onVLAN {
		if serves[k.Network] != k.Host {
			want[HostPairKey{Network: k.Network, Host: k.Host}] = HostPair{}
			continue
		}
		members[k] = Member{}
		wantFDB[FDBKey{Network: k.Network}] = FDBEntry{Kind: FDBPort, Port: 1<<31 | model.PortKey(k.Network), Host: k.Host}
		for _, p := range append(prefixes, netip.Prefix{}) {
			want[HostPairKey{Network: k.Network, Host: k.Host, Prefix: p}] = HostPair{Port: 1<<31 | model.PortKey(k.Network)}
		}
	}
	got, fdb := map[HostPairKey]HostPair{}, map[FDBKey]FDBEntry{}
	for _, rows := range s.rows {
		for k, v := range rows.HostPairs {
			if k.MAC.IsZero() {
				got[k] = v
			}
		}
		for k, v := range rows.FDB {
			if k.MAC.IsZero() {
				fdb[k] = v
			}
		}
	}
	if !maps.Equal(got, want) || !maps.Equal(fdb, wantFDB) {
		t.Fatalf("stations %v, want %v\nFDB %v, want %v", got, want, fdb, wantFDB)
	}
}

// announced are the hosts that ports are on their way to, which have no row of the port yet.
func announced(live map[string]any, nets map[model.NetworkID]model.NetworkKey) (keys []MemberKey) {
	first := map[place]model.PortID{}
	for _, o := range live {
		if p, ok := o.(*model.Port); ok {
			for at := range (&port{Port: p, iface: p.InterfaceName(), remoteSite: p.IsRemoteSite()}).places {
				if id, taken := first[at]; !taken || p.ID < id {
					first[at] = p.ID
				}
			}
		}
	}
	for _, o := range live {
		p, ok := o.(*model.Port)
		if !ok || p.Move == nil || p.Move.Stage != model.MoveAccept || p.Move.Host == p.HostID || p.DeviceOwner == model.OwnerRouterInterface {
			continue
		}
		n, _ := live["net"+string(p.NetworkID)].(*model.Network)
		if overlay(n) && n.AdminStateUp && p.AdminStateUp && first[place{p.HostID, p.InterfaceName()}] == p.ID {
			keys = append(keys, MemberKey{nets[p.NetworkID], p.HostID})
		}
	}
	return keys
}

// withoutFabric is what an agent from before the fabric keeps of a state.
func withoutFabric(s State) State {
	s = s.Clone()
	s.Hosts, s.Members, s.Speakers, s.HostPairs = nil, nil, nil, nil
	for k, e := range s.FDB {
		e.Domain, e.Also = 0, ""
		s.FDB[k] = e
	}
	return s
}

// TestHostsThatSayNothingNew: what is written of a host as its agent comes, goes and acknowledges touches no row.
func TestHostsThatSayNothingNew(t *testing.T) {
	topo := NewTopology()
	h := model.Host{Name: "h1", Fabric: model.Fabric{Addr: netip.MustParseAddr("192.0.2.1"), Port: 4798, MTU: 1500}}
	if topo.Apply(Change{New: &h}).Empty() {
		t.Fatal("a new host touches nothing")
	}
	again := h
	again.AckedRevision, again.HeardAt, again.StartedAt, again.Session, again.Gone, again.GoneAt = 7, time.Now(), time.Now(), 8, true, time.Now()
	if touched := topo.Apply(Change{Old: &h, New: &again}); !touched.Empty() {
		t.Errorf("the same end of the fabric touches %+v", touched)
	}
	moved := again
	moved.Fabric.MTU = 9000
	if topo.Apply(Change{Old: &again, New: &moved}).Empty() {
		t.Error("another MTU touches nothing")
	}
}

// gatewayWithDomains is the topology of a gateway host, g, whose one device has n connections, each to a network in a domain of
// its own of two networks.
func gatewayWithDomains(n int) *Topology {
	t := NewTopology()
	t.Apply(Change{New: &model.Router{ID: "gw", Key: 1, AdminStateUp: true}})
	t.Apply(Change{New: &model.GatewayDevice{ID: "d", Type: model.RouterVTEP, ResourceID: "gw"}})
	t.Apply(Change{New: &model.Placement{DeviceID: "d", Host: "g", Epoch: 1}})
	for i := range n {
		r, l2gw := fmt.Sprint("r", i), fmt.Sprint("l", i)
		t.Apply(Change{New: &model.Router{ID: model.RouterID(r), Key: model.RouterKey(i + 2), AdminStateUp: true}})
		for j := range 2 {
			id := model.NetworkID(fmt.Sprint("n", i, "/", j))
			t.Apply(Change{New: &model.Network{ID: id, Key: model.NetworkKey(2*i + j + 1), AdminStateUp: true}})
			t.Apply(Change{New: &model.Port{
				ID: model.PortID(fmt.Sprint(r, "/", j)), Key: model.PortKey(2*i + j + 1), NetworkID: id,
				DeviceOwner: model.OwnerRouterInterface, DeviceID: r, AdminStateUp: true, MAC: model.NamedMAC{MAC: model.MAC{2, byte(j), 0, 0, byte(i >> 8), byte(i)}},
			}})
		}
		t.Apply(Change{New: &model.L2Gateway{ID: model.L2GatewayID(l2gw), DeviceID: "d", VNI: model.VNI(i + 1)}})
		t.Apply(Change{New: &model.L2GatewayConnection{ID: model.L2GatewayConnectionID(l2gw), L2GatewayID: model.L2GatewayID(l2gw), NetworkID: model.NetworkID(fmt.Sprint("n", i, "/0"))}})
	}
	return t
}

// TestSpeakersOfGateway: whether a host speaks for a domain costs what the domain or what the host has, whichever is less; also of a
// gateway host, whose networks have no ports there.
func TestSpeakersOfGateway(t *testing.T) {
	const conns = 100
	top := gatewayWithDomains(conns)
	v := view{t: top}
	for key, x := range top.domains.byName {
		steps := func(host model.HostName) (n int) {
			for range top.whereNear(x, host) {
				n++
			}
			return n
		}
		if n := steps("g"); n > 2*len(x.networks) {
			t.Fatalf("%d steps for the gateway host and a domain of %d networks", n, len(x.networks))
		}
		if n := steps("elsewhere"); n > 0 {
			t.Fatalf("%d steps for a host without anything", n)
		}
		_, speaks := v.speaker(inGroup(SpeakerKey{key, "g"}))
		if want := len(x.networks) > 0; speaks != want {
			t.Errorf("the gateway host speaks for domain %d: %v, want %v", key, speaks, want)
		}
	}
	// Gateways and devices without connections count as well.
	for i := range conns {
		c := top.conns[model.L2GatewayConnectionID(fmt.Sprint("l", i))]
		top.Apply(Change{Old: c})
	}
	n := 0
	for range top.nearNetworks("g") {
		n++
	}
	if n != conns {
		t.Errorf("%d steps through %d gateways without connections", n, conns)
	}
}
