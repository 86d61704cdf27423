package neutronapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/policy"
)

// operation is one method of a path: what it does, and what the description of the
// API says of it.
type operation struct {
	name    string // as in list_networks
	summary string
	// params are those of the query and the headers; those of the path are in it.
	params []openapi.Parameter
	// body is that of the request; nil: none.
	body *openapi.Schema
	// status is that of the answer if all goes well, reply its body, nil for none.
	// 0: the operation is always refused.
	status int
	reply  *openapi.Schema
	// elsewhere: most of its time it waits for others, who are bounded themselves.
	elsewhere bool
	serve     func(http.ResponseWriter, *http.Request) error
}

// methods are the operations of a path.
type methods map[string]operation

// Extra is an operation that is served beside the resources, on a path of its own.
type Extra struct {
	Method, Path string // as in http.ServeMux
	// Name and Summary are for the API's description: trace_port, and a sentence.
	Name, Summary string
	// Body and Reply describe the request and the answer; see openapi.Read and
	// openapi.Written. A nil Body: none.
	Body, Reply *openapi.Schema
	// Answer returns what is answered with 200, or a *model.Error.
	Answer func(*http.Request) (any, error)

	elsewhere bool // see operation
}

func (a *API) extra(e Extra) {
	answer := e.Answer
	e.elsewhere = true
	e.Answer = func(r *http.Request) (any, error) {
		if err := permitted(r.Context(), policy.UseDiagnostics); err != nil {
			return nil, err
		}
		return answer(r)
	}
	a.answer(e)
}

// answer serves what is no resource.
func (a *API) answer(e Extra) {
	a.handle(e.Path, methods{e.Method: {
		name: e.Name, summary: e.Summary, body: e.Body, status: http.StatusOK, reply: e.Reply, elsewhere: e.elsewhere,
		serve: func(w http.ResponseWriter, req *http.Request) error {
			v, err := e.Answer(req)
			if err != nil {
				return err
			}
			a.WriteJSON(w, http.StatusOK, v)
			return nil
		},
	}})
}

// Route is one path that the API serves, as a pattern of http.ServeMux.
type Route struct {
	Pattern string
	Methods []string
}

// Routes lists what the API serves.
func (a *API) Routes() []Route {
	var out []Route
	for pattern, m := range a.operations {
		out = append(out, Route{pattern, slices.Sorted(maps.Keys(m))})
	}
	slices.SortFunc(out, func(x, y Route) int { return strings.Compare(x.Pattern, y.Pattern) })
	return out
}

// handle serves a path.
func (a *API) handle(pattern string, m methods) {
	a.operations[pattern] = m
	subject := a.subjectOf(pattern)
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if rec, ok := w.(*recorder); ok {
			rec.seen.Route = pattern
		}
		if id := r.PathValue("id"); id != "" {
			about(w, subject, clip(id))
		} else {
			about(w, subject)
		}
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet // net/http leaves the body out
		}
		op, ok := m[method]
		if !ok {
			w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(m)), ", "))
			a.WriteError(w, r, errMethod)
			return
		}
		l := loadOf(r.Context())
		l.elsewhere = l.elsewhere || op.elsewhere
		l.writes = method != http.MethodGet
		if op.body == nil { // else it has its place when the body has come
			if err := l.enter(r.Context(), 0); err != nil {
				a.WriteError(w, r, err)
				return
			}
		}
		if err := op.serve(w, r); err != nil {
			a.WriteError(w, r, err)
		}
	})
}
