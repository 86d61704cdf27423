package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

const (
	ovsShare   = "/usr/share/openvswitch/"
	vtepSchema = ovsShare + "vtep.ovsschema"
	torIP      = "172.16.9.2"   // the switch's tunnel IP
	workloadIP = "192.168.0.50" // of what is behind it
)

// withTor adds a switch "tor" to the underlay, and a workload "wl" behind its port
// p0, on the tenants' multi-site network, and another one "wl2" behind p1.
func withTor(f *testbed.File) {
	prefix := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	f.Routers = append(f.Routers, testbed.Node{Name: "tor"}, testbed.Node{Name: "wl"}, testbed.Node{Name: "wl2"})
	f.Links = append(f.Links,
		testbed.Link{Ends: []testbed.End{
			{Node: "core", Interface: "to-tor", Address: prefix("172.16.9.1/24")},
			{Node: "tor", Interface: "up0", Address: prefix(torIP + "/24")},
		}},
		testbed.Link{Ends: []testbed.End{
			{Node: "tor", Interface: "p0", Address: prefix("192.0.2.1/24")},
			{Node: "wl", Interface: "eth0", Address: prefix(workloadIP + "/24")},
		}, MTU: 1450},
		testbed.Link{Ends: []testbed.End{
			{Node: "tor", Interface: "p1", Address: prefix("192.0.2.1/24")},
			{Node: "wl2", Interface: "eth0", Address: prefix("192.0.2.2/24")},
		}, MTU: 1450},
	)
	f.Routes["wl"] = append(f.Routes["wl"], testbed.Route{To: prefix("10.0.0.0/16"), Via: netip.MustParseAddr("192.168.0.1")})
}

// torSpec is where a switch is: its node, its database's address on loopback, the
// core's interface and address on its link, its tunnel IP, and what is behind its ports.
type torSpec struct {
	node, management, core, gateway, tunnelIP string
	workloads                                 map[string]string // port → node
}

var firstTor = torSpec{"tor", "127.0.0.1", "to-tor", "172.16.9.1", torIP, map[string]string{"p0": "wl", "p1": "wl2"}}

// tor is Open vSwitch's emulator of a hardware VTEP: a database server on loopback,
// where controllers reach it, and the switch itself in the namespace of its node.
type tor struct {
	*lab
	torSpec
	dir     string
	address netip.AddrPort
	db      *exec.Cmd
	sw, emu *exec.Cmd
}

func newTor(l *lab, spec torSpec) *tor {
	l.t.Helper()
	testutil.RequireTool(l.t, "ovsdb-server", "ovsdb-tool", "ovs-vswitchd", "ovs-vsctl", "vtep-ctl", "ethtool")
	testutil.RequireFile(l.t, ovsShare+"scripts/ovs-vtep")
	ports := freePorts(l.t, 1)
	// The paths of unix sockets are short.
	dir, err := os.MkdirTemp("", "tor")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &tor{lab: l, torSpec: spec, dir: dir, address: netip.MustParseAddrPort(fmt.Sprintf("%s:%d", spec.management, ports[0]))}
	s.newDB("conf", ovsShare+"vswitch.ovsschema")
	s.newDB("vtep", vtepSchema)
	s.startDB()
	l.t.Cleanup(func() {
		for _, c := range []*exec.Cmd{s.emu, s.sw, s.db} {
			s.end(c)
		}
	})
	// What a userspace switch receives must have its checksums.
	l.mustRun("core", "ethtool", "-K", s.core, "tx", "off")
	own := []string{"up0"}
	for port, workload := range s.workloads {
		own = append(own, port)
		l.mustRun(workload, "ethtool", "-K", "eth0", "tx", "off")
	}
	for _, i := range own {
		l.mustRun(s.node, "ethtool", "-K", i, "tx", "off")
		l.mustRun(s.node, "ip", "addr", "flush", "dev", i)
	}
	s.tool("ovs-vsctl", "--no-wait", "init")
	s.startSwitch()
	s.tool("ovs-vsctl", "add-br", "br-phy", "--", "set", "Bridge", "br-phy", "datapath_type=netdev", "--", "add-port", "br-phy", "up0")
	s.underlay()
	s.tool("ovs-vsctl", "add-br", "vt0", "--", "set", "Bridge", "vt0", "datapath_type=netdev")
	for port := range s.workloads {
		s.tool("ovs-vsctl", "add-port", "vt0", port)
	}
	s.addSwitch()
	s.startEmulator()
	return s
}

