package trace

import (
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
)

// Memory is what the programs of one host have learned of senders that allowed
// address pairs let pass, as if no time passed: what is learned stays, and only ARP
// moves an address. A Pipeline with one adds to it, and is no longer pure.
type Memory struct {
	// PerPort is how many rows one port may hold.
	PerPort int
	// PerNetwork is how many the VLANs of a network may.
	PerNetwork int
	rows       map[Sender]held
	used       map[owner]int
}

// owner is whom a row is charged to: a port, or the VLANs of a network.
type owner struct {
	port    model.PortKey
	network model.NetworkKey
}

func ownerOf(s Sender, h held) owner {
	if h.port != 0 {
		return owner{port: h.port}
	}
	return owner{network: s.Network}
}

// Sender names an address of a network, or where Addr is the zero Addr a MAC.
type Sender struct {
	Network model.NetworkKey
	Addr    netip.Addr
	MAC     model.MAC
}

// held is who has it: the port, and an address's MAC or the port's own; or, where port
// is 0, the VLANs of the network, and for a MAC which of them: the zero VLANKey is another host's.
type held struct {
	port model.PortKey
	mac  model.MAC
	vlan hoststate.VLANKey
}

// NewMemory makes an empty one.
func NewMemory(perPort, perNetwork int) *Memory {
	return &Memory{PerPort: perPort, PerNetwork: perNetwork, rows: map[Sender]held{}, used: map[owner]int{}}
}

// Holders calls f for each row; mac is the address's, or the port's own. Port 0 is a
// VLAN: which one is known of MACs.
func (m *Memory) Holders(f func(s Sender, port model.PortKey, mac model.MAC, vlan hoststate.VLANKey)) {
	for s, h := range m.rows {
		f(s, h.port, h.mac, h.vlan)
	}
}

// Keep forgets what the ports and VLANs of p's state may not hold.
func (m *Memory) Keep(p *Pipeline) {
	for s, h := range m.rows {
		if !p.mayHold(s, h) {
			delete(m.rows, s)
			m.used[ownerOf(s, h)]--
		}
	}
}

