package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// TestLinksComeTogether: all VTEPs are looked at with the first event of an interface that is no
// workload's, and once for those that follow at once: the look asks the kernel of each.
func TestLinksComeTogether(t *testing.T) {
	for name, change := range map[string]hostnet.Change{
		"one interface":   {Links: map[string]struct{}{"eth9": {}}},
		"events are lost": {AllLinks: true},
	} {
		a := &Agent{state: hoststate.NewState(), attached: &attachments{}}
		a.objs = a.newObjects()
		for i := range 3 {
			a.objs.vteps.Due(dataplane.VTEP{Local: netip.MustParseAddr("10.0.0.1"), Remote: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})})
		}
		a.objs.vteps.Take()
		start := time.Now()
		a.notice(change)
		if n := len(a.objs.vteps.Take()); n != 3 {
			t.Errorf("%s: %d VTEPs are looked at with the first event", name, n)
		}
		for range 5 {
			a.notice(change)
		}
		at, ok := a.objs.set.Next()
		if !ok || at.Sub(start) < reconcile.Gap {
			t.Errorf("%s: those that follow are looked at %v after the first, %v", name, at.Sub(start), ok)
		}
	}
}
