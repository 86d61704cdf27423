package neutronapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/testutil"
)

// oddValues are put in place of every attribute in turn, and of every value inside.
var oddValues = []string{
	`null`, `true`, `false`, `0`, `1`, `-1`, `1.5`, `1e400`, `99999999999999999999`, `16777216`, `""`, `" "`, `"x"`, `"\u0000"`, `"a/b"`, `"a\nb"`,
	`[]`, `{}`, `[null]`, `[[]]`, `[{}]`, `["x"]`, `{"a":1}`, `[{"a":[{"b":null}]}]`, `"True"`, `"0"`, `"-1"`, `"100"`,
	`"10.0.0.1"`, `"10.0.0.0"`, `"10.0.0.255"`, `"0.0.0.0"`, `"255.255.255.255"`, `"224.0.0.1"`, `"127.0.0.1"`, `"::"`, `"::1"`, `"fe80::1%eth0"`, `"::ffff:10.0.0.1"`, `"010.0.0.1"`,
	`"0.0.0.0/0"`, `"10.0.0.0/33"`, `"10.0.0.0/24"`, `"10.77.0.0/31"`, `"10.77.0.0/32"`, `"240.0.0.0/4"`, `"224.0.0.0/8"`, `"::/0"`, `"fd00::/64"`, `"::ffff:10.0.0.0/104"`,
	`"00:00:00:00:00:00"`, `"ff:ff:ff:ff:ff:ff"`, `"01:00:5e:00:00:01"`, `"02:00:00:00:00:01"`, `"2:0:0:0:0:1"`,
	`"$NET"`, `"$SUB"`, `"$PORT"`, `"$IFPORT"`, `"$ROUTER"`, `"$VTEP"`, `"$DEV"`, `"$LG"`, `"$NONE"`, `"$LONG"`,
	`["10.0.0.1"]`, `["10.0.0.1","10.0.0.2"]`, `[{"ip_address":"10.0.0.1"}]`, `[{"subnet_id":"$SUB"}]`, `[{"subnet_id":"$SUBNOGW","ip_address":"10.0.0.30"}]`,
	`[{"start":"10.0.0.1","end":"10.0.0.0"}]`, `[{"destination":"0.0.0.0/0","nexthop":"10.0.0.7"}]`, `[{"destination":"0.0.0.0/0","nexthop":"10.0.0.1"}]`,
	`{"interface_name":5}`, `{"interface_name":""}`, `{"interface_name":"."}`, `{"interface_name":"tap1"}`, `"network:router_interface"`, `"Network:Remote-Site"`, `"uplink"`, `"vlan"`, `"hw_vtep"`, `"network_vlan"`,
}

