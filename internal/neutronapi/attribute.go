package neutronapi

import (
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// attribute is one line of a resource's table. I is what a request fills, M what
// is stored. What a request may say of it is one value (see value) that both reads
// it and describes it; what replies say is described by gives.
type attribute[I, M any] struct {
	name     string
	post     bool // may be set by POST
	put      bool // may be set by PUT
	required bool // must be set by POST
	// explicit: a POST that has it says something, whatever the value: there is no
	// default that it could be equal to. Policy asks.
	explicit bool
	// always calls set with nil where a POST does not have the attribute.
	always bool
	// takes reads the decoded JSON value; the zero input for what the server alone
	// says.
	takes input[I]
	// get is the value in replies; nil for what is never shown.
	get func(store.Snapshot, *M) any
	// gives describes what get returns; nil where that is the kind of value that
	// requests have.
	gives *openapi.Schema
	// match says whether the resource has one of the wanted values of a filter;
	// nil compares with get.
	match func(store.Snapshot, *M, []string) bool
}

// apply reads the attributes of a POST into in.
func applyPost[I, M any](table []attribute[I, M], in *I, attrs map[string]any) error {
	if err := known(table, attrs); err != nil {
		return err
	}
	// Both names may be given, for one project.
	if tenant, project := attrs["tenant_id"], attrs["project_id"]; tenant != nil && project != nil && text(tenant) != text(project) {
		return badAttribute("'project_id' and 'tenant_id' do not match")
	}
	for _, a := range table {
		_, given := attrs[a.name]
		if given && !a.post {
			return badAttribute("Attribute '%s' not allowed in POST", a.name)
		}
		if !given && a.required {
			return badAttribute("Failed to parse request. Required attribute '%s' not specified", a.name)
		}
	}
	return setAll(table, in, attrs, true)
}

// checkPut refuses what a PUT may not have.
func checkPut[I, M any](table []attribute[I, M], attrs map[string]any) error {
	if err := known(table, attrs); err != nil {
		return err
	}
	for _, a := range table {
		if _, given := attrs[a.name]; given && !a.put {
			return badAttribute("Cannot update read-only attribute %s", a.name)
		}
	}
	return nil
}

func known[I, M any](table []attribute[I, M], attrs map[string]any) error {
	var unknown []string
	for name := range attrs {
		if !slices.ContainsFunc(table, func(a attribute[I, M]) bool { return a.name == name }) {
			unknown = append(unknown, clip(name))
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		unknown = unknown[:min(len(unknown), 10)]
		return badAttribute("Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	return nil
}

// setAll goes in the order of the table, so that the same request always reads
// the same error.
func setAll[I, M any](table []attribute[I, M], in *I, attrs map[string]any, post bool) error {
	for _, a := range table {
		v, given := attrs[a.name]
		if !given && !(post && a.always) {
			continue
		}
		if err := a.takes.set(in, v); err != nil {
			return named(a.name, err)
		}
	}
	return nil
}

// filters tells whether lists can be filtered by the attribute.
func (a *attribute[I, M]) filters() bool { return a.get != nil || a.match != nil }

// reply describes the attribute in replies; nil where it is not in them.
func (a *attribute[I, M]) reply() *openapi.Schema {
	switch {
	case a.get == nil:
		return nil
	case a.gives != nil:
		return a.gives
	}
	return a.takes.gives
}

// neutral is an attribute that exists in Neutron and not here: only values that
// ask for nothing are taken, all others are refused in words, never ignored.
func neutral[I, M any](name, words string) attribute[I, M] {
	refuse := func(any) error {
		return site.Unsupported("%s: %s", name, words)
	}
	ignore := func(*I, struct{}) error { return nil }
	return attribute[I, M]{name: name, post: true, put: true, takes: with(nothing(refuse), ignore)}
}

// undecided is an attribute that exists in Neutron and not here, and of which each value
// but null asks for something.
func undecided[I, M any](name, words string) attribute[I, M] {
	null := openapi.Of(openapi.Null)
	takes := value[struct{}]{null, null, func(x any) (none struct{}, err error) {
		if x != nil {
			err = site.Unsupported("%s: %s", name, words)
		}
		return none, err
	}}
	return attribute[I, M]{name: name, post: true, put: true, takes: with(takes, func(*I, struct{}) error { return nil })}
}

// shown gives a neutral attribute its constant value in replies.
func shown[I, M any](a attribute[I, M], value any) attribute[I, M] {
	a.get = func(store.Snapshot, *M) any { return value }
	a.gives = constant(value)
	return a
}

// readOnly is an attribute that only the server says.
func readOnly[I, M any](name string, gives *openapi.Schema, get func(store.Snapshot, *M) any) attribute[I, M] {
	return attribute[I, M]{name: name, gives: gives, get: get}
}

// idAttr is the id that the server gives.
func idAttr[I, M any, ID ~string](id func(*M) ID) attribute[I, M] {
	return readOnly[I]("id", pattern(uuidPattern), func(_ store.Snapshot, m *M) any { return string(id(m)) })
}

// named and owned attributes, which most resources have.

func nameAttr[I, M any](in func(*I) *model.Standard, out func(*M) *model.Standard) attribute[I, M] {
	return attribute[I, M]{name: "name", post: true, put: true,
		takes: into(nullable(label()), func(i *I) *string { return &in(i).Name }),
		get:   func(_ store.Snapshot, m *M) any { return out(m).Name }}
}

// projectAttr is tenant_id or project_id: the same under two names.
func projectAttr[I, M any](name string, in func(*I) *model.ProjectID, out func(*M) model.ProjectID) attribute[I, M] {
	return attribute[I, M]{name: name, post: true,
		takes: with(label(), func(i *I, s string) error {
			if s != "" {
				*in(i) = model.ProjectID(s)
			}
			return nil
		}),
		get: func(_ store.Snapshot, m *M) any {
			if out == nil {
				return nil
			}
			return string(out(m))
		}}
}

// standardAttrs are the attributes of every standard Neutron resource.
func standardAttrs[I, M any](in func(*I) *model.Standard, out func(*M) *model.Standard) []attribute[I, M] {
	project := func(i *I) *model.ProjectID { return &in(i).ProjectID }
	owner := func(m *M) model.ProjectID { return out(m).ProjectID }
	tags := func(_ store.Snapshot, m *M) any { return list(out(m).Tags) }
	return []attribute[I, M]{
		nameAttr(in, out),
		{name: "description", post: true, put: true,
			takes: into(nullable(label()), func(i *I) *string { return &in(i).Description }),
			get:   func(_ store.Snapshot, m *M) any { return out(m).Description }},
		projectAttr("tenant_id", project, owner),
		projectAttr("project_id", project, owner),
		readOnly[I]("revision_number", openapi.Of(openapi.Integer), func(_ store.Snapshot, m *M) any { return out(m).Revision }),
		readOnly[I]("created_at", stamp(), func(_ store.Snapshot, m *M) any { return stampText(out(m).CreatedAt) }),
		readOnly[I]("updated_at", stamp(), func(_ store.Snapshot, m *M) any { return stampText(out(m).UpdatedAt) }),
		{name: "tags", gives: openapi.ListOf(openapi.Of(openapi.String), -1), get: tags, match: func(_ store.Snapshot, m *M, want []string) bool {
			return hasAllTags(out(m).Tags, want)
		}},
		// The other filters by tags; no attributes.
		{name: "tags-any", match: func(_ store.Snapshot, m *M, want []string) bool {
			return hasAnyTag(out(m).Tags, want)
		}},
		{name: "not-tags", match: func(_ store.Snapshot, m *M, want []string) bool {
			return !hasAllTags(out(m).Tags, want)
		}},
		{name: "not-tags-any", match: func(_ store.Snapshot, m *M, want []string) bool {
			return !hasAnyTag(out(m).Tags, want)
		}},
	}
}

func stamp() *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{openapi.String}, Format: "date-time"}
}

// stampText writes a time as Neutron does. Two of them are in each row of a list, and
// time.Format takes as long for them as the ids take.
func stampText(t time.Time) string {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if year < 0 || year > 9999 {
		return t.Format("2006-01-02T15:04:05Z")
	}
	b := [...]byte{0, 0, 0, 0, '-', 0, 0, '-', 0, 0, 'T', 0, 0, ':', 0, 0, ':', 0, 0, 'Z'}
	for _, two := range [...]struct{ at, n int }{{0, year / 100}, {2, year % 100}, {5, int(month)}, {8, day}, {11, hour}, {14, minute}, {17, second}} {
		b[two.at], b[two.at+1] = '0'+byte(two.n/10), '0'+byte(two.n%10)
	}
	return string(b[:])
}

// list makes JSON write [] where there is nothing.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// hasAllTags reads the values of a tags filter, each a list with commas.
func hasAllTags(have, want []string) bool {
	for _, w := range want {
		for tag := range strings.SplitSeq(w, ",") {
			if !slices.Contains(have, tag) {
				return false
			}
		}
	}
	return true
}

func hasAnyTag(have, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool {
		for tag := range strings.SplitSeq(w, ",") {
			if slices.Contains(have, tag) {
				return true
			}
		}
		return false
	})
}
