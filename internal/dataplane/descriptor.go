package dataplane

import (
	"slices"

	"github.com/causeway-net/causeway/internal/hoststate"
)

// descriptor says of one table of the maps all that is done with it. What is done with
// all tables alike follows from it: reading, plans, limits, spare rows, the order of
// writing, what is left out, metrics.
type descriptor[K comparable, V comparable] struct {
	name string // of the map
	// limit is how many rows it takes beside its extra ones.
	limit func(Limits) uint32
	// extra is how much larger the map is made; spares is nil where it does not matter when
	// memory is used again.
	extra  uint32
	spares *spares[K, V]
	// plan is where a plan has the table's change.
	plan func(*plan) *change[K, V]
	// from are the rows that a State comes to; nil: tables.full and tables.delta plan them.
	from source[K, V]
	// step says when a row is written; nil: all rows of the table at the only one of steps.
	steps []step
	step  func(V) step
	// rule says who gets a row where there is no room for all, and lacks notes whom a row
	// that is left out concerns; nil: nobody.
	rule  rule[K, V]
	lacks func(*concerned, *Full, K, V)
}

// step is a place in the order of writing. What is pointed at comes before what points at
// it, and goes after it. Within a step tables follow each other as they are described.
type step int

const (
	stepSources   step = iota // port_addrs, host_pairs, pairs
	stepPlaces                // FDB entries that are no routers
	stepNeighbors             //
	stepHops                  //
	stepRoutes                //
	stepSpeakers              // what another host sends for a router needs its row of speakers
	stepRouters               // FDB entries of routers
	stepPorts                 // floods, ports
	stepTunnels               // tunnel_ips, vnis, vteps
	stepPeers                 // a tunnel packet needs its row of peers or fabric_hosts
	stepVLANs                 //
	stepCount
)

// trieExtra is for maps of that type: the kernel wants room for one row more to replace one
// (trie_update_elem of kernels before 6.13).
const trieExtra = 1

// source makes a table's rows of a State.
type source[K comparable, V comparable] interface {
	// full puts all rows.
	full(tr translator, c *change[K, V])
	// delta puts and removes what a delta changes.
	delta(tr translator, x touched, d *hoststate.Delta, t *table[K, V], c *change[K, V])
}

// eachRow is a source of one row for each row of a table of the State.
type eachRow[HK comparable, HV any, K comparable, V comparable] struct {
	table *hoststate.Table[HK, HV]
	key   func(HK) K
	row   func(translator, HK) (V, bool)
	// touched are the rows that a delta may change, where they are more than it names.
	touched func(touched) map[HK]bool
	// second is a second row that a few have; nil: none does.
	second func(translator, HK) (K, V, bool)
}

func (e eachRow[HK, HV, K, V]) full(tr translator, c *change[K, V]) {
	for k := range *e.table.Rows(&tr.st) {
		if row, ok := e.row(tr, k); ok {
			c.put[e.key(k)] = row
		}
		if e.second == nil {
			continue
		}
		if key, row, ok := e.second(tr, k); ok {
			c.put[key] = row
		}
	}
}

func (e eachRow[HK, HV, K, V]) delta(tr translator, x touched, d *hoststate.Delta, t *table[K, V], c *change[K, V]) {
	set := func(k HK) {
		row, ok := e.row(tr, k)
		c.set(e.key(k), row, ok)
		if e.second == nil {
			return
		}
		if key, row, ok := e.second(tr, k); ok || has(t.have, key) || has(t.waiting, key) {
			c.set(key, row, ok)
		}
	}
	if e.touched != nil {
		for k := range e.touched(x) {
			set(k)
		}
		return
	}
	for k := range *e.table.Rows(&d.Set) {
		set(k)
	}
	for _, k := range *e.table.Gone(&d.Unset) {
		set(k)
	}
}

// allRows is a source of rows that are few, so that they are always made anew, when a
// delta changes rows of a table of the State.
type allRows[HK comparable, HV any, K comparable, V comparable] struct {
	table *hoststate.Table[HK, HV]
	rows  func(translator) map[K]V
	// also tells of a delta that it may change rows beside what it changes in table; nil: none does.
	also func(*hoststate.Delta) bool
}

