package dataplane

import (
	"fmt"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
)

// BenchmarkPlace is a change while a map has no room for all routes: of a route, and of a
// route that comes or goes. Routers have 230 each, and projects as many routers as the
// map is large: what a change costs is to follow the change, not the map.
func BenchmarkPlace(b *testing.B) {
	for _, limit := range []uint32{16384, 65536} {
		projects := map[model.RouterKey]model.ProjectID{}
		all := newChange[bpfRouteKey, bpfRoute]()
		for router := range limit / 218 {
			projects[model.RouterKey(router)] = model.ProjectID(fmt.Sprint("project", router/25))
			for n := range 230 {
				k, v := testRoute(router, n, uint8(1+n%4))
				all.put[k] = v
			}
		}
		full := func() *table[bpfRouteKey, bpfRoute] {
			t := routeTable(limit, projects)
			admitAll(t, all)
			if len(t.waiting) == 0 {
				b.Fatal("the map has room for all")
			}
			return t
		}
		k, v := testRoute(1, 1, routeVia)
		b.Run(fmt.Sprintf("change/%d", limit), func(b *testing.B) {
			rt, one := full(), newChange[bpfRouteKey, bpfRoute]()
			for b.Loop() {
				v.Mtu++
				one.put[k] = v
				admitAll(rt, one)
			}
		})
		b.Run(fmt.Sprintf("come-and-go/%d", limit), func(b *testing.B) {
			rt := full()
			come, leave := newChange[bpfRouteKey, bpfRoute](), newChange[bpfRouteKey, bpfRoute]()
			k, v := testRoute(1, 1000, routeVia)
			come.put[k] = v
			leave.del = []bpfRouteKey{k}
			for b.Loop() {
				admitAll(rt, come)
				admitAll(rt, leave)
			}
		})
	}
}