func (s *tor) newDB(name, schema string) { s.tool("ovsdb-tool", "create", s.path(name), schema) }

// addSwitch enters the switch into its database; its ports follow from the emulator.
func (s *tor) addSwitch() {
	s.tool("vtep-ctl", "add-ps", "vt0", "--", "set", "Physical_Switch", "vt0", "tunnel_ips="+s.tunnelIP)
}

// underlay gives the switch its tunnel IP and its way out.
func (s *tor) underlay() {
	s.mustRun(s.node, "ip", "addr", "replace", s.tunnelIP+"/24", "dev", "br-phy")
	s.mustRun(s.node, "ip", "link", "set", "br-phy", "up")
	s.mustRun(s.node, "ip", "route", "replace", "default", "via", s.gateway)
}

func (s *tor) path(name string) string { return filepath.Join(s.dir, name) }

func (s *tor) env() []string { return []string{"OVS_RUNDIR=" + s.dir, "OVS_DBDIR=" + s.dir} }

// tool runs a command of Open vSwitch; those in the root namespace reach the
// database by its unix socket.
func (s *tor) tool(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *tor) try(name string, args ...string) (string, error) {
	switch name {
	case "ovsdb-tool":
	case "ovs-ofctl":
		args = append([]string{"--timeout=20"}, args...)
	default:
		args = append([]string{"--timeout=20", "--db=unix:" + s.path("db.sock")}, args...)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), s.env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// forget takes from the switch what it has learned, as its ageing does. The emulator
// keeps that in table 1 of each logical switch's bridge.
func (s *tor) forget() {
	s.t.Helper()
	for _, bridge := range strings.Fields(s.tool("ovs-vsctl", "list-br")) {
		if bridge != "br-phy" && bridge != "vt0" {
			s.tool("ovs-ofctl", "del-flows", bridge, "table=1,cookie=0x5000/-1")
		}
	}
}

func (s *tor) end(c *exec.Cmd) {
	if c != nil && c.ProcessState == nil {
		_ = c.Process.Kill()
		_ = testutil.Exit(s.t, c)
	}
}

func (s *tor) startDB() {
	s.t.Helper()
	s.db = exec.Command("ovsdb-server", s.path("conf"), s.path("vtep"), "--remote=punix:"+s.path("db.sock"),
		s.remote(true), "--unixctl="+s.path("db.ctl"), "--no-chdir", "-vconsole:off")
	s.db.Env = append(os.Environ(), s.env()...)
	if err := s.db.Start(); err != nil {
		s.t.Fatal(err)
	}
	testutil.Succeeds(s.t, "the switch's database answers", func() error {
		c, err := net.Dial("unix", s.path("db.sock"))
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

func (s *tor) remote(flag bool) string {
	r := fmt.Sprintf("ptcp:%d:%s", s.address.Port(), s.address.Addr())
	if flag {
		return "--remote=" + r
	}
	return r
}

// reachable opens and closes the database's way for controllers; the switch keeps
// its own.
func (s *tor) reachable(open bool) {
	s.t.Helper()
	cmd := "ovsdb-server/remove-remote"
	if open {
		cmd = "ovsdb-server/add-remote"
	}
	out, err := exec.Command("ovs-appctl", "-t", s.path("db.ctl"), cmd, s.remote(false)).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

func (s *tor) inNode(args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command("env", append(s.env(), args...)...)
	log, err := os.OpenFile(s.path("log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.Start(s.node, cmd); err != nil {
		s.t.Fatal(err)
	}
	return cmd
}

func (s *tor) startSwitch() {
	s.sw = s.inNode("ovs-vswitchd", "unix:"+s.path("db.sock"), "--no-chdir", "--unixctl="+s.path("sw.ctl"), "-vconsole:warn")
}

func (s *tor) startEmulator() {
	s.emu = s.inNode("/usr/share/openvswitch/scripts/ovs-vtep", "--log-file="+s.path("ovs-vtep.log"), "vt0")
}

// isClean waits until the switch has no logical switch, in its database and in its
// emulator, which looks at the database from time to time and takes a new logical switch
// for one of the same name that it has not seen go.
func (s *tor) isClean() {
	s.t.Helper()
	testutil.Succeeds(s.t, "the switch is clean", func() error {
		if left := s.tool("vtep-ctl", "list-ls"); left != "" {
			return fmt.Errorf("logical switches %s", left)
		}
		if bridges := s.tool("ovs-vsctl", "list-br"); strings.Contains(bridges, "_vtep_ls") {
			return fmt.Errorf("bridges %s", bridges)
		}
		return nil
	})
}

// switchDevice makes the gateway device for a switch.
func (s *site) switchDevice(t *tor) (id string) {
	s.lab.t.Helper()
	return s.create(client.GatewayDevices, client.Attrs{
		"name": t.node, "management_ip": t.address.Addr().String(), "management_port": fmt.Sprint(t.address.Port()), "tunnel_ips": []string{t.tunnelIP},
	})
}

// switchView is what the API says of a switch.
type switchView struct {
	Connected bool         `json:"connected"`
	InSync    bool         `json:"in_sync"`
	Error     string       `json:"error"`
	Problems  []string     `json:"problems"`
	Learned   []learnedMAC `json:"learned_macs"`
}

type learnedMAC struct {
	MAC    string `json:"mac_address"`
	VNI    int    `json:"segmentation_id"`
	Silent bool   `json:"silent"`
}

func (s *site) switchView(device string) switchView {
	s.lab.t.Helper()
	var v switchView
	if err := json.Unmarshal([]byte(s.lab.causeway(s, "gateway-device", "status", device, "-f", "json")), &v); err != nil {
		s.lab.t.Fatal(err)
	}
	return v
}

func (s *site) untilSwitch(device, what string, ok func(switchView) bool) {
	s.lab.t.Helper()
	testutil.Succeeds(s.lab.t, what, func() error {
		if v := s.switchView(device); !ok(v) {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
}

func settled(v switchView) bool { return v.Connected && v.InSync }

// arpRequest asks, by broadcast, who has an address.
func arpRequest(mac, from, to string) []byte {
	src, sender, target := model.MustMAC(mac), netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	p := slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 1}, src[:], sender[:], make([]byte, 6), target[:])
	return ethernet(model.MustMAC("ff:ff:ff:ff:ff:ff"), src, 0x0806, p)
}

// isARPReply looks for the answer of an address, with a VLAN tag or without.
func isARPReply(f []byte, of string) bool {
	if len(f) > 18 && f[12] == 0x81 && f[13] == 0 {
		f = slices.Concat(f[:12], f[16:])
	}
	a := netip.MustParseAddr(of).As4()
	return len(f) >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 && bytes.Equal(f[28:32], a[:])
}

// TestHardwareVTEP: a workload behind a switch and a peer router, with what is behind
// it, reach each other; the site learns the workload's MAC from the switch, and
// tells the switch the router's.
func TestHardwareVTEP(t *testing.T) {
	l := newLab(t, 1, withTor)
	tor := newTor(l, firstTor)
	a := l.sites[0]
	tn := a.newTenant("t", 100)
	vm := tn.attach("vm-a", 3, "")
	mac := l.linkMAC("wl", "eth0")

	device := a.switchDevice(tor)
	gateway := a.create(client.L2Gateways, client.Attrs{"name": "tor-l2gw", "devices": []client.Attrs{{
		"device_id": device, "segmentation_id": "100", "interfaces": []client.Attrs{{"name": "p0"}, {"name": "p1", "segmentation_id": []string{"10"}}},
	}}})
	connect := func() string {
		return a.create(client.L2GatewayConnections, client.Attrs{"l2_gateway_id": gateway, "network_id": tn.multiSite})
	}
	connection := connect()
	// The router must know which MAC has the workload's address. Behind which VTEP
	// it is, the switch says.
	remote := a.create(client.Ports, client.Attrs{
		"network_id": tn.multiSite, "device_owner": "network:remote_site", "mac_address": mac,
		"fixed_ips": []client.Attrs{{"ip_address": workloadIP}},
	})
	a.untilSwitch(device, "the switch is in sync", settled)
	both := func(t *testing.T) {
		t.Helper()
		l.reach("wl", "192.168.0.1") // the router itself, found by ARP
		l.reach("wl", "10.0.0.3")
		l.reach(vm, workloadIP)
		l.bulkTCP(vm, "wl", workloadIP, 1<<20)
		l.bulkTCP("wl", vm, "10.0.0.3", 1<<20)
	}
	l.sub("reach each other", both)
	a.untilSwitch(device, "the MAC is learned", func(v switchView) bool {
		return len(v.Learned) == 1 && strings.EqualFold(v.Learned[0].MAC, mac) && v.Learned[0].VNI == 100
	})
	l.sub("a VLAN of a port", func(t *testing.T) {
		// The kernel may have no VLAN devices: the frames are written by hand.
		own := l.linkMAC("wl2", "eth0")
		c := l.capture("wl2", "eth0", func(f []byte) bool { return isARPReply(f, "192.168.0.1") })
		s := l.newSender("wl2", "eth0")
		ask := arpRequest(own, "192.168.0.60", "192.168.0.1")
		tagged := slices.Concat(ask[:12], []byte{0x81, 0, 0, 10}, ask[12:])
		testutil.Succeeds(t, "an answer for VLAN 10", func() error {
			s.send(tagged)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			return c.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) > 0 })
		})
		other := l.capture("wl2", "eth0", func(f []byte) bool { return isARPReply(f, "192.168.0.2") || isARPReply(f, "192.168.0.1") })
		wrong := slices.Concat(ask[:12], []byte{0x81, 0, 0, 11}, ask[12:])
		for range 3 {
			s.send(ask)
			s.send(wrong)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if other.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) > 0 }) == nil {
			t.Error("frames of another VLAN, or of none, are answered")
		}
	})
	l.sub("rows deleted by hand come back", func(t *testing.T) {
		name := tor.tool("vtep-ctl", "list-ls")
		tor.tool("vtep-ctl", "clear-remote-macs", name, "--", "unbind-ls", "vt0", "p0", "0", "--", "unbind-ls", "vt0", "p1", "10", "--", "clear-local-macs", name, "--", "del-ls", name)
		l.reach("wl", "10.0.0.3")
		both(t)
	})
	l.sub("the site's VTEP moves", func(t *testing.T) {
		a.update(client.GatewayDevices, tn.device, client.Attrs{"tunnel_ips": []string{"200.200.0.77"}})
		l.mustRun("core", "ip", "route", "add", "200.200.0.77/32", "via", "172.16.1.2")
		both(t)
	})
	l.sub("the switch restarts", func(t *testing.T) {
		tor.end(tor.emu)
		tor.end(tor.sw)
		tor.startSwitch()
		testutil.Succeeds(t, "the switch forwards again", func() error {
			_, err := tor.try("ovs-vsctl", "--timeout=2", "show")
			return err
		})
		tor.underlay()
		tor.startEmulator()
		both(t)
	})
	l.sub("the controller cannot reach it, and can again", func(t *testing.T) {
		tor.reachable(false)
		a.untilSwitch(device, "the site sees it", func(v switchView) bool { return !v.Connected && v.Error != "" })
		l.mustPing(vm, workloadIP) // packets flow on
		entry := a.create(client.RemoteMACEntries(device), client.Attrs{"mac_address": "02:00:00:00:00:77", "vtep_address": "200.200.0.9", "segmentation_id": 100})
		tor.reachable(true)
		// "In sync" is with what the controller knew when it looked; the entry may come after.
		testutil.Succeeds(t, "what changed meanwhile is there", func() error {
			macs := tor.tool("vtep-ctl", "list-remote-macs", tor.tool("vtep-ctl", "list-ls"))
			if !strings.Contains(macs, "02:00:00:00:00:77 -> vxlan_over_ipv4/200.200.0.9") {
				return errors.New(macs)
			}
			return nil
		})
		a.untilSwitch(device, "in sync again", settled)
		a.remove(client.RemoteMACEntries(device), entry)
		both(t)
	})
	l.sub("its database restarts", func(t *testing.T) {
		tor.end(tor.emu) // it would take a database that does not answer for an empty one
		tor.end(tor.db)
		a.untilSwitch(device, "the site sees it", func(v switchView) bool { return !v.Connected && v.Error != "" })
		tor.startDB()
		tor.startEmulator()
		a.untilSwitch(device, "in sync again", settled)
		both(t)
	})
	l.sub("its database is lost", func(t *testing.T) {
		tor.end(tor.emu)
		tor.end(tor.db)
		a.untilSwitch(device, "the site sees it", func(v switchView) bool { return !v.Connected && v.Error != "" })
		if err := os.Remove(tor.path("vtep")); err != nil {
			t.Fatal(err)
		}
		tor.newDB("vtep", vtepSchema)
		tor.startDB()
		a.untilSwitch(device, "the site says what is missing", func(v switchView) bool {
			return v.Connected && !v.InSync && len(v.Problems) == 1 && strings.Contains(v.Problems[0], "no Physical_Switch with the tunnel IP "+torIP)
		})
		tor.addSwitch()
		tor.startEmulator()
		a.untilSwitch(device, "in sync again", settled)
		both(t)
	})
	l.sub("a silent workload is still reached", func(t *testing.T) {
		// The agent proves its path MTU by echoes of what is beyond the tunnel; their answers would
		// keep the workload in the switch's memory.
		l.mustRun("wl", "sysctl", "-q", "-w", "net.ipv4.icmp_echo_ignore_all=1")
		a.untilSwitch(device, "the switch forgets it", func(v switchView) bool {
			tor.forget() // again, for an answer that was on its way
			return !slices.ContainsFunc(v.Learned, func(m learnedMAC) bool { return !m.Silent })
		})
		l.mustRun("wl", "sysctl", "-q", "-w", "net.ipv4.icmp_echo_ignore_all=0")
		l.reach(vm, workloadIP)
	})
	l.sub("the controller restarts", func(t *testing.T) {
		if err := l.Restart(t.Context(), a.name); err != nil {
			t.Fatal(err)
		}
		a.untilSwitch(device, "in sync again", settled)
		both(t)
	})
	l.sub("without the connection nothing is left", func(t *testing.T) {
		a.remove(client.L2GatewayConnections, connection)
		tor.isClean()
		if got := l.ping("wl", "10.0.0.3", 3); got != 0 {
			t.Errorf("%d of 3 pings still come back", got)
		}
		connection = connect()
		both(t)
	})
	away := func() {
		tor.reachable(false)
		a.untilSwitch(device, "the site sees that it is away", func(v switchView) bool { return !v.Connected && v.Error != "" })
		a.remove(client.L2GatewayConnections, connection)
	}
	l.sub("what a connection made goes when the switch is back", func(t *testing.T) {
		away()
		tor.reachable(true)
		tor.isClean()
		connection = connect()
		both(t)
	})
	l.sub("what a device made goes when the switch is back", func(t *testing.T) {
		away()
		a.remove(client.Ports, remote)
		a.remove(client.L2Gateways, gateway)
		a.remove(client.GatewayDevices, device)
		if err := l.Restart(t.Context(), a.name); err != nil {
			t.Fatal(err)
		}
		retired := func() string { return l.causeway(a, "gateway-device", "retired", "-f", "value", "-c", "id") }
		if got := retired(); strings.TrimSpace(got) != device {
			t.Errorf("retired are %q, want %s", got, device)
		}
		if tor.tool("vtep-ctl", "list-ls") == "" {
			t.Error("nothing was left while it was away")
		}
		tor.reachable(true)
		tor.isClean()
		testutil.Succeeds(t, "the site knows", func() error {
			if got := retired(); got != "" {
				return fmt.Errorf("retired is %s", got)
			}
			return nil
		})
	})
}
