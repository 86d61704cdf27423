package dataplane

import (
	"cmp"
	"maps"
	"slices"
	"sort"

	"github.com/causeway-net/causeway/internal/model"
)

// deal is who gets the rows of a full map (place.go), kept from one change to the next, so
// that a change costs what it touches: the owners whose rows change or are cut at
// another place, and a step for each project. Only owners that are cut have their rows in order.
//
// It is for maps whose rows have one owner each. Then a project's rows are so many of the first of each of its
// owners, and how many follows from numbers alone.
type deal[K comparable, V comparable] struct {
	t        *table[K, V]
	cards    map[K]*card[K, V]
	piles    map[pileKey]*pile[K, V]
	byKey    map[uint32]map[*pile[K, V]]bool // of owners with that key
	byRef    map[bpfFdbKey]map[K]bool        // where the rule has refer
	projects map[model.ProjectID]*project[K, V]
	order    []model.ProjectID // sorted
}

// card is a row that is wanted.
type card[K comparable, V comparable] struct {
	row[K, V]
	pile *pile[K, V] // nil: it has left it
	ref  bpfFdbKey
	in   bool // the map
}

type pileKey struct {
	owner
	turn turn
}

// pile are an owner's rows of one kind; the first so many are in the map.
type pile[K comparable, V comparable] struct {
	pileKey
	cards  []*card[K, V]
	sorted bool
	in     int
	// fresh are to join.
	fresh []*card[K, V]
}

// project has the piles of one, by turns and in order of owners.
type project[K comparable, V comparable] struct {
	piles   [turnCount][]*pile[K, V]
	rows    [turnCount]int
	in      [turnCount]int
	touched bool
}

// newDeal deals from nothing.
func newDeal[K comparable, V comparable](t *table[K, V], rows []wantedRow[K, V]) *deal[K, V] {
	d := &deal[K, V]{
		t: t, cards: make(map[K]*card[K, V], len(rows)), piles: map[pileKey]*pile[K, V]{}, byKey: map[uint32]map[*pile[K, V]]bool{},
		byRef: map[bpfFdbKey]map[K]bool{}, projects: map[model.ProjectID]*project[K, V]{},
	}
	touched := map[*pile[K, V]]bool{}
	for _, r := range rows {
		d.add(r.row, false, touched)
	}
	d.settle(touched)
	return d
}

// change has the rows of keys be what want says, and returns those of them that are wanted, and
// all that come into the map or leave it by that.
func (d *deal[K, V]) change(keys map[K]bool, want func(K) (V, bool)) []*card[K, V] {
	touched := map[*pile[K, V]]bool{}
	was := make(map[K]bool, len(keys))
	for k := range keys {
		if c := d.cards[k]; c != nil {
			was[k] = c.in
			d.remove(c, touched)
		}
	}
	for p := range touched {
		p.cards = slices.DeleteFunc(p.cards, func(c *card[K, V]) bool { return c.pile == nil })
	}
	for k := range keys {
		if v, ok := want(k); ok {
			d.add(row[K, V]{k, v}, was[k], touched)
		}
	}
	moved := d.settle(touched)
	for k := range keys {
		if c := d.cards[k]; c != nil && c.in == was[k] {
			moved = append(moved, c)
		}
	}
	return moved
}

func (d *deal[K, V]) remove(c *card[K, V], touched map[*pile[K, V]]bool) {
	d.project(c.pile).rows[c.pile.turn]--
	touched[c.pile] = true
	if d.t.rule.refer != nil {
		drop(d.byRef, c.ref, c.k)
	}
	c.pile = nil
	delete(d.cards, c.k)
}

func (d *deal[K, V]) add(r row[K, V], in bool, touched map[*pile[K, V]]bool) {
	key := pileKey{d.t.rule.owners(r.k, r.v, nil)[0], d.t.rule.turn(r.k, r.v)}
	p := d.piles[key]
	if p == nil {
		p = &pile[K, V]{pileKey: key}
		d.piles[key] = p
		insert(d.byKey, key.key, p)
		mine := d.project(p)
		piles := &mine.piles[key.turn]
		at, _ := slices.BinarySearchFunc(*piles, key.key, func(q *pile[K, V], k uint32) int { return cmp.Compare(q.key, k) })
		*piles = slices.Insert(*piles, at, p)
	}
	c := &card[K, V]{row: r, pile: p, in: in}
	if d.t.rule.refer != nil {
		c.ref = d.t.rule.refer(r.k, r.v)
		insert(d.byRef, c.ref, r.k)
	}
	d.cards[r.k] = c
	d.project(p).rows[key.turn]++
	p.fresh = append(p.fresh, c)
	touched[p] = true
}

