package dataplane

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
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

	hostPairPlen = 224 // the same
	hostPairAny  = 160 // a row of host_pairs for whatever stations of a host's VLANs are
	pairVLAN     = 4

	senderMAC  = 1
	senderAddr = 2

	fdbPort   = 1
	fdbRouter = 2
	fdbRemote = 3
	fdbDrop   = 4
	fdbVLAN   = 5
	fdbHost   = 6

	// Flags.
	fdbPeer    = 1
	fdbKernel  = 2
	fdbViaHost = 4
	fdbServes  = 8

	fdbOtherPlace = 1 // of a key

	peerKernel = 1 // flag

	routeConnected = 1
	routeVia       = 2
	routeLocal     = 3
	routeDrop      = 4

	hopsMost = len(bpfNextHops{}.Hop)

	floodMax = 2048

	vxlanPort = 4789 // RFC 7348 §8
)

// translator makes rows of the maps from rows of a State. It is pure but for
// counters, which hands out indices.
type translator struct {
	st       hoststate.State
	env      Env
	counters *counterIndex
	// forgotten is how many learned rows the agent has taken from a port.
	forgotten map[model.PortKey]uint32
	allowed   *allowed
	own       model.HostName // this host, as far as it is on the fabric
}

// wholeTranslator is one that has read all of a State.
func wholeTranslator(st hoststate.State, env Env, counters *counterIndex, forgotten map[model.PortKey]uint32) translator {
	t := translator{st: st, env: env, counters: counters, forgotten: forgotten}
	t.own, _ = ownHost(st, env, "")
	t.allowed = allowedOf(t)
	return t
}

func addrRow(a netip.Addr) bpfAddr {
	if !a.IsValid() {
		return bpfAddr{}
	}
	return bpfAddr{B: a.As16()}
}

// link is the interface of a port; false where there is none, or another port has it.
func (t translator) link(k model.PortKey) (Link, bool) {
	if _, shared := t.env.Shared[k]; shared {
		return Link{}, false
	}
	l, ok := t.env.Links[t.st.Ports[k].Interface]
	return l, ok && l.Index > 0
}

