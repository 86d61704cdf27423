package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestPeerApplyWaits: an apply that waits says for whom, since when and what that one does, and afterwards
// how it ended; one that does not wait names the holder so that one finds it.
func TestPeerApplyWaits(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: causeway/v1\nkind: Peering\nmetadata: {name: acme}\nspec:\n  network: {cidr: 192.168.0.0/24}\n  sites:\n")
	var first *client.Client
	var router string
	for i := range 2 {
		c := controllerProcess(t)
		for _, name := range []string{"vtep", "tenant"} {
			made, err := c.Create(t.Context(), client.Routers, client.Attrs{"name": name})
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first, router = c, client.ID(made)
			}
		}
		fmt.Fprintf(&b, "  - {name: site-%d, endpoint: %q, router: tenant, gateway: {router: vtep, tunnelIP: 200.200.0.%d}}\n", i, c.Endpoint(), i+1)
	}
	file := filepath.Join(t.TempDir(), "acme.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	since := time.Now().Add(-time.Minute)
	tag := fmt.Sprintf("causeway:lease:acme:web-1.0a1b2c3d-4026531836.4711.12345.beef:3.apply.%d.12.96", since.Unix())
	if err := first.AddTag(t.Context(), client.Routers, router, tag); err != nil {
		t.Fatal(err)
	}
	who := "another run is at work on peering acme: causeway peer apply on host web-1, process 4711, since " + since.Format(time.TimeOnly) + ", 12 of 96 steps done (its lease is at site-0)"

	cmd := exec.CommandContext(t.Context(), "causeway", "peer", "apply", "--file", file, "--yes", "--wait", "0s")
	var out bytes.Buffer
	cmd.Stderr = &out
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 6 || !strings.Contains(out.String(), who) {
		t.Errorf("%v\n%s", err, out.String())
	}

	cmd = exec.CommandContext(t.Context(), "causeway", "peer", "apply", "--file", file, "--yes", "--wait", "5m")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(pipe); s.Scan(); {
			lines <- s.Text()
		}
	}()
	await := func(want string) {
		t.Helper()
		for {
			line := testutil.Receive(t, "a line with "+want, lines)
			if strings.Contains(line, want) {
				return
			}
			if line == "" { // the program has ended
				t.Fatalf("no line with %q", want)
			}
		}
	}
	await(who + ": waiting for it, up to 5m0s")
	if err := first.RemoveTag(t.Context(), client.Routers, router, tag); err != nil {
		t.Fatal(err)
	}
	await("The other run has ended, after ")
	await("Everything is as the file says now, ")
	for range lines {
	}
	if err := testutil.Exit(t, cmd); err != nil {
		t.Error(err)
	}
}
