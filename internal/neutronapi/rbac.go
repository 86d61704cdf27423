package neutronapi

import (
	"net/http"
	"strings"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

// rbacPolicies are the grants of one project's objects to others.
func rbacPolicies(a *API) *resource[model.RBACPolicy, model.RBACPolicy] {
	type rbac = model.RBACPolicy
	project := func(p *rbac) *model.ProjectID { return &p.ProjectID }
	owner := func(p *rbac) model.ProjectID { return p.ProjectID }
	return &resource[rbac, rbac]{
		name: "rbac_policy", plural: "rbac_policies", path: "/v2.0/rbac-policies", table: store.RBACPolicies,
		attrs: []attribute[rbac, rbac]{
			idAttr[rbac](func(p *rbac) model.RBACPolicyID { return p.ID }),
			projectAttr("tenant_id", project, owner),
			projectAttr("project_id", project, owner),
			{name: "object_type", post: true, required: true,
				takes: into(objectType(), func(p *rbac) *string { return &p.ObjectType }),
				get:   func(_ store.Snapshot, p *rbac) any { return p.ObjectType }},
			{name: "object_id", post: true, required: true,
				takes: into(resourceID(), func(p *rbac) *string { return &p.ObjectID }),
				get:   func(_ store.Snapshot, p *rbac) any { return p.ObjectID }},
			{name: "action", post: true, required: true,
				// Package site says which action an object has.
				takes: into(label(), func(p *rbac) *string { return &p.Action }),
				get:   func(_ store.Snapshot, p *rbac) any { return p.Action }},
			{name: "target_tenant", post: true, put: true, required: true,
				takes: into(targetProject(), func(p *rbac) *model.ProjectID { return &p.Target }),
				get:   func(_ store.Snapshot, p *rbac) any { return string(p.Target) }},
		},
		bulk: true,
		fresh: func(r *http.Request) *rbac {
			return &rbac{ProjectID: ownerOf(r)}
		},
		id:       func(p *rbac) string { return string(p.ID) },
		notFound: site.RBACPolicyNotFound,
		create:   a.site.CreateRBACPolicies,
		update:   a.site.UpdateRBACPolicy,
		remove:   byID(a.site.DeleteRBACPolicy),
		also: func(v view, said map[string]any, p *rbac) error {
			if p != nil {
				return a.ownObject(v, p.ObjectType, p.ObjectID)
			}
			typ, _ := said["object_type"].(string)
			id, _ := said["object_id"].(string)
			return a.ownObject(v, typ, strings.ToLower(id))
		},
	}
}

// ownObject lets nobody but an admin grant what is another's.
func (a *API) ownObject(v view, typ, id string) error {
	var o store.Object
	var kind store.Kind
	var owner model.ProjectID
	switch typ {
	case site.ShareNetwork:
		if n := store.Get(v, store.Networks, id); n != nil {
			o, kind, owner = n, store.Networks.Kind(), n.ProjectID
		}
	case site.ShareSubnetPool:
		if p := store.Get(v, store.SubnetPools, id); p != nil {
			o, kind, owner = p, store.SubnetPools.Kind(), p.ProjectID
		}
	case site.ShareAddressScope:
		if s := store.Get(v, store.AddressScopes, id); s != nil {
			o, kind, owner = s, store.AddressScopes.Kind(), s.ProjectID
		}
	}
	if o == nil || !a.sees[kind](v, o) || v.d.Admin() || owner == v.project && owner != "" {
		return nil // package site says what does not exist
	}
	return model.Errf(model.KindInvalid, "InvalidInput", "Invalid input for operation: Only admins can manipulate policies on %s they do not own.", plural(typ))
}

func plural(typ string) string { return strings.ReplaceAll(typ, "_", " ") + "s" }

func objectType() value[string] {
	words := enum(site.ShareNetwork, site.ShareSubnetPool, site.ShareAddressScope)
	return value[string]{words, words, func(x any) (string, error) {
		s, ok := x.(string)
		for _, w := range words.Enum {
			if ok && w == s {
				return s, nil
			}
		}
		return "", model.Errf(model.KindInvalid, "InvalidInput", "Invalid input for operation: '%s' is not a valid RBAC object type.", text(x))
	}}
}

func targetProject() value[model.ProjectID] {
	s := &openapi.Schema{Type: openapi.Types{openapi.String}, MinLength: 1, MaxLength: maxText}
	return value[model.ProjectID]{s, s, func(x any) (model.ProjectID, error) {
		t, err := toString(x)
		if err == nil && t == "" {
			err = reasonf("'%s' is not a project or *", text(x))
		}
		return model.ProjectID(t), err
	}}
}

// sharedFor tells whether an object is shared with whoever looks at it: with
// everybody, as the object itself says, or with the caller's project.
func sharedFor[ID ~string](s store.Snapshot, id ID, everybody bool) bool {
	return everybody || site.SharedWith(s, string(id), projectIn(s))
}