func (p *Pipeline) mayHold(s Sender, h held) bool {
	st := p.st
	if h.port == 0 {
		on, open := p.stationsAt[s.Network] != "", false
		if !s.Addr.IsValid() {
			return st.VLANs[h.vlan].Network == s.Network || on && h.vlan == (hoststate.VLANKey{})
		}
		for _, v := range st.VLANs {
			if v.Network == s.Network {
				on, open = true, open || contains(v.Prefixes, s.Addr)
			}
		}
		for _, p := range st.Ports {
			open = open || p.Network == s.Network && slices.ContainsFunc(p.Pairs, func(a hoststate.Pair) bool { return a.Prefix.Contains(s.Addr) })
		}
		return on && (open || p.heldAfar(s.Network, s.Addr))
	}
	port, ok := st.Ports[h.port]
	if !ok {
		return p.mayHoldAfar(s, h)
	}
	switch {
	case port.Network != s.Network:
		return false
	case s.Addr.IsValid():
		return port.Covers(h.mac, s.Addr)
	}
	return port.CoversMAC(s.MAC) && port.MAC == h.mac
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// learn is the function of the programs; false: the port holds as much as it may.
func (m *Memory) learn(s Sender, h held, moves, known bool) bool {
	old, there := m.rows[s]
	who, most := ownerOf(s, h), m.PerPort
	if h.port == 0 {
		most = m.PerNetwork
	}
	switch other := there && ownerOf(s, old) != who; {
	case other && !moves, !there && known:
		return true
	case !there || other:
		if m.used[who] >= most {
			return false
		}
		m.used[who]++
		if there {
			m.used[ownerOf(s, old)]--
		}
	}
	m.rows[s] = h
	return true
}

// learnMAC notes a MAC that is not the port's own.
func (r *run) learnMAC(port *hoststate.Port, mac model.MAC) {
	_, known := r.p.st.FDB[hoststate.FDBKey{Network: r.net, MAC: mac}]
	r.learn(Sender{Network: r.net, MAC: mac}, held{port: r.p.ifaces[r.from], mac: port.MAC}, true, known)
}

// learnAddr notes an address that a pair of the port allows.
func (r *run) learnAddr(ip netip.Addr, mac model.MAC, moves bool) {
	_, known := r.p.st.Neighbors[hoststate.NeighborKey{Network: r.net, IP: ip}]
	h := held{mac: mac}
	if r.source == SourceWorkload {
		h.port = r.p.ifaces[r.from]
	}
	r.learn(Sender{Network: r.net, Addr: ip}, h, moves, known)
}

func (r *run) learn(s Sender, h held, moves, known bool) {
	r.mark("learn")
	r.flow, r.learned = false, true
	m := r.p.env.Memory
	if m != nil && !m.learn(s, h, moves, known) {
		r.res.Limited++
	}
}

// learnedEntry is the port that a learned MAC leads to.
func (p *Pipeline) learnedEntry(net model.NetworkKey, mac model.MAC) (fdbEntry, bool) {
	if p.env.Memory == nil {
		return fdbEntry{}, false
	}
	h, ok := p.env.Memory.rows[Sender{Network: net, MAC: mac}]
	if !ok {
		return fdbEntry{}, false
	}
	if h.port == 0 && h.vlan != (hoststate.VLANKey{}) {
		return p.vlanEntry(net, h.vlan)
	}
	e, ok := p.fixedEntry(net, h.mac)
	port := h.port
	if port == 0 {
		port = hoststate.StationsPort(net)
	}
	return e, ok && (e.Kind == hoststate.FDBPort || e.Kind == fdbHost) && e.Port == port
}

// neighbor is the MAC of an address: as the state says, else as it was learned.
func (p *Pipeline) neighbor(net model.NetworkKey, ip netip.Addr, learned bool) (model.MAC, bool) {
	if mac, ok := p.st.Neighbors[hoststate.NeighborKey{Network: net, IP: ip}]; ok || !learned || p.env.Memory == nil {
		return mac, ok
	}
	h, ok := p.env.Memory.rows[Sender{Network: net, Addr: ip}]
	if !ok {
		return model.MAC{}, false
	}
	e, ok := p.fdbEntry(net, h.mac)
	return h.mac, ok && (e.Kind == hoststate.FDBPort || e.Kind == fdbVLAN || e.Kind == fdbHost && !e.remote)
}

// unknown tells whether the holder of an address may be found by asking for it.
func (p *Pipeline) unknown(net model.NetworkKey, ip netip.Addr) bool {
	for _, k := range p.vlans[net] {
		if contains(p.st.VLANs[k].Prefixes, ip) {
			return true
		}
	}
	return len(p.holders(net, ip)) > 0 || p.heldAfar(net, ip)
}

// holders are the ports that may have an address by a pair.
func (p *Pipeline) holders(net model.NetworkKey, ip netip.Addr) []model.PortKey {
	var ports []model.PortKey
	for _, k := range p.paired[net] {
		for _, a := range p.st.Ports[k].Pairs {
			if a.Prefix.Contains(ip) {
				ports = append(ports, k)
				break
			}
		}
	}
	return ports
}

// ask is a router's question for the holder of an address, by the slow path.
func (r *run) ask(s routing, m matched, ip netip.Addr) Result {
	r.drop(reason.NeighborResolving, r.p.routerObject(s.router), about{ip: ip, net: m.route.Network})
	r.mark("route/ask")
	copy(r.frame[6:12], m.route.MAC[:])
	return r.toSlow(packet.SlowHeader{
		Kind: packet.SlowARP, Reason: uint8(reason.NeighborResolving), Router: uint32(s.router), Net: uint32(m.route.Network), Src: ip,
	})
}

// askPorts is from_slow's part of it: the router's ARP request to the network's ports.
func (r *run) askPorts(net model.NetworkKey, src model.MAC, ip netip.Addr) Result {
	at := r.p.networkObject(net)
	e, ok := r.p.fixedEntry(net, src)
	if !ok || e.Kind != hoststate.FDBRouter {
		return r.drop(reason.L2Unknown, at, about{mac: src})
	}
	r.mark("slow/arp")
	copy(r.frame[:6], packet.Broadcast[:])
	r.frame[12], r.frame[13] = byte(packet.TypeARP>>8), byte(packet.TypeARP&0xff)
	sender := netip.IPv4Unspecified()
	if e.Addr.Is4() {
		sender = e.Addr
	}
	target := netip.IPv4Unspecified()
	if ip.Is4() {
		target = ip
	} else if ip.Is6() {
		b := ip.As16()
		target = netip.AddrFrom4([4]byte(b[12:]))
	}
	copy(r.frame[packet.EthernetLen:], packet.ARP{Op: packet.ARPRequest, SenderMAC: src, SenderIP: sender, TargetIP: target}.Append(nil))
	r.net = net
	return r.flood(at, packet.Broadcast)
}
