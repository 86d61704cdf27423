package crash

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

// program is the causeway program under test, built once for all tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(testutil.MainWithProgram(m, "../../cmd/causeway", func(path string) { program = path }))
}

// patience is far beyond what anything here takes.
const patience = time.Minute

// controller is a process of "causeway controller".
type controller struct {
	cmd   *exec.Cmd
	ready chan string // the API's address, once

	mu   sync.Mutex
	log  []string // its last lines
	read chan struct{}
	done func() error // waits for the end
}

// launch starts a controller and does not wait for it. listen is an address with
// port 0.
func launch(dir, listen string, args ...string) (*controller, error) {
	c := &controller{ready: make(chan string, 1), read: make(chan struct{})}
	c.cmd = exec.Command(program, append([]string{
		"controller", "--api-listen", listen, "--data-dir", filepath.Join(dir, "data"), "--agent-socket", filepath.Join(dir, "agent.sock"),
		"--local-host", "h0", "--metrics-listen", "", "--log-format", "json",
	}, args...)...)
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	// However this test ends, the controller ends with it.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.done = sync.OnceValue(func() error {
		<-c.read
		return c.cmd.Wait()
	})
	go c.follow(stderr)
	return c, nil
}

func (c *controller) follow(r io.Reader) {
	defer close(c.read)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c.mu.Lock()
		c.log = append(c.log, lines.Text())
		c.log = c.log[max(0, len(c.log)-40):]
		c.mu.Unlock()
		var entry struct{ Msg, API string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "controller ready" {
			c.ready <- entry.API
		}
	}
}

func (c *controller) words() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.log, "\n")
}

// wait waits for the API to answer and returns its URL.
func (c *controller) wait() (string, error) {
	select {
	case addr := <-c.ready:
		return "http://" + addr, nil
	case <-c.read:
		return "", fmt.Errorf("the controller ended (%w):\n%s", c.done(), c.words())
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		return "", fmt.Errorf("the controller is not ready after %v:\n%s", patience, c.words())
	}
}

// kill ends it with SIGKILL and waits until it is gone. That it had ended by itself
// is an error.
func (c *controller) kill() error {
	_ = c.cmd.Process.Kill()
	err := c.done()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
			return nil
		}
	}
	return fmt.Errorf("the controller was not killed but ended (%v):\n%s", err, c.words())
}

// stop ends it with SIGTERM.
func (c *controller) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	hang := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer hang.Stop()
	if err := c.done(); err != nil {
		return fmt.Errorf("the controller did not end cleanly (%w):\n%s", err, c.words())
	}
	return nil
}

// start starts a controller for a test and returns the URL of its API.
func start(t *testing.T, listen string, args ...string) (*controller, string) {
	t.Helper()
	c, err := launch(tempDir(t), listen, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	url, err := c.wait()
	if err != nil {
		t.Fatal(err)
	}
	return c, url
}

// tempDir is short enough for a unix socket, wherever the tests run.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw-crash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}
