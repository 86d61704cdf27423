package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// allow sets the allowed address pairs of a workload's port.
func (tn *tenant) allow(workload string, pairs ...client.Attrs) {
	tn.site.lab.t.Helper()
	tn.site.update(client.Ports, tn.workloadPorts[workload], client.Attrs{"allowed_address_pairs": pairs})
}

func (tn *tenant) macOf(workload string) model.MAC {
	tn.site.lab.t.Helper()
	return model.MustMAC(client.Str(tn.site.get(client.Ports, tn.workloadPorts[workload]), "mac_address"))
}

// announce is a gratuitous ARP request, by which a holder takes an address over.
func announce(src model.MAC, ip string) []byte {
	a := netip.MustParseAddr(ip)
	arp := packet.ARP{Op: packet.ARPRequest, SenderMAC: src, SenderIP: a, TargetIP: a}
	return ethernet(packet.Broadcast, src, uint16(packet.TypeARP), arp.Append(nil))
}

// counted waits until a drop counter of the host has risen from before.
func (s *site) counted(before map[string]int, why string) {
	s.lab.t.Helper()
	testutil.Succeeds(s.lab.t, why+" is counted", func() error {
		if s.drops()[why] == before[why] {
			return fmt.Errorf("still %d", before[why])
		}
		return nil
	})
}

// TestSharedAddress is two workloads that share an address (as with VRRP): who holds it
// is found without having spoken, and moves by gratuitous ARP at once, for neighbours,
// for the other site and while no agent runs. Whoever it is not allowed to gets it by no
// means.
func TestSharedAddress(t *testing.T) {
	const vip = "10.0.0.99"
	p := newPair(t)
	p.a.attach("one", 11, "")
	p.a.attach("two", 12, "")
	p.a.attach("mallory", 13, "")
	// The usual way to keep the address from being given out: a port without anything
	// behind it.
	p.a.newPort("vip", vip)
	p.a.allow("one", client.Attrs{"ip_address": vip})
	p.a.allow("two", client.Attrs{"ip_address": "10.0.0.96/29"})
	site := p.a.site
	p.reach("one", "10.0.0.12")
	p.reach("mallory", "10.0.0.12")

	before := site.drops()
	if got := p.ping(p.vmB, vip, 2); got != 0 {
		t.Errorf("%d pings of an address that nobody holds came back", got)
	}
	site.counted(before, "neighbor_resolving")

	// Its holder has never said a word of it: the first packet makes the router ask.
	p.mustRun("one", "ip", "addr", "add", vip+"/32", "dev", "eth0")
	testutil.Succeeds(t, "the other site finds the holder", func() error {
		if p.ping(p.vmB, vip, 1) != 1 {
			return fmt.Errorf("no answer")
		}
		return nil
	})
	p.mustPing(p.vmB, vip)
	p.mustPing(p.vmA, vip)

	holder := func(want string) {
		t.Helper()
		// Both have the address now: only one of them can see the requests.
		c := p.capture(want, "eth0", func(f []byte) bool {
			return len(f) > 34 && f[12] == 8 && f[13] == 0 && [4]byte(f[30:34]) == [4]byte{10, 0, 0, 99}
		})
		for _, from := range []string{p.vmB, p.vmA} {
			if got := p.ping(from, vip, 3); got != 3 {
				t.Errorf("%s, from %s: %d of 3 pings came back", want, from, got)
			}
		}
		frames, err := c.Stop()
		if err != nil || len(frames) < 6 {
			t.Errorf("%s has seen %d requests, %v", want, len(frames), err)
		}
	}
	holder("one")
	two, one := p.newSender("two", "eth0"), p.newSender("one", "eth0")
	p.mustRun("two", "ip", "addr", "add", vip+"/32", "dev", "eth0")
	two.send(announce(p.a.macOf("two"), vip))
	holder("two")

	// No agent: the programs go on learning.
	if err := p.Kill("a1"); err != nil {
		t.Fatal(err)
	}
	one.send(announce(p.a.macOf("one"), vip))
	holder("one")
	if err := p.Restart(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	testutil.Succeeds(t, "the agent is back", func() error { _, err := p.metrics("a1"); return err })
	holder("one")
	two.send(announce(p.a.macOf("two"), vip))
	holder("two")

	// What is not allowed.
	mallory := p.newSender("mallory", "eth0")
	for _, c := range []struct {
		name  string
		from  *sender
		frame []byte
		why   string
	}{
		{"an announcement by a stranger", mallory, announce(p.a.macOf("mallory"), vip), "spoof_arp"},
		{"with the holder's MAC", mallory, announce(p.a.macOf("two"), vip), "spoof_mac"},
		{"of an address beside the pair", one, announce(p.a.macOf("one"), "10.0.0.98"), "spoof_arp"},
		{"of another port's address", two, announce(p.a.macOf("two"), "10.0.0.11"), "spoof_arp"},
		{"a packet from beside the prefix", two, ethernet(p.a.macOf("mallory"), p.a.macOf("two"), 0x0800,
			udpPacket("10.0.0.104", "10.0.0.13")), "spoof_ip"},
	} {
		before := site.drops()
		c.from.send(c.frame)
		p.sub(c.name, func(*testing.T) { site.counted(before, c.why) })
	}
	holder("two")

	// A pair that is taken away is over at once.
	p.a.allow("two")
	testutil.Succeeds(t, "the address is nobody's", func() error { return mustFail(p.ping(p.vmB, vip, 1)) })
	before = site.drops()
	two.send(announce(p.a.macOf("two"), vip))
	site.counted(before, "spoof_arp")
	p.mustRun("one", "ip", "addr", "show", "dev", "eth0")
	one.send(announce(p.a.macOf("one"), vip))
	holder("one")
}

func udpPacket(src, dst string) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	u := packet.UDP{Src: 1000, Dst: 2000}.Append(nil, s, d, []byte("x"))
	return append(packet.IPv4{TTL: 64, Protocol: packet.ProtoUDP, Src: s, Dst: d}.Append(nil, len(u)), u...)
}

