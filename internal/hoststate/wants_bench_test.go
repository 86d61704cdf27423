package hoststate

import (
	"fmt"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

// BenchmarkWants is what it costs to work out what a host wants that reaches a thousand networks by some hundred routers.
func BenchmarkWants(b *testing.B) {
	t := NewTopology()
	add := func(o any) { t.Apply(Change{New: o}) }
	network := func(i int) model.NetworkID {
		id := model.NetworkID(fmt.Sprintf("11111111-0000-4000-8000-%012d", i))
		add(&model.Network{ID: id, Key: model.NetworkKey(i + 1), AdminStateUp: true, MTU: 1450})
		return id
	}
	shared := network(0)
	port := 0
	iface := func(n model.NetworkID, r model.RouterID) {
		port++
		add(&model.Port{ID: model.PortID(fmt.Sprintf("22222222-0000-4000-8000-%012d", port)), Key: model.PortKey(port), NetworkID: n, AdminStateUp: true,
			DeviceOwner: model.OwnerRouterInterface, DeviceID: string(r)})
	}
	var last model.NetworkID
	for i := range 200 {
		r := model.RouterID(fmt.Sprintf("33333333-0000-4000-8000-%012d", i))
		add(&model.Router{ID: r, Key: model.RouterKey(i + 1), AdminStateUp: true})
		iface(shared, r)
		for k := range 5 {
			last = network(1 + i*5 + k)
			iface(last, r)
		}
	}
	port++
	add(&model.Port{ID: "44444444-0000-4000-8000-000000000000", Key: model.PortKey(port), NetworkID: last, AdminStateUp: true, HostID: "h",
		Profile: profile("tap")})
	b.ReportAllocs()
	for b.Loop() {
		if w := Wants(t, "h", MaxGroups); w.Groups.Len() < 1200 {
			b.Fatalf("%d groups", w.Groups.Len())
		}
	}
}
