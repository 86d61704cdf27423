package neutronapi

import (
	"net/http"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

const noExternal = "external networks, external gateways and floating IPs do not exist yet"

func networks(a *API) *resource[model.Network, model.Network] {
	type net = model.Network
	std := func(n *net) *model.Standard { return &n.Standard }
	return &resource[net, net]{
		name: "network", plural: "networks", path: "/v2.0/networks", table: store.Networks,
		attrs: append(standardAttrs(std, std),
			idAttr[net](func(n *net) model.NetworkID { return n.ID }),
			readOnly[net]("status", enum("ACTIVE"), func(store.Snapshot, *net) any { return "ACTIVE" }),
			readOnly[net]("subnets", openapi.ListOf(pattern(uuidPattern), -1), func(s store.Snapshot, n *net) any { return list(site.SubnetsOf(s, n.ID)) }),
			attribute[net, net]{name: "admin_state_up", post: true, put: true,
				takes: into(boolean(), func(n *net) *bool { return &n.AdminStateUp }),
				get:   func(_ store.Snapshot, n *net) any { return n.AdminStateUp }},
			attribute[net, net]{name: "shared", post: true, put: true,
				takes: into(boolean(), func(n *net) *bool { return &n.Shared }),
				get:   func(s store.Snapshot, n *net) any { return sharedFor(s, n.ID, n.Shared) }},
			attribute[net, net]{name: "port_security_enabled", post: true, put: true,
				takes: into(boolean(), func(n *net) *bool { return &n.PortSecurity }),
				get:   func(_ store.Snapshot, n *net) any { return n.PortSecurity }},
			attribute[net, net]{name: "mtu", post: true, put: true, takes: with(nullable(integer(0, 1<<16)), setMTU),
				get: func(_ store.Snapshot, n *net) any { return n.MTU }},
			attribute[net, net]{name: "provider:network_type", post: true, put: true,
				takes: into(networkType(), func(n *net) *model.NetworkType { return &n.Type }), gives: enum(localType, string(model.NetworkUplink)),
				get: func(_ store.Snapshot, n *net) any {
					if n.Type == model.NetworkOverlay {
						return localType
					}
					return string(n.Type)
				}},
			prohibited("provider:physical_network"),
			prohibited("provider:segmentation_id"),
			readOnly[net]("ipv4_address_scope", openapi.OrNull(pattern(uuidPattern)), func(s store.Snapshot, n *net) any {
				return orNull(site.AddressScopeOf(s, n.ID))
			}),
			readOnly[net]("ipv6_address_scope", openapi.Of(openapi.Null), func(store.Snapshot, *net) any { return nil }),
			shown(neutral[net, net]("router:external", noExternal), false),
			neutral[net, net]("vlan_transparent", "VLAN-transparent networks do not exist yet"),
			neutral[net, net]("qos_policy_id", "QoS does not exist yet"),
			neutral[net, net]("is_default", noExternal),
			neutral[net, net]("availability_zone_hints", "availability zones do not exist yet"),
			neutral[net, net]("dns_domain", "DNS integration does not exist yet"),
		),
		indexes: map[string]func(store.Snapshot, string) []string{"tenant_id": ownedBy(site.QuotaNetwork), "project_id": ownedBy(site.QuotaNetwork)},
		bulk:    true,
		fresh: func(r *http.Request) *net {
			return &net{Standard: model.Standard{ProjectID: ownerOf(r)}, AdminStateUp: true, PortSecurity: true}
		},
		id:         func(n *net) string { return string(n.ID) },
		revision:   func(n *net) int64 { return n.Revision },
		standardIn: std, standard: std,
		notFound: site.NetworkNotFound,
		create:   a.site.CreateNetworks,
		update:   a.site.UpdateNetwork,
		remove:   byID(a.site.DeleteNetwork),
	}
}

// setMTU takes 0 for what the underlay leaves.
func setMTU(n *model.Network, mtu int64) error {
	n.MTU = int(mtu)
	return nil
}

// localType is Neutron's word for what an ordinary network is: its ports reach each
// other within a host. A site has one host so far.
const localType = "local"

func networkType() value[model.NetworkType] {
	takes := &openapi.Schema{Enum: []any{nil, string(model.NetworkOverlay), localType, string(model.NetworkUplink)}}
	return value[model.NetworkType]{takes, takes, func(v any) (model.NetworkType, error) {
		switch v {
		case nil, "", localType:
			return model.NetworkOverlay, nil
		case string(model.NetworkUplink):
			return model.NetworkUplink, nil
		}
		return "", model.Errf(model.KindInvalid, "InvalidInput", "Invalid input for operation: network_type value '%s' not supported: leave it out for a tenant or multi-site network, or use 'uplink'.", text(v))
	}}
}

// prohibited is a provider attribute that no network of a site has.
func prohibited(name string) attribute[model.Network, model.Network] {
	null := openapi.Of(openapi.Null)
	takes := value[any]{null, null, func(v any) (any, error) {
		if v != nil {
			return nil, model.Errf(model.KindInvalid, "InvalidInput", "Invalid input for operation: %s prohibited for local and uplink provider networks.", name)
		}
		return nil, nil
	}}
	return attribute[model.Network, model.Network]{name: name, post: true, put: true,
		takes: with(takes, func(*model.Network, any) error { return nil }),
		get:   func(store.Snapshot, *model.Network) any { return nil }}
}
