package trace

import (
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
)

// TestTraceHops: a trace names the next hop that the flow takes and says of how many; one that is down
// is left out, and where each is, why the packet goes nowhere.
func TestTraceHops(t *testing.T) {
	st := siteA()
	var key hoststate.RouteKey
	var first hoststate.Route
	for k, r := range st.Routes {
		if r.Kind == hoststate.RouteVia {
			key, first = k, r
		}
	}
	second := addr("192.168.0.3")
	mac := model.MustMAC("02:00:00:00:00:03")
	st.Neighbors[hoststate.NeighborKey{Network: first.Network, IP: second}] = mac
	at := hoststate.FDBKey{Network: first.Network, MAC: mac}
	st.FDB[at] = st.FDB[hoststate.FDBKey{Network: first.Network, MAC: peerB}]
	st.Hops = map[hoststate.RouteKey][]hoststate.Hop{key: {
		{Network: first.Network, NextHop: first.NextHop, MAC: first.MAC}, {Network: first.Network, NextHop: second, MAC: first.MAC}}}
	ask := func(port uint16) Report {
		rep, err := New(st, Env{}).Trace(Request{
			Port: "vm-a", To: addr("10.0.1.3"), Subnets: []Subnet{{Prefix: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}},
			Packet: Packet{Proto: "udp", SrcPort: port},
		})
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	decision := func(rep Report) string {
		for _, h := range rep.Hops {
			if strings.HasPrefix(h.Decision, "route 10.0.1.0/24") {
				return h.Decision
			}
		}
		return ""
	}
	seen := map[string]int{}
	for port := range uint16(64) {
		seen[decision(ask(port+1000))]++
	}
	for _, hop := range []string{first.NextHop.String(), second.String()} {
		if words := "route 10.0.1.0/24 via " + hop + " on network multi-site, by the flow's hash one of 2 next hops"; seen[words] < 16 {
			t.Errorf("%q %d times of 64: %v", words, seen[words], seen)
		}
	}
	delete(st.Neighbors, hoststate.NeighborKey{Network: first.Network, IP: second})
	for port := range uint16(16) {
		if got := decision(ask(port + 1000)); got != "route 10.0.1.0/24 via 192.168.0.2 on network multi-site, the only one of 2 next hops that is not down" {
			t.Error(got)
		}
	}
	st.FDB[hoststate.FDBKey{Network: first.Network, MAC: peerB}] = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Drop: reason.PortAdminDown}
	st.Neighbors[hoststate.NeighborKey{Network: first.Network, IP: second}] = mac
	st.FDB[at] = hoststate.FDBEntry{Kind: hoststate.FDBDrop, Drop: reason.PortAdminDown}
	if rep := ask(1000); rep.Delivered || rep.Reason != reason.PortAdminDown.String() || !strings.HasSuffix(decision(rep), "one of 2 next hops, all of which are down") {
		t.Errorf("%+v: %q", rep, decision(rep))
	}
}
