package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/site/sitetest"
	"github.com/causeway-net/causeway/internal/store"
)

// bigWorld is a site of many hosts whose resources change at random.
type bigWorld struct {
	r     *rand.Rand
	hosts []model.HostName
	live  map[string]any
	rev   int64
}

const (
	worldNetworks, worldRouters, worldPorts, worldDevices = 9, 5, 40, 3
)

func newBigWorld(seed uint64, hosts int) *bigWorld {
	w := &bigWorld{r: rand.New(rand.NewPCG(seed, 1)), live: map[string]any{}, rev: 100}
	for i := range hosts {
		w.hosts = append(w.hosts, model.HostName(fmt.Sprint("h", i)))
	}
	return w
}

func (w *bigWorld) host() model.HostName { return w.hosts[w.r.IntN(len(w.hosts))] }
func (w *bigWorld) net() model.NetworkID { return model.NetworkID(fmt.Sprint(w.r.IntN(worldNetworks))) }
func worldIP(net model.NetworkID, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, net[0] - '0', byte(i + 1)})
}
func worldMAC(i int) model.NamedMAC {
	return model.NamedMAC{MAC: model.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}}
}

// draw is a resource, by its name, as it might be.
func (w *bigWorld) draw() (string, any) {
	r := w.r
	up := r.IntN(8) > 0
	switch k := r.IntN(25); {
	case k == 24:
		x := &model.Host{Name: w.host(), AckedRevision: r.Int64N(9)}
		if r.IntN(4) > 0 {
			x.Fabric = model.Fabric{Addr: worldIP("9", 220+r.IntN(9)), Port: 4798, MTU: 1500 * r.IntN(2)}
		}
		return "host" + string(x.Name), x
	case k < 2:
		i := r.IntN(worldNetworks)
		n := &model.Network{ID: model.NetworkID(fmt.Sprint(i)), Key: model.NetworkKey(i + 1), AdminStateUp: up, MTU: 1400 + r.IntN(3)}
		if i == 0 {
			n.Type = model.NetworkUplink
		}
		return "network" + string(n.ID), n
	case k < 4:
		id := w.net()
		return "subnet" + string(id), &model.Subnet{ID: model.SubnetID(id), NetworkID: id, CIDR: netip.PrefixFrom(worldIP(id, 0), 24+r.IntN(2)).Masked()}
	case k < 6:
		i := r.IntN(worldRouters)
		x := &model.Router{ID: model.RouterID(fmt.Sprint(i)), Key: model.RouterKey(i + 1), AdminStateUp: up}
		for range r.IntN(3) {
			x.Routes = append(x.Routes, model.HostRoute{Destination: netip.PrefixFrom(worldIP("9", r.IntN(9)), 32), NextHop: worldIP(w.net(), r.IntN(40))})
		}
		return "router" + string(x.ID), x
	case k < 18:
		i, id := r.IntN(worldPorts), w.net()
		p := &model.Port{ID: model.PortID(fmt.Sprint(i)), Key: model.PortKey(i + 1), NetworkID: id, AdminStateUp: up, MAC: worldMAC(i), PortSecurity: true,
			FixedIPs: []model.AddrPair{{SubnetID: model.SubnetID(id), IP: worldIP(id, i)}}}
		switch {
		case i < 12:
			p.DeviceOwner, p.DeviceID = model.OwnerRouterInterface, fmt.Sprint(r.IntN(worldRouters))
		case i == 12:
			p.DeviceOwner = "network:remote_site"
		case r.IntN(6) > 0:
			iface, _ := json.Marshal(fmt.Sprint("tap", i%30))
			p.HostID, p.Profile = w.host(), map[string]json.RawMessage{"interface_name": iface}
		}
		return "port" + string(p.ID), p
	case k < 19:
		i := r.IntN(worldDevices)
		d := &model.GatewayDevice{ID: model.GatewayDeviceID(fmt.Sprint(i)), Type: model.RouterVTEP, ResourceID: fmt.Sprint(r.IntN(worldRouters)), TunnelIP: worldIP("9", 100+r.IntN(3))}
		if i == 2 {
			d = &model.GatewayDevice{ID: d.ID, Type: model.NetworkVLAN, ResourceID: "0"}
		}
		return "device" + string(d.ID), d
	case k < 20:
		id := model.GatewayDeviceID(fmt.Sprint(r.IntN(2)))
		p := &model.Placement{DeviceID: id, Host: w.host(), Epoch: uint64(r.IntN(3))}
		if other := w.host(); r.IntN(2) == 1 && other != p.Host {
			p.Other, p.Stage = other, model.MoveStage(1+r.IntN(4))
		}
		return "place" + string(id), p
	case k < 21:
		i := r.IntN(4)
		return fmt.Sprint("gateway", i), &model.L2Gateway{ID: model.L2GatewayID(fmt.Sprint(i)), DeviceID: model.GatewayDeviceID(fmt.Sprint(i % 3)), VNI: model.VNI(r.IntN(3))}
	case k < 22:
		i := r.IntN(5)
		return fmt.Sprint("conn", i), &model.L2GatewayConnection{ID: model.L2GatewayConnectionID(fmt.Sprint(i)), L2GatewayID: model.L2GatewayID(fmt.Sprint(r.IntN(4))), NetworkID: w.net(), VNI: model.VNI(1 + r.IntN(2))}
	default:
		i := r.IntN(6)
		return fmt.Sprint("entry", i), &model.RemoteMACEntry{ID: model.RemoteMACEntryID(fmt.Sprint(i)), DeviceID: model.GatewayDeviceID(fmt.Sprint(r.IntN(2))),
			MAC: worldMAC(r.IntN(16)), VTEPAddress: worldIP("9", 200+r.IntN(2)), VNI: model.VNI(1 + r.IntN(2))}
	}
}

