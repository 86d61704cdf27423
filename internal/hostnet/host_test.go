package hostnet

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
	return string(out)
}

func open(t *testing.T, dir string) *Host {
	t.Helper()
	h, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustAll(t *testing.T, failed map[netip.Addr]error) {
	t.Helper()
	if len(failed) > 0 {
		t.Fatal(failed)
	}
}

// world is everything of the host's network that the agent could leave behind.
// What changes by itself (carrier, the addresses IPv6 makes) is not in it.
func world(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(ip(t, "-o link")) {
		f := strings.Fields(line)
		b.WriteString(f[1] + " " + strings.Join(f[3:5], " ") + "\n")
	}
	b.WriteString(ip(t, "-o -4 addr") + ip(t, "rule") + ip(t, "-6 rule"))
	b.WriteString(strings.ReplaceAll(ip(t, "-4 route show table all"), " linkdown", ""))
	return b.String()
}

func TestDevicesComeAndGo(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	before := world(t)
	dir := t.TempDir()
	h := open(t, dir)
	vx, err := h.EnsureVXLAN()
	must(t, err)
	slow, err := h.EnsureSlow()
	must(t, err)
	for _, d := range []string{VXLANDevice, SlowDevice} {
		if out := ip(t, "-6 addr show dev "+d); strings.Contains(out, "inet6") {
			t.Errorf("%s has IPv6 addresses: %s", d, out)
		}
		if l, ok, err := h.Link(d); err != nil || !ok || !l.Up {
			t.Errorf("%s: %+v %v %v", d, l, ok, err)
		}
	}
	fwd := "/proc/sys/net/ipv4/conf/" + VXLANDevice + "/forwarding"
	if b, _ := os.ReadFile(fwd); strings.TrimSpace(string(b)) != "1" {
		t.Errorf("forwarding of %s is %q", VXLANDevice, b)
	}
	if b, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); strings.TrimSpace(string(b)) != "0" {
		t.Errorf("the host's own forwarding was switched on")
	}
	// Again, by another process: nothing new.
	h2 := open(t, dir)
	vx2, err := h2.EnsureVXLAN()
	must(t, err)
	slow2, err := h2.EnsureSlow()
	must(t, err)
	if vx2 != vx || slow2 != slow {
		t.Errorf("devices were made anew: %d→%d, %d→%d", vx, vx2, slow, slow2)
	}
	// Put right what somebody changed.
	must(t, os.WriteFile(fwd, []byte("0"), 0o644))
	ip(t, "link set "+VXLANDevice+" down")
	ip(t, "link set "+VXLANDevice+" mtu 1400")
	if _, err := h2.EnsureVXLAN(); err != nil {
		t.Fatal(err)
	}
	if l, _, _ := h.Link(VXLANDevice); !l.Up || l.MTU != vxlanMTU {
		t.Errorf("%s was not put right: %+v", VXLANDevice, l)
	}
	if b, _ := os.ReadFile(fwd); strings.TrimSpace(string(b)) != "1" {
		t.Errorf("forwarding of %s was not put right", VXLANDevice)
	}
	must(t, h2.Cleanup())
	if after := world(t); after != before {
		t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
	}
}

