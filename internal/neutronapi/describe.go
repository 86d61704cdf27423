package neutronapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/openapi"
)

// descriptionPath is where the API describes itself.
const descriptionPath = "/openapi.json"

// Description is the OpenAPI document of everything served, in JSON.
func (a *API) Description() []byte { return a.description }

// describe makes the document out of the routes, once they are all there.
func (a *API) describe() error {
	b, err := json.Marshal(a.document())
	if err != nil {
		return fmt.Errorf("describe the API: %w", err)
	}
	a.description = b
	return nil
}

func (a *API) document() *openapi.Document {
	doc := &openapi.Document{
		OpenAPI: openapi.Version,
		Info: openapi.Info{
			Title:   "Causeway",
			Version: "v2.0",
			Description: "The network API of a Causeway site: OpenStack Neutron v2.0, with the gateway devices of MidoNet and L2 gateways. " +
				"Every path that takes GET takes HEAD. A path may end in .json.",
		},
		Servers:  []openapi.Server{{URL: "/"}},
		Security: []openapi.SecurityRequirement{{"token": {}}},
		Paths:    map[string]*openapi.PathItem{},
		Components: openapi.Components{
			Schemas: a.schemas,
			Responses: map[string]*openapi.Response{
				"Error":           {Description: "The request is refused.", Content: &openapi.Content{Schema: errorSchema()}},
				"Unavailable":     {Description: "The store cannot be reached; try again later.", Content: &openapi.Content{Schema: errorSchema()}},
				"Unauthenticated": {Description: "The token is missing, or not valid.", Content: &openapi.Content{Schema: unauthenticatedSchema()}},
			},
			SecuritySchemes: map[string]openapi.SecurityScheme{"token": {
				Type: "apiKey", Name: "X-Auth-Token", In: openapi.InHeader,
				Description: "A token of Keystone, where the site authenticates; otherwise anything.",
			}},
		},
	}
	for pattern, m := range a.operations {
		path := strings.TrimSuffix(pattern, "{$}")
		item := &openapi.PathItem{Parameters: pathParameters(path)}
		for method, op := range m {
			o := op.describe(path, method)
			if !slices.Contains(doc.Tags, openapi.Tag{Name: o.Tags[0]}) {
				doc.Tags = append(doc.Tags, openapi.Tag{Name: o.Tags[0]})
			}
			switch method {
			case http.MethodGet:
				item.Get = o
			case http.MethodPut:
				item.Put = o
			case http.MethodPost:
				item.Post = o
			case http.MethodDelete:
				item.Delete = o
			}
		}
		doc.Paths[path] = item
	}
	slices.SortFunc(doc.Tags, func(x, y openapi.Tag) int { return strings.Compare(x.Name, y.Name) })
	return doc
}

func (op *operation) describe(path, method string) *openapi.Operation {
	o := &openapi.Operation{
		OperationID: op.name, Summary: op.summary, Tags: []string{groupOf(path)}, Parameters: op.params,
		Responses: map[string]*openapi.Response{
			"4XX": {Ref: "#/components/responses/Error"},
			"503": {Ref: "#/components/responses/Unavailable"},
		},
	}
	if isPublic(method, path) {
		o.Security = []openapi.SecurityRequirement{{}}
	} else {
		o.Responses["401"] = &openapi.Response{Ref: "#/components/responses/Unauthenticated"}
	}
	if op.body != nil {
		o.RequestBody = &openapi.RequestBody{Required: true, Content: openapi.Content{Schema: op.body}}
	}
	if op.status == 0 {
		return o
	}
	r := &openapi.Response{Description: http.StatusText(op.status), Headers: map[string]openapi.Header{
		requestIDHeader: {Description: "The id of the request, as in the log.", Schema: openapi.Of(openapi.String)},
	}}
	if op.reply != nil {
		r.Content = &openapi.Content{Schema: op.reply}
	}
	o.Responses[openapi.Status(op.status)] = r
	return o
}

// groupOf is the collection that a path belongs to.
func groupOf(path string) string {
	path = strings.TrimPrefix(strings.TrimPrefix(path, "/v2.0"), "/gw")
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if first == "" || strings.HasPrefix(path, descriptionPath) {
		return "the API itself"
	}
	return first
}

func pathParameters(path string) []openapi.Parameter {
	var out []openapi.Parameter
	for _, m := range regexp.MustCompile(`\{([a-z_]+)\}`).FindAllStringSubmatch(path, -1) {
		out = append(out, openapi.Parameter{Name: m[1], In: openapi.InPath, Required: true, Schema: openapi.Of(openapi.String)})
	}
	return out
}

