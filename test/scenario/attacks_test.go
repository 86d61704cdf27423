package scenario

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// forged is a VXLAN packet from site B to site A as site A takes it; a test
// changes what it wants to see refused.
type forged struct {
	src, dst, innerSrc, innerDst string
	dport                        layers.UDPPort
	vni                          uint32
	noIBit                       bool
	innerSrcMAC, innerDstMAC     string
	inner                        []byte // in place of the inner packet's payload
}

func genuine() forged {
	return forged{
		src: "200.200.0.2", dst: "200.200.0.1", innerSrc: "10.0.1.3", innerDst: "10.0.0.3",
		dport: 4789, vni: 100, innerSrcMAC: peerMACs[1], innerDstMAC: peerMACs[0],
	}
}

func mac(s string) net.HardwareAddr {
	m := model.MustMAC(s)
	return m[:]
}

func serialize(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ipv4(src, dst string, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: p, SrcIP: net.ParseIP(src).To4(), DstIP: net.ParseIP(dst).To4()}
}

// frame is the forged packet as it comes to the interface with MAC to.
func (f forged) frame(t *testing.T, to string) []byte {
	t.Helper()
	in := ipv4(f.innerSrc, f.innerDst, layers.IPProtocolUDP)
	iu := &layers.UDP{SrcPort: 7, DstPort: 9999}
	_ = iu.SetNetworkLayerForChecksum(in)
	inner := serialize(t,
		&layers.Ethernet{SrcMAC: mac(f.innerSrcMAC), DstMAC: mac(f.innerDstMAC), EthernetType: layers.EthernetTypeIPv4},
		in, iu, gopacket.Payload("forged"))
	if f.inner != nil {
		inner = f.inner
	}
	out := ipv4(f.src, f.dst, layers.IPProtocolUDP)
	ou := &layers.UDP{SrcPort: 55555, DstPort: f.dport}
	_ = ou.SetNetworkLayerForChecksum(out)
	return serialize(t,
		&layers.Ethernet{SrcMAC: mac("02:00:00:00:00:99"), DstMAC: mac(to), EthernetType: layers.EthernetTypeIPv4},
		out, ou, &layers.VXLAN{ValidIDFlag: !f.noIBit, VNI: f.vni}, gopacket.Payload(inner))
}

// linkMAC is the MAC of an interface of a node.
func (l *lab) linkMAC(node, iface string) string {
	l.t.Helper()
	var links []struct {
		Address string `json:"address"`
	}
	if err := unmarshal(l.mustRun(node, "ip", "-j", "link", "show", "dev", iface), &links); err != nil || len(links) != 1 {
		l.t.Fatalf("MAC of %s in %s: %v", iface, node, err)
	}
	return links[0].Address
}

