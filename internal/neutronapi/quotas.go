package neutronapi

import (
	"net/http"
	"unicode/utf8"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// ownedBy finds the resources of a project by what quotas count.
func ownedBy(resource string) func(store.Snapshot, string) []string {
	return func(s store.Snapshot, project string) []string {
		return site.Owned(s, model.ProjectID(project), resource)
	}
}

// quotaInput is what a PUT of a quota asks for.
type quotaInput struct {
	limits       map[string]int64
	force, check bool
}

// quotaAttrs are the attributes of a quota: a limit for each resource. force and
// check_limit say what becomes of a limit below what there is: without check_limit
// it is taken, and keeps more from being made.
func quotaAttrs() []attribute[quotaInput, struct{}] {
	out := []attribute[quotaInput, struct{}]{
		{name: "force", put: true, takes: into(boolean(), func(q *quotaInput) *bool { return &q.force })},
		{name: "check_limit", put: true, takes: into(boolean(), func(q *quotaInput) *bool { return &q.check })},
	}
	for _, resource := range site.QuotaResources() {
		out = append(out, attribute[quotaInput, struct{}]{name: resource, put: true,
			takes: with(integer(site.Unlimited, maxQuota), func(q *quotaInput, n int64) error {
				if q.limits == nil {
					q.limits = map[string]int64{}
				}
				q.limits[resource] = n
				return nil
			})})
	}
	return out
}

// registerQuotas serves the quotas of projects.
func (a *API) registerQuotas() {
	const base = "/v2.0/quotas"
	a.collections = append(a.collections, collection{"quota", "quotas", base})
	get := func(name, summary string, reply *openapi.Schema, serve func(http.ResponseWriter, *http.Request) error) operation {
		return operation{name: name, summary: summary, status: http.StatusOK, reply: reply, serve: serve}
	}
	limits := wrapped("quota", perResource(openapi.Of(openapi.Integer)))
	row := perResource(openapi.Of(openapi.Integer))
	row.Properties["tenant_id"], row.Properties["project_id"] = openapi.Of(openapi.String), openapi.Of(openapi.String)
	details := perResource(perKey(openapi.Of(openapi.Integer), "limit", "used", "reserved"))
	a.handle(base, methods{http.MethodGet: get("list_quotas", "List the projects that have limits of their own.", wrapped("quotas", openapi.ListOf(row, -1)), a.listQuotas)})
	for _, key := range []string{"tenant", "project"} {
		own := wrapped(key, perKey(openapi.Of(openapi.String), key+"_id"))
		a.handle(base+"/"+key, methods{http.MethodGet: get("show_quota_"+key, "Say which project the caller asks for.", own, a.ownProject(key))})
	}
	put := closed()
	for _, at := range quotaAttrs() {
		put.Properties[at.name] = at.takes.takes
	}
	a.handle(base+"/{id}", methods{
		http.MethodGet: get("show_quota", "Show the limits of a project.", limits, a.quotaOf(func(s store.Snapshot, project model.ProjectID, resource string) any {
			return a.site.Limit(s, project, resource)
		})),
		http.MethodPut: {
			name: "update_quota", summary: "Give a project limits of its own.", body: asked("quota", put),
			status: http.StatusOK, reply: limits, serve: a.putQuota,
		},
		http.MethodDelete: {name: "delete_quota", summary: "Give a project the default limits.", status: http.StatusNoContent, serve: a.deleteQuota},
	})
	a.handle(base+"/{id}/default", methods{http.MethodGet: get("show_quota_default", "Show the default limits.", limits, a.quotaOf(func(_ store.Snapshot, _ model.ProjectID, resource string) any {
		return a.site.DefaultQuota(resource)
	}))})
	a.handle(base+"/{id}/details", methods{http.MethodGet: get("show_quota_details", "Show the limits of a project and what it has.", wrapped("quota", details), a.quotaOf(func(s store.Snapshot, project model.ProjectID, resource string) any {
		return map[string]int64{"limit": a.site.Limit(s, project, resource), "used": site.Used(s, project, resource), "reserved": 0}
	}))})
}

// perKey describes an object of which each key has the same kind of value.
func perKey(s *openapi.Schema, keys ...string) *openapi.Schema {
	out := closed()
	for _, k := range keys {
		out.Properties[k] = s
	}
	return out
}

// perResource describes an object with a value for each resource that has a quota.
func perResource(s *openapi.Schema) *openapi.Schema { return perKey(s, site.QuotaResources()...) }

// quotaProject reads the project of a path, which may be any text.
func quotaProject(r *http.Request) (model.ProjectID, error) {
	id := r.PathValue("id")
	if _, err := toString(id); err != nil || !utf8.ValidString(id) || !hasText(id) {
		return "", badAttribute("'%s' is not a valid project", clip(id))
	}
	return model.ProjectID(id), nil
}

// mayQuota decides about a project's quota, "" for those of all. Each project may
// read its own.
func mayQuota(r *http.Request, action string, project model.ProjectID) error {
	reason := "Only admin can view or configure quota"
	if action == "get_quota" && project != "" {
		if project == ownerOf(r) {
			return nil
		}
		reason = "Only admin is authorized to access quotas for another tenant"
	}
	if permitted(r.Context(), action) == nil {
		return nil
	}
	return model.Errf(model.KindForbidden, "AdminRequired", "User does not have admin privileges: %s.", reason)
}

// quotaOf answers with one value for each resource.
func (a *API) quotaOf(value func(store.Snapshot, model.ProjectID, string) any) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		project, err := quotaProject(r)
		if err != nil {
			return err
		}
		if err := mayQuota(r, "get_quota", project); err != nil {
			return err
		}
		s, err := a.site.View(r.Context())
		if err != nil {
			return err
		}
		out := map[string]any{}
		for _, resource := range site.QuotaResources() {
			out[resource] = value(s, project, resource)
		}
		a.WriteJSON(w, http.StatusOK, map[string]any{"quota": out})
		return nil
	}
}

