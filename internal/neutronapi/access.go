package neutronapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/policy"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// Who may do what is decided here, by the rules of package policy, and always on
// the state that the answer is about: of a read, its snapshot; of a write, what its
// own transaction reads (see site.Access). Where nobody authenticates there is no
// decider, and everything is allowed.

type deciderKey struct{}

// deciderOf is what decides about the request; nil: all is allowed.
func deciderOf(ctx context.Context) *policy.Decider {
	d, _ := ctx.Value(deciderKey{}).(*policy.Decider)
	return d
}

// view is a snapshot as one caller sees it.
type view struct {
	store.Snapshot
	d       *policy.Decider
	project model.ProjectID
}

// view is a snapshot with every write acknowledged before, as the request's caller
// sees it.
func (a *API) view(ctx context.Context) (view, error) {
	s, err := a.site.View(ctx)
	return viewOf(ctx, s), err
}

func viewOf(ctx context.Context, s store.Snapshot) view {
	c, _ := identity.From(ctx)
	return view{s, deciderOf(ctx), c.ProjectID}
}

// inTx is what a transaction reads, where a snapshot is asked for.
type inTx struct{ store.Reader }

func (inTx) Revision() int64 { return 0 }

// projectIn is the project with whose eyes a snapshot is looked at, "" for none.
func projectIn(s store.Snapshot) model.ProjectID {
	v, _ := s.(view)
	return v.project
}

// bound makes the context of a write: check runs in its transaction, then met, which
// may be nil, and what the request names exists only as far as the caller may see it.
func (a *API) bound(ctx context.Context, check func(view) error, met func(store.Reader) error) (context.Context, *outcome) {
	d, done := deciderOf(ctx), new(outcome)
	if d == nil {
		return site.WithAccess(ctx, site.Access{Check: met, Done: done.set}), done
	}
	return site.WithAccess(ctx, site.Access{
		Done: done.set,
		Owns: func(p model.ProjectID) bool { return d.Admin() || p == d.Caller().ProjectID },
		Check: func(r store.Reader) error {
			if err := check(viewOf(ctx, inTx{r})); err != nil || met == nil {
				return err
			}
			return met(r)
		},
		Sees: func(r store.Reader, kind store.Kind, o store.Object) bool {
			sees, known := a.sees[kind]
			return !known || sees(viewOf(ctx, inTx{r}), o)
		},
	}), done
}

// outcome is the state that a write has led to, from which its answer is made. It
// belongs to the request's goroutine.
type outcome struct{ s store.Snapshot }

func (o *outcome) set(s store.Snapshot) { o.s = s }

// view is the state as the request's caller sees it.
func (o *outcome) view(ctx context.Context) view { return viewOf(ctx, o.s) }

// target is what policy looks at: a stored object, what a request says of it, or
// both, of which the request goes before.
type target[I, M any] struct {
	a     *API
	r     *resource[I, M]
	v     view
	m     *M // nil: to be created
	said  map[string]any
	owner string // of what is to be created
}

func (t *target[I, M]) Attribute(name string) (string, bool) {
	switch name {
	case "tenant_id", "project_id":
		return t.project()
	}
	if parent, attr, ok := strings.Cut(name, ":"); ok && parent == "network" && t.r.network != nil {
		n := t.parent()
		if n == nil {
			return "", false
		}
		if attr == "tenant_id" || attr == "project_id" {
			return string(n.ProjectID), true // what lists ask of each resource
		}
		return (&target[model.Network, model.Network]{a: t.a, r: t.a.networks, v: t.v, m: n}).Attribute(attr)
	}
	if v, given := t.said[name]; given {
		if name == "device_owner" {
			// It means the same in every case.
			return strings.ToLower(plain(v)), true
		}
		return plain(v), true
	}
	if t.m == nil {
		return "", false
	}
	if attr := byName(t.r.attrs, name); attr != nil && attr.get != nil {
		return plain(attr.get(t.v, t.m)), true
	}
	return "", false
}

// plain writes a value whole, as policy's texts compare it.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return v
	case json.Number:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "" // what came as JSON, or goes out as JSON, is written as JSON
	}
	return string(b)
}

func (t *target[I, M]) project() (string, bool) {
	if t.m == nil {
		return t.owner, true
	}
	if t.r.standard != nil {
		return string(t.r.standard(t.m).ProjectID), true
	}
	if attr := byName(t.r.attrs, "tenant_id"); attr != nil && attr.get != nil {
		owner, ok := attr.get(t.v, t.m).(string)
		return owner, ok
	}
	return "", false
}

// parent is the network that the target belongs to.
func (t *target[I, M]) parent() *model.Network {
	id := model.NetworkID("")
	if t.m != nil {
		id = t.r.network(t.m)
	} else if s, ok := t.said["network_id"].(string); ok {
		id = model.NetworkID(strings.ToLower(s))
	}
	return store.Get(t.v.Snapshot, store.Networks, string(id))
}

