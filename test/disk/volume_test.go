package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/testutil"
)

// volume is a file system of its own that can be filled.
type volume struct {
	dir   string
	image string // of an ext4
	mu    sync.Mutex
	n     int
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// newTmpfs mounts a file system of so many MiB. The test is in a mount namespace of its
// own, with which it goes.
func newTmpfs(t *testing.T, mib int) *volume {
	t.Helper()
	v := &volume{dir: t.TempDir()}
	run(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "tmpfs", v.dir)
	t.Cleanup(func() { _ = unix.Unmount(v.dir, unix.MNT_DETACH) })
	return v
}

// newExt4 makes one in a file below dir.
func newExt4(t *testing.T, dir string, mib int) *volume {
	t.Helper()
	testutil.RequireTool(t, "mkfs.ext4")
	image := filepath.Join(dir, "image")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(int64(mib)<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", "-m", "0", image)
	v := &volume{dir: t.TempDir(), image: image}
	run(t, "mount", "-o", "loop,errors=remount-ro", image, v.dir)
	t.Cleanup(func() {
		if err := unix.Unmount(v.dir, 0); err != nil {
			_ = unix.Unmount(v.dir, unix.MNT_DETACH)
		}
	})
	return v
}

// device is the loop device of an ext4.
func (v *volume) device(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", v.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// repair mounts an ext4 anew, as an operator does who has replaced what was broken.
func (v *volume) repair(t *testing.T) {
	t.Helper()
	run(t, "umount", v.dir)
	if out, err := exec.Command("e2fsck", "-fy", v.image).CombinedOutput(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() > 1 { // 1: errors were corrected
			t.Fatalf("e2fsck: %v\n%s", err, out)
		}
	}
	run(t, "mount", "-o", "loop", v.image, v.dir)
}

// fill takes all the room there is but so many MiB, in one step as far as it can.
func (v *volume) fill(t testing.TB, leave int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
	f, err := os.Create(filepath.Join(v.dir, fmt.Sprint("filler-", v.n)))
	if err != nil {
		if !errors.Is(err, unix.ENOSPC) {
			t.Error(err)
		}
		return
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Statfs(v.dir, &st); err != nil {
		t.Error(err)
		return
	}
	if leave > 0 {
		if take := int64(st.Bavail)*st.Bsize - leave<<20; take > 0 {
			if err := unix.Fallocate(int(f.Fd()), 0, 0, take); err != nil {
				t.Errorf("fill: %v", err)
			}
		}
		return
	}
	var at int64
	for size := int64(1) << 30; size >= 4096; {
		switch err := unix.Fallocate(int(f.Fd()), 0, at, size); {
		case err == nil:
			at += size
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case errors.Is(err, syscall.EINTR):
		default:
			t.Errorf("fill: %v", err)
			return
		}
	}
}

// free takes away what fill made.
func (v *volume) free(t testing.TB) {
	v.mu.Lock()
	defer v.mu.Unlock()
	names, err := filepath.Glob(filepath.Join(v.dir, "filler-*"))
	if err != nil {
		t.Error(err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}
