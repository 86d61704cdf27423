package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/packet"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

const (
	labFabricPort = 4798
	labGW2        = "fa:16:3e:00:00:02"
)

func labHost(i int) netip.Addr { return netip.AddrFrom4([4]byte{172, 31, 0, byte(i + 1)}) }

// fabricState is what host i of two of one site knows: two networks and their router. A's workload is on
// the first; B's on the first with 10.0.0.4, or on the second with 10.0.1.3.
func fabricState(i, mtu int, together bool) hoststate.State {
	st := hoststate.NewState()
	a4 := func(a, b, c, d int) netip.Addr { return netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)}) }
	gw := []model.MAC{model.MustMAC(labGW), model.MustMAC(labGW2)}
	st.Routers[1] = hoststate.Router{ID: "r1", Name: "router"}
	for n := range 2 {
		net := model.NetworkKey(n + 1)
		st.Networks[net] = hoststate.Network{ID: model.NetworkID(fmt.Sprint("n", net)), MTU: mtu}
		st.FDB[hoststate.FDBKey{Network: net, MAC: gw[n]}] = hoststate.FDBEntry{Kind: hoststate.FDBRouter, Router: 1, Addr: a4(10, 0, n, 1), Domain: 1}
		st.Neighbors[hoststate.NeighborKey{Network: net, IP: a4(10, 0, n, 1)}] = gw[n]
		st.Routes[hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", n))}] = hoststate.Route{Kind: hoststate.RouteConnected, Network: net, MAC: gw[n]}
		st.Routes[hoststate.RouteKey{Router: 1, Prefix: netip.MustParsePrefix(fmt.Sprintf("10.0.%d.1/32", n))}] = hoststate.Route{Kind: hoststate.RouteLocal}
	}
	hosts := []model.HostName{"a", "b"}
	addrs, nets := []netip.Addr{a4(10, 0, 0, 3), a4(10, 0, 1, 3)}, []model.NetworkKey{1, 2}
	if together {
		addrs[1], nets[1] = a4(10, 0, 0, 4), 1
	}
	for n, host := range hosts {
		port := model.PortKey(n + 1)
		st.Hosts[host] = hoststate.Host{Addr: labHost(n), Port: labFabricPort}
		st.Members[hoststate.MemberKey{Network: nets[n], Host: host}] = hoststate.Member{}
		st.Speakers[hoststate.SpeakerKey{Domain: 1, Host: host}] = hoststate.Speaker{}
		st.FDB[hoststate.FDBKey{Network: nets[n], MAC: vmMAC(n)}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: port, Host: host}
		st.Neighbors[hoststate.NeighborKey{Network: nets[n], IP: addrs[n]}] = vmMAC(n)
		if n == i {
			st.Ports[port] = hoststate.Port{ID: model.PortID(fmt.Sprint("port-", port)), Network: nets[n], Interface: "tap0", MAC: vmMAC(n), Addrs: addrs[n : n+1], PortSecurity: true}
		}
	}
	return st
}

// newFabricLab is a lab whose two hosts are of one site.
func newFabricLab(t testing.TB, vmMTU, underlayMTU int) *lab {
	l := newLab(t, vmMTU, underlayMTU)
	for i, s := range []string{"A", "B"} {
		site := l.sites[s]
		run(t, "ip -n %[1]s link add fab0 mtu %[2]d type vxlan external dstport %[3]d nolearning && ip -n %[1]s link set fab0 up", l.ns("h"+s), underlayMTU, labFabricPort)
		site.env.Fabric = hostenv.Fabric{Addr: labHost(i), Port: labFabricPort, Index: l.index("h"+s, "fab0")}
		site.env.PathMTU = map[netip.Addr]int{labHost(1 - i): underlayMTU}
		l.ways(s, Way{Interfaces: [MaxWays]uint32{uint32(site.ul)}})
		l.fabric(s, false)
		inNS(t, l.ns("h"+s), func() error { return site.dp.AttachVXLAN(site.env.Fabric.Index) })
	}
	return l
}

func (l *lab) ways(s string, w Way) {
	i := int(s[0] - 'A')
	l.sites[s].env.Ways = map[VTEP]Way{{Local: labHost(i), Remote: labHost(1 - i)}: w}
}

// fabric gives a host its state.
func (l *lab) fabric(s string, together bool) {
	l.t.Helper()
	site := l.sites[s]
	site.st = fabricState(int(s[0]-'A'), site.env.Links["tap0"].MTU, together)
	l.sync(s)
}

