package dataplane

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// tables are the maps of one layout with what is in them.
type tables struct {
	maps      map[string]*ebpf.Map
	ports     *table[uint32, bpfPort]
	portAddrs *table[bpfPortAddrKey, uint32]
	pairs     *table[bpfPairKey, uint32]
	endpoints *table[bpfEndpointKey, bpfEndpoint]
	neighbors *table[bpfNeighborKey, bpfNeighbor]
	routes    *table[bpfRouteKey, bpfRoute]
	tunnelIPs *table[bpfAddr, bpfTunnelIp]
	vnis      *table[bpfVniKey, bpfVni]
	vlans     *table[bpfVlanKey, bpfEndpoint]
	peers     *table[bpfPeerKey, bpfPeer]
	floods    *table[bpfFloodKey, bpfFlood]
	counters  *counterIndex
}

func newTables(maps map[string]*ebpf.Map) *tables {
	t := &tables{
		maps:      maps,
		ports:     newTable[uint32, bpfPort](maps, bpfMapPorts),
		portAddrs: newTable[bpfPortAddrKey, uint32](maps, bpfMapPortAddrs),
		pairs:     newTable[bpfPairKey, uint32](maps, bpfMapPairs),
		endpoints: newTable[bpfEndpointKey, bpfEndpoint](maps, bpfMapEndpoints),
		neighbors: newTable[bpfNeighborKey, bpfNeighbor](maps, bpfMapNeighbors),
		routes:    newTable[bpfRouteKey, bpfRoute](maps, bpfMapRoutes),
		tunnelIPs: newTable[bpfAddr, bpfTunnelIp](maps, bpfMapTunnelIps),
		vnis:      newTable[bpfVniKey, bpfVni](maps, bpfMapVnis),
		vlans:     newTable[bpfVlanKey, bpfEndpoint](maps, bpfMapVlans),
		peers:     newTable[bpfPeerKey, bpfPeer](maps, bpfMapPeers),
		floods:    newTable[bpfFloodKey, bpfFlood](maps, bpfMapFloods),
		counters:  newCounterIndex(maps[bpfMapCounters].MaxEntries()),
	}
	t.makeSpares()
	return t
}

// load reads all maps.
func (t *tables) load() error {
	for _, load := range []func() error{
		t.ports.load, t.portAddrs.load, t.pairs.load, t.endpoints.load, t.neighbors.load, t.routes.load,
		t.tunnelIPs.load, t.vnis.load, t.vlans.load, t.peers.load, t.floods.load,
	} {
		if err := load(); err != nil {
			return err
		}
	}
	return nil
}

// adoptCounters has the counters keep the meaning that from's rows give them.
func (t *tables) adoptCounters(from *tables) {
	for _, p := range from.ports.have {
		t.counters.adoptPort(model.PortKey(p.Port), p.Counter)
	}
	for _, e := range from.endpoints.have {
		switch e.Kind {
		case endpointPort:
			t.counters.adoptPort(model.PortKey(e.Id), e.Counter)
		case endpointRemote:
			t.counters.adoptTunnel(tunnelOf(e), e.Counter)
		}
	}
	for _, e := range from.vlans.have {
		t.counters.adoptVLAN(vlanIDOf(e), e.Counter)
	}
	for k, p := range from.peers.have {
		t.counters.adoptTunnel(tunnelOfPeer(k), p.Counter)
	}
}

func tunnelOf(e bpfEndpoint) tunnelKey {
	return tunnelKey{netip.AddrFrom16(e.Local.B).Unmap(), netip.AddrFrom16(e.Addr.B).Unmap(), model.VNI(e.Vni)}
}

func tunnelOfPeer(k bpfPeerKey) tunnelKey {
	return tunnelKey{netip.AddrFrom16(k.Local.B).Unmap(), netip.AddrFrom16(k.Remote.B).Unmap(), model.VNI(k.Vni)}
}

// floodLists are the flood rows by network, in order of slots, up to the first gap.
func (t *tables) floodLists() map[model.NetworkKey][]bpfFlood {
	lists := map[model.NetworkKey][]bpfFlood{}
	for k := range t.floods.have {
		net := model.NetworkKey(k.Net)
		if _, ok := lists[net]; ok {
			continue
		}
		lists[net] = t.floodList(net)
	}
	return lists
}

func (t *tables) floodList(net model.NetworkKey) []bpfFlood {
	list := []bpfFlood{}
	for slot := uint32(0); ; slot++ {
		f, ok := t.floods.have[bpfFloodKey{Net: uint32(net), Slot: slot}]
		if !ok {
			return list
		}
		list = append(list, f)
	}
}

