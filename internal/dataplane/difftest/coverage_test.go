package difftest

import (
	"maps"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/internal/reason"
)

// floor is how often each branch must be taken in a million packets.
const floor = 1000

// unreachable are the reasons that a test run cannot meet.
var unreachable = map[reason.Reason]string{
	reason.FloodLimited:    "both sides run without a rate limit; see TestShares of package dataplane",
	reason.SlowPathLimited: "both sides run without a rate limit; it never is a packet's only reason; see TestRateLimit",
	reason.PathError:       "what comes to the host's stack, not the pipeline; see TestLocalICMP",
}

// Out of reach within a reason that is met otherwise: FRAME_MALFORMED for frames of
// less than 14 bytes and for IP frames cut within the fixed header (the kernel's test
// run refuses them; inner frames of that kind are tested), VLAN_TAGGED for a tag that
// the network card took off, and adding or removing outer headers of GSO frames
// (a test run cannot say which kind of GSO it is).

// branches are the ways through the pipeline that must be taken; drop reasons come
// on top.
var branches = []string{
	"from_workload port", "from_workload tunnel", "from_workload vxlan", "from_workload slow", "from_workload reply", "from_workload flood",
	"from_underlay pass", "from_underlay port", "from_underlay tunnel", "from_underlay slow", "from_underlay flood",
	"from_vxlan port", "from_vxlan tunnel", "from_vxlan vxlan", "from_vxlan slow", "from_vxlan flood",
	"from_slow port", "from_slow tunnel", "from_slow slow",
	"port/security-passed", "port/arp", "arp/no-request", "arp/gratuitous", "arp/unknown", "arp/own", "arp/not-ours", "arp/answer-tunnel",
	"port/priority-tag", "guard/extension", "guard/later-fragment", "route/big-tcp",
	"learn", "port/other-mac", "port/paired", "arp/other-mac", "arp/paired", "bridge/router-arp", "route/ask", "slow/arp",
	"vlan/in", "vlan/arp", "vlan/address", "arp/answer-vlan", "bridge/vlan", "route/vlan", "flood/vlan", "tagged",
	"flow", "bridge/port", "bridge/router", "bridge/remote", "bridge/drop", "bridge/too-big",
	"route/port", "route/remote", "route/router", "route/fragment", "route/echo", "route/drop", "route/fdb-drop", "route/l2-unknown",
	"route/hops", "route/hops-down", "route/hop-left", "route/local-icmp", "route/local-originator", "icmp", "no-icmp", "route/probe", "probe-failed",
	"underlay/decapsulated", "underlay/kernel", "underlay/vouched", "underlay/unvouched", "underlay/not-ip", "underlay/gso-not-tcp", "underlay/rigid", "underlay/ecn-changed", "tunnel/peer-drop",
	"vxlan/in", "vxlan/arp", "slow/route", "slow/bridge", "slow/bridge-router",
}

func checkCoverage(t *testing.T, r *Runner) {
	t.Helper()
	least := floor * r.Total / 1_000_000
	for why := reason.None + 1; why < reason.Count; why++ {
		n := r.Reasons[why]
		if note, ok := unreachable[why]; ok {
			if n != 0 {
				t.Errorf("drop %s is said to be out of reach (%s), and was met %d times", why, note, n)
			}
			continue
		}
		if n < least {
			t.Errorf("drop %s: met %d times, want %d", why, n, least)
		}
	}
	for _, b := range branches {
		if r.Coverage[b] < least {
			t.Errorf("branch %s: taken %d times, want %d", b, r.Coverage[b], least)
		}
	}
	if *flagCoverage {
		for _, b := range slices.Sorted(maps.Keys(r.Coverage)) {
			t.Logf("%8d %s", r.Coverage[b], b)
		}
	}
}