func (l *lab) together(yes bool) {
	l.t.Helper()
	l.fabric("A", yes)
	l.fabric("B", yes)
	if yes {
		l.exec("vB", "ip addr add 10.0.0.4/24 dev eth0")
	} else {
		l.exec("vB", "ip addr flush to 10.0.0.4 dev eth0")
	}
	// Who asked for what before.
	l.exec("vA", "ip neigh flush dev eth0")
	l.exec("vB", "ip neigh flush dev eth0")
}

// dropped is how often a host has dropped something for a reason.
func (l *lab) dropped(s, why string) int {
	l.t.Helper()
	for _, w := range strings.Fields(l.drops(s)) {
		var n int
		if _, err := fmt.Sscanf(w, why+"=%d", &n); err == nil {
			return n
		}
	}
	return 0
}

// TestFabric: two workloads of one site on two hosts reach each other, within a network and through a
// router, whether the programs or the kernel send; also where one has to be asked for.
func TestFabric(t *testing.T) {
	testutil.RequireTool(t, "iperf3")
	l := newFabricLab(t, 1450, 1500)
	defer func() { t.Logf("drops: A %s; B %s", l.drops("A"), l.drops("B")) }()
	for _, kernel := range []bool{false, true} {
		for _, s := range []string{"A", "B"} {
			l.ways(s, Way{Interfaces: [MaxWays]uint32{uint32(l.sites[s].ul)}, Kernel: kernel})
		}
		l.together(false)
		l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.1.3")
		l.exec("vB", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.3")
		l.exec("vA", "ping -M dont -s 4000 -c 2 -i 0.2 -W 2 -q 10.0.1.3")
		l.together(true)
		l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.4")
		// Nobody knows who has the address: the request is flooded, and the answer comes back.
		for _, s := range []string{"A", "B"} {
			delete(l.sites[s].st.Neighbors, hoststate.NeighborKey{Network: 1, IP: netip.MustParseAddr("10.0.0.4")})
			l.sync(s)
		}
		l.exec("vA", "ip neigh flush dev eth0")
		l.exec("vA", "ping -c 3 -i 0.2 -W 2 -q 10.0.0.4")
		for _, s := range []string{"A", "B"} {
			if d := l.drops(s); strings.Contains(d, "fabric") || strings.Contains(d, "underlay") || strings.Contains(d, "unknown") {
				t.Errorf("by the kernel %v: host %s has dropped: %s", kernel, s, d)
			}
		}
	}
	for _, s := range []string{"A", "B"} {
		l.ways(s, Way{Interfaces: [MaxWays]uint32{uint32(l.sites[s].ul)}})
	}
	l.together(false)
	l.bulk("vB", "10.0.1.3")
	for i, s := range []string{"A", "B"} {
		c, err := l.sites[s].dp.Counters()
		if err != nil {
			t.Fatal(err)
		}
		if n := c.Tunnels[Tunnel{Local: labHost(i), Remote: labHost(1 - i)}]; n.RxBytes < 150<<20 || n.TxBytes < 150<<20 {
			t.Errorf("host %s has counted %+v for the other", s, n)
		}
	}
}

// TestFabricForged: what no host of the site can have sent is refused, each for its reason.
func TestFabricForged(t *testing.T) {
	l := newFabricLab(t, 1450, 1500)
	l.together(false)
	l.exec("hA", "ip addr add 172.31.0.99/32 dev lo")
	// No ARP among the frames that are counted: vB answers what arrives with ICMP errors.
	l.exec("vB", "ip neigh replace 10.0.1.1 lladdr %s nud permanent dev eth0", labGW2)
	a, b, gw, gw2 := vmMAC(0), vmMAC(1), model.MustMAC(labGW), model.MustMAC(labGW2)
	stranger := netip.MustParseAddr("172.31.0.99")
	sendBytes := func(from netip.Addr, b []byte) {
		t.Helper()
		s := socketIn(t, l.ns("hA"))
		defer unix.Close(s)
		if err := unix.Bind(s, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Sendto(s, b, 0, &unix.SockaddrInet4{Port: labFabricPort, Addr: labHost(1).As4()}); err != nil {
			t.Fatal(err)
		}
	}
	send := func(from netip.Addr, net model.NetworkKey, src, dst model.MAC) {
		t.Helper()
		sendBytes(from, fabricFrame(net, src, dst))
	}
	speakers := func(yes bool) {
		t.Helper()
		site := l.sites["B"]
		site.st = fabricState(1, 1450, false)
		if !yes {
			delete(site.st.Speakers, hoststate.SpeakerKey{Domain: 1, Host: "a"})
		}
		l.sync("B")
	}
	arrived := func() int { return int(l.packets("vB", "rx")) }
	refused := func(what, why string, f func()) {
		t.Helper()
		before, got := l.dropped("B", why), arrived()
		f()
		testutil.Eventually(t, what+" to count as "+why, func() bool { return l.dropped("B", why) == before+1 })
		if n := arrived(); n != got {
			t.Errorf("%s: %d frames arrived", what, n-got)
		}
	}
	taken := func(what string, f func()) {
		t.Helper()
		got := arrived()
		f()
		testutil.Eventually(t, what+" to arrive", func() bool { return arrived() > got })
	}
	taken("a router's frame", func() { send(labHost(0), 2, gw2, b) })
	refused("a stranger's frame", "fabric_host_unknown", func() { send(stranger, 2, gw2, b) })
	refused("a frame from the receiver's own workload", "fabric_source_mac", func() { send(labHost(0), 2, b, b) })
	refused("a frame of another network's workload", "fabric_source_mac", func() { send(labHost(0), 2, a, b) })
	refused("a frame from nobody", "fabric_source_mac", func() { send(labHost(0), 2, model.MAC{2, 2, 2, 2, 2, 2}, b) })
	refused("a frame to a router", "fabric_hairpin", func() { send(labHost(0), 1, a, gw) })
	refused("a frame to where it comes from", "fabric_hairpin", func() { send(labHost(0), 1, a, a) })
	speakers(false)
	refused("a frame of a router that the host may not speak for", "fabric_source_mac", func() { send(labHost(0), 2, gw2, b) })
	speakers(true)
	taken("a router's frame", func() { send(labHost(0), 2, gw2, b) })
	forgedPairs(t, l, func(net model.NetworkKey, mac model.MAC, ip string) {
		sendBytes(labHost(0), announceFrame(net, mac, ip))
	},
		func(net model.NetworkKey, src model.MAC) { send(labHost(0), net, src, b) }, taken, refused)
	l.ways("B", Way{Interfaces: [MaxWays]uint32{uint32(l.sites["B"].ul + 100)}})
	l.sync("B")
	refused("a frame by another interface", "vtep_interface", func() { send(labHost(0), 2, gw2, b) })
}

// forgedPairs: host a has a port with a pair of VRRP's MAC, and host c one with another. What a says of c's, or on another
// network, is refused.
func forgedPairs(t *testing.T, l *lab, announce func(net model.NetworkKey, mac model.MAC, ip string), send func(net model.NetworkKey, src model.MAC),
	taken func(string, func()), refused func(what, why string, f func())) {
	t.Helper()
	st, port, other := l.sites["B"].st, model.MAC{2, 0, 0, 0, 0, 50}, model.MAC{2, 0, 0, 0, 0, 60}
	vrrp, vrrp2 := model.MAC{0, 0, 0x5e, 0, 1, 1}, model.MAC{0, 0, 0x5e, 0, 1, 2}
	st.Hosts["c"] = hoststate.Host{Addr: labHost(2), Port: labFabricPort}
	for _, p := range []struct {
		host      model.HostName
		port      model.PortKey
		own, pair model.MAC
		ip        string
	}{{"a", 50, port, vrrp, "10.0.1.99/32"}, {"c", 60, other, vrrp2, "10.0.1.98/32"}} {
		st.FDB[hoststate.FDBKey{Network: 2, MAC: p.own}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: p.port, Host: p.host}
		v := hoststate.HostPair{Port: p.port, MAC: p.own}
		st.HostPairs[hoststate.HostPairKey{Network: 2, Host: p.host, MAC: p.pair}] = v
		for _, mac := range []model.MAC{p.own, p.pair} {
			st.HostPairs[hoststate.HostPairKey{Network: 2, Host: p.host, MAC: mac, Prefix: netip.MustParsePrefix(p.ip)}] = v
		}
	}
	l.sync("B")
	learned := func() (n int) {
		all, err := l.sites["B"].dp.Learned()
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	refused("an announcement with a MAC that the host has no pair of", "fabric_source_mac", func() { announce(2, vrrp2, "10.0.1.98") })
	refused("an announcement of a pair that another host has", "fabric_source_ip", func() { announce(2, port, "10.0.1.98") })
	refused("the same on another network", "fabric_source_mac", func() { announce(1, vrrp, "10.0.1.99") })
	refused("a frame from a pair's MAC that another host has", "fabric_source_mac", func() { send(2, vrrp2) })
	refused("a frame from a pair's MAC on another network", "fabric_source_mac", func() { send(1, vrrp) })
	if n := learned(); n != 0 {
		t.Errorf("%d rows were learned of what is refused", n)
	}
	taken("an announcement", func() { announce(2, vrrp, "10.0.1.99") })
	taken("a frame from the pair's MAC", func() { send(2, vrrp) })
	if n := learned(); n != 2 {
		t.Errorf("%d rows were learned of an announcement, want the address and the MAC", n)
	}
	refused("an announcement of an address that another's pair allows", "fabric_source_ip", func() { announce(2, vrrp, "10.0.1.98") })
}

// announceFrame is a VXLAN header and a gratuitous ARP request.
func announceFrame(net model.NetworkKey, mac model.MAC, ip string) []byte {
	a := netip.MustParseAddr(ip)
	b := packet.Ethernet{Dst: packet.Broadcast, Src: mac, Type: packet.TypeARP}.Append(binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, uint32(net)<<8))
	return packet.ARP{Op: packet.ARPRequest, SenderMAC: mac, SenderIP: a, TargetIP: a}.Append(b)
}

// fabricFrame is a VXLAN header and a frame with a UDP packet to vB's workload.
func fabricFrame(net model.NetworkKey, src, dst model.MAC) []byte {
	b := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, uint32(net)<<8)
	b = append(append(append(b, dst[:]...), src[:]...), 8, 0)
	return append(b, udpTo(netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.1.3"))...)
}

// udpTo is an IPv4 packet.
func udpTo(src, dst netip.Addr) []byte {
	s, d := src.As4(), dst.As4()
	ip := []byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, s[0], s[1], s[2], s[3], d[0], d[1], d[2], d[3]}
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum&0xffff+sum>>16))
	return append(ip, 0x30, 0x39, 0, 9, 0, 8, 0, 0)
}

