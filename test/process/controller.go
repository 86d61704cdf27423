package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Controller is the command of a site's controller with its data below dir, which ends
// with whoever starts it. Flags in args win over those given here.
func Controller(binary, dir, api, host string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append([]string{
		"controller",
		"--api-listen", api,
		"--data-dir", filepath.Join(dir, "data"),
		"--agent-socket", filepath.Join(dir, "controller.sock"),
		"--local-host", host,
		"--metrics-listen", "unix:" + filepath.Join(dir, "controller-metrics.sock"),
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// LaunchController starts a controller and does not wait for it. listen may have port 0.
func LaunchController(binary, dir, listen string, args ...string) (*Process, error) {
	return Start(Controller(binary, dir, listen, "h0", append([]string{"--log-format", "json"}, args...)...), filepath.Join(dir, "controller.log"))
}

// StartController starts a controller at a port of the kernel's choice, so that nobody
// else can have taken it, and returns the URL of its API when that answers.
func StartController(ctx context.Context, binary, dir string, args ...string) (*Process, string, error) {
	p, err := LaunchController(binary, dir, "127.0.0.1:0", args...)
	if err != nil {
		return nil, "", err
	}
	url, err := p.Serving(ctx)
	if err != nil {
		return nil, "", errors.Join(err, p.Stop())
	}
	return p, url, nil
}

// Serving waits until a controller that was launched says where its API is.
func (p *Process) Serving(ctx context.Context) (url string, err error) {
	err = Poll(ctx, 2*time.Millisecond, time.Minute, "the controller's API", func() (bool, error) {
		log, err := os.ReadFile(p.log)
		if err != nil {
			return false, err
		}
		for line := range bytes.Lines(log) {
			var entry struct{ Msg, API string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "controller ready" {
				url = "http://" + entry.API
				return true, nil
			}
		}
		return false, p.Ended()
	})
	if err != nil && p.Ended() == nil {
		err = errors.Join(err, errors.New(p.Tail()))
	}
	return url, err
}
