package difftest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/trace"
)

// The routing tables of the scratch namespace: all but noRouteTable have a way out.
const (
	edgeTable    = 100
	noRouteTable = 102
)

// Interfaces is how many workload interfaces there are; the last ones stay
// without a port.
const Interfaces = 14

// The interfaces that carry VLANs, the first of them tunnels as well.
const (
	Trunk  = "up0"
	Trunk2 = "up1"
)

// InterfaceName names the i-th workload interface.
func InterfaceName(i int) string { return fmt.Sprintf("w%d", i) }

// Topology is one random host.
type Topology struct {
	State   hoststate.State
	Links   map[string]trace.Link
	Tables  map[model.GatewayDeviceID]uint32
	PathMTU map[netip.Addr]int
	Ways    map[trace.VTEP]trace.Way
	Fabric  hostenv.Fabric // zero: the host is not on it

	trunkMTU int // of Trunk; Trunk2 has none
	nets     []network
	vteps    []netip.Addr
	tunnels  []netip.Addr
	peers    []hoststate.PeerKey
	routers  []model.RouterKey
	vlans    []hoststate.VLANKey
	dropNets []netip.Prefix // prefixes with a drop route at some router
	others   []other        // the other hosts of the site
}

// network is what the packet generator knows of a network.
type network struct {
	stationsAt netip.Addr // the other host that serves this one with the network's VLANs
	serves     bool       // this one serves others
	key        model.NetworkKey
	prefix     netip.Prefix
	hosts      []host // all that the network's tables know
	ports      []model.PortKey
	routes     []host // router interfaces
	vlans      []hoststate.VLANKey
	afar       []pairAfar
	open       []pairAfar // ports of other hosts without port security
}

// pairAfar is a pair of a port of another host.
type pairAfar struct {
	at   netip.Addr // the host's, on the fabric
	own  host
	pair hoststate.Pair
}

type host struct {
	mac    model.MAC
	ip     netip.Addr
	kind   hoststate.FDBKind // 0: a neighbor without an FDB entry
	remote hoststate.PeerKey
	at     netip.Addr // of the host of the site that has it, or serves it; zero: this one
	also   netip.Addr // of another that it moves to or from
}

// pairs are allowed address pairs of a port with the given MAC: addresses and MACs that
// the network's ports share, among them what the tables give to others.
func (n *network) pairs(r *rand.Rand, own model.MAC) []hoststate.Pair {
	b := n.prefix.Addr().As4()
	var pairs []hoststate.Pair
	for range 1 + r.IntN(4) {
		p := hoststate.Pair{MAC: own}
		if r.IntN(2) == 0 {
			p.MAC = model.MAC{0, 0, 0x5e, 0, 1, byte(r.IntN(3))}
		}
		switch r.IntN(6) {
		case 0:
			b[3] = 192
			p.Prefix = netip.PrefixFrom(netip.AddrFrom4(b), 29)
		case 1:
			p.Prefix = netip.MustParsePrefix("10.250.0.0/16")
		case 2:
			p.Prefix = netip.MustParsePrefix("2001:db8:77::/64")
		case 3:
			p.Prefix = netip.MustParsePrefix([]string{"0.0.0.0/0", "::/0"}[r.IntN(2)])
		default:
			b[3] = byte(192 + r.IntN(6))
			if r.IntN(4) == 0 {
				b[3] = byte(1 + r.IntN(20)) // somebody's, or somebody's to be
			}
			p.Prefix = netip.PrefixFrom(netip.AddrFrom4(b), 32)
		}
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b hoststate.Pair) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.Compact(pairs)
}

// Env is the pure half of the host.
func (t *Topology) Env(hashKey uint64) trace.Env {
	env := trace.Env{
		Trunks: map[string]trace.Link{Trunk: {MTU: t.trunkMTU}, Trunk2: {}},
		Links:  t.Links, Tables: t.Tables, PathMTU: t.PathMTU, HashKey: hashKey,
		NoRoute: map[trace.Underlay]bool{}, Ways: t.Ways, Fabric: t.Fabric, Mark: dataplane.DefaultMark,
	}
	for _, v := range t.vteps {
		env.NoRoute[trace.Underlay{Table: noRouteTable, Remote: v}] = true
	}
	return env
}

