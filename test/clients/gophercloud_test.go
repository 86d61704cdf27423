package clients

import (
	"net/http"
	"slices"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/common/extensions"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/attributestags"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/addressscopes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/extraroutes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/mtu"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsecurity"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/quotas"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/rbacpolicies"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/subnetpools"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

// TestGophercloud uses the library that Terraform's provider and many programs in Go
// are made with.
func TestGophercloud(t *testing.T) {
	t.Parallel()
	url := newController(t)
	useGophercloud(t, &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{TokenID: "notused"}, Endpoint: url + "/", ResourceBase: url + "/v2.0/",
	}, "default")
}

// gophercloud logs the administrator in and finds the API in the catalog.
func (k *keystone) gophercloud(t *testing.T) {
	const region = "Region-gophercloud"
	k.newRegion(t, region)
	k.endpoint(t, "network", region, k.controller(t))
	c, err := openstack.AuthenticatedClient(t.Context(), gophercloud.AuthOptions{
		IdentityEndpoint: k.url, Username: "admin", Password: adminPassword, DomainID: "default", TenantName: "admin",
	})
	if err != nil {
		t.Fatal(err)
	}
	sc, err := openstack.NewNetworkV2(c, gophercloud.EndpointOpts{Region: region})
	if err != nil {
		t.Fatal(err)
	}
	useGophercloud(t, sc, k.find(t, "project", "admin"))
}

func useGophercloud(t *testing.T, c *gophercloud.ServiceClient, project string) {
	for _, part := range []struct {
		name string
		use  func(*user)
	}{
		{"networks", (*user).networks}, {"ports", (*user).ports}, {"routers", (*user).routers},
		{"pools", (*user).pools}, {"quotas and sharing", (*user).administration},
	} {
		t.Run(part.name, func(t *testing.T) { part.use(&user{t, c, project}) })
	}
}

