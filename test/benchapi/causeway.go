package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/test/process"
)

// The names of the two versions.
const (
	causeway = "Causeway"
	older    = "older Causeway"
)

// batch is how many ports one request of the seeding makes.
const batch = 10

// controller is Causeway under load.
type controller struct {
	*target
	process *process.Process
	metrics *http.Client
}

func startCauseway(ctx context.Context, name, binary, dir string) (*target, error) {
	c, err := startController(ctx, binary, dir, "10.0.0.0/16")
	if err != nil {
		return nil, err
	}
	c.name = name
	return c.target, nil
}

// startController starts a controller as an operator would, embedded etcd and all,
// with a network of the range.
func startController(ctx context.Context, binary, dir, cidr string) (_ *controller, err error) {
	if binary, err = filepath.Abs(binary); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sockets, err := os.MkdirTemp("", "cw-bench-api-")
	if err != nil {
		return nil, err
	}
	addr, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	p, err := process.Start(process.Controller(binary, sockets, addr, "bench", "--data-dir", filepath.Join(dir, "data")), filepath.Join(dir, "controller.log"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(sockets))
	}
	t := &target{name: causeway, cpu: p.CPU, api: newAPI(addr), seeding: fmt.Sprintf("the API, %d ports a request", batch)}
	t.close = func() error { return errors.Join(p.Stop(), os.RemoveAll(sockets)) }
	t.fill = t.fillByAPI
	metrics := filepath.Join(sockets, "controller-metrics.sock")
	c := &controller{t, p, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", metrics)
		},
	}}}
	err = p.Answers(ctx, 5*time.Millisecond, "http://"+addr+"/")
	if err == nil {
		err = t.prepare(ctx, cidr)
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return c, nil
}

func (t *target) count(ctx context.Context) (int, error) {
	b, _, err := t.api.call(ctx, http.MethodGet, "ports?fields=id", nil)
	if err != nil {
		return 0, err
	}
	var out struct{ Ports []json.RawMessage }
	err = json.Unmarshal(b, &out)
	return len(out.Ports), err
}

func (t *target) fillByAPI(ctx context.Context, total int) error {
	have, err := t.count(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for have < total {
		n := min(batch, total-have)
		have += n
		group.Go(func() error {
			ports := make([]object, n)
			for i := range ports {
				ports[i] = object{"network_id": t.network, "tenant_id": project}
			}
			_, _, err := t.api.call(ctx, http.MethodPost, "ports", object{"ports": ports})
			return err
		})
	}
	return group.Wait()
}

// metric reads one value from /metrics.
func (c *controller) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://controller/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.metrics.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return readMetric(resp.Body, name)
}

func readMetric(r io.Reader, name string) (float64, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			var v float64
			_, err := fmt.Sscan(rest, &v)
			return v, err
		}
	}
	return 0, errors.Join(fmt.Errorf("no metric %s", name), lines.Err())
}
