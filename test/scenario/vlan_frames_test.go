package scenario

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// vlanLab is a site with two VMs on a network, which is on VLANs of host a1's eth2.
type vlanLab struct {
	*lab
	site        *site
	tn          *tenant
	one, two    string
	device      string
	trunk       *sender
	connections map[uint16]string
}

func newVLANLab(t *testing.T, vlans ...uint16) *vlanLab {
	testutil.RequireTool(t, "ethtool")
	l := newLab(t, 1, withSwitch)
	v := &vlanLab{lab: l, site: l.sites[0], connections: map[uint16]string{}}
	v.tn = v.site.newTenant("t", 100)
	v.one, v.two = v.tn.attach("one", 3, ""), v.tn.attach("two", 4, "")
	v.trunk = l.newSender("switch", "trunk")
	uplink := v.site.create(client.Networks, client.Attrs{"name": "vlans", "provider:network_type": "uplink"})
	port := v.site.create(client.Ports, client.Attrs{
		"network_id": uplink, "binding:host_id": v.site.host, "binding:profile": client.Attrs{"interface_name": "eth2"},
	})
	v.device = v.site.create(client.GatewayDevices, client.Attrs{"name": "vlans", "type": "network_vlan", "resource_id": uplink})
	for _, vlan := range vlans {
		v.connect(vlan)
	}
	v.site.waitStatus(port, "ACTIVE")
	return v
}

func (v *vlanLab) connect(vlan uint16) {
	v.t.Helper()
	gateway := v.site.create(client.L2Gateways, client.Attrs{"name": fmt.Sprint("vlan-", vlan), "devices": []client.Attrs{{"device_id": v.device, "segmentation_id": fmt.Sprint(vlan)}}})
	v.connections[vlan] = v.site.create(client.L2GatewayConnections, client.Attrs{"l2_gateway_id": gateway, "network_id": v.tn.network})
}

// testType is the EtherType of the frames that these tests send; what is behind it says
// which frame it is.
const testType = 0x88b6

func testFrame(dst, src model.MAC, id byte) []byte {
	return ethernet(dst, src, testType, append([]byte{id}, make([]byte, 59)...))
}

func isTestFrame(f []byte) bool {
	return len(f) >= 46 && f[12] == testType>>8 && f[13] == testType&0xff
}

