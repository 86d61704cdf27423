package neutronapi

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/site"
	"github.com/causeway-net/causeway/internal/store"
)

func subnetPools(a *API) *resource[site.SubnetPoolInput, model.SubnetPool] {
	type in = site.SubnetPoolInput
	type pool = model.SubnetPool
	std := func(p *pool) *model.Standard { return &p.Standard }
	stdIn := func(i *in) *model.Standard { return &i.Standard }
	return &resource[in, pool]{
		name: "subnetpool", plural: "subnetpools", path: "/v2.0/subnetpools", table: store.SubnetPools,
		attrs: append(requiredName(standardAttrs(stdIn, std)),
			idAttr[in](func(p *pool) model.SubnetPoolID { return p.ID }),
			attribute[in, pool]{name: "prefixes", post: true, put: true, required: true,
				takes: into(prefixes(), func(i *in) *[]netip.Prefix { return &i.Prefixes }),
				get:   func(_ store.Snapshot, p *pool) any { return prefixTexts(p.Prefixes) }},
			readOnly[in]("ip_version", openapi.Between(4, 4), func(store.Snapshot, *pool) any { return 4 }),
			prefixLength("min_prefixlen", func(p *pool) *int { return &p.MinPrefixLen }),
			prefixLength("max_prefixlen", func(p *pool) *int { return &p.MaxPrefixLen }),
			prefixLength("default_prefixlen", func(p *pool) *int { return &p.DefaultPrefixLen }),
			attribute[in, pool]{name: "default_quota", post: true, put: true,
				takes: into(optional(integer(0, maxQuota)), func(i *in) **int64 { return &i.DefaultQuota }),
				get: func(_ store.Snapshot, p *pool) any {
					if p.DefaultQuota == nil {
						return nil
					}
					return *p.DefaultQuota
				}},
			attribute[in, pool]{name: "address_scope_id", post: true, put: true,
				takes: into(as[model.AddressScopeID](nullable(resourceID())), func(i *in) *model.AddressScopeID { return &i.AddressScopeID }),
				gives: openapi.OrNull(pattern(uuidPattern)),
				get:   func(_ store.Snapshot, p *pool) any { return orNull(p.AddressScopeID) }},
			attribute[in, pool]{name: "is_default", post: true, put: true,
				takes: into(boolean(), func(i *in) *bool { return &i.IsDefault }),
				get:   func(_ store.Snapshot, p *pool) any { return p.IsDefault }},
			attribute[in, pool]{name: "shared", post: true,
				takes: into(boolean(), func(i *in) *bool { return &i.Shared }),
				get:   func(s store.Snapshot, p *pool) any { return sharedFor(s, p.ID, p.Shared) }},
		),
		indexes: map[string]func(store.Snapshot, string) []string{"tenant_id": ownedBy(site.QuotaSubnetPool), "project_id": ownedBy(site.QuotaSubnetPool)},
		bulk:    true,
		fresh: func(r *http.Request) *in {
			return &in{SubnetPool: pool{Standard: model.Standard{ProjectID: ownerOf(r)}}}
		},
		id:         func(p *pool) string { return string(p.ID) },
		revision:   func(p *pool) int64 { return p.Revision },
		standardIn: stdIn, standard: std,
		notFound: site.SubnetPoolNotFound,
		create:   a.site.CreateSubnetPools,
		update:   a.site.UpdateSubnetPool,
		remove:   byID(a.site.DeleteSubnetPool),
	}
}

// maxQuota is the largest number that Neutron's databases take for a limit.
const maxQuota = 1<<31 - 1

// requiredName makes the name one that must be given, and not empty.
func requiredName[I, M any](table []attribute[I, M]) []attribute[I, M] {
	for i := range table {
		if table[i].name != "name" {
			continue
		}
		set := table[i].takes.set
		table[i].required = true
		table[i].takes.takes = &openapi.Schema{Type: openapi.Types{openapi.String}, MinLength: 1, MaxLength: maxText, Pattern: `\S`}
		table[i].takes.set = func(in *I, v any) error {
			if s, ok := v.(string); v == nil || ok && !hasText(s) {
				return reasonf("'%s' Blank strings are not permitted", text(v))
			}
			return set(in, v)
		}
	}
	return table
}

func prefixLength(name string, field func(*model.SubnetPool) *int) attribute[site.SubnetPoolInput, model.SubnetPool] {
	return attribute[site.SubnetPoolInput, model.SubnetPool]{name: name, post: true, put: true,
		takes: with(integer(1, 128), func(i *site.SubnetPoolInput, n int64) error {
			*field(&i.SubnetPool) = int(n)
			return nil
		}),
		// Neutron answers with a text.
		gives: pattern(integerPattern),
		get:   func(_ store.Snapshot, p *model.SubnetPool) any { return strconv.Itoa(*field(p)) }}
}

