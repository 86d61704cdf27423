package dataplane

import (
	"iter"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// allowed knows which addresses somebody on a network may have that no port has as its own: by
// allowed address pairs of a port, here or on another host, or on a VLAN. What it costs to ask follows the lengths of
// the network's prefixes, of which there are few, and not the number of ports.
type allowed struct {
	uses    map[allowedPrefix]uses
	lengths map[model.NetworkKey]map[prefixLength]int
	ofPort  map[model.PortKey][]permit
	ofVLANs []permit
	onVLANs map[model.NetworkKey]bool // networks that have one
	*afar
}

type allowedPrefix struct {
	net    model.NetworkKey
	prefix netip.Prefix // masked
}

// permit is a prefix of a port or a VLAN. here tells whether the interface is there: then the
// prefix has a row of kind pairNet.
type permit struct {
	allowedPrefix
	here bool
}

// uses counts the permits of a prefix.
type uses struct{ all, here int }

type prefixLength struct {
	bits int
	v4   bool
}

func newAllowed() *allowed {
	return &allowed{
		uses: map[allowedPrefix]uses{}, lengths: map[model.NetworkKey]map[prefixLength]int{},
		ofPort: map[model.PortKey][]permit{}, onVLANs: map[model.NetworkKey]bool{}, afar: newAfar(),
	}
}

// allowedOf is what a whole State allows.
func allowedOf(tr translator) *allowed {
	a := newAllowed()
	for k := range tr.st.Ports {
		a.port(tr, k)
	}
	a.vlans(tr)
	for k := range tr.st.HostPairs {
		a.hostPair(tr, k)
	}
	for k := range tr.st.FDB {
		a.router(tr, k)
		a.remote(tr, k)
	}
	for k := range tr.st.Speakers {
		a.speaker(tr, k)
	}
	return a
}

// follow notes what ports, VLANs and other hosts of a delta allow. It comes before the plan of the delta,
// which asks.
func (a *allowed) follow(tr translator, t touched, d hoststate.Delta) {
	for k := range t.ports {
		a.port(tr, k)
	}
	for k := range t.pairs {
		a.hostPair(tr, k)
	}
	for k := range t.fdb {
		a.router(tr, k)
		a.remote(tr, k)
	}
	for k := range t.speakers {
		a.speaker(tr, k)
	}
	if len(d.Set.VLANs)+len(d.Unset.VLANs) > 0 {
		a.vlans(tr)
	}
}

func (a *allowed) port(tr translator, k model.PortKey) {
	a.add(a.ofPort[k], -1)
	a.paired(a.ofPort[k], -1)
	delete(a.ofPort, k)
	p := tr.st.Ports[k]
	if len(p.Pairs) == 0 {
		return
	}
	_, here := tr.link(k)
	all := make([]permit, 0, len(p.Pairs))
	for _, pair := range p.Pairs {
		all = append(all, permit{allowedPrefix{p.Network, pair.Prefix.Masked()}, here})
	}
	a.add(all, 1)
	a.paired(all, 1)
	a.ofPort[k] = all
}

// vlans notes all VLANs: there are few.
func (a *allowed) vlans(tr translator) {
	a.add(a.ofVLANs, -1)
	a.ofVLANs, a.onVLANs = nil, map[model.NetworkKey]bool{}
	for k, v := range tr.st.VLANs {
		a.onVLANs[v.Network] = true
		for _, p := range v.Prefixes {
			a.ofVLANs = append(a.ofVLANs, permit{allowedPrefix{v.Network, p.Masked()}, tr.env.Trunks[k.Interface].Index > 0})
		}
	}
	a.add(a.ofVLANs, 1)
}

func (a *allowed) add(permits []permit, n int) {
	for _, p := range permits {
		u, length := a.uses[p.allowedPrefix], prefixLength{p.prefix.Bits(), p.prefix.Addr().Is4()}
		u.all += n
		if p.here {
			u.here += n
		}
		if a.uses[p.allowedPrefix] = u; u.all == 0 {
			delete(a.uses, p.allowedPrefix)
		}
		if a.lengths[p.net] == nil {
			a.lengths[p.net] = map[prefixLength]int{}
		}
		if a.lengths[p.net][length] += n; a.lengths[p.net][length] == 0 {
			delete(a.lengths[p.net], length)
		}
		if len(a.lengths[p.net]) == 0 {
			delete(a.lengths, p.net)
		}
	}
}

// covering are the prefixes that have an address in them and are as long as a prefix of the network.
func (a *allowed) covering(net model.NetworkKey, ip netip.Addr) iter.Seq[allowedPrefix] {
	return func(yield func(allowedPrefix) bool) {
		for l := range a.lengths[net] {
			if l.v4 != ip.Is4() {
				continue
			}
			if p, err := ip.Prefix(l.bits); err == nil && !yield(allowedPrefix{net, p}) {
				return
			}
		}
	}
}

// mayHave tells whether somebody on the network, whose interface is there, may have an address that
// no port has.
func (a *allowed) mayHave(net model.NetworkKey, ip netip.Addr) bool {
	for p := range a.covering(net, ip) {
		if a.uses[p].here > 0 {
			return true
		}
	}
	return false
}

// permits tells the same without regard to interfaces.
func (a *allowed) permits(net model.NetworkKey, ip netip.Addr) bool {
	for p := range a.covering(net, ip) {
		if a.uses[p].all > 0 {
			return true
		}
	}
	return false
}
