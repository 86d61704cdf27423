package hoststate

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// The fabric carries frames between the hosts of a site: Hosts says where they are, Members who
// takes the flooded frames of a network, and Speakers from whom frames of a router may come.

func hostAt(h model.HostName) at[model.HostName] { return at[model.HostName]{siteGroup, h} }

// changeHost takes in a host's end of the fabric. What else changes of a host is nothing to the rows.
func (t *Topology) changeHost(name model.HostName, h *model.Host, d Touched) {
	var now Host
	if h != nil && h.Fabric.On() {
		now = Host{Addr: h.Fabric.Addr, Port: h.Fabric.Port, MTU: h.Fabric.MTU}
	}
	if t.fabric[name] == now {
		return
	}
	d.siteHosts.add(hostAt(name))
	t.touchServing(name, d)
	if now == (Host{}) {
		delete(t.fabric, name)
		return
	}
	t.fabric[name] = now
}

// touchServing has the networks whose VLANs a host may have find who serves them anew.
func (t *Topology) touchServing(host model.HostName, d Touched) {
	for uplink := range t.networksOfHost[host] {
		for dev := range t.devicesOfUplink[uplink] {
			for gw := range t.gatewaysOfDevice[dev] {
				for _, c := range t.connsOfGateway[gw] {
					d.serving.add(c.NetworkID)
				}
			}
		}
	}
}

// touchMember touches whether a host is on a network.
func (t *Topology) touchMember(id model.NetworkID, host model.HostName, d Touched) {
	if n := t.networks[id]; n != nil {
		d.members.add(inGroup(MemberKey{n.Key, host}))
	}
	t.touchSpeaker(id, host, d)
}

// touchSpeaker touches whether a host may speak for the routers of a network's domain.
func (t *Topology) touchSpeaker(id model.NetworkID, host model.HostName, d Touched) {
	if x := t.domains.ofNetwork[id]; x != nil {
		d.speakers.add(inGroup(SpeakerKey{x.name, host}))
	}
}

// touchSegmentHost touches whether the hosts that serve a segment may speak for the routers of its networks.
func (t *Topology) touchSegmentHost(seg segment, d Touched) {
	p := t.placements[seg.device]
	if p == nil {
		return
	}
	for _, c := range t.connsOfSegment[seg] {
		for h := range p.Hosts {
			t.touchSpeaker(c.NetworkID, h, d)
		}
	}
}

// touchFabric touches all rows of the fabric.
func (t *Topology) touchFabric(d Touched) {
	for name := range t.fabric {
		d.siteHosts.add(hostAt(name))
	}
	for id := range t.networks {
		for h := range t.hostsOn(id) {
			t.touchMember(id, h, d)
		}
	}
}

func (v view) host(k at[model.HostName]) (Host, bool) {
	h, ok := v.t.fabric[k.key]
	return h, ok
}

func (v view) member(k at[MemberKey]) (Member, bool) {
	n := v.t.networkByKey[k.key.Network]
	return Member{}, overlay(n) && (v.hasPorts(n, k.key.Host) || v.servesStations(n, k.key.Host))
}

// stationsHost is the host that others without a VLAN of the network reach its stations by: of those on the fabric that have
// one the first by name; "": none has.
func (v view) stationsHost(n *model.Network) model.HostName { return v.t.stationsHosts[n.ID] }

func (v view) servesStations(n *model.Network, host model.HostName) bool {
	return host != "" && v.stationsHost(n) == host
}

// elect finds the host that serves a network's stations anew, once for all changes that may have led to another, and touches
// what follows from it.
func (t *Topology) elect(id model.NetworkID, d Touched) {
	n, first := t.networks[id], model.HostName("")
	if overlay(n) {
		for uplink := range t.uplinksOf(id) {
			for h := range t.hostsOfNetwork[uplink] {
				if _, on := t.fabric[h]; on && (first == "" || h < first) && (view{t}).hasVLAN(n, h) {
					first = h
				}
			}
		}
	}
	was := t.stationsHosts[id]
	if was == first {
		return
	}
	if t.stationsHosts[id] = first; first == "" {
		delete(t.stationsHosts, id)
	}
	for _, h := range []model.HostName{was, first} {
		if n != nil && h != "" {
			t.touchStations(n, h, d)
			t.touchMember(id, h, d)
		}
	}
}

