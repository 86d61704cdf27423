package site

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Migrations bring the state of older releases to what this one keeps, each from
// one format to the next, beginning at that of the first release. Append only.
func Migrations() []store.Migration {
	return []store.Migration{countOwned, nameShares, fence, dropPortsOfNetworks}
}

// countOwned adds the entries that quotas count, which the first release had none of.
func countOwned(old []store.Entry) ([]store.Entry, error) {
	counted := map[store.Kind]string{
		store.Networks.Kind(): QuotaNetwork, store.Subnets.Kind(): QuotaSubnet, store.Ports.Kind(): QuotaPort, store.Routers.Kind(): QuotaRouter,
	}
	var out []store.Entry
	for _, e := range old {
		resource, ok := counted[e.Kind]
		if !ok {
			continue
		}
		var o struct {
			ProjectID model.ProjectID `json:"project_id"`
		}
		if err := json.Unmarshal([]byte(e.Value), &o); err != nil {
			return nil, fmt.Errorf("decode %s %s: %w", e.Kind, e.ID, err)
		}
		own := ownedEntry(resource, o.ProjectID, e.ID)
		out = append(out, store.Entry{Index: own.ix, Key: own.key, Value: own.value})
	}
	return out, nil
}

// nameShares makes the RBAC policies of networks that are shared with everybody,
// which older formats kept as a mark of the network alone. The policies' ids follow
// from the networks', so that beginning again makes the same ones.
func nameShares(old []store.Entry) ([]store.Entry, error) {
	var out []store.Entry
	for _, e := range old {
		if e.Kind != store.Networks.Kind() {
			continue
		}
		var n model.Network
		if err := json.Unmarshal([]byte(e.Value), &n); err != nil {
			return nil, fmt.Errorf("decode network %s: %w", e.ID, err)
		}
		if !n.Shared {
			continue
		}
		p := everybodyPolicy(shareOfNetwork(&n), uuid.NewSHA1(uuid.NameSpaceOID, []byte("share/"+e.ID)).String())
		value, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		out = append(out, store.Entry{Kind: store.RBACPolicies.Kind(), ID: string(p.ID), Value: string(value)})
		for _, x := range rbacEntries(p) {
			out = append(out, store.Entry{Index: x.ix, Key: x.key, Value: x.value})
		}
	}
	return out, nil
}

// fence changes nothing but the format: from then on no older controller writes, which
// would take what the next migration deletes for a sign that a network has no ports.
func fence([]store.Entry) ([]store.Entry, error) { return nil, nil }

// dropPortsOfNetworks deletes the entries that named the ports of each network: those of the
// MACs do so too.
func dropPortsOfNetworks(old []store.Entry) ([]store.Entry, error) {
	var out []store.Entry
	for _, e := range old {
		if e.Index == "port-of-network" {
			out = append(out, store.Entry{Index: e.Index, Key: e.Key, Gone: true})
		}
	}
	return out, nil
}
