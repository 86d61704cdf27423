package neutronapi

import (
	"encoding/json"
	"net/http"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
)

// extension describes an extension that works completely.
type extension struct {
	Name        string   `json:"name"`
	Alias       string   `json:"alias"`
	Description string   `json:"description"`
	Updated     string   `json:"updated"`
	Links       []string `json:"links"`
}

// extensions are what clients may rely on. One that works in part only is left
// out: clients would take it for whole.
func extensions() []extension {
	const day = "T10:00:00-00:00"
	ext := func(alias, name, description, updated string) extension {
		return extension{name, alias, description, updated, []string{}}
	}
	return []extension{
		ext("router", "Neutron L3 Router", "Routers between networks.", "2012-07-20"+day),
		ext("extraroute", "Neutron Extra Route", "Extra routes of routers.", "2013-02-01"+day),
		ext("extraroute-atomic", "Atomically add/remove extra routes", "Extra routes added and removed one by one.", "2019-07-10"+day),
		ext("port-security", "Port Security", "Protection against spoofing, by network and port.", "2012-07-23"+day),
		ext("allowed-address-pairs", "Allowed Address Pairs", "Further senders that port security lets pass.", "2012-07-23"+day),
		ext("binding", "Port Binding", "Ports bound to hosts and their interfaces.", "2014-02-03"+day),
		ext("port-mac-address-regenerate", "Neutron Port MAC address regenerate", "A port gets a new MAC address where null is put.", "2018-05-03"+day),
		ext("ip-substring-filtering", "IP address substring filtering", "Ports by a part of an address.", "2017-11-28T09:00:00-00:00"),
		ext("net-mtu", "Network MTU", "The MTU of a network.", "2015-03-25"+day),
		ext("net-mtu-writable", "Network MTU (writable)", "The MTU of a network can be set.", "2017-07-12"+day),
		ext("subnet_allocation", "Subnet Allocation", "Subnet pools, and subnets from them.", "2015-03-30"+day),
		ext("default-subnetpools", "Default Subnetpools", "A default subnet pool.", "2016-02-18T18:00:00-00:00"),
		ext("subnetpool-prefix-ops", "Subnet Pool Prefix Operations", "Prefixes of subnet pools added and removed.", "2019-02-08"+day),
		ext("address-scope", "Address scope", "Subnet pools without common addresses.", "2015-07-26"+day),
		ext("subnet-service-types", "Subnet service types", "Subnets for the ports of certain owners.", "2016-03-15T18:00:00-00:00"),
		ext("provider", "Provider Network", "What a network is made of.", "2012-09-07"+day),
		ext("rbac-policies", "RBAC Policies", "Objects of one project for others.", "2015-06-17T12:15:12-00:00"),
		ext("rbac-subnetpool", "Add subnetpool type to RBAC", "Subnet pools for other projects.", "2020-02-05T00:00:00-00:00"),
		ext("rbac-address-scope", "Add address_scope type to RBAC", "Address scopes for other projects.", "2020-02-12T00:00:00-00:00"),
		ext("quotas", "Quota management support", "Limits of what a project may have.", "2012-07-29"+day),
		ext("quota_details", "Quota details management support", "What a project has, beside its limits.", "2017-02-10"+day),
		ext("quota-check-limit", "Quota engine limit check", "A limit below what there is can be refused.", "2021-09-08T16:00:00-00:00"),
		ext("standard-attr-tag", "Tag support for resources with standard attribute", "Tags on networks, subnets, ports and routers.", "2017-01-01"+day),
		ext("standard-attr-revisions", "Resource revision numbers", "revision_number counts the changes of a resource.", "2016-04-11"+day),
		ext("revision-if-match", "If-Match constraints based on revision_number", "If-Match: revision_number=N for PUT and DELETE.", "2016-12-11"+day),
		ext("standard-attr-timestamp", "Resource timestamps", "created_at and updated_at.", "2016-09-12"+day),
		ext("standard-attr-description", "standard-attr-description", "Descriptions of resources.", "2016-02-10"+day),
		ext("pagination", "Pagination support", "limit, marker and page_reverse.", "2016-06-12"+day),
		ext("sorting", "Sorting support", "sort_key and sort_dir.", "2016-06-12"+day),
		ext("agent", "agent", "The site's hosts, each as an agent.", "2013-02-03"+day),
		ext("project-id", "project_id field enabled", "project_id beside tenant_id.", "2016-09-09"+day),
		ext("gateway-device", "Midonet Gateway Device Extension", "VXLAN endpoints between sites and their remote MAC tables.", "2015-11-11"+day),
		ext("l2-gateway", "L2 Gateway", "L2 gateways on gateway devices.", "2015-01-01T00:00:00-00:00"),
		ext("l2-gateway-connection", "L2 Gateway connection", "Networks on L2 gateways.", "2014-01-01T00:00:00-00:00"),
	}
}

