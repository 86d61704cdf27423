package neutronapi_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/store"
	"github.com/causeway-net/causeway/internal/testutil"
)

// ids lists the ids that a caller sees in a collection.
func (w *tenancy) list(who, path, plural string) []string {
	w.t.Helper()
	status, out, _ := w.callWith("GET", w.fill(path), "", token(who))
	if status != 200 {
		w.t.Fatalf("%s: GET %s: %d %v", who, path, status, out)
	}
	var ids []string
	for _, x := range out.list(plural) {
		ids = append(ids, object(x.(map[string]any)).str("id"))
	}
	return ids
}

// policy shares something as its owner does.
func (w *tenancy) policy(name, who, typ, id, target string) {
	w.t.Helper()
	w.ids[name] = w.as(who, 201, "POST", "/v2.0/rbac-policies", fill(
		`{"rbac_policy":{"object_type":"T","object_id":"I","action":"access_as_shared","target_tenant":"P"}}`, "T", typ, "I", w.fill(id), "P", target)).str("id")
}

// A network that an admin shares is there for all projects: to read and for ports,
// not to change, and not to choose addresses on.
func TestSharedNetwork(t *testing.T) {
	w := newTenancy(t)
	if l := w.list("b", "/v2.0/networks", "networks"); len(l) != 0 {
		t.Fatalf("b sees %v", l)
	}
	w.as("admin", 200, "PUT", "/v2.0/networks/$net", `{"network":{"shared":true}}`)
	for _, who := range []string{"a", "b", "c", "b-reader", "admin"} {
		n := w.as(who, 200, "GET", "/v2.0/networks/$net", "")
		if n["shared"] != true {
			t.Errorf("%s: shared %v", who, n["shared"])
		}
		if l := w.list(who, "/v2.0/networks?shared=True&id=$net", "networks"); len(l) != 1 {
			t.Errorf("%s lists %v", who, l)
		}
		if l := w.list(who, "/v2.0/subnets?network_id=$net", "subnets"); len(l) != 1 {
			t.Errorf("%s sees the subnets %v", who, l)
		}
	}
	w.ids["pb"] = w.as("b", 201, "POST", "/v2.0/ports", `{"port":{"network_id":"$net","fixed_ips":[{"subnet_id":"$subnets"}]}}`).str("id")
	for _, x := range []struct{ rule, method, path, body string }{
		{"rule:update_network", "PUT", "/v2.0/networks/$net", `{"network":{"name":"mine"}}`},
		{"rule:delete_network", "DELETE", "/v2.0/networks/$net", ""},
		{"rule:create_subnet", "POST", "/v2.0/subnets", `{"subnet":{"network_id":"$net","ip_version":4,"cidr":"10.77.0.0/24"}}`},
		{"rule:update_subnet", "PUT", "/v2.0/subnets/$subnets", `{"subnet":{"name":"mine"}}`},
		{"(rule:create_port and rule:create_port:mac_address)", "POST", "/v2.0/ports", `{"port":{"network_id":"$net","mac_address":"02:00:00:00:00:99"}}`},
		{"((rule:create_port and rule:create_port:fixed_ips) and rule:create_port:fixed_ips:ip_address)", "POST", "/v2.0/ports", `{"ports":[{"network_id":"$net","fixed_ips":[{"ip_address":"10.1.0.9"}]}]}`},
		{"(rule:create_port and rule:create_port:port_security_enabled)", "POST", "/v2.0/ports", `{"port":{"network_id":"$net","port_security_enabled":false}}`},
		{"((rule:create_port and rule:create_port:allowed_address_pairs) and rule:create_port:allowed_address_pairs:ip_address)", "POST", "/v2.0/ports", `{"port":{"network_id":"$net","allowed_address_pairs":[{"ip_address":"10.1.0.9"}]}}`},
		{"(rule:create_port and rule:create_port:device_owner)", "POST", "/v2.0/ports", `{"port":{"network_id":"$net","device_owner":"NETWORK:remote_site"}}`},
		{"(rule:update_port and rule:update_port:port_security_enabled)", "PUT", "/v2.0/ports/$pb", `{"port":{"port_security_enabled":false}}`},
		{"(rule:update_port and rule:update_port:device_owner)", "PUT", "/v2.0/ports/$pb", `{"port":{"device_owner":"Network:Remote_Site"}}`},
		{"((rule:update_port and rule:update_port:fixed_ips) and rule:update_port:fixed_ips:ip_address)", "PUT", "/v2.0/ports/$pb", `{"port":{"fixed_ips":[{"ip_address":"10.1.0.9"}]}}`},
	} {
		w.refuses("b", 403, "PolicyNotAuthorized", x.rule+" is disallowed by policy", x.method, x.path, x.body)
	}
	w.as("a", 200, "GET", "/v2.0/ports/$pb", "") // the network's owner sees who is on it
	w.refuses("c", 404, "PortNotFound", "", "GET", "/v2.0/ports/$pb", "")
	// A router comes in by a port with an address of its own, not as the gateway.
	w.ids["rb"] = w.as("b", 201, "POST", "/v2.0/routers", `{"router":{}}`).str("id")
	w.refuses("b", 403, "PolicyNotAuthorized", "rule:create_port:fixed_ips:ip_address is disallowed by policy", "PUT", "/v2.0/routers/$rb/add_router_interface", `{"subnet_id":"$subnets"}`)
	w.as("b", 200, "PUT", "/v2.0/routers/$rb/add_router_interface", `{"port_id":"$pb"}`)
	w.refuses("admin", 409, "InvalidSharedSetting", "Unable to reconfigure sharing settings for network $net. Multiple tenants are using it.", "PUT", "/v2.0/networks/$net", `{"network":{"shared":false}}`)
	w.as("b", 200, "PUT", "/v2.0/routers/$rb/remove_router_interface", `{"port_id":"$pb"}`)
	w.as("admin", 200, "PUT", "/v2.0/networks/$net", `{"network":{"shared":false}}`)
	w.refuses("b", 404, "NetworkNotFound", "", "GET", "/v2.0/networks/$net", "")
	if l := w.list("admin", "/v2.0/rbac-policies?object_id=$net", "rbac_policies"); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
	checkSound(w.server)
}

