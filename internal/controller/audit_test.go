package controller

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/audit"
	"github.com/causeway-net/causeway/internal/config"
)

// TestAudit: each request for a change leaves a line, done or refused, and nothing
// of its token or its body; reads leave none.
func TestAudit(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "audit.log")
	l := startWith(t, dir, func(c *config.Controller) { c.API.AuditLog = path })
	net := l.create("/v2.0/networks", "network", m{"name": "secret-name"})
	l.do("GET", "/v2.0/networks/"+net, nil, 200)
	l.do("PUT", "/v2.0/networks/"+net, m{"network": m{"name": "secret-name"}}, 200)
	l.do("PUT", "/v2.0/networks/"+net, m{"network": m{"mtu": "secret-mtu"}}, 400)
	l.do("POST", "/v2.0/security-groups", m{}, 400)
	l.do("DELETE", "/v2.0/networks/"+net, nil, 204)
	l.do("DELETE", "/v2.0/networks/"+net, nil, 404)
	l.do("POST", "/v2.0/nothing", nil, 404)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "secret") {
		t.Errorf("holds a request's body: %s", b)
	}
	var got []audit.Entry
	for line := range strings.Lines(string(b)) {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	want := []audit.Entry{
		{Method: "POST", Route: "/v2.0/networks", Resource: "network", IDs: []string{net}, Status: 201, Outcome: "done"},
		{Method: "PUT", Route: "/v2.0/networks/{id}", Resource: "network", IDs: []string{net}, Status: 200, Outcome: "done"},
		{Method: "PUT", Route: "/v2.0/networks/{id}", Resource: "network", IDs: []string{net}, Status: 400, Outcome: "refused"},
		{Method: "POST", Route: "/v2.0/security-groups", Resource: "security_group", Status: 400, Outcome: "refused"},
		{Method: "DELETE", Route: "/v2.0/networks/{id}", Resource: "network", IDs: []string{net}, Status: 204, Outcome: "done"},
		{Method: "DELETE", Route: "/v2.0/networks/{id}", Resource: "network", IDs: []string{net}, Status: 404, Outcome: "refused"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), b)
	}
	for i, w := range want {
		g := got[i]
		if g.Method != w.Method || g.Route != w.Route || g.Resource != w.Resource || strings.Join(g.IDs, " ") != strings.Join(w.IDs, " ") ||
			g.Status != w.Status || g.Outcome != w.Outcome {
			t.Errorf("line %d: %+v, want %+v", i, g, w)
		}
		if g.Time.IsZero() || !strings.HasPrefix(g.RequestID, "req-") || !strings.HasPrefix(g.Client, "127.0.0.1:") || g.ProjectID == "" {
			t.Errorf("line %d: %+v", i, g)
		}
	}
}

// TestAuditOfTheTurnedAway: who asks for a change too often leaves a line like
// everybody else, with what was asked for.
func TestAuditOfTheTurnedAway(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "audit.log")
	l := startWith(t, dir, func(c *config.Controller) { c.API.AuditLog, c.API.Rate, c.API.Burst = path, 0.001, 1 })
	net := l.create("/v2.0/networks", "network", m{})
	l.do("DELETE", "/v2.0/networks/"+net, nil, http.StatusTooManyRequests)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2:\n%s", len(lines), b)
	}
	var e audit.Entry
	if err := json.Unmarshal([]byte(lines[1]), &e); err != nil {
		t.Fatal(err)
	}
	if e.Method != "DELETE" || e.Route != "/v2.0/networks/{id}" || e.Status != http.StatusTooManyRequests || e.Outcome != "refused" || e.Resource != "network" {
		t.Errorf("%+v", e)
	}
}

// TestAuditFails: without its audit log the controller does not start, and what it
// cannot write while it runs is counted.
func TestAuditFails(t *testing.T) {
	if _, err := openAudit(filepath.Join(t.TempDir(), "none", "audit.log"), nil, nil); err == nil {
		t.Error("opened in a directory that does not exist")
	}
	dir := socketDir(t)
	l := startWith(t, dir, func(c *config.Controller) { c.API.AuditLog = "/dev/full" })
	l.create("/v2.0/networks", "network", m{"name": "n"})
	waitMetric(t, l, `causeway_controller_audit_failures_total 1`)
}

// TestLimits: the settings of the API's bounds reach it.
func TestLimits(t *testing.T) {
	dir := socketDir(t)
	l := startWith(t, dir, func(c *config.Controller) { c.API.MaxBody, c.API.Rate, c.API.Burst = 20_000, 0.001, 2 })
	l.do("POST", "/v2.0/networks", m{"network": m{"name": strings.Repeat("x", 30_000)}}, http.StatusRequestEntityTooLarge)
	l.do("GET", "/v2.0/networks", nil, 200)
	l.do("GET", "/v2.0/networks", nil, http.StatusTooManyRequests)
	waitMetric(t, l, `causeway_controller_api_limited_total 1`)
}
