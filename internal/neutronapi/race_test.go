package neutronapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testutil"
)

// etcdAPI is the API over a real store.
type etcdAPI struct {
	t    *testing.T
	site *site.Site
	h    http.Handler
}

func newEtcdAPI(t *testing.T) *etcdAPI {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := etcdstore.Open(t.Context(), etcdstore.Options{DataDir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	s := site.New(st, site.Options{Logger: log, Limits: site.Limits{Routes: 1000}})
	return &etcdAPI{t, s, neutronapi.New(s, neutronapi.Options{Logger: log})}
}

// newEtcdPair are the APIs of two controllers on one etcd, of which the second reaches
// it as a cluster is reached, with a cluster's limits.
func newEtcdPair(t *testing.T) [2]*etcdAPI {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir, err := os.MkdirTemp("", "causeway-") // a short name, for the socket's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	var out [2]*etcdAPI
	for i, opt := range []etcdstore.Options{
		{DataDir: filepath.Join(dir, "d"), ClientSocket: socket, Logger: log},
		{Endpoints: []string{"unix://" + socket}, Logger: log},
	} {
		st, err := etcdstore.Open(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := st.Close(); err != nil {
				t.Errorf("close the store: %v", err)
			}
		})
		s := site.New(st, site.Options{Logger: log})
		out[i] = &etcdAPI{t, s, neutronapi.New(s, neutronapi.Options{Logger: log})}
	}
	return out
}

func (a *etcdAPI) call(method, path, body string) (int, map[string]any) {
	req := httptest.NewRequest(method, path, strings.NewReader(body)).WithContext(context.Background())
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, req)
	var out map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &out)
	for _, v := range out {
		if m, ok := v.(map[string]any); ok && len(out) == 1 {
			out = m
		}
	}
	return w.Code, out
}

func (a *etcdAPI) post(path, body string) string {
	a.t.Helper()
	status, out := a.call("POST", "/v2.0/"+path, body)
	if status != 201 {
		a.t.Fatalf("POST %s %s: %d %v", path, body, status, out)
	}
	return out["id"].(string)
}

// race sends n requests at once and wants exactly one success; all others must be
// 409 with the given type.
func (a *etcdAPI) race(what, typ string, n int, request func(i int) (method, path, body string)) {
	a.t.Helper()
	var wg sync.WaitGroup
	type answer struct {
		status int
		out    map[string]any
	}
	answers := make([]answer, n)
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			method, path, body := request(i)
			<-start
			answers[i].status, answers[i].out = a.call(method, path, body)
		})
	}
	close(start)
	testutil.Wait(a.t, what, wg.Wait)
	won := 0
	for _, x := range answers {
		switch {
		case x.status == 201 || x.status == 200:
			won++
		case x.status != 409 || x.out["type"] != typ:
			a.t.Errorf("%s: %d %v, want 409 %s", what, x.status, x.out, typ)
		}
	}
	if won != 1 {
		a.t.Errorf("%s: %d requests won, want 1", what, won)
	}
}

