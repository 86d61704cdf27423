package hoststate

import (
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
)

// Topology is an index of one site's resources, by what Compile looks up. It
// keeps the objects it is given and never changes them.
//
// What the store guarantees it need not: a port's network may be missing, two
// devices may claim one tunnel IP. Where two resources claim one row, the one with
// the lesser id wins, so that every order of changes comes to the same State.
type Topology struct {
	networks map[model.NetworkID]*model.Network
	subnets  map[model.SubnetID]*model.Subnet
	ports    map[model.PortID]*port
	routers  map[model.RouterID]*model.Router
	devices  map[model.GatewayDeviceID]*model.GatewayDevice // router_vtep
	// vlanDevices are those of type network_vlan.
	vlanDevices map[model.GatewayDeviceID]*model.GatewayDevice
	entries     map[model.RemoteMACEntryID]*model.RemoteMACEntry
	gateways    map[model.L2GatewayID]*model.L2Gateway
	conns       map[model.L2GatewayConnectionID]*model.L2GatewayConnection
	placements  map[model.GatewayDeviceID]*model.Placement

	switches map[model.GatewayDeviceID]*model.GatewayDevice
	learned  map[model.L2GatewayConnectionID]*model.LearnedMACs
	// made are the entries that follow from what switches have learned.
	made map[model.NetworkID]map[model.RemoteMACEntryID]*model.RemoteMACEntry

	networkByKey map[model.NetworkKey]*model.Network
	portByKey    map[model.PortKey]*port
	routerByKey  map[model.RouterKey]*model.Router

	fabric        map[model.HostName]Host            // hosts that are on it
	stationsHosts map[model.NetworkID]model.HostName // by whom others reach the stations of VLANs
	domains       domains
	reach         reach

	// Small sets, in order of id.
	portsByMAC   map[networkMAC][]*port
	portsByIP    map[networkIP][]*port
	portsByPlace map[place][]*port

	// Most ports are in these two: a set takes less.
	portsOfNetwork   group[model.NetworkID, *port, struct{}]
	unboundOfNetwork group[model.NetworkID, *port, struct{}] // see (*port).unbound

	// What is on which host: ports that name an interface, and placed gateway devices.
	placedOfNetwork group[networkHost, model.PortID, *port]
	hostsOfNetwork  group[model.NetworkID, model.HostName, struct{}]
	networksOfHost  group[model.HostName, model.NetworkID, struct{}]
	placedOnHost    group[model.HostName, model.GatewayDeviceID, *model.Placement]
	sharedWith      group[model.NetworkID, model.ProjectID, struct{}] // by RBAC

	remoteOfNetwork  group[model.NetworkID, model.PortID, *port] // remote-site ports
	ifacesOfNetwork  group[model.NetworkID, model.PortID, *port] // router interfaces
	pairedOfNetwork  group[model.NetworkID, model.PortID, *port] // with allowed address pairs
	ifacesOfRouter   group[model.RouterID, model.PortID, *port]
	devicesOfRouter  group[model.RouterID, model.GatewayDeviceID, *model.GatewayDevice]
	devicesByTunnel  group[netip.Addr, model.GatewayDeviceID, *model.GatewayDevice]
	devicesOfUplink  group[model.NetworkID, model.GatewayDeviceID, *model.GatewayDevice]
	subnetsOfNetwork group[model.NetworkID, model.SubnetID, *model.Subnet]
	gatewaysOfDevice group[model.GatewayDeviceID, model.L2GatewayID, *model.L2Gateway]
	connsOfGateway   group[model.L2GatewayID, model.L2GatewayConnectionID, *model.L2GatewayConnection]
	connsOfNetwork   group[model.NetworkID, model.L2GatewayConnectionID, *model.L2GatewayConnection]
	connsOfSegment   group[segment, model.L2GatewayConnectionID, *model.L2GatewayConnection]
	entriesOfSegment group[segment, model.RemoteMACEntryID, *model.RemoteMACEntry]
	entriesByMAC     group[segmentMAC, model.RemoteMACEntryID, *model.RemoteMACEntry]
	entriesByVTEP    group[segmentVTEP, model.RemoteMACEntryID, *model.RemoteMACEntry]
}

