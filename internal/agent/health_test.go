package agent

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/health"
)

func askHealth(t *testing.T, socket, path string) (code int, a health.Answer) {
	t.Helper()
	client := http.Client{Timeout: wait, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	r, err := client.Get("http://agent" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, a
}

// TestReady: an agent is ready once it has a state and while it has its controller, and says
// which of them is missing.
func TestReady(t *testing.T) {
	if !requireMachine(t) {
		return
	}
	cfg := testConfig(t)
	socket := filepath.Join(t.TempDir(), "metrics")
	cfg.MetricsListen = "unix:" + socket
	c := newController(t)
	c.setAway(true)
	startAgent(t, cfg, c)
	// It takes an update only when it listens.
	c.set(addNetwork)
	code, a := askHealth(t, socket, "/readyz?verbose")
	if code != http.StatusServiceUnavailable || !strings.HasPrefix(a.Status, "controller: ") || strings.Contains(a.Status, ";") || len(a.Checks) != 4 {
		t.Errorf("without a controller: %d %+v", code, a)
	}
	c.setAway(false)
	if code, a := askHealth(t, socket, "/readyz"); code != http.StatusOK || a.Status != "ok" {
		t.Errorf("with one: %d %+v", code, a)
	}
	if code, a := askHealth(t, socket, "/healthz?verbose"); code != http.StatusOK || len(a.Checks) != 1 {
		t.Errorf("health: %d %+v", code, a)
	}
}
