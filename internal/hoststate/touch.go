package hoststate

import (
	"github.com/causeway-net/causeway/internal/model"
)

// Touched names the rows, of whatever host, that changes of a Topology may have
// changed.
type Touched struct {
	ports     set[at[model.PortKey]]
	networks  set[at[model.NetworkKey]]
	routers   set[at[model.RouterKey]] // a router's row and all its routes
	fdb       set[at[FDBKey]]
	neighbors set[at[NeighborKey]]
	vnis      set[at[VNIKey]]
	peers     set[at[PeerKey]]
	gateways  set[at[model.GatewayDeviceID]]
	vlans     set[at[VLANKey]]
	siteHosts set[at[model.HostName]]
	members   set[at[MemberKey]]
	speakers  set[at[SpeakerKey]]
	hostPairs set[at[HostPairKey]]
	serving   set[model.NetworkID] // by whom their stations are reached may have changed

	// What hosts want may have changed: of these, and of those that have these groups.
	hosts  set[model.HostName]
	around set[Group]
}

type set[K comparable] map[K]struct{}

func (s set[K]) add(k K) { s[k] = struct{}{} }

func newTouched() Touched {
	d := Touched{hosts: set[model.HostName]{}, around: set[Group]{}, serving: set[model.NetworkID]{}}
	for _, t := range tables {
		t.resetTouched(&d)
	}
	return d
}

// Empty tells whether no row can have changed, nor what a host wants.
func (d Touched) Empty() bool {
	for _, t := range tables {
		if t.touchedRows(&d) > 0 {
			return false
		}
	}
	return len(d.hosts)+len(d.around) == 0
}

// touchPort touches all that depends on a port, and the ports that contend with it
// for an interface.
func (t *Topology) touchPort(p *port, d Touched) {
	t.touchPortRows(p, d)
	for at := range p.places {
		for _, q := range t.portsByPlace[at] {
			if q != p {
				t.touchPortRows(q, d)
			}
		}
	}
}

func (t *Topology) touchPortRows(p *port, d Touched) {
	d.ports.add(p.at())
	if n := t.networks[p.NetworkID]; n != nil {
		d.fdb.add(inGroup(FDBKey{n.Key, p.MAC.MAC}))
		for _, a := range p.FixedIPs {
			d.neighbors.add(inGroup(NeighborKey{n.Key, a.IP}))
		}
	}
	if id, ok := p.router(); ok {
		t.touchRoutes(id, d)
	}
	t.touchKept(p, d)
	for at := range p.places {
		d.ports.add(p.on(at.host))
		t.touchMember(p.NetworkID, at.host, d)
		t.touchTrunk(p.NetworkID, at.host, d)
		for _, k := range t.hostPairKeys(p, at.host) {
			d.hostPairs.add(inGroup(k))
		}
	}
}

// touchKept touches what ports that nothing is behind keep for a port's pairs.
func (t *Topology) touchKept(p *port, d Touched) {
	n := t.networks[p.NetworkID]
	if n == nil || len(p.pairs) == 0 {
		return
	}
	for q := range t.unboundOfNetwork[p.NetworkID] {
		for _, a := range p.pairs {
			if a.MAC == q.MAC.MAC {
				d.fdb.add(inGroup(FDBKey{n.Key, a.MAC}))
			}
			for _, f := range q.FixedIPs {
				if a.Prefix.Contains(f.IP) {
					d.neighbors.add(inGroup(NeighborKey{n.Key, f.IP}))
				}
			}
		}
	}
}

// touchRoutes touches what follows from a router's interfaces and routes.
func (t *Topology) touchRoutes(id model.RouterID, d Touched) {
	if r := t.routers[id]; r != nil {
		d.routers.add(ofRouter(r.Key))
	}
	for dev := range t.devicesOfRouter[id] {
		d.gateways.add(ofDevice(dev))
	}
}

