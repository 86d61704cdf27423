package scenario

import (
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestAgentAway: a host whose agent was killed is not alive, and its ports are DOWN and say why,
// while packets flow on; when the agent is back, both are as before.
func TestAgentAway(t *testing.T) {
	p := newPair(t)
	if err := p.Restart(t.Context(), "site-a", "--host-timeout", "1s"); err != nil {
		t.Fatal(err)
	}
	port := p.a.workloadPorts[p.vmA]
	p.a.site.waitStatus(port, "ACTIVE")
	alive := func(want bool) {
		t.Helper()
		testutil.Succeeds(t, "the host's life to be told", func() error {
			hosts, err := p.a.site.api.List(t.Context(), client.Agents, nil)
			if err != nil || len(hosts) != 1 || hosts[0]["host"] != "a1" || hosts[0]["alive"] != want {
				return fmt.Errorf("%v: %v", err, hosts)
			}
			return nil
		})
	}
	reason := func() string {
		t.Helper()
		status, err := p.a.site.api.Get(t.Context(), client.PortStatus(port), "causeway_status")
		if err != nil {
			t.Fatal(err)
		}
		return client.Str(status, "reason")
	}
	alive(true)
	if why := reason(); why != "" {
		t.Errorf("a port that is ACTIVE says %q", why)
	}
	if err := p.Kill("a1"); err != nil {
		t.Fatal(err)
	}
	alive(false)
	p.a.site.waitStatus(port, "DOWN")
	if why := reason(); !strings.HasPrefix(why, "the agent of host a1 is away") {
		t.Errorf("the port is DOWN because %q", why)
	}
	p.mustPing(p.vmA, p.addrB)
	if err := p.Restart(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	alive(true)
	p.a.site.waitStatus(port, "ACTIVE")
	p.mustPing(p.vmA, p.addrB)
}
