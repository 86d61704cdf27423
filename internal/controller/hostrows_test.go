package controller

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/probe"
)

// tellingAgent says what rows it has, after spoil has changed them.
type tellingAgent struct {
	probingAgent
	mu    sync.Mutex
	state hoststate.State
	rev   int64
	spoil func(*hoststate.State)
	lag   int64         // of the maps
	older int64         // of the rows
	holds chan struct{} // not nil: what it was sent is applied when this is closed
	asked chan struct{} // capacity 1: it has said what rows it has
}

func (a *tellingAgent) Update(ctx context.Context, u hostsync.Update) {
	a.mu.Lock()
	a.state.Apply(a.state.Resolve(u.Delta))
	a.rev = u.Delta.Revision
	holds := a.holds
	a.mu.Unlock()
	if holds == nil {
		a.agent.Update(ctx, u)
		return
	}
	go func() {
		<-holds
		a.tells(0, func(*hoststate.State) {})
		a.Report(hostsync.Report{Revision: u.Delta.Revision})
	}()
}

func (a *tellingAgent) Rows(context.Context) (hostsync.Rows, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.state.Clone()
	a.spoil(&s)
	select {
	case a.asked <- struct{}{}:
	default:
	}
	return hostsync.Rows{Digests: s.Digests(), Revision: a.rev - a.older, Applied: a.rev - a.older - a.lag}, nil
}

func (a *tellingAgent) tells(lag int64, spoil func(*hoststate.State)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lag, a.spoil = lag, spoil
}

// TestHostRows: whichever controller is asked, it says whether a host has the rows that it should have, and which
// resources those are about that differ.
func TestHostRows(t *testing.T) {
	has, other := twoControllers(t)
	fine := func(*hoststate.State) {}
	a := &tellingAgent{state: hoststate.NewState(), spoil: fine, asked: make(chan struct{}, 1)}
	stop := has.runAgent(func(inner *agent) hostsync.Sink { a.probingAgent = probingAgent{inner, nil}; return a })
	router := has.router()
	network := has.do("GET", "/v2.0/networks?name=10.0.0.0/24", nil, http.StatusOK)["networks"].([]any)[0].(m)["id"].(string)
	port := has.create("/v2.0/ports", "port", m{"network_id": network})
	has.do("PUT", "/v2.0/ports/"+port, m{"port": m{"binding:host_id": "h0", "binding:profile": m{"interface_name": "tap0"}}}, http.StatusOK)
	agent := has.do("GET", "/v2.0/agents", nil, http.StatusOK)["agents"].([]any)[0].(m)["id"].(string)
	path := "/v2.0/agents/" + agent + "/causeway_rows"

	for name, c := range map[string]struct {
		lag    int64
		spoil  func(*hoststate.State)
		differ []string
		reason string
	}{
		"all there":                 {0, fine, nil, ""},
		"a router lacks its routes": {0, func(s *hoststate.State) { clear(s.Routes) }, []string{"router " + router}, "rows differ in 1 of 5 groups"},
		"a port is on another interface": {0, func(s *hoststate.State) {
			for k, p := range s.Ports {
				p.Interface = "tap1"
				s.Ports[k] = p
			}
		}, []string{"host h0"}, "rows differ in 1 of 5 groups"},
		"what is gone is there": {0, func(s *hoststate.State) {
			s.Networks[77] = hoststate.Network{}
		}, []string{"network with key 77, which is gone"}, "rows differ in 1 of 5 groups"},
		"the maps are behind": {1, fine, nil, "the maps hold revision"},
	} {
		a.tells(c.lag, c.spoil)
		for which, l := range map[string]*lab{"the host's controller": has, "the other one": other} {
			got := l.do("GET", path, nil, http.StatusOK)["causeway_rows"].(m)
			var differ []string
			for _, d := range got["differing"].([]any) {
				differ = append(differ, d.(string))
			}
			reason := got["reason"].(string)
			if got["host"] != "h0" || got["agrees"] != (c.reason == "") || !slices.Equal(differ, c.differ) || !strings.HasPrefix(reason, c.reason) || c.reason == "" && reason != "" || got["groups"].(float64) < 4 {
				t.Errorf("%s, asked of %s: %v", name, which, got)
			}
		}
	}
	// A host that is about to apply what it was sent is waited for.
	a.mu.Lock()
	a.lag, a.spoil, a.holds = 1, fine, make(chan struct{})
	a.mu.Unlock()
	has.do("PUT", "/v2.0/ports/"+port, m{"port": m{"name": "another", "admin_state_up": false}}, http.StatusOK)
	first := make(chan m, 1)
	<-a.asked // of before
	go func() { first <- has.do("GET", path, nil, http.StatusOK)["causeway_rows"].(m) }()
	<-a.asked
	close(a.holds)
	if got := <-first; got["agrees"] != true {
		t.Errorf("a host that is about to apply what it was sent: %v", got)
	}
	a.mu.Lock()
	a.holds = nil
	a.mu.Unlock()

	// One whose rows are not yet those that it was sent last is asked again.
	times := 0
	a.tells(0, func(s *hoststate.State) {
		if times++; times == 1 {
			clear(s.Routes)
			a.older = 1
		} else {
			a.older = 0
		}
	})
	if got := has.do("GET", path, nil, http.StatusOK)["causeway_rows"].(m); got["agrees"] != true || times != 2 {
		t.Errorf("a host that is a revision behind, asked %d times: %v", times, got)
	}

	has.do("GET", "/v2.0/agents/nobody/causeway_rows", nil, http.StatusNotFound)

	// A host has one comparison at a time.
	begun, goOn := make(chan struct{}), make(chan struct{})
	a.tells(0, func(*hoststate.State) { close(begun); <-goOn })
	done := make(chan m, 1)
	go func() { done <- has.do("GET", path, nil, http.StatusOK)["causeway_rows"].(m) }()
	<-begun
	for which, l := range map[string]*lab{"the host's controller": has, "the other one": other} {
		got := l.do("GET", path, nil, http.StatusServiceUnavailable)["NeutronError"].(m)
		if !strings.Contains(got["message"].(string), "being compared just now") {
			t.Errorf("a second comparison, asked of %s: %v", which, got)
		}
	}
	close(goOn)
	if got := <-done; got["agrees"] != true {
		t.Errorf("after the others were refused: %v", got)
	}
	a.tells(0, fine)
	other.do("GET", path, nil, http.StatusOK)

	stop()
	waitMetric(t, has, `causeway_controller_host_connected{host="h0"} 0`)
	has.probingAgent(func(probe.Request) (probe.Result, error) { return probe.Result{}, nil })
	for _, l := range []*lab{has, other} {
		got := l.do("GET", path, nil, http.StatusBadRequest)["NeutronError"].(m)
		if !strings.Contains(got["message"].(string), "upgrade it") {
			t.Errorf("an agent that does not know the question: %v", got)
		}
	}
}

