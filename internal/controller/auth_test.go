package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/policy"
	"github.com/causeway-net/causeway/internal/testutil"
)

// logLines passes each line of a log on.
type logLines struct {
	mu   sync.Mutex
	all  bytes.Buffer
	line chan string
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line <- string(b)
	return l.all.Write(b)
}

// The policy file is followed; one that is changed for the worse, or goes, leaves
// the rules before in force.
func TestPolicyFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(s string) {
		t.Helper()
		tmp := path + ".new"
		if err := os.WriteFile(tmp, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
	}
	lines := &logLines{line: make(chan string, 100)}
	log := slog.New(slog.NewTextHandler(lines, nil))
	counts := metrics.NewController("test")
	write("create_network: rule:nope\n")
	if _, err := newPolicyFile(path, counts, log); err == nil || !strings.Contains(err.Error(), "policy.yaml: line 1: create_network") {
		t.Errorf("%v", err)
	}
	write("create_network: '!'\nspelt_wrong: '@'\n")
	p, err := newPolicyFile(path, counts, log)
	if err != nil {
		t.Fatal(err)
	}
	if l := testutil.Receive(t, "a line of the log", lines.line); !strings.Contains(l, "spelt_wrong") {
		t.Errorf("no warning of a rule that nothing asks for: %s", l)
	}
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = p.watch(ctx, 5*time.Millisecond) })
	defer func() { stop(); testutil.Wait(t, "the end of the watch", done.Wait) }()
	allowed := func() bool {
		return p.rules.Load().For(identity.Caller{Roles: []string{"member"}}).Allowed("create_network", none{})
	}
	if allowed() {
		t.Error("the file is not in force")
	}
	for _, step := range []struct {
		file, log string
		want      bool
	}{
		{"create_network: '@'\n", "read again", true},
		{"create_network: '(((\n", "refused", true},
		{"create_network: rule:nope_\n", "refused", true},
		{"create_network: '!' # now\n", "read again", false},
	} {
		write(step.file)
		if l := testutil.Receive(t, "a line of the log", lines.line); !strings.Contains(l, step.log) {
			t.Errorf("%q: log %s", step.file, l)
		}
		if allowed() != step.want {
			t.Errorf("%q: allowed %v", step.file, allowed())
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if l := testutil.Receive(t, "a line of the log", lines.line); !strings.Contains(l, "refused") || allowed() {
		t.Errorf("without the file: %s", l)
	}
}

// A policy file that is being written in place is not taken before it is whole: what
// forbids stands at its end.
func TestPolicyFileHalfWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	forbids := []byte("get_network: '@'\ncreate_network: '!'\n")
	if err := os.WriteFile(path, forbids, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := newPolicyFile(path, metrics.NewController("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	allowed := func(action string) bool {
		return p.rules.Load().For(identity.Caller{Roles: []string{"member"}}).Allowed(action, none{})
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, piece := range []string{"", "# new\n", "get_network: '!'\n", "create_network: '!'\n"} {
		if _, err := f.WriteString(piece); err != nil {
			t.Fatal(err)
		}
		if p.follow(); allowed("create_network") {
			t.Fatalf("after %d pieces what forbids is gone", i)
		}
	}
	if !allowed("get_network") {
		t.Error("the file is in force while it may still be written")
	}
	if p.follow(); allowed("get_network") || allowed("create_network") {
		t.Error("the file that has come to rest is not in force")
	}
}

type none struct{}

func (none) Attribute(string) (string, bool) { return "", false }

var _ policy.Target = none{}

// A controller with --auth keystone: nothing without a token, and with one what its
// roles allow.
func TestKeystoneGuardsTheAPI(t *testing.T) {
	tokens := map[string]string{"adm": "admin", "mem": "member"}
	cloud := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("X-Subject-Token", "svc")
			w.WriteHeader(http.StatusCreated)
			return
		}
		role, ok := tokens[r.Header.Get("X-Subject-Token")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{
			"expires_at": time.Now().Add(time.Hour).Format(time.RFC3339), "user": map[string]string{"id": "u"},
			"project": map[string]string{"id": "p-" + role}, "roles": []any{map[string]string{"name": role}}}})
	}))
	defer cloud.Close()
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := startWith(t, socketDir(t), func(c *config.Controller) {
		c.Auth = config.Auth{Method: config.AuthKeystone, Keystone: config.Keystone{
			URL: cloud.URL, User: "neutron", Password: password, Project: "service", CacheTime: time.Minute}}
	})
	for _, x := range []struct {
		token, method, path, body string
		want                      int
	}{
		{"", "GET", "/", "", 200},
		{"", "GET", "/v2.0/networks", "", 401},
		{"old", "GET", "/v2.0/networks", "", 401},
		{"mem", "POST", "/v2.0/networks", `{"network":{}}`, 201},
		{"mem", "POST", "/v2.0/networks", `{"network":{"shared":true}}`, 403},
		{"mem", "GET", "/v2.0/l2-gateways", "", 403},
		{"mem", "POST", "/v2.0/gw/gateway_devices/x/trace", "{}", 403},
		{"adm", "GET", "/v2.0/l2-gateways", "", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), x.method, "http://"+l.addrs.API.String()+x.path, strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", x.token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != x.want {
			t.Errorf("%q: %s %s: %d, want %d", x.token, x.method, x.path, res.StatusCode, x.want)
		}
	}
}