// oddBases are sound requests, whose values are then replaced.
var oddBases = []struct{ request, body string }{
	{post + "networks", `{"network":{"name":"n","description":"d","tenant_id":"t","project_id":"t","admin_state_up":true,"shared":false,"port_security_enabled":true,"mtu":1400,"provider:network_type":"uplink","provider:physical_network":null,"provider:segmentation_id":null,"router:external":false}}`},
	{put + "networks/$NET", `{"network":{"name":"n","description":"d","admin_state_up":true,"mtu":1400,"provider:network_type":null}}`},
	{post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.7.0.0/24","gateway_ip":"10.7.0.1","enable_dhcp":true,"no_dhcp":false,"allocation_pools":[{"start":"10.7.0.2","end":"10.7.0.9"}],"dns_nameservers":["1.1.1.1"],"host_routes":[{"destination":"1.0.0.0/8","nexthop":"10.7.0.3"}],"ipv6_ra_mode":null,"subnetpool_id":null,"service_types":[]}}`},
	{put + "subnets/$SUB", `{"subnet":{"name":"n","gateway_ip":"10.0.0.1","allocation_pools":[{"start":"10.0.0.2","end":"10.0.0.9"}],"dns_nameservers":["1.1.1.1"],"host_routes":[]}}`},
	{post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{"subnet_id":"$SUB","ip_address":"10.0.0.33"}],"mac_address":"02:00:00:00:01:01","device_owner":"compute:x","device_id":"d","admin_state_up":true,"port_security_enabled":true,"binding:host_id":"h","binding:profile":{"interface_name":"tap9"},"binding:vnic_type":"normal","security_groups":[],"allowed_address_pairs":[]}}`},
	{put + "ports/$PORT", `{"port":{"fixed_ips":[{"ip_address":"10.0.0.9"}],"device_owner":"x","device_id":"d","admin_state_up":true,"binding:host_id":"h","binding:profile":{"interface_name":"tap9"}}}`},
	{put + "ports/$IFPORT", `{"port":{"fixed_ips":[{"ip_address":"10.0.0.1"}],"mac_address":"02:00:00:00:01:02","device_owner":"network:router_interface","device_id":"$ROUTER","binding:host_id":"h"}}`},
	{put + "ports/$REMOTE", `{"port":{"fixed_ips":[{"ip_address":"10.0.0.77"}],"device_owner":"network:remote_site"}}`},
	{post + "routers", `{"router":{"name":"r","admin_state_up":true,"external_gateway_info":null,"distributed":false,"ha":false}}`},
	{put + "routers/$ROUTER", `{"router":{"name":"r","routes":[{"destination":"1.0.0.0/8","nexthop":"10.0.0.7"}]}}`},
	{put + "routers/$ROUTER/add_extraroutes", `{"router":{"routes":[{"destination":"1.0.0.0/8","nexthop":"10.0.0.7"}]}}`},
	{put + "routers/$ROUTER/remove_extraroutes", `{"router":{"routes":[{"destination":"1.0.0.0/8","nexthop":"10.0.0.7"}]}}`},
	{put + "routers/$ROUTER/add_router_interface", `{"subnet_id":"$SUBOVER","port_id":null}`},
	{put + "routers/$VTEP/add_router_interface", `{"port_id":"$PORT"}`},
	{put + "routers/$ROUTER/remove_router_interface", `{"subnet_id":"$SUB","port_id":"$IFPORT"}`},
	{post + "gw/gateway_devices", `{"gateway_device":{"name":"g","type":"router_vtep","resource_id":"$VTEP3","tunnel_ips":["200.0.0.7"],"management_ip":null,"management_port":null,"management_protocol":null}}`},
	{post + "gw/gateway_devices", `{"gateway_device":{"type":"hw_vtep","resource_id":"","tunnel_ips":["200.0.0.7"],"management_ip":"192.0.2.7","management_port":"6640","management_protocol":"ovsdb"}}`},
	{post + "gw/gateway_devices", `{"gateway_device":{"type":"network_vlan","resource_id":"$FREEUP","tunnel_ips":[]}}`},
	{put + "gw/gateway_devices/$HW", `{"gateway_device":{"name":"g","tunnel_ips":["200.0.0.7"]}}`},
	{post + "l2-gateways", `{"l2_gateway":{"name":"l","devices":[{"device_id":"$VLAN","segmentation_id":"77"}],"tenant_id":"t"}}`},
	{post + "l2-gateways", `{"l2_gateway":{"devices":[{"device_id":"$HW","segmentation_id":"77","interfaces":[{"name":"p0","segmentation_id":["10"]}]}]}}`},
	{post + "l2-gateway-connections", `{"l2_gateway_connection":{"l2_gateway_id":"$LGHW","network_id":"$NOGW","segmentation_id":"55"}}`},
	{put + "gw/gateway_devices/$DEV", `{"gateway_device":{"name":"g","tunnel_ips":["200.0.0.7"]}}`},
	{post + "gw/gateway_devices/$DEV/remote_mac_entries", `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:05","vtep_address":"200.0.0.5","segmentation_id":"100"}}`},
	{post + "l2-gateways", `{"l2_gateway":{"name":"l","devices":[{"device_id":"$DEV2","segmentation_id":"77"}],"tenant_id":"t"}}`},
	{post + "l2-gateway-connections", `{"l2_gateway_connection":{"l2_gateway_id":"$LGOPEN","network_id":"$NOGW","segmentation_id":"55","tenant_id":"t"}}`},
	{put + "networks/$NET/tags", `{"tags":["a"]}`},
	{post + "subnets", `{"subnet":{"network_id":"$NEW","ip_version":4,"subnetpool_id":"$POOL","prefixlen":25,"use_default_subnetpool":false,"service_types":["compute:x"]}}`},
	{post + "subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.64.0.0/12"],"min_prefixlen":16,"max_prefixlen":28,"default_prefixlen":24,"default_quota":512,"address_scope_id":"$SCOPE","is_default":false}}`},
	{put + "subnetpools/$POOL", `{"subnetpool":{"prefixes":["172.16.0.0/15"],"default_prefixlen":24,"address_scope_id":null}}`},
	{put + "subnetpools/$POOL/remove_prefixes", `{"prefixes":["172.16.128.0/17"]}`},
	{put + "quotas/p", `{"quota":{"port":5,"network":-1,"check_limit":true}}`},
}

// variants replaces each value inside v, at any depth, by odd, one at a time.
func variants(v, odd any) []any {
	out := []any{odd}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			for _, y := range variants(x, odd) {
				c := map[string]any{}
				for k2, x2 := range v {
					c[k2] = x2
				}
				c[k] = y
				out = append(out, c)
			}
			c := map[string]any{}
			for k2, x2 := range v {
				if k2 != k {
					c[k2] = x2
				}
			}
			out = append(out, c)
		}
	case []any:
		for i, x := range v {
			for _, y := range variants(x, odd) {
				c := slices.Clone(v)
				c[i] = y
				out = append(out, c)
			}
		}
		out = append(out, append(slices.Clone(v), v...))
	}
	return out
}

// TestOddValues sends every sound request with every value replaced by every odd
// one. Whatever the answer, it is none of a defect's, the state is sound, a refused
// request changes nothing, and what was accepted can be read.
func TestOddValues(t *testing.T) {
	testutil.OneGoroutine(t)
	for _, base := range oddBases {
		s := newServer(t)
		names := world(s)
		before, sane := s.st.Dump(), s.st.Mark()
		for _, odd := range oddValues {
			var sound, value any
			if err := json.Unmarshal([]byte(base.body), &sound); err != nil {
				t.Fatal(err)
			}
			d := json.NewDecoder(strings.NewReader(odd))
			d.UseNumber()
			if err := d.Decode(&value); err != nil {
				t.Fatal(err)
			}
			for _, v := range variants(sound, value) {
				b, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				method, path, _ := strings.Cut(fill(base.request, names...), " ")
				status, out := s.call(method, path, fill(string(b), names...))
				if status >= 400 {
					checkAnswer(s, before, method, path+" "+string(b), status, out)
					continue
				}
				checkSound(s)
				s.want(200, "GET", "/v2.0/ports", "")
				s.want(200, "GET", "/v2.0/gw/gateway_devices", "")
				s.st.Reset(sane)
			}
		}
	}
}

// Bytes that are no text are refused, and not stored as something else.
func TestInvalidUTF8(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	before := s.st.Dump()
	s.wantError(400, "MalformedRequestBody", "Cannot understand JSON", "POST", "/v2.0/networks", "{\"network\":{\"name\":\"\xff\"}}")
	s.wantError(400, "MalformedRequestBody", "Cannot understand JSON", "PUT", "/v2.0/networks/"+net, "{\"network\":{\"name\":\"\xc3\"}}")
	s.wantError(400, "HTTPBadRequest", "is not a valid tag", "PUT", "/v2.0/networks/"+net+"/tags/%FF", "")
	if !slices.Equal(before, s.st.Dump()) {
		t.Error("what was refused changed the state")
	}
}
