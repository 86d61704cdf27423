package neutronapi

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/store"
)

// resource is one collection of the API: a table of attributes and what package
// site does for each method. I is what a request fills, M what is stored.
type resource[I, M any] struct {
	name, plural string // keys of bodies
	path         string // pattern of the collection
	table        store.Table[M]
	attrs        []attribute[I, M]
	// bulk takes a list in a POST; noBulk is what a list is answered otherwise.
	bulk   bool
	noBulk string
	// fresh makes the input of a POST with its defaults.
	fresh    func(*http.Request) *I
	id       func(*M) string
	revision func(*M) int64 // nil: no If-Match
	notFound func(string) *model.Error

	create func(context.Context, []*I) ([]*M, error)                               // nil: no POST
	update func(ctx context.Context, id string, change func(*I) error) (*M, error) // nil: see noUpdate
	remove func(ctx context.Context, r *http.Request, id string, guard func(*M) error) error
	// noUpdate answers a PUT whose attributes passed where update is nil.
	noUpdate error
	// removeParams are what a DELETE takes in its query.
	removeParams []openapi.Parameter
	// all and one read from a snapshot; nil for the plain way by table and id.
	all func(*http.Request, store.Snapshot) (iter.Seq[*M], error)
	one func(*http.Request, store.Snapshot, string) (*M, error)
	// indexes give the ids of the resources that pass a filter, by its name, where
	// that takes less than looking at all.
	indexes map[string]func(store.Snapshot, string) []string
	// standardIn and tags are set where the resource has tags.
	standardIn func(*I) *model.Standard
	standard   func(*M) *model.Standard
	// network is set where a resource belongs to a network, for policy.
	network func(*M) model.NetworkID
	// also decides about a create (of what is said) or an update (of what is stored)
	// beyond the rules; nil: nothing. It runs in the transaction.
	also func(v view, said map[string]any, m *M) error
	// parent finds what the path says that the resource belongs to, if the caller
	// may see it.
	parent func(*http.Request, view) error
	// adminWords: who may not reads so, in MidoNet's words, whether the object
	// exists or not.
	adminWords bool

	once    sync.Once
	columns []column[I, M] // see allColumns
}

func register[I, M any](a *API, r *resource[I, M]) {
	if !strings.Contains(r.path, "{") {
		a.collections = append(a.collections, collection{r.name, r.plural, r.path})
	}
	schemasOf(a, r)
	collection := methods{
		http.MethodGet: {
			name: "list_" + r.plural, summary: "List " + words(r.plural) + ".",
			params: r.listParameters(), status: http.StatusOK, reply: r.rows(),
			serve: func(w http.ResponseWriter, q *http.Request) error { return r.serveList(a, w, q) },
		},
	}
	if r.create != nil {
		body, reply := r.postBody()
		collection[http.MethodPost] = operation{
			name: "create_" + r.name, summary: "Create " + words(r.name) + ".",
			body: body, status: http.StatusCreated, reply: reply,
			serve: func(w http.ResponseWriter, q *http.Request) error { return r.servePost(a, w, q) },
		}
	}
	a.handle(r.path, collection)
	put := operation{
		name: "update_" + r.name, summary: "Update " + words(r.name) + ".",
		params: r.ifMatchParameter(), status: http.StatusOK, reply: r.row(),
		serve: func(w http.ResponseWriter, q *http.Request) error { return r.servePut(a, w, q) },
	}
	if r.update != nil {
		put.body = asked(r.name, openapi.Ref(r.name+"_update"))
	} else {
		put.status, put.reply, put.params = 0, nil, nil
		put.summary = "Always refused: delete it and create another."
	}
	a.handle(r.path+"/{id}", methods{
		http.MethodGet: {
			name: "show_" + r.name, summary: "Show " + words(r.name) + ".",
			params: []openapi.Parameter{fieldsParameter()}, status: http.StatusOK, reply: r.row(),
			serve: func(w http.ResponseWriter, q *http.Request) error { return r.serveShow(a, w, q) },
		},
		http.MethodPut: put,
		http.MethodDelete: {
			name: "delete_" + r.name, summary: "Delete " + words(r.name) + ".",
			params: append(r.ifMatchParameter(), r.removeParams...), status: http.StatusNoContent,
			serve: func(w http.ResponseWriter, q *http.Request) error { return r.serveDelete(a, w, q) },
		},
	})
	if r.standardIn != nil {
		registerTags(a, r)
	}
	a.sees[r.table.Kind()] = func(v view, o store.Object) bool {
		m, ok := o.(*M)
		return ok && r.visible(a, v, m)
	}
}

