package agent

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testutil"
)

const (
	pairOut = "src 200.200.0.1/32 dst 200.200.0.2/32"
	pairIn  = "src 200.200.0.2/32 dst 200.200.0.1/32"
	// Templates for which there are no keys: the kernel sends nothing and takes nothing.
	tmplOut = " tmpl src 200.200.0.1 dst 200.200.0.2 proto esp reqid 1 mode transport"
	tmplIn  = " tmpl src 200.200.0.2 dst 200.200.0.1 proto esp reqid 1 mode transport"
)

// leaves tells whether a tunnel packet leaves by n within a time, while the workload pings.
func (l *tunnelled) leaves(vm namespace, n *nic, patience time.Duration) bool {
	l.t.Helper()
	n.drain()
	_ = try(vm.in("ping -n -c 2 -i 0.05 -W 0.05 10.0.1.3"))
	b := make([]byte, 2048)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		m, err := unix.Read(n.fd, b)
		if err != nil {
			continue // nothing within 50 ms
		}
		if e, err := packet.Decapsulate(b[:m]); err == nil && e.VXLAN.VNI == 100 {
			return true
		}
	}
	return false
}

// drain takes what has come to the neighbour so far; from then on its socket hears.
func (n *nic) drain() {
	n.t.Helper()
	const ip = 0x0008 // ETH_P_IP in network order
	if err := unix.Bind(n.fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: n.index}); err != nil {
		n.t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(n.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		n.t.Fatal(err)
	}
	for b := make([]byte, 2048); ; {
		if _, err := unix.Read(n.fd, b); err != nil {
			return
		}
	}
}

