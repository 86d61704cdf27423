package neutronapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// gatewayTypeErrors are the rules of hw_vtep and network_vlan.
func gatewayTypeErrors() []errorRow {
	const bad = "HTTPBadRequest"
	const dev, lg, conn = "gw/gateway_devices", "l2-gateways", "l2-gateway-connections"
	const hw, vlan = "HwVtepTypeInvalid", "NetworkVlanTypeInvalid"
	return []errorRow{
		// What a switch needs, in the order in which it is asked for.
		{400, hw, "management_ip and management_port are required", post + dev, `{"gateway_device":{}}`},
		{400, hw, "", post + dev, `{"gateway_device":{"type":null,"management_ip":"192.0.2.2","tunnel_ips":["1.1.1.1","1.1.1.2"]}}`},
		{400, hw, "", post + dev, `{"gateway_device":{"type":"hw_vtep","management_port":6640,"tunnel_ips":[]}}`},
		{400, hw, "", post + dev, `{"gateway_device":{"type":"hw_vtep","management_ip":"192.0.2.2","management_port":"0","tunnel_ips":["1.1.1.1"]}}`},
		{400, bad, "Invalid input for management_port. Reason: '65536' is not a valid port number.", post + dev, `{"gateway_device":{"management_ip":"192.0.2.2","management_port":"65536"}}`},
		{400, bad, "'-1' is not a valid port number", post + dev, `{"gateway_device":{"management_ip":"192.0.2.2","management_port":-1}}`},
		{400, bad, "'x' is not an integer", post + dev, `{"gateway_device":{"management_ip":"192.0.2.2","management_port":"x"}}`},
		{400, bad, "Invalid input for management_ip. Reason: 'x' is not a valid IP address.", post + dev, `{"gateway_device":{"management_ip":"x","management_port":1}}`},
		{400, bad, "'224.0.0.1' is not a unicast address", post + dev, `{"gateway_device":{"management_ip":"224.0.0.1","management_port":1,"tunnel_ips":["1.1.1.1"]}}`},
		{400, bad, "Invalid input for management_protocol. Reason: netconf is not in valid_values.", post + dev, `{"gateway_device":{"management_ip":"192.0.2.2","management_port":1,"management_protocol":"netconf"}}`},
		{409, "GatewayDeviceParamDuplicate", "management_ip 192.0.2.1 is already used", post + dev, `{"gateway_device":{"management_ip":"192.0.2.1","management_port":1,"tunnel_ips":["200.0.0.1"]}}`},
		{409, "GatewayDeviceParamDuplicate", "management_ip 192.0.2.1", post + dev, `{"gateway_device":{"management_ip":"::ffff:192.0.2.1","management_port":1}}`},
		{400, "TunnelIPsRequired", "hw_vtep", post + dev, `{"gateway_device":{"management_ip":"192.0.2.2","management_port":1}}`},
		{400, "TunnelIPsExhausted", "", post + dev, `{"gateway_device":{"management_ip":"192.0.2.2","management_port":1,"tunnel_ips":["1.1.1.1","1.1.1.2"]}}`},
		{409, "GatewayDeviceParamDuplicate", "tunnel_ips 200.0.0.1 is already used", post + dev, `{"gateway_device":{"management_ip":"192.0.2.2","management_port":1,"tunnel_ips":["200.0.0.1"]}}`},
		{409, "GatewayDeviceParamDuplicate", "tunnel_ips 200.0.0.3", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$ROUTER","tunnel_ips":["200.0.0.3"]}}`},
		{400, "InvalidInput", "resource_id has no meaning", post + dev, `{"gateway_device":{"management_ip":"192.0.2.2","management_port":1,"resource_id":"$ROUTER","tunnel_ips":["1.1.1.1"]}}`},
		{400, "InvalidInput", "management_ip, management_port and management_protocol have no meaning", post + dev, `{"gateway_device":{"type":"router_vtep","resource_id":"$ROUTER","management_port":1,"tunnel_ips":["1.1.1.1"]}}`},
		{400, "TunnelIPsRequired", "", put + dev + "/$HW", `{"gateway_device":{"tunnel_ips":[]}}`},
		{400, "TunnelIPsExhausted", "", put + dev + "/$HW", `{"gateway_device":{"tunnel_ips":["1.1.1.1","1.1.1.2"]}}`},
		{409, "GatewayDeviceParamDuplicate", "", put + dev + "/$HW", `{"gateway_device":{"tunnel_ips":["200.0.0.2"]}}`},
		{400, bad, "Cannot update read-only attribute management_ip", put + dev + "/$HW", `{"gateway_device":{"management_ip":"192.0.2.3"}}`},
		{400, bad, "Cannot update read-only attribute management_port", put + dev + "/$HW", `{"gateway_device":{"management_port":1}}`},
		{400, bad, "Cannot update read-only attribute management_protocol", put + dev + "/$HW", `{"gateway_device":{"management_protocol":"ovsdb"}}`},
		{409, "GatewayDeviceInUse", "Gateway device $HW is in use by l2 gateway", del + dev + "/$HW", ``},

		// What an uplink needs.
		{400, vlan, "resource_id is required", post + dev, `{"gateway_device":{"type":"network_vlan"}}`},
		{400, vlan, "", post + dev, `{"gateway_device":{"type":"network_vlan","resource_id":"","tunnel_ips":["1.1.1.1","1.1.1.2"]}}`},
		{404, "ResourceNotFound", "specified resource $NONE does not exist", post + dev, `{"gateway_device":{"type":"network_vlan","resource_id":"$NONE"}}`},
		{404, "ResourceNotFound", "$ROUTER", post + dev, `{"gateway_device":{"type":"network_vlan","resource_id":"$ROUTER"}}`},
		{400, vlan, "must be a network with provider:network_type uplink", post + dev, `{"gateway_device":{"type":"network_vlan","resource_id":"$NET"}}`},
		{409, "DeviceInUseByGatewayDevice", "device $UPLINK (network) is in use by gateway device", post + dev, `{"gateway_device":{"type":"network_vlan","resource_id":"$UPLINK","tunnel_ips":["1.1.1.1"]}}`},
		{400, "TunnelIPsExhausted", "", post + dev, `{"gateway_device":{"type":"network_vlan","resource_id":"$FREEUP","tunnel_ips":["1.1.1.1","1.1.1.2"]}}`},
		{400, "InvalidInput", "tunnel_ips have no meaning", post + dev, `{"gateway_device":{"type":"network_vlan","resource_id":"$FREEUP","tunnel_ips":["1.1.1.1"]}}`},
		{400, "InvalidInput", "tunnel_ips have no meaning", put + dev + "/$VLAN", `{"gateway_device":{"tunnel_ips":["1.1.1.1"]}}`},
		{400, "InvalidInput", "management_ip", post + dev, `{"gateway_device":{"type":"network_vlan","resource_id":"$FREEUP","management_ip":"192.0.2.2"}}`},
		{400, bad, "Cannot update read-only attribute resource_id", put + dev + "/$VLAN", `{"gateway_device":{"resource_id":"$FREEUP"}}`},
		{409, "DeviceInUseByGatewayDevice", "device $UPLINK (network) is in use by gateway device", del + "networks/$UPLINK", ``},
		{409, "OperationRemoteMacEntryNotSupported", "$VLAN", post + dev + "/$VLAN/remote_mac_entries", `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"1.1.1.1","segmentation_id":"1"}}`},
		{400, bad, "'zz' is not a valid MAC address", post + dev + "/$VLAN/remote_mac_entries", `{"remote_mac_entry":{"mac_address":"zz","vtep_address":"1.1.1.1","segmentation_id":"1"}}`},

		// Segmentation ids by type.
		{400, "InvalidInput", "Segmentation id is out of range.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$VLAN","segmentation_id":"4095"}]}}`},
		{400, "InvalidInput", "Segmentation id is out of range.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$VLAN","segmentation_id":-1}]}}`},
		{400, "InvalidInput", "Segmentation id is out of range.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","segmentation_id":"16777216"}]}}`},
		{400, "InvalidInput", "Segmentation id is out of range.", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LGVLAN","segmentation_id":"4095"}}`},
		{400, "InvalidInput", "Segmentation id is out of range.", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LGVLAN","segmentation_id":"0"}}`},
		{400, "InvalidInput", "Segmentation id is out of range.", post + conn, `{"l2_gateway_connection":{"network_id":"$NET","l2_gateway_id":"$LGHW","segmentation_id":"16777216"}}`},

		// Ports of a switch.
		{400, bad, "Interfaces are not allowed in MidoNet L2GW.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$DEV","interfaces":[]}]}}`},
		{400, bad, "Interfaces are not allowed in MidoNet L2GW.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$VLAN","interfaces":[{"name":"p0"}]}]}}`},
		{400, bad, "Invalid input for devices. Reason: Cannot create a gateway with an interface without a name.", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"segmentation_id":["1"]}]}]}}`},
		{400, bad, "'x' is not a list", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":"x"}]}}`},
		{400, bad, "'x' is not a dictionary", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":["x"]}]}}`},
		{400, bad, "Unexpected keys supplied: vlan", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p0","vlan":1}]}]}}`},
		{400, bad, "'4095' is not in range 0 to 4094", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p0","segmentation_id":["4095"]}]}]}}`},
		{400, bad, "'x' is not an integer", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p0","segmentation_id":["x"]}]}]}}`},
		{400, bad, "'10' is not a list", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p0","segmentation_id":"10"}]}]}}`},
		{400, "InvalidInput", "VLAN 10 of interface p0 is given twice", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p0","segmentation_id":["10"]},{"name":"p0","segmentation_id":[11,10]}]}]}}`},
		{409, "L2GatewayInterfaceInUse", "VLAN 9 of interface p/9", post + lg, `{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p/9","segmentation_id":["9"]}]}]}}`},
	}
}

// TestGatewayDeviceTypes reads what the types answer, and takes them away again.
func TestGatewayDeviceTypes(t *testing.T) {
	s := newServer(t)
	hw := s.want(201, "POST", "/v2.0/gw/gateway_devices", `{"gateway_device":{"name":"tor","type":"hw_vtep","management_ip":"192.0.2.1","management_port":"6640","management_protocol":"ovsdb","tunnel_ips":["200.0.0.3"]}}`)
	s.wantObject(hw, `{"name":"tor","type":"hw_vtep","tenant_id":"default","project_id":"default","resource_id":"","tunnel_ips":["200.0.0.3"],
		"management_ip":"192.0.2.1","management_port":6640,"management_protocol":"ovsdb","binding:host_id":"","host":"","host_reason":"","hosts":[],"remote_mac_entries":[]}`, "id")
	hw = s.want(201, "POST", "/v2.0/gw/gateway_devices", `{"gateway_device":{"management_ip":"192.0.2.2","management_port":65535,"tunnel_ips":["200.0.0.4"]}}`)
	s.wantObject(hw, `{"name":"","type":"hw_vtep","tenant_id":"default","project_id":"default","resource_id":"","tunnel_ips":["200.0.0.4"],
		"management_ip":"192.0.2.2","management_port":65535,"management_protocol":"ovsdb","binding:host_id":"","host":"","host_reason":"","hosts":[],"remote_mac_entries":[]}`, "id")
	uplink := s.post("/v2.0/networks", `{"network":{"provider:network_type":"uplink"}}`)
	vlan := s.want(201, "POST", "/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"network_vlan","resource_id":"$N","tunnel_ips":[],"management_ip":null,"management_port":null,"management_protocol":null}}`, "$N", uplink))
	s.wantObject(vlan, fill(`{"name":"","type":"network_vlan","tenant_id":"default","project_id":"default","resource_id":"$N","tunnel_ips":[],
		"management_ip":null,"management_port":null,"management_protocol":null,"binding:host_id":"","host":"","host_reason":"","hosts":[],"remote_mac_entries":[]}`, "$N", uplink), "id")
	checkSound(s)

	// A change touches nothing else.
	changed := s.want(200, "PUT", "/v2.0/gw/gateway_devices/"+vlan.str("id"), `{"gateway_device":{"name":"v","tunnel_ips":[]}}`)
	s.wantObject(changed, fill(`{"name":"v","type":"network_vlan","resource_id":"$N","tunnel_ips":[]}`, "$N", uplink),
		"id", "tenant_id", "project_id", "management_ip", "management_port", "management_protocol", "binding:host_id", "host", "host_reason", "hosts", "remote_mac_entries")
	changed = s.want(200, "PUT", "/v2.0/gw/gateway_devices/"+hw.str("id"), `{"gateway_device":{"tunnel_ips":["200.0.0.5"]}}`)
	s.wantObject(changed, `{"type":"hw_vtep","tunnel_ips":["200.0.0.5"],"management_ip":"192.0.2.2"}`,
		"id", "name", "tenant_id", "project_id", "resource_id", "management_port", "management_protocol", "binding:host_id", "host", "host_reason", "hosts", "remote_mac_entries")
	checkSound(s)

	// The remote MAC table of a switch.
	s.post("/v2.0/gw/gateway_devices/"+hw.str("id")+"/remote_mac_entries", `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:02","vtep_address":"1.1.1.1","segmentation_id":"7"}}`)
	s.want(200, "GET", "/v2.0/gw/gateway_devices/"+vlan.str("id")+"/remote_mac_entries", "")

	// VLANs and VNIs in their ranges.
	for _, ok := range []struct{ dev, seg string }{{vlan.str("id"), `"4094"`}, {vlan.str("id"), `1`}, {hw.str("id"), `"16777215"`}} {
		id := s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","segmentation_id":$S}]}}`, "$D", ok.dev, "$S", ok.seg))
		s.want(204, "DELETE", "/v2.0/l2-gateways/"+id, "")
	}

	// Ports of a switch, in networking-l2gw's form.
	lg := s.want(201, "POST", "/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$D","interfaces":[{"name":"Ethernet1/1","segmentation_id":[20,"10"]},{"name":"p1"}]}]}}`, "$D", hw.str("id")))
	s.wantObject(lg, fill(`{"name":"","tenant_id":"default","devices":[{"device_id":"$D","interfaces":[{"name":"Ethernet1/1","segmentation_id":["10","20"]},{"name":"p1","segmentation_id":["0"]}]}]}`, "$D", hw.str("id")), "id")
	net := s.post("/v2.0/networks", `{"network":{}}`)
	s.post("/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection":{"l2_gateway_id":"$G","network_id":"$N","segmentation_id":"16777215"}}`, "$G", lg.str("id"), "$N", net))
	checkSound(s)
	s.want(409, "DELETE", "/v2.0/gw/gateway_devices/"+hw.str("id"), "")
	s.want(204, "DELETE", "/v2.0/networks/"+net, "")
	s.want(204, "DELETE", "/v2.0/l2-gateways/"+lg.str("id"), "")

	// What goes leaves its management IP, tunnel IP and network free.
	s.want(204, "DELETE", "/v2.0/gw/gateway_devices/"+hw.str("id"), "")
	s.want(204, "DELETE", "/v2.0/gw/gateway_devices/"+vlan.str("id"), "")
	checkSound(s)
	s.post("/v2.0/gw/gateway_devices", `{"gateway_device":{"management_ip":"192.0.2.2","management_port":1,"tunnel_ips":["200.0.0.5"]}}`)
	s.want(204, "DELETE", "/v2.0/networks/"+uplink, "")
}