// words is the name of a resource in a sentence.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }

func fieldsOf(req *http.Request) []string {
	return slices.DeleteFunc(slices.Clone(req.URL.Query()["fields"]), func(s string) bool { return s == "" })
}

func (r *resource[I, M]) get(a *API, req *http.Request, v view, id string) (*M, error) {
	if r.parent != nil {
		if err := r.parent(req, v); err != nil {
			return nil, err
		}
	}
	if r.one != nil {
		m, err := r.one(req, v, id)
		if err == nil && !r.visible(a, v, m) {
			err = r.hiddenError(v.d, "GET", id)
		}
		return m, err
	}
	if isUUID(id) {
		if m := store.Get(v, r.table, id); m != nil && r.visible(a, v, m) {
			return m, nil
		}
	}
	return nil, r.hiddenError(v.d, "GET", id)
}

func (r *resource[I, M]) serveShow(a *API, w http.ResponseWriter, req *http.Request) error {
	v, err := a.view(req.Context())
	if err != nil {
		return err
	}
	m, err := r.get(a, req, v, req.PathValue("id"))
	if err != nil {
		return err
	}
	return r.answer(a, w, http.StatusOK, v, m, fieldsOf(req))
}

func (r *resource[I, M]) servePost(a *API, w http.ResponseWriter, req *http.Request) error {
	if err := r.mayCreate(req); err != nil {
		return err
	}
	body, err := ReadBody(req)
	if err != nil {
		return err
	}
	items, bulk, err := r.postItems(body)
	if err != nil {
		return err
	}
	if err := r.beforeCreate(req, items); err != nil {
		return err
	}
	inputs := make([]*I, 0, len(items))
	for _, attrs := range items {
		in := r.fresh(req)
		if err := applyPost(r.attrs, in, attrs); err != nil {
			return err
		}
		inputs = append(inputs, in)
	}
	about(w, r.name)
	ctx, done := a.bound(req.Context(), r.checkCreate(a, items), nil)
	made, err := r.create(ctx, inputs)
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(made))
	for _, m := range made {
		ids = append(ids, r.id(m))
	}
	about(w, r.name, ids...)
	s := done.view(req.Context())
	if !bulk {
		return r.answer(a, w, http.StatusCreated, s, made[0], nil)
	}
	p := newPace(req.Context())
	return r.answerAll(a, w, p, http.StatusCreated, s, each(p, made), nil, func() []link { return nil })
}

// maxBulk is more than one transaction takes of any resource: what is beyond it is
// refused before it costs anything.
const maxBulk = 4096

// postItems takes the attributes of one resource, or of several, out of a body.
func (r *resource[I, M]) postItems(body map[string]any) (items []map[string]any, bulk bool, err error) {
	if _, single := body[r.name]; single || !r.bulk {
		if _, many := body[r.plural]; many && !single && r.noBulk != "" {
			return nil, false, badAttribute("%s", r.noBulk)
		}
		attrs, err := unwrap(body, r.name)
		return []map[string]any{attrs}, false, err
	}
	many, ok := body[r.plural].([]any)
	if !ok {
		return nil, false, badAttribute("Unable to find '%s' in request body", r.name)
	}
	if len(many) == 0 {
		return nil, false, badAttribute("Resources required")
	}
	if len(many) > maxBulk {
		return nil, false, model.Errf(model.KindTooLarge, "TransactionTooLarge", "the request asks for %d resources; the limit is %d at once", len(many), maxBulk)
	}
	for _, x := range many {
		attrs, ok := x.(map[string]any)
		if !ok {
			return nil, false, badAttribute("Unable to find '%s' in request body", r.name)
		}
		// Neutron takes items with the resource's name around them too, and both
		// kinds in one list.
		if _, wrapped := attrs[r.name]; wrapped {
			var err error
			if attrs, err = unwrap(attrs, r.name); err != nil {
				return nil, false, err
			}
		}
		items = append(items, attrs)
	}
	return items, true, nil
}

