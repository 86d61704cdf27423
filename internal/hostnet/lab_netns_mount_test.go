package hostnet

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestNetNSBesideIP: a namespace can be deleted after "ip netns add" has made its first
// one on this machine, which mounts the directory. The test runs again in a mount
// namespace of its own, where /run is empty.
func TestNetNSBesideIP(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireTool(t, "ip", "unshare")
	const inside = "CAUSEWAY_TEST_OWN_MOUNTS"
	if os.Getenv(inside) == "" {
		cmd := exec.CommandContext(t.Context(), "unshare", "--mount", os.Args[0], "-test.run=^TestNetNSBesideIP$")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	n, err := CreateNetNS("ours")
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	for _, args := range [][]string{{"add", "theirs"}, {"del", "theirs"}} {
		if out, err := exec.CommandContext(t.Context(), "ip", append([]string{"netns"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip netns %v: %v\n%s", args, err, out)
		}
	}
	if err := DeleteNetNS("ours"); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(NetNSDir); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}
