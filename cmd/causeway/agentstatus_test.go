package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/agent"
	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/reconcile"
)

// TestAgentStatus: what an agent says of its objects is shown to people and programs, and the exit code tells
// whether all is well.
func TestAgentStatus(t *testing.T) {
	for k := range environ() {
		t.Setenv(k, "")
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	next := time.Now().Add(time.Hour)
	failing := []reconcile.Status{
		{Kind: "links", Name: "tap1", State: reconcile.Failed, Wanted: "a program", Cause: "no\x1b[31m room", Failures: 3, NextTry: &next},
		{Kind: "ports", Name: "vm-1", State: reconcile.Failed, Cause: "no room", On: reconcile.Ref{Kind: "links", Name: "tap1"}},
	}
	answer := agent.Status{
		Connected: true, WantedRevision: 7, AppliedRevision: 6, Objects: failing,
		Counts: map[string]map[reconcile.State]int{"links": {reconcile.Failed: 1, reconcile.Done: 4}, "ports": {reconcile.Failed: 1}},
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })

	ask := func(args ...string) (int, string) {
		t.Helper()
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"agent", "status", "--metrics-listen", "unix:" + socket}, args...), strings.NewReader(""), &out, &errs)
		return code, out.String() + errs.String()
	}
	code, out := ask()
	for _, want := range []string{"revision 6 of 7 is in the maps; 4 objects as wanted, 2 not", "| links | tap1 ", `no\x1b[31m room`, "in 1h0m0s, after 3 tries", "on a change, with links tap1"} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if code != cli.ExitFailure {
		t.Errorf("ends with %d where objects fail", code)
	}
	docs := map[string]any{}
	for format, unmarshal := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		_, out := ask("-f", format)
		var v map[string]any
		if err := unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%s: %v\n%s", format, err, out)
		}
		docs[format] = fmt.Sprint(v["wanted_revision"], len(v["objects"].([]any)))
	}
	if docs["json"] != docs["yaml"] {
		t.Errorf("JSON and YAML say different things: %v", docs)
	}
	answer.Objects, answer.Counts = nil, map[string]map[reconcile.State]int{"links": {reconcile.Done: 5}}
	if code, out := ask(); code != 0 || !strings.Contains(out, "5 objects as wanted, 0 not") {
		t.Errorf("ends with %d where all is well:\n%s", code, out)
	}
	answer.Fabric = &agent.Fabric{Address: netip.MustParseAddr("10.0.0.1"), Port: 4798, Device: "cw-fabric", MTU: 1500, Hosts: []agent.FabricHost{
		{Host: "h2", Address: netip.MustParseAddr("10.0.0.2"), State: "proven", MTU: 1500, Why: "it answers"},
		{Host: "h3", Address: netip.MustParseAddr("10.0.0.3"), State: "unreachable", Why: "no\x1b[31m route"},
	}}
	if code, out := ask(); code != 0 || !strings.Contains(out, "on the fabric as 10.0.0.1, UDP port 4798, by cw-fabric, MTU 1500; 2 other hosts\n") ||
		!strings.Contains(out, "| h2   | 10.0.0.2 | proven      | 1500    | it answers") || !strings.Contains(out, `| h3   | 10.0.0.3 | unreachable | unknown | no\x1b[31m route`) {
		t.Errorf("on the fabric it ends with %d:\n%s", code, out)
	}
	answer.Fabric = nil
	answer.Connected = false
	if code, out := ask(); code != cli.ExitFailure || !strings.Contains(out, "not connected to the controller") {
		t.Errorf("ends with %d where the agent has no controller:\n%s", code, out)
	}
	answer.Problem = "c1:9697: host a2 is refused: its fabric port is 4799 \x1b[31m"
	if code, out := ask(); code != cli.ExitFailure || !strings.Contains(out, `not connected to the controller (c1:9697: host a2 is refused: its fabric port is 4799 \x1b[31m);`) {
		t.Errorf("ends with %d where the agent is refused:\n%s", code, out)
	}
	answer.Connected, answer.Stuck = true, "the agent's loop has not come round for 10s"
	if code, out := ask(); code != cli.ExitFailure || !strings.HasPrefix(out, "the agent's loop has not come round for 10s: nothing here") || !strings.Contains(out, "start it anew") {
		t.Errorf("ends with %d where the agent hangs:\n%s", code, out)
	}
	_ = srv.Close()
	for listen, want := range map[string]string{
		"unix:" + socket:    "causeway: agent status: ask the agent at unix:" + socket + ": connect: no such file or directory\n  No agent listens there. Start one with: causeway agent; ",
		"127.0.0.1:1":       "causeway: agent status: ask the agent at 127.0.0.1:1: connect: connection refused\n  No agent listens there. ",
		"nowhere.invalid:1": "\n  Check that it is the agent's --metrics-listen, ",
		"":                  "--metrics-listen is empty: the agent cannot be asked\n  Have the agent listen",
	} {
		if code, out := ask("--metrics-listen", listen); code == 0 || !strings.Contains(out, want) {
			t.Errorf("at %q it ends with %d and says:\n%s", listen, code, out)
		}
	}
}