var dropReasons = []reason.Reason{
	reason.PortAdminDown, reason.NetworkAdminDown, reason.RouterAdminDown,
	reason.DestinationUnbound, reason.RemoteMACMissing, reason.ConnectionMissing,
}

func newMAC(r *rand.Rand) model.MAC {
	var m model.MAC
	v := r.Uint64()
	for i := range m {
		m[i] = byte(v >> (8 * i))
	}
	if r.IntN(8) != 0 {
		m[0] &^= 1 // every eighth keeps its group bit, as the API allows
	}
	return m
}

// NewTopology makes the topology of a seed.
func NewTopology(seed uint64) *Topology {
	r := rand.New(rand.NewPCG(seed, 0x746f706f))
	t := &Topology{
		State: hoststate.State{
			Ports: map[model.PortKey]hoststate.Port{}, Networks: map[model.NetworkKey]hoststate.Network{},
			Routers: map[model.RouterKey]hoststate.Router{}, FDB: map[hoststate.FDBKey]hoststate.FDBEntry{},
			Neighbors: map[hoststate.NeighborKey]model.MAC{}, Routes: map[hoststate.RouteKey]hoststate.Route{},
			Hops: map[hoststate.RouteKey][]hoststate.Hop{},
			VNIs: map[hoststate.VNIKey]model.NetworkKey{}, Peers: map[hoststate.PeerKey]hoststate.Peer{},
			Gateways: map[model.GatewayDeviceID]hoststate.Gateway{}, VLANs: map[hoststate.VLANKey]hoststate.VLAN{},
		},
		Links: map[string]trace.Link{}, Tables: map[model.GatewayDeviceID]uint32{}, PathMTU: map[netip.Addr]int{},
	}
	t.addGateways()
	t.addNetworks(r)
	t.addPorts(r)
	t.addRouters(r)
	for i := range t.nets {
		t.addRemotes(r, &t.nets[i])
		t.addDrops(r, &t.nets[i])
	}
	t.addRoutes(r)
	t.addVLANs(r)
	t.addHops(rand.New(rand.NewPCG(seed, 0x686f7073)))
	t.addWays(rand.New(rand.NewPCG(seed, 0x77617973)))
	t.addFabric(rand.New(rand.NewPCG(seed, 0x66616272)), seed&0xffff/3)
	t.addStations(rand.New(rand.NewPCG(seed, 0x73746174)))
	return t
}

