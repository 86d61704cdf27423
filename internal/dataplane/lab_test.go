package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// lab is two hosts that share a link, with a workload each, in network namespaces:
//
//	vA eth0 ── tap0 hA ul0 ── ul0 hB tap0 ── eth0 vB
type lab struct {
	t     testing.TB
	name  string
	sites map[string]*labSite
}

type labSite struct {
	name           string
	st             hoststate.State
	env            Env
	dp             *Dataplane
	cfg            Config
	tap, ul        int
	vm, gw, tunnel netip.Addr
}

const labGW = "fa:16:3e:00:00:01"

func run(t testing.TB, format string, args ...any) string {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// enter puts the goroutine's thread into a network namespace for good: the thread
// ends with the goroutine.
func enter(ns string) error {
	runtime.LockOSThread()
	file, err := os.Open("/run/netns/" + ns)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
}

// inNS runs f on a thread in a network namespace.
func inNS(t testing.TB, ns string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		err := enter(ns)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := testutil.Receive(t, "what runs in "+ns, done); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) ns(x string) string { return l.name + x }

func (l *lab) exec(ns, format string, args ...any) string {
	l.t.Helper()
	return run(l.t, "ip netns exec %s %s", l.ns(ns), fmt.Sprintf(format, args...))
}

func (l *lab) index(ns, dev string) int {
	l.t.Helper()
	var n int
	if _, err := fmt.Sscan(l.exec(ns, "cat /sys/class/net/%s/ifindex", dev), &n); err != nil {
		l.t.Fatal(err)
	}
	return n
}

// newLab builds the namespaces and hosts, attached and synchronised.
func newLab(t testing.TB, vmMTU, underlayMTU int) *lab {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "ping", "ethtool")
	l := &lab{t: t, name: fmt.Sprintf("cwdp%d", os.Getpid()%100000), sites: map[string]*labSite{}}
	for _, x := range []string{"hA", "hB", "vA", "vB"} {
		run(t, "ip netns add %[1]s && ip -n %[1]s link set lo up", l.ns(x))
		t.Cleanup(func() { run(t, "ip netns del %s", l.ns(x)) })
		l.exec(x, "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1 net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
	}
	run(t, "ip link add ul0 netns %s mtu %d type veth peer name ul0 netns %s mtu %d", l.ns("hA"), underlayMTU, l.ns("hB"), underlayMTU)
	for i, s := range []string{"A", "B"} {
		site := &labSite{
			name:   s,
			vm:     netip.AddrFrom4([4]byte{10, 0, byte(i), 3}),
			gw:     netip.AddrFrom4([4]byte{10, 0, byte(i), 1}),
			tunnel: netip.AddrFrom4([4]byte{200, 200, 0, byte(i + 1)}),
		}
		l.sites[s] = site
		h, v := l.ns("h"+s), l.ns("v"+s)
		run(t, "ip link add tap0 netns %s mtu %d type veth peer name eth0 netns %s mtu %d address %s", h, vmMTU, v, vmMTU, vmMAC(i))
		run(t, `ip -n %[1]s addr add 172.31.0.%[2]d/30 dev ul0 && ip -n %[1]s link set ul0 up && ip -n %[1]s link set tap0 up &&
			ip -n %[1]s addr add %[3]s/32 dev lo && ip -n %[1]s route add 200.200.0.%[4]d via 172.31.0.%[4]d src %[3]s &&
			ip -n %[1]s link add vx0 mtu %[5]d type vxlan external dstport 4789 nolearning && ip -n %[1]s link set vx0 up`,
			h, i+1, site.tunnel, 2-i, underlayMTU)
		l.exec("h"+s, "sysctl -qw net.ipv4.conf.vx0.forwarding=1")
		run(t, `ip -n %[1]s addr add %[2]s/24 dev eth0 && ip -n %[1]s link set eth0 up && ip -n %[1]s route add default via %[3]s`, v, site.vm, site.gw)
		site.tap, site.ul = l.index("h"+s, "tap0"), l.index("h"+s, "ul0")
		site.st = labState(i, vmMTU)
		site.env = Env{
			Links:      map[string]Link{"tap0": {Index: site.tap, PeerElsewhere: true, MTU: vmMTU}},
			PathMTU:    map[netip.Addr]int{netip.AddrFrom4([4]byte{200, 200, 0, byte(2 - i)}): underlayMTU},
			VXLANIndex: l.index("h"+s, "vx0"),
			Ways: map[VTEP]Way{
				{Local: site.tunnel, Remote: netip.AddrFrom4([4]byte{200, 200, 0, byte(2 - i)})}: {Interfaces: [MaxWays]uint32{uint32(site.ul)}},
			},
		}
		site.cfg = Config{PinDir: labPins(t)}
	}
	for _, s := range []string{"A", "B"} {
		l.open(s, layoutVersion)
		l.sync(s)
		l.attach(s)
		site := l.sites[s]
		t.Cleanup(func() {
			if err := site.dp.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
	return l
}

func vmMAC(i int) model.MAC { return model.MAC{0xfa, 0x16, 0x3e, 0, byte(0x0a + i), 3} }

// msMAC has the group bit at site A, as real deployments have it.
func msMAC(i int) model.MAC {
	return []model.MAC{model.MustMAC("17:b7:b5:a4:57:75"), model.MustMAC("6e:e4:5a:fa:8e:09")}[i]
}

// labPins makes a bpf filesystem of the test's own.
func labPins(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "bpf")
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Error(err)
		}
	})
	return dir
}

