package policy

import (
	"fmt"
	"strings"
)

// The defaults are those of Neutron 21 for what Neutron has, with one difference:
// who has the role reader and not member may read only (rule writer), as Neutron
// itself has it since its release of 2023. What reaches into the underlay or another site is for
// admins alone.

// section is a part of the default file: what it is about, and its rules in order.
type section struct {
	title string
	rules [][2]string
}

const (
	anybody      = ""
	adminOnly    = "rule:admin_only"
	writer       = "rule:writer"
	adminOrOwner = "rule:admin_or_owner"
	ownerWrites  = "rule:writer and rule:admin_or_owner"
	netOwner     = "rule:admin_or_network_owner"
	netOwnerAdv  = "rule:context_is_advsvc or rule:admin_or_network_owner"
	sharedToo    = netOwnerAdv + " or rule:shared"
	netWrites    = "rule:writer and (rule:admin_or_network_owner)"
	notDevice    = "not rule:network_device or " + netOwnerAdv
)

var sections = []section{
	{"Who is who. Actions refer to these.", [][2]string{
		{contextIsAdmin, "role:admin"},
		{"context_is_advsvc", "role:advsvc"},
		{"owner", "tenant_id:%(tenant_id)s"},
		{"admin_or_owner", "rule:context_is_admin or rule:owner"},
		{"admin_only", "rule:context_is_admin"},
		{"network_owner", "tenant_id:%(network:tenant_id)s"},
		{"admin_or_network_owner", "rule:context_is_admin or tenant_id:%(network:tenant_id)s"},
		{"admin_owner_or_network_owner", "rule:owner or rule:admin_or_network_owner"},
		{"ext_parent_owner", "tenant_id:%(ext_parent:tenant_id)s"},
		{"admin_or_ext_parent_owner", "rule:context_is_admin or tenant_id:%(ext_parent:tenant_id)s"},
		{"sg_owner", "tenant_id:%(security_group:tenant_id)s"},
		{"regular_user", anybody},
		{"writer", "rule:context_is_admin or rule:context_is_advsvc or role:member or not role:reader"},
		{"shared", "field:networks:shared=True"},
		{"external", "field:networks:router:external=True"},
		{"shared_subnetpools", "field:subnetpools:shared=True"},
		{"shared_address_scopes", "field:address_scopes:shared=True"},
		{"network_device", "field:port:device_owner=~^network:"},
		{"admin_or_data_plane_int", "rule:context_is_admin or role:data_plane_integrator"},
		{"restrict_wildcard", "(not field:rbac_policy:target_tenant=* and not field:rbac_policy:target_project=*) or rule:admin_only"},
		{defaultRule, ownerWrites},
	}},
	{"Networks", append(crud("network", writer, "rule:admin_or_owner or rule:shared or rule:external or rule:context_is_advsvc", ownerWrites, ownerWrites),
		both("network", adminOnly, "shared", "router:external", "is_default", "segments",
			"provider:network_type", "provider:physical_network", "provider:segmentation_id",
			"create port_security_enabled "+writer, "update port_security_enabled "+ownerWrites,
			"get segments "+adminOnly, "get provider:network_type "+adminOnly,
			"get provider:physical_network "+adminOnly, "get provider:segmentation_id "+adminOnly)...)},
	{"Subnets", append(crud("subnet", netWrites, "rule:admin_or_owner or rule:shared", netWrites, netWrites),
		both("subnet", adminOnly, "segment_id", "get segment_id "+adminOnly)...)},
	{"Ports", append(crud("port", writer, "rule:context_is_advsvc or rule:admin_owner_or_network_owner",
		"rule:writer and (rule:admin_or_owner or rule:context_is_advsvc)",
		"rule:writer and (rule:context_is_advsvc or rule:admin_owner_or_network_owner)"),
		both("port", netOwnerAdv, "fixed_ips:ip_address", "port_security_enabled",
			"create device_owner "+notDevice, "update device_owner "+notDevice,
			"create mac_address "+netOwnerAdv, "update mac_address rule:admin_only or rule:context_is_advsvc",
			"create fixed_ips "+sharedToo, "update fixed_ips "+netOwnerAdv,
			"create fixed_ips:subnet_id "+sharedToo, "update fixed_ips:subnet_id "+sharedToo,
			"create binding:host_id "+adminOnly, "update binding:host_id "+adminOnly,
			"create binding:profile "+adminOnly, "update binding:profile "+adminOnly,
			"create binding:vnic_type "+anybody, "update binding:vnic_type rule:admin_or_owner or rule:context_is_advsvc",
			"create allowed_address_pairs "+netOwner, "update allowed_address_pairs "+netOwner,
			"create allowed_address_pairs:mac_address "+netOwner, "update allowed_address_pairs:mac_address "+netOwner,
			"create allowed_address_pairs:ip_address "+netOwner, "update allowed_address_pairs:ip_address "+netOwner,
			"update data_plane_status rule:admin_or_data_plane_int",
			"get binding:vif_type "+adminOnly, "get binding:vif_details "+adminOnly,
			"get binding:host_id "+adminOnly, "get binding:profile "+adminOnly,
			"get resource_request "+adminOnly)...)},
	{"Routers", append(append(crud("router", writer, adminOrOwner, ownerWrites, ownerWrites),
		both("router", adminOnly, "distributed", "ha",
			"external_gateway_info:enable_snat", "external_gateway_info:external_fixed_ips",
			"create external_gateway_info "+adminOrOwner, "update external_gateway_info "+adminOrOwner,
			"create external_gateway_info:network_id "+adminOrOwner, "update external_gateway_info:network_id "+adminOrOwner,
			"get distributed "+adminOnly, "get ha "+adminOnly)...),
		[2]string{"add_router_interface", ownerWrites}, [2]string{"remove_router_interface", ownerWrites},
		[2]string{"add_extraroutes", ownerWrites}, [2]string{"remove_extraroutes", ownerWrites})},
	{"Subnet pools", append(append(crud("subnetpool", writer, "rule:admin_or_owner or rule:shared_subnetpools", ownerWrites, ownerWrites),
		both("subnetpool", adminOnly, "is_default", "create shared "+adminOnly)...),
		[2]string{"onboard_network_subnets", ownerWrites}, [2]string{"add_prefixes", ownerWrites}, [2]string{"remove_prefixes", ownerWrites})},
	{"Address scopes", append(crud("address_scope", writer, "rule:admin_or_owner or rule:shared_address_scopes", ownerWrites, ownerWrites),
		both("address_scope", adminOnly, "shared")...)},
	{"RBAC policies", append(crud("rbac_policy", writer, adminOrOwner, ownerWrites, ownerWrites),
		both("rbac_policy", "rule:restrict_wildcard", "target_tenant")...)},
	{"Quotas", [][2]string{{"get_quota", adminOnly}, {"update_quota", adminOnly}, {"delete_quota", adminOnly}}},
	{"Gateway devices and their remote MAC tables", append(crud("gateway_device", adminOnly, adminOnly, adminOnly, adminOnly),
		crud("remote_mac_entry", adminOnly, adminOnly, adminOnly, adminOnly)...)},
	{"L2 gateways and their connections", append(crud("l2_gateway", adminOnly, adminOnly, adminOnly, adminOnly),
		crud("l2_gateway_connection", adminOnly, adminOnly, adminOnly, adminOnly)...)},
	{"Agents, which are the site's hosts", [][2]string{{"get_agent", adminOnly}, {"update_agent", adminOnly}, {"delete_agent", adminOnly}}},
	{"What looks into the site beyond one project's resources: traces, probes", [][2]string{{UseDiagnostics, adminOnly}}},
}

