package hoststate

import (
	"github.com/causeway-net/causeway/internal/model"
)

// A switch (a gateway device of type hw_vtep) reports the MACs behind its ports. On
// a network that is also on a VTEP router of this site, with the same VNI, each is
// as good as a row of that device's remote MAC table: the topology makes such
// entries, with ids after all others, so that a row that somebody wrote comes
// first, and a MAC that a switch reports before one that a switch has forgotten.

// changeSwitch takes in a gateway device as a switch, nil where it is none.
func (t *Topology) changeSwitch(id model.GatewayDeviceID, dev *model.GatewayDevice) {
	if dev != nil && dev.Type == model.HWVTEP {
		t.switches[id] = dev
		return
	}
	delete(t.switches, id)
}

func (t *Topology) changeLearned(id model.L2GatewayConnectionID, l *model.LearnedMACs) {
	if l != nil {
		t.learned[id] = l
		return
	}
	delete(t.learned, id)
}

// learnedNetworks are the networks whose learned entries a change may concern; it
// is called before and after it.
func (t *Topology) learnedNetworks(o any, into set[model.NetworkID]) {
	if len(t.learned) == 0 && len(t.made) == 0 {
		if _, first := o.(*model.LearnedMACs); !first {
			return
		}
	}
	gateway := func(id model.L2GatewayID) {
		for _, c := range t.connsOfGateway[id] {
			into.add(c.NetworkID)
		}
	}
	switch o := o.(type) {
	case *model.LearnedMACs:
		if c := t.conns[o.ConnectionID]; c != nil {
			into.add(c.NetworkID)
		}
	case *model.L2GatewayConnection:
		into.add(o.NetworkID)
		if old := t.conns[o.ID]; old != nil {
			into.add(old.NetworkID)
		}
	case *model.L2Gateway:
		gateway(o.ID)
	case *model.GatewayDevice:
		for id := range t.gatewaysOfDevice[o.ID] {
			gateway(id)
		}
	}
}

// relearn makes a network's entries anew, and changes those that differ.
func (t *Topology) relearn(id model.NetworkID, d Touched) {
	now := t.learnedEntries(id)
	for eid, e := range t.made[id] {
		if n := now[eid]; n == nil || *n != *e {
			t.changeEntry(eid, nil, d)
		}
	}
	for eid, e := range now {
		if old := t.made[id][eid]; old == nil || *old != *e {
			t.changeEntry(eid, e, d)
		}
	}
	if len(now) == 0 {
		delete(t.made, id)
		return
	}
	t.made[id] = now
}

func (t *Topology) learnedEntries(id model.NetworkID) map[model.RemoteMACEntryID]*model.RemoteMACEntry {
	out := map[model.RemoteMACEntryID]*model.RemoteMACEntry{}
	for _, c := range t.connsOfNetwork[id] {
		at, ok := t.segmentOf(c)
		sw, l := t.switches[at.device], t.learned[c.ID]
		if !ok || sw == nil || l == nil {
			continue
		}
		for _, other := range t.connsOfNetwork[id] {
			seg, ok := t.segmentOf(other)
			if !ok || seg.vni != at.vni || t.devices[seg.device] == nil {
				continue
			}
			add := func(rank string, macs []model.MAC) {
				for _, m := range macs {
					eid := model.RemoteMACEntryID(rank + string(c.ID) + "/" + string(other.ID) + "/" + m.String())
					out[eid] = &model.RemoteMACEntry{
						ID: eid, DeviceID: seg.device, MAC: model.NamedMAC{MAC: m}, VTEPAddress: sw.TunnelIP, VNI: seg.vni,
					}
				}
			}
			add("~0/", l.MACs) // after every UUID
			add("~1/", l.Silent)
		}
	}
	return out
}
