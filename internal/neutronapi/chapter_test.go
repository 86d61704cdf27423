package neutronapi_test

import (
	"fmt"
	"testing"
)

// chapterSite is one site of the router peering guide.
type chapterSite struct {
	tenantCIDR, peerIP, peerMAC, tunnelIP    string
	remoteCIDR, remoteIP, remoteMAC, remoteT string
}

var siteA = chapterSite{
	"10.0.0.0/24", "192.168.0.1", "16:B7:B5:A4:57:75", "200.200.0.1",
	"10.0.1.0/24", "192.168.0.2", "6F:E4:5A:FA:8E:09", "200.200.0.2",
}

var siteB = chapterSite{
	"10.0.1.0/24", "192.168.0.2", "6F:E4:5A:FA:8E:09", "200.200.0.2",
	"10.0.0.0/24", "192.168.0.1", "16:B7:B5:A4:57:75", "200.200.0.1",
}

// ids of what the chapter makes.
type chapter struct {
	tenantNet, tenantSubnet, peerRouter, vtepRouter, device, msNet, l2gw, msSubnet, conn, peerPort, remotePort, remoteMAC string
}

// build goes through the guide's steps with the bodies that the real clients send.
func build(s *server, c chapterSite) (ch chapter) {
	s.t.Helper()
	// Look-ups by name and id, as before each command.
	lookup := func(path, key, name, id string) {
		s.t.Helper()
		for _, q := range []string{"id=" + id, "name=" + name} {
			_, out := s.call("GET", path+"?"+q+"&fields=id", "")
			l := out.list(key)
			if len(l) != 1 || len(l[0].(map[string]any)) != 1 || l[0].(map[string]any)["id"] != id {
				s.t.Fatalf("look-up %s?%s: %v", path, q, out)
			}
		}
	}
	ch.tenantNet = s.post("/v2.0/networks", `{"network": {"name": "tenant-net", "tenant_id": "tenant", "admin_state_up": true}}`)
	lookup("/v2.0/networks", "networks", "tenant-net", ch.tenantNet)
	ch.tenantSubnet = s.post("/v2.0/subnets", fill(`{"subnet": {"network_id": "$N", "tenant_id": "tenant", "ip_version": 4, "cidr": "$C"}}`, "$N", ch.tenantNet, "$C", c.tenantCIDR))
	ch.peerRouter = s.post("/v2.0/routers", `{"router": {"name": "peer-router", "tenant_id": "tenant", "admin_state_up": true}}`)
	lookup("/v2.0/routers", "routers", "peer-router", ch.peerRouter)
	iface := s.want(200, "PUT", "/v2.0/routers/"+ch.peerRouter+"/add_router_interface", fill(`{"subnet_id": "$S"}`, "$S", ch.tenantSubnet))
	if iface.str("port_id") == "" || iface.str("subnet_id") != ch.tenantSubnet || iface.str("id") != ch.peerRouter || iface.str("tenant_id") != "tenant" || len(iface.list("subnet_ids")) != 1 || iface.str("network_id") != ch.tenantNet {
		s.t.Fatalf("interface: %v", iface)
	}
	ch.vtepRouter = s.post("/v2.0/routers", `{"router": {"name": "vtep-router", "tenant_id": "admin", "admin_state_up": true}}`)
	ch.device = s.post("/v2.0/gw/gateway_devices", fill(`{"gateway_device": {"name": "gw", "type": "router_vtep", "resource_id": "$R", "tenant_id": "admin", "tunnel_ips": ["$T"]}}`, "$R", ch.vtepRouter, "$T", c.tunnelIP))
	lookup("/v2.0/gw/gateway_devices", "gateway_devices", "gw", ch.device)
	net := s.want(201, "POST", "/v2.0/networks", `{"network": {"port_security_enabled": "False", "name": "multi-site", "tenant_id": "admin", "admin_state_up": true}}`)
	if net["port_security_enabled"] != false {
		s.t.Fatalf("port_security_enabled: %v", net)
	}
	ch.msNet = net.str("id")
	gw := s.want(201, "POST", "/v2.0/l2-gateways", fill(`{"l2_gateway": {"name": "l2gw", "tenant_id": "admin", "devices": [{"device_id": "$D", "segmentation_id": "100"}]}}`, "$D", ch.device))
	if d := gw.list("devices")[0].(map[string]any); d["segmentation_id"] != "100" || d["device_id"] != ch.device {
		s.t.Fatalf("l2 gateway: %v", gw)
	}
	ch.l2gw = gw.str("id")
	lookup("/v2.0/l2-gateways", "l2_gateways", "l2gw", ch.l2gw)
	ch.msSubnet = s.post("/v2.0/subnets", fill(`{"subnet": {"network_id": "$N", "tenant_id": "admin", "gateway_ip": null, "enable_dhcp": false, "ip_version": 4, "cidr": "192.168.0.0/24"}}`, "$N", ch.msNet))
	conn := s.want(201, "POST", "/v2.0/l2-gateway-connections", fill(`{"l2_gateway_connection": {"l2_gateway_id": "$G", "network_id": "$N"}}`, "$G", ch.l2gw, "$N", ch.msNet))
	if conn["segmentation_id"] != "" || conn["tenant_id"] != "admin" {
		s.t.Fatalf("connection: %v", conn)
	}
	ch.conn = conn.str("id")
	port := s.want(201, "POST", "/v2.0/ports", fill(`{"port": {"network_id": "$N", "fixed_ips": [{"ip_address": "$I"}], "mac_address": "$M", "tenant_id": "tenant", "admin_state_up": true}}`, "$N", ch.msNet, "$I", c.peerIP, "$M", c.peerMAC))
	if port.str("mac_address") != c.peerMAC || port["port_security_enabled"] != false || port.list("fixed_ips")[0].(map[string]any)["subnet_id"] != ch.msSubnet {
		s.t.Fatalf("peer port: %v", port)
	}
	ch.peerPort = port.str("id")
	s.want(200, "PUT", "/v2.0/routers/"+ch.peerRouter+"/add_router_interface", fill(`{"port_id": "$P"}`, "$P", ch.peerPort))
	if p := s.want(200, "GET", "/v2.0/ports/"+ch.peerPort, ""); p["device_owner"] != "network:router_interface" || p["device_id"] != ch.peerRouter || p["mac_address"] != c.peerMAC || p["status"] != "ACTIVE" {
		s.t.Fatalf("attached peer port: %v", p)
	}
	r := s.want(200, "PUT", "/v2.0/routers/"+ch.peerRouter, fill(`{"router": {"routes": [{"destination": "$C", "nexthop": "$I"}]}}`, "$C", c.remoteCIDR, "$I", c.remoteIP))
	if x := r.list("routes")[0].(map[string]any); x["destination"] != c.remoteCIDR || x["nexthop"] != c.remoteIP {
		s.t.Fatalf("routes: %v", r)
	}
	remote := s.want(201, "POST", "/v2.0/ports", fill(`{"port": {"network_id": "$N", "device_owner": "network:remote-site", "fixed_ips": [{"ip_address": "$I"}], "mac_address": "$M", "tenant_id": "admin", "admin_state_up": true}}`, "$N", ch.msNet, "$I", c.remoteIP, "$M", c.remoteMAC))
	if remote["device_owner"] != "network:remote-site" || remote["status"] != "ACTIVE" || remote["mac_address"] != c.remoteMAC {
		s.t.Fatalf("remote-site port: %v", remote)
	}
	ch.remotePort = remote.str("id")
	entry := s.want(201, "POST", "/v2.0/gw/gateway_devices/"+ch.device+"/remote_mac_entries", fill(`{"remote_mac_entry": {"mac_address": "$M", "vtep_address": "$T", "segmentation_id": "100"}}`, "$M", c.remoteMAC, "$T", c.remoteT))
	if entry["segmentation_id"] != 100.0 || entry["mac_address"] != c.remoteMAC || entry["vtep_address"] != c.remoteT || len(entry) != 4 {
		s.t.Fatalf("remote MAC entry: %v", entry)
	}
	ch.remoteMAC = entry.str("id")
	return ch
}

