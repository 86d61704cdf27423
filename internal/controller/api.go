package controller

import (
	"context"

	"github.com/causeway-net/causeway/internal/metrics"
	"github.com/causeway-net/causeway/internal/neutronapi"
	"github.com/causeway-net/causeway/internal/openapi"
	"github.com/causeway-net/causeway/internal/store"
)

// Description is the OpenAPI document of the API that a controller serves, as it
// gives it at /openapi.json.
func Description() []byte {
	return neutronapi.New(nil, neutronapi.Options{Extra: extra(tracer{}, prober{}, switches{}, portStatuses{}, hostRows{})}).Description()
}

// extra is what the API serves beside the resources.
func extra(t tracer, p prober, s switches, ports portStatuses, rows hostRows) []neutronapi.Extra {
	return append(append(t.extra(), p.extra(), ports.extra(), rows.extra()), s.extra()...)
}

// keyed describes a body, which has one key.
func keyed(name string, s *openapi.Schema) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{openapi.Map}, Properties: map[string]*openapi.Schema{name: s}, Required: []string{name}, Closed: true}
}

// countedStore counts transactions and how often they ran again.
type countedStore struct {
	store.Store
	counts *metrics.Controller
}

func (s countedStore) Update(ctx context.Context, fn func(store.Tx) error) (store.Result, error) {
	runs := 0
	done, err := s.Store.Update(ctx, func(tx store.Tx) error {
		runs++
		return fn(tx)
	})
	s.counts.Transaction(runs)
	return done, err
}
