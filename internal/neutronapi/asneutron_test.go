package neutronapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
)

// Slashes that are doubled or at the end change nothing, for each method.
func TestSlashes(t *testing.T) {
	s := newServer(t)
	id := s.post("//v2.0//networks//", `{"network":{"name":"a"}}`)
	for _, path := range []string{"/v2.0/networks/$ID/", "/v2.0/networks//$ID", "//v2.0/networks/$ID", "/v2.0/networks/$ID.json/", "/v2.0/networks/$ID/?fields=name"} {
		path = fill(path, "$ID", id)
		if n := s.want(200, "GET", path, ""); n.str("name") != "a" {
			t.Errorf("GET %s: %v", path, n)
		}
		s.want(200, "PUT", path, `{"network":{"description":"d"}}`)
	}
	for _, path := range []string{"/v2.0/networks/", "/v2.0//networks?limit=5", "/v2.0/networks/?name=a", "/v2.0/networks.json/"} {
		if l := s.want(200, "GET", path, "").list("networks"); len(l) != 1 {
			t.Errorf("GET %s: %v", path, l)
		}
	}
	for _, path := range []string{"/", "//"} {
		if l := s.want(200, "GET", path, "").list("versions"); len(l) != 1 {
			t.Errorf("GET %s: %v", path, l)
		}
	}
	for _, path := range []string{"/v2.0", "/v2.0/", "//v2.0//"} {
		if l := s.want(200, "GET", path, "").list("resources"); len(l) == 0 {
			t.Errorf("GET %s: %v", path, l)
		}
	}
	// An id that is missing is no id.
	if status, _ := s.call("DELETE", "/v2.0/networks//", ""); status != 405 {
		t.Errorf("DELETE without an id: %d", status)
	}
	s.want(204, "DELETE", "/v2.0/networks/"+id+"/", "")
}

// Items of a list may have the resource's name around them, and both kinds mix.
func TestWrappedItems(t *testing.T) {
	s := newServer(t)
	got := s.want(201, "POST", "/v2.0/networks", `{"networks":[{"network":{"name":"a"}},{"name":"b"}]}`).list("networks")
	var names []string
	for _, n := range got {
		names = append(names, object(n.(map[string]any)).str("name"))
	}
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("made %v", names)
	}
	for _, item := range []string{`{"network":null}`, `{"network":[]}`, `{"network":"x"}`, `[]`, `null`} {
		s.wantError(400, "HTTPBadRequest", "Unable to find 'network' in request body", "POST", "/v2.0/networks", `{"networks":[{"name":"c"},`+item+`]}`)
	}
	s.wantError(400, "HTTPBadRequest", "Unrecognized attribute(s) 'shape'", "POST", "/v2.0/networks", `{"networks":[{"network":{"shape":"round"}}]}`)
	if l := s.want(200, "GET", "/v2.0/networks", "").list("networks"); len(l) != 2 {
		t.Errorf("%d networks, want 2", len(l))
	}
}

// The forms of a MAC address that Neutron takes. What is no usual form is given back as
// the canonical one, and all forms are one address.
func TestMACForms(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	for given, back := range map[string]string{
		"aabb.ccdd.ee01": "aa:bb:cc:dd:ee:01", "aabbccddee02": "aa:bb:cc:dd:ee:02", "a:b:c:d:e:3": "0a:0b:0c:0d:0e:03",
		"A-B-C-D-E-4": "0a:0b:0c:0d:0e:04", "aabbcc-ddee05": "aa:bb:cc:dd:ee:05", "AA:BB:CC:dd:ee:06": "AA:BB:CC:dd:ee:06",
	} {
		body := fmt.Sprintf(`{"port":{"network_id":%q,"mac_address":%q}}`, net, given)
		if p := s.want(201, "POST", "/v2.0/ports", body); p.str("mac_address") != back {
			t.Errorf("%s came back as %s, want %s", given, p.str("mac_address"), back)
		}
		s.wantError(409, "MacAddressInUse", "", "POST", "/v2.0/ports", strings.ReplaceAll(body, given, back))
		if l := s.want(200, "GET", "/v2.0/ports?mac_address="+given, "").list("ports"); len(l) != 1 {
			t.Errorf("filter by %s: %d ports", given, len(l))
		}
	}
	for _, bad := range []string{"aabb.ccdd", "aabbccddee", "aabb.ccdd:eeff", "0000.0000.0000", "a:b:c:d:e", " aabbccddeeff"} {
		s.wantError(400, "HTTPBadRequest", "is not a valid MAC address", "POST", "/v2.0/ports", fmt.Sprintf(`{"port":{"network_id":%q,"mac_address":%q}}`, net, bad))
	}
}

