package neutronapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/neutronapi"
)

// strangerBodies are what a member of another project sends in the hope of reaching
// what is not its own. Names with $ are ids of the project that is there.
var strangerBodies = []string{
	``, `{}`, `{"network":{"name":"x","shared":true}}`, `{"network":{"name":"x"}}`, `{"networks":[{},{"name":"y"}]}`,
	`{"port":{"network_id":"$net"}}`, `{"port":{"name":"x","device_id":"$router","device_owner":"network:router_interface"}}`,
	`{"port":{"network_id":"$own","fixed_ips":[{"subnet_id":"$subnets"}]}}`, `{"port":{"network_id":"$own","device_id":"$router"}}`,
	`{"subnet":{"network_id":"$net","ip_version":4,"cidr":"10.9.0.0/24"}}`, `{"subnet":{"network_id":"$own","ip_version":4,"subnetpool_id":"$subnetpools"}}`,
	`{"router":{"routes":[{"destination":"1.0.0.0/8","nexthop":"10.3.0.9"}]}}`, `{"router":{"name":"x","tenant_id":"b"}}`,
	`{"subnet_id":"$sub2"}`, `{"port_id":"$ports"}`, `{"subnet_id":"$sub3"}`, `{"tags":["x"]}`, `{"prefixes":["10.65.0.0/16"]}`,
	`{"subnetpool":{"name":"x","prefixes":["10.66.0.0/16"],"address_scope_id":"$address-scopes"}}`, `{"address_scope":{"name":"x","ip_version":4}}`,
	`{"rbac_policy":{"object_type":"network","object_id":"$net","action":"access_as_shared","target_tenant":"b"}}`,
	`{"rbac_policy":{"object_type":"network","object_id":"$own","action":"access_as_shared","target_tenant":"a"}}`, `{"rbac_policy":{"target_tenant":"b"}}`,
	`{"gateway_device":{"type":"router_vtep","resource_id":"$router","tunnel_ips":["200.0.0.9"]}}`, `{"quota":{"port":1}}`,
	`{"remote_mac_entry":{"mac_address":"02:00:00:00:00:09","vtep_address":"200.0.0.5","segmentation_id":7}}`,
	`{"l2_gateway":{"devices":[{"device_id":"$dev2","segmentation_id":"77"}]}}`, `{"l2_gateway_connection":{"l2_gateway_id":"$lg","network_id":"$own"}}`,
	`{"network":{"name":"x","tenant_id":"b","provider:network_type":"uplink"}}`, `{"trace":{}}`,
}

var ownDevice = regexp.MustCompile(`"device_id":"[^"]*"`)

// stranger calls the API as project b and holds each answer to what b may know.
type stranger struct {
	*tenancy
	foreign map[string]bool   // ids of others
	before  map[string]string // objects of others, by kind and id
}

func newStranger(t testing.TB) *stranger {
	s := &stranger{tenancy: newTenancy(t), foreign: map[string]bool{}}
	for _, id := range s.ids {
		if len(id) == 36 {
			s.foreign[id] = true
		}
	}
	s.before = s.objects()
	s.ids["own"] = s.as("b", 201, "POST", "/v2.0/networks", `{"network":{}}`).str("id")
	return s
}

// objects are the stored objects that are not b's.
func (s *stranger) objects() map[string]string {
	out := map[string]string{}
	for _, line := range s.st.Dump() {
		key, value, _ := strings.Cut(line, " ")
		var o struct {
			Project string `json:"project_id"`
		}
		if json.Unmarshal([]byte(value), &o) == nil && o.Project != "b" {
			out[key] = value
		}
	}
	return out
}