// port is a port with what is dear to work out.
type port struct {
	*model.Port
	iface      string
	remoteSite bool
	pairs      []Pair
}

type (
	networkMAC struct {
		network model.NetworkID
		mac     model.MAC
	}
	networkIP struct {
		network model.NetworkID
		ip      netip.Addr
	}
	networkHost struct {
		network model.NetworkID
		host    model.HostName
	}
	place struct {
		host  model.HostName
		iface string
	}
	// segment is a VNI of a gateway device.
	segment struct {
		device model.GatewayDeviceID
		vni    model.VNI
	}
	segmentMAC struct {
		segment
		mac model.MAC
	}
	segmentVTEP struct {
		segment
		vtep netip.Addr
	}
)

// group is a map of sets.
type group[K comparable, ID comparable, V any] map[K]map[ID]V

func (g group[K, ID, V]) add(k K, id ID, v V) {
	m := g[k]
	if m == nil {
		m = map[ID]V{}
		g[k] = m
	}
	m[id] = v
}

func (g group[K, ID, V]) remove(k K, id ID) {
	m := g[k]
	delete(m, id)
	if len(m) == 0 {
		delete(g, k)
	}
}

// NewTopology makes an empty one.
func NewTopology() *Topology {
	return &Topology{
		networks:    map[model.NetworkID]*model.Network{},
		subnets:     map[model.SubnetID]*model.Subnet{},
		ports:       map[model.PortID]*port{},
		routers:     map[model.RouterID]*model.Router{},
		devices:     map[model.GatewayDeviceID]*model.GatewayDevice{},
		vlanDevices: map[model.GatewayDeviceID]*model.GatewayDevice{},
		entries:     map[model.RemoteMACEntryID]*model.RemoteMACEntry{},
		gateways:    map[model.L2GatewayID]*model.L2Gateway{},
		conns:       map[model.L2GatewayConnectionID]*model.L2GatewayConnection{},
		placements:  map[model.GatewayDeviceID]*model.Placement{},

		switches: map[model.GatewayDeviceID]*model.GatewayDevice{},
		learned:  map[model.L2GatewayConnectionID]*model.LearnedMACs{},
		made:     map[model.NetworkID]map[model.RemoteMACEntryID]*model.RemoteMACEntry{},

		networkByKey: map[model.NetworkKey]*model.Network{},
		portByKey:    map[model.PortKey]*port{},
		routerByKey:  map[model.RouterKey]*model.Router{},

		fabric: map[model.HostName]Host{},

		stationsHosts: map[model.NetworkID]model.HostName{},
		domains:       newDomains(),
		reach:         newReach(),

		portsByMAC:   map[networkMAC][]*port{},
		portsByIP:    map[networkIP][]*port{},
		portsByPlace: map[place][]*port{},

		placedOfNetwork: group[networkHost, model.PortID, *port]{},
		hostsOfNetwork:  group[model.NetworkID, model.HostName, struct{}]{},
		networksOfHost:  group[model.HostName, model.NetworkID, struct{}]{},
		placedOnHost:    group[model.HostName, model.GatewayDeviceID, *model.Placement]{},
		sharedWith:      group[model.NetworkID, model.ProjectID, struct{}]{},

		portsOfNetwork:   group[model.NetworkID, *port, struct{}]{},
		remoteOfNetwork:  group[model.NetworkID, model.PortID, *port]{},
		ifacesOfNetwork:  group[model.NetworkID, model.PortID, *port]{},
		pairedOfNetwork:  group[model.NetworkID, model.PortID, *port]{},
		unboundOfNetwork: group[model.NetworkID, *port, struct{}]{},
		ifacesOfRouter:   group[model.RouterID, model.PortID, *port]{},
		devicesOfRouter:  group[model.RouterID, model.GatewayDeviceID, *model.GatewayDevice]{},
		devicesByTunnel:  group[netip.Addr, model.GatewayDeviceID, *model.GatewayDevice]{},
		devicesOfUplink:  group[model.NetworkID, model.GatewayDeviceID, *model.GatewayDevice]{},
		subnetsOfNetwork: group[model.NetworkID, model.SubnetID, *model.Subnet]{},
		gatewaysOfDevice: group[model.GatewayDeviceID, model.L2GatewayID, *model.L2Gateway]{},
		connsOfGateway:   group[model.L2GatewayID, model.L2GatewayConnectionID, *model.L2GatewayConnection]{},
		connsOfNetwork:   group[model.NetworkID, model.L2GatewayConnectionID, *model.L2GatewayConnection]{},
		connsOfSegment:   group[segment, model.L2GatewayConnectionID, *model.L2GatewayConnection]{},
		entriesOfSegment: group[segment, model.RemoteMACEntryID, *model.RemoteMACEntry]{},
		entriesByMAC:     group[segmentMAC, model.RemoteMACEntryID, *model.RemoteMACEntry]{},
		entriesByVTEP:    group[segmentVTEP, model.RemoteMACEntryID, *model.RemoteMACEntry]{},
	}
}

