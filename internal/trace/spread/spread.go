// Package spread draws random sites of several hosts, and packets that come into them, for the
// tests that follow packets over all hosts that they cross.
package spread

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// Site is a random site whose ports and gateway devices are on several hosts.
type Site struct {
	Hosts   []model.HostName
	r       *rand.Rand
	objects []any
	// What frames are made of.
	nets    []*model.Network
	ports   []*model.Port // of workloads
	members map[model.NetworkID][]*model.Port
	entries []*model.RemoteMACEntry
	conns   map[model.RemoteMACEntryID]model.NetworkID
	tunnels map[model.GatewayDeviceID]netip.Addr
	places  map[model.GatewayDeviceID]model.HostName
	keys    int
	// VLANs of the interface Trunk of one host, and who is on them.
	trunkAt  model.HostName
	stations map[model.NetworkID][]*model.Port
	tags     map[model.NetworkID]uint16
}

// Trunk is the interface of a site's VLANs.
const Trunk = "up0"

func subnetOf(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
}

func within(p netip.Prefix, i int) netip.Addr {
	b := p.Addr().As4()
	b[3] = byte(i)
	return netip.AddrFrom4(b)
}

// New draws one.
func New(seed uint64) *Site {
	s := &Site{
		r: rand.New(rand.NewPCG(seed, 1)), members: map[model.NetworkID][]*model.Port{}, conns: map[model.RemoteMACEntryID]model.NetworkID{},
		tunnels: map[model.GatewayDeviceID]netip.Addr{}, places: map[model.GatewayDeviceID]model.HostName{},
		stations: map[model.NetworkID][]*model.Port{}, tags: map[model.NetworkID]uint16{},
	}
	for i := range 2 + s.r.IntN(3) {
		s.Hosts = append(s.Hosts, model.HostName(fmt.Sprintf("h%d", i)))
	}
	for i := range 2 + s.r.IntN(4) {
		n := &model.Network{ID: model.NetworkID(fmt.Sprintf("net%d", i)), Key: model.NetworkKey(i + 1), AdminStateUp: s.r.IntN(12) > 0, MTU: 1450}
		s.nets = append(s.nets, n)
		s.objects = append(s.objects, n, &model.Subnet{ID: model.SubnetID(fmt.Sprintf("sub%d", i)), NetworkID: n.ID, CIDR: subnetOf(i)})
		for range s.r.IntN(6) {
			p := s.port(i)
			p.PortSecurity, p.HostID = s.r.IntN(2) == 0, s.host()
			name, _ := json.Marshal(interfaceOf(p))
			p.Profile = map[string]json.RawMessage{"interface_name": name}
			if s.r.IntN(10) == 0 {
				p.HostID, p.Profile = "", nil
			} else {
				s.ports = append(s.ports, p)
			}
		}
	}
	for i := range s.r.IntN(5) {
		s.router(i)
	}
	for i := range s.r.IntN(4) {
		s.device(i)
	}
	if s.r.IntN(2) == 0 {
		s.vlans()
	}
	return s
}

// Fabric is a host's end of the fabric.
func (s *Site) Fabric(h model.HostName) model.Fabric {
	return model.Fabric{Addr: netip.AddrFrom4([4]byte{10, 99, 0, byte(slices.Index(s.Hosts, h) + 1)}), Port: 4798}
}

// VTEPs are those of other sites, each as seen from the tunnel IP that its packets come to.
func (s *Site) VTEPs() []hostenv.VTEP {
	var out []hostenv.VTEP
	for _, e := range s.entries {
		out = append(out, hostenv.VTEP{Local: s.tunnels[e.DeviceID], Remote: e.VTEPAddress})
	}
	return out
}

// Interfaces are the workloads' on a host.
func (s *Site) Interfaces(h model.HostName) []string {
	var out []string
	for _, p := range s.ports {
		if p.HostID == h {
			out = append(out, interfaceOf(p))
		}
	}
	return out
}

func interfaceOf(p *model.Port) string { return "if" + string(p.ID) }

func (s *Site) host() model.HostName { return s.Hosts[s.r.IntN(len(s.Hosts))] }

// port is a port of a network, with an address.
func (s *Site) port(net int) *model.Port {
	s.keys++
	n := s.nets[net]
	p := &model.Port{
		ID: model.PortID(fmt.Sprintf("p%d", s.keys)), Key: model.PortKey(s.keys), NetworkID: n.ID, AdminStateUp: s.r.IntN(12) > 0,
		MAC:      model.NamedMAC{MAC: model.MAC{2, 0, 0, 0, byte(s.keys >> 8), byte(s.keys)}},
		FixedIPs: []model.AddrPair{{SubnetID: model.SubnetID(fmt.Sprintf("sub%d", net)), IP: within(subnetOf(net), len(s.members[n.ID])+1)}},
	}
	s.members[n.ID] = append(s.members[n.ID], p)
	s.objects = append(s.objects, p)
	return p
}

