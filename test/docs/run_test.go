package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

const top = "../.."

func page(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// named collects the steps of all blocks of a page with this name.
func named(t *testing.T, path, name string) []step {
	t.Helper()
	bs, err := blocks(page(t, path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var steps []step
	for _, b := range bs {
		if b.name == name {
			steps = append(steps, b.steps...)
		}
	}
	if len(steps) == 0 {
		t.Fatalf("%s has no block %q", path, name)
	}
	return steps
}

// TestEveryBlockIsRun fails for a block that no test below runs.
func TestEveryBlockIsRun(t *testing.T) {
	run := map[string][]string{
		"README.md":              {"demo", "demo-hosts", "test", "lab", "flags", "peer"},
		"docs/operator-guide.md": {"guide-lab", "guide-site-a", "guide-site-b", "guide-steps", "guide-attach", "guide-check", "guide-trace", "guide-metrics", "guide-status", "guide-probe", "guide-lab-commands", "guide-tls", "guide-store", "guide-down", "guide-down-route", "guide-down-rest", "guide-lab-down", "peer-tenant", "peer-apply", "peer-attach", "peer-drift", "peer-destroy"},
	}
	// test/packages runs these, on a machine of their own.
	run["docs/installation.md"] = []string{"install", "restart", "journal", "well", "reload", "upgrade", "remove", "purge"}
	shown := regexp.MustCompile("(?m)^<!-- shown: .+ -->\n```console$")
	for path, names := range run {
		p := page(t, path)
		bs, err := blocks(p)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		known := map[string]bool{}
		for _, n := range names {
			known[n] = true
		}
		unnamed := 0
		for _, b := range bs {
			if b.name == "" {
				unnamed++
			} else if !known[b.name] {
				t.Errorf("%s, line %d: no test runs %q", path, b.line, b.name)
			}
		}
		if reasons := len(shown.FindAllString(p, -1)); unnamed != reasons || path == "README.md" && unnamed > 0 {
			t.Errorf("%s: %d console blocks that are not run, %d with a reason why", path, unnamed, reasons)
		}
	}
}

// runSteps runs the commands one after the other in one shell, as a reader would,
// and compares what each prints with what the page shows.
func runSteps(t *testing.T, limit time.Duration, steps []step) {
	t.Helper()
	var script strings.Builder
	script.WriteString("sudo() { command \"$@\"; }\nunset $(compgen -v | grep '^OS_')\n")
	for i, s := range steps {
		fmt.Fprintf(&script, "echo; echo @@@%d\n%s || { echo; echo @@@failed; exit 1; }\n", i, s.command)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir = top
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	parts := regexp.MustCompile(`(?m)^@@@(\d+)\n`).Split(out.String(), -1)[1:]
	for i, text := range parts {
		t.Logf("$ %s\n%s", steps[i].command, strings.TrimSpace(text))
		if !matches(text, steps[i].expect) {
			t.Errorf("after %q the page shows\n%s", steps[i].command, strings.Join(steps[i].expect, "\n"))
		}
	}
	if err != nil || len(parts) != len(steps) {
		t.Errorf("%d of %d commands ran in %v: %v", len(parts), len(steps), time.Since(start).Round(time.Second), err)
	}
}

// needLab wants what a lab needs and returns what turns the pages' lab into one
// with a name and ports of its own, so that the test disturbs no lab that is up,
// and none disturbs it. The lab goes at the end.
func needLab(t *testing.T, tools ...string) func([]step) []step {
	t.Helper()
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, append(tools, "make", "ip", "ping")...)
	const file, portA, portB = "examples/two-sites.yaml", "19696", "29696"
	lab := fmt.Sprintf("docs-%d", os.Getpid())
	own := filepath.Join(t.TempDir(), "lab.yaml")
	const peering = "examples/peering.yaml"
	ownPeering := filepath.Join(t.TempDir(), "peering.yaml")
	names := strings.NewReplacer(
		file, own, peering, ownPeering, "two-sites", lab, portA, freePort(t), portB, freePort(t),
		"testbed status", "testbed status --lab "+lab,
		"testbed attach", "testbed attach --lab "+lab,
		"testbed exec", "testbed exec --lab "+lab, "testbed restart agent", "testbed restart agent --lab "+lab,
		"testbed restart controller", "testbed restart controller --lab "+lab,
	)
	if err := os.WriteFile(own, []byte(names.Replace(page(t, file))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ownPeering, []byte(names.Replace(page(t, peering))), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := os.Stat("/run/causeway/testbed/" + lab); err != nil {
			return
		}
		if out, err := exec.Command(filepath.Join(top, "bin/causeway"), "testbed", "down", "--lab", lab).CombinedOutput(); err != nil {
			t.Errorf("take the lab away: %v\n%s", err, out)
		}
	})
	return func(steps []step) []step {
		for i := range steps {
			steps[i].command = names.Replace(steps[i].command)
			steps[i].expect = slices.Clone(steps[i].expect)
			for j := range steps[i].expect {
				steps[i].expect[j] = names.Replace(steps[i].expect[j])
			}
		}
		return steps
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	addr, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return addr[strings.LastIndex(addr, ":")+1:]
}

// TestDemo runs the README's first command.
func TestDemo(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "make")
	runSteps(t, 5*time.Minute, named(t, "README.md", "demo"))
}

// TestDemoHosts runs the README's demo of several hosts.
func TestDemoHosts(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "make")
	runSteps(t, 5*time.Minute, named(t, "README.md", "demo-hosts"))
}

// TestTest looks at the README's second command without running it: it is what
// runs this test.
func TestTest(t *testing.T) {
	testutil.RequireTool(t, "make")
	for _, s := range named(t, "README.md", "test") {
		cmd := exec.Command("bash", "-c", strings.Replace(s.command, "make ", "make -n --no-print-directory ", 1))
		cmd.Dir = top
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "scripts/test" {
			t.Errorf("%s: %v: %s", s.command, err, out)
		}
	}
}

func TestLab(t *testing.T) {
	ours := needLab(t)
	runSteps(t, 3*time.Minute, ours(named(t, "README.md", "lab")))
}

// TestFlags wants every flag that the README shows to be in the command's help.
func TestFlags(t *testing.T) {
	build(t)
	for _, s := range append(named(t, "README.md", "flags"), named(t, "README.md", "peer")...) {
		words := strings.Fields(strings.TrimPrefix(s.command, "sudo "))
		flags := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") })
		cmd := exec.Command(words[0], append(slices.Clone(words[1:flags]), "--help")...)
		cmd.Dir = top
		help, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", s.command, err, help)
		}
		for _, w := range words[flags:] {
			if strings.HasPrefix(w, "--") && !bytes.Contains(help, []byte(w+" ")) {
				t.Errorf("%s has no flag %s", strings.Join(words[:flags], " "), w)
			}
		}
	}
}

func build(t *testing.T) {
	t.Helper()
	cmd := exec.Command("scripts/build")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// TestOperatorGuide does the whole guide with the real clients.
func TestOperatorGuide(t *testing.T) {
	ours := needLab(t, "openstack", "traceroute", "curl")
	const guide = "docs/operator-guide.md"
	var steps []step
	for _, name := range []string{
		"guide-lab", "guide-site-a", "guide-steps", "guide-site-b", "guide-steps", "guide-attach", "guide-check",
		"guide-site-a", "guide-trace", "guide-metrics", "guide-status", "guide-probe", "guide-lab-commands", "guide-down", "guide-down-route", "guide-down-rest",
		"guide-site-b", "guide-down", "guide-down-route", "guide-down-rest", "guide-lab-down",
	} {
		steps = append(steps, named(t, guide, name)...)
	}
	runSteps(t, 8*time.Minute, ours(steps))
}

// TestTLSGuide does the guide's chapter on TLS.
func TestTLSGuide(t *testing.T) { runWithController(t, "guide-tls", "19443") }

// TestStoreGuide does the guide's chapter on exports.
func TestStoreGuide(t *testing.T) { runWithController(t, "guide-store", "19444") }

// runWithController runs blocks of the guide that start a controller of their own, at a free port in
// place of theirs.
func runWithController(t *testing.T, blocks, port string) {
	t.Helper()
	testutil.RequireRoot(t)
	testutil.RequireTool(t, "openssl", "openstack")
	build(t)
	bin, err := filepath.Abs(filepath.Join(top, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	free := freePort(t)
	steps := append([]step{
		{command: "PATH=" + bin + ":$PATH TMPDIR=" + t.TempDir()},
		{command: `trap '[ -z "$controller" ] || kill $controller 2>/dev/null; wait' EXIT`},
	}, named(t, "docs/operator-guide.md", blocks)...)
	for i := range steps {
		steps[i].command = strings.ReplaceAll(steps[i].command, port, free)
	}
	runSteps(t, 5*time.Minute, steps)
}

// TestOneFile does the guide's chapter on peering with one file.
func TestOneFile(t *testing.T) {
	ours := needLab(t, "openstack")
	const guide = "docs/operator-guide.md"
	var steps []step
	for _, name := range []string{
		"guide-lab", "guide-site-a", "peer-tenant", "guide-site-b", "peer-tenant", "peer-apply", "peer-attach",
		"guide-site-a", "peer-drift", "peer-destroy", "guide-lab-down",
	} {
		steps = append(steps, named(t, guide, name)...)
	}
	runSteps(t, 8*time.Minute, ours(steps))
}

func TestBlocks(t *testing.T) {
	bs, err := blocks("text\n<!-- run: x-y -->\n```console\n$ one \\\n> more\nout\n$ two\n```\n\n```console\n$ three\n```\n")
	if err != nil || len(bs) != 2 {
		t.Fatalf("%d blocks, %v", len(bs), err)
	}
	got := fmt.Sprint(bs[0].name, bs[0].line, len(bs[0].steps), strconv.Quote(bs[0].steps[0].command), bs[0].steps[0].expect, bs[1].name == "")
	if want := `x-y3 2"one \\\nmore"[out] true`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, bad := range []string{"```console\n$ x\n", "```console\nout\n```\n"} {
		if _, err := blocks(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestMatches(t *testing.T) {
	const output = "PING x\n3 packets transmitted, 3 received, 0% packet loss, time 2ms\n 1  10.0.0.1  0.1 ms\n"
	for _, c := range []struct {
		expect []string
		want   bool
	}{
		{nil, true},
		{[]string{"3 packets transmitted, 3 received, 0% packet loss, …"}, true},
		{[]string{"3 packets transmitted, 2 received, …"}, false},
		{[]string{"PING x", "…1 10.0.0.1 …"}, true},
		{[]string{"…1 10.0.0.1 …", "PING x"}, false},
	} {
		if got := matches(output, c.expect); got != c.want {
			t.Errorf("matches(%q) = %v", c.expect, got)
		}
	}
}
