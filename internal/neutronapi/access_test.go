package neutronapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/policy"
)

// refuses checks the status, the type and the whole message.
func (w *tenancy) refuses(who string, status int, typ, message, method, path, body string) {
	w.t.Helper()
	got, out, _ := w.callWith(method, w.fill(path), w.fill(body), token(who))
	e, _ := out["NeutronError"].(map[string]any)
	if got != status || e["type"] != typ || message != "" && e["message"] != w.fill(message) {
		w.t.Errorf("%s: %s %s %s:\n got %d %v\nwant %d %s %q", who, method, w.fill(path), w.fill(body), got, out, status, typ, w.fill(message))
	}
}

// The words that clients were measured to read.
func TestRefusalsInNeutronsWords(t *testing.T) {
	w := newTenancy(t)
	for _, x := range []struct {
		who, typ, message  string
		status             int
		method, path, body string
	}{
		{"a", "PolicyNotAuthorized", "(rule:create_network and rule:create_network:router:external) is disallowed by policy", 403,
			"POST", "/v2.0/networks", `{"network":{"router:external":true}}`},
		{"a", "PolicyNotAuthorized", "(rule:create_network and rule:create_network:router:external) is disallowed by policy", 403,
			"POST", "/v2.0/networks", `{"networks":[{},{"router:external":true}]}`},
		{"a", "PolicyNotAuthorized", "(rule:create_network and rule:create_network:shared) is disallowed by policy", 403,
			"POST", "/v2.0/networks", `{"network":{"shared":"True"}}`},
		{"a", "PolicyNotAuthorized", "(rule:create_network and rule:create_network:provider:network_type) is disallowed by policy", 403,
			"POST", "/v2.0/networks", `{"network":{"provider:network_type":"vxlan"}}`},
		{"a", "PolicyNotAuthorized", "(rule:update_network and rule:update_network:shared) is disallowed by policy", 403,
			"PUT", "/v2.0/networks/$net", `{"network":{"shared":true}}`},
		{"a", "PolicyNotAuthorized", "(rule:create_port and rule:create_port:binding:host_id) is disallowed by policy", 403,
			"POST", "/v2.0/ports", `{"port":{"network_id":"$net","binding:host_id":"h"}}`},
		{"a", "PolicyNotAuthorized", "(rule:create_port and rule:create_port:binding:host_id) is disallowed by policy", 403,
			"POST", "/v2.0/ports", `{"port":{"network_id":"$net","binding:host_id":"0"}}`},
		{"a", "PolicyNotAuthorized", "(rule:create_port and rule:create_port:binding:host_id) is disallowed by policy", 403,
			"POST", "/v2.0/ports", `{"port":{"network_id":"$net","binding:host_id":"False"}}`},
		{"a", "PolicyNotAuthorized", "(rule:update_port and rule:update_port:mac_address) is disallowed by policy", 403,
			"PUT", "/v2.0/ports/$ports", `{"port":{"mac_address":"02:00:00:00:00:77"}}`},
		{"a-reader", "PolicyNotAuthorized", "rule:create_network is disallowed by policy", 403, "POST", "/v2.0/networks", `{"network":{}}`},
		{"a-reader", "PolicyNotAuthorized", "rule:delete_network is disallowed by policy", 403, "DELETE", "/v2.0/networks/$networks", ""},
		{"a", "PolicyNotAuthorized", "rule:create_gateway_device is disallowed by policy", 403,
			"POST", "/v2.0/gw/gateway_devices", `{"gateway_device":{"type":"router_vtep","resource_id":"$router","tunnel_ips":["200.0.0.9"]}}`},
		{"a", "HTTPBadRequest", "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin or advsvc privileges", 400,
			"POST", "/v2.0/networks", `{"network":{"tenant_id":"b"}}`},
		{"a", "HTTPBadRequest", "", 400, "POST", "/v2.0/ports", `{"ports":[{"network_id":"$net"},{"network_id":"$net","project_id":"b"}]}`},
		{"nowhere", "HTTPBadRequest", "The token is for no project: project_id must be specified", 400, "POST", "/v2.0/networks", `{"network":{}}`},
		{"a", "AdminRequired", "User does not have admin privileges: Cannot CREATE resource for non admin tenant.", 403,
			"POST", "/v2.0/l2-gateways", `{"l2_gateway":{"devices":[{"device_id":"$dev2","segmentation_id":"77"}]}}`},
		{"a", "AdminRequired", "User does not have admin privileges: Cannot GET resource for non admin tenant.", 403, "GET", "/v2.0/l2-gateways", ""},
		{"a", "AdminRequired", "User does not have admin privileges: Cannot GET resource for non admin tenant.", 403, "GET", "/v2.0/l2-gateways/$lg", ""},
		{"a", "AdminRequired", "User does not have admin privileges: Cannot GET resource for non admin tenant.", 403, "GET", "/v2.0/l2-gateways/none", ""},
		{"a", "AdminRequired", "User does not have admin privileges: Cannot UPDATE resource for non admin tenant.", 403, "PUT", "/v2.0/l2-gateways/$lg", `{"l2_gateway":{}}`},
		{"a", "AdminRequired", "User does not have admin privileges: Cannot DELETE resource for non admin tenant.", 403, "DELETE", "/v2.0/l2-gateways/$lg", ""},
		{"a", "AdminRequired", "User does not have admin privileges: Cannot DELETE resource for non admin tenant.", 403, "DELETE", "/v2.0/l2-gateway-connections/11111111-1111-4111-8111-111111111111", ""},
		{"b", "NetworkNotFound", "Network $net could not be found.", 404, "GET", "/v2.0/networks/$net", ""},
		{"b", "NetworkNotFound", "Network $net could not be found.", 404, "PUT", "/v2.0/networks/$net", `{"network":{"shared":true}}`},
		{"b", "NetworkNotFound", "Network $net could not be found.", 404, "DELETE", "/v2.0/networks/$net", ""},
		{"b", "NetworkNotFound", "Network $net could not be found.", 404, "POST", "/v2.0/ports", `{"port":{"network_id":"$net","mac_address":"02:00:00:00:00:77"}}`},
		{"b", "NetworkNotFound", "Network $net could not be found.", 404, "POST", "/v2.0/ports", `{"ports":[{"network_id":"$net"}]}`},
		{"b", "NetworkNotFound", "Network $net could not be found.", 404, "POST", "/v2.0/subnets", `{"subnet":{"network_id":"$net","ip_version":4,"cidr":"10.0.9.0/24"}}`},
		{"b", "RouterNotFound", "Router $router could not be found", 404, "PUT", "/v2.0/routers/$router/add_router_interface", `{"subnet_id":"$sub2"}`},
		{"b", "GatewayDeviceNotFound", "Gateway device $dev2 does not exist", 404, "GET", "/v2.0/gw/gateway_devices/$dev2/remote_mac_entries", ""},
		{"b", "GatewayDeviceNotFound", "Gateway device $dev2 does not exist", 404, "GET", "/v2.0/gw/gateway_devices/$dev2/remote_mac_entries/$remote_mac_entries", ""},
	} {
		w.refuses(x.who, x.status, x.typ, x.message, x.method, x.path, x.body)
	}
	// What asks for nothing, and an admin's, is let through.
	w.as("a", 201, "POST", "/v2.0/networks", `{"network":{"router:external":false,"shared":"False","provider:network_type":null,"tenant_id":"a"}}`)
	w.as("a", 201, "POST", "/v2.0/ports", `{"port":{"network_id":"$net","mac_address":"02:00:00:00:00:55","fixed_ips":[{"ip_address":"10.1.0.77"}],"device_owner":"network:dhcp","binding:host_id":"","binding:profile":{}}}`)
	if n := w.as("admin", 201, "POST", "/v2.0/networks", `{"network":{"tenant_id":"c","shared":true}}`); n.str("project_id") != "c" {
		t.Errorf("%v", n)
	}
}

