package site

import (
	"context"
	"iter"
	"slices"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// The objects that RBAC policies are about, and what they allow.
const (
	ShareNetwork      = "network"
	ShareSubnetPool   = "subnetpool"
	ShareAddressScope = "address_scope"

	ActionShared   = "access_as_shared"
	ActionExternal = "access_as_external"
)

// An object is shared with a project by an RBAC policy, which has an entry in
// ixShare: what a project may use is one look-up. That an object is shared with
// everybody stands in the object too, as clients see and set it there; the two
// change together.

// sharable is an object that can be shared.
type sharable struct {
	typ, id string
	owner   model.ProjectID
	// set writes whether it is shared with everybody.
	set func(t *tx, shared bool)
	// users are the projects that use it, some of them more than once.
	users func(store.Reader) iter.Seq[model.ProjectID]
}

// sharable finds an object of an RBAC policy.
func findSharable(r store.Reader, typ, id string) (*sharable, error) {
	switch typ {
	case ShareNetwork:
		n, err := find(r, store.Networks, id, NetworkNotFound)
		if err != nil {
			return nil, err
		}
		return shareOfNetwork(n), nil
	case ShareSubnetPool:
		p, err := find(r, store.SubnetPools, id, SubnetPoolNotFound)
		if err != nil {
			return nil, err
		}
		return shareOfPool(p), nil
	case ShareAddressScope:
		a, err := find(r, store.AddressScopes, id, AddressScopeNotFound)
		if err != nil {
			return nil, err
		}
		return shareOfScope(a), nil
	}
	return nil, invalidInput("'%s' is not a valid RBAC object type", typ)
}

func shareOfNetwork(n *model.Network) *sharable {
	return &sharable{ShareNetwork, string(n.ID), n.ProjectID, func(t *tx, shared bool) {
		c := *n
		c.Shared = shared
		t.touch(&c.Standard)
		store.Put(t, store.Networks, string(n.ID), &c)
	}, func(r store.Reader) iter.Seq[model.ProjectID] {
		return owners(r, store.Ports, valuesOf(r, ixMAC, string(n.ID)+"/"), func(p *model.Port) model.ProjectID { return p.ProjectID })
	}}
}

func shareOfPool(p *model.SubnetPool) *sharable {
	return &sharable{ShareSubnetPool, string(p.ID), p.ProjectID, func(t *tx, shared bool) {
		c := *p
		c.Shared = shared
		t.touch(&c.Standard)
		store.Put(t, store.SubnetPools, string(p.ID), &c)
	}, func(r store.Reader) iter.Seq[model.ProjectID] {
		return owners(r, store.Subnets, valuesOf(r, ixPrefixOfPool, string(p.ID)+"/"), func(s *model.Subnet) model.ProjectID { return s.ProjectID })
	}}
}

func shareOfScope(a *model.AddressScope) *sharable {
	return &sharable{ShareAddressScope, string(a.ID), a.ProjectID, func(t *tx, shared bool) {
		c := *a
		c.Shared = shared
		store.Put(t, store.AddressScopes, string(a.ID), &c)
	}, func(r store.Reader) iter.Seq[model.ProjectID] {
		return owners(r, store.SubnetPools, keysOf(r, ixPoolOfScope, string(a.ID)+"/"), func(p *model.SubnetPool) model.ProjectID { return p.ProjectID })
	}}
}

// owners are the projects of the objects with these ids.
func owners[M any](r store.Reader, table store.Table[M], ids iter.Seq[string], owner func(*M) model.ProjectID) iter.Seq[model.ProjectID] {
	return func(yield func(model.ProjectID) bool) {
		for id := range ids {
			if o := store.Get(r, table, id); o != nil && !yield(owner(o)) {
				return
			}
		}
	}
}

func keysOf(r store.Reader, ix store.Index, prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range r.Scan(ix, prefix) {
			if !yield(k[len(prefix):]) {
				return
			}
		}
	}
}

func valuesOf(r store.Reader, ix store.Index, prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range r.Scan(ix, prefix) {
			if !yield(v) {
				return
			}
		}
	}
}

