package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/causeway-net/causeway/test/process"
)

// api is a site's HTTP API, without authentication.
type api struct {
	base string
	http *http.Client
}

func newAPI(addr string) *api {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = loaders
	return &api{"http://" + addr + "/v2.0/", &http.Client{Timeout: time.Minute, Transport: t}}
}

type object = map[string]any

// call sends body under its key and takes the object of the reply under it.
func (a *api) call(ctx context.Context, method, path, key string, body object) (object, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(object{key: body})
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, b)
	}
	if len(b) == 0 {
		return nil, nil
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	var o object
	if raw := out[key]; raw != nil {
		err = json.Unmarshal(raw, &o)
	}
	return o, err
}

// create posts an object and returns its id.
func (a *api) create(ctx context.Context, collection, key string, body object) (string, error) {
	o, err := a.call(ctx, http.MethodPost, collection, key, body)
	if err != nil {
		return "", err
	}
	id, _ := o["id"].(string)
	if id == "" {
		return "", fmt.Errorf("POST %s: the reply has no id", collection)
	}
	return id, nil
}

// setup keeps the first error, so that the steps read one after the other.
type setup struct {
	ctx context.Context
	api *api
	err error
}

func (s *setup) create(collection, key string, body object) (id string) {
	if s.err == nil {
		id, s.err = s.api.create(s.ctx, collection, key, body)
	}
	return id
}

func (s *setup) put(path, key string, body object) {
	if s.err == nil {
		_, s.err = s.api.call(s.ctx, http.MethodPut, path, key, body)
	}
}

// addInterface is apart because its body has no key around it.
func (s *setup) addInterface(router, port string) {
	if s.err != nil {
		return
	}
	b, _ := json.Marshal(object{"port_id": port}) // a map of strings always marshals
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPut, s.api.base+"routers/"+router+"/add_router_interface", bytes.NewReader(b))
	if err != nil {
		s.err = err
		return
	}
	resp, err := s.api.http.Do(req)
	if err != nil {
		s.err = err
		return
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		s.err = fmt.Errorf("add_router_interface: %s: %.300s (%v)", resp.Status, text, err)
	}
}

// ids are what later steps need of a site.
type ids struct {
	tenantNetwork, tenantSubnet, router, device, vmPort string
}

// peer makes the example's half of a site.
func (a *api) peer(ctx context.Context, s, o siteFacts, host string) (ids, error) {
	do := &setup{ctx: ctx, api: a}
	var made ids
	made.tenantNetwork = do.create("networks", "network", object{"name": "tenant"})
	made.tenantSubnet = do.create("subnets", "subnet", object{"network_id": made.tenantNetwork, "ip_version": 4, "cidr": s.network, "enable_dhcp": false})
	made.router = do.create("routers", "router", object{"name": "peer"})
	gateway := do.create("ports", "port", object{"network_id": made.tenantNetwork, "mac_address": gatewayMAC, "fixed_ips": []object{{"ip_address": s.gateway}}})
	do.addInterface(made.router, gateway)

	vtep := do.create("routers", "router", object{"name": "vtep"})
	made.device = do.create("gw/gateway_devices", "gateway_device", object{"name": "device", "type": "router_vtep", "resource_id": vtep, "tunnel_ips": []string{s.tunnelIP}})
	multi := do.create("networks", "network", object{"name": "multi-site", "port_security_enabled": false})
	l2gw := do.create("l2-gateways", "l2_gateway", object{"name": "l2gw", "devices": []object{{"device_id": made.device, "segmentation_id": fmt.Sprint(vni)}}})
	do.create("subnets", "subnet", object{"network_id": multi, "ip_version": 4, "cidr": multiSite, "gateway_ip": nil, "enable_dhcp": false})
	do.create("l2-gateway-connections", "l2_gateway_connection", object{"l2_gateway_id": l2gw, "network_id": multi})
	port := do.create("ports", "port", object{"network_id": multi, "mac_address": s.peerMAC, "fixed_ips": []object{{"ip_address": s.peer}}})
	do.addInterface(made.router, port)
	do.put("routers/"+made.router, "router", object{"routes": []object{{"destination": o.network, "nexthop": o.peer}}})
	do.create("ports", "port", object{"network_id": multi, "mac_address": o.peerMAC, "device_owner": "network:remote_site", "fixed_ips": []object{{"ip_address": o.peer}}})
	do.create("gw/gateway_devices/"+made.device+"/remote_mac_entries", "remote_mac_entry", object{"mac_address": o.peerMAC, "vtep_address": o.tunnelIP, "segmentation_id": fmt.Sprint(vni)})

	made.vmPort = do.create("ports", "port", object{"name": "vm", "network_id": made.tenantNetwork, "mac_address": s.vmMAC, "fixed_ips": []object{{"ip_address": s.vm}}})
	do.put("ports/"+made.vmPort, "port", object{"binding:host_id": host, "binding:profile": object{"interface_name": "tap0"}})
	return made, do.err
}

// active waits until the port's host says that it works.
func (a *api) active(ctx context.Context, port string) error {
	return process.Poll(ctx, 20*time.Millisecond, time.Minute, "port "+port+" to be ACTIVE", func() (bool, error) {
		o, err := a.call(ctx, http.MethodGet, "ports/"+port, "port", nil)
		return o["status"] == "ACTIVE", err
	})
}
