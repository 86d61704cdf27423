package scenario

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// newHostsLab is a lab of n sites with so many hosts each, a1, a2 … b1, b2 …, all linked to the underlay
// router core. The first of a site has its tunnel IP.
func newHostsLab(t *testing.T, n, hosts int, opts ...labOption) *lab {
	t.Helper()
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ethtool")
	f := &testbed.File{
		Lab:     fmt.Sprintf("t%d-%d", os.Getpid()%100000, labs.Add(1)),
		Routers: []testbed.Node{{Name: "core"}},
		Routes:  map[string][]testbed.Route{},
	}
	ports := freePorts(t, n)
	for i := range n {
		l := string(rune('a' + i))
		s := testbed.Site{Name: "site-" + l, API: fmt.Sprintf("127.0.0.1:%d", ports[i])}
		for j := range hosts {
			host := testbed.Node{Name: fmt.Sprintf("%s%d", l, j+1), FabricAddress: fabricIP(i, j), Sysctls: hostSysctls}
			via := netip.AddrFrom4([4]byte{172, 16, host.FabricAddress.As4()[2], 1})
			f.Routes[host.Name] = []testbed.Route{
				{To: netip.MustParsePrefix("172.16.0.0/16"), Via: via},
				{To: netip.MustParsePrefix("200.200.0.0/16"), Via: via},
			}
			if j == 0 {
				host.TunnelIP = tunnelIP(i)
				f.Routes["core"] = append(f.Routes["core"], testbed.Route{To: netip.PrefixFrom(tunnelIP(i), 32), Via: host.FabricAddress})
			}
			s.Hosts = append(s.Hosts, host)
			f.Links = append(f.Links, testbed.Link{Ends: []testbed.End{
				{Node: host.Name, Interface: "eth1", Address: netip.PrefixFrom(host.FabricAddress, 24)},
				{Node: "core", Interface: "to-" + host.Name, Address: netip.PrefixFrom(via, 24)},
			}})
		}
		f.Sites = append(f.Sites, s)
	}
	for _, o := range opts {
		o(f)
	}
	l := upLab(t, f)
	for i, s := range l.sites {
		s.awaitHosts(len(f.Sites[i].Hosts))
	}
	return l
}

func fabricIP(site, host int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 16, byte(10*(site+1) + host + 1), 2})
}

// awaitHosts waits until all agents of a site have come.
func (s *site) awaitHosts(n int) {
	s.lab.t.Helper()
	testutil.Succeeds(s.lab.t, "all agents of "+s.name, func() error {
		list, err := s.api.List(s.lab.t.Context(), client.Agents, nil)
		if err != nil {
			return err
		}
		alive := 0
		for _, a := range list {
			if v, _ := a["alive"].(bool); v {
				alive++
			}
		}
		if alive != n {
			return fmt.Errorf("%d of %d", alive, n)
		}
		return nil
	})
}

