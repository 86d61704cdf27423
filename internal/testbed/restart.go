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

// Kind is a kind of server of a lab.
type Kind string

// The kinds.
const (
	KindController Kind = "controller"
	KindAgent      Kind = "agent"
	KindEtcd       Kind = "etcd"
)

// server is one server of a lab. Its name is that of a site with one controller, of one of several
// controllers, of a host or of an etcd member.
type server struct {
	kind    Kind
	name    string
	process string // as it is written down
	start   func(more ...string) error
	await   func(context.Context) error
}

// servers are all of the lab, each site's from the inside out.
func (l *Lab) servers() (out []server) {
	for _, s := range l.st.File.Sites {
		for _, m := range s.Etcd {
			out = append(out, server{KindEtcd, m, memberName(m),
				func(...string) error { return l.startMember(s, m) },
				func(context.Context) error { return nil }, // it answers when enough of its cluster are there
			})
		}
		for _, k := range s.controllers() {
			out = append(out, server{KindController, k.Name, controllerName(k.Name),
				func(more ...string) error { return l.startController(s, k, more...) },
				func(ctx context.Context) error { return l.awaitAPI(ctx, k) }})
		}
		for _, h := range s.Hosts {
			out = append(out, server{KindAgent, h.Name, agentName(h.Name),
				func(more ...string) error { return l.startAgent(s, h, more...) },
				func(ctx context.Context) error { return l.awaitAgent(ctx, h) }})
		}
	}
	return out
}

// server finds one by name.
func (l *Lab) server(name string) (server, error) {
	for _, s := range l.servers() {
		if s.name == name {
			return s, nil
		}
	}
	return server{}, unknownf("lab %s has no server %q", l.Name(), name)
}

// Kill ends a server, which has the name of its site, controller, host or etcd member, with
// SIGKILL, as a crash would, and returns once it is gone.
func (l *Lab) Kill(name string) error {
	s, err := l.server(name)
	if err != nil {
		return err
	}
	p := l.st.process(s.process)
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

// Restart starts a server again, after stopping it if it runs, with more arguments than usual if given (to an
// etcd member none are), and waits until it answers.
func (l *Lab) Restart(ctx context.Context, name string, more ...string) error {
	s, err := l.server(name)
	if err != nil {
		return err
	}
	if err := stop([]item{l.st.process(s.process)}); err != nil {
		return err
	}
	if err := l.st.forget(item{Kind: itemProcess, Name: s.process}); err != nil {
		return err
	}
	if err := s.start(more...); err != nil {
		return err
	}
	return s.await(ctx)
}

// RestartServer is Restart of a server of a kind, while no other process changes the lab.
func (l *Lab) RestartServer(ctx context.Context, kind Kind, name string) error {
	return l.alone(ctx, kind, name, func() error { return l.Restart(ctx, name) })
}

// KillServer is Kill of a server of a kind, while no other process changes the lab.
func (l *Lab) KillServer(ctx context.Context, kind Kind, name string) error {
	return l.alone(ctx, kind, name, func() error { return l.Kill(name) })
}

// alone does something with a server while no other process changes the lab.
func (l *Lab) alone(ctx context.Context, kind Kind, name string, do func() error) error {
	var names []string
	for _, s := range l.servers() {
		if s.kind == kind {
			names = append(names, s.name)
		}
	}
	if !slices.Contains(names, name) {
		has := strings.Join(names, ", ")
		if has == "" {
			has = "none"
		}
		return unknownf("lab %s has no %s %q; it has %s", l.Name(), kind, name, has)
	}
	unlock, err := l.lockAnew(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// lockAnew takes the lab's lock, and reads its state again: another process may have changed it since.
func (l *Lab) lockAnew(ctx context.Context) (unlock func(), err error) {
	lock, err := lockLab(ctx, l.Name(), true)
	if err != nil {
		return nil, err
	}
	if l.st, err = loadState(l.Name()); err != nil {
		lock.unlock()
		return nil, err
	}
	return lock.unlock, nil
}

// PID of a server.
func (l *Lab) PID(name string) (int, error) {
	s, err := l.server(name)
	if err != nil {
		return 0, err
	}
	return l.st.process(s.process).PID, nil
}
