package neutronapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/site"
)

// wantObject compares a reply with JSON. The values of others are not looked
// at, but the keys must be there.
func (s *server) wantObject(got object, want string, others ...string) {
	s.t.Helper()
	var w object
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		s.t.Fatal(err)
	}
	for _, k := range others {
		if _, ok := got[k]; !ok {
			s.t.Errorf("%s is missing", k)
		}
		w[k] = got[k]
	}
	if g, w := fmt.Sprint(got), fmt.Sprint(w); g != w {
		s.t.Errorf("got\n %s\nwant\n %s", g, w)
	}
}

func TestDefaults(t *testing.T) {
	s := newServer(t)
	net := s.want(201, "POST", "/v2.0/networks", `{"network":{}}`)
	s.wantObject(net, `{"name":"","description":"","admin_state_up":true,"shared":false,"port_security_enabled":true,"router:external":false,
		"provider:network_type":"local","provider:physical_network":null,"provider:segmentation_id":null,"mtu":1450,"status":"ACTIVE","subnets":[],"ipv4_address_scope":null,"ipv6_address_scope":null,"tags":[],"revision_number":1,"tenant_id":"default","project_id":"default"}`,
		"id", "created_at", "updated_at")
	id := net.str("id")
	sub := s.want(201, "POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":"4","cidr":"10.0.0.0/24"}}`, "$N", id))
	s.wantObject(sub, fill(`{"name":"","description":"","network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24","gateway_ip":"10.0.0.1","enable_dhcp":true,
		"allocation_pools":[{"start":"10.0.0.2","end":"10.0.0.254"}],"dns_nameservers":[],"host_routes":[],"ipv6_ra_mode":null,"ipv6_address_mode":null,
		"subnetpool_id":null,"service_types":[],"tags":[],"revision_number":0,"tenant_id":"default","project_id":"default"}`, "$N", id),
		"id", "created_at", "updated_at")
	port := s.want(201, "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", id))
	s.wantObject(port, fill(`{"name":"","description":"","network_id":"$N","admin_state_up":true,"status":"DOWN","device_id":"","device_owner":"",
		"port_security_enabled":true,"security_groups":[],"allowed_address_pairs":[],"extra_dhcp_opts":[],"binding:host_id":"","binding:profile":{},
		"binding:vnic_type":"normal","binding:vif_type":"unbound","binding:vif_details":{},"tags":[],"revision_number":1,"tenant_id":"default","project_id":"default"}`, "$N", id),
		"id", "created_at", "updated_at", "mac_address", "fixed_ips")
	if !strings.HasPrefix(port.str("mac_address"), "fa:16:3e:") {
		t.Errorf("MAC %s", port.str("mac_address"))
	}
	router := s.want(201, "POST", "/v2.0/routers", `{"router":{}}`)
	s.wantObject(router, `{"name":"","description":"","admin_state_up":true,"status":"ACTIVE","routes":[],"external_gateway_info":null,"tags":[],
		"revision_number":1,"tenant_id":"default","project_id":"default"}`, "id", "created_at", "updated_at")
	dev := s.want(201, "POST", "/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["1.1.1.1"]}}`, "$R", router.str("id")))
	s.wantObject(dev, fill(`{"name":"","type":"router_vtep","tenant_id":"default","project_id":"default","tunnel_ips":["1.1.1.1"],"remote_mac_entries":[],
		"management_ip":null,"management_port":null,"management_protocol":null,"resource_id":"$R",
		"binding:host_id":"","host":"","host_reason":"no host serves it: no agent has connected yet","hosts":[]}`, "$R", router.str("id")), "id")
	lg := s.want(201, "POST", "/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","segmentation_id":0}]}}`, "$D", dev.str("id")))
	s.wantObject(lg, fill(`{"name":"","tenant_id":"default","devices":[{"device_id":"$D"}]}`, "$D", dev.str("id")), "id")
	conn := s.want(201, "POST", "/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection":{"l2_gateway_id":"$G","network_id":"$N","segmentation_id":"16777215","tenant_id":"x"}}`, "$G", lg.str("id"), "$N", id))
	s.wantObject(conn, fill(`{"l2_gateway_id":"$G","network_id":"$N","segmentation_id":"16777215","tenant_id":"default"}`, "$G", lg.str("id"), "$N", id), "id")
}

