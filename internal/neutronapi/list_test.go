package neutronapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func ids(t *testing.T, l []any) []string {
	t.Helper()
	var out []string
	for _, x := range l {
		out = append(out, x.(map[string]any)["id"].(string))
	}
	return out
}

func TestFilters(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{"name":"n","tenant_id":"t1"}}`)
	other := s.post("/v2.0/networks", `{"network":{"name":"m","admin_state_up":"false","project_id":"t2","mtu":1400}}`)
	sub := s.post("/v2.0/subnets", fill(`{"subnet":{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"}}`, "$N", net))
	p1 := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","mac_address":"AA:BB:CC:00:00:01","fixed_ips":[{"ip_address":"10.0.0.5"}],"device_owner":"x"}}`, "$N", net))
	p2 := s.post("/v2.0/ports", fill(`{"port":{"network_id":"$N","fixed_ips":[{"ip_address":"10.0.0.6"}]}}`, "$N", net))
	s.want(200, "PUT", "/v2.0/networks/"+net+"/tags", `{"tags":["a","b"]}`)
	for query, want := range map[string][]string{
		"networks?name=n":                       {net},
		"networks?name=n&name=m":                {net, other},
		"networks?name=n&tenant_id=t2":          {},
		"networks?project_id=t2":                {other},
		"networks?id=" + net:                    {net},
		"networks?id=" + net + "&id=" + other:   {net, other},
		"networks?id=" + net + "&id=" + net:     {net},
		"networks?id=nonsense":                  {},
		"networks?id=" + net + "&name=m":        {},
		"networks?admin_state_up=False":         {other},
		"networks?admin_state_up=true":          {net},
		"networks?mtu=1400":                     {other},
		"networks?router:external=True":         {},
		"networks?router:external=False":        {net, other},
		"networks?unknown=1":                    {net, other},
		"networks?name=":                        {net, other},
		"networks?tags=a,b":                     {net},
		"networks?tags-any=a,c":                 {net},
		"networks?tags-any=c":                   {},
		"networks?not-tags=a,b":                 {other},
		"networks?not-tags=a,c":                 {net, other},
		"networks?not-tags-any=a,c":             {other},
		"networks?tags=a,c":                     {},
		"ports?mac_address=aa:bb:cc:00:00:01":   {p1},
		"ports?mac_address=AA-BB-CC-00-00-01":   {p1},
		"ports?device_owner=x":                  {p1},
		"ports?network_id=" + net:               {p1, p2},
		"ports?fixed_ips=ip_address=10.0.0.5":   {p1},
		"ports?fixed_ips=ip_address%3D10.0.0.6": {p2},
		"ports?fixed_ips=ip_address=10.0.0.7":   {},
		"ports?fixed_ips=nonsense":              {},
		"ports?fixed_ips=subnet_id=" + net:      {},
		"ports?status=DOWN":                     {p1, p2},
		"ports?status=ACTIVE&device_owner=x":    {},
		"subnets?shared=True":                   {},
		"subnets?shared=False":                  {sub},
		"networks.json?name=n":                  {net},
	} {
		_, out := s.call("GET", "/v2.0/"+query, "")
		kind, _, _ := strings.Cut(strings.Replace(query, ".json", "", 1), "?")
		got := ids(t, out.list(kind))
		slices.Sort(got)
		slices.Sort(want)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	one := s.want(200, "GET", "/v2.0/networks/"+net+"?fields=id&fields=name&fields=nothing", "")
	if len(one) != 2 || one["id"] != net || one["name"] != "n" {
		t.Errorf("fields: %v", one)
	}
}

// pages follows the links from a first page as neutronclient does.
func pages(s *server, first, key, rel string) (all []string, count int) {
	s.t.Helper()
	for at := first; at != ""; {
		_, out := s.call("GET", at, "")
		at = ""
		page := ids(s.t.(*testing.T), out.list(key))
		if rel == "next" {
			all = append(all, page...)
		} else {
			all = append(page, all...)
		}
		if count++; count > 20 {
			s.t.Fatalf("links from %s never end", first)
		}
		for _, l := range out.list(key + "_links") {
			l := l.(map[string]any)
			if l["rel"] != rel {
				continue
			}
			u, err := url.Parse(l["href"].(string))
			if err != nil || u.Scheme != "http" || u.Host != "site" {
				s.t.Fatalf("link %v", l)
			}
			at = u.RequestURI()
		}
	}
	return all, count
}

func TestPaging(t *testing.T) {
	s := newServer(t)
	var byName []string
	for i := range 7 {
		byName = append(byName, s.post("/v2.0/networks", fmt.Sprintf(`{"network":{"name":"n%d","admin_state_up":%v}}`, i, i%2 == 0)))
	}
	byID := slices.Sorted(slices.Values(byName))
	for _, c := range []struct {
		query string
		want  []string
		pages int
	}{
		{"limit=3", byID, 3},
		{"limit=7", byID, 2},
		{"limit=100", byID, 1},
		{"limit=0", byID, 1},
		{"limit=1&fields=id", byID, 8},
		{"limit=2&sort_key=name&sort_dir=asc", byName, 4},
		{"limit=2&sort_key=id&sort_dir=asc&marker=" + byID[3], byID[4:], 2},
	} {
		got, n := pages(s, "/v2.0/networks?"+c.query, "networks", "next")
		if !slices.Equal(got, c.want) || n != c.pages {
			t.Errorf("%s: %d pages %v, want %d pages %v", c.query, n, got, c.pages, c.want)
		}
	}
	down := slices.Clone(byName)
	slices.Reverse(down)
	if got, _ := pages(s, "/v2.0/networks?sort_key=name&sort_dir=desc&limit=2", "networks", "next"); !slices.Equal(got, down) {
		t.Errorf("descending: %v, want %v", got, down)
	}
	if got, n := pages(s, "/v2.0/networks?sort_key=name&sort_dir=asc&limit=2&page_reverse=True&marker="+byName[6], "networks", "previous"); !slices.Equal(got, byName[:6]) || n != 4 {
		t.Errorf("backwards: %d pages %v, want %v", n, got, byName[:6])
	}
	_, out := s.call("GET", "/v2.0/networks?sort_key=admin_state_up&sort_dir=desc&sort_key=name&sort_dir=desc", "")
	want := []string{byName[6], byName[4], byName[2], byName[0], byName[5], byName[3], byName[1]}
	if got := ids(t, out.list("networks")); !slices.Equal(got, want) {
		t.Errorf("two sort keys: %v, want %v", got, want)
	}
	// Sub-resources page under their own key.
	router := s.post("/v2.0/routers", `{"router":{}}`)
	dev := s.post("/v2.0/gw/gateway_devices", fill(`{"gateway_device":{"type":"router_vtep","resource_id":"$R","tunnel_ips":["1.1.1.1"]}}`, "$R", router))
	for i := range 3 {
		s.post("/v2.0/gw/gateway_devices/"+dev+"/remote_mac_entries", fmt.Sprintf(`{"remote_mac_entry":{"mac_address":"02:00:00:00:00:%02d","vtep_address":"2.2.2.2","segmentation_id":"%d"}}`, i, i+1))
	}
	if got, n := pages(s, "/v2.0/gw/gateway_devices/"+dev+"/remote_mac_entries?limit=1&sort_key=id&sort_dir=asc", "remote_mac_entries", "next"); len(got) != 3 || n != 4 || !slices.IsSorted(got) {
		t.Errorf("remote MACs: %d pages %v", n, got)
	}
}

func TestBulk(t *testing.T) {
	s := newServer(t)
	_, out := s.call("POST", "/v2.0/networks", `{"networks":[{"name":"a"},{"name":"b"}]}`)
	nets := ids(t, out.list("networks"))
	if len(nets) != 2 {
		t.Fatalf("bulk: %v", out)
	}
	before := s.st.Dump()
	// All or nothing: the second subnet overlaps the first.
	s.wantError(400, "InvalidInput", "overlaps", "POST", "/v2.0/subnets", fill(`{"subnets":[{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"},{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/25"}]}`, "$N", nets[0]))
	s.wantError(409, "MacAddressInUse", "", "POST", "/v2.0/ports", fill(`{"ports":[{"network_id":"$N","mac_address":"02:00:00:00:00:01"},{"network_id":"$N","mac_address":"02:00:00:00:00:01"}]}`, "$N", nets[0]))
	if after := s.st.Dump(); !slices.Equal(before, after) {
		t.Errorf("half a bulk request was left: %q", after)
	}
	_, out = s.call("POST", "/v2.0/subnets", fill(`{"subnets":[{"network_id":"$N","ip_version":4,"cidr":"10.0.0.0/24"},{"network_id":"$N","ip_version":4,"cidr":"10.0.1.0/24"}]}`, "$N", nets[0]))
	subs := ids(t, out.list("subnets"))
	// Several subnets of one network on one router work.
	_, out = s.call("POST", "/v2.0/routers", `{"routers":[{"name":"r"}]}`)
	router := ids(t, out.list("routers"))[0]
	for _, sub := range subs {
		s.want(200, "PUT", "/v2.0/routers/"+router+"/add_router_interface", fill(`{"subnet_id":"$S"}`, "$S", sub))
	}
	if n := s.want(200, "GET", "/v2.0/networks/"+nets[0], ""); len(n.list("subnets")) != 2 {
		t.Errorf("subnets of the network: %v", n)
	}
	checkSound(s)
}

func TestTags(t *testing.T) {
	s := newServer(t)
	at := "/v2.0/networks/" + s.post("/v2.0/networks", `{"network":{}}`)
	s.want(200, "PUT", at+"/tags", `{"tags":["red","blue","red"]}`)
	s.want(201, "PUT", at+"/tags/green", "")
	s.want(201, "PUT", at+"/tags/green", "")
	s.want(204, "GET", at+"/tags/green", "")
	s.wantError(404, "TagNotFound", "black", "GET", at+"/tags/black", "")
	s.wantError(404, "TagNotFound", "black", "DELETE", at+"/tags/black", "")
	s.want(204, "DELETE", at+"/tags/red", "")
	if n := s.want(200, "GET", at, ""); fmt.Sprint(n["tags"]) != "[blue green]" {
		t.Errorf("tags: %v", n["tags"])
	}
	if _, out := s.call("GET", at+"/tags", ""); fmt.Sprint(out["tags"]) != "[blue green]" {
		t.Errorf("tags: %v", out)
	}
	s.want(204, "DELETE", at+"/tags", "")
	if _, out := s.call("GET", at+"/tags", ""); fmt.Sprint(out["tags"]) != "[]" {
		t.Errorf("tags: %v", out)
	}
	s.wantError(400, "HTTPBadRequest", "valid tag", "PUT", at+"/tags", `{"tags":["a,b"]}`)
	s.wantError(404, "NetworkNotFound", "x", "PUT", "/v2.0/networks/x/tags", `{"tags":[]}`)
}

func TestRevisions(t *testing.T) {
	s := newServer(t)
	net := s.post("/v2.0/networks", `{"network":{}}`)
	at := "/v2.0/networks/" + net
	match := func(n string) http.Header { return http.Header{"If-Match": {"revision_number=" + n}} }
	if status, out, _ := s.callWith("PUT", at, `{"network":{"name":"x"}}`, match("7")); status != 412 {
		t.Errorf("PUT with a stale revision: %d %v", status, out)
	}
	if status, out, _ := s.callWith("PUT", at, `{"network":{"name":"x"}}`, match("1")); status != 200 || out["network"].(map[string]any)["revision_number"] != 2.0 {
		t.Errorf("PUT with the revision: %d %v", status, out)
	}
	if status, _, _ := s.callWith("DELETE", at, "", match("1")); status != 412 {
		t.Errorf("DELETE with a stale revision: %d", status)
	}
	if status, _, _ := s.callWith("DELETE", at, "", match("2")); status != 204 {
		t.Errorf("DELETE with the revision: %d", status)
	}
}

func TestDiscovery(t *testing.T) {
	s := newServer(t)
	_, out := s.call("GET", "/", "")
	if v := out.list("versions"); len(v) != 1 || fmt.Sprint(v[0]) != "map[id:v2.0 links:[map[href:http://site/v2.0/ rel:self]] status:CURRENT]" {
		t.Errorf("versions: %v", out)
	}
	for _, path := range []string{"/v2.0", "/v2.0/", "//v2.0/"} {
		if _, out := s.call("GET", path, ""); len(out.list("resources")) != 12 {
			t.Errorf("%s: %v", path, out)
		}
	}
	_, out = s.call("GET", "/v2.0/extensions", "")
	for _, x := range out.list("extensions") {
		alias := x.(map[string]any)["alias"].(string)
		if e := s.want(200, "GET", "/v2.0/extensions/"+alias, ""); e["alias"] != alias {
			t.Errorf("extension %s: %v", alias, e)
		}
	}
	if _, out := s.call("GET", "/v2.0/security-groups?tenant_id=x&name=default", ""); fmt.Sprint(out) != "map[security_groups:[]]" {
		t.Errorf("security groups: %v", out)
	}
}

func TestBodyTooLarge(t *testing.T) {
	s := newServer(t)
	s.wantError(413, "HTTPRequestEntityTooLarge", "4194304 bytes", "POST", "/v2.0/networks", `{"network":{"name":"`+strings.Repeat("x", 5<<20)+`"}}`)
}

// A list in the order of an attribute that some have and some have not is whole, page
// by page, in both directions.
func TestPagesWithNulls(t *testing.T) {
	s := newServer(t)
	for i := range 24 {
		quota := []string{`null`, `0`, `5`}[i%3]
		s.post("/v2.0/subnetpools", fmt.Sprintf(`{"subnetpool":{"name":"p","prefixes":["10.%d.0.0/16"],"default_quota":%s}}`, i, quota))
	}
	for _, dir := range []string{"asc", "desc"} {
		seen := map[string]bool{}
		last := ""
		for marker := ""; ; {
			page := s.want(200, "GET", "/v2.0/subnetpools?limit=1&sort_key=default_quota&sort_dir="+dir+"&marker="+marker, "").list("subnetpools")
			if len(page) == 0 {
				break
			}
			p := page[0].(map[string]any)
			marker = p["id"].(string)
			if seen[marker] {
				t.Fatalf("%s: %s comes twice", dir, marker)
			}
			seen[marker] = true
			last += fmt.Sprint(p["default_quota"], " ")
		}
		want := strings.Repeat("<nil> ", 8) + strings.Repeat("0 ", 8) + strings.Repeat("5 ", 8)
		if dir == "desc" {
			want = strings.Repeat("5 ", 8) + strings.Repeat("0 ", 8) + strings.Repeat("<nil> ", 8)
		}
		if last != want {
			t.Errorf("%s: %s", dir, last)
		}
	}
}
