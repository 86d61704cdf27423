package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// clients is how many requests fill sends at a time, and batch how many ports one of them makes.
const clients, batch = 8, 50

type object = map[string]any

// api is a client of one controller.
type api struct {
	base string
	http *http.Client
}

func newAPI(url string) *api {
	return &api{url + "/v2.0/", &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}}
}

// call decodes the answer into out, if it is not nil. Anything but a 2xx is an error.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// create makes one resource and returns its id.
func (a *api) create(ctx context.Context, kind string, attrs object) (string, error) {
	var out map[string]struct{ ID string }
	err := a.call(ctx, http.MethodPost, kind+"s", object{kind: attrs}, &out)
	return out[kind].ID, err
}

// made is what fill has made of a drawing.
type made struct {
	networks []string
	shared   string
	ports    [][]string // of each network
}

// fill makes a drawing by the API.
func (a *api) fill(ctx context.Context, d *drawing) (*made, error) {
	m := &made{networks: make([]string, len(d.Networks)), ports: make([][]string, len(d.Networks))}
	subnets := make([]string, len(d.Networks))
	var err error
	if m.shared, _, err = a.network(ctx, len(d.Networks), object{"name": "shared", "shared": true}); err != nil {
		return nil, err
	}
	begin := make([]int, len(d.Networks)) // number of a network's first port
	for i := 1; i < len(d.Networks); i++ {
		begin[i] = begin[i-1] + len(d.Networks[i-1].ports)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i := range d.Networks {
		group.Go(func() (err error) {
			if m.networks[i], subnets[i], err = a.network(gctx, i, object{"name": fmt.Sprint("net-", i)}); err != nil {
				return err
			}
			m.ports[i], err = a.ports(gctx, m.networks[i], d.Networks[i], begin[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return m, a.routers(ctx, d, m, subnets)
}

func (a *api) network(ctx context.Context, i int, attrs object) (id, sub string, err error) {
	if id, err = a.create(ctx, "network", attrs); err != nil {
		return "", "", err
	}
	sub, err = a.create(ctx, "subnet", object{"network_id": id, "ip_version": 4, "cidr": subnet(i), "enable_dhcp": false})
	return id, sub, err
}

func (a *api) ports(ctx context.Context, network string, n drawnNetwork, begin int) (ids []string, err error) {
	for at := 0; at < len(n.ports); at += batch {
		var ports []object
		for i := at; i < min(at+batch, len(n.ports)); i++ {
			p := boundPort(network, hostName(n.ports[i]), interfaceName(begin+i))
			if (begin+i)%pairsOf == 0 {
				p["allowed_address_pairs"] = []object{{"ip_address": "172.16.0.1"}}
			}
			ports = append(ports, p)
		}
		var out struct{ Ports []struct{ ID string } }
		if err := a.call(ctx, http.MethodPost, "ports", object{"ports": ports}, &out); err != nil {
			return nil, err
		}
		for _, p := range out.Ports {
			ids = append(ids, p.ID)
		}
	}
	return ids, nil
}

func boundPort(network, host, iface string) object {
	return object{"network_id": network, "binding:host_id": host, "binding:profile": object{"interface_name": iface}}
}

// routers makes the routers. The first on a network has the gateway's address, others one of their own.
func (a *api) routers(ctx context.Context, d *drawing, m *made, subnets []string) error {
	first := map[int]int{} // router of a network
	for i, r := range d.Routers {
		for _, n := range r.networks {
			if _, has := first[n]; !has {
				first[n] = i
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i, r := range d.Routers {
		group.Go(func() error {
			id, err := a.create(ctx, "router", object{"name": fmt.Sprint("router-", i)})
			if err != nil {
				return err
			}
			join := func(by object) error {
				return a.call(ctx, http.MethodPut, "routers/"+id+"/add_router_interface", by, nil)
			}
			byPort := func(network string) error {
				p, err := a.create(ctx, "port", object{"network_id": network})
				if err != nil {
					return err
				}
				return join(object{"port_id": p})
			}
			for _, n := range r.networks {
				if first[n] == i {
					err = join(object{"subnet_id": subnets[n]})
				} else {
					err = byPort(m.networks[n])
				}
				if err != nil {
					return err
				}
			}
			if r.shared {
				return byPort(m.shared)
			}
			return nil
		})
	}
	return group.Wait()
}