// change is what is to be done to one table.
type change[K comparable, V comparable] struct {
	put map[K]V
	del []K
}

func newChange[K comparable, V comparable]() change[K, V] { return change[K, V]{put: map[K]V{}} }

// set asks for a row, or for its removal.
func (c *change[K, V]) set(k K, v V, ok bool) {
	if ok {
		c.put[k] = v
	} else {
		c.del = append(c.del, k)
	}
}

// only removes every row of t that is not put.
func (c *change[K, V]) only(t *table[K, V]) {
	for k := range t.have {
		if _, ok := c.put[k]; !ok {
			c.del = append(c.del, k)
		}
	}
}

// puts writes rows. port tells which port a row serves; it may be nil.
func (t *table[K, V]) puts(c change[K, V], f *failures, port func(K, V) model.PortKey) {
	for k, v := range c.put {
		f.add(t.putFor(k, v, port))
	}
}

func (t *table[K, V]) putFor(k K, v V, port func(K, V) model.PortKey) error {
	err := t.put(k, v)
	if full, ok := err.(*Full); ok && port != nil {
		if p := port(k, v); p != 0 {
			full.Ports = map[model.PortKey]struct{}{p: {}}
		}
	}
	return err
}

func (t *table[K, V]) dels(c change[K, V], f *failures) {
	for _, k := range c.del {
		f.add(t.del(k))
	}
}

// plan is a change of all tables.
type plan struct {
	ports     change[uint32, bpfPort]
	portAddrs change[bpfPortAddrKey, uint32]
	pairs     change[bpfPairKey, uint32]
	endpoints change[bpfEndpointKey, bpfEndpoint]
	neighbors change[bpfNeighborKey, bpfNeighbor]
	routes    change[bpfRouteKey, bpfRoute]
	tunnelIPs change[bpfAddr, bpfTunnelIp]
	vnis      change[bpfVniKey, bpfVni]
	vlans     change[bpfVlanKey, bpfEndpoint]
	peers     change[bpfPeerKey, bpfPeer]
	floods    change[bpfFloodKey, bpfFlood]
}

func newPlan() *plan {
	return &plan{
		ports:     newChange[uint32, bpfPort](),
		portAddrs: newChange[bpfPortAddrKey, uint32](),
		pairs:     newChange[bpfPairKey, uint32](),
		endpoints: newChange[bpfEndpointKey, bpfEndpoint](),
		neighbors: newChange[bpfNeighborKey, bpfNeighbor](),
		routes:    newChange[bpfRouteKey, bpfRoute](),
		tunnelIPs: newChange[bpfAddr, bpfTunnelIp](),
		vnis:      newChange[bpfVniKey, bpfVni](),
		vlans:     newChange[bpfVlanKey, bpfEndpoint](),
		peers:     newChange[bpfPeerKey, bpfPeer](),
		floods:    newChange[bpfFloodKey, bpfFlood](),
	}
}

// flood plans the rows of a network's list. Slots are filled from the front and
// emptied from the back, so that there is never a gap.
func (p *plan) flood(net model.NetworkKey, have, list []bpfFlood) {
	for slot, f := range list {
		p.floods.put[bpfFloodKey{Net: uint32(net), Slot: uint32(slot)}] = f
	}
	for slot := len(have) - 1; slot >= len(list); slot-- {
		p.floods.del = append(p.floods.del, bpfFloodKey{Net: uint32(net), Slot: uint32(slot)})
	}
}

