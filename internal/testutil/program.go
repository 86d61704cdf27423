package testutil

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// MainWithProgram is a TestMain's work: it builds the program of a package into a
// directory that goes with the tests, tells its path to use, runs the tests and
// returns the exit code.
func MainWithProgram(m *testing.M, pkg string, use func(path string)) int {
	dir, err := os.MkdirTemp("", "causeway-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "causeway")
	if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build %s: %v\n%s", pkg, err, out)
		return 1
	}
	use(path)
	return m.Run()
}
