package scenario

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
	"github.com/causeway-net/causeway/internal/testbed/probe"
	"github.com/causeway-net/causeway/internal/testutil"
)

// wholeSites is a lab of two sites, each of three controllers on three etcd members, hosts and a gateway host, with one
// tenant at both. On each host are a workload on the tenant's network, one on a second network behind its router, and one on the
// multi-site network.
type wholeSites struct {
	*lab
	tenants           []*tenant
	farNetworks       []string
	near, far, direct [2][]vm // of each site, by host; the last host is the gateway
}

// newWholeSites makes the lab with so many hosts a site, and the gateway host.
func newWholeSites(t *testing.T, hosts int) *wholeSites {
	t.Helper()
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ethtool")
	f := &testbed.File{
		Lab:     fmt.Sprintf("t%d-%d", os.Getpid()%100000, labs.Add(1)),
		Routers: []testbed.Node{{Name: "core"}},
		Routes:  map[string][]testbed.Route{},
	}
	for i, l := range []string{"a", "b"} {
		s := testbed.Site{Name: "site-" + l}
		for j := range 3 {
			s.Controllers = append(s.Controllers, testbed.Controller{Name: fmt.Sprintf("%s-c%d", l, j+1), API: "127.0.0.1:1"})
			s.Etcd = append(s.Etcd, fmt.Sprintf("%s-e%d", l, j+1))
		}
		for j := range hosts + 1 {
			host := testbed.Node{Name: fmt.Sprintf("%s%d", l, j+1), FabricAddress: fabricIP(i, j), Sysctls: hostSysctls}
			via := netip.AddrFrom4([4]byte{172, 16, host.FabricAddress.As4()[2], 1})
			f.Routes[host.Name] = []testbed.Route{{To: netip.MustParsePrefix("172.16.0.0/16"), Via: via}}
			if j == hosts {
				host.Name, host.Gateway, host.TunnelIP = "gw-"+l, true, tunnelIP(i)
				f.Routes[host.Name] = []testbed.Route{
					{To: netip.MustParsePrefix("172.16.0.0/16"), Via: via}, {To: netip.MustParsePrefix("200.200.0.0/16"), Via: via},
				}
				f.Routes["core"] = append(f.Routes["core"], testbed.Route{To: netip.PrefixFrom(tunnelIP(i), 32), Via: host.FabricAddress})
			}
			s.Hosts = append(s.Hosts, host)
			f.Links = append(f.Links, testbed.Link{Ends: []testbed.End{
				{Node: host.Name, Interface: "eth1", Address: netip.PrefixFrom(host.FabricAddress, 24)},
				{Node: "core", Interface: "to-" + host.Name, Address: netip.PrefixFrom(via, 24)},
			}})
		}
		delete(f.Routes, fmt.Sprintf("%s%d", l, hosts+1))
		f.Sites = append(f.Sites, s)
	}
	if err := f.UseFreePorts(); err != nil {
		t.Fatal(err)
	}
	w := &wholeSites{lab: upLab(t, f)}
	for i, s := range w.sites {
		s.awaitHosts(len(f.Sites[i].Hosts))
		w.tenants = append(w.tenants, s.newTenant("t", 100))
	}
	w.peer()
	w.attachAll()
	return w
}

// peer peers the tenants, and has each router know the second network of the other site too.
func (w *wholeSites) peer() {
	peer(w.tenants...)
	for i, tn := range w.tenants {
		n := tn.site.create(client.Networks, client.Attrs{"name": "far"})
		tn.site.addInterface(tn.router, "subnet_id", tn.site.create(client.Subnets, client.Attrs{
			"network_id": n, "ip_version": 4, "cidr": fmt.Sprintf("10.0.%d.0/24", 60+i),
		}))
		other := w.tenants[1-i]
		tn.site.update(client.Routers, tn.router, client.Attrs{"routes": []client.Attrs{
			{"destination": other.cidr, "nexthop": other.peerIP},
			{"destination": fmt.Sprintf("10.0.%d.0/24", 60+1-i), "nexthop": other.peerIP},
		}})
		w.farNetworks = append(w.farNetworks, n)
	}
}

// attachAll makes the workloads.
func (w *wholeSites) attachAll() {
	for i, tn := range w.tenants {
		far, other := w.farNetworks[i], w.tenants[1-i]
		for j, h := range w.File().Sites[i].Hosts {
			near := vm{"near-" + h.Name, fmt.Sprintf("10.0.%d.%d", i, 11+j)}
			tn.site.attachOn(h.Name, near.name, tn.network, near.addr)
			w.near[i] = append(w.near[i], near)
			behind := vm{"far-" + h.Name, fmt.Sprintf("10.0.%d.%d", 60+i, 11+j)}
			tn.site.attachOn(h.Name, behind.name, far, behind.addr)
			w.far[i] = append(w.far[i], behind)
			direct := vm{"direct-" + h.Name, fmt.Sprintf("192.168.0.%d", 20*(i+1)+j)}
			tn.site.attachOn(h.Name, direct.name, tn.multiSite, direct.addr)
			_, mac := w.portOf(direct.name)
			other.site.create(client.Ports, client.Attrs{"network_id": other.multiSite, "device_owner": "network:remote_site",
				"mac_address": mac.String(), "fixed_ips": []client.Attrs{{"ip_address": direct.addr}}})
			other.site.create(client.RemoteMACEntries(other.device), client.Attrs{
				"vtep_address": tn.site.tunnel.String(), "mac_address": mac.String(), "segmentation_id": "100"})
			w.direct[i] = append(w.direct[i], direct)
		}
	}
}