// TestFabricDevice: the fabric has a device of its own beside that of the tunnels, which is made anew
// on another port, told where its port is taken, and goes by itself or with all the rest.
func TestFabricDevice(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	before := world(t)
	h := open(t, t.TempDir())
	vx, err := h.EnsureVXLAN()
	must(t, err)
	first, err := h.PrepareFabric(4798)
	must(t, err)
	if l, _, _ := h.Link(FabricDevice); l.Up || !OwnDevice(l.Name) {
		t.Errorf("before its program is there: %+v", l)
	}
	again, err := h.EnsureFabric(4798)
	must(t, err)
	if l, _, _ := h.Link(FabricDevice); again != first || !l.Up || l.MTU != vxlanMTU {
		t.Errorf("%d, then %d: %+v", first, again, l)
	}
	if out := ip(t, "-d link show dev "+FabricDevice); !strings.Contains(out, "dstport 4798") || !strings.Contains(out, "external") || !strings.Contains(out, "noqueue") {
		t.Error(out)
	}
	if b, _ := os.ReadFile("/proc/sys/net/ipv4/conf/" + FabricDevice + "/forwarding"); strings.TrimSpace(string(b)) != "1" {
		t.Errorf("forwarding of %s is %q", FabricDevice, b)
	}
	moved, err := h.EnsureFabric(5000)
	must(t, err)
	if out := ip(t, "-d link show dev "+FabricDevice); moved == first || !strings.Contains(out, "dstport 5000") {
		t.Errorf("on another port it is %d as before: %s", moved, out)
	}
	if now, err := h.EnsureVXLAN(); err != nil || now != vx {
		t.Errorf("that of the tunnels was %d and is %d: %v", vx, now, err)
	}
	must(t, h.RemoveFabric())
	must(t, h.RemoveFabric())
	if _, there, _ := h.Link(FabricDevice); there {
		t.Error("it is there still")
	}
	ip(t, "link add theirs type vxlan external dstport 4798")
	ip(t, "link set theirs up")
	if _, err := h.EnsureFabric(4798); err == nil || !strings.Contains(err.Error(), "UDP port 4798 is taken by the vxlan device theirs") {
		t.Errorf("where the port is taken: %v", err)
	}
	ip(t, "link del theirs")
	if _, err := h.EnsureFabric(4798); err != nil {
		t.Error(err)
	}
	must(t, h.Cleanup())
	if after := world(t); after != before {
		t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
	}
	ip(t, "link add "+FabricDevice+" type veth peer name theirs")
	must(t, h.RemoveFabric())
	if _, there, _ := h.Link(FabricDevice); !there {
		t.Error("a device that is not the agent's was taken away")
	}
}

func TestTapCarriesFrames(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	h := open(t, t.TempDir())
	_, err := h.EnsureSlow()
	must(t, err)
	tap, err := h.OpenTap()
	must(t, err)
	if _, err := h.OpenTap(); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second one may attach: %v", err)
	}
	frame := make([]byte, 60)
	frame[12] = 8
	if _, err := tap.Write(frame); err != nil {
		t.Error(err)
	}
	// Close wakes a reader that waits.
	done := make(chan error, 1)
	go func() {
		_, err := tap.Read(make([]byte, 100))
		for err == nil {
			_, err = tap.Read(make([]byte, 100))
		}
		done <- err
	}()
	must(t, tap.Close())
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the reader still waits")
	}
}

func TestForeignDeviceIsLeftAlone(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	ip(t, "link add "+VXLANDevice+" type bridge")
	h := open(t, t.TempDir())
	if _, err := h.EnsureVXLAN(); err == nil || !strings.Contains(err.Error(), "not the agent's") {
		t.Errorf("got %v", err)
	}
	must(t, h.Cleanup())
	if !strings.Contains(ip(t, "link"), VXLANDevice) {
		t.Error("cleanup removed a device that was not the agent's")
	}
}

func TestPortTakenIsNamed(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	for name, c := range map[string]struct {
		take func() (undo func())
		want string
	}{
		"by a collect-metadata device": {func() func() {
			ip(t, "link add vx0 type vxlan external dstport 4789")
			return func() { ip(t, "link del vx0") }
		}, "vxlan device vx0"},
		"by an ordinary device": {func() func() {
			ip(t, "link add vx1 type vxlan id 7 dstport 4789")
			ip(t, "link set vx1 up")
			return func() { ip(t, "link del vx1") }
		}, "vxlan device vx1"},
		"by a program": {func() func() {
			c, err := net.ListenPacket("udp4", ":4789")
			must(t, err)
			return func() { c.Close() }
		}, "process " + strconv.Itoa(os.Getpid())},
	} {
		h := open(t, t.TempDir())
		undo := c.take()
		if _, err := h.EnsureVXLAN(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to name %q", name, err, c.want)
		}
		undo()
		if _, err := h.EnsureVXLAN(); err != nil {
			t.Errorf("%s, after it is free again: %v", name, err)
		}
		must(t, h.Cleanup())
	}
}

