package trace

import (
	"encoding/binary"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// bridge forwards the frame in its network.
func (r *run) bridge() Result {
	dst := model.MAC(r.frame[0:6])
	at := r.p.networkObject(r.net)
	e, ok := r.fdbEntry(r.net, dst)
	if !ok {
		return r.flood(at, dst)
	}
	if e.Kind == hoststate.FDBDrop {
		r.mark("bridge/drop")
		return r.drop(e.Drop, at, about{mac: dst, net: r.net, port: e.Port, vtep: e.Addr, host: e.host})
	}
	if r.source == SourceVLAN && e.Kind == fdbHost && !r.mayReach(e) {
		r.mark("bridge/vlan-host")
		return r.drop(reason.HostUnreachable, at, about{mac: dst, net: r.net, host: e.host})
	}
	if r.source == SourceFabric && e.Kind == fdbVLAN && (!r.p.serves(r.net) || r.p.onVLAN(r.net, r.host)) {
		r.mark("bridge/fabric-other-vlan")
		return r.drop(reason.FabricHairpin, at, about{mac: dst, net: r.net, host: r.host})
	}
	if !r.source.MayFollow().may(e) {
		switch {
		case r.source == SourceFabric:
			return r.bridgeMoving(at, e, dst)
		case r.source == SourceTunnel:
			return r.drop(reason.TunnelHairpin, at, about{mac: dst, ip: e.Addr})
		}
		return r.drop(reason.Hairpin, at, about{mac: dst})
	}
	switch e.Kind {
	case hoststate.FDBRouter:
		if packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) == packet.TypeARP {
			r.mark("bridge/router-arp")
			if r.heard && (r.source == SourceWorkload || r.source == SourceVLAN) {
				r.mark("bridge/router-heard")
				return r.copies(at, dst, ToFabricCopies)
			}
			return r.drop(reason.ARPToRouter, at, about{mac: dst})
		}
		r.mark("bridge/router")
		r.hopf(at, "", "%s belongs to %s", dst, r.p.routerObject(e.Router))
		return r.route(routing{router: e.Router, in: e})
	case hoststate.FDBPort:
		if r.source == SourceWorkload && e.iface == r.from {
			return r.drop(reason.Hairpin, at, about{mac: dst})
		}
	}
	if r.tooBig(e.mtu) {
		r.mark("bridge/too-big")
		if res, done := r.tooBigBehindRouter(e); done {
			return res
		}
		return r.drop(reason.MTUExceeded, at, about{mac: dst, mtu: e.mtu})
	}
	if e.Kind == hoststate.FDBPort {
		r.mark("bridge/port")
		return r.deliver(at, e)
	}
	if e.Kind == fdbVLAN {
		r.mark("bridge/vlan")
		if r.source == SourceFabric {
			r.mark("bridge/fabric-vlan")
		}
		return r.tagged(at, e)
	}
	if e.Kind == fdbHost {
		r.mark("bridge/host")
	} else {
		r.mark("bridge/remote")
	}
	if r.source == SourceFabric {
		r.mark("bridge/fabric-remote")
	}
	return r.encapsulate(e, false)
}

// flood sends copies to the network's ports, its VLANs and the other hosts that are on it, as the source may.
func (r *run) flood(at Object, dst model.MAC) Result {
	return r.copies(at, dst, r.mayCopy())
}

// copies sends copies of a frame to where they may go. What a workload says by ARP of a pair goes to those hosts
// as well that route into the network.
func (r *run) copies(at Object, dst model.MAC, may Destination) Result {
	for _, i := range r.p.floods[r.net] {
		if may&ToCopies != 0 && (r.source != SourceWorkload || i != r.from) {
			r.res.Copies = append(r.res.Copies, i)
			r.count(r.p.ifaces[i], TunnelKey{}, true)
		}
	}
	for _, k := range r.p.vlans[r.net] {
		if may&ToVLANCopies != 0 && !linkLocal(dst) && r.p.st.VLANs[k].Drop == reason.None {
			r.mark("flood/vlan")
			if r.source == SourceFabric {
				r.mark("flood/fabric-vlan")
			}
			r.res.Copies = append(r.res.Copies, k.String())
			r.countVLAN(k, true)
		}
	}
	hosts := r.p.members[r.net]
	if r.heard && r.source != SourceFabric && len(r.p.hearers[r.net]) > 0 {
		r.mark("flood/heard")
		hosts = slices.Concat(hosts, r.p.hearers[r.net])
	}
	for _, m := range hosts {
		if may&ToFabricCopies != 0 && (r.source != SourceVLAN || !r.p.onVLAN(r.net, m.host)) {
			r.mark("flood/fabric")
			r.res.Copies = append(r.res.Copies, m.String())
			r.count(0, TunnelKey{Local: r.p.env.Fabric.Addr, Remote: m.addr}, true)
		}
	}
	if len(r.res.Copies) == 0 {
		if may == ToFabricCopies || r.heard && r.source == SourceFabric {
			return r.drop(reason.ARPToRouter, at, about{mac: dst})
		}
		return r.drop(reason.L2Unknown, at, about{mac: dst})
	}
	r.hopf(at, "never into a tunnel", "nobody is known to have %s: to the network's %d other local ports, VLANs and hosts", dst, len(r.res.Copies))
	r.res.Network = r.net
	return r.end(Flood)
}

func (r *run) deliver(at Object, e fdbEntry) Result {
	r.hopf(at, "delivered to interface "+e.iface, "%s is %s", model.MAC(r.frame[0:6]), r.p.portObject(e.Port))
	r.res.Port, r.res.Interface, r.res.Peer = e.Port, e.iface, e.peer
	r.count(e.Port, TunnelKey{}, true)
	r.res.Remembered = r.flow
	return r.end(Port)
}

// tooBig tells whether the packet, or where it is GSO each of its segments, is
// larger than mtu.
func (r *run) tooBig(mtu int) bool {
	v4, v6 := packet.IPv4Readable(r.frame) || r.trusted, packet.IPv6Readable(r.frame)
	ip := r.frame[packet.EthernetLen:]
	if r.gso == 0 {
		if v4 {
			return int(binary.BigEndian.Uint16(ip[2:])) > mtu
		}
		return len(ip) > mtu
	}
	var network, extra int
	var proto packet.Protocol
	switch {
	case r.gso == GSOByFrags:
		return false
	case v4:
		network, proto = int(ip[0]&15)*4, packet.Protocol(ip[9])
	case v6:
		network, proto = packet.IPv6Len, packet.Protocol(ip[6])
		if packet.JumboTCP(ip) {
			proto, extra = packet.ProtoTCP, packet.JumboLen
		}
	default:
		return false
	}
	transport := 8
	if proto == packet.ProtoTCP && len(ip) > network+extra+12 {
		transport = int(ip[network+extra+12]>>4) * 4
	}
	return r.gso+network+transport > mtu
}
