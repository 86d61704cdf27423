package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// program is the causeway program under test, built once for all tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(testutil.MainWithProgram(m, "../../cmd/causeway", func(path string) { program = path }))
}

var labs atomic.Int32

// lab is a testbed with n sites a, b, c …, each with one host a1, b1, c1 …, all
// linked to the underlay router core. Site i has tunnel IP 200.200.0.(i+1).
type lab struct {
	t *testing.T
	*testbed.Lab
	sites []*site
}

type site struct {
	lab    *lab
	name   string // "site-a"
	host   string // "a1"
	index  int
	tunnel netip.Addr
	api    *client.Client
}

// labOption changes the lab's file before the lab is made.
type labOption func(*testbed.File)

func underlayMTU(mtu int) labOption {
	return func(f *testbed.File) {
		for i := range f.Links {
			f.Links[i].MTU = mtu
		}
	}
}

// hostSysctls are what a strict host has.
var hostSysctls = map[string]string{
	"net.ipv4.ip_forward":             "0",
	"net.ipv4.conf.all.rp_filter":     "1",
	"net.ipv4.conf.default.rp_filter": "1",
}

func newLab(t *testing.T, n int, opts ...labOption) *lab {
	t.Helper()
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	f := &testbed.File{
		Lab:     fmt.Sprintf("t%d-%d", os.Getpid()%100000, labs.Add(1)),
		Routers: []testbed.Node{{Name: "core"}},
		Routes:  map[string][]testbed.Route{},
	}
	ports := freePorts(t, n)
	for i := range n {
		l := string(rune('a' + i))
		host := l + "1"
		f.Sites = append(f.Sites, testbed.Site{
			Name: "site-" + l, API: fmt.Sprintf("127.0.0.1:%d", ports[i]),
			Hosts: []testbed.Node{{Name: host, TunnelIP: tunnelIP(i), Sysctls: hostSysctls}},
		})
		f.Links = append(f.Links, testbed.Link{Ends: []testbed.End{
			{Node: host, Interface: "eth1", Address: netip.MustParsePrefix(fmt.Sprintf("172.16.%d.2/24", i+1))},
			{Node: "core", Interface: "to-" + host, Address: netip.MustParsePrefix(fmt.Sprintf("172.16.%d.1/24", i+1))},
		}})
		f.Routes["core"] = append(f.Routes["core"], testbed.Route{
			To: netip.PrefixFrom(tunnelIP(i), 32), Via: netip.MustParseAddr(fmt.Sprintf("172.16.%d.2", i+1)),
		})
		// All tunnel IPs, the ones that a test moves a site to as well.
		via := netip.MustParseAddr(fmt.Sprintf("172.16.%d.1", i+1))
		f.Routes[host] = []testbed.Route{
			{To: netip.MustParsePrefix("200.200.0.0/16"), Via: via},
			{To: netip.MustParsePrefix("172.16.0.0/16"), Via: via},
		}
	}
	for _, o := range opts {
		o(f)
	}
	return upLab(t, f)
}

// upLab brings a lab up for a test.
func upLab(t *testing.T, f *testbed.File) *lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tl, err := testbed.Up(ctx, f, testbed.Options{Exe: program, Owned: true})
	if err != nil {
		t.Fatalf("bring the lab up: %v", err)
	}
	l := &lab{t: t, Lab: tl}
	t.Cleanup(func() {
		if t.Failed() {
			l.dumpLogs()
		}
		if err := testbed.Down(f.Lab); err != nil {
			t.Errorf("take the lab down: %v", err)
		}
	})
	for i, s := range f.Sites {
		api, err := tl.Client(ctx, s.Name)
		if err != nil {
			t.Fatal(err)
		}
		l.sites = append(l.sites, &site{lab: l, name: s.Name, host: s.Hosts[0].Name, index: i, tunnel: tunnelIP(i), api: api})
	}
	return l
}

func tunnelIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{200, 200, 0, byte(i + 1)}) }

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for len(ports) < n {
		addr, err := process.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if port := int(netip.MustParseAddrPort(addr).Port()); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// dumpLogs shows the end of each server's log when a test has failed.
func (l *lab) dumpLogs() {
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(l.MetricsSocket("x")), "*.log"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if len(b) > 3000 {
			b = b[len(b)-3000:]
		}
		l.t.Logf("%s:\n%s", filepath.Base(f), b)
	}
}

// sub runs a sub-test; what fails in the lab meanwhile fails it.
func (l *lab) sub(name string, fn func(t *testing.T)) {
	outer := l.t
	defer func() { l.t = outer }()
	outer.Run(name, func(t *testing.T) {
		l.t = t
		fn(t)
	})
}

// run runs a command in the namespace of a node or workload and returns what it
// printed.
func (l *lab) run(node string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := l.Start(node, cmd); err != nil {
		return "", err
	}
	err := testutil.Exit(l.t, cmd)
	if err != nil {
		err = fmt.Errorf("%s in %s: %w\n%s", strings.Join(argv, " "), node, err, out.String())
	}
	return out.String(), err
}

func (l *lab) mustRun(node string, argv ...string) string {
	l.t.Helper()
	out, err := l.run(node, argv...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// ping sends n echo requests and returns how many came back.
func (l *lab) ping(from, to string, n int, args ...string) int {
	l.t.Helper()
	argv := append([]string{"ping", "-q", "-n", "-i", "0.05", "-W", "1", "-c", fmt.Sprint(n)}, args...)
	out, err := l.run(from, append(argv, to)...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	var sent, got int
	for line := range strings.Lines(out) {
		if _, err := fmt.Sscanf(line, "%d packets transmitted, %d received", &sent, &got); err == nil {
			return got
		}
	}
	return 0
}

// mustPing fails the test unless all of a few pings are answered.
func (l *lab) mustPing(from, to string, args ...string) {
	l.t.Helper()
	if got := l.ping(from, to, 3, args...); got != 3 {
		l.t.Fatalf("ping %s from %s: %d of 3 came back", to, from, got)
	}
}

// reach pings until all of a few come back: what the API has answered is on the
// hosts a moment later.
func (l *lab) reach(from, to string, args ...string) {
	l.t.Helper()
	testutil.Succeeds(l.t, "pings from "+from+" to "+to, func() error {
		if got := l.ping(from, to, 3, args...); got != 3 {
			return fmt.Errorf("%d of 3 came back", got)
		}
		return nil
	})
}
