package controller

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/internal/config"
)

type listeners struct {
	api, metrics net.Listener
	local        net.Listener // for the agent of this machine
	network      net.Listener // for agents that prove their host by a certificate
}

// listen takes all addresses, or none.
func listen(c config.Controller) (_ *listeners, err error) {
	ls := &listeners{}
	defer func() {
		if err != nil {
			ls.close()
		}
	}()
	if fd, ok := strings.CutPrefix(c.APIListen, "fd:"); ok {
		ls.api, err = listenFD("--api-listen", fd)
	} else {
		ls.api, err = listenTCP("--api-listen", c.APIListen)
	}
	if err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(c.MetricsListen, "unix:"); ok {
		ls.metrics, err = listenUnix("--metrics-listen", path)
	} else if c.MetricsListen != "" {
		ls.metrics, err = listenTCP("--metrics-listen", c.MetricsListen)
	}
	if err != nil {
		return nil, err
	}
	if c.AgentSocket != "" {
		l, err := listenUnix("--agent-socket", c.AgentSocket)
		if err != nil {
			return nil, err
		}
		ls.local = l
	}
	if path, ok := strings.CutPrefix(c.AgentListen, "unix:"); ok {
		ls.network, err = listenUnix("--agent-listen", path)
	} else if c.AgentListen != "" {
		ls.network, err = listenTCP("--agent-listen", c.AgentListen)
	}
	if err != nil {
		return nil, err
	}
	return ls, nil
}

func (ls *listeners) close() {
	for _, l := range []net.Listener{ls.local, ls.network, ls.api, ls.metrics} {
		if l != nil {
			_ = l.Close() // again, where its server has closed it
		}
	}
}

func (ls *listeners) addresses() Addresses {
	a := Addresses{API: ls.api.Addr()}
	if ls.network != nil {
		a.Agents = ls.network.Addr()
	}
	if ls.metrics != nil {
		a.Metrics = ls.metrics.Addr()
	}
	return a
}

// takenError is an address that another process has.
type takenError struct{ flag, addr, tool string }

func (e *takenError) Error() string {
	return fmt.Sprintf("%s: another process listens on %s", e.flag, e.addr)
}

// Hint is the way out.
func (e *takenError) Hint() string {
	return fmt.Sprintf("Give another %s, or end that process: %s tells which it is.", e.flag, e.tool)
}

func listenTCP(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &takenError{flag, addr, "ss -ltnp"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return l, nil
}

// listenFD takes over a listening socket that this process was started with: one of another network
// namespace, or of a port that it may not open itself.
func listenFD(flag, number string) (net.Listener, error) {
	fd, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	f := os.NewFile(uintptr(fd), "fd:"+number)
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("%s: fd:%s is no listening socket: %w", flag, number, err)
	}
	_ = f.Close() // l has a copy
	if _, ok := l.(*net.TCPListener); !ok {
		_ = l.Close()
		return nil, fmt.Errorf("%s: fd:%s listens at %s, and not by TCP", flag, number, l.Addr())
	}
	return l, nil
}

// listenUnix makes a socket that only the user of this process can reach, in a
// directory that it makes likewise. A socket that nobody listens on any more is
// replaced.
func listenUnix(flag, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	switch st, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("%s: %w", flag, err)
	case st.Mode()&os.ModeSocket == 0:
		return nil, fmt.Errorf("%s: %s is there and is no socket", flag, path)
	default:
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			_ = c.Close()
			return nil, &takenError{flag, path, "ss -lxp"}
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%s: is %s in use? %w", flag, path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	// Whoever comes between the two calls is turned away by its credentials.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return l, nil
}
