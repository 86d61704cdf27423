package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// noiseLab is a tenant whose neighbor on the same network sends what nobody can want.
type noiseLab struct {
	*lab
	a, b *tenant
	gw   model.MAC
	vm   noisy // the one who suffers
	bad  noisy
}

type noisy struct {
	name string
	mac  model.MAC
	ip   netip.Addr
	*sender
}

func (n *noiseLab) frame(who noisy, dst model.MAC, to string, h packet.IPv4, body []byte) []byte {
	h.Src, h.Dst, h.TTL = who.ip, netip.MustParseAddr(to), 64
	return ethernet(dst, who.mac, uint16(packet.TypeIPv4), append(h.Append(nil, len(body)), body...))
}

// during sends a frame over and over, so many a millisecond, while f runs; f begins when the
// limit has been reached.
func (n *noiseLab) during(t *testing.T, reason string, rate int, frame []byte, f func()) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	before := n.a.site.drops()[reason]
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for range rate {
				n.bad.send(frame)
			}
		}
	})
	testutil.Eventually(t, reason+" to rise", func() bool { return n.a.site.drops()[reason] > before })
	f()
	t.Logf("%d packets found no room in the tap's queue", n.interfaceCount(n.a.site.host, "cw-slow", "tx_dropped"))
}

// answered sends twenty frames and counts the ICMP errors that come back.
func (n *noiseLab) answered(t *testing.T, what string, frame []byte, icmpType, code byte) {
	t.Helper()
	c := n.capture(n.vm.name, "eth0", func(f []byte) bool {
		return len(f) > 36 && [6]byte(f[:6]) == n.vm.mac && f[23] == byte(packet.ProtoICMP) && f[34] == icmpType && f[35] == code
	})
	const sent = 20
	for range sent {
		n.vm.send(frame)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) >= sent }); err != nil {
		t.Errorf("%s: %d of %d ICMP errors came back: %v", what, len(c.Frames()), sent, err)
	}
}

// TestNoise: what one workload makes too much of takes nothing from another behind the same
// router: its ICMP errors, its path MTU, the router's probes, its packets.
func TestNoise(t *testing.T) {
	l := newLab(t, 2, underlayMTU(9000))
	n := &noiseLab{lab: l, a: l.sites[0].newTenant("t", 100), b: l.sites[1].newTenant("t", 100)}
	for _, tn := range []*tenant{n.a, n.b} {
		tn.site.update(networksCollection, tn.multiSite, map[string]any{"mtu": 1450})
	}
	peer(n.a, n.b)
	n.a.attach("vm-a", 3, "")
	n.a.attach("mallory", 4, "")
	n.b.attach("vm-b", 3, "")
	l.reach("vm-a", "10.0.1.3")
	l.reach("mallory", "10.0.1.3")
	n.vm = noisy{name: "vm-a", ip: netip.MustParseAddr("10.0.0.3"), sender: l.newSender("vm-a", "eth0")}
	n.bad = noisy{name: "mallory", ip: netip.MustParseAddr("10.0.0.4"), sender: l.newSender("mallory", "eth0")}
	for _, w := range l.Workloads() {
		switch w.Name {
		case "vm-a":
			n.vm.mac = model.MustMAC(w.MAC)
		case "mallory":
			n.bad.mac = model.MustMAC(w.MAC)
		}
	}
	n.gw = model.MustMAC(strings.Fields(l.mustRun("vm-a", "ip", "neigh", "show", "10.0.0.1"))[4])
	udp := make([]byte, 4000)
	nowhere := func(who noisy) []byte {
		return n.frame(who, n.gw, "203.0.113.9", packet.IPv4{Protocol: packet.ProtoUDP}, udp[:8])
	}
	big := n.frame(n.vm, n.gw, "10.0.1.3", packet.IPv4{Protocol: packet.ProtoUDP, DF: true}, udp)
	whole := func() {
		t.Helper()
		q := quick()
		q.Count, q.TimeoutMS = 20, 2000
		if r := n.a.probe(q, n.b.peerIP); r.Received != r.Sent {
			t.Errorf("the router's probes: %d of %d answered, %+v", r.Received, r.Sent, r.Errors)
		}
	}
	l.sub("junk to nowhere", func(t *testing.T) {
		n.during(t, "slow_path_limited", 5, nowhere(n.bad), func() {
			n.answered(t, "too big", big, packet.ICMPUnreachable, packet.ICMPFragmentationNeeded)
			n.answered(t, "to nowhere", nowhere(n.vm), packet.ICMPUnreachable, packet.ICMPNetUnreachable)
			whole()
		})
	})
	l.sub("packets to be cut", func(t *testing.T) {
		cut := n.frame(n.bad, n.gw, "10.0.1.3", packet.IPv4{Protocol: packet.ProtoUDP}, udp)
		n.during(t, "slow_path_limited", 5, cut, func() {
			n.answered(t, "to nowhere", nowhere(n.vm), packet.ICMPUnreachable, packet.ICMPNetUnreachable)
			whole()
		})
	})
	l.sub("answers that nobody waits for", func(t *testing.T) {
		answer := packet.ICMP{Rest: packet.ProbeID << 16}.Append(nil, udp[:8])
		n.during(t, "slow_path_limited", 5, n.frame(n.bad, n.gw, "10.0.0.1", packet.IPv4{Protocol: packet.ProtoICMP}, answer), whole)
	})
	l.sub("broadcasts", func(t *testing.T) {
		storm := n.frame(n.bad, packet.Broadcast, "255.255.255.255", packet.IPv4{Protocol: packet.ProtoUDP}, udp[:8])
		n.during(t, "flood_limited", 200, storm, func() { l.bulkTCP("vm-a", "vm-b", "10.0.1.3", 16<<20) })
	})
}