func TestChapter(t *testing.T) {
	for name, c := range map[string]chapterSite{"A": siteA, "B": siteB} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			empty := s.st.Dump()
			ch := build(s, c)

			d := s.want(200, "GET", "/v2.0/gw/gateway_devices/"+ch.device, "")
			want := fmt.Sprint(object{
				"id": ch.device, "name": "gw", "type": "router_vtep", "tenant_id": "admin", "project_id": "admin",
				"tunnel_ips":         []any{c.tunnelIP},
				"remote_mac_entries": []any{map[string]any{"id": ch.remoteMAC, "mac_address": c.remoteMAC, "vtep_address": c.remoteT, "segmentation_id": 100.0}},
				"management_ip":      nil, "management_port": nil, "management_protocol": nil, "resource_id": ch.vtepRouter,
				"binding:host_id": "", "host": "", "host_reason": "no host serves it: no agent has connected yet", "hosts": []any{},
			})
			if fmt.Sprint(d) != want {
				t.Errorf("gateway device:\n %v\nwant\n %v", d, want)
			}

			// The guide's other commands.
			s.want(200, "GET", "/v2.0/gw/gateway_devices?fields=id&limit=1&sort_key=id&sort_dir=desc", "")
			s.want(200, "PUT", "/v2.0/gw/gateway_devices/"+ch.device, `{"gateway_device": {"name": "gw2", "tunnel_ips": ["200.200.0.9"]}}`)
			s.want(200, "GET", "/v2.0/gw/gateway_devices/"+ch.device+"/remote_mac_entries?limit=1&sort_key=id&sort_dir=asc", "")
			s.want(200, "GET", "/v2.0/gw/gateway_devices/"+ch.device+"/remote_mac_entries/"+ch.remoteMAC, "")
			s.want(200, "GET", "/v2.0/l2-gateway-connections/"+ch.conn, "")

			// What is still used cannot go.
			s.wantError(409, "L2GatewayInUse", ch.l2gw, "DELETE", "/v2.0/l2-gateways/"+ch.l2gw, "")
			s.wantError(409, "GatewayDeviceInUse", ch.device, "DELETE", "/v2.0/gw/gateway_devices/"+ch.device, "")
			s.wantError(409, "DeviceInUseByGatewayDevice", ch.vtepRouter, "DELETE", "/v2.0/routers/"+ch.vtepRouter, "")
			s.wantError(409, "RouterInUse", ch.peerRouter, "DELETE", "/v2.0/routers/"+ch.peerRouter, "")
			s.wantError(409, "NetworkInUse", ch.msNet, "DELETE", "/v2.0/networks/"+ch.msNet, "")
			s.wantError(409, "SubnetInUse", ch.msSubnet, "DELETE", "/v2.0/subnets/"+ch.msSubnet, "")
			s.wantError(409, "ServicePortInUse", ch.peerPort, "DELETE", "/v2.0/ports/"+ch.peerPort, "")
			s.wantError(409, "RouterInterfaceInUseByRoute", ch.peerRouter, "PUT", "/v2.0/routers/"+ch.peerRouter+"/remove_router_interface", fill(`{"port_id": "$P"}`, "$P", ch.peerPort))

			// The guide's order of deletion; the remote MAC entry goes with its device.
			for _, path := range []string{
				"l2-gateway-connections/" + ch.conn, "l2-gateways/" + ch.l2gw, "gw/gateway_devices/" + ch.device,
				"routers/" + ch.vtepRouter, "ports/" + ch.remotePort,
			} {
				s.want(204, "DELETE", "/v2.0/"+path, "")
			}
			s.want(200, "PUT", "/v2.0/routers/"+ch.peerRouter, `{"router": {"routes": null}}`)
			s.want(200, "PUT", "/v2.0/routers/"+ch.peerRouter+"/remove_router_interface", fill(`{"port_id": "$P"}`, "$P", ch.peerPort))
			s.want(200, "PUT", "/v2.0/routers/"+ch.peerRouter+"/remove_router_interface", fill(`{"subnet_id": "$S"}`, "$S", ch.tenantSubnet))
			for _, path := range []string{"routers/" + ch.peerRouter, "networks/" + ch.msNet, "networks/" + ch.tenantNet} {
				s.want(204, "DELETE", "/v2.0/"+path, "")
			}
			// Only tombstones of keys are left, and those go as well.
			if err := s.site.ReclaimKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := s.st.Dump(); fmt.Sprint(left) != fmt.Sprint(empty) {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