// uplinksOf are the uplink networks with whose VLANs a network is connected, some of them twice.
func (t *Topology) uplinksOf(id model.NetworkID) func(yield func(model.NetworkID) bool) {
	return func(yield func(model.NetworkID) bool) {
		for _, c := range t.connsOfNetwork[id] {
			seg, ok := t.segmentOf(c)
			if dev := t.vlanDevices[seg.device]; ok && dev != nil && !yield(dev.UplinkID()) {
				return
			}
		}
	}
}

// stations is a row of HostPairs for who is on a host's VLAN.
func (v view) stations(n *model.Network, k HostPairKey) (pair HostPair, ok bool) {
	if !v.hasVLAN(n, k.Host) {
		return pair, false
	}
	serves := v.servesStations(n, k.Host)
	if serves {
		pair.Port = StationsPort(n.Key)
	}
	if !k.Prefix.IsValid() {
		return pair, true
	}
	for _, s := range v.t.subnetsOfNetwork[n.ID] {
		if serves && s.CIDR.Masked() == k.Prefix {
			return pair, true
		}
	}
	return pair, false
}

// touchStations touches what follows from whether a host has a VLAN of a network, and whether it serves others.
func (t *Topology) touchStations(n *model.Network, host model.HostName, d Touched) {
	d.fdb.add(inGroup(FDBKey{Network: n.Key}))
	d.hostPairs.add(inGroup(StationsKey(n.Key, host)))
	for _, s := range t.subnetsOfNetwork[n.ID] {
		d.hostPairs.add(inGroup(HostPairKey{Network: n.Key, Host: host, Prefix: s.CIDR.Masked()}))
	}
}

// hasPorts tells whether a network has ports at a host that take its frames.
func (v view) hasPorts(n *model.Network, host model.HostName) bool {
	for _, p := range v.t.placedOfNetwork[networkHost{n.ID, host}] {
		if _, isRouter := p.router(); !isRouter && p.AdminStateUp && n.AdminStateUp && v.boundAt(p, host) {
			return true
		}
	}
	return false
}

// hostPairKeys are the rows that say what a host that has a port may send from for it.
func (t *Topology) hostPairKeys(p *port, host model.HostName) []HostPairKey {
	n := t.networks[p.NetworkID]
	if _, isRouter := p.router(); isRouter || !overlay(n) {
		return nil
	}
	if !p.PortSecurity {
		return []HostPairKey{{n.Key, host, p.MAC.MAC, anyIPv4}}
	}
	keys := make([]HostPairKey, 0, 2*len(p.pairs))
	for _, a := range p.pairs {
		keys = append(keys, HostPairKey{n.Key, host, a.MAC, a.Prefix})
		if a.MAC != p.MAC.MAC {
			keys = append(keys, HostPairKey{Network: n.Key, Host: host, MAC: a.MAC})
		}
	}
	return keys
}

// anyIPv4 is what a port without port security may send from.
var anyIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// compareHolders orders ports that have the same pair. Nothing reaches one that is down, so others come first; of
// those, one that others may learn of comes before one of which nothing is learned.
func compareHolders(a, b *port, n *model.Network) int {
	rank := func(p *port) (r int) {
		if down(p, n) != reason.None {
			r += 2
		}
		if !p.PortSecurity {
			r++
		}
		return r
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.ID, b.ID))
}