func shareKey(object, action string, target model.ProjectID) string {
	return join(object, action, projectKey(target))
}

// SharedWith tells whether an object is shared with a project, or with everybody.
func SharedWith(r store.Reader, object string, project model.ProjectID) bool {
	if _, ok := r.Lookup(ixShare, shareKey(object, ActionShared, model.Everybody)); ok {
		return true
	}
	if project == "" {
		return false
	}
	_, ok := r.Lookup(ixShare, shareKey(object, ActionShared, project))
	return ok
}

func rbacEntries(p *model.RBACPolicy) []entry {
	return []entry{
		ownedEntry(QuotaRBACPolicy, p.ProjectID, string(p.ID)),
		{ix: ixShare, key: shareKey(p.ObjectID, p.Action, p.Target), value: string(p.ID), taken: func(string) *model.Error {
			return conflict("DuplicateRbacPolicy", "An RBAC policy already exists with those values.")
		}},
	}
}

// CreateRBACPolicies creates all or none.
func (s *Site) CreateRBACPolicies(ctx context.Context, in []*model.RBACPolicy) ([]*model.RBACPolicy, error) {
	var out []*model.RBACPolicy
	err := s.update(ctx, func(t *tx) error {
		out = nil
		for _, req := range in {
			p := *req
			id, err := t.newID(QuotaRBACPolicy, p.ProjectID)
			if err != nil {
				return err
			}
			p.ID = model.RBACPolicyID(id)
			o, err := findSharable(t, p.ObjectType, p.ObjectID)
			if err != nil {
				return err
			}
			if err := checkAction(&p); err != nil {
				return err
			}
			if err := t.checkScopeShared(&p); err != nil {
				return err
			}
			if err := t.reindex(nil, rbacEntries(&p)); err != nil {
				return err
			}
			if p.Target == model.Everybody {
				o.set(t, true)
			}
			store.Put(t, store.RBACPolicies, id, &p)
			out = append(out, &p)
		}
		return nil
	})
	return out, err
}

func checkAction(p *model.RBACPolicy) error {
	switch {
	case p.Action == ActionShared:
		return nil
	case p.Action == ActionExternal && p.ObjectType != ShareSubnetPool:
		return Unsupported("%s: external networks do not exist yet", ActionExternal)
	}
	return invalidInput("Invalid action '%s' for object type '%s'. Valid actions: %s", p.Action, p.ObjectType, ActionShared)
}

// RBACPolicyNotFound is the 404 of RBAC policies.
func RBACPolicyNotFound(id string) *model.Error {
	return model.Errf(model.KindNotFound, "RbacPolicyNotFound", "RBAC policy of type rbac_policy with ID %s not found", id)
}

// UpdateRBACPolicy gives a policy another target; nothing else of it changes.
func (s *Site) UpdateRBACPolicy(ctx context.Context, id string, change func(*model.RBACPolicy) error) (*model.RBACPolicy, error) {
	var out *model.RBACPolicy
	err := s.update(ctx, func(t *tx) error {
		old, err := find(t, store.RBACPolicies, id, RBACPolicyNotFound)
		if err != nil {
			return err
		}
		p := *old
		if err := change(&p); err != nil {
			return err
		}
		out = &p
		if p.Target == old.Target {
			return nil
		}
		o, err := findSharable(t.Tx, p.ObjectType, p.ObjectID)
		if err != nil {
			return err
		}
		if err := t.checkScopeShared(&p); err != nil {
			return err
		}
		if err := t.reindex(rbacEntries(old), rbacEntries(&p)); err != nil {
			return err
		}
		if err := t.checkUnshared(o, old.Target); err != nil {
			return policyInUse(o, err)
		}
		if p.Target == model.Everybody || old.Target == model.Everybody {
			o.set(t, p.Target == model.Everybody)
		}
		store.Put(t, store.RBACPolicies, id, &p)
		return nil
	})
	return out, err
}