// TestAttacksFromUnderlay sends site A what it must refuse. Each is counted under
// its reason, and the workload sees nothing.
func TestAttacksFromUnderlay(t *testing.T) {
	p := newPair(t)
	p.sink(p.vmA, 9999)
	to := p.linkMAC("a1", "eth1")
	s := p.newSender("core", "to-a1")
	seen := func() uint64 { return p.interfaceCount(p.vmA, "eth0", "rx_packets") }

	before := seen()
	s.send(genuine().frame(t, to))
	testutil.Succeeds(t, "the genuine packet to arrive", func() error {
		if seen() == before {
			return fmt.Errorf("it has not")
		}
		return nil
	})
	for _, c := range []struct {
		name, reason string
		change       func(*forged)
	}{
		{"unknown source", "vtep_unknown", func(f *forged) { f.src = "203.0.113.9" }},
		{"wrong address", "tunnel_ip_unknown", func(f *forged) { f.dst = "172.16.1.2" }},
		{"unknown VNI", "vni_unknown", func(f *forged) { f.vni = 101 }},
		{"no I bit", "vxlan_flags", func(f *forged) { f.noIBit = true }},
		{"inner source MAC of nobody", "vtep_source_mac", func(f *forged) { f.innerSrcMAC = "02:00:00:00:00:01" }},
		{"inner source MAC of our own router", "vtep_source_mac", func(f *forged) { f.innerSrcMAC = peerMACs[0] }},
		{"inner destination at the sender's site", "tunnel_hairpin", func(f *forged) { f.innerDstMAC = peerMACs[1] }},
		{"a tunnel inside", "no_route", func(f *forged) { f.innerDst = "200.200.0.1" }},
		{"inner frame cut in its IP header", "frame_malformed", func(f *forged) {
			f.inner = append(append(append([]byte{}, mac(peerMACs[0])...), mac(peerMACs[1])...), 8, 0, 0x45, 0, 0)
		}},
		{"no inner frame", "vxlan_malformed", func(f *forged) { f.inner = []byte{1, 2, 3} }},
	} {
		p.sub(c.name, func(t *testing.T) {
			f := genuine()
			c.change(&f)
			frame := f.frame(t, to)
			rx, drops := seen(), p.a.site.drops()
			const n = 10
			for range n {
				s.send(frame)
			}
			testutil.Succeeds(t, "the drops to be counted", func() error {
				if d := risen(drops, p.a.site.drops()); len(d) != 1 || d[c.reason] != n {
					return fmt.Errorf("counters that rose: %v; want %s by %d", d, c.reason, n)
				}
				return nil
			})
			if now := seen(); now != rx {
				t.Errorf("the workload saw %d packets", now-rx)
			}
		})
	}
	p.sub("cut short at every length", func(t *testing.T) {
		whole := genuine().frame(t, to)
		c := p.capture(p.vmA, "eth0", func(f []byte) bool { return len(f) > 23 && f[23] == 17 })
		for n := 14; n < len(whole); n++ {
			s.send(whole[:n])
		}
		p.mustPing(p.vmA, p.addrB) // nothing else is disturbed
		s.send(whole)              // the last to come, and the only one
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := c.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) > 0 }); err != nil {
			t.Fatal(err)
		}
		frames, err := c.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if len(frames) != 1 {
			t.Errorf("the workload saw %d UDP packets; want the whole one alone", len(frames))
		}
	})
}

