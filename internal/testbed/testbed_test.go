package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/hostnet"
	"github.com/causeway-net/causeway/internal/testutil"
)

// The tests of this package look at what a lab makes and takes away, for which the
// servers need only run and listen: the test program plays them. Labs with the
// real ones are tested where the program is built, in cmd/causeway.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "controller", "agent", "testbed":
			if err := playServer(os.Args[1], os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case "up-and-wait":
			os.Exit(upAndWait(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

func playServer(kind string, args []string) error {
	if kind == "testbed" { // an etcd member
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		<-ctx.Done()
		return nil
	}
	args = slices.DeleteFunc(args, func(a string) bool { return a == "--insecure-api" || a == "--gateway" })
	fs := flag.NewFlagSet(kind, flag.ContinueOnError)
	opts := map[string]*string{}
	for _, n := range []string{"api-listen", "data-dir", "agent-socket", "metrics-listen", "underlay-mtu", "local-host", "controller", "pin-dir", "state-dir",
		"etcd-endpoints", "agent-listen", "agent-tls-cert", "agent-tls-key", "agent-tls-ca", "fabric-address", "gateway-priority", "tls-cert", "tls-key", "tls-ca"} {
		opts[n] = fs.String(n, "", "")
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	for _, n := range []string{"agent-tls-cert", "agent-tls-key", "agent-tls-ca", "tls-cert", "tls-key", "tls-ca"} {
		if *opts[n] == "" {
			continue
		}
		if _, err := os.ReadFile(*opts[n]); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var l net.Listener
	var err error
	if kind == "controller" && *opts["api-listen"] == "fd:3" {
		l, err = net.FileListener(os.NewFile(3, "api"))
	} else if kind == "controller" {
		l, err = net.Listen("tcp", *opts["api-listen"])
	} else {
		if err := os.Mkdir(*opts["pin-dir"], 0o700); err != nil {
			return err
		}
		l, err = net.Listen("unix", strings.TrimPrefix(*opts["metrics-listen"], "unix:"))
	}
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/" {
			fmt.Fprint(w, `{"versions":[]}`)
			return
		}
		fmt.Fprint(w, `{"ports":[]}`)
	})}
	go srv.Serve(l)
	<-ctx.Done()
	return srv.Close()
}

// upAndWait brings a lab up and stays, to be killed.
func upAndWait(path string) int {
	f, err := ReadFile(path)
	if err == nil {
		_, err = Up(context.Background(), f, Options{Owned: true, Progress: func(s string) { fmt.Println(s) }})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("UP")
	select {}
}

func testFile(t *testing.T, name string) *File { return exampleFile(t, "two-sites.yaml", name) }

func exampleFile(t *testing.T, example, name string) *File {
	t.Helper()
	f, err := ReadFile("../../examples/" + example)
	if err != nil {
		t.Fatal(err)
	}
	f.Lab = name
	if err := f.UseFreePorts(); err != nil {
		t.Fatal(err)
	}
	return f
}

// traces is everything of a lab that could be left: what it makes all has its name
// in it.
func traces(t *testing.T, lab string) []string {
	t.Helper()
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, pattern := range []string{hostnet.NetNSDir + "/" + lab + "*", runDir(lab), dataDir(lab)} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, lab) {
			add("mount %s", line)
		}
	}
	procs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		env, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(env), tokenVar+"="+lab+":") {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
			add("process %s %q", p, cmdline)
		}
	}
	return out
}

func wantGone(t *testing.T, lab string) {
	t.Helper()
	if left := traces(t, lab); len(left) > 0 {
		t.Errorf("lab %s left: %s", lab, strings.Join(left, "\n  "))
	}
}

// rootLinks are the interfaces of the namespace that the tests run in.
func rootLinks(t *testing.T) []string {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		out = append(out, l.Name)
	}
	return out
}

