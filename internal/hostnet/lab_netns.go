package hostnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NetNSDir is where named network namespaces are mounted, as ip-netns(8) does it.
const NetNSDir = "/run/netns"

// NetNSPath is the file of a named network namespace.
func NetNSPath(name string) string { return filepath.Join(NetNSDir, name) }

// NetNS is a named network namespace of a lab. Only the lab uses it; an agent works
// in the namespace that it was started in.
type NetNS struct {
	Name string
	f    *os.File
	nl   *netlink.Handle
}

// CreateNetNS makes a named network namespace with its loopback up. It must not
// exist yet.
func CreateNetNS(name string) (*NetNS, error) {
	path := NetNSPath(name)
	if err := shareNetNSDir(); err != nil {
		return nil, fmt.Errorf("create network namespace %s: %w", name, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return nil, fmt.Errorf("create network namespace %s: %w", name, err)
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind mount on %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create network namespace %s: %w", name, err), os.Remove(path))
	}
	n, err := OpenNetNS(name)
	if err != nil {
		return nil, err
	}
	if err := n.SetUp("lo"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// shareNetNSDir makes NetNSDir a shared mount, under the lock and in the way that
// ip-netns(8) has (create_netns in iproute2's ip/ipnetns.c). Without this the next "ip
// netns add" would mount the directory over itself, and over the namespaces that are
// mounted in it, whose files nobody could remove then.
func shareNetNSDir() error {
	if err := os.MkdirAll(NetNSDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(NetNSDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", NetNSDir, err)
	}
	share := func() error { return unix.Mount("", NetNSDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err = share()
	if errors.Is(err, unix.EINVAL) { // no mount of its own yet
		if err := unix.Mount(NetNSDir, NetNSDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind mount %s: %w", NetNSDir, err)
		}
		err = share()
	}
	if err != nil {
		return fmt.Errorf("make %s a shared mount: %w", NetNSDir, err)
	}
	return nil
}

// OpenNetNS opens a named network namespace.
func OpenNetNS(name string) (*NetNS, error) {
	f, err := os.Open(NetNSPath(name))
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	nl, err := netlink.NewHandleAt(netns.NsHandle(f.Fd()))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open network namespace %s: netlink: %w", name, err)
	}
	return &NetNS{Name: name, f: f, nl: nl}, nil
}

// Close lets go of the namespace, which stays.
func (n *NetNS) Close() {
	n.nl.Close()
	n.f.Close()
}

// DeleteNetNS takes a named network namespace away. One that does not exist is
// no error. Processes that still run in it keep it alive without a name.
func DeleteNetNS(name string) error {
	path := NetNSPath(name)
	// The file may be there without a mount, after a crash between the two.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete network namespace %s: unmount: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// NetNSInode identifies the namespace of this name as long as it lives; 0 if there
// is none. It is what /proc/PID/ns/net shows of a process in it.
func NetNSInode(name string) (uint64, error) {
	return netNSInode(NetNSPath(name))
}

// ProcessNetNSInode is that of the namespace a process is in.
func ProcessNetNSInode(pid int) (uint64, error) {
	return netNSInode(fmt.Sprintf("/proc/%d/ns/net", pid))
}

func netNSInode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return 0, nil
		}
		return 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return st.Ino, nil
}

// Do runs fn on a thread in the namespace: sockets that fn opens and processes that
// it starts belong there for good. Goroutines that fn starts do not.
func (n *NetNS) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
		}
		return fn()
	})
}

// Start starts a command in the namespace. Unlike "ip netns exec" it leaves the
// mounts alone, so that the command sees the BPF file systems of the machine.
func (n *NetNS) Start(cmd *exec.Cmd) error {
	return n.Do(cmd.Start)
}

// onThread runs fn on an OS thread of its own, which ends with it: nobody else ever
// runs on a thread in another namespace.
func onThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		done <- fn()
	}()
	return <-done
}
