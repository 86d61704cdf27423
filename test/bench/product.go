package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/test/process"
)

// product is Causeway as a user runs it: a controller and an agent for each
// site, set up through the API, with metrics and port security on.
type product struct {
	*hosts
	binary string
	dir    string
	site   [2]site
}

type site struct {
	facts             siteFacts
	api               *api
	ids               ids
	controller, agent *process.Process
	pins              string
}

// pinRoot is where the agents' pins are, one directory below for each.
const pinRoot = "/sys/fs/bpf/cwbench"

// newProduct starts both sites and waits until packets pass; name starts its
// namespaces' names, args are further arguments of the controllers. What it returns is
// to be closed, with an error too.
func newProduct(ctx context.Context, binary, name string, args ...string) (*product, error) {
	h, err := newHosts(name, "02:00:00:00:03:01", false)
	p := &product{hosts: h}
	if err != nil {
		return p, err
	}
	if p.binary, err = filepath.Abs(binary); err != nil {
		return p, err
	}
	if p.dir, err = os.MkdirTemp("", "cwbench-"); err != nil {
		return p, err
	}
	p.closers = append(p.closers, func() error { return os.RemoveAll(p.dir) })
	var group errgroup.Group
	for i, s := range []siteFacts{siteA, siteB} {
		if err := p.start(ctx, i, s, args); err != nil {
			return p, err
		}
		group.Go(func() error {
			var err error
			p.site[i].ids, err = p.site[i].api.peer(ctx, s, other(i), hostName(s))
			if err != nil {
				return err
			}
			if err := p.site[i].api.active(ctx, p.site[i].ids.vmPort); err != nil {
				return fmt.Errorf("%w\n%s", err, p.site[i].agent.Tail())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return p, err
	}
	return p, p.finish()
}

func hostName(s siteFacts) string { return "host" + s.letter }

// start brings up the controller and the agent of a site.
func (p *product) start(ctx context.Context, i int, s siteFacts, args []string) error {
	dir := filepath.Join(p.dir, s.letter)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	addr, err := process.FreePort()
	if err != nil {
		return err
	}
	t := &p.site[i]
	t.facts, t.api = s, newAPI(addr)
	t.pins = filepath.Join(pinRoot, p.variant+s.letter)
	if err := os.RemoveAll(t.pins); err != nil {
		return err
	}
	p.closers = append(p.closers, func() error {
		err := os.RemoveAll(t.pins)
		_ = os.Remove(pinRoot) // stays while another's pins are in it
		return err
	})
	if t.controller, err = process.Start(process.Controller(p.binary, dir, addr, hostName(s), args...), filepath.Join(dir, "controller.log")); err != nil {
		return err
	}
	p.closers = append(p.closers, t.controller.Stop)
	if err := t.controller.Answers(ctx, 2*time.Millisecond, "http://"+addr+"/v2.0/networks"); err != nil {
		return err
	}
	if t.agent, err = process.Start(p.host[i].server(p.binary, "agent",
		"--controller", "unix://"+filepath.Join(dir, "controller.sock"),
		"--pin-dir", t.pins,
		"--state-dir", filepath.Join(dir, "agent"),
		"--underlay-interface", "ul0",
		"--metrics-listen", "unix:"+filepath.Join(dir, "agent-metrics.sock"),
	), filepath.Join(dir, "agent.log")); err != nil {
		return err
	}
	p.closers = append(p.closers, t.agent.Stop)
	return nil
}
