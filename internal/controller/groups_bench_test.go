package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
)

// drawnSite is a site as a large one might be: networks of 1 to 2,000 ports by a power law, each over as many hosts as
// it has ports up to 250; half of them behind routers of 1 to 8 interfaces, one router with 64; and a shared
// network that a fifth of the routers join.
type drawnSite struct {
	topology *hoststate.Topology
	ports    []*model.Port // of workloads
	iface    *model.Port   // a router's on the shared network
	lonely   *model.Port   // of a workload on a network of 25 ports without a router
	hosts    []model.HostName
}

func drawSite(ports, hosts int) *drawnSite {
	r := rand.New(rand.NewPCG(1, 2))
	s := &drawnSite{topology: hoststate.NewTopology()}
	for i := range hosts {
		s.hosts = append(s.hosts, model.HostName(fmt.Sprintf("host-%04d", i)))
	}
	add := func(o any) { s.topology.Apply(hoststate.Change{New: o}) }
	key := 0
	addr := func(n, i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n), byte(i >> 8), byte(i)}) }
	port := func(net, i int) *model.Port {
		key++
		id := model.NetworkID(fmt.Sprint("net-", net))
		return &model.Port{ID: model.PortID(fmt.Sprint("5b1b3b60-0000-4000-8000-", key)), Key: model.PortKey(key), NetworkID: id, AdminStateUp: true, PortSecurity: true,
			MAC:      model.NamedMAC{MAC: model.MAC{2, 0, byte(key >> 24), byte(key >> 16), byte(key >> 8), byte(key)}},
			FixedIPs: []model.AddrPair{{SubnetID: model.SubnetID(id), IP: addr(net, i)}}}
	}
	network := func(net int) {
		id := model.NetworkID(fmt.Sprint("net-", net))
		add(&model.Network{ID: id, Key: model.NetworkKey(net + 1), AdminStateUp: true, MTU: 1450})
		add(&model.Subnet{ID: model.SubnetID(id), NetworkID: id, CIDR: netip.PrefixFrom(addr(net, 0), 16)})
	}
	iface := func(net, router int) *model.Port {
		p := port(net, 40000+router)
		p.DeviceOwner, p.DeviceID = model.OwnerRouterInterface, fmt.Sprint("router-", router)
		add(p)
		return p
	}
	const shared = 0
	network(shared)
	net := 0
	workloads := func(size int) {
		net++
		network(net)
		begin := r.IntN(hosts)
		spread := min(size, 250, hosts)
		for i := range size {
			p := port(net, i+2)
			name, _ := json.Marshal(fmt.Sprint("tap", key))
			p.HostID, p.Profile = s.hosts[(begin+i%spread)%hosts], map[string]json.RawMessage{"interface_name": name}
			add(p)
			s.ports = append(s.ports, p)
		}
	}
	workloads(25)
	s.lonely = s.ports[7]
	for len(s.ports) < ports {
		size := min(int(8/(r.Float64()+0.004)), 2000, ports-len(s.ports))
		workloads(size)
	}
	router, routed := 0, 2
	for ; routed < net/2; router++ {
		n := 1 + r.IntN(min(8, net/4))
		if router == 10 {
			n = 64
		}
		add(&model.Router{ID: model.RouterID(fmt.Sprint("router-", router)), Key: model.RouterKey(router + 1), AdminStateUp: true})
		for range min(n, net/2-routed) {
			iface(routed, router)
			routed++
		}
		if router%5 == 1 && router < 1000 {
			s.iface = iface(shared, router)
		}
	}
	return s
}

// hub has all hosts' agents connected, which take what they are sent.
func (s *drawnSite) hub() (*hub, []*hostsync.Queue) {
	log := slog.New(slog.DiscardHandler)
	h := newHub(nil, site.New(sitetest.New(), site.Options{Logger: log}), metrics.NewController("test"), log)
	h.start(s.topology, 1, func() {
		h.life.hosts = map[model.HostName]*model.Host{}
		for _, name := range s.hosts {
			h.life.hosts[name] = &model.Host{Name: name}
		}
	})
	var queues []*hostsync.Queue
	for _, name := range s.hosts {
		q, err := h.attach(context.Background(), name, 0, hostsync.Agent{})
		if err != nil {
			panic(err)
		}
		q.Take()
		queues = append(queues, q)
	}
	return h, queues
}

// BenchmarkChange is the cost of a change, from the store's feed to the queues of all whom it
// concerns, in sites of different sizes. Nobody takes what is queued: all agents are as slow as can be.
func BenchmarkChange(b *testing.B) {
	for _, size := range []struct{ ports, hosts int }{{1000, 10}, {1000, 1000}, {50_000, 10}, {50_000, 1000}} {
		s := drawSite(size.ports, size.hosts)
		h, _ := s.hub()
		at := fmt.Sprintf("ports=%d/hosts=%d", size.ports, size.hosts)
		toggle := func(p *model.Port, change func(p *model.Port, on bool)) func(b *testing.B) {
			return func(b *testing.B) {
				on := true
				for b.Loop() {
					on = !on
					now := *p
					change(&now, on)
					h.apply(store.Batch{Revision: h.revision + 1, Changes: []store.Change{{Kind: store.Ports.Kind(), Object: &now, Old: p}}})
				}
			}
		}
		updown := func(p *model.Port, on bool) { p.AdminStateUp = on }
		b.Run("port/"+at, toggle(s.lonely, updown))
		b.Run("bound/"+at, toggle(s.lonely, func(p *model.Port, on bool) {
			if !on {
				p.HostID = ""
			}
		}))
		b.Run("shared/"+at, toggle(s.iface, updown))
		b.Run("delete/"+at, func(b *testing.B) {
			for b.Loop() {
				for _, o := range []any{nil, s.lonely} {
					c := store.Change{Kind: store.Ports.Kind(), Old: s.lonely, Object: o}
					h.apply(store.Batch{Revision: h.revision + 1, Changes: []store.Change{c}})
				}
			}
		})
	}
}

// BenchmarkConnect is an agent that comes with all that it is to have, what the agent does to say so, and what it
// costs to send it everything, all but the wire.
func BenchmarkConnect(b *testing.B) {
	s := drawSite(50_000, 1000)
	h, _ := s.hub()
	name := s.hosts[500]
	st := hoststate.NewState()
	q, _ := h.attach(b.Context(), name, 0, hostsync.Agent{})
	d, _ := q.Take()
	st.Apply(d)
	total := st.Digests().Total()
	rows, groups := float64(st.Len()), float64(h.interest.Of(name).Groups.Len())
	b.Run("nothing changed", func(b *testing.B) {
		for b.Loop() {
			if q, _ = h.attach(b.Context(), name, 0, hostsync.Agent{Digest: &total}); q == nil {
				b.Fatal("refused")
			}
			if d, _ := q.Take(); !d.Empty() {
				b.Fatal("something is sent")
			}
		}
		b.ReportMetric(groups, "groups")
	})
	b.Run("agent's digest", func(b *testing.B) {
		for b.Loop() {
			total = st.Digests().Total()
		}
		b.ReportMetric(rows, "rows")
	})
	b.Run("full", func(b *testing.B) {
		for b.Loop() {
			q, _ = h.attach(b.Context(), name, 0, hostsync.Agent{})
			q.Take()
		}
		b.ReportMetric(rows, "rows")
	})
}
