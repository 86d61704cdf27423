package neutronapi

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/causeway-net/causeway/internal/model"
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
		name: "subnet", plural: "subnets", path: "/v2.0/subnets", kind: store.Subnets,
		attrs: append(standardAttrs(stdIn, std),
			readOnly[in]("id", func(_ store.Snapshot, s *sub) any { return string(s.ID) }),
			attribute[in, sub]{name: "network_id", post: true, required: true,
				set: func(i *in, v any) error {
					id, err := toUUID(v)
					i.NetworkID = model.NetworkID(id)
					return err
				},
				get: func(_ store.Snapshot, s *sub) any { return string(s.NetworkID) }},
			attribute[in, sub]{name: "ip_version", post: true, required: true, set: setIPVersion,
				get: func(store.Snapshot, *sub) any { return 4 }},
			attribute[in, sub]{name: "cidr", post: true, required: true,
				set: func(i *in, v any) (err error) {
					i.CIDR, err = toPrefix(v)
					return err
				},
				get: func(_ store.Snapshot, s *sub) any { return s.CIDR.String() }},
			attribute[in, sub]{name: "gateway_ip", post: true, put: true, set: setGateway,
				get: func(_ store.Snapshot, s *sub) any {
					if !s.Gateway.IsValid() {
						return nil
					}
					return s.Gateway.String()
				}},
			attribute[in, sub]{name: "enable_dhcp", post: true, put: true,
				set: setBool(func(i *in) *bool { return &i.EnableDHCP }),
				get: func(_ store.Snapshot, s *sub) any { return s.EnableDHCP }},
			// The router peering guide writes no_dhcp; after enable_dhcp, so that
			// it wins.
			attribute[in, sub]{name: "no_dhcp", post: true, set: func(i *in, v any) error {
				no, err := toBool(v)
				if no {
					i.EnableDHCP = false
				}
				return err
			}},
			attribute[in, sub]{name: "allocation_pools", post: true, put: true, set: setPools,
				get: func(_ store.Snapshot, s *sub) any { return list(s.AllocationPools) }},
			attribute[in, sub]{name: "dns_nameservers", post: true, put: true, set: setNameservers,
				get: func(_ store.Snapshot, s *sub) any { return list(s.DNSNameservers) }},
			attribute[in, sub]{name: "host_routes", post: true, put: true,
				set: func(i *in, v any) (err error) {
					i.HostRoutes, err = toRoutes(v)
					return err
				},
				get: func(_ store.Snapshot, s *sub) any { return list(s.HostRoutes) }},
			attribute[in, sub]{name: "ipv6_ra_mode", post: true, set: refuseIPv6Mode, get: null},
			attribute[in, sub]{name: "ipv6_address_mode", post: true, set: refuseIPv6Mode, get: null},
			shown(neutral[in, sub]("subnetpool_id", "subnet pools do not exist yet"), nil),
			neutral[in, sub]("use_default_subnet_pool", "subnet pools do not exist yet"),
			neutral[in, sub]("prefixlen", "subnet pools do not exist yet"),
			shown(neutral[in, sub]("service_types", "service types of subnets do not exist yet"), []string{}),
			neutral[in, sub]("segment_id", "routed networks do not exist yet"),
			neutral[in, sub]("dns_publish_fixed_ip", "DNS integration does not exist yet"),
		),
		bulk: true,
		fresh: func(r *http.Request) *in {
			return &in{Subnet: sub{Standard: model.Standard{ProjectID: ownerOf(r)}, EnableDHCP: true}, AutoGateway: true, AutoPools: true}
		},
		id:         func(s *sub) string { return string(s.ID) },
		revision:   func(s *sub) int64 { return s.Revision },
		revisionIn: func(i *in) int64 { return i.Revision },
		standardIn: stdIn, standard: std,
		notFound: site.SubnetNotFound,
		create:   a.site.CreateSubnets,
		update:   a.site.UpdateSubnet,
		remove: func(ctx context.Context, _ *http.Request, id string, guard func(*sub) error) error {
			return a.site.DeleteSubnet(ctx, id, guard)
		},
	}
}

func refuseIPv6Mode(_ *site.SubnetInput, v any) error {
	if v == nil {
		return nil
	}
	return site.Unsupported("IPv6 subnets do not exist yet")
}

func setIPVersion(_ *site.SubnetInput, v any) error {
	n, err := toInt(v)
	switch {
	case err != nil:
		return err
	case n == 6:
		return site.Unsupported("IPv6 subnets do not exist yet")
	case n != 4:
		return reasonf("'%s' is not in [4, 6]", text(v))
	}
	return nil
}

func setGateway(i *site.SubnetInput, v any) (err error) {
	i.AutoGateway, i.Gateway = false, netip.Addr{}
	if v == nil {
		return nil
	}
	i.Gateway, err = toAddr(v)
	return err
}

func setPools(i *site.SubnetInput, v any) error {
	if v == nil {
		i.AutoPools = true
		return nil
	}
	l, err := toList(v)
	if err != nil {
		return err
	}
	if len(l) > maxListed {
		return reasonf("more than %d allocation pools", maxListed)
	}
	pools := make([]model.AddrRange, 0, len(l))
	for _, x := range l {
		d, err := toDict(x)
		if err != nil {
			return err
		}
		if err := only(d, "start", "end"); err != nil {
			return err
		}
		var p model.AddrRange
		if p.Start, err = toAddr(d["start"]); err != nil {
			return err
		}
		if p.End, err = toAddr(d["end"]); err != nil {
			return err
		}
		pools = append(pools, p)
	}
	i.AutoPools, i.AllocationPools = false, pools
	return nil
}

func setNameservers(i *site.SubnetInput, v any) error {
	i.DNSNameservers = nil
	if v == nil {
		return nil
	}
	l, err := toList(v)
	if err != nil {
		return err
	}
	if len(l) > maxListed {
		return reasonf("more than %d name servers", maxListed)
	}
	for _, x := range l {
		ip, err := toAddr(x)
		if err != nil {
			return err
		}
		i.DNSNameservers = append(i.DNSNameservers, ip.String())
	}
	return nil
}