// TestUpdateL2Gateway changes what a gateway is made of, as long as nothing hangs on it.
func TestUpdateL2Gateway(t *testing.T) {
	s := newServer(t)
	names := world(s)
	at := func(id string) string { return fill("/v2.0/l2-gateways/"+id, names...) }
	update := func(id, body, devices string) {
		t.Helper()
		out := s.want(200, "PUT", at(id), fill(`{"l2_gateway":`+body+`}`, names...))
		s.wantObject(out, fill(`{"devices":[`+devices+`]}`, names...), "id", "name", "tenant_id")
		checkSound(s)
	}
	put := func(id, device, devices string) {
		t.Helper()
		update(id, `{"devices":[`+device+`]}`, devices)
	}

	// A name changes at any time, and devices that are as they were change nothing.
	const lg = `{"device_id":"$DEV","segmentation_id":"100"}`
	update("$LG", `{"name":"x"}`, lg)
	put("$LG", lg, lg)
	put("$LG", `{"device_id":"$DEV","segmentation_id":100}`, lg)
	update("$LG", `{"name":null}`, lg)
	if out := s.want(200, "GET", at("$LG"), ""); out.str("name") != "" || out.str("tenant_id") != "default" {
		t.Errorf("after the changes: %v", out)
	}

	// Without a connection everything does.
	put("$LGOPEN", `{"device_id":"$DEV","segmentation_id":"77"}`, `{"device_id":"$DEV","segmentation_id":"77"}`)
	put("$LGOPEN", `{"device_id":"$HW","interfaces":[{"name":"p1","segmentation_id":[7]},{"name":"p2"}]}`,
		`{"device_id":"$HW","interfaces":[{"name":"p1","segmentation_id":["7"]},{"name":"p2","segmentation_id":["0"]}]}`)
	s.wantError(409, "L2GatewayInterfaceInUse", "VLAN 7 of interface p1", "POST", "/v2.0/l2-gateways",
		fill(`{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p1","segmentation_id":["7"]}]}]}}`, names...))
	put("$LGOPEN", `{"device_id":"$VLAN"}`, `{"device_id":"$VLAN"}`)
	s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p1","segmentation_id":["7"]}]}]}}`, names...))

	// A switch's ports do so under a connection too, and nothing else of its device.
	s.post("/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection":{"l2_gateway_id":"$LGHW","network_id":"$NOGW","segmentation_id":"9"}}`, names...))
	const ports = `{"device_id":"$HW","interfaces":[{"name":"p/9","segmentation_id":["9"]},{"name":"p3","segmentation_id":["0"]}]}`
	put("$LGHW", ports, ports)
	s.wantError(409, "L2GatewayInUse", "", "PUT", at("$LGHW"), fill(`{"l2_gateway":{"devices":[{"device_id":"$HW","segmentation_id":"8"}]}}`, names...))
	s.wantError(409, "L2GatewayInterfaceInUse", "VLAN 7 of interface p1", "PUT", at("$LGHW"), fill(`{"l2_gateway":{"devices":[{"device_id":"$HW","interfaces":[{"name":"p1","segmentation_id":["7"]}]}]}}`, names...))
	put("$LGHW", `{"device_id":"$HW"}`, `{"device_id":"$HW"}`)

	// What a gateway has left is free to go.
	other := s.post("/v2.0/l2-gateways", fill(`{"l2_gateway":{"devices":[{"device_id":"$DEV2"}]}}`, names...))
	conns := s.want(200, "GET", fill("/v2.0/l2-gateway-connections?l2_gateway_id=$LGFULL", names...), "").list("l2_gateway_connections")
	s.want(204, "DELETE", "/v2.0/l2-gateway-connections/"+conns[0].(map[string]any)["id"].(string), "")
	device := fill("/v2.0/gw/gateway_devices/$DEV2", names...)
	for _, id := range []string{other, "$LGFULL"} {
		s.wantError(409, "GatewayDeviceInUse", "", "DELETE", device, "")
		put(id, `{"device_id":"$DEV"}`, `{"device_id":"$DEV"}`)
	}
	s.want(204, "DELETE", device, "")
	s.wantError(404, "GatewayDeviceNotFound", "", "PUT", at(other), fill(`{"l2_gateway":{"devices":[{"device_id":"$DEV2"}]}}`, names...))
}

// TestSameRulesForL2Gateways puts to an update what is refused of a create.
func TestSameRulesForL2Gateways(t *testing.T) {
	var rows []errorRow
	for _, r := range append(gatewayTypeErrors(), l2GatewayErrors()...) {
		if r.request == post+"l2-gateways" && !strings.Contains(r.message, "Required attribute") {
			r.request = put + "l2-gateways/$LGOPEN"
			rows = append(rows, r)
		}
	}
	if len(rows) < 20 {
		t.Fatalf("%d rules", len(rows))
	}
	runErrors(t, rows)
}

func TestL2GatewayIfMatch(t *testing.T) {
	s := newServer(t)
	names := world(s)
	path := fill("/v2.0/l2-gateways/$LGOPEN", names...)
	call := func(revision string, want int) {
		t.Helper()
		status, out, _ := s.callWith("PUT", path, `{"l2_gateway":{"name":"x"}}`, http.Header{"If-Match": {"revision_number=" + revision}})
		if status != want {
			t.Errorf("revision %s: %d %v, want %d", revision, status, out, want)
		}
	}
	call("2", 412)
	call("1", 200)
	call("1", 412)
	call("2", 200)
}

// A switch's ports change all at once within the limits of an etcd cluster.
func TestManyPortsOfASwitch(t *testing.T) {
	a := newEtcdPair(t)[1]
	tor := a.post("gw/gateway_devices", `{"gateway_device":{"management_ip":"192.0.2.1","management_port":1,"tunnel_ips":["4.0.0.1"]}}`)
	ports := func(first int) string {
		var vlans []int
		for i := range 50 {
			vlans = append(vlans, first+i)
		}
		b, _ := json.Marshal(object{"l2_gateway": object{"devices": []object{{"device_id": tor, "interfaces": []object{{"name": "p0", "segmentation_id": vlans}}}}}})
		return string(b)
	}
	gw := a.post("l2-gateways", ports(1))
	if status, out := a.call("PUT", "/v2.0/l2-gateways/"+gw, ports(100)); status != 200 {
		t.Errorf("50 other VLANs: %d %v", status, out)
	}
	a.checkSound()
}
