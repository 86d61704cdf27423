package neutronapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// maxListed bounds the lists inside a subnet: pools, name servers.
const maxListed = 100

func subnets(a *API) *resource[site.SubnetInput, model.Subnet] {
	type in = site.SubnetInput
	type sub = model.Subnet
	std := func(s *sub) *model.Standard { return &s.Standard }
	stdIn := func(s *in) *model.Standard { return &s.Standard }
	null := func(store.Snapshot, *sub) any { return nil }
	return &resource[in, sub]{
		name: "subnet", plural: "subnets", path: "/v2.0/subnets", table: store.Subnets,
		attrs: append(standardAttrs(stdIn, std),
			idAttr[in](func(s *sub) model.SubnetID { return s.ID }),
			attribute[in, sub]{name: "network_id", post: true, required: true,
				takes: into(as[model.NetworkID](resourceID()), func(i *in) *model.NetworkID { return &i.NetworkID }),
				get:   func(_ store.Snapshot, s *sub) any { return string(s.NetworkID) }},
			attribute[in, sub]{name: "ip_version", post: true, required: true, takes: with(ipVersion(), func(*in, int64) error { return nil }),
				get: func(store.Snapshot, *sub) any { return 4 }},
			attribute[in, sub]{name: "cidr", post: true,
				takes: into(nullable(around(prefix())), func(i *in) *netip.Prefix { return &i.CIDR }),
				get:   func(_ store.Snapshot, s *sub) any { return s.CIDR.String() }},
			attribute[in, sub]{name: "gateway_ip", post: true, put: true,
				takes: with(nullable(address()), setGateway), gives: openapi.OrNull(pattern(addrPattern)),
				get: func(_ store.Snapshot, s *sub) any {
					if !s.Gateway.IsValid() {
						return nil
					}
					return s.Gateway.String()
				}},
			attribute[in, sub]{name: "enable_dhcp", post: true, put: true,
				takes: into(boolean(), func(i *in) *bool { return &i.EnableDHCP }),
				get:   func(_ store.Snapshot, s *sub) any { return s.EnableDHCP }},
			// The router peering guide writes no_dhcp; after enable_dhcp, so that
			// it wins.
			attribute[in, sub]{name: "no_dhcp", post: true, takes: with(boolean(), func(i *in, no bool) error {
				if no {
					i.EnableDHCP = false
				}
				return nil
			})},
			attribute[in, sub]{name: "allocation_pools", post: true, put: true, takes: with(pools(), setPools),
				get: func(_ store.Snapshot, s *sub) any { return list(s.AllocationPools) }},
			attribute[in, sub]{name: "dns_nameservers", post: true, put: true, takes: with(nullable(listOf(address(), maxListed, "name servers")), setNameservers),
				get: func(_ store.Snapshot, s *sub) any { return list(s.DNSNameservers) }},
			attribute[in, sub]{name: "host_routes", post: true, put: true,
				takes: into(routes(), func(i *in) *[]model.HostRoute { return &i.HostRoutes }),
				get:   func(_ store.Snapshot, s *sub) any { return list(s.HostRoutes) }},
			attribute[in, sub]{name: "ipv6_ra_mode", post: true, takes: refuseIPv6Mode(), gives: openapi.Of(openapi.Null), get: null},
			attribute[in, sub]{name: "ipv6_address_mode", post: true, takes: refuseIPv6Mode(), gives: openapi.Of(openapi.Null), get: null},
			attribute[in, sub]{name: "subnetpool_id", post: true,
				takes: into(as[model.SubnetPoolID](nullable(resourceID())), func(i *in) *model.SubnetPoolID { return &i.PoolID }),
				gives: openapi.OrNull(pattern(uuidPattern)),
				get:   func(_ store.Snapshot, s *sub) any { return orNull(s.PoolID) }},
			attribute[in, sub]{name: "use_default_subnetpool", post: true, takes: into(boolean(), func(i *in) *bool { return &i.UseDefaultPool })},
			attribute[in, sub]{name: "prefixlen", post: true, takes: with(optional(integer(0, 128)), setPrefixLen)},
			attribute[in, sub]{name: "service_types", post: true, put: true,
				takes: into(serviceTypes(), func(i *in) *[]string { return &i.ServiceTypes }),
				get:   func(_ store.Snapshot, s *sub) any { return list(s.ServiceTypes) }},
			// A filter, and no attribute of replies: the network's.
			attribute[in, sub]{name: "shared", match: func(s store.Snapshot, x *sub, want []string) bool {
				n := store.Get(s, store.Networks, string(x.NetworkID))
				return n != nil && valueMatches(sharedFor(s, n.ID, n.Shared), want)
			}},
			neutral[in, sub]("segment_id", "routed networks do not exist yet"),
			neutral[in, sub]("dns_publish_fixed_ip", "DNS integration does not exist yet"),
		),
		bulk: true,
		indexes: map[string]func(store.Snapshot, string) []string{
			"tenant_id": ownedBy(site.QuotaSubnet), "project_id": ownedBy(site.QuotaSubnet),
			"network_id": func(s store.Snapshot, id string) []string { return site.SubnetsOf(s, model.NetworkID(id)) },
		},
		fresh: func(r *http.Request) *in {
			return &in{Subnet: sub{Standard: model.Standard{ProjectID: ownerOf(r)}, EnableDHCP: true}, AutoGateway: true, AutoPools: true}
		},
		id:         func(s *sub) string { return string(s.ID) },
		revision:   func(s *sub) int64 { return s.Revision },
		standardIn: stdIn, standard: std,
		network:  func(s *sub) model.NetworkID { return s.NetworkID },
		notFound: site.SubnetNotFound,
		create:   a.site.CreateSubnets,
		update:   a.site.UpdateSubnet,
		remove:   byID(a.site.DeleteSubnet),
	}
}