// registerInfo serves what says something of the API itself.
func (a *API) registerInfo() {
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { a.WriteError(w, r, errNoURL()) })
	get := func(path, name, summary string, reply *openapi.Schema, answer func(*http.Request) (any, error)) {
		a.answer(Extra{Method: http.MethodGet, Path: path, Name: name, Summary: summary, Reply: reply, Answer: answer})
	}
	get("/{$}", "list_versions", "List the versions of the API.", openapi.Written[versions](), func(r *http.Request) (any, error) {
		return versions{[]version{{"v2.0", "CURRENT", []link{{"self", baseURL(r) + "/v2.0/"}}}}}, nil
	})
	get("/v2.0", "show_version", "List the resources of the API.", openapi.Written[resources](), a.showVersion)
	shown := openapi.Written[extension]()
	get("/v2.0/extensions", "list_extensions", "List the extensions that work.", wrapped("extensions", openapi.ListOf(shown, -1)), func(*http.Request) (any, error) {
		return map[string]any{"extensions": extensions()}, nil
	})
	get("/v2.0/extensions/{alias}", "show_extension", "Show an extension.", wrapped("extension", shown), func(r *http.Request) (any, error) {
		for _, e := range extensions() {
			if e.Alias == r.PathValue("alias") {
				return map[string]any{"extension": e}, nil
			}
		}
		return nil, errNoURL()
	})
	get(descriptionPath, "describe", "Describe the API: this document.", openapi.Of(openapi.Map), func(*http.Request) (any, error) {
		return json.RawMessage(a.description), nil
	})
	// What does not exist yet: the empty list is the truth, and clients ask for it
	// before they create or delete other things.
	a.absent("security-groups", "security_groups", "SecurityGroupNotFound", "security groups do not exist yet")
	a.absent("security-group-rules", "security_group_rules", "SecurityGroupRuleNotFound", "security groups do not exist yet")
	a.absent("floatingips", "floatingips", "FloatingIPNotFound", noExternal)
}

// absent serves a collection that is always empty.
func (a *API) absent(path, plural, notFound, words string) {
	a.handle("/v2.0/"+path, methods{
		http.MethodGet: {
			name: "list_" + plural, summary: "The empty list: " + words + ".",
			status: http.StatusOK, reply: wrapped(plural, openapi.ListOf(&openapi.Schema{}, 0)),
			serve: func(w http.ResponseWriter, r *http.Request) error {
				a.WriteJSON(w, http.StatusOK, map[string]any{plural: []any{}})
				return nil
			},
		},
		http.MethodPost: {
			name: "create_" + plural, summary: "Always refused: " + words + ".",
			serve: func(http.ResponseWriter, *http.Request) error { return site.Unsupported("%s", words) },
		},
	})
	missing := func(verb string) operation {
		return operation{name: verb + "_" + plural, summary: "Never found: " + words + ".", serve: func(_ http.ResponseWriter, r *http.Request) error {
			return model.Errf(model.KindNotFound, notFound, "%s could not be found: %s", clip(r.PathValue("id")), words)
		}}
	}
	a.handle("/v2.0/"+path+"/{id}", methods{http.MethodGet: missing("show"), http.MethodPut: missing("update"), http.MethodDelete: missing("delete")})
}

type versions struct {
	Versions []version `json:"versions"`
}

type version struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Links  []link `json:"links"`
}

type resources struct {
	Resources []resourceEntry `json:"resources"`
}

type resourceEntry struct {
	Name       string `json:"name"`
	Collection string `json:"collection"`
	Links      []link `json:"links"`
}

func (a *API) showVersion(r *http.Request) (any, error) {
	var out resources
	for _, c := range a.collections {
		out.Resources = append(out.Resources, resourceEntry{c.name, c.plural, []link{{"self", baseURL(r) + c.path}}})
	}
	return out, nil
}