// A PUT is asked about every attribute of its body that has a rule, whatever the value:
// also about one that is there already.
func TestRepeatedValuesAreDecidedAbout(t *testing.T) {
	w := newTenancy(t)
	w.ids["pb"] = w.as("admin", 201, "POST", "/v2.0/ports", `{"port":{"network_id":"$net2","tenant_id":"b"}}`).str("id")
	port := w.as("admin", 200, "GET", "/v2.0/ports/$pb", "")
	w.ids["mac"] = port.str("mac_address")
	b, err := json.Marshal(port["fixed_ips"])
	if err != nil {
		t.Fatal(err)
	}
	w.ids["ips"] = string(b)
	for _, x := range [][4]string{
		{"a", "/v2.0/networks/$net", `{"network":{"shared":false,"name":"z"}}`, "(rule:update_network and rule:update_network:shared)"},
		{"a", "/v2.0/networks/$net", `{"network":{"shared":"False"}}`, "(rule:update_network and rule:update_network:shared)"},
		{"a", "/v2.0/networks/$net", `{"network":{"router:external":false}}`, "(rule:update_network and rule:update_network:router:external)"},
		{"a", "/v2.0/subnetpools/$subnetpools", `{"subnetpool":{"is_default":false}}`, "(rule:update_subnetpool and rule:update_subnetpool:is_default)"},
		{"a", "/v2.0/address-scopes/$address-scopes", `{"address_scope":{"shared":false}}`, "(rule:update_address_scope and rule:update_address_scope:shared)"},
		{"a", "/v2.0/ports/$ports", `{"port":{"binding:host_id":""}}`, "(rule:update_port and rule:update_port:binding:host_id)"},
		{"a", "/v2.0/ports/$ports", `{"port":{"binding:profile":{}}}`, "(rule:update_port and rule:update_port:binding:profile)"},
		{"a", "/v2.0/ports/$ports", `{"port":{"mac_address":null}}`, "(rule:update_port and rule:update_port:mac_address)"},
		{"b", "/v2.0/ports/$pb", `{"port":{"mac_address":"$mac"}}`, "(rule:update_port and rule:update_port:mac_address)"},
		{"b", "/v2.0/ports/$pb", `{"port":{"port_security_enabled":true}}`, "(rule:update_port and rule:update_port:port_security_enabled)"},
		{"b", "/v2.0/ports/$pb", `{"port":{"fixed_ips":$ips}}`, "(((rule:update_port and rule:update_port:fixed_ips) and rule:update_port:fixed_ips:ip_address) and rule:update_port:fixed_ips:subnet_id)"},
		{"b", "/v2.0/ports/$pb", `{"port":{"allowed_address_pairs":[]}}`, "(rule:update_port and rule:update_port:allowed_address_pairs)"},
	} {
		w.refuses(x[0], 403, "PolicyNotAuthorized", x[3]+" is disallowed by policy", "PUT", x[1], x[2])
	}
	// What has no rule, or one that lets the caller, may be repeated; an admin may repeat all.
	w.as("a", 200, "PUT", "/v2.0/ports/$ports", `{"port":{"name":"","device_id":"","admin_state_up":true,"port_security_enabled":true}}`)
	w.as("admin", 200, "PUT", "/v2.0/networks/$net", `{"network":{"shared":false,"router:external":false}}`)
}

