package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/liveness"
)

// TestHealthStatus: what "causeway health" knows is shown to people, as the guide shows it, and to programs; the exit code
// tells whether a remote is down.
func TestHealthStatus(t *testing.T) {
	for k := range environ() {
		t.Setenv(k, "")
	}
	state, err := os.MkdirTemp("", "cwh") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	ask := func(args ...string) (int, string) {
		t.Helper()
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"health", "status", "--state-dir", state}, args...), strings.NewReader(""), &out, &errs)
		return code, out.String() + errs.String()
	}
	if code, out := ask(); code != cli.ExitFailure || !strings.Contains(out, "does not run on this host\n  Start it with: systemctl start causeway-health") {
		t.Errorf("ends with %d where none runs:\n%s", code, out)
	}
	if err := os.Mkdir(liveness.Dir(state), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(liveness.Dir(state), "health.sock"))
	if err != nil {
		t.Fatal(err)
	}
	num := func(f float64) *float64 { return &f }
	here := netip.MustParseAddr("200.200.0.1")
	one, two := netip.MustParseAddr("200.200.0.2"), netip.MustParseAddr("200.200.0.3")
	answer := liveness.Status{RealTime: "SCHED_FIFO, priority 10", Memory: "locked", Remotes: []liveness.RemoteStatus{
		{Remote: liveness.Remote{TunnelIP: here, VTEP: one}, State: liveness.Up, Means: liveness.SBFD, Why: "200.200.0.2 answers S-BFD",
			Since: time.Now().Add(-124 * time.Minute), RTTMicros: num(212), Loss: num(0)},
		{Remote: liveness.Remote{TunnelIP: here, VTEP: two}, State: liveness.Down, Means: liveness.ICMP, Why: "200.200.0.3 has stopped answering ICMP echo",
			Since: time.Now().Add(-12 * time.Minute), RTTMicros: num(1004), Loss: num(0.094)},
	}}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(answer) })}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })

	for format, unmarshal := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		code, out := ask("-f", format)
		var v map[string]any
		if err := unmarshal([]byte(out), &v); err != nil || code != cli.ExitFailure || len(v["remotes"].([]any)) != 2 {
			t.Errorf("%s: %d, %v\n%s", format, code, err, out)
		}
	}
	code, out := ask()
	if code != cli.ExitFailure {
		t.Errorf("ends with %d where a remote is down", code)
	}
	page, err := os.ReadFile("../../docs/operator-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	// How long ago it was may have grown by a second.
	if whole := strings.NewReplacer("2h4m1s", "2h4m0s", "12m1s", "12m0s").Replace(out); !strings.Contains(string(page), "$ sudo causeway health status\n"+whole+"```") {
		t.Errorf("the guide is to show:\n%s", out)
	}
	answer.Remotes = answer.Remotes[:1]
	answer.Problem, answer.Remotes[0].Why, answer.Unwatched = "bad\x1b[31m file\nFORGED", "why\x1b[31m\nFORGED", 7
	code, out = ask()
	if code != 0 || !strings.Contains(out, `bad\x1b[31m file\n`) || !strings.Contains(out, `why\x1b[31m`) || strings.Contains(out, "\x1b") || !strings.Contains(out, "7 more are not watched") {
		t.Errorf("ends with %d:\n%s", code, out)
	}
}

// TestHealthNotifies: the service manager hears of the process's life.
func TestHealthNotifies(t *testing.T) {
	state, err := os.MkdirTemp("", "cwh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	c, m := startService(t, "health", "--state-dir", state, "--metrics-listen", "")
	m.life(t, c)
}