// user is somebody with gophercloud. A failure ends all of its test.
type user struct {
	t       *testing.T
	c       *gophercloud.ServiceClient
	project string
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (g *user) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// is wants the status of a refusal.
func (g *user) is(err error, status int) {
	g.t.Helper()
	if !gophercloud.ResponseCodeIs(err, status) {
		g.t.Errorf("want %d: %v", status, err)
	}
}

func (g *user) network(name string) string {
	g.t.Helper()
	return must[*networks.Network](g.t)(networks.Create(g.t.Context(), g.c, networks.CreateOpts{Name: name}).Extract()).ID
}

func (g *user) subnet(network, cidr string) *subnets.Subnet {
	g.t.Helper()
	return must[*subnets.Subnet](g.t)(subnets.Create(g.t.Context(), g.c, subnets.CreateOpts{
		NetworkID: network, CIDR: cidr, IPVersion: gophercloud.IPv4, DNSNameservers: []string{"9.9.9.9"},
		AllocationPools: []subnets.AllocationPool{},
		HostRoutes:      []subnets.HostRoute{{DestinationCIDR: "172.16.0.0/16", NextHop: cidr[:len(cidr)-4] + "9"}},
	}).Extract())
}

func (g *user) networks() {
	t, ctx := g.t, g.t.Context()
	type network struct {
		networks.Network
		mtu.NetworkMTUExt
		portsecurity.PortSecurityExt
		provider.NetworkProviderExt
	}
	off := false
	var n network
	g.ok(networks.Create(ctx, g.c, mtu.CreateOptsExt{
		CreateOptsBuilder: portsecurity.NetworkCreateOptsExt{
			CreateOptsBuilder: networks.CreateOpts{Name: "n", Description: "words", AdminStateUp: &off}, PortSecurityEnabled: &off,
		}, MTU: 1400,
	}).ExtractInto(&n))
	if n.Name != "n" || n.Description != "words" || n.AdminStateUp || n.MTU != 1400 || n.PortSecurityEnabled || n.ProjectID != g.project ||
		n.Status != "ACTIVE" || n.RevisionNumber != 1 || n.CreatedAt.IsZero() || n.NetworkType == "" {
		t.Errorf("network: %+v", n)
	}
	name, revision := "renamed", n.RevisionNumber
	changed := must[*networks.Network](t)(networks.Update(ctx, g.c, n.ID, networks.UpdateOpts{Name: &name, RevisionNumber: &revision}).Extract())
	if changed.Name != name || changed.RevisionNumber <= revision {
		t.Errorf("changed network: %+v", changed)
	}
	g.is(networks.Update(ctx, g.c, n.ID, networks.UpdateOpts{Name: &name, RevisionNumber: &revision}).Err, http.StatusPreconditionFailed)

	// Tags, one and all.
	got := must[[]string](t)(attributestags.ReplaceAll(ctx, g.c, "networks", n.ID, attributestags.ReplaceAllOpts{Tags: []string{"a", "b"}}).Extract())
	slices.Sort(got)
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("tags: %v", got)
	}
	g.ok(attributestags.Add(ctx, g.c, "networks", n.ID, "c").ExtractErr())
	if !must[bool](t)(attributestags.Confirm(ctx, g.c, "networks", n.ID, "c").Extract()) {
		t.Error("the tag c is not there")
	}
	g.ok(attributestags.Delete(ctx, g.c, "networks", n.ID, "c").ExtractErr())

	// Lists: by tags, by name, and page by page.
	others := []string{g.network("other-1"), g.network("other-2"), g.network("other-3")}
	for _, c := range []struct {
		opts networks.ListOpts
		want int
	}{{networks.ListOpts{Tags: "a,b"}, 1}, {networks.ListOpts{NotTags: "a"}, 3}, {networks.ListOpts{Name: "other-1"}, 1}, {networks.ListOpts{Limit: 1, SortKey: "name", SortDir: "asc"}, 4}} {
		pages, err := networks.List(g.c, c.opts).AllPages(ctx)
		g.ok(err)
		if all := must[[]networks.Network](t)(networks.ExtractNetworks(pages)); len(all) != c.want {
			t.Errorf("%+v: %d networks", c.opts, len(all))
		}
	}
	g.ok(attributestags.DeleteAll(ctx, g.c, "networks", n.ID).ExtractErr())
	for _, id := range append(others, n.ID) {
		g.ok(networks.Delete(ctx, g.c, id).ExtractErr())
	}
	_, err := networks.Get(ctx, g.c, n.ID).Extract()
	g.is(err, http.StatusNotFound)

	pages, err := extensions.List(g.c).AllPages(ctx)
	g.ok(err)
	have := must[[]extensions.Extension](t)(extensions.ExtractExtensions(pages))
	if !slices.ContainsFunc(have, func(e extensions.Extension) bool { return e.Alias == "l2-gateway-connection" }) {
		t.Errorf("extensions: %v", have)
	}
}

