package storetest

import (
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
	"pgregory.net/rapid"
)

// reference is the simplest store: two maps. It holds the texts that the
// programs below write.
type reference struct {
	objects map[string]string
	entries map[string]string
}

func newReference() *reference {
	return &reference{objects: make(map[string]string), entries: make(map[string]string)}
}

func (r *reference) clone() *reference {
	return &reference{objects: maps.Clone(r.objects), entries: maps.Clone(r.entries)}
}

func (r *reference) equal(o *reference) bool {
	return maps.Equal(r.objects, o.objects) && maps.Equal(r.entries, o.entries)
}

var _ store.Tx = (*reference)(nil)

var randomKinds = []store.Kind{store.Networks.Kind(), store.Routers.Kind()}

func object(kind store.Kind, name string) store.Object {
	if kind == store.Routers.Kind() {
		r := new(model.Router)
		r.Name = name
		return r
	}
	return network("", name)
}

func nameOf(o store.Object) string {
	switch o := o.(type) {
	case *model.Network:
		return o.Name
	case *model.Router:
		return o.Name
	}
	return ""
}

func (r *reference) Get(kind store.Kind, id string) store.Object {
	if name, ok := r.objects[string(kind)+"/"+id]; ok {
		return object(kind, name)
	}
	return nil
}

func (r *reference) Lookup(ix store.Index, key string) (string, bool) {
	v, ok := r.entries[string(ix)+"/"+key]
	return v, ok
}

func ascend(m map[string]string, prefix string, yield func(key, value string) bool) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if strings.HasPrefix(k, prefix) && !yield(k, m[k]) {
			return
		}
	}
}

func (r *reference) List(kind store.Kind) iter.Seq2[string, store.Object] {
	return func(yield func(string, store.Object) bool) {
		p := string(kind) + "/"
		ascend(maps.Clone(r.objects), p, func(k, v string) bool { return yield(k[len(p):], object(kind, v)) })
	}
}

func (r *reference) Scan(ix store.Index, prefix string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		p := string(ix) + "/"
		ascend(maps.Clone(r.entries), p+prefix, func(k, v string) bool { return yield(k[len(p):], v) })
	}
}

func (r *reference) Put(kind store.Kind, id string, o store.Object) {
	r.objects[string(kind)+"/"+id] = nameOf(o)
}
func (r *reference) Delete(kind store.Kind, id string) { delete(r.objects, string(kind)+"/"+id) }
func (r *reference) SetIndex(ix store.Index, key, value string) {
	r.entries[string(ix)+"/"+key] = value
}
func (r *reference) DeleteIndex(ix store.Index, key string) { delete(r.entries, string(ix)+"/"+key) }

// step is one operation of a random transaction. What it writes is made from
// all that the transaction has read before it, so that a reading that was
// not true at commit shows in the state.
type step struct {
	op   string
	kind store.Kind
	id   string
	stop int // where an iteration ends
}

var (
	randomIndexes = []store.Index{"i", "j"}
	randomIDs     = []string{"a", "b", "b/1", "b/2", "c", "d", "long/"}
	randomOps     = []string{"get", "list", "lookup", "scan", "put", "put", "delete", "set", "set", "unset", "fill", "deleteAll"}
)

func steps(most int) *rapid.Generator[[]step] {
	one := rapid.Custom(func(t *rapid.T) step {
		return step{
			op:   rapid.SampledFrom(randomOps).Draw(t, "op"),
			kind: rapid.SampledFrom(randomKinds).Draw(t, "kind"),
			id:   rapid.SampledFrom(randomIDs).Draw(t, "id"),
			stop: rapid.SampledFrom([]int{1, 2, 1000}).Draw(t, "stop"),
		}
	})
	return rapid.SliceOfN(one, 1, most)
}

// run does a program and returns what it read.
func run(tx store.Tx, program []step) string {
	var read strings.Builder
	sum := func() string {
		h := fnv.New32a()
		_, _ = h.Write([]byte(read.String()))
		return fmt.Sprintf("%08x", h.Sum32())
	}
	for i, s := range program {
		ix := randomIndexes[0]
		if s.kind == store.Routers.Kind() {
			ix = randomIndexes[1]
		}
		switch s.op {
		case "get":
			fmt.Fprintf(&read, "%d:%s;", i, nameOf(tx.Get(s.kind, s.id)))
		case "lookup":
			v, ok := tx.Lookup(ix, s.id)
			fmt.Fprintf(&read, "%d:%s %v;", i, v, ok)
		case "list":
			n := 0
			for id, o := range tx.List(s.kind) {
				fmt.Fprintf(&read, "%d:%s=%s;", i, id, nameOf(o))
				if n++; n == s.stop {
					break
				}
			}
		case "scan":
			n := 0
			for k, v := range tx.Scan(ix, s.id) {
				fmt.Fprintf(&read, "%d:%s=%s;", i, k, v)
				if n++; n == s.stop {
					break
				}
			}
		case "put":
			tx.Put(s.kind, s.id, object(s.kind, sum()))
		case "delete":
			tx.Delete(s.kind, s.id)
		case "set":
			tx.SetIndex(ix, s.id, sum())
		case "unset":
			tx.DeleteIndex(ix, s.id)
		case "fill":
			for k := range 70 {
				tx.SetIndex(ix, fmt.Sprintf("long/%02d", k), sum())
			}
		case "deleteAll":
			for id := range tx.List(s.kind) {
				tx.Delete(s.kind, id)
			}
			n := 0
			for k := range tx.Scan(ix, s.id) {
				tx.DeleteIndex(ix, k)
				if n++; n == s.stop {
					break
				}
			}
		}
	}
	return read.String()
}

