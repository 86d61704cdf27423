package neutronapi_test

import (
	"fmt"
	"net/http"
	"testing"
)

// TestAllowedPairs goes through what a port's pairs may become.
func TestAllowedPairs(t *testing.T) {
	s := newServer(t)
	net := s.want(201, http.MethodPost, "/v2.0/networks", `{"network":{"name":"n"}}`)["id"]
	s.want(201, http.MethodPost, "/v2.0/subnets", fmt.Sprintf(`{"subnet":{"network_id":"%s","ip_version":4,"cidr":"10.0.0.0/24"}}`, net))
	port := s.want(201, http.MethodPost, "/v2.0/ports", fmt.Sprintf(`{"port":{"network_id":"%s","mac_address":"02:00:00:00:00:AA",
		"allowed_address_pairs":[{"ip_address":"10.0.0.99"},{"ip_address":"10.0.1.0/24","mac_address":"00:00:5e:00:01:01"},{"ip_address":"2001:db8::/64"}]}}`, net))
	path := "/v2.0/ports/" + port["id"].(string)
	pairs := func(body string, status int, want string) {
		t.Helper()
		got := s.want(status, http.MethodPut, path, `{"port":`+body+`}`)
		if status != 200 {
			return
		}
		if p := fmt.Sprint(got["allowed_address_pairs"]); p != want {
			t.Errorf("after %s the pairs are %s, want %s", body, p, want)
		}
		if p := fmt.Sprint(s.want(200, http.MethodGet, path, "")["allowed_address_pairs"]); p != want {
			t.Errorf("after %s the pairs read %s, want %s", body, p, want)
		}
	}
	all := "[map[ip_address:10.0.0.99 mac_address:02:00:00:00:00:AA] map[ip_address:10.0.1.0/24 mac_address:00:00:5e:00:01:01] map[ip_address:2001:db8::/64 mac_address:02:00:00:00:00:AA]]"
	pairs(`{"name":"x"}`, 200, all)
	// A pair without a MAC goes with the port's, also when that changes.
	pairs(`{"mac_address":"02:00:00:00:00:BB"}`, 200, "[map[ip_address:10.0.0.99 mac_address:02:00:00:00:00:BB] map[ip_address:10.0.1.0/24 mac_address:00:00:5e:00:01:01] map[ip_address:2001:db8::/64 mac_address:02:00:00:00:00:BB]]")
	pairs(`{"port_security_enabled":false}`, 409, "")
	pairs(`{"port_security_enabled":false,"allowed_address_pairs":[]}`, 200, "[]")
	pairs(`{"allowed_address_pairs":[{"ip_address":"10.0.0.99"}]}`, 409, "")
	pairs(`{"port_security_enabled":true,"allowed_address_pairs":[{"ip_address":"10.0.0.99"}]}`, 200, "[map[ip_address:10.0.0.99 mac_address:02:00:00:00:00:BB]]")
	pairs(`{"allowed_address_pairs":null}`, 200, "[]")
	// The own address from another MAC is no repetition, nor is another port's address.
	own := port["fixed_ips"].([]any)[0].(map[string]any)["ip_address"].(string)
	pairs(`{"allowed_address_pairs":[{"ip_address":"`+own+`","mac_address":"00:00:5e:00:01:01"}]}`, 200, "[map[ip_address:"+own+" mac_address:00:00:5e:00:01:01]]")
	pairs(`{"fixed_ips":[{"ip_address":"10.0.0.99"}],"allowed_address_pairs":[{"ip_address":"10.0.0.99"}]}`, 400, "")
}