// touchRouter touches a router; whole: what others make of it too.
func (t *Topology) touchRouter(r *model.Router, whole bool, d Touched) {
	d.routers.add(ofRouter(r.Key))
	t.touchRoutes(r.ID, d)
	if !whole {
		return
	}
	for _, p := range t.ifacesOfRouter[r.ID] {
		if n := t.networks[p.NetworkID]; n != nil {
			d.fdb.add(inGroup(FDBKey{n.Key, p.MAC.MAC}))
		}
	}
	for _, dev := range t.devicesOfRouter[r.ID] {
		t.touchDevice(dev, d)
	}
}

// touchSubnet touches what is made of a subnet's range.
func (t *Topology) touchSubnet(s *model.Subnet, d Touched) {
	t.touchInterfaces(s.NetworkID, d)
	for _, c := range t.connsOfNetwork[s.NetworkID] {
		t.touchConn(c, d)
	}
}

// touchInterfaces touches the routers that have an interface on a network.
func (t *Topology) touchInterfaces(id model.NetworkID, d Touched) {
	for _, p := range t.ifacesOfNetwork[id] {
		r, _ := p.router()
		t.touchRoutes(r, d)
	}
}

// touchNetwork touches all that is on a network.
func (t *Topology) touchNetwork(id model.NetworkID, d Touched) {
	for p := range t.portsOfNetwork[id] {
		t.touchPortRows(p, d)
	}
	for _, c := range t.connsOfNetwork[id] {
		t.touchConn(c, d)
	}
	t.touchUplink(id, d)
}

// touchConn touches all that a connection's segment brings to networks. Another
// connection of the same segment may take its place.
func (t *Topology) touchConn(c *model.L2GatewayConnection, d Touched) {
	if seg, ok := t.segmentOf(c); ok {
		t.touchSegment(seg, d)
	}
}

// touchRemote touches the FDB entries of a network's remote-site ports.
func (t *Topology) touchRemote(id model.NetworkID, d Touched) {
	if n := t.networks[id]; n != nil {
		for _, p := range t.remoteOfNetwork[id] {
			d.fdb.add(inGroup(FDBKey{n.Key, p.MAC.MAC}))
		}
	}
}

func (t *Topology) touchSegment(seg segment, d Touched) {
	t.touchVLAN(seg, d)
	t.touchSegmentHost(seg, d)
	dev := t.devices[seg.device]
	if dev != nil {
		d.vnis.add(at[VNIKey]{deviceGroup(dev.ID), VNIKey{dev.TunnelIP, seg.vni}})
	}
	for _, e := range t.entriesOfSegment[seg] {
		t.touchEntry(e, d)
	}
	for _, c := range t.connsOfSegment[seg] {
		t.touchRemote(c.NetworkID, d)
	}
}

func (t *Topology) touchEntry(e *model.RemoteMACEntry, d Touched) {
	seg := segment{e.DeviceID, e.VNI}
	for _, c := range t.connsOfSegment[seg] {
		if n := t.networks[c.NetworkID]; n != nil {
			d.fdb.add(inGroup(FDBKey{n.Key, e.MAC.MAC}))
		}
	}
	if dev := t.devices[e.DeviceID]; dev != nil {
		d.peers.add(at[PeerKey]{deviceGroup(dev.ID), PeerKey{TunnelIP: dev.TunnelIP, Remote: e.VTEPAddress, VNI: e.VNI}})
	}
}

// touchDevice touches a device and the devices that contend with it for its
// tunnel IP.
func (t *Topology) touchDevice(dev *model.GatewayDevice, d Touched) {
	d.gateways.add(ofDevice(dev.ID))
	t.touchSegmentsOf(dev.ID, d)
	for id := range t.devicesByTunnel[dev.TunnelIP] {
		if id != dev.ID {
			d.gateways.add(ofDevice(id))
			t.touchSegmentsOf(id, d)
		}
	}
}

func (t *Topology) touchSegmentsOf(id model.GatewayDeviceID, d Touched) {
	for gw := range t.gatewaysOfDevice[id] {
		for _, c := range t.connsOfGateway[gw] {
			t.touchConn(c, d)
		}
	}
}
