package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/causeway-net/causeway/internal/demo"
	"github.com/causeway-net/causeway/internal/testutil"
)

// demoLeft lists what a demo of this process number has left on the machine.
func demoLeft(t *testing.T, pid int) []string {
	t.Helper()
	lab := fmt.Sprintf("demo-%d", pid)
	var out []string
	for _, pattern := range []string{"/run/netns/" + lab + "-*", "/run/causeway/testbed/" + lab, "/var/lib/causeway/testbed/" + lab} {
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
	if bytes.Contains(mounts, []byte(lab+"/")) {
		out = append(out, "a mount")
	}
	procs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if env, err := os.ReadFile(p); err == nil && bytes.Contains(env, []byte("CAUSEWAY_TESTBED="+lab+":")) {
			out = append(out, p)
		}
	}
	return out
}

func wantNothingLeft(t *testing.T, pid int) {
	t.Helper()
	if left := demoLeft(t, pid); len(left) > 0 {
		t.Errorf("the demo left %s", strings.Join(left, ", "))
	}
}

// runningDemo is a demo as a process, with its output line by line.
type runningDemo struct {
	*exec.Cmd
	lines  *bufio.Scanner
	output []string
	stderr bytes.Buffer
}

func startDemo(t *testing.T, args ...string) *runningDemo {
	t.Helper()
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // it takes seconds
	t.Cleanup(cancel)
	d := &runningDemo{Cmd: exec.CommandContext(ctx, "causeway", append([]string{"demo"}, args...)...)}
	d.Stderr = &d.stderr
	out, err := d.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.lines = bufio.NewScanner(out)
	// A test that fails half-way still lets the demo clean up.
	d.Cancel = func() error { return d.Process.Signal(os.Interrupt) }
	d.WaitDelay = time.Minute
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// until reads lines up to the first that contains text.
func (d *runningDemo) until(t *testing.T, text string) {
	t.Helper()
	for d.lines.Scan() {
		d.output = append(d.output, d.lines.Text())
		if strings.Contains(d.lines.Text(), text) {
			return
		}
	}
	t.Fatalf("the demo ended without saying %q:\n%s\n%s", text, strings.Join(d.output, "\n"), &d.stderr)
}

// end reads the rest and returns the exit code.
func (d *runningDemo) end(t *testing.T) int {
	t.Helper()
	for d.lines.Scan() {
		d.output = append(d.output, d.lines.Text())
	}
	err := testutil.Exit(t, d.Cmd)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return d.ProcessState.ExitCode()
}

func TestDemo(t *testing.T) {
	dir := t.TempDir()
	pcap, results := filepath.Join(dir, "demo.pcapng"), filepath.Join(dir, "demo.json")
	begin := time.Now()
	d := startDemo(t, "--pcap", pcap, "--json", results)
	if code := d.end(t); code != 0 {
		t.Fatalf("exit code %d:\n%s\n%s", code, strings.Join(d.output, "\n"), &d.stderr)
	}
	t.Logf("%.1f s\n%s", time.Since(begin).Seconds(), strings.Join(d.output, "\n"))
	wantNothingLeft(t, d.Process.Pid)

	b, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	var res demo.Results
	if err := json.Unmarshal(b, &res); err != nil {
		t.Fatal(err)
	}
	if !res.OK || len(res.Steps) != 24 || len(res.Packets) != 2 || len(res.Pings) != 2 || len(res.Routes) != 2 {
		t.Errorf("results: %s", b)
	}
	for _, p := range res.Packets {
		for _, f := range p.Fields {
			if !f.OK {
				t.Errorf("%s: %s %s is %s, must be %s", p.Direction, f.Header, f.Field, f.Got, f.Want)
			}
		}
		if len(p.Fields) < 30 {
			t.Errorf("%s: %d fields were looked at", p.Direction, len(p.Fields))
		}
	}
	f, err := os.Open(pcap)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	frames := 0
	for {
		if _, _, err := r.ReadPacketData(); err != nil {
			break
		}
		frames++
	}
	// Each echo and its answer, both ways, twice: in and out of the router.
	if frames < 40 {
		t.Errorf("%d frames in the capture, want 40 at least", frames)
	}
}

func TestDemoInterrupted(t *testing.T) {
	for _, at := range []string{"controller with its own etcd", " 5 site-a", "vm-a at site-a", "ping "} {
		t.Run(strings.TrimSpace(at), func(t *testing.T) {
			d := startDemo(t)
			d.until(t, at)
			if err := d.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if code := d.end(t); code != 130 {
				t.Errorf("exit code %d, want 130\n%s", code, &d.stderr)
			}
			wantNothingLeft(t, d.Process.Pid)
		})
	}
}

// TestDemoUnread: it comes to its end, and cleans up, when nobody reads what it says.
func TestDemoUnread(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("causeway", "demo")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := r.SetReadDeadline(time.Now().Add(testutil.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := testutil.Exit(t, cmd); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, cmd.Process.Pid)
}

// TestDemoHold: it stays until it is told to go, and what it says to look around
// with works. SIGTERM ends it as Ctrl-C does.
func TestDemoHold(t *testing.T) {
	d := startDemo(t, "--hold")
	d.until(t, "stays until you press Ctrl-C")
	lab := fmt.Sprintf("demo-%d", d.Process.Pid)
	out, err := exec.Command("causeway", "testbed", "status", "--lab", lab).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "vm-a") {
		t.Errorf("status: %v\n%s", err, out)
	}
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := d.end(t); code != 0 {
		t.Errorf("exit code %d, want 0: all of it held\n%s", code, &d.stderr)
	}
	wantNothingLeft(t, d.Process.Pid)
}

// TestDemoKilled: the next run takes away what a killed one has left.
func TestDemoKilled(t *testing.T) {
	d := startDemo(t)
	d.until(t, "vm-a at site-a")
	if err := d.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d.end(t)
	if len(demoLeft(t, d.Process.Pid)) == 0 {
		t.Error("a killed demo has left nothing: this test tests nothing")
	}
	next := startDemo(t)
	if code := next.end(t); code != 0 {
		t.Errorf("the next run: exit code %d\n%s\n%s", code, strings.Join(next.output, "\n"), &next.stderr)
	}
	wantNothingLeft(t, d.Process.Pid)
	wantNothingLeft(t, next.Process.Pid)
}

// TestDemoWithoutRoot: it says what it needs, and that nothing was changed.
func TestDemoWithoutRoot(t *testing.T) {
	testutil.RequireRoot(t) // to become nobody
	path, err := exec.LookPath("causeway")
	if err != nil {
		t.Fatal(err)
	}
	// The program lies in a directory that only root may enter.
	exe := filepath.Join(t.TempDir(), "causeway")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(exe); d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(exe, "demo")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v, want exit code 1\n%s", err, out)
	}
	for _, want := range []string{"nothing was changed", "root", "sudo"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q: %s", want, out)
		}
	}
}

