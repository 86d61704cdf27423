package keystone

import "container/list"

// hash stands for a token.
type hash [32]byte

// lru keeps at most so many entries; the one that was not used for longest goes
// first.
type lru struct {
	most  int
	order *list.List // of *item, the last used in front
	items map[hash]*list.Element
}

type item struct {
	key hash
	entry
}

func newLRU(most int) lru { return lru{most, list.New(), map[hash]*list.Element{}} }

func (l *lru) get(k hash) (entry, bool) {
	e, ok := l.items[k]
	if !ok {
		return entry{}, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*item).entry, true
}

func (l *lru) put(k hash, v entry) {
	l.remove(k)
	l.items[k] = l.order.PushFront(&item{k, v})
	for len(l.items) > l.most {
		l.remove(l.order.Back().Value.(*item).key)
	}
}

func (l *lru) remove(k hash) {
	if e, ok := l.items[k]; ok {
		l.order.Remove(e)
		delete(l.items, k)
	}
}
