package controller

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// setState is a change of a port's state.
func setState(was, is *model.PortState) store.Change {
	c := store.Change{Kind: store.PortStates.Kind()}
	if was != nil {
		c.ID, c.Old = string(was.PortID), was
	}
	if is != nil {
		c.ID, c.Object = string(is.PortID), is
	}
	return c
}

// TestErringIsKept: which ports each host says are in status ERROR, as it is kept while states change, is what a look at all states gives.
func TestErringIsKept(t *testing.T) {
	h, r, states := emptyHub(), rand.New(rand.NewPCG(3, 4)), map[model.PortID]*model.PortState{}
	statuses := []model.PortStatus{model.PortActive, model.PortDown, model.PortError}
	for i := range 5000 {
		id := model.PortID(fmt.Sprint("p", r.IntN(20)))
		var now *model.PortState
		if r.IntN(4) > 0 {
			now = &model.PortState{PortID: id, Host: hostNames(4)[r.IntN(4)], Status: statuses[r.IntN(3)]}
		}
		if states[id] == nil && now == nil {
			continue
		}
		h.apply(store.Batch{Revision: h.revision + 1, Changes: []store.Change{setState(states[id], now)}})
		if delete(states, id); now != nil {
			states[id] = now
		}
		want := erring{}
		for st := range maps.Values(states) {
			want.note(nil, st)
		}
		if !reflect.DeepEqual(h.erring, want) {
			t.Fatalf("after %d changes: %v, and the states say %v", i, h.erring, want)
		}
	}
}

// routerPortOn is a router's port on a network, which has a subnet for it.
func (m *manyHosts) routerPortOn(n *model.Network) *model.Port {
	m.t.Helper()
	s, err := m.rules.CreateSubnets(m.t.Context(), []*site.SubnetInput{{
		Subnet: model.Subnet{NetworkID: n.ID, CIDR: netip.MustParsePrefix("10.0.0.0/24")}, AutoGateway: true, AutoPools: true,
	}})
	if err != nil {
		m.t.Fatal(err)
	}
	r, err := m.rules.CreateRouters(m.t.Context(), []*site.RouterInput{{Router: model.Router{AdminStateUp: true}}})
	if err != nil {
		m.t.Fatal(err)
	}
	i, err := m.rules.AddInterface(m.t.Context(), string(r[0].ID), string(s[0].ID), "")
	if err != nil {
		m.t.Fatal(err)
	}
	return store.Get(m.view(), store.Ports, string(i.PortID))
}

// TestAgentComesToForget: what a host has said of a router's port is void when its agent connects anew and says nothing of it.
func TestAgentComesToForget(t *testing.T) {
	m := startHub(t, openStore(t))
	m.connect(0, "h0000")
	n := m.network()
	p := m.routerPortOn(n)
	says := func(status model.PortStatus, why string) {
		t.Helper()
		m.Report("h0000", queueOf(m.hub, "h0000"), hostsync.Report{Ports: []hostsync.PortReport{
			{ID: model.PortID(fmt.Sprintf("%s/%s", n.ID, p.MAC.MAC)), Status: status, Reason: why}}})
	}
	says(model.PortError, "map routes is full")
	m.becomes(p, model.PortError, "map routes is full")
	m.settle() // the hub has seen it
	m.connect(0, "h0000")
	m.Report("h0000", queueOf(m.hub, "h0000"), hostsync.Report{})
	m.becomes(p, model.PortActive, "")
}

// BenchmarkAgentComes is what it costs to forget what a host has said of one router's port, in sites whose hosts have said something of so many.
func BenchmarkAgentComes(b *testing.B) {
	for _, n := range []int{500, 50_000} {
		b.Run(fmt.Sprintf("states=%d", n), func(b *testing.B) {
			h := emptyHub()
			var changes []store.Change
			for i := range n {
				changes = append(changes, setState(nil, &model.PortState{
					PortID: model.PortID(fmt.Sprint("p", i)), Host: model.HostName(fmt.Sprint("h", i%(n/50))), Status: model.PortActive}))
			}
			h.apply(store.Batch{Revision: 2, Changes: append(changes, setState(nil, &model.PortState{PortID: "erring", Host: "h0", Status: model.PortError}))})
			for b.Loop() {
				if err := h.rules.ForgetOthers(b.Context(), h.erringAt("h0"), "h0"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
