package etcdstore

import (
	"iter"
	"strings"

	"github.com/causeway-net/causeway/internal/store"
)

// snapshot is the state at a revision. Its tree is a copy-on-write copy that
// nobody writes, so any number of goroutines may read it.
type snapshot struct {
	rev  int64
	tree *tree
}

var _ store.Snapshot = (*snapshot)(nil)

func (s *snapshot) Revision() int64 { return s.rev }

func (s *snapshot) Get(kind store.Kind, id string) store.Object {
	if f := s.tree.family(kindPrefix(kind)); f != nil {
		if it, ok := f.Get(id); ok {
			return it.what
		}
	}
	return nil
}

func (s *snapshot) Lookup(ix store.Index, key string) (string, bool) {
	if f := s.tree.family(indexPrefix(ix, "")); f != nil {
		if it, ok := f.Get(key); ok {
			return it.text(), true
		}
	}
	return "", false
}

func (s *snapshot) List(kind store.Kind) iter.Seq2[string, store.Object] {
	return func(yield func(string, store.Object) bool) {
		s.ascend(kindPrefix(kind), func(key string, it *item) bool { return yield(key, it.what) })
	}
}

func (s *snapshot) Scan(ix store.Index, prefix string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		s.ascend(indexPrefix(ix, prefix), func(key string, it *item) bool { return yield(key, it.text()) })
	}
}

// ascend goes through the keys that start with prefix until fn says no. fn gets what
// follows the name of their family.
func (s *snapshot) ascend(prefix string, fn func(key string, it *item) bool) {
	name, prefix := familyOf(prefix)
	f := s.tree.family(name)
	if f == nil {
		return
	}
	f.Ascend(prefix, func(key string, it *item) bool {
		return strings.HasPrefix(key, prefix) && fn(key, it)
	})
}