func (d *deal[K, V]) project(p *pile[K, V]) *project[K, V] {
	mine := d.projects[p.owner.project]
	if mine == nil {
		mine = &project[K, V]{}
		d.projects[p.owner.project] = mine
		at, _ := slices.BinarySearch(d.order, p.owner.project)
		d.order = slices.Insert(d.order, at, p.owner.project)
	}
	return mine
}

// settle deals anew after cards have come and gone, and returns those that come into the
// map or leave it.
func (d *deal[K, V]) settle(touched map[*pile[K, V]]bool) (moved []*card[K, V]) {
	for p := range touched {
		d.join(p)
		d.project(p).touched = true
	}
	for i, in := range d.quotas() {
		mine := d.projects[d.order[i]]
		for kind := range mine.piles {
			if mine.in[kind] != in[kind] || mine.touched {
				mine.in[kind] = in[kind]
				moved = d.share(mine.piles[kind], in[kind], touched, moved)
			}
		}
		mine.touched = false
	}
	d.order = slices.DeleteFunc(d.order, func(id model.ProjectID) bool {
		empty := true
		for _, piles := range d.projects[id].piles {
			empty = empty && len(piles) == 0
		}
		if empty {
			delete(d.projects, id)
		}
		return empty
	})
	return moved
}

// join puts fresh cards among a pile's others. A pile without any goes.
func (d *deal[K, V]) join(p *pile[K, V]) {
	if p.sorted && len(p.fresh) > 0 {
		slices.SortFunc(p.fresh, d.compare)
		all := make([]*card[K, V], 0, len(p.cards)+len(p.fresh))
		rest := p.cards
		for _, c := range p.fresh {
			at := sort.Search(len(rest), func(i int) bool { return d.compare(rest[i], c) > 0 })
			all, rest = append(append(all, rest[:at]...), c), rest[at:]
		}
		p.cards = append(all, rest...)
	} else {
		p.cards = append(p.cards, p.fresh...)
	}
	p.fresh = nil
	if len(p.cards) > 0 {
		return
	}
	delete(d.piles, p.pileKey)
	drop(d.byKey, p.key, p)
	piles := &d.project(p).piles[p.turn]
	*piles = slices.DeleteFunc(*piles, func(q *pile[K, V]) bool { return q == p })
}

func (d *deal[K, V]) compare(a, b *card[K, V]) int { return d.t.rule.compare(a.k, a.v, b.k, b.v) }

// cut is a place in the order in which projects take turns: behind so many full turns, and so many
// projects of the next one.
type cut struct{ turns, projects int }

func (c cut) before(d cut) bool {
	return c.turns < d.turns || c.turns == d.turns && c.projects < d.projects
}

// taken is how many turns a project has had.
func (c cut) taken(project int) int {
	if project < c.projects {
		return c.turns + 1
	}
	return c.turns
}

// quotas are how many rows each project has in the map, of those that come first and of the
// others: what place comes to by taking turns.
func (d *deal[K, V]) quotas() [][turnCount]int {
	rows := make([][turnCount]int, len(d.order))
	most := 0
	for i, id := range d.order {
		rows[i] = d.projects[id].rows
		most = max(most, rows[i][0]+rows[i][1])
	}
	limit, left := int(d.t.limit), int(d.t.limit)-d.t.keeps()
	// dealt counts what so many full turns take of each kind.
	dealt := func(turns int) (first, later int) {
		for _, r := range rows {
			first += min(r[0], turns)
			later += min(max(turns-r[0], 0), r[1])
		}
		return first, later
	}
	end := cut{turns: sort.Search(most+1, func(n int) bool {
		first, later := dealt(n)
		return first+min(later, left) > limit
	}) - 1}
	lastLater := cut{turns: sort.Search(most+1, func(n int) bool { _, later := dealt(n); return later > left }) - 1}
	_, later := dealt(lastLater.turns)
	for i := 0; i < len(rows) && later < left; i++ {
		if n := lastLater.turns; n >= rows[i][0] && n < rows[i][0]+rows[i][1] {
			later++
		}
		lastLater.projects = i + 1
	}
	first, later := dealt(end.turns)
	for i := 0; i < len(rows) && first+min(later, left) < limit; i++ {
		switch n := end.turns; {
		case n < rows[i][0]:
			first++
		case n < rows[i][0]+rows[i][1]:
			later++
		}
		end.projects = i + 1
	}
	if end.before(lastLater) {
		lastLater = end
	}
	for i, r := range rows {
		rows[i] = [turnCount]int{min(r[0], end.taken(i)), min(max(lastLater.taken(i)-r[0], 0), r[1]), r[2]}
		limit, left = limit-rows[i][0]-rows[i][1], left-rows[i][1]
	}
	lasts(rows, min(limit, left))
	return rows
}