// DeleteRBACPolicy deletes a policy that no use of the object depends on.
func (s *Site) DeleteRBACPolicy(ctx context.Context, id string, guard func(*model.RBACPolicy) error) error {
	return s.update(ctx, func(t *tx) error {
		p, err := find(t, store.RBACPolicies, id, RBACPolicyNotFound)
		if err != nil {
			return err
		}
		if err := check(guard, p); err != nil {
			return err
		}
		o, err := findSharable(t.Tx, p.ObjectType, p.ObjectID)
		if err != nil {
			return err
		}
		if err := t.removePolicy(p); err != nil {
			return err
		}
		if err := t.checkUnshared(o, p.Target); err != nil {
			return policyInUse(o, err)
		}
		if p.Target == model.Everybody {
			o.set(t, false)
		}
		return nil
	})
}

func (t *tx) removePolicy(p *model.RBACPolicy) error {
	store.Delete(t, store.RBACPolicies, string(p.ID))
	return t.reindex(rbacEntries(p), nil)
}

// checkUnshared makes sure, when an object is no longer shared with target, that
// whoever uses it is its owner or has it shared by another policy. It reads all uses,
// so that none can come about meanwhile.
func (t *tx) checkUnshared(o *sharable, target model.ProjectID) error {
	if target == o.owner {
		return nil
	}
	if _, everybody := t.Lookup(ixShare, shareKey(o.id, ActionShared, model.Everybody)); everybody {
		return nil
	}
	for user := range o.users(t) {
		if user == o.owner || target != model.Everybody && user != target || SharedWith(t, o.id, user) {
			continue
		}
		if o.typ == ShareNetwork {
			return conflict("InvalidSharedSetting", "Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", o.id)
		}
		return conflict("RbacPolicyInUse", "project_id=%s", user)
	}
	return nil
}

func policyInUse(o *sharable, why error) error {
	return conflict("RbacPolicyInUse", "RBAC policy on object %s cannot be removed because other objects depend on it.\nDetails: %v", o.id, why)
}

// share makes the policy that an object is shared with everybody by, or takes it
// away, as the object's own attribute asks.
func (t *tx) share(o *sharable, shared bool) error {
	key := shareKey(o.id, ActionShared, model.Everybody)
	id, is := t.Lookup(ixShare, key)
	switch {
	case shared && !is:
		p := everybodyPolicy(o, uuid.NewString())
		store.Put(t, store.RBACPolicies, string(p.ID), p)
		return t.reindex(nil, rbacEntries(p))
	case !shared && is:
		if p := store.Get(t, store.RBACPolicies, id); p != nil {
			if err := t.removePolicy(p); err != nil {
				return err
			}
		}
		return t.checkUnshared(o, model.Everybody)
	}
	return nil
}

// everybodyPolicy belongs to the object's owner.
func everybodyPolicy(o *sharable, id string) *model.RBACPolicy {
	return &model.RBACPolicy{ID: model.RBACPolicyID(id), ProjectID: o.owner, ObjectType: o.typ, ObjectID: o.id, Action: ActionShared, Target: model.Everybody}
}

// unshare takes away all policies of an object that goes.
func (t *tx) unshare(object string) error {
	for _, id := range slices.Collect(valuesOf(t.Tx, ixShare, object+"/")) {
		if p := store.Get(t, store.RBACPolicies, id); p != nil {
			if err := t.removePolicy(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// share checks an RBAC policy. (That a project uses an object that is not shared
// with it is no fault: an admin may let it.)
func (c *checker) share(p *model.RBACPolicy) {
	c.owe(rbacEntries(p))
	if _, err := findSharable(c.r, p.ObjectType, p.ObjectID); err != nil {
		c.problem("RBAC policy %s: %v", p.ID, err)
	}
}

// sharedFlag checks that an object is said to be shared with everybody where a
// policy says so.
func (c *checker) sharedFlag(object string, shared bool) {
	if _, is := c.r.Lookup(ixShare, shareKey(object, ActionShared, model.Everybody)); is != shared {
		c.problem("object %s is shared with everybody: %v by its policies, %v by itself", object, is, shared)
	}
}
