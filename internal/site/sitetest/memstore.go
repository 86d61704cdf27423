// Package sitetest has a store in memory for the tests of the rules and of the
// API: transactions run one after another, values make the way through JSON as they
// do in the real store of another process, and nothing is kept. It panics where what is
// put is not what comes back, or is changed later.
package sitetest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/causeway-net/causeway/internal/store"
)

// Store is a store.Store in memory.
type Store struct {
	mu   sync.Mutex
	head snapshot
}

type snapshot struct {
	revision int64
	objects  *btree.Map[string, store.Object] // kind/id
	index    *btree.Map[string, string]       // family\x00key
}

// New makes an empty store.
func New() *Store {
	return &Store{head: snapshot{1, new(btree.Map[string, store.Object]), new(btree.Map[string, string])}}
}

// Update runs fn alone.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) (store.Result, error) {
	if err := ctx.Err(); err != nil {
		return store.Result{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &tx{snapshot: snapshot{s.head.revision, s.head.objects.Copy(), s.head.index.Copy()}}
	if err := fn(t); err != nil {
		return store.Result{}, err
	}
	for _, p := range t.puts {
		if !reflect.DeepEqual(p.given, p.kept) {
			panic(fmt.Sprintf("sitetest: given\n%#v\nothers read\n%#v", p.given, p.kept))
		}
	}
	if t.writes > 0 {
		t.revision++
		s.head = t.snapshot
	}
	return store.Result{Revision: s.head.revision, Snapshot: snapshot{s.head.revision, s.head.objects.Copy(), s.head.index.Copy()}}, nil
}

// View returns the present state.
func (s *Store) View(ctx context.Context) (store.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return snapshot{s.head.revision, s.head.objects.Copy(), s.head.index.Copy()}, ctx.Err()
}

// Watch is not needed by the rules.
func (s *Store) Watch(context.Context) (store.Snapshot, <-chan store.Batch, error) {
	return nil, nil, fmt.Errorf("sitetest: no watch")
}

// Close does nothing.
func (s *Store) Close() error { return nil }

// Mark remembers the present state, for Reset.
func (s *Store) Mark() store.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head
}

// Reset goes back to a state that Mark remembered.
func (s *Store) Reset(to store.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = to.(snapshot)
}

// Dump writes every object and index entry, for comparison.
func (s *Store) Dump() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	s.head.objects.Scan(func(k string, o store.Object) bool {
		b, err := json.Marshal(o)
		if err != nil {
			b = []byte(err.Error())
		}
		out = append(out, k+" "+string(b))
		return true
	})
	s.head.index.Scan(func(k, v string) bool {
		out = append(out, "index "+strings.ReplaceAll(k, "\x00", " ")+" = "+v)
		return true
	})
	return out
}

func (s snapshot) Revision() int64 { return s.revision }

func (s snapshot) Get(kind store.Kind, id string) store.Object {
	o, _ := s.objects.Get(string(kind) + "/" + id)
	return o
}

func (s snapshot) List(kind store.Kind) iter.Seq2[string, store.Object] {
	return scan(s.objects, string(kind)+"/")
}

func (s snapshot) Lookup(ix store.Index, key string) (string, bool) {
	return s.index.Get(string(ix) + "\x00" + key)
}

func (s snapshot) Scan(ix store.Index, prefix string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for k, v := range scan(s.index, string(ix)+"\x00"+prefix) {
			if !yield(prefix+k, v) {
				return
			}
		}
	}
}

// scan goes through a copy, so that the caller may write meanwhile.
func scan[V any](m *btree.Map[string, V], prefix string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		m.Copy().Ascend(prefix, func(k string, v V) bool {
			return strings.HasPrefix(k, prefix) && yield(k[len(prefix):], v)
		})
	}
}

type tx struct {
	snapshot
	writes int
	puts   []pair
}

// pair is an object as it was given, and as others read it.
type pair struct{ given, kept store.Object }

func (t *tx) Put(kind store.Kind, id string, o store.Object) {
	b, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("sitetest: put %s %s: %v", kind, id, err))
	}
	fresh, err := kind.New()
	if err == nil {
		err = json.Unmarshal(b, fresh)
	}
	if err != nil {
		panic(fmt.Sprintf("sitetest: put %s %s: %v", kind, id, err))
	}
	t.writes++
	t.puts = append(t.puts, pair{o, fresh})
	t.objects.Set(string(kind)+"/"+id, fresh)
}

func (t *tx) Delete(kind store.Kind, id string) {
	t.writes++
	t.objects.Delete(string(kind) + "/" + id)
}

func (t *tx) SetIndex(ix store.Index, key, value string) {
	t.writes++
	t.index.Set(string(ix)+"\x00"+key, value)
}

func (t *tx) DeleteIndex(ix store.Index, key string) {
	t.writes++
	t.index.Delete(string(ix) + "\x00" + key)
}
