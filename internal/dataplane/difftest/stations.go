package difftest

import (
	"math/rand/v2"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// addStations says of networks which hosts have a VLAN of theirs, and which one serves those without: this host, or
// another, which this one has need of or not. Of the first networks each topology has every kind.
func (t *Topology) addStations(r *rand.Rand) {
	kind := r.IntN(4)
	for i := range 4 {
		n := &t.nets[i]
		server := pick(r, t.others)
		switch (kind + i) % 4 {
		case 0, 1:
			server, n.serves = other{name: "host-0"}, true
		case 2:
			t.State.HostPairs[hoststate.StationsKey(n.key, "host-0")] = hoststate.HostPair{}
		default:
			n.stationsAt = server.addr
		}
		for _, h := range append(t.others, other{name: "another"}) {
			if r.IntN(2) == 0 {
				t.State.HostPairs[hoststate.StationsKey(n.key, h.name)] = hoststate.HostPair{}
			}
		}
		v := hoststate.HostPair{Port: hoststate.StationsPort(n.key)}
		for _, p := range []netip.Prefix{{}, n.prefix, netip.MustParsePrefix("2001:db8:5::/64")} {
			t.State.HostPairs[hoststate.HostPairKey{Network: n.key, Host: server.name, Prefix: p}] = v
		}
		t.State.FDB[hoststate.FDBKey{Network: n.key}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: v.Port, Host: server.name}
	}
}

// fromStation is what a station sends by the host that serves this one, or what that host makes up.
func (g *gen) fromStation(n *network, byDevice bool) (hoststate.PeerKey, []byte) {
	key := hoststate.PeerKey{TunnelIP: g.t.Fabric.Addr, Remote: n.stationsAt, VNI: model.VNI(n.key)}
	h := station(n, g.r.IntN(stations))
	src, ip := h.mac, h.ip
	switch g.r.IntN(20) {
	case 0:
		key.Remote = pick(g.r, g.t.others).addr
	case 1:
		src = pick(g.r, n.hosts).mac
	case 2:
		src = model.MAC{}
	case 13, 14:
		src = newMAC(g.r)
	case 3:
		ip = pick(g.r, n.hosts).ip
	case 4, 7, 8:
		if len(n.ports) > 0 {
			ip, src = g.shared(n)
		}
	case 5, 9, 10, 11, 12:
		if len(n.ports) > 0 {
			ip, _ = g.shared(n)
		}
	case 6:
		ip = netip.AddrFrom4([4]byte{198, 51, 100, byte(g.r.Uint32())})
	}
	if !byDevice && !g.chance(4) {
		f := g.frame(n, src, ip)
		for n.isRouter(model.MAC(f[:6])) {
			f = g.frame(n, src, ip)
		}
		return key, f
	}
	arp := packet.ARP{Op: packet.ARPRequest, SenderMAC: src, SenderIP: ip, TargetIP: ip}
	if !ip.Is4() || g.chance(20) {
		arp.SenderIP = netip.IPv4Unspecified()
	}
	if g.chance(12) {
		arp.SenderMAC = newMAC(g.r)
	}
	return key, g.ether(pick(g.r, []model.MAC{packet.Broadcast, g.dstMAC(n), pick(g.r, n.routes).mac}), src, packet.TypeARP, arp.Append(nil))
}
