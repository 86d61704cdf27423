package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/dataplane"
)

// CheckKernel tells what the machine lacks to run an agent, all of it at once.
func CheckKernel() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("it must run as root"))
	} else if err := dataplane.CheckKernel(); err != nil {
		errs = append(errs, err)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		errs = append(errs, errors.New("/dev/net/tun is missing (modprobe tun)"))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("this machine cannot run an agent: %w", errors.Join(errs...))
}

const lockFile = "lock"

// lock makes this the one agent of the state directory and of the network namespace.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(path)
		f.Close()
		pid = bytes.TrimSpace(pid)
		end := "End it first"
		if len(pid) > 0 { // it writes its id when it has the lock
			end = fmt.Sprintf("%s: kill %s", end, pid)
		}
		return nil, hinted{fmt.Errorf("an agent is running here already, process %s (lock %s): %w", pid, path, err), end + ". Packets go on meanwhile."}
	}
	sock, err := lockNamespace()
	if err != nil {
		f.Close()
		return nil, hinted{fmt.Errorf("another agent, with another state directory, runs in this network namespace: %w", err),
			"End it first, or give its --state-dir: a network namespace has one agent."}
	}
	unlock = func() {
		if sock >= 0 {
			unix.Close(sock)
		}
		f.Close()
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		unlock()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return unlock, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// lockNamespace takes a name that exists once in a network namespace: abstract unix
// sockets belong to one, and so do the devices that two agents would fight over. Anybody
// may take such a name; who is not root is no agent and keeps none from
// starting (-1), and then the tap device, which one process at a time can have,
// stands between two agents.
func lockNamespace() (sock int, err error) {
	name := &unix.SockaddrUnix{Name: "@causeway-agent"}
	if sock, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, err
	}
	if err = unix.Bind(sock, name); err == nil {
		if err = unix.Listen(sock, unix.SOMAXCONN); err == nil {
			return sock, nil
		}
	}
	defer unix.Close(sock)
	if !errors.Is(err, unix.EADDRINUSE) {
		return -1, err
	}
	// ECONNREFUSED: it does not listen, as an agent does. EAGAIN: somebody has filled
	// its queue.
	switch cerr := unix.Connect(sock, name); {
	case errors.Is(cerr, unix.ECONNREFUSED), errors.Is(cerr, unix.EAGAIN):
		return -1, nil
	case cerr != nil:
		return -1, err
	}
	if cred, cerr := unix.GetsockoptUcred(sock, unix.SOL_SOCKET, unix.SO_PEERCRED); cerr == nil && cred.Uid != 0 {
		return -1, nil
	}
	return -1, err
}
