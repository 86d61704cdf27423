package neutronapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/testutil"
)

// everyCaller is the cast of these tests: an admin, and of project a and project b
// each one who may write and one who may only read.
func everyCaller() callers {
	member := func(project string, roles ...string) identity.Caller {
		return identity.Caller{UserID: "u-" + project, ProjectID: projectID(project), Roles: roles}
	}
	return callers{
		"admin":    member("admin", "admin", "member", "reader"),
		"a":        member("a", "member", "reader"),
		"a-reader": member("a", "reader"),
		"b":        member("b", "member", "reader"),
		"b-reader": member("b", "reader"),
		"b-none":   member("b"),
		"c":        member("c", "member"),
		"nowhere":  {UserID: "u", Roles: []string{"member"}},
	}
}

// routeCase says how one route is called on the tenancy of newTenancy.
type routeCase struct {
	body string
	// open routes answer whoever has a token, with nothing of a project.
	open bool
	// adminOnly routes are closed to the owner's project too.
	adminOnly bool
	// status is that of an admin; 0: any 2xx.
	status int
}

var writeNet = `{"network":{"tenant_id":"a","name":"x"}}`

// routeCases has every route of the API. A route without an entry fails the test:
// whoever adds one says here who may call it.
var routeCases = map[string]routeCase{
	"GET /{$}":                     {open: true},
	"GET /v2.0":                    {open: true},
	"GET /v2.0/{$}":                {open: true},
	"GET /openapi.json":            {open: true},
	"GET /v2.0/extensions":         {open: true},
	"GET /v2.0/extensions/{alias}": {open: true},

	"GET /v2.0/networks":                             {},
	"POST /v2.0/networks":                            {body: writeNet},
	"GET /v2.0/networks/{id}":                        {},
	"PUT /v2.0/networks/{id}":                        {body: `{"network":{"name":"y"}}`},
	"DELETE /v2.0/networks/{id}":                     {},
	"GET /v2.0/subnets":                              {},
	"POST /v2.0/subnets":                             {body: `{"subnet":{"tenant_id":"a","network_id":"$net","ip_version":4,"cidr":"10.9.0.0/24"}}`},
	"GET /v2.0/subnets/{id}":                         {},
	"PUT /v2.0/subnets/{id}":                         {body: `{"subnet":{"name":"y"}}`},
	"DELETE /v2.0/subnets/{id}":                      {},
	"GET /v2.0/ports":                                {},
	"POST /v2.0/ports":                               {body: `{"port":{"tenant_id":"a","network_id":"$net"}}`},
	"GET /v2.0/ports/{id}":                           {},
	"PUT /v2.0/ports/{id}":                           {body: `{"port":{"name":"y"}}`},
	"DELETE /v2.0/ports/{id}":                        {},
	"POST /v2.0/ports/{id}/trace":                    {adminOnly: true},
	"GET /v2.0/routers":                              {},
	"POST /v2.0/routers":                             {body: `{"router":{"tenant_id":"a"}}`},
	"GET /v2.0/routers/{id}":                         {},
	"PUT /v2.0/routers/{id}":                         {body: `{"router":{"name":"y"}}`},
	"DELETE /v2.0/routers/{id}":                      {},
	"PUT /v2.0/routers/{id}/add_router_interface":    {body: `{"subnet_id":"$sub2"}`},
	"PUT /v2.0/routers/{id}/remove_router_interface": {body: `{"subnet_id":"$sub3"}`},
	"PUT /v2.0/routers/{id}/add_extraroutes":         {body: `{"router":{"routes":[{"destination":"1.0.0.0/8","nexthop":"10.3.0.9"}]}}`},
	"PUT /v2.0/routers/{id}/remove_extraroutes":      {body: `{"router":{"routes":[]}}`},

	"GET /v2.0/subnetpools":                      {},
	"POST /v2.0/subnetpools":                     {body: `{"subnetpool":{"tenant_id":"a","name":"p","prefixes":["10.64.0.0/16"]}}`},
	"GET /v2.0/subnetpools/{id}":                 {},
	"PUT /v2.0/subnetpools/{id}":                 {body: `{"subnetpool":{"name":"y"}}`},
	"DELETE /v2.0/subnetpools/{id}":              {},
	"PUT /v2.0/subnetpools/{id}/add_prefixes":    {body: `{"prefixes":["10.65.0.0/16"]}`},
	"PUT /v2.0/subnetpools/{id}/remove_prefixes": {body: `{"prefixes":["10.32.0.0/16"]}`},
	"GET /v2.0/address-scopes":                   {},
	"POST /v2.0/address-scopes":                  {body: `{"address_scope":{"tenant_id":"a","name":"s","ip_version":4}}`},
	"GET /v2.0/address-scopes/{id}":              {},
	"PUT /v2.0/address-scopes/{id}":              {body: `{"address_scope":{"name":"y"}}`},
	"DELETE /v2.0/address-scopes/{id}":           {},

	"GET /v2.0/rbac-policies":         {},
	"POST /v2.0/rbac-policies":        {body: `{"rbac_policy":{"tenant_id":"a","object_type":"network","object_id":"$net","action":"access_as_shared","target_tenant":"c"}}`},
	"GET /v2.0/rbac-policies/{id}":    {},
	"PUT /v2.0/rbac-policies/{id}":    {body: `{"rbac_policy":{"target_tenant":"d"}}`},
	"DELETE /v2.0/rbac-policies/{id}": {},

	"GET /v2.0/quotas":              {adminOnly: true},
	"GET /v2.0/quotas/tenant":       {open: true},
	"GET /v2.0/quotas/project":      {open: true},
	"GET /v2.0/quotas/{id}":         {},
	"PUT /v2.0/quotas/{id}":         {adminOnly: true, body: `{"quota":{"port":7}}`},
	"DELETE /v2.0/quotas/{id}":      {adminOnly: true},
	"GET /v2.0/quotas/{id}/default": {},
	"GET /v2.0/quotas/{id}/details": {},

	"GET /v2.0/agents":         {adminOnly: true},
	"GET /v2.0/agents/{id}":    {adminOnly: true},
	"PUT /v2.0/agents/{id}":    {adminOnly: true, body: `{"agent":{"admin_state_up":false}}`},
	"DELETE /v2.0/agents/{id}": {adminOnly: true},

	"GET /v2.0/gw/gateway_devices":                                     {adminOnly: true},
	"POST /v2.0/gw/gateway_devices":                                    {adminOnly: true, body: `{"gateway_device":{"tenant_id":"a","type":"router_vtep","resource_id":"$router","tunnel_ips":["200.0.0.9"]}}`},
	"GET /v2.0/gw/gateway_devices/{id}":                                {adminOnly: true},
	"PUT /v2.0/gw/gateway_devices/{id}":                                {adminOnly: true, body: `{"gateway_device":{"name":"y"}}`},
	"DELETE /v2.0/gw/gateway_devices/{id}":                             {adminOnly: true},
	"POST /v2.0/gw/gateway_devices/{id}/trace":                         {adminOnly: true},
	"GET /v2.0/gw/gateway_devices/{device}/remote_mac_entries":         {adminOnly: true},
	"POST /v2.0/gw/gateway_devices/{device}/remote_mac_entries":        {adminOnly: true, body: `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:09","vtep_address":"200.0.0.5","segmentation_id":7}}`},
	"GET /v2.0/gw/gateway_devices/{device}/remote_mac_entries/{id}":    {adminOnly: true},
	"PUT /v2.0/gw/gateway_devices/{device}/remote_mac_entries/{id}":    {adminOnly: true, status: 400, body: `{"remote_mac_entry":{}}`},
	"DELETE /v2.0/gw/gateway_devices/{device}/remote_mac_entries/{id}": {adminOnly: true},
	"GET /v2.0/l2-gateways":                                            {adminOnly: true},
	"POST /v2.0/l2-gateways":                                           {adminOnly: true, body: `{"l2_gateway":{"tenant_id":"a","devices":[{"device_id":"$dev2","segmentation_id":"77"}]}}`},
	"GET /v2.0/l2-gateways/{id}":                                       {adminOnly: true},
	"PUT /v2.0/l2-gateways/{id}":                                       {adminOnly: true, body: `{"l2_gateway":{"name":"y"}}`},
	"DELETE /v2.0/l2-gateways/{id}":                                    {adminOnly: true},
	"GET /v2.0/l2-gateway-connections":                                 {adminOnly: true},
	"POST /v2.0/l2-gateway-connections":                                {adminOnly: true, body: `{"l2_gateway_connection":{"l2_gateway_id":"$lg","network_id":"$net"}}`},
	"GET /v2.0/l2-gateway-connections/{id}":                            {adminOnly: true},
	"PUT /v2.0/l2-gateway-connections/{id}":                            {adminOnly: true, status: 400, body: `{"l2_gateway_connection":{}}`},
	"DELETE /v2.0/l2-gateway-connections/{id}":                         {adminOnly: true},

	"GET /v2.0/security-groups":              {open: true},
	"POST /v2.0/security-groups":             {open: true, status: 400},
	"GET /v2.0/security-groups/{id}":         {open: true, status: 404},
	"PUT /v2.0/security-groups/{id}":         {open: true, status: 404},
	"DELETE /v2.0/security-groups/{id}":      {open: true, status: 404},
	"GET /v2.0/security-group-rules":         {open: true},
	"POST /v2.0/security-group-rules":        {open: true, status: 400},
	"GET /v2.0/security-group-rules/{id}":    {open: true, status: 404},
	"PUT /v2.0/security-group-rules/{id}":    {open: true, status: 404},
	"DELETE /v2.0/security-group-rules/{id}": {open: true, status: 404},
	"GET /v2.0/floatingips":                  {open: true},
	"POST /v2.0/floatingips":                 {open: true, status: 400},
	"GET /v2.0/floatingips/{id}":             {open: true, status: 404},
	"PUT /v2.0/floatingips/{id}":             {open: true, status: 404},
	"DELETE /v2.0/floatingips/{id}":          {open: true, status: 404},
}