// Change is one resource's change: pointers to one of model's types. New is nil
// after a deletion, Old nil before a creation. Types that say nothing about
// forwarding (PortState) are ignored.
type Change struct{ Old, New any }

// Apply takes changes in, and tells which rows of any host they may concern.
func (t *Topology) Apply(changes ...Change) Touched {
	touched := newTouched()
	for _, c := range changes {
		o := c.New
		if o == nil {
			o = c.Old
		}
		relearn := set[model.NetworkID]{}
		t.learnedNetworks(o, relearn)
		switch o := o.(type) {
		case *model.Network:
			t.changeNetwork(o.ID, as[model.Network](c.New), touched)
		case *model.Subnet:
			t.changeSubnet(o.ID, as[model.Subnet](c.New), touched)
		case *model.Port:
			t.changePort(o.ID, as[model.Port](c.New), touched)
		case *model.Router:
			t.changeRouter(o.ID, as[model.Router](c.New), touched)
		case *model.GatewayDevice:
			t.changeSwitch(o.ID, as[model.GatewayDevice](c.New))
			t.changeDevice(o.ID, routerVTEP(as[model.GatewayDevice](c.New)), touched)
			t.changeVLANDevice(o.ID, networkVLAN(as[model.GatewayDevice](c.New)), touched)
		case *model.Placement:
			t.changePlacement(o.DeviceID, as[model.Placement](c.New), touched)
		case *model.RemoteMACEntry:
			t.changeEntry(o.ID, as[model.RemoteMACEntry](c.New), touched)
		case *model.L2Gateway:
			t.changeGateway(o.ID, as[model.L2Gateway](c.New), touched)
		case *model.L2GatewayConnection:
			t.changeConn(o.ID, as[model.L2GatewayConnection](c.New), touched)
		case *model.Host:
			t.changeHost(o.Name, as[model.Host](c.New), touched)
		case *model.RBACPolicy:
			t.changePolicy(as[model.RBACPolicy](c.Old), as[model.RBACPolicy](c.New), touched)
		case *model.LearnedMACs:
			t.changeLearned(o.ConnectionID, as[model.LearnedMACs](c.New))
		}
		t.learnedNetworks(o, relearn)
		for id := range relearn {
			t.relearn(id, touched)
		}
	}
	for id := range touched.serving {
		t.elect(id, touched)
	}
	return touched
}

func as[T any](o any) *T {
	p, _ := o.(*T)
	return p
}

// Each change touches rows twice: those that the old index leads to, and, after
// it, those that the new one does.

