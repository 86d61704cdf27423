package liveness

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/bfd"
	"github.com/causeway-net/causeway/internal/testutil"
)

// The tests run real watchers in a network namespace of their own, with another one as the remote site.

var near, far = netip.MustParseAddr("200.200.0.1"), netip.MustParseAddr("200.200.0.2")

func sh(t *testing.T, cmd string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-ec", cmd).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// lab has this namespace, with near, and another one, whose process is returned, with far.
func lab(t *testing.T) (pid string) {
	t.Helper()
	cmd := exec.Command("unshare", "-n", "sleep", "170")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = testutil.Exit(t, cmd) })
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	pid = fmt.Sprint(cmd.Process.Pid)
	testutil.Eventually(t, "its own namespace", func() bool {
		ns, err := os.Readlink("/proc/" + pid + "/ns/net")
		return err == nil && ns != own
	})
	sh(t, `ip link add name here type veth peer name there netns `+pid+`
		ip addr add 200.200.0.1/24 dev here; ip link set here up
		nsenter -t `+pid+` -n sh -c "ip link set lo up; ip addr add 200.200.0.2/24 dev there; ip link set there up"`)
	return pid
}

// start runs a watcher of remotes.
func start(t *testing.T, set Settings, remotes ...Remote) *Watcher {
	t.Helper()
	w, err := NewWatcher(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.Watch(remotes, Rules{Default: set}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx) })
	wg.Go(w.Log)
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w
}

// becomes waits until what is known of a remote is as wanted.
func becomes(t *testing.T, w *Watcher, r Remote, what string, ok func(RemoteStatus) bool) RemoteStatus {
	t.Helper()
	var got RemoteStatus
	testutil.Eventually(t, what, func() bool {
		got, _ = w.Status().Find(r.TunnelIP, r.VTEP)
		return ok(got)
	})
	return got
}

func isState(s State) func(RemoteStatus) bool {
	return func(r RemoteStatus) bool { return r.State == s }
}

var fast = Settings{Means: Auto, Interval: 50 * time.Millisecond, Mult: 3}

// TestSeamlessBetweenTwo: two processes that watch each other by S-BFD, in one namespace here, are up with a round trip and
// no loss, and the one that is left sees the other one go.
func TestSeamlessBetweenTwo(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	sh(t, "ip addr add 200.200.0.1/32 dev lo; ip addr add 200.200.0.2/32 dev lo")
	there := Remote{far, near}
	a := start(t, fast, Remote{near, far})
	b := start(t, fast, there)
	for _, c := range []struct {
		w *Watcher
		r Remote
	}{{a, Remote{near, far}}, {b, there}} {
		s := becomes(t, c.w, c.r, "up by S-BFD", func(r RemoteStatus) bool { return r.State == Up && r.Means == SBFD && r.Asked >= 20 })
		if s.RTTMicros == nil || *s.RTTMicros <= 0 {
			t.Errorf("round trip of %+v", s)
		}
		if s.IntervalMS != 50 || s.DetectionMS != 150 {
			t.Errorf("every %v ms, down after %v ms; want 50 and 150", s.IntervalMS, s.DetectionMS)
		}
	}
	b.Watch([]Remote{{far, netip.MustParseAddr("200.200.0.9")}}, Rules{Default: fast}, nil)
	s := becomes(t, a, Remote{near, far}, "down", isState(Down))
	if s.Means != SBFD || s.Flaps != 1 || !strings.Contains(s.Why, "has stopped answering S-BFD") {
		t.Errorf("%+v", s)
	}
	if n := b.Status().Refused; n == 0 {
		t.Error("questions of one that is no remote any more are not counted as refused")
	}
	b.Watch([]Remote{there}, Rules{Default: fast}, nil)
	becomes(t, a, Remote{near, far}, "up again", isState(Up))
}

