//go:build !race

// One goroutine asks here: the race detector would find nothing, and take minutes for it.

package neutronapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// atMost is how long any request may take here, however large: it is read, looked
// at once, and refused or served. It is a multiple of what this machine, as busy as it
// is now, takes to read a large body: what grows with the square takes far longer.
func atMost(t *testing.T) time.Duration {
	t.Helper()
	body := []byte(`{` + numbered(`"k%d-%d-%d":1`, 200_000) + `}`)
	var took []time.Duration
	for range 3 {
		begin := time.Now()
		var v map[string]any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return 100 * took[1]
}

// TestLargeRequests sends what is as large as a request may be, and as awkward.
func TestLargeRequests(t *testing.T) {
	s := newServer(t)
	names := world(s)
	limit := atMost(t)
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	long := strings.Repeat("x", 3<<20)
	for _, c := range []struct {
		name, request, body string
		status              int // 0: any below 500
	}{
		{"10 MB", "POST /v2.0/networks", `{"network":{"name":"` + strings.Repeat("x", 10<<20) + `"}}`, 413},
		{"10 MB of nothing", "POST /v2.0/networks", strings.Repeat(" ", 10<<20), 413},
		{"10 MB to an action", "PUT /v2.0/routers/$ROUTER/add_router_interface", strings.Repeat("{", 10<<20), 413},
		{"4 MB of spaces", "POST /v2.0/networks", strings.Repeat(" ", 4<<20), 400},
		{"deep", "POST /v2.0/networks", nested(2_000_000), 400},
		{"deep in a name", "POST /v2.0/networks", `{"network":{"name":` + nested(9_000) + `}}`, 400},
		{"deep in a profile", "PUT /v2.0/ports/$PORT", `{"port":{"binding:profile":{"a":` + nested(1000) + `}}}`, 0},
		{"objects in objects", "POST /v2.0/networks", strings.Repeat(`{"network":`, 300_000), 400},
		{"a long name", "POST /v2.0/networks", `{"network":{"name":"` + long + `"}}`, 400},
		{"a long key", "POST /v2.0/networks", `{"network":{"` + long + `":1}}`, 400},
		{"many keys", "POST /v2.0/networks", `{"network":{` + numbered(`"k%d-%d-%d":1`, 200_000) + `}}`, 413},
		{"one key many times", "POST /v2.0/networks", `{"network":{` + repeated(`"name":"x"`, 300_000) + `}}`, 413},
		{"a long number", "POST /v2.0/networks", `{"network":{"mtu":` + strings.Repeat("9", 3<<20) + `}}`, 400},
		{"a long number as a text", "POST /v2.0/networks", `{"network":{"mtu":"` + strings.Repeat("9", 3<<20) + `"}}`, 400},
		{"a great exponent", "POST /v2.0/networks", `{"network":{"mtu":1e999999999}}`, 400},
		{"a bulk of nothing", "POST /v2.0/networks", `{"networks":[` + repeated(`{}`, 1_000_000) + `]}`, 413},
		{"a bulk of nulls", "POST /v2.0/networks", `{"networks":[` + repeated(`null`, 800_000) + `]}`, 0},
		{"a bulk of ports", "POST /v2.0/ports", fill(`{"ports":[`+repeated(`{"network_id":"$NET"}`, 70_000)+`]}`, names...), 413},
		{"many tags", "PUT /v2.0/networks/$NET/tags", `{"tags":[` + numbered(`"%d.%d.%d"`, 300_000) + `]}`, 413},
		{"one tag many times", "PUT /v2.0/networks/$NET/tags", `{"tags":[` + repeated(`"x"`, 900_000) + `]}`, 413},
		{"many fixed IPs", "PUT /v2.0/ports/$PORT", `{"port":{"fixed_ips":[` + numbered(`{"ip_address":"10.%d.%d.%d"}`, 120_000) + `]}}`, 413},
		{"many pairs", "PUT /v2.0/ports/$PORT", `{"port":{"allowed_address_pairs":[` + numbered(`{"ip_address":"10.%d.%d.%d"}`, 120_000) + `]}}`, 0},
		{"many pools", "PUT /v2.0/subnets/$SUB", `{"subnet":{"allocation_pools":[` + repeated(`{"start":"10.0.0.2","end":"10.0.0.3"}`, 90_000) + `]}}`, 413},
		{"many name servers", "PUT /v2.0/subnets/$SUB", `{"subnet":{"dns_nameservers":[` + numbered(`"10.%d.%d.%d"`, 250_000) + `]}}`, 413},
		{"many host routes", "PUT /v2.0/subnets/$SUB", `{"subnet":{"host_routes":[` + numbered(`{"destination":"10.%d.%d.%d/32","nexthop":"10.0.0.9"}`, 60_000) + `]}}`, 0},
		{"many routes", "PUT /v2.0/routers/$ROUTER", `{"router":{"routes":[` + numbered(`{"destination":"10.%d.%d.%d/32","nexthop":"10.0.0.9"}`, 60_000) + `]}}`, 0},
		{"many routes more", "PUT /v2.0/routers/$ROUTER/add_extraroutes", `{"router":{"routes":[` + numbered(`{"destination":"11.%d.%d.%d/32","nexthop":"10.0.0.9"}`, 60_000) + `]}}`, 0},
		{"many routes less", "PUT /v2.0/routers/$ROUTER/remove_extraroutes", `{"router":{"routes":[` + numbered(`{"destination":"11.%d.%d.%d/32","nexthop":"10.0.0.9"}`, 60_000) + `]}}`, 0},
		{"many tunnel IPs", "PUT /v2.0/gw/gateway_devices/$DEV", `{"gateway_device":{"tunnel_ips":[` + numbered(`"10.%d.%d.%d"`, 250_000) + `]}}`, 413},
		{"many devices", "POST /v2.0/l2-gateways", `{"l2_gateway":{"devices":[` + repeated(`{}`, 1_000_000) + `]}}`, 413},
		{"many prefixes", "POST /v2.0/subnetpools", `{"subnetpool":{"name":"p","prefixes":[` + numbered(`"10.%d.%d.%d/32"`, 200_000) + `]}}`, 0},
		{"many service types", "PUT /v2.0/subnets/$SUB", `{"subnet":{"service_types":[` + numbered(`"network:%d-%d-%d"`, 150_000) + `]}}`, 0},
		{"a large profile", "PUT /v2.0/ports/$PORT", `{"port":{"binding:profile":{"a":"` + long + `"}}}`, 400},
		{"not UTF-8", "POST /v2.0/networks", "{\"network\":{\"name\":\"\xff\xfe" + strings.Repeat("\x80", 100) + "\"}}", 0},
		{"NUL", "POST /v2.0/networks", `{"network":{"name":"a\u0000b"}}`, 0},
		{"half a pair of UTF-16", "POST /v2.0/networks", `{"network":{"name":"\ud800"}}`, 0},
		{"a byte order mark", "POST /v2.0/networks", "\ufeff{}", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			method, path, _ := strings.Cut(fill(c.request, names...), " ")
			before := s.st.Dump()
			begin := time.Now()
			status, out := s.call(method, path, c.body)
			if took := time.Since(begin); took > limit {
				t.Errorf("took %v, more than %v", took, limit)
			}
			if c.status != 0 && status != c.status {
				t.Errorf("%d, want %d: %.300v", status, c.status, out)
			}
			checkAnswer(s, before, method, path, status, out)
		})
	}
}