// routed are the workloads behind the routers, flat those of the multi-site network.
func (w *wholeSites) routed() []vm {
	return slices.Concat(w.near[0], w.far[0], w.near[1], w.far[1])
}
func (w *wholeSites) flat() []vm { return slices.Concat(w.direct[0], w.direct[1]) }

// allPairs has each of some workloads ping each other one.
func (w *wholeSites) allPairs(vms []vm) {
	w.t.Helper()
	g, ctx := errgroup.WithContext(w.t.Context())
	g.SetLimit(8)
	for _, from := range vms {
		g.Go(func() error {
			ns, err := w.NetNS(from.name)
			if err != nil {
				return err
			}
			defer ns.Close()
			for _, to := range vms {
				if from == to {
					continue
				}
				res, err := probe.Ping(ctx, ns, netip.MustParseAddr(to.addr), probe.PingOptions{Count: 1, Size: 56, Timeout: 5 * time.Second})
				if err != nil || !res.OK() {
					return fmt.Errorf("%s does not reach %s, %s: %w", from.name, to.name, to.addr, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		w.t.Error(err)
	}
}

// ways are pairs of workloads: within a site on one network and routed, to the other site from network to network by way of
// the routers, and by layer 2 alone. No two are on one host.
func (w *wholeSites) ways() [][2]vm {
	last := len(w.near[0]) - 1
	return [][2]vm{
		{w.near[0][0], w.near[0][1]},
		{w.near[0][1], w.far[0][0]},
		{w.near[0][0], w.near[1][1]},
		{w.far[1][0], w.near[0][last]},
		{w.direct[0][0], w.direct[1][1]},
		{w.direct[0][1], w.direct[0][0]},
	}
}

// TestSites: two whole sites. Every workload reaches every other, and what workloads send arrives.
func TestSites(t *testing.T) {
	w := newWholeSites(t, 4)
	w.sub("all pairs", func(t *testing.T) {
		for _, vms := range [][]vm{w.routed(), w.flat()} {
			w.reach(vms[0].name, vms[len(vms)-1].addr)
			w.allPairs(vms)
		}
	})
	for _, state := range []string{"on", "off"} {
		w.sub("TCP with offloads "+state, func(t *testing.T) {
			for _, p := range w.ways() {
				w.offloads(p[0].name, state)
				w.offloads(p[1].name, state)
				w.bulkTCP(p[0].name, p[1].name, p[1].addr, 8<<20)
				w.bulkTCP(p[1].name, p[0].name, p[0].addr, 8<<20)
			}
		})
	}
	w.sub("fragments, UDP_SEGMENT, tunnels of the workloads' own", func(t *testing.T) {
		for _, p := range w.ways() {
			w.mustPing(p[0].name, p[1].addr, "-M", "dont", "-s", "4000")
			w.mustPing(p[1].name, p[0].addr, "-M", "dont", "-s", "4000")
		}
		for _, p := range w.ways() {
			w.offloads(p[0].name, "on")
			w.offloads(p[1].name, "on")
			w.udpSegment(p[0].name, p[1].name, p[1].addr, 1450)
			w.ownTunnel(p[0], p[1], 1450, 4<<20)
		}
	})
	var hosts []string
	for _, s := range w.File().Sites {
		for _, h := range s.Hosts {
			hosts = append(hosts, h.Name)
		}
	}
	if d := w.fabricDrops(hosts...); len(d) > 0 {
		t.Errorf("the fabric dropped: %s", strings.Join(d, "\n"))
	}
	// Last: a host whose agent is dead rightly drops what a workload sends that it has not heard of.
	w.sub("faults", w.faults)
}

// faults kills an etcd member, a controller and an agent of site A under traffic, none of which needs them; has a workload
// come meanwhile, and all back. Then each host has the rows that it should have.
func (w *wholeSites) faults(t *testing.T) {
	dead := []string{"a-e2", "a-c2", "a2"}
	var ends []func() (sent, received int)
	ways := w.ways()
	for _, p := range ways {
		ends = append(ends, w.pinging(p[0].name, p[1].addr))
	}
	for _, name := range dead {
		if err := w.Kill(name); err != nil {
			t.Fatal(err)
		}
	}
	late := vm{"late", "10.0.0.99"}
	a := w.tenants[0]
	a.site.attachOn("a1", late.name, a.network, late.addr)
	w.reach(late.name, w.near[1][0].addr)
	w.reach(w.near[0][0].name, late.addr)
	for _, name := range dead {
		if err := w.Restart(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	a.site.awaitHosts(len(w.File().Sites[0].Hosts))
	w.reach(w.near[0][1].name, late.addr) // from the host whose agent was not there
	for i, end := range ends {
		sent, received := end()
		t.Logf("%s → %s: sent %d, %d came back", ways[i][0].name, ways[i][1].name, sent, received)
		if sent < 100 || received != sent {
			t.Errorf("%s → %s: sent %d, %d came back", ways[i][0].name, ways[i][1].name, sent, received)
		}
	}
	w.allPairs(append(w.routed(), late))
	w.allPairs(w.flat())
	for _, s := range w.sites {
		s.rowsAgree()
	}
}
