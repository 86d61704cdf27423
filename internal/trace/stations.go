package trace

import (
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// Stations are who is on a VLAN of a network. One of the hosts with such a VLAN serves those without: its
// stations are reached by it.

// onVLAN tells whether a host has a VLAN of a network; no host is "".
func (p *Pipeline) onVLAN(net model.NetworkKey, host model.HostName) bool {
	_, ok := p.st.HostPairs[hoststate.StationsKey(net, host)]
	return ok && host != ""
}

// serves tells whether this host serves those without a VLAN of a network.
func (p *Pipeline) serves(net model.NetworkKey) bool {
	return p.onVLAN(net, p.own) && p.st.HostPairs[hoststate.StationsKey(net, p.own)].Port != 0
}

// mayReach tells whether what came from a VLAN may go to an FDB entry of another host.
func (r *run) mayReach(e fdbEntry) bool {
	return r.p.serves(r.net) && !r.p.onVLAN(r.net, e.host)
}

// stationMAC tells whether a MAC that no row knows may be of a station that a host serves, and learns it.
func (r *run) stationMAC(host model.HostName, mac model.MAC) bool {
	if host != r.p.stationsAt[r.net] || mac.IsZero() || mac[0]&1 != 0 || r.heldByPort(Sender{Network: r.net, MAC: mac}) {
		return false
	}
	r.learn(Sender{Network: r.net, MAC: mac}, held{}, true, false)
	return true
}

// mayCopy is where copies of the frame may go.
func (r *run) mayCopy() Destination {
	may := r.source.MayFollow()
	if r.source == SourceVLAN && !r.p.serves(r.net) {
		may &^= ToFabricCopies
	}
	if r.source != SourceFabric {
		return may
	}
	src, ok := r.p.fixedEntry(r.net, model.MAC(r.frame[6:12]))
	elsewhere := ok && (src.Kind == hoststate.FDBRemote || src.Kind == fdbHost && src.remote) // another site's
	if !r.p.serves(r.net) || r.p.onVLAN(r.net, r.host) || elsewhere {
		may &^= ToVLANCopies
	}
	return may
}
