package trace

import (
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// indexHearers finds the hosts that may send from a router of a network on which ports of this host have pairs, or by its
// gateway devices; and of those whose VLANs are reached by this host.
func (p *Pipeline) indexHearers() {
	domains := map[model.NetworkKey]map[model.NetworkKey]bool{}
	for k, e := range p.st.FDB {
		if e.Kind == hoststate.FDBRouter {
			if domains[k.Network] == nil {
				domains[k.Network] = map[model.NetworkKey]bool{}
			}
			domains[k.Network][e.Domain] = true
		}
	}
	heardOf := map[model.NetworkKey]bool{}
	for _, port := range p.st.Ports {
		if len(port.Pairs) > 0 {
			heardOf[port.Network] = true
		}
	}
	for k := range p.st.HostPairs {
		if k.Stations() && k.Host == p.own && p.serves(k.Network) {
			heardOf[k.Network] = true
		}
	}
	for net := range heardOf {
		heard := map[model.HostName]bool{}
		for k := range p.st.Speakers {
			h, ok := p.st.Hosts[k.Host]
			_, on := p.st.Members[hoststate.MemberKey{Network: net, Host: k.Host}]
			if ok && domains[net][k.Domain] && !on && !heard[k.Host] && h.Addr != p.env.Fabric.Addr {
				heard[k.Host] = true
				p.hearers[net] = append(p.hearers[net], member{k.Host, h.Addr})
			}
		}
		for k, e := range p.st.FDB {
			for _, name := range []model.HostName{e.Host, e.Also} {
				h, ok := p.st.Hosts[name]
				_, on := p.st.Members[hoststate.MemberKey{Network: net, Host: name}]
				if k.Network == net && e.Kind == hoststate.FDBRemote && ok && !on && !heard[name] && h.Addr != p.env.Fabric.Addr {
					heard[name] = true
					p.hearers[net] = append(p.hearers[net], member{name, h.Addr})
				}
			}
		}
	}
}

// hearStation learns what a station says of itself.
func (r *run) hearStation(src model.MAC, a packet.ARP) bool {
	if a.SenderMAC != src || src.IsZero() || r.heldByPort(Sender{Network: r.net, Addr: a.SenderIP}) {
		return false
	}
	r.mark("fabric/station-heard")
	_, known := r.p.st.FDB[hoststate.FDBKey{Network: r.net, MAC: src}]
	r.learn(Sender{Network: r.net, MAC: src}, held{}, true, known)
	r.learn(Sender{Network: r.net, Addr: a.SenderIP}, held{mac: src}, true, false)
	r.heard = true
	return true
}

// hostPairMAC tells whether a port of the host has a pair with a MAC that no row knows, and learns it.
func (r *run) hostPairMAC(host model.HostName, mac model.MAC) bool {
	v, ok := r.p.afar[r.net][hoststate.HostPairKey{Network: r.net, Host: host, MAC: mac}]
	if ok = ok && !mac.IsZero(); ok {
		r.learn(Sender{Network: r.net, MAC: mac}, held{port: v.Port, mac: v.MAC}, true, false)
	}
	return ok
}

// pairAfar is the port of a host that may send from an address by a pair; of several prefixes, by the longest.
func (p *Pipeline) pairAfar(net model.NetworkKey, host model.HostName, mac model.MAC, ip netip.Addr) (pair hoststate.HostPair, ok bool) {
	bits := -1
	for k, v := range p.afar[net] {
		if k.Host == host && k.MAC == mac && k.Prefix.Contains(ip) && k.Prefix.Bits() > bits {
			pair, bits, ok = v, k.Prefix.Bits(), true
		}
	}
	return pair, ok
}

// heldAfar tells whether a port of another host may have an address by a pair.
func (p *Pipeline) heldAfar(net model.NetworkKey, ip netip.Addr) bool {
	for k, v := range p.afar[net] {
		if v.Port != 0 && k.Prefix.Contains(ip) {
			return true
		}
	}
	return false
}

// mayHoldAfar tells whether a port of another host may hold what was learned of it.
func (p *Pipeline) mayHoldAfar(s Sender, h held) bool {
	for k, v := range p.afar[s.Network] {
		if v.Port != h.port {
			continue
		}
		if s.Addr.IsValid() && k.MAC == h.mac && k.Prefix.Contains(s.Addr) || !s.Addr.IsValid() && !k.Prefix.IsValid() && k.MAC == s.MAC && v.MAC == h.mac {
			return true
		}
	}
	return false
}

// bridgeFabric bridges what has come over the fabric. What ARP says there of allowed address pairs is learned.
func (r *run) bridgeFabric(e packet.Ethernet, at Object) Result {
	if e.Type != packet.TypeARP {
		return r.bridge()
	}
	a, err := packet.ParseARP(r.frame[packet.EthernetLen:])
	if err != nil {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	if !r.hear(e.Src, a) {
		return r.drop(reason.FabricSourceIP, at, about{mac: a.SenderMAC, ip: a.SenderIP, net: r.net, host: r.host})
	}
	if to, ok := r.p.fixedEntry(r.net, e.Dst); r.heard && ok && to.Kind == hoststate.FDBRouter {
		r.mark("fabric/heard-by-router")
		return r.drop(reason.ARPToRouter, at, about{mac: e.Dst})
	}
	return r.bridge()
}

// hear learns from ARP who of another host has an address of a pair; false: the host has no port with that pair.
func (r *run) hear(src model.MAC, a packet.ARP) bool {
	if a.SenderIP == netip.IPv4Unspecified() {
		return true
	}
	if from, ok := r.p.fixedEntry(r.net, src); ok && (from.Kind == hoststate.FDBRouter || from.Kind == hoststate.FDBRemote || from.Kind == fdbHost && from.remote) {
		return true
	}
	if _, known := r.p.st.Neighbors[hoststate.NeighborKey{Network: r.net, IP: a.SenderIP}]; known || !r.p.unknown(r.net, a.SenderIP) {
		return true
	}
	v, ok := r.p.pairAfar(r.net, r.host, a.SenderMAC, a.SenderIP)
	switch {
	case !ok && r.host == r.p.stationsAt[r.net]:
		return r.hearStation(src, a)
	case !ok, a.SenderMAC.IsZero():
		return false
	case v.Port == 0:
		r.mark("fabric/unsecured")
		return true
	}
	r.mark("fabric/heard")
	if a.SenderMAC != v.MAC {
		_, known := r.p.st.FDB[hoststate.FDBKey{Network: r.net, MAC: a.SenderMAC}]
		r.learn(Sender{Network: r.net, MAC: a.SenderMAC}, held{port: v.Port, mac: v.MAC}, true, known)
	}
	r.learn(Sender{Network: r.net, Addr: a.SenderIP}, held{port: v.Port, mac: a.SenderMAC}, true, false)
	r.heard = true
	return true
}
