package dataplane

import (
	"bytes"
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// What is learned of other hosts: their ports' allowed address pairs, and which hosts hear of the pairs of this
// host's ports though they are not on the network, as they route into it.

// afar is the part of allowed that is of other hosts.
type afar struct {
	ofHostPair map[hoststate.HostPairKey]permit
	portAfar   map[hoststate.HostPairKey]model.PortKey
	ofPortAfar map[model.PortKey]map[hoststate.HostPairKey]bool
	// pairedHere counts the pairs of this host's ports, by network.
	pairedHere map[model.NetworkKey]int
	// routers are the FDB entries of a network's routers, and domain is theirs. nets are the networks of a domain.
	routers  map[model.NetworkKey]map[hoststate.FDBKey]bool
	domain   map[hoststate.FDBKey]model.NetworkKey
	nets     map[model.NetworkKey]map[model.NetworkKey]bool
	speakers map[model.NetworkKey]map[hoststate.SpeakerKey]bool
	// remotes are the FDB entries of what is behind remote VTEPs, of each network, by the host of a gateway device. They are of
	// hosts that hear too.
	remotes  map[hoststate.MemberKey]map[hoststate.FDBKey]bool
	gateways map[model.NetworkKey]map[hoststate.MemberKey]bool
	ofRemote map[hoststate.FDBKey][2]model.HostName
	serving  map[hoststate.HostPairKey]bool // this host's, of networks whose VLANs others reach by it
}

func newAfar() *afar {
	return &afar{
		ofHostPair: map[hoststate.HostPairKey]permit{}, ofPortAfar: map[model.PortKey]map[hoststate.HostPairKey]bool{},
		portAfar:   map[hoststate.HostPairKey]model.PortKey{},
		pairedHere: map[model.NetworkKey]int{}, routers: map[model.NetworkKey]map[hoststate.FDBKey]bool{},
		domain: map[hoststate.FDBKey]model.NetworkKey{}, nets: map[model.NetworkKey]map[model.NetworkKey]bool{},
		speakers: map[model.NetworkKey]map[hoststate.SpeakerKey]bool{}, remotes: map[hoststate.MemberKey]map[hoststate.FDBKey]bool{},
		gateways: map[model.NetworkKey]map[hoststate.MemberKey]bool{}, ofRemote: map[hoststate.FDBKey][2]model.HostName{},
		serving: map[hoststate.HostPairKey]bool{},
	}
}

// paired notes the pairs of a port of this host.
func (a *afar) paired(pairs []permit, n int) {
	for _, p := range pairs {
		if a.pairedHere[p.net] += n; a.pairedHere[p.net] == 0 {
			delete(a.pairedHere, p.net)
		}
	}
}

// hostPair notes what another host's port may have.
func (a *allowed) hostPair(tr translator, k hoststate.HostPairKey) {
	a.station(tr, k)
	if old, ok := a.ofHostPair[k]; ok {
		a.add([]permit{old}, -1)
		delete(a.ofHostPair, k)
	}
	if p, ok := a.portAfar[k]; ok {
		drop(a.ofPortAfar, p, k)
		delete(a.portAfar, k)
	}
	v := tr.st.HostPairs[k]
	if _, row, ok := tr.hostPair(k); !ok || row.Port == 0 {
		return
	}
	insert(a.ofPortAfar, v.Port, k)
	a.portAfar[k] = v.Port
	if k.Prefix.IsValid() {
		p := permit{allowedPrefix{k.Network, k.Prefix}, true}
		a.add([]permit{p}, 1)
		a.ofHostPair[k] = p
	}
}

// remote notes the hosts of the gateway devices by which a network goes on.
func (a *afar) remote(tr translator, k hoststate.FDBKey) {
	for _, h := range a.ofRemote[k] {
		m := hoststate.MemberKey{Network: k.Network, Host: h}
		if drop(a.remotes, m, k); len(a.remotes[m]) == 0 {
			drop(a.gateways, k.Network, m)
		}
	}
	delete(a.ofRemote, k)
	e := tr.st.FDB[k]
	if e.Kind != hoststate.FDBRemote {
		return
	}
	a.ofRemote[k] = [2]model.HostName{e.Host, e.Also}
	for _, h := range a.ofRemote[k] {
		if m := (hoststate.MemberKey{Network: k.Network, Host: h}); h != "" {
			insert(a.remotes, m, k)
			insert(a.gateways, k.Network, m)
		}
	}
}

// router notes the domain that a network is of.
func (a *afar) router(tr translator, k hoststate.FDBKey) {
	if d, ok := a.domain[k]; ok {
		drop(a.routers, k.Network, k)
		delete(a.domain, k)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(a.routers[k.Network])), func(o hoststate.FDBKey) bool { return a.domain[o] == d }) {
			drop(a.nets, d, k.Network)
		}
	}
	if e := tr.st.FDB[k]; e.Kind == hoststate.FDBRouter {
		insert(a.routers, k.Network, k)
		insert(a.nets, e.Domain, k.Network)
		a.domain[k] = e.Domain
	}
}