func TestTunnelIPs(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	ip(t, "link add eth7 type bridge")
	ip(t, "addr add 200.200.0.7/24 dev eth7")
	ip(t, "link set eth7 up")
	before := world(t)
	h := open(t, t.TempDir())
	_, err := h.EnsureVXLAN()
	must(t, err)
	a, b, own := netip.MustParseAddr("200.200.0.1"), netip.MustParseAddr("200.201.0.1"), netip.MustParseAddr("200.200.0.7")
	mustAll(t, h.AddTunnelIPs([]netip.Addr{a, own}))
	if out := ip(t, "addr show dev "+VXLANDevice); !strings.Contains(out, "200.200.0.1/32") || strings.Contains(out, "200.200.0.7") {
		t.Errorf("addresses: %s", out)
	}
	// A move: the new one is there before the old one goes.
	mustAll(t, h.AddTunnelIPs([]netip.Addr{b}))
	must(t, h.PruneTunnelIPs([]netip.Addr{b}))
	if out := ip(t, "addr show dev "+VXLANDevice); strings.Contains(out, "200.200.0.1/32") || !strings.Contains(out, "200.201.0.1/32") {
		t.Errorf("addresses after the move: %s", out)
	}
	// Somebody gives the host the address: ours goes, theirs stays.
	ip(t, "addr add 200.201.0.1/24 dev eth7")
	must(t, h.PruneTunnelIPs([]netip.Addr{b}))
	if out := ip(t, "addr"); strings.Contains(out, "200.201.0.1/32") || !strings.Contains(out, "200.201.0.1/24") {
		t.Errorf("addresses after the host got its own: %s", out)
	}
	ip(t, "addr del 200.201.0.1/24 dev eth7")
	must(t, h.Cleanup())
	if after := world(t); after != before {
		t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
	}
}

func TestVTEPRouter(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	ip(t, "link add up1 type veth peer name gw1")
	ip(t, "link set up1 up")
	ip(t, "link set gw1 up")
	before := world(t)
	dir := t.TempDir()
	h := open(t, dir)
	_, err := h.EnsureVXLAN()
	must(t, err)
	r := VTEPRouter{
		ID: "gw", TunnelIP: netip.MustParseAddr("200.200.0.1"),
		Uplinks: []Uplink{{Interface: "up1", Addr: netip.MustParsePrefix("172.16.0.1/24")}},
		Routes:  []Route{{netip.MustParsePrefix("200.200.0.2/32"), netip.MustParseAddr("172.16.0.254")}},
	}
	rs := []VTEPRouter{r}
	for range 2 { // the second time changes nothing
		must(t, h.AddVTEPRouter(rs[0]))
		mustAll(t, h.AddTunnelIPs([]netip.Addr{r.TunnelIP}))
		must(t, h.PruneVTEPRouters(rs))
		if out := ip(t, "route show table 10000"); strings.Count(out, "\n") != 2 ||
			!strings.Contains(out, "200.200.0.2 via 172.16.0.254 dev up1") || !strings.Contains(out, "172.16.0.0/24 dev up1") {
			t.Errorf("table: %s", out)
		}
		if out := ip(t, "rule"); strings.Count(out, "lookup 10000") != 2 || !strings.Contains(out, "from 200.200.0.1 lookup 10000") {
			t.Errorf("rules: %s", out)
		}
	}
	if out := ip(t, "route show table main"); strings.Contains(out, "172.16") {
		t.Errorf("the host's main table got a route: %s", out)
	}
	p, ok, err := h.Path(r.TunnelIP, netip.MustParseAddr("200.200.0.2"))
	up, _, _ := h.Link("up1")
	if err != nil || !ok || p.Index != up.Index || p.MTU != 1500 {
		t.Errorf("path %+v %v %v", p, ok, err)
	}
	// A restart keeps the table; another next hop takes the route over.
	h2 := open(t, dir)
	r.Routes[0].NextHop = netip.MustParseAddr("172.16.0.253")
	must(t, h2.AddVTEPRouter(rs[0]))
	if out := ip(t, "route show table 10000"); !strings.Contains(out, "via 172.16.0.253") || strings.Contains(out, "172.16.0.254") {
		t.Errorf("table after the change: %s", out)
	}
	// A second next hop joins it, before and behind, and goes again.
	one := r.Routes
	for _, second := range []string{"172.16.0.252", "172.16.0.254"} {
		rs[0].Routes = append(slices.Clone(one), Route{netip.MustParsePrefix("200.200.0.2/32"), netip.MustParseAddr(second)})
		slices.SortFunc(rs[0].Routes, func(a, b Route) int { return a.NextHop.Compare(b.NextHop) })
		for range 2 {
			must(t, h2.AddVTEPRouter(rs[0]))
			if out := ip(t, "route show table 10000"); !strings.Contains(out, "nexthop via 172.16.0.253") || !strings.Contains(out, "nexthop via "+second) {
				t.Errorf("table with a second next hop: %s", out)
			}
		}
		rs[0].Routes = one
		must(t, h2.AddVTEPRouter(rs[0]))
		if out := ip(t, "route show table 10000"); !strings.Contains(out, "200.200.0.2 via 172.16.0.253") || strings.Contains(out, "nexthop") {
			t.Errorf("table with one next hop again: %s", out)
		}
	}
	must(t, h2.PruneVTEPRouters(nil))
	if out := ip(t, "rule") + ip(t, "addr"); strings.Contains(out, "10000") || strings.Contains(out, "172.16") {
		t.Errorf("still there: %s", out)
	}
	must(t, h2.AddVTEPRouter(rs[0]))
	must(t, h2.Cleanup())
	if after := world(t); after != before {
		t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
	}
}

