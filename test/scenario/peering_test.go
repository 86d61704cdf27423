package scenario

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/testbed"
)

// tenant is one tenant's presence at one site: the pieces of router peering with
// their ids, so that a test can take one away or make it wrong.
type tenant struct {
	site *site
	name string // also the prefix of its workloads' names

	cidr, gatewayIP   string // of the tenant's network
	peerIP, peerMAC   string // of the peer router port
	vni               int
	network, subnet   string
	router            string
	tenantInterface   string // port id
	vtepRouter        string
	device            string
	multiSite         string // the multi-site network
	multiSiteSubnet   string
	l2Gateway         string
	connection        string
	peerPort          string
	remotePorts       map[*tenant]string
	remoteMACs        map[*tenant]string
	workloadPorts     map[string]string // workload name → port id
	workloadAddresses map[string]string
}

// The chapter's two MACs, then plain ones. The second has the group bit.
var peerMACs = []string{"16:B7:B5:A4:57:75", "6F:E4:5A:FA:8E:09", "FA:16:3E:00:00:03", "FA:16:3E:00:00:04"}

func (s *site) create(k client.Collection, a client.Attrs) string {
	s.lab.t.Helper()
	r, err := s.api.Create(s.lab.t.Context(), k, a)
	if err != nil {
		s.lab.t.Fatalf("%s: create %s %v: %v", s.name, k.What, a, err)
	}
	return client.ID(r)
}

func (s *site) update(k client.Collection, id string, a client.Attrs) {
	s.lab.t.Helper()
	if _, err := s.api.Update(s.lab.t.Context(), k, id, a); err != nil {
		s.lab.t.Fatalf("%s: update %s %s %v: %v", s.name, k.What, id, a, err)
	}
}

func (s *site) remove(k client.Collection, id string) {
	s.lab.t.Helper()
	if err := s.api.Delete(s.lab.t.Context(), k, id); err != nil {
		s.lab.t.Fatalf("%s: delete %s %s: %v", s.name, k.What, id, err)
	}
}

func (s *site) get(k client.Collection, id string) client.Attrs {
	s.lab.t.Helper()
	a, err := s.api.Get(s.lab.t.Context(), k, id)
	if err != nil {
		s.lab.t.Fatalf("%s: get %s %s: %v", s.name, k.What, id, err)
	}
	return a
}

func (s *site) addInterface(router, by, id string) string {
	s.lab.t.Helper()
	port, err := s.api.AddInterface(s.lab.t.Context(), router, by, id)
	if err != nil {
		s.lab.t.Fatalf("%s: add interface %s=%s: %v", s.name, by, id, err)
	}
	return port
}

// gateway makes the VTEP router and the gateway device of the site, or finds them.
func (s *site) gateway() (router, device string) {
	s.lab.t.Helper()
	list, err := s.api.List(s.lab.t.Context(), client.GatewayDevices, url.Values{"name": {"gateway"}})
	if err != nil {
		s.lab.t.Fatal(err)
	}
	if len(list) > 0 {
		return client.Str(list[0], "resource_id"), client.ID(list[0])
	}
	router = s.create(client.Routers, client.Attrs{"name": "vtep-router"})
	device = s.create(client.GatewayDevices, client.Attrs{
		"name": "gateway", "type": "router_vtep", "resource_id": router, "tunnel_ips": []string{s.tunnel.String()},
	})
	return router, device
}

// newTenant does the chapter's steps 1 to 8 at one site. The tenant's network is
// 10.0.<site>.0/24; its multi-site network 192.168.0.0/24 with vni.
func (s *site) newTenant(name string, vni int) *tenant {
	s.lab.t.Helper()
	tn := &tenant{
		site: s, name: name, vni: vni,
		cidr: fmt.Sprintf("10.0.%d.0/24", s.index), gatewayIP: fmt.Sprintf("10.0.%d.1", s.index),
		peerIP: fmt.Sprintf("192.168.0.%d", s.index+1), peerMAC: peerMACs[s.index],
		remotePorts: map[*tenant]string{}, remoteMACs: map[*tenant]string{},
		workloadPorts: map[string]string{}, workloadAddresses: map[string]string{},
	}
	tn.network = s.create(client.Networks, client.Attrs{"name": name + "-net"})
	tn.subnet = s.create(client.Subnets, client.Attrs{"network_id": tn.network, "ip_version": 4, "cidr": tn.cidr})
	tn.router = s.create(client.Routers, client.Attrs{"name": name + "-router"})
	tn.tenantInterface = s.addInterface(tn.router, "subnet_id", tn.subnet)
	tn.vtepRouter, tn.device = s.gateway()
	tn.multiSite = s.create(client.Networks, client.Attrs{"name": name + "-multi-site", "port_security_enabled": false})
	tn.l2Gateway = s.create(client.L2Gateways, client.Attrs{"name": name + "-l2gw", "devices": []client.Attrs{
		{"device_id": tn.device, "segmentation_id": fmt.Sprint(vni)},
	}})
	tn.multiSiteSubnet = s.create(client.Subnets, client.Attrs{
		"network_id": tn.multiSite, "ip_version": 4, "cidr": "192.168.0.0/24", "gateway_ip": nil, "enable_dhcp": false,
	})
	tn.connect()
	tn.peerPort = s.create(client.Ports, client.Attrs{
		"network_id": tn.multiSite, "fixed_ips": []client.Attrs{{"ip_address": tn.peerIP}}, "mac_address": tn.peerMAC,
	})
	s.addInterface(tn.router, "port_id", tn.peerPort)
	return tn
}