func refuseIPv6Mode() input[site.SubnetInput] {
	null := openapi.Of(openapi.Null)
	v := value[any]{null, null, func(v any) (any, error) {
		if v == nil {
			return nil, nil
		}
		return nil, site.Unsupported("IPv6 subnets do not exist yet")
	}}
	return with(v, func(*site.SubnetInput, any) error { return nil })
}

func ipVersion() value[int64] {
	number := openapi.Between(4, 4)
	return value[int64]{openapi.Any(number, pattern(integerPattern)), number, func(v any) (int64, error) {
		n, err := toInt(v)
		switch {
		case err != nil:
			return 0, err
		case n == 6:
			return 0, site.Unsupported("IPv6 subnets do not exist yet")
		case n != 4:
			return 0, reasonf("'%s' is not in [4, 6]", text(v))
		}
		return n, nil
	}}
}

func setPrefixLen(i *site.SubnetInput, n *int64) error {
	if n == nil {
		return nil
	}
	if *n == 0 {
		return reasonf("'0' is no length of a subnet's prefix")
	}
	i.PrefixLen = int(*n)
	return nil
}

// setGateway takes the zero address for no gateway.
func setGateway(i *site.SubnetInput, gateway netip.Addr) error {
	i.AutoGateway, i.Gateway = false, gateway
	return nil
}

func pools() value[[]model.AddrRange] {
	type pool = model.AddrRange
	return nullable(listOf(object(
		key[pool]{"start", true, into(address(), func(p *pool) *netip.Addr { return &p.Start })},
		key[pool]{"end", true, into(address(), func(p *pool) *netip.Addr { return &p.End })},
	), maxListed, "allocation pools"))
}

// setPools takes null, which is not the empty list, for pools of the whole range.
func setPools(i *site.SubnetInput, pools []model.AddrRange) error {
	if i.AutoPools = pools == nil; !i.AutoPools {
		i.AllocationPools = pools
	}
	return nil
}

// serviceTypes takes device owners of the kinds that Neutron knows. Like Neutron's own
// check it takes whatever begins with a letter of "compute:": its tests have "test:…".
func serviceTypes() value[[]string] {
	l := nullable(listOf(label(), maxListed, "service types"))
	return value[[]string]{l.takes, l.gives, func(x any) ([]string, error) {
		out, err := l.parse(x)
		for _, t := range out {
			if !strings.HasPrefix(t, "network:") && !strings.HasPrefix(t, "neutron:") && !strings.HasPrefix(t, "baremetal:") && (t == "" || !strings.Contains("compute:", t[:1])) {
				return nil, model.Errf(model.KindInvalid, "InvalidSubnetServiceType", "Subnet service type %s does not correspond to a valid device owner.", clip(t))
			}
		}
		return out, err
	}}
}

func setNameservers(i *site.SubnetInput, servers []netip.Addr) error {
	i.DNSNameservers = nil
	for _, ip := range servers {
		if slices.Contains(i.DNSNameservers, ip.String()) {
			return reasonf("Duplicate nameserver '%s'", ip)
		}
		i.DNSNameservers = append(i.DNSNameservers, ip.String())
	}
	return nil
}
