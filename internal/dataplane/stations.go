package dataplane

import (
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// Stations are who is on a VLAN. Of the hosts with a VLAN of a network one serves those without: they
// reach its stations by it.

// Flags of rows of floods.
const (
	floodServes = 1 // a VLAN by which this host serves others
	floodVLAN   = 2 // a host with a VLAN of its own on the network
)

// onVLAN tells whether a host has a VLAN of the network.
func (t translator) onVLAN(net model.NetworkKey, host model.HostName) bool {
	_, ok := t.st.HostPairs[hoststate.StationsKey(net, host)]
	return ok
}

// serves tells whether this host serves those without a VLAN of the network.
func (t translator) serves(net model.NetworkKey) bool {
	return t.own != "" && t.st.HostPairs[hoststate.StationsKey(net, t.own)].Port != 0
}

// stations is the row of host_pairs for what is on the VLANs of a host: on hosts without a VLAN of the
// network whatever may come from the one that serves them, elsewhere who has one.
func (t translator) stations(k hoststate.HostPairKey, v hoststate.HostPair, h hoststate.Host) (bpfHostPairKey, bpfHostPair, bool) {
	key := bpfHostPairKey{Plen: hostPairAny, Id: bigEndian(uint32(k.Network)), Host: addrRow(h.Addr)}
	own := t.own != "" && t.onVLAN(k.Network, t.own)
	switch {
	case own && t.serves(k.Network) && !k.Prefix.IsValid():
		key.Plen, key.Kind = hostPairPlen, pairVLAN
		return key, bpfHostPair{}, true
	case own || v.Port == 0:
		return bpfHostPairKey{}, bpfHostPair{}, false
	}
	if k.Prefix.IsValid() {
		key = pairAddrRow(key, k)
	}
	return key, bpfHostPair{Port: uint32(v.Port), LearnLimit: t.learnLimit(v.Port)}, true
}

// learnLimit is what a row of learners may come to: what may be known at a time, and what has been taken away.
func (t translator) learnLimit(p model.PortKey) uint32 { return learnBound(p) + t.forgotten[p] }

// learnBound is how many learned rows a port, or a network's VLANs, may have at a time.
func learnBound(p model.PortKey) uint32 {
	if p&learnerVLAN != 0 {
		return LearnPerNetwork
	}
	return LearnPerPort
}

// station notes whether this host serves others by a network's VLAN: then they hear of its stations as they
// do of its ports' pairs.
func (a *afar) station(tr translator, k hoststate.HostPairKey) {
	if !k.Stations() || k.Prefix.IsValid() {
		return
	}
	now := k.Host == tr.own && tr.serves(k.Network)
	if was := a.serving[k]; now == was {
		return
	}
	n := []permit{{allowedPrefix: allowedPrefix{net: k.Network}}}
	if now {
		a.serving[k] = true
		a.paired(n, 1)
	} else {
		delete(a.serving, k)
		a.paired(n, -1)
	}
}

// stationsAfar tells whether another host serves this one with a network's VLANs.
func (a *allowed) stationsAfar(net model.NetworkKey) bool {
	for k := range a.ofPortAfar[vlanLearner(net)] {
		if !k.Prefix.IsValid() {
			return true
		}
	}
	return false
}

// touchStations adds to what a delta touches what depends on which hosts have VLANs of the networks that it names. On
// whether this host has one, and serves others, the rows of all others depend.
func (x *hostIndex) touchStations(t touched) {
	nets := map[model.NetworkKey]bool{}
	for k := range t.pairs {
		if k.Stations() {
			t.nets[k.Network] = true
			nets[k.Network] = nets[k.Network] || x.mayBeOwn(k.Host, t)
		}
	}
	for net, own := range nets {
		if own {
			for k := range x.stations[net] {
				t.pairs[k] = true
			}
		}
	}
}

// mayBeOwn tells whether a name may be this host's, before or after a delta.
func (x *hostIndex) mayBeOwn(name model.HostName, t touched) bool {
	return name == x.own || x.own == "" || t.hosts[name]
}

// ownStations tells whether a delta may change which VLANs of this host serve others.
func (x *hostIndex) ownStations(t touched) bool {
	for k := range t.pairs {
		if k.Stations() && x.mayBeOwn(k.Host, t) {
			return true
		}
	}
	return false
}
