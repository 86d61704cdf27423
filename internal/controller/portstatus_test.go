package controller

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestPortStatusAsksTheHost: the status of a port has what its host says of it, and of no other port; where the host
// cannot be asked or does not say, it says why.
func TestPortStatusAsksTheHost(t *testing.T) {
	l := start(t, socketDir(t))
	net := l.create("/v2.0/networks", "network", m{"name": "n"})
	bound := func(host, iface string) string {
		return l.create("/v2.0/ports", "port", m{"network_id": net, "binding:host_id": host, "binding:profile": m{"interface_name": iface}})
	}
	port, elsewhere, unbound := bound("h0", "tap1"), bound("h7", "tap1"), l.create("/v2.0/ports", "port", m{"network_id": net})
	status := func(id string) m {
		t.Helper()
		return l.do("GET", "/v2.0/ports/"+id+"/causeway_status", nil, http.StatusOK)["causeway_status"].(m)
	}
	silent := func(id, state, why string) {
		t.Helper()
		s := status(id)
		if s["host_state"] != state || !strings.Contains(s["unanswered"].(string), why) || s["traffic"] != nil || s["drops"] != nil || s["interface_there"] != nil {
			t.Errorf("want state %q, and no answer as %q: %v", state, why, s)
		}
	}
	silent(unbound, "unbound", "the port is bound to no host")
	silent(elsewhere, "unknown", "no agent of host h7 has connected yet")

	asked := make(chan probe.Request, 10)
	says := make(chan probe.Result, 1)
	l.probingAgent(func(r probe.Request) (probe.Result, error) {
		asked <- r
		if r := <-says; r.Port != nil {
			return r, nil
		}
		return probe.Result{}, errors.New("the map cannot be read")
	})
	says <- probe.Result{Port: &probe.PortState{
		Known: true, There: true, WantedRevision: 7, AppliedRevision: 6, RxPackets: 1, RxBytes: 60, TxPackets: 2, TxBytes: 120,
		Drops: map[string]uint64{"spoof_ip": 3, "of_a_later_release": 4},
	}}
	s := status(port)
	if r := testutil.Receive(t, "the question", asked); r.Port == 0 || r != (probe.Request{Port: r.Port}) {
		t.Errorf("asked for %+v", r)
	}
	want := m{
		"interface_there": true, "unanswered": "", "host_state": "alive", "host_gone_since": "",
		"traffic": m{"rx_packets": 1.0, "rx_bytes": 60.0, "tx_packets": 2.0, "tx_bytes": 120.0},
		"drops": []any{
			m{"reason": "of_a_later_release", "packets": 4.0, "meaning": ""},
			m{"reason": "spoof_ip", "packets": 3.0, "meaning": "port security: the source IP address is not the port's"},
		},
	}
	for k, v := range want {
		if !reflect.DeepEqual(s[k], v) {
			t.Errorf("%s is %v, want %v", k, s[k], v)
		}
	}
	says <- probe.Result{Port: &probe.PortState{Known: true, There: true, TrafficUncounted: true}}
	if s := status(port); s["traffic"] != nil || s["drops"] == nil || s["unanswered"] != "host h0 has no room to count the port's traffic (--max-counters)" {
		t.Errorf("of a port that is not counted: %v", s)
	}
	says <- probe.Result{Port: &probe.PortState{}}
	if s := status(port); s["interface_there"] != false || s["unanswered"] != "host h0 has not been told of the port yet" || s["traffic"] != nil {
		t.Errorf("of a port that the host does not know: %v", s)
	}
	says <- probe.Result{}
	silent(port, "alive", "the map cannot be read")
}

// TestPortStatusOfOldAgents: an agent that takes the question for a wrong one is of an older release.
func TestPortStatusOfOldAgents(t *testing.T) {
	l := start(t, socketDir(t))
	net := l.create("/v2.0/networks", "network", m{"name": "n"})
	port := l.create("/v2.0/ports", "port", m{"network_id": net, "binding:host_id": "h0", "binding:profile": m{"interface_name": "tap1"}})
	l.probingAgent(func(probe.Request) (probe.Result, error) {
		return probe.Result{}, fmt.Errorf("%w: no router", probe.ErrRequest)
	})
	s := l.do("GET", "/v2.0/ports/"+port+"/causeway_status", nil, http.StatusOK)["causeway_status"].(m)
	if s["unanswered"] != "the agent of host h0 is of a release that cannot say: upgrade it" {
		t.Errorf("%v", s)
	}
}