// TestNoiseOfFragments: workloads of two tenants have the host cut as much as it does for all; a third
// tenant's probes come back.
func TestNoiseOfFragments(t *testing.T) {
	l := newLab(t, 2, underlayMTU(9000))
	var at [2][3]*tenant
	for s := range at {
		for i := range at[s] {
			at[s][i] = l.sites[s].newTenant(fmt.Sprint("t", i), 100+i)
			at[s][i].site.update(networksCollection, at[s][i].multiSite, map[string]any{"mtu": 1450})
		}
	}
	for i := range at[0] {
		peer(at[0][i], at[1][i])
	}
	udp := make([]byte, 4000)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	before := l.sites[0].drops()
	for i, tn := range at[0][:2] {
		for j := range 2 {
			name := fmt.Sprintf("cut-%d-%d", i, j)
			tn.attach(name, 3+j, "")
			at[1][i].attach("far-"+name, 3+j, "")
			l.reach(name, fmt.Sprintf("10.0.1.%d", 3+j))
			n := &noiseLab{lab: l}
			who := noisy{name: name, mac: tn.macOf(name), ip: netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", 3+j)), sender: l.newSender(name, "eth0")}
			gw := model.MustMAC(strings.Fields(l.mustRun(name, "ip", "neigh", "show", "10.0.0.1"))[4])
			cut := n.frame(who, gw, fmt.Sprintf("10.0.1.%d", 3+j), packet.IPv4{Protocol: packet.ProtoUDP}, udp)
			wg.Go(func() { each(stop, 5, func() { who.send(cut) }) })
		}
	}
	testutil.Eventually(t, "slow_path_limited to rise", func() bool { return l.sites[0].drops()["slow_path_limited"] > before["slow_path_limited"] })
	q := quick()
	q.Count, q.TimeoutMS = 20, 2000
	start, was := time.Now(), l.interfaceCount("a1", "cw-slow", "tx_packets")
	r := at[0][2].probe(q, at[1][2].peerIP)
	if r.Received != r.Sent {
		t.Errorf("the router's probes: %d of %d answered, %+v", r.Received, r.Sent, r.Errors)
	}
	t.Logf("%.0f packets a second to the slow path; %d found no room in the tap's queue",
		float64(l.interfaceCount("a1", "cw-slow", "tx_packets")-was)/time.Since(start).Seconds(), l.interfaceCount("a1", "cw-slow", "tx_dropped"))
}

// each calls f so many times a millisecond until stop is closed.
func each(stop <-chan struct{}, times int, f func()) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for range times {
			f()
		}
	}
}
