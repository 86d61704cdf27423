package site

import (
	"encoding/json"
	"fmt"

	"github.com/causeway-net/causeway/internal/store"
)

// Moved is an entry as another store is to have it; ok is false for one that it is not to have.
// Revisions are one store's own: what hosts and controllers have vouched for in the old one says
// nothing in the new one, so keys of deleted resources are held until the hosts have come and applied
// its state.
func Moved(e store.Entry) (moved store.Entry, ok bool, err error) {
	switch e.Kind {
	case store.Controllers.Kind(), store.HostQuestions.Kind():
		return e, false, nil
	case store.Hosts.Kind():
		var host map[string]json.RawMessage
		if err := json.Unmarshal([]byte(e.Value), &host); err != nil {
			return e, false, fmt.Errorf("decode host %s: %w", e.ID, err)
		}
		host["acked_revision"] = json.RawMessage("0")
		delete(host, "controller")
		delete(host, "session")
		b, err := json.Marshal(host)
		if err != nil {
			return e, false, err
		}
		e.Value = string(b)
	}
	return e, true, nil
}
