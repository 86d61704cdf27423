package neutronapi_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/policy"
)

// adminRule finds the default rules of attributes that are for admins alone.
var adminRule = regexp.MustCompile(`(?m)^#"(create|update)_(network|subnet|port|router|subnetpool|address_scope):([^"]+)": "rule:admin_only"$`)

// What only an admin may say of a resource, its owner may say in no way: alone, among
// several of a bulk, in other letters, as an update, or inside of another attribute.
func TestAdminAttributes(t *testing.T) {
	w := newTenancy(t)
	plurals := map[string]string{"network": "networks", "subnet": "subnets", "port": "ports", "router": "routers", "subnetpool": "subnetpools", "address_scope": "address_scopes"}
	paths := map[string]string{"address_scope": "address-scopes"}
	usual := map[string]string{
		"subnet": `"network_id":"$net","ip_version":4,"cidr":"10.9.0.0/24"`, "port": `"network_id":"$net"`,
		"subnetpool": `"name":"x","prefixes":["10.70.0.0/16"]`, "address_scope": `"name":"x","ip_version":4`,
	}
	rules := adminRule.FindAllStringSubmatch(policy.DefaultFile(), -1)
	before := w.st.Dump()
	tried := 0
	for _, rule := range rules {
		verb, kind, name := rule[1], rule[2], rule[3]
		if name == "segments" {
			continue // no attribute here
		}
		attr := fmt.Sprintf(`%q:"x"`, name)
		if outer, inner, nested := strings.Cut(name, ":"); nested && outer == "external_gateway_info" {
			attr = fmt.Sprintf(`%q:{"network_id":"$net",%q:"x"}`, outer, inner)
		}
		plain := usual[kind]
		joined := strings.TrimPrefix(plain+","+attr, ",")
		path := "/v2.0/" + plurals[kind]
		if p := paths[kind]; p != "" {
			path = "/v2.0/" + p
		}
		want := func(method, path, body string) {
			t.Helper()
			tried++
			status, out, _ := w.callWith(method, w.fill(path), w.fill(body), token("a"))
			e, _ := out["NeutronError"].(map[string]any)
			if status != http.StatusForbidden || !strings.Contains(fmt.Sprint(e["message"]), verb+"_"+kind+":"+name) {
				t.Errorf("%s %s %s: %d %v", method, path, body, status, out)
			}
		}
		if verb == "update" {
			id := path[strings.LastIndex(path, "/")+1:]
			want("PUT", path+"/$"+id, fmt.Sprintf(`{%q:{%s}}`, kind, attr))
			want("PUT", path+"/$"+id+".json", fmt.Sprintf(`{"x":1,%q:{"name":"y",%s}}`, kind, attr))
			continue
		}
		want("POST", path, fmt.Sprintf(`{%q:{%s}}`, kind, joined))
		want("POST", path, fmt.Sprintf(`{%q:[{%s},{%s}]}`, plurals[kind], plain, joined))
		// The last of several of a name is what is meant, by all who read it.
		want("POST", path, fmt.Sprintf(`{%q:{},%[1]q:{%s,%s}}`, kind, strings.Replace(attr, `"x"`, "null", 1), joined))
	}
	if after := w.st.Dump(); strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Error("something was changed")
	}
	if len(rules) < 30 || tried < 2*len(rules) {
		t.Errorf("%d rules, %d tries", len(rules), tried)
	}
}
