package neutronapi_test

import (
	"fmt"
	"strings"
	"testing"
)

// A change counts for its resource, and for what Neutron counts it for besides.
func TestRelatedRevisions(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	router := s.post("/v2.0/routers", `{"router":{}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
	port := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","fixed_ips":[{"ip_address":"10.0.0.9"}]}}`, "$N", net))
	pool := s.post("/v2.0/subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/8"]}}`)
	names := []string{"$NET", net, "$ROUTER", router, "$SUB", sub, "$PORT", port, "$POOL", pool}
	at := func() map[string]float64 {
		out := map[string]float64{}
		for _, path := range []string{"networks/$NET", "routers/$ROUTER", "subnets/$SUB", "ports/$PORT", "subnetpools/$POOL"} {
			if status, o := s.call("GET", "/v2.0/"+fill(path, names...), ""); status == 200 {
				for _, v := range o {
					out[strings.SplitN(path, "/", 2)[0]] = v.(map[string]any)["revision_number"].(float64)
				}
			}
		}
		return out
	}
	for _, c := range []struct{ request, body, counts string }{
		{"PUT networks/$NET", `{"network":{"name":"x"}}`, "networks"},
		{"PUT networks/$NET/tags", `{"tags":["a"]}`, "networks"},
		{"PUT networks/$NET/tags/b", ``, "networks"},
		{"DELETE networks/$NET/tags/b", ``, "networks"},
		{"DELETE networks/$NET/tags", ``, "networks"},
		{"PUT subnets/$SUB", `{"subnet":{"name":"x"}}`, "networks subnets"},
		{"PUT subnets/$SUB", `{"subnet":{"service_types":["network:router_interface"]}}`, "networks subnets"},
		{"PUT subnets/$SUB", `{"subnet":{"service_types":[]}}`, "networks subnets"},
		{"PUT ports/$PORT", `{"port":{"fixed_ips":[{"ip_address":"10.0.0.10"}]}}`, "ports"},
		{"PUT routers/$ROUTER/add_router_interface", `{"subnet_id":"$SUB"}`, "routers"},
		{"PUT routers/$ROUTER", `{"router":{"routes":[{"destination":"10.9.0.0/16","nexthop":"10.0.0.10"}]}}`, "routers"},
		{"PUT routers/$ROUTER/remove_extraroutes", `{"router":{"routes":[{"destination":"10.9.0.0/16","nexthop":"10.0.0.10"}]}}`, "routers"},
		{"PUT routers/$ROUTER/remove_router_interface", `{"subnet_id":"$SUB"}`, "routers"},
		{"PUT subnetpools/$POOL/add_prefixes", `{"prefixes":["11.0.0.0/8"]}`, "subnetpools"},
		{"PUT subnetpools/$POOL/remove_prefixes", `{"prefixes":["12.0.0.0/8"]}`, ""},
		{"POST ports", `{"port":{"network_id":"$NET"}}`, ""},
		{"GET networks/$NET", ``, ""},
		{"PUT ports/$PORT", `{"port":{"fixed_ips":[]}}`, "ports"},
		{"POST subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.7.0.0/24"}}`, "networks"},
	} {
		method, path, _ := strings.Cut(fill(c.request, names...), " ")
		before := at()
		if status, out := s.call(method, "/v2.0/"+path, fill(c.body, names...)); status >= 300 {
			t.Fatalf("%s %s: %d %v", c.request, c.body, status, out)
		}
		after := at()
		for what, n := range before {
			want := n
			if strings.Contains(" "+c.counts+" ", " "+what+" ") {
				want++
			}
			if after[what] != want {
				t.Errorf("%s %s: revision of %s is %v, want %v", c.request, c.body, what, after[what], want)
			}
		}
	}
	// Deleting a subnet counts for its network.
	other := s.post("/v2.0/networks", `{"network":{}}`)
	gone := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", other))
	s.want(204, "DELETE", "/v2.0/subnets/"+gone, "")
	if n := s.want(200, "GET", "/v2.0/networks/"+other, ""); n["revision_number"] != 3.0 {
		t.Errorf("network after a subnet came and went: %v", n["revision_number"])
	}
	checkSound(s)
}