// TestEcho: what answers no S-BFD is known by ICMP echo; what has answered nothing is unknown, not down.
func TestEcho(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	pid := lab(t)
	silent := Remote{near, netip.MustParseAddr("200.200.0.9")}
	a := start(t, fast, Remote{near, far}, silent, Remote{netip.MustParseAddr("200.200.0.77"), far})
	s := becomes(t, a, Remote{near, far}, "up by echo", isState(Up))
	if s.Means != ICMP || s.RTTMicros == nil {
		t.Errorf("%+v", s)
	}
	sh(t, "nsenter -t "+pid+" -n ip link set there down")
	s = becomes(t, a, Remote{near, far}, "down", isState(Down))
	if s.Means != ICMP || !strings.Contains(s.Why, "has stopped answering ICMP echo") {
		t.Errorf("%+v", s)
	}
	if s, _ := a.Status().Find(silent.TunnelIP, silent.VTEP); s.State != Unknown || !strings.Contains(s.Why, "never answered") {
		t.Errorf("one that never answered: %+v", s)
	}
	if s, _ := a.Status().Find(netip.MustParseAddr("200.200.0.77"), far); s.State != Unknown || !strings.Contains(s.Why, "bind to 200.200.0.77") {
		t.Errorf("from an address that the host has not: %+v", s)
	}
	// The address comes: the sockets are opened by themselves.
	sh(t, "ip addr add 200.200.0.77/32 dev lo; nsenter -t "+pid+" -n ip link set there up; nsenter -t "+pid+" -n ip route add 200.200.0.77 via 200.200.0.1")
	becomes(t, a, Remote{netip.MustParseAddr("200.200.0.77"), far}, "up", isState(Up))
}

// daemon starts a routing daemon in the other namespace; the function returned kills it.
func daemon(t *testing.T, pid, name string, args ...string) (kill func()) {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"-t", pid, "-n", name}, args...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = testutil.Exit(t, cmd)
	})
	t.Cleanup(func() {
		kill()
		if t.Failed() {
			t.Logf("%s:\n%s", name, out.String())
		}
	})
	return kill
}

const birdConf = `router id 200.200.0.2;
protocol device {}
protocol bfd {
  accept %s;
  %s { min rx interval 100 ms; min tx interval 120 ms; multiplier 4; %s };
  neighbor 200.200.0.1 local 200.200.0.2 %s;
}
`