// An owner shares with one project: that one, and no other, has it.
func TestRBACPolicies(t *testing.T) {
	w := newTenancy(t)
	w.policy("p", "a", "network", "$net", "b")
	got := w.as("a", 200, "GET", "/v2.0/rbac-policies/$p", "")
	for key, want := range map[string]string{"object_type": "network", "object_id": w.ids["net"], "action": "access_as_shared", "target_tenant": "b", "tenant_id": "a", "project_id": "a"} {
		if got.str(key) != want {
			t.Errorf("%s %v, want %s", key, got[key], want)
		}
	}
	if n := w.as("b", 200, "GET", "/v2.0/networks/$net", ""); n["shared"] != true {
		t.Errorf("b: %v", n)
	}
	if n := w.as("a", 200, "GET", "/v2.0/networks/$net", ""); n["shared"] != false {
		t.Errorf("a: %v", n)
	}
	w.refuses("c", 404, "NetworkNotFound", "", "GET", "/v2.0/networks/$net", "")
	w.refuses("c", 404, "NetworkNotFound", "", "POST", "/v2.0/ports", `{"port":{"network_id":"$net"}}`)
	w.refuses("b", 404, "RbacPolicyNotFound", "RBAC policy of type rbac_policy with ID $p not found", "GET", "/v2.0/rbac-policies/$p", "")
	w.ids["pb"] = w.as("b", 201, "POST", "/v2.0/ports", `{"port":{"network_id":"$net"}}`).str("id")

	make := func(typ, id, action, target string) string {
		return w.fill(fmt.Sprintf(`{"rbac_policy":{"object_type":%q,"object_id":%q,"action":%q,"target_tenant":%q}}`, typ, id, action, target))
	}
	w.ids["none"] = "11111111-1111-4111-8111-111111111111"
	const base = "/v2.0/rbac-policies"
	w.refuses("a", 409, "DuplicateRbacPolicy", "An RBAC policy already exists with those values.", "POST", base, make("network", "$net", "access_as_shared", "b"))
	w.refuses("a", 403, "PolicyNotAuthorized", "(rule:create_rbac_policy and rule:create_rbac_policy:target_tenant) is disallowed by policy", "POST", base, make("network", "$net", "access_as_shared", "*"))
	w.refuses("a", 400, "FeatureNotSupported", "", "POST", base, make("network", "$net", "access_as_external", "c"))
	w.refuses("a", 400, "InvalidInput", "", "POST", base, make("network", "$net", "eat", "c"))
	w.refuses("a", 400, "InvalidInput", "Invalid input for operation: 'qos_policy' is not a valid RBAC object type.", "POST", base, make("qos_policy", "$net", "access_as_shared", "c"))
	w.refuses("a", 400, "HTTPBadRequest", "", "POST", base, make("network", "$net", "access_as_shared", ""))
	w.refuses("a", 400, "HTTPBadRequest", "Failed to parse request. Required attribute 'target_tenant' not specified", "POST", base, `{"rbac_policy":{"object_type":"network","object_id":"$net","action":"access_as_shared"}}`)
	w.refuses("a", 404, "NetworkNotFound", "", "POST", base, make("network", "$none", "access_as_shared", "c"))
	w.refuses("a", 404, "SubnetPoolNotFound", "", "POST", base, make("subnetpool", "$net", "access_as_shared", "c"))
	w.refuses("c", 404, "NetworkNotFound", "", "POST", base, make("network", "$net", "access_as_shared", "c"))
	w.refuses("b", 400, "InvalidInput", "Invalid input for operation: Only admins can manipulate policies on networks they do not own.", "POST", base, make("network", "$net", "access_as_shared", "c"))
	w.refuses("a", 400, "HTTPBadRequest", "Cannot update read-only attribute object_id", "PUT", base+"/$p", `{"rbac_policy":{"object_id":"$net2"}}`)
	w.refuses("a", 403, "PolicyNotAuthorized", "", "PUT", base+"/$p", `{"rbac_policy":{"target_tenant":"*"}}`)
	w.refuses("b", 404, "RbacPolicyNotFound", "", "PUT", base+"/$p", `{"rbac_policy":{"target_tenant":"c"}}`)
	inUse := "RBAC policy on object $net cannot be removed because other objects depend on it.\nDetails: Unable to reconfigure sharing settings for network $net. Multiple tenants are using it."
	w.refuses("a", 409, "RbacPolicyInUse", inUse, "DELETE", base+"/$p", "")
	w.refuses("a", 409, "RbacPolicyInUse", inUse, "PUT", base+"/$p", `{"rbac_policy":{"target_tenant":"c"}}`)
	// An admin's policy for everybody covers b's port, so that the first may go.
	w.policy("all", "admin", "network", "$net", "*")
	if n := w.as("c", 200, "GET", "/v2.0/networks/$net", ""); n["shared"] != true {
		t.Errorf("c: %v", n)
	}
	w.as("a", 200, "PUT", base+"/$p", `{"rbac_policy":{"target_tenant":"c"}}`)
	w.as("a", 204, "DELETE", base+"/$p", "")
	w.refuses("admin", 409, "RbacPolicyInUse", inUse, "DELETE", base+"/$all", "")
	w.refuses("admin", 409, "InvalidSharedSetting", "", "PUT", "/v2.0/networks/$net", `{"network":{"shared":false}}`)
	// A policy for b alone covers it too.
	w.as("admin", 200, "PUT", base+"/$all", `{"rbac_policy":{"target_tenant":"b"}}`)
	w.refuses("c", 404, "NetworkNotFound", "", "GET", "/v2.0/networks/$net", "")
	w.as("b", 204, "DELETE", "/v2.0/ports/$pb", "")
	w.as("admin", 204, "DELETE", base+"/$all", "")
	w.refuses("b", 404, "NetworkNotFound", "", "GET", "/v2.0/networks/$net", "")
	checkSound(w.server)
}