// Subnets with service types are for the ports of those owners, before all others.
func TestServiceTypes(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	// What is drawn at random is never the .9 that is asked for below.
	sub := func(cidr, types string) string {
		pool := strings.TrimSuffix(cidr, ".0/24")
		return s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"$C","service_types":$T,"allocation_pools":[{"start":"$P.100","end":"$P.200"}]}}`, "$N", net, "$C", cidr, "$T", types, "$P", pool))
	}
	vms := sub("10.0.1.0/24", `["compute:nova","compute:x"]`)
	create := func(owner string) (int, object) {
		return s.call("POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","device_owner":"$O"}}`, "$N", net, "$O", owner))
	}
	subnetOf := func(o object) string {
		p := o["port"].(map[string]any)
		return p["fixed_ips"].([]any)[0].(map[string]any)["subnet_id"].(string)
	}
	if status, out := create("compute:nova"); status != 201 || subnetOf(out) != vms {
		t.Errorf("port of a service: %d %v", status, out)
	}
	s.wantError(409, "IpAddressGenerationFailureNoMatchingSubnet", "No valid service subnet for the given device owner", "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
	rest := sub("10.0.0.0/24", `[]`)
	for range 5 {
		if status, out := create("network:x"); status != 201 || subnetOf(out) != rest {
			t.Errorf("port of no service: %d %v", status, out)
		}
		if status, out := create("compute:x"); status != 201 || subnetOf(out) != vms {
			t.Errorf("port of a service: %d %v", status, out)
		}
	}
	// An address that is asked for must be of a subnet that is for the port.
	s.wantError(400, "InvalidInput", "invalid subnet", "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","fixed_ips":[{"subnet_id":"$S"}]}}`, "$N", net, "$S", vms))
	s.wantError(400, "InvalidIpForNetwork", "10.0.1.9", "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","fixed_ips":[{"ip_address":"10.0.1.9"}]}}`, "$N", net))
	// What a port has it keeps, whatever becomes of the subnet's types.
	port := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","device_owner":"compute:nova","fixed_ips":[{"ip_address":"10.0.1.9"}]}}`, "$N", net))
	s.want(200, "PUT", "/v2.0/subnets/"+vms, `{"subnet":{"service_types":["compute:other"]}}`)
	if p := s.want(200, "PUT", "/v2.0/ports/"+port, `{"port":{"name":"x"}}`); !strings.Contains(fmt.Sprint(p["fixed_ips"]), "10.0.1.9") {
		t.Errorf("port after a change of the types: %v", p)
	}
	checkSound(s)
}

// A range may be given by any address in it.
func TestRangesAreMasked(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	sub := s.want(201, "POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.77/24"}}`, "$N", net))
	if sub.str("cidr") != "10.0.0.0/24" || sub.str("gateway_ip") != "10.0.0.1" {
		t.Errorf("subnet: %v", sub)
	}
}

// A pool in another project's shared address scope is that project's to change.
func TestForeignAddressScope(t *testing.T) {
	w := newTenancy(t)
	w.make("shared", "/v2.0/address-scopes", `{"address_scope":{"name":"s","ip_version":4,"shared":true}}`)
	w.make("own", "/v2.0/address-scopes", `{"address_scope":{"name":"s","ip_version":4}}`)
	pool := `{"subnetpool":{"name":"p","prefixes":["10.77.0.0/16"],"address_scope_id":"$own"}}`
	w.as("a", 404, "POST", "/v2.0/subnetpools", pool)
	at := w.fill("/v2.0/subnetpools/$subnetpools")
	w.as("a", 200, "PUT", at, `{"subnetpool":{"address_scope_id":"$shared"}}`)
	_, out, _ := w.callWith("PUT", at, `{"subnetpool":{"name":"y"}}`, token("a"))
	if e, _ := out["NeutronError"].(map[string]any); e["type"] != "IllegalSubnetPoolUpdate" {
		t.Errorf("a pool in a foreign scope: %v", out)
	}
	w.as("a", 400, "PUT", at+"/add_prefixes", `{"prefixes":["10.78.0.0/16"]}`)
	w.as("admin", 200, "PUT", at, `{"subnetpool":{"name":"y"}}`)
	// It is shared only with who has a part in the scope.
	w.ids["b"] = string(projectID("b"))
	w.make("mine", "/v2.0/address-scopes", `{"address_scope":{"name":"m","ip_version":4,"tenant_id":"a"}}`)
	w.make("pool", "/v2.0/subnetpools", `{"subnetpool":{"name":"m","prefixes":["10.99.0.0/16"],"address_scope_id":"$mine","tenant_id":"a"}}`)
	share := func(typ, id string) string {
		return w.fill(`{"rbac_policy":{"object_type":"` + typ + `","object_id":"$` + id + `","action":"access_as_shared","target_tenant":"$b"}}`)
	}
	_, out, _ = w.callWith("POST", "/v2.0/rbac-policies", share("subnetpool", "pool"), token("admin"))
	if e, _ := out["NeutronError"].(map[string]any); e["type"] != "RbacPolicyInitError" {
		t.Errorf("a pool shared beyond its scope: %v", out)
	}
	w.as("admin", 201, "POST", "/v2.0/rbac-policies", share("address_scope", "mine"))
	w.as("admin", 201, "POST", "/v2.0/rbac-policies", share("subnetpool", "pool"))
}
