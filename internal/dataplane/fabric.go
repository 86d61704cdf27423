package dataplane

import (
	"iter"
	"net/netip"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// The rows of the fabric between the hosts of a site. The own host is the one of State.Hosts that
// has Env.Fabric's address.

// ownHost finds the own host. guess is it most often.
func ownHost(st hoststate.State, env Env, guess model.HostName) (model.HostName, bool) {
	if !env.Fabric.On() {
		return "", false
	}
	if h, ok := st.Hosts[guess]; ok && h.Addr == env.Fabric.Addr {
		return guess, true
	}
	for name, h := range st.Hosts {
		if h.Addr == env.Fabric.Addr {
			return name, true
		}
	}
	return "", false
}

// otherHost is another host of the site to which there is a way over the fabric.
func (t translator) otherHost(name model.HostName) (hoststate.Host, bool) {
	h, ok := t.st.Hosts[name]
	return h, ok && t.env.Fabric.On() && h.Addr != t.env.Fabric.Addr
}

// hostCounter names the counter of the traffic with another host.
func (t translator) hostCounter(h hoststate.Host) tunnelKey {
	return tunnelKey{local: t.env.Fabric.Addr, remote: h.Addr}
}

// elsewhere is the FDB entry of a port or a remote VTEP that is not of this host. alone is why it
// drops where the site has no other host that could have it.
func (t translator) elsewhere(k hoststate.FDBKey, e hoststate.FDBEntry, alone reason.Reason) bpfFdbEntry {
	if len(t.st.Hosts) == 0 || e.Host == "" || e.Host == t.own {
		return bpfFdbEntry{Kind: fdbDrop, Drop: uint8(alone)}
	}
	h, other := t.otherHost(e.Host)
	if !other {
		return bpfFdbEntry{Kind: fdbDrop, Drop: uint8(reason.HostUnreachable)}
	}
	way := t.way(VTEP{Local: t.env.Fabric.Addr, Remote: h.Addr})
	if way.Drop != reason.None {
		return bpfFdbEntry{Kind: fdbDrop, Drop: uint8(way.Drop)}
	}
	row := bpfFdbEntry{
		Kind:    fdbHost,
		Id:      uint32(e.Port),
		Counter: t.counters.tunnel(t.hostCounter(h)),
		Mtu:     t.fabricMTU(h),
		Vni:     uint32(k.Network),
		Table:   hostenv.MainTable,
		UdpPort: h.Port,
		Addr:    addrRow(h.Addr),
		Local:   addrRow(t.env.Fabric.Addr),
	}
	if way.Kernel {
		row.Flags |= fdbKernel
	}
	if e.Kind == hoststate.FDBRemote {
		row.Flags |= fdbViaHost
	}
	return row
}

// moving are the rows of a port or a remote VTEP that moves between e.Host and e.Also: where frames go, and the other
// place. Frames go to e.Host; what the fabric brings to e.Also, which may have come before e.Also or others
// know of that, stays there; and from both it may come. other is of kind DROP where there is none.
func (t translator) moving(k hoststate.FDBKey, e hoststate.FDBEntry) (to, other bpfFdbEntry) {
	if e.Kind == hoststate.FDBRemote && t.own == e.Also && t.st.Here(e) {
		e.Host, e.Also = e.Also, e.Host // tunnel packets come in at both, and leave by both
	}
	none := bpfFdbEntry{Kind: fdbDrop}
	here := none
	if t.st.Here(e) {
		here = t.here(e)
	}
	also := e
	also.Host = e.Also
	if t.own != "" && t.own != e.Host {
		to = t.elsewhere(k, e, reason.HostUnreachable)
		if t.own != e.Also {
			other = t.elsewhere(k, also, reason.HostUnreachable)
			if to.Kind == fdbDrop && other.Kind != fdbDrop {
				return other, none // there is no way to where it goes
			}
			return to, other
		}
		return to, here
	}
	other = none
	if t.own != "" {
		other = t.elsewhere(k, also, reason.HostUnreachable)
	}
	switch {
	case here.Kind != fdbDrop:
		return here, other
	case other.Kind != fdbDrop:
		return other, none // it is there already, or no longer here
	}
	return t.place(k, e), none
}

// otherPlace is the second row of what moves.
func (t translator) otherPlace(k hoststate.FDBKey) (bpfFdbKey, bpfFdbEntry, bool) {
	key := fdbKeyRow(k)
	key.Other = fdbOtherPlace
	e, ok := t.st.FDB[k]
	if !ok || e.Also == "" || e.Kind != hoststate.FDBPort && e.Kind != hoststate.FDBRemote {
		return key, bpfFdbEntry{}, false
	}
	_, other := t.moving(k, e)
	return key, other, other.Kind != fdbDrop
}

// fabricMTU is the largest IP packet, in bytes, that fits a frame to another host.
func (t translator) fabricMTU(h hoststate.Host) uint32 {
	mtu, ok := t.env.PathMTU[h.Addr]
	if !ok {
		mtu = 1500
	}
	for _, m := range []int{h.MTU, t.st.Hosts[t.own].MTU} {
		if m > 0 {
			mtu = min(mtu, m)
		}
	}
	return uint32(max(0, mtu-packet.OverheadTo(h.Addr)))
}

// fabricHost is the row of another host.
func (t translator) fabricHost(name model.HostName) (bpfVtepKey, bpfPeer, bool) {
	h, ok := t.otherHost(name)
	if !ok {
		return bpfVtepKey{}, bpfPeer{}, false
	}
	way := t.way(VTEP{Local: t.env.Fabric.Addr, Remote: h.Addr})
	row := bpfPeer{Counter: t.counters.tunnel(t.hostCounter(h)), Drop: uint8(way.Drop), Ways: way.Interfaces}
	if way.Kernel {
		row.Flags = peerKernel
	}
	return bpfVtepKey{Local: addrRow(t.env.Fabric.Addr), Remote: addrRow(h.Addr)}, row, true
}

// speaker is the row that lets another host send for a domain's routers.
func (t translator) speaker(k hoststate.SpeakerKey) (bpfSpeakerKey, bool) {
	if _, ok := t.st.Speakers[k]; !ok {
		return bpfSpeakerKey{}, false
	}
	h, ok := t.otherHost(k.Host)
	return bpfSpeakerKey{Domain: uint32(k.Domain), Host: addrRow(h.Addr)}, ok
}

// member is the row by which another host takes flooded frames.
func (t translator) member(k hoststate.MemberKey) (bpfFlood, bool) {
	if _, ok := t.st.Members[k]; !ok {
		return bpfFlood{}, false
	}
	return t.copyTo(k.Network, k.Host)
}

// copyTo is the row by which copies of frames go to another host.
func (t translator) copyTo(net model.NetworkKey, name model.HostName) (bpfFlood, bool) {
	h, ok := t.otherHost(name)
	if !ok || t.env.Fabric.Index <= 0 {
		return bpfFlood{}, false
	}
	row := bpfFlood{Ifindex: uint32(t.env.Fabric.Index), Counter: t.counters.tunnel(t.hostCounter(h)), Addr: addrRow(h.Addr)}
	if t.onVLAN(net, name) {
		row.Flags = floodVLAN
	}
	return row, true
}

// host adds the row of another host. Like VLANs these come before ports: each serves many.
func (w wantedFloods) host(tr translator, k hoststate.MemberKey) {
	if row, ok := tr.member(k); ok {
		w.of(k.Network)[row] = 0
	}
}

// hostIndex knows which rows depend on which hosts.
type hostIndex struct {
	own      model.HostName
	fdb      map[model.HostName]map[hoststate.FDBKey]bool
	of       map[hoststate.FDBKey][2]model.HostName
	members  map[model.NetworkKey]map[model.HostName]bool
	nets     map[model.HostName]map[model.NetworkKey]bool
	domains  map[model.HostName]map[hoststate.SpeakerKey]bool
	hosts    brought[model.HostName, bpfVtepKey]
	speakers brought[hoststate.SpeakerKey, bpfSpeakerKey]
	pairs    brought[hoststate.HostPairKey, bpfHostPairKey]
	ofHost   map[model.HostName]map[hoststate.HostPairKey]bool
	stations map[model.NetworkKey]map[hoststate.HostPairKey]bool // those of VLANs
	holders  map[hoststate.HostPairKey]hoststate.HostPair        // by which something is learned
	counter  map[model.HostName]tunnelKey
}

func newHostIndex() hostIndex {
	return hostIndex{
		fdb:      map[model.HostName]map[hoststate.FDBKey]bool{},
		of:       map[hoststate.FDBKey][2]model.HostName{},
		members:  map[model.NetworkKey]map[model.HostName]bool{},
		nets:     map[model.HostName]map[model.NetworkKey]bool{},
		domains:  map[model.HostName]map[hoststate.SpeakerKey]bool{},
		hosts:    newBrought[model.HostName, bpfVtepKey](),
		speakers: newBrought[hoststate.SpeakerKey, bpfSpeakerKey](),
		pairs:    newBrought[hoststate.HostPairKey, bpfHostPairKey](),
		ofHost:   map[model.HostName]map[hoststate.HostPairKey]bool{},
		stations: map[model.NetworkKey]map[hoststate.HostPairKey]bool{},
		holders:  map[hoststate.HostPairKey]hoststate.HostPair{},
		counter:  map[model.HostName]tunnelKey{},
	}
}

// brought are the rows that the rows of a State's table bring into a map: one each, and several may
// bring the same.
type brought[HK, K comparable] struct {
	row map[HK]K
	by  map[K]map[HK]bool
}

func newBrought[HK, K comparable]() brought[HK, K] {
	return brought[HK, K]{map[HK]K{}, map[K]map[HK]bool{}}
}

func (b brought[HK, K]) note(by HK, row K, ok bool) {
	if old, had := b.row[by]; had {
		drop(b.by, old, by)
		delete(b.row, by)
	}
	if ok {
		b.row[by] = row
		insert(b.by, row, by)
	}
}

// left are the rows that lose all who brought them once those that are touched bring others.
func (b brought[HK, K]) left(touched map[HK]bool) iter.Seq[K] {
	return func(yield func(K) bool) {
		for by := range touched {
			row, had := b.row[by]
			if !had {
				continue
			}
			stays := false
			for other := range b.by[row] {
				stays = stays || !touched[other]
			}
			if !stays && !yield(row) {
				return
			}
		}
	}
}

// touch adds to what a delta touches what depends on the hosts that it names.
func (x *hostIndex) touch(t touched) {
	all := false
	for name := range t.hosts {
		for k := range x.fdb[name] {
			t.fdb[k] = true
		}
		for net := range x.nets[name] {
			t.nets[net] = true
		}
		for k := range x.domains[name] {
			t.speakers[k] = true
		}
		for k := range x.ofHost[name] {
			t.pairs[k] = true
		}
		// The own host's MTU is part of every other's. It may just have come.
		all = all || name == x.own || x.own == ""
	}
	if all {
		for k := range x.of {
			t.fdb[k] = true
		}
	}
	for k := range t.members {
		t.nets[k.Network] = true
	}
	x.touchStations(t)
}

// plan plans what a delta changes of hosts and speakers.
func (x *hostIndex) plan(tr translator, t touched, p *plan) {
	for name := range t.hosts {
		if k, row, ok := tr.fabricHost(name); ok {
			p.fabricHosts.put[k] = row
		}
	}
	for k := range x.hosts.left(t.hosts) {
		if !has(p.fabricHosts.put, k) {
			p.fabricHosts.del = append(p.fabricHosts.del, k)
		}
	}
	for k := range t.speakers {
		if row, ok := tr.speaker(k); ok {
			p.speakers.put[row] = 0
		}
	}
	for k := range x.speakers.left(t.speakers) {
		if !has(p.speakers.put, k) {
			p.speakers.del = append(p.speakers.del, k)
		}
	}
}

// fullFabric plans all hosts and speakers of a State.
func (p *plan) fullFabric(tr translator) {
	for name := range tr.st.Hosts {
		if k, row, ok := tr.fabricHost(name); ok {
			p.fabricHosts.put[k] = row
		}
	}
	for k := range tr.st.Speakers {
		if row, ok := tr.speaker(k); ok {
			p.speakers.put[row] = 0
		}
	}
	for k := range tr.st.HostPairs {
		p.putPair(tr, k)
	}
}

// membersOf are the hosts that are on the networks of which a delta touches some, or were.
func (x *hostIndex) membersOf(t touched) map[model.NetworkKey]map[hoststate.MemberKey]bool {
	all := map[model.NetworkKey]map[hoststate.MemberKey]bool{}
	for net := range t.nets {
		for h := range x.members[net] {
			insert(all, net, hoststate.MemberKey{Network: net, Host: h})
		}
	}
	for k := range t.members {
		insert(all, k.Network, k)
	}
	return all
}

// fdbEntry notes which hosts an FDB entry depends on.
func (x *hostIndex) fdbEntry(tr translator, k hoststate.FDBKey) {
	for _, h := range x.of[k] {
		drop(x.fdb, h, k)
	}
	delete(x.of, k)
	e := tr.st.FDB[k]
	if e.Host == "" && e.Also == "" {
		return
	}
	x.of[k] = [2]model.HostName{e.Host, e.Also}
	for _, h := range x.of[k] {
		if h != "" {
			insert(x.fdb, h, k)
		}
	}
}

func (x *hostIndex) member(tr translator, k hoststate.MemberKey) {
	if _, ok := tr.st.Members[k]; ok {
		insert(x.members, k.Network, k.Host)
		insert(x.nets, k.Host, k.Network)
		return
	}
	drop(x.members, k.Network, k.Host)
	drop(x.nets, k.Host, k.Network)
}

func (x *hostIndex) speaker(tr translator, k hoststate.SpeakerKey) {
	if _, ok := tr.st.Speakers[k]; ok {
		insert(x.domains, k.Host, k)
	} else {
		drop(x.domains, k.Host, k)
	}
	row, ok := tr.speaker(k)
	x.speakers.note(k, row, ok)
}

// host notes a host's row, and returns the counter that lost its last row.
func (x *index) host(tr translator, name model.HostName) (tunnelKey, bool) {
	k, _, ok := tr.fabricHost(name)
	x.onFabric.hosts.note(name, k, ok)
	h, _ := tr.otherHost(name)
	return counts(x, x.onFabric.counter, name, tr.hostCounter(h), ok)
}

// noteFabric follows a delta whose plan has been written, and returns the counters that lost rows.
func (x *index) noteFabric(tr translator, t touched) (left []tunnelKey) {
	x.onFabric.own = tr.own
	for name := range t.hosts {
		if free, last := x.host(tr, name); last {
			left = append(left, free)
		}
	}
	for k := range t.members {
		x.onFabric.member(tr, k)
	}
	for k := range t.speakers {
		x.onFabric.speaker(tr, k)
	}
	return left
}

// hostOf is another host's counter, as its row of fabric_hosts says.
func hostOf(k bpfVtepKey) tunnelKey {
	return tunnelKey{local: netip.AddrFrom16(k.Local.B).Unmap(), remote: netip.AddrFrom16(k.Remote.B).Unmap()}
}