func bird(t *testing.T, pid string, multihop bool, auth string) (ctl string, kill func()) {
	t.Helper()
	testutil.RequireTool(t, "bird", "birdc")
	accept, section, nb := "ipv4 direct", "interface \"there\"", "dev \"there\""
	if multihop {
		accept, section, nb = "ipv4 multihop", "multihop", "multihop on"
	}
	dir := t.TempDir()
	conf, ctl := filepath.Join(dir, "bird.conf"), filepath.Join(dir, "bird.ctl")
	nb = strings.TrimSpace(nb)
	if !multihop {
		nb = "" // direct sessions name the interface before the local address
	}
	text := fmt.Sprintf(birdConf, accept, section, auth, nb)
	if !multihop {
		text = strings.Replace(text, "neighbor 200.200.0.1 local 200.200.0.2 ;", "neighbor 200.200.0.1 dev \"there\" local 200.200.0.2;", 1)
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	kill = daemon(t, pid, "bird", "-f", "-c", conf, "-s", ctl)
	testutil.Eventually(t, "BIRD", func() bool { _, err := os.Stat(ctl); return err == nil })
	return ctl, kill
}

// TestBIRD: sessions with BIRD 2 come up, by one hop and several, without and with authentication, with the timers that both
// negotiate, and go down when the path is cut, BIRD ends it or is killed; with another key they do not come up.
func TestBIRD(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	testutil.RequireTool(t, "bird", "birdc")
	key := func(k bfd.AuthType, secret string) bfd.Key {
		out, err := bfd.NewKey(k, 1, []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return *out
	}
	pid := lab(t)
	for _, c := range []struct {
		name  string
		means Means
		key   bfd.Key
		auth  string
		up    bool
	}{
		{"single hop", BFD, bfd.Key{}, "", true},
		{"multihop", BFDMultihop, bfd.Key{}, "", true},
		{"keyed", BFD, key(bfd.KeyedSHA1, "secret"), `authentication keyed sha1; password "secret" { id 1; };`, true},
		{"meticulous", BFD, key(bfd.MeticulousKeyedSHA1, "secret"), `authentication meticulous keyed sha1; password "secret" { id 1; };`, true},
		{"meticulous multihop", BFDMultihop, key(bfd.MeticulousKeyedSHA1, "secret"), `authentication meticulous keyed sha1; password "secret" { id 1; };`, true},
		{"another key", BFD, key(bfd.MeticulousKeyedSHA1, "another"), `authentication meticulous keyed sha1; password "secret" { id 1; };`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctl, kill := bird(t, pid, c.means == BFDMultihop, c.auth)
			r := Remote{near, far}
			w := start(t, Settings{Means: c.means, Interval: 50 * time.Millisecond, Mult: 3, Key: c.key}, r)
			if !c.up {
				testutil.Eventually(t, "refused packets", func() bool { return w.Status().Refused > 2 })
				if s, _ := w.Status().Find(near, far); s.State == Up {
					t.Errorf("%+v", s)
				}
				return
			}
			// BIRD wants nothing more often than each 100 ms, and sends each 120 ms itself.
			s := becomes(t, w, r, "up, with timers negotiated", func(s RemoteStatus) bool {
				return s.State == Up && s.IntervalMS == 100 && s.DetectionMS == 480
			})
			if s.Means != c.means {
				t.Errorf("%+v", s)
			}
			testutil.Eventually(t, "up for BIRD", func() bool {
				return strings.Contains(sh(t, "birdc -s "+ctl+" show bfd sessions"), "Up")
			})
			sh(t, "birdc -s "+ctl+" disable bfd1")
			s = becomes(t, w, r, "down as BIRD says", isState(Down))
			sh(t, "birdc -s "+ctl+" enable bfd1")
			becomes(t, w, r, "up again", isState(Up))
			sh(t, "ip link set here down")
			s = becomes(t, w, r, "down by a cut", isState(Down))
			if !strings.Contains(s.Why, "has stopped answering") {
				t.Errorf("%+v", s)
			}
			sh(t, "ip link set here up")
			becomes(t, w, r, "up after the cut", isState(Up))
			kill()
			becomes(t, w, r, "down by BIRD's end", isState(Down))
		})
	}
}

// TestFRR: sessions with FRR's bfdd, by one hop and several, come up with the timers that both negotiate, and go down by a cut
// and when bfdd is killed.
func TestFRR(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	const bfdd = "/usr/lib/frr/bfdd"
	testutil.RequireFile(t, bfdd)
	pid := lab(t)
	for _, c := range []struct {
		means Means
		peer  string
	}{
		{BFD, "peer 200.200.0.1 local-address 200.200.0.2"},
		{BFDMultihop, "peer 200.200.0.1 multihop local-address 200.200.0.2"},
	} {
		t.Run(string(c.means), func(t *testing.T) {
			dir := t.TempDir()
			conf := filepath.Join(dir, "bfdd.conf")
			text := "bfd\n " + c.peer + "\n  receive-interval 100\n  transmit-interval 120\n  detect-multiplier 4\n !\n!\n"
			if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			// bfdd runs as a user of its own.
			sh(t, "chmod 755 "+filepath.Dir(dir)+"; chown -R frr:frr "+dir)
			kill := daemon(t, pid, bfdd, "-f", conf, "-i", filepath.Join(dir, "pid"), "-z", filepath.Join(dir, "zebra"), "--vty_socket", dir,
				"--bfdctl", filepath.Join(dir, "ctl"), "-u", "frr", "-g", "frr", "--log", "stdout")
			r := Remote{near, far}
			w := start(t, Settings{Means: c.means, Interval: 50 * time.Millisecond, Mult: 3}, r)
			negotiated := func(s RemoteStatus) bool { return s.State == Up && s.IntervalMS == 100 && s.DetectionMS == 480 }
			becomes(t, w, r, "up, with timers negotiated", negotiated)
			sh(t, "ip link set here down")
			becomes(t, w, r, "down by a cut", isState(Down))
			sh(t, "ip link set here up")
			becomes(t, w, r, "up after the cut", negotiated)
			flaps := func() uint64 { s, _ := w.Status().Find(near, far); return s.Flaps }()
			kill()
			s := becomes(t, w, r, "down by its end", isState(Down))
			if s.Flaps != flaps+1 || !strings.Contains(s.Why, "has stopped answering") {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestForged: what others send, and what has the wrong TTL or discriminator, takes nothing down, and is not answered.
func TestForged(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	sh(t, "for i in 1 2 3; do ip addr add 200.200.0.$i/32 dev lo; done")
	stranger := netip.MustParseAddr("200.200.0.3")
	r, back := Remote{near, far}, Remote{far, near}
	set := Settings{Means: BFD, Interval: 50 * time.Millisecond, Mult: 3}
	a, b := start(t, set, r), start(t, set, back)
	becomes(t, a, r, "up", isState(Up))
	becomes(t, b, back, "up", isState(Up))
	a.mu.Lock()
	discr := a.remotes[r].session.Discr()
	a.mu.Unlock()
	refused := a.Status().Refused
	send := func(from netip.Addr, port uint16, ttl int, p bfd.Packet) {
		t.Helper()
		fd, err := udpSocket(netip.AddrPortFrom(from, 0), netip.AddrPortFrom(near, port))
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl); err != nil {
			t.Fatal(err)
		}
		var buf [bfd.MaxLen]byte
		if _, err := unix.Write(fd, buf[:p.Encode(buf[:], nil)]); err != nil {
			t.Fatal(err)
		}
		refused++
		testutil.Eventually(t, "refused", func() bool { return a.Status().Refused == refused })
	}
	down := bfd.Packet{State: bfd.Down, Diag: bfd.NeighborDown, DetectMult: 3, MyDiscr: 5, YourDiscr: discr}
	wrong, question := down, bfd.Packet{State: bfd.Down, Demand: true, DetectMult: 3, MyDiscr: 5, YourDiscr: bfd.SeamlessDiscr(near)}
	wrong.YourDiscr++
	send(stranger, bfd.SingleHopPort, 255, down)
	send(far, bfd.SingleHopPort, 254, down)
	send(far, bfd.SingleHopPort, 255, wrong)
	send(stranger, bfd.SeamlessPort, 255, question)
	question.YourDiscr++
	send(far, bfd.SeamlessPort, 255, question)
	question.YourDiscr, question.Demand = bfd.SeamlessDiscr(near), false
	send(far, bfd.SeamlessPort, 255, question)
	if s, _ := a.Status().Find(near, far); s.State != Up || s.Flaps != 0 || a.Status().Reflected != 0 {
		t.Errorf("%+v", s)
	}
	// What is right in all of this does take it down: the test above could fail.
	fd, err := udpSocket(netip.AddrPortFrom(far, 0), netip.AddrPortFrom(near, bfd.SingleHopPort))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var buf [bfd.MaxLen]byte
	if _, err := unix.Write(fd, buf[:down.Encode(buf[:], nil)]); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, r, "taken down", func(s RemoteStatus) bool { return s.Flaps > 0 })
}

// TestNoGarbage: a round of the loop, with packets that come and go, allocates no memory.
func TestNoGarbage(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	sh(t, "ip addr add 200.200.0.1/32 dev lo; ip addr add 200.200.0.2/32 dev lo")
	w, err := NewWatcher(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	rules := Rules{Default: fast, Rules: []Rule{{netip.PrefixFrom(near, 32), Settings{Means: BFDMultihop, Interval: fast.Interval, Mult: 3}}}}
	w.Watch([]Remote{{near, far}, {far, near}}, rules, nil)
	var events [16]unix.EpollEvent
	n := 0
	once := func() {
		wait := w.round(events[:n])
		if n, err = unix.EpollWait(w.ep, events[:], wait); err != nil {
			n = 0
		}
	}
	testutil.Eventually(t, "up", func() bool { once(); s, _ := w.Status().Find(near, far); return s.State == Up })
	if n := testing.AllocsPerRun(200, once); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}

// BenchmarkRound is a round of the loop of 64 remotes that answer.
func BenchmarkRound(b *testing.B) {
	w, err := NewWatcher(slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	var remotes []Remote
	for i := range 32 {
		x, y := netip.AddrFrom4([4]byte{127, 0, 9, byte(i)}), netip.AddrFrom4([4]byte{127, 0, 8, byte(i)})
		remotes = append(remotes, Remote{x, y}, Remote{y, x})
	}
	w.Watch(remotes, Rules{Default: Settings{Means: SBFD, Interval: MinInterval, Mult: 3}}, nil)
	var events [128]unix.EpollEvent
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		w.round(events[:n])
		if n, err = unix.EpollWait(w.ep, events[:], 0); err != nil {
			n = 0
		}
	}
}

// Find gives what is known of a remote.
func (s Status) Find(tunnelIP, vtep netip.Addr) (RemoteStatus, bool) {
	for _, r := range s.Remotes {
		if r.TunnelIP == tunnelIP && r.VTEP == vtep {
			return r, true
		}
	}
	return RemoteStatus{}, false
}
