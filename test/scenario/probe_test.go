package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// probe has the tenant's router send to an address of the other site.
func (tn *tenant) probe(q probe.Question, to string) probe.Report {
	tn.site.lab.t.Helper()
	q.Target = netip.MustParseAddr(to)
	r, err := tn.site.api.Probe(tn.site.lab.t.Context(), tn.router, q)
	if err != nil {
		tn.site.lab.t.Fatalf("probe %s from %s: %v", to, tn.site.name, err)
	}
	return r
}

// quick is a probe that does not wait long for what does not come.
func quick() probe.Question { return probe.Question{Count: 3, IntervalMS: 20, TimeoutMS: 200} }

// TestProbe has each site's router find out by packets how the way to the other is: what
// answers, how fast, how large a packet may be; and what is missing where a piece is.
func TestProbe(t *testing.T) {
	p := newPair(t)
	for _, c := range []struct {
		from *tenant
		to   string
	}{
		{p.a, p.b.peerIP}, {p.b, p.a.peerIP}, // the other router
		{p.a, p.addrB}, {p.b, p.addrA}, // a workload behind it
		{p.a, p.addrA},       // a workload of its own
		{p.a, p.b.gatewayIP}, // the other router's far side
	} {
		q := quick()
		q.Count, q.PathMTU = 5, true
		r := c.from.probe(q, c.to)
		if r.Sent != 5 || r.Received != 5 || r.Loss != 0 || r.RTT == nil || r.RTT.Min <= 0 || r.RTT.Max > 200_000 || len(r.Errors) != 0 {
			t.Errorf("%s from %s: %+v %+v", c.to, c.from.site.name, r, r.RTT)
			continue
		}
		if r.PathMTU != 1450 {
			t.Errorf("%s from %s: path MTU %d, want 1450", c.to, c.from.site.name, r.PathMTU)
		}
		t.Logf("%s from %s: %.1f/%.1f/%.1f µs", c.to, c.from.site.name, r.RTT.Min, r.RTT.Avg, r.RTT.Max)
	}
	p.sub("a smaller underlay", func(t *testing.T) {
		// The underlay's router has a smaller way to site B, and says so.
		q := quick()
		q.PathMTU = true
		const slack = 4
		find := func(from *tenant, to string, mtu int) {
			t.Helper()
			testutil.Succeeds(t, "the path MTU to be found", func() error {
				if r := from.probe(q, to); r.PathMTU != mtu-50 || r.Path == nil || r.Path.MTU < mtu || r.Path.MTU > mtu+slack || r.Path.State != "proven" || r.Path.By != "tunnel" {
					return fmt.Errorf("path MTU %d, want %d: %+v %+v", r.PathMTU, mtu-50, r, r.Path)
				}
				return nil
			})
		}
		p.mustRun("core", "ip", "link", "set", "to-b1", "mtu", "1350")
		find(p.a, p.b.peerIP, 1350)
		// What comes from site B into that interface may be longer by a VLAN tag (is_skb_forwardable). Both
		// sites believe less now, and prove that more passes again.
		find(p.b, p.a.peerIP, 1350)
		p.mustRun("core", "ip", "link", "set", "to-b1", "mtu", "1500")
		find(p.a, p.b.peerIP, 1500)
		find(p.b, p.a.peerIP, 1500)
	})
	p.sub("pieces missing", func(t *testing.T) {
		lost := func(what string, from *tenant, to, reason string) {
			t.Helper()
			testutil.Succeeds(t, what, func() error {
				r := from.probe(quick(), to)
				if r.Received != 0 || r.Loss != 1 {
					return fmt.Errorf("%+v", r)
				}
				var got string
				for _, e := range r.Errors {
					got += e.Reason + e.What
				}
				if !strings.Contains(got, reason) || reason == "" && got != "" {
					return fmt.Errorf("errors %+v; want %q", r.Errors, reason)
				}
				return nil
			})
		}
		back := func(from *tenant, to string) {
			t.Helper()
			testutil.Succeeds(t, "the way to be whole again", func() error {
				if r := from.probe(quick(), to); r.Received != r.Sent {
					return fmt.Errorf("%+v", r)
				}
				return nil
			})
		}
		a, b := p.a, p.b
		a.site.remove(remoteMACs(a.device), a.remoteMACs[b])
		lost("remote MAC missing here", a, b.peerIP, "")
		lost("remote MAC missing there", b, a.peerIP, "")
		a.addRemoteMAC(b, b.site.tunnel.String())
		back(a, b.peerIP)

		a.site.remove(client.Ports, a.remotePorts[b])
		lost("remote-site port missing", a, b.peerIP, "neighbor_unknown")
		a.addRemotePort(b)
		back(a, b.peerIP)

		// No route back to where it came from: site B's router says nothing (its packet would be an
		// answer of its own); the workload's answer dies at B's router, which tells the workload.
		b.setRoutes()
		q := quick()
		q.Source = netip.MustParseAddr(a.gatewayIP)
		testutil.Succeeds(t, "no way back", func() error {
			if r := a.probe(q, p.addrB); r.Received != 0 {
				return fmt.Errorf("%+v", r)
			}
			return nil
		})
		b.setRoutes(a)

		// A router on the way answers: the other site's has no route on.
		q = quick()
		q.Source = netip.MustParseAddr(a.peerIP)
		a.site.update(client.Routers, a.router, client.Attrs{"routes": []client.Attrs{
			{"destination": b.cidr, "nexthop": b.peerIP}, {"destination": "172.31.0.0/24", "nexthop": b.peerIP},
		}})
		testutil.Succeeds(t, "the other router to say that it has no route", func() error {
			r := a.probe(q, "172.31.0.1")
			if len(r.Errors) != 1 || r.Errors[0].From.String() != b.peerIP || r.Errors[0].Count != r.Sent {
				return fmt.Errorf("%+v", r)
			}
			return nil
		})
	})
	p.mustPing(p.vmA, p.addrB)
}

// TestProbeCountsNoDrop: what belongs to a probe is no packet that went wrong.
func TestProbeCountsNoDrop(t *testing.T) {
	p := newPair(t)
	q := quick()
	before := p.a.site.drops()
	p.mustPing(p.vmA, p.b.peerIP)
	if r := p.a.probe(q, p.b.peerIP); r.Received != 3 {
		t.Errorf("%+v", r)
	}
	if d := risen(before, p.a.site.drops()); len(d) != 0 {
		t.Errorf("drops %v", d)
	}
}