// What is shared with the owner's project alone does not look to policy as if it
// were shared with everybody already.
func TestSharingWithOneselfOpensNothing(t *testing.T) {
	w := newTenancy(t)
	w.policy("p", "a", "network", "$net", "a")
	if n := w.as("a", 200, "GET", "/v2.0/networks/$net", ""); n["shared"] != true {
		t.Errorf("%v", n)
	}
	w.refuses("a", 403, "PolicyNotAuthorized", "(rule:update_network and rule:update_network:shared) is disallowed by policy", "PUT", "/v2.0/networks/$net", `{"network":{"shared":true}}`)
	w.refuses("b", 404, "NetworkNotFound", "", "GET", "/v2.0/networks/$net", "")
}

// Policies go with what they are about.
func TestPoliciesGoWithTheirObject(t *testing.T) {
	w := newTenancy(t)
	w.policy("p", "a", "network", "$networks", "b")
	w.policy("q", "admin", "network", "$networks", "*")
	w.policy("r", "a", "subnetpool", "$subnetpools", "b")
	w.policy("s", "a", "address_scope", "$address-scopes", "b")
	w.as("a", 204, "DELETE", "/v2.0/networks/$networks", "")
	w.as("a", 204, "DELETE", "/v2.0/subnetpools/$subnetpools", "")
	w.as("a", 204, "DELETE", "/v2.0/address-scopes/$address-scopes", "")
	if l := w.list("admin", "/v2.0/rbac-policies", "rbac_policies"); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
	checkSound(w.server)
}

