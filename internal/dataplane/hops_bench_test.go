package dataplane

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// manyHops is a host with a router that has so many destinations, each by two next hops that nobody
// has, and with so many ports. Each port has an allowed address pair, and every other
// one is on the network of the next hops.
func manyHops(destinations, ports int) (hoststate.State, Env) {
	st, env := hoststate.NewState(), Env{Links: map[string]Link{}}
	st.Networks[1], st.Networks[2] = hoststate.Network{MTU: 1450}, hoststate.Network{MTU: 1450}
	for n := range destinations {
		k := hoststate.RouteKey{Router: 1, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}), 32)}
		first := hoststate.Hop{Network: 1, NextHop: netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)})}
		second := hoststate.Hop{Network: 1, NextHop: netip.AddrFrom4([4]byte{10, 2, byte(n >> 8), byte(n)})}
		st.Routes[k] = hoststate.Route{Kind: hoststate.RouteVia, Network: 1, NextHop: first.NextHop}
		st.Hops[k] = []hoststate.Hop{first, second}
	}
	for n := range ports {
		name := fmt.Sprint("tap", n)
		env.Links[name] = Link{Index: 10 + n, MTU: 1450}
		pair := hoststate.Pair{MAC: model.MAC{2}, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 3, byte(n >> 8), byte(n)}), 32)}
		st.Ports[model.PortKey(1+n)] = hoststate.Port{Network: model.NetworkKey(1 + n%2), Interface: name, Pairs: []hoststate.Pair{pair}}
	}
	return st, env
}

// BenchmarkHops plans one change of a network on which 600 destinations have next hops that nobody has:
// what it costs is to follow the destinations, not the host's ports.
func BenchmarkHops(b *testing.B) {
	for _, ports := range []int{100, 2000} {
		b.Run(fmt.Sprintf("ports/%d", ports), func(b *testing.B) {
			st, env := manyHops(600, ports)
			m := newInMemory(Limits{}.WithDefaults(), env)
			m.index = indexOf(wholeTranslator(st, env, m.t.counters, nil))
			k := hoststate.NeighborKey{Network: 1, IP: netip.MustParseAddr("10.4.0.1")}
			d := hoststate.Delta{Set: hoststate.NewState()}
			st.Neighbors[k], d.Set.Neighbors[k] = model.MAC{2, 1}, model.MAC{2, 1}
			for b.Loop() {
				x := m.index.touched(d)
				m.index.allowed.follow(m.tr(st), x, d)
				p := m.t.delta(m.tr(st), m.index, x, d)
				if len(p.hops.put) != 600 {
					b.Fatalf("%d destinations, not 600", len(p.hops.put))
				}
			}
		})
	}
}