// lasts deals the room that is left out among the projects' last rows, in turns.
func lasts(rows [][turnCount]int, room int) {
	most := 0
	for _, r := range rows {
		most = max(most, r[turnLast])
	}
	dealt := func(turns int) (n int) {
		for _, r := range rows {
			n += min(r[turnLast], turns)
		}
		return n
	}
	turns := sort.Search(most+1, func(n int) bool { return dealt(n) > room }) - 1
	rest := room - dealt(turns)
	for i := range rows {
		in := min(rows[i][turnLast], turns)
		if in < rows[i][turnLast] && rest > 0 {
			in++
			rest--
		}
		rows[i][turnLast] = in
	}
}

// share deals a project's rows of a kind out among its owners, in turns.
func (d *deal[K, V]) share(piles []*pile[K, V], rows int, touched map[*pile[K, V]]bool, moved []*card[K, V]) []*card[K, V] {
	most, all := 0, 0
	for _, p := range piles {
		most, all = max(most, len(p.cards)), all+len(p.cards)
	}
	dealt := func(turns int) (n int) {
		for _, p := range piles {
			n += min(len(p.cards), turns)
		}
		return n
	}
	turns, rest := most, 0
	if rows < all {
		turns = sort.Search(most+1, func(n int) bool { return dealt(n) > rows }) - 1
		rest = rows - dealt(turns)
	}
	for _, p := range piles {
		in := min(len(p.cards), turns)
		if in < len(p.cards) && rest > 0 {
			in++
			rest--
		}
		if in == p.in && !touched[p] {
			continue
		}
		p.in = in
		if in > 0 && in < len(p.cards) && !p.sorted {
			slices.SortFunc(p.cards, d.compare)
			p.sorted = true
		}
		for i, c := range p.cards {
			if now := i < in; now != c.in {
				c.in = now
				moved = append(moved, c)
			}
		}
	}
	return moved
}

// offerDeal is offer for a table whose rows have one owner each, where there may be too many.
func (t *table[K, V]) offerDeal(c *change[K, V], p *plan) {
	gone := make(map[K]bool, len(c.del))
	for _, k := range c.del {
		if !has(c.put, k) {
			gone[k] = true
		}
	}
	want := func(k K) (V, bool) {
		v, ok := c.put[k]
		if !ok && !gone[k] {
			v, ok = t.have[k]
			if !ok {
				v, ok = t.waiting[k]
			}
		}
		return v, ok
	}
	var moved []*card[K, V]
	if t.deal == nil || p.allOwners || t.owed {
		t.deal = newDeal(t, t.want(c))
		moved = slices.Collect(maps.Values(t.deal.cards))
	} else {
		moved = t.deal.change(t.touched(c, p), want)
	}
	t.owed = false
	for _, m := range moved {
		switch written := has(t.have, m.k); {
		case m.in && (has(c.put, m.k) || !written):
			v, _ := want(m.k)
			c.rows = append(c.rows, row[K, V]{m.k, v})
		case !m.in && written:
			c.evicted = append(c.evicted, m.k)
		}
	}
}

// touched are the keys of a full table's rows that a change is about, or whose owners or kinds a plan
// may change.
func (t *table[K, V]) touched(c *change[K, V], p *plan) map[K]bool {
	keys := keysOf(c.put, c.del)
	for k := range p.owners {
		for pile := range t.deal.byKey[k] {
			for _, c := range pile.cards {
				keys[c.k] = true
			}
		}
	}
	if t.rule.refer != nil {
		for ref := range keysOf(p.fdb.put, p.fdb.del) {
			for k := range t.deal.byRef[ref] {
				keys[k] = true
			}
		}
	}
	return keys
}
