package crash

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/test/process"
)

// program is the causeway program under test, built once for all tests.
var program string

// asChecker is a directory: check the store in it.
const asChecker = "CAUSEWAY_TEST_AS_CHECKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asChecker); dir != "" {
		if err := check(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(testutil.MainWithProgram(m, "../../cmd/causeway", func(path string) { program = path }))
}

// patience is far beyond what anything here takes.
const patience = time.Minute

// launch starts a controller and does not wait for it. listen is an address with
// port 0.
func launch(dir, listen string, args ...string) (*process.Process, error) {
	return process.LaunchController(program, dir, listen, append([]string{"--metrics-listen", ""}, args...)...)
}

// stop ends a controller with SIGTERM, cleanly.
func stop(p *process.Process) error {
	if err := p.Stop(); err != nil {
		return err
	}
	if !p.Succeeded() {
		return p.Ended()
	}
	return nil
}

// start starts a controller for a test and returns the URL of its API.
func start(t *testing.T, args ...string) string {
	t.Helper()
	p, url, err := process.StartController(t.Context(), program, tempDir(t), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(p); err != nil {
			t.Error(err)
		}
	})
	return url
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
