package difftest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/trace"
)

// fabricPort is the fabric's UDP port.
const fabricPort = 4798

// The collect-metadata devices of the tunnels to other sites, and of the fabric.
const (
	vxlanDevice  = "vx0"
	fabricDevice = "fab0"
)

// other is another host of the site, as the packet generator knows it.
type other struct {
	name model.HostName
	addr netip.Addr
}

// addFabric makes the host one of several: what networks have is on others too, which are members of some of them
// and may send from some routers. Of the n-th three topologies (see stage) one in eight is of a host that is not on the fabric, one in
// three of one that has a tunnel IP as its address there.
func (t *Topology) addFabric(r *rand.Rand, n uint64) {
	t.State.Hosts, t.State.Members = map[model.HostName]hoststate.Host{}, map[hoststate.MemberKey]hoststate.Member{}
	t.State.Speakers = map[hoststate.SpeakerKey]hoststate.Speaker{}
	t.State.HostPairs = map[hoststate.HostPairKey]hoststate.HostPair{}
	own := netip.AddrFrom4([4]byte{200, 202, 0, 1})
	if n%3 == 1 {
		own = t.tunnels[0]
	}
	mtus := []int{0, 0, 1500, 1400, 9000}
	t.State.Hosts["host-0"] = hoststate.Host{Addr: own, Port: fabricPort, MTU: mtus[r.IntN(len(mtus))]}
	for i := range 3 - n%3 {
		h := other{model.HostName(fmt.Sprintf("host-%d", i+1)), netip.AddrFrom4([4]byte{200, 202, 0, byte(i + 2)})}
		t.State.Hosts[h.name] = hoststate.Host{Addr: h.addr, Port: fabricPort, MTU: mtus[r.IntN(len(mtus))]}
		t.others = append(t.others, h)
		if mtu := mtus[r.IntN(len(mtus))]; mtu != 0 {
			t.PathMTU[h.addr] = mtu
		}
	}
	t.addDomains(r)
	for i := range t.nets {
		t.addElsewhere(r, &t.nets[i], i)
	}
	if n%8 != 5 {
		t.Fabric = hostenv.Fabric{Addr: own, Port: fabricPort}
	}
	t.addFabricWays(r, n, own)
	t.addMoves(r)
}

// addMoves puts some ports and MACs of other sites in two places: this host and another in either role, or two others. What lies
// on "another", which is no host of the site, moves too.
func (t *Topology) addMoves(r *rand.Rand) {
	for i := range t.nets {
		n := &t.nets[i]
		for j, h := range n.hosts {
			k := hoststate.FDBKey{Network: n.key, MAC: h.mac}
			e := t.State.FDB[k]
			if e.Kind != hoststate.FDBPort && e.Kind != hoststate.FDBRemote || r.IntN(2) > 0 {
				continue
			}
			o := pick(r, t.others)
			switch here := t.State.Here(e); {
			case here && r.IntN(4) > 0:
				e.Host, e.Also = o.name, "host-0" // and it is still here, or already
			case here:
				e.Host, e.Also = "host-0", o.name
			case e.Host == o.name || r.IntN(6) == 0:
				e.Also = "host-0" // which has not got it yet
			default:
				e.Also = o.name
			}
			t.State.FDB[k] = e
			n.hosts[j].also = o.addr
		}
	}
}

// addDomains puts the first three routers in one domain and the others in another. Some hosts may send from one of
// them alone, or from none; "another" is no host of the site.
func (t *Topology) addDomains(r *rand.Rand) {
	domain := map[model.RouterKey]model.NetworkKey{}
	for i, k := range t.routers {
		domain[k] = model.NetworkKey(t.routers[i/3*3])
	}
	for k, e := range t.State.FDB {
		if e.Kind == hoststate.FDBRouter {
			e.Domain = domain[e.Router]
			t.State.FDB[k] = e
		}
	}
	for _, d := range []model.NetworkKey{domain[t.routers[0]], domain[t.routers[3]]} {
		for _, h := range append(t.others, other{name: "host-0"}, other{name: "another"}) {
			if r.IntN(3) > 0 {
				t.State.Speakers[hoststate.SpeakerKey{Domain: d, Host: h.name}] = hoststate.Speaker{}
			}
		}
	}
}

// addElsewhere puts ports of a network on other hosts, and MACs of other sites behind gateway devices that they serve.
func (t *Topology) addElsewhere(r *rand.Rand, n *network, i int) {
	for j := range 6 {
		o := t.others[r.IntN(len(t.others))]
		e := hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: model.PortKey(model.MaxKey - 10*i - j - 1), Host: o.name}
		if j > 3 {
			e = hoststate.FDBEntry{
				Kind: hoststate.FDBRemote, Addr: t.vteps[0], TunnelIP: netip.AddrFrom4([4]byte{200, 200, 1, 1}), VNI: model.VNI(j),
				Gateway: model.GatewayDeviceID("gateway of " + o.name), Host: o.name,
			}
		}
		h := t.add(r, n, e)
		h.at = o.addr
		n.hosts = append(n.hosts, h)
		if j < 4 {
			t.addPairsAfar(r, n, o, h, hoststate.HostPair{Port: e.Port, MAC: h.mac})
		}
	}
	for _, o := range append(t.others, other{name: "host-0"}, other{name: "another"}) {
		if r.IntN(2) == 0 {
			t.State.Members[hoststate.MemberKey{Network: n.key, Host: o.name}] = hoststate.Member{}
		}
	}
}

