package hoststate

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// site draws random changes. References may dangle and claims may clash: the
// store would refuse it, but a Compiler must not lose its way.
type site struct {
	t    *rapid.T
	live map[string]any // by kind and id
}

func (s *site) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(s.t, label) }
func (s *site) flag(label string) bool       { return s.pick(label, 4) < 3 }

// freeKey draws a key that no live object of the kind has.
func (s *site) freeKey(kind string, used func(any) uint32) uint32 {
	taken := map[uint32]bool{}
	for _, o := range s.live {
		taken[used(o)] = true
	}
	var free []uint32
	for k := uint32(1); k <= 12; k++ {
		if !taken[k] {
			free = append(free, k)
		}
	}
	return free[s.pick(kind+" key", len(free))]
}

func profile(iface string) map[string]json.RawMessage {
	b, _ := json.Marshal(iface)
	return map[string]json.RawMessage{"interface_name": b}
}

func ip(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i / 8), byte(i%8) + 1}) }

func (s *site) draw() (string, any) {
	id := fmt.Sprint(s.pick("id", 3))
	kind := rapid.SampledFrom([]string{"net", "subnet", "port", "port", "port", "router", "device", "place", "entry", "entry", "gateway", "conn", "learned", "host", "policy"}).Draw(s.t, "kind")
	ref := kind + id
	old := s.live[ref]
	net := model.NetworkID(fmt.Sprint(s.pick("network", 3)))
	vni := model.VNI(s.pick("vni", 3))
	switch kind {
	case "net":
		n := &model.Network{ID: model.NetworkID(id), AdminStateUp: s.flag("up"), MTU: 1450 + s.pick("mtu", 2)}
		n.Shared, n.CreatedAt = s.flag("shared"), time.Unix(int64(s.pick("age", 3)), 0)
		if !s.flag("overlay") {
			n.Type = model.NetworkUplink
		}
		if o, ok := old.(*model.Network); ok {
			n.Key = o.Key
		} else {
			n.Key = model.NetworkKey(s.freeKey(kind, func(o any) uint32 {
				if n, ok := o.(*model.Network); ok {
					return uint32(n.Key)
				}
				return 0
			}))
		}
		return ref, n
	case "policy":
		target := model.ProjectID(id) // an object has one policy for each
		return ref, &model.RBACPolicy{ID: model.RBACPolicyID(id), ObjectType: "network", ObjectID: string(net), Target: target}
	case "subnet":
		bits := 24 + s.pick("bits", 2)
		return ref, &model.Subnet{ID: model.SubnetID(id), NetworkID: net, CIDR: netip.PrefixFrom(ip(8*s.pick("cidr", 2)), bits)}
	case "port":
		id = fmt.Sprint(s.pick("port id", 9))
		ref = kind + id
		old = s.live[ref]
		p := &model.Port{ID: model.PortID(id), NetworkID: net, AdminStateUp: s.flag("up"), PortSecurity: s.flag("security"),
			MAC: model.NamedMAC{MAC: model.MAC{2, 0, 0, 0, 0, byte(s.pick("mac", 5))}}}
		for range s.pick("addresses", 3) {
			p.FixedIPs = append(p.FixedIPs, model.AddrPair{SubnetID: model.SubnetID(fmt.Sprint(s.pick("subnet", 4))), IP: ip(s.pick("ip", 10))})
		}
		for range max(0, s.pick("pairs", 4)-1) {
			a := model.AllowedPair{Addresses: model.AddressRange{Prefix: netip.PrefixFrom(ip(s.pick("pair", 10)), 29+s.pick("pair bits", 4)).Masked()}}
			if s.flag("pair MAC") {
				a.MAC = model.NamedMAC{MAC: model.MAC{2, 0, 0, 0, 0, byte(s.pick("mac", 5))}}
			}
			p.AllowedPairs = append(p.AllowedPairs, a)
		}
		switch s.pick("owner", 4) {
		case 0:
			p.DeviceOwner = "network:remote_site"
		case 1, 2:
			p.DeviceOwner, p.DeviceID = model.OwnerRouterInterface, fmt.Sprint(s.pick("router", 4))
		}
		if s.flag("bound") {
			p.HostID = model.HostName(fmt.Sprint("h", s.pick("host", 3)))
			p.Profile = profile(fmt.Sprint("if", s.pick("interface", 3)))
			if stage := model.MoveStage(s.pick("move", 6)); stage >= model.MoveAccept && stage <= model.MoveSwitched {
				p.Move = &model.Move{Host: model.HostName(fmt.Sprint("h", s.pick("former host", 3))), Interface: fmt.Sprint("if", s.pick("former interface", 3)), Stage: stage}
			}
		}
		if o, ok := old.(*model.Port); ok {
			p.Key = o.Key
		} else {
			p.Key = model.PortKey(s.freeKey(kind, func(o any) uint32 {
				if p, ok := o.(*model.Port); ok {
					return uint32(p.Key)
				}
				return 0
			}))
		}
		return ref, p
	case "router":
		id = fmt.Sprint(s.pick("router id", 4))
		ref = kind + id
		old = s.live[ref]
		r := &model.Router{ID: model.RouterID(id), AdminStateUp: s.flag("up")}
		for range s.pick("routes", 5) {
			r.Routes = append(r.Routes, model.HostRoute{
				Destination: netip.PrefixFrom(ip(8*s.pick("destination", 4)), 24+s.pick("bits", 2)), NextHop: ip(s.pick("next hop", 10))})
		}
		if o, ok := old.(*model.Router); ok {
			r.Key = o.Key
		} else {
			r.Key = model.RouterKey(s.freeKey(kind, func(o any) uint32 {
				if r, ok := o.(*model.Router); ok {
					return uint32(r.Key)
				}
				return 0
			}))
		}
		return ref, r
	case "device":
		if s.pick("device type", 3) == 0 {
			return ref, &model.GatewayDevice{ID: model.GatewayDeviceID(id), Type: model.NetworkVLAN, ResourceID: fmt.Sprint(s.pick("uplink", 3))}
		}
		return ref, &model.GatewayDevice{ID: model.GatewayDeviceID(id), Type: deviceTypes[s.pick("type", len(deviceTypes))], ResourceID: fmt.Sprint(s.pick("router", 3)), TunnelIP: ip(20 + s.pick("tunnel", 3))}
	case "place":
		p := &model.Placement{DeviceID: model.GatewayDeviceID(id), Host: model.HostName(fmt.Sprint("h", s.pick("host", 3))), Epoch: uint64(s.pick("epoch", 2))}
		if other := model.HostName(fmt.Sprint("h", s.pick("other", 3))); s.pick("moves", 2) == 1 && other != p.Host {
			p.Other, p.Stage = other, model.MoveStage(1+s.pick("stage", 4))
		}
		return ref, p
	case "entry":
		return ref, &model.RemoteMACEntry{ID: model.RemoteMACEntryID(id), DeviceID: model.GatewayDeviceID(fmt.Sprint(s.pick("device", 2))),
			MAC: model.NamedMAC{MAC: model.MAC{2, 0, 0, 0, 0, byte(s.pick("mac", 5))}}, VTEPAddress: ip(30 + s.pick("vtep", 2)), VNI: max(vni, 1)}
	case "gateway":
		return ref, &model.L2Gateway{ID: model.L2GatewayID(id), DeviceID: model.GatewayDeviceID(fmt.Sprint(s.pick("device", 2))), VNI: vni}
	case "host":
		h := &model.Host{Name: model.HostName("h" + id), AckedRevision: int64(s.pick("acked", 3)), Gone: s.pick("gone", 2) == 0}
		if s.flag("fabric") {
			h.Fabric = model.Fabric{Addr: ip(40 + s.pick("fabric address", 3)), Port: uint16(4798 + s.pick("fabric port", 2)), MTU: 1500 * s.pick("fabric MTU", 2)}
		}
		return ref, h
	case "learned":
		l := &model.LearnedMACs{ConnectionID: model.L2GatewayConnectionID(id)}
		for i := range byte(5) {
			switch s.pick("learned", 4) {
			case 0:
				l.MACs = append(l.MACs, model.MAC{2, 0, 0, 0, 0, i})
			case 1:
				l.Silent = append(l.Silent, model.MAC{2, 0, 0, 0, 0, i})
			}
		}
		return ref, l
	default:
		return ref, &model.L2GatewayConnection{ID: model.L2GatewayConnectionID(id), L2GatewayID: model.L2GatewayID(fmt.Sprint(s.pick("gateway", 3))), NetworkID: net, VNI: vni}
	}
}