// batch is a transaction of some changes.
func (w *bigWorld) batch() store.Batch {
	w.rev += 1 + w.r.Int64N(3)
	b := store.Batch{Revision: w.rev}
	for range 1 + w.r.IntN(3) {
		name, o := w.draw()
		old := w.live[name]
		if old != nil && w.r.IntN(4) == 0 {
			delete(w.live, name)
			b.Changes = append(b.Changes, store.Change{Old: old})
			continue
		}
		w.live[name] = o
		b.Changes = append(b.Changes, store.Change{Old: old, Object: o})
	}
	return b
}

func (w *bigWorld) topology() *hoststate.Topology {
	t := hoststate.NewTopology()
	for _, o := range w.live {
		t.Apply(hoststate.Change{New: o})
	}
	return t
}

// knownTo makes the hosts known to a controller.
func (w *bigWorld) knownTo(h *hub) func() {
	return func() {
		h.life.hosts = map[model.HostName]*model.Host{}
		for _, name := range w.hosts {
			h.life.hosts[name] = &model.Host{Name: name}
		}
	}
}

// newHub is a controller that has just read its store.
func (w *bigWorld) newHub() *hub {
	log := slog.New(slog.DiscardHandler)
	h := newHub(nil, site.New(sitetest.New(), site.Options{Logger: log}), metrics.NewController("test"), log)
	h.start(w.topology(), w.rev, w.knownTo(h))
	return h
}

// follower is an agent, as far as a controller can tell.
type follower struct {
	name  model.HostName
	queue *hostsync.Queue // nil: it is not connected
	known bool
	state hoststate.State
	rev   int64
	stuck bool
	asked bool // what it has
	// meanwhile, if not nil, happens when it is asked.
	meanwhile func()
	older     bool // it is from before the fabric
}

// has is what an agent makes of a state.
func (f *follower) has(s hoststate.State) hoststate.State {
	if !f.older {
		return s
	}
	s = s.Clone()
	s.Hosts, s.Members, s.Speakers, s.HostPairs = nil, nil, nil, nil
	for k, e := range s.FDB {
		e.Domain, e.Also = 0, ""
		s.FDB[k] = e
	}
	return s
}

func (f *follower) connect(t *testing.T, h *hub) {
	t.Helper()
	a := hostsync.Agent{KnowsFabric: !f.older}
	f.asked = false
	if f.known {
		total := f.state.Digests().Total()
		a.Digest = &total
		a.Have = func(context.Context) (hoststate.Digests, error) {
			f.asked = true
			if f.meanwhile != nil {
				f.meanwhile()
			}
			return f.state.Digests(), nil
		}
	}
	q, err := h.attach(t.Context(), f.name, 0, a)
	if err != nil {
		t.Fatal(err)
	}
	f.queue = q
}

// take takes what waits, and returns what it comes to.
func (f *follower) take() hoststate.Delta {
	d, ok := f.queue.Take()
	if !ok {
		return d
	}
	if f.older {
		if slices.ContainsFunc(d.Replaced, hoststate.Group.OfFabric) || len(d.Set.Hosts)+len(d.Set.Speakers) > 0 {
			panic(fmt.Sprintf("an older agent gets %+v", d))
		}
		d.Set = f.has(d.Set)
		d.Unset.Members = nil
	}
	d = f.state.Resolve(d)
	f.state.Apply(d)
	f.known, f.rev = true, d.Revision
	return d
}

