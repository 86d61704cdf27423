package trace

import (
	"encoding/binary"

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
		return r.drop(e.Drop, at, about{mac: dst, net: r.net, port: e.Port, vtep: e.Addr})
	}
	if r.source.MayFollow()&e.to() == 0 {
		if e.Kind == hoststate.FDBRemote {
			return r.drop(reason.TunnelHairpin, at, about{mac: dst, ip: e.Addr})
		}
		return r.drop(reason.Hairpin, at, about{mac: dst})
	}
	switch e.Kind {
	case hoststate.FDBRouter:
		if packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) == packet.TypeARP {
			r.mark("bridge/router-arp")
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
		return r.drop(reason.MTUExceeded, at, about{mac: dst, mtu: e.mtu})
	}
	if e.Kind == hoststate.FDBPort {
		r.mark("bridge/port")
		return r.deliver(at, e)
	}
	if e.Kind == fdbVLAN {
		r.mark("bridge/vlan")
		return r.tagged(at, e)
	}
	r.mark("bridge/remote")
	return r.encapsulate(e, false)
}

// flood sends copies to the network's ports and VLANs, as the source may.
func (r *run) flood(at Object, dst model.MAC) Result {
	may := r.source.MayFollow()
	for _, i := range r.p.floods[r.net] {
		if may&ToCopies != 0 && (r.source != SourceWorkload || i != r.from) {
			r.res.Copies = append(r.res.Copies, i)
			r.count(r.p.ifaces[i], TunnelKey{}, true)
		}
	}
	for _, k := range r.p.vlans[r.net] {
		if may&ToVLANCopies != 0 && !linkLocal(dst) && r.p.st.VLANs[k].Drop == reason.None {
			r.mark("flood/vlan")
			r.res.Copies = append(r.res.Copies, k.String())
			r.countVLAN(k, true)
		}
	}
	if len(r.res.Copies) == 0 {
		return r.drop(reason.L2Unknown, at, about{mac: dst})
	}
	r.hopf(at, "never into a tunnel", "nobody is known to have %s: to the network's %d other local ports and VLANs", dst, len(r.res.Copies))
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
