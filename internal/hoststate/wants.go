package hoststate

import (
	"slices"

	"github.com/causeway-net/causeway/internal/model"
)

// What changes what hosts want: see Wants. Hosts are touched by name where something of their own
// changes, and by a group that they have where something beside it does.

// touchWants touches who gets a network, or no longer does, by a port that is being linked, or
// has been unlinked: nobody, where another port does the same.
func (t *Topology) touchWants(p *port, d Touched) {
	for at := range p.places {
		if len(t.placedOfNetwork[networkHost{p.NetworkID, at.host}]) == 0 {
			d.hosts.add(at.host)
		}
	}
	id, ok := p.router()
	if !ok {
		return
	}
	for _, q := range t.ifacesOfRouter[id] {
		if q.NetworkID == p.NetworkID {
			return
		}
	}
	if r := t.routers[id]; r != nil {
		d.around.add(routerGroup(r.Key))
	}
	if n := t.networks[p.NetworkID]; n != nil {
		d.around.add(networkGroup(n.Key))
	}
}

// hosts are those of the port's places, in order.
func (p *port) hosts() (names [2]model.HostName) {
	i := 0
	for at := range p.places {
		names[i] = at.host
		i++
	}
	slices.Sort(names[:])
	return names
}

// wantsAs tells whether hosts want the same for both of a port's versions.
func (p *port) wantsAs(q *port) bool {
	r, isRouter := p.router()
	s, is := q.router()
	return p.NetworkID == q.NetworkID && p.hosts() == q.hosts() && isRouter == is && (!is || r == s)
}

// touchOn touches the hosts that have a port on a network.
func (t *Topology) touchOn(id model.NetworkID, d Touched) {
	for h := range t.hostsOfNetwork[id] {
		d.hosts.add(h)
	}
}

// touchReach touches who may get a network: its own hosts, and those who have a router or a
// gateway device that is on it.
func (t *Topology) touchReach(id model.NetworkID, d Touched) {
	t.touchOn(id, d)
	for _, p := range t.ifacesOfNetwork[id] {
		if r, _ := p.router(); t.routers[r] != nil {
			d.around.add(routerGroup(t.routers[r].Key))
		}
	}
	for _, c := range t.connsOfNetwork[id] {
		t.touchConnected(c.L2GatewayID, d)
	}
	if n := t.networks[id]; n != nil {
		d.around.add(networkGroup(n.Key))
	}
}

// touchAround touches who may get a router: who has a network that it is on, or a device of it.
func (t *Topology) touchAround(id model.RouterID, d Touched) {
	for _, p := range t.ifacesOfRouter[id] {
		if n := t.networks[p.NetworkID]; n != nil {
			d.around.add(networkGroup(n.Key))
		}
	}
	for dev := range t.devicesOfRouter[id] {
		t.touchPlaced(dev, d)
	}
	if r := t.routers[id]; r != nil {
		d.around.add(routerGroup(r.Key))
	}
}

// touchPlaced touches the hosts that a gateway device is placed on.
func (t *Topology) touchPlaced(id model.GatewayDeviceID, d Touched) {
	if p := t.placements[id]; p != nil {
		for h := range p.Hosts {
			d.hosts.add(h)
		}
	}
}

// touchConnected touches who may get the networks that an L2 gateway connects.
func (t *Topology) touchConnected(id model.L2GatewayID, d Touched) {
	g := t.gateways[id]
	if g == nil {
		return
	}
	t.touchPlaced(g.DeviceID, d)
	if dev := t.vlanDevices[g.DeviceID]; dev != nil {
		t.touchOn(dev.UplinkID(), d)
	}
}