// TestAttacksFromWorkload sends what a workload must not send. Nothing of it
// reaches anybody, the host's own stack included.
func TestAttacksFromWorkload(t *testing.T) {
	p := newPair(t)
	p.a.attach("other-a", 4, "")
	own, gw := "", ""
	for _, w := range p.Workloads() {
		if w.Name == p.vmA {
			own = w.MAC
		}
	}
	p.mustPing(p.vmA, p.addrB)
	gw = client.Str(p.a.site.get(client.Ports, p.a.tenantInterface), "mac_address")
	s := p.newSender(p.vmA, "eth0")
	udp := func(srcMAC, dstMAC, src, dst string) []byte {
		ip := ipv4(src, dst, layers.IPProtocolUDP)
		u := &layers.UDP{SrcPort: 7, DstPort: 9999}
		_ = u.SetNetworkLayerForChecksum(ip)
		return serialize(t, &layers.Ethernet{SrcMAC: mac(srcMAC), DstMAC: mac(dstMAC), EthernetType: layers.EthernetTypeIPv4},
			ip, u, gopacket.Payload("spoofed"))
	}
	arp := func(srcMAC, sha, spa string) []byte {
		return serialize(t, &layers.Ethernet{SrcMAC: mac(srcMAC), DstMAC: mac("ff:ff:ff:ff:ff:ff"), EthernetType: layers.EthernetTypeARP},
			&layers.ARP{
				AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
				SourceHwAddress: mac(sha), SourceProtAddress: net.ParseIP(spa).To4(),
				DstHwAddress: make([]byte, 6), DstProtAddress: net.ParseIP("10.0.0.1").To4(),
			})
	}
	// The agent's own probes of the underlay are ICMP, and nothing that is sent here.
	hostIn := func() int { return p.snmp("a1", "Ip:", "InReceives") - p.snmp("a1", "Icmp:", "InMsgs") }
	nothingMore := func(t *testing.T, host int) {
		t.Helper()
		// The two counters are read one after the other.
		testutil.Succeeds(t, "the host's own stack to have received nothing", func() error {
			if now := hostIn(); now != host {
				return fmt.Errorf("the host's own stack received %d packets", now-host)
			}
			return nil
		})
	}
	check := func(t *testing.T, reason string, frame []byte) {
		t.Helper()
		drops, host := p.a.site.drops(), hostIn()
		rx := p.interfaceCount("other-a", "eth0", "rx_packets")
		const n = 10
		for range n {
			s.send(frame)
		}
		testutil.Succeeds(t, "the drops to be counted", func() error {
			if d := risen(drops, p.a.site.drops()); len(d) != 1 || d[reason] != n {
				return fmt.Errorf("counters that rose: %v; want %s by %d", d, reason, n)
			}
			return nil
		})
		nothingMore(t, host)
		if now := p.interfaceCount("other-a", "eth0", "rx_packets"); now != rx {
			t.Errorf("the neighbour saw %d packets", now-rx)
		}
	}
	const alien = "02:00:00:00:00:01"
	p.sub("MAC", func(t *testing.T) { check(t, "spoof_mac", udp(alien, gw, "10.0.0.3", "10.0.1.3")) })
	p.sub("IP", func(t *testing.T) { check(t, "spoof_ip", udp(own, gw, "10.0.0.4", "10.0.1.3")) })
	p.sub("ARP sender IP", func(t *testing.T) { check(t, "spoof_arp", arp(own, own, "10.0.0.4")) })
	p.sub("ARP sender MAC", func(t *testing.T) { check(t, "spoof_arp", arp(own, alien, "10.0.0.3")) })
	p.sub("to the host's own MAC and address", func(t *testing.T) {
		tap := ""
		for _, w := range p.Workloads() {
			if w.Name == p.vmA {
				tap = w.Interface
			}
		}
		host := hostIn()
		for range 10 {
			s.send(udp(own, p.linkMAC("a1", tap), "10.0.0.3", "172.16.1.2"))
		}
		// Nobody on the network has this MAC: the neighbours are flooded, the host
		// is not.
		p.mustPing(p.vmA, p.addrB)
		nothingMore(t, host)
	})
	p.sub("after unbind", func(t *testing.T) {
		port := p.a.workloadPorts[p.vmA]
		p.a.site.update(client.Ports, port, client.Attrs{"binding:host_id": ""})
		p.a.site.waitStatus(port, "DOWN")
		p.waitSynced("a1")
		check(t, "port_unbound", udp(own, gw, "10.0.0.3", "10.0.1.3"))
	})
	p.sub("before bind", func(t *testing.T) {
		if err := p.Restart(t.Context(), "a1", "--workload-interface", "new*"); err != nil {
			t.Fatal(err)
		}
		p.waitSynced("a1")
		p.mustRun("a1", "ip", "link", "add", "new0", "type", "veth", "peer", "name", "new1")
		p.mustRun("a1", "ip", "link", "set", "new1", "netns", p.NetNSName(p.vmB))
		p.mustRun("a1", "ip", "link", "set", "new0", "up")
		p.mustRun(p.vmB, "ip", "link", "set", "new1", "up")
		s = p.newSender(p.vmB, "new1")
		testutil.Succeeds(t, "the interface to be guarded", func() error {
			drops := p.a.site.drops()
			s.send(udp(own, gw, "10.0.0.3", "10.0.1.3"))
			if d := risen(drops, p.a.site.drops()); d["port_unbound"] == 0 {
				return fmt.Errorf("counters that rose: %v", d)
			}
			return nil
		})
		check(t, "port_unbound", udp(own, gw, "10.0.0.3", "10.0.1.3"))
	})
}
