package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"causeway": main})
}

// TestScripts runs the commands as an ordinary user would, against a real
// controller where they need one. They do without root.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: scriptCommands(), Setup: scriptSetup, RequireExplicitExec: true})
}

// TestRootScripts need namespaces.
func TestRootScripts(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testscript.Run(t, testscript.Params{Dir: "testdata/root", Cmds: scriptCommands(), Setup: scriptSetup, RequireExplicitExec: true})
}

// scriptSetup keeps the environment of whoever runs the tests out of them.
func scriptSetup(e *testscript.Env) error {
	e.Vars = slices.DeleteFunc(e.Vars, func(kv string) bool {
		return strings.HasPrefix(kv, "OS_") || strings.HasPrefix(kv, "CAUSEWAY_")
	})
	// Scripts run side by side, each with names of its own.
	name := fmt.Sprintf("%d-%s", os.Getpid(), filepath.Base(e.WorkDir))
	e.Setenv("NAME", name)
	// A script that fails half-way leaves no lab.
	e.Defer(func() {
		for _, lab := range []string{"script-" + name, "script2-" + name} {
			if err := testbed.Down(lab); err != nil && !errors.Is(err, testbed.ErrNoLab) {
				e.T().Log(err)
			}
		}
	})
	return nil
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"freeport": cmdFreePort,
		"exits":    cmdExits,
		"site":     cmdSite,
		"api":      cmdAPI,
		"apiput":   cmdAPIPut,
	}
}

// cmdFreePort sets variables to loopback ports that nobody listens on.
func cmdFreePort(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		addr, err := process.FreePort()
		ts.Check(err)
		_, port, err := net.SplitHostPort(addr)
		ts.Check(err)
		ts.Setenv(name, port)
	}
}

// cmdExits runs a program that must end with exactly this code: exits CODE COMMAND…
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdSite starts a controller and sets NAME to the root URL of its API: site NAME
func cmdSite(ts *testscript.TestScript, _ bool, args []string) {
	dir, err := os.MkdirTemp("", "causeway-script-")
	ts.Check(err)
	path, err := exec.LookPath("causeway")
	ts.Check(err)
	p, url, err := process.StartController(context.Background(), path, dir)
	ts.Check(err)
	ts.Defer(func() {
		ts.Check(p.Stop())
		if !p.Succeeded() {
			ts.Logf("%v", p.Ended())
		}
		ts.Check(os.RemoveAll(dir))
	})
	ts.Setenv(args[0], url)
}

// cmdAPI makes a resource that the commands cannot, and sets a variable to its id:
// api VARIABLE URL COLLECTION KEY JSON
func cmdAPI(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 5 {
		ts.Fatalf("usage: api VARIABLE URL COLLECTION KEY JSON")
	}
	body := fmt.Sprintf(`{%q: %s}`, args[3], args[4])
	resp, err := http.Post(args[1]+"/v2.0/"+args[2], "application/json", strings.NewReader(body))
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode != http.StatusCreated {
		ts.Fatalf("POST %s %s: %s\n%s", args[2], body, resp.Status, b)
	}
	_, rest, ok := strings.Cut(string(b), `"id":"`)
	if !ok {
		ts.Fatalf("no id in %s", b)
	}
	id, _, _ := strings.Cut(rest, `"`)
	ts.Setenv(args[0], id)
}

// cmdAPIPut changes something by the API: apiput URL PATH JSON
func cmdAPIPut(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: apiput URL PATH JSON")
	}
	req, err := http.NewRequest(http.MethodPut, args[0]+"/v2.0/"+args[1], strings.NewReader(args[2]))
	ts.Check(err)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode >= 300 {
		ts.Fatalf("PUT %s %s: %s\n%s", args[1], args[2], resp.Status, b)
	}
}