// listQuotas lists the projects that have limits of their own.
func (a *API) listQuotas(w http.ResponseWriter, r *http.Request) error {
	if err := mayQuota(r, "get_quota", ""); err != nil {
		return err
	}
	s, err := a.site.View(r.Context())
	if err != nil {
		return err
	}
	out := []any{}
	for q := range store.All(s, store.Quotas) {
		row := map[string]any{"tenant_id": q.ProjectID, "project_id": q.ProjectID}
		for _, resource := range site.QuotaResources() {
			row[resource] = a.site.Limit(s, q.ProjectID, resource)
		}
		out = append(out, row)
	}
	a.WriteJSON(w, http.StatusOK, map[string]any{"quotas": out})
	return nil
}

// ownProject tells the caller which project it asks for.
func (a *API) ownProject(key string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		project := ownerOf(r)
		if project == "" {
			return model.Errf(model.KindInvalid, "QuotaMissingTenant", "Tenant-id was missing from quota request.")
		}
		a.WriteJSON(w, http.StatusOK, map[string]any{key: map[string]any{key + "_id": project}})
		return nil
	}
}

func (a *API) putQuota(w http.ResponseWriter, r *http.Request) error {
	if err := mayQuota(r, "update_quota", ""); err != nil {
		return err
	}
	if err := unconditional(r); err != nil {
		return err
	}
	body, err := ReadBody(r)
	if err != nil {
		return err
	}
	attrs, err := unwrap(body, "quota")
	if err != nil {
		return err
	}
	table := quotaAttrs()
	if err := checkPut(table, attrs); err != nil {
		return err
	}
	var q quotaInput
	if err := setAll(table, &q, attrs, false); err != nil {
		return err
	}
	project, err := quotaProject(r)
	if err != nil {
		return err
	}
	var done outcome
	ctx := site.WithAccess(r.Context(), site.Access{Done: done.set})
	if err := a.site.SetQuota(ctx, project, q.limits, q.check && !q.force); err != nil {
		return err
	}
	out := map[string]any{}
	for _, resource := range site.QuotaResources() {
		out[resource] = a.site.Limit(done.s, project, resource)
	}
	a.WriteJSON(w, http.StatusOK, map[string]any{"quota": out})
	return nil
}

func (a *API) deleteQuota(w http.ResponseWriter, r *http.Request) error {
	if err := mayQuota(r, "delete_quota", ""); err != nil {
		return err
	}
	if err := unconditional(r); err != nil {
		return err
	}
	project, err := quotaProject(r)
	if err != nil {
		return err
	}
	if err := a.site.DeleteQuota(r.Context(), project); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
