package scenario

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// withSwitch hangs a switch on host a1's eth2, and a server with 10.0.0.50 on the switch.
// The kernel has no VLAN devices: vlanSwitch moves the frames.
func withSwitch(f *testbed.File) {
	f.Routers = append(f.Routers, testbed.Node{Name: "switch"}, testbed.Node{Name: "server"})
	f.Links = append(f.Links,
		testbed.Link{Ends: []testbed.End{{Node: "a1", Interface: "eth2"}, {Node: "switch", Interface: "trunk", Address: netip.MustParsePrefix("172.30.0.2/30")}}},
		testbed.Link{Ends: []testbed.End{
			{Node: "switch", Interface: "access", Address: netip.MustParsePrefix("172.30.0.6/30")},
			{Node: "server", Interface: "eth0", Address: netip.MustParsePrefix("10.0.0.50/24")},
		}})
	f.Routes["server"] = []testbed.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.1")}}
}

// vlanSwitch is a switch with an access port on a VLAN, and a trunk.
type vlanSwitch struct {
	trunk, access *sender
	wg            sync.WaitGroup
	mu            sync.Mutex
	tags          map[uint16]int // TCIs that came by the trunk
}

// auxdata is the tag of a frame that the kernel has taken off (struct tpacket_auxdata of
// linux/if_packet.h).
func auxdata(oob []byte) (tci uint16, ok bool) {
	const vlanValid = 0x10 // TP_STATUS_VLAN_VALID
	ms, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range ms {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20 {
			return binary.NativeEndian.Uint16(m.Data[16:]), binary.NativeEndian.Uint32(m.Data)&vlanValid != 0
		}
	}
	return 0, false
}

func withTag(frame []byte, tci uint16) []byte {
	tag := binary.BigEndian.AppendUint16(nil, uint16(packet.TypeVLAN))
	tag = binary.BigEndian.AppendUint16(tag, tci)
	return append(append(append([]byte{}, frame[:12]...), tag...), frame[12:]...)
}

func (l *lab) newSwitch(vlan uint16) *vlanSwitch {
	l.t.Helper()
	s := &vlanSwitch{trunk: l.newSender("switch", "trunk"), access: l.newSender("switch", "access"), tags: map[uint16]int{}}
	for _, end := range []*sender{s.trunk, s.access} {
		if err := errors.Join(
			unix.SetsockoptInt(end.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptTimeval(end.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
			unix.Bind(end.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: end.index}), // ETH_P_ALL
		); err != nil {
			l.t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	pump := func(from *sender, take func([]byte, uint16, bool)) {
		s.wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				from.receiveSome(take)
			}
		})
	}
	pump(s.trunk, func(f []byte, tci uint16, tagged bool) {
		if !tagged {
			return
		}
		s.mu.Lock()
		s.tags[tci]++
		s.mu.Unlock()
		if tci&0xfff == vlan {
			s.access.try(f)
		}
	})
	pump(s.access, func(f []byte, _ uint16, tagged bool) {
		if !tagged {
			s.trunk.try(withTag(f, vlan))
		}
	})
	l.t.Cleanup(func() { close(stop); testutil.Wait(l.t, "the switch's end", s.wg.Wait) })
	return s
}

// receiveSome hands over a frame that came in by the interface, with its tag; none by the
// socket's timeout.
func (s *sender) receiveSome(take func([]byte, uint16, bool)) {
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	n, on, _, from, err := unix.Recvmsg(s.fd, buf, oob, 0)
	if err != nil || n < 14 {
		return
	}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
		return
	}
	tci, tagged := auxdata(oob[:on])
	take(buf[:n], tci, tagged)
}

// try sends a frame, which may be lost.
func (s *sender) try(f []byte) {
	var proto [2]byte
	copy(proto[:], f[12:14])
	_ = unix.Sendto(s.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: s.index, Protocol: binary.NativeEndian.Uint16(proto[:])})
}

// onlyTag fails the test where frames came by the trunk with another tag.
func (s *vlanSwitch) onlyTag(vlan uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tci := range s.tags {
		if tci != vlan {
			s.trunk.t.Errorf("frames with tag %#x", tci)
		}
	}
}