// full plans all of a State.
func (t *tables) full(tr translator) (*plan, error) {
	p, fail := newPlan(), &failures{}
	for k := range tr.st.Ports {
		ifindex, row, ok := tr.port(k)
		if !ok {
			continue
		}
		if old, taken := p.ports.put[ifindex]; taken {
			fail.add(fmt.Errorf("ports %d and %d are both on interface %s", old.Port, k, tr.st.Ports[k].Interface))
			if old.Port < row.Port {
				continue
			}
		}
		p.ports.put[ifindex] = row
		for _, a := range tr.portAddrs(k) {
			p.portAddrs.put[a] = 0
		}
		for _, a := range tr.pairs(k) {
			p.pairs.put[a] = 0
		}
	}
	for k := range tr.st.Endpoints {
		row, _ := tr.endpoint(k)
		p.endpoints.put[endpointKeyRow(k)] = row
	}
	for k := range tr.st.Neighbors {
		row, _ := tr.neighbor(k)
		p.neighbors.put[neighborKeyRow(k)] = row
	}
	for k := range tr.st.Routes {
		row, _ := tr.route(k)
		p.routes.put[routeKeyRow(k)] = row
	}
	for k := range tr.st.VNIs {
		row, _ := tr.vni(k)
		p.vnis.put[vniKeyRow(k)] = row
	}
	for k := range tr.st.Peers {
		row, _ := tr.peer(k)
		p.peers.put[peerKeyRow(k)] = row
	}
	p.tunnelIPs.put = tr.tunnelIPs()
	want := map[model.NetworkKey]map[bpfFlood]bool{}
	p.vlans.put = tr.vlans()
	for _, row := range p.vlans.put {
		wantFlood(want, model.NetworkKey(row.Id), row)
	}
	for _, a := range tr.vlanPairs() {
		p.pairs.put[a] = 0
	}
	for k := range tr.st.Ports {
		if net, row, ok := tr.flood(k); ok {
			if want[net] == nil {
				want[net] = map[bpfFlood]bool{}
			}
			want[net][row] = true
		}
	}
	have := t.floodLists()
	for net, rows := range want {
		list, err := floodList(have[net], rows)
		fail.add(err)
		p.flood(net, nil, list)
	}
	p.ports.only(t.ports)
	p.portAddrs.only(t.portAddrs)
	p.pairs.only(t.pairs)
	p.endpoints.only(t.endpoints)
	p.neighbors.only(t.neighbors)
	p.routes.only(t.routes)
	p.tunnelIPs.only(t.tunnelIPs)
	p.vnis.only(t.vnis)
	p.vlans.only(t.vlans)
	p.peers.only(t.peers)
	p.floods.only(t.floods)
	sortFloodDels(p.floods.del)
	return p, fail.err()
}

// apply writes a plan. What is pointed at comes before what points at it, and goes
// after it:
//
//	port_addrs, pairs ← ports → endpoints (routers) → routes → neighbors → endpoints (others)
//	tunnel_ips, vnis ← peers → endpoints; floods and vlans last
//
// A tunnel packet needs its peers row, so the peers come in last and go first.
func (t *tables) apply(p *plan) (err error) {
	onOneCPU(func() {
		err = t.write(p)
		if errors.Is(err, errFull) {
			// There may be room now that other rows have gone.
			err = t.write(p)
		}
	})
	return err
}

func (t *tables) write(p *plan) error {
	f, of := &failures{}, portOf{t, p}
	routers := func(want bool) change[bpfEndpointKey, bpfEndpoint] {
		c := newChange[bpfEndpointKey, bpfEndpoint]()
		for k, v := range p.endpoints.put {
			if (v.Kind == endpointRouter) == want {
				c.put[k] = v
			}
		}
		for _, k := range p.endpoints.del {
			if (t.endpoints.have[k].Kind == endpointRouter) == want {
				c.del = append(c.del, k)
			}
		}
		return c
	}
	toRouters, others := routers(true), routers(false)

	f.add(t.zeroCounters())
	t.portAddrs.puts(p.portAddrs, f, of.portAddr)
	t.pairs.puts(p.pairs, f, of.pair)
	t.endpoints.puts(others, f, of.endpoint)
	t.neighbors.puts(p.neighbors, f, of.neighbor)
	t.routes.puts(p.routes, f, nil)
	t.endpoints.puts(toRouters, f, nil)
	t.putFloods(p.floods, f, of.flood)
	t.ports.puts(p.ports, f, of.port)
	t.tunnelIPs.puts(p.tunnelIPs, f, nil)
	t.vnis.puts(p.vnis, f, nil)
	t.peers.puts(p.peers, f, nil)
	t.vlans.puts(p.vlans, f, nil)

	t.vlans.dels(p.vlans, f)
	t.peers.dels(p.peers, f)
	t.vnis.dels(p.vnis, f)
	t.tunnelIPs.dels(p.tunnelIPs, f)
	t.ports.dels(p.ports, f)
	t.floods.dels(p.floods, f)
	t.endpoints.dels(toRouters, f)
	t.routes.dels(p.routes, f)
	t.neighbors.dels(p.neighbors, f)
	t.endpoints.dels(others, f)
	t.portAddrs.dels(p.portAddrs, f)
	t.pairs.dels(p.pairs, f)
	return f.err()
}

