package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestPeerRun: the service answers, and ends with 0 on SIGTERM. Its files may come later.
func TestPeerRun(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	cmd := exec.CommandContext(t.Context(), "causeway", "peer", "run", "--file", dir, "--listen", "unix:"+socket, "--log-format", "json")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	get := func(path string) (string, error) {
		resp, err := c.Get("http://service" + path)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	testutil.Eventually(t, "its answer", func() bool {
		body, err := get("/healthz")
		return err == nil && strings.Contains(body, `"status":"ok"`)
	})
	if body, err := get("/metrics"); err != nil || !strings.Contains(body, "causeway_peer_files_ok 1") {
		t.Errorf("metrics: %v\n%s", err, body)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := testutil.Exit(t, cmd); err != nil {
		t.Errorf("%v: %s", err, &log)
	}
	if !strings.Contains(log.String(), `"msg":"ended"`) {
		t.Errorf("log: %s", &log)
	}
}

// TestPeerRunRefuses what it could never do.
func TestPeerRunRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"no files":     {[]string{"--listen", ""}, 2},
		"no such file": {[]string{"--file", filepath.Join(dir, "none")}, 2},
		"too fast":     {[]string{"--file", dir, "--poll", "1ms"}, 2},
		"no address":   {[]string{"--file", dir, "--listen", "nowhere"}, 1},
	} {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if code := run(ctx, append([]string{"peer", "run"}, c.args...), strings.NewReader(""), &out, &out); code != c.code || out.Len() == 0 {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, c.code, &out)
		}
		cancel()
	}
}
