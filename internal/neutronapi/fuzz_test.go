package neutronapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// fuzzPaths are what fuzzed bodies are sent to.
var fuzzPaths = []string{
	"POST /v2.0/networks", "PUT /v2.0/networks/$NET", "POST /v2.0/subnets", "PUT /v2.0/subnets/$SUB",
	"POST /v2.0/ports", "PUT /v2.0/ports/$PORT", "PUT /v2.0/ports/$IFPORT", "POST /v2.0/routers", "PUT /v2.0/routers/$ROUTER",
	"PUT /v2.0/routers/$ROUTER/add_router_interface", "PUT /v2.0/routers/$ROUTER/remove_router_interface",
	"PUT /v2.0/routers/$ROUTER/add_extraroutes", "PUT /v2.0/routers/$ROUTER/remove_extraroutes",
	"POST /v2.0/gw/gateway_devices", "PUT /v2.0/gw/gateway_devices/$DEV", "POST /v2.0/gw/gateway_devices/$DEV/remote_mac_entries",
	"POST /v2.0/l2-gateways", "POST /v2.0/l2-gateway-connections", "PUT /v2.0/l2-gateways/$LG", "PUT /v2.0/l2-gateways/$LGOPEN", "PUT /v2.0/l2-gateways/$LGHW",
	"PUT /v2.0/l2-gateway-connections/$CONN", "PUT /v2.0/gw/gateway_devices/$DEV/remote_mac_entries/$MACID",
	"PUT /v2.0/networks/$NET/tags", "POST /v2.0/rbac-policies", "PUT /v2.0/rbac-policies/$RBAC", "POST /v2.0/subnetpools", "PUT /v2.0/subnetpools/$POOL", "PUT /v2.0/subnetpools/$POOL/add_prefixes",
	"PUT /v2.0/subnetpools/$POOLQ/remove_prefixes", "PUT /v2.0/quotas/p", "POST /v2.0/address-scopes", "PUT /v2.0/address-scopes/$SCOPE",
}

// checkAnswer is what holds for every request: no defect, nothing half done, and a
// refused request changes nothing.
func checkAnswer(s *server, before []string, method, path string, status int, out object) {
	s.t.Helper()
	if status >= 500 {
		s.t.Fatalf("%s %s: %d %v", method, path, status, out)
	}
	if status >= 400 {
		if e, ok := out["NeutronError"].(map[string]any); !ok || e["type"] == "" || e["message"] == "" {
			s.t.Fatalf("%s %s: %d without an error body: %v", method, path, status, out)
		}
		if after := s.st.Dump(); !slices.Equal(before, after) {
			s.t.Fatalf("%s %s: %d changed the state", method, path, status)
		}
		return
	}
	checkSound(s)
}