// caseOf finds a route's entry; those of tags are all alike.
func caseOf(method, pattern string) (routeCase, bool) {
	switch {
	case strings.HasSuffix(pattern, "/tags"):
		return routeCase{body: `{"tags":["t","u"]}`}, true
	case strings.HasSuffix(pattern, "/tags/{tag}"):
		return routeCase{}, true
	}
	c, ok := routeCases[method+" "+pattern]
	return c, ok
}

// tenancy is what project a has, by name; gateways and the like are the admin's.
type tenancy struct {
	*server
	ids map[string]string
}

func newTenancy(t testing.TB, edit ...func(*neutronapi.Options)) *tenancy {
	trace := func(path string) neutronapi.Extra {
		return neutronapi.Extra{Method: "POST", Path: path, Name: "trace " + path, Reply: &openapi.Schema{}, Answer: func(*http.Request) (any, error) { return object{}, nil }}
	}
	edit = append(edit, func(o *neutronapi.Options) {
		o.Extra = []neutronapi.Extra{trace("/v2.0/ports/{id}/trace"), trace("/v2.0/gw/gateway_devices/{id}/trace")}
	})
	w := &tenancy{newAuthServer(t, everyCaller(), edit...), map[string]string{}}
	for _, x := range [][3]string{
		{"net", "/v2.0/networks", `{"network":{"tenant_id":"a"}}`},
		{"net2", "/v2.0/networks", `{"network":{"tenant_id":"a"}}`},
		{"networks", "/v2.0/networks", `{"network":{"tenant_id":"a"}}`},
		{"subnets", "/v2.0/subnets", `{"subnet":{"tenant_id":"a","network_id":"$net","ip_version":4,"cidr":"10.1.0.0/24"}}`},
		{"sub2", "/v2.0/subnets", `{"subnet":{"tenant_id":"a","network_id":"$net2","ip_version":4,"cidr":"10.2.0.0/24"}}`},
		{"sub3", "/v2.0/subnets", `{"subnet":{"tenant_id":"a","network_id":"$net2","ip_version":4,"cidr":"10.3.0.0/24"}}`},
		{"ports", "/v2.0/ports", `{"port":{"tenant_id":"a","network_id":"$net","fixed_ips":[]}}`},
		{"router", "/v2.0/routers", `{"router":{"tenant_id":"a"}}`},
		{"routers", "/v2.0/routers", `{"router":{"tenant_id":"a"}}`},
		{"vtep1", "/v2.0/routers", `{"router":{}}`}, {"vtep2", "/v2.0/routers", `{"router":{}}`}, {"vtep3", "/v2.0/routers", `{"router":{}}`},
		{"subnetpools", "/v2.0/subnetpools", `{"subnetpool":{"tenant_id":"a","name":"p","prefixes":["10.32.0.0/16","10.40.0.0/16"]}}`},
		{"address-scopes", "/v2.0/address-scopes", `{"address_scope":{"tenant_id":"a","name":"s","ip_version":4}}`},
		{"rbac-policies", "/v2.0/rbac-policies", `{"rbac_policy":{"tenant_id":"a","object_type":"network","object_id":"$networks","action":"access_as_shared","target_tenant":"c"}}`},
		{"gateway_devices", "/v2.0/gw/gateway_devices", `{"gateway_device":{"type":"router_vtep","resource_id":"$vtep1","tunnel_ips":["200.0.0.1"]}}`},
		{"dev2", "/v2.0/gw/gateway_devices", `{"gateway_device":{"type":"router_vtep","resource_id":"$vtep2","tunnel_ips":["200.0.0.2"]}}`},
		{"dev3", "/v2.0/gw/gateway_devices", `{"gateway_device":{"type":"router_vtep","resource_id":"$vtep3","tunnel_ips":["200.0.0.3"]}}`},
		{"remote_mac_entries", "/v2.0/gw/gateway_devices/$dev2/remote_mac_entries", `{"remote_mac_entry":{"mac_address":"02:00:00:00:00:01","vtep_address":"200.0.0.5","segmentation_id":7}}`},
		{"l2-gateways", "/v2.0/l2-gateways", `{"l2_gateway":{"devices":[{"device_id":"$dev3","segmentation_id":"5"}]}}`},
		{"lg", "/v2.0/l2-gateways", `{"l2_gateway":{"devices":[{"device_id":"$dev2","segmentation_id":"6"}]}}`},
		{"lg3", "/v2.0/l2-gateways", `{"l2_gateway":{"devices":[{"device_id":"$dev3","segmentation_id":"7"}]}}`},
		{"l2-gateway-connections", "/v2.0/l2-gateway-connections", `{"l2_gateway_connection":{"l2_gateway_id":"$lg3","network_id":"$net2"}}`},
	} {
		w.make(x[0], x[1], x[2])
	}
	w.as("admin", 200, "PUT", "/v2.0/routers/$routers/tags", `{"tags":["t"]}`)
	w.as("admin", 200, "PUT", "/v2.0/quotas/a", `{"quota":{"port":100}}`)
	for _, kind := range []string{"networks", "subnets", "ports", "subnetpools"} {
		w.as("admin", 200, "PUT", "/v2.0/"+kind+"/$"+kind+"/tags", `{"tags":["t"]}`)
	}
	w.hosts("h1")
	if _, err := w.site.HostGone(t.Context(), site.Signs{Host: "h1", Controller: "c", Session: 1}); err != nil {
		t.Fatal(err)
	}
	w.ids["agents"] = string(site.AgentID("h1"))
	w.ids["ifrouter"], w.ids["quotas"] = w.ids["router"], "a"
	w.as("admin", 200, "PUT", "/v2.0/routers/$ifrouter/add_router_interface", `{"subnet_id":"$sub3"}`)
	return w
}