func (s *site) change() Change {
	if len(s.live) > 0 && s.pick("delete", 6) == 5 {
		refs := make([]string, 0, len(s.live))
		for r := range s.live {
			refs = append(refs, r)
		}
		slices.Sort(refs)
		ref := refs[s.pick("which", len(refs))]
		c := Change{Old: s.live[ref]}
		delete(s.live, ref)
		return c
	}
	ref, o := s.draw()
	c := Change{Old: s.live[ref], New: o}
	s.live[ref] = o
	return c
}

// deviceTypes has router_vtep more often than the others.
var deviceTypes = []model.GatewayDeviceType{model.RouterVTEP, model.RouterVTEP, model.HWVTEP, model.NetworkVLAN}

// seed is a small site where everything works, in the ids that draw uses, so that
// random changes break and mend something.
func (s *site) seed() []Change {
	mac := func(i byte) model.NamedMAC { return model.NamedMAC{MAC: model.MAC{2, 0, 0, 0, 0, i}} }
	at := func(subnet model.SubnetID, i int) []model.AddrPair {
		return []model.AddrPair{{SubnetID: subnet, IP: ip(i)}}
	}
	s.live = map[string]any{
		"net0":    &model.Network{ID: "0", Key: 1, AdminStateUp: true},
		"net1":    &model.Network{ID: "1", Key: 2, AdminStateUp: true, Type: model.NetworkUplink},
		"subnet0": &model.Subnet{ID: "0", NetworkID: "0", CIDR: netip.PrefixFrom(ip(0), 24)},
		"subnet1": &model.Subnet{ID: "1", NetworkID: "1", CIDR: netip.PrefixFrom(ip(8), 24)},
		"router0": &model.Router{ID: "0", Key: 1, AdminStateUp: true, Routes: []model.HostRoute{{Destination: netip.PrefixFrom(ip(30), 32), NextHop: ip(9)}}},
		"port0": &model.Port{ID: "0", Key: 1, NetworkID: "1", MAC: mac(0), FixedIPs: at("1", 8), AdminStateUp: true,
			DeviceOwner: model.OwnerRouterInterface, DeviceID: "0", HostID: "h0", Profile: profile("if0")},
		"port1":    &model.Port{ID: "1", Key: 2, NetworkID: "0", MAC: mac(1), FixedIPs: at("0", 1), AdminStateUp: true, HostID: "h0", Profile: profile("if1")},
		"device0":  &model.GatewayDevice{ID: "0", Type: model.RouterVTEP, ResourceID: "0", TunnelIP: ip(20)},
		"place0":   &model.Placement{DeviceID: "0", Host: "h0", Epoch: 1},
		"entry0":   &model.RemoteMACEntry{ID: "0", DeviceID: "0", MAC: mac(2), VTEPAddress: ip(30), VNI: 1},
		"gateway0": &model.L2Gateway{ID: "0", DeviceID: "0", VNI: 1},
		"conn0":    &model.L2GatewayConnection{ID: "0", L2GatewayID: "0", NetworkID: "0"},
		"device1":  &model.GatewayDevice{ID: "1", Type: model.HWVTEP, TunnelIP: ip(22)},
		"gateway1": &model.L2Gateway{ID: "1", DeviceID: "1", VNI: 1},
		"conn1":    &model.L2GatewayConnection{ID: "1", L2GatewayID: "1", NetworkID: "0"},
		"learned1": &model.LearnedMACs{ConnectionID: "1", MACs: []model.MAC{{2, 0, 0, 0, 0, 3}}, Silent: []model.MAC{{2, 0, 0, 0, 0, 4}}},
	}
	var changes []Change
	for _, o := range s.live {
		changes = append(changes, Change{New: o})
	}
	return changes
}