func FuzzBody(f *testing.F) {
	seeds := []string{
		`{"network":{"name":"n","admin_state_up":true,"mtu":"1400","port_security_enabled":"False","provider:network_type":"uplink","shared":1}}`,
		`{"networks":[{"name":"a"},{"description":"b"}]}`,
		`{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.7.0.0/24","gateway_ip":null,"enable_dhcp":false,"no_dhcp":true,"allocation_pools":[{"start":"10.7.0.2","end":"10.7.0.9"}],"dns_nameservers":["1.1.1.1"],"host_routes":[{"destination":"1.0.0.0/8","nexthop":"10.7.0.3"}]}}`,
		`{"subnet":{"network_id":"$NET","ip_version":"4","cidr":"10.7.0.0/32"}}`,
		`{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"0.0.0.0/1"}}`,
		`{"port":{"network_id":"$NET","fixed_ips":[{"subnet_id":"$SUB"},{"ip_address":"10.0.0.200"}],"mac_address":"6F:E4:5A:FA:8E:09","device_owner":"network:remote-site","binding:host_id":"h2","binding:profile":{"interface_name":"eth0","x":[1]},"binding:vnic_type":"normal","security_groups":[],"port_security_enabled":0}}`,
		`{"port":{"fixed_ips":[],"device_id":"x","admin_state_up":"0","binding:host_id":null,"binding:profile":null}}`,
		`{"router":{"routes":[{"destination":"10.0.1.0/24","nexthop":"10.0.0.7"}],"external_gateway_info":{}}}`,
		`{"router":{"routes":null}}`,
		`{"subnet_id":"$SUBNOGW"}`, `{"port_id":"$PORT"}`, `{"subnet_id":"$SUB","port_id":"$IFPORT"}`,
		`{"gateway_device":{"management_ip":"192.0.2.9","management_port":"6640","management_protocol":"ovsdb","tunnel_ips":["200.0.0.9"]}}`,
		`{"gateway_device":{"type":"network_vlan","resource_id":"$FREEUP"}}`,
		`{"gateway_device":{"name":"g","type":"router_vtep","resource_id":"$VTEP3","tunnel_ips":["200.0.0.7"],"management_port":"1","management_ip":null}}`,
		`{"remote_mac_entry":{"mac_address":"aa-bb-cc-dd-ee-ff","vtep_address":"200.0.0.5","segmentation_id":"100"}}`,
		`{"l2_gateway":{"devices":[{"device_id":"$DEV2","segmentation_id":"77"}]}}`,
		`{"l2_gateway":{"name":"l","devices":[{"device_id":"$HW","segmentation_id":7,"interfaces":[{"name":"p/9","segmentation_id":["9"]},{"name":"p1"}]}]}}`,
		`{"l2_gateway_connection":{"l2_gateway_id":"$LGOPEN","network_id":"$NOGW","segmentation_id":"55"}}`,
		`{"rbac_policy":{"object_type":"network","object_id":"$NET","action":"access_as_shared","target_tenant":"*"}}`,
		`{"rbac_policy":{"target_tenant":"p3"}}`, `{"rbac_policy":{"object_type":"subnetpool","object_id":"$POOL","action":"access_as_external","target_tenant":"a/b"}}`,
		`{"tags":["a","b"]}`, `{}`, `null`, `[]`, `{"network":null}`, `{"port":{"network_id":{}}}`, "{\"network\":{\"name\":\"\xff\u0000\"}}",
		`{"subnet":{"network_id":"$NOGW","ip_version":4,"subnetpool_id":"$POOL","prefixlen":"25"}}`, `{"subnet":{"network_id":"$NOGW","ip_version":4,"use_default_subnetpool":true}}`,
		`{"subnetpool":{"name":"p","prefixes":["10.0.0.0/8","10.1.0.0/16"],"min_prefixlen":9,"max_prefixlen":"30","default_prefixlen":24,"default_quota":1,"address_scope_id":null,"is_default":"1","shared":false}}`,
		`{"quota":{"port":"3","network":-1,"router":2147483647,"force":true,"check_limit":0}}`, `{"quota":{"port":-2}}`,
		`{"prefixes":["172.16.0.0/24","10.0.0.0/8"]}`, `{"address_scope":{"name":"s","ip_version":"4","shared":1}}`,
		`{"router":{"routes":[{"destination":"::/0","nexthop":"::1"}]}}`, `{"network":{"mtu":1e9}}`, `{"network":{"mtu":-0.0}}`,
	}
	for i := range fuzzPaths {
		for _, body := range seeds {
			f.Add(i, body)
		}
	}
	made := newServer(f)
	names := world(made)
	before, sane := made.st.Dump(), made.st.Mark()
	f.Fuzz(func(t *testing.T, which int, body string) {
		if which < 0 {
			which = -(which + 1)
		}
		made.st.Reset(sane)
		s := new(server)
		*s = *made
		s.t = t
		method, path, _ := strings.Cut(fill(fuzzPaths[which%len(fuzzPaths)], names...), " ")
		status, out := s.call(method, path, fill(body, names...))
		checkAnswer(s, before, method, path, status, out)
	})
}

