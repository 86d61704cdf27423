package neutronapi

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/store"
)

// reserved are the query parameters that are no filters.
var reserved = map[string]bool{
	"fields": true, "limit": true, "marker": true, "page_reverse": true, "sort_key": true, "sort_dir": true,
}

// maxFilter bounds the values of one filter: each resource is compared with them.
const maxFilter = 1000

// query is what a list is asked for.
type query[I, M any] struct {
	filters []filter[I, M]
	keys    []sortKey[I, M]
	limit   int // 0: no limit
	marker  string
	reverse bool
}

type filter[I, M any] struct {
	attr *attribute[I, M]
	want []string // sorted
}

type sortKey[I, M any] struct {
	attr *attribute[I, M]
	desc bool
}

func parseQuery[I, M any](table []attribute[I, M], q url.Values) (query[I, M], error) {
	out := query[I, M]{marker: q.Get("marker")}
	if s := q.Get("page_reverse"); s != "" {
		out.reverse, _ = toBool(s)
	}
	if q.Has("limit") {
		n, err := strconv.Atoi(q.Get("limit"))
		if err != nil || n < 0 {
			return out, model.Errf(model.KindInvalid, "BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not '%s'.", clip(q.Get("limit")))
		}
		out.limit = n
	}
	keys, dirs := q["sort_key"], q["sort_dir"]
	if len(keys) != len(dirs) {
		return out, badAttribute("The number of sort_keys and sort_dirs must be same")
	}
	seen := map[string]bool{}
	for i, k := range keys {
		a := byName(table, k)
		if a == nil || a.get == nil {
			return out, badAttribute("['%s'] is invalid attribute for sort_keys", clip(k))
		}
		if dirs[i] != "asc" && dirs[i] != "desc" {
			return out, badAttribute("%s is invalid value for sort_dirs, value must be 'asc' and 'desc'", clip(dirs[i]))
		}
		if seen[k] {
			continue // the first decides
		}
		seen[k] = true
		out.keys = append(out.keys, sortKey[I, M]{a, dirs[i] == "desc"})
	}
	for name, values := range q {
		if reserved[name] {
			continue
		}
		a := byName(table, name)
		if a == nil || !a.filters() {
			continue // Neutron passes over filters that it does not know
		}
		values = given(values)
		slices.Sort(values)
		values = slices.Compact(values)
		parts := len(values)
		for _, v := range values {
			parts += strings.Count(v, ",") // a list of tags
		}
		if parts > maxFilter {
			return out, badAttribute("The filter %s has %d values; the limit is %d", name, parts, maxFilter)
		}
		if len(values) > 0 {
			if s := a.reply(); s != nil && slices.Equal(s.Type, openapi.Types{openapi.Boolean}) {
				for _, v := range values {
					if _, err := toBool(v); err != nil {
						return out, err
					}
				}
			}
			out.filters = append(out.filters, filter[I, M]{a, values})
		}
	}
	return out, nil
}

func byName[I, M any](table []attribute[I, M], name string) *attribute[I, M] {
	for i := range table {
		if table[i].name == name {
			return &table[i]
		}
	}
	return nil
}

// matches tells whether m passes every filter.
func (q *query[I, M]) matches(s store.Snapshot, m *M) bool {
	for _, f := range q.filters {
		if f.attr.match != nil {
			if !f.attr.match(s, m, f.want) {
				return false
			}
		} else if !valueMatches(f.attr.get(s, m), f.want) {
			return false
		}
	}
	return true
}

// valueMatches compares a reply's value with a filter's texts.
func valueMatches(v any, want []string) bool {
	if s, ok := v.(string); ok {
		_, found := slices.BinarySearch(want, s)
		return found
	}
	return slices.ContainsFunc(want, func(w string) bool {
		switch v := v.(type) {
		case bool:
			b, err := toBool(w)
			return err == nil && b == v
		case int, int64:
			n, err := strconv.ParseInt(w, 10, 64)
			return err == nil && n == toInt64(v)
		case []string:
			return slices.Contains(v, w)
		}
		return false
	})
}

func toInt64(v any) int64 {
	switch v := v.(type) {
	case int:
		return int64(v)
	case int64:
		return v
	}
	return 0
}

// compare orders two resources: by the sort keys, then by id, so that the order is
// total and a marker has one place in it.
func (r *resource[I, M]) compare(q *query[I, M], s store.Snapshot, a, b *M) int {
	for _, k := range q.keys {
		c := compareValues(k.attr.get(s, a), k.attr.get(s, b))
		if k.desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(r.id(a), r.id(b))
}

// compareValues orders values of one attribute. What has no order is equal.
func compareValues(a, b any) int {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return cmp.Compare(a, b)
		}
	case int, int64:
		if b != nil {
			return cmp.Compare(toInt64(a), toInt64(b))
		}
	case bool:
		if b, ok := b.(bool); ok && a != b {
			if b {
				return -1
			}
			return 1
		}
	case nil:
		if b != nil {
			return -1
		}
	}
	if a != nil && b == nil {
		return 1
	}
	return 0
}

// page cuts the page out of sorted items.
func (r *resource[I, M]) page(q *query[I, M], s store.Snapshot, items []*M, marker *M) []*M {
	if marker != nil {
		at, found := slices.BinarySearchFunc(items, marker, func(x, m *M) int { return r.compare(q, s, x, m) })
		switch {
		case q.reverse:
			items = items[:at]
		case found:
			items = items[at+1:]
		default:
			items = items[at:]
		}
	}
	switch {
	case q.limit == 0 || len(items) <= q.limit:
		return items
	case q.reverse:
		return items[len(items)-q.limit:]
	}
	return items[:q.limit]
}

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// links leads to the pages around this one; none where no page size was asked for.
// As in Neutron a page that is full has a next one, if only an empty one, and each
// page a previous one: what clients walk back and forth by.
func (r *resource[I, M]) links(req *http.Request, q *query[I, M], count int, first, last *M) []link {
	if q.limit == 0 {
		return nil
	}
	href := func(at *M, reverse bool) string {
		values := req.URL.Query()
		values.Del("marker")
		if at != nil {
			values.Set("marker", r.id(at))
		}
		values.Del("page_reverse")
		if reverse {
			values.Set("page_reverse", "True")
		}
		return baseURL(req) + req.URL.EscapedPath() + "?" + values.Encode()
	}
	full := count >= q.limit
	var out []link
	if full || q.reverse {
		out = append(out, link{"next", href(last, false)})
	}
	if full || !q.reverse {
		out = append(out, link{"previous", href(first, true)})
	}
	return out
}
