package demo

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/causeway-net/causeway/internal/client"
)

// The example that the sites share.
const (
	vni           = 100
	multiSiteCIDR = "192.168.0.0/24"
	// The owners: the tenant's networks and router, and the cloud operator's rest.
	tenant = "tenant"
	admin  = "admin"
)

// plan is one site of the chapter's example.
type plan struct {
	prefix     string // of names: SiteA
	tenantCIDR string
	gateway    string // of the tenant network: the peer router
	vm         string // name of the workload
	vmIP       string
	peerIP     string // of the peer router on the multi-site network
	peerMAC    string
	tunnelIP   string
}

func (p plan) name(what string) string { return p.prefix + what }

var plans = []plan{
	{
		prefix: "SiteA", tenantCIDR: "10.0.0.0/24", gateway: "10.0.0.1", vm: "vm-a", vmIP: "10.0.0.3",
		peerIP: "192.168.0.1", peerMAC: "16:B7:B5:A4:57:75", tunnelIP: "200.200.0.1",
	},
	{
		prefix: "SiteB", tenantCIDR: "10.0.1.0/24", gateway: "10.0.1.1", vm: "vm-b", vmIP: "10.0.1.3",
		peerIP: "192.168.0.2", peerMAC: "6F:E4:5A:FA:8E:09", tunnelIP: "200.200.0.2",
	},
	// Only where the sites are orchestrated.
	{prefix: "SiteC", tenantCIDR: "10.0.2.0/24", gateway: "10.0.2.1", vm: "vm-c", vmIP: "10.0.2.3", tunnelIP: "200.200.0.3"},
}

// site is one site as the demo drives it: by its API.
type site struct {
	plan  plan
	name  string
	host  string   // that is to serve the gateway device
	hosts []string // all
	api   *client.Client
	ids   map[string]string // what the steps have made
}

// create makes a resource and remembers its id.
func (s *site) create(ctx context.Context, key string, k client.Collection, a client.Attrs) error {
	made, err := s.api.Create(ctx, k, a)
	if err != nil {
		return fmt.Errorf("create %s %s: %w", k.What, client.Str(a, "name"), err)
	}
	s.ids[key] = client.ID(made)
	return nil
}

// step is one of the chapter's: what it does at a site, told the other one.
type step struct {
	number int
	what   func(s, other plan) string
	do     func(ctx context.Context, s *site, other plan) error
}

// chapter does the steps in the chapter's order, each at both sites.
func (r *run) chapter(ctx context.Context) error {
	for _, st := range r.steps() {
		for i, s := range r.sites {
			other := r.sites[1-i].plan
			begin := time.Now()
			what := st.what(s.plan, other)
			if err := st.do(ctx, s, other); err != nil {
				return fmt.Errorf("step %d at %s (%s): %w", st.number, s.name, what, err)
			}
			took := time.Since(begin)
			r.res.Steps = append(r.res.Steps, Step{Number: st.number, Site: s.name, What: what, Seconds: took.Seconds()})
			r.p.step(st.number, s.name, what, took)
		}
	}
	return nil
}

