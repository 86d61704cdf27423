package dataplane

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// The numbers of bpf/types.h that bpf2go does not carry over.
const (
	portSecurity = 1
	portAddrs    = 2
	portAddr     = 4
	portPairs    = 8

	pairMAC  = 1
	pairAddr = 2
	pairNet  = 3
	pairPlen = 96 // bits before the address

	senderMAC  = 1
	senderAddr = 2

	endpointPort   = 1
	endpointRouter = 2
	endpointRemote = 3
	endpointDrop   = 4
	endpointVLAN   = 5
	endpointPeer   = 1 // flag

	routeConnected = 1
	routeVia       = 2
	routeLocal     = 3
	routeDrop      = 4

	floodMax = 512
)

// translator makes rows of the maps from rows of a State. It is pure but for
// counters, which hands out indices.
type translator struct {
	st       hoststate.State
	env      Env
	counters *counterIndex
	// forgotten is how many learned rows the agent has taken from a port.
	forgotten map[model.PortKey]uint32
}

func addrRow(a netip.Addr) bpfAddr {
	if !a.IsValid() {
		return bpfAddr{}
	}
	return bpfAddr{B: a.As16()}
}

func (t translator) link(name string) (Link, bool) {
	l, ok := t.env.Links[name]
	return l, ok && l.Index > 0
}

// port is the row of a port and the interface it is keyed by; false where there is
// no such interface.
func (t translator) port(k model.PortKey) (uint32, bpfPort, bool) {
	p, ok := t.st.Ports[k]
	if !ok {
		return 0, bpfPort{}, false
	}
	l, ok := t.link(p.Interface)
	if !ok {
		return 0, bpfPort{}, false
	}
	row := bpfPort{
		Port:    uint32(k),
		Net:     uint32(p.Network),
		Mac:     p.MAC,
		Drop:    uint8(p.Drop),
		Counter: t.counters.port(k),
	}
	if len(p.Pairs) > 0 {
		row.Flags |= portPairs
		row.LearnLimit = LearnPerPort + t.forgotten[k]
	}
	if p.PortSecurity {
		row.Flags |= portSecurity
	}
	if len(p.Addrs) > 0 {
		row.Flags |= portAddr
		row.Addr = addrRow(p.Addrs[0])
	}
	if len(p.Addrs) > 1 {
		row.Flags |= portAddrs
	}
	return uint32(l.Index), row, true
}

// portAddrs are the addresses of a port beyond the first.
func (t translator) portAddrs(k model.PortKey) []bpfPortAddrKey {
	p := t.st.Ports[k]
	if len(p.Addrs) < 2 {
		return nil
	}
	if _, ok := t.link(p.Interface); !ok {
		return nil
	}
	rows := make([]bpfPortAddrKey, 0, len(p.Addrs)-1)
	for _, a := range p.Addrs[1:] {
		rows = append(rows, bpfPortAddrKey{Port: uint32(k), Addr: addrRow(a)})
	}
	return rows
}

// pairs are the rows of a port's allowed address pairs.
func (t translator) pairs(k model.PortKey) []bpfPairKey {
	p := t.st.Ports[k]
	if len(p.Pairs) == 0 {
		return nil
	}
	if _, ok := t.link(p.Interface); !ok {
		return nil
	}
	rows := make([]bpfPairKey, 0, 3*len(p.Pairs))
	for _, a := range p.Pairs {
		rows = append(rows, pairRow(pairMAC, uint32(k), a.MAC, netip.Prefix{}), pairRow(pairAddr, uint32(k), a.MAC, a.Prefix),
			pairRow(pairNet, uint32(p.Network), model.MAC{}, a.Prefix))
	}
	return rows
}

func pairRow(kind uint8, id uint32, mac model.MAC, prefix netip.Prefix) bpfPairKey {
	key := bpfPairKey{Plen: pairPlen, Id: bigEndian(id), Mac: mac, Kind: kind}
	if prefix.IsValid() {
		bits := prefix.Bits()
		key.Family = 6
		if prefix.Addr().Is4() {
			bits += 96
			key.Family = 4
		}
		key.Plen += uint32(bits)
		key.Addr = addrRow(prefix.Addr())
	}
	return key
}

// bigEndian is n in the order of bytes in which tries compare.
func bigEndian(n uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return binary.NativeEndian.Uint32(b[:])
}

// flood is the row by which a port takes flooded frames, and its network.
func (t translator) flood(k model.PortKey) (model.NetworkKey, bpfFlood, bool) {
	p, ok := t.st.Ports[k]
	if !ok || p.Drop != reason.None {
		return 0, bpfFlood{}, false
	}
	l, ok := t.link(p.Interface)
	if !ok {
		return 0, bpfFlood{}, false
	}
	return p.Network, bpfFlood{Ifindex: uint32(l.Index), Counter: t.counters.port(k)}, true
}

func endpointKeyRow(k hoststate.EndpointKey) bpfEndpointKey {
	return bpfEndpointKey{Net: uint32(k.Network), Mac: k.MAC}
}

