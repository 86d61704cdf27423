package hoststate

import (
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

// TestDeviceMoves: while a gateway device moves, hosts are at one stage or the next. Whatever a host knows, it takes frames
// of the device's remote MACs from each host that may have the device at the stage of another, and sends them to one that has it.
func TestDeviceMoves(t *testing.T) {
	c := newChapter()
	c.vm.HostID = "third"
	stages := []model.Placement{
		{DeviceID: "dev", Host: "old", Epoch: 1},
		{DeviceID: "dev", Host: "old", Other: "new", Stage: model.MoveAccept, Epoch: 2},
		{DeviceID: "dev", Host: "old", Other: "new", Stage: model.MoveBoth, Epoch: 2},
		{DeviceID: "dev", Host: "new", Other: "old", Stage: model.MoveSwitched, Epoch: 3},
		{DeviceID: "dev", Host: "new", Other: "old", Stage: model.MoveLeft, Epoch: 3},
		{DeviceID: "dev", Host: "new", Epoch: 3},
		// On again, and turned back.
		{DeviceID: "dev", Host: "new", Other: "old", Stage: model.MoveAccept, Epoch: 4},
		{DeviceID: "dev", Host: "new", Other: "old", Stage: model.MoveBoth, Epoch: 4},
		{DeviceID: "dev", Host: "new", Other: "old", Stage: model.MoveSwitched, Epoch: 5},
		{DeviceID: "dev", Host: "new", Other: "old", Stage: model.MoveLeft, Epoch: 5},
		{DeviceID: "dev", Host: "new", Epoch: 5},
	}
	topology := NewTopology()
	for _, o := range []any{c.tenant, c.multi, c.tenantSubnet, c.multiSubnet, c.vm, c.gatewayPort, c.peerPort, c.remotePort, c.router, c.vtep, c.device, c.entry, c.gateway, c.conn} {
		topology.Apply(Change{New: o})
	}
	type seen struct {
		entry FDBEntry
		has   map[model.HostName]bool
		speak map[model.HostName]bool
	}
	var at []seen
	for i := range stages {
		topology.Apply(Change{New: &stages[i]})
		s := seen{has: map[model.HostName]bool{}, speak: map[model.HostName]bool{}}
		third := Compile(topology, "third")
		s.entry = third.FDB[FDBKey{c.multi.Key, mac2}]
		for k := range third.Speakers {
			s.speak[k.Host] = true
		}
		for _, h := range []model.HostName{"old", "new"} {
			st := Compile(topology, h)
			_, s.has[h] = st.Gateways["dev"]
			if s.has[h] != (len(st.Peers) == 1) || s.has[h] && st.FDB[FDBKey{c.multi.Key, mac2}] != s.entry {
				t.Errorf("stage %d: host %s has %v, %v, %+v", i, h, st.Gateways, st.Peers, st.FDB)
			}
		}
		at = append(at, s)
	}
	for i := 1; i < len(at); i++ {
		for _, pair := range [][2]seen{{at[i-1], at[i]}, {at[i], at[i-1]}} {
			knows, other := pair[0], pair[1]
			if !knows.has[knows.entry.Host] || !other.has[knows.entry.Host] {
				t.Errorf("stages %d and %d: frames go to host %s, which has not got the device at one of them", i-1, i, knows.entry.Host)
			}
			for h, has := range other.has {
				if has && h != knows.entry.Host && h != knows.entry.Also {
					t.Errorf("stages %d and %d: frames are taken from %s and %q, and come from %s", i-1, i, knows.entry.Host, knows.entry.Also, h)
				}
				if has && !knows.speak[h] {
					t.Errorf("stages %d and %d: host %s may not speak for the routers, and has the device", i-1, i, h)
				}
			}
		}
	}
}
