package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a controller or an agent.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // after done
}

// startProcess runs a command with its output in a log file.
func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// stop asks the process to end and insists after a while.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(20 * time.Second):
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return errors.Join(fmt.Errorf("%s did not end when asked", p.cmd), err)
}

// ended tells of a process that ended by itself, with the end of its log.
func (p *process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %v\n%s", p.cmd, p.err, p.tail())
	default:
		return nil
	}
}

func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}

// pid is of the program itself: nsenter becomes it and keeps the number.
func (p *process) pid() int { return p.cmd.Process.Pid }

// anonymous is the process's anonymous memory in bytes.
func (p *process) anonymous() (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if rest, ok := strings.CutPrefix(s.Text(), "RssAnon:"); ok {
			var kb float64
			if _, err := fmt.Sscanf(rest, "%f kB", &kb); err != nil {
				return 0, err
			}
			return kb * 1024, nil
		}
	}
	return 0, errors.Join(errors.New("no RssAnon"), s.Err())
}

// poll calls fn every so often until it is true.
func poll(ctx context.Context, every, limit time.Duration, what string, fn func() (bool, error)) error {
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

// freePort finds a loopback port that nobody has.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// controllerCommand is a site's controller with its data below dir.
func controllerCommand(binary, dir, api, host string) *exec.Cmd {
	return exec.Command(binary, "controller",
		"--api-listen", api,
		"--data-dir", filepath.Join(dir, "data"),
		"--agent-socket", filepath.Join(dir, "controller.sock"),
		"--local-host", host,
		"--metrics-listen", "unix:"+filepath.Join(dir, "controller-metrics.sock"))
}

// answers waits for the controller's first answer.
func answers(ctx context.Context, p *process, api string) error {
	c := &http.Client{Timeout: time.Second}
	defer c.CloseIdleConnections()
	return poll(ctx, 2*time.Millisecond, 30*time.Second, "the first answer of "+api, func() (bool, error) {
		if err := p.ended(); err != nil {
			return false, err
		}
		r, err := c.Get("http://" + api + "/v2.0/networks")
		if err != nil {
			return false, nil
		}
		return r.StatusCode == http.StatusOK, r.Body.Close()
	})
}
