package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// cloud is what clients are pointed at.
type cloud struct {
	rec *recorder
	// env is how they authenticate.
	env []string
	// project is whose their things are; token is for requests of our own.
	project, token string
}

// noAuth is a cloud without Keystone.
func noAuth(t *testing.T) cloud {
	rec := newRecorder(t, newController(t))
	return cloud{rec, []string{"OS_AUTH_TYPE=none", "OS_ENDPOINT=" + rec.url}, "default", "notused"}
}

// environment is a clean one: nothing of the caller's settings, and Debian's
// programs first, whatever Python is on the caller's PATH.
func (c cloud) environment(home string) []string {
	return append([]string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + home, "LANG=C.UTF-8", "PYTHONWARNINGS=ignore"}, c.env...)
}

// command runs a client's command and returns all it printed.
func (c cloud) command(t *testing.T, home, line string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	words := strings.Fields(line)
	if words[0] != "causeway" {
		return preload(t, words[0]).run(ctx, c.environment(home), words[1:])
	}
	cmd := exec.CommandContext(ctx, program, words[1:]...)
	cmd.Env = c.environment(home)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// runCommands runs the commands of a file and compares what they send, what they are
// answered and what they print.
func (c cloud) runCommands(t *testing.T, file string) {
	n := names{"URL": c.rec.url, "PROJECT": c.project}
	home := t.TempDir()
	for _, sec := range readSections(t, file) {
		ok := t.Run(sec.name, func(t *testing.T) {
			for _, s := range sec.steps {
				c.runStep(t, home, n, s)
			}
		})
		if !ok {
			t.Fatalf("what follows %q builds on it", sec.name)
		}
	}
}

func (c cloud) runStep(t *testing.T, home string, n names, s step) {
	t.Helper()
	if s.command == "-" {
		replay(t, c.rec.url, map[string]string{"": c.token}, n, s)
		c.rec.take()
		return
	}
	line := n.fill(s.command)
	out, err := c.command(t, home, line)
	calls := c.rec.take()
	var seen []string
	for _, x := range calls {
		seen = append(seen, x.String())
	}
	said := "\nit printed:\n" + out + "\nits requests:\n" + strings.Join(seen, "\n")
	if (err != nil) != s.fails {
		t.Fatalf("line %d: %s: %v%s", s.line, line, err, said)
	}
	if len(calls) != len(s.exchanges) {
		t.Fatalf("line %d: %s: %d requests, want %d%s", s.line, line, len(calls), len(s.exchanges), said)
	}
	for i, e := range s.exchanges {
		if err := e.matchRequest(n, calls[i].method, calls[i].path, calls[i].body); err != nil {
			t.Fatalf("line %d: %s: %v%s", e.line, line, err, said)
		}
		if err := e.matchAnswer(n, calls[i].status, calls[i].answer); err != nil {
			t.Fatalf("line %d: %s: %v%s", e.line, line, err, said)
		}
		if !requestIDText.MatchString(calls[i].requestID) {
			t.Errorf("line %d: %s: request id %q", e.line, line, calls[i].requestID)
		}
	}
	for _, want := range s.prints {
		if !strings.Contains(out, n.fill(want)) {
			t.Errorf("line %d: %s does not print %q%s", s.line, line, n.fill(want), said)
		}
	}
}

// TestCommands runs the router peering guide and the other commands that operators
// use with the real clients.
func TestCommands(t *testing.T) {
	testutil.RequireTool(t, "/usr/bin/openstack", "/usr/bin/neutron")
	files, err := filepath.Glob("testdata/cli/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			noAuth(t).runCommands(t, f)
		})
	}
}

// TestEnvironmentIsClean keeps settings of the caller away from the clients.
func TestEnvironmentIsClean(t *testing.T) {
	t.Setenv("OS_TOKEN", "x")
	env := cloud{env: []string{"OS_AUTH_TYPE=none"}}.environment("/nowhere")
	if slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "OS_TOKEN") }) || !slices.Contains(env, "OS_AUTH_TYPE=none") {
		t.Error(env)
	}
	if os.Getenv("OS_TOKEN") == "" {
		t.Error("the test sets nothing")
	}
}
