package hwvtep

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(i int) model.MAC { return model.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)} }

// example is a switch with two networks.
func example() Want {
	return Want{Device: device, TunnelIP: tunnelIP(), Segments: []Segment{
		{Connection: "c1", Network: "n1", VNI: 100, Bindings: []Binding{{"p0", 10}, {"p1", 0}},
			Remote: []RemoteMAC{{mac(1), addr("10.8.0.2")}, {mac(2), addr("10.8.0.3")}}, VTEPs: []netip.Addr{addr("10.8.0.2"), addr("10.8.0.3")}},
		{Connection: "c2", Network: "n2", VNI: 200, Bindings: []Binding{{"p0", 20}},
			Remote: []RemoteMAC{{mac(1), addr("10.8.0.2")}}, VTEPs: []netip.Addr{addr("10.8.0.2")}},
	}}
}

// target is w as it is now: the test may go on changing it.
func (o *ovs) target(w Want) []Target {
	w.Segments = slices.Clone(w.Segments)
	return []Target{{Address: o.address, Want: w}}
}

// retired is the device after its deletion.
func (o *ovs) retired() []Target {
	return []Target{{Address: o.address, Want: Want{Device: device}, Retired: true}}
}

// foreign puts rows of somebody else into the database, and returns a function that
// checks that they are still there.
func (o *ovs) foreign() (check func()) {
	o.ctl("add-ls", "theirs", "--", "set", "Logical_Switch", "theirs", "tunnel_key=900",
		"--", "bind-ls", "vt0", "p1", "77", "theirs",
		"--", "add-ucast-remote", "theirs", "02:00:00:00:99:01", "10.8.0.9",
		"--", "add-mcast-remote", "theirs", "unknown-dst", "10.8.0.9")
	look := func() string {
		return o.ctl("list-remote-macs", "theirs") + "\n" + o.ctl("--columns=name,tunnel_key", "find", "Logical_Switch", "name=theirs")
	}
	before := look()
	return func() {
		o.t.Helper()
		if after := look(); after != before {
			o.t.Errorf("another's rows were\n%s\nand are\n%s", before, after)
		}
		if b := o.ctl("list-bindings", "vt0", "p1"); !strings.Contains(b, "0077 theirs") {
			o.t.Errorf("another's binding is gone: %s", b)
		}
	}
}

