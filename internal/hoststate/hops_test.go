package hoststate

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// TestSeveralNextHops: what a router has for a destination with several next hops, whatever
// order they are given in. One behind an interface that is down counts only where no other is left.
func TestSeveralNextHops(t *testing.T) {
	to := RouteKey{1, prefix("10.7.0.0/16")}
	via := func(destination string, hops ...string) []model.HostRoute {
		var routes []model.HostRoute
		for _, h := range hops {
			routes = append(routes, model.HostRoute{Destination: prefix(destination), NextHop: addr(h)})
		}
		return routes
	}
	multi := func(hop string) Hop { return Hop{2, addr(hop), mac1} }
	tenant := func(hop string) Hop { return Hop{1, addr(hop), tenantMAC} }
	var many []string
	var most []Hop
	for i := range model.MaxNextHops + 2 {
		many = append(many, fmt.Sprintf("192.168.0.%d", 10+i))
		if i < model.MaxNextHops {
			most = append(most, multi(many[i]))
		}
	}
	for _, c := range []struct {
		name  string
		setup func(*chapter)
		hops  []Hop
		first Route
	}{
		{"one", func(c *chapter) { c.router.Routes = via("10.7.0.0/16", "192.168.0.2") }, nil, Route{Kind: RouteVia, Network: 2, NextHop: addr("192.168.0.2"), MAC: mac1}},
		{"two", func(c *chapter) { c.router.Routes = via("10.7.0.0/16", "192.168.0.7", "192.168.0.2") },
			[]Hop{multi("192.168.0.2"), multi("192.168.0.7")}, Route{Kind: RouteVia, Network: 2, NextHop: addr("192.168.0.2"), MAC: mac1}},
		{"on two networks", func(c *chapter) { c.router.Routes = via("10.7.0.0/16", "192.168.0.2", "10.0.0.3") },
			[]Hop{tenant("10.0.0.3"), multi("192.168.0.2")}, Route{Kind: RouteVia, Network: 1, NextHop: addr("10.0.0.3"), MAC: tenantMAC}},
		{"one interface down", func(c *chapter) {
			c.router.Routes = via("10.7.0.0/16", "192.168.0.2", "10.0.0.3")
			c.gatewayPort.AdminStateUp = false
		}, nil, Route{Kind: RouteVia, Network: 2, NextHop: addr("192.168.0.2"), MAC: mac1}},
		{"both interfaces down", func(c *chapter) {
			c.router.Routes = via("10.7.0.0/16", "192.168.0.2", "10.0.0.3")
			c.gatewayPort.AdminStateUp, c.peerPort.AdminStateUp = false, false
		}, nil, Route{Kind: RouteDrop, Drop: reason.PortAdminDown}},
		{"one in no subnet of the router", func(c *chapter) { c.router.Routes = via("10.7.0.0/16", "192.168.0.2", "198.51.100.1") },
			nil, Route{Kind: RouteVia, Network: 2, NextHop: addr("192.168.0.2"), MAC: mac1}},
		{"more than a host takes", func(c *chapter) { c.router.Routes = via("10.7.0.0/16", many...) },
			most, Route{Kind: RouteVia, Network: 2, NextHop: addr(many[0]), MAC: mac1}},
		{"written in two ways", func(c *chapter) {
			c.router.Routes = append(via("10.7.0.0/16", "192.168.0.2"), model.HostRoute{Destination: netip.MustParsePrefix("10.7.1.1/16"), NextHop: addr("192.168.0.2")})
		}, nil, Route{Kind: RouteVia, Network: 2, NextHop: addr("192.168.0.2"), MAC: mac1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := newChapter()
			c.setup(ch)
			s := ch.compile()
			if d := cmp.Diff(c.hops, s.Hops[to], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Error(d)
			}
			got := s.Routes[to]
			if got != c.first {
				t.Errorf("the route is %+v, want %+v", got, c.first)
			}
		})
	}
	ch := newChapter()
	ch.router.Routes = via("10.0.0.0/24", "192.168.0.2", "192.168.0.7")
	if s := ch.compile(); len(s.Hops) != 0 || s.Routes[RouteKey{1, prefix("10.0.0.0/24")}].Kind != RouteConnected {
		t.Errorf("next hops in place of a subnet: %+v", s.Hops)
	}
}