func (t *Topology) changeNetwork(id model.NetworkID, n *model.Network, d Touched) {
	old := t.networks[id]
	t.reach.setNetwork(id, n)
	whole := old == nil || n == nil || old.Key != n.Key || old.Type != n.Type || old.AdminStateUp != n.AdminStateUp
	if old != nil {
		d.networks.add(ofNetwork(old.Key))
		if whole {
			t.touchNetwork(id, d)
			t.touchReach(id, d)
		}
		if overlay(old) && !overlay(n) {
			t.partNetwork(id, d)
		}
		delete(t.networks, id)
		delete(t.networkByKey, old.Key)
	}
	if n != nil {
		t.networks[id] = n
		t.networkByKey[n.Key] = n
		switch {
		case overlay(n) && !overlay(old):
			t.joinNetwork(id, d)
		case overlay(n) && (t.heads(n, old) != 0 || n.Key != old.Key):
			t.renameFor(id, d)
		}
		d.networks.add(ofNetwork(n.Key))
		if whole {
			t.touchNetwork(id, d)
			t.touchReach(id, d)
		}
	}
}

func (t *Topology) changeSubnet(id model.SubnetID, s *model.Subnet, d Touched) {
	if old := t.subnets[id]; old != nil {
		t.touchSubnet(old, d)
		delete(t.subnets, id)
		t.subnetsOfNetwork.remove(old.NetworkID, id)
	}
	if s != nil {
		t.subnets[id] = s
		t.subnetsOfNetwork.add(s.NetworkID, id, s)
		t.touchSubnet(s, d)
	}
}

func (t *Topology) changePort(id model.PortID, p *model.Port, d Touched) {
	old := t.ports[id]
	var n *port
	if p != nil {
		n = &port{Port: p, iface: p.InterfaceName(), remoteSite: p.IsRemoteSite(), pairs: pairsOf(p)}
	}
	moves := old == nil || n == nil || !old.wantsAs(n)
	was, had := t.edgeOf(old)
	is, has := t.edgeOf(n)
	if old != nil {
		t.touchPort(old, d)
		t.unlinkPort(old)
		if moves {
			t.touchWants(old, d)
		}
	}
	if n != nil {
		if moves {
			t.touchWants(n, d)
		}
		t.linkPort(n)
		t.touchPort(n, d)
	}
	t.rejoin(was, had, is, has, d)
}

func (p *port) router() (model.RouterID, bool) {
	return model.RouterID(p.DeviceID), p.DeviceOwner == model.OwnerRouterInterface
}

// unbound tells whether nothing can be behind the port: such a one keeps an address, or a
// MAC, for whoever has it as an allowed address pair.
func (p *port) unbound() bool {
	_, bound := p.place()
	_, isRouter := p.router()
	return !bound && !isRouter && !p.remoteSite
}

func (p *port) place() (place, bool) {
	return place{p.HostID, p.iface}, p.HostID != "" && p.iface != "" && !p.remoteSite
}

// places are the port's: two while it moves.
func (p *port) places(yield func(place) bool) {
	at, ok := p.place()
	if ok && yield(at) && p.moves() {
		yield(p.former())
	}
}

// moves tells whether the port is on its way from one host to another.
func (p *port) moves() bool {
	_, ok := p.place()
	return ok && p.Move != nil && p.Move.Host != p.HostID
}

// former is the place that a port which moves comes from.
func (p *port) former() place { return place{p.Move.Host, p.Move.Interface} }

func (t *Topology) linkPort(p *port) {
	t.ports[p.ID] = p
	t.portByKey[p.Key] = p
	insert(t.portsByMAC, networkMAC{p.NetworkID, p.MAC.MAC}, p)
	for _, a := range p.FixedIPs {
		insert(t.portsByIP, networkIP{p.NetworkID, a.IP}, p)
	}
	for at := range p.places {
		insert(t.portsByPlace, at, p)
		t.placedOfNetwork.add(networkHost{p.NetworkID, at.host}, p.ID, p)
		t.hostsOfNetwork.add(p.NetworkID, at.host, struct{}{})
		t.networksOfHost.add(at.host, p.NetworkID, struct{}{})
	}
	t.portsOfNetwork.add(p.NetworkID, p, struct{}{})
	if p.remoteSite {
		t.remoteOfNetwork.add(p.NetworkID, p.ID, p)
	}
	if len(p.pairs) > 0 {
		t.pairedOfNetwork.add(p.NetworkID, p.ID, p)
	}
	if p.unbound() {
		t.unboundOfNetwork.add(p.NetworkID, p, struct{}{})
	}
	if r, ok := p.router(); ok {
		t.ifacesOfNetwork.add(p.NetworkID, p.ID, p)
		t.ifacesOfRouter.add(r, p.ID, p)
		t.reach.link(p.NetworkID, r)
	}
}