// PUT of null gives a port a new MAC address (port-mac-address-regenerate).
func TestNewMAC(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	p := s.want(201, "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","mac_address":null}}`, "$N", net))
	again := s.want(200, "PUT", "/v2.0/ports/"+p.str("id"), `{"port":{"mac_address":null,"name":"x"}}`)
	if was, is := p.str("mac_address"), again.str("mac_address"); was == "" || is == was || !strings.HasPrefix(is, "fa:16:3e:") {
		t.Errorf("%q became %q", was, is)
	}
	if s.want(200, "PUT", "/v2.0/ports/"+p.str("id"), `{"port":{"name":"y"}}`).str("mac_address") != again.str("mac_address") {
		t.Error("a change of the name changed the MAC address")
	}
	// The old one is free.
	s.post("/v2.0/ports", fmt.Sprintf(`{"port":{"network_id":%q,"mac_address":%q}}`, net, p.str("mac_address")))
	bound := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","binding:host_id":"h"}}`, "$N", net))
	s.wantError(409, "PortBound", "already bound", "PUT", "/v2.0/ports/"+bound, `{"port":{"mac_address":null}}`)
}

// A network may have any MTU that the underlay carries, and subnets only with what IPv4
// needs.
func TestSmallMTU(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{"mtu":67}}`)
	subnet := func(cidr string) string {
		return fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"$C"}}`, "$N", net, "$C", cidr)
	}
	s.wantError(409, "NetworkMTUSubnetConflict", "subnet requires a minimum of 68", "POST", "/v2.0/subnets", subnet("10.0.0.0/24"))
	s.want(200, "PUT", "/v2.0/networks/"+net, `{"network":{"mtu":68}}`)
	s.post("/v2.0/subnets", subnet("10.0.0.0/24"))
	s.wantError(409, "NetworkMTUSubnetConflict", net, "PUT", "/v2.0/networks/"+net, `{"network":{"mtu":67}}`)
	if n := s.want(200, "GET", "/v2.0/networks/"+net, ""); n["mtu"] != 68.0 {
		t.Errorf("mtu %v", n["mtu"])
	}
	s.wantError(400, "HTTPBadRequest", "", "POST", "/v2.0/networks", `{"network":{"mtu":-1}}`)
}

// Without a pool a subnet gives no address by itself, and takes those that are named.
func TestNoPools(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	sub := s.want(201, "POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24","allocation_pools":[]}}`, "$N", net))
	if l := sub.list("allocation_pools"); l == nil || len(l) != 0 {
		t.Errorf("pools %v", sub["allocation_pools"])
	}
	s.wantError(409, "IpAddressGenerationFailure", "No more IP addresses", "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
	s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","fixed_ips":[{"ip_address":"10.0.0.9"}]}}`, "$N", net))
	path := "/v2.0/subnets/" + sub.str("id")
	if l := s.want(200, "PUT", path, `{"subnet":{"allocation_pools":null}}`).list("allocation_pools"); len(l) != 1 {
		t.Errorf("pools %v", l)
	}
	s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
	if l := s.want(200, "PUT", path, `{"subnet":{"allocation_pools":[]}}`).list("allocation_pools"); len(l) != 0 {
		t.Errorf("pools %v", l)
	}
}