func (r *resource[I, M]) servePut(a *API, w http.ResponseWriter, req *http.Request) error {
	id := req.PathValue("id")
	about(w, r.name, clip(id))
	if err := r.mayAsk(a, req, id, "update_"+r.name); err != nil {
		return err
	}
	body, err := ReadBody(req)
	if err != nil {
		return err
	}
	attrs, err := unwrap(body, r.name)
	if err != nil {
		return err
	}
	if err := checkPut(r.attrs, attrs); err != nil {
		return err
	}
	if r.update == nil {
		if err := r.mayChange(a, req, id); err != nil {
			return err
		}
		return r.noUpdate
	}
	met, err := r.precondition(req, id)
	if err != nil {
		return err
	}
	if !isUUID(id) {
		return r.hiddenError(deciderOf(req.Context()), "UPDATE", id)
	}
	ctx, done := a.bound(req.Context(), r.checkChange(a, id, "UPDATE", "update_"+r.name, attrs), met)
	m, err := r.update(ctx, id, func(in *I) error { return setAll(r.attrs, in, attrs, false) })
	if err != nil {
		return err
	}
	return r.answer(a, w, http.StatusOK, done.view(req.Context()), m, nil)
}

func (r *resource[I, M]) serveDelete(a *API, w http.ResponseWriter, req *http.Request) error {
	id := req.PathValue("id")
	about(w, r.name, clip(id))
	guard, err := r.guard(req)
	if err != nil {
		return err
	}
	if !isUUID(id) {
		return r.hiddenError(deciderOf(req.Context()), "DELETE", id)
	}
	ctx, _ := a.bound(req.Context(), r.checkChange(a, id, "DELETE", "delete_"+r.name, nil), nil)
	if err := r.remove(ctx, req, id, guard); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// guard is what If-Match asks of a resource; nil for nothing.
func (r *resource[I, M]) guard(req *http.Request) (func(*M) error, error) {
	want, is, err := ifMatch(req)
	switch {
	case err != nil || !is:
		return nil, err
	case r.revision == nil:
		return nil, unconditional(req)
	}
	return func(m *M) error {
		if have := r.revision(m); have != want {
			return model.Errf(model.KindPrecondition, "RevisionNumberConstraintFailed", "Constrained to %d, but current revision is %d", want, have)
		}
		return nil
	}, nil
}

// precondition is the guard of the resource that a change is about, to be looked at in
// the change's transaction; nil for none.
func (r *resource[I, M]) precondition(req *http.Request, id string) (func(store.Reader) error, error) {
	guard, err := r.guard(req)
	if guard == nil {
		return nil, err
	}
	return func(s store.Reader) error {
		m := store.Get(s, r.table, id)
		if m == nil {
			return nil // package site says what does not exist
		}
		return guard(m)
	}, nil
}

// ifMatch reads the header If-Match: revision_number=N, or "revision_number=N", which
// is how HTTP writes it.
func ifMatch(req *http.Request) (n int64, is bool, err error) {
	h := given(req.Header.Values("If-Match"))
	if len(h) == 0 {
		return 0, false, nil
	}
	s, ok := strings.CutPrefix(strings.Trim(h[0], `"`), "revision_number=")
	if ok && len(h) == 1 {
		n, err = strconv.ParseInt(s, 10, 64)
	}
	if !ok || len(h) > 1 || err != nil {
		return 0, false, badAttribute("If-Match must be revision_number=N")
	}
	return n, true, nil
}

// unconditional refuses a precondition that nothing can be held to.
func unconditional(req *http.Request) error {
	_, is, err := ifMatch(req)
	if err == nil && is {
		err = badAttribute("Revision matching not supported for this resource")
	}
	return err
}