func (t *Topology) unlinkPort(p *port) {
	delete(t.ports, p.ID)
	if t.portByKey[p.Key] == p {
		delete(t.portByKey, p.Key)
	}
	take(t.portsByMAC, networkMAC{p.NetworkID, p.MAC.MAC}, p)
	for _, a := range p.FixedIPs {
		take(t.portsByIP, networkIP{p.NetworkID, a.IP}, p)
	}
	for at := range p.places {
		take(t.portsByPlace, at, p)
		nh := networkHost{p.NetworkID, at.host}
		t.placedOfNetwork.remove(nh, p.ID)
		if len(t.placedOfNetwork[nh]) == 0 {
			t.hostsOfNetwork.remove(p.NetworkID, at.host)
			t.networksOfHost.remove(at.host, p.NetworkID)
		}
	}
	t.portsOfNetwork.remove(p.NetworkID, p)
	t.remoteOfNetwork.remove(p.NetworkID, p.ID)
	t.pairedOfNetwork.remove(p.NetworkID, p.ID)
	t.unboundOfNetwork.remove(p.NetworkID, p)
	if r, ok := p.router(); ok {
		t.ifacesOfNetwork.remove(p.NetworkID, p.ID)
		t.ifacesOfRouter.remove(r, p.ID)
		t.reach.unlink(p.NetworkID, r)
	}
}

func insert[K comparable](m map[K][]*port, k K, p *port) {
	s := m[k]
	i, _ := slices.BinarySearchFunc(s, p.ID, func(q *port, id model.PortID) int {
		switch {
		case q.ID < id:
			return -1
		case q.ID > id:
			return 1
		}
		return 0
	})
	m[k] = slices.Insert(s, i, p)
}

func take[K comparable](m map[K][]*port, k K, p *port) {
	s := slices.DeleteFunc(m[k], func(q *port) bool { return q == p })
	if len(s) == 0 {
		delete(m, k)
		return
	}
	m[k] = s
}

func (t *Topology) changeRouter(id model.RouterID, r *model.Router, d Touched) {
	old := t.routers[id]
	t.reach.setRouter(id, r)
	whole := old == nil || r == nil || old.Key != r.Key || old.AdminStateUp != r.AdminStateUp
	anew := old == nil || r == nil || old.Key != r.Key
	if anew {
		t.touchAround(id, d)
	}
	if old != nil {
		if anew {
			t.partRouter(old, d)
		}
		t.touchRouter(old, whole, d)
		delete(t.routers, id)
		delete(t.routerByKey, old.Key)
	}
	if r != nil {
		t.routers[id] = r
		t.routerByKey[r.Key] = r
		if anew {
			t.joinRouter(r, d)
		}
		t.touchRouter(r, whole, d)
	}
}

func (t *Topology) changeDevice(id model.GatewayDeviceID, dev *model.GatewayDevice, d Touched) {
	t.touchPlaced(id, d)
	if old := t.devices[id]; old != nil {
		t.touchDevice(old, d)
		delete(t.devices, id)
		t.devicesOfRouter.remove(old.RouterID(), id)
		t.devicesByTunnel.remove(old.TunnelIP, id)
	}
	if dev != nil {
		t.devices[id] = dev
		t.devicesOfRouter.add(dev.RouterID(), id, dev)
		t.devicesByTunnel.add(dev.TunnelIP, id, dev)
		t.touchDevice(dev, d)
	}
}