func TestUpStatusDown(t *testing.T) {
	testutil.RequireRoot(t)
	ctx := t.Context()
	before := rootLinks(t)
	names := []string{fmt.Sprintf("tb-%d-x", os.Getpid()), fmt.Sprintf("tb-%d-y", os.Getpid())}
	// Two side by side.
	for _, name := range names {
		l, err := Up(ctx, testFile(t, name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := Down(name); err != nil && !errors.Is(err, ErrNoLab) {
				t.Error(err)
			}
		})
		if l.Name() != name {
			t.Errorf("lab is %s, want %s", l.Name(), name)
		}
		if _, err := Up(ctx, testFile(t, name), Options{}); !errors.Is(err, ErrExists) {
			t.Errorf("up of %s again: %v, want ErrExists", name, err)
		}
	}
	if now := rootLinks(t); !slices.Equal(before, now) {
		t.Errorf("interfaces here are %v, were %v", now, before)
	}
	for _, name := range names {
		l, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		st, err := l.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.MarshalIndent(st, "", " ")
		if !st.OK || len(st.Sites) != 2 || len(st.Underlay) != 4 {
			t.Errorf("status of %s: %s", name, b)
		}
		cmd := exec.Command("cat", "/proc/sys/net/ipv4/ip_forward")
		out := new(strings.Builder)
		cmd.Stdout = out
		if err := l.Start("core", cmd); err != nil {
			t.Fatal(err)
		}
		if err := testutil.Exit(t, cmd); err != nil || out.String() != "1\n" {
			t.Errorf("ip_forward of core is %q, %v", out, err)
		}
		// What a command leaves running ends with the lab.
		daemon := exec.Command("sleep", "1000")
		if err := l.Start("a1", daemon); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { testutil.Exit(t, daemon) })
	}
	if err := Down(names[0]); err != nil {
		t.Fatal(err)
	}
	wantGone(t, names[0])
	if l, err := Open(names[1]); err != nil {
		t.Error(err)
	} else if st, err := l.Status(ctx); err != nil || !st.OK {
		t.Errorf("the other lab suffered: %+v, %v", st, err)
	}
	if err := Down(names[1]); err != nil {
		t.Fatal(err)
	}
	wantGone(t, names[1])
	if err := Down(names[1]); !errors.Is(err, ErrNoLab) {
		t.Errorf("down again: %v, want ErrNoLab", err)
	}
}

// TestManyHosts: each host of a site has its agent, which comes with its own certificate and says its
// address on the fabric; a server that starts again has the same one.
func TestManyHosts(t *testing.T) {
	testutil.RequireRoot(t)
	name := fmt.Sprintf("tb-%d-many", os.Getpid())
	f := exampleFile(t, "many-hosts.yaml", name)
	f.Sites[0].Hosts[3].GatewayPriority = 200
	l, err := Up(t.Context(), f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Down(name); err != nil && !errors.Is(err, ErrNoLab) {
			t.Error(err)
		}
	})
	args := func(server string) string {
		pid, err := l.PID(server)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), "\x00", " ")
	}
	before := args("a2")
	for _, want := range []string{"--fabric-address 172.16.12.2", "/site-a-pki/host-a2.pem", "/site-a-pki/host-a2.key", "/site-a-pki/ca.pem", "--controller unix://" + l.agentSocket("site-a")} {
		if !strings.Contains(before, want) {
			t.Errorf("the agent of a2 lacks %q: %s", want, before)
		}
	}
	if c := args("site-b"); !strings.Contains(c, "--agent-listen unix:"+l.agentSocket("site-b")) || !strings.Contains(c, "/site-b-pki/controller-site-b.pem") {
		t.Errorf("the controller of site-b: %s", c)
	}
	if strings.Contains(before, "--gateway") || !strings.Contains(args("gw-a"), "--gateway --gateway-priority 200 ") {
		t.Errorf("the agents of a2 and gw-a: %s\n%s", before, args("gw-a"))
	}
	if err := l.Restart(t.Context(), "site-b"); err != nil {
		t.Error(err)
	}
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Each link both ways, and each host of a site each other one.
	if len(st.Underlay) != 8*2+2*12 || !st.OK || len(st.Sites[1].Hosts) != 4 {
		b, _ := json.MarshalIndent(st, "", " ")
		t.Errorf("status: %s", b)
	}
	if err := Down(name); err != nil {
		t.Error(err)
	}
	wantGone(t, name)
}

