package controller

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

// probingAgent serves probes by a function.
type probingAgent struct {
	*agent
	serve func(probe.Request) (probe.Result, error)
}

func (a probingAgent) Probe(_ context.Context, r probe.Request) (probe.Result, error) {
	return a.serve(r)
}

func (l *lab) probingAgent(serve func(probe.Request) (probe.Result, error)) (stop func()) {
	l.t.Helper()
	return l.runAgent(func(a *agent) hostsync.Sink { return probingAgent{a, serve} })
}

// runAgent runs an agent with a sink of the test's until it is stopped, or the test ends.
func (l *lab) runAgent(sink func(*agent) hostsync.Sink) (stop func()) {
	l.t.Helper()
	c, err := hostsync.NewClient(hostsync.ClientOptions{
		Targets: []string{"unix://" + filepath.Join(l.dir, "run", "a.sock")}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	a := sink(&agent{Client: c, updates: make(chan received, 1000)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx, a)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		testutil.Receive(l.t, "the agent's end", done)
	})
	l.t.Cleanup(stop)
	waitMetric(l.t, l, `causeway_controller_host_connected{host="h0"} 1`)
	return stop
}

// router makes a router on 10.0.0.0/24 and 192.168.0.0/24, with a route to 10.0.1.0/24 by the latter.
func (l *lab) router() string {
	l.t.Helper()
	id := l.create("/v2.0/routers", "router", m{"name": "r"})
	for _, cidr := range []string{"10.0.0.0/24", "192.168.0.0/24"} {
		n := l.create("/v2.0/networks", "network", m{"name": cidr})
		s := l.create("/v2.0/subnets", "subnet", m{"network_id": n, "ip_version": 4, "cidr": cidr})
		l.do("PUT", "/v2.0/routers/"+id+"/add_router_interface", m{"subnet_id": s}, http.StatusOK)
	}
	l.do("PUT", "/v2.0/routers/"+id, m{"router": m{"routes": []m{{"destination": "10.0.1.0/24", "nexthop": "192.168.0.2"}}}}, http.StatusOK)
	return id
}

func TestProbe(t *testing.T) {
	l := start(t, socketDir(t))
	asked := make(chan probe.Request, 10)
	l.probingAgent(func(r probe.Request) (probe.Result, error) {
		asked <- r
		return probe.Result{Sent: 4, Received: 3, RTTMin: time.Microsecond, RTTAvg: 2 * time.Microsecond, RTTMax: 3 * time.Microsecond, PathMTU: 1400,
			Errors: []probe.Error{{From: netip.MustParseAddr("192.168.0.2"), What: "host unreachable", Count: 1}}}, nil
	})
	id := l.router()
	for name, c := range map[string]struct {
		probe  m
		source string
	}{
		"neighbor":       {m{"target": "192.168.0.2"}, "192.168.0.1"},
		"by route":       {m{"target": "10.0.1.3"}, "192.168.0.1"},
		"own source":     {m{"target": "10.0.1.3", "source": "10.0.0.1"}, "10.0.0.1"},
		"own workload":   {m{"target": "10.0.0.9"}, "10.0.0.1"},
		"with all there": {m{"target": "10.0.0.9", "count": 4, "size": 100, "interval_ms": 50, "timeout_ms": 100, "path_mtu": true}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := l.do("POST", "/v2.0/routers/"+id+"/probe", m{"probe": c.probe}, http.StatusOK)["probe"].(m)
			r := testutil.Receive(t, "the probe at the agent", asked)
			if r.Source.String() != c.source || got["source"] != c.source || r.Router == 0 || r.MaxMTU != 1450 {
				t.Errorf("asked %+v, answered %v", r, got)
			}
			if got["sent"] != 4.0 || got["received"] != 3.0 || got["loss"] != 0.25 || got["path_mtu"] != 1400.0 ||
				got["rtt_us"].(m)["avg"] != 2.0 || len(got["errors"].([]any)) != 1 || got["host"] != "h0" {
				t.Errorf("%v", got)
			}
		})
	}
	for name, c := range map[string]struct {
		probe any
		code  int
		says  string
	}{
		"no probe":         {nil, 400, "probe"},
		"unknown key":      {m{"target": "10.0.0.9", "flood": true}, 400, "flood"},
		"no target":        {m{}, 400, "route"},
		"no address":       {m{"target": "x"}, 400, "probe"},
		"IPv6":             {m{"target": "fd00::1", "source": "10.0.0.1"}, 400, "IPv4"},
		"its own address":  {m{"target": "10.0.0.1"}, 400, "own"},
		"another's source": {m{"target": "10.0.0.9", "source": "10.0.0.7"}, 400, "not an address of router"},
		"no way":           {m{"target": "172.16.0.1"}, 400, "no route"},
		"too many":         {m{"target": "10.0.0.9", "count": 1000}, 400, "count"},
		"overflow":         {m{"target": "10.0.0.9", "interval_ms": 1 << 62}, 400, "interval"},
	} {
		t.Run(name, func(t *testing.T) {
			got := l.do("POST", "/v2.0/routers/"+id+"/probe", m{"probe": c.probe}, c.code)
			if e := got["NeutronError"].(m); !strings.Contains(e["message"].(string), c.says) {
				t.Errorf("%v", e)
			}
		})
	}
	l.do("POST", "/v2.0/routers/nobody/probe", m{"probe": m{"target": "10.0.0.9"}}, http.StatusNotFound)
}

