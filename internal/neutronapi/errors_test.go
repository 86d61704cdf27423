package neutronapi_test

import (
	"fmt"
	"strings"
	"testing"
)

// world is what the error tables refer to, by the names in fill.
func world(s *server) []string {
	s.t.Helper()
	net := s.post("/v2.0/networks", `{"network":{"name":"n"}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
	noGW := s.post("/v2.0/networks", `{"network":{"name":"nogw"}}`)
	subNoGW := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"192.168.0.0/24","gateway_ip":null}}`, "$N", noGW))
	overlap := s.post("/v2.0/networks", `{"network":{"name":"overlap"}}`)
	subOverlap := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.128/25"}}`, "$N", overlap))
	uplink := s.post("/v2.0/networks", `{"network":{"name":"up","provider:network_type":"uplink"}}`)
	router := s.post("/v2.0/routers", `{"router":{"name":"r"}}`)
	s.want(200, "PUT", "/v2.0/routers/"+router+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub))
	port := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","mac_address":"02:00:00:00:00:01","fixed_ips":[{"ip_address":"10.0.0.9"}],"binding:host_id":"h1","binding:profile":{"interface_name":"tap1"}}}`, "$N", net))
	_, out := s.call("GET", "/v2.0/ports?device_id="+router, "")
	ifPort := out.list("ports")[0].(map[string]any)["id"].(string)
	vtep := s.post("/v2.0/routers", `{"router":{"name":"vtep"}}`)
	vtep2 := s.post("/v2.0/routers", `{"router":{"name":"vtep2"}}`)
	vtep3 := s.post("/v2.0/routers", `{"router":{"name":"vtep3"}}`)
	dev := s.post("/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["200.0.0.1"]}}`, "$R", vtep))
	dev2 := s.post("/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["200.0.0.2"]}}`, "$R", vtep2))
	mac := s.post("/v2.0/gw/gateway_devices/"+dev+"/remote_mac_entries", `{"remote_mac_entry":{"mac_address":"aa:00:00:00:00:01","vtep_address":"200.0.0.9","segmentation_id":"100"}}`)
	lg := s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"name":"lg","devices":[{"device_id":"$D","segmentation_id":"100"}]}}`, "$D", dev))
	lgSame := s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","segmentation_id":100}]}}`, "$D", dev))
	lgOpen := s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D"}]}}`, "$D", dev))
	lgFull := s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","segmentation_id":"300"}]}}`, "$D", dev2))
	conn := s.post("/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection":{"l2_gateway_id":"$G","network_id":"$N"}}`, "$G", lg, "$N", net))
	s.post("/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection":{"l2_gateway_id":"$G","network_id":"$N"}}`, "$G", lgFull, "$N", net))
	s.want(200, "PUT", "/v2.0/routers/"+router, `{"router":{"routes":[{"destination":"172.16.0.0/12","nexthop":"10.0.0.9"}]}}`)
	remote := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","device_owner":"NETWORK:remote_site","fixed_ips":[{"ip_address":"10.0.0.77"}]}}`, "$N", net))
	scope := s.post("/v2.0/address-scopes", `{"address_scope":{"name":"s","ip_version":4}}`)
	pool := s.post("/v2.0/subnetpools", fill(`{"subnetpool":{"name":"p","prefixes":["172.16.0.0/16"],"min_prefixlen":20,"default_prefixlen":24,"max_prefixlen":28,"address_scope_id":"$S"}}`, "$S", scope))
	pooled := s.post("/v2.0/networks", `{"network":{"name":"pooled"}}`)
	s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"subnetpool_id":"$P"}}`, "$N", pooled, "$P", pool))
	poolFree := s.post("/v2.0/subnetpools", `{"subnetpool":{"name":"q","prefixes":["172.17.0.0/29"],"min_prefixlen":29,"default_quota":8,"is_default":true}}`)
	poolFull := s.post("/v2.0/networks", `{"network":{"name":"full"}}`)
	s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"subnetpool_id":"$P","tenant_id":"other"}}`, "$N", poolFull, "$P", poolFree))
	freeUplink := s.post("/v2.0/networks", `{"network":{"name":"up2","provider:network_type":"uplink"}}`)
	hw := s.post("/v2.0/gw/gateway_devices", `{"gateway_device":{"management_ip":"192.0.2.1","management_port":"6640","tunnel_ips":["200.0.0.3"]}}`)
	vlan := s.post("/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"network_vlan","resource_id":"$N"}}`, "$N", uplink))
	lgHW := s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","interfaces":[{"name":"p/9","segmentation_id":["9"]}]}]}}`, "$D", hw))
	lgVLAN := s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D"}]}}`, "$D", vlan))
	rbac := s.post("/v2.0/rbac-policies", fill(`{"rbac_policy":{"object_type":"network","object_id":"$N","action":"access_as_shared","target_tenant":"p2"}}`, "$N", noGW))
	return []string{
		"$RBAC", rbac, "$NEW", s.post("/v2.0/networks", `{"network":{"name":"new"}}`),
		"$SCOPE", scope, "$POOLED", pooled, "$POOLQ", poolFree, "$POOL", pool,
		"$LGHW", lgHW, "$LGVLAN", lgVLAN, "$HW", hw, "$VLAN", vlan, "$FREEUP", freeUplink,
		"$LGSAME", lgSame, "$LGOPEN", lgOpen, "$LGFULL", lgFull, "$LG", lg, "$CONN", conn, "$DEV2", dev2, "$DEV", dev, "$MACID", mac,
		"$SUBNOGW", subNoGW, "$SUBOVER", subOverlap, "$SUB", sub, "$NOGW", noGW, "$UPLINK", uplink, "$NET", net,
		"$IFPORT", ifPort, "$PORT", port, "$REMOTE", remote, "$VTEP2", vtep2, "$VTEP3", vtep3, "$VTEP", vtep, "$ROUTER", router,
		"$NONE", "00000000-0000-4000-8000-000000000000",
		"$LONG", strings.Repeat("x", 256),
	}
}