// router joins two or three networks, and has routes by what is on them.
func (s *Site) router(i int) {
	r := &model.Router{ID: model.RouterID(fmt.Sprintf("r%d", i)), Key: model.RouterKey(i + 1), AdminStateUp: s.r.IntN(12) > 0}
	nets := s.r.Perm(len(s.nets))
	nets = nets[:min(len(nets), 2+s.r.IntN(2))]
	for _, n := range nets {
		p := s.port(n)
		p.DeviceOwner, p.DeviceID = model.OwnerRouterInterface, string(r.ID)
	}
	for j := range s.r.IntN(4) {
		on := s.members[s.nets[nets[s.r.IntN(len(nets))]].ID]
		r.Routes = append(r.Routes, model.HostRoute{
			Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(j), 0}), 24), NextHop: on[s.r.IntN(len(on))].FixedIPs[0].IP})
	}
	s.objects = append(s.objects, r)
}

// device is a gateway device with connections to a network or two, and MACs of other sites.
func (s *Site) device(i int) {
	vtep := &model.Router{ID: model.RouterID(fmt.Sprintf("vtep%d", i)), Key: model.RouterKey(100 + i), AdminStateUp: true}
	d := &model.GatewayDevice{
		ID: model.GatewayDeviceID(fmt.Sprintf("dev%d", i)), ResourceID: string(vtep.ID), Type: model.RouterVTEP,
		TunnelIP: netip.AddrFrom4([4]byte{200, 200, 0, byte(i + 1)}),
	}
	s.tunnels[d.ID], s.places[d.ID] = d.TunnelIP, s.host()
	s.objects = append(s.objects, vtep, d)
	for j, n := range s.r.Perm(len(s.nets))[:1+s.r.IntN(2)] {
		vni := model.VNI(100*i + j + 1)
		gw := &model.L2Gateway{ID: model.L2GatewayID(fmt.Sprintf("gw%d.%d", i, j)), DeviceID: d.ID, VNI: vni}
		s.objects = append(s.objects, gw, &model.L2GatewayConnection{ID: model.L2GatewayConnectionID("c" + string(gw.ID)), L2GatewayID: gw.ID, NetworkID: s.nets[n].ID})
		for k := range 1 + s.r.IntN(2) {
			p := s.port(n)
			p.DeviceOwner, p.AdminStateUp = "network:remote_site", true
			e := &model.RemoteMACEntry{
				ID: model.RemoteMACEntryID(fmt.Sprintf("e%d.%d.%d", i, j, k)), DeviceID: d.ID, MAC: p.MAC, VNI: vni,
				VTEPAddress: netip.AddrFrom4([4]byte{200, 201, byte(i), byte(k + 1)}),
			}
			s.entries = append(s.entries, e)
			s.conns[e.ID] = s.nets[n].ID
			s.objects = append(s.objects, e)
		}
	}
}

// vlans puts some networks on VLANs of one host.
func (s *Site) vlans() {
	s.trunkAt = s.host()
	up := &model.Network{ID: "uplink", Key: 90, AdminStateUp: true, MTU: 1500, Type: model.NetworkUplink}
	name, _ := json.Marshal(Trunk)
	trunk := &model.Port{
		ID: "trunk", Key: 9000, NetworkID: up.ID, AdminStateUp: true, HostID: s.trunkAt, MAC: model.NamedMAC{MAC: model.MAC{2, 0, 0, 9, 0, 1}},
		Profile: map[string]json.RawMessage{"interface_name": name},
	}
	dev := &model.GatewayDevice{ID: "vlans", ResourceID: string(up.ID), Type: model.NetworkVLAN}
	s.objects = append(s.objects, up, trunk, dev)
	for i, n := range s.nets {
		if !n.AdminStateUp || s.r.IntN(3) == 0 {
			continue
		}
		s.tags[n.ID] = uint16(100 + i)
		gw := &model.L2Gateway{ID: model.L2GatewayID(fmt.Sprintf("vlan%d", i)), DeviceID: dev.ID, VNI: model.VNI(s.tags[n.ID])}
		s.objects = append(s.objects, gw, &model.L2GatewayConnection{ID: model.L2GatewayConnectionID("c" + string(gw.ID)), L2GatewayID: gw.ID, NetworkID: n.ID})
		for j := range 3 {
			s.stations[n.ID] = append(s.stations[n.ID], &model.Port{
				MAC:      model.NamedMAC{MAC: model.MAC{0x52, 0x54, 0, 0, byte(i), byte(j)}},
				FixedIPs: []model.AddrPair{{IP: within(subnetOf(i), 200+j)}},
			})
		}
	}
}

// States are what the site's hosts have. alone: the first of them has all ports and devices.
func (s *Site) States(alone bool) map[model.HostName]hoststate.State {
	t := hoststate.NewTopology()
	for _, h := range s.Hosts {
		t.Apply(hoststate.Change{New: &model.Host{Name: h, Fabric: s.Fabric(h)}})
	}
	for _, o := range s.objects {
		if p, ok := o.(*model.Port); ok && p.HostID != "" && alone {
			q := *p
			q.HostID = s.Hosts[0]
			o = &q
		}
		t.Apply(hoststate.Change{New: o})
	}
	for d, h := range s.places {
		if alone {
			h = s.Hosts[0]
		}
		t.Apply(hoststate.Change{New: &model.Placement{DeviceID: d, Host: h, Epoch: 1}})
	}
	states := map[model.HostName]hoststate.State{}
	for _, h := range s.Hosts {
		states[h] = hoststate.Compile(t, h)
	}
	return states
}