func (r *run) steps() []step {
	return []step{
		{1, func(s, _ plan) string {
			return fmt.Sprintf("tenant network %s and router %s", s.tenantCIDR, s.name("TenantRouter"))
		}, tenantSide},
		{2, func(s, _ plan) string { return "VTEP router " + s.name("VtepRouter") },
			func(ctx context.Context, s *site, _ plan) error {
				return s.create(ctx, "vtep", client.Routers, client.Attrs{"name": s.plan.name("VtepRouter"), "tenant_id": admin})
			}},
		{3, func(s, _ plan) string {
			return fmt.Sprintf("gateway device %s, tunnel IP %s", s.name("GatewayDevice"), s.tunnelIP)
		},
			func(ctx context.Context, s *site, _ plan) error {
				return s.create(ctx, "gateway", client.GatewayDevices, client.Attrs{
					"name": s.plan.name("GatewayDevice"), "type": "router_vtep", "resource_id": s.ids["vtep"],
					"tunnel_ips": []string{s.plan.tunnelIP}, "tenant_id": admin,
				})
			}},
		{4, func(s, _ plan) string { return "multi-site network " + s.name("MultiSiteNetwork") },
			func(ctx context.Context, s *site, _ plan) error {
				return s.create(ctx, "multisite", client.Networks, client.Attrs{
					"name": s.plan.name("MultiSiteNetwork"), "port_security_enabled": false, "tenant_id": admin,
				})
			}},
		{5, func(s, _ plan) string { return fmt.Sprintf("L2 gateway %s, VNI %d", s.name("L2Gateway"), vni) },
			func(ctx context.Context, s *site, _ plan) error {
				return s.create(ctx, "l2gw", client.L2Gateways, client.Attrs{
					"name": s.plan.name("L2Gateway"), "tenant_id": admin,
					"devices": []client.Attrs{{"device_id": s.ids["gateway"], "segmentation_id": strconv.Itoa(vni)}},
				})
			}},
		{6, func(plan, plan) string {
			return "subnet " + multiSiteCIDR + " of the multi-site network, no gateway, no DHCP"
		},
			func(ctx context.Context, s *site, _ plan) error {
				return s.create(ctx, "multisite-subnet", client.Subnets, client.Attrs{
					"name": s.plan.name("MultiSiteSubnet"), "network_id": s.ids["multisite"], "ip_version": 4,
					"cidr": multiSiteCIDR, "gateway_ip": nil, "enable_dhcp": false, "tenant_id": admin,
				})
			}},
		{7, func(plan, plan) string { return "L2 gateway connection" },
			func(ctx context.Context, s *site, _ plan) error {
				return s.create(ctx, "connection", client.L2GatewayConnections, client.Attrs{
					"l2_gateway_id": s.ids["l2gw"], "network_id": s.ids["multisite"],
				})
			}},
		{8, func(s, _ plan) string { return fmt.Sprintf("peer router port %s, %s", s.peerIP, s.peerMAC) }, peerPort},
		{9, func(s, o plan) string {
			return fmt.Sprintf("extra route %s via %s on %s", o.tenantCIDR, o.peerIP, s.name("TenantRouter"))
		},
			func(ctx context.Context, s *site, o plan) error {
				_, err := s.api.Update(ctx, client.Routers, s.ids["router"], client.Attrs{
					"routes": []client.Attrs{{"destination": o.tenantCIDR, "nexthop": o.peerIP}},
				})
				return err
			}},
		{10, func(_, o plan) string { return fmt.Sprintf("remote-site port %s, %s", o.peerIP, o.peerMAC) },
			func(ctx context.Context, s *site, o plan) error {
				return s.create(ctx, "remote-port", client.Ports, client.Attrs{
					"name": s.plan.name("RemoteSitePort"), "network_id": s.ids["multisite"], "tenant_id": admin,
					"fixed_ips": []client.Attrs{{"ip_address": o.peerIP}}, "mac_address": o.peerMAC,
					"device_owner": "network:remote_site",
				})
			}},
		{11, func(_, o plan) string {
			return fmt.Sprintf("remote MAC entry %s at %s, VNI %d", o.peerMAC, o.tunnelIP, vni)
		},
			func(ctx context.Context, s *site, o plan) error {
				return s.create(ctx, "remote-mac", client.RemoteMACEntries(s.ids["gateway"]), client.Attrs{
					"mac_address": o.peerMAC, "vtep_address": o.tunnelIP, "segmentation_id": strconv.Itoa(vni),
				})
			}},
		{12, func(s, o plan) string {
			return "edge: the host's own routes lead to " + o.tunnelIP + ", nothing to bind"
		}, r.edge},
	}
}

// edge is step 12 where the host that serves the gateway device routes its own
// underlay: there is nothing to set, and the way must be there.
func (r *run) edge(_ context.Context, s *site, other plan) error {
	ns, err := r.lab.NetNS(s.host)
	if err != nil {
		return err
	}
	defer ns.Close()
	to, err := netip.ParseAddr(other.tunnelIP)
	if err != nil {
		return err
	}
	_, err = ns.RouteTo(to)
	return err
}

// tenantSide is what a tenant has before any peering.
func tenantSide(ctx context.Context, s *site, _ plan) error {
	err := s.create(ctx, "network", client.Networks, client.Attrs{"name": s.plan.name("TenantNetwork"), "tenant_id": tenant})
	if err == nil {
		err = s.create(ctx, "subnet", client.Subnets, client.Attrs{
			"name": s.plan.name("TenantSubnet"), "network_id": s.ids["network"], "ip_version": 4, "cidr": s.plan.tenantCIDR, "tenant_id": tenant,
		})
	}
	if err == nil {
		err = s.create(ctx, "router", client.Routers, client.Attrs{"name": s.plan.name("TenantRouter"), "tenant_id": tenant})
	}
	if err == nil {
		_, err = s.api.AddInterface(ctx, s.ids["router"], "subnet_id", s.ids["subnet"])
	}
	return err
}

// peerPort makes the peer router's port with the MAC that the other site knows.
func peerPort(ctx context.Context, s *site, _ plan) error {
	err := s.create(ctx, "peer-port", client.Ports, client.Attrs{
		"name": s.plan.name("PeerRouterPort"), "network_id": s.ids["multisite"], "tenant_id": admin,
		"fixed_ips": []client.Attrs{{"ip_address": s.plan.peerIP}}, "mac_address": s.plan.peerMAC,
	})
	if err == nil {
		_, err = s.api.AddInterface(ctx, s.ids["router"], "port_id", s.ids["peer-port"])
	}
	return err
}

// vmPort makes the workload's port.
func (s *site) vmPort(ctx context.Context) (string, error) {
	err := s.create(ctx, "vm-port", client.Ports, client.Attrs{
		"name": s.plan.name("VMPort"), "network_id": s.ids["network"], "tenant_id": tenant,
		"fixed_ips": []client.Attrs{{"ip_address": s.plan.vmIP}},
	})
	return s.ids["vm-port"], err
}
