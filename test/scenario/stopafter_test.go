package scenario

import (
	"errors"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestStopAfter: a host with --stop-after forwards nothing for workloads and tunnels once its agent has been dead for so long, and
// goes on when the agent runs again. Its own packets are let alone. A host whose agent lives goes on all the time, and so does one without the
// setting.
func TestStopAfter(t *testing.T) {
	p := newPair(t)
	a, b := p.a.site.host, p.b.site.host
	const routerA, routerB = "10.0.0.1", "10.0.1.1"
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	start := func(host string) {
		t.Helper()
		do(p.Restart(t.Context(), host, "--stop-after", "15s"))
	}
	stops := func() {
		t.Helper()
		p.mustPing(p.vmA, routerA)
		testutil.Succeeds(t, "the host to stop", func() error {
			if p.ping(p.vmA, routerA, 1) != 0 {
				return errors.New("the workload's router still answers")
			}
			return nil
		})
	}
	// B begins before A: what the agents say at their start would run out at B first.
	start(b)
	start(a)
	do(p.Kill(a))
	p.mustPing(p.vmA, p.addrB)
	stops()
	for what, ping := range map[string][2]string{"its workload": {p.vmA, p.addrB}, "another site": {p.vmB, p.addrA}} {
		if n := p.ping(ping[0], ping[1], 2); n != 0 {
			t.Errorf("%d packets of %s pass on a host whose agent is dead", n, what)
		}
	}
	p.mustPing(a, "172.16.1.1")
	p.mustPing(p.vmB, routerB)

	do(p.Restart(t.Context(), b)) // without the setting
	start(a)
	p.mustPing(p.vmA, routerA)
	if n := p.a.site.drops()["agent_dead"]; n == 0 {
		t.Error("what was dropped meanwhile is not counted")
	}
	p.reach(p.vmB, p.addrA)
	do(p.Kill(b))
	do(p.Kill(a))
	stops()
	p.mustPing(p.vmB, routerB)
	do(p.Restart(t.Context(), b))
	do(p.Restart(t.Context(), a)) // the setting is taken away
	p.reach(p.vmA, p.addrB)
	p.reach(p.vmB, p.addrA)
}