// What another project has can be named in no request.
func TestReferencesAreScoped(t *testing.T) {
	w := newTenancy(t)
	w.ids["rb"] = w.as("b", 201, "POST", "/v2.0/routers", `{"router":{}}`).str("id")
	w.refuses("b", 404, "SubnetNotFound", "", "PUT", "/v2.0/routers/$rb/add_router_interface", `{"subnet_id":"$sub2"}`)
	w.refuses("b", 404, "PortNotFound", "", "PUT", "/v2.0/routers/$rb/add_router_interface", `{"port_id":"$ports"}`)
	w.ids["nb"] = w.as("b", 201, "POST", "/v2.0/networks", `{"network":{}}`).str("id")
	w.refuses("b", 404, "SubnetPoolNotFound", "", "POST", "/v2.0/subnets", `{"subnet":{"network_id":"$nb","ip_version":4,"subnetpool_id":"$subnetpools","prefixlen":24}}`)
	w.refuses("b", 404, "AddressScopeNotFound", "", "POST", "/v2.0/subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.0.0.0/8"],"address_scope_id":"$address-scopes"}}`)
	// A network's owner sees the ports of others on it, and cannot take them over.
	w.ids["pb"] = w.as("admin", 201, "POST", "/v2.0/ports", `{"port":{"network_id":"$net2","tenant_id":"b"}}`).str("id")
	w.as("a", 200, "GET", "/v2.0/ports/$pb", "")
	w.refuses("a", 403, "PolicyNotAuthorized", "rule:update_port is disallowed by policy", "PUT", "/v2.0/routers/$router/add_router_interface", `{"port_id":"$pb"}`)
	// Whose port is on a network of another project keeps using it.
	w.as("b", 200, "PUT", "/v2.0/ports/$pb", `{"port":{"name":"mine"}}`)
	w.as("b", 204, "DELETE", "/v2.0/ports/$pb", "")
}

// A network that an admin put on an L2 gateway is still its owner's to delete.
func TestOwnerDeletesWhatAnAdminConnected(t *testing.T) {
	w := newTenancy(t)
	w.as("admin", 201, "POST", "/v2.0/l2-gateway-connections", `{"l2_gateway_connection":{"l2_gateway_id":"$lg","network_id":"$networks"}}`)
	w.as("a", 204, "DELETE", "/v2.0/networks/$networks", "")
}

// What policy hides of an object is in no reply, and no filter or order tells it.
func TestHiddenAttributes(t *testing.T) {
	w := newTenancy(t)
	w.as("admin", 200, "PUT", "/v2.0/ports/$ports", `{"port":{"binding:host_id":"secret-host"}}`)
	w.ids["p2"] = w.as("a", 201, "POST", "/v2.0/ports", `{"port":{"network_id":"$net"}}`).str("id")
	for _, x := range [][3]string{
		{"GET", "/v2.0/ports", ""}, {"GET", "/v2.0/ports/$ports", ""}, {"GET", "/v2.0/ports?fields=binding:host_id&fields=id", ""},
		{"PUT", "/v2.0/ports/$ports", `{"port":{"name":"q"}}`}, {"GET", "/v2.0/networks", ""}, {"PUT", "/v2.0/networks/$net", `{"network":{}}`},
	} {
		_, out, _ := w.callWith(x[0], w.fill(x[1]), w.fill(x[2]), token("a"))
		if s := text(out); strings.Contains(s, "binding:host") || strings.Contains(s, "binding:profile") || strings.Contains(s, "binding:vif") || strings.Contains(s, "provider:") || !strings.Contains(s, `"id"`) {
			t.Errorf("%v: %s", x, s)
		}
	}
	list := func(who, query string) []any {
		_, out, _ := w.callWith("GET", "/v2.0/ports"+query, "", token(who))
		return out.list("ports")
	}
	if l := list("a", "?binding:host_id=secret-host"); len(l) != 0 {
		t.Errorf("a filter tells what is hidden: %v", l)
	}
	if l := list("admin", "?binding:host_id=secret-host"); len(l) != 1 {
		t.Errorf("an admin's filter: %v", l)
	}
	up, down := list("a", "?fields=id&sort_key=binding:host_id&sort_dir=asc"), list("a", "?fields=id&sort_key=binding:host_id&sort_dir=desc")
	if len(up) < 2 || text(object{"": up}) != text(object{"": down}) {
		t.Errorf("an order tells what is hidden: %v, %v", up, down)
	}
	if _, out, _ := w.callWith("GET", w.fill("/v2.0/ports/$ports"), "", token("admin")); !strings.Contains(text(out), "secret-host") {
		t.Errorf("hidden from an admin: %v", out)
	}
}

// A marker that the caller may not see is not found, and pages have its own only.
func TestPagesAreScoped(t *testing.T) {
	w := newTenancy(t)
	w.refuses("b", 404, "NetworkNotFound", "", "GET", "/v2.0/networks?limit=1&marker=$net", "")
	w.as("b", 201, "POST", "/v2.0/networks", `{"networks":[{},{}]}`)
	_, out, _ := w.callWith("GET", "/v2.0/networks?limit=10&sort_key=id&sort_dir=asc", "", token("b"))
	if l := out.list("networks"); len(l) != 2 {
		t.Errorf("%v", out)
	}
}

// The rules in force are those of the moment.
func TestPolicyChanges(t *testing.T) {
	rules := policy.Defaults()
	w := newTenancy(t, func(o *neutronapi.Options) { o.Policy = func() *policy.Rules { return rules } })
	w.refuses("a", 403, "PolicyNotAuthorized", "", "POST", "/v2.0/gw/gateway_devices", `{"gateway_device":{}}`)
	var err error
	if rules, err = policy.Parse([]byte("create_gateway_device: rule:writer\nget_gateway_device: rule:owner\nget_l2_gateway: '@'\n" +
		"create_network:name: '!'\n")); err != nil {
		t.Fatal(err)
	}
	d := w.as("a", 201, "POST", "/v2.0/gw/gateway_devices", `{"gateway_device":{"type":"router_vtep","resource_id":"$router","tunnel_ips":["200.0.0.9"]}}`)
	if d.str("project_id") != "a" {
		t.Errorf("%v", d)
	}
	_, out, _ := w.callWith("GET", "/v2.0/gw/gateway_devices", "", token("a"))
	if l := out.list("gateway_devices"); len(l) != 1 {
		t.Errorf("a sees %v", l)
	}
	// A gateway device's router is one that the caller may see.
	w.refuses("b", 404, "ResourceNotFound", "", "POST", "/v2.0/gw/gateway_devices", `{"gateway_device":{"type":"router_vtep","resource_id":"$routers","tunnel_ips":["200.0.0.8"]}}`)
	w.as("a", 200, "GET", "/v2.0/l2-gateways/$lg", "")
	w.refuses("a", 403, "PolicyNotAuthorized", "(rule:create_network and rule:create_network:name) is disallowed by policy", "POST", "/v2.0/networks", `{"network":{"name":"n"}}`)
}