// addPairsAfar gives a port of another host pairs, or none and no port security.
func (t *Topology) addPairsAfar(r *rand.Rand, n *network, o other, h host, v hoststate.HostPair) {
	key := hoststate.HostPairKey{Network: n.key, Host: o.name, MAC: h.mac, Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	if r.IntN(3) == 0 {
		t.State.HostPairs[key] = hoststate.HostPair{MAC: h.mac}
		n.open = append(n.open, pairAfar{o.addr, h, hoststate.Pair{MAC: h.mac}})
		return
	}
	for _, p := range n.pairs(r, h.mac) {
		key.MAC, key.Prefix = p.MAC, p.Prefix
		if _, taken := t.State.HostPairs[key]; taken {
			continue // another port's of the host
		}
		t.State.HostPairs[key] = v
		if key.Prefix = (netip.Prefix{}); p.MAC != h.mac {
			if _, taken := t.State.HostPairs[key]; !taken {
				t.State.HostPairs[key] = v
			}
		}
		n.afar = append(n.afar, pairAfar{o.addr, h, p})
	}
}

// addFabricWays: the first of the others comes by the interface of tunnels, the further ones by another, by the kernel, or are
// shut. Of some nothing is known.
func (t *Topology) addFabricWays(r *rand.Rand, n uint64, own netip.Addr) {
	special := []trace.Way{
		{Interfaces: []string{Trunk2}}, {Interfaces: []string{Trunk}, Kernel: true}, {Interfaces: []string{Trunk}, Drop: reason.UnderlayPolicy},
	}
	for i, h := range t.others {
		w := trace.Way{Interfaces: []string{Trunk}}
		switch {
		case i == 0 && r.IntN(3) == 0:
			w.Interfaces = []string{Trunk2, Trunk}
		case i == 1:
			w = special[n%3]
		case i == 2:
			w = special[(n+2+n/3)%3]
		}
		if n < 3 || i == 0 || r.IntN(6) > 0 {
			t.Ways[trace.VTEP{Local: own, Remote: h.addr}] = w
		}
	}
}

// fromHost is a frame that another host sends over the fabric, and the key it comes with: of what the host has, or of a
// router.
func (g *gen) fromHost(byDevice bool) (hoststate.PeerKey, []byte) {
	o := pick(g.r, g.t.others)
	n := &g.t.nets[g.r.IntN(4)]
	if n.stationsAt.IsValid() && g.chance(6) {
		return g.fromStation(n, byDevice)
	}
	if len(n.afar) > 0 && g.chance(4) {
		return g.fromPairAfar(n, byDevice)
	}
	var senders []host
	for _, h := range n.hosts {
		if h.at == o.addr || h.also == o.addr {
			senders = append(senders, h)
		}
	}
	switch g.r.IntN(10) {
	case 0, 1, 2:
		senders = n.routes
	case 3: // what is down may still be sent
		senders = nil
		for _, h := range n.hosts {
			if h.kind == hoststate.FDBDrop {
				senders = append(senders, h)
			}
		}
	}
	if len(senders) == 0 || g.chance(20) {
		senders = n.hosts
	}
	src := pick(g.r, senders)
	key := hoststate.PeerKey{TunnelIP: g.t.Fabric.Addr, Remote: o.addr, VNI: model.VNI(n.key)}
	var f []byte
	switch g.r.IntN(7) {
	case 0, 1:
		f = g.bigBehindRouter(n, hoststate.FDBRemote)
	case 2, 5:
		f = g.bigBehindRouter(n, hoststate.FDBPort)
	case 3, 4:
		f = g.toPort(n, src)
	case 6:
		if n.serves {
			h := station(n, g.r.IntN(stations))
			f = g.ether(h.mac, src.mac, packet.TypeIPv4, g.ipv4(src.ip, h.ip))
		}
	}
	if f != nil {
		return key, f
	}
	for range 4 { // routers take nothing from the fabric
		f = g.frame(n, src.mac, src.ip)
		if !n.isRouter(model.MAC(f[:6])) {
			break
		}
	}
	return key, f
}

// fromPairAfar is what a port of another host sends by a pair, most often ARP that says so; or what another host claims.
func (g *gen) fromPairAfar(n *network, byDevice bool) (hoststate.PeerKey, []byte) {
	a, open := pick(g.r, n.afar), len(n.open) > 0 && g.chance(2)
	if open {
		a = pick(g.r, n.open)
		a.pair.Prefix = pick(g.r, n.afar).pair.Prefix
	}
	key := hoststate.PeerKey{TunnelIP: g.t.Fabric.Addr, Remote: a.at, VNI: model.VNI(n.key)}
	ip, src, dst := g.within(a.pair.Prefix), a.pair.MAC, packet.Broadcast
	if !ip.Is4() || g.chance(12) {
		ip = pick(g.r, n.hosts).ip
	}
	switch g.r.IntN(12) {
	case 0: // whoever else is at that host
		for _, h := range n.hosts {
			if h.at == a.at && h.kind == hoststate.FDBPort {
				src, a.pair.MAC = h.mac, h.mac
			}
		}
	case 4:
		key.Remote = pick(g.r, g.t.others).addr
	case 5, 6: // a router, or another site behind that host, or behind both
		src = pick(g.r, n.routes).mac
		for _, h := range n.hosts {
			if h.kind == hoststate.FDBRemote && (h.at == a.at && g.chance(2) || h.also == a.at) {
				src = h.mac
			}
		}
		a.pair.MAC = src
	case 1:
		key.VNI = model.VNI(pick(g.r, g.t.nets).key)
	case 2:
		src = pick(g.r, n.hosts).mac
	case 3:
		src = a.own.mac
	}
	switch g.r.IntN(7) {
	case 0, 1, 2:
		dst = pick(g.r, n.routes).mac
	case 3:
		dst = g.dstMAC(n)
	}
	if g.chance(3) || !byDevice && !g.chance(4) {
		return key, g.ether(g.dstMAC(n), src, packet.TypeIPv4, g.ipv4(ip, pick(g.r, n.hosts).ip))
	}
	arp := packet.ARP{Op: packet.ARPRequest, SenderMAC: a.pair.MAC, SenderIP: ip, TargetIP: ip}
	switch g.r.IntN(8) {
	case 0:
		arp.SenderMAC = src
	case 1, 3, 4:
		arp.SenderMAC = pick(g.r, n.afar).pair.MAC
	case 2:
		arp.SenderIP = netip.IPv4Unspecified()
	}
	if g.chance(2) {
		arp.Op, arp.TargetIP = packet.ARPReply, pick(g.r, n.routes).ip
	}
	f := g.ether(dst, src, packet.TypeARP, arp.Append(nil))
	switch g.r.IntN(20) {
	case 0:
		f[packet.EthernetLen+g.r.IntN(8)] ^= 1 << g.r.IntN(8)
	case 1:
		f = f[:packet.EthernetLen+g.r.IntN(packet.ARPLen)]
	}
	return key, f
}

func (n *network) isRouter(mac model.MAC) bool {
	for _, h := range n.routes {
		if h.mac == mac {
			return true
		}
	}
	return false
}

// bigBehindRouter is what another host's router sends to another site or a port, often too big for the way there.
func (g *gen) bigBehindRouter(n *network, to hoststate.FDBKind) []byte {
	for range 4 {
		if h := pick(g.r, n.hosts); h.kind == to && !h.at.IsValid() {
			c := Case{Data: g.ether(h.mac, pick(g.r, n.routes).mac, packet.TypeIPv4, g.ipv4(pick(g.r, n.hosts).ip, h.ip))}
			if len(c.Data) > packet.EthernetLen+packet.IPv4Len && !g.chance(6) {
				g.longer(&c)
				if g.chance(2) {
					c.Data[packet.EthernetLen+6] &^= 0x40
				}
				g.sum(c.Data[packet.EthernetLen:])
			}
			return c.Data
		}
	}
	return nil
}

// toPort is what a port of this host is sent by a port of another, or by a router there.
func (g *gen) toPort(n *network, src host) []byte {
	for range 4 {
		if h := pick(g.r, n.hosts); h.kind == hoststate.FDBPort && !h.at.IsValid() {
			p := g.t.State.Ports[g.t.State.FDB[hoststate.FDBKey{Network: n.key, MAC: h.mac}].Port]
			if len(p.Pairs) > 0 && h.also.IsValid() && g.chance(2) {
				h.mac = pick(g.r, p.Pairs).MAC
			}
			c := Case{Data: g.ether(h.mac, src.mac, packet.TypeIPv4, g.ipv4(src.ip, h.ip))}
			if h.also.IsValid() && len(c.Data) > packet.EthernetLen+packet.IPv4Len && g.chance(3) {
				g.longer(&c)
				g.sum(c.Data[packet.EthernetLen:])
			}
			return c.Data
		}
	}
	return nil
}

// onFabric tells whether the host has a fabric whose packets to make.
func (g *gen) onFabric() bool { return g.t.Fabric.On() }

// fabricEnv is the host's end of it, with the device of the namespace.
func (r *Runner) fabricEnv(t *Topology) hostenv.Fabric {
	f := t.Fabric
	if f.On() {
		f.Index = r.index[fabricDevice]
	}
	return f
}
