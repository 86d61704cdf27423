package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestControllerKilledAfterAnswer kills a controller right after it has
// acknowledged a change, before or after the agent has heard of it: with the next
// controller it applies.
func TestControllerKilledAfterAnswer(t *testing.T) {
	p := newPair(t)
	// Neighbours are known: what is lost is lost to the missing route.
	p.mustPing(p.vmA, p.addrB)
	for round, pause := range []time.Duration{0, 0, 2 * time.Millisecond, 10 * time.Millisecond} {
		routed := round%2 == 1
		if routed {
			p.a.setRoutes(p.b)
		} else {
			p.a.setRoutes()
		}
		time.Sleep(pause)
		if err := p.Kill("site-a"); err != nil {
			t.Fatal(err)
		}
		if err := p.Restart(t.Context(), "site-a"); err != nil {
			t.Fatal(err)
		}
		p.waitSynced("a1")
		testutil.Succeeds(t, fmt.Sprintf("round %d: the change to apply", round), func() error {
			if got := p.ping(p.vmA, p.addrB, 1); (got == 1) != routed {
				return fmt.Errorf("routed %v, %d of 1 pings came back", routed, got)
			}
			return nil
		})
		p.sameAsNew("a1")
	}
	// And a workload that comes while the agent looks for its controller.
	if err := p.Kill("site-a"); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context(), "site-a"); err != nil {
		t.Fatal(err)
	}
	p.reach(p.a.attach("vm-a2", 4, ""), p.addrB)
	p.mustPing(p.vmA, p.addrB)
}

// sameAsNew wants the agent's maps to hold as many rows as after the agent has
// built everything from its controller's whole state.
func (l *lab) sameAsNew(host string) {
	l.t.Helper()
	rows := func() map[string]float64 {
		m, err := l.metrics(host)
		if err != nil {
			l.t.Fatal(err)
		}
		return m
	}
	before := rows()
	if err := l.Restart(l.t.Context(), host); err != nil {
		l.t.Fatal(err)
	}
	l.waitSynced(host)
	after := rows()
	for _, m := range []string{"ports", "fdb", "neighbors", "routes", "tunnel_ips", "vnis", "peers", "floods"} {
		k := fmt.Sprintf("causeway_agent_map_rows{map=%q}", m)
		if _, ok := before[k]; !ok || before[k] != after[k] {
			l.t.Errorf("map %s: %v rows, %v after everything was built anew", m, before[k], after[k])
		}
	}
}