// TestRowsOfAwayHost: a host whose agent is not connected is told in words.
func TestRowsOfAwayHost(t *testing.T) {
	l := start(t, socketDir(t))
	a := l.agent()
	waitMetric(t, l, `causeway_controller_host_connected{host="h0"} 1`)
	agent := l.do("GET", "/v2.0/agents", nil, http.StatusOK)["agents"].([]any)[0].(m)["id"].(string)
	a.stop()
	waitMetric(t, l, `causeway_controller_host_connected{host="h0"} 0`)
	got := l.do("GET", "/v2.0/agents/"+agent+"/causeway_rows", nil, http.StatusServiceUnavailable)["NeutronError"].(m)
	if !strings.Contains(got["message"].(string), "Host h0: the host's agent is not connected") {
		t.Errorf("%v", got)
	}
}

// TestComparisonsAreBounded: a host has one comparison at a time, and so many hosts have one as may.
func TestComparisonsAreBounded(t *testing.T) {
	c := newComparisons()
	name := func(i int) model.HostName { return model.HostName(fmt.Sprint("h", i)) }
	for i := range maxComparisons {
		if !c.begin(name(i)) {
			t.Fatalf("comparison %d was refused", i)
		}
	}
	if c.begin("another") {
		t.Error("one more than there may be began")
	}
	c.end(name(3))
	if c.begin(name(4)) {
		t.Error("a host's second began")
	}
	if !c.begin(name(3)) {
		t.Error("none begins in the place of one that has ended")
	}
}

// TestStill: a controller that is behind the store says so, and not that the host's rows change.
func TestStill(t *testing.T) {
	h := arriveHub()
	h.hosts["h"] = &host{sent: 3}
	h.revision = 5
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		sent, revision int64
		still          bool
		why            string
	}{
		{3, 5, true, ""},
		{2, 5, false, ""},
		{2, 9, false, ""},
		{3, 9, false, "its controller has not caught up with the store: it is at revision 5, and the store at 9"},
	} {
		still, err := h.still(ended, "h", c.sent, c.revision)
		if still != c.still || c.why != "" && (err == nil || err.Error() != c.why) || c.why == "" && err != nil {
			t.Errorf("%+v: %v, %v", c, still, err)
		}
	}
}