func (a *afar) speaker(tr translator, k hoststate.SpeakerKey) {
	if _, ok := tr.st.Speakers[k]; ok {
		insert(a.speakers, k.Domain, k)
	} else {
		drop(a.speakers, k.Domain, k)
	}
}

// touch adds to what a delta touches the networks of whose pairs other hosts hear than before.
func (a *allowed) touch(d hoststate.Delta, t touched) {
	for k := range t.speakers {
		for net := range a.nets[k.Domain] {
			if a.pairedHere[net] > 0 {
				t.nets[net] = true
			}
		}
	}
	for k := range t.fdb {
		if _, was := a.domain[k]; was || d.Set.FDB[k].Kind == hoststate.FDBRouter {
			t.nets[k.Network] = true
		}
		var now [2]model.HostName
		if e := d.Set.FDB[k]; e.Kind == hoststate.FDBRemote {
			now = [2]model.HostName{e.Host, e.Also}
		}
		was := a.ofRemote[k]
		hosts := t.hosts[was[0]] || t.hosts[was[1]] || t.hosts[now[0]] || t.hosts[now[1]]
		if a.pairedHere[k.Network] > 0 && (now != was || hosts) {
			t.nets[k.Network] = true
		}
	}
}

// hearers are the other hosts that hear of the pairs of this host's ports on a network: by their routers, as the
// network's domain is theirs, or by the network's gateway devices, and not by ports on it.
func (a *allowed) hearers(tr translator, net model.NetworkKey) map[hoststate.MemberKey]bool {
	if a.pairedHere[net] == 0 {
		return nil
	}
	hosts := map[hoststate.MemberKey]bool{}
	for k := range a.routers[net] {
		for s := range a.speakers[a.domain[k]] {
			m := hoststate.MemberKey{Network: net, Host: s.Host}
			if _, member := tr.st.Members[m]; !member {
				hosts[m] = true
			}
		}
	}
	for m := range a.gateways[net] {
		if _, member := tr.st.Members[m]; !member {
			hosts[m] = true
		}
	}
	return hosts
}

// floodHeard marks a network's list of hosts that hear of its pairs and are not on it.
const floodHeard = 1 << 31

func heardOn(net model.NetworkKey) model.NetworkKey { return net | floodHeard }

// hearers adds the rows of hosts that hear of a network's pairs.
func (w wantedFloods) hearers(tr translator, net model.NetworkKey) {
	for k := range tr.allowed.hearers(tr, net) {
		if row, ok := tr.copyTo(net, k.Host); ok {
			w.of(heardOn(net))[row] = 0
		}
	}
}

// stays tells whether a network still may have what a row of kind pairNet says.
func (a *allowed) stays(k bpfPairKey) bool {
	return k.Kind == pairNet && a.uses[prefixOf(k)].here > 0
}

// prefixOf is what a row of kind pairNet says.
func prefixOf(k bpfPairKey) allowedPrefix {
	bits, ip := int(k.Plen)-pairPlen, netip.AddrFrom16(k.Addr.B)
	if k.Family == 4 {
		bits, ip = bits-96, ip.Unmap()
	}
	return allowedPrefix{model.NetworkKey(bigEndian(k.Id)), netip.PrefixFrom(ip, bits)}
}

// hostPair is the row of what a port of another host may send from.
func (t translator) hostPair(k hoststate.HostPairKey) (bpfHostPairKey, bpfHostPair, bool) {
	v, ok := t.st.HostPairs[k]
	h, other := t.otherHost(k.Host)
	if !ok || !other {
		return bpfHostPairKey{}, bpfHostPair{}, false
	}
	if k.Stations() {
		return t.stations(k, v, h)
	}
	key := bpfHostPairKey{Plen: hostPairPlen, Id: bigEndian(uint32(k.Network)), Host: addrRow(h.Addr), Mac: k.MAC, Kind: pairMAC}
	if k.Prefix.IsValid() {
		key = pairAddrRow(key, k)
	}
	row := bpfHostPair{Port: uint32(v.Port), Mac: v.MAC}
	if v.Port != 0 {
		row.LearnLimit = t.learnLimit(v.Port)
	}
	return key, row, true
}