// TestVLANFrames sends frames with odd tags: only those whose VLAN the network is on come
// in, and what a tag says beside the VLAN does not matter.
func TestVLANFrames(t *testing.T) {
	const vlan = 42
	v := newVLANLab(t, vlan)
	vm, stranger := v.tn.macOf(v.one), model.MAC{0x52, 0x54, 0, 0, 0, 0x99}
	c := v.capture(v.one, "eth0", isTestFrame)
	with := func(f []byte, tpid, tci uint16) []byte {
		tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), tci)
		return slices.Concat(f[:12], tag, f[12:])
	}
	frame := func(id byte) []byte { return testFrame(vm, stranger, id) }
	before := v.site.drops()
	for id, f := range [][]byte{
		1:  frame(1),                                            // without a tag: the host's
		2:  with(frame(2), 0x8100, 0),                           // priority alone
		3:  with(frame(3), 0x8100, 7<<13),                       // likewise
		4:  with(frame(4), 0x8100, 4095),                        // reserved
		5:  with(frame(5), 0x88a8, vlan),                        // a provider's
		6:  with(frame(6), 0x8100, vlan+1),                      // another
		7:  with(with(frame(7), 0x8100, vlan), 0x88a8, vlan),    // a tag in a provider's
		8:  with(with(frame(8), 0x8100, vlan), 0x8100, vlan),    // dropped: two tags
		9:  with(with(frame(9), 0x88a8, vlan), 0x8100, vlan),    // dropped
		10: with(with(frame(10), 0x8100, 0), 0x8100, vlan),      // dropped
		11: with(with(frame(11), 0x8100, vlan), 0x8100, 0)[:18], // cut behind the first tag's type
		12: with(frame(12), 0x8100, vlan|1<<12),                 // may be dropped in a queue: comes in
		13: with(frame(13), 0x8100, vlan|0xf000),                // all bits
		14: with(frame(14), 0x8100, vlan),                       // the last one
	} {
		if id > 0 {
			v.trunk.send(f)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	last := func(f []probe.Frame) bool { return len(f) > 0 && f[len(f)-1].Data[14] == 14 }
	if err := c.WaitFor(ctx, last); err != nil {
		t.Error(err)
	}
	frames, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, f := range frames {
		got = append(got, f.Data[14])
		if want := frame(f.Data[14]); !bytes.Equal(f.Data, want) {
			t.Errorf("frame %d came in as\n%x, want\n%x", f.Data[14], f.Data, want)
		}
	}
	if want := []byte{12, 13, 14}; !bytes.Equal(got, want) {
		t.Errorf("frames %v came in, want %v", got, want)
	}
	if n := v.site.drops()["vlan_tagged"] - before["vlan_tagged"]; n != 3 {
		t.Errorf("%d frames were dropped for a second tag, want 3", n)
	}

	v.sub("MTU", func(t *testing.T) {
		// The tag is no part of the MTU, on the way out and on the way in.
		v.mustRun("a1", "ip", "link", "set", "eth2", "mtu", "1000")
		dst := stranger // learned just now
		out := v.capture("switch", "trunk", func(f []byte) bool { return len(f) > 900 })
		s := v.newSender(v.one, "eth0")
		ip := func(n int) []byte {
			u := udpPacket("10.0.0.3", "10.0.0.99")
			u = append(u, make([]byte, n-len(u))...)
			binary.BigEndian.PutUint16(u[2:], uint16(n))
			return ethernet(dst, vm, 0x0800, u)
		}
		before := v.site.drops()
		testutil.Succeeds(t, "a packet beyond the MTU is dropped", func() error {
			s.send(ip(1001))
			if v.site.drops()["mtu_exceeded"] == before["mtu_exceeded"] {
				return errors.New("it was not yet")
			}
			return nil
		})
		s.send(ip(1000))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := out.WaitFor(ctx, func(f []probe.Frame) bool {
			return slices.ContainsFunc(f, func(f probe.Frame) bool { return len(f.Data) == 1000+14+4 || len(f.Data) == 1000+14 })
		}); err != nil {
			t.Errorf("a packet of just the MTU: %v", err)
		}
		v.mustRun("a1", "ip", "link", "set", "eth2", "mtu", "1500")
	})
}

// tagCapture notes the test frames that come in by an interface, each as its number, and
// its tag where it has one: "3@42". A capture does not show tags that the kernel takes off.
type tagCapture struct {
	mu   sync.Mutex
	seen []string
}

func (l *lab) captureTags(node, iface string) *tagCapture {
	l.t.Helper()
	c, s := &tagCapture{}, l.newSender(node, iface)
	if err := errors.Join(
		unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: s.index}), // ETH_P_ALL
	); err != nil {
		l.t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			s.receiveSome(func(f []byte, tci uint16, tagged bool) {
				what := ""
				if isTestFrame(f) {
					what = fmt.Sprint(f[14])
				} else if len(f) > 18 && f[12] == 0x81 { // a second tag
					what = fmt.Sprintf("%d@%d", f[18], binary.BigEndian.Uint16(f[14:]))
				} else {
					return
				}
				if tagged {
					what += fmt.Sprintf("@%d", tci)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				c.seen = append(c.seen, what)
			})
		}
	})
	l.t.Cleanup(func() { close(stop); wg.Wait() })
	return c
}

// frames are those that came in, but for number 0, in order of their numbers.
func (c *tagCapture) frames() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.DeleteFunc(slices.Clone(c.seen), func(s string) bool { return s[0] == '0' })
	slices.Sort(out)
	return out
}