func TestStatusSeesWhatIsBroken(t *testing.T) {
	testutil.RequireRoot(t)
	name := fmt.Sprintf("tb-%d-z", os.Getpid())
	l, err := Up(t.Context(), testFile(t, name), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer Down(name)
	if err := stop([]item{l.st.process("agent b1")}); err != nil {
		t.Fatal(err)
	}
	ns, err := l.NetNS("core")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.DeleteLink("to-a1"); err != nil {
		t.Fatal(err)
	}
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.OK || st.Sites[1].Hosts[0].Agent.Running || !st.Sites[0].Hosts[0].Agent.Running {
		t.Errorf("status does not see the dead agent of b1: %+v", st.Sites)
	}
	for _, u := range st.Underlay {
		if broken := u.From == "a1" || u.To == "a1"; u.OK == broken {
			t.Errorf("ping from %s to %s: ok %v, %s", u.From, u.To, u.OK, u.Error)
		}
	}
}

// TestDownAfterKill kills a process that brings a lab up, at every step of it.
func TestDownAfterKill(t *testing.T) {
	testutil.RequireRoot(t)
	for step := range 11 { // ten lines: nine of progress, and UP
		name := fmt.Sprintf("tb-%d-k%d", os.Getpid(), step)
		f := testFile(t, name)
		path := filepath.Join(t.TempDir(), "lab.json")
		b, err := json.Marshal(f) // JSON is YAML
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "up-and-wait", path)
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := 0
		buf := make([]byte, 1)
		for lines < step {
			if _, err := stdout.Read(buf); err != nil {
				t.Fatal(err)
			}
			if buf[0] == '\n' {
				lines++
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		testutil.Exit(t, cmd)
		if step%2 == 0 {
			if _, err := Sweep(); err != nil {
				t.Fatal(err)
			}
		} else if err := Down(name); err != nil && !errors.Is(err, ErrNoLab) {
			t.Fatal(err)
		}
		wantGone(t, name)
	}
}

func TestUpInterrupted(t *testing.T) {
	testutil.RequireRoot(t)
	name := fmt.Sprintf("tb-%d-i", os.Getpid())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Up(ctx, testFile(t, name), Options{Progress: func(s string) {
		if strings.HasPrefix(s, "start the agent of b1") {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("up: %v, want a cancelled context", err)
	}
	wantGone(t, name)
}

func TestPortTaken(t *testing.T) {
	testutil.RequireRoot(t)
	name := fmt.Sprintf("tb-%d-p", os.Getpid())
	f := testFile(t, name)
	l, err := net.Listen("tcp", f.Sites[1].API)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Up(t.Context(), f, Options{})
	if err == nil || !strings.Contains(err.Error(), "site-b") || !strings.Contains(err.Error(), f.Sites[1].API) {
		t.Errorf("up: %v, want an error that names site-b and its address", err)
	}
	wantGone(t, name)
}

// TestForeignProcessLives: a number that passed to another process is not killed.
func TestForeignProcessLives(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); testutil.Exit(t, cmd) }()
	it := item{Kind: itemProcess, Name: "x", PID: cmd.Process.Pid, Start: startTime(cmd.Process.Pid) + 1}
	if err := stop([]item{it}); err != nil {
		t.Fatal(err)
	}
	if startTime(cmd.Process.Pid) == 0 {
		t.Error("a process that started at another time was stopped")
	}
}

func TestStopKillsWhatIgnores(t *testing.T) {
	testutil.SkipLong(t)
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := stop([]item{{Kind: itemProcess, Name: "x", PID: cmd.Process.Pid, Start: startTime(cmd.Process.Pid)}}); err != nil {
		t.Fatal(err)
	}
	if startTime(cmd.Process.Pid) != 0 || time.Since(begin) < termGrace {
		t.Error("it was not asked first, or still runs")
	}
}

// TestMembersAreNotAsked: with a lab its etcd members end at once, after the other processes, which may end in good order.
func TestMembersAreNotAsked(t *testing.T) {
	dir := t.TempDir()
	st := &state{File: File{Lab: "l"}, Token: "t"}
	for _, name := range []string{memberName("e1"), controllerName("c1")} {
		cmd := exec.Command("sh", "-c", `trap 'touch "$1"; kill $!; exit' TERM; sleep 1000 & echo ready; wait`, "sh", filepath.Join(dir, name))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end what a killed shell leaves
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		if _, err := out.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		st.Items = append(st.Items, item{Kind: itemProcess, Name: name, PID: cmd.Process.Pid, Start: startTime(cmd.Process.Pid)})
	}
	if err := st.stopAll(); err != nil {
		t.Fatal(err)
	}
	for _, it := range st.Items {
		if it.alive() {
			t.Errorf("%s runs on", it.Name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, controllerName("c1"))); err != nil {
		t.Errorf("the controller was not asked to end: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, memberName("e1"))); err == nil {
		t.Error("the etcd member was asked to end")
	}
}
