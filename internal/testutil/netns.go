package testutil

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const inNetNS = "CAUSEWAY_TEST_IN_NETNS"

// InNetNS runs the test in a network namespace of its own: the whole process, so
// that every goroutine is in it. It starts the test's program again for this
// one test and returns false in the old process, which has nothing more to do:
//
//	if !testutil.InNetNS(t) {
//		return
//	}
//
// The mount namespace is new as well; mounts made there go with it. It needs root.
func InNetNS(t *testing.T) bool {
	t.Helper()
	RequireRoot(t)
	if os.Getenv(inNetNS) == t.Name() {
		runTool(t, "mount", "--make-rprivate", "/")
		runTool(t, "ip", "link", "set", "lo", "up")
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var pattern []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		pattern = append(pattern, "^"+part+"$")
	}
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run="+strings.Join(pattern, "/"), "-test.v", "-test.timeout=170s")
	cmd.Env = append(os.Environ(), inNetNS+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("in its own namespace:\n%s", out)
	}
	if err != nil {
		t.Fatalf("in its own namespace: %v", err)
	}
	return false
}

func runTool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
