package controller

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestTraceAsksForPaths: a trace asks the host that would send for what it knows of its paths, and
// takes the smaller of two ways to one VTEP.
func TestTraceAsksForPaths(t *testing.T) {
	l := start(t, socketDir(t))
	asked := make(chan probe.Request, 10)
	local, vtep := netip.MustParseAddr("200.200.0.1"), netip.MustParseAddr("200.200.0.2")
	l.probingAgent(func(r probe.Request) (probe.Result, error) {
		asked <- r
		return probe.Result{Paths: []probe.PathState{
			{TunnelIP: local, VTEP: vtep, MTU: 1400, State: "proven", Why: "a"}, {TunnelIP: local.Next(), VTEP: vtep, MTU: 1450, State: "unproven", Why: "b"},
		}}, nil
	})
	net := l.create("/v2.0/networks", "network", m{"name": "n"})
	l.create("/v2.0/subnets", "subnet", m{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"})
	port := l.create("/v2.0/ports", "port", m{"network_id": net, "binding:host_id": "h0", "binding:profile": m{"interface_name": "tap1"}})
	l.do("POST", "/v2.0/ports/"+port+"/trace", m{"trace": m{"to": "10.0.0.77"}}, 200)
	if r := testutil.Receive(t, "the question", asked); r != (probe.Request{Paths: true}) {
		t.Errorf("asked for %+v", r)
	}
}

// TestUnderlayIsTold: what a host says to be wrong with its underlay is in the answers of trace and probe,
// and so is that it says nothing.
func TestUnderlayIsTold(t *testing.T) {
	l := start(t, socketDir(t))
	path := probe.PathState{TunnelIP: netip.MustParseAddr("200.200.0.1"), VTEP: netip.MustParseAddr("200.200.0.2"), MTU: 1500, State: "proven", By: "tunnel", Why: "a"}
	said := make(chan probe.PathState, 1) // what the agent says from now on
	said <- path
	l.probingAgent(func(r probe.Request) (probe.Result, error) {
		now := <-said
		said <- now
		if r.Paths {
			return probe.Result{Paths: []probe.PathState{{TunnelIP: now.TunnelIP, VTEP: now.VTEP.Next(), State: "proven", MTU: 1500}, now}}, nil
		}
		return probe.Result{Sent: 2}, nil
	})
	id := l.router()
	networks, _ := l.do("GET", "/v2.0/networks?name=192.168.0.0/24", nil, http.StatusOK)["networks"].([]any)
	network := networks[0].(m)["id"]
	vtep := l.create("/v2.0/routers", "router", m{"name": "vtep"})
	device := l.create("/v2.0/gw/gateway_devices", "gateway_device", m{"name": "g", "type": "router_vtep", "resource_id": vtep, "tunnel_ips": []string{"200.200.0.1"}})
	gateway := l.create("/v2.0/l2-gateways", "l2_gateway", m{"name": "l2", "devices": []m{{"device_id": device, "segmentation_id": 100}}})
	l.create("/v2.0/l2-gateway-connections", "l2_gateway_connection", m{"l2_gateway_id": gateway, "network_id": network})
	l.create("/v2.0/ports", "port", m{"network_id": network, "mac_address": "6f:e4:5a:fa:8e:08", "device_owner": "network:remote_site", "fixed_ips": []m{{"ip_address": "192.168.0.2"}}})
	l.create("/v2.0/gw/gateway_devices/"+device+"/remote_mac_entries", "remote_mac_entry", m{"mac_address": "6f:e4:5a:fa:8e:08", "vtep_address": "200.200.0.2", "segmentation_id": 100})
	ask := func() (trace m, words string) {
		t.Helper()
		trace, _ = l.do("POST", "/v2.0/routers/"+id+"/trace", m{"trace": m{"from": "10.0.0.1", "to": "10.0.1.3"}}, http.StatusOK)["trace"].(m)
		b, err := json.Marshal(trace)
		if err != nil {
			t.Fatal(err)
		}
		return trace, string(b)
	}
	probed := func() string {
		t.Helper()
		b, err := json.Marshal(l.do("POST", "/v2.0/routers/"+id+"/probe", m{"probe": m{"source": "10.0.0.1", "target": "10.0.1.3"}}, http.StatusOK))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if tr, words := ask(); tr["delivered"] != true || tr["warnings"] != nil {
		t.Fatalf("all is well: %s", words)
	}
	if words := probed(); !strings.Contains(words, `"vtep":"200.200.0.2"`) || !strings.Contains(words, `"state":"proven"`) {
		t.Errorf("a probe that is lost: %s", words)
	}
	<-said
	path.Problem = "the next hop is away"
	said <- path
	if tr, words := ask(); tr["delivered"] != true || !strings.Contains(words, "host h0, VTEP 200.200.0.2: the next hop is away") {
		t.Errorf("a problem: %s", words)
	}
	<-said
	path.State, path.Problem = probe.Unreachable, "the underlay interface eth1 is not there"
	said <- path
	if tr, words := ask(); tr["delivered"] != false || !strings.Contains(words, "underlay_no_route") || !strings.Contains(words, "nothing leaves for VTEP 200.200.0.2: the underlay interface eth1 is not there") {
		t.Errorf("nothing leaves: %s", words)
	}
	if words := probed(); !strings.Contains(words, "eth1 is not there") {
		t.Errorf("a probe where nothing leaves: %s", words)
	}
}

// TestNoHostIsTold: a trace into a tunnel says that no host tells anything of the underlay.
func TestNoHostIsTold(t *testing.T) {
	u := underlay{host: "h0", unknown: hostsync.ErrHostLeft}
	if got := u.warn(netip.MustParseAddr("200.200.0.2")); len(got) != 1 || got[0] != "whether packets pass between here and VTEP 200.200.0.2 is not known: host h0 is not connected to this controller" {
		t.Errorf("%q", got)
	}
}

// TestTraceOverFabric: a packet is followed to the host that has its destination, by what that host would do; the hosts
// on the way are asked for their paths.
func TestTraceOverFabric(t *testing.T) {
	l := start(t, socketDir(t))
	if _, err := l.st.Update(t.Context(), func(tx store.Tx) error {
		for i, h := range []model.HostName{"h0", "h1"} {
			store.Put(tx, store.Hosts, string(h), &model.Host{Name: h, Fabric: model.Fabric{Addr: netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}), Port: 4798}})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	net := l.create("/v2.0/networks", "network", m{"name": "n"})
	l.create("/v2.0/subnets", "subnet", m{"network_id": net, "ip_version": 4, "cidr": "10.0.0.0/24"})
	port := func(host, iface, ip string) string {
		return l.create("/v2.0/ports", "port", m{"network_id": net, "binding:host_id": host, "binding:profile": m{"interface_name": iface}, "fixed_ips": []m{{"ip_address": ip}}})
	}
	from := port("h0", "tap0", "10.0.0.10")
	to := port("h1", "tap1", "10.0.0.11")
	report := l.do("POST", "/v2.0/ports/"+from+"/trace", m{"trace": m{"to": "10.0.0.11"}}, http.StatusOK)["trace"].(m)
	b, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if report["delivered"] != true || report["verdict"] != "port" || !strings.Contains(string(b), `"hosts":["h1"]`) || !strings.Contains(string(b), to) ||
		!strings.Contains(string(b), "host h1 is not known: host h0 is not connected") {
		t.Errorf("%s", b)
	}
}