// TestFabricFloodAllowance: the sender of what is flooded from the fabric is the host that sent it, whatever MACs it is from.
func TestFabricFloodAllowance(t *testing.T) {
	l := newFabricLab(t, 1450, 1500)
	site := l.sites["A"]
	st, env := fabricState(0, 1450, true), site.env
	const burst, macs = 10, 30
	for host := range 2 { // "b", and a third host
		name := []model.HostName{"b", "c"}[host]
		st.Hosts[name] = hoststate.Host{Addr: labHost(1 + host), Port: labFabricPort}
		for i := range macs {
			mac := model.MAC{2, 0, 0, 1, byte(host), byte(i)}
			st.FDB[hoststate.FDBKey{Network: 1, MAC: mac}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: model.PortKey(100 + host*macs + i), Host: name}
		}
	}
	inNS(t, l.ns("hA"), func() error {
		d, err := Open(Config{PinDir: labPins(t), Record: true, FloodRate: 1, FloodBurst: burst, ICMPRate: 1, ICMPBurst: 5})
		if err != nil {
			return err
		}
		if err := d.Sync(st, env); err != nil {
			return errors.Join(err, d.Remove())
		}
		start := time.Now()
		for host := range 2 {
			got := 0
			for i := range macs {
				f := append(packet.Ethernet{Dst: packet.Broadcast, Src: model.MAC{2, 0, 0, 1, byte(host), byte(i)}, Type: packet.TypeIPv4}.Append(nil),
					udpTo(netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.255"))...)
				r, err := d.TestRun(&TestRun{
					Program: bpfProgFromVxlan, Ifindex: env.Fabric.Index, Data: f, Mark: DefaultMark, Out: make([]byte, 4096),
					Key: &Tunnel{Local: labHost(0), Remote: labHost(1 + host), VNI: 1},
				})
				switch {
				case err != nil:
					return errors.Join(err, d.Remove())
				case r.Verdict == verdictFlood:
					got++
				case r.Reason != reason.FloodLimited:
					t.Errorf("host %d, MAC %d: verdict %d, reason %s", host, i, r.Verdict, r.Reason)
				}
			}
			if most := burst + 2 + int(time.Since(start).Seconds()); got < burst || got > most {
				t.Errorf("of %d frames of host %d, each of another MAC, %d were flooded: want %d to %d", macs, host, got, burst, most)
			}
		}
		return d.Remove()
	})
}
