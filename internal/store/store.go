// Package store says how a site's state is kept: one value a resource, index
// entries for what must be unique and for references, transactions that either
// happen whole or not at all, views of one revision, and a feed of changes. Package
// etcdstore is the implementation.
package store

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
)

// Kind is a kind of resource, as it stands in keys.
type Kind string

// Object is a pointer to the model type of its kind (*model.Network for
// Networks). Objects that come out of a store are shared: never change one, copy
// it first. Get, All, Put and Delete keep the kind and the type together; only what
// carries objects of all kinds handles them without their types.
type Object any

// Table is the kind whose objects are of the type M.
type Table[M any] Kind

// Kind is the table's kind without its type.
func (t Table[M]) Kind() Kind { return Kind(t) }

const (
	Networks             Table[model.Network]             = "network"
	Subnets              Table[model.Subnet]              = "subnet"
	Ports                Table[model.Port]                = "port"
	Routers              Table[model.Router]              = "router"
	GatewayDevices       Table[model.GatewayDevice]       = "gateway_device"
	RemoteMACEntries     Table[model.RemoteMACEntry]      = "remote_mac_entry"
	L2Gateways           Table[model.L2Gateway]           = "l2_gateway"
	L2GatewayConnections Table[model.L2GatewayConnection] = "l2_gateway_connection"
	SubnetPools          Table[model.SubnetPool]          = "subnet_pool"
	AddressScopes        Table[model.AddressScope]        = "address_scope"
	RBACPolicies         Table[model.RBACPolicy]          = "rbac_policy"
	Quotas               Table[model.Quota]               = "quota"        // by project
	Placements           Table[model.Placement]           = "placement"    // by gateway device id
	Hosts                Table[model.Host]                = "host"         // by host name
	Agents               Table[model.Agent]               = "agent"        // by id, which follows from the host's name
	Controllers          Table[model.Controller]          = "controller"   // by its id
	PortStates           Table[model.PortState]           = "port_state"   // by port id
	SwitchStates         Table[model.SwitchState]         = "switch_state" // by gateway device id
	LearnedMACs          Table[model.LearnedMACs]         = "learned_macs" // by l2 gateway connection id
	HostQuestions        Table[model.HostQuestion]        = "host_question"
)

// news makes an empty object of each kind.
var news = map[Kind]func() Object{
	Networks.Kind():             Networks.object,
	Subnets.Kind():              Subnets.object,
	Ports.Kind():                Ports.object,
	Routers.Kind():              Routers.object,
	GatewayDevices.Kind():       GatewayDevices.object,
	RemoteMACEntries.Kind():     RemoteMACEntries.object,
	L2Gateways.Kind():           L2Gateways.object,
	L2GatewayConnections.Kind(): L2GatewayConnections.object,
	SubnetPools.Kind():          SubnetPools.object,
	AddressScopes.Kind():        AddressScopes.object,
	RBACPolicies.Kind():         RBACPolicies.object,
	Quotas.Kind():               Quotas.object,
	Placements.Kind():           Placements.object,
	Hosts.Kind():                Hosts.object,
	Agents.Kind():               Agents.object,
	Controllers.Kind():          Controllers.object,
	PortStates.Kind():           PortStates.object,
	SwitchStates.Kind():         SwitchStates.object,
	LearnedMACs.Kind():          LearnedMACs.object,
	HostQuestions.Kind():        HostQuestions.object,
}

// Kinds are all kinds, in order.
func Kinds() []Kind { return slices.Sorted(maps.Keys(news)) }

func (t Table[M]) object() Object { return new(M) }

// New makes an empty object of the kind, to decode into.
func (k Kind) New() (Object, error) {
	if object, ok := news[k]; ok {
		return object(), nil
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

// Get returns the object, nil if there is none.
func Get[M any](r Reader, t Table[M], id string) *M {
	m, _ := r.Get(t.Kind(), id).(*M)
	return m
}

// All goes through a table in order of id.
func All[M any](r Reader, t Table[M]) iter.Seq[*M] {
	return func(yield func(*M) bool) {
		for _, o := range r.List(t.Kind()) {
			if m, ok := o.(*M); ok && !yield(m) {
				return
			}
		}
	}
}

// Put gives m to the store, as Tx.Put says.
func Put[M any](tx Tx, t Table[M], id string, m *M) { tx.Put(t.Kind(), id, m) }

// Delete deletes the object, if there is one.
func Delete[M any](tx Tx, t Table[M], id string) { tx.Delete(t.Kind(), id) }
