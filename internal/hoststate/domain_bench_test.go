package hoststate

import (
	"fmt"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

// BenchmarkDomainOfMany: of 5,000 routers on one network, each with a network of its own, one leaves the domain and
// comes back.
func BenchmarkDomainOfMany(b *testing.B) {
	const routers = 5000
	t := NewTopology()
	t.Apply(Change{New: &model.Network{ID: "shared", Key: 1, AdminStateUp: true}})
	var ports []*model.Port
	for i := range routers {
		r, n := fmt.Sprint("r", i), fmt.Sprint("n", i)
		t.Apply(Change{New: &model.Router{ID: model.RouterID(r), Key: model.RouterKey(i + 1)}}, Change{New: &model.Network{ID: model.NetworkID(n), Key: model.NetworkKey(i + 2), AdminStateUp: true}})
		for j, net := range []string{n, "shared"} {
			p := &model.Port{
				ID: model.PortID(fmt.Sprint(r, "/", j)), Key: model.PortKey(2*i + j + 1), NetworkID: model.NetworkID(net),
				DeviceOwner: model.OwnerRouterInterface, DeviceID: r, MAC: model.NamedMAC{MAC: model.MAC{2, byte(j), 0, 0, byte(i >> 8), byte(i)}},
			}
			t.Apply(Change{New: p})
			ports = append(ports, p)
		}
	}
	for i := 0; b.Loop(); i++ {
		p := ports[2*(1+i%(routers-1))+1]
		t.Apply(Change{Old: p})
		t.Apply(Change{New: p})
	}
}
