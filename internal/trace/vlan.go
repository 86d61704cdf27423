package trace

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// tagLen is the length of a VLAN tag.
const tagLen = 4

// trunk is the interface of a VLAN; false: it is not there.
func (p *Pipeline) trunk(k hoststate.VLANKey) (Link, bool) {
	if p.env.Trunks == nil {
		return Link{}, true
	}
	l, ok := p.env.Trunks[k.Interface]
	return l, ok
}

// vlanEntry is a VLAN of the network as something that frames go to.
func (p *Pipeline) vlanEntry(net model.NetworkKey, k hoststate.VLANKey) (fdbEntry, bool) {
	v, ok := p.st.VLANs[k]
	l, there := p.trunk(k)
	if !ok || !there || v.Network != net || v.Drop != reason.None {
		return fdbEntry{}, false
	}
	e := fdbEntry{FDBEntry: hoststate.FDBEntry{Kind: fdbVLAN}, iface: k.Interface, vlan: k, mtu: l.MTU}
	if l.MTU <= 0 {
		e.mtu = p.st.Networks[net].MTU
	}
	return e, true
}

// linkLocal tells whether no bridge lets frames to the address out of their link (IEEE
// 802.1Q §8.6.3).
func linkLocal(m model.MAC) bool {
	return m[0] == 0x01 && m[1] == 0x80 && m[2] == 0xc2 && m[3] == 0 && m[4] == 0 && m[5] < 16
}

func (r *run) countVLAN(k hoststate.VLANKey, sent bool) {
	r.res.Counts = append(r.res.Counts, Count{VLAN: k, Sent: sent, Bytes: len(r.frame)})
}

// tagged sends the frame out of the VLAN's interface. Output is without the tag.
func (r *run) tagged(at Object, e fdbEntry) Result {
	r.hopf(at, "out of interface "+e.iface, "%s is on VLAN %d", model.MAC(r.frame[0:6]), e.vlan.ID)
	r.res.Interface, r.res.VLAN = e.iface, e.vlan.ID
	r.countVLAN(e.vlan, true)
	return r.end(Tagged)
}

// fromTrunk takes a frame with a tag in.
func (r *run) fromTrunk(iface string) Result {
	if len(r.frame) < packet.EthernetLen+2 {
		return r.end(Pass)
	}
	k := hoststate.VLANKey{Interface: iface, ID: binary.BigEndian.Uint16(r.frame[packet.EthernetLen:]) & 0xfff}
	v, ok := r.p.st.VLANs[k]
	if _, there := r.p.trunk(k); !ok || !there {
		return r.end(Pass)
	}
	at := r.p.networkObject(v.Network)
	r.net, r.source, r.vlan = v.Network, SourceVLAN, k
	if r.p.env.AgentDead {
		return r.drop(reason.AgentDead, at, about{})
	}
	if v.Drop != reason.None {
		return r.drop(v.Drop, at, about{net: v.Network})
	}
	if len(r.frame) < packet.EthernetLen+tagLen {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	r.frame = slices.Delete(r.frame, packet.EthernetLen-2, packet.EthernetLen-2+tagLen)
	if packet.EtherType(binary.BigEndian.Uint16(r.frame[12:])).IsVLAN() {
		return r.drop(reason.VLANTagged, at, about{})
	}
	r.countVLAN(k, false)
	e, _, err := packet.ParseEthernet(r.frame)
	if err != nil {
		return r.drop(reason.FrameMalformed, at, about{})
	}
	if linkLocal(e.Dst) {
		return r.drop(reason.LinkLocal, at, about{mac: e.Dst})
	}
	if why := r.checkStation(e); why != reason.None {
		return r.drop(why, at, about{mac: e.Src})
	}
	r.mark("vlan/in")
	r.hopf(at, "", "the frame from %s comes in by VLAN %d of %s", e.Src, k.ID, iface)
	if e.Type == packet.TypeARP {
		r.mark("vlan/arp")
		return r.arp(nil, at)
	}
	return r.bridge()
}

// checkStation refuses a sender on a VLAN who is somebody else, and learns others.
func (r *run) checkStation(e packet.Ethernet) reason.Reason {
	body := r.frame[packet.EthernetLen:]
	src, spoof := netip.IPv4Unspecified(), reason.SpoofIP
	switch e.Type {
	case packet.TypeARP:
		if len(body) < packet.ARPLen {
			return reason.FrameMalformed
		}
		src, spoof = ip4(body[14:]), reason.SpoofARP
	case packet.TypeIPv4:
		if !packet.IPv4Readable(r.frame) {
			return reason.FrameMalformed
		}
		src = ip4(body[12:])
	}
	if _, taken := r.p.st.FDB[hoststate.FDBKey{Network: r.net, MAC: e.Src}]; taken || e.Src[0]&1 != 0 ||
		r.heldByPort(Sender{Network: r.net, MAC: e.Src}) {
		return reason.SpoofMAC
	}
	r.learn(Sender{Network: r.net, MAC: e.Src}, held{vlan: r.vlan}, true, false)
	if e.Type == packet.TypeARP && model.MAC(body[8:14]) != e.Src {
		return spoof
	}
	if src == netip.IPv4Unspecified() {
		return reason.None
	}
	r.heard = e.Type == packet.TypeARP && r.p.serves(r.net)
	if _, taken := r.p.st.Neighbors[hoststate.NeighborKey{Network: r.net, IP: src}]; taken || r.heldByPort(Sender{Network: r.net, Addr: src}) {
		return spoof
	}
	if r.p.unknown(r.net, src) {
		r.mark("vlan/address")
		r.learnAddr(src, e.Src, true)
	}
	return reason.None
}

func (r *run) heldByPort(s Sender) bool {
	if r.p.env.Memory == nil {
		return false
	}
	h, ok := r.p.env.Memory.rows[s]
	return ok && h.port != 0
}
