package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// table is a map and what is in it.
type table[K comparable, V comparable] struct {
	name string
	m    *ebpf.Map
	have map[K]V
	// spares is nil where it does not matter when memory is used again.
	spares *spares[K, V]
}

func newTable[K comparable, V comparable](maps map[string]*ebpf.Map, name string) *table[K, V] {
	return &table[K, V]{name: name, m: maps[name], have: map[K]V{}}
}

// load reads what is in the map. Nobody else writes to it.
func (t *table[K, V]) load() error {
	clear(t.have)
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
	limit := limitOf(t.name, t.m)
	if !ok && len(t.have) >= int(limit) {
		return &Full{Map: t.name, Limit: limit, Rows: 1}
	}
	if err := t.m.Update(&k, &v, ebpf.UpdateAny); err != nil {
		// Hash maps say the one, tries the other.
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
			return &Full{Map: t.name, Limit: limit, Rows: 1}
		}
		return fmt.Errorf("write map %s: %w", t.name, err)
	}
	t.have[k] = v
	if ok {
		return t.bury()
	}
	return nil
}

// del removes a row; one that is not there is no error.
func (t *table[K, V]) del(k K) error {
	if _, ok := t.have[k]; !ok {
		return nil
	}
	if err := t.m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from map %s: %w", t.name, err)
	}
	delete(t.have, k)
	return t.bury()
}

// failures gathers errors of many rows: the first ones in words, the others
// counted, so that one full map does not make an error of a thousand lines.
type failures struct {
	full map[string]*Full
	errs []error
	more int
}

func (f *failures) add(err error) {
	full, _ := err.(*Full)
	switch {
	case err == nil:
	case full != nil && f.full[full.Map] != nil:
		f.full[full.Map].join(full)
	case full != nil:
		if f.full == nil {
			f.full = map[string]*Full{}
		}
		f.full[full.Map] = full
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
	for _, name := range slices.Sorted(maps.Keys(f.full)) {
		errs = append(errs, f.full[name])
	}
	return errors.Join(errs...)
}