// addWays has most VTEPs come in by the interface that carries tunnels alone. Of each topology
// one comes in by another or by none, one goes by the kernel, two come in by several; one
// may be shut.
func (t *Topology) addWays(r *rand.Rand) {
	t.Ways = map[trace.VTEP]trace.Way{}
	var all []trace.VTEP
	for _, k := range t.peers {
		v := trace.VTEP{Local: k.TunnelIP, Remote: k.Remote}
		if _, ok := t.Ways[v]; !ok {
			t.Ways[v] = trace.Way{Interfaces: []string{Trunk}}
			if t.State.Peers[k].Drop == reason.None && v.Local != t.tunnels[2] {
				all = append(all, v) // those that packets come from, and go to
			}
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var most []string
	for i := range dataplane.MaxWays - 1 {
		most = append(most, InterfaceName(i))
	}
	for i, w := range []trace.Way{
		{Interfaces: []string{Trunk2}}, {Interfaces: []string{Trunk}, Kernel: true},
		{Interfaces: append(most, Trunk)}, {Interfaces: []string{Trunk2, Trunk}},
	} {
		if i < len(all) { // a topology may have few peers
			t.Ways[all[i]] = w
		}
	}
	if r.IntN(4) == 0 && len(all) > 0 {
		delete(t.Ways, all[0])
	}
	if n := len(all) - 1; n > 3 && r.IntN(3) == 0 {
		t.Ways[all[n]] = trace.Way{Interfaces: []string{Trunk}, Drop: reason.UnderlayPolicy}
	}
}

// addVLANs puts networks on VLANs of the interface that carries tunnels, some on a second
// one there or on another interface, and one that may be shut.
func (t *Topology) addVLANs(r *rand.Rand) {
	for i := range 4 {
		n := &t.nets[i]
		for range 1 + r.IntN(2) {
			v := hoststate.VLAN{Network: n.key, Gateway: "vlan-device"}
			if r.IntN(4) > 0 {
				v.Prefixes = []netip.Prefix{n.prefix, netip.MustParsePrefix("2001:db8:5::/64")}
			}
			if i == 3 {
				v.Drop = []reason.Reason{reason.NetworkAdminDown, reason.None}[r.IntN(2)]
			}
			k := hoststate.VLANKey{Interface: Trunk, ID: uint16(100 + len(t.vlans))}
			if len(n.vlans) > 0 && r.IntN(2) == 0 {
				k.Interface = Trunk2
			}
			t.State.VLANs[k] = v
			t.vlans = append(t.vlans, k)
			n.vlans = append(n.vlans, k)
		}
	}
	t.trunkMTU = []int{1500, 700}[r.IntN(2)]
	t.State.VLANs[hoststate.VLANKey{Interface: "gone", ID: 99}] = hoststate.VLAN{Network: t.nets[0].key}
}

// hopNets is how many destinations with several next hops each router has.
const hopNets = 8

// addHops gives every router destinations with several next hops on both its networks: ports,
// remote hosts, the next router, and in two of three such as are down or nobody's.
func (t *Topology) addHops(r *rand.Rand) {
	for i, k := range t.routers {
		for j := range hopNets {
			var hops []hoststate.Hop
			for _, n := range []*network{&t.nets[i], &t.nets[(i+1)%5]} {
				var mac model.MAC
				others := slices.Clone(n.hosts)
				for _, h := range n.routes {
					if e := t.State.FDB[hoststate.FDBKey{Network: n.key, MAC: h.mac}]; e.Router == k {
						mac = h.mac
					} else if r.IntN(3) == 0 {
						others = append(others, h)
					}
				}
				r.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
				for _, h := range others {
					down := h.kind == hoststate.FDBDrop
					if j%3 == 0 && !down || j == 7 && down {
						hops = append(hops, hoststate.Hop{Network: n.key, NextHop: h.ip, MAC: mac})
					}
					if j%3 > 0 && j != 7 && r.IntN(4) == 0 {
						hops = append(hops, hoststate.Hop{Network: n.key, NextHop: h.ip, MAC: mac})
					}
				}
				if j == 7 || j%3 == 1 {
					b := n.prefix.Addr().As4()
					b[3] = byte(240 + r.IntN(4)) // nobody's
					hops = append(hops, hoststate.Hop{Network: n.key, NextHop: netip.AddrFrom4(b), MAC: mac})
				}
			}
			r.Shuffle(len(hops), func(i, j int) { hops[i], hops[j] = hops[j], hops[i] })
			hops = hops[:min(len(hops), 2+r.IntN(model.MaxNextHops-1))]
			if len(hops) < 2 {
				continue
			}
			slices.SortFunc(hops, func(a, b hoststate.Hop) int { return a.NextHop.Compare(b.NextHop) })
			key := hoststate.RouteKey{Router: k, Prefix: netip.MustParsePrefix(fmt.Sprintf("172.19.%d.0/%d", j<<4, 20+j%3))}
			t.State.Routes[key] = hoststate.Route{Kind: hoststate.RouteVia, Network: hops[0].Network, NextHop: hops[0].NextHop, MAC: hops[0].MAC}
			t.State.Hops[key] = hops
		}
	}
}

// Thin takes a sixth of the rows away, so that what refers to them misses them; and shuts
// some of the VLANs that stay, or gives them to another network.
func (t *Topology) Thin(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0x7468696e))
	thin(r, t.State.Ports)
	thin(r, t.State.FDB)
	thin(r, t.State.Neighbors)
	thin(r, t.State.Routes)
	thin(r, t.State.VNIs)
	thin(r, t.State.Peers)
	thin(r, t.State.VLANs)
	thin(rand.New(rand.NewPCG(seed, 0x686f7073)), t.State.Hops)
	f := rand.New(rand.NewPCG(seed, 0x66616272))
	thin(f, t.State.Hosts)
	thin(f, t.State.Members)
	thin(f, t.State.Speakers)
	thin(f, t.State.HostPairs)
	for _, k := range t.vlans {
		v, ok := t.State.VLANs[k]
		if !ok {
			continue
		}
		switch r.IntN(4) {
		case 0:
			v.Drop = reason.PortAdminDown
		case 1:
			v.Network = t.nets[r.IntN(4)].key
		}
		t.State.VLANs[k] = v
	}
}