// Without a host that can, the answer says so.
func TestProbeWithoutAHost(t *testing.T) {
	l := start(t, socketDir(t))
	id := l.router()
	ask := func(code int, says string) {
		t.Helper()
		got := l.do("POST", "/v2.0/routers/"+id+"/probe", m{"probe": m{"target": "10.0.0.9"}}, code)
		if e := got["NeutronError"].(m); !strings.Contains(e["message"].(string), says) {
			t.Errorf("%v", e)
		}
	}
	ask(http.StatusServiceUnavailable, "no agent")
	old := l.agent()
	waitMetric(t, l, `causeway_controller_host_connected{host="h0"} 1`)
	ask(http.StatusBadRequest, "upgrade")
	old.stop()
	waitMetric(t, l, `causeway_controller_host_connected{host="h0"} 0`)
	ask(http.StatusServiceUnavailable, "not connected")
	l.probingAgent(func(probe.Request) (probe.Result, error) { return probe.Result{}, probe.ErrBusy })
	ask(http.StatusServiceUnavailable, "busy")
}

// TestProbeIsAudited: a probe changes nothing, and is written down with who asked all the same.
func TestProbeIsAudited(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "audit.log")
	l := startWith(t, dir, func(c *config.Controller) { c.API.AuditLog = path })
	l.probingAgent(func(probe.Request) (probe.Result, error) { return probe.Result{Sent: 1}, nil })
	id := l.router()
	l.do("POST", "/v2.0/routers/"+id+"/probe", m{"probe": m{"target": "10.0.0.9"}}, http.StatusOK)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, `"/v2.0/routers/{id}/probe"`) || !strings.Contains(last, id) || !strings.Contains(last, `"request_id":"req-`) {
		t.Errorf("the last line is %s", last)
	}
}

// TestProbeFromWhereAnswersComeIn: of several hosts, a router's packets leave where the answers to them enter the site or
// begin: at the next hop's host, or at the one that serves the gateway device by which it is reached.
func TestProbeFromWhereAnswersComeIn(t *testing.T) {
	ip, mac := netip.MustParseAddr, model.NamedMAC{MAC: model.MAC{2, 0, 0, 0, 0, 9}}
	at := func(subnet model.SubnetID, a string) []model.AddrPair {
		return []model.AddrPair{{SubnetID: subnet, IP: ip(a)}}
	}
	router := &model.Router{ID: "r", Key: 1, Routes: []model.HostRoute{{Destination: netip.MustParsePrefix("10.0.1.0/24"), NextHop: ip("192.168.0.2")}}}
	st := sitetest.New()
	if _, err := st.Update(t.Context(), func(tx store.Tx) error {
		for _, h := range []model.HostName{"h0", "h1", "h2"} {
			store.Put(tx, store.Hosts, string(h), &model.Host{Name: h})
		}
		for id, cidr := range map[string]string{"a": "10.0.0.0/24", "b": "192.168.0.0/24"} {
			store.Put(tx, store.Networks, id, &model.Network{ID: model.NetworkID(id)})
			store.Put(tx, store.Subnets, id, &model.Subnet{ID: model.SubnetID(id), NetworkID: model.NetworkID(id), CIDR: netip.MustParsePrefix(cidr)})
		}
		store.Put(tx, store.Routers, "r", router)
		for _, p := range []*model.Port{
			{ID: "0", NetworkID: "a", FixedIPs: at("a", "10.0.0.1"), DeviceOwner: model.OwnerRouterInterface, DeviceID: "r"},
			{ID: "1", NetworkID: "b", FixedIPs: at("b", "192.168.0.1"), DeviceOwner: model.OwnerRouterInterface, DeviceID: "r"},
			{ID: "2", NetworkID: "a", FixedIPs: at("a", "10.0.0.8"), HostID: "h0"},
			{ID: "3", NetworkID: "a", FixedIPs: at("a", "10.0.0.9"), HostID: "h1"},
			{ID: "4", NetworkID: "b", FixedIPs: at("b", "192.168.0.2"), MAC: mac, DeviceOwner: "network:remote_site"},
		} {
			store.Put(tx, store.Ports, string(p.ID), p)
		}
		for i, host := range []model.HostName{"h1", "h2"} {
			id := fmt.Sprint(i)
			store.Put(tx, store.Placements, id, &model.Placement{DeviceID: model.GatewayDeviceID(id), Host: host})
			store.Put(tx, store.L2Gateways, id, &model.L2Gateway{ID: model.L2GatewayID(id), DeviceID: model.GatewayDeviceID(id)})
			store.Put(tx, store.L2GatewayConnections, id, &model.L2GatewayConnection{ID: model.L2GatewayConnectionID(id), L2GatewayID: model.L2GatewayID(id), NetworkID: "b", VNI: 7})
		}
		store.Put(tx, store.RemoteMACEntries, "0", &model.RemoteMACEntry{ID: "0", DeviceID: "1", MAC: mac, VNI: 7})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	snap, err := st.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]model.HostName{"10.0.0.8": "h0", "10.0.0.9": "h1", "192.168.0.2": "h2", "10.0.1.3": "h2"} {
		// Whichever address it is sent from.
		for _, source := range []model.NetworkID{"a", "b"} {
			if got := hostOf(snap, router, source, ip(target)); got != want {
				t.Errorf("to %s from network %s: %s, want %s", target, source, got, want)
			}
		}
	}
}
