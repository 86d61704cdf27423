package dataplane

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/maplimit"
	"github.com/causeway-net/causeway/internal/model"
)

// testedTable is what tests do with a table of whatever key and value.
type testedTable interface {
	mapTable
	// sizes are those of keys and values.
	sizes() (key, value int)
	// check holds what is written and waits to what a plan wants, and to the kernel's rows.
	check(t *testing.T, want *plan, kernel mapTable)
	written() map[string]bool
	crowd(t *testing.T, r *rand.Rand)
	store(*plan)
	// adopt takes over what is in another's map.
	adopt(mapTable)
	setLimit(uint32)
	// shares holds what is written to the budgets of projects.
	shares(t *testing.T)
	stepsOf() []step
	// plainly holds what is written to what taking turns row by row comes to.
	plainly(t *testing.T)
	readLate(t *testing.T)
}

func tested(t *tables) []testedTable {
	var all []testedTable
	for _, x := range t.all {
		all = append(all, x.(testedTable))
	}
	return all
}

func (t *table[K, V]) sizes() (key, value int) {
	var k K
	var v V
	return binary.Size(k), int(unsafe.Sizeof(v))
}

func (t *table[K, V]) check(tt *testing.T, want *plan, in mapTable) {
	tt.Helper()
	kernel := in.(*table[K, V])
	all := maps.Clone(t.waiting)
	for k, v := range t.have {
		if has(all, k) {
			tt.Errorf("%s: %v is written and waits", t.name, k)
		}
		all[k] = v
	}
	if t.rule.inOrder && len(t.waiting) > 0 {
		// Who has which place of a list that is cut follows from what came before.
		if d := cmp.Diff(texts(t.plan(want).put), texts(all)); d != "" {
			tt.Errorf("%s (- wanted, + written or waiting):\n%s", t.name, d)
		}
	} else if d := cmp.Diff(t.plan(want).put, all); d != "" {
		tt.Errorf("%s (- wanted, + written or waiting):\n%s", t.name, d)
	}
	if d := cmp.Diff(kernel.have, t.have); d != "" {
		tt.Errorf("%s (- in the kernel, + believed to be):\n%s", t.name, d)
	}
	if len(t.have) > int(t.limit) || len(t.waiting) > 0 && len(t.have) < int(t.limit)-t.keeps() {
		tt.Errorf("%s has %d rows of %d, and %d wait", t.name, len(t.have), t.limit, len(t.waiting))
	}
}

func (t *table[K, V]) written() map[string]bool { return texts(t.have) }

func (t *table[K, V]) setLimit(n uint32) { t.limit = n }
func (t *table[K, V]) adopt(from mapTable) {
	t.have, t.owed = maps.Clone(from.(*table[K, V]).have), true
}

func (t *table[K, V]) stepsOf() []step { return t.steps }

func texts[K comparable, V any](m map[K]V) map[string]bool {
	out := map[string]bool{}
	for k := range m {
		out[fmt.Sprint(k)] = true
	}
	return out
}

func (t *table[K, V]) shares(tt *testing.T) {
	tt.Helper()
	wants, lacks := map[model.ProjectID]int{}, map[model.ProjectID]int{}
	for i, rows := range []map[K]V{t.have, t.waiting} {
		for k, v := range rows {
			if t.rule.turn(k, v) == turnLast {
				continue
			}
			for _, o := range t.rule.owners(k, v, nil) {
				wants[o.project]++
				lacks[o.project] += i
			}
		}
	}
	for p, n := range lacks {
		if share := (int(t.limit) - t.keeps()) / len(wants); n > 0 && wants[p] <= share {
			tt.Errorf("%s: project %s lacks %d of the %d rows that it wants, and its share is %d", t.name, p, n, wants[p], share)
		}
	}
}

func (t *table[K, V]) plainly(tt *testing.T) {
	tt.Helper()
	var rows []wantedRow[K, V]
	for _, of := range []map[K]V{t.have, t.waiting} {
		for k, v := range of {
			rows = append(rows, wantedRow[K, V]{row: row[K, V]{k, v}})
		}
	}
	if len(rows) <= int(t.limit)-t.keeps() {
		return
	}
	for i, in := range t.place(rows) {
		if in != has(t.have, rows[i].k) {
			tt.Errorf("%s: row %v is in the map by turns: %v, and is not so written", t.name, rows[i].k, in)
		}
	}
}

