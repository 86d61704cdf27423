package neutronapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// ifMatch calls with a precondition and wants a status.
func (s *server) ifMatch(want int, method, path, body string, header ...string) {
	s.t.Helper()
	if status, out, _ := s.callWith(method, path, body, http.Header{"If-Match": header}); status != want {
		s.t.Errorf("%s %s, If-Match %q: %d %v, want %d", method, path, header, status, out, want)
	}
}

// A precondition holds for whatever changes a resource, and is never passed over.
func TestIfMatchEverywhere(t *testing.T) {
	s := newServer(t)
	names := world(s)
	for _, c := range []struct{ request, body, object string }{
		{put + "networks/$NET", `{"network":{"name":"x"}}`, "networks/$NET"},
		{put + "subnets/$SUB", `{"subnet":{"name":"x"}}`, "subnets/$SUB"},
		{put + "ports/$PORT", `{"port":{"name":"x"}}`, "ports/$PORT"},
		{put + "routers/$ROUTER", `{"router":{"name":"x"}}`, "routers/$ROUTER"},
		{put + "subnetpools/$POOL", `{"subnetpool":{"name":"x"}}`, "subnetpools/$POOL"},
		{put + "networks/$NET/tags", `{"tags":["a"]}`, "networks/$NET"},
		{put + "networks/$NET/tags/b", ``, "networks/$NET"},
		{del + "networks/$NET/tags/b", ``, "networks/$NET"},
		{del + "networks/$NET/tags", ``, "networks/$NET"},
		{put + "routers/$ROUTER/add_router_interface", `{"subnet_id":"$SUBPOOLED"}`, "routers/$ROUTER"},
		{put + "routers/$ROUTER/add_extraroutes", `{"router":{"routes":[{"destination":"9.0.0.0/8","nexthop":"10.0.0.9"}]}}`, "routers/$ROUTER"},
		{put + "routers/$ROUTER/remove_extraroutes", `{"router":{"routes":[{"destination":"9.0.0.0/8","nexthop":"10.0.0.9"}]}}`, "routers/$ROUTER"},
		{put + "routers/$ROUTER/remove_router_interface", `{"subnet_id":"$SUBPOOLED"}`, "routers/$ROUTER"},
		{put + "subnetpools/$POOL/add_prefixes", `{"prefixes":["192.0.2.0/24"]}`, "subnetpools/$POOL"},
		{put + "subnetpools/$POOL/remove_prefixes", `{"prefixes":["192.0.2.0/24"]}`, "subnetpools/$POOL"},
		{del + "networks/$NEW", ``, "networks/$NEW"},
	} {
		pooled := s.want(200, "GET", fill("/v2.0/subnets?network_id=$POOLED", names...), "").list("subnets")[0].(map[string]any)
		all := append([]string{"$SUBPOOLED", pooled["id"].(string)}, names...)
		method, path, _ := strings.Cut(fill(c.request, all...), " ")
		body := fill(c.body, all...)
		object := s.want(200, "GET", "/v2.0/"+fill(c.object, all...), "")
		now := int(object["revision_number"].(float64))
		before := s.st.Dump()
		s.ifMatch(412, method, path, body, fmt.Sprintf("revision_number=%d", now+1))
		s.ifMatch(412, method, path, body, fmt.Sprintf(`"revision_number=%d"`, now+1))
		s.ifMatch(400, method, path, body, "revision_number=x")
		s.ifMatch(400, method, path, body, fmt.Sprintf("revision_number=%d", now), fmt.Sprintf("revision_number=%d", now+1))
		if !slices.Equal(before, s.st.Dump()) {
			t.Fatalf("%s: what was refused changed the state", c.request)
		}
		status, out, _ := s.callWith(method, path, body, http.Header{"If-Match": {fmt.Sprintf(`"revision_number=%d"`, now)}})
		if status >= 300 {
			t.Errorf("%s: %d %v", c.request, status, out)
		}
	}
	// What has no revision cannot be held to one.
	for _, c := range []struct{ request, body string }{
		{put + "address-scopes/$SCOPE", `{"address_scope":{"name":"x"}}`},
		{put + "rbac-policies/$RBAC", `{"rbac_policy":{"target_tenant":"x"}}`},
		{put + "quotas/p", `{"quota":{"port":1}}`},
		{del + "address-scopes/$SCOPE", ``},
		{del + "rbac-policies/$RBAC", ``},
		{del + "l2-gateway-connections/$CONN", ``},
		{del + "gw/gateway_devices/$DEV/remote_mac_entries/$MACID", ``},
		{del + "quotas/p", ``},
	} {
		method, path, _ := strings.Cut(fill(c.request, names...), " ")
		before := s.st.Dump()
		s.ifMatch(400, method, path, c.body, "revision_number=1")
		if !slices.Equal(before, s.st.Dump()) {
			t.Errorf("%s: what was refused changed the state", c.request)
		}
	}
	checkSound(s)
}

// What one resource is refused for, several are, and none of them is made.
func TestSameRulesForBulk(t *testing.T) {
	var rows []errorRow
	for _, r := range append(coreErrors(), genericErrors()...) {
		plural, created := strings.CutPrefix(r.request, post)
		var body map[string]json.RawMessage
		if !created || json.Unmarshal([]byte(r.body), &body) != nil || len(body) != 1 {
			continue
		}
		first := map[string]string{
			"networks": `{}`, "routers": `{}`, "ports": `{"network_id":"$NEW"}`,
			"subnets": `{"network_id":"$NEW","ip_version":4,"cidr":"10.200.0.0/24"}`,
		}[plural]
		attrs, single := body[strings.TrimSuffix(plural, "s")]
		if first == "" || !single || attrs[0] != '{' {
			continue
		}
		r.body = fmt.Sprintf(`{"%s":[%s,%s]}`, plural, first, attrs)
		rows = append(rows, r)
	}
	if len(rows) < 40 {
		t.Fatalf("%d rules", len(rows))
	}
	runErrors(t, rows)
}
