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
	p := newPace(req.Context())
	defer p.rest()
	inOrder := sorted && len(q.keys) == 0 && !q.reverse
	after := func(*M) bool { return true }
	if inOrder && marker != nil {
		id := r.id(marker)
		after = func(m *M) bool { return r.id(m) > id }
	}
	passing := func(yield func(*M, error) bool) {
		for m := range candidates {
			if err := p.step(); err != nil {
				yield(nil, err)
				return
			}
			if after(m) && (sees == nil || sees(m)) && q.matches(s, m) && r.openFilters(a, v, &q, m) && !yield(m, nil) {
				return
			}
		}
	}
	if inOrder {
		page := &walk[M]{}
		links := func() []link { return r.links(req, &q, page.count, page.first, page.last) }
		return r.answerAll(a, w, p, http.StatusOK, v, page.take(passing, q.limit), fieldsOf(req), links)
	}
	items, err := collect(p, passing)
	if err != nil {
		return err
	}
	slices.SortFunc(items, func(x, y *M) int { return r.compare(&q, s, x, y) })
	page := r.page(&q, s, items, marker)
	links := func() []link {
		if len(page) == 0 {
			return r.links(req, &q, 0, nil, nil)
		}
		return r.links(req, &q, len(page), page[0], page[len(page)-1])
	}
	return r.answerAll(a, w, p, http.StatusOK, v, each(p, page), fieldsOf(req), links)
}

// collectStep is how many resources of a list that is to be sorted are charged at a
// time. They are sixteen bytes each: a slice that grows is there twice.
const collectStep = 8192

// collect makes a list of resources, which takes memory.
func collect[M any](p *pace, all iter.Seq2[*M, error]) (items []*M, err error) {
	for m, err := range all {
		if err != nil {
			return nil, err
		}
		if items = append(items, m); len(items)%collectStep == 0 {
			if err := p.l.more(16 * collectStep); err != nil {
				return nil, err
			}
		}
	}
	return items, nil
}

// walk is a page of resources that come in the order of the list: it goes no farther
// than the page, and keeps its ends alone.
type walk[M any] struct {
	first, last *M
	count       int
}

func (k *walk[M]) take(all iter.Seq2[*M, error], limit int) iter.Seq2[*M, error] {
	return func(yield func(*M, error) bool) {
		for m, err := range all {
			if err == nil {
				if k.count++; k.count == 1 {
					k.first = m
				}
				k.last = m
			}
			if !yield(m, err) || k.count == limit {
				return
			}
		}
	}
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
		return existing(s, r.table, ids), true, nil
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
		return existing(s, r.table, fewest), true, nil
	}
	return store.All(s, r.table), true, nil
}

// given are the values of a filter that say something.
func given(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(s string) bool { return s == "" })
}

// existing are the resources of the ids that exist, in order.
func existing[M any](s store.Snapshot, table store.Table[M], ids []string) iter.Seq[*M] {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return func(yield func(*M) bool) {
		for _, id := range ids {
			if !isUUID(id) {
				continue
			}
			if m := store.Get(s, table, id); m != nil && !yield(m) {
				return
			}
		}
	}
}
