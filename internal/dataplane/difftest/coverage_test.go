package difftest

import (
	"fmt"
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
	"flow", "flow from tunnel", "flow into tunnel", "in place, fabric to tunnel", "in place, tunnel to fabric", "in place, tunnel to tunnel", "bridge/port", "bridge/router", "bridge/remote", "bridge/drop", "bridge/too-big",
	"route/port", "route/remote", "route/router", "route/fragment", "route/echo", "route/drop", "route/fdb-drop", "route/l2-unknown",
	"route/hops", "route/hops-down", "route/hop-left", "route/local-icmp", "route/local-originator", "icmp", "no-icmp", "route/probe", "probe-failed",
	"underlay/decapsulated", "underlay/kernel", "underlay/vouched", "underlay/unvouched", "underlay/not-ip", "underlay/gso-not-tcp", "underlay/rigid", "underlay/ecn-changed", "tunnel/peer-drop",
	"fabric", "bridge/host", "bridge/vlan-host", "route/host", "flood/fabric", "bridge/fabric-remote", "flow from fabric", "flow into fabric",
	"fabric/decapsulated", "fabric/router", "fabric/source-drop", "fabric/moving-source", "fabric/moving-port", "fabric/moving-too-big", "fabric/host-drop", "fabric/too-big", "fabric/too-big-port", "fabric/fragment", "underlay/fabric-kernel", "fabric/pair-mac", "fabric/heard", "fabric/unsecured", "fabric/heard-by-router", "bridge/router-heard", "flood/heard", "fabric/station", "fabric/station-heard", "flood/fabric-vlan", "bridge/fabric-vlan", "bridge/fabric-other-vlan", "underlay/fabric-port", "vxlan/fabric",
	"vxlan/in", "vxlan/arp", "slow/route", "slow/bridge", "slow/bridge-router",
}

// rare are branches that need several things at once, such as a port of this host, what the fabric brings and a frame of a certain
// size, or ARP by another host's pair: half as often is enough.
var rare = map[string]bool{"fabric/moving-too-big": true, "fabric/too-big-port": true, "fabric/heard-by-router": true, "fabric/unsecured": true, "fabric/station-heard": true}

// missing are the branches that were taken less often than that.
func missing(r *Runner, least uint64) []string {
	var out []string
	for why := reason.None + 1; why < reason.Count; why++ {
		if n := r.Reasons[why]; unreachable[why] == "" && n < least {
			out = append(out, fmt.Sprintf("drop %s: met %d times, want %d", why, n, least))
		}
	}
	for _, b := range branches {
		least := least
		if rare[b] {
			least /= 2
		}
		if r.Coverage[b] < least {
			out = append(out, fmt.Sprintf("branch %s: taken %d times, want %d", b, r.Coverage[b], least))
		}
	}
	return out
}

func checkCoverage(t *testing.T, r *Runner, least uint64) {
	t.Helper()
	for why, note := range unreachable {
		if n := r.Reasons[why]; n != 0 {
			t.Errorf("drop %s is said to be out of reach (%s), and was met %d times", why, note, n)
		}
	}
	for _, m := range missing(r, least) {
		t.Error(m)
	}
	if *flagCoverage {
		for _, b := range slices.Sorted(maps.Keys(r.Coverage)) {
			t.Logf("%8d %s", r.Coverage[b], b)
		}
	}
}