// follower keeps a host's state by what changes, as a host is sent it.
type follower struct {
	host  model.HostName
	state State
}

func (f *follower) follow(c *Compiler, in *Interest, changes Changes, moves map[model.HostName]Move) {
	m := moves[f.host]
	var parts []*Delta
	for g, x := range changes {
		if in.Of(f.host).Groups.Has(g) && !slices.Contains(m.Gained, g) {
			parts = append(parts, x)
		}
	}
	for _, g := range m.Gained {
		if rows := c.Rows(g); rows != nil {
			parts = append(parts, &Delta{Set: rows.State})
		}
	}
	d := Join(parts)
	d.Replaced = slices.Concat(m.Gained, m.Lost)
	f.state.Apply(f.state.Resolve(d))
}

// TestCompilerEqualsCompile: whatever changes, in whatever order, a Compiler's rows and what an
// Interest says are those of a topology built anew in another order; what they say has
// changed leads there on every host, and the digests of what the host has are theirs.
func TestCompilerEqualsCompile(t *testing.T) {
	seen := struct{ hosts, members, speakers, pairsAfar, openAfar, merged, split, remote, learned, peers, uplinks, underlay, via, drops, vlans, gained, lost, elsewhere int }{}
	check := func(t *rapid.T) {
		s := &site{t: t}
		topo := NewTopology()
		topo.Apply(s.seed()...)
		most := rapid.IntRange(2, 14).Draw(t, "most groups")
		c, in := NewCompiler(topo), NewInterest(topo, most)
		var hosts []*follower
		for _, h := range []model.HostName{"h0", "h1", "h2"} {
			hosts = append(hosts, &follower{h, c.Site().Cut(in.Add(h))})
		}
		for range rapid.IntRange(30, 60).Draw(t, "batches") {
			var batch []Change
			for range rapid.IntRange(1, 4).Draw(t, "changes") {
				batch = append(batch, s.change())
			}
			before := domainsOf(topo)
			touched := topo.Apply(batch...)
			names := domainsOf(topo)
			for r, name := range names {
				for q, other := range names {
					was, too := before[r], before[q]
					switch {
					case was == 0 || too == 0 || name == 0 || other == 0:
					case was != too && name == other:
						seen.merged++
					case was == too && name != other:
						seen.split++
					}
				}
			}
			changes, moves := c.Apply(touched), in.Update(touched)
			fresh := NewTopology()
			for _, o := range s.live {
				fresh.Apply(Change{New: o})
			}
			site := CompileSite(fresh)
			if want := floodDomains(s.live); !maps.Equal(names, want) || !maps.Equal(domainsOf(fresh), want) {
				t.Fatalf("after %s the routers' domains are %v, anew %v, and by a flood %v", show(batch), names, domainsOf(fresh), want)
			}
			checkFabric(t, site, s.live)
			if len(site.rows) != len(c.rows) {
				t.Fatalf("%d groups with rows, not %d", len(c.rows), len(site.rows))
			}
			for g, want := range site.rows {
				if got := c.rows[g]; got == nil || !got.Equal(want.State) || got.Digest != want.Digest || got.Older != want.Older || got.Len != want.State.Len() {
					t.Fatalf("group %+v after %s: %+v, want %+v", g, show(batch), got, want)
				}
			}
			for _, f := range hosts {
				m := moves[f.host]
				seen.gained, seen.lost = seen.gained+len(m.Gained), seen.lost+len(m.Lost)
				f.follow(c, in, changes, moves)
				wants := Wants(fresh, f.host, most)
				if got := in.Of(f.host); !got.Groups.Equal(wants.Groups) || got.Cut != wants.Cut {
					t.Fatalf("after %s, %s wants %v, not %v", show(batch), f.host, got, wants)
				}
				want := site.Cut(wants)
				if !f.state.Equal(want) {
					t.Fatalf("deltas, after %s on %s (-want +got):\n%s", show(batch), f.host, diff(want, f.state))
				}
				if !maps.Equal(f.state.Digests(), c.Digests(wants.Groups)) {
					t.Fatalf("after %s the digests of %s are others than the site's", show(batch), f.host)
				}
				if older := withoutFabric(f.state); !maps.Equal(older.Digests(), c.OlderDigests(wants.WithoutFabric().Groups)) {
					t.Fatalf("after %s the digests of %s, were it older, are others than the site's", show(batch), f.host)
				}
				for _, v := range want.HostPairs {
					if v.Port != 0 {
						seen.pairsAfar++
					} else {
						seen.openAfar++
					}
				}
				seen.hosts, seen.members, seen.speakers = seen.hosts+len(want.Hosts), seen.members+len(want.Members), seen.speakers+len(want.Speakers)
				for _, e := range want.FDB {
					switch e.Kind {
					case FDBRemote:
						seen.remote++
						if e.Addr.Less(ip(30)) { // that of a switch
							seen.learned++
						}
						if !want.Here(e) {
							seen.elsewhere++
						}
					case FDBDrop:
						seen.drops++
					}
				}
				for _, g := range want.Gateways {
					seen.uplinks += len(g.Uplinks)
					seen.underlay += len(g.Routes)
				}
				for _, r := range want.Routes {
					if r.Kind == RouteVia {
						seen.via++
					}
				}
				seen.peers += len(want.Peers)
				seen.vlans += len(want.VLANs)
			}
		}
	}
	testutil.UntilMet(t, func() { rapid.Check(t, check) }, func() bool {
		return seen.hosts > 0 && seen.pairsAfar > 0 && seen.openAfar > 0 && seen.members > 0 && seen.speakers > 0 && seen.merged > 0 && seen.split > 0 &&
			seen.remote > 0 && seen.learned > 0 && seen.peers > 0 && seen.uplinks > 0 && seen.underlay > 0 && seen.via > 0 && seen.drops > 0 &&
			seen.vlans > 0 && seen.gained > 0 && seen.lost > 0 && seen.elsewhere > 0
	}, &seen)
}

func show(batch []Change) string {
	b, _ := json.Marshal(batch)
	return string(b)
}

func diff(want, got State) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
}