func (a *etcdAPI) checkSound() {
	a.t.Helper()
	snap, err := a.site.View(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	if found := site.Check(snap); len(found) > 0 {
		a.t.Fatalf("the state is not sound:\n%s", strings.Join(found, "\n"))
	}
}

func TestRaces(t *testing.T) {
	a := newEtcdAPI(t)
	const n = 12
	net := a.post("networks", `{"network":{}}`)
	a.post("subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/16"}}`, "$N", net))
	routers := make([]string, n)
	nets := make([]string, n)
	for i := range n {
		routers[i] = a.post("routers", `{"router":{}}`)
		nets[i] = a.post("networks", `{"network":{}}`)
	}
	same := func(path, body string) func(int) (string, string, string) {
		return func(int) (string, string, string) { return "POST", "/v2.0/" + path, body }
	}
	a.race("one IP", "IpAddressAlreadyAllocated", n, same("ports", fill(`{"port":{"network_id":"$N","fixed_ips":[{"ip_address":"10.0.0.9"}]}}`, "$N", net)))
	a.race("one MAC", "MacAddressInUse", n, func(i int) (string, string, string) {
		mac := []string{"02:00:00:00:00:AA", "02:00:00:00:00:aa", "02-00-00-00-00-aa"}[i%3]
		return "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","mac_address":"$M"}}`, "$N", net, "$M", mac)
	})
	a.race("one interface", "PortBindingInUse", n, same("ports", fill(`{"port":{"network_id":"$N","binding:host_id":"h","binding:profile":{"interface_name":"tap0"}}}`, "$N", net)))
	a.race("one router", "DeviceInUseByGatewayDevice", n, func(i int) (string, string, string) {
		return "POST", "/v2.0/gw/gateway_devices", fmt.Sprintf(`{"gateway_device":{"type":"router_vtep","resource_id":"%s","tunnel_ips":["1.0.0.%d"]}}`, routers[0], i+1)
	})
	a.race("one tunnel IP", "GatewayDeviceParamDuplicate", n-1, func(i int) (string, string, string) {
		return "POST", "/v2.0/gw/gateway_devices", fmt.Sprintf(`{"gateway_device":{"type":"router_vtep","resource_id":"%s","tunnel_ips":["2.0.0.1"]}}`, routers[i+1])
	})
	_, out := a.call("GET", "/v2.0/gw/gateway_devices?resource_id="+routers[0], "")
	dev := out["gateway_devices"].([]any)[0].(map[string]any)["id"].(string)
	a.race("one remote MAC", "DuplicateRemoteMacEntry", n, same("gw/gateway_devices/"+dev+"/remote_mac_entries", `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:01","vtep_address":"3.0.0.1","segmentation_id":"7"}}`))
	gws := make([]string, n)
	for i := range n {
		gws[i] = a.post("l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","segmentation_id":"100"}]}}`, "$D", dev))
	}
	a.race("one VNI", "L2GatewayConnectionVNIInUse", n, func(i int) (string, string, string) {
		return "POST", "/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection":{"l2_gateway_id":"$G","network_id":"$N"}}`, "$G", gws[i], "$N", nets[i])
	})
	lone := a.post("l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","segmentation_id":"200"}]}}`, "$D", dev))
	a.race("one connection", "MidonetL2GatewayConnectionExists", n, func(i int) (string, string, string) {
		return "POST", "/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection":{"l2_gateway_id":"$G","network_id":"$N"}}`, "$G", lone, "$N", nets[i])
	})
	_, out = a.call("GET", "/v2.0/l2-gateway-connections", "")
	for _, c := range out["l2_gateway_connections"].([]any) {
		connected := c.(map[string]any)["l2_gateway_id"].(string)
		gws = slices.DeleteFunc(gws, func(id string) bool { return id == connected })
	}
	tor := a.post("gw/gateway_devices", `{"gateway_device":{"management_ip":"192.0.2.1","management_port":1,"tunnel_ips":["4.0.0.1"]}}`)
	a.race("one port of a switch", "L2GatewayInterfaceInUse", len(gws), func(i int) (string, string, string) {
		return "PUT", "/v2.0/l2-gateways/" + gws[i], fill(`{"l2_gateway":{"devices":[{"device_id":"$D","interfaces":[{"name":"p0"}]}]}}`, "$D", tor)
	})
	port := a.post("ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
	a.race("one port for two routers", "PortInUse", n, func(i int) (string, string, string) {
		return "PUT", "/v2.0/routers/" + routers[i] + "/add_router_interface", fill(`{"port_id":"$P"}`, "$P", port)
	})
	a.checkSound()
}

// TestAllocationUnderLoad fills a small subnet from many clients at once: every
// address is given once, and then there are no more.
func TestAllocationUnderLoad(t *testing.T) {
	a := newEtcdAPI(t)
	net := a.post("networks", `{"network":{}}`)
	a.post("subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/26"}}`, "$N", net))
	const free = 61 // 62 hosts less the gateway
	const clients = 70
	var wg sync.WaitGroup
	var mu sync.Mutex
	ips := map[string]int{}
	refused := 0
	for range clients {
		wg.Go(func() {
			status, out := a.call("POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case status == 201:
				ips[out["fixed_ips"].([]any)[0].(map[string]any)["ip_address"].(string)]++
			case status == 409 && out["type"] == "IpAddressGenerationFailure":
				refused++
			default:
				t.Errorf("port: %d %v", status, out)
			}
		})
	}
	testutil.Wait(t, "the requests", wg.Wait)
	if len(ips) != free || refused != clients-free {
		t.Errorf("%d addresses given and %d refused, want %d and %d", len(ips), refused, free, clients-free)
	}
	for ip, n := range ips {
		if n != 1 || ip == "10.0.0.1" {
			t.Errorf("%s given %d times", ip, n)
		}
	}
	a.checkSound()
}

// TestDeleteAgainstCreate lets a network be deleted while ports are made on it:
// either it is in use or the ports find it gone, never a port without a network.
func TestDeleteAgainstCreate(t *testing.T) {
	a := newEtcdAPI(t)
	for range 15 {
		net := a.post("networks", `{"network":{}}`)
		a.post("subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
		router := a.post("routers", `{"router":{}}`)
		requests := []struct{ method, path, body string }{
			{"DELETE", "networks/" + net, ""},
			{"POST", "ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net)},
			{"POST", "subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.1.0.0/24"}}`, "$N", net)},
			{"POST", "gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["1.0.0.1"]}}`, "$R", router)},
			{"DELETE", "routers/" + router, ""},
		}
		var wg sync.WaitGroup
		for _, r := range requests {
			wg.Go(func() {
				switch status, out := a.call(r.method, "/v2.0/"+r.path, r.body); status {
				case 201, 204, 404, 409:
				default:
					t.Errorf("%s %s: %d %v", r.method, r.path, status, out)
				}
			})
		}
		testutil.Wait(t, "the requests", wg.Wait)
		a.checkSound()
		_, out := a.call("GET", "/v2.0/gw/gateway_devices", "")
		for _, d := range out["gateway_devices"].([]any) {
			a.call("DELETE", "/v2.0/gw/gateway_devices/"+d.(map[string]any)["id"].(string), "")
		}
	}
}