func (v view) hostPair(at at[HostPairKey]) (pair HostPair, ok bool) {
	k := at.key
	n := v.t.networkByKey[k.Network]
	if !overlay(n) {
		return pair, false
	}
	if k.Stations() {
		return v.stations(n, k)
	}
	var first *port
	for _, p := range v.t.placedOfNetwork[networkHost{n.ID, k.Host}] {
		if (first == nil || compareHolders(p, first, n) < 0) && v.boundAt(p, k.Host) && slices.Contains(v.t.hostPairKeys(p, k.Host), k) {
			first = p
		}
	}
	if first == nil {
		return pair, false
	}
	if first.PortSecurity {
		pair.Port = first.Key
	}
	pair.MAC = first.MAC.MAC
	return pair, true
}

// hasVLAN tells whether a network is on a VLAN at a host.
func (v view) hasVLAN(n *model.Network, host model.HostName) bool {
	for _, c := range v.t.connsOfNetwork[n.ID] {
		seg, ok := v.t.segmentOf(c)
		dev := v.t.vlanDevices[seg.device]
		if !ok || dev == nil || seg.vni > model.MaxVLAN {
			continue
		}
		p := v.trunk(dev.UplinkID(), host)
		if p == nil {
			continue
		}
		row, ok := v.vlan(at[VLANKey]{hostGroup(host), VLANKey{p.iface, uint16(seg.vni)}})
		if ok && row.Network == n.Key && row.Drop == reason.None {
			return true
		}
	}
	return false
}

func (v view) speaker(k at[SpeakerKey]) (Speaker, bool) {
	x := v.t.domains.byName[k.key.Domain]
	if x == nil {
		return Speaker{}, false
	}
	for id := range v.t.whereNear(x, k.key.Host) {
		if v.t.domains.ofNetwork[id] == x && v.enters(id, k.key.Host) {
			return Speaker{}, true
		}
	}
	return Speaker{}, false
}

// whereNear goes through all networks of a domain that are near a host, and others: through those near
// the host if they are fewer than the domain's, else through the domain's. It costs at most twice
// the fewer.
func (t *Topology) whereNear(x *domain, host model.HostName) func(yield func(model.NetworkID) bool) {
	return func(yield func(model.NetworkID) bool) {
		near := 0
		for id := range t.nearNetworks(host) {
			if near++; near > len(x.networks) {
				break
			}
			if !yield(id) {
				return
			}
		}
		if near <= len(x.networks) {
			return
		}
		for id := range x.networks {
			if !yield(id) {
				return
			}
		}
	}
}

// enters tells whether packets of a network may come in at a host: by a port, a VLAN or a gateway
// device.
func (v view) enters(id model.NetworkID, host model.HostName) bool {
	n := v.t.networks[id]
	if !overlay(n) {
		return false
	}
	if v.hasPorts(n, host) || v.hasVLAN(n, host) {
		return true
	}
	for _, c := range v.t.connsOfNetwork[id] {
		seg, ok := v.t.segmentOf(c)
		if !ok {
			continue
		}
		if p := v.t.placements[seg.device]; p != nil && (p.Host == host || p.Other == host) && v.served(seg.device) != nil && v.connected(seg) == n {
			return true
		}
	}
	return false
}

// nearNetworks are the networks that a host's own ports, VLANs and gateway devices are on, some of them
// twice. Each device and gateway without any counts as "", so that who stops after n has not gone
// through much more.
func (t *Topology) nearNetworks(host model.HostName) func(yield func(model.NetworkID) bool) {
	return func(yield func(model.NetworkID) bool) {
		connected := func(dev model.GatewayDeviceID) bool {
			if len(t.gatewaysOfDevice[dev]) == 0 {
				return yield("")
			}
			for gw := range t.gatewaysOfDevice[dev] {
				if len(t.connsOfGateway[gw]) == 0 && !yield("") {
					return false
				}
				for _, c := range t.connsOfGateway[gw] {
					if !yield(c.NetworkID) {
						return false
					}
				}
			}
			return true
		}
		for id := range t.networksOfHost[host] {
			if !yield(id) {
				return
			}
			for dev := range t.devicesOfUplink[id] {
				if !connected(dev) {
					return
				}
			}
		}
		for id := range t.placedOnHost[host] {
			if t.devices[id] != nil && !connected(id) {
				return
			}
		}
	}
}