// visible tells whether the caller may know of m.
func (r *resource[I, M]) visible(a *API, v view, m *M) bool {
	return v.d == nil || v.d.Allowed("get_"+r.name, &target[I, M]{a: a, r: r, v: v, m: m})
}

// filter is visible for many; nil where all are.
func (r *resource[I, M]) filter(a *API, v view) func(*M) bool {
	if v.d == nil {
		return nil
	}
	action := "get_" + r.name
	if allowed, known := v.d.Always(action); known {
		if allowed {
			return nil
		}
		return func(*M) bool { return false }
	}
	t := &target[I, M]{a: a, r: r, v: v}
	return func(m *M) bool {
		t.m = m
		return v.d.Allowed(action, t)
	}
}

// hidden tells whether policy keeps an attribute of m from the caller.
func (r *resource[I, M]) hidden(a *API, v view, attr *attribute[I, M], m *M) bool {
	if v.d == nil {
		return false
	}
	action := "get_" + r.name + ":" + attr.name
	if !v.d.Has(action) {
		return false
	}
	if allowed, known := v.d.Always(action); known {
		return !allowed
	}
	return !v.d.Allowed(action, &target[I, M]{a: a, r: r, v: v, m: m})
}

// rules are the rules that an action has to pass: its own, and those of the
// attributes that it says something with.
func (r *resource[I, M]) rules(d *policy.Decider, action string, said map[string]any, says func(*attribute[I, M], any) bool) []string {
	out := []string{action}
	for i := range r.attrs {
		attr := &r.attrs[i]
		v, given := said[attr.name]
		if !given || !says(attr, v) {
			continue
		}
		name := action + ":" + attr.name
		if d.Has(name) {
			out = append(out, name)
		}
		for _, key := range keysOf(v) {
			if sub := name + ":" + key; d.Has(sub) {
				out = append(out, sub)
			}
		}
	}
	return out
}