func (s *stranger) try(method, path, body string) {
	s.t.Helper()
	req := httptest.NewRequest(method, "http://site/", strings.NewReader(body))
	u, err := url.Parse(path)
	if err != nil || u.Host != "" {
		return
	}
	req.URL = u
	req.Header.Set("X-Auth-Token", "b")
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, req)
	if w.Code >= 500 {
		s.t.Errorf("%s %s %s: %d %s", method, path, body, w.Code, w.Body)
	}
	if w.Code < 300 {
		// A port's device_id is whatever its maker wrote, here or in an earlier call.
		told := ownDevice.ReplaceAllString(w.Body.String(), "")
		for id := range s.foreign {
			if strings.Contains(told, id) && !strings.Contains(body, id) {
				s.t.Errorf("%s %s %s: tells %s: %s", method, path, body, id, w.Body)
			}
		}
	}
	if after := s.objects(); !maps.Equal(after, s.before) {
		for key, value := range s.before {
			if after[key] != value {
				s.t.Errorf("%s %s %s: %d changed %s: %s, now %s", method, path, body, w.Code, key, value, after[key])
			}
		}
		for key := range after {
			if _, was := s.before[key]; !was {
				s.t.Errorf("%s %s %s: %d made %s for another: %s", method, path, body, w.Code, key, after[key])
			}
		}
		s.before = after
	}
}

// paths are all the API's paths, with ids of others, and of b's own network.
func (s *stranger) paths() []string {
	var out []string
	for _, r := range s.h.(*neutronapi.API).Routes() {
		p := s.path(r.Pattern)
		for _, m := range r.Methods {
			out = append(out, m+" "+p)
			if strings.HasPrefix(r.Pattern, "/v2.0/networks/{id}") {
				out = append(out, m+" "+strings.Replace(p, s.ids["networks"], s.ids["own"], 1))
			}
		}
	}
	slices.Sort(out)
	return out
}

// Whatever a member of another project sends wherever: nothing of others changes,
// nothing comes about in their name, and no answer tells of what is theirs.
func TestStranger(t *testing.T) {
	s := newStranger(t)
	queries := []string{"", "?tenant_id=a", "?id=$net&fields=id", "?network_id=$net", "?shared=False", "?limit=1", "?device_id=$router", "?fields=id&sort_key=id&sort_dir=desc"}
	for _, p := range s.paths() {
		method, path, _ := strings.Cut(p, " ")
		if method == "GET" {
			for _, q := range queries {
				s.try(method, path+s.fill(q), "")
			}
			continue
		}
		for _, body := range strangerBodies {
			if s.before == nil || t.Failed() {
				return
			}
			s.try(method, path, s.fill(body))
			if s.list("b", "/v2.0/networks?id=$own", "networks") == nil { // it may delete its own
				s.ids["own"] = s.as("b", 201, "POST", "/v2.0/networks", `{"network":{}}`).str("id")
			}
		}
	}
	checkSound(s.server)
}

// FuzzStranger does the same with bodies and queries that nobody thought of.
func FuzzStranger(f *testing.F) {
	for i, body := range strangerBodies {
		f.Add(uint16(i*7), "", body)
	}
	f.Add(uint16(3), "?id=$net&fields=id", "")
	f.Fuzz(func(t *testing.T, path uint16, query, body string) {
		s := newStranger(t)
		paths := s.paths()
		method, p, _ := strings.Cut(paths[int(path)%len(paths)], " ")
		s.try(method, p+s.fill(query), s.fill(body))
		checkSound(s.server)
	})
}

// A random walk of several calls, in which what b has made plays its part.
func TestStrangerWalks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := newStranger(t)
	own := []string{"own"}
	s.try("POST", "/v2.0/ports", s.fill(`{"port":{"network_id":"$own","device_id":"$router"}}`))
	s.try("GET", "/v2.0/ports", "")
	for range 1500 {
		paths := s.paths()
		method, path, _ := strings.Cut(paths[rng.IntN(len(paths))], " ")
		body := s.fill(strangerBodies[rng.IntN(len(strangerBodies))])
		if rng.IntN(2) == 0 { // with an id of its own in some place
			id := s.ids[own[rng.IntN(len(own))]]
			for other := range s.foreign {
				if rng.IntN(3) > 0 {
					path, body = strings.ReplaceAll(path, other, id), strings.ReplaceAll(body, other, id)
				}
			}
		}
		s.try(method, path, body)
		if t.Failed() {
			return
		}
		_, out, _ := s.callWith("GET", "/v2.0/"+[]string{"networks", "ports", "routers", "subnets"}[rng.IntN(4)], "", token("b"))
		for _, l := range out {
			items, _ := l.([]any)
			for _, x := range items {
				name := fmt.Sprint("own", len(own)%40)
				s.ids[name], own = object(x.(map[string]any)).str("id"), append(own, name)
			}
		}
		own = own[max(0, len(own)-40):]
	}
	checkSound(s.server)
}
