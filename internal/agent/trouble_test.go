package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/pathmtu"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// underlayPath asks the agent for what it knows of its only path.
func (c *controller) underlayPath() (probe.PathState, error) {
	c.mu.Lock()
	p := c.prober
	c.mu.Unlock()
	if p == nil {
		return probe.PathState{}, fmt.Errorf("no agent yet")
	}
	res, err := p.Probe(c.t.Context(), probe.Request{Paths: true})
	if err != nil || len(res.Paths) != 1 {
		return probe.PathState{}, fmt.Errorf("%+v, %v", res, err)
	}
	return res.Paths[0], nil
}

// TestTrouble: what keeps a tunnel's packets on this host, or refuses what comes back, is told by the
// agent, and no longer when it is mended.
func TestTrouble(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	r := underlayRouter(t, "1500")
	elsewhere := newNamespace(t)
	sh(t, "ip addr add 172.31.0.1/24 dev eth1; ip route add 200.200.0.2 via 172.31.0.2")
	sh(t, "ip link add eth9 type veth peer name rz netns "+elsewhere.pid+"; ip link set eth9 up; ip addr add 172.31.9.1/24 dev eth9; "+elsewhere.in("ip link set rz up"))
	c := newController(t)
	cfg := testConfig(t)
	cfg.UnderlayInterfaces = []string{"eth1"}
	cfg.PathMTU = pathmtu.Settings{Interval: time.Second}
	startAgent(t, cfg, c)
	c.set(func(s *hoststate.State) {
		addNetwork(s)
		addPeering(s, hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Epoch: 1, Router: 1})
	})
	until := func(problem string, unreachable bool) {
		t.Helper()
		testutil.Succeeds(t, "the agent to say: "+problem, func() error {
			p, err := c.underlayPath()
			switch {
			case err != nil:
				return err
			case problem == "" && p.Problem != "", !strings.Contains(p.Problem, problem), (p.State == probe.Unreachable) != unreachable:
				return fmt.Errorf("%+v", p)
			}
			return nil
		})
	}
	until("", false)
	for _, step := range []struct {
		breaks, mends string
		problem       string
		unreachable   bool
	}{
		{"ip route del 200.200.0.2", "ip route add 200.200.0.2 via 172.31.0.2", "the host has no route from 200.200.0.1 to 200.200.0.2", true},
		{"ip route replace 200.200.0.2 via 172.31.9.2", "ip route replace 200.200.0.2 via 172.31.0.2", "the host's route to it leads by eth9, which carries no tunnels", false},
		{r.in("ip link set ra down"), r.in("ip link set ra up") + ";" + r.in("ip route replace 200.200.0.1 via 172.31.0.1"), "the underlay interface eth1 has no carrier", true},
		{"ip route replace 200.200.0.2 via 172.31.0.77", "ip route replace 200.200.0.2 via 172.31.0.2; ip neigh flush dev eth1", "the next hop 172.31.0.77 answers no ARP request on eth1", false},
		{"ip link set eth1 down", "ip link set eth1 up; ip route add 200.200.0.2 via 172.31.0.2", "the underlay interface eth1 is down", true},
		{"ip link del eth1", "", "the underlay interface eth1 is not there", true},
	} {
		sh(t, step.breaks)
		until(step.problem, step.unreachable)
		if step.mends != "" {
			sh(t, step.mends)
			until("", false)
		}
	}
	p, err := c.underlayPath()
	if err != nil || p.String() != "the underlay's path to 200.200.0.2: nothing leaves for it: the underlay interface eth1 is not there" {
		t.Errorf("%s, %v", p, err)
	}
}