// FuzzRequest sends everything of a request at once: a method, a target in which
// $NAME stands for what is there, a header, and a body.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][5]string{
		{"GET", "/v2.0/networks?limit=1&marker=x&fields=id&sort_key=name&sort_dir=asc"},
		{"GET", "/v2.0/ports?fixed_ips=ip_address=1&mac_address=zz&admin_state_up=x&page_reverse=1&limit=1"},
		{"GET", "/v2.0/networks/a%2F..%2Fb"}, {"DELETE", "/v2.0/ports/"}, {"GET", "/v2.0/../v2.0/./networks"},
		{"GET", "/v2.0/networks?limit=99999999999999999999"}, {"GET", "/v2.0/networks?sort_key=tags&sort_dir=asc&limit=2"},
		{"PUT", "/v2.0/networks/x/tags/%00"}, {"HEAD", "/v2.0/networks"}, {"OPTIONS", "/"}, {"GET", "/v2.0/gw/gateway_devices/x/remote_mac_entries/y"},
		{"GET", "/v2.0/extensions/%zz"}, {"POST", "//v2.0//networks.json"}, {"GET", "/v2.0/subnets?cidr=10.0.0.0%2F24&host_routes=x"},
		{"PUT", "/v2.0/networks/$NET", "If-Match", "revision_number=-1", `{"network":{"name":"x"}}`},
		{"DELETE", "/v2.0/ports/$PORT", "If-Match", "revision_number=99999999999999999999", ""},
		{"DELETE", "/v2.0/ports/$PORT", "If-Match", "revision_number=1", ""},
		{"POST", "/v2.0/networks", "Content-Type", "multipart/form-data; boundary=x", "--x\r\n\r\n{}\r\n--x--"},
		{"POST", "/v2.0/networks", "Content-Encoding", "gzip", "\x1f\x8b\x08"},
		{"GET", "/v2.0/networks/$NET", "X-Http-Method-Override", "DELETE", ""},
		{"GET", "/v2.0/ports?id=$PORT&id=$IFPORT&network_id=$NET", "Range", "bytes=0-1", ""},
		{"PUT", "/v2.0/quotas/%FF%00", "", "", `{"quota":{"port":1}}`}, {"GET", "/v2.0/quotas/a/details.json"},
		{"PUT", "/v2.0/networks/$NET/tags/a%2Cb"}, {"DELETE", "/v2.0/networks/$NET/tags/a%2Fb"}, {"PUT", "/v2.0/ports/$PORT/tags", "", "", `{"tags":null}`},
		{"GET", "/v2.0/ports?tags-any=,,&not-tags=%00&fixed_ips=%3D&fixed_ips=subnet_id%3D$SUB"},
		{"GET", "/v2.0/ports?sort_key=fixed_ips&sort_dir=desc&sort_key=binding:profile&sort_dir=asc&marker=$PORT&page_reverse=True&limit=2"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	f.Fuzz(func(t *testing.T, method, target, header, value, body string) {
		if strings.ContainsFunc(method, func(r rune) bool { return r <= ' ' || r > '~' }) || method == "" || method == "CONNECT" || strings.ContainsAny(target, " \r\n") {
			return // net/http refuses it
		}
		s := newServer(t)
		names := world(s)
		target, body = fill(target, names...), fill(body, names...)
		if u, err := url.ParseRequestURI(target); err != nil || !strings.HasPrefix(target, "/") || u.Host != "" {
			return // no request of this target reaches a handler
		}
		before := s.st.Dump()
		req, err := http.NewRequest(method, "http://site"+target, strings.NewReader(body))
		if err != nil {
			return // net/http refuses it
		}
		req.Host = "site"
		req.Header[header] = []string{value, ""}
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, req)
		if w.Code >= 300 && w.Code < 400 {
			t.Fatalf("%s %s: redirect to %s", method, target, w.Header().Get("Location"))
		}
		if w.Code >= 500 {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
		if w.Code >= 400 {
			var out struct {
				NeutronError struct{ Type, Message string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.NeutronError.Type == "" || out.NeutronError.Message == "" {
				t.Fatalf("%s %s: %d without an error body: %s", method, target, w.Code, w.Body)
			}
			if !slices.Equal(before, s.st.Dump()) {
				t.Fatalf("%s %s: %d changed the state", method, target, w.Code)
			}
		}
		if method == http.MethodGet && !slices.Equal(before, s.st.Dump()) {
			t.Fatalf("GET %s changed the state", target)
		}
		checkSound(s)
	})
}