// labState is what site i knows: a tenant network with a workload, a network shared
// with the other site over VNI 100, a router on both.
func labState(i, mtu int) hoststate.State {
	st := hoststate.NewState()
	o := 1 - i
	a4 := func(a, b, c, d int) netip.Addr { return netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)}) }
	gwMAC := model.MustMAC(labGW)
	local, remote := a4(200, 200, 0, i+1), a4(200, 200, 0, o+1)
	st.Ports[1] = hoststate.Port{ID: "port-1", Network: 1, Interface: "tap0", MAC: vmMAC(i), Addrs: []netip.Addr{a4(10, 0, i, 3)}, PortSecurity: true}
	st.Networks[1] = hoststate.Network{ID: "n1", Name: "tenant", MTU: mtu}
	st.Networks[2] = hoststate.Network{ID: "n2", Name: "shared", MTU: mtu}
	st.Routers[1] = hoststate.Router{ID: "r1", Name: "router"}
	st.FDB[hoststate.FDBKey{Network: 1, MAC: gwMAC}] = hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: 1, Addr: a4(10, 0, i, 1)}
	st.FDB[hoststate.FDBKey{Network: 1, MAC: vmMAC(i)}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 1}
	st.FDB[hoststate.FDBKey{Network: 2, MAC: msMAC(i)}] = hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: 1, Addr: a4(192, 168, 0, i+1)}
	st.FDB[hoststate.FDBKey{Network: 2, MAC: msMAC(o)}] = hoststate.FDBEntry{Kind: hoststate.FDBRemote, Addr: remote, TunnelIP: local, VNI: 100, Gateway: "gw"}
	st.Neighbors[hoststate.NeighborKey{Network: 1, IP: a4(10, 0, i, 1)}] = gwMAC
	st.Neighbors[hoststate.NeighborKey{Network: 1, IP: a4(10, 0, i, 3)}] = vmMAC(i)
	st.Neighbors[hoststate.NeighborKey{Network: 2, IP: a4(192, 168, 0, i+1)}] = msMAC(i)
	st.Neighbors[hoststate.NeighborKey{Network: 2, IP: a4(192, 168, 0, o+1)}] = msMAC(o)
	route := func(p string, r hoststate.Route) {
		st.Routes[hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix(p)}] = r
	}
	route(fmt.Sprintf("10.0.%d.0/24", i), hoststate.Route{Kind: hoststate.RouteConnected, Network: 1, MAC: gwMAC})
	route(fmt.Sprintf("10.0.%d.1/32", i), hoststate.Route{Kind: hoststate.RouteLocal})
	route("192.168.0.0/24", hoststate.Route{Kind: hoststate.RouteConnected, Network: 2, MAC: msMAC(i)})
	route(fmt.Sprintf("192.168.0.%d/32", i+1), hoststate.Route{Kind: hoststate.RouteLocal})
	route(fmt.Sprintf("10.0.%d.0/24", o), hoststate.Route{Kind: hoststate.RouteVia, Network: 2, NextHop: a4(192, 168, 0, o+1), MAC: msMAC(i)})
	st.VNIs[hoststate.VNIKey{TunnelIP: local, VNI: 100}] = 2
	st.Peers[hoststate.PeerKey{TunnelIP: local, Remote: remote, VNI: 100}] = hoststate.Peer{Network: 2, Gateway: "gw"}
	st.Gateways["gw"] = hoststate.Gateway{TunnelIP: local, Router: 1}
	return st
}

func (l *lab) open(s string, version int) {
	l.t.Helper()
	site := l.sites[s]
	if site.dp != nil {
		if err := site.dp.Close(); err != nil {
			l.t.Fatal(err)
		}
	}
	inNS(l.t, l.ns("h"+s), func() (err error) {
		site.dp, err = open(site.cfg, version)
		return err
	})
}

func (l *lab) sync(s string) {
	l.t.Helper()
	site := l.sites[s]
	if err := site.dp.Sync(site.st, site.env); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) attach(s string) {
	l.t.Helper()
	site := l.sites[s]
	inNS(l.t, l.ns("h"+s), func() error {
		if err := site.dp.AttachWorkload(site.tap); err != nil {
			return err
		}
		if err := site.dp.AttachUnderlay(site.ul); err != nil {
			return err
		}
		return site.dp.AttachVXLAN(site.env.VXLANIndex)
	})
}

// drops are the drop counters of a site that are not 0, in words.
func (l *lab) drops(s string) string {
	l.t.Helper()
	all, err := l.sites[s].dp.Drops()
	if err != nil {
		l.t.Fatal(err)
	}
	var words []string
	for r, n := range all {
		if n > 0 {
			words = append(words, fmt.Sprintf("%v=%d", reasonName(r), n))
		}
	}
	return strings.Join(words, " ")
}
