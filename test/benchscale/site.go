package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/pki"
	"github.com/causeway-net/causeway/test/process"
)

// site is a controller with its real store, as an operator would start it, and the agents of its hosts.
type site struct {
	binary, dir, sockets string
	listen, agents       string // addresses
	process              *process.Process
	client               *api
	metrics              *http.Client
	drawing              drawing
	made                 *made
	fleet                *fleet
	ca                   *pki.Authority
}

// newSite starts the controller and makes the drawing. Agents begin with the host of a number; those before are real.
// See newFleet for whole and keep.
func newSite(ctx context.Context, binary, dir string, d drawing, from, whole int, keep bool) (_ *site, err error) {
	s := &site{binary: binary, dir: dir, drawing: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if s.sockets, err = os.MkdirTemp("", "cw-bench-scale-"); err != nil {
		return nil, err
	}
	if s.ca, err = pki.Create(filepath.Join(dir, "ca"), "bench", 1); err != nil {
		return nil, err
	}
	if s.listen, err = process.FreePort(); err != nil {
		return nil, err
	}
	if s.agents, err = process.FreePort(); err != nil {
		return nil, err
	}
	if _, err := s.ca.Issue(pki.Request{Kind: pki.Controller, Name: "controller", Addresses: []string{"127.0.0.1"}, Days: 1, Dir: filepath.Join(dir, "tls")}); err != nil {
		return nil, err
	}
	if err := s.startController(ctx); err != nil {
		return nil, err
	}
	metrics := filepath.Join(s.sockets, "controller-metrics.sock")
	s.metrics = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", metrics)
	}}}
	s.client = newAPI("http://" + s.listen)
	if s.fleet, err = newFleet(filepath.Join(dir, "agents"), s.ca, s.agents, from, d.Hosts, whole, keep); err != nil {
		return nil, err
	}
	begin := time.Now()
	if s.made, err = s.client.fill(ctx, &d); err != nil {
		return nil, fmt.Errorf("make the site: %w", err)
	}
	fmt.Printf("made in %.1f s: %s\n", time.Since(begin).Seconds(), d.String())
	return s, nil
}

func (s *site) startController(ctx context.Context) (err error) {
	base := filepath.Join(s.dir, "tls", "controller-controller")
	s.process, err = process.Start(process.Controller(s.binary, s.sockets, s.listen, hostName(0),
		"--data-dir", filepath.Join(s.dir, "data"), "--agent-listen", s.agents, "--agent-tls-cert", base+".pem", "--agent-tls-key", base+".key",
		"--agent-tls-ca", s.ca.Path(pki.CAFile)), filepath.Join(s.dir, "controller.log"))
	if err != nil {
		return err
	}
	return s.process.Answers(ctx, 5*time.Millisecond, "http://"+s.listen+"/")
}

func (s *site) close() error {
	if s.fleet != nil {
		s.fleet.stop()
	}
	if s.ca != nil {
		s.ca.Close()
	}
	var err error
	if s.process != nil {
		err = s.process.Stop()
	}
	return errors.Join(err, os.RemoveAll(s.sockets))
}

// metric reads the value of one line of /metrics.
func (s *site) metric(ctx context.Context, name string) (v float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://controller/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := s.metrics.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			_, err := fmt.Sscan(rest, &v)
			return v, err
		}
	}
	return 0, errors.Join(fmt.Errorf("no metric %s", name), lines.Err())
}

// revision is the store's: one more with each write.
func (s *site) revision(ctx context.Context) (float64, error) {
	return s.metric(ctx, "causeway_controller_store_revision")
}

// quiet waits until the store has taken no write for a while, and returns its revision.
func (s *site) quiet(ctx context.Context, while time.Duration) (float64, error) {
	last, since := -1.0, time.Now()
	for {
		now, err := s.revision(ctx)
		if err != nil {
			return 0, err
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) >= while {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