func errorSchema() *openapi.Schema {
	e := closed()
	for _, name := range []string{"type", "message", "detail"} {
		e.Properties[name] = openapi.Of(openapi.String)
		e.Required = append(e.Required, name)
	}
	s := wrapped("NeutronError", e)
	s.Closed = false
	return s
}

func unauthenticatedSchema() *openapi.Schema {
	e := closed()
	e.Properties["code"], e.Properties["title"], e.Properties["message"] = openapi.Of(openapi.Integer), openapi.Of(openapi.String), openapi.Of(openapi.String)
	return wrapped("error", e)
}

// wrapped is an object with one key, as bodies are.
func wrapped(name string, s *openapi.Schema) *openapi.Schema {
	out := closed()
	out.Properties[name], out.Required = s, []string{name}
	return out
}

// asked is the body of a request: what else it has beside the key is passed over.
func asked(name string, s *openapi.Schema) *openapi.Schema {
	out := wrapped(name, s)
	out.Closed = false
	return out
}

// schemasOf puts what describes a resource among the components: its row in
// replies, and what POST and PUT take.
func schemasOf[I, M any](a *API, r *resource[I, M]) {
	row, put := closed(), closed()
	for i := range r.attrs {
		at := &r.attrs[i]
		if s := at.reply(); s != nil {
			row.Properties[at.name] = s
		}
		if at.put {
			put.Properties[at.name] = at.takes.takes
		}
	}
	a.schemas[r.name] = row
	if r.create != nil {
		a.schemas[r.name+"_create"] = postSchema(r.attrs)
	}
	if r.update != nil {
		a.schemas[r.name+"_update"] = put
	}
}

// postSchema describes what a table takes as a whole.
func postSchema[I, M any](table []attribute[I, M]) *openapi.Schema {
	s := closed()
	for i := range table {
		if at := &table[i]; at.post {
			s.Properties[at.name] = at.takes.takes
			if at.required {
				s.Required = append(s.Required, at.name)
			}
		}
	}
	return s
}

// row describes a reply with one resource.
func (r *resource[I, M]) row() *openapi.Schema { return wrapped(r.name, openapi.Ref(r.name)) }

func (r *resource[I, M]) rows() *openapi.Schema {
	s := wrapped(r.plural, openapi.ListOf(openapi.Ref(r.name), -1))
	s.Properties[r.plural+"_links"] = openapi.ListOf(openapi.Written[link](), -1)
	return s
}

// postBody describes the request and the answer of a POST.
func (r *resource[I, M]) postBody() (body, reply *openapi.Schema) {
	create := openapi.Ref(r.name + "_create")
	if !r.bulk {
		return asked(r.name, create), r.row()
	}
	many := openapi.ListOf(openapi.Any(create, asked(r.name, create)), -1)
	many.MinItems = 1
	return openapi.Any(asked(r.name, create), asked(r.plural, many)),
		openapi.Any(r.row(), wrapped(r.plural, openapi.ListOf(openapi.Ref(r.name), -1)))
}

func inQuery(name, description string, s *openapi.Schema) openapi.Parameter {
	return openapi.Parameter{Name: name, In: openapi.InQuery, Description: description, Schema: s}
}

func fieldsParameter() openapi.Parameter {
	return inQuery("fields", "Names of attributes: only these are in the reply.", openapi.ListOf(openapi.Of(openapi.String), -1))
}

// listParameters are the filters and what else a list can be asked for.
func (r *resource[I, M]) listParameters() []openapi.Parameter {
	words := openapi.ListOf(openapi.Of(openapi.String), -1)
	out := []openapi.Parameter{
		fieldsParameter(),
		inQuery("limit", "The largest number of resources in a page; 0: no limit.", &openapi.Schema{Type: openapi.Types{openapi.String}, Pattern: `^[0-9]+$`}),
		inQuery("marker", "The id of the resource before the page.", openapi.Of(openapi.String)),
		inQuery("page_reverse", "The page ends before the marker.", pattern(truthPattern)),
		inQuery("sort_key", "Names of attributes to sort by, each with a sort_dir.", words),
		inQuery("sort_dir", "A direction for each sort_key.", openapi.ListOf(enum("asc", "desc"), -1)),
	}
	for i := range r.attrs {
		if at := &r.attrs[i]; at.filters() {
			out = append(out, inQuery(at.name, "Only resources that have one of the values.", words))
		}
	}
	return out
}

// ifMatchParameter describes the header that ifMatch reads.
func (r *resource[I, M]) ifMatchParameter() []openapi.Parameter {
	if r.revision == nil {
		return nil
	}
	return []openapi.Parameter{{
		Name: "If-Match", In: openapi.InHeader, Description: "Only if the resource has this revision.", Schema: pattern(`^("revision_number=[0-9]+"|revision_number=[0-9]+)$`),
	}}
}