// No subnet for a port's owner is a conflict, whether an address is named or not.
func TestServiceTypeMismatch(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24","service_types":["network:dhcp"]}}`, "$N", net))
	for _, ips := range []string{`[{"subnet_id":"` + sub + `"}]`, `[{"ip_address":"10.0.0.9"}]`, `[{"subnet_id":"` + sub + `","ip_address":"10.0.0.9"}]`} {
		s.wantError(409, "IpAddressGenerationFailureNoMatchingSubnet", "No valid service subnet", "POST", "/v2.0/ports",
			fmt.Sprintf(`{"port":{"network_id":%q,"device_owner":"compute:x","fixed_ips":%s}}`, net, ips))
	}
	s.wantError(409, "IpAddressGenerationFailureNoMatchingSubnet", "", "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","device_owner":"compute:x"}}`, "$N", net))
	p := s.want(201, "POST", "/v2.0/ports", fill(`{"port":{"network_id":"$N","device_owner":"network:dhcp","fixed_ips":[{"ip_address":"10.0.0.9"}]}}`, "$N", net))
	// What a port has it keeps.
	s.want(200, "PUT", "/v2.0/ports/"+p.str("id"), `{"port":{"device_owner":"compute:x","fixed_ips":[{"ip_address":"10.0.0.9"}]}}`)
	s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","device_owner":"compute:x","fixed_ips":[]}}`, "$N", net))
	// Where another subnet serves the owner, the named one is refused as in Neutron.
	s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.1.0.0/24"}}`, "$N", net))
	s.wantError(400, "InvalidInput", "invalid subnet", "POST", "/v2.0/ports", fmt.Sprintf(`{"port":{"network_id":%q,"fixed_ips":[{"subnet_id":%q}]}}`, net, sub))
}

// An attribute whose every value asks for something that is not there is refused with
// each of them.
func TestDistributedIsRefusedBothWays(t *testing.T) {
	s := newServer(t)
	for _, v := range []string{"true", "false", `"False"`, `""`} {
		s.wantError(400, "FeatureNotSupported", "distributed", "POST", "/v2.0/routers", `{"router":{"distributed":`+v+`}}`)
	}
	id := s.post("/v2.0/routers", `{"router":{"distributed":null}}`)
	s.wantError(400, "FeatureNotSupported", "distributed", "PUT", "/v2.0/routers/"+id, `{"router":{"distributed":false}}`)
}

// Links and the client's address follow the headers of trusted proxies, and of nobody else.
func TestForwarded(t *testing.T) {
	var seen []neutronapi.Observation
	s := newServer(t)
	s.h = neutronapi.New(s.site, neutronapi.Options{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		Observe:        func(o neutronapi.Observation) { seen = append(seen, o) },
	})
	s.post("/v2.0/networks", `{"network":{}}`)
	s.post("/v2.0/networks", `{"network":{}}`)
	for _, c := range []struct{ from, headers, base, client string }{
		{"192.0.2.7:5", "X-Forwarded-Proto: https\nX-Forwarded-Host: api.example:9696\nX-Forwarded-Prefix: /net/\nX-Forwarded-For: 203.0.113.5", "https://api.example:9696/net", "203.0.113.5"},
		{"[2001:db8::1]:5", "X-Forwarded-Proto: https", "https://site", "2001:db8::1"},
		{"192.0.2.7:5", `Forwarded: for="[2001:db8:1::5]:77";proto=https;host=api.example, for=192.0.2.9` + "\nX-Forwarded-Host: other", "https://api.example", "2001:db8:1::5"},
		{"192.0.2.7:5", "X-Forwarded-For: 198.51.100.1, 203.0.113.5, 192.0.2.8", "http://site", "203.0.113.5"},
		{"192.0.2.7:5", "X-Forwarded-For: 198.51.100.1, unknown", "http://site", "192.0.2.7"},
		{"192.0.2.7:5", "X-Forwarded-Proto: gopher\nX-Forwarded-Host: a/b\nX-Forwarded-Prefix: //evil", "http://site", "192.0.2.7"},
		{"192.0.3.7:5", "X-Forwarded-Proto: https\nX-Forwarded-Host: evil\nX-Forwarded-Prefix: /x\nX-Forwarded-For: 203.0.113.5", "http://site", "192.0.3.7"},
		{"192.0.3.7:5", "Forwarded: for=203.0.113.5;proto=https;host=evil", "http://site", "192.0.3.7"},
	} {
		r := httptest.NewRequest("GET", "http://site/v2.0/networks?limit=1", nil)
		r.RemoteAddr = c.from
		for line := range strings.SplitSeq(c.headers, "\n") {
			k, v, _ := strings.Cut(line, ": ")
			r.Header.Add(k, v)
		}
		w := httptest.NewRecorder()
		seen = nil
		s.h.ServeHTTP(w, r)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"href":"`+c.base+`/v2.0/networks?limit=1`) {
			t.Errorf("%s %q: %d %s", c.from, c.headers, w.Code, w.Body)
		}
		if len(seen) != 1 || seen[0].Client.Addr().String() != c.client {
			t.Errorf("%s %q: client %v, want %s", c.from, c.headers, seen, c.client)
		}
	}
}

