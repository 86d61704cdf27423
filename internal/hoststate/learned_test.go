package hoststate

import (
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

// TestLearnedMACs: what a switch has learned leads there from a VTEP router that is
// on the same network with the same VNI, and nowhere else.
func TestLearnedMACs(t *testing.T) {
	mac := func(i byte) model.MAC { return model.MAC{2, 0, 0, 0, 0, i} }
	base := func() []Change {
		var out []Change
		for _, o := range []any{
			&model.Network{ID: "net", Key: 7, AdminStateUp: true},
			&model.Router{ID: "vtep", Key: 1, AdminStateUp: true},
			&model.GatewayDevice{ID: "own", Type: model.RouterVTEP, ResourceID: "vtep", TunnelIP: ip(1)},
			&model.Placement{DeviceID: "own", Host: "h", Epoch: 1},
			&model.L2Gateway{ID: "g-own", DeviceID: "own", VNI: 100},
			&model.L2GatewayConnection{ID: "c-own", L2GatewayID: "g-own", NetworkID: "net"},
			&model.GatewayDevice{ID: "switch", Type: model.HWVTEP, TunnelIP: ip(2)},
			&model.L2Gateway{ID: "g-switch", DeviceID: "switch"},
			&model.L2GatewayConnection{ID: "c-switch", L2GatewayID: "g-switch", NetworkID: "net", VNI: 100},
			&model.LearnedMACs{ConnectionID: "c-switch", MACs: []model.MAC{mac(1)}, Silent: []model.MAC{mac(2)}},
		} {
			out = append(out, Change{New: o})
		}
		return out
	}
	remote := FDBEntry{Kind: FDBRemote, Addr: ip(2), TunnelIP: ip(1), VNI: 100, Gateway: "own", Host: "h"}
	peer := PeerKey{TunnelIP: ip(1), Remote: ip(2), VNI: 100}
	for _, c := range []struct {
		name    string
		changes []Change
		want    map[model.MAC]FDBEntry // MACs of the table; others lead nowhere
		peer    bool
	}{
		{"as it is", nil, map[model.MAC]FDBEntry{mac(1): remote, mac(2): remote}, true},
		{"another VNI", []Change{{New: &model.L2GatewayConnection{ID: "c-switch", L2GatewayID: "g-switch", NetworkID: "net", VNI: 101}}}, nil, false},
		{"another network", []Change{{New: &model.L2GatewayConnection{ID: "c-switch", L2GatewayID: "g-switch", NetworkID: "other", VNI: 100}}}, nil, false},
		{"no VTEP router", []Change{{Old: &model.L2GatewayConnection{ID: "c-own", L2GatewayID: "g-own", NetworkID: "net"}}}, nil, false},
		{"no switch", []Change{{Old: &model.GatewayDevice{ID: "switch", Type: model.HWVTEP, TunnelIP: ip(2)}}}, nil, false},
		{"the switch has moved", []Change{{New: &model.GatewayDevice{ID: "switch", Type: model.HWVTEP, TunnelIP: ip(3)}}},
			map[model.MAC]FDBEntry{mac(1): {Kind: FDBRemote, Addr: ip(3), TunnelIP: ip(1), VNI: 100, Gateway: "own", Host: "h"}}, false},
		{"a written row comes first", []Change{{New: &model.RemoteMACEntry{ID: "f", DeviceID: "own", MAC: model.NamedMAC{MAC: mac(1)}, VTEPAddress: ip(9), VNI: 100}}},
			map[model.MAC]FDBEntry{mac(1): {Kind: FDBRemote, Addr: ip(9), TunnelIP: ip(1), VNI: 100, Gateway: "own", Host: "h"}, mac(2): remote}, true},
		{"a port of the network comes first", []Change{{New: &model.Port{ID: "p", Key: 3, NetworkID: "net", MAC: model.NamedMAC{MAC: mac(1)}, AdminStateUp: true, HostID: "h", Profile: profile("if0")}}},
			map[model.MAC]FDBEntry{mac(1): {Kind: FDBPort, Port: 3, Host: "h"}}, true},
		{"another switch reports what this one has forgotten", []Change{
			{New: &model.GatewayDevice{ID: "z", Type: model.HWVTEP, TunnelIP: ip(4)}},
			{New: &model.L2Gateway{ID: "g-z", DeviceID: "z", VNI: 100}},
			{New: &model.L2GatewayConnection{ID: "z", L2GatewayID: "g-z", NetworkID: "net"}},
			{New: &model.LearnedMACs{ConnectionID: "z", MACs: []model.MAC{mac(2)}}},
		}, map[model.MAC]FDBEntry{mac(1): remote, mac(2): {Kind: FDBRemote, Addr: ip(4), TunnelIP: ip(1), VNI: 100, Gateway: "own", Host: "h"}}, true},
		{"forgotten altogether", []Change{{Old: &model.LearnedMACs{ConnectionID: "c-switch"}}}, nil, false},
	} {
		topo := NewTopology()
		topo.Apply(base()...)
		topo.Apply(c.changes...)
		s := Compile(topo, "h")
		for m, want := range c.want {
			if got := s.FDB[FDBKey{7, m}]; got != want {
				t.Errorf("%s: %s leads to %+v, want %+v", c.name, m, got, want)
			}
		}
		if c.want == nil && len(s.FDB) > 0 {
			t.Errorf("%s: there are %+v", c.name, s.FDB)
		}
		if _, ok := s.Peers[peer]; ok != c.peer {
			t.Errorf("%s: the switch is a peer: %v", c.name, ok)
		}
	}
}