func thin[K comparable, V any](r *rand.Rand, m map[K]V) {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	// Maps have no order, and a seed must always take the same rows.
	slices.SortFunc(keys, func(a, b K) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, k := range keys {
		if r.IntN(6) == 0 {
			delete(m, k)
		}
	}
}

func (t *Topology) addGateways() {
	for i := range 3 {
		id := model.GatewayDeviceID(fmt.Sprintf("gateway-%d", i))
		ip := netip.AddrFrom4([4]byte{200, 200, 0, byte(i + 1)})
		t.State.Gateways[id] = hoststate.Gateway{TunnelIP: ip, Epoch: 1}
		t.tunnels = append(t.tunnels, ip)
	}
	t.Tables["gateway-1"], t.Tables["gateway-2"] = edgeTable, noRouteTable
	for i := range 4 {
		t.vteps = append(t.vteps, netip.AddrFrom4([4]byte{200, 201, byte(i), 7}))
	}
	t.PathMTU[t.vteps[1]], t.PathMTU[t.vteps[2]] = 1300, 9000
}

func (t *Topology) addNetworks(r *rand.Rand) {
	for i := range 5 {
		k := model.NetworkKey(r.Uint32N(model.MaxKey-10)/5*5 + uint32(i) + 1)
		t.State.Networks[k] = hoststate.Network{
			ID: model.NetworkID(fmt.Sprintf("net-%d", i)), Name: fmt.Sprintf("network %d", i),
			MTU: []int{1450, 1400, 1280, 8950, 1450}[i],
		}
		// The tenants of networks 0 and 4 use the same addresses.
		t.nets = append(t.nets, network{key: k, prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i % 4), 0}), 24)})
	}
}

// add makes a MAC and an address in n; both tables get a row unless kind is 0,
// which leaves the FDB entry out.
func (t *Topology) add(r *rand.Rand, n *network, e hoststate.FDBEntry) host {
	b := n.prefix.Addr().As4()
	b[3] = byte(len(n.hosts) + len(n.routes) + 1)
	h := host{mac: newMAC(r), ip: netip.AddrFrom4(b), kind: e.Kind}
	t.State.Neighbors[hoststate.NeighborKey{Network: n.key, IP: h.ip}] = h.mac
	if e.Kind == hoststate.FDBRouter {
		e.Addr = h.ip
	}
	if e.Kind != 0 {
		t.State.FDB[hoststate.FDBKey{Network: n.key, MAC: h.mac}] = e
	}
	return h
}