func TestSpellings(t *testing.T) {
	s := newServer(t)
	// Booleans and numbers as text, as the real clients send them.
	net := s.want(201, "POST", "/v2.0/networks", `{"network":{"port_security_enabled":"False","admin_state_up":"true","shared":"0","mtu":"1400"}}`)
	if net["port_security_enabled"] != false || net["admin_state_up"] != true || net["shared"] != false || net["mtu"] != 1400.0 {
		t.Errorf("network: %v", net)
	}
	id := net.str("id")
	// The guide's no_dhcp.
	sub := s.want(201, "POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24","gateway_ip":null,"no_dhcp":true}}`, "$N", id))
	if sub["enable_dhcp"] != false || sub["gateway_ip"] != nil || fmt.Sprint(sub["allocation_pools"]) != "[map[end:10.0.0.254 start:10.0.0.1]]" {
		t.Errorf("subnet: %v", sub)
	}
	// A port takes its network's port security, and keeps the case of its MAC.
	port := s.want(201, "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","mac_address":"16:B7:B5:A4:57:75"}}`, "$N", id))
	if port["port_security_enabled"] != false || port["mac_address"] != "16:B7:B5:A4:57:75" {
		t.Errorf("port: %v", port)
	}
	if p := s.want(201, "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","port_security_enabled":true}}`, "$N", id)); p["port_security_enabled"] != true {
		t.Errorf("port: %v", p)
	}
	// Attributes that ask for nothing are no reason to refuse.
	s.post("/v2.0/routers", `{"router":{"external_gateway_info":{},"ha":"False","distributed":null,"availability_zone_hints":[]}}`)
	s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","security_groups":[],"allowed_address_pairs":[],"dns_name":"","qos_policy_id":null,"fixed_ips":null,"mac_address":null,"device_id":null}}`, "$N", id))
	// Uplink networks carry the underlay's own packets.
	if up := s.want(201, "POST", "/v2.0/networks", `{"network":{"provider:network_type":"uplink"}}`); up["mtu"] != 1500.0 || up["provider:network_type"] != "uplink" {
		t.Errorf("uplink network: %v", up)
	}
	if n := s.want(200, "PUT", "/v2.0/networks/"+id, `{"network":{"mtu":null}}`); n["mtu"] != 1450.0 {
		t.Errorf("mtu back to its default: %v", n["mtu"])
	}
}

func TestBinding(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	at := "/v2.0/ports/" + s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
	p := s.want(200, "PUT", at, `{"port":{"binding:host_id":"h1","binding:profile":{"interface_name":"tap1","note":{"a":[1]}}}}`)
	if p["binding:host_id"] != "h1" || fmt.Sprint(p["binding:profile"]) != "map[interface_name:tap1 note:map[a:[1]]]" || p["binding:vif_type"] != "tap" || p["status"] != "DOWN" {
		t.Errorf("bound: %v", p)
	}
	// Binding again to the same place is no conflict with oneself.
	s.want(200, "PUT", at, `{"port":{"binding:host_id":"h1","binding:profile":{"interface_name":"tap1"}}}`)
	other := "/v2.0/ports/" + s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","binding:profile":{"interface_name":"tap1"}}}`, "$N", net))
	s.wantError(409, "PortBindingInUse", "tap1", "PUT", other, `{"port":{"binding:host_id":"h1"}}`)
	p = s.want(200, "PUT", at, `{"port":{"binding:host_id":"","binding:profile":{}}}`)
	if p["binding:host_id"] != "" || fmt.Sprint(p["binding:profile"]) != "map[]" || p["binding:vif_type"] != "unbound" {
		t.Errorf("unbound: %v", p)
	}
	s.want(200, "PUT", other, `{"port":{"binding:host_id":"h1"}}`)
	checkSound(s)
}

func TestExtraRoutes(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
	at := "/v2.0/routers/" + s.post("/v2.0/routers", `{"router":{}}`)
	s.want(200, "PUT", at+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub))
	a, b := `{"destination":"1.0.0.0/8","nexthop":"10.0.0.7"}`, `{"destination":"0.0.0.0/0","nexthop":"10.0.0.8"}`
	for _, c := range []struct{ action, routes, want string }{
		{"/add_extraroutes", a, "[map[destination:1.0.0.0/8 nexthop:10.0.0.7]]"},
		{"/add_extraroutes", a + "," + b, "[map[destination:1.0.0.0/8 nexthop:10.0.0.7] map[destination:0.0.0.0/0 nexthop:10.0.0.8]]"},
		{"/remove_extraroutes", a, "[map[destination:0.0.0.0/0 nexthop:10.0.0.8]]"},
		{"/remove_extraroutes", a, "[map[destination:0.0.0.0/0 nexthop:10.0.0.8]]"},
		{"", a, "[map[destination:1.0.0.0/8 nexthop:10.0.0.7]]"},
		{"", "", "[]"},
	} {
		r := s.want(200, "PUT", at+c.action, `{"router":{"routes":[`+c.routes+`]}}`)
		if got := fmt.Sprint(r["routes"]); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.action, c.routes, got, c.want)
		}
	}
}

// TestManyRoutes makes sure that thousands of routes are checked in good time.
func TestManyRoutes(t *testing.T) {
	s := newLimitedServer(t, site.Limits{Routes: 10_000})
	net := s.post("/v2.0/networks", `{"network":{}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
	at := "/v2.0/routers/" + s.post("/v2.0/routers", `{"router":{}}`)
	s.want(200, "PUT", at+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub))
	var routes []string
	for i := range 10_000 {
		routes = append(routes, fmt.Sprintf(`{"destination":"20.%d.%d.0/24","nexthop":"10.0.0.7"}`, i/256, i%256))
	}
	if r := s.want(200, "PUT", at, `{"router":{"routes":[`+strings.Join(routes, ",")+`]}}`); len(r.list("routes")) != 10_000 {
		t.Errorf("%d routes", len(r.list("routes")))
	}
}
