package scenario

import (
	"testing"

	"github.com/causeway-net/causeway/internal/orchestrator/verify"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestAddSite: a site that comes into a running peering, and one that goes, disturb none of
// the others: of a flood between those not one packet is lost.
func TestAddSite(t *testing.T) {
	o := newOrchestrated(t, 3, 2)
	o.apply()
	p := &pair{lab: o.lab, a: o.tenants[0], b: o.tenants[1], vmA: "vm-a", vmB: "vm-b", addrA: "10.0.0.3", addrB: "10.0.1.3"}
	p.reach(p.vmA, p.addrB)
	p.sink(p.vmB, 9999)
	p.steadyNeighbours()
	flooded := func(name string, change func()) {
		o.sub(name, func(t *testing.T) {
			p.t = t
			sent, received := p.underFlood(t, change)
			t.Logf("%d sent, %d received", sent, received)
			if sent != received {
				t.Errorf("%d packets sent, %d received", sent, received)
			}
		})
		p.t = t
	}
	flooded("a site comes", func() {
		o.add(2)
		o.apply()
		for _, h := range []string{"a1", "b1", "c1"} {
			o.waitSynced(h)
		}
	})
	p.reach("vm-c", p.addrA)
	if res := o.verify(); !res.Passes {
		t.Errorf("%+v", res.Pairs)
	}
	flooded("it goes again", func() {
		o.spec.Sites = o.spec.Sites[:2]
		o.apply()
		for _, h := range []string{"a1", "b1"} {
			o.waitSynced(h)
		}
	})
	res := o.verify()
	for _, w := range res.Pairs {
		if w.State != verify.Passes {
			t.Errorf("%s → %s: %s", w.From, w.To, w.State)
		}
	}
	testutil.Succeeds(t, "the other site to be out of reach", func() error { return mustFail(p.ping("vm-a", "10.0.2.3", 1)) })
}
