package site

import (
	"context"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// Access is what whoever asks for an operation may see and do. Without one in the
// context the site itself is at work, which may all.
type Access struct {
	// Check runs first in the operation's transaction, each time that runs: what it
	// reads has not changed when the operation takes effect. Its error is the
	// operation's. It may be nil.
	Check func(store.Reader) error
	// Sees tells whether an object that the operation names may be known of. One
	// that may not does not exist as far as the answer tells. It may be nil.
	Sees func(store.Reader, store.Kind, store.Object) bool
	// Owns tells whether whoever asks may act for a project: its own, or any. It may
	// be nil.
	Owns func(model.ProjectID) bool
	// Done is given a state that holds what the operation has written, once that is
	// durable: an operation of several transactions gives it for each. It may be nil.
	Done func(store.Snapshot)
}

type accessKey struct{}

// WithAccess makes a context whose operations are bound by a.
func WithAccess(ctx context.Context, a Access) context.Context {
	return context.WithValue(ctx, accessKey{}, a)
}

func accessOf(ctx context.Context) Access {
	a, _ := ctx.Value(accessKey{}).(Access)
	return a
}

// named reads an object that a request names: nil where it does not exist, or may
// not be known of.
func named[M any](t *tx, table store.Table[M], id string) *M {
	o := store.Get(t, table, id)
	if o == nil || t.sees != nil && !t.sees(t.Tx, table.Kind(), o) {
		return nil
	}
	return o
}