func TestVTEPRouterWithTwoUplinks(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	for _, n := range []string{"1", "2"} {
		ip(t, "link add up"+n+" type veth peer name gw"+n)
		ip(t, "link set up"+n+" up")
		ip(t, "link set gw"+n+" up")
	}
	// The second uplink has its address from somebody else.
	ip(t, "addr add 172.16.2.1/24 dev up2")
	before := world(t)
	h := open(t, t.TempDir())
	_, err := h.EnsureVXLAN()
	must(t, err)
	// The tunnel IP is the first uplink's address.
	rs := []VTEPRouter{{
		ID: "gw", TunnelIP: netip.MustParseAddr("172.16.1.1"),
		Uplinks: []Uplink{
			{Interface: "up1", Addr: netip.MustParsePrefix("172.16.1.1/24")},
			{Interface: "up2", Addr: netip.MustParsePrefix("172.16.2.1/24")},
			{Interface: "up3", Addr: netip.MustParsePrefix("172.16.3.1/24")},
		},
		Routes: []Route{
			{netip.MustParsePrefix("200.200.1.0/24"), netip.MustParseAddr("172.16.1.254")},
			{netip.MustParsePrefix("200.200.2.0/24"), netip.MustParseAddr("172.16.2.254")},
			{netip.MustParsePrefix("200.200.3.0/24"), netip.MustParseAddr("172.16.3.254")},
			{netip.MustParsePrefix("200.200.4.0/24"), netip.MustParseAddr("172.16.4.254")},
		},
	}}
	// The third is not there: it is named, and the others work.
	if err := h.AddVTEPRouter(rs[0]); err == nil || !strings.Contains(err.Error(), "interface up3 does not exist") {
		t.Errorf("got %v", err)
	}
	mustAll(t, h.AddTunnelIPs([]netip.Addr{rs[0].TunnelIP}))
	if out := ip(t, "-4 addr show dev "+VXLANDevice); strings.Contains(out, "inet") {
		t.Errorf("the tunnel IP is on the vxlan device too: %s", out)
	}
	out := ip(t, "route show table 10000")
	for _, want := range []string{"200.200.1.0/24 via 172.16.1.254 dev up1", "200.200.2.0/24 via 172.16.2.254 dev up2"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q: %s", want, out)
		}
	}
	if strings.Contains(out, "200.200.3.0") || strings.Contains(out, "200.200.4.0") {
		t.Errorf("routes that lead nowhere: %s", out)
	}
	up2, _, _ := h.Link("up2")
	if p, ok, err := h.Path(rs[0].TunnelIP, netip.MustParseAddr("200.200.2.9")); err != nil || !ok || p.Index != up2.Index {
		t.Errorf("path %+v %v %v", p, ok, err)
	}
	must(t, h.Cleanup())
	if after := world(t); after != before {
		t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
	}
}