// What no router forwards is refused with words where a router would have to: as its
// subnet, as a destination, as a tunnel IP and as another site's.
func TestUnroutedRanges(t *testing.T) {
	s := newServer(t)
	router := s.post("/v2.0/routers", `{"router":{}}`)
	good := s.post("/v2.0/networks", `{"network":{}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", good))
	s.want(200, "PUT", "/v2.0/routers/"+router+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub))
	for _, cidr := range []string{"0.1.0.0/24", "127.0.0.0/24", "240.0.0.0/24", "255.255.255.0/24", "64.0.0.0/2"} {
		net := s.post("/v2.0/networks", `{"network":{}}`)
		sub := s.want(201, "POST", "/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"$C"}}`, "$N", net, "$C", cidr))
		s.wantError(400, "BadRequest", "which no router forwards", "PUT", "/v2.0/routers/"+router+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub.str("id")))
		port := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N"}}`, "$N", net))
		s.wantError(400, "BadRequest", "which no router forwards", "PUT", "/v2.0/routers/"+router+"/add_router_interface", fill(`{"port_id":"$P"}`, "$P", port))
	}
	for _, to := range []string{"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/24", "240.0.0.0/4", "127.0.0.1/32"} {
		s.wantError(400, "InvalidRoutes", "no router forwards packets to "+to, "PUT", "/v2.0/routers/"+router, fill(`{"router":{"routes":[{"destination":"$D","nexthop":"10.0.0.9"}]}}`, "$D", to))
	}
	s.want(200, "PUT", "/v2.0/routers/"+router, `{"router":{"routes":[{"destination":"0.0.0.0/0","nexthop":"10.0.0.9"}]}}`)
	vtep := s.post("/v2.0/routers", `{"router":{}}`)
	for _, ip := range []string{"0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"} {
		s.wantError(400, "HTTPBadRequest", "is not a unicast address", "POST", "/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["$I"]}}`, "$R", vtep, "$I", ip))
	}
	device := s.post("/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["200.0.0.1"]}}`, "$R", vtep))
	entries := "/v2.0/gw/gateway_devices/" + device + "/remote_mac_entries"
	entry := func(ip string) string {
		return fill(`{"remote_mac_entry":{"mac_address":"02:00:00:00:00:01","vtep_address":"$I","segmentation_id":"16777215"}}`, "$I", ip)
	}
	s.wantError(400, "HTTPBadRequest", "is not a unicast address", "POST", entries, entry("240.0.0.1"))
	s.wantError(400, "InvalidInput", "200.0.0.1 is the gateway device's own tunnel ip", "POST", entries, entry("200.0.0.1"))
	s.post(entries, entry("200.0.0.2"))
	s.wantError(400, "InvalidInput", "own tunnel ip", "PUT", "/v2.0/gw/gateway_devices/"+device, `{"gateway_device":{"tunnel_ips":["200.0.0.2"]}}`)
}
