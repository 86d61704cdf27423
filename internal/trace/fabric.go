package trace

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// member is another host of the site that takes a network's flooded frames.
type member struct {
	host model.HostName
	addr netip.Addr // on the fabric
}

// String is the member as one of a Result's Copies.
func (m member) String() string { return "host " + string(m.host) }

func hostObject(h model.HostName) Object { return Object{Kind: "host", Name: string(h)} }

// self is this host, whose name the site knows if it is on the fabric.
func (p *Pipeline) self() Object { return hostObject(p.own) }

// indexFabric finds the other hosts of the site, if this one is on the fabric.
func (p *Pipeline) indexFabric() {
	if !p.env.Fabric.On() {
		return
	}
	for name, h := range p.st.Hosts {
		if h.Addr == p.env.Fabric.Addr {
			p.own = name
		} else {
			p.hosts[h.Addr] = name
		}
	}
	for k := range p.st.Members {
		if h, ok := p.st.Hosts[k.Host]; ok && h.Addr != p.env.Fabric.Addr {
			p.members[k.Network] = append(p.members[k.Network], member{k.Host, h.Addr})
		}
	}
	for k, v := range p.st.HostPairs {
		if k.Stations() && p.onVLAN(k.Network, p.own) {
			continue
		}
		if h, ok := p.st.Hosts[k.Host]; ok && h.Addr != p.env.Fabric.Addr {
			if p.afar[k.Network] == nil {
				p.afar[k.Network] = map[hoststate.HostPairKey]hoststate.HostPair{}
			}
			p.afar[k.Network][k] = v
			if k == hoststate.StationsKey(k.Network, k.Host) && v.Port != 0 {
				p.stationsAt[k.Network] = k.Host
			}
		}
	}
	p.indexHearers()
	for _, all := range []map[model.NetworkKey][]member{p.members, p.hearers} {
		for _, ms := range all {
			slices.SortFunc(ms, func(a, b member) int { return cmp.Compare(a.host, b.host) })
		}
	}
}

// elsewhere tells whether an FDB entry leads to what another host has, as far as the hosts are known.
func (p *Pipeline) elsewhere(e hoststate.FDBEntry) bool {
	if e.Kind != hoststate.FDBPort && e.Kind != hoststate.FDBRemote || p.st.Here(e) || len(p.st.Hosts) == 0 || e.Host == "" {
		return false
	}
	h, known := p.st.Hosts[e.Host]
	return !known || !p.env.Fabric.On() || h.Addr != p.env.Fabric.Addr
}

// hostEntry is the row for what is elsewhere.
func (p *Pipeline) hostEntry(net model.NetworkKey, row hoststate.FDBEntry) fdbEntry {
	h, known := p.st.Hosts[row.Host]
	drop := func(why reason.Reason) fdbEntry {
		return fdbEntry{FDBEntry: hoststate.FDBEntry{Kind: hoststate.FDBDrop, Port: row.Port, Addr: h.Addr, Drop: why}, host: row.Host}
	}
	if !known || !p.env.Fabric.On() {
		return drop(reason.HostUnreachable)
	}
	way := p.env.Ways[VTEP{Local: p.env.Fabric.Addr, Remote: h.Addr}]
	if way.Drop != reason.None {
		return drop(way.Drop)
	}
	mtu := 1500
	if m, ok := p.env.PathMTU[h.Addr]; ok {
		mtu = m
	}
	for _, known := range []int{h.MTU, p.st.Hosts[p.own].MTU} {
		if known > 0 {
			mtu = min(mtu, known)
		}
	}
	return fdbEntry{
		FDBEntry: hoststate.FDBEntry{Kind: fdbHost, Port: row.Port, Addr: h.Addr, TunnelIP: p.env.Fabric.Addr, VNI: model.VNI(net)},
		mtu:      max(0, mtu-packet.OverheadTo(h.Addr)), table: hostenv.MainTable, kernel: way.Kernel,
		host: row.Host, port: h.Port, remote: row.Kind == hoststate.FDBRemote,
	}
}