// port is the row of a port and the interface it is keyed by; false where there is
// no such interface.
func (t translator) port(k model.PortKey) (uint32, bpfPort, bool) {
	p, ok := t.st.Ports[k]
	if !ok {
		return 0, bpfPort{}, false
	}
	l, ok := t.link(k)
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
	if _, ok := t.link(k); !ok {
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
	if _, ok := t.link(k); !ok {
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
	l, ok := t.link(k)
	if !ok {
		return 0, bpfFlood{}, false
	}
	return p.Network, bpfFlood{Ifindex: uint32(l.Index), Counter: t.counters.port(k)}, true
}

func fdbKeyRow(k hoststate.FDBKey) bpfFdbKey {
	return bpfFdbKey{Net: uint32(k.Network), Mac: k.MAC}
}

func (t translator) fdbEntry(k hoststate.FDBKey) (bpfFdbEntry, bool) {
	e, ok := t.st.FDB[k]
	if !ok {
		return bpfFdbEntry{}, false
	}
	switch e.Kind {
	case hoststate.FDBPort, hoststate.FDBRemote:
		if e.Also != "" {
			to, _ := t.moving(k, e)
			return to, true
		}
		return t.place(k, e), true
	case hoststate.FDBRouter:
		return bpfFdbEntry{Kind: fdbRouter, Id: uint32(e.Router), Table: uint32(e.Domain), Addr: addrRow(e.Addr)}, true
	case hoststate.FDBDrop:
		return bpfFdbEntry{Kind: fdbDrop, Drop: uint8(e.Drop)}, true
	}
	// A kind that this build does not know is a mistake of its own.
	return bpfFdbEntry{Kind: fdbDrop, Drop: uint8(reason.Internal)}, true
}

// place is the row of a port or a remote VTEP: here, or on the host that has it.
func (t translator) place(k hoststate.FDBKey, e hoststate.FDBEntry) bpfFdbEntry {
	switch {
	case t.st.Here(e):
		return t.here(e)
	case e.Kind == hoststate.FDBPort:
		return t.elsewhere(k, e, reason.DestinationUnbound)
	}
	return t.elsewhere(k, e, reason.ConnectionMissing)
}

// here is the row of a port or a remote VTEP of this host.
func (t translator) here(e hoststate.FDBEntry) bpfFdbEntry {
	if e.Kind == hoststate.FDBRemote {
		return t.remote(e)
	}
	l, up := t.link(e.Port)
	if !up {
		return bpfFdbEntry{Kind: fdbDrop, Drop: uint8(reason.DestinationUnbound)}
	}
	row := bpfFdbEntry{
		Kind:    fdbPort,
		Id:      uint32(e.Port),
		Ifindex: uint32(l.Index),
		Counter: t.counters.port(e.Port),
		Mtu:     uint32(l.MTU),
	}
	if l.MTU <= 0 {
		row.Mtu = uint32(t.st.Networks[t.st.Ports[e.Port].Network].MTU)
	}
	if l.PeerElsewhere {
		row.Flags |= fdbPeer
	}
	return row
}

// remote is the row of a remote VTEP behind a gateway device of this host.
func (t translator) remote(e hoststate.FDBEntry) bpfFdbEntry {
	way := t.way(VTEP{Local: e.TunnelIP, Remote: e.Addr})
	if way.Drop != reason.None {
		return bpfFdbEntry{Kind: fdbDrop, Drop: uint8(way.Drop)}
	}
	var flags uint8
	if way.Kernel {
		flags = fdbKernel
	}
	mtu, ok := t.env.PathMTU[e.Addr]
	if !ok {
		mtu = 1500
	}
	table, ok := t.env.Tables[e.Gateway]
	if !ok {
		table = hostenv.MainTable
	}
	return bpfFdbEntry{
		Kind:    fdbRemote,
		Flags:   flags,
		Counter: t.counters.tunnel(tunnelKey{e.TunnelIP, e.Addr, e.VNI}),
		Mtu:     uint32(max(0, mtu-packet.OverheadTo(e.Addr))),
		Vni:     uint32(e.VNI),
		Table:   table,
		UdpPort: vxlanPort,
		Addr:    addrRow(e.Addr),
		Local:   addrRow(e.TunnelIP),
	}
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
		if r.Kind == hoststate.RouteConnected {
			return row, true
		}
		open := t.openHops(k)
		if len(open) == 0 {
			row.Kind, row.Nexthop = routeVia, addrRow(r.NextHop)
			return row, true
		}
		row = t.hop(open[0])
		if len(open) > 1 {
			row.Plen = routeKeyRow(k).Plen
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
	way := t.way(VTEP{Local: k.TunnelIP, Remote: k.Remote})
	row := bpfPeer{
		Net:     uint32(p.Network),
		Counter: t.counters.tunnel(tunnelKey{k.TunnelIP, k.Remote, k.VNI}),
		Drop:    uint8(cmp.Or(p.Drop, way.Drop)),
		Ways:    way.Interfaces,
	}
	if way.Kernel {
		row.Flags = peerKernel
	}
	return row, true
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

// wantedFloods are the rows that each network is to have, with numbers to order them by
// that a restart does not change.
type wantedFloods map[model.NetworkKey]map[bpfFlood]uint32

func (w wantedFloods) of(net model.NetworkKey) map[bpfFlood]uint32 {
	if w[net] == nil {
		w[net] = map[bpfFlood]uint32{}
	}
	return w[net]
}

// port adds the row of a port, if it takes flooded frames.
func (w wantedFloods) port(tr translator, k model.PortKey) {
	if net, row, ok := tr.flood(k); ok {
		w.of(net)[row] = uint32(k)
	}
}

// vlan adds a VLAN that works. VLANs come before ports: what is behind one is no other
// row's.
func (w wantedFloods) vlan(row bpfFdbEntry) {
	if row.Drop == uint8(reason.None) {
		f := bpfFlood{Ifindex: row.Ifindex, Counter: row.Counter, Vlan: row.Vni}
		if row.Flags&fdbServes != 0 {
			f.Flags = floodServes
		}
		w.of(model.NetworkKey(row.Id))[f] = 0
	}
}

// floodList is a network's list with what it has now, in the order it has it now:
// a copy goes to every port that stays while rows move. beyond are those that one
// network cannot have.
func floodList(have []bpfFlood, want map[bpfFlood]uint32) (list, beyond []bpfFlood) {
	list = make([]bpfFlood, 0, len(want))
	missing := maps.Clone(want)
	for _, f := range have {
		if _, ok := missing[f]; ok {
			delete(missing, f)
			list = append(list, f)
		}
	}
	fresh := slices.SortedFunc(maps.Keys(missing), func(a, b bpfFlood) int {
		return cmp.Or(cmp.Compare(want[a], want[b]), cmp.Compare(a.Vlan, b.Vlan), cmp.Compare(a.Ifindex, b.Ifindex), a.Addr.compare(b.Addr))
	})
	list = append(list, fresh...)
	if len(list) > floodMax {
		return list[:floodMax], list[floodMax:]
	}
	return list, nil
}

// count gives out the counters of all that is to have one, in an order that a restart
// does not change: there may be too few.
func (t translator) count() {
	for _, k := range slices.Sorted(maps.Keys(t.st.Ports)) {
		if _, ok := t.link(k); ok {
			t.counters.port(k)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(t.st.VLANs), func(a, b hoststate.VLANKey) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Interface, b.Interface))
	}) {
		if l, ok := t.env.Trunks[k.Interface]; ok && l.Index > 0 {
			t.counters.vlan(vlanID{uint32(l.Index), uint32(k.ID)})
		}
	}
	tunnels := map[tunnelKey]struct{}{}
	for k := range t.st.Peers {
		tunnels[tunnelKey{k.TunnelIP, k.Remote, k.VNI}] = struct{}{}
	}
	for _, e := range t.st.FDB {
		if e.Kind == hoststate.FDBRemote && t.st.Here(e) {
			tunnels[tunnelKey{e.TunnelIP, e.Addr, e.VNI}] = struct{}{}
		}
	}
	for name := range t.st.Hosts {
		if h, ok := t.otherHost(name); ok {
			tunnels[t.hostCounter(h)] = struct{}{}
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(tunnels), tunnelKey.compare) {
		t.counters.tunnel(k)
	}
}