func (t *Topology) addPorts(r *rand.Rand) {
	for i := range Interfaces - 2 {
		n := &t.nets[i%4] // network 4 has only remote and dropped hosts
		k := model.PortKey(r.Uint32N(model.MaxKey-100)/20*20 + uint32(i) + 1)
		h := t.add(r, n, hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: k})
		p := hoststate.Port{
			ID: model.PortID(fmt.Sprintf("port-%d", i)), Network: n.key, Interface: InterfaceName(i), MAC: h.mac,
			Addrs: []netip.Addr{h.ip}, PortSecurity: r.IntN(2) == 0,
		}
		switch r.IntN(6) {
		case 0:
			p.Addrs = nil
		case 1, 2:
			p.Addrs = append(p.Addrs, netip.MustParseAddr("192.0.2.77"),
				netip.MustParseAddr("2001:db8::1:"+fmt.Sprint(i)), netip.MustParseAddr("fe80::"+fmt.Sprint(i)))
		}
		if r.IntN(3) > 0 {
			p.PortSecurity = true
			p.Pairs = n.pairs(r, h.mac)
		}
		link := trace.Link{PeerElsewhere: r.IntN(2) == 0, MTU: []int{1500, 1450, 1300, 9000}[r.IntN(4)]}
		switch i {
		case 4:
			p.Drop = reason.PortAdminDown
		case 5:
			p.Drop = reason.NetworkAdminDown
		case 6, 7:
			p.PortSecurity = true
		case 8, 9:
			p.PortSecurity, p.Pairs = false, nil
		}
		if i != 10 { // the interface of port 10 is gone
			t.Links[p.Interface] = link
		}
		t.State.Ports[k] = p
		n.ports = append(n.ports, k)
		n.hosts = append(n.hosts, h)
	}
}

func (t *Topology) addRouters(r *rand.Rand) {
	for i := range 5 {
		k := model.RouterKey(r.Uint32N(model.MaxKey-10)/5*5 + uint32(i) + 1)
		t.State.Routers[k] = hoststate.Router{ID: model.RouterID(fmt.Sprintf("router-%d", i)), Name: fmt.Sprintf("router %d", i)}
		t.routers = append(t.routers, k)
		// Router i stands between networks i and i+1, so that they make a ring.
		for _, n := range []*network{&t.nets[i], &t.nets[(i+1)%5]} {
			h := t.add(r, n, hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: k})
			n.routes = append(n.routes, h)
			prefix := n.prefix
			if _, taken := t.State.Routes[hoststate.RouteKey{Router: k, Prefix: prefix}]; !taken {
				t.State.Routes[hoststate.RouteKey{Router: k, Prefix: prefix}] = hoststate.Route{Kind: hoststate.RouteConnected, Network: n.key, MAC: h.mac}
			}
			t.State.Routes[hoststate.RouteKey{Router: k, Prefix: netip.PrefixFrom(h.ip, 32)}] = hoststate.Route{Kind: hoststate.RouteLocal}
		}
	}
}

// addRemotes connects n to a gateway device and puts hosts at other sites.
func (t *Topology) addRemotes(r *rand.Rand, n *network) {
	g := r.IntN(8) % 3 // gateway 2, without a route, less often
	vni := model.VNI(r.Uint32N(model.MaxVNI) + 1)
	tunnel := t.tunnels[g]
	t.State.VNIs[hoststate.VNIKey{TunnelIP: tunnel, VNI: vni}] = n.key
	gateway := model.GatewayDeviceID(fmt.Sprintf("gateway-%d", g))
	for i, v := range t.vteps {
		key := hoststate.PeerKey{TunnelIP: tunnel, Remote: v, VNI: vni}
		peer := hoststate.Peer{Network: n.key, Gateway: gateway}
		if i == 3 {
			peer.Drop = []reason.Reason{reason.NetworkAdminDown, reason.RouterAdminDown}[r.IntN(2)]
		}
		t.State.Peers[key] = peer
		t.peers = append(t.peers, key)
		for range 2 {
			h := t.add(r, n, hoststate.FDBEntry{
				Kind: hoststate.FDBRemote, Addr: v, TunnelIP: tunnel, VNI: vni, Gateway: gateway,
			})
			h.remote = key
			n.hosts = append(n.hosts, h)
		}
	}
	// A second VNI of the network, on another device when it can be.
	if r.IntN(2) == 0 {
		other := t.tunnels[(g+1)%3]
		t.State.VNIs[hoststate.VNIKey{TunnelIP: other, VNI: vni + 1}] = n.key
		key := hoststate.PeerKey{TunnelIP: other, Remote: t.vteps[0], VNI: vni + 1}
		t.State.Peers[key] = hoststate.Peer{Network: n.key, Gateway: model.GatewayDeviceID(fmt.Sprintf("gateway-%d", (g+1)%3))}
		t.peers = append(t.peers, key)
		h := t.add(r, n, hoststate.FDBEntry{
			Kind: hoststate.FDBRemote, Addr: key.Remote, TunnelIP: other, VNI: vni + 1,
			Gateway: model.GatewayDeviceID(fmt.Sprintf("gateway-%d", (g+1)%3)),
		})
		h.remote = key
		n.hosts = append(n.hosts, h)
	}
}

