// Package store says how a site's state is kept: one value a resource, index
// entries for what must be unique and for references, transactions that either
// happen whole or not at all, views of one revision, and a feed of changes. Package
// etcdstore is the implementation.
package store

import (
	"context"
	"fmt"
	"iter"

	"github.com/causeway-net/causeway/internal/model"
)

// Kind is a kind of resource, as it stands in keys.
type Kind string

const (
	Networks             Kind = "network"
	Subnets              Kind = "subnet"
	Ports                Kind = "port"
	Routers              Kind = "router"
	GatewayDevices       Kind = "gateway_device"
	RemoteMACEntries     Kind = "remote_mac_entry"
	L2Gateways           Kind = "l2_gateway"
	L2GatewayConnections Kind = "l2_gateway_connection"
	SubnetPools          Kind = "subnet_pool"
	AddressScopes        Kind = "address_scope"
	RBACPolicies         Kind = "rbac_policy"
	Quotas               Kind = "quota"        // by project
	Placements           Kind = "placement"    // by gateway device id
	Hosts                Kind = "host"         // by host name
	PortStates           Kind = "port_state"   // by port id
	SwitchStates         Kind = "switch_state" // by gateway device id
	LearnedMACs          Kind = "learned_macs" // by l2 gateway connection id
)

// Object is a pointer to the model type of its kind (*model.Network for
// Networks). Objects that come out of a store are shared: never change one, copy
// it first.
type Object any

// New makes an empty object of the kind, to decode into.
func (k Kind) New() (Object, error) {
	switch k {
	case Networks:
		return new(model.Network), nil
	case Subnets:
		return new(model.Subnet), nil
	case Ports:
		return new(model.Port), nil
	case Routers:
		return new(model.Router), nil
	case GatewayDevices:
		return new(model.GatewayDevice), nil
	case RemoteMACEntries:
		return new(model.RemoteMACEntry), nil
	case L2Gateways:
		return new(model.L2Gateway), nil
	case L2GatewayConnections:
		return new(model.L2GatewayConnection), nil
	case SubnetPools:
		return new(model.SubnetPool), nil
	case AddressScopes:
		return new(model.AddressScope), nil
	case RBACPolicies:
		return new(model.RBACPolicy), nil
	case Quotas:
		return new(model.Quota), nil
	case Placements:
		return new(model.Placement), nil
	case Hosts:
		return new(model.Host), nil
	case PortStates:
		return new(model.PortState), nil
	case SwitchStates:
		return new(model.SwitchState), nil
	case LearnedMACs:
		return new(model.LearnedMACs), nil
	}
	return nil, fmt.Errorf("store: unknown kind %q", string(k))
}

// Index is a family of index entries: key → value, both short texts. Keys are
// ordered as bytes; use "/" between their parts.
type Index string

// Reader sees the state at one revision.
type Reader interface {
	// Get returns nil if there is no such object.
	Get(kind Kind, id string) Object
	// List goes through a kind in order of id.
	List(kind Kind) iter.Seq2[string, Object]
	// Lookup reads an index entry.
	Lookup(ix Index, key string) (value string, ok bool)
	// Scan goes through the index entries whose key starts with prefix, in order.
	Scan(ix Index, prefix string) iter.Seq2[string, string]
}

// Snapshot is a Reader of a committed revision.
type Snapshot interface {
	Reader
	Revision() int64
}

// Tx is a transaction being built. What it reads it depends on: if any of it
// (a missing object or entry and the extent of a Scan or List included) has
// changed when it commits, it runs again. It sees its own writes.
type Tx interface {
	Reader
	// Put gives o to the store, whose readers get it once the transaction is committed:
	// nobody changes it any more. It must be equal to what JSON would make of it, which
	// is what readers of other processes get.
	Put(kind Kind, id string, o Object)
	Delete(kind Kind, id string)
	SetIndex(ix Index, key, value string)
	DeleteIndex(ix Index, key string)
}

// Result is what an Update has led to.
type Result struct {
	// Revision is that at which the writes are durable; where there were none, that
	// of what was read.
	Revision int64
	// Snapshot holds the writes, and all that they were decided on or something
	// newer. One goroutine at a time may read it.
	Snapshot Snapshot
}

// Store keeps the state of one site.
type Store interface {
	// Update runs fn in a transaction, again while others interfere. Once it returns
	// without an error, the writes are durable. An error from fn leaves the state as it was and is
	// returned as it is. Errors of its own are *model.Error: KindTooLarge beyond
	// the limits of one transaction, KindUnavailable where the state cannot be
	// written now; then nothing was written, unless the Type is OutcomeUnknown.
	// fn may run several times and must have no other effect.
	Update(ctx context.Context, fn func(Tx) error) (Result, error)
	// View returns a snapshot that holds every write acknowledged before the call
	// began, by whichever process.
	View(ctx context.Context) (Snapshot, error)
	// Watch returns the present snapshot and all changes after it, in order,
	// until ctx ends or the feed breaks; then the channel closes.
	Watch(ctx context.Context) (Snapshot, <-chan Batch, error)
	// Close waits until nothing of the store runs any more.
	Close() error
}

// Batch is what one revision changed: of one transaction, or of several that were committed
// together. Changes is empty where nothing but index entries changed. A View at a
// revision comes after all batches up to that revision have been put into the feeds of the
// same Store.
type Batch struct {
	Revision int64
	Changes  []Change
	// Snapshot is the state after it.
	Snapshot Snapshot
}

// Change is one object's change. Index entries are not reported.
type Change struct {
	Kind Kind
	ID   string
	// Object is nil after a deletion, Old nil before a creation.
	Object, Old Object
}

// Get is Reader.Get with the type: store.Get[model.Network](r, store.Networks, id).
func Get[T any](r Reader, kind Kind, id string) *T {
	o, _ := r.Get(kind, id).(*T)
	return o
}

// All is Reader.List with the type.
func All[T any](r Reader, kind Kind) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, o := range r.List(kind) {
			if t, ok := o.(*T); ok && !yield(t) {
				return
			}
		}
	}
}