// TestDemoOrchestrated runs the demo of three sites and one file: all holds, and nothing is left.
func TestDemoOrchestrated(t *testing.T) {
	results := filepath.Join(t.TempDir(), "results.json")
	d := startDemo(t, "--orchestrated", "--json", results)
	if code := d.end(t); code != 0 {
		t.Errorf("exit code %d:\n%s\n%s", code, strings.Join(d.output, "\n"), &d.stderr)
	}
	b, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	var res demo.Results
	if err := json.Unmarshal(b, &res); err != nil {
		t.Fatal(err)
	}
	// 6 per site (device, network, subnet, L2 gateway, connection, port), its attachment, and for each
	// other site a port, a remote MAC entry and a route.
	if want := 3*7 + 6*3; !res.OK || len(res.Checks) < 25 || res.Commands != want {
		t.Errorf("%d checks, ok %v, %d commands by hand; want %d", len(res.Checks), res.OK, res.Commands, want)
	}
	wantNothingLeft(t, d.Process.Pid)
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "causeway-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestDemoHosts runs the demo of several hosts: the gateway devices are at the gateway hosts, packets take the ways that they
// must, all VMs reach each other, and nothing is left.
func TestDemoHosts(t *testing.T) {
	results := filepath.Join(t.TempDir(), "results.json")
	d := startDemo(t, "--hosts", "--json", results)
	if code := d.end(t); code != 0 {
		t.Errorf("exit code %d:\n%s\n%s", code, strings.Join(d.output, "\n"), &d.stderr)
	}
	b, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	var res demo.Results
	if err := json.Unmarshal(b, &res); err != nil {
		t.Fatal(err)
	}
	// Within each site, all twice, one more with one of the other site, and all with it.
	if want := 2*3*2 + 2*6*5 + 2 + 7*6; !res.OK || len(res.Pings) != want || len(res.Paths) != 4 || len(res.Routes) != 3 {
		t.Errorf("ok %v, %d ways pinged, want %d; %d paths and %d traces", res.OK, len(res.Pings), want, len(res.Paths), len(res.Routes))
	}
	tunnel := "a1 ─fabric→ gw-a, gw-a ═tunnel→ gw-b, gw-b ─fabric→ b3"
	if !slices.ContainsFunc(res.Paths, func(p demo.PathReport) bool { return strings.Join(p.Legs, ", ") == tunnel }) {
		t.Errorf("no packet goes %s: %+v", tunnel, res.Paths)
	}
	out := strings.Join(d.output, "\n")
	for _, want := range []string{"the gateway device of site-a: at host gw-a", "the gateway device of site-b: at host gw-b", "shows: "} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	for _, line := range d.output {
		if n := len([]rune(line)); n > 120 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	wantNothingLeft(t, d.Process.Pid)
}

// TestDemoChoice: one demo at a time, and what does not go with it is refused before anything is made.
func TestDemoChoice(t *testing.T) {
	for _, args := range [][]string{{"--hosts", "--orchestrated"}, {"--hosts", "--hold"}, {"--orchestrated", "--pcap", "x"}} {
		cmd := exec.Command("causeway", append([]string{"demo"}, args...)...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%v: %v, want exit code 2: %s", args, err, out)
		}
	}
}
