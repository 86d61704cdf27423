package neutronapi

import (
	"context"
	"net/http"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

const noExternal = "external networks, external gateways and floating IPs do not exist yet"

func networks(a *API) *resource[model.Network, model.Network] {
	type net = model.Network
	std := func(n *net) *model.Standard { return &n.Standard }
	return &resource[net, net]{
		name: "network", plural: "networks", path: "/v2.0/networks", kind: store.Networks,
		attrs: append(standardAttrs(std, std),
			readOnly[net]("id", func(_ store.Snapshot, n *net) any { return string(n.ID) }),
			readOnly[net]("status", func(store.Snapshot, *net) any { return "ACTIVE" }),
			readOnly[net]("subnets", func(s store.Snapshot, n *net) any { return list(site.SubnetsOf(s, n.ID)) }),
			attribute[net, net]{name: "admin_state_up", post: true, put: true,
				set: setBool(func(n *net) *bool { return &n.AdminStateUp }),
				get: func(_ store.Snapshot, n *net) any { return n.AdminStateUp }},
			attribute[net, net]{name: "shared", post: true, put: true,
				set: setBool(func(n *net) *bool { return &n.Shared }),
				get: func(_ store.Snapshot, n *net) any { return n.Shared }},
			attribute[net, net]{name: "port_security_enabled", post: true, put: true,
				set: setBool(func(n *net) *bool { return &n.PortSecurity }),
				get: func(_ store.Snapshot, n *net) any { return n.PortSecurity }},
			attribute[net, net]{name: "mtu", post: true, put: true, set: setMTU,
				get: func(_ store.Snapshot, n *net) any { return n.MTU }},
			attribute[net, net]{name: "provider:network_type", post: true, put: true, set: setNetworkType,
				get: func(_ store.Snapshot, n *net) any {
					if n.Type == model.NetworkOverlay {
						return nil
					}
					return string(n.Type)
				}},
			neutral[net, net]("provider:physical_network", "networks with provider attributes other than provider:network_type=uplink do not exist yet"),
			neutral[net, net]("provider:segmentation_id", "the site chooses the keys of its networks; the VNI between sites belongs to an L2 gateway"),
			shown(neutral[net, net]("router:external", noExternal), false),
			neutral[net, net]("vlan_transparent", "VLAN-transparent networks do not exist yet"),
			neutral[net, net]("qos_policy_id", "QoS does not exist yet"),
			neutral[net, net]("is_default", noExternal),
			neutral[net, net]("availability_zone_hints", "availability zones do not exist yet"),
			neutral[net, net]("dns_domain", "DNS integration does not exist yet"),
		),
		bulk: true,
		fresh: func(r *http.Request) *net {
			return &net{Standard: model.Standard{ProjectID: ownerOf(r)}, AdminStateUp: true, PortSecurity: true}
		},
		id:         func(n *net) string { return string(n.ID) },
		revision:   func(n *net) int64 { return n.Revision },
		revisionIn: func(n *net) int64 { return n.Revision },
		standardIn: std, standard: std,
		notFound: site.NetworkNotFound,
		create:   a.site.CreateNetworks,
		update:   a.site.UpdateNetwork,
		remove: func(ctx context.Context, _ *http.Request, id string, guard func(*net) error) error {
			return a.site.DeleteNetwork(ctx, id, guard)
		},
	}
}

func setMTU(n *model.Network, v any) error {
	if v == nil {
		n.MTU = 0
		return nil
	}
	mtu, err := toInt(v)
	if err != nil {
		return err
	}
	if mtu < 0 || mtu > 1<<16 {
		return reasonf("'%s' is not in range 0 to 65536", text(v))
	}
	n.MTU = int(mtu)
	return nil
}

func setNetworkType(n *model.Network, v any) error {
	switch v {
	case nil, "":
		n.Type = model.NetworkOverlay
		return nil
	case string(model.NetworkUplink):
		n.Type = model.NetworkUplink
		return nil
	}
	return site.Unsupported("provider:network_type '%s' does not exist here: leave it out for a tenant or multi-site network, or use 'uplink'", text(v))
}
