package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// encapsulate sends the frame to the remote VTEP of e, by the collect-metadata
// device where byDevice is set or the programs could not do it.
func (r *run) encapsulate(e fdbEntry, byDevice bool) Result {
	var tos uint8
	ip := r.frame[packet.EthernetLen:]
	switch {
	case packet.IPv4Readable(r.frame):
		tos = ip[1] & 3
	case packet.IPv6Readable(r.frame):
		tos = ip[1] >> 4 & 3
	}
	at := r.p.gatewayObject(e.Gateway)
	key := TunnelKey{Local: e.TunnelIP, Remote: e.Addr, VNI: e.VNI}
	if e.Kind == fdbHost {
		at, key.VNI = hostObject(e.host), 0
	}
	words := r.p.env.Unreachable[VTEP{Local: e.TunnelIP, Remote: e.Addr}]
	if words != "" || r.p.env.NoRoute[Underlay{e.table, e.Addr}] {
		return r.drop(reason.UnderlayNoRoute, at, about{ip: e.Addr, table: e.table, words: words})
	}
	r.res.Local, r.res.Remote, r.res.VNI, r.res.Table, r.res.TOS = e.TunnelIP, e.Addr, e.VNI, e.table, tos
	r.res.Host = e.host
	if e.Kind == fdbHost {
		r.mark("fabric")
		r.hopf(at, "over the fabric from "+e.TunnelIP.String()+" to "+e.Addr.String(),
			"%s is on host %s%s", model.MAC(r.frame[0:6]), e.host, r.p.pathWords(e.Addr))
	} else {
		r.hopf(at, "it leaves this site from "+e.TunnelIP.String()+" to "+e.Addr.String(),
			"remote MAC entry %s: VNI %d at %s%s", model.MAC(r.frame[0:6]), e.VNI, e.Addr, r.p.pathWords(e.Addr))
	}
	r.count(0, key, true)
	switch packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) {
	case packet.TypeIPv4, packet.TypeIPv6:
	default:
		byDevice = true
	}
	if byDevice || e.kernel || r.rigid {
		return r.end(VXLAN)
	}
	r.res.Remembered = r.flow && (r.source == SourceWorkload || r.stays)
	r.res.Stays = r.stays && (r.flow || !r.routed)
	r.frame = packet.Encapsulate(make([]byte, 0, len(r.frame)+packet.EthernetLen+packet.VXLANOverhead), packet.Outer{
		Local: e.TunnelIP, Remote: e.Addr, TOS: tos, VNI: e.VNI, SrcPort: packet.SourcePort(r.p.env.HashKey, r.frame), DstPort: e.port,
	}, r.frame)
	return r.end(Tunnel)
}

// pathWords say what is known of the path to a VTEP.
func (p *Pipeline) pathWords(vtep netip.Addr) string {
	if why := p.env.PathWhy[vtep]; why != "" {
		return fmt.Sprintf("; the underlay's path takes packets of up to %d bytes, %s", p.env.PathMTU[vtep], why)
	}
	return ""
}

