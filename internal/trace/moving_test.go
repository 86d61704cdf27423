package trace

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
)

// movingSite is two networks that a router joins, with a workload of each on four hosts, and a port that moves. The port has an
// address and a MAC by a pair, which all hosts have learned.
type movingSite struct {
	hosts []model.HostName
	port  model.Port
	rest  []any
}

func movingMAC(i int) model.MAC { return model.MAC{2, 0, 0, 0, 9, byte(i)} }

func movingFabric(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}) }

func newMovingSite() movingSite {
	s := movingSite{}
	bound := func(id string, key int, net string, ip string, mac model.MAC, host model.HostName, iface string) model.Port {
		name, _ := json.Marshal(iface)
		return model.Port{
			ID: model.PortID(id), Key: model.PortKey(key), NetworkID: model.NetworkID(net), MAC: model.NamedMAC{MAC: mac}, AdminStateUp: true, PortSecurity: true,
			FixedIPs: []model.AddrPair{{SubnetID: model.SubnetID(net), IP: netip.MustParseAddr(ip)}}, HostID: host, Profile: map[string]json.RawMessage{"interface_name": name},
		}
	}
	for i, net := range []string{"near", "far"} {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
		s.rest = append(s.rest,
			&model.Network{ID: model.NetworkID(net), Key: model.NetworkKey(i + 1), AdminStateUp: true, MTU: 1450},
			&model.Subnet{ID: model.SubnetID(net), NetworkID: model.NetworkID(net), CIDR: prefix},
			&model.Port{ID: model.PortID("router-" + net), Key: model.PortKey(50 + i), NetworkID: model.NetworkID(net), MAC: model.NamedMAC{MAC: movingMAC(50 + i)}, AdminStateUp: true,
				DeviceOwner: model.OwnerRouterInterface, DeviceID: "router", FixedIPs: []model.AddrPair{{SubnetID: model.SubnetID(net), IP: netip.AddrFrom4([4]byte{10, 0, byte(i), 1})}}})
	}
	s.rest = append(s.rest, &model.Router{ID: "router", Key: 1, AdminStateUp: true})
	for i := range 4 {
		h := model.HostName(fmt.Sprintf("h%d", i))
		s.hosts = append(s.hosts, h)
		s.rest = append(s.rest, &model.Host{Name: h, Fabric: model.Fabric{Addr: movingFabric(i), Port: 4798, MTU: 1500}})
		for j, net := range []string{"near", "far"} {
			if j == 1 && i == 1 {
				continue // the new host has nothing there yet
			}
			p := bound(fmt.Sprint(net, i), 10*j+i+1, net, fmt.Sprintf("10.0.%d.%d", j, 11+i), movingMAC(10*j+i), h, fmt.Sprint(net, i))
			s.rest = append(s.rest, &p)
		}
	}
	s.port = bound("moves", 60, "far", "10.0.1.99", movingMAC(99), "h0", "tap-here")
	s.port.AllowedPairs = []model.AllowedPair{{Addresses: model.AddressRange{Prefix: netip.MustParsePrefix("10.0.1.98/32")}, MAC: model.NamedMAC{MAC: movingMAC(98)}}}
	return s
}

// states are what the hosts have with the port as it is given.
func (s movingSite) states(p model.Port) map[model.HostName]hoststate.State {
	top := hoststate.NewTopology()
	for _, o := range append(slices.Clone(s.rest), any(&p)) {
		top.Apply(hoststate.Change{New: o})
	}
	out := map[model.HostName]hoststate.State{}
	for _, h := range s.hosts {
		out[h] = hoststate.Compile(top, h)
	}
	return out
}

func (s movingSite) pipeline(i int, st hoststate.State) *Pipeline {
	links := map[string]hostenv.Link{}
	for _, p := range st.Ports {
		links[p.Interface] = hostenv.Link{Index: 1}
	}
	m := NewMemory(4, 4)
	p := New(st, Env{Mark: 1, Links: links, Fabric: hostenv.Fabric{Addr: movingFabric(i), Port: 4798}, Memory: m}).Quiet()
	m.learn(Sender{Network: 2, MAC: movingMAC(98)}, held{port: s.port.Key, mac: movingMAC(99)}, true, false)
	m.learn(Sender{Network: 2, Addr: netip.MustParseAddr("10.0.1.98")}, held{port: s.port.Key, mac: movingMAC(98)}, true, false)
	m.Keep(p)
	return p
}

func movingFrame(dst, src model.MAC, from, to string) []byte {
	f := append(slices.Clone(dst[:]), src[:]...)
	f = append(f, 8, 0)
	h := packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: netip.MustParseAddr(from), Dst: netip.MustParseAddr(to)}
	udp := []byte{0, 9, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4}
	return append(h.Append(f, len(udp)), udp...)
}