// UseDiagnostics is the action of what is no resource's.
const UseDiagnostics = "use_diagnostics"

// crud are the rules of a resource's four verbs.
func crud(resource, create, get, update, remove string) [][2]string {
	return [][2]string{
		{"create_" + resource, create}, {"get_" + resource, get},
		{"update_" + resource, update}, {"delete_" + resource, remove},
	}
}

// both are rules of attributes: a name is for create and update alike, with the
// expression that all of them have; "create NAME EXPRESSION" is for one verb.
func both(resource, expr string, attributes ...string) [][2]string {
	var out [][2]string
	for _, a := range attributes {
		if verb, rest, one := strings.Cut(a, " "); one {
			name, own, _ := strings.Cut(rest, " ")
			out = append(out, [2]string{verb + "_" + resource + ":" + name, own})
			continue
		}
		out = append(out,
			[2]string{"create_" + resource + ":" + a, expr},
			[2]string{"update_" + resource + ":" + a, expr})
	}
	return out
}

// Defaults are the rules of a policy without a file. It panics where its own table is
// wrong, which a test would find.
func Defaults() *Rules {
	r := &Rules{rules: map[string]rule{}}
	for _, s := range sections {
		for _, x := range s.rules {
			expr, err := parse(x[1])
			if err != nil {
				panic(&Error{0, x[0], err})
			}
			r.rules[x[0]] = rule{0, expr}
		}
	}
	return r
}

// DefaultFile writes the defaults as a policy file, each rule in a comment, so that
// what an operator makes of it names only what is changed.
func DefaultFile() string {
	var b strings.Builder
	b.WriteString("# The policy of Causeway's API, in the form of oslo.policy. Every rule stands here with\n" +
		"# its default; take away the # of those that you change. What a file does not name\n" +
		"# keeps its default.\n")
	for _, s := range sections {
		fmt.Fprintf(&b, "\n# --- %s\n\n", s.title)
		for _, x := range s.rules {
			fmt.Fprintf(&b, "#%q: %q\n", x[0], x[1])
		}
	}
	return b.String()
}