// zeroCounters resets indices that are handed out anew.
func (t *tables) zeroCounters() error {
	if len(t.counters.fresh) == 0 {
		return nil
	}
	n, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count processors: %w", err)
	}
	zero := make([]bpfCounter, n)
	for _, i := range t.counters.fresh {
		if err := t.maps[bpfMapCounters].Put(i, zero); err != nil {
			return fmt.Errorf("reset counter %d: %w", i, err)
		}
	}
	t.counters.fresh = nil
	return nil
}

// delta plans what changes with some rows of a State.
func (t *tables) delta(tr translator, x *index, d hoststate.Delta) (*plan, error) {
	p, fail := newPlan(), &failures{}
	ports, endpoints, routes, nets := x.touched(d)

	for k := range ports {
		old, had := x.ports[k]
		ifindex, row, ok := tr.port(k)
		if ok {
			p.ports.put[ifindex] = row
		}
		if had && (!ok || old.ifindex != ifindex) && t.ports.have[old.ifindex].Port == uint32(k) {
			p.ports.del = append(p.ports.del, old.ifindex)
		}
		want := map[bpfPortAddrKey]bool{}
		for _, a := range tr.portAddrs(k) {
			want[a] = true
			p.portAddrs.put[a] = 0
		}
		for _, a := range old.addrs {
			if !want[a] {
				p.portAddrs.del = append(p.portAddrs.del, a)
			}
		}
		for _, a := range tr.pairs(k) {
			p.pairs.put[a] = 0
		}
		if had {
			nets[old.net] = true
		}
		nets[tr.st.Ports[k].Network] = true
	}
	// An interface that another port has taken over keeps its row.
	kept := p.ports.del[:0]
	for _, i := range p.ports.del {
		if _, taken := p.ports.put[i]; !taken {
			kept = append(kept, i)
		}
	}
	p.ports.del = kept
	for k := range endpoints {
		row, ok := tr.endpoint(k)
		p.endpoints.set(endpointKeyRow(k), row, ok)
	}
	for k := range routes {
		row, ok := tr.route(k)
		p.routes.set(routeKeyRow(k), row, ok)
	}
	for k := range d.Set.Neighbors {
		row, ok := tr.neighbor(k)
		p.neighbors.set(neighborKeyRow(k), row, ok)
	}
	for _, k := range d.Unset.Neighbors {
		row, ok := tr.neighbor(k)
		p.neighbors.set(neighborKeyRow(k), row, ok)
	}
	for k := range d.Set.VNIs {
		row, ok := tr.vni(k)
		p.vnis.set(vniKeyRow(k), row, ok)
	}
	for _, k := range d.Unset.VNIs {
		row, ok := tr.vni(k)
		p.vnis.set(vniKeyRow(k), row, ok)
	}
	for k := range d.Set.Peers {
		row, ok := tr.peer(k)
		p.peers.set(peerKeyRow(k), row, ok)
	}
	for _, k := range d.Unset.Peers {
		row, ok := tr.peer(k)
		p.peers.set(peerKeyRow(k), row, ok)
	}
	if len(d.Set.Gateways) > 0 || len(d.Unset.Gateways) > 0 {
		p.tunnelIPs.put = tr.tunnelIPs()
		p.tunnelIPs.only(t.tunnelIPs)
	}
	if x.vlansTouched(d) {
		t.deltaVLANs(tr, x, p, ports, nets)
	}
	// When all that stays is known: a port and a VLAN may share a row.
	for k := range ports {
		for _, a := range x.ports[k].pairs {
			if _, stays := p.pairs.put[a]; !stays && !x.paired(a, ports) && !x.vlanPairs[a] {
				p.pairs.del = append(p.pairs.del, a)
			}
		}
	}
	vlans := map[model.NetworkKey]map[bpfFlood]bool{}
	for _, row := range tr.vlans() {
		wantFlood(vlans, model.NetworkKey(row.Id), row)
	}
	for net := range nets {
		want := vlans[net]
		if want == nil {
			want = map[bpfFlood]bool{}
		}
		for k := range x.members(net, ports) {
			if n, row, ok := tr.flood(k); ok && n == net {
				want[row] = true
			}
		}
		have := t.floodList(net)
		list, err := floodList(have, want)
		fail.add(err)
		p.flood(net, have, list)
	}
	return p, fail.err()
}

// putFloods writes flood rows in order of slots: a slot is only reached through
// those before it.
func (t *tables) putFloods(c change[bpfFloodKey, bpfFlood], f *failures, port func(bpfFloodKey, bpfFlood) model.PortKey) {
	for _, k := range sortedFloodKeys(c.put) {
		f.add(t.floods.putFor(k, c.put[k], port))
	}
}