// keysOf are the keys of a dictionary, or of the dictionaries in a list, in order.
func keysOf(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			out = append(out, k)
		}
	case []any:
		for _, x := range v {
			if d, ok := x.(map[string]any); ok {
				out = append(out, keysOf(d)...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// saysAnything tells whether a POST's value asks for more than what leaving the
// attribute out would give.
func saysAnything[I, M any](a *attribute[I, M], v any) bool {
	if a.explicit {
		return v != nil
	}
	switch v := v.(type) {
	case nil:
		return false
	case string:
		// Where only texts are taken, these two are texts like others.
		no := strings.EqualFold(v, "false") || v == "0"
		return v != "" && !(no && takesMore(a.takes.takes))
	case bool:
		return v
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return plain(v) != "0"
}

// takesMore tells whether a schema has truth values or numbers beside texts.
func takesMore(s *openapi.Schema) bool {
	if s == nil {
		return false
	}
	return slices.Contains(s.Type, openapi.Boolean) || slices.Contains(s.Type, openapi.Integer) || slices.ContainsFunc(s.AnyOf, takesMore)
}

// refused is the 403 in Neutron's words.
func refused(rules []string) error {
	s := "rule:" + rules[0]
	for _, r := range rules[1:] {
		s = "(" + s + " and rule:" + r + ")"
	}
	return model.Errf(model.KindForbidden, "PolicyNotAuthorized", "%s is disallowed by policy", s)
}

// denied is what a caller reads who may not do this to what it may see.
func (r *resource[I, M]) denied(verb string, rules []string) error {
	if r.adminWords {
		return model.Errf(model.KindForbidden, "AdminRequired", "User does not have admin privileges: Cannot %s resource for non admin tenant.", verb)
	}
	return refused(rules)
}

// beforeCreate decides what needs no state: so that who may not create reads that,
// and not what else is wrong with the request.
func (r *resource[I, M]) beforeCreate(req *http.Request, items []map[string]any) error {
	d := deciderOf(req.Context())
	if d == nil {
		return nil
	}
	for _, said := range items {
		rules := r.rules(d, "create_"+r.name, said, saysAnything)
		for _, rule := range rules {
			if allowed, known := d.Always(rule); known && !allowed {
				return r.denied("CREATE", rules)
			}
		}
		if err := checkProject(d, said); err != nil {
			return err
		}
	}
	return nil
}

// checkProject lets only those choose another owner who may act for others.
func checkProject(d *policy.Decider, said map[string]any) error {
	mine := string(d.Caller().ProjectID)
	given := mine
	for _, name := range []string{"tenant_id", "project_id"} {
		if s, ok := said[name].(string); ok && s != "" {
			given = s
			if s != mine && !d.Admin() && !d.Allowed("context_is_advsvc", nobody{}) {
				return badAttribute("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin or advsvc privileges")
			}
		}
	}
	if given == "" {
		return badAttribute("The token is for no project: project_id must be specified")
	}
	return nil
}

type nobody struct{}

func (nobody) Attribute(string) (string, bool) { return "", false }

// checkCreate decides in the transaction that creates.
func (r *resource[I, M]) checkCreate(a *API, items []map[string]any) func(view) error {
	return func(v view) error {
		for _, said := range items {
			owner := string(v.project)
			for _, name := range []string{"tenant_id", "project_id"} {
				if s, ok := said[name].(string); ok && s != "" {
					owner = s
				}
			}
			t := &target[I, M]{a: a, r: r, v: v, said: said, owner: owner}
			if r.network != nil {
				// A network that the caller may not see does not exist.
				id, _ := said["network_id"].(string)
				if n := t.parent(); n == nil || !a.networks.visible(a, v, n) {
					return site.NetworkNotFound(clip(id))
				}
			}
			if err := r.decide(v.d, "CREATE", r.rules(v.d, "create_"+r.name, said, saysAnything), t); err != nil {
				return err
			}
			if r.also != nil {
				if err := r.also(v, said, nil); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func (r *resource[I, M]) decide(d *policy.Decider, verb string, rules []string, t policy.Target) error {
	for _, rule := range rules {
		if !d.Allowed(rule, t) {
			return r.denied(verb, rules)
		}
	}
	return nil
}

// checkChange decides, in the transaction that changes or deletes, about what is
// stored. Who may not see it reads that it does not exist.
func (r *resource[I, M]) checkChange(a *API, id, verb, action string, said map[string]any) func(view) error {
	return func(v view) error {
		m := store.Get(v, r.table, id)
		if m == nil || !r.visible(a, v, m) {
			if r.adminWords && m != nil {
				return r.denied(verb, nil)
			}
			return r.hiddenError(v.d, verb, id)
		}
		// As in Neutron what the body says is decided about, be it what is stored.
		rules := r.rules(v.d, action, said, func(*attribute[I, M], any) bool { return true })
		if err := r.decide(v.d, verb, rules, &target[I, M]{a: a, r: r, v: v, m: m, said: said}); err != nil || r.also == nil || said == nil {
			return err
		}
		return r.also(v, said, m)
	}
}

// hiddenError is what a caller reads of what it may not see: that it does not
// exist, unless it may not even ask.
func (r *resource[I, M]) hiddenError(d *policy.Decider, verb, id string) error {
	if r.adminWords && d != nil {
		if allowed, known := d.Always("get_" + r.name); known && !allowed {
			return r.denied(verb, nil)
		}
	}
	return r.notFound(clip(id))
}

// permitted decides about what is no resource.
func permitted(ctx context.Context, action string) error {
	if d := deciderOf(ctx); d != nil && !d.Allowed(action, nobody{}) {
		return refused([]string{action})
	}
	return nil
}

// mayList refuses a list whose items nobody like the caller may see, where that is
// said instead of an empty list.
func (r *resource[I, M]) mayList(req *http.Request, v view) error {
	if r.parent != nil {
		if err := r.parent(req, v); err != nil {
			return err
		}
	}
	if v.d == nil || !r.adminWords {
		return nil
	}
	if allowed, known := v.d.Always("get_" + r.name); known && !allowed {
		return r.denied("GET", nil)
	}
	return nil
}

// mayChange decides about a PUT that is refused in any case.
func (r *resource[I, M]) mayChange(a *API, req *http.Request, id string) error {
	if deciderOf(req.Context()) == nil {
		return nil
	}
	v, err := a.view(req.Context())
	if err != nil {
		return err
	}
	return r.checkChange(a, id, "UPDATE", "update_"+r.name, nil)(v)
}

// mayCreate decides about a large body before it is read, as far as that can be.
func (r *resource[I, M]) mayCreate(req *http.Request) error {
	d := deciderOf(req.Context())
	if d == nil || !large(req) {
		return nil
	}
	if allowed, known := d.Always("create_" + r.name); known && !allowed {
		return r.denied("CREATE", []string{"create_" + r.name})
	}
	return nil
}

// mayAsk is mayCreate for a change of what exists.
func (r *resource[I, M]) mayAsk(a *API, req *http.Request, id, action string) error {
	if deciderOf(req.Context()) == nil || !large(req) || !isUUID(id) {
		return nil
	}
	v, err := a.view(req.Context())
	if err != nil {
		return err
	}
	return r.checkChange(a, id, "UPDATE", action, nil)(v)
}

// openKeys leaves out sort keys that the caller may not read of every resource: the
// order would tell them.
func (r *resource[I, M]) openKeys(q *query[I, M], v view) {
	if v.d == nil {
		return
	}
	q.keys = slices.DeleteFunc(q.keys, func(k sortKey[I, M]) bool {
		rule := "get_" + r.name + ":" + k.attr.name
		if !v.d.Has(rule) {
			return false
		}
		allowed, known := v.d.Always(rule)
		return !known || !allowed
	})
}

// openFilters tells whether the caller may read all that m is filtered by: what
// passes a filter would tell it.
func (r *resource[I, M]) openFilters(a *API, v view, q *query[I, M], m *M) bool {
	for _, f := range q.filters {
		if r.hidden(a, v, f.attr, m) {
			return false
		}
	}
	return true
}