func TestDriver(t *testing.T) {
	o := newOVS(t)
	check := o.foreign()
	site := newFakeSite()
	targets, _ := drive(t, site, "one")
	w := o.watch()
	want := example()
	targets <- o.target(want)
	w.has(want)
	site.until(t, "the site is told", inSync)
	name := want.nameOf(&want.Segments[0])
	for _, c := range []struct{ got, want string }{
		{o.ctl("list-bindings", "vt0", "p0"), "0010 " + name + "\n0020 " + want.nameOf(&want.Segments[1])},
		{o.ctl("list-bindings", "vt0", "p1"), "0000 " + name + "\n0077 theirs"},
		{o.ctl("get", "Logical_Switch", name, "tunnel_key"), "100"},
		{o.ctl("get", "Logical_Switch", name, "replication_mode"), "source_node"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	macs := o.ctl("list-remote-macs", name)
	for _, line := range []string{"02:00:00:00:00:01 -> vxlan_over_ipv4/10.8.0.2", "02:00:00:00:00:02 -> vxlan_over_ipv4/10.8.0.3",
		"unknown-dst -> vxlan_over_ipv4/10.8.0.2", "unknown-dst -> vxlan_over_ipv4/10.8.0.3"} {
		if !strings.Contains(macs, line) {
			t.Errorf("%q is missing in\n%s", line, macs)
		}
	}

	// What somebody changes by hand comes back.
	for _, cmd := range [][]string{
		{"del-ucast-remote", name, mac(1).String()},
		{"del-mcast-remote", name, "unknown-dst", "10.8.0.3"},
		{"unbind-ls", "vt0", "p0", "10"},
		{"add-ucast-remote", name, "02:00:00:00:00:07", "10.8.0.7"},
		{"add-ucast-remote", name, mac(2).String(), "10.8.0.7"}, // moves it
		{"bind-ls", "vt0", "p1", "11", name},
		{"set", "Logical_Switch", name, "tunnel_key=101"},
		{"set", "Logical_Switch", name, "description=mine", "replication_mode=service_node"},
		{"clear-remote-macs", name},
		{"unbind-ls", "vt0", "p0", "10", "--", "unbind-ls", "vt0", "p1", "0", "--", "clear-remote-macs", name, "--", "del-ls", name},
	} {
		o.ctl(cmd...)
		w.has(want)
	}

	// Changes: a MAC and a port move, one of each goes.
	want.Segments[0].Remote = []RemoteMAC{{mac(1), addr("10.8.0.4")}}
	want.Segments[0].VTEPs = []netip.Addr{addr("10.8.0.4")}
	want.Segments[0].Bindings = []Binding{{"p1", 10}}
	want.Segments[1].Bindings = []Binding{{"p0", 10}} // was the first's
	targets <- o.target(want)
	w.has(want)

	// Locators that nobody needs are gone by themselves.
	w.until("locators", func(h *have) string {
		var l []string
		for _, x := range h.locators {
			l = append(l, x.dst.String())
		}
		slices.Sort(l)
		if got := strings.Join(l, " "); got != "10.8.0.2 10.8.0.4 10.8.0.9" {
			return got
		}
		return ""
	})

	// One segment goes, then the device.
	want.Segments = want.Segments[:1]
	targets <- o.target(want)
	w.has(want)
	targets <- o.retired()
	site.until(t, "the site knows that it is clean", cleaned)
	o.watch().until("nothing of ours is left", noneOf(device))
	check()
}

// TestLearned: what the switch learns comes to the site, also when it is forgotten,
// and keeps no logical switch from going.
func TestLearned(t *testing.T) {
	o := newOVS(t)
	site := newFakeSite()
	targets, _ := drive(t, site, "one")
	w := o.watch()
	want := example()
	targets <- o.target(want)
	w.has(want)
	name := want.nameOf(&want.Segments[0])
	o.ctl("add-ucast-local", name, "02:00:00:00:00:aa", "10.8.0.1")
	o.ctl("add-mcast-local", name, "unknown-dst", "10.8.0.1")
	o.ctl("add-ucast-local", name, "03:00:00:00:00:aa", "10.8.0.1") // no unicast MAC
	o.ctl("add-ucast-local", name, "nonsense", "10.8.0.1")
	learned := func(want ...model.MAC) func(*fakeSite) bool {
		return func(s *fakeSite) bool { return slices.Equal(s.learned["c1"], want) }
	}
	site.until(t, "learned", learned(mac(0xaa)))
	o.ctl("add-ucast-local", name, "02:00:00:00:00:AB", "10.8.0.1")
	site.until(t, "learned a second", learned(mac(0xaa), mac(0xab)))
	o.ctl("del-ucast-local", name, "02:00:00:00:00:aa")
	site.until(t, "forgotten", learned(mac(0xab)))
	targets <- o.target(Want{Device: device, TunnelIP: tunnelIP()})
	w.until("gone", func(h *have) string {
		if len(h.logical)+len(h.ucastLocal) > 0 {
			return fmt.Sprint(h.logical, h.ucastLocal)
		}
		return ""
	})
}

// TestSwitchComesBack: a switch that was away gets what it missed, and one that lost
// its database gets everything.
func TestSwitchComesBack(t *testing.T) {
	o := newOVS(t)
	site := newFakeSite()
	targets, _ := drive(t, site, "one")
	want := example()
	targets <- o.target(want)
	site.until(t, "in sync", inSync)
	o.stop()
	site.until(t, "it is away", func(s *fakeSite) bool { return !s.status.Connected && s.status.Error != "" })
	want.Segments[0].Remote = append(want.Segments[0].Remote, RemoteMAC{mac(9), addr("10.8.0.2")})
	targets <- o.target(want)
	o.start()
	site.until(t, "in sync again", inSync)
	o.watch().has(want)
	if site.epoch != 2 {
		t.Errorf("epoch %d", site.epoch)
	}

	o.stop()
	site.until(t, "it is away", func(s *fakeSite) bool { return !s.status.Connected })
	o.run("rm", o.path("db"))
	o.run("ovsdb-tool", "create", o.path("db"), schemaFile)
	o.start()
	site.until(t, "it is another", func(s *fakeSite) bool { return s.status.Connected && len(s.status.Problems) > 0 })
	o.ctl("add-ps", "vt0", "--", "set", "Physical_Switch", "vt0", "tunnel_ips=10.8.0.1", "--", "add-port", "vt0", "p0", "--", "add-port", "vt0", "p1")
	site.until(t, "in sync a third time", inSync)
	o.watch().has(want)
}

// TestProblems: what cannot be keeps nothing else from being.
func TestProblems(t *testing.T) {
	o := newOVS(t)
	check := o.foreign()
	site := newFakeSite()
	targets, _ := drive(t, site, "one")
	want := example()
	want.Segments[0].Bindings = append(want.Segments[0].Bindings, Binding{"p9", 1}, Binding{"p1", 77})
	want.Segments = append(want.Segments, Segment{Connection: "c3", Network: "n3", VNI: 900})
	targets <- o.target(want)
	wanted := []string{
		`VNI 100: VLAN 77 of port "p1" is taken by logical switch "theirs", which is not ours`,
		`VNI 100: the switch has no port "p9"`,
		`VNI 900: the switch has it already, in its logical switch "theirs", which is not ours`,
	}
	site.until(t, "problems", func(s *fakeSite) bool {
		return s.status.Connected && !s.status.InSync && slices.Equal(s.status.Problems, wanted)
	})
	o.watch().until("the rest is there", func(h *have) string {
		if _, ok := h.find(want.nameOf(&want.Segments[1])); !ok || len(h.ucastRemote) != 4 {
			return fmt.Sprint(h.logical, h.ucastRemote)
		}
		return ""
	})
	check()
	// The hindrances go.
	o.ctl("unbind-ls", "vt0", "p1", "77", "--", "clear-remote-macs", "theirs", "--", "del-ls", "theirs", "--", "add-port", "vt0", "p9")
	site.until(t, "in sync", inSync)
	o.watch().has(want)
}

func (h *have) find(name string) (uuid, bool) {
	for id, l := range h.logical {
		if l.name == name {
			return id, true
		}
	}
	return "", false
}

// TestTwoControllers: the one that has the switch's lock drives it; the other takes
// over when it ends, and what the first still says does not count.
func TestTwoControllers(t *testing.T) {
	o := newOVS(t)
	site := newFakeSite()
	want, whole := example(), example()
	first, stopFirst := drive(t, site, "first")
	first <- o.target(want)
	site.until(t, "the first drives", func(s *fakeSite) bool { return inSync(s) && s.driver == "first" })
	second, _ := drive(t, site, "second")
	want.Segments = want.Segments[:1]
	second <- o.target(want) // has seen a change that the first has not
	w := o.watch()
	name := want.nameOf(&want.Segments[0])
	o.ctl("unbind-ls", "vt0", "p0", "10", "--", "unbind-ls", "vt0", "p1", "0", "--", "clear-remote-macs", name, "--", "del-ls", name)
	w.has(whole) // as the first wants it
	stopFirst()
	site.until(t, "the second drives", func(s *fakeSite) bool { return inSync(s) && s.driver == "second" && s.epoch == 2 })
	w.has(want)
}

// TestStoreAway: a controller that has lost the site's store lets the switch go to
// one that has it.
func TestStoreAway(t *testing.T) {
	o := newOVS(t)
	site := newFakeSite()
	want := example()
	var away atomic.Bool
	alone, _ := driveWith(t, Options{Site: site, Driver: "alone", aliveEvery: 20 * time.Millisecond, Alive: func(context.Context) error {
		if away.Load() {
			return errors.New("no answer")
		}
		return nil
	}})
	alone <- o.target(want)
	site.until(t, "the first drives", func(s *fakeSite) bool { return inSync(s) && s.driver == "alone" })
	second, _ := drive(t, site, "second")
	second <- o.target(want)
	away.Store(true)
	site.until(t, "the second drives", func(s *fakeSite) bool { return inSync(s) && s.driver == "second" })
}

// TestOthersAway: switches that cannot be reached, or that take connections and say
// nothing, keep no other waiting.
func TestOthersAway(t *testing.T) {
	o := newOVS(t)
	dumb, err := net.Listen("tcp", "127.0.0.1:0") // accepts, by the kernel, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer dumb.Close()
	site := newFakeSite()
	targets, _ := drive(t, site, "one")
	all := o.target(example())
	for i, at := range []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), addrPort(dumb)} {
		w := example()
		w.Device = model.GatewayDeviceID(fmt.Sprint("away", i))
		all = append(all, Target{Address: at, Want: w})
	}
	targets <- all
	o.watch().has(example())
}

// TestManyMACs: a large table goes in bounded transactions.
func TestManyMACs(t *testing.T) {
	o := newOVS(t)
	site := newFakeSite()
	targets, _ := drive(t, site, "one")
	want := Want{Device: device, TunnelIP: tunnelIP(), Segments: []Segment{{Connection: "c", Network: "n", VNI: 5, VTEPs: []netip.Addr{addr("10.8.0.2")}}}}
	for i := range 3000 {
		want.Segments[0].Remote = append(want.Segments[0].Remote, RemoteMAC{mac(i + 1), addr(fmt.Sprintf("10.9.0.%d", 1+i%50))})
	}
	targets <- o.target(want)
	o.watch().has(want)
	site.until(t, "in sync", inSync)
	want.Segments[0].Remote = want.Segments[0].Remote[:10]
	targets <- o.target(want)
	o.watch().has(want)
}
