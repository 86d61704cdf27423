package scenario

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestSeveralNextHops gives a router two next hops for one destination. Each gets a part of the
// flows, and each flow stays with its own, as a trace says before; while one's port is
// down, the other has all, and its own flows do not move.
func TestSeveralNextHops(t *testing.T) {
	l := newLab(t, 1)
	s := l.sites[0]
	tn := s.newTenant("t", 100)
	network := s.create(client.Networks, client.Attrs{"name": "transit"})
	subnet := s.create(client.Subnets, client.Attrs{"network_id": network, "ip_version": 4, "cidr": "10.0.60.0/24"})
	s.addInterface(tn.router, "subnet_id", subnet)
	h := &hopLab{t: t, tn: tn, hops: map[string]*probe.Capture{}, addrs: map[string]string{"hop-1": "10.0.60.11", "hop-2": "10.0.60.12"}}
	h.workload("vm-1", tn.network, "10.0.0.3")
	for name, ip := range h.addrs {
		h.workload(name, network, ip)
		l.mustPing("vm-1", ip)
		h.hops[name] = l.capture(name, "eth0", func(f []byte) bool {
			return len(f) > 42 && f[12] == 8 && f[13] == 0 && f[23] == 17 && binary.BigEndian.Uint16(f[36:]) == hopPort
		})
	}
	routes := func(do func(context.Context, string, []client.Attrs) error, hops ...string) {
		var all []client.Attrs
		for _, hop := range hops {
			all = append(all, client.Attrs{"destination": "10.99.0.0/16", "nexthop": h.addrs[hop]})
		}
		if err := do(t.Context(), tn.router, all); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, up []string, ok func(map[int]string) error) (ways map[int]string) {
		t.Helper()
		testutil.Succeeds(t, what, func() (err error) {
			if ways, err = h.flows(up); err != nil {
				return err
			}
			return ok(ways)
		})
		return ways
	}
	all := func(hop string) func(map[int]string) error {
		return func(ways map[int]string) error {
			for flow, at := range ways {
				if at != hop {
					return fmt.Errorf("flow %d goes by %s, not %s", flow, at, hop)
				}
			}
			return nil
		}
	}
	both := []string{"hop-1", "hop-2"}
	routes(s.api.AddRoutes, "hop-1")
	want("one next hop to have all flows", both, all("hop-1"))
	routes(s.api.AddRoutes, "hop-2", "hop-1")
	shared := want("both next hops to have flows", both, func(ways map[int]string) error {
		n := map[string]int{}
		for _, at := range ways {
			n[at]++
		}
		if n["hop-1"] < hopFlows/8 || n["hop-2"] < hopFlows/8 {
			return fmt.Errorf("the flows are at %v", n)
		}
		return nil
	})
	// The change may have come while the packets were sent.
	testutil.Succeeds(t, "the flows to stay where they are", func() error {
		ways, err := h.flows(both)
		if err == nil && !maps.Equal(ways, shared) {
			shared, err = ways, errors.New("some have moved")
		}
		return err
	})
	again := func(ways map[int]string) error {
		if !maps.Equal(ways, shared) {
			return fmt.Errorf("flows have changed their next hop:\n%v\n%v", shared, ways)
		}
		return nil
	}
	for range 3 {
		var ways map[int]string
		testutil.Succeeds(t, "each flow to arrive", func() (err error) {
			ways, err = h.flows(both)
			return err
		})
		if err := again(ways); err != nil {
			t.Fatal(err)
		}
	}
	for flow := range 8 {
		h.traced(flow, shared[flow])
	}

	s.update(client.Ports, tn.workloadPorts["hop-2"], client.Attrs{"admin_state_up": false})
	want("the other next hop to have all flows", both[:1], all("hop-1"))
	s.update(client.Ports, tn.workloadPorts["hop-2"], client.Attrs{"admin_state_up": true})
	l.reach("vm-1", h.addrs["hop-2"]) // flows are sent once
	want("each flow to go as before", both, again)

	routes(s.api.RemoveRoutes, "hop-1")
	want("the one next hop that is left to have all flows", both, all("hop-2"))
	routes(s.api.AddRoutes, "hop-1")
	want("each flow to go as at first", both, again)
}

const (
	hopFlows = 64
	hopPort  = 4700 // where flows go to
	hopFirst = 30000
)

// hopLab sends flows by a router to its next hops.
type hopLab struct {
	t     *testing.T
	tn    *tenant
	addrs map[string]string
	hops  map[string]*probe.Capture
	round uint32
}

func (h *hopLab) workload(name, network, ip string) {
	h.t.Helper()
	port := h.tn.site.create(client.Ports, client.Attrs{"network_id": network, "port_security_enabled": false, "fixed_ips": []client.Attrs{{"ip_address": ip}}})
	h.tn.workloadPorts[name] = port
	h.tn.attachPort(name, port)
}

// flows sends a packet of each flow, and tells who got it. What comes behind them to each next
// hop that is up shows that no more will.
func (h *hopLab) flows(up []string) (map[int]string, error) {
	h.t.Helper()
	h.round++
	h.tn.site.lab.inside("vm-1", func() error {
		for flow := range hopFlows {
			if err := sendFlow(hopFirst+flow, "10.99.0.5", h.round); err != nil {
				return err
			}
		}
		for _, hop := range up {
			if err := sendFlow(hopFirst+hopFlows, h.addrs[hop], h.round); err != nil {
				return err
			}
		}
		return nil
	})
	ways := map[int]string{}
	for _, hop := range up {
		testutil.Eventually(h.t, "the last packet at "+hop, func() bool {
			for _, flow := range h.at(hop) {
				if flow == hopFlows {
					return true
				}
			}
			return false
		})
	}
	for hop := range h.hops {
		for _, flow := range h.at(hop) {
			if other := ways[flow]; other != "" && flow != hopFlows {
				return nil, fmt.Errorf("one packet of flow %d is at %s and at %s", flow, other, hop)
			}
			ways[flow] = hop
		}
	}
	delete(ways, hopFlows)
	if len(ways) != hopFlows {
		return nil, fmt.Errorf("%d of %d flows have arrived", len(ways), hopFlows)
	}
	return ways, nil
}

// at are the flows of which a next hop got a packet in this round.
func (h *hopLab) at(hop string) (flows []int) {
	for _, f := range h.hops[hop].Frames() {
		if len(f.Data) >= 46 && binary.BigEndian.Uint32(f.Data[42:]) == h.round {
			flows = append(flows, int(binary.BigEndian.Uint16(f.Data[34:]))-hopFirst)
		}
	}
	return flows
}

func sendFlow(from int, to string, round uint32) error {
	c, err := net.DialUDP("udp4", &net.UDPAddr{Port: from}, &net.UDPAddr{IP: net.ParseIP(to), Port: hopPort})
	if err != nil {
		return err
	}
	_, err = c.Write(binary.BigEndian.AppendUint32(nil, round))
	_ = c.Close()
	return err
}

// traced holds a trace to the way that a flow has taken.
func (h *hopLab) traced(flow int, hop string) {
	h.t.Helper()
	r := h.tn.site.trace("ports/"+h.tn.workloadPorts["vm-1"]+"/trace", map[string]any{
		"to": "10.99.0.5", "proto": "udp", "sport": hopFirst + flow, "dport": hopPort,
	})
	words := "via " + h.addrs[hop] + " on network transit, by the flow's hash one of 2 next hops"
	for _, at := range r.Hops {
		if strings.Contains(at.Decision, words) {
			return
		}
	}
	h.t.Errorf("flow %d went by %s; the trace says %+v", flow, hop, r.Hops)
}