// contents reads all that the programs can have written.
func contents(r store.Reader) *reference {
	out := newReference()
	for _, kind := range randomKinds {
		for id, o := range r.List(kind) {
			out.objects[string(kind)+"/"+id] = nameOf(o)
		}
	}
	for _, ix := range randomIndexes {
		for k, v := range r.Scan(ix, "") {
			out.entries[string(ix)+"/"+k] = v
		}
	}
	return out
}

// testRandomModel runs random transactions, with others coming in between, on
// two stores and on the reference, in which the one that commits later comes
// later. States, readings and feeds must be equal.
func testRandomModel(t *testing.T, f Factory) {
	open := f(t)
	a, b := open(), open()
	ctx := Context(t)
	rapid.Check(t, func(rt *rapid.T) {
		if _, err := a.Update(ctx, func(tx store.Tx) error {
			for _, kind := range randomKinds {
				for id := range tx.List(kind) {
					tx.Delete(kind, id)
				}
			}
			for _, ix := range randomIndexes {
				for k := range tx.Scan(ix, "") {
					tx.DeleteIndex(ix, k)
				}
			}
			return nil
		}); err != nil {
			rt.Fatal(err)
		}
		watchCtx, cancel := context.WithCancel(ctx)
		defer cancel()
		snap, feed, err := b.Watch(watchCtx)
		if err != nil {
			rt.Fatal(err)
		}
		ref := contents(snap)
		if !ref.equal(newReference()) {
			rt.Fatalf("not empty at the start: %+v", ref)
		}
		followed := newReference()
		for range rapid.IntRange(1, 5).Draw(rt, "transactions") {
			program := steps(8).Draw(rt, "program")
			var between []step
			if rapid.Bool().Draw(rt, "interfere") {
				between = steps(4).Draw(rt, "between")
			}
			before := ref.clone()
			run(ref, between)
			want := run(ref, program)
			var got string
			runs := 0
			done, err := a.Update(ctx, func(tx store.Tx) error {
				if runs++; runs == 1 && between != nil {
					got = run(tx, program)
					_, err := b.Update(ctx, func(tx store.Tx) error { run(tx, between); return nil })
					return err
				}
				got = run(tx, program)
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
			if got != want {
				rt.Fatalf("the transaction committed after reading\n%s\nwhere the truth was\n%s\nbefore: %+v", got, want, before)
			}
			// What is done is what the transaction says it led to, and nothing else came
			// after it.
			if now := contents(done.Snapshot); done.Snapshot.Revision() < done.Revision || !now.equal(ref) {
				rt.Fatalf("the transaction at %d led to, at %d,\n%+v\nwant\n%+v", done.Revision, done.Snapshot.Revision(), now, ref)
			}
			view, err := b.View(ctx)
			if err != nil {
				rt.Fatal(err)
			}
			if view.Revision() < done.Revision {
				rt.Fatalf("view at %d, committed at %d", view.Revision(), done.Revision)
			}
			if now := contents(view); !now.equal(ref) {
				rt.Fatalf("the store holds\n%+v\nwant\n%+v", now, ref)
			}
			for snap.Revision() < view.Revision() {
				select {
				case batch, ok := <-feed:
					if !ok {
						rt.Fatal("the feed broke")
					}
					snap = batch.Snapshot
					for _, c := range batch.Changes {
						key := string(c.Kind) + "/" + c.ID
						if old, ok := followed.objects[key]; ok != (c.Old != nil) || old != nameOf(c.Old) {
							rt.Fatalf("change of %s says it was %q, the feed had %q", key, nameOf(c.Old), old)
						}
						if c.Object == nil {
							delete(followed.objects, key)
						} else {
							followed.objects[key] = nameOf(c.Object)
						}
					}
				case <-ctx.Done():
					rt.Fatal("the feed stands still")
				default:
					// A revision that changed nothing has no batch: the mirror is
					// at the view's revision, so all batches are there already.
					snap = view
				}
			}
			if now := contents(snap); !now.equal(ref) || !maps.Equal(followed.objects, ref.objects) {
				rt.Fatalf("the feed leads to\n%+v\n%+v\nwant\n%+v", now, followed, ref)
			}
		}
	})
}
