//go:build !race

// One goroutine asks here: the race detector would find nothing, and take minutes for it.

package neutronapi_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/testutil"
)

// asked is the answer to b's request, with what is given for the id in it left out.
func (s *stranger) asked(method, path, body, id string) (int, string) {
	req := httptest.NewRequest(method, "http://site"+strings.ReplaceAll(path, "@", id), strings.NewReader(strings.ReplaceAll(body, "@", id)))
	req.Header.Set("X-Auth-Token", "b")
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, req)
	return w.Code, strings.ReplaceAll(w.Body.String(), id, "@")
}

// Nothing that a member of another project asks about an id tells whether there is
// anything of that id: the answer is that about an id that nothing has.
func TestExistenceIsNotTold(t *testing.T) {
	testutil.OneGoroutine(t)
	s := newStranger(t)
	s.ids["own-sub"] = s.as("b", 201, "POST", "/v2.0/subnets", `{"subnet":{"network_id":"$own","ip_version":4,"cidr":"10.77.0.0/24"}}`).str("id")
	s.ids["own-port"] = s.as("b", 201, "POST", "/v2.0/ports", `{"port":{"network_id":"$own"}}`).str("id")
	s.ids["own-router"] = s.as("b", 201, "POST", "/v2.0/routers", `{"router":{}}`).str("id")
	s.ids["own-pool"] = s.as("b", 201, "POST", "/v2.0/subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.80.0.0/16"]}}`).str("id")
	bodies := append([]string{
		`{"subnet":{"network_id":"@","ip_version":4,"cidr":"10.9.0.0/24"}}`, `{"subnet":{"network_id":"$own","ip_version":4,"subnetpool_id":"@"}}`,
		`{"subnet":{"network_id":"$own","ip_version":4,"subnetpool_id":"@","cidr":"10.32.7.0/24"}}`, `{"subnet":{"network_id":"$own","ip_version":4,"cidr":"10.9.0.0/24","segment_id":"@"}}`,
		`{"port":{"network_id":"@"}}`, `{"port":{"network_id":"@","fixed_ips":[{"ip_address":"10.1.0.5"}]}}`, `{"port":{"network_id":"@","mac_address":"02:00:00:00:00:01","tenant_id":"b"}}`,
		`{"port":{"network_id":"$own","fixed_ips":[{"subnet_id":"@"}]}}`, `{"port":{"network_id":"$own","fixed_ips":[{"subnet_id":"@","ip_address":"10.1.0.5"}]}}`,
		`{"port":{"network_id":"$own","device_id":"@"}}`, `{"port":{"network_id":"$own","device_id":"@","device_owner":"network:router_interface"}}`,
		`{"port":{"network_id":"$own","device_id":"@","device_owner":"network:router_gateway"}}`, `{"port":{"network_id":"$own","device_id":"@","device_owner":"network:dhcp"}}`,
		`{"port":{"fixed_ips":[{"subnet_id":"@"}]}}`, `{"port":{"device_id":"@"}}`, `{"port":{"qos_policy_id":"@"}}`, `{"port":{"security_groups":["@"]}}`,
		`{"network":{"name":"x","qos_policy_id":"@"}}`, `{"router":{"external_gateway_info":{"network_id":"@"}}}`,
		`{"router":{"name":"n","external_gateway_info":{"network_id":"@","external_fixed_ips":[{"subnet_id":"@"}]}}}`,
		`{"subnet_id":"@"}`, `{"port_id":"@"}`, `{"subnet_id":"@","port_id":"$own-port"}`, `{"subnet_id":"$own-sub","port_id":"@"}`,
		`{"subnetpool":{"name":"x","prefixes":["10.66.0.0/16"],"address_scope_id":"@"}}`, `{"subnetpool":{"address_scope_id":"@"}}`,
		`{"rbac_policy":{"object_type":"network","object_id":"@","action":"access_as_shared","target_tenant":"b"}}`,
		`{"rbac_policy":{"object_type":"network","object_id":"@","action":"access_as_external","target_tenant":"*"}}`,
		`{"rbac_policy":{"object_type":"subnetpool","object_id":"@","action":"access_as_shared","target_tenant":"b"}}`,
		`{"rbac_policy":{"object_type":"address_scope","object_id":"@","action":"access_as_shared","target_tenant":"b"}}`,
		`{"network_id":"@"}`,
	}, strangerBodies...)
	kinds := []string{"net", "sub3", "subnets", "ports", "router", "subnetpools", "address-scopes", "rbac-policies", "dev2", "lg"}
	queries := []string{
		"", "?id=@", "?network_id=@", "?device_id=@", "?fixed_ips=subnet_id=@", "?marker=@", "?marker=@&limit=1&sort_key=id&sort_dir=desc",
		"?object_id=@", "?subnetpool_id=@", "?address_scope_id=@", "?fields=id&name=@", "?tenant_id=a&id=@", "?shared=true&id=@",
	}
	pairs := 0
	compare := func(method, path, body string, kind string) {
		there := s.ids[kind]
		if !strings.Contains(path+body, "@") || strings.Contains(path+body, there) {
			return
		}
		pairs++
		none, saidNone := s.asked(method, path, body, uuid.NewString())
		if some, saidSome := s.asked(method, path, body, there); some != none || saidSome != saidNone && (none >= 300 || method == "GET") {
			t.Errorf("%s %s %s tells of %s:\nnothing: %d %s\n  there: %d %s", method, path, body, kind, none, saidNone, some, saidSome)
		}
	}
	for _, r := range s.h.(*neutronapi.API).Routes() {
		path := s.path(r.Pattern)
		// Paths with the id in them, and b's own with the id in the body or the query.
		of, own := "", path
		for _, kind := range kinds {
			if strings.Contains(r.Pattern, "{id}") && strings.Contains(path, s.ids[kind]) {
				of = kind
			}
		}
		for kind, mine := range map[string]string{"networks": "own", "subnets": "own-sub", "ports": "own-port", "router": "own-router", "routers": "own-router", "subnetpools": "own-pool"} {
			own = strings.ReplaceAll(own, s.ids[kind], s.ids[mine])
		}
		for _, method := range r.Methods {
			if method == "GET" {
				for _, q := range queries {
					for _, kind := range kinds {
						compare(method, own+q, "", kind)
					}
				}
			}
			if of != "" {
				compare(method, strings.ReplaceAll(path, s.ids[of], "@"), "", of)
			}
			if method != "POST" && method != "PUT" {
				continue
			}
			for _, body := range bodies {
				if of != "" {
					compare(method, strings.ReplaceAll(path, s.ids[of], "@"), s.fill(body), of)
				}
				for _, kind := range kinds {
					compare(method, own, s.fill(body), kind)
				}
			}
		}
	}
	t.Logf("%d pairs", pairs)
	if pairs < 1000 {
		t.Error("hardly anything was compared")
	}
}
