package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

// newGatewayLab is a lab whose host B is a gateway host. The workload of its site is on host C:
//
//	vA eth0 ── tap0 hA ul0 ── ul0 hB ul1 ── ul0 hC tap0 ── eth0 vC
func newGatewayLab(t testing.TB) *lab {
	const vmMTU, mtu = 1450, 1500
	l := newLab(t, vmMTU, mtu)
	b := l.sites["B"]
	for _, x := range []string{"hC", "vC"} {
		run(t, "ip netns add %[1]s && ip -n %[1]s link set lo up", l.ns(x))
		t.Cleanup(func() { run(t, "ip netns del %s", l.ns(x)) })
		l.exec(x, "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1 net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
	}
	hB, hC, vC := l.ns("hB"), l.ns("hC"), l.ns("vC")
	run(t, "ip link add ul1 netns %s mtu %d type veth peer name ul0 netns %s mtu %d", hB, mtu, hC, mtu)
	run(t, "ip link add tap0 netns %s mtu %d type veth peer name eth0 netns %s mtu %d address %s", hC, vmMTU, vC, vmMTU, vmMAC(1))
	run(t, "ip -n %[1]s link set tap0 up && ip -n %[2]s addr add %[3]s/24 dev eth0 && ip -n %[2]s link set eth0 up && ip -n %[2]s route add default via %[4]s", hC, vC, b.vm, b.gw)
	c := &labSite{name: "C", tap: l.index("hC", "tap0"), cfg: Config{PinDir: labPins(t)}}
	l.sites["C"] = c
	c.env = Env{Links: map[string]Link{"tap0": {Index: c.tap, PeerElsewhere: true, MTU: vmMTU}}, PathMTU: map[netip.Addr]int{}, Ways: map[VTEP]Way{}}
	fabric := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{172, 31, 1, byte(i + 1)}) }
	for i, s := range []string{"B", "C"} {
		dev := []string{"ul1", "ul0"}[i]
		run(t, `ip -n %[1]s addr add %[2]s/30 dev %[3]s && ip -n %[1]s link set %[3]s up &&
			ip -n %[1]s link add fab0 mtu %[4]d type vxlan external dstport %[5]d nolearning && ip -n %[1]s link set fab0 up`, l.ns("h"+s), fabric(i), dev, mtu, labFabricPort)
		l.exec("h"+s, "sysctl -qw net.ipv4.conf.fab0.forwarding=1")
		env := &l.sites[s].env
		env.Fabric = hostenv.Fabric{Addr: fabric(i), Port: labFabricPort, Index: l.index("h"+s, "fab0")}
		env.PathMTU[fabric(1-i)] = mtu
		env.Ways[VTEP{Local: fabric(i), Remote: fabric(1 - i)}] = Way{Interfaces: [MaxWays]uint32{uint32(l.index("h"+s, dev))}}
	}
	c.ul, c.env.VXLANIndex = l.index("hC", "ul0"), l.index("hC", "fab0")
	l.open("C", layoutVersion)
	t.Cleanup(func() {
		if err := c.dp.Remove(); err != nil {
			t.Error(err)
		}
	})
	l.gateway(false)
	l.attach("C")
	inNS(t, hB, func() error {
		return errors.Join(b.dp.AttachUnderlay(l.index("hB", "ul1")), b.dp.AttachVXLAN(b.env.Fabric.Index))
	})
	return l
}

// gateway gives the hosts their states. bridged: both workloads are on the network that the sites share.
func (l *lab) gateway(bridged bool) {
	l.t.Helper()
	for i, s := range []string{"A", "B", "C"} {
		site, afar := l.sites[s], min(i, 1)
		st := labState(afar, 1450)
		remote := hoststate.FDBKey{Network: 2, MAC: msMAC(1 - afar)}
		port, e := st.Ports[1], st.FDB[remote]
		if s != "A" {
			for k, v := range st.FDB {
				switch v.Kind {
				case hoststate.FDBPort:
					v.Host = "c"
				case hoststate.FDBRemote:
					v.Host = "b"
				case hoststate.FDBRouter:
					v.Domain = 1
				}
				st.FDB[k] = v
			}
			e = st.FDB[remote]
			for j, name := range []model.HostName{"b", "c"} {
				st.Hosts[name] = hoststate.Host{Addr: l.sites[strings.ToUpper(string(name))].env.Fabric.Addr, Port: labFabricPort}
				st.Speakers[hoststate.SpeakerKey{Domain: 1, Host: name}] = hoststate.Speaker{}
				st.Members[hoststate.MemberKey{Network: model.NetworkKey(j + 1), Host: "c"}] = hoststate.Member{}
			}
		}
		if bridged {
			port.Network, port.Addrs = 2, []netip.Addr{bridgedAddr(afar)}
			own := st.FDB[hoststate.FDBKey{Network: 1, MAC: vmMAC(afar)}]
			st.FDB[hoststate.FDBKey{Network: 2, MAC: vmMAC(afar)}] = own
			st.FDB[hoststate.FDBKey{Network: 2, MAC: vmMAC(1 - afar)}] = e
		}
		st.Ports[1] = port
		if s == "B" {
			delete(st.Ports, 1)
		}
		if s == "C" {
			clear(st.Gateways)
			clear(st.VNIs)
			clear(st.Peers)
		}
		site.st = st
		l.sync(s)
	}
}

func bridgedAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 5, 0, byte(i + 1)}) }

// whole sends bytes by TCP from one namespace to another, which must come as they are.
func (l *lab) whole(from, to string, addr netip.Addr) {
	l.t.Helper()
	const size = 8 << 20
	sent := make([]byte, size)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < size; i++ {
		sent[i] = byte(r.Uint32())
	}
	var listener net.Listener
	inNS(l.t, l.ns(to), func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	defer listener.Close()
	arrived := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			arrived <- err
			return
		}
		got, err := io.ReadAll(c)
		if err == nil && !bytes.Equal(got, sent) {
			err = fmt.Errorf("other bytes arrived than were sent (%d of %d)", len(got), size)
		}
		arrived <- errors.Join(err, c.Close())
	}()
	inNS(l.t, l.ns(from), func() error {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		_, err = c.Write(sent)
		return errors.Join(err, c.Close())
	})
	if err := testutil.Receive(l.t, "all that was sent from "+from, arrived); err != nil {
		l.t.Errorf("%s to %s: %v", from, to, err)
	}
}

// snmp is a counter of /proc/net/snmp or netstat.
func (l *lab) snmp(ns, name string) int {
	l.t.Helper()
	var n int
	out := strings.Fields(l.exec(ns, "nstat -asz %s", name))
	for i, w := range out[:len(out)-1] {
		if w == name {
			if _, err := fmt.Sscan(out[i+1], &n); err != nil {
				l.t.Fatal(err)
			}
			return n
		}
	}
	l.t.Fatalf("no %s in %v", name, out)
	return 0
}

// TestGatewayTransit: a gateway host takes what comes out of one tunnel on into another one, bridged or by a router, whoever cuts
// the data into packets and whoever writes their checksums.
func TestGatewayTransit(t *testing.T) {
	testutil.RequireTool(t, "nstat")
	l := newGatewayLab(t)
	defer func() { t.Logf("drops: A %s; B %s; C %s", l.drops("A"), l.drops("B"), l.drops("C")) }()
	ends := []string{"vA eth0", "vC eth0", "hA tap0", "hC tap0"}
	links := []string{"hA ul0", "hB ul0", "hB ul1", "hC ul0"}
	set := func(devs []string, what string) {
		for _, d := range devs {
			ns, dev, _ := strings.Cut(d, " ")
			l.exec(ns, "ethtool -K %s %s", dev, what)
		}
	}
	for _, way := range []struct {
		name string
		set  func()
	}{
		{"the gateway host's links cut and sum", func() { set(links, "tx off gso off tso off") }},
		{"all offloads", func() { set(links, "tx on gso on tso on") }},
		{"the workloads cut", func() { set(ends, "tso off gso off gro off") }},
		{"the gateway host's links sum", func() { set(links, "tx off") }},
		{"no offload", func() { set(append(ends, links...), "tso off gso off gro off tx off rx off") }},
	} {
		way.set()
		for _, bridged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bridged=%v", way.name, bridged), func(t *testing.T) {
				outer := l.t
				l.t = t
				defer func() { l.t = outer }()
				l.gateway(bridged)
				a, c := l.sites["A"].vm, l.sites["B"].vm
				if bridged {
					a, c = bridgedAddr(0), bridgedAddr(1)
					for i, ns := range []string{"vA", "vC"} {
						l.exec(ns, "ip addr replace %s/24 dev eth0", bridgedAddr(i))
						l.exec(ns, "ip neigh replace %s lladdr %s nud permanent dev eth0", bridgedAddr(1-i), vmMAC(1-i))
					}
				}
				l.whole("vA", "vC", c)
				l.whole("vC", "vA", a)
				for _, ns := range []string{"vA", "vC", "hA", "hB", "hC"} {
					for _, name := range []string{"TcpInCsumErrors", "IpInHdrErrors", "UdpInCsumErrors"} {
						if n := l.snmp(ns, name); n != 0 {
							t.Errorf("%s: %s is %d", ns, name, n)
						}
					}
				}
				for _, s := range []string{"A", "B", "C"} {
					for _, w := range strings.Fields(l.drops(s)) {
						t.Errorf("host %s has dropped %s", s, w)
					}
				}
			})
		}
	}
}
