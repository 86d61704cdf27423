// Package process runs the programs that benchmarks measure and that tests of real
// clients talk to: a child with its output in a file, ended by whoever started it.
package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one running child.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // after done
}

// Start runs a command with its output in a log file. The command may have a
// Pdeathsig: the thread that starts it lives as long as it does.
func Start(cmd *exec.Cmd, log string) (*Process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = f, f
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// To a Pdeathsig the parent is a thread, and threads end with goroutines that
		// were locked to them, as those that enter a namespace are (prctl(2),
		// PR_SET_PDEATHSIG).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Stop asks the process to end and insists after a while.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(time.Minute):
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	return fmt.Errorf("%s did not end when asked\n%s", p.cmd, p.Tail())
}

// Kill ends the process with SIGKILL. That it had ended before is an error.
func (p *Process) Kill() error {
	_ = p.cmd.Process.Kill()
	<-p.done
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
		return nil
	}
	return p.Ended()
}

// Terminate asks the process to end and does not wait.
func (p *Process) Terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// Succeeded tells whether the process has ended by itself and without an error.
func (p *Process) Succeeded() bool {
	select {
	case <-p.done:
		return p.err == nil
	default:
		return false
	}
}

// Ended tells of a process that ended by itself, with the end of its log.
func (p *Process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %v\n%s", p.cmd, p.err, p.Tail())
	default:
		return nil
	}
}

// Tail is the end of the process's log.
func (p *Process) Tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}

// PID is of the program itself: nsenter becomes it and keeps the number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Anonymous is the process's anonymous memory in bytes.
func (p *Process) Anonymous() (float64, error) { return p.status("RssAnon:") }

// Resident is the process's resident memory in bytes, shared pages included.
func (p *Process) Resident() (float64, error) { return p.status("VmRSS:") }

// CPU is the processor time that the process has taken, to a hundredth of a second.
func (p *Process) CPU() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	// After the name, which may hold anything, follow the state and eleven more fields.
	_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has only %d fields", p.PID(), len(f))
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * time.Second / 100, err // USER_HZ
}

func (p *Process) status(line string) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if rest, ok := strings.CutPrefix(s.Text(), line); ok {
			var kb float64
			if _, err := fmt.Sscanf(rest, "%f kB", &kb); err != nil {
				return 0, err
			}
			return kb * 1024, nil
		}
	}
	return 0, errors.Join(fmt.Errorf("no %s", line), s.Err())
}

// Poll calls fn every so often until it is true.
func Poll(ctx context.Context, every, limit time.Duration, what string, fn func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := fn()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// FreePort finds a loopback port that nobody has. The kernel gives it to nobody by itself,
// neither for a connection nor for port 0: it is below the range for that.
func FreePort() (string, error) {
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", err
}

// Answers waits for a server's first 200 at url.
func (p *Process) Answers(ctx context.Context, every time.Duration, url string) error {
	c := &http.Client{Timeout: 5 * time.Second}
	defer c.CloseIdleConnections()
	return Poll(ctx, every, time.Minute, "the first answer of "+url, func() (bool, error) {
		if err := p.Ended(); err != nil {
			return false, err
		}
		r, err := c.Get(url)
		if err != nil {
			return false, nil
		}
		return r.StatusCode == http.StatusOK, r.Body.Close()
	})
}
