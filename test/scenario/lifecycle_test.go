package scenario

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestInterfaceComesAndGoes takes a workload's interface away, moves it to another
// namespace, and makes it again under the same name.
func TestInterfaceComesAndGoes(t *testing.T) {
	p := newPair(t)
	port := p.a.workloadPorts[p.vmA]
	var iface string
	for _, w := range p.Workloads() {
		if w.Name == p.vmA {
			iface = w.Interface
		}
	}
	mac := client.Str(p.a.site.get(client.Ports, port), "mac_address")
	again := func() {
		for _, c := range []string{
			"ip link add " + iface + " mtu 1450 type veth peer name back0 mtu 1450",
			"ip link set back0 netns " + p.NetNSName(p.vmA) + " name eth0 address " + mac,
			"ip link set " + iface + " up",
		} {
			p.mustRun("a1", strings.Fields(c)...)
		}
		for _, c := range []string{
			"ip addr add 10.0.0.3/24 dev eth0", "ip link set eth0 up", "ip route replace default via 10.0.0.1",
		} {
			p.mustRun(p.vmA, strings.Fields(c)...)
		}
		p.a.site.waitStatus(port, "ACTIVE")
		p.mustPing(p.vmA, p.addrB)
		p.mustPing(p.vmB, p.addrA)
	}
	gone := func() {
		p.a.site.waitStatus(port, "DOWN")
		before := p.a.site.drops()
		if n := p.ping(p.vmB, p.addrA, 1); n != 0 {
			t.Error("a ping to a port without interface was answered")
		}
		if d := risen(before, p.a.site.drops()); len(d) != 1 || d["destination_unbound"] == 0 {
			t.Errorf("counters that rose: %v; want destination_unbound alone", d)
		}
	}

	p.mustRun("a1", "ip", "link", "del", iface)
	gone()
	again()
	p.mustRun("a1", "ip", "link", "set", iface, "netns", p.NetNSName("core"))
	gone()
	p.mustRun("core", "ip", "link", "del", iface)
	again()
}

// TestTunnelIPMoves gives site A another tunnel IP while a flood runs.
func TestTunnelIPMoves(t *testing.T) {
	p := newPair(t)
	p.sink(p.vmB, 9999)
	p.mustRun("core", "ip", "route", "add", "200.200.0.50/32", "via", "172.16.1.2")
	f := p.startFlood(p.vmA, p.addrB+":9999")
	defer func() {
		if err := f.end(); err != nil {
			t.Error(err)
		}
	}()
	move := func(to string) {
		p.b.site.remove(client.RemoteMACEntries(p.b.device), p.b.remoteMACs[p.a])
		p.a.site.update(client.GatewayDevices, p.a.device, client.Attrs{"tunnel_ips": []string{to}})
		p.b.addRemoteMAC(p.a, to)
		testutil.Succeeds(t, "traffic to flow by "+to, func() error {
			if p.ping(p.vmA, p.addrB, 1) != 1 || p.ping(p.vmB, p.addrA, 1) != 1 {
				return fmt.Errorf("a ping is lost")
			}
			return nil
		})
	}
	move("200.200.0.50")
	if out := p.mustRun("a1", "ip", "-4", "addr"); strings.Contains(out, "200.200.0.1/") || !strings.Contains(out, "200.200.0.50/") {
		t.Errorf("site A's host has not moved its tunnel IP:\n%s", out)
	}
	// Site B sends to the old one: nothing of it is accepted.
	p.b.site.remove(client.RemoteMACEntries(p.b.device), p.b.remoteMACs[p.a])
	p.b.addRemoteMAC(p.a, "200.200.0.1")
	testutil.Succeeds(t, "the old tunnel IP to be dead", func() error { return mustFail(p.ping(p.vmB, p.addrA, 1)) })
	p.b.site.remove(client.RemoteMACEntries(p.b.device), p.b.remoteMACs[p.a])
	p.b.addRemoteMAC(p.a, "200.200.0.50")
	move("200.200.0.1")
}

// TestAgentRemovesOnlyItsOwn compares a host before its agent came and after it
// was cleaned up.
func TestAgentRemovesOnlyItsOwn(t *testing.T) {
	p := newPair(t)
	p.mustRun("a1", "ip", "link", "add", "own-bridge", "type", "bridge")
	p.mustRun("a1", "ip", "link", "set", "own-bridge", "up")
	p.mustRun("a1", "ip", "rule", "add", "from", "203.0.113.1", "lookup", "77")
	p.mustRun("a1", "ip", "route", "add", "203.0.113.0/24", "dev", "own-bridge", "table", "77")
	if err := p.Kill("a1"); err != nil {
		t.Fatal(err)
	}
	p.mustRun("a1", program, "agent", "cleanup", "--pin-dir", p.PinDir("a1"), "--state-dir", p.DataDir("a1"))
	links := p.mustRun("a1", "ip", "-o", "link")
	for _, gone := range []string{"cw-vxlan", "cw-slow"} {
		if strings.Contains(links, gone) {
			t.Errorf("%s is left:\n%s", gone, links)
		}
	}
	for _, stays := range []string{"own-bridge", "eth1"} {
		if !strings.Contains(links, stays) {
			t.Errorf("%s was taken away:\n%s", stays, links)
		}
	}
	if rules := p.mustRun("a1", "ip", "rule"); !strings.Contains(rules, "203.0.113.1") {
		t.Errorf("a rule of the operator's was taken away:\n%s", rules)
	}
	if addrs := p.mustRun("a1", "ip", "-4", "addr"); strings.Contains(addrs, "200.200.0.1") {
		t.Errorf("the tunnel IP is left:\n%s", addrs)
	}
	if pins, err := os.ReadDir(p.PinDir("a1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pins are left: %v %v", pins, err)
	}
}

// TestVXLANPortTaken starts an agent beside a foreign vxlan device on port 4789.
func TestVXLANPortTaken(t *testing.T) {
	p := newPair(t)
	if err := p.Kill("a1"); err != nil {
		t.Fatal(err)
	}
	p.mustRun("a1", program, "agent", "cleanup", "--pin-dir", p.PinDir("a1"), "--state-dir", p.DataDir("a1"))
	p.mustRun("a1", "ip", "link", "add", "foreign0", "type", "vxlan", "external", "dstport", "4789")
	p.mustRun("a1", "ip", "link", "set", "foreign0", "up")
	out, err := p.run("a1", "timeout", "20", program, "agent", "--pin-dir", p.PinDir("a1"), "--state-dir", p.DataDir("a1"),
		"--controller", "unix:///nowhere.sock", "--metrics-listen", "")
	if err == nil || !strings.Contains(out, "foreign0") || !strings.Contains(out, "4789") {
		t.Errorf("the agent does not name foreign0 and port 4789: %v\n%s", err, out)
	}
}