// FromUnderlay is the program at an interface that carries tunnels.
func (p *Pipeline) FromUnderlay(f Frame) Result {
	r := p.start(f, SourceUplink)
	if len(r.frame) >= packet.EthernetLen && packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) == packet.TypeVLAN {
		return r.fromTrunk(f.Interface)
	}
	if f.OtherHost || f.VLAN || len(r.frame) < packet.EthernetLen ||
		packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) != packet.TypeIPv4 {
		return r.end(Pass)
	}
	if len(r.frame) < packet.EthernetLen+packet.IPv4Len+packet.UDPLen {
		return r.byKernel(f.Interface)
	}
	ip := r.frame[packet.EthernetLen:]
	udp := ip[packet.IPv4Len:]
	key := TunnelKey{Local: ip4(ip[16:]), Remote: ip4(ip[12:])}
	offset, more := packet.FragmentOffset(ip)
	gateway, ours := p.tunnels[key.Local]
	port := binary.BigEndian.Uint16(udp[2:])
	fabric := p.env.Fabric.On() && port == p.env.Fabric.Port && key.Local == p.env.Fabric.Addr
	if ip[0] != 0x45 || packet.Protocol(ip[9]) != packet.ProtoUDP || offset != 0 || more || port != packet.VXLANPort && !fabric {
		return r.byKernel(f.Interface)
	}
	if !ours && !fabric {
		return r.end(Pass)
	}
	r.source = SourceTunnel
	at := p.gatewayObject(gateway)
	if fabric {
		r.source, at = SourceFabric, p.self()
	}
	total := int(binary.BigEndian.Uint16(ip[2:]))
	const least = packet.VXLANOverhead
	switch {
	case !packet.ValidIPv4Checksum(ip[:packet.IPv4Len]):
		return r.drop(reason.VXLANMalformed, at, about{})
	case r.gso != 0:
		total = len(ip)
	case total > len(ip) || int(binary.BigEndian.Uint16(udp[4:])) != total-packet.IPv4Len:
		return r.drop(reason.VXLANMalformed, at, about{})
	}
	if total < least {
		return r.drop(reason.VXLANMalformed, at, about{})
	}
	v, inner, err := packet.ParseVXLAN(udp[packet.UDPLen:])
	if err != nil {
		return r.drop(reason.VXLANMalformed, at, about{})
	}
	if v.Flags&packet.VXLANFlagI == 0 {
		return r.drop(reason.VXLANFlags, at, about{})
	}
	if p.env.AgentDead {
		return r.drop(reason.AgentDead, at, about{})
	}
	key.VNI = v.VNI
	if res, bad := r.admit(at, key, f.Interface, model.MAC(inner[6:12])); bad {
		return res
	}
	if p.env.Ways[VTEP{Local: key.Local, Remote: key.Remote}].Kernel {
		if fabric {
			r.mark("underlay/fabric-kernel")
		}
		r.mark("underlay/kernel")
		return r.vouch()
	}
	outerECN := ip[1] & 3
	whole := r.frame
	inner = inner[:total-packet.IPv4Len-packet.UDPLen-packet.VXLANLen]
	if t := packet.EtherType(binary.BigEndian.Uint16(inner[12:])); t != packet.TypeIPv4 && t != packet.TypeIPv6 {
		r.frame = whole
		r.mark("underlay/not-ip")
		return r.vouch()
	}
	r.frame = inner
	if why := r.checkInner(); why != reason.None {
		return r.drop(why, at, about{})
	}
	if r.gso != 0 && !r.innerTCP() {
		r.frame = whole
		r.mark("underlay/gso-not-tcp")
		return r.vouch()
	}
	if !r.mergeECN(outerECN) {
		return r.drop(reason.ECNCongestion, at, about{})
	}
	if r.rigid {
		r.frame = whole
		r.mark("underlay/rigid")
		return r.vouch()
	}
	r.countOuter(key)
	r.flow = hasFlow(r.frame) && !r.learned
	r.stays = r.gso == 0 && binary.BigEndian.Uint16(udp[6:]) == 0
	r.mark("underlay/decapsulated")
	if fabric {
		r.mark("fabric/decapsulated")
	}
	return r.bridge()
}

// vouch lets the packet pass to the kernel's own end of the tunnel.
func (r *run) vouch() Result {
	r.res.Mark |= r.p.env.Mark
	return r.end(Pass)
}

// byKernel decides on what the kernel may still make a tunnel packet of.
func (r *run) byKernel(iface string) Result {
	ip := r.frame[packet.EthernetLen:]
	if len(ip) < packet.IPv4Len {
		return r.end(Pass)
	}
	switch packet.Protocol(ip[9]) {
	case packet.ProtoUDP:
		offset, more := packet.FragmentOffset(ip)
		if offset != 0 || more {
			break
		}
		at := int(ip[0]&15)*4 + 2
		if len(ip) < at+2 {
			return r.end(Pass)
		}
		switch port := binary.BigEndian.Uint16(ip[at:]); {
		case port == packet.VXLANPort, port == natTPort:
		case r.p.env.Fabric.On() && port == r.p.env.Fabric.Port:
			r.mark("underlay/fabric-port")
		default:
			return r.end(Pass)
		}
	case protoESP, protoAH:
	default:
		return r.end(Pass)
	}
	v := VTEP{Local: ip4(ip[16:]), Remote: ip4(ip[12:])}
	if way, ok := r.p.env.Ways[v]; !ok || !slices.Contains(way.Interfaces, iface) {
		r.mark("underlay/unvouched")
		return r.end(Pass)
	}
	r.mark("underlay/vouched")
	return r.vouch()
}

// IANA numbers of what IPsec makes of a packet.
const (
	protoESP = 50
	protoAH  = 51
	natTPort = 4500
)

// FromVXLAN is the program at the collect-metadata device. A nil key: the kernel
// left none.
func (p *Pipeline) FromVXLAN(f Frame, key *TunnelKey) Result {
	return p.fromDevice(f, key, SourceTunnel)
}

// FromFabric is the same program at the fabric's collect-metadata device.
func (p *Pipeline) FromFabric(f Frame, key *TunnelKey) Result {
	return p.fromDevice(f, key, SourceFabric)
}