func (t translator) endpoint(k hoststate.EndpointKey) (bpfEndpoint, bool) {
	e, ok := t.st.Endpoints[k]
	if !ok {
		return bpfEndpoint{}, false
	}
	switch e.Kind {
	case hoststate.EndpointPort:
		p, ok := t.st.Ports[e.Port]
		l, up := t.link(p.Interface)
		if !ok || !up {
			return bpfEndpoint{Kind: endpointDrop, Drop: uint8(reason.DestinationUnbound)}, true
		}
		row := bpfEndpoint{
			Kind:    endpointPort,
			Id:      uint32(e.Port),
			Ifindex: uint32(l.Index),
			Counter: t.counters.port(e.Port),
			Mtu:     uint32(l.MTU),
		}
		if l.MTU <= 0 {
			row.Mtu = uint32(t.st.Networks[p.Network].MTU)
		}
		if l.PeerElsewhere {
			row.Flags |= endpointPeer
		}
		return row, true
	case hoststate.EndpointRouter:
		return bpfEndpoint{Kind: endpointRouter, Id: uint32(e.Router), Addr: addrRow(e.Addr)}, true
	case hoststate.EndpointRemote:
		mtu, ok := t.env.PathMTU[e.Addr]
		if !ok {
			mtu = 1500
		}
		table, ok := t.env.Tables[e.Gateway]
		if !ok {
			table = MainTable
		}
		return bpfEndpoint{
			Kind:    endpointRemote,
			Counter: t.counters.tunnel(tunnelKey{e.TunnelIP, e.Addr, e.VNI}),
			Mtu:     uint32(max(0, mtu-overhead)),
			Vni:     uint32(e.VNI),
			Table:   table,
			Addr:    addrRow(e.Addr),
			Local:   addrRow(e.TunnelIP),
		}, true
	case hoststate.EndpointDrop:
		return bpfEndpoint{Kind: endpointDrop, Drop: uint8(e.Drop)}, true
	}
	// A kind that this build does not know is a mistake of its own.
	return bpfEndpoint{Kind: endpointDrop, Drop: uint8(reason.Internal)}, true
}

func neighborKeyRow(k hoststate.NeighborKey) bpfNeighborKey {
	return bpfNeighborKey{Net: uint32(k.Network), Addr: addrRow(k.IP)}
}

func (t translator) neighbor(k hoststate.NeighborKey) (bpfNeighbor, bool) {
	mac, ok := t.st.Neighbors[k]
	return bpfNeighbor{Mac: mac}, ok
}

func routeKeyRow(k hoststate.RouteKey) bpfRouteKey {
	bits := k.Prefix.Bits()
	if k.Prefix.Addr().Is4() {
		bits += 96
	}
	return bpfRouteKey{Plen: uint32(32 + bits), Router: bigEndian(uint32(k.Router)), Addr: addrRow(k.Prefix.Addr())}
}

func (t translator) route(k hoststate.RouteKey) (bpfRoute, bool) {
	r, ok := t.st.Routes[k]
	if !ok {
		return bpfRoute{}, false
	}
	switch r.Kind {
	case hoststate.RouteLocal:
		return bpfRoute{Kind: routeLocal}, true
	case hoststate.RouteDrop:
		return bpfRoute{Kind: routeDrop, Drop: uint8(r.Drop)}, true
	case hoststate.RouteConnected, hoststate.RouteVia:
		row := bpfRoute{
			Kind: routeConnected,
			Mac:  r.MAC,
			Net:  uint32(r.Network),
			Mtu:  uint32(t.st.Networks[r.Network].MTU),
		}
		if r.Kind == hoststate.RouteVia {
			row.Kind, row.Nexthop = routeVia, addrRow(r.NextHop)
		}
		return row, true
	}
	return bpfRoute{Kind: routeDrop, Drop: uint8(reason.Internal)}, true
}

func vniKeyRow(k hoststate.VNIKey) bpfVniKey {
	return bpfVniKey{Local: addrRow(k.TunnelIP), Vni: uint32(k.VNI)}
}

func (t translator) vni(k hoststate.VNIKey) (bpfVni, bool) {
	net, ok := t.st.VNIs[k]
	return bpfVni{Net: uint32(net)}, ok
}

func peerKeyRow(k hoststate.PeerKey) bpfPeerKey {
	return bpfPeerKey{Local: addrRow(k.TunnelIP), Remote: addrRow(k.Remote), Vni: uint32(k.VNI)}
}

func (t translator) peer(k hoststate.PeerKey) (bpfPeer, bool) {
	p, ok := t.st.Peers[k]
	if !ok {
		return bpfPeer{}, false
	}
	return bpfPeer{
		Net:     uint32(p.Network),
		Counter: t.counters.tunnel(tunnelKey{k.TunnelIP, k.Remote, k.VNI}),
		Drop:    uint8(p.Drop),
	}, true
}

// tunnelIPs are the addresses of all gateway devices: there are few, so that they
// are always made anew.
func (t translator) tunnelIPs() map[bpfAddr]bpfTunnelIp {
	rows := make(map[bpfAddr]bpfTunnelIp, len(t.st.Gateways))
	for _, g := range t.st.Gateways {
		rows[addrRow(g.TunnelIP)] = bpfTunnelIp{}
	}
	return rows
}

// floodList is a network's list with what it has now, in the order it has it now:
// a copy goes to every port that stays while rows move.
func floodList(have []bpfFlood, want map[bpfFlood]bool) ([]bpfFlood, error) {
	list := make([]bpfFlood, 0, len(want))
	missing := make(map[bpfFlood]bool, len(want))
	for f := range want {
		missing[f] = true
	}
	for _, f := range have {
		if missing[f] {
			delete(missing, f)
			list = append(list, f)
		}
	}
	fresh := make([]bpfFlood, 0, len(missing))
	for f := range missing {
		fresh = append(fresh, f)
	}
	slices.SortFunc(fresh, func(a, b bpfFlood) int { return int(a.Ifindex) - int(b.Ifindex) })
	list = append(list, fresh...)
	if len(list) > floodMax {
		return list[:floodMax], fmt.Errorf("only %d of the network's %d ports take flooded frames: floods has no more slots", floodMax, len(list))
	}
	return list, nil
}