// TestSharedMAC is the same with VRRP's virtual MAC (RFC 5798 §7.3): the address stays at
// its MAC, and the MAC moves.
func TestSharedMAC(t *testing.T) {
	const vip = "10.0.0.99"
	vmac := model.MAC{0, 0, 0x5e, 0, 1, 7}
	p := newPair(t)
	p.a.attach("one", 11, "")
	p.a.attach("two", 12, "")
	for _, w := range []string{"one", "two"} {
		p.a.allow(w, client.Attrs{"ip_address": vip, "mac_address": vmac.String()})
	}
	p.reach("one", "10.0.0.12")
	// The frames that reach a workload for the shared MAC.
	reaches := func(want, other string) {
		t.Helper()
		ours := func(f []byte) bool { return len(f) > 14 && model.MAC(f[:6]) == vmac && f[12] == 8 && f[13] == 0 }
		c, no := p.capture(want, "eth0", ours), p.capture(other, "eth0", ours)
		for _, from := range []string{p.vmA, p.vmB} {
			p.ping(from, vip, 1, "-W", "0.2")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := c.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) >= 2 }); err != nil {
			t.Errorf("frames for the shared MAC do not reach %s: %v", want, err)
		}
		if frames, err := no.Stop(); err != nil || len(frames) > 0 {
			t.Errorf("%d of them reach %s, %v", len(frames), other, err)
		}
	}
	one, two := p.newSender("one", "eth0"), p.newSender("two", "eth0")
	testutil.Succeeds(t, "the first announcement is let in", func() error {
		before := p.a.site.drops()["spoof_mac"]
		one.send(announce(vmac, vip))
		if p.a.site.drops()["spoof_mac"] != before {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	reaches("one", "two")
	two.send(announce(vmac, vip))
	reaches("two", "one")
	one.send(announce(vmac, vip))
	reaches("one", "two")
	// The MAC is for its address alone.
	before := p.a.site.drops()
	one.send(ethernet(p.a.macOf("two"), vmac, 0x0800, udpPacket("10.0.0.11", "10.0.0.12")))
	p.a.site.counted(before, "spoof_ip")
}