// TestHostsEqualOracle: whatever changes, on however many hosts, whoever is stuck, comes again, has
// lost or mixed up what it had, and whenever controllers begin anew: each host has what
// working everything out anew and cutting it to what the host wants gives. One that comes again and has
// everything is sent nothing, and another no row that it has.
func TestHostsEqualOracle(t *testing.T) {
	seen := struct{ older, resumed, partly, meanwhile, healed, full, fresh, merged int }{}
	for seed := range uint64(12) {
		w := newBigWorld(seed, 8)
		h := w.newHub()
		agents := make([]*follower, 0, len(w.hosts))
		for _, name := range w.hosts {
			agents = append(agents, &follower{name: name, state: hoststate.NewState()})
		}
		check := func(step int) {
			t.Helper()
			fresh := w.topology()
			for _, f := range agents {
				if f.queue == nil || f.stuck {
					continue
				}
				f.take()
				want := f.has(hoststate.Compile(fresh, f.name))
				if !f.state.Equal(want) {
					t.Fatalf("seed %d, step %d: %s differs from the oracle: %+v", seed, step, f.name, hoststate.Diff(f.state, want))
				}
				if f.rev != h.hosts[f.name].sent {
					t.Fatalf("seed %d, step %d: %s is at revision %d, the controller says %d", seed, step, f.name, f.rev, h.hosts[f.name].sent)
				}
			}
		}
		comeAgain := func(f *follower) {
			if w.r.IntN(4) == 0 { // another release
				f.older = !f.older
				f.state = f.has(f.state)
			}
			want := f.has(hoststate.Compile(h.topology, f.name))
			differs := hoststate.Diff(f.state, want)
			was := f.known
			changed := false
			f.meanwhile = nil
			if w.r.IntN(3) == 0 {
				f.meanwhile = func() { changed = true; h.apply(w.batch()) }
			}
			f.connect(t, h)
			d := f.take()
			if changed {
				seen.meanwhile++
				want = f.has(hoststate.Compile(h.topology, f.name))
			}
			switch {
			case d.Full:
				seen.full++
				if was {
					t.Fatalf("seed %d: %s has a state and is sent all of it", seed, f.name)
				}
			case was && differs.Empty():
				seen.resumed++
				if f.older {
					seen.older++
				}
				if !d.Empty() || f.asked {
					t.Fatalf("seed %d: %s has everything, and is asked (%v) and sent %+v", seed, f.name, f.asked, d)
				}
			case was:
				seen.partly++
				if !changed && (d.Set.Len() != differs.Set.Len() || d.Unset.Len() != differs.Unset.Len()) {
					t.Fatalf("seed %d: %s gets %+v where %+v would do", seed, f.name, d, differs)
				}
			}
			if d.Revision != h.revision || !f.state.Equal(want) {
				t.Fatalf("seed %d: %s is at %d, not %d, and differs by %+v", seed, f.name, d.Revision, h.revision, hoststate.Diff(f.state, want))
			}
		}
		for step := range 600 {
			h.apply(w.batch())
			f := agents[w.r.IntN(len(agents))]
			switch w.r.IntN(12) {
			case 0:
				f.stuck = !f.stuck
			case 1:
				if f.queue != nil {
					h.Disconnect(f.name, f.queue)
					f.queue = nil
				}
			case 2, 3:
				if f.queue == nil {
					comeAgain(f)
				}
			case 4: // a second connection
				if f.queue != nil && !f.stuck {
					comeAgain(f)
				}
			case 5: // it has lost what it had, or has some of it wrong
				if f.queue == nil {
					if f.known = w.r.IntN(2) == 0; !f.known {
						f.state = hoststate.NewState()
						break
					}
					for k := range f.state.FDB {
						delete(f.state.FDB, k)
						seen.healed++
						break
					}
				}
			case 6: // the feed breaks: another transaction was missed
				if w.r.IntN(8) == 0 {
					w.batch()
					h.start(w.topology(), w.rev, w.knownTo(h))
					seen.fresh++
				}
			case 7: // another controller, or the store has been restored: revisions begin anew
				if w.r.IntN(8) == 0 {
					w.rev = 1 + w.r.Int64N(2*w.rev)
					h = w.newHub()
					for _, f := range agents {
						if f.queue != nil {
							comeAgain(f)
						}
					}
				}
			}
			if step%5 == 0 {
				check(step)
			}
		}
		for _, f := range agents {
			f.stuck = false
			if f.queue == nil {
				comeAgain(f)
			}
			seen.merged++
		}
		check(-1)
	}
	if seen.older == 0 || seen.resumed == 0 || seen.partly == 0 || seen.meanwhile == 0 || seen.healed == 0 || seen.full == 0 || seen.fresh == 0 {
		t.Errorf("the runs are too poor: %+v", seen)
	}
	t.Logf("%+v", seen)
}