type errorRow struct {
	status        int
	typ, message  string
	request, body string // method and path; body
}

const (
	post = "POST /v2.0/"
	put  = "PUT /v2.0/"
	get  = "GET /v2.0/"
	del  = "DELETE /v2.0/"
)

func runErrors(t *testing.T, rows []errorRow) {
	s := newServer(t)
	names := world(s)
	before := strings.Join(s.st.Dump(), "\n")
	for _, r := range rows {
		method, path, _ := strings.Cut(fill(r.request, names...), " ")
		s.wantError(r.status, r.typ, fill(r.message, names...), method, path, fill(r.body, names...))
	}
	if after := strings.Join(s.st.Dump(), "\n"); after != before {
		t.Errorf("refused requests changed the state:\nbefore\n%s\nafter\n%s", before, after)
	}
}

func TestGenericErrors(t *testing.T) { runErrors(t, genericErrors()) }

func genericErrors() []errorRow {
	const bad = "HTTPBadRequest"
	return []errorRow{
		{400, bad, "Unrecognized attribute(s) 'foo'", post + "networks", `{"network":{"foo":1}}`},
		{400, bad, "Unrecognized attribute(s) 'bar, foo'", put + "networks/$NET", `{"network":{"foo":1,"bar":2}}`},
		{400, bad, "Attribute 'id' not allowed in POST", post + "networks", `{"network":{"id":"$NONE"}}`},
		{400, bad, "Attribute 'status' not allowed in POST", post + "routers", `{"router":{"status":"ACTIVE"}}`},
		{400, bad, "Attribute 'routes' not allowed in POST", post + "routers", `{"router":{"routes":[]}}`},
		{400, bad, "Attribute 'remote_mac_entries' not allowed in POST", post + "gw/gateway_devices", `{"gateway_device":{"remote_mac_entries":[]}}`},
		{400, bad, "Cannot update read-only attribute type", put + "gw/gateway_devices/$DEV", `{"gateway_device":{"type":"router_vtep"}}`},
		{400, bad, "Cannot update read-only attribute resource_id", put + "gw/gateway_devices/$DEV", `{"gateway_device":{"resource_id":"x"}}`},
		{400, bad, "Cannot update read-only attribute tenant_id", put + "networks/$NET", `{"network":{"tenant_id":"x"}}`},
		{400, bad, "Cannot update read-only attribute mac_address", put + "gw/gateway_devices/$DEV/remote_mac_entries/$MACID", `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02"}}`},
		{400, bad, "Cannot update read-only attribute network_id", put + "l2-gateway-connections/$CONN", `{"l2_gateway_connection":{"network_id":"$NET"}}`},
		{400, bad, "'project_id' and 'tenant_id' do not match", post + "networks", `{"network":{"tenant_id":"a","project_id":"b"}}`},
		{400, bad, "Attribute 'shared' not allowed in POST", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.1.0.0/24","shared":true}}`},
		{400, bad, "Required attribute 'network_id' not specified", post + "ports", `{"port":{}}`},
		{400, bad, "Required attribute 'ip_version' not specified", post + "subnets", `{"subnet":{"network_id":"$NET","cidr":"10.1.0.0/24"}}`},
		{400, bad, "Invalid input for name. Reason: '$LONG' exceeds maximum length of 255.", post + "networks", `{"network":{"name":"$LONG"}}`},
		{400, bad, "Unable to find 'gateway_device' in request body", post + "gw/gateway_devices", `{"x":{}}`},
		{400, bad, "Unable to find 'network' in request body", put + "networks/$NET", `{"port":{}}`},
		{400, bad, "Unable to find 'network' in request body", post + "networks", `{"network":[]}`},
		{400, bad, "Resource body required", post + "networks", ``},
		{400, bad, "Resource body required", post + "networks", `null`},
		{400, bad, "Resource body required", post + "networks", `[]`},
		{400, "MalformedRequestBody", "Malformed request body: Cannot understand JSON.", post + "networks", `{"network":`},
		{400, "MalformedRequestBody", "Cannot understand JSON", post + "networks", `{"network":{}} x`},
		{400, bad, "Bulk operation not supported", post + "gw/gateway_devices", `{"gateway_devices":[{}]}`},
		{400, bad, "Unable to find 'remote_mac_entry' in request body", post + "gw/gateway_devices/$DEV/remote_mac_entries", `{"remote_mac_entries":[{}]}`},
		{400, bad, "Resources required", post + "networks", `{"networks":[]}`},
		{400, "BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not 'x'.", get + "networks?limit=x", ``},
		{400, "BadRequest", "not '-1'", get + "networks?limit=-1", ``},
		{400, "InvalidInput", "Invalid input for operation: 'x' cannot be converted to boolean.", get + "networks?admin_state_up=x", ``},
		{400, bad, "['x'] is invalid attribute for sort_keys", get + "networks?sort_key=x&sort_dir=asc", ``},
		{400, bad, "The number of sort_keys and sort_dirs must be same", get + "networks?sort_key=id", ``},
		{404, "NetworkNotFound", "$NONE", get + "networks?marker=$NONE", ``},
		{404, "HTTPNotFound", "The resource could not be found.", get + "nothing", ``},
		{404, "HTTPNotFound", "The resource could not be found.", get + "extensions/tag-ports-during-bulk-creation", ``},
		{400, "FeatureNotSupported", "security groups", post + "security-groups", `{"security_group":{"name":"x"}}`},
		{400, "FeatureNotSupported", "floating IPs", post + "floatingips", `{"floatingip":{}}`},
		{404, "FloatingIPNotFound", "$NONE", get + "floatingips/$NONE", ``},
		{405, "HTTPMethodNotAllowed", "", "PATCH /v2.0/networks", `{}`},
		{405, "HTTPMethodNotAllowed", "", "DELETE /v2.0/networks", ``},
		{405, "HTTPMethodNotAllowed", "", "GET /v2.0/routers/$ROUTER/add_router_interface", ``},
	}
}

func TestCoreErrors(t *testing.T) { runErrors(t, coreErrors()) }

func coreErrors() []errorRow {
	const bad = "HTTPBadRequest"
	return []errorRow{
		// Nothing of that id, and names are no ids.
		{404, "NetworkNotFound", "Network $NONE could not be found.", get + "networks/$NONE", ``},
		{404, "NetworkNotFound", "Network some-name could not be found.", get + "networks/some-name", ``},
		{404, "NetworkNotFound", "a/b", get + "networks/a%2Fb", ``},
		{404, "SubnetNotFound", "$NONE", del + "subnets/$NONE", ``},
		{404, "PortNotFound", "$NONE", put + "ports/$NONE", `{"port":{"name":"x"}}`},
		{404, "RouterNotFound", "$NONE", put + "routers/$NONE/add_router_interface", `{"subnet_id":"$SUB"}`},
		{404, "NetworkNotFound", "$NONE", post + "subnets", `{"subnet":{"network_id":"$NONE","ip_version":4,"cidr":"10.1.0.0/24"}}`},
		{404, "NetworkNotFound", "$NONE", post + "ports", `{"port":{"network_id":"$NONE"}}`},
		{400, bad, "Invalid input for network_id. Reason: 'x' is not a valid UUID.", post + "ports", `{"port":{"network_id":"x"}}`},
		// Networks.
		{400, "InvalidInput", "Invalid input for operation: 'maybe' cannot be converted to boolean.", post + "networks", `{"network":{"port_security_enabled":"maybe"}}`},
		{400, "InvalidInput", "maximum is 1450", post + "networks", `{"network":{"mtu":1451}}`},
		{409, "NetworkMTUSubnetConflict", "minimum of 68", put + "networks/$NET", `{"network":{"mtu":"67"}}`},
		{400, bad, "Invalid input for mtu. Reason: 'x' is not an integer.", post + "networks", `{"network":{"mtu":"x"}}`},
		{400, "InvalidInput", "network_type value 'vlan' not supported", post + "networks", `{"network":{"provider:network_type":"vlan"}}`},
		{400, "InvalidInput", "provider:segmentation_id prohibited", post + "networks", `{"network":{"provider:segmentation_id":5}}`},
		{400, "InvalidInput", "provider:physical_network prohibited", post + "networks", `{"network":{"provider:network_type":"uplink","provider:physical_network":"eth1"}}`},
		{400, "InvalidSubnetServiceType", "Subnet service type x:y does not correspond to a valid device owner.", put + "subnets/$SUB", `{"subnet":{"service_types":["x:y"]}}`},
		{400, "InvalidInput", "dns_nameserver '::1' does not match the ip_version '4'", put + "subnets/$SUB", `{"subnet":{"dns_nameservers":["::1"]}}`},
		{400, "InvalidInput", "nexthop '::1' does not match the ip_version '4'", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.1.0.0/24","host_routes":[{"destination":"::/0","nexthop":"::1"}]}}`},
		{400, "HTTPBadRequest", "Duplicate nameserver '10.0.0.1'", put + "subnets/$SUB", `{"subnet":{"dns_nameservers":["10.0.0.1","10.0.0.1"]}}`},
		{400, "FeatureNotSupported", "external networks", post + "networks", `{"network":{"router:external":true}}`},
		{400, "InvalidInput", "provider attributes", put + "networks/$NET", `{"network":{"provider:network_type":"uplink"}}`},
		{409, "NetworkInUse", "$NET", del + "networks/$NET", ``},
		// Subnets.
		{400, bad, "Invalid input for cidr. Reason: '10.0.0' is not a valid IP subnet.", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.0.0"}}`},
		{400, bad, "'10.1.0.0' is not a valid IP subnet", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.1.0.0"}}`},
		{400, bad, "'10.1.0.0/24' is recommended", put + "subnets/$SUB", `{"subnet":{"host_routes":[{"destination":"10.1.0.1/24","nexthop":"10.0.0.7"}]}}`},
		{400, "InvalidInput", "overlaps with another subnet", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.0.0.0/25"}}`},
		{400, "FeatureNotSupported", "IPv6", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":6,"cidr":"fd00::/64"}}`},
		{400, "FeatureNotSupported", "IPv6", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"fd00::/64"}}`},
		{400, bad, "'5' is not in [4, 6]", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":5,"cidr":"10.1.0.0/24"}}`},
		{400, "InvalidInput", "Gateway is not valid on subnet", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.1.0.0/24","gateway_ip":"10.1.0.0"}}`},
		{409, "GatewayConflictWithAllocationPools", "10.1.0.5", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.1.0.0/24","gateway_ip":"10.1.0.5","allocation_pools":[{"start":"10.1.0.2","end":"10.1.0.9"}]}}`},
		{400, "OutOfBoundsAllocationPool", "10.2.0.2", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.1.0.0/24","allocation_pools":[{"start":"10.2.0.2","end":"10.2.0.9"}]}}`},
		{400, "InvalidAllocationPool", "", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.1.0.0/24","allocation_pools":[{"start":"10.1.0.9","end":"10.1.0.2"}]}}`},
		{409, "OverlappingAllocationPools", "", post + "subnets", `{"subnet":{"network_id":"$NET","ip_version":4,"cidr":"10.1.0.0/24","allocation_pools":[{"start":"10.1.0.2","end":"10.1.0.9"},{"start":"10.1.0.9","end":"10.1.0.20"}]}}`},
		{409, "GatewayIpInUse", "10.0.0.1", put + "subnets/$SUB", `{"subnet":{"gateway_ip":null}}`},
		{409, "SubnetInUse", "$SUB", del + "subnets/$SUB", ``},
		// Ports.
		{409, "MacAddressInUse", "02:00:00:00:00:01", post + "ports", `{"port":{"network_id":"$NET","mac_address":"02-00-00-00-00-01"}}`},
		{409, "IpAddressAlreadyAllocated", "10.0.0.9", post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{"ip_address":"10.0.0.9"}]}}`},
		{400, "InvalidIpForNetwork", "10.9.0.1", post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{"ip_address":"10.9.0.1"}]}}`},
		{400, "InvalidIpForSubnet", "10.0.0.255", post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{"subnet_id":"$SUB","ip_address":"10.0.0.255"}]}}`},
		{400, "InvalidInput", "invalid subnet $SUBNOGW", post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{"subnet_id":"$SUBNOGW"}]}}`},
		{400, "InvalidInput", "Duplicate IP", post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{"ip_address":"10.0.0.50"},{"ip_address":"10.0.0.50"}]}}`},
		{400, "InvalidInput", "Exceeded maximum amount of fixed ips", post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{},{},{},{},{},{}]}}`},
		{400, "InvalidInput", "IP allocation requires subnet_id or ip_address", post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{}]}}`},
		{400, bad, "Invalid input for mac_address. Reason: 'zz' is not a valid MAC address.", post + "ports", `{"port":{"network_id":"$NET","mac_address":"zz"}}`},
		{400, bad, "'00:00:00:00:00:00' is not a valid MAC", post + "ports", `{"port":{"network_id":"$NET","mac_address":"00:00:00:00:00:00"}}`},
		{400, "InvalidInput", "broadcast", post + "ports", `{"port":{"network_id":"$NET","mac_address":"ff:ff:ff:ff:ff:ff"}}`},
		{400, "FeatureNotSupported", "security_groups", post + "ports", `{"port":{"network_id":"$NET","security_groups":["$NONE"]}}`},
		{400, "FeatureNotSupported", "binding:vnic_type", post + "ports", `{"port":{"network_id":"$NET","binding:vnic_type":"direct"}}`},
		{409, "AddressPairAndPortSecurityRequired", "", post + "ports", `{"port":{"network_id":"$NET","port_security_enabled":false,"allowed_address_pairs":[{"ip_address":"10.0.0.0/8"}]}}`},
		{400, "DuplicateAddressPairInRequest", "ip_address 10.0.7.99", post + "ports", `{"port":{"network_id":"$NET","allowed_address_pairs":[{"ip_address":"10.0.7.99"},{"ip_address":"10.0.7.99"}]}}`},
		{400, "DuplicateAddressPairInRequest", "mac_address 02-00-00-00-00-77 ip_address 10.0.7.99/32", post + "ports", `{"port":{"network_id":"$NET","mac_address":"02:00:00:00:00:77","allowed_address_pairs":[{"ip_address":"10.0.7.99"},{"ip_address":"10.0.7.99/32","mac_address":"02-00-00-00-00-77"}]}}`},
		{400, "AddressPairMatchesPortFixedIPAndMac", "", post + "ports", `{"port":{"network_id":"$NET","fixed_ips":[{"ip_address":"10.0.0.98"}],"allowed_address_pairs":[{"ip_address":"10.0.0.98"}]}}`},
		{400, "AllowedAddressPairExhausted", "maximum 10", post + "ports", `{"port":{"network_id":"$NET","allowed_address_pairs":[{"ip_address":"10.1.0.1"},{"ip_address":"10.1.0.2"},{"ip_address":"10.1.0.3"},{"ip_address":"10.1.0.4"},{"ip_address":"10.1.0.5"},{"ip_address":"10.1.0.6"},{"ip_address":"10.1.0.7"},{"ip_address":"10.1.0.8"},{"ip_address":"10.1.0.9"},{"ip_address":"10.1.0.10"},{"ip_address":"10.1.0.11"}]}}`},
		{400, "AllowedAddressPairsMissingIP", "", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[{"mac_address":"02:00:00:00:00:77"}]}}`},
		{400, bad, "must be a list", put + "ports/$PORT", `{"port":{"allowed_address_pairs":{"ip_address":"10.0.0.99"}}}`},
		{400, bad, "Invalid input for allowed_address_pairs. Reason: '10.0.0' is not a valid IP address.", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[{"ip_address":"10.0.0"}]}}`},
		{400, bad, "'10.0.0.1/24' isn't a recognized IP subnet cidr, '10.0.0.0/24' is recommended", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[{"ip_address":"10.0.0.1/24"}]}}`},
		{400, bad, "'::ffff:0.0.0.0/96' is not a valid IP subnet", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[{"ip_address":"::ffff:0.0.0.0/96"}]}}`},
		{400, bad, "'5' is not a dictionary", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[5]}}`},
		{400, bad, "'None' is not a valid IP address", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[{"ip_address":null}]}}`},
		{400, bad, "'zz' is not a valid MAC address", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[{"ip_address":"10.0.0.99","mac_address":"zz"}]}}`},
		{400, bad, "Unexpected keys supplied: x", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[{"ip_address":"10.0.0.99","x":1}]}}`},
		{400, "InvalidInput", "broadcast", put + "ports/$PORT", `{"port":{"allowed_address_pairs":[{"ip_address":"10.0.0.99","mac_address":"ff:ff:ff:ff:ff:ff"}]}}`},
		{409, "PortBindingInUse", "tap1", post + "ports", `{"port":{"network_id":"$NET","binding:host_id":"h1","binding:profile":{"interface_name":"tap1"}}}`},
		{400, bad, "interface_name 'a/b'", post + "ports", `{"port":{"network_id":"$NET","binding:host_id":"h1","binding:profile":{"interface_name":"a/b"}}}`},
		{400, bad, "not a valid host name", post + "ports", `{"port":{"network_id":"$NET","binding:host_id":"h/1"}}`},
		{400, "BadRequest", "remote-site port", put + "ports/$REMOTE", `{"port":{"binding:host_id":"h1"}}`},
		{400, "BadRequest", "add_router_interface", post + "ports", `{"port":{"network_id":"$NET","device_owner":"network:router_interface"}}`},
		{409, "PortBound", "$PORT", put + "ports/$PORT", `{"port":{"mac_address":"02:00:00:00:00:09"}}`},
		{409, "PortInUse", "$IFPORT", put + "ports/$IFPORT", `{"port":{"device_id":"x"}}`},
		{409, "PortInUse", "$IFPORT", put + "ports/$IFPORT", `{"port":{"device_owner":"compute:nova"}}`},
		{400, "BadRequest", "uplink", put + "ports/$IFPORT", `{"port":{"binding:host_id":"h","binding:profile":{"interface_name":"e0"}}}`},
		{400, "BadRequest", "at least one fixed IP", put + "ports/$IFPORT", `{"port":{"fixed_ips":[]}}`},
		{409, "IpAddressAlreadyAllocated", "10.0.0.9", put + "ports/$IFPORT", `{"port":{"fixed_ips":[{"ip_address":"10.0.0.9"}]}}`},
		{409, "ServicePortInUse", "$IFPORT", del + "ports/$IFPORT", ``},
		// Routers.
		{400, "BadRequest", "Bad router request: Either subnet_id or port_id must be specified.", put + "routers/$ROUTER/add_router_interface", `{}`},
		{400, "BadRequest", "Bad router request: Cannot specify both subnet-id and port-id.", put + "routers/$ROUTER/add_router_interface", `{"subnet_id":"$SUB","port_id":"$PORT"}`},
		{400, "BadRequest", "Bad router request: Subnet for router interface must have a gateway IP.", put + "routers/$ROUTER/add_router_interface", `{"subnet_id":"$SUBNOGW"}`},
		{400, "BadRequest", "overlaps", put + "routers/$ROUTER/add_router_interface", `{"subnet_id":"$SUBOVER"}`},
		{400, "BadRequest", "already has a port on subnet $SUB", put + "routers/$ROUTER/add_router_interface", `{"subnet_id":"$SUB"}`},
		{400, "BadRequest", "already has a port on subnet $SUB", put + "routers/$ROUTER/add_router_interface", `{"port_id":"$PORT"}`},
		{409, "PortInUse", "$IFPORT", put + "routers/$VTEP/add_router_interface", `{"port_id":"$IFPORT"}`},
		{409, "IpAddressAlreadyAllocated", "10.0.0.1", put + "routers/$VTEP/add_router_interface", `{"subnet_id":"$SUB"}`},
		{400, "BadRequest", "remote-site", put + "routers/$VTEP/add_router_interface", `{"port_id":"$REMOTE"}`},
		{404, "SubnetNotFound", "$NONE", put + "routers/$ROUTER/add_router_interface", `{"subnet_id":"$NONE"}`},
		{404, "PortNotFound", "$NONE", put + "routers/$ROUTER/add_router_interface", `{"port_id":"$NONE"}`},
		{400, bad, "Unrecognized attribute(s) 'x'", put + "routers/$ROUTER/add_router_interface", `{"x":1}`},
		{404, "RouterInterfaceNotFound", "$PORT", put + "routers/$ROUTER/remove_router_interface", `{"port_id":"$PORT"}`},
		{404, "RouterInterfaceNotFoundForSubnet", "$SUB", put + "routers/$VTEP/remove_router_interface", `{"subnet_id":"$SUB"}`},
		{409, "SubnetMismatchForPort", "$IFPORT", put + "routers/$ROUTER/remove_router_interface", `{"port_id":"$IFPORT","subnet_id":"$SUBNOGW"}`},
		{409, "RouterInterfaceInUseByRoute", "$SUB", put + "routers/$ROUTER/remove_router_interface", `{"subnet_id":"$SUB"}`},
		{400, "BadRequest", "must be specified", put + "routers/$ROUTER/remove_router_interface", `{}`},
		{400, "InvalidRoutes", "the nexthop is not connected with router", put + "routers/$ROUTER", `{"router":{"routes":[{"destination":"1.0.0.0/8","nexthop":"9.9.9.9"}]}}`},
		{400, "InvalidRoutes", "the nexthop is used by router", put + "routers/$ROUTER", `{"router":{"routes":[{"destination":"1.0.0.0/8","nexthop":"10.0.0.1"}]}}`},
		{400, bad, "Duplicate hostroute", put + "routers/$ROUTER", `{"router":{"routes":[{"destination":"1.0.0.0/8","nexthop":"10.0.0.9"},{"destination":"1.0.0.0/8","nexthop":"10.0.0.9"}]}}`},
		{400, "FeatureNotSupported", "a router has at most 8 next hops for one destination: 172.16.0.0/12 has more", put + "routers/$ROUTER/add_extraroutes", `{"router":{"routes":[` + nextHops("172.16.0.0/12", 10, 8) + `]}}`},
		{400, "FeatureNotSupported", "at most 8 next hops for one destination: 7.0.0.0/8", put + "routers/$ROUTER", `{"router":{"routes":[` + nextHops("7.0.0.0/8", 10, 9) + `]}}`},
		{400, bad, "Required attribute 'routes'", put + "routers/$ROUTER/add_extraroutes", `{"router":{}}`},
		{400, "BadRequest", "Bad router request: Network $NET is not an external network", put + "routers/$ROUTER", `{"router":{"external_gateway_info":{"network_id":"$NET","enable_snat":true}}}`},
		{400, "BadRequest", "is not an external network", post + "routers", `{"router":{"external_gateway_info":{"network_id":"$NET","external_fixed_ips":[{"ip_address":"10.0.0.5"}]}}}`},
		{404, "NetworkNotFound", "$NONE", put + "routers/$ROUTER", `{"router":{"external_gateway_info":{"network_id":"$NONE"}}}`},
		{400, bad, "Invalid input for external_gateway_info. Reason: 'x' is not a valid UUID.", put + "routers/$ROUTER", `{"router":{"external_gateway_info":{"network_id":"x"}}}`},
		{400, bad, "Invalid input for external_gateway_info. Reason: '5' is not a dictionary.", put + "routers/$ROUTER", `{"router":{"external_gateway_info":"5"}}`},
		{400, bad, "Expected keys: {'network_id'}", put + "routers/$ROUTER", `{"router":{"external_gateway_info":{"enable_snat":true}}}`},
		{400, bad, "Unexpected keys supplied: foo", put + "routers/$ROUTER", `{"router":{"external_gateway_info":{"foo":1}}}`},
		{409, "RouterInUse", "Router $ROUTER has ports still attached: $IFPORT", del + "routers/$ROUTER", ``},
		{409, "DeviceInUseByGatewayDevice", "device $VTEP (router) is in use by gateway device", del + "routers/$VTEP", ``},
	}
}

func TestGatewayErrors(t *testing.T) {
	const bad = "HTTPBadRequest"
	dev, macs := "gw/gateway_devices", "gw/gateway_devices/$DEV/remote_mac_entries"
	lg, conn := "l2-gateways", "l2-gateway-connections"
	runErrors(t, append(append(gatewayTypeErrors(), l2GatewayErrors()...), []errorRow{
		{400, bad, "Invalid input for type. Reason: foo is not in valid_values.", post + dev, `{"gateway_device":{"type":"foo"}}`},
		{400, "HwVtepTypeInvalid", "", post + dev, `{"gateway_device":{"tunnel_ips":["1.1.1.1"]}}`},
		{400, bad, "management_port", post + dev, `{"gateway_device":{"type":"hw_vtep","management_ip":"1.1.1.1","management_port":"65536"}}`},
		{400, bad, "management_ip", post + dev, `{"gateway_device":{"type":"hw_vtep","management_ip":"x","management_port":"1"}}`},
		{400, "RouterVtepTypeInvalid", "", post + dev, `{"gateway_device":{"type":"router_vtep","tunnel_ips":["1.1.1.1"]}}`},
		{404, "ResourceNotFound", "specified resource $NONE does not exist", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$NONE","tunnel_ips":["1.1.1.1"]}}`},
		{409, "DeviceInUseByGatewayDevice", "device $VTEP (router) is in use by gateway device", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$VTEP","tunnel_ips":["1.1.1.1"]}}`},
		{400, "TunnelIPsRequired", "", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$ROUTER"}}`},
		{400, "TunnelIPsRequired", "", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$ROUTER","tunnel_ips":[]}}`},
		{400, "TunnelIPsRequired", "", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$ROUTER","tunnel_ips":""}}`},
		{400, "TunnelIPsRequired", "", put + dev + "/$DEV", `{"gateway_device":{"tunnel_ips":[]}}`},
		{400, "TunnelIPsExhausted", "", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$ROUTER","tunnel_ips":["1.1.1.1","1.1.1.2"]}}`},
		{400, "TunnelIPsExhausted", "", put + dev + "/$DEV", `{"gateway_device":{"tunnel_ips":["1.1.1.1","1.1.1.2"]}}`},
		{409, "GatewayDeviceParamDuplicate", "200.0.0.1", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$ROUTER","tunnel_ips":["200.0.0.1"]}}`},
		{409, "GatewayDeviceParamDuplicate", "200.0.0.2", put + dev + "/$DEV", `{"gateway_device":{"tunnel_ips":["200.0.0.2"]}}`},
		{400, bad, "Invalid input for tunnel_ips. Reason: 'x' is not a valid IP address.", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$ROUTER","tunnel_ips":["x"]}}`},
		{400, bad, "'224.0.0.1' is not a unicast address", put + dev + "/$DEV", `{"gateway_device":{"tunnel_ips":["224.0.0.1"]}}`},
		{400, "FeatureNotSupported", "IPv6", put + dev + "/$DEV", `{"gateway_device":{"tunnel_ips":["fd00::1"]}}`},
		{404, "GatewayDeviceNotFound", "Gateway device $NONE does not exist", get + dev + "/$NONE", ``},
		{404, "GatewayDeviceNotFound", "$NONE", put + dev + "/$NONE", `{"gateway_device":{"name":"x"}}`},
		{404, "GatewayDeviceNotFound", "$NONE", del + dev + "/$NONE", ``},
		{404, "GatewayDeviceNotFound", "$NONE", post + dev + "/$NONE/remote_mac_entries", `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"1.1.1.1","segmentation_id":"1"}}`},
		{404, "GatewayDeviceNotFound", "$NONE", get + dev + "/$NONE/remote_mac_entries", ``},
		{409, "GatewayDeviceInUse", "Gateway device $DEV is in use by l2 gateway", del + dev + "/$DEV", ``},

		{409, "DuplicateRemoteMacEntry", "aa:00:00:00:00:01", post + macs, `{"remote_mac_entry":{"mac_address":"AA:00:00:00:00:01","vtep_address":"200.0.0.8","segmentation_id":100}}`},
		{400, bad, "'zz' is not a valid MAC address.", post + macs, `{"remote_mac_entry":{"mac_address":"zz","vtep_address":"1.1.1.1","segmentation_id":"1"}}`},
		{400, bad, "'x' is not a valid IP address.", post + macs, `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"x","segmentation_id":"1"}}`},
		{400, bad, "Invalid input for vtep_address. Reason: 'None' is not a valid IP address.", post + macs, `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","segmentation_id":"1"}}`},
		{400, bad, "'abc' is not an integer.", post + macs, `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"1.1.1.1","segmentation_id":"abc"}}`},
		{400, bad, "'-1' should be non-negative.", post + macs, `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"1.1.1.1","segmentation_id":"-1"}}`},
		{400, bad, "range", post + macs, `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"1.1.1.1","segmentation_id":0}}`},
		{400, bad, "range", post + macs, `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"1.1.1.1","segmentation_id":"16777216"}}`},
		{400, bad, "Required attribute 'mac_address'", post + macs, `{"remote_mac_entry":{"vtep_address":"1.1.1.1","segmentation_id":"1"}}`},
		{400, bad, "Required attribute 'segmentation_id'", post + macs, `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"1.1.1.1"}}`},
		{404, "RemoteMacEntryNotFound", "$NONE", get + macs + "/$NONE", ``},
		{404, "RemoteMacEntryNotFound", "$NONE", del + macs + "/$NONE", ``},
		{400, "RemoteMacEntryWrongGatewayDevice", "$MACID", get + dev + "/$DEV2/remote_mac_entries/$MACID", ``},
		{400, "RemoteMacEntryWrongGatewayDevice", "$MACID", del + dev + "/$DEV2/remote_mac_entries/$MACID", ``},

		{404, "L2GatewayNotFound", "L2 Gateway $NONE could not be found", get + lg + "/$NONE", ``},
		{404, "L2GatewayNotFound", "$NONE", del + lg + "/$NONE", ``},
		{404, "L2GatewayNotFound", "L2 Gateway $NONE could not be found", put + lg + "/$NONE", `{"l2_gateway":{"name":"x"}}`},
		{400, bad, "Cannot update read-only attribute tenant_id", put + lg + "/$LG", `{"l2_gateway":{"tenant_id":"x"}}`},
		{409, "L2GatewayInUse", "L2 Gateway $LG still has active mappings", put + lg + "/$LG", `{"l2_gateway":{"devices":[{"device_id":"$DEV","segmentation_id":"101"}]}}`},
		{409, "L2GatewayInUse", "$LG", put + lg + "/$LG", `{"l2_gateway":{"name":"x","devices":[{"device_id":"$DEV2","segmentation_id":"100"}]}}`},
		{409, "L2GatewayInUse", "$LG", put + lg + "/$LG", `{"l2_gateway":{"devices":[{"device_id":"$DEV"}]}}`},
		{409, "L2GatewayInUse", "$LG", del + lg + "/$LG", ``},

		{404, "NetworkNotFound", "$NONE", post + conn, `{"l2_gateway_connection":{"network_id":"$NONE","l2_gateway_id":"$NONE"}}`},
		{400, "InvalidInput", "default segmentation_id should not be provided when segmentation_id is assigned during l2gateway creation.", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LG","segmentation_id":"5"}}`},
		{400, "InvalidInput", "Segmentation id must be specified in create l2gateway connections.", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LGOPEN"}}`},
		{400, "InvalidInput", "Segmentation id must be specified", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$NONE"}}`},
		{400, "InvalidInput", "Segmentation id must be specified", post + conn, `{"l2_gateway_connection":{"network_id":"$NET"}}`},
		{409, "L2GatewayConnectionExists", "", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LG"}}`},
		{404, "L2GatewayNotFound", "$NONE", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$NONE","segmentation_id":"5"}}`},
		{409, "MidonetL2GatewayConnectionExists", "", post + conn, `{"l2_gateway_connection":{"network_id":"$NOGW","l2_gateway_id":"$LG"}}`},
		{400, "InvalidInput", "out of range", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LGOPEN","segmentation_id":"16777216"}}`},
		{400, "InvalidInput", "out of range", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LGOPEN","segmentation_id":"0"}}`},
		{400, bad, "'100' is not a valid string.", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LGOPEN","segmentation_id":100}}`},
		{400, bad, "Required attribute 'network_id'", post + conn, `{"l2_gateway_connection":{"l2_gateway_id":"$LG"}}`},
		{409, "L2GatewayConnectionVNIInUse", "100", post + conn, `{"l2_gateway_connection":{"network_id":"$NOGW","l2_gateway_id":"$LGSAME"}}`},
		{409, "L2GatewayConnectionVNIInUse", "100", post + conn, `{"l2_gateway_connection":{"network_id":"$NOGW","l2_gateway_id":"$LGOPEN","segmentation_id":"100"}}`},
		{400, "InvalidInput", "uplink", post + conn, `{"l2_gateway_connection":{"network_id":"$UPLINK","l2_gateway_id":"$LGSAME"}}`},
		{404, "L2GatewayConnectionNotFound", "not found on the l2 gateway", get + conn + "/$NONE", ``},
		{404, "L2GatewayConnectionNotFound", "", del + conn + "/$NONE", ``},
	}...))
}

// l2GatewayErrors are the rules of what a new L2 gateway is made of.
func l2GatewayErrors() []errorRow {
	const bad, lg = "HTTPBadRequest", "l2-gateways"
	return []errorRow{
		{400, bad, "Required attribute 'devices'", post + lg, `{"l2_gateway":{"name":"x"}}`},
		{400, bad, "Invalid input for devices. Reason: Cannot create a gateway with an empty device list.", post + lg, `{"l2_gateway":{"devices":[]}}`},
		{400, bad, "Exactly one device must be specified to create a gateway.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$DEV"},{"device_id":"$DEV2"}]}}`},
		{400, bad, "Cannot create a gateway with an empty device_id.", post + lg, `{"l2_gateway":{"devices":[{"segmentation_id":"1"}]}}`},
		{400, bad, "Interfaces are not allowed in MidoNet L2GW.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$DEV","interfaces":[{"name":"x"}]}]}}`},
		{400, bad, "'a' is not a dictionary.", post + lg, `{"l2_gateway":{"devices":["a"]}}`},
		{404, "GatewayDeviceNotFound", "$NONE", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$NONE"}]}}`},
		{400, "InvalidInput", "Invalid input for operation: Segmentation id must be a valid integer.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$DEV","segmentation_id":"abc"}]}}`},
		{400, "InvalidInput", "Segmentation id is out of range.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$DEV","segmentation_id":"-1"}]}}`},
		{400, "InvalidInput", "Segmentation id is out of range.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$DEV","segmentation_id":"16777216"}]}}`},
	}
}

// nextHops are routes to one destination by n next hops.
func nextHops(to string, first, n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"destination":"%s","nexthop":"10.0.0.%d"}`, to, first+i))
	}
	return strings.Join(all, ",")
}