// TestMovesLoseNothing: while hosts learn of a stage of a move one after the other, in any order, each packet for the port that moves
// comes to it once, on a host that has it, and each of its packets, from each host that has it, comes to where it is sent. In the end, all hosts having sent to
// the new place for a while, the former one is let go.
func TestMovesLoseNothing(t *testing.T) {
	s := newMovingSite()
	away := s.port
	away.HostID, away.Profile = "h1", map[string]json.RawMessage{"interface_name": json.RawMessage(`"tap-there"`)}
	at := func(stage model.MoveStage) model.Port {
		p := away
		if stage != 0 {
			p.Move = &model.Move{Host: "h0", Interface: "tap-here", Stage: stage}
		}
		return p
	}
	var stages []map[model.HostName]hoststate.State
	for _, p := range []model.Port{s.port, at(model.MoveAccept), at(model.MoveBoth), at(model.MoveSwitched), at(0)} {
		stages = append(stages, s.states(p))
	}
	checked := 0
	for k := range len(stages) - 1 {
		for knows := range 1 << len(s.hosts) { // which hosts know of the next stage
			ps, sts := map[model.HostName]*Pipeline{}, map[model.HostName]hoststate.State{}
			for i, h := range s.hosts {
				sts[h] = stages[k+knows>>i&1][h]
				ps[h] = s.pipeline(i, sts[h])
			}
			for i, h := range s.hosts {
				for _, c := range []struct {
					src, dst model.MAC
					from, to string
					iface    string
				}{
					{movingMAC(i), movingMAC(50), fmt.Sprintf("10.0.0.%d", 11+i), "10.0.1.99", fmt.Sprint("near", i)}, // routed
					{movingMAC(10 + i), movingMAC(99), fmt.Sprintf("10.0.1.%d", 11+i), "10.0.1.99", fmt.Sprint("far", i)},
					{movingMAC(i), movingMAC(50), fmt.Sprintf("10.0.0.%d", 11+i), "10.0.1.98", fmt.Sprint("near", i)},
					{movingMAC(10 + i), movingMAC(98), fmt.Sprintf("10.0.1.%d", 11+i), "10.0.1.98", fmt.Sprint("far", i)},
				} {
					if c.iface == "far1" {
						continue
					}
					w := &walk{ps: ps}
					w.follow(ps[h].FromWorkload(c.iface, Frame{Data: movingFrame(c.dst, c.src, c.from, c.to)}), 0, false)
					if got := w.outcome(); len(w.problems) > 0 || !strings.HasPrefix(got, "port") || !strings.Contains(got, "tap-") || strings.Contains(got, "\n") {
						t.Errorf("stage %d, known by %04b: from %s of %s to %s: %v %s", k, knows, c.iface, h, c.to, w.problems, short(got))
					}
					checked++
				}
			}
			for h, iface := range map[model.HostName]string{"h0": "tap-here", "h1": "tap-there"} {
				if _, has := sts[h].Ports[away.Key]; !has {
					continue
				}
				if h == "h0" && k == 3 {
					continue // nobody is there any more
				}
				for i := range s.hosts {
					for net, to := range map[string]netip.Addr{"near": netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}), "far": netip.AddrFrom4([4]byte{10, 0, 1, byte(11 + i)})} {
						dst := movingMAC(51)
						if net == "far" {
							dst = movingMAC(10 + i)
						}
						if net == "far" && i == 1 {
							continue
						}
						for mac, from := range map[model.MAC]string{away.MAC.MAC: "10.0.1.99", movingMAC(98): "10.0.1.98"} {
							w := &walk{ps: ps}
							w.follow(ps[h].FromWorkload(iface, Frame{Data: movingFrame(dst, mac, from, to.String())}), 0, false)
							if got := w.outcome(); len(w.problems) > 0 || !strings.HasPrefix(got, "port") || !strings.Contains(got, fmt.Sprint(net, i)) {
								t.Errorf("stage %d, known by %04b: from %s by %s of %s to %s: %v %s", k, knows, from, iface, h, to, w.problems, short(got))
							}
							checked++
						}
					}
				}
			}
		}
	}
	t.Logf("%d packets", checked)
}

// TestMovingToAHostThatIsGone: on a third host frames for a port that moves go to its other place, where the new host is no more.
func TestMovingToAHostThatIsGone(t *testing.T) {
	s := newMovingSite()
	p := s.port
	p.HostID, p.Move = "h1", &model.Move{Host: "h0", Interface: "tap-here", Stage: model.MoveSwitched}
	st := s.states(p)["h2"]
	delete(st.Hosts, "h1")
	e, ok := s.pipeline(2, st).fdbEntry(2, movingMAC(99))
	if !ok || e.Kind != fdbHost || e.Addr != movingFabric(0) {
		t.Errorf("frames go to %+v, %v", e, ok)
	}
	if other, ok := s.pipeline(2, st).otherPlace(2, movingMAC(99)); ok {
		t.Errorf("there is another place, %+v", other)
	}
}
