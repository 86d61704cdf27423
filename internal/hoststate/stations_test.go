package hoststate

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

func uplinkNetwork(id string, key model.NetworkKey) *model.Network {
	return &model.Network{ID: model.NetworkID(id), Key: key, AdminStateUp: true, MTU: 1500, Type: model.NetworkUplink}
}
func trunkOn(up, host string, key model.PortKey) *model.Port {
	return &model.Port{ID: model.PortID("t" + up + host), Key: key, NetworkID: model.NetworkID(up), AdminStateUp: true, HostID: model.HostName(host), Profile: profile("eth2"),
		MAC: named(model.MAC{2, 9, 0, 0, byte(key >> 8), byte(key)})}
}
func fabricHost(n string, i int) *model.Host {
	return &model.Host{Name: model.HostName(n), Fabric: model.Fabric{Addr: netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)}), Port: 4798}}
}

// TestStationsOfTwoUplinks: a network is on VLANs of two uplinks, of which two hosts have one each; the one that serves loses its own.
func TestStationsOfTwoUplinks(t *testing.T) {
	net := &model.Network{ID: "n", Key: 1, AdminStateUp: true, MTU: 1450}
	connA := &model.L2GatewayConnection{ID: "ca", L2GatewayID: "ga", NetworkID: "n"}
	objs := []any{
		net, uplinkNetwork("A", 10), uplinkNetwork("B", 11), fabricHost("ha", 1), fabricHost("hb", 2), trunkOn("A", "ha", 21), trunkOn("B", "hb", 22),
		&model.GatewayDevice{ID: "da", Type: model.NetworkVLAN, ResourceID: "A"}, &model.GatewayDevice{ID: "db", Type: model.NetworkVLAN, ResourceID: "B"},
		&model.L2Gateway{ID: "ga", DeviceID: "da", VNI: 42}, &model.L2Gateway{ID: "gb", DeviceID: "db", VNI: 43},
		connA, &model.L2GatewayConnection{ID: "cb", L2GatewayID: "gb", NetworkID: "n"},
	}
	for _, c := range []struct {
		name   string
		change Change
	}{
		{"the connection goes", Change{Old: connA}},
		{"the uplink goes down", Change{Old: uplinkNetwork("A", 10), New: func() any { n := uplinkNetwork("A", 10); n.AdminStateUp = false; return n }()}},
		{"the device goes", Change{Old: objs[7]}},
	} {
		topo := NewTopology()
		comp := NewCompiler(topo)
		for _, o := range objs {
			comp.Apply(topo.Apply(Change{New: o}))
		}
		comp.Apply(topo.Apply(c.change))
		got, want := comp.Site().Cut(Wants(topo, "hb", MaxGroups)), CompileSite(topo).Cut(Wants(topo, "hb", MaxGroups))
		if fmt.Sprint(got.HostPairs, got.Members, got.FDB) != fmt.Sprint(want.HostPairs, want.Members, want.FDB) {
			t.Errorf("%s:\n got %v %v %v\nwant %v %v %v", c.name, got.HostPairs, got.Members, got.FDB, want.HostPairs, want.Members, want.FDB)
		}
	}
}

// TestStationsHostIsOnTheFabric: a host that is not on the fabric serves nobody.
func TestStationsHostIsOnTheFabric(t *testing.T) {
	topo := NewTopology()
	off := &model.Host{Name: "ha"}
	for _, o := range []any{
		&model.Network{ID: "n", Key: 1, AdminStateUp: true, MTU: 1450}, uplinkNetwork("A", 10), off, fabricHost("hb", 2), trunkOn("A", "ha", 21), trunkOn("A", "hb", 22),
		&model.GatewayDevice{ID: "da", Type: model.NetworkVLAN, ResourceID: "A"}, &model.L2Gateway{ID: "ga", DeviceID: "da", VNI: 42},
		&model.L2GatewayConnection{ID: "ca", L2GatewayID: "ga", NetworkID: "n"},
	} {
		topo.Apply(Change{New: o})
	}
	s := CompileSite(topo).Cut(Wants(topo, "hb", MaxGroups))
	if e := s.FDB[FDBKey{Network: 1}]; e.Host != "hb" {
		t.Errorf("stations are reached by %q, hosts of the fabric are %v", e.Host, s.Hosts)
	}
}
