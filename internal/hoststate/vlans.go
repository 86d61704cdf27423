package hoststate

import (
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// Gateway devices of type network_vlan: an L2 gateway connection puts its network on a
// VLAN of the interface by which the host is on the device's uplink network.

// networkVLAN is dev if it is of that type.
func networkVLAN(dev *model.GatewayDevice) *model.GatewayDevice {
	if dev == nil || dev.Type != model.NetworkVLAN {
		return nil
	}
	return dev
}

func (t *Topology) changeVLANDevice(id model.GatewayDeviceID, dev *model.GatewayDevice, d Touched) {
	if old := t.vlanDevices[id]; old != nil {
		t.touchUplink(old.UplinkID(), d)
		delete(t.vlanDevices, id)
		t.devicesOfUplink.remove(old.UplinkID(), id)
	}
	if dev != nil {
		t.vlanDevices[id] = dev
		t.devicesOfUplink.add(dev.UplinkID(), id, dev)
		t.touchUplink(dev.UplinkID(), d)
	}
}

// touchUplink touches the VLANs of an uplink network.
func (t *Topology) touchUplink(id model.NetworkID, d Touched) {
	for dev := range t.devicesOfUplink[id] {
		t.touchSegmentsOf(dev, d)
	}
}

// touchVLAN touches what a VLAN's segment brings.
func (t *Topology) touchVLAN(seg segment, d Touched) {
	for k := range t.vlanKeys(seg) {
		d.vlans.add(k)
	}
	for _, c := range t.connsOfSegment[seg] {
		n := t.networks[c.NetworkID]
		if n == nil {
			continue
		}
		for _, p := range t.unboundOfNetwork[c.NetworkID] {
			d.fdb.add(FDBKey{n.Key, p.MAC.MAC})
			for _, a := range p.FixedIPs {
				d.neighbors.add(NeighborKey{n.Key, a.IP})
			}
		}
	}
}

// vlanKeys are the rows that a segment may have on any host.
func (t *Topology) vlanKeys(seg segment) set[VLANKey] {
	dev := t.vlanDevices[seg.device]
	if dev == nil || seg.vni > model.MaxVLAN {
		return nil
	}
	keys := set[VLANKey]{}
	for _, p := range t.portsOfNetwork[dev.UplinkID()] {
		if at, ok := p.place(); ok {
			keys.add(VLANKey{at.iface, uint16(seg.vni)})
		}
	}
	return keys
}

// trunk is the port by which this host is on an uplink network: of several, the first.
func (v view) trunk(id model.NetworkID) *port {
	n := v.t.networks[id]
	if n == nil || n.Type != model.NetworkUplink {
		return nil
	}
	var first *port
	for _, p := range v.t.portsOfNetwork[id] {
		if v.boundHere(p) && (first == nil || p.ID < first.ID) {
			first = p
		}
	}
	return first
}

// trunkOf is the port that carries a device's VLANs here. Of several devices on one
// uplink network, it is the first one's.
func (v view) trunkOf(id model.GatewayDeviceID) *port {
	dev := v.t.vlanDevices[id]
	if dev == nil || least(v.t.devicesOfUplink[dev.UplinkID()]) != dev {
		return nil
	}
	return v.trunk(dev.UplinkID())
}

func (v view) vlan(k VLANKey) (VLAN, bool) {
	ports := v.t.portsByPlace[place{v.host, k.Interface}]
	if len(ports) == 0 {
		return VLAN{}, false
	}
	p := ports[0]
	dev := least(v.t.devicesOfUplink[p.NetworkID])
	if dev == nil || v.trunkOf(dev.ID) != p {
		return VLAN{}, false
	}
	n := v.connected(segment{dev.ID, model.VNI(k.ID)})
	if n == nil {
		return VLAN{}, false
	}
	row := VLAN{Network: n.Key, Gateway: dev.ID, Port: p.ID, Drop: down(p, v.t.networks[p.NetworkID])}
	if row.Drop == reason.None {
		row.Drop = down(nil, n)
	}
	for _, s := range v.t.subnetsOfNetwork[n.ID] {
		row.Prefixes = append(row.Prefixes, s.CIDR.Masked())
	}
	slices.SortFunc(row.Prefixes, netip.Prefix.Compare)
	row.Prefixes = slices.Compact(row.Prefixes)
	return row, true
}

// trunked tells whether the network is on a VLAN here. Then whoever is not known may be
// there, and no port keeps an address or a MAC for itself that nothing is behind.
func (v view) trunked(id model.NetworkID) bool {
	for _, c := range v.t.connsOfNetwork[id] {
		seg, ok := v.t.segmentOf(c)
		if ok && seg.vni <= model.MaxVLAN && least(v.t.connsOfSegment[seg]) == c && v.trunkOf(seg.device) != nil {
			return true
		}
	}
	return false
}