func (tn *tenant) connect() {
	tn.site.lab.t.Helper()
	tn.connection = tn.site.create(client.L2GatewayConnections, client.Attrs{
		"l2_gateway_id": tn.l2Gateway, "network_id": tn.multiSite,
	})
}

func (tn *tenant) addRemotePort(r *tenant) {
	tn.site.lab.t.Helper()
	tn.remotePorts[r] = tn.site.create(client.Ports, client.Attrs{
		"network_id": tn.multiSite, "device_owner": "network:remote_site",
		"fixed_ips": []client.Attrs{{"ip_address": r.peerIP}}, "mac_address": r.peerMAC,
	})
}

func (tn *tenant) addRemoteMAC(r *tenant, vtep string) {
	tn.site.lab.t.Helper()
	tn.remoteMACs[r] = tn.site.create(client.RemoteMACEntries(tn.device), client.Attrs{
		"vtep_address": vtep, "mac_address": r.peerMAC, "segmentation_id": fmt.Sprint(tn.vni),
	})
}

// setRoutes makes the tenant's router know the networks of rs.
func (tn *tenant) setRoutes(rs ...*tenant) {
	tn.site.lab.t.Helper()
	routes := []client.Attrs{}
	for _, r := range rs {
		routes = append(routes, client.Attrs{"destination": r.cidr, "nexthop": r.peerIP})
	}
	tn.site.update(client.Routers, tn.router, client.Attrs{"routes": routes})
}

// peer does steps 9 to 11 between each two of the tenants.
func peer(tns ...*tenant) {
	for _, tn := range tns {
		tn.site.lab.t.Helper()
		var rest []*tenant
		for _, r := range tns {
			if r != tn {
				rest = append(rest, r)
				tn.addRemotePort(r)
				tn.addRemoteMAC(r, r.site.tunnel.String())
			}
		}
		tn.setRoutes(rest...)
	}
}

// newPort makes a port on the tenant's network for the workload 10.0.<site>.<last>.
func (tn *tenant) newPort(workload, address string) string {
	tn.site.lab.t.Helper()
	id := tn.site.create(client.Ports, client.Attrs{
		"network_id": tn.network, "name": workload, "fixed_ips": []client.Attrs{{"ip_address": address}},
	})
	tn.workloadPorts[workload] = id
	tn.workloadAddresses[workload] = address
	return id
}

// attach makes a port and a workload on it, and returns the workload's name.
func (tn *tenant) attach(workload string, last int, kind string) string {
	tn.site.lab.t.Helper()
	port := tn.newPort(workload, fmt.Sprintf("10.0.%d.%d", tn.site.index, last))
	if _, err := tn.site.lab.Attach(tn.site.lab.t.Context(), testbed.AttachOptions{
		Site: tn.site.name, Host: tn.site.host, Port: port, Name: workload, Kind: kind,
	}); err != nil {
		tn.site.lab.t.Fatal(err)
	}
	return workload
}

// pair is the chapter's example: a lab of two sites, one tenant, one workload each.
type pair struct {
	*lab
	a, b     *tenant
	vmA, vmB string
	addrA    string
	addrB    string
}

func newPair(t *testing.T, opts ...labOption) *pair {
	t.Helper()
	l := newLab(t, 2, opts...)
	p := &pair{lab: l, addrA: "10.0.0.3", addrB: "10.0.1.3"}
	p.a, p.b = l.sites[0].newTenant("t", 100), l.sites[1].newTenant("t", 100)
	peer(p.a, p.b)
	p.vmA, p.vmB = p.a.attach("vm-a", 3, ""), p.b.attach("vm-b", 3, "")
	p.reach(p.vmA, p.addrB)
	p.reach(p.vmB, p.addrA)
	return p
}