func (g *user) ports() {
	t, ctx := g.t, g.t.Context()
	net := g.network("ports")
	s := g.subnet(net, "10.1.0.0/24")
	if s.GatewayIP != "10.1.0.1" || len(s.HostRoutes) != 1 || len(s.DNSNameservers) != 1 || !s.EnableDHCP || s.ProjectID != g.project {
		t.Errorf("subnet: %+v", s)
	}
	type port struct {
		ports.Port
		portsbinding.PortsBindingExt
		portsecurity.PortSecurityExt
	}
	var p port
	g.ok(ports.Create(ctx, g.c, portsbinding.CreateOptsExt{
		CreateOptsBuilder: ports.CreateOpts{NetworkID: net, Name: "p", FixedIPs: []ports.IP{{SubnetID: s.ID, IPAddress: "10.1.0.77"}},
			SecurityGroups: &[]string{}},
		HostID: "host", Profile: map[string]any{"interface_name": "tap0"}, VNICType: "normal",
	}).ExtractInto(&p))
	if p.FixedIPs[0].IPAddress != "10.1.0.77" || p.HostID != "host" || p.Profile["interface_name"] != "tap0" || !p.PortSecurityEnabled || p.Status != "DOWN" {
		t.Errorf("port: %+v", p)
	}
	owner := "compute:nova"
	changed := must[*ports.Port](t)(ports.Update(ctx, g.c, p.ID, ports.UpdateOpts{DeviceOwner: &owner,
		FixedIPs: []ports.IP{{IPAddress: "10.1.0.77"}, {IPAddress: "10.1.0.78"}}}).Extract())
	if changed.DeviceOwner != owner || len(changed.FixedIPs) != 2 {
		t.Errorf("changed port: %+v", changed)
	}
	pages, err := ports.List(g.c, ports.ListOpts{FixedIPs: []ports.FixedIPOpts{{IPAddress: "10.1.0.78"}}, NetworkID: net}).AllPages(ctx)
	g.ok(err)
	if l := must[[]ports.Port](t)(ports.ExtractPorts(pages)); len(l) != 1 || l[0].ID != p.ID {
		t.Errorf("by address: %+v", l)
	}
	_, err = ports.Create(ctx, g.c, ports.CreateOpts{NetworkID: net, FixedIPs: []ports.IP{{IPAddress: "10.1.0.77"}}}).Extract()
	g.is(err, http.StatusConflict)
	g.ok(ports.Delete(ctx, g.c, p.ID).ExtractErr())
	g.ok(networks.Delete(ctx, g.c, net).ExtractErr())
}

func (g *user) routers() {
	t, ctx := g.t, g.t.Context()
	net := g.network("routed")
	s := g.subnet(net, "10.2.0.0/24")
	r := must[*routers.Router](t)(routers.Create(ctx, g.c, routers.CreateOpts{Name: "r"}).Extract())
	i := must[*routers.InterfaceInfo](t)(routers.AddInterface(ctx, g.c, r.ID, routers.AddInterfaceOpts{SubnetID: s.ID}).Extract())
	if i.ID != r.ID || i.SubnetID != s.ID || i.PortID == "" {
		t.Errorf("interface: %+v", i)
	}
	routes := []routers.Route{{DestinationCIDR: "10.9.0.0/24", NextHop: "10.2.0.5"}}
	if got := must[*routers.Router](t)(routers.Update(ctx, g.c, r.ID, routers.UpdateOpts{Routes: &routes}).Extract()); !slices.Equal(got.Routes, routes) {
		t.Errorf("routes: %+v", got.Routes)
	}
	more := []routers.Route{{DestinationCIDR: "10.8.0.0/24", NextHop: "10.2.0.6"}}
	if got := must[*routers.Router](t)(extraroutes.Add(ctx, g.c, r.ID, extraroutes.Opts{Routes: &more}).Extract()); len(got.Routes) != 2 {
		t.Errorf("more routes: %+v", got.Routes)
	}
	both := append(more, routes...)
	if got := must[*routers.Router](t)(extraroutes.Remove(ctx, g.c, r.ID, extraroutes.Opts{Routes: &both}).Extract()); len(got.Routes) != 0 {
		t.Errorf("routes that are left: %+v", got.Routes)
	}
	g.is(routers.Delete(ctx, g.c, r.ID).ExtractErr(), http.StatusConflict)
	_, err := routers.RemoveInterface(ctx, g.c, r.ID, routers.RemoveInterfaceOpts{SubnetID: s.ID}).Extract()
	g.ok(err)
	g.ok(routers.Delete(ctx, g.c, r.ID).ExtractErr())
	g.ok(networks.Delete(ctx, g.c, net).ExtractErr())
}