func (t *Topology) addDrops(r *rand.Rand, n *network) {
	for _, why := range dropReasons {
		n.hosts = append(n.hosts, t.add(r, n, hoststate.FDBEntry{Kind: hoststate.FDBDrop, Drop: why}))
	}
	n.hosts = append(n.hosts, t.add(r, n, hoststate.FDBEntry{}))
	// What is elsewhere: a port of another host, or a MAC of another site whose gateway device another host serves.
	e := hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: model.MaxKey, Host: "another"}
	if n.key%2 == 0 {
		e = hoststate.FDBEntry{Kind: hoststate.FDBRemote, Addr: t.vteps[0], TunnelIP: t.tunnels[0], VNI: 1, Gateway: "elsewhere", Host: "another"}
	}
	n.hosts = append(n.hosts, t.add(r, n, e))
}

// addRoutes gives every router ways to prefixes that it has no interface in:
// onward round the ring, to a remote host, to nobody, and shut ones.
func (t *Topology) addRoutes(r *rand.Rand) {
	for i, k := range t.routers {
		set := func(prefix string, rt hoststate.Route) {
			key := hoststate.RouteKey{Router: k, Prefix: netip.MustParsePrefix(prefix)}
			if _, taken := t.State.Routes[key]; !taken {
				t.State.Routes[key] = rt
			}
		}
		out := &t.nets[(i+1)%5]
		mac := out.routes[0].mac
		for _, h := range out.routes {
			if e := t.State.FDB[hoststate.FDBKey{Network: out.key, MAC: h.mac}]; e.Router == k {
				mac = h.mac
			}
		}
		via := func(hop netip.Addr) hoststate.Route {
			return hoststate.Route{Kind: hoststate.RouteVia, Network: out.key, NextHop: hop, MAC: mac}
		}
		// 172.16/12 goes round the ring until a router knows better, or for ever.
		for _, h := range out.routes {
			if e := t.State.FDB[hoststate.FDBKey{Network: out.key, MAC: h.mac}]; e.Router != k {
				set("172.16.0.0/12", via(h.ip))
				for n := range 4 {
					set(fmt.Sprintf("10.0.%d.0/24", n), via(h.ip))
				}
			}
		}
		for j, h := range out.hosts {
			set(fmt.Sprintf("10.1.%d.0/24", j), via(h.ip))
			if i == 0 {
				set(fmt.Sprintf("172.17.%d.0/24", j), via(h.ip))
			}
		}
		b := out.prefix.Addr().As4()
		b[3] = 250
		set("10.2.0.0/16", via(netip.AddrFrom4(b))) // nobody has that address
		for j, why := range []reason.Reason{reason.PortAdminDown, reason.NetworkAdminDown, reason.RouterAdminDown, reason.ConnectionMissing} {
			prefix := fmt.Sprintf("10.3.%d.0/24", j)
			set(prefix, hoststate.Route{Kind: hoststate.RouteDrop, Drop: why})
			if i == 0 {
				t.dropNets = append(t.dropNets, netip.MustParsePrefix(prefix))
			}
		}
		if r.IntN(2) == 0 {
			set("10.1.0.0/16", via(out.hosts[r.IntN(len(out.hosts))].ip))
		}
	}
}