// rowsAgree waits until each host that is alive has the rows that all of the site's resources, worked out anew, come to for it.
func (s *site) rowsAgree() {
	s.lab.t.Helper()
	testutil.Succeeds(s.lab.t, "the rows of the hosts of "+s.name, func() error {
		out, err := s.lab.tryCauseway(s, "host", "verify")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// attachOn makes a port with an address on a network, and a workload on it at a host.
func (s *site) attachOn(host, name, network, address string) {
	s.lab.t.Helper()
	port := s.create(client.Ports, client.Attrs{"network_id": network, "name": name, "fixed_ips": []client.Attrs{{"ip_address": address}}})
	if _, err := s.lab.Attach(s.lab.t.Context(), testbed.AttachOptions{Site: s.name, Host: host, Port: port, Name: name}); err != nil {
		s.lab.t.Fatal(err)
	}
}

// fabricDrops are the reasons of the fabric by which hosts dropped anything.
func (l *lab) fabricDrops(hosts ...string) (out []string) {
	l.t.Helper()
	for _, h := range hosts {
		m, err := l.metrics(h)
		if err != nil {
			l.t.Fatal(err)
		}
		for k, v := range m {
			if v != 0 && strings.HasPrefix(k, dropMetric) && (strings.Contains(k, `"fabric_`) || strings.Contains(k, `"host_unreachable"`)) {
				out = append(out, fmt.Sprintf("%s: %s %v", h, k, v))
			}
		}
	}
	slices.Sort(out)
	return out
}

// vm is a workload of TestFabric.
type vm struct{ name, addr string }

// TestFabric: workloads of three hosts of one site, of one network and of two that a router joins, talk
// to each other as they do on one host.
func TestFabric(t *testing.T) {
	l := newHostsLab(t, 1, 3)
	s := l.sites[0]
	near := s.create(client.Networks, client.Attrs{"name": "near"})
	far := s.create(client.Networks, client.Attrs{"name": "far"})
	router := s.create(client.Routers, client.Attrs{"name": "router"})
	for n, cidr := range map[string]string{near: "10.0.0.0/24", far: "10.0.60.0/24"} {
		s.addInterface(router, "subnet_id", s.create(client.Subnets, client.Attrs{"network_id": n, "ip_version": 4, "cidr": cidr}))
	}
	hosts := []string{"a1", "a2", "a3"}
	var nears, fars []vm
	for i, h := range hosts {
		nears = append(nears, vm{"near-" + h, fmt.Sprintf("10.0.0.%d", 11+i)})
		fars = append(fars, vm{"far-" + h, fmt.Sprintf("10.0.60.%d", 11+i)})
		s.attachOn(h, nears[i].name, near, nears[i].addr)
		s.attachOn(h, fars[i].name, far, fars[i].addr)
	}
	each := func(f func(from, to vm)) {
		for i := range hosts {
			for j := range hosts {
				if i != j {
					f(nears[i], nears[j])
				}
				f(nears[i], fars[j])
			}
		}
	}
	l.sub("ping", func(*testing.T) {
		each(func(from, to vm) { l.reach(from.name, to.addr) })
	})
	for _, state := range []string{"on", "off"} {
		l.sub("TCP with offloads "+state, func(*testing.T) {
			for _, v := range append(slices.Clone(nears), fars...) {
				l.offloads(v.name, state)
			}
			for i := range hosts {
				j := (i + 1) % len(hosts)
				l.bulkTCP(nears[i].name, nears[j].name, nears[j].addr, 8<<20)
				l.bulkTCP(nears[i].name, fars[j].name, fars[j].addr, 8<<20)
				l.bulkTCP(fars[j].name, nears[i].name, nears[i].addr, 8<<20)
			}
		})
	}
	l.sub("fragments", func(*testing.T) {
		each(func(from, to vm) { l.mustPing(from.name, to.addr, "-M", "dont", "-s", "4000") })
	})
	l.sub("UDP_SEGMENT", func(*testing.T) {
		for _, v := range append(slices.Clone(nears), fars...) {
			l.offloads(v.name, "on")
		}
		l.udpSegment("near-a1", "near-a2", "10.0.0.12", 1450)
		l.udpSegment("near-a2", "far-a3", "10.0.60.13", 1450)
		l.udpSegment("far-a3", "near-a1", "10.0.0.11", 1450)
	})
	l.sub("a large packet with DF", func(t *testing.T) {
		if got := l.ping("near-a1", "10.0.0.12", 3, "-M", "do", "-s", "1422"); got != 3 {
			t.Errorf("1450 bytes with DF: %d of 3 came back", got)
		}
	})
	l.sub("ARP", func(t *testing.T) { testFabricARP(t, l) })
	l.sub("a shared address", func(t *testing.T) { testFabricShared(t, l, s, router) })
	if d := l.fabricDrops(hosts...); len(d) > 0 {
		t.Errorf("the fabric dropped: %s", strings.Join(d, "\n"))
	}
}

// testFabricARP: a request for an address that nobody is known to have goes to all other hosts once; one for a
// known address is answered at home.
func testFabricARP(t *testing.T, l *lab) {
	var own model.MAC
	for _, w := range l.Workloads() {
		if w.Name == "near-a1" {
			own = model.MustMAC(w.MAC)
		}
	}
	request := func(target string) []byte {
		src, dst := netip.MustParseAddr("10.0.0.11").As4(), netip.MustParseAddr(target).As4()
		b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
		b = append(append(b, own[:]...), src[:]...)
		b = append(append(b, make([]byte, 6)...), dst[:]...)
		return ethernet(model.MustMAC("ff:ff:ff:ff:ff:ff"), own, 0x0806, b)
	}
	asks := func(f []byte) bool {
		return len(f) >= 42 && binary.BigEndian.Uint16(f[12:]) == 0x0806 && f[21] == 1 && [6]byte(f[22:28]) == [6]byte(own)
	}
	for _, h := range []string{"a2", "a3"} {
		l.mustRun("near-"+h, "ip", "neigh", "flush", "dev", "eth0")
	}
	two, three := l.capture("near-a2", "eth0", asks), l.capture("near-a3", "eth0", asks)
	elsewhere := l.capture("far-a2", "eth0", asks)
	s := l.newSender("near-a1", "eth0")
	s.send(request("10.0.0.12")) // known
	s.send(request("10.0.0.99"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, c := range []*probe.Capture{two, three} {
		if err := c.WaitFor(ctx, func(f []probe.Frame) bool { return len(f) >= 1 }); err != nil {
			t.Errorf("a request for an unknown address does not come: %v", err)
		}
	}
	l.mustPing("near-a1", "10.0.0.12") // behind them on every road
	for name, c := range map[string]*probe.Capture{"near-a2": two, "near-a3": three} {
		if f := c.Frames(); len(f) != 1 || f[0].Data[41] != 99 {
			t.Errorf("%s saw %d requests; want that for the unknown address, once", name, len(f))
		}
	}
	if f := elsewhere.Frames(); len(f) != 0 {
		t.Errorf("another network saw %d requests", len(f))
	}
}

// TestFabricBetweenSites: workloads of hosts that serve no gateway device reach those of the other
// site by the host that does.
func TestFabricBetweenSites(t *testing.T) {
	t.Setenv("CAUSEWAY_CONTROLLER_GATEWAY_LINGER", moveLinger)
	l := newHostsLab(t, 2, 2)
	a, b := l.sites[0].newTenant("t", 100), l.sites[1].newTenant("t", 100)
	peer(a, b)
	for i, tn := range []*tenant{a, b} {
		for j, h := range []string{"1", "2"} {
			host := []string{"a", "b"}[i] + h
			tn.site.attachOn(host, "vm-"+host, tn.network, fmt.Sprintf("10.0.%d.%d", i, 11+j))
		}
	}
	for _, gw := range []string{"a1", "b1"} {
		if out := l.mustRun(gw, "ip", "-o", "addr", "show", "dev", "cw-vxlan"); !strings.Contains(out, "200.200.0.") {
			t.Fatalf("%s does not serve the gateway device: %s", gw, out)
		}
	}
	all := []vm{{"vm-a1", "10.0.0.11"}, {"vm-a2", "10.0.0.12"}, {"vm-b1", "10.0.1.11"}, {"vm-b2", "10.0.1.12"}}
	for _, from := range all {
		for _, to := range all {
			if from != to {
				l.reach(from.name, to.addr)
			}
		}
	}
	l.bulkTCP("vm-a2", "vm-b2", "10.0.1.12", 16<<20)
	l.bulkTCP("vm-b2", "vm-a2", "10.0.0.12", 16<<20)
	l.bulkTCP("vm-a2", "vm-b1", "10.0.1.11", 8<<20)
	for _, v := range all {
		l.offloads(v.name, "off")
	}
	l.bulkTCP("vm-a2", "vm-b2", "10.0.1.12", 8<<20)
	l.mustPing("vm-a2", "10.0.1.12", "-M", "dont", "-s", "4000")
	l.mustPing("vm-b2", "10.0.0.12", "-M", "dont", "-s", "4000")
	if hops := l.traceroute("vm-a2", "10.0.1.12"); fmt.Sprint(hops) != "[10.0.0.1 192.168.0.2 10.0.1.12]" {
		t.Errorf("hops from vm-a2 to vm-b2: %v", hops)
	}
	testGatewayMove(t, l, a)
	if d := l.fabricDrops("a1", "a2", "b1", "b2"); len(d) > 0 {
		t.Errorf("the fabric dropped: %s", strings.Join(d, "\n"))
	}
}
