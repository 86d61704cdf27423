package site

import (
	"encoding/json"
	"fmt"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Migrations bring the state of older releases to what this one keeps, each from
// one format to the next, beginning at that of the first release. Append only.
func Migrations() []store.Migration {
	return []store.Migration{countOwned}
}

// countOwned adds the entries that quotas count, which the first release had none of.
func countOwned(old []store.Entry) ([]store.Entry, error) {
	counted := map[store.Kind]string{
		store.Networks: QuotaNetwork, store.Subnets: QuotaSubnet, store.Ports: QuotaPort, store.Routers: QuotaRouter,
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
