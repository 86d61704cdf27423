package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// clients is how many work at a time where several do.
const clients = 8

// project owns everything; real Neutron without Keystone wants one in each request.
const project = "bench"

type object = map[string]any

// target is a server under load, and what the load has made there.
type target struct {
	name string
	api  *api
	// seeding says how fill does its work.
	seeding string
	// fill makes ports on the network until there are so many in all.
	fill  func(ctx context.Context, total int) error
	close func() error
	// bare, if not nil, commits a transaction as large as a create of a port, on an etcd
	// of its own.
	bare func(context.Context) error
	// cpu, if not nil, is the processor time that the server has taken.
	cpu func() (time.Duration, error)
	// spent is what each create of a port by all clients took of it, in milliseconds.
	spent float64

	network, subnet string
	made            []string // ports that this round made and has not deleted
}

// prepare makes the network that holds the ports.
func (t *target) prepare(ctx context.Context, cidr string) error {
	// Both count quotas as they count everything else, against none.
	quota := object{}
	for _, r := range []string{"network", "subnet", "port", "router", "security_group", "security_group_rule"} {
		quota[r] = -1
	}
	if _, status, err := t.api.call(ctx, http.MethodPut, "quotas/"+project, object{"quota": quota}); err != nil && status != http.StatusNotFound {
		return err
	}
	var err error
	if t.network, err = t.api.create(ctx, "network", object{"name": "bench"}); err != nil {
		return err
	}
	t.subnet, err = t.api.create(ctx, "subnet", object{"network_id": t.network, "ip_version": 4, "cidr": cidr, "enable_dhcp": false})
	return err
}

// api is a client of one server, with as many connections as there are clients.
type api struct {
	base string
	http *http.Client
}

func newAPI(addr string) *api {
	return &api{"http://" + addr + "/v2.0/", &http.Client{
		Timeout:   5 * time.Minute, // a list of 10,000 is slow somewhere
		Transport: &http.Transport{MaxIdleConnsPerHost: clients, IdleConnTimeout: time.Minute},
	}}
}

// call returns the answer's body and status. Anything but a 2xx is an error.
func (a *api) call(ctx context.Context, method, path string, body object) ([]byte, int, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, 0, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, in)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, b)
	}
	return b, resp.StatusCode, err
}

// create posts one resource and returns its id.
func (a *api) create(ctx context.Context, kind string, attrs object) (string, error) {
	attrs["tenant_id"] = project
	b, _, err := a.call(ctx, http.MethodPost, kind+"s", object{kind: attrs})
	if err != nil {
		return "", err
	}
	var out map[string]struct{ ID string }
	if err := json.Unmarshal(b, &out); err != nil {
		return "", fmt.Errorf("POST %ss: %w", kind, err)
	}
	if out[kind].ID == "" {
		return "", fmt.Errorf("POST %ss: no id in %.300s", kind, b)
	}
	return out[kind].ID, nil
}

func (a *api) remove(ctx context.Context, path string) error {
	_, _, err := a.call(ctx, http.MethodDelete, path, nil)
	return err
}