func (p *Pipeline) fromDevice(f Frame, key *TunnelKey, from Source) Result {
	r := p.start(f, from)
	at := Object{Kind: "host"}
	if p.env.AgentDead {
		return r.drop(reason.AgentDead, at, about{})
	}
	if key == nil {
		return r.drop(reason.Internal, at, about{})
	}
	e, _, err := packet.ParseEthernet(r.frame)
	if err != nil {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	gateway, ours := p.tunnels[key.Local]
	at = p.gatewayObject(gateway)
	if from == SourceFabric {
		ours, at = p.env.Fabric.On() && key.Local == p.env.Fabric.Addr, p.self()
	}
	if !ours {
		return r.drop(reason.TunnelIPUnknown, Object{Kind: "host"}, about{ip: key.Local})
	}
	if f.Mark&p.env.Mark != p.env.Mark {
		return r.drop(reason.NotUnderlay, at, about{key: *key})
	}
	r.res.Mark &^= p.env.Mark
	if res, bad := r.admit(at, *key, "", e.Src); bad {
		return res
	}
	if why := r.checkInner(); why != reason.None {
		return r.drop(why, at, about{})
	}
	r.countOuter(*key)
	if f.VLAN || e.Type.IsVLAN() {
		return r.drop(reason.VLANTagged, at, about{})
	}
	if from == SourceFabric {
		r.mark("vxlan/fabric")
		return r.bridgeFabric(e, at)
	}
	if e.Type == packet.TypeARP {
		r.mark("vxlan/arp")
		return r.arp(nil, at)
	}
	r.mark("vxlan/in")
	return r.bridge()
}

// admit decides whether a tunnel packet with inner source MAC src may come in by iface
// ("": that was looked at before), and finds its network.
func (r *run) admit(at Object, key TunnelKey, iface string, src model.MAC) (Result, bool) {
	if r.source == SourceFabric {
		return r.admitHost(at, key, iface, src)
	}
	peer, ok := r.p.st.Peers[hoststate.PeerKey{TunnelIP: key.Local, Remote: key.Remote, VNI: key.VNI}]
	if !ok {
		why := reason.VNIUnknown
		if _, ok := r.p.st.VNIs[hoststate.VNIKey{TunnelIP: key.Local, VNI: key.VNI}]; ok {
			why = reason.VTEPUnknown
		}
		return r.drop(why, at, about{key: key}), true
	}
	way := r.p.env.Ways[VTEP{Local: key.Local, Remote: key.Remote}]
	if iface != "" && r.p.env.Ways != nil && !slices.Contains(way.Interfaces, iface) {
		return r.drop(reason.VTEPInterface, at, about{key: key, iface: iface}), true
	}
	if peer.Drop == reason.None && way.Drop != reason.None {
		return r.drop(way.Drop, at, about{vtep: key.Remote}), true
	}
	if peer.Drop != reason.None {
		r.mark("tunnel/peer-drop")
		return r.drop(peer.Drop, r.p.networkObject(peer.Network), about{net: peer.Network}), true
	}
	e, ok := r.p.fdbEntry(peer.Network, src)
	if !ok || e.Kind != hoststate.FDBRemote || e.Addr != key.Remote || e.TunnelIP != key.Local || e.VNI != key.VNI {
		return r.drop(reason.VTEPSourceMAC, at, about{key: key, mac: src, net: peer.Network}), true
	}
	r.net = peer.Network
	r.hopf(at, "to "+r.p.networkObject(peer.Network).String(), "VNI %d from VTEP %s, inner source %s: a remote MAC entry allows it",
		key.VNI, key.Remote, src)
	return Result{}, false
}

// checkInner refuses inner IP that is too short for its header.
func (r *run) checkInner() reason.Reason {
	n := len(r.frame) - packet.EthernetLen
	switch packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) {
	case packet.TypeIPv4:
		if n < packet.IPv4Len {
			return reason.FrameMalformed
		}
	case packet.TypeIPv6:
		if n < packet.IPv6Len {
			return reason.FrameMalformed
		}
	}
	return reason.None
}

// innerTCP tells whether the IPv4 or IPv6 packet carries TCP. checkInner has passed.
func (r *run) innerTCP() bool {
	ip := r.frame[packet.EthernetLen:]
	if packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) == packet.TypeIPv4 {
		return packet.Protocol(ip[9]) == packet.ProtoTCP
	}
	return packet.Protocol(ip[6]) == packet.ProtoTCP || packet.JumboTCP(ip)
}

// mergeECN is RFC 6040 §4.2; false: the packet is to be dropped.
func (r *run) mergeECN(outer uint8) bool {
	const ect1, ect0, ce = 1, 2, 3
	ip := r.frame[packet.EthernetLen:]
	v6 := packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])) == packet.TypeIPv6
	inner := ip[1] & 3
	if v6 {
		inner = ip[1] >> 4 & 3
	}
	to := inner
	switch {
	case outer == ce && inner == 0:
		return false
	case outer == ce:
		to = ce
	case outer == ect1 && inner == ect0:
		to = ect1
	}
	if to == inner {
		return true
	}
	r.mark("underlay/ecn-changed")
	if v6 {
		ip[1] = ip[1]&^0x30 | to<<4
		return true
	}
	from := binary.BigEndian.Uint16(ip)
	ip[1] = ip[1]&^3 | to
	check := packet.UpdateChecksum(binary.BigEndian.Uint16(ip[10:]), from, binary.BigEndian.Uint16(ip))
	binary.BigEndian.PutUint16(ip[10:], check)
	return true
}
