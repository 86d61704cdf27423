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

// routerVTEP is dev if it is of that type. A hw_vtep is no device of any host: it
// forwards by itself.
func routerVTEP(dev *model.GatewayDevice) *model.GatewayDevice {
	if dev == nil || dev.Type != model.RouterVTEP {
		return nil
	}
	return dev
}

func (t *Topology) changeVLANDevice(id model.GatewayDeviceID, dev *model.GatewayDevice, d Touched) {
	if old := t.vlanDevices[id]; old != nil {
		t.touchUplink(old.UplinkID(), d)
		t.touchOn(old.UplinkID(), d)
		delete(t.vlanDevices, id)
		t.devicesOfUplink.remove(old.UplinkID(), id)
	}
	if dev != nil {
		t.vlanDevices[id] = dev
		t.devicesOfUplink.add(dev.UplinkID(), id, dev)
		t.touchUplink(dev.UplinkID(), d)
		t.touchOn(dev.UplinkID(), d)
	}
}

// touchUplink touches the VLANs of an uplink network.
func (t *Topology) touchUplink(id model.NetworkID, d Touched) {
	for dev := range t.devicesOfUplink[id] {
		t.touchSegmentsOf(dev, d)
	}
}

// touchTrunk touches the VLANs of an uplink network on one host.
func (t *Topology) touchTrunk(id model.NetworkID, host model.HostName, d Touched) {
	for dev := range t.devicesOfUplink[id] {
		for gw := range t.gatewaysOfDevice[dev] {
			for _, c := range t.connsOfGateway[gw] {
				if seg, ok := t.segmentOf(c); ok {
					t.addVLANKeys(seg, id, host, d.vlans)
					t.touchTrunked(seg, d)
					for _, c := range t.connsOfSegment[seg] {
						t.touchMember(c.NetworkID, host, d)
						if n := t.networks[c.NetworkID]; n != nil {
							t.touchStations(n, host, d)
						}
						d.serving.add(c.NetworkID)
					}
				}
			}
		}
	}
}

// touchVLAN touches what a VLAN's segment brings.
func (t *Topology) touchVLAN(seg segment, d Touched) {
	for k := range t.vlanKeys(seg) {
		d.vlans.add(k)
	}
	if dev := t.vlanDevices[seg.device]; dev != nil {
		t.touchTrunked(seg, d)
		for _, c := range t.connsOfSegment[seg] {
			d.serving.add(c.NetworkID)
			for h := range t.hostsOfNetwork[dev.UplinkID()] {
				t.touchMember(c.NetworkID, h, d)
				if n := t.networks[c.NetworkID]; n != nil {
					t.touchStations(n, h, d)
				}
			}
		}
	}
}

// touchTrunked touches what depends on whether a network is on a VLAN.
func (t *Topology) touchTrunked(seg segment, d Touched) {
	for _, c := range t.connsOfSegment[seg] {
		n := t.networks[c.NetworkID]
		if n == nil {
			continue
		}
		for p := range t.unboundOfNetwork[c.NetworkID] {
			d.fdb.add(inGroup(FDBKey{n.Key, p.MAC.MAC}))
			for _, a := range p.FixedIPs {
				d.neighbors.add(inGroup(NeighborKey{n.Key, a.IP}))
			}
		}
	}
}

// vlanKeys are the rows that a segment may have.
func (t *Topology) vlanKeys(seg segment) set[at[VLANKey]] {
	dev := t.vlanDevices[seg.device]
	if dev == nil || seg.vni > model.MaxVLAN {
		return nil
	}
	keys := set[at[VLANKey]]{}
	for host := range t.hostsOfNetwork[dev.UplinkID()] {
		t.addVLANKeys(seg, dev.UplinkID(), host, keys)
	}
	return keys
}

// addVLANKeys adds those of one host.
func (t *Topology) addVLANKeys(seg segment, uplink model.NetworkID, host model.HostName, keys set[at[VLANKey]]) {
	if seg.vni > model.MaxVLAN {
		return
	}
	for _, p := range t.placedOfNetwork[networkHost{uplink, host}] {
		keys.add(at[VLANKey]{hostGroup(host), VLANKey{p.iface, uint16(seg.vni)}})
	}
}

// trunk is the port by which a host is on an uplink network: of several, the first.
func (v view) trunk(id model.NetworkID, host model.HostName) *port {
	n := v.t.networks[id]
	if n == nil || n.Type != model.NetworkUplink {
		return nil
	}
	var first *port
	for _, p := range v.t.placedOfNetwork[networkHost{id, host}] {
		if p.HostID == host && v.bound(p) && (first == nil || p.ID < first.ID) {
			first = p
		}
	}
	return first
}

// carries tells whether a device has VLANs: of several on one uplink network, it is the first
// alone.
func (v view) carries(id model.GatewayDeviceID) bool {
	dev := v.t.vlanDevices[id]
	return dev != nil && least(v.t.devicesOfUplink[dev.UplinkID()]) == dev
}

func (v view) vlan(at at[VLANKey]) (VLAN, bool) {
	k, host := at.key, model.HostName(at.in.Name)
	ports := v.t.portsByPlace[place{host, k.Interface}]
	if len(ports) == 0 {
		return VLAN{}, false
	}
	p := ports[0]
	dev := least(v.t.devicesOfUplink[p.NetworkID])
	if dev == nil || v.trunk(p.NetworkID, host) != p {
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

// trunked tells whether the network is on a VLAN of any host. Then whoever is not known may be
// there, and no port keeps an address or a MAC for itself that nothing is behind.
func (v view) trunked(id model.NetworkID) bool {
	for _, c := range v.t.connsOfNetwork[id] {
		seg, ok := v.t.segmentOf(c)
		if !ok || seg.vni > model.MaxVLAN || least(v.t.connsOfSegment[seg]) != c || !v.carries(seg.device) {
			continue
		}
		uplink := v.t.vlanDevices[seg.device].UplinkID()
		for host := range v.t.hostsOfNetwork[uplink] {
			if v.trunk(uplink, host) != nil {
				return true
			}
		}
	}
	return false
}
