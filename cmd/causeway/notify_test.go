package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// manager plays the service manager of a unit with Type=notify and WatchdogSec=.
type manager struct{ says chan string }

// startService starts this program as the manager would.
func startService(t *testing.T, args ...string) (*child, manager) {
	t.Helper()
	dir, err := os.MkdirTemp("", "causeway-notify-")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := manager{make(chan string, 10_000)}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = os.RemoveAll(dir)
	})
	go func() {
		b := make([]byte, 1<<10)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			m.says <- string(b[:n])
		}
	}()
	cmd := exec.Command("causeway", args...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=300000")
	return startCommand(t, cmd), m
}

// hears waits for a word; WATCHDOG=1 may come at any time before it, nothing else may.
func (m manager) hears(t *testing.T, word string) {
	t.Helper()
	for {
		said := testutil.Receive(t, word, m.says)
		switch {
		case strings.HasPrefix(said, word):
			return
		case said != "WATCHDOG=1":
			t.Fatalf("the service manager was told %q, want %s", said, word)
		}
	}
}

// life is what a manager hears of each server.
func (m manager) life(t *testing.T, c *child) {
	t.Helper()
	m.hears(t, "READY=1")
	for range 3 {
		m.hears(t, "WATCHDOG=1")
	}
	c.signal(t, syscall.SIGHUP)
	m.hears(t, "RELOADING=1\nMONOTONIC_USEC=")
	m.hears(t, "READY=1")
	c.signal(t, syscall.SIGTERM)
	m.hears(t, "STOPPING=1")
	if err := testutil.Receive(t, "the end", c.done); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestNotifyController(t *testing.T) {
	dir, err := os.MkdirTemp("", "causeway-notify-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c, m := startService(t, "controller", "--api-listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data"),
		"--agent-socket", filepath.Join(dir, "s"), "--metrics-listen", "")
	m.life(t, c)
}

// TestNotifyAgent: an agent whose controller is away is ready: what it has, it forwards by.
func TestNotifyAgent(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	dir := t.TempDir()
	args := []string{"--pin-dir", "/sys/fs/bpf/" + filepath.Base(filepath.Dir(dir)), "--state-dir", filepath.Join(dir, "state")}
	c, m := startService(t, append([]string{"agent", "--controller", "unix://" + filepath.Join(dir, "none"), "--metrics-listen", ""}, args...)...)
	m.life(t, c)
	if out, err := exec.Command("causeway", append([]string{"agent", "cleanup"}, args...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