func (a allRows[HK, HV, K, V]) full(tr translator, c *change[K, V]) { c.put = a.rows(tr) }

func (a allRows[HK, HV, K, V]) delta(tr translator, _ touched, d *hoststate.Delta, t *table[K, V], c *change[K, V]) {
	if len(*a.table.Rows(&d.Set)) > 0 || len(*a.table.Gone(&d.Unset)) > 0 || a.also != nil && a.also(d) {
		c.put = a.rows(tr)
		c.only(t)
	}
}

// mapTable is a table of whatever key and value.
type mapTable interface {
	mapName() string
	// maxEntries is the size to make the map of.
	maxEntries(Limits) uint32
	load() error
	begin(*plan)
	fullPlan(*plan, translator)
	deltaPlan(*plan, translator, touched, *hoststate.Delta)
	onlyPlan(*plan)
	choose(*plan)
	puts(*plan, step, *failures)
	again(*plan, step, *failures)
	dels(*plan, step, *failures)
	use() use
	extraRows() uint32
	leftOut(*concerned) *Full
}

func (t *table[K, V]) mapName() string            { return t.name }
func (t *table[K, V]) maxEntries(l Limits) uint32 { return t.descriptor.limit(l) + t.extra }
func (t *table[K, V]) extraRows() uint32          { return t.extra }
func (t *table[K, V]) begin(p *plan)              { *t.plan(p) = newChange[K, V]() }

func (t *table[K, V]) fullPlan(p *plan, tr translator) {
	if t.from != nil {
		t.from.full(tr, t.plan(p))
	}
}

func (t *table[K, V]) deltaPlan(p *plan, tr translator, x touched, d *hoststate.Delta) {
	if t.from != nil {
		t.from.delta(tr, x, d, t, t.plan(p))
	}
}

func (t *table[K, V]) onlyPlan(p *plan) { t.plan(p).only(t) }

// choose says which rows a plan writes and removes.
func (t *table[K, V]) choose(p *plan) { t.offer(t.plan(p), p) }

// puts writes the rows of a step that there is room for.
func (t *table[K, V]) puts(p *plan, at step, f *failures) {
	if c := t.plan(p); slices.Contains(t.steps, at) {
		c.left = append(c.left, t.write(t.ofStep(c.rows, at), f)...)
	}
}

// again writes those that there was no room for before the removals.
func (t *table[K, V]) again(p *plan, at step, f *failures) {
	if slices.Contains(t.steps, at) && len(t.write(t.ofStep(t.plan(p).left, at), f)) > 0 {
		t.owed = true // the kernel knows better
	}
}

func (t *table[K, V]) ofStep(all []row[K, V], at step) []row[K, V] {
	if t.step == nil {
		return all
	}
	var rows []row[K, V]
	for _, r := range all {
		if t.step(r.v) == at {
			rows = append(rows, r)
		}
	}
	return rows
}

// dels removes the rows of a step. One that waits is of the zero row's step.
func (t *table[K, V]) dels(p *plan, at step, f *failures) {
	if !slices.Contains(t.steps, at) {
		return
	}
	c := t.plan(p)
	keys := slices.Concat(c.del, c.evicted)
	if t.rule.inOrder {
		slices.SortFunc(keys, func(a, b K) int { return t.rule.compare(b, t.have[b], a, t.have[a]) })
	}
	evicted := make(map[K]bool, len(c.evicted))
	for _, k := range c.evicted {
		evicted[k] = true
	}
	for _, k := range keys {
		switch {
		case t.step != nil && t.step(t.have[k]) != at:
		case evicted[k]:
			t.evict(c, k, f)
		case !has(c.put, k):
			delete(t.waiting, k)
			f.add(t.del(k))
		}
	}
}

// leftOut is what the table's waiting rows come to; nil where there are none.
func (t *table[K, V]) leftOut(w *concerned) *Full {
	if len(t.waiting) == 0 {
		return nil
	}
	f := (&Full{Map: t.name, Limit: t.limit, Kept: t.keeps(), For: t.rule.kept, Rows: len(t.waiting)}).tell()
	if t.lacks != nil {
		for k, v := range t.waiting {
			t.lacks(w, f, k, v)
		}
	}
	return f
}
