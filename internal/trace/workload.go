package trace

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// FromWorkload is the program at a workload's interface.
func (p *Pipeline) FromWorkload(iface string, f Frame) Result {
	r := p.start(f, SourceWorkload)
	key, ok := p.ifaces[iface]
	if p.env.AgentDead {
		r.res.Sender = key
		return r.drop(reason.AgentDead, Object{Kind: "interface", Name: iface}, about{})
	}
	if !ok {
		return r.drop(reason.PortUnbound, Object{Kind: "interface", Name: iface}, about{})
	}
	r.res.Sender = key
	r.flow = !f.VLAN && hasFlow(r.frame)
	port := p.st.Ports[key]
	r.net, r.from = port.Network, iface
	at := p.portObject(key)
	if port.Drop != reason.None {
		return r.drop(port.Drop, at, about{net: port.Network})
	}
	e, _, err := packet.ParseEthernet(r.frame)
	if err != nil {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	bad := r.untag(f.VLAN)
	r.count(key, TunnelKey{}, false)
	if bad != reason.None {
		return r.drop(bad, at, about{})
	}
	e.Type = packet.EtherType(binary.BigEndian.Uint16(r.frame[12:]))
	other := port.PortSecurity && e.Src != port.MAC
	if other && !port.CoversMAC(e.Src) {
		return r.drop(reason.SpoofMAC, at, about{mac: e.Src, want: port.MAC})
	}
	if e.Type == packet.TypeARP {
		r.mark("port/arp")
		return r.arp(&port, at)
	}
	if port.PortSecurity {
		if res, bad := r.checkSource(port, e, at); bad {
			return res
		}
	}
	if other {
		r.mark("port/other-mac")
		r.learnMAC(&port, e.Src)
	}
	if r.paired.IsValid() {
		r.mark("port/paired")
		r.learnAddr(r.paired, e.Src, false)
	}
	r.mark("port/security-passed")
	r.hopf(at, "", "the frame from %s is let in", e.Src)
	return r.bridge()
}

// checkSource is anti-spoofing of IP.
func (r *run) checkSource(port hoststate.Port, e packet.Ethernet, at Object) (Result, bool) {
	var src netip.Addr
	switch {
	case e.Type == packet.TypeIPv4:
		if !packet.IPv4Readable(r.frame) {
			return r.drop(reason.FrameMalformed, at, about{}), true
		}
		src = ip4(r.frame[packet.EthernetLen+12:])
	case e.Type == packet.TypeIPv6:
		if !packet.IPv6Readable(r.frame) {
			return r.drop(reason.FrameMalformed, at, about{}), true
		}
		src = netip.AddrFrom16([16]byte(r.frame[packet.EthernetLen+8 : packet.EthernetLen+24])).Unmap()
	default:
		return r.drop(reason.EtherType, at, about{ethertype: e.Type}), true
	}
	if e.Src != port.MAC || !slices.Contains(port.Addrs, src) {
		if !port.Covers(e.Src, src) {
			return r.drop(reason.SpoofIP, at, about{ip: src, addrs: port.Addrs}), true
		}
		if e.Type == packet.TypeIPv4 {
			r.paired = src
		}
	}
	if why := r.guard(e.Type); why != reason.None {
		return r.drop(why, at, about{}), true
	}
	return Result{}, false
}

// arpAllowed checks the sender of ARP from a port with port security, and learns what a
// pair allows.
func (r *run) arpAllowed(port *hoststate.Port, a packet.ARP) bool {
	own, paired := a.SenderMAC == port.MAC, false
	if a.SenderIP != netip.IPv4Unspecified() {
		if !own || !slices.Contains(port.Addrs, a.SenderIP) {
			if paired = port.Covers(a.SenderMAC, a.SenderIP); !paired {
				return false
			}
		}
	} else if !own && !port.CoversMAC(a.SenderMAC) {
		return false
	}
	if !own {
		r.mark("arp/other-mac")
		r.learnMAC(port, a.SenderMAC)
	}
	if paired {
		r.mark("arp/paired")
		r.learnAddr(a.SenderIP, a.SenderMAC, true)
		r.heard = true
	}
	return true
}

func ip4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// arp handles ARP from port, or from a tunnel or a VLAN where port is nil.
func (r *run) arp(port *hoststate.Port, at Object) Result {
	a, err := packet.ParseARP(r.frame[packet.EthernetLen:])
	if err != nil {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	if port != nil && port.PortSecurity && !r.arpAllowed(port, a) {
		return r.drop(reason.SpoofARP, at, about{mac: a.SenderMAC, ip: a.SenderIP})
	}
	if a.Op != packet.ARPRequest {
		r.mark("arp/no-request")
		return r.bridge()
	}
	if a.TargetIP == a.SenderIP {
		r.mark("arp/gratuitous")
		return r.bridge()
	}
	// Who asks in nobody's name may be about to take it over.
	mac, ok := r.p.neighbor(r.net, a.TargetIP, a.SenderIP != netip.IPv4Unspecified())
	if !ok {
		r.mark("arp/unknown")
		r.hopf(r.p.networkObject(r.net), "it goes to the network's local ports", "nobody is known to have %s", a.TargetIP)
		return r.bridge()
	}
	if mac == a.SenderMAC {
		if [6]byte(r.frame[:6]) != packet.Broadcast {
			return r.drop(reason.Hairpin, at, about{mac: mac})
		}
		r.mark("arp/own")
		return r.bridge()
	}
	if port == nil {
		e, ok := r.p.fdbEntry(r.net, mac)
		if !ok || !r.source.MayAsk().may(e) || r.source == SourceVLAN && e.Kind == fdbHost && !r.mayReach(e) {
			r.mark("arp/not-ours")
			return r.bridge()
		}
	}
	copy(r.frame[0:6], a.SenderMAC[:])
	copy(r.frame[6:12], mac[:])
	b := r.frame[packet.EthernetLen:]
	binary.BigEndian.PutUint16(b[6:], packet.ARPReply)
	reply := packet.ARP{Op: packet.ARPReply, SenderMAC: mac, SenderIP: a.TargetIP, TargetMAC: a.SenderMAC, TargetIP: a.SenderIP}
	copy(b, reply.Append(nil))
	if port != nil {
		r.hopf(r.p.networkObject(r.net), "answered at once", "ARP: %s is at %s", a.TargetIP, mac)
		r.res.Interface, r.res.Port = r.from, r.p.ifaces[r.from]
		r.count(r.res.Port, TunnelKey{}, true)
		return r.end(Reply)
	}
	if r.source == SourceVLAN {
		r.mark("arp/answer-vlan")
		e, _ := r.p.vlanEntry(r.net, r.vlan)
		return r.tagged(at, e)
	}
	r.mark("arp/answer-tunnel")
	e, ok := r.p.fdbEntry(r.net, a.SenderMAC)
	if !ok || e.Kind != hoststate.FDBRemote {
		return r.drop(reason.L2Unknown, r.p.networkObject(r.net), about{mac: a.SenderMAC})
	}
	return r.encapsulate(e, true)
}