func (t *Topology) changePlacement(id model.GatewayDeviceID, p *model.Placement, d Touched) {
	dev := t.devices[id]
	if dev != nil {
		t.touchDevice(dev, d)
	}
	t.touchPlaced(id, d)
	if old := t.placements[id]; old != nil {
		delete(t.placements, id)
		for h := range old.Hosts {
			t.placedOnHost.remove(h, id)
		}
	}
	if p != nil {
		t.placements[id] = p
		for h := range p.Hosts {
			t.placedOnHost.add(h, id, p)
		}
	}
	t.touchPlaced(id, d)
	// What a device's rows are called does not depend on its place: touched above. Who may speak for routers
	// does.
	if dev != nil {
		t.touchSegmentsOf(id, d)
	}
}

func (t *Topology) changeEntry(id model.RemoteMACEntryID, e *model.RemoteMACEntry, d Touched) {
	if old := t.entries[id]; old != nil {
		t.touchEntry(old, d)
		delete(t.entries, id)
		seg := segment{old.DeviceID, old.VNI}
		t.entriesOfSegment.remove(seg, id)
		t.entriesByMAC.remove(segmentMAC{seg, old.MAC.MAC}, id)
		t.entriesByVTEP.remove(segmentVTEP{seg, old.VTEPAddress}, id)
	}
	if e != nil {
		t.entries[id] = e
		seg := segment{e.DeviceID, e.VNI}
		t.entriesOfSegment.add(seg, id, e)
		t.entriesByMAC.add(segmentMAC{seg, e.MAC.MAC}, id, e)
		t.entriesByVTEP.add(segmentVTEP{seg, e.VTEPAddress}, id, e)
		t.touchEntry(e, d)
	}
}

func (t *Topology) changeGateway(id model.L2GatewayID, g *model.L2Gateway, d Touched) {
	old := t.gateways[id]
	if old != nil && g != nil && old.DeviceID == g.DeviceID && old.VNI == g.VNI {
		t.gateways[id] = g
		t.gatewaysOfDevice.add(g.DeviceID, id, g)
		return
	}
	if old != nil {
		t.touchConnected(id, d)
		for _, c := range t.connsOfGateway[id] {
			t.touchConn(c, d)
			t.unlinkSegment(c)
		}
		delete(t.gateways, id)
		t.gatewaysOfDevice.remove(old.DeviceID, id)
	}
	if g != nil {
		t.gateways[id] = g
		t.gatewaysOfDevice.add(g.DeviceID, id, g)
		t.touchConnected(id, d)
	}
	for _, c := range t.connsOfGateway[id] {
		t.linkSegment(c)
		t.touchConn(c, d)
	}
}

func (t *Topology) changeConn(id model.L2GatewayConnectionID, c *model.L2GatewayConnection, d Touched) {
	if old := t.conns[id]; old != nil {
		t.touchConn(old, d)
		t.touchConnected(old.L2GatewayID, d)
		t.unlinkSegment(old)
		delete(t.conns, id)
		t.connsOfGateway.remove(old.L2GatewayID, id)
		t.connsOfNetwork.remove(old.NetworkID, id)
	}
	if c != nil {
		t.conns[id] = c
		t.connsOfGateway.add(c.L2GatewayID, id, c)
		t.connsOfNetwork.add(c.NetworkID, id, c)
		t.linkSegment(c)
		t.touchConn(c, d)
		t.touchConnected(c.L2GatewayID, d)
	}
}

// segmentOf is the VNI that a connection leads to: the gateway's own, or else the
// one given on the connection.
func (t *Topology) segmentOf(c *model.L2GatewayConnection) (segment, bool) {
	g := t.gateways[c.L2GatewayID]
	if g == nil {
		return segment{}, false
	}
	vni := g.VNI
	if vni == 0 {
		vni = c.VNI
	}
	return segment{g.DeviceID, vni}, vni != 0
}

func (t *Topology) linkSegment(c *model.L2GatewayConnection) {
	if seg, ok := t.segmentOf(c); ok {
		t.connsOfSegment.add(seg, c.ID, c)
	}
}

func (t *Topology) unlinkSegment(c *model.L2GatewayConnection) {
	if seg, ok := t.segmentOf(c); ok {
		t.connsOfSegment.remove(seg, c.ID)
	}
}