// TestLargeRemoteMACTable makes sure that a device goes with a table that no single
// transaction of an etcd cluster takes.
func TestLargeRemoteMACTable(t *testing.T) {
	a := newEtcdAPI(t)
	router := a.post("routers", `{"router":{}}`)
	dev := a.post("gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["1.0.0.1"]}}`, "$R", router))
	var wg sync.WaitGroup
	for i := range 230 {
		wg.Go(func() {
			status, out := a.call("POST", "/v2.0/gw/gateway_devices/"+dev+"/remote_mac_entries", fmt.Sprintf(`{"remote_mac_entry":{"mac_address":"02:00:00:00:00:%02x","vtep_address":"3.0.0.1","segmentation_id":"7"}}`, i))
			if status != 201 {
				t.Errorf("remote MAC: %d %v", status, out)
			}
		})
	}
	testutil.Wait(t, "the requests", wg.Wait)
	lg := a.post("l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","segmentation_id":"7"}]}}`, "$D", dev))
	macs := func() int {
		_, out := a.call("GET", "/v2.0/gw/gateway_devices/"+dev+"/remote_mac_entries", "")
		l, _ := out["remote_mac_entries"].([]any)
		return len(l)
	}
	if status, _ := a.call("DELETE", "/v2.0/gw/gateway_devices/"+dev, ""); status != 409 || macs() != 230 {
		t.Errorf("a device in use: %d, %d remote MACs left", status, macs())
	}
	a.call("DELETE", "/v2.0/l2-gateways/"+lg, "")
	if status, out := a.call("DELETE", "/v2.0/gw/gateway_devices/"+dev, ""); status != 204 {
		t.Errorf("delete the device: %d %v", status, out)
	}
	a.checkSound()
	snap, err := a.site.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id := range snap.List("remote_mac_entry") {
		t.Errorf("remote MAC entry %s is left", id)
	}
}

// TestUpdateAgainstConnect moves L2 gateways to another device and VNI while they are
// connected, by two controllers: a connection is of the gateway as it was when it came.
func TestUpdateAgainstConnect(t *testing.T) {
	pair := newEtcdPair(t)
	var dev [2]string
	for i := range dev {
		dev[i] = pair[0].post("gw/gateway_devices", fmt.Sprintf(`{"gateway_device":{"type":"router_vtep","resource_id":"%s","tunnel_ips":["1.0.0.%d"]}}`, pair[0].post("routers", `{"router":{}}`), i+1))
	}
	net := pair[0].post("networks", `{"network":{}}`)
	for i := range 20 {
		gw := pair[i%2].post("l2-gateways", fmt.Sprintf(`{"l2_gateway":{"devices":[{"device_id":"%s","segmentation_id":"%d"}]}}`, dev[0], i+1))
		var moved, connected int
		var wg sync.WaitGroup
		wg.Go(func() {
			moved, _ = pair[0].call("PUT", "/v2.0/l2-gateways/"+gw, fmt.Sprintf(`{"l2_gateway":{"devices":[{"device_id":"%s","segmentation_id":"%d"}]}}`, dev[1], 100+i))
		})
		wg.Go(func() {
			connected, _ = pair[1].call("POST", "/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection":{"l2_gateway_id":"$G","network_id":"$N"}}`, "$G", gw, "$N", net))
		})
		testutil.Wait(t, "the requests", wg.Wait)
		if moved != 200 && moved != 409 || connected != 201 {
			t.Errorf("moved: %d, connected: %d", moved, connected)
		}
		pair[0].checkSound()
	}
}