// TestLargeQueries sends query strings as long as a header may be to a site of some
// size.
func TestLargeQueries(t *testing.T) {
	s := newServer(t)
	names := world(s)
	for range 20 {
		s.want(201, "POST", "/v2.0/ports", fill(`{"ports":[`+repeated(`{"network_id":"$NOGW","fixed_ips":[]}`, 100)+`]}`, names...))
	}
	limit := atMost(t)
	many := func(s string) string { return strings.Repeat("&"+s, 60_000/len(s)) }
	for name, query := range map[string]string{
		"names": many("name=n"), "different names": strings.ReplaceAll(numbered("&name=%d.%d.%d", 3000), ",", ""),
		"ids": many("id=3d5a4b5e-3f0a-4c1b-9a51-6d3a1c2b4e5f"), "macs": many("mac_address=02:00:00:00:00:01"),
		"fixed IPs": many("fixed_ips=ip_address=10.0.0.1"), "tags": many("tags=a"), "tags with commas": "&tags=" + strings.Repeat("a,", 30_000),
		"sort keys": many("sort_key=name&sort_dir=asc"), "fields": many("fields=id"), "unknown": many("x=y"),
		"limits": many("limit=1"), "a long limit": "&limit=" + strings.Repeat("9", 60_000), "a long marker": "&marker=" + strings.Repeat("a", 60_000),
		"networks": many("network_id=" + names[1]), "nothing": strings.Repeat("&", 60_000), "semicolons": strings.Repeat(";", 60_000), "percent": strings.Repeat("%00", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			begin := time.Now()
			status, out, _ := s.callWith("GET", "/v2.0/ports?"+query, "", http.Header{})
			if took := time.Since(begin); took > limit {
				t.Errorf("took %v, more than %v", took, limit)
			}
			if status >= 500 {
				t.Errorf("%d %v", status, out)
			}
		})
	}
}