// admitHost decides whether a fabric packet with inner source MAC src may come in by iface
// ("": that was looked at before).
func (r *run) admitHost(at Object, key TunnelKey, iface string, src model.MAC) (Result, bool) {
	host, ok := r.p.hosts[key.Remote]
	if !ok {
		return r.drop(reason.FabricHostUnknown, at, about{key: key}), true
	}
	way := r.p.env.Ways[VTEP{Local: key.Local, Remote: key.Remote}]
	if iface != "" && r.p.env.Ways != nil && !slices.Contains(way.Interfaces, iface) {
		return r.drop(reason.VTEPInterface, at, about{key: key, iface: iface}), true
	}
	if way.Drop != reason.None {
		r.mark("fabric/host-drop")
		return r.drop(way.Drop, at, about{vtep: key.Remote}), true
	}
	r.net = model.NetworkKey(key.VNI)
	e, ok := r.p.fixedEntry(r.net, src)
	switch {
	case ok && r.p.movesFrom(r.net, src, key.Remote):
		r.mark("fabric/moving-source")
	case ok && e.Kind == hoststate.FDBDrop:
		r.mark("fabric/source-drop")
		return r.drop(e.Drop, r.p.networkObject(r.net), about{mac: src, net: r.net, port: e.Port, vtep: e.Addr}), true
	case !ok && r.hostPairMAC(host, src):
		r.mark("fabric/pair-mac")
	case !ok && r.stationMAC(host, src):
		r.mark("fabric/station")
	case ok && e.Kind == fdbHost && e.Addr == key.Remote:
	case ok && e.Kind == hoststate.FDBRouter && r.p.speaks(e.Domain, host):
		r.mark("fabric/router")
	default:
		return r.drop(reason.FabricSourceMAC, at, about{key: key, mac: src, net: r.net, host: host}), true
	}
	r.host = host
	r.hopf(at, "to "+r.p.networkObject(r.net).String(), "from host %s, inner source %s: it may send from there", host, src)
	return Result{}, false
}

// speaks tells whether another host may send from the MACs of a domain's routers.
func (p *Pipeline) speaks(domain model.NetworkKey, host model.HostName) bool {
	_, ok := p.st.Speakers[hoststate.SpeakerKey{Domain: domain, Host: host}]
	return ok
}

// countOuter counts what came in by a tunnel; the fabric's have one counter for all networks.
func (r *run) countOuter(key TunnelKey) {
	if r.source == SourceFabric {
		key.VNI = 0
	}
	r.count(0, key, false)
}

// tooBigBehindRouter is of a frame that a router of another host sent here for a port or another site: what the router
// would have done had it known the way. False: no router sent it.
func (r *run) tooBigBehindRouter(e fdbEntry) (Result, bool) {
	if r.source != SourceFabric {
		return Result{}, false
	}
	src, ok := r.p.fixedEntry(r.net, model.MAC(r.frame[6:12]))
	if !ok || src.Kind != hoststate.FDBRouter || packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) != packet.TypeIPv4 {
		return Result{}, false
	}
	r.mark("fabric/too-big")
	if e.Kind == hoststate.FDBPort {
		r.mark("fabric/too-big-port")
	}
	s := routing{router: src.Router, in: src}
	if why := r.check(); why != reason.None {
		return r.drop(why, r.p.routerObject(s.router), about{}), true
	}
	if r.gso == 0 && r.frame[packet.EthernetLen+6]&0x40 == 0 {
		r.mark("fabric/fragment")
		r.hopf(r.p.routerObject(s.router), "the slow path cuts it into fragments", "larger than %d bytes, and may be cut", e.mtu)
		r.insertSlowHeader(packet.SlowHeader{Kind: packet.SlowFragment, Net: uint32(r.net), MTU: uint32(e.mtu)})
		return r.end(Slow), true
	}
	return r.dropICMP(s, reason.FragmentationNeeded, packet.ICMPUnreachable, packet.ICMPFragmentationNeeded,
		about{ip: ip4(r.frame[packet.EthernetLen+16:]), mtu: e.mtu, net: r.net}), true
}

// across follows what goes over the fabric to the host that it goes to, whose pipeline is then the one.
func (rep *Report) across(p *Pipeline, res Result) (Result, *Pipeline) {
	if res.Host == "" || res.Verdict != Tunnel && res.Verdict != VXLAN || p.env.Other == nil {
		return res, p
	}
	other := p.env.Other(res.Host)
	if other == nil {
		return res, p
	}
	rep.Hosts = append(rep.Hosts, res.Host)
	out := other.fromHost(res)
	out.Hops, out.Path = slices.Concat(res.Hops, out.Hops), slices.Concat(res.Path, out.Path)
	return out, other
}

// fromHost takes in what another host has sent over the fabric.
func (p *Pipeline) fromHost(res Result) Result {
	f := Frame{Data: res.Output, Mark: p.env.Mark}
	if res.Verdict == Tunnel {
		in := p.FromUnderlay(f)
		if in.Verdict != Pass {
			return in
		}
		f.Data = res.Output[packet.EthernetLen+packet.IPv4Len+packet.UDPLen+packet.VXLANLen:]
	}
	return p.FromFabric(f, &TunnelKey{Local: res.Remote, Remote: res.Local, VNI: res.VNI})
}
