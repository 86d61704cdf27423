package etcdstore

import (
	"iter"
	"strings"

	"github.com/causeway-net/causeway/internal/store"
	"github.com/tidwall/btree"
)

// item is a key's decoded value. Items never change once they are in a tree.
type item struct {
	rev int64        // ModRevision
	obj store.Object // of a resource
	val string       // of an index entry
}

type tree = btree.Map[string, *item]

// snapshot is the state at a revision. Its tree is a copy-on-write copy that
// nobody writes, so any number of goroutines may read it.
type snapshot struct {
	rev  int64
	tree *tree
}

var _ store.Snapshot = (*snapshot)(nil)

func (s *snapshot) Revision() int64 { return s.rev }

func (s *snapshot) Get(kind store.Kind, id string) store.Object {
	if it, ok := s.tree.Get(objectKey(kind, id)); ok {
		return it.obj
	}
	return nil
}

func (s *snapshot) Lookup(ix store.Index, key string) (string, bool) {
	if it, ok := s.tree.Get(indexKey(ix, key)); ok {
		return it.val, true
	}
	return "", false
}

func (s *snapshot) List(kind store.Kind) iter.Seq2[string, store.Object] {
	return func(yield func(string, store.Object) bool) {
		p := kindPrefix(kind)
		s.ascend(p, func(key string, it *item) bool { return yield(key[len(p):], it.obj) })
	}
}

func (s *snapshot) Scan(ix store.Index, prefix string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		cut := len(indexPrefix(ix, ""))
		s.ascend(indexPrefix(ix, prefix), func(key string, it *item) bool { return yield(key[cut:], it.val) })
	}
}

// ascend goes through the keys that start with prefix until fn says no.
func (s *snapshot) ascend(prefix string, fn func(key string, it *item) bool) {
	s.tree.Ascend(prefix, func(key string, it *item) bool {
		return strings.HasPrefix(key, prefix) && fn(key, it)
	})
}