// frame is one that somebody of a network sends, to anybody or to all, in the network or beyond.
func (s *Site) frame(net model.NetworkID, src *model.Port) []byte {
	all := s.members[net]
	if on := s.stations[net]; len(all) == 0 || len(on) > 0 && s.r.IntN(4) == 0 {
		all = on
	}
	dst := all[s.r.IntN(len(all))]
	mac, to := dst.MAC.MAC, dst.FixedIPs[0].IP
	var far []*model.Port
	for _, p := range s.members[net] {
		if p.DeviceOwner == model.OwnerRouterInterface {
			far = append(far, p)
		}
	}
	if len(far) > 0 && s.r.IntN(2) == 0 {
		mac = far[s.r.IntN(len(far))].MAC.MAC
		other := s.members[s.nets[s.r.IntN(len(s.nets))].ID]
		if len(other) > 0 {
			to = other[s.r.IntN(len(other))].FixedIPs[0].IP
		}
		if s.r.IntN(4) == 0 {
			to = netip.AddrFrom4([4]byte{10, 1, byte(s.r.IntN(4)), 7})
		}
	}
	switch s.r.IntN(10) {
	case 0:
		mac = packet.Broadcast
	case 1:
		mac = model.MAC{2, 9, 9, 9, 9, byte(s.r.IntN(9))}
	case 2, 3:
		a := packet.ARP{Op: packet.ARPRequest, SenderMAC: src.MAC.MAC, SenderIP: src.FixedIPs[0].IP, TargetIP: to}
		if s.r.IntN(3) > 0 {
			mac = packet.Broadcast
		}
		return append(packet.Ethernet{Dst: mac, Src: src.MAC.MAC, Type: packet.TypeARP}.Append(nil), a.Append(nil)...)
	}
	body := packet.UDP{Src: 1000, Dst: uint16(s.r.IntN(100))}.Append(nil, src.FixedIPs[0].IP, to, make([]byte, s.r.IntN(1600)))
	h := packet.IPv4{DF: s.r.IntN(2) == 0, TTL: uint8(1 + s.r.IntN(64)), Protocol: packet.ProtoUDP, Src: src.FixedIPs[0].IP, Dst: to}
	if s.r.IntN(4) == 0 {
		h.Protocol, body = packet.ProtoICMP, packet.ICMP{Type: packet.ICMPEchoRequest}.Append(nil, make([]byte, 30))
	}
	return append(packet.Ethernet{Dst: mac, Src: src.MAC.MAC, Type: packet.TypeIPv4}.Append(nil), append(h.Append(nil, len(body)), body...)...)
}

// Packet is one that comes into the site.
type Packet struct {
	Host  model.HostName
	Frame []byte
	// Interface is the workload's that sends it; "": it comes out of a tunnel, or where Tagged is set by a VLAN of Trunk.
	Interface string
	Tagged    []byte // with the VLAN's tag
	Outer     []byte // with the headers of the tunnel, an Ethernet header first
	// The tunnel's two ends, this site's first, and its VNI.
	Local, Remote netip.Addr
	VNI           model.VNI
}

// Packet draws one; false: nobody of this site sends.
func (s *Site) Packet() (Packet, bool) {
	if len(s.entries) > 0 && s.r.IntN(3) == 0 {
		e := s.entries[s.r.IntN(len(s.entries))]
		net := s.conns[e.ID]
		for _, p := range s.members[net] {
			if p.MAC.MAC == e.MAC.MAC {
				f := s.frame(net, p)
				o := Packet{Host: s.places[e.DeviceID], Frame: f, Local: s.tunnels[e.DeviceID], Remote: e.VTEPAddress, VNI: e.VNI}
				o.Outer = packet.Encapsulate(nil, packet.Outer{Local: o.Remote, Remote: o.Local, VNI: o.VNI}, f)
				return o, true
			}
		}
	}
	if n := s.nets[s.r.IntN(len(s.nets))]; len(s.stations[n.ID]) > 0 && s.r.IntN(2) == 0 {
		f := s.frame(n.ID, s.stations[n.ID][s.r.IntN(3)])
		return Packet{Host: s.trunkAt, Frame: f, Tagged: slices.Insert(slices.Clone(f), 12, 0x81, 0, byte(s.tags[n.ID]>>8), byte(s.tags[n.ID]))}, true
	}
	if len(s.ports) == 0 {
		return Packet{}, false
	}
	p := s.ports[s.r.IntN(len(s.ports))]
	return Packet{Host: p.HostID, Frame: s.frame(p.NetworkID, p), Interface: interfaceOf(p)}, true
}