func (g *user) pools() {
	t, ctx := g.t, g.t.Context()
	scope := must[*addressscopes.AddressScope](t)(addressscopes.Create(ctx, g.c, addressscopes.CreateOpts{Name: "scope", IPVersion: 4}).Extract())
	pool := must[*subnetpools.SubnetPool](t)(subnetpools.Create(ctx, g.c, subnetpools.CreateOpts{
		Name: "pool", Prefixes: []string{"10.50.0.0/16"}, DefaultPrefixLen: 24, AddressScopeID: scope.ID,
	}).Extract())
	if pool.DefaultPrefixLen != 24 || pool.AddressScopeID != scope.ID || pool.IPversion != 4 {
		t.Errorf("pool: %+v", pool)
	}
	if got := must[[]string](t)(subnetpools.AddPrefixes(ctx, g.c, pool.ID, subnetpools.PrefixesOpsOpts{Prefixes: []string{"10.60.0.0/16"}}).Extract()); len(got) != 2 {
		t.Errorf("prefixes: %v", got)
	}
	net := g.network("from a pool")
	s := must[*subnets.Subnet](t)(subnets.Create(ctx, g.c, subnets.CreateOpts{NetworkID: net, IPVersion: 4, SubnetPoolID: pool.ID, Prefixlen: 26}).Extract())
	if s.SubnetPoolID != pool.ID || s.CIDR[len(s.CIDR)-3:] != "/26" {
		t.Errorf("subnet: %+v", s)
	}
	g.is(subnetpools.Delete(ctx, g.c, pool.ID).ExtractErr(), http.StatusBadRequest)
	g.ok(networks.Delete(ctx, g.c, net).ExtractErr())
	g.ok(subnetpools.Delete(ctx, g.c, pool.ID).ExtractErr())
	g.ok(addressscopes.Delete(ctx, g.c, scope.ID).ExtractErr())
}

func (g *user) administration() {
	t, ctx := g.t, g.t.Context()
	const other = "11112222333344445555666677778888"
	one := 1
	q := must[*quotas.Quota](t)(quotas.Update(ctx, g.c, g.project, quotas.UpdateOpts{Network: &one}).Extract())
	if q.Network != 1 {
		t.Errorf("quota: %+v", q)
	}
	net := g.network("the only one")
	_, err := networks.Create(ctx, g.c, networks.CreateOpts{Name: "one too many"}).Extract()
	g.is(err, http.StatusConflict)
	d := must[*quotas.QuotaDetailSet](t)(quotas.GetDetail(ctx, g.c, g.project).Extract())
	if d.Network.Limit != 1 || d.Network.Used != 1 {
		t.Errorf("details: %+v", d.Network)
	}
	g.ok(quotas.Delete(ctx, g.c, g.project).ExtractErr())
	if q := must[*quotas.Quota](t)(quotas.Get(ctx, g.c, g.project).Extract()); q.Network == 1 {
		t.Errorf("quota: %+v", q)
	}

	p := must[*rbacpolicies.RBACPolicy](t)(rbacpolicies.Create(ctx, g.c, rbacpolicies.CreateOpts{
		Action: rbacpolicies.ActionAccessShared, ObjectType: "network", TargetTenant: other, ObjectID: net}).Extract())
	if p.TargetTenant != other || p.ObjectID != net || p.Action != rbacpolicies.ActionAccessShared || p.ProjectID != g.project {
		t.Errorf("policy: %+v", p)
	}
	pages, err := rbacpolicies.List(g.c, rbacpolicies.ListOpts{ObjectID: net}).AllPages(ctx)
	g.ok(err)
	if l := must[[]rbacpolicies.RBACPolicy](t)(rbacpolicies.ExtractRBACPolicies(pages)); len(l) != 1 {
		t.Errorf("policies: %+v", l)
	}
	g.ok(rbacpolicies.Delete(ctx, g.c, p.ID).ExtractErr())
	g.ok(networks.Delete(ctx, g.c, net).ExtractErr())
}
