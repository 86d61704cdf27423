package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testbed"
)

// TestAgainstKernelVXLAN replaces site B by a Linux bridge and a kernel vxlan
// device: a VTEP, a router and a workload that no code of ours configures.
func TestAgainstKernelVXLAN(t *testing.T) {
	l := newLab(t, 1, func(f *testbed.File) {
		f.Routers = append(f.Routers, testbed.Node{Name: "kernel-b"}, testbed.Node{Name: "kernel-vm"})
		end := func(node, iface, addr string) testbed.End {
			return testbed.End{Node: node, Interface: iface, Address: netip.MustParsePrefix(addr)}
		}
		f.Links = append(f.Links,
			testbed.Link{Ends: []testbed.End{end("kernel-b", "eth1", "172.16.2.2/24"), end("core", "to-b", "172.16.2.1/24")}},
			testbed.Link{MTU: 1450, Ends: []testbed.End{end("kernel-b", "vm", "10.0.1.1/24"), end("kernel-vm", "eth0", "10.0.1.3/24")}},
		)
		f.Routes["core"] = append(f.Routes["core"], testbed.Route{
			To: netip.MustParsePrefix("200.200.0.2/32"), Via: netip.MustParseAddr("172.16.2.2"),
		})
		f.Routes["kernel-vm"] = []testbed.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.1.1")}}
	})
	const macB = "6e:e4:5a:fa:8e:09" // the chapter's without the group bit, which Linux refuses
	for _, c := range []string{
		"ip addr add 200.200.0.2/32 dev lo",
		"ip route add 200.200.0.1/32 via 172.16.2.1 src 200.200.0.2",
		"ip link add br0 address " + macB + " mtu 1450 type bridge stp_state 0",
		"ip link add vx100 mtu 1450 type vxlan id 100 local 200.200.0.2 dstport 4789 nolearning",
		"ip link set vx100 master br0",
		"ip addr add 192.168.0.2/24 dev br0",
		"ip link set br0 up",
		"ip link set vx100 up",
		"bridge fdb append 16:b7:b5:a4:57:75 dev vx100 dst 200.200.0.1 self permanent",
		"bridge fdb add 16:b7:b5:a4:57:75 dev vx100 master static",
		"ip neigh add 192.168.0.1 lladdr 16:b7:b5:a4:57:75 dev br0 nud permanent",
		"ip route add 10.0.0.0/24 via 192.168.0.1",
	} {
		l.mustRun("kernel-b", strings.Fields(c)...)
	}

	a := l.sites[0].newTenant("t", 100)
	b := &tenant{site: &site{tunnel: netip.MustParseAddr("200.200.0.2")}, cidr: "10.0.1.0/24", peerIP: "192.168.0.2", peerMAC: macB}
	a.addRemotePort(b)
	a.addRemoteMAC(b, "200.200.0.2")
	a.setRoutes(b)
	a.attach("vm-a", 3, "")

	l.reach("vm-a", "10.0.1.3")
	l.reach("kernel-vm", "10.0.0.3")
	for _, dir := range [][2]string{{"vm-a", "kernel-vm"}, {"kernel-vm", "vm-a"}} {
		to := map[string]string{"vm-a": "10.0.0.3", "kernel-vm": "10.0.1.3"}[dir[1]]
		l.bulkTCP(dir[0], dir[1], to, 32<<20)
	}
	wantHops := func(from, to string, want ...string) {
		t.Helper()
		if got := l.traceroute(from, to); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("traceroute from %s to %s: %v; want %v", from, to, got, want)
		}
	}
	wantHops("vm-a", "10.0.1.3", "10.0.0.1", "192.168.0.2", "10.0.1.3")
	wantHops("kernel-vm", "10.0.0.3", "10.0.1.1", "192.168.0.1", "10.0.0.3")
}