// TestNetworkVLAN puts a tenant's network on a VLAN of an uplink: a server there is a
// member of the network, reaches its router and the other site, and is nobody else.
func TestNetworkVLAN(t *testing.T) {
	testutil.RequireTool(t, "ethtool")
	const vlan = 42
	p := newPair(t, withSwitch)
	site := p.a.site
	for node, iface := range map[string]string{"a1": "eth2", "server": "eth0"} {
		p.mustRun(node, "ethtool", "-K", iface, "tx", "off", "tso", "off", "gso", "off")
	}
	sw := p.newSwitch(vlan)
	server := model.MustMAC(p.macOfInterface("server", "eth0"))

	uplink := site.create(client.Networks, client.Attrs{"name": "vlans", "provider:network_type": "uplink"})
	port := site.create(client.Ports, client.Attrs{
		"network_id": uplink, "binding:host_id": site.host, "binding:profile": client.Attrs{"interface_name": "eth2"},
	})
	device := site.create(client.GatewayDevices, client.Attrs{"name": "vlans", "type": "network_vlan", "resource_id": uplink})
	gateway := site.create(client.L2Gateways, client.Attrs{"name": "vlan-42", "devices": []client.Attrs{{"device_id": device, "segmentation_id": fmt.Sprint(vlan)}}})
	connection := site.create(client.L2GatewayConnections, client.Attrs{"l2_gateway_id": gateway, "network_id": p.a.network})
	site.waitStatus(port, "ACTIVE")

	p.reach(p.vmA, "10.0.0.50")   // found by ARP, which is flooded
	p.reach("server", "10.0.0.3") // a member of its network
	p.reach("server", "10.0.0.1") // its router, which answers ARP on the VLAN
	p.reach("server", "10.0.1.3") // the other site
	p.reach(p.vmB, "10.0.0.50")   // from there
	p.bulkTCP(p.vmB, "server", "10.0.0.50", 4<<20)
	p.bulkTCP("server", p.vmB, "10.0.1.3", 4<<20)
	sw.onlyTag(vlan)

	t.Run("first contact from another network", func(t *testing.T) {
		// Nobody has heard of this one, and it answers for itself.
		p.mustRun("server", "ip", "addr", "add", "10.0.0.51/32", "dev", "eth0")
		before := site.drops()
		testutil.Succeeds(t, "the router finds it", func() error {
			if p.ping(p.vmB, "10.0.0.51", 1) != 1 {
				return errors.New("no answer")
			}
			return nil
		})
		site.counted(before, "neighbor_resolving")
	})

	t.Run("broadcast stays within the site", func(t *testing.T) {
		const etherType = 0x88b6
		// A secured port sends ARP and IP alone.
		p.a.site.update(client.Ports, p.a.workloadPorts[p.vmA], client.Attrs{"port_security_enabled": false})
		defer p.a.site.update(client.Ports, p.a.workloadPorts[p.vmA], client.Attrs{"port_security_enabled": true})
		mine := func(f []byte) bool { return len(f) > 14 && f[12] == 0x88 && f[13] == 0xb6 }
		near, far := p.capture(p.vmA, "eth0", mine), p.capture("server", "eth0", mine)
		wire := p.capture("core", "to-a1", func(f []byte) bool { return len(f) > 24 && f[23] == 17 })
		payload := make([]byte, 60)
		p.newSender("server", "eth0").send(ethernet(packet.Broadcast, server, etherType, payload))
		p.newSender(p.vmA, "eth0").send(ethernet(packet.Broadcast, p.a.macOf(p.vmA), etherType, payload))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := errors.Join(
			near.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) >= 2 }), // its own one too
			far.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) >= 2 }),
		); err != nil {
			t.Error(err)
		}
		frames, err := wire.Stop()
		if err != nil {
			t.Error(err)
		}
		for _, f := range frames {
			if len(f.Data) > 64 && f.Data[62] == 0x88 && f.Data[63] == 0xb6 {
				t.Error("a broadcast went into a tunnel")
			}
		}
	})

	vm, router := p.a.macOf(p.vmA), model.MustMAC(client.Str(site.get(client.Ports, p.a.tenantInterface), "mac_address"))
	stranger := model.MAC{0x52, 0x54, 0, 0, 0, 0x99}
	udp := udpPacket("10.0.0.99", "10.0.0.3")
	for _, c := range []struct {
		name  string
		frame []byte
		why   string
	}{
		{"the VM's MAC", ethernet(vm, vm, 0x0800, udp), "spoof_mac"},
		{"the router's MAC", ethernet(vm, router, 0x0800, udp), "spoof_mac"},
		{"the VM's address", ethernet(vm, stranger, 0x0800, udpPacket("10.0.0.3", "10.0.0.3")), "spoof_ip"},
		{"the VM's address by ARP", announce(stranger, "10.0.0.3"), "spoof_arp"},
		{"the router's address by ARP", announce(stranger, "10.0.0.1"), "spoof_arp"},
		{"a tag in a tag", withTag(ethernet(vm, stranger, 0x0800, udp), 7), "vlan_tagged"},
		{"a frame for the link alone", ethernet(model.MAC{1, 0x80, 0xc2, 0, 0, 0}, stranger, 0x0027, make([]byte, 50)), "link_local"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := site.drops()
			sw.trunk.send(withTag(c.frame, vlan))
			site.counted(before, c.why)
		})
	}
	// Priority bits are not ours to judge, and other VLANs are not ours.
	seen := p.capture(p.vmA, "eth0", func(f []byte) bool { return len(f) > 42 && model.MAC(f[6:12]) == stranger })
	sw.trunk.send(withTag(ethernet(vm, stranger, 0x0800, udp), 43))
	sw.trunk.send(ethernet(vm, stranger, 0x0800, udp))
	sw.trunk.send(withTag(ethernet(vm, stranger, 0x0800, udp), vlan|5<<13))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := seen.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) > 0 }); err != nil {
		t.Error(err)
	}
	if frames, err := seen.Stop(); err != nil || len(frames) != 1 {
		t.Errorf("%d frames came in, %v; want the one with priority bits", len(frames), err)
	}

	// No agent.
	if err := p.Kill("a1"); err != nil {
		t.Fatal(err)
	}
	p.mustPing(p.vmB, "10.0.0.50")
	if err := p.Restart(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	p.reach(p.vmB, "10.0.0.50")

	site.remove(client.L2GatewayConnections, connection)
	testutil.Succeeds(t, "the VLAN is off", func() error { return mustFail(p.ping(p.vmA, "10.0.0.50", 1)) })
	if out := p.mustRun("a1", "ip", "-d", "link", "show", "dev", "eth2"); !strings.Contains(out, "promiscuity 0") {
		t.Errorf("eth2 is left promiscuous: %s", out)
	}
	p.reach(p.vmA, p.addrB)
}

func (l *lab) macOfInterface(node, iface string) string {
	l.t.Helper()
	ns, err := l.NetNS(node)
	if err != nil {
		l.t.Fatal(err)
	}
	defer ns.Close()
	var mac string
	if err := ns.Do(func() error {
		i, err := net.InterfaceByName(iface)
		if err == nil {
			mac = i.HardwareAddr.String()
		}
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	return mac
}
