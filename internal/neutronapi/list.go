package neutronapi

import (
	"iter"
	"net/http"
	"slices"

	"github.com/causeway-net/causeway/internal/store"
)

func (r *resource[I, M]) serveList(a *API, w http.ResponseWriter, req *http.Request) error {
	q, err := parseQuery(r.attrs, req.URL.Query())
	if err != nil {
		return err
	}
	v, err := a.view(req.Context())
	if err != nil {
		return err
	}
	if err := r.mayList(req, v); err != nil {
		return err
	}
	var marker *M
	if q.marker != "" {
		if marker, err = r.get(a, req, v, q.marker); err != nil {
			return err
		}
	}
	candidates, sorted, err := r.candidates(req, v)
	if err != nil {
		return err
	}
	r.openKeys(&q, v)
	var s store.Snapshot = v // once, not for each resource
	sees := r.filter(a, v)
	passes := func(m *M) bool {
		return (sees == nil || sees(m)) && q.matches(s, m) && r.openFilters(a, v, &q, m)
	}
	var page []*M
	if sorted && len(q.keys) == 0 && !q.reverse {
		page = r.take(&q, candidates, marker, passes)
	} else {
		var items []*M
		for m := range candidates {
			if passes(m) {
				items = append(items, m)
			}
		}
		err := a.inTurn(req.Context(), len(items) > 1000, func() {
			slices.SortFunc(items, func(x, y *M) int { return r.compare(&q, s, x, y) })
		})
		if err != nil {
			return err
		}
		page = r.page(&q, s, items, marker)
	}
	return r.answerAll(a, w, req, http.StatusOK, v, page, fieldsOf(req), r.links(req, &q, page))
}

// take is page for resources that come in the order of the list: it goes no farther
// than the page.
func (r *resource[I, M]) take(q *query[I, M], candidates iter.Seq[*M], marker *M, passes func(*M) bool) (page []*M) {
	after := ""
	if marker != nil {
		after = r.id(marker)
	}
	for m := range candidates {
		if r.id(m) <= after || !passes(m) {
			continue
		}
		if page = append(page, m); len(page) == q.limit {
			break
		}
	}
	return page
}

// candidates are the resources that a list looks through, and whether they come in
// order of id. With an id filter they are just those, since clients look every name
// and id up this way; with another that there is an index for, what that has.
func (r *resource[I, M]) candidates(req *http.Request, s store.Snapshot) (_ iter.Seq[*M], sorted bool, _ error) {
	if r.all != nil {
		all, err := r.all(req, s)
		return all, false, err
	}
	query := req.URL.Query()
	if ids := given(query["id"]); len(ids) > 0 {
		return existing[M](s, r.kind, ids), true, nil
	}
	var fewest []string
	indexed := false
	for name, ids := range r.indexes {
		values := given(query[name])
		if len(values) == 0 {
			continue
		}
		found := []string{}
		for _, v := range values {
			found = append(found, ids(s, v)...)
		}
		if !indexed || len(found) < len(fewest) {
			fewest, indexed = found, true
		}
	}
	if indexed {
		return existing[M](s, r.kind, fewest), true, nil
	}
	return store.All[M](s, r.kind), true, nil
}

// given are the values of a filter that say something.
func given(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(s string) bool { return s == "" })
}

// existing are the resources of the ids that exist, in order.
func existing[M any](s store.Snapshot, kind store.Kind, ids []string) iter.Seq[*M] {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return func(yield func(*M) bool) {
		for _, id := range ids {
			if !isUUID(id) {
				continue
			}
			if m := store.Get[M](s, kind, id); m != nil && !yield(m) {
				return
			}
		}
	}
}
