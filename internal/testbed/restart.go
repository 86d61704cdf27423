package testbed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kill ends the server of a site (its controller) or of a host (its agent) with
// SIGKILL, as a crash would, and returns once it is gone.
func (l *Lab) Kill(server string) error {
	p, err := l.server(server)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return fmt.Errorf("kill %s (pid %d): %w", p.Name, p.PID, err)
	}
	defer unix.Close(fd)
	if !p.alive() {
		return fmt.Errorf("kill %s (pid %d): it has ended already", p.Name, p.PID)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill %s (pid %d): %w", p.Name, p.PID, err)
	}
	for deadline := time.Now().Add(killGrace); time.Now().Before(deadline); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the end of %s (pid %d): %w", p.Name, p.PID, err)
		}
		if n > 0 {
			reap(p.PID)
			return nil
		}
	}
	return fmt.Errorf("kill %s (pid %d): it does not end", p.Name, p.PID)
}

// Restart starts the server of a site or of a host again, after stopping it if it
// runs, with more arguments than usual if given, and waits until it answers.
func (l *Lab) Restart(ctx context.Context, server string, more ...string) error {
	p, err := l.server(server)
	if err != nil {
		return err
	}
	if err := stop([]item{p}); err != nil {
		return err
	}
	if err := l.st.forget(item{Kind: itemProcess, Name: p.Name}); err != nil {
		return err
	}
	for _, s := range l.st.File.Sites {
		if s.Name == server {
			if err := l.startController(s, more...); err != nil {
				return err
			}
			return l.awaitAPI(ctx, s)
		}
		for _, h := range s.Hosts {
			if h.Name == server {
				if err := l.startAgent(s, h, more...); err != nil {
					return err
				}
				return l.awaitAgent(ctx, h)
			}
		}
	}
	return nil
}

// RestartController restarts the controller of a site, RestartAgent the agent of a host,
// while no other process changes the lab.
func (l *Lab) RestartController(ctx context.Context, site string) error {
	var names []string
	for _, s := range l.st.File.Sites {
		names = append(names, s.Name)
	}
	return l.restartOne(ctx, "site", site, names)
}

// RestartAgent is like RestartController.
func (l *Lab) RestartAgent(ctx context.Context, host string) error {
	var names []string
	for _, s := range l.st.File.Sites {
		for _, h := range s.Hosts {
			names = append(names, h.Name)
		}
	}
	return l.restartOne(ctx, "host", host, names)
}

func (l *Lab) restartOne(ctx context.Context, kind, name string, names []string) error {
	if !slices.Contains(names, name) {
		return unknownf("lab %s has no %s %q; it has %s", l.Name(), kind, name, strings.Join(names, ", "))
	}
	lock, err := lockLab(ctx, l.Name(), true)
	if err != nil {
		return err
	}
	defer lock.unlock()
	// Another causeway may have changed the lab since this one looked.
	if l.st, err = loadState(l.Name()); err != nil {
		return err
	}
	return l.Restart(ctx, name)
}

// PID of the server of a site or of a host.
func (l *Lab) PID(server string) (int, error) {
	p, err := l.server(server)
	return p.PID, err
}

func (l *Lab) server(name string) (item, error) {
	for _, s := range l.st.File.Sites {
		if s.Name == name {
			return l.st.process(controllerName(name)), nil
		}
		for _, h := range s.Hosts {
			if h.Name == name {
				return l.st.process(agentName(name)), nil
			}
		}
	}
	return item{}, fmt.Errorf("lab %s has no site or host %q", l.Name(), name)
}
