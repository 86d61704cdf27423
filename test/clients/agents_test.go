package clients

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// idle is an agent that has nothing to do.
type idle struct{ got chan int64 }

func (i idle) Update(_ context.Context, u hostsync.Update) {
	select {
	case i.got <- u.Delta.Revision:
	default:
	}
}

// TestNetworkAgents: a host's agent by the OpenStack client and by ours, alive, away and deleted.
func TestNetworkAgents(t *testing.T) {
	dir := tempDir(t)
	p, url, err := process.StartController(t.Context(), program, dir, "--host-timeout", "1s")
	if err != nil {
		t.Fatal(err)
	}
	untilEnd(t, p)
	c := cloud{env: []string{"OS_AUTH_TYPE=none", "OS_ENDPOINT=" + url}}
	home := t.TempDir()
	ask := func(line string) (out []map[string]any) {
		t.Helper()
		text, err := c.command(t, home, line+" -f json")
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, text)
		}
		if strings.HasPrefix(strings.TrimSpace(text), "{") {
			text = "[" + text + "]"
		}
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, text)
		}
		return out
	}
	do := func(line string) {
		t.Helper()
		if text, err := c.command(t, home, line); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, text)
		}
	}
	if l := ask("openstack network agent list"); len(l) != 0 {
		t.Fatalf("agents of a site without hosts: %v", l)
	}

	agent, err := hostsync.NewClient(hostsync.ClientOptions{Targets: []string{"unix://" + filepath.Join(dir, "controller.sock")}, Version: "v0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sink, done := idle{make(chan int64, 1)}, make(chan error, 1)
	go func() { done <- agent.Run(ctx, sink) }()
	agent.Report(hostsync.Report{Revision: testutil.Receive(t, "the host's state", sink.got)})

	l := ask("openstack network agent list")
	if len(l) != 1 || l[0]["Host"] != "h0" || l[0]["Alive"] != true || l[0]["State"] != true || l[0]["Binary"] != "causeway-agent" {
		t.Fatalf("%v", l)
	}
	id := l[0]["ID"].(string)
	do("openstack network agent set --disable --description repair " + id)
	shown := ask("openstack network agent show " + id)[0]
	if shown["admin_state_up"] != false || shown["description"] != "repair" || shown["alive"] != true || shown["host"] != "h0" {
		t.Errorf("%v", shown)
	}
	if l := ask("openstack network agent list --host h0"); len(l) != 1 {
		t.Errorf("%v", l)
	}
	if l := ask("causeway host list"); len(l) != 1 || l[0]["host"] != "h0" || l[0]["admin_state_up"] != false {
		t.Errorf("%v", l)
	}
	if x := ask("causeway host drain h0 --undo")[0]; x["admin_state_up"] != true {
		t.Errorf("%v", x)
	}
	if x := ask("causeway host drain h0")[0]; x["admin_state_up"] != false {
		t.Errorf("%v", x)
	}
	if text, err := c.command(t, home, "causeway host delete h0"); err == nil || !strings.Contains(text, "may still be heard") {
		t.Errorf("%v: %s", err, text)
	}
	if text, err := c.command(t, home, "openstack network agent delete "+id); err == nil || !strings.Contains(text, "may still be heard") {
		t.Errorf("%v: %s", err, text)
	}
	cancel()
	if err := testutil.Receive(t, "the agent's end", done); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the agent is not alive", func() bool {
		resp, err := http.Get(url + "/v2.0/agents?alive=false")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body struct{ Agents []map[string]any }
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		return len(body.Agents) == 1
	})
	if x := ask("causeway host show h0")[0]; x["alive"] != false || x["id"] != id {
		t.Errorf("%v", x)
	}
	do("openstack network agent delete " + id)
	if l := ask("causeway host list"); len(l) != 0 {
		t.Errorf("%v", l)
	}
	if text, err := c.command(t, home, "causeway host show h0"); err == nil || !strings.Contains(text, "h0") {
		t.Errorf("%v: %s", err, text)
	}
}
