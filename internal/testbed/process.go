package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostnet"
)

// tokenVar is in the environment of every process of a lab.
const tokenVar = "CAUSEWAY_TESTBED"

func (s *state) tokenEnv() string { return tokenVar + "=" + s.File.Lab + ":" + s.Token }

// environment is the caller's without settings for causeway's own commands, which
// would change what the lab's processes do, and with the lab's token.
func (s *state) environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "CAUSEWAY_") {
			env = append(env, kv)
		}
	}
	return append(env, s.tokenEnv())
}

// startTime of a process, from /proc/PID/stat; 0 if there is none, or it is a
// zombie, which has nothing left but its number.
func startTime(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may hold anything; the fields follow the last ")".
	i := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[i+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0
	}
	t, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return t
}

func (it item) alive() bool { return it.PID != 0 && startTime(it.PID) == it.Start && it.Start != 0 }

// spawn starts one of the lab's servers, in a session of its own, so that the
// terminal's signals do not reach it. ns may be nil: the caller's namespace. files are its descriptors from
// 3 on.
func (l *Lab) spawn(name string, ns *hostnet.NetNS, files []*os.File, args ...string) error {
	logPath := l.logPath(name)
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer logFile.Close()
	i, err := l.st.note(item{Kind: itemProcess, Name: name})
	if err != nil {
		return err
	}
	cmd := exec.Command(l.exe, args...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Env = l.st.environment()
	cmd.Dir = "/"
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	start := cmd.Start
	if ns != nil {
		start = func() error { return ns.Start(cmd) }
	}
	if err := start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	l.st.Items[i].PID = cmd.Process.Pid
	l.st.Items[i].Start = startTime(cmd.Process.Pid)
	// From here on the process is known by its number and start time; the end of
	// a child is collected in stop.
	if err := cmd.Process.Release(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return l.st.save()
}

func (l *Lab) logPath(process string) string {
	return filepath.Join(runDir(l.Name()), strings.ReplaceAll(process, " ", "-")+".log")
}

// process finds a server of the lab.
func (s *state) process(name string) item {
	for _, it := range s.Items {
		if it.Kind == itemProcess && it.Name == name {
			return it
		}
	}
	return item{Kind: itemProcess, Name: name}
}

// lastWords are the last lines of a server's log.
func (l *Lab) lastWords(process string) string {
	b, err := os.ReadFile(l.logPath(process))
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return "it left no log"
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// await asks check, again and again, until it says nil, the named server ends, or
// the time is over. Nothing tells a client of an API that it is up: it must ask.
func (l *Lab) await(ctx context.Context, what, process string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := 5 * time.Millisecond
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if process != "" && !l.st.process(process).alive() {
			return fmt.Errorf("wait for %s: %s has ended; its last words:\n%s", what, process, l.lastWords(process))
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("wait for %s: not within %s: %w", what, limit, err)
		case <-t.C:
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// tokenProcesses finds processes that carry the lab's token.
func (s *state) tokenProcesses() ([]item, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes of the lab: %w", err)
	}
	want := []byte(s.tokenEnv())
	own := ownLine()
	var out []item
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || own[pid] {
			continue
		}
		start := startTime(pid)
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || start == 0 {
			continue // ended meanwhile
		}
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(kv, want) {
				out = append(out, item{Kind: itemProcess, Name: fmt.Sprintf("process %d", pid), PID: pid, Start: start})
			}
		}
	}
	return out, nil
}

// ownLine is this process and those it descends from: a shell in the lab may well
// be where somebody takes the lab down.
func ownLine() map[int]bool {
	line := map[int]bool{}
	for pid := os.Getpid(); pid > 1 && !line[pid]; {
		line[pid] = true
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			break
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 2 {
			break
		}
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			break
		}
	}
	return line
}

// Stopping a server: it may end by itself, then it is killed.
const (
	termGrace = 10 * time.Second
	killGrace = 10 * time.Second
)

// stop ends processes: all are asked at once, those that stay are killed.
func stop(procs []item) error { return end(procs, unix.SIGTERM) }

// end is stop that asks by another signal.
func end(procs []item, ask unix.Signal) error {
	type running struct {
		item
		fd int
	}
	var left []running
	for _, p := range procs {
		if !p.alive() {
			reap(p.PID)
			continue
		}
		fd, err := unix.PidfdOpen(p.PID, 0)
		if err != nil {
			if errors.Is(err, unix.ESRCH) {
				continue
			}
			return fmt.Errorf("stop %s (pid %d): %w", p.Name, p.PID, err)
		}
		// The number may have passed to another process before it was opened;
		// from here on the descriptor stands for this one.
		if !p.alive() {
			unix.Close(fd)
			continue
		}
		left = append(left, running{p, fd})
	}
	defer func() {
		for _, r := range left {
			unix.Close(r.fd)
		}
	}()
	signal := func(sig unix.Signal) error {
		for _, r := range left {
			if err := unix.PidfdSendSignal(r.fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("stop %s (pid %d): %w", r.Name, r.PID, err)
			}
		}
		return nil
	}
	wait := func(grace time.Duration) (gone bool, err error) {
		deadline := time.Now().Add(grace)
		for _, r := range left {
			for {
				ms := int(time.Until(deadline).Milliseconds())
				n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}, max(ms, 0))
				if errors.Is(err, unix.EINTR) {
					continue
				}
				if err != nil {
					return false, fmt.Errorf("wait for the end of %s (pid %d): %w", r.Name, r.PID, err)
				}
				if n == 0 {
					return false, nil
				}
				reap(r.PID)
				break
			}
		}
		return true, nil
	}
	if err := signal(ask); err != nil {
		return err
	}
	gone, err := wait(termGrace)
	if gone || err != nil {
		return err
	}
	if err := signal(unix.SIGKILL); err != nil {
		return err
	}
	gone, err = wait(killGrace)
	if err == nil && !gone {
		err = errors.New("a process of the lab does not end, even when killed")
	}
	return err
}

// reap collects a child that has ended; for what is no child of ours it does
// nothing.
func reap(pid int) {
	if pid > 0 {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}