// xfrmStats are the counters of the namespace's IPsec.
func xfrmStats(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/xfrm_stat")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// requireXFRM refuses kernels whose IPsec cannot be asked: Debian's can.
func requireXFRM(t *testing.T) {
	t.Helper()
	sh(t, "ip xfrm policy list >/dev/null")
	if _, err := os.Stat("/proc/net/xfrm_stat"); err != nil {
		t.Fatal(err)
	}
}

func ipsecLab(t *testing.T, cfg Config) (*tunnelled, *nic, namespace) {
	t.Helper()
	sh(t, "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
	eth1 := newNIC(t, "eth1", "172.31.0.1/24")
	sh(t, "ip neigh add 172.31.0.2 lladdr 02:00:00:00:00:09 dev eth1; ip route add 200.200.0.2 via 172.31.0.2")
	l := newTunnelled(t, cfg)
	return l, eth1, l.vm
}

// TestIPsecPolicyShuts: an operator who encrypts the underlay sends nothing in clear.
func TestIPsecPolicyShuts(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	requireXFRM(t)
	cfg := testConfig(t)
	l, eth1, vm := ipsecLab(t, cfg)
	open := func(what string) {
		t.Helper()
		testutil.Eventually(t, what+": packets come in", func() bool { return l.arrives(eth1, "whole", time.Second) })
		testutil.Eventually(t, what+": packets leave", func() bool { return l.leaves(vm, eth1, time.Second) })
	}
	shut := func(what string) {
		t.Helper()
		testutil.Eventually(t, what+": the VTEP is shut", func() bool {
			return strings.Contains(scrape(t, l.socket), "causeway_agent_shut_vteps 1")
		})
		before := l.drops("underlay_policy")
		for _, kind := range tunnelKinds {
			if l.arrives(eth1, kind, 50*time.Millisecond) {
				t.Errorf("%s: a packet, %s, comes in", what, kind)
			}
		}
		if l.leaves(vm, eth1, 200*time.Millisecond) {
			t.Errorf("%s: a packet leaves in clear", what)
		}
		if n := l.drops("underlay_policy") - before; n < 3 { // one that came, and two pings
			t.Errorf("%s: %d packets counted as underlay_policy", what, n)
		}
	}
	open("no policy")
	for what, policy := range map[string]string{
		"blocked":             pairOut + " proto udp dport 4789 dir out action block",
		"protected":           pairOut + " dir out" + tmplOut,
		"protected from them": pairIn + " dir in" + tmplIn,
		"everything":          "src 0.0.0.0/0 dst 0.0.0.0/0 dir out action block",
	} {
		sh(t, "ip xfrm policy add "+policy)
		shut(what)
		sh(t, "ip xfrm policy flush")
		open(what + " no more")
	}
	sh(t, "ip xfrm policy setdefault out block")
	shut("all but what is allowed")
	sh(t, "ip xfrm policy add "+pairOut+" dir out action allow")
	open("allowed")
	sh(t, "ip xfrm policy setdefault out accept; ip xfrm policy flush; ip xfrm policy add src 200.200.0.1/32 dst 200.200.0.3/32 dir out action block")
	open("a policy of another host")
}

// TestIPsecPolicyAtStart: the agent does not start, and what its predecessor left running
// sends nothing any more.
func TestIPsecPolicyAtStart(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	requireXFRM(t)
	cfg := testConfig(t)
	l, eth1, vm := ipsecLab(t, cfg)
	testutil.Eventually(t, "packets come in", func() bool { return l.arrives(eth1, "whole", time.Second) })
	l.agent.stop()
	sh(t, "ip xfrm policy add "+pairOut+" dir out"+tmplOut)
	testutil.Eventually(t, "the programs forward without their agent", func() bool { return l.leaves(vm, eth1, time.Second) })
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	err := Run(ctx, cfg, newController(t))
	if err == nil || !strings.Contains(err.Error(), "200.200.0.2") || !strings.Contains(err.Error(), "--underlay-output=kernel") {
		t.Errorf("the agent starts: %v", err)
	}
	if l.leaves(vm, eth1, 200*time.Millisecond) || l.arrives(eth1, "whole", 50*time.Millisecond) {
		t.Error("packets pass in clear")
	}
	// Without the policy it starts, and they pass again.
	sh(t, "ip xfrm policy flush")
	startAgent(t, cfg, newController(t))
	testutil.Eventually(t, "packets come in again", func() bool { return l.arrives(eth1, "whole", time.Second) })
}

// TestKernelOutput: with --underlay-output=kernel the kernel's IPsec and firewall have all
// packets.
func TestKernelOutput(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	requireXFRM(t)
	testutil.RequireTool(t, "nft")
	cfg := testConfig(t)
	cfg.KernelOutput = true
	l, eth1, vm := ipsecLab(t, cfg)
	open := func(what string) {
		t.Helper()
		l.pass(eth1)
		testutil.Eventually(t, what+": packets leave", func() bool { return l.leaves(vm, eth1, time.Second) })
	}
	open("no policy")
	for _, policy := range []string{
		pairOut + " dir out action block", pairOut + " dir out" + tmplOut, pairIn + " dir in action block", pairIn + " dir in" + tmplIn,
	} {
		out := strings.Contains(policy, "dir out")
		before := xfrmStats(t)
		sh(t, "ip xfrm policy add "+policy)
		if out && l.leaves(vm, eth1, 200*time.Millisecond) {
			t.Errorf("%s: a packet leaves", policy)
		}
		for _, kind := range tunnelKinds {
			if !out && l.arrives(eth1, kind, 50*time.Millisecond) {
				t.Errorf("%s: a packet, %s, comes in", policy, kind)
			}
		}
		if now := xfrmStats(t); now == before {
			t.Errorf("%s: the kernel's IPsec has counted nothing:\n%s", policy, now)
		}
		sh(t, "ip xfrm policy flush")
		open(policy + " no more")
	}
	// The host's firewall has them all.
	sh(t, "nft 'add table ip f; add chain ip f in { type filter hook input priority 0; policy drop; }'")
	for _, kind := range tunnelKinds {
		if l.arrives(eth1, kind, 50*time.Millisecond) {
			t.Errorf("a packet, %s, passes the host's firewall", kind)
		}
	}
	// And the interface counts here too.
	sh(t, "nft delete table ip f")
	eth2 := newNIC(t, "eth2", "172.31.2.1/24")
	l.refused(eth2, "not_underlay")
}