// Subnet pools and address scopes are shared likewise.
func TestSharedPoolsAndScopes(t *testing.T) {
	w := newTenancy(t)
	w.ids["nb"] = w.as("b", 201, "POST", "/v2.0/networks", `{"network":{}}`).str("id")
	fromPool := `{"subnet":{"network_id":"$nb","ip_version":4,"subnetpool_id":"$subnetpools","prefixlen":24}}`
	w.refuses("b", 404, "SubnetPoolNotFound", "", "POST", "/v2.0/subnets", fromPool)
	w.policy("p", "a", "subnetpool", "$subnetpools", "b")
	w.ids["sb"] = w.as("b", 201, "POST", "/v2.0/subnets", fromPool).str("id")
	if p := w.as("b", 200, "GET", "/v2.0/subnetpools/$subnetpools", ""); p["shared"] != true {
		t.Errorf("%v", p)
	}
	w.refuses("b", 403, "PolicyNotAuthorized", "", "PUT", "/v2.0/subnetpools/$subnetpools", `{"subnetpool":{"name":"mine"}}`)
	w.refuses("a", 409, "RbacPolicyInUse", "RBAC policy on object $subnetpools cannot be removed because other objects depend on it.\nDetails: project_id=b", "DELETE", "/v2.0/rbac-policies/$p", "")
	w.as("b", 204, "DELETE", "/v2.0/subnets/$sb", "")
	w.as("a", 204, "DELETE", "/v2.0/rbac-policies/$p", "")

	ofScope := `{"subnetpool":{"name":"x","prefixes":["10.99.0.0/16"],"address_scope_id":"$address-scopes"}}`
	w.refuses("b", 404, "AddressScopeNotFound", "", "POST", "/v2.0/subnetpools", ofScope)
	w.policy("q", "admin", "address_scope", "$address-scopes", "*")
	w.ids["pb"] = w.as("b", 201, "POST", "/v2.0/subnetpools", ofScope).str("id")
	w.refuses("admin", 409, "RbacPolicyInUse", "", "DELETE", "/v2.0/rbac-policies/$q", "")
	w.as("b", 204, "DELETE", "/v2.0/subnetpools/$pb", "")
	w.as("admin", 204, "DELETE", "/v2.0/rbac-policies/$q", "")
	w.as("admin", 201, "POST", "/v2.0/subnetpools", `{"subnetpool":{"name":"all","prefixes":["10.98.0.0/16"],"shared":true}}`)
	if l := w.list("c", "/v2.0/subnetpools", "subnetpools"); len(l) != 1 {
		t.Errorf("%v", l)
	}
	checkSound(w.server)
}