// has waits until all of them have come in.
func (c *tagCapture) has(t *testing.T, want ...string) {
	t.Helper()
	testutil.Succeeds(t, fmt.Sprint("frames ", want, " come in"), func() error {
		got := c.frames()
		for _, w := range want {
			if !slices.Contains(got, w) {
				return fmt.Errorf("there are %v", got)
			}
		}
		return nil
	})
}

// TestVLANMembers: a frame for all of a network reaches each of its ports and VLANs once,
// as it was sent but for the tag; one from a VLAN reaches the ports alone. A MAC that a
// server had on a VLAN is a port's as soon as there is one.
func TestVLANMembers(t *testing.T) {
	v := newVLANLab(t, 42, 43)
	stranger := model.MAC{0x52, 0x54, 0, 0, 0, 0x99}
	one, two, trunk := v.captureTags(v.one, "eth0"), v.captureTags(v.two, "eth0"), v.captureTags("switch", "trunk")
	multicast := model.MAC{0x01, 0, 0x5e, 1, 2, 3}
	// A secured port sends ARP and IP alone.
	v.site.update(client.Ports, v.tn.workloadPorts[v.one], client.Attrs{"port_security_enabled": false})
	s := v.newSender(v.one, "eth0")
	testutil.Succeeds(t, "the VLANs are there", func() error {
		s.send(testFrame(packet.Broadcast, v.tn.macOf(v.one), 0))
		trunk.mu.Lock()
		defer trunk.mu.Unlock()
		if !slices.Contains(trunk.seen, "0@42") || !slices.Contains(trunk.seen, "0@43") {
			return fmt.Errorf("the last that came are %v", trunk.seen[max(0, len(trunk.seen)-4):])
		}
		return nil
	})
	s.send(testFrame(packet.Broadcast, v.tn.macOf(v.one), 1))
	s.send(testFrame(multicast, v.tn.macOf(v.one), 2))
	v.trunk.send(withTag(testFrame(packet.Broadcast, stranger, 3), 42))
	v.trunk.send(withTag(testFrame(multicast, stranger, 4), 43))
	one.has(t, "3", "4")
	two.has(t, "3", "4")
	s.send(testFrame(packet.Broadcast, v.tn.macOf(v.one), 9))
	two.has(t, "9")
	trunk.has(t, "9@42", "9@43")
	for _, c := range []struct {
		name string
		c    *tagCapture
		want []string
	}{
		{"who sends", one, []string{"3", "4"}},
		{"the other port", two, []string{"1", "2", "3", "4", "9"}},
		{"the trunk", trunk, []string{"1@42", "1@43", "2@42", "2@43", "9@42", "9@43"}},
	} {
		if got := c.c.frames(); !slices.Equal(got, c.want) {
			t.Errorf("%s sees frames %v, want %v", c.name, got, c.want)
		}
	}

	v.sub("a MAC moves", func(t *testing.T) {
		port := v.site.create(client.Ports, client.Attrs{"network_id": v.tn.network, "fixed_ips": []client.Attrs{{"ip_address": "10.0.0.60"}}, "mac_address": stranger.String()})
		v.tn.attachPort("three", port)
		three := v.capture("three", "eth0", isTestFrame)
		out := v.capture("switch", "trunk", isTestFrame)
		// While the server on the VLAN goes on to speak, which is refused now.
		before := v.site.drops()
		v.trunk.send(withTag(testFrame(v.tn.macOf(v.one), stranger, 5), 42))
		v.site.counted(before, "spoof_mac")
		s.send(testFrame(stranger, v.tn.macOf(v.one), 6))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := three.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) == 1 && f[0].Data[14] == 6 }); err != nil {
			t.Error(err)
		}
		frames, err := out.Stop()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if f.Data[14] == 6 {
				t.Error("the frame for the port left by the VLAN too")
			}
		}
	})
}

