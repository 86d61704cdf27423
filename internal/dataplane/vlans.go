package dataplane

import (
	"maps"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// LearnPerNetwork is how many addresses and MACs may be known at a time of what is on a
// network's VLANs.
const LearnPerNetwork = 4096

// learnerVLAN marks a network's key as an owner of learned rows.
const learnerVLAN = 1 << 31

func vlanLearner(net model.NetworkKey) model.PortKey { return hoststate.StationsPort(net) }

// vlanID names the counter of a VLAN: the interface's index, and the VLAN.
type vlanID struct{ ifindex, vlan uint32 }

func vlanIDOf(e bpfFdbEntry) vlanID { return vlanID{e.Ifindex, e.Vni} }

// vlans are the rows of all VLANs whose interface is there. There are few, so that they
// are always made anew.
func (t translator) vlans() map[bpfVlanKey]bpfFdbEntry {
	rows := make(map[bpfVlanKey]bpfFdbEntry, len(t.st.VLANs))
	for k, v := range t.st.VLANs {
		l, ok := t.env.Trunks[k.Interface]
		if !ok || l.Index <= 0 {
			continue
		}
		row := bpfFdbEntry{
			Kind: fdbVLAN, Drop: uint8(v.Drop), Id: uint32(v.Network), Ifindex: uint32(l.Index), Mtu: uint32(l.MTU),
			Vni: uint32(k.ID), Table: t.learnLimit(vlanLearner(v.Network)),
		}
		if t.serves(v.Network) {
			row.Flags = fdbServes
		}
		if l.MTU <= 0 {
			row.Mtu = uint32(t.st.Networks[v.Network].MTU)
		}
		row.Counter = t.counters.vlan(vlanIDOf(row))
		rows[bpfVlanKey{Ifindex: row.Ifindex, Vlan: row.Vni}] = row
	}
	return rows
}

// vlanPairs are the rows that tell routers what may be on VLANs.
func (t translator) vlanPairs() []bpfPairKey {
	var rows []bpfPairKey
	for k, v := range t.st.VLANs {
		if l, ok := t.env.Trunks[k.Interface]; !ok || l.Index <= 0 {
			continue
		}
		for _, p := range v.Prefixes {
			rows = append(rows, pairRow(pairNet, uint32(v.Network), model.MAC{}, p))
		}
	}
	return rows
}

// vlansTouched tells whether a delta may change rows of VLANs.
func (x *index) vlansTouched(d hoststate.Delta, t touched) bool {
	if len(d.Set.VLANs) > 0 || len(d.Unset.VLANs) > 0 {
		return true
	}
	if x.onFabric.ownStations(t) {
		return true // whom the VLANs serve
	}
	for net := range keysOf(d.Set.Networks, d.Unset.Networks) {
		if x.vlanNets[net] {
			return true // an interface without an MTU has the network's
		}
	}
	return false
}

// deltaVLANs plans all rows of VLANs, and has the lists of the networks concerned made
// anew.
func (t *tables) deltaVLANs(tr translator, x *index, p *plan, ports map[model.PortKey]bool, nets map[model.NetworkKey]bool) {
	p.vlans.put = tr.vlans()
	p.vlans.only(t.vlans)
	for _, row := range p.vlans.put {
		nets[model.NetworkKey(row.Id)] = true
	}
	for net := range x.vlanNets {
		nets[net] = true
	}
	for _, a := range tr.vlanPairs() {
		p.pairs.put[a] = 0
	}
	for a := range x.vlanPairs {
		if _, stays := p.pairs.put[a]; !stays && !x.paired(a, ports) && !tr.allowed.stays(a) {
			p.pairs.del = append(p.pairs.del, a)
		}
	}
}

// noteVLANs notes what the maps now have of VLANs, and returns the counters that lost
// theirs.
func (x *index) noteVLANs(tr translator) (left []vlanID) {
	old := maps.Clone(x.vlanIDs)
	x.vlanIDs, x.vlanNets, x.vlanPairs = map[vlanID]bool{}, map[model.NetworkKey]bool{}, map[bpfPairKey]bool{}
	for _, row := range tr.vlans() {
		x.vlanIDs[vlanIDOf(row)] = true
		x.vlanNets[model.NetworkKey(row.Id)] = true
	}
	for _, a := range tr.vlanPairs() {
		x.vlanPairs[a] = true
	}
	for id := range old {
		if !x.vlanIDs[id] {
			left = append(left, id)
		}
	}
	return left
}
