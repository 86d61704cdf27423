package hoststate

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// vlanSite is the chapter with the tenant's network on VLAN 42 of interface eth2.
func vlanSite() (c *chapter, more map[string]any) {
	return newChapter(), map[string]any{
		"trunks": &model.Network{ID: "trunks", Key: 20, AdminStateUp: true, Type: model.NetworkUplink},
		"port": &model.Port{ID: "trunk", Key: 21, NetworkID: "trunks", MAC: named(model.MustMAC("02:00:00:00:00:21")), AdminStateUp: true,
			HostID: "h", Profile: profile("eth2")},
		"device":  &model.GatewayDevice{ID: "vlans", Type: model.NetworkVLAN, ResourceID: "trunks"},
		"gateway": &model.L2Gateway{ID: "vlan-42", DeviceID: "vlans"},
		"conn":    &model.L2GatewayConnection{ID: "vlan-conn", L2GatewayID: "vlan-42", NetworkID: "tenant", VNI: 42},
	}
}

func TestVLANs(t *testing.T) {
	key := VLANKey{Interface: "eth2", ID: 42}
	row := VLAN{Network: 1, Gateway: "vlans", Port: "trunk", Prefixes: []netip.Prefix{prefix("10.0.0.0/24")}}
	with := func(v VLAN, drop reason.Reason) *VLAN { v.Drop = drop; return &v }
	for _, tt := range []struct {
		name   string
		change func(*chapter, map[string]any)
		want   *VLAN
	}{
		{"all there", func(*chapter, map[string]any) {}, &row},
		{"no connection", func(_ *chapter, m map[string]any) { delete(m, "conn") }, nil},
		{"no device", func(_ *chapter, m map[string]any) { delete(m, "device") }, nil},
		{"no port", func(_ *chapter, m map[string]any) { delete(m, "port") }, nil},
		{"bound to another host", func(_ *chapter, m map[string]any) { m["port"].(*model.Port).HostID = "other" }, nil},
		{"port down", func(_ *chapter, m map[string]any) { m["port"].(*model.Port).AdminStateUp = false }, with(row, reason.PortAdminDown)},
		{"uplink down", func(_ *chapter, m map[string]any) { m["trunks"].(*model.Network).AdminStateUp = false }, with(row, reason.NetworkAdminDown)},
		{"network down", func(c *chapter, _ map[string]any) { c.tenant.AdminStateUp = false }, with(row, reason.NetworkAdminDown)},
		{"the gateway names the VLAN", func(_ *chapter, m map[string]any) {
			m["gateway"].(*model.L2Gateway).VNI, m["conn"].(*model.L2GatewayConnection).VNI = 42, 0
		}, &row},
		{"no uplink network", func(_ *chapter, m map[string]any) { m["trunks"].(*model.Network).Type = model.NetworkOverlay }, nil},
		{"a second port, with a lesser id, elsewhere", func(_ *chapter, m map[string]any) {
			m["second"] = &model.Port{ID: "another", Key: 22, NetworkID: "trunks", AdminStateUp: true, HostID: "h", Profile: profile("eth3")}
		}, nil},
	} {
		c, m := vlanSite()
		tt.change(c, m)
		var more []any
		for _, o := range m {
			more = append(more, o)
		}
		s := c.compile(more...)
		got, ok := s.VLANs[key]
		if ok != (tt.want != nil) || ok && !got.Equal(*tt.want) {
			t.Errorf("%s: %+v %v, want %+v", tt.name, got, ok, tt.want)
		}
		// Every order comes to the same, and all that changes is touched.
		topo := NewTopology()
		comp := NewCompiler(topo)
		slices.Reverse(more)
		for _, o := range append(more, c.tenant, c.tenantSubnet, c.vm, c.router, c.gatewayPort) {
			comp.Apply(topo.Apply(Change{New: o}))
		}
		if again := comp.Site().Cut(Wants(topo, "h", MaxGroups)).VLANs[key]; ok != (again.Network != 0) || ok && !again.Equal(got) {
			t.Errorf("%s: in steps %+v, at once %+v", tt.name, again, got)
		}
	}
}

// TestVLANKeepsAddresses: a port that nothing is behind keeps its address for whoever is on
// the VLAN.
func TestVLANKeepsAddresses(t *testing.T) {
	mac := model.MustMAC("02:00:00:00:00:50")
	keeper := &model.Port{ID: "keeper", Key: 9, NetworkID: "tenant", MAC: named(mac), FixedIPs: fixed("ts", "10.0.0.50"), AdminStateUp: true}
	c, m := vlanSite()
	more := []any{keeper}
	for _, o := range m {
		more = append(more, o)
	}
	s := c.compile(more...)
	if _, ok := s.Neighbors[NeighborKey{1, addr("10.0.0.50")}]; ok {
		t.Error("the address is not free for the VLAN")
	}
	if _, ok := s.FDB[FDBKey{1, mac}]; ok {
		t.Error("the MAC is not free for the VLAN")
	}
	if s.Neighbors[NeighborKey{1, addr("10.0.0.3")}] != vmMAC {
		t.Error("a bound port has lost its address to the VLAN")
	}
}