// prefixes takes so many at once; of how many a pool may have, package site says.
func prefixes() value[[]netip.Prefix] {
	l := listOf(around(prefix()), maxListed, "prefixes")
	l.gives = openapi.ListOf(prefix().gives, -1)
	return l
}

func prefixTexts(l []netip.Prefix) []string {
	out := make([]string, 0, len(l))
	for _, p := range l {
		out = append(out, p.String())
	}
	return out
}

// orNull writes an id, null where there is none.
func orNull[ID ~string](id ID) any {
	if id == "" {
		return nil
	}
	return string(id)
}

// registerPoolActions serves the paths below a subnet pool that are no attributes.
func (a *API) registerPoolActions() {
	const pool = "/v2.0/subnetpools/{id}"
	ifMatch := subnetPools(a).ifMatchParameter()
	put := func(name, summary string, serve func(http.ResponseWriter, *http.Request) error) {
		a.handle(pool+"/"+name, methods{http.MethodPut: {
			name: name, summary: summary, params: ifMatch, body: postSchema(prefixAttrs()), status: http.StatusOK, reply: wrapped("prefixes", prefixes().gives), serve: serve,
		}})
	}
	put("add_prefixes", "Add prefixes to a subnet pool's.", a.prefixAction("add_prefixes", a.site.GrowSubnetPool))
	put("remove_prefixes", "Remove prefixes of a subnet pool.", a.prefixAction("remove_prefixes", a.site.ShrinkSubnetPool))
}

func prefixAttrs() []attribute[[]netip.Prefix, struct{}] {
	return []attribute[[]netip.Prefix, struct{}]{{name: "prefixes", post: true, required: true,
		takes: into(prefixes(), func(out *[]netip.Prefix) *[]netip.Prefix { return out })}}
}

func (a *API) prefixAction(action string, do func(ctx context.Context, id string, prefixes []netip.Prefix) (*model.SubnetPool, error)) func(http.ResponseWriter, *http.Request) error {
	table := prefixAttrs()
	shape := subnetPools(a)
	return func(w http.ResponseWriter, req *http.Request) error {
		if err := shape.mayAsk(a, req, req.PathValue("id"), action); err != nil {
			return err
		}
		attrs, err := ReadBody(req)
		if err != nil {
			return err
		}
		var prefixes []netip.Prefix
		if err := applyPost(table, &prefixes, attrs); err != nil {
			return err
		}
		id := req.PathValue("id")
		if !isUUID(id) {
			return site.SubnetPoolNotFound(clip(id))
		}
		met, err := shape.precondition(req, id)
		if err != nil {
			return err
		}
		ctx, _ := a.bound(req.Context(), shape.checkChange(a, id, "UPDATE", action, nil), met)
		p, err := do(ctx, id, prefixes)
		if err != nil {
			return err
		}
		a.WriteJSON(w, http.StatusOK, map[string]any{"prefixes": prefixTexts(p.Prefixes)})
		return nil
	}
}

func addressScopes(a *API) *resource[model.AddressScope, model.AddressScope] {
	type scope = model.AddressScope
	project := func(s *scope) *model.ProjectID { return &s.ProjectID }
	owner := func(s *scope) model.ProjectID { return s.ProjectID }
	return &resource[scope, scope]{
		name: "address_scope", plural: "address_scopes", path: "/v2.0/address-scopes", table: store.AddressScopes,
		attrs: []attribute[scope, scope]{
			{name: "name", post: true, put: true,
				takes: into(nullable(label()), func(s *scope) *string { return &s.Name }),
				get:   func(_ store.Snapshot, s *scope) any { return s.Name }},
			projectAttr("tenant_id", project, owner),
			projectAttr("project_id", project, owner),
			idAttr[scope](func(s *scope) model.AddressScopeID { return s.ID }),
			{name: "ip_version", post: true, required: true,
				takes: with(ipVersion(), func(s *scope, n int64) error {
					s.IPVersion = int(n)
					return nil
				}),
				get: func(_ store.Snapshot, s *scope) any { return s.IPVersion }},
			{name: "shared", post: true, put: true,
				takes: into(boolean(), func(s *scope) *bool { return &s.Shared }),
				get:   func(v store.Snapshot, s *scope) any { return sharedFor(v, s.ID, s.Shared) }},
		},
		bulk:     true,
		fresh:    func(r *http.Request) *scope { return &scope{ProjectID: ownerOf(r)} },
		id:       func(s *scope) string { return string(s.ID) },
		notFound: site.AddressScopeNotFound,
		create:   a.site.CreateAddressScopes,
		update:   a.site.UpdateAddressScope,
		remove:   byID(a.site.DeleteAddressScope),
	}
}
