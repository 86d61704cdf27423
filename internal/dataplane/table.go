package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// table is a map and what is in it.
type table[K comparable, V comparable] struct {
	descriptor[K, V]
	m *ebpf.Map
	// limit is how many rows the map takes beside the extra ones.
	limit uint32
	have  map[K]V
	// waiting are the rows that found no room.
	waiting map[K]V
	// deal is who has the rows, while there are more than there is room for; nil: plainly all.
	deal *deal[K, V]
	// owed tells that a row is not as it was to be.
	owed bool
}

// describe makes the table of a descriptor, one of t's.
func describe[K comparable, V comparable](t *tables, d descriptor[K, V]) *table[K, V] {
	if d.spares != nil {
		d.extra = maxSpares
	}
	x := &table[K, V]{descriptor: d, m: t.maps[d.name], have: map[K]V{}, waiting: map[K]V{}}
	if x.m != nil {
		x.limit = x.m.MaxEntries()
		if x.limit > x.extra {
			x.limit -= x.extra
		}
	}
	t.all = append(t.all, x)
	return x
}

// load reads what is in the map. Nobody else writes to it.
func (t *table[K, V]) load() error {
	clear(t.have)
	clear(t.waiting)
	t.deal, t.owed = nil, true
	var k K
	var v V
	it := t.m.Iterate()
	for it.Next(&k, &v) {
		t.have[k] = v
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read map %s: %w", t.name, err)
	}
	if t.spares != nil {
		for n := range uint32(maxSpares) {
			if k := t.spares.key(n); has(t.have, k) {
				delete(t.have, k)
				t.spares.n = n + 1
			}
		}
	}
	return nil
}

func has[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }

// put writes a row unless it is there as it is.
func (t *table[K, V]) put(k K, v V) error {
	old, ok := t.have[k]
	if ok && old == v {
		return nil
	}
	if !ok && len(t.have) >= int(t.limit) {
		return errFull
	}
	if err := t.m.Update(&k, &v, ebpf.UpdateAny); err != nil {
		// Hash maps say the one, tries the other.
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
			return errFull
		}
		return fmt.Errorf("write map %s: %w", t.name, err)
	}
	t.have[k] = v
	if ok {
		return t.refill(old)
	}
	return nil
}

// del removes a row; one that is not there is no error.
func (t *table[K, V]) del(k K) error {
	old, ok := t.have[k]
	if !ok {
		return nil
	}
	if err := t.m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from map %s: %w", t.name, err)
	}
	delete(t.have, k)
	return t.refill(old)
}

// failures gathers errors of many rows: the first ones in words, the others counted.
type failures struct {
	errs []error
	more int
}

func (f *failures) add(err error) {
	switch {
	case err == nil:
	case len(f.errs) < 8:
		f.errs = append(f.errs, err)
	default:
		f.more++
	}
}

func (f *failures) err() error {
	errs := f.errs
	if f.more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", f.more))
	}
	return errors.Join(errs...)
}