// pairAddrRow is key for an address prefix of k.
func pairAddrRow(key bpfHostPairKey, k hoststate.HostPairKey) bpfHostPairKey {
	p := pairRow(pairAddr, 0, k.MAC, k.Prefix)
	key.Plen, key.Mac, key.Kind, key.Family, key.Addr = hostPairPlen+p.Plen-pairPlen, k.MAC, pairAddr, p.Family, p.Addr
	return key
}

func (a bpfHostPairKey) compare(b bpfHostPairKey) int {
	return cmp.Or(cmp.Compare(bigEndian(a.Id), bigEndian(b.Id)), a.Host.compare(b.Host), bytes.Compare(a.Mac[:], b.Mac[:]),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Family, b.Family), a.Addr.compare(b.Addr), cmp.Compare(a.Plen, b.Plen))
}

// putPair plans the rows of what a port of another host may send from.
func (p *plan) putPair(tr translator, k hoststate.HostPairKey) {
	key, row, ok := tr.hostPair(k)
	if !ok {
		return
	}
	p.hostPairs.put[key] = row
	if row.Port != 0 && k.Prefix.IsValid() {
		p.pairs.put[pairRow(pairNet, uint32(k.Network), model.MAC{}, k.Prefix)] = 0
	}
}

// planPairs plans what a delta changes of other hosts' pairs.
func (x *hostIndex) planPairs(tr translator, t touched, p *plan) {
	for k := range t.pairs {
		p.putPair(tr, k)
	}
	for k := range x.pairs.left(t.pairs) {
		if !has(p.hostPairs.put, k) {
			p.hostPairs.del = append(p.hostPairs.del, k)
		}
	}
	for k := range t.pairs {
		if _, had := x.pairs.row[k]; !had || !k.Prefix.IsValid() {
			continue
		}
		if row := pairRow(pairNet, uint32(k.Network), model.MAC{}, k.Prefix); !has(p.pairs.put, row) && !tr.allowed.stays(row) {
			p.pairs.del = append(p.pairs.del, row)
		}
	}
}

// pair notes a row of another host's pairs. It tells whether something may have been learned by what it was.
func (x *hostIndex) pair(tr translator, k hoststate.HostPairKey) (learned bool) {
	if _, ok := tr.st.HostPairs[k]; ok {
		insert(x.ofHost, k.Host, k)
		if k.Stations() {
			insert(x.stations, k.Network, k)
		}
	} else {
		drop(x.ofHost, k.Host, k)
		drop(x.stations, k.Network, k)
	}
	key, row, ok := tr.hostPair(k)
	x.pairs.note(k, key, ok)
	was, now := x.holders[k], tr.st.HostPairs[k]
	if delete(x.holders, k); ok && row.Port != 0 {
		x.holders[k] = now
	}
	return was.Port != 0 && was != x.holders[k]
}

// notePairs follows a delta whose plan has been written. It tells whether something may have been learned by what is
// no longer so.
func (x *hostIndex) notePairs(tr translator, t touched) (learned bool) {
	for k := range t.pairs {
		was := x.pair(tr, k)
		learned = learned || was
	}
	return learned
}

// holdsAfar tells whether a port of another host may hold what was learned of it.
func (a *allowed) holdsAfar(st hoststate.State, l Learned, v bpfLearnedRow) bool {
	for k := range a.ofPortAfar[l.Port] {
		if k.Network != l.Network || k.MAC != l.MAC {
			continue
		}
		if !l.Addr.IsValid() && !k.Prefix.IsValid() && macOf(v.Mac) == st.HostPairs[k].MAC || l.Addr.IsValid() && k.Prefix.Contains(l.Addr) {
			return true
		}
	}
	return false
}

// raiseAfar has the rows of ports of other hosts say how many learned rows have been taken from them.
func (d *Dataplane) raiseAfar(tr translator, changed map[model.PortKey]bool) error {
	f := &failures{}
	for p := range changed {
		for k := range tr.allowed.ofPortAfar[p] {
			key, row, ok := tr.hostPair(k)
			if ok && d.tables.hostPairs.row(key).Port == row.Port {
				f.add(d.tables.hostPairs.change(key, row))
			}
		}
	}
	return f.err()
}