func TestWatch(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	h := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	w, err := h.Watch(ctx)
	must(t, err)
	var seen Change
	until := func(what string, ok func() bool) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for !ok() {
			select {
			case <-w.Ready():
				c := w.Take()
				for n := range c.Links {
					seen.link(n)
				}
				seen.Addrs = seen.Addrs || c.Addrs
				seen.Routes = seen.Routes || c.Routes
				seen.Conf = seen.Conf || c.Conf
			case <-deadline:
				t.Fatalf("no event about %s: %+v", what, seen)
			}
		}
		seen = Change{}
	}
	has := func(n string) func() bool { return func() bool { _, ok := seen.Links[n]; return ok } }
	ip(t, "link add tap0 type veth peer name tap0p")
	until("a new link", has("tap0"))
	ip(t, "addr add 10.9.9.1/24 dev tap0")
	until("an address", func() bool { return seen.Addrs })
	ip(t, "link set tap0 up")
	until("a route", func() bool { return seen.Routes })
	ip(t, "link set tap0 down")
	ip(t, "link set tap0 name tap1")
	until("a renamed link", func() bool { return has("tap0")() && has("tap1")() })
	must(t, os.WriteFile("/proc/sys/net/ipv4/conf/tap1/forwarding", []byte("1"), 0o644))
	until("a forwarding switch", func() bool { return seen.Conf })
	ip(t, "link del tap1")
	until("a link gone", has("tap1"))
	cancel()
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

func TestLinkKinds(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	h := open(t, t.TempDir())
	ip(t, "link add here type veth peer name here2")
	ip(t, "link add away type veth peer name away2")
	cmd := exec.Command("unshare", "-n", "sleep", "60")
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = testutil.Exit(t, cmd) }()
	pid := strconv.Itoa(cmd.Process.Pid)
	own, _ := os.Readlink("/proc/thread-self/ns/net") // the main thread may have been left in another
	testutil.Eventually(t, "a second namespace", func() bool {
		ns, err := os.Readlink("/proc/" + pid + "/ns/net")
		return err == nil && ns != own
	})
	ip(t, "link set away2 netns "+pid)
	for name, elsewhere := range map[string]bool{"here": false, "away": true} {
		l, ok, err := h.Link(name)
		if err != nil || !ok || l.PeerElsewhere != elsewhere || l.Kind != "veth" || l.MTU != 1500 || !l.Ethernet {
			t.Errorf("%s: %+v %v %v", name, l, ok, err)
		}
	}
	if _, ok, err := h.Link("none"); ok || err != nil {
		t.Errorf("a link that is not there: %v %v", ok, err)
	}
}

func FuzzParsePathTooSmall(f *testing.F) {
	b := make([]byte, 20+8+20+8)
	b[0], b[9], b[20], b[21] = 0x45, 1, 3, 4
	b[28], b[37], b[50], b[51] = 0x45, 17, 0x12, 0xb5
	if _, ok := parsePathTooSmall(b, []uint16{VXLANPort}); ok {
		f.Fatal("a message is taken that quotes a source port which we never use")
	}
	b[48] = 0xc0 // 49152
	if _, ok := parsePathTooSmall(b, []uint16{VXLANPort}); !ok {
		f.Fatal("a good message is not taken")
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) { parsePathTooSmall(b, []uint16{VXLANPort, 4798}) })
}
