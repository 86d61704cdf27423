package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Controller is the command of a site's controller with its data below dir. Flags
// in args win over those given here.
func Controller(binary, dir, api, host string, args ...string) *exec.Cmd {
	return exec.Command(binary, append([]string{
		"controller",
		"--api-listen", api,
		"--data-dir", filepath.Join(dir, "data"),
		"--agent-socket", filepath.Join(dir, "controller.sock"),
		"--local-host", host,
		"--metrics-listen", "unix:" + filepath.Join(dir, "controller-metrics.sock"),
	}, args...)...)
}

// StartController starts a controller at a loopback port that it chooses, with its
// data and its log below dir, and waits until it answers. It ends with the caller's
// process, however that ends.
func StartController(ctx context.Context, binary, dir string, args ...string) (p *Process, url string, err error) {
	cmd := Controller(binary, dir, "127.0.0.1:0", "host", append([]string{"--log-format", "json"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := filepath.Join(dir, "controller.log")
	if p, err = Start(cmd, log); err != nil {
		return nil, "", err
	}
	err = Poll(ctx, 5*time.Millisecond, time.Minute, "the controller in "+dir, func() (bool, error) {
		if err := p.Ended(); err != nil {
			return false, err
		}
		b, err := os.ReadFile(log)
		url = readyAt(b)
		return url != "", err
	})
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, p.Tail())
		p.Kill()
		return nil, "", err
	}
	return p, url, nil
}

// readyAt is the URL of the API by a controller's log, "" as long as it is not ready.
func readyAt(log []byte) string {
	for line := range bytes.Lines(log) {
		var entry struct{ Msg, API string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "controller ready" {
			return "http://" + entry.API
		}
	}
	return ""
}
