package neutronapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/site"
)

// TestListLimits holds the limits of single resources: the last that is taken, the first
// that is refused and in which words, which are Neutron's where it has the limit.
func TestListLimits(t *testing.T) {
	s := newLimitedServer(t, site.Limits{RemoteMACs: 3})
	net := s.post("/v2.0/networks", `{"network":{}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
	router := s.post("/v2.0/routers", `{"router":{}}`)
	s.want(200, "PUT", "/v2.0/routers/"+router+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub))
	port := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
	for _, c := range []struct {
		path, body, item string
		limit            int
		typ, message     string
	}{
		{"/v2.0/routers/" + router, `{"router":{"routes":[%s]}}`, `{"destination":"20.0.%d.0/24","nexthop":"10.0.0.7"}`, 30,
			"RoutesExhausted", "Unable to complete operation for " + router + ". The number of routes exceeds the maximum 30."},
		{"/v2.0/routers/" + router + "/add_extraroutes", `{"router":{"routes":[%s]}}`, `{"destination":"20.0.%d.0/24","nexthop":"10.0.0.7"}`, 30,
			"RoutesExhausted", "Unable to complete operation for " + router + ". The number of routes exceeds the maximum 30."},
		{"/v2.0/subnets/" + sub, `{"subnet":{"host_routes":[%s]}}`, `{"destination":"20.0.%d.0/24","nexthop":"10.0.0.7"}`, 20,
			"HostRoutesExhausted", "Unable to complete operation for " + sub + ". The number of host routes exceeds the limit 20."},
		{"/v2.0/subnets/" + sub, `{"subnet":{"dns_nameservers":[%s]}}`, `"10.0.0.%d"`, 5,
			"DNSNameServersExhausted", "Unable to complete operation for " + sub + ". The number of DNS nameservers exceeds the limit 5."},
		{"/v2.0/ports/" + port, `{"port":{"fixed_ips":[%s]}}`, `{"ip_address":"10.0.0.1%02d"}`, 5,
			"InvalidInput", "Invalid input for operation: Exceeded maximum amount of fixed ips per port."},
		{"/v2.0/ports/" + port, `{"port":{"allowed_address_pairs":[%s]}}`, `{"ip_address":"20.0.0.%d"}`, 10,
			"AllowedAddressPairExhausted", "The number of allowed address pair exceeds the maximum 10."},
	} {
		s.want(200, "PUT", c.path, fmt.Sprintf(c.body, items(c.item, c.limit)))
		s.refused(c.path, fmt.Sprintf(c.body, items(c.item, c.limit+1)), 400, c.typ, c.message)
	}
	s.refusedBy("POST", "/v2.0/subnets", fill(fmt.Sprintf(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.1.0.0/24","dns_nameservers":[%s]}}`, items(`"10.0.0.%d"`, 6)), "$N", net),
		400, "DNSNameServersExhausted", "Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit 5.")
	dev := s.post("/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["192.0.2.1"]}}`, "$R", router))
	table := "/v2.0/gw/gateway_devices/" + dev + "/remote_mac_entries"
	entry := `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:%02x","vtep_address":"192.0.2.2","segmentation_id":7}}`
	for i := range 3 {
		s.want(201, "POST", table, fmt.Sprintf(entry, i))
	}
	s.refusedBy("POST", table, fmt.Sprintf(entry, 3), 409, "OverQuota", "Quota exceeded for resources: ['remote_mac_entry']: gateway device "+dev+" may have 3.")
}

// TestAboveLimit makes sure that what was there before a limit was lowered stays, can be
// written back and made less, and grows no more.
func TestAboveLimit(t *testing.T) {
	s := newLimitedServer(t, site.Limits{Routes: 40, NameServers: 9, FixedIPs: 9, AddressPairs: 19, HostRoutes: 29})
	net := s.post("/v2.0/networks", `{"network":{}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
	router := s.post("/v2.0/routers", `{"router":{}}`)
	s.want(200, "PUT", "/v2.0/routers/"+router+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub))
	port := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
	lists := []struct {
		path, body, item string
		have             int
	}{
		{"/v2.0/routers/" + router, `{"router":{"routes":[%s]}}`, `{"destination":"20.0.%d.0/24","nexthop":"10.0.0.7"}`, 40},
		{"/v2.0/subnets/" + sub, `{"subnet":{"host_routes":[%s]}}`, `{"destination":"20.0.%d.0/24","nexthop":"10.0.0.7"}`, 29},
		{"/v2.0/subnets/" + sub, `{"subnet":{"dns_nameservers":[%s]}}`, `"10.0.0.%d"`, 9},
		{"/v2.0/ports/" + port, `{"port":{"fixed_ips":[%s]}}`, `{"ip_address":"10.0.0.1%02d"}`, 9},
		{"/v2.0/ports/" + port, `{"port":{"allowed_address_pairs":[%s]}}`, `{"ip_address":"20.0.0.%d"}`, 19},
	}
	for _, l := range lists {
		s.want(200, "PUT", l.path, fmt.Sprintf(l.body, items(l.item, l.have)))
	}
	s = s.reopened(site.Limits{})
	for _, l := range lists {
		s.want(200, "PUT", l.path, fmt.Sprintf(l.body, items(l.item, l.have)))
		s.want(200, "PUT", l.path, fmt.Sprintf(l.body, items(l.item, l.have-1)))
		other := fmt.Sprintf(l.item, l.have+1)
		if status, out := s.call("PUT", l.path, fmt.Sprintf(l.body, items(l.item, l.have-2)+","+other)); status != 400 {
			t.Errorf("%s: one exchanged for another above the limit: %d %v", l.path, status, out)
		}
	}
	s.want(200, "PUT", "/v2.0/routers/"+router, `{"router":{"name":"other"}}`)
	s.want(200, "PUT", "/v2.0/ports/"+port, `{"port":{"name":"other"}}`)
	s.want(200, "PUT", "/v2.0/subnets/"+sub, `{"subnet":{"name":"other"}}`)
	s.want(200, "PUT", "/v2.0/routers/"+router+"/remove_extraroutes", `{"router":{"routes":[`+fmt.Sprintf(lists[0].item, 0)+`]}}`)
}

func items(format string, n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(out, ",")
}

func (s *server) refused(path, body string, status int, typ, message string) {
	s.t.Helper()
	s.refusedBy("PUT", path, body, status, typ, message)
}

func (s *server) refusedBy(method, path, body string, status int, typ, message string) {
	s.t.Helper()
	got, out := s.call(method, path, body)
	e, _ := out["NeutronError"].(map[string]any)
	if got != status || e["type"] != typ || e["message"] != message {
		s.t.Errorf("%s %s: %d %v, want %d %s: %s", method, path, got, out, status, typ, message)
	}
}
