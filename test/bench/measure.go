package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// test is one figure of a round.
type test struct {
	name string
	unit string
	// lower is set where less is better.
	lower bool
	run   func(context.Context, *hosts, durations) (float64, error)
}

// durations scale the measurements; the tests of this package make them short.
type durations struct {
	udp, roundTrips, bulk, warmup time.Duration
}

var tests = []test{
	{"udp64", "kpps", false, udp64},
	{"rtt", "us", true, roundTrips},
	{"bulk", "Gb/s", false, bulk},
}

// spare is how much longer than it should take a worker may live.
const spare = 20 * time.Second

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// start runs a worker in the namespace. ready waits for its word that it listens.
func startWorker(ctx context.Context, n netns, ready bool, args ...string) (*runningWorker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := n.command(self, append([]string{"worker"}, args...)...)
	cmd := exec.CommandContext(ctx, c.Path, c.Args[1:]...)
	cmd.Env = append(os.Environ(), workerEnvironment...)
	w := &runningWorker{cmd: cmd}
	cmd.Stderr = &w.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.out = bufio.NewReader(out)
	if ready {
		if line, err := w.out.ReadString('\n'); err != nil || line != "ready\n" {
			return nil, errors.Join(fmt.Errorf("worker %v does not listen: %q", args, line), w.stop())
		}
	}
	return w, nil
}

type runningWorker struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	stderr bytes.Buffer
}

// wait takes the worker's result.
func (w *runningWorker) wait() (result, error) {
	var r result
	decodeErr := json.NewDecoder(w.out).Decode(&r)
	if err := w.cmd.Wait(); err != nil {
		return r, fmt.Errorf("worker: %w: %s", err, strings.TrimSpace(w.stderr.String()))
	}
	return r, decodeErr
}

// stop ends a worker whose result nobody wants.
func (w *runningWorker) stop() error {
	err := w.cmd.Process.Kill()
	_ = w.cmd.Wait() // "signal: killed" is what was asked for
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func udp64(ctx context.Context, h *hosts, d durations) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, d.udp+spare)
	defer cancel()
	before, err := h.sink.count()
	if err != nil {
		return 0, err
	}
	w, err := startWorker(ctx, h.vm[0], false, "send", fmt.Sprintf("%s:%d", siteB.vm, discard), seconds(d.udp))
	if err != nil {
		return 0, err
	}
	r, err := w.wait()
	if err != nil {
		return 0, err
	}
	after, err := h.sink.count()
	if err != nil {
		return 0, err
	}
	return float64(after-before) / r.Seconds / 1e3, nil
}

func roundTrips(ctx context.Context, h *hosts, d durations) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, d.roundTrips+spare)
	defer cancel()
	server, err := startWorker(ctx, h.vm[1], true, "echo", "8888")
	if err != nil {
		return 0, err
	}
	client, err := startWorker(ctx, h.vm[0], false, "ask", siteB.vm+":8888", seconds(d.roundTrips))
	if err != nil {
		return 0, errors.Join(err, server.stop())
	}
	r, err := client.wait()
	return r.P50, errors.Join(err, server.stop())
}

func bulk(ctx context.Context, h *hosts, d durations) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, d.warmup+d.bulk+spare)
	defer cancel()
	receiver, err := startWorker(ctx, h.vm[1], true, "receive", "5201", seconds(d.warmup), seconds(d.bulk))
	if err != nil {
		return 0, err
	}
	sender, err := startWorker(ctx, h.vm[0], false, "push", siteB.vm+":5201", seconds(d.warmup+d.bulk+spare/2))
	if err != nil {
		return 0, errors.Join(err, receiver.stop())
	}
	r, err := receiver.wait()
	if err != nil {
		return 0, errors.Join(err, sender.stop())
	}
	if _, err := sender.wait(); err != nil {
		return 0, err
	}
	return float64(r.Bytes) * 8 / r.Seconds / 1e9, nil
}