func (w *tenancy) fill(s string) string {
	var pairs []string
	names := slices.SortedFunc(mapKeys(w.ids), func(x, y string) int { return len(y) - len(x) })
	for _, name := range names {
		pairs = append(pairs, "$"+name, w.ids[name])
	}
	return fill(s, pairs...)
}

// make creates something as the admin and remembers its id.
func (w *tenancy) make(name, path, body string) {
	w.t.Helper()
	w.ids[name] = w.as("admin", 201, "POST", path, body).str("id")
}

// as calls with a token and returns what is in the reply's single key.
func (w *tenancy) as(who string, want int, method, path, body string) object {
	w.t.Helper()
	status, out, _ := w.callWith(method, w.fill(path), w.fill(body), token(who))
	if status != want {
		w.t.Fatalf("%s: %s %s %s: %d %v, want %d", who, method, w.fill(path), w.fill(body), status, out, want)
	}
	for _, v := range out {
		if m, ok := v.(map[string]any); ok && len(out) == 1 {
			return m
		}
	}
	return out
}

// path makes a path of the tenancy out of a route's pattern.
func (w *tenancy) path(pattern string) string {
	parts := strings.Split(strings.TrimSuffix(pattern, "{$}"), "/")
	for i, p := range parts {
		switch p {
		case "{device}":
			parts[i] = w.ids["dev2"]
		case "{tag}":
			parts[i] = "t"
		case "{alias}":
			parts[i] = "router"
		case "{id}":
			kind := parts[i-1]
			if i+1 < len(parts) && strings.HasSuffix(parts[i+1], "interface") || i+1 < len(parts) && strings.HasSuffix(parts[i+1], "extraroutes") {
				kind = "ifrouter"
			}
			parts[i] = w.ids[kind]
			if parts[i] == "" {
				parts[i] = "11111111-1111-4111-8111-111111111111"
			}
		}
	}
	return strings.Join(parts, "/")
}