// randomBytes fills a row.
func randomBytes[T any](r *rand.Rand) (v T) {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return v
}

// crowd offers a table more rows than it takes.
func (t *table[K, V]) crowd(tt *testing.T, r *rand.Rand) {
	p := &plan{}
	t.begin(p)
	rows := t.plan(p).put
	for range 40 {
		rows[randomBytes[K](r)] = randomBytes[V](r)
	}
	t.limit = 16
	t.settle(p)
	if len(t.have) > 16 || len(t.have) < 16-t.keeps() || len(t.waiting)+len(t.have) != len(rows) {
		tt.Errorf("%s: %d rows of 16 are written, %d wait of %d", t.name, len(t.have), len(t.waiting), len(rows))
	}
	f := t.leftOut(&concerned{t: newTables(nil), tr: translator{st: hoststate.NewState()}})
	if f == nil || f.Rows != len(t.waiting) || !strings.Contains(f.Error(), "map "+t.name+" is full: it takes 16 rows") {
		tt.Errorf("%s: %v", t.name, f)
	}
}

// settle does without a map what write does with one.
func (t *table[K, V]) settle(p *plan) {
	t.choose(p)
	t.store(p)
}

func (t *table[K, V]) store(p *plan) {
	c := t.plan(p)
	for _, k := range c.del {
		delete(t.have, k)
	}
	for _, k := range c.evicted {
		t.waiting[k] = t.have[k]
		if v, ok := c.put[k]; ok {
			t.waiting[k] = v
		}
		delete(t.have, k)
	}
	for _, x := range c.rows {
		t.have[x.k] = x.v
		delete(t.waiting, x.k)
	}
}

// TestEachTable: the map of each descriptor is there with rows of that size, has a limit
// that one setting raises, is in the guide to settings and among the metrics, and tells
// what it has no room for. Each step of the order of writing is some table's.
func TestEachTable(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 6))
	steps := map[step]bool{}
	all := newTables(nil)
	all.who = &concerned{t: all, tr: translator{st: hoststate.NewState()}}
	fields := 0
	for i := range reflect.TypeFor[plan]().NumField() {
		if reflect.TypeFor[plan]().Field(i).Type.Kind() == reflect.Struct { // a change
			fields++
		}
	}
	if len(all.all) != fields {
		t.Errorf("%d descriptors, %d tables in a plan", len(all.all), fields)
	}
	for _, x := range tested(all) {
		name := x.mapName()
		m := spec.Maps[name]
		if m == nil {
			t.Errorf("there is no map %s", name)
			continue
		}
		if k, v := x.sizes(); k != int(m.KeySize) || v != int(m.ValueSize) {
			t.Errorf("%s: rows of %d and %d bytes, the map's are of %d and %d", name, k, v, m.KeySize, m.ValueSize)
		}
		var limits []string
		l := maplimit.Limits{}.WithDefaults()
		before := entries(l)[name]
		l.Each(func(value *uint32, flag string, _ uint32, _, _ string) {
			*value += 100
			if entries(l)[name] == before+100 {
				limits = append(limits, flag)
			}
			*value -= 100
		})
		if len(limits) != 1 {
			t.Errorf("%s has the limits %v, not one", name, limits)
			continue
		}
		row := regexp.MustCompile("(?m)^\\| [^|]*`" + name + "`[^|]* \\| [^|]*`--" + limits[0] + "`")
		if !row.Match(guide) {
			t.Errorf("docs/configuration.md has no row with map `%s` and setting `--%s` in its table of maps", name, limits[0])
		}
		if uses, _ := all.uses(); !has(uses, name) {
			t.Errorf("%s is not among the metrics", name)
		}
		for _, at := range x.stepsOf() {
			steps[at] = true
		}
		x.crowd(t, r)
	}
	if len(steps) != int(stepCount) {
		t.Errorf("of %d steps, tables are written at %v", stepCount, slices.Sorted(maps.Keys(steps)))
	}
}