// However unsharing and the creation of ports meet: once it is unshared, nobody
// else has a port there.
func TestUnsharingRacesWithPorts(t *testing.T) {
	w := newTenancy(t)
	var done sync.WaitGroup
	stop := make(chan struct{})
	// One at a time, so that often there is none.
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			status, out, _ := w.callWith("POST", "/v2.0/ports", w.fill(`{"port":{"network_id":"$net"}}`), token("b"))
			switch status {
			case 201:
				p, _ := out["port"].(map[string]any)
				w.callWith("DELETE", "/v2.0/ports/"+object(p).str("id"), "", token("b"))
			case 404:
			default:
				t.Errorf("%d %v", status, out)
				return
			}
		}
	})
	unshared, inUse := 0, 0
	for unshared < 50 || inUse < 5 && unshared < 2000 {
		w.callWith("PUT", w.fill("/v2.0/networks/$net"), `{"network":{"shared":true}}`, token("admin"))
		status, out, _ := w.callWith("PUT", w.fill("/v2.0/networks/$net"), `{"network":{"shared":false}}`, token("admin"))
		if status == 409 {
			inUse++
			continue
		}
		if status != 200 {
			t.Errorf("%d %v", status, out)
		}
		unshared++
		s, err := w.site.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for p := range store.All(s, store.Ports) {
			if p.ProjectID == "b" && string(p.NetworkID) == w.ids["net"] {
				t.Errorf("unshared, and b has port %s", p.ID)
			}
		}
	}
	close(stop)
	testutil.Wait(t, "the requests", done.Wait)
	checkSound(w.server)
}

// A peering with Keystone: the operator's multi-site network, the router's port that
// the operator makes in the tenant's name, and the tenant's own router and routes.
func TestTenantsRouterOnTheOperatorsNetwork(t *testing.T) {
	w := newTenancy(t)
	w.make("multi", "/v2.0/networks", `{"network":{"name":"multi-site"}}`)
	w.make("msub", "/v2.0/subnets", `{"subnet":{"network_id":"$multi","ip_version":4,"cidr":"192.168.0.0/24","gateway_ip":null,"enable_dhcp":false}}`)
	w.make("mport", "/v2.0/ports", `{"port":{"tenant_id":"b","network_id":"$multi","mac_address":"16:B7:B5:A4:57:75","fixed_ips":[{"ip_address":"192.168.0.1"}]}}`)
	w.make("remote", "/v2.0/ports", `{"port":{"network_id":"$multi","device_owner":"network:remote_site","mac_address":"6F:E4:5A:FA:8E:09","fixed_ips":[{"ip_address":"192.168.0.2"}]}}`)
	w.as("admin", 201, "POST", "/v2.0/l2-gateway-connections", `{"l2_gateway_connection":{"l2_gateway_id":"$lg","network_id":"$multi"}}`)
	w.policy("share", "admin", "network", "$multi", "b")
	w.ids["rb"] = w.as("b", 201, "POST", "/v2.0/routers", `{"router":{}}`).str("id")
	w.as("b", 200, "PUT", "/v2.0/routers/$rb/add_router_interface", `{"port_id":"$mport"}`)
	r := w.as("b", 200, "PUT", "/v2.0/routers/$rb", `{"router":{"routes":[{"destination":"10.0.1.0/24","nexthop":"192.168.0.2"}]}}`)
	if len(r.list("routes")) != 1 {
		t.Errorf("%v", r)
	}
	w.refuses("b", 404, "PortNotFound", "", "GET", "/v2.0/ports/$remote", "")
	w.refuses("b", 404, "PortNotFound", "", "DELETE", "/v2.0/ports/$remote", "")
	w.refuses("admin", 409, "RbacPolicyInUse", "", "DELETE", "/v2.0/rbac-policies/$share", "")
	w.as("b", 200, "PUT", "/v2.0/routers/$rb/remove_extraroutes", `{"router":{"routes":[{"destination":"10.0.1.0/24","nexthop":"192.168.0.2"}]}}`)
	w.as("b", 200, "PUT", "/v2.0/routers/$rb/remove_router_interface", `{"port_id":"$mport"}`)
	w.as("admin", 204, "DELETE", "/v2.0/rbac-policies/$share", "")
	checkSound(w.server)
}