// Every route, with a token of nobody, of another project, of a reader and of none
// at all: none of them changes anything or reads anything of the project's, and an
// admin's call of the same succeeds, so that it was policy that refused.
func TestEveryRouteIsGuarded(t *testing.T) {
	testutil.OneGoroutine(t)
	for _, route := range newTenancy(t).h.(*neutronapi.API).Routes() {
		for _, method := range route.Methods {
			c, ok := caseOf(method, route.Pattern)
			if !ok {
				t.Errorf("%s %s has no entry in the test: who may call it?", method, route.Pattern)
				continue
			}
			t.Run(method+" "+route.Pattern, func(t *testing.T) { checkRoute(t, newTenancy(t), method, route.Pattern, c) })
		}
	}
}

func checkRoute(t *testing.T, w *tenancy, method, pattern string, c routeCase) {
	path, body := w.path(pattern), w.fill(c.body)
	before := w.st.Dump()
	call := func(who string) (int, string) {
		req := token(who)
		if who == "" {
			req = http.Header{"X-Auth-Token": {}}
		}
		status, out, _ := w.callWith(method, path, body, req)
		if after := w.st.Dump(); who != "admin" && !slices.Equal(before, after) {
			t.Errorf("%s: changed the state", who)
		}
		return status, text(out)
	}
	if status, out := call(""); status != 401 && path != "/" && path != "/openapi.json" {
		t.Errorf("without a token: %d %s", status, out)
	}
	if c.open {
		want := max(c.status, 200)
		if status, out := call("b-none"); status != want {
			t.Errorf("open, and %d %s", status, out)
		}
		return
	}
	// nothing is what tells nothing: a refusal, or an empty list.
	nothing := func(who string) {
		status, out := call(who)
		list := method == "GET" && !strings.Contains(pattern, "{id}") && status == 200 && !strings.Contains(out, `"id"`)
		if status != 403 && status != 404 && !list && !(method == "POST" && status == 400 && strings.Contains(out, "project_id")) {
			t.Errorf("%s: %d %s", who, status, out)
		}
	}
	for _, who := range []string{"b", "b-reader", "b-none", "nowhere"} {
		nothing(who)
	}
	switch {
	case c.adminOnly:
		nothing("a")
		nothing("a-reader")
	case method != "GET":
		nothing("a-reader")
	default:
		if status, out := call("a-reader"); status != 200 && status != 204 || strings.HasSuffix(out, `":[]}`) && strings.Count(out, ":") == 1 {
			t.Errorf("a reader of the project may not read: %d %s", status, out)
		}
	}
	if status, out := call("admin"); c.status != 0 && status != c.status || c.status == 0 && status >= 300 {
		t.Errorf("an admin: %d %s", status, out)
	}
}