// TestVLANOffloads: large pieces of TCP cross the uplink with their tag beside them, both
// ways, and come out right; they stop when the connection is deleted under them, and no
// frame of theirs gets to the network after that.
func TestVLANOffloads(t *testing.T) {
	const vlan = 42
	v := newVLANLab(t, vlan)
	sw := v.newOffloadSwitch(vlan)
	v.reach(v.one, "10.0.0.50")
	v.bulkTCP(v.one, "server", "10.0.0.50", 16<<20)
	v.bulkTCP("server", v.one, "10.0.0.3", 16<<20)
	for way, n := range map[string]int64{"out of the trunk": sw.large[0].Load(), "into the trunk": sw.large[1].Load()} {
		if n == 0 {
			t.Errorf("no large piece went %s: the test shows nothing", way)
		}
	}

	// The server floods; the connection goes meanwhile.
	server := model.MustMAC(v.macOfInterface("server", "eth0"))
	in := v.capture(v.one, "eth0", isTestFrame)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				v.trunk.try(withTag(testFrame(v.tn.macOf(v.one), server, 7), vlan))
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := in.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) > 100 }); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Stop(); err != nil {
		t.Fatal(err)
	}
	v.site.remove(client.L2GatewayConnections, v.connections[vlan])
	testutil.Succeeds(t, "frames stop", func() error {
		c := v.capture(v.one, "eth0", isTestFrame)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if c.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) > 0 }) == nil {
			return errors.New("they still come")
		}
		return nil
	})
	v.mustPing(v.one, "10.0.0.4") // the network goes on
}

// offloadSwitch is a vlanSwitch that leaves segmentation and checksums to whoever is last.
type offloadSwitch struct {
	large [2]atomic.Int64 // pieces larger than a frame: out of the trunk, into it
}

// A virtio_net_hdr (struct of linux/virtio_net.h): flags, GSO type, then header length, GSO
// size, where the checksum begins, and where it is.
const virtioHeader = 10

func (l *lab) newOffloadSwitch(vlan uint16) *offloadSwitch {
	l.t.Helper()
	s := &offloadSwitch{}
	trunk, access := l.newSender("switch", "trunk"), l.newSender("switch", "access")
	for _, end := range []*sender{trunk, access} {
		if err := errors.Join(
			unix.SetsockoptInt(end.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptInt(end.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
			unix.SetsockoptTimeval(end.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
			unix.Bind(end.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: end.index}), // ETH_P_ALL
		); err != nil {
			l.t.Fatal(err)
		}
	}
	carry := func(b []byte, to *sender, large *atomic.Int64) {
		if len(b) > virtioHeader+1600 {
			large.Add(1)
		}
		var proto [2]byte
		copy(proto[:], b[virtioHeader+12:])
		_ = unix.Sendto(to.fd, b, 0, &unix.SockaddrLinklayer{Ifindex: to.index, Protocol: binary.NativeEndian.Uint16(proto[:])})
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	pump := func(from *sender, take func(b []byte, tci uint16, tagged bool)) {
		wg.Go(func() {
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
	pump(trunk, func(b []byte, tci uint16, tagged bool) {
		if tagged && tci == vlan {
			carry(b, access, &s.large[0])
		}
	})
	pump(access, func(b []byte, _ uint16, tagged bool) {
		if tagged || len(b) < virtioHeader+14 {
			return
		}
		b = append(b[:virtioHeader:virtioHeader], withTag(b[virtioHeader:], vlan)...)
		for _, at := range []int{2, 6} { // the header's length, and where the checksum begins
			if n := binary.NativeEndian.Uint16(b[at:]); n != 0 {
				binary.NativeEndian.PutUint16(b[at:], n+4)
			}
		}
		carry(b, trunk, &s.large[1])
	})
	l.t.Cleanup(func() { close(stop); wg.Wait() })
	return s
}
