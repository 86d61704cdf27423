package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// mayHavePlainly is mayHave and permits by a look at every port and VLAN of the host.
func mayHavePlainly(tr translator, net model.NetworkKey, ip netip.Addr, here bool) bool {
	for k, v := range tr.st.VLANs {
		if l := tr.env.Trunks[k.Interface]; (l.Index > 0 || !here) && v.Network == net {
			for _, p := range v.Prefixes {
				if p.Contains(ip) {
					return true
				}
			}
		}
	}
	for k, p := range tr.st.Ports {
		_, there := tr.link(k)
		for _, a := range p.Pairs {
			if (there || !here) && p.Network == net && a.Prefix.Contains(ip) {
				return true
			}
		}
	}
	return false
}

// TestAllowedFollows: whatever comes and goes of ports, pairs, interfaces and VLANs, who may have an address is
// what a look at all of them says.
func TestAllowedFollows(t *testing.T) {
	yes, no := 0, 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 41))
		prefix := func() netip.Prefix {
			if r.IntN(4) == 0 { // not masked, and so that an IPv4 address is in it where families are mixed up
				return netip.PrefixFrom(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 10, 15: byte(r.IntN(16))}), []int{0, 96, 120, 128}[r.IntN(4)])
			}
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(16))}), 28+r.IntN(5))
		}
		st := hoststate.NewState()
		env := Env{Links: map[string]Link{}, Trunks: map[string]Link{}, Shared: map[model.PortKey]model.PortKey{}}
		a := newAllowed()
		for range 200 {
			d := hoststate.Delta{Set: hoststate.NewState()}
			k, name := model.PortKey(1+r.IntN(4)), fmt.Sprint("tap", 1+r.IntN(4))
			ports := map[model.PortKey]bool{k: true}
			switch r.IntN(5) {
			case 0, 1:
				p := hoststate.Port{Network: model.NetworkKey(1 + r.IntN(2)), Interface: fmt.Sprint("tap", k)}
				for range r.IntN(4) {
					p.Pairs = append(p.Pairs, hoststate.Pair{Prefix: prefix()})
				}
				st.Ports[k] = p
			case 2:
				delete(st.Ports, k)
			case 3:
				env.Links[name] = Link{Index: r.IntN(2)}
				delete(env.Shared, k)
				if r.IntN(4) == 0 {
					env.Shared[k] = 9
				}
				for k := range st.Ports {
					ports[k] = true
				}
			case 4:
				v := hoststate.VLANKey{Interface: "up", ID: uint16(1 + r.IntN(2))}
				env.Trunks["up"] = Link{Index: r.IntN(3)}
				st.VLANs[v] = hoststate.VLAN{Network: model.NetworkKey(1 + r.IntN(2)), Prefixes: []netip.Prefix{prefix()}}
				if r.IntN(2) == 0 {
					delete(st.VLANs, v)
				}
				d.Unset.VLANs = append(d.Unset.VLANs, v)
			}
			tr := translator{st: st, env: env}
			a.follow(tr, touched{ports: ports}, d)
			for net := range model.NetworkKey(3) {
				for i := range byte(18) {
					for _, ip := range []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, i}), netip.AddrFrom16([16]byte{12: 10, 15: i}), netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 10, 15: i})} {
						want := mayHavePlainly(tr, net, ip, true)
						if got := a.mayHave(net, ip); got != want {
							t.Fatalf("seed %d: network %d, %s: %v, want %v; ports %+v, VLANs %+v", seed, net, ip, got, want, st.Ports, st.VLANs)
						}
						if got := a.permits(net, ip); got != mayHavePlainly(tr, net, ip, false) {
							t.Fatalf("seed %d: network %d, %s permitted: %v; ports %+v, VLANs %+v", seed, net, ip, got, st.Ports, st.VLANs)
						}
						if want {
							yes++
						} else {
							no++
						}
					}
				}
			}
		}
		if r.IntN(2) == 0 { // nothing stays of what has gone
			d := hoststate.Delta{Set: hoststate.NewState()}
			ports := map[model.PortKey]bool{}
			for k := range st.Ports {
				ports[k] = true
			}
			for k := range st.VLANs {
				d.Unset.VLANs = append(d.Unset.VLANs, k)
			}
			d.Unset.VLANs = append(d.Unset.VLANs, hoststate.VLANKey{Interface: "up"})
			a.follow(translator{st: hoststate.NewState()}, touched{ports: ports}, d)
			if len(a.uses)+len(a.lengths)+len(a.ofPort)+len(a.ofVLANs)+len(a.onVLANs) > 0 {
				t.Fatalf("seed %d: left of nothing: %+v", seed, a)
			}
		}
	}
	if yes < 1000 || no < 1000 {
		t.Errorf("%d times somebody may have the address, %d times nobody: the test sees too little", yes, no)
	}
}

// TestHopsAskNoPort: which next hops are down is known without a look at the host's ports, and by as many questions with
// 2,000 ports as with 100: the network's prefixes have one length.
func TestHopsAskNoPort(t *testing.T) {
	for _, ports := range []int{100, 2000} {
		st, env := manyHops(10, ports)
		for k, hops := range st.Hops { // one of each two may be somebody's
			p := st.Ports[1]
			p.Pairs = append(p.Pairs, hoststate.Pair{Prefix: netip.PrefixFrom(hops[1].NextHop, 32)})
			st.Ports[1] = p
			st.Routes[k] = hoststate.Route{Kind: hoststate.RouteVia, Network: 1, NextHop: hops[0].NextHop}
		}
		tr := wholeTranslator(st, env, newCounterIndex(10_000), nil)
		tr.st.Ports = nil
		for k, hops := range st.Hops {
			if open := tr.openHops(k); len(open) != 1 || open[0] != hops[1] {
				t.Errorf("%d ports: to %s flows go by %v", ports, k.Prefix, open)
			}
			asked := 0
			for range tr.allowed.covering(1, hops[0].NextHop) {
				asked++
			}
			if asked != 1 {
				t.Errorf("%d ports: %d questions for one address", ports, asked)
			}
		}
	}
}
