package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// child is this program as a process of its own, with its output in a file.
type child struct {
	*exec.Cmd
	log  string
	done chan error
}

func startChild(t *testing.T, args ...string) *child {
	t.Helper()
	return startCommand(t, exec.Command("causeway", args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{Cmd: cmd, log: filepath.Join(t.TempDir(), "log"), done: make(chan error, 1)}
	f, err := os.Create(c.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.Stdout, c.Stderr = f, f
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	go func() { c.done <- c.Wait() }()
	return c
}

// says waits until the log has text n times.
func (c *child) says(t *testing.T, n int, text string) {
	t.Helper()
	testutil.Succeeds(t, fmt.Sprintf("%d × %q in the log", n, text), func() error {
		b, err := os.ReadFile(c.log)
		if err == nil && strings.Count(string(b), text) < n {
			err = fmt.Errorf("the log is\n%s", b)
		}
		return err
	})
}

func (c *child) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := c.Process.Signal(sig); err != nil {
		b, _ := os.ReadFile(c.log)
		t.Fatalf("%v: %v\n%s", sig, err, b)
	}
}

// survivesHangups sends SIGHUPs, which are answered in the log, then sig, which ends the
// server; it says so with the cause and the code.
func (c *child) survivesHangups(t *testing.T, sig syscall.Signal, cause string) {
	t.Helper()
	for i := range 3 {
		c.signal(t, syscall.SIGHUP)
		c.says(t, i+1, "SIGHUP: ")
	}
	c.signal(t, sig)
	if err := testutil.Receive(t, "the end", c.done); err != nil {
		t.Errorf("ended with %v", err)
	}
	c.says(t, 1, "cause="+cause+" code=0")
}

func startSite(t *testing.T, args ...string) (c *child, api string) {
	t.Helper()
	api, err := process.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "causeway-signals-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c = startChild(t, append([]string{"controller", "--api-listen", api, "--data-dir", filepath.Join(dir, "data"),
		"--agent-socket", filepath.Join(dir, "s"), "--metrics-listen", ""}, args...)...)
	c.says(t, 1, "controller ready")
	return c, api
}

// TestHangupController: SIGHUP makes a controller open its audit log again, and never
// ends it.
func TestHangupController(t *testing.T) {
	audit := filepath.Join(t.TempDir(), "audit")
	c, _ := startSite(t, "--audit-log", audit)
	if err := os.Rename(audit, audit+".1"); err != nil {
		t.Fatal(err)
	}
	c.signal(t, syscall.SIGHUP)
	testutil.Succeeds(t, "a new audit log", func() error { _, err := os.Stat(audit); return err })
	c.survivesHangups(t, syscall.SIGTERM, "SIGTERM")
}

func TestHangupPeerRun(t *testing.T) {
	c := startChild(t, "peer", "run", "--file", t.TempDir(), "--listen", "127.0.0.1:0")
	c.says(t, 1, "listening")
	c.survivesHangups(t, syscall.SIGINT, "SIGINT")
}

// TestHangupUnderNohup: what keeps a server from being ended by SIGHUP does not keep it
// from reading its files again.
func TestHangupUnderNohup(t *testing.T) {
	testutil.RequireTool(t, "nohup")
	c := startCommand(t, exec.Command("nohup", "causeway", "peer", "run", "--file", t.TempDir(), "--listen", "127.0.0.1:0"))
	c.says(t, 1, "listening")
	c.survivesHangups(t, syscall.SIGTERM, "SIGTERM")
}

// TestHangupAgent: an agent without a controller, which it waits for.
func TestHangupAgent(t *testing.T) {
	if !testutil.InNetNS(t) {
		return
	}
	dir := t.TempDir()
	args := []string{"--pin-dir", "/sys/fs/bpf/" + filepath.Base(filepath.Dir(dir)), "--state-dir", filepath.Join(dir, "state")}
	c := startChild(t, append([]string{"agent", "--controller", "unix://" + filepath.Join(dir, "none"), "--metrics-listen", ""}, args...)...)
	c.says(t, 1, "agent is running")
	c.survivesHangups(t, syscall.SIGTERM, "SIGTERM")
	if out, err := exec.Command("causeway", append([]string{"agent", "cleanup"}, args...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSecondSignal: a controller waits for a request under way; asked again it does not.
func TestSecondSignal(t *testing.T) {
	c, api := startSite(t)
	conn, err := net.Dial("tcp", api)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v2.0/networks HTTP/1.1\r\nHost: api\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil { // 100 Continue: it is under way
		t.Fatal(err)
	}
	c.signal(t, syscall.SIGINT)
	c.says(t, 1, "controller ending")
	testutil.Succeeds(t, "a second signal that counts", func() error {
		_ = c.Process.Signal(syscall.SIGINT)
		select {
		case err = <-c.done:
			return nil
		default:
			return errors.New("it is still there")
		}
	})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("ended with %v, want SIGINT", err)
	}
	c.says(t, 1, "a second signal (SIGINT)")
}
