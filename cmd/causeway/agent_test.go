package main

import (
	"log/slog"
	"testing"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/dataplane"
)

// TestLimits: what the flags say without being given is what the dataplane takes
// without being told, and each flag reaches it.
func TestLimits(t *testing.T) {
	set := config.NewSet("agent")
	var c config.Agent
	c.Bind(set)
	if got, want := agentConfig(c, slog.Default()).Limits, (dataplane.Limits{}).WithDefaults(); got != want {
		t.Errorf("the flags' defaults are\n%+v, those of the dataplane\n%+v", got, want)
	}
	if err := set.Flags().Parse([]string{
		"--max-ports=1", "--max-port-addresses=2", "--max-endpoints=3", "--max-neighbors=4", "--max-routes=5", "--max-tunnel-ips=6",
		"--max-vnis=7", "--max-peers=8", "--max-floods=9", "--max-counters=10", "--max-routers=11",
		"--max-address-pairs=12", "--max-learned=13", "--max-vlans=14",
	}); err != nil {
		t.Fatal(err)
	}
	want := dataplane.Limits{
		Ports: 1, PortAddrs: 2, Endpoints: 3, Neighbors: 4, Routes: 5, TunnelIPs: 6, VNIs: 7, Peers: 8, Floods: 9, Counters: 10, Routers: 11,
		Pairs: 12, Learned: 13, VLANs: 14,
	}
	if got := agentConfig(c, slog.Default()).Limits; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
