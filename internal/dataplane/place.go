package dataplane

import (
	"cmp"
	"errors"
	"slices"

	"github.com/causeway-net/causeway/internal/model"
)

// Who gets a row where a map has no room for all. The rule needs nothing but the rows that
// are wanted, so that the same state gives the same rows, whatever order it came in and
// after any restart:
//
//  1. Projects take turns: the first row of each comes before the second of any. So a
//     project that wants no more than its share (what the map takes, divided by the
//     projects that want rows) has them all, whatever others want. What one project leaves
//     of its share is dealt out among the others.
//  2. Of a project's rows, those without which nothing of a port or a router works come
//     first, and a quarter of the map is kept for them.
//  3. Within a project owners (a router, a network, a port) take turns too.
//  4. Among owners, and among one owner's rows, the keys decide.
//  5. What is only for a while (the second place of what moves) gets what all projects' other
//     rows leave, by the same turns.
//
// A row that several projects want has the place of the one that it serves first.
//
// Where rows have one owner each, deal.go comes to the same at the cost of what changes.
//
// A row that is written makes room for another that comes before it. What finds no room
// waits, and is looked at again when the wanted rows change.

// keptPart of a map is kept for the rows that come first: one in four.
const keptPart = 4

// owner is whose a row is: a project's, and a network's, router's or port's of it.
type owner struct {
	project model.ProjectID
	key     uint32
}

// rule says how the rows of one map come before each other.
type rule[K comparable, V comparable] struct {
	// first tells rows that come before others; nil: all rows are alike.
	first func(K, V) bool
	// last tells rows that come after all others, of whatever project; nil: none does.
	last func(K) bool
	// kept names the first.
	kept string
	// owners appends whose row it is: one, or those that share it.
	owners func(K, V, []owner) []owner
	// compare orders the rows of one owner, by what does not change with a restart.
	compare func(aKey K, a V, bKey K, b V) int
	// shared tells that a row may have several owners.
	shared bool
	// follows tells of shared rows whether a plan may change who owns them where it
	// changes no row of the table itself; nil: never.
	follows func(*plan) bool
	// refer is the FDB entry that tells whose a row is and whether it comes first; nil: none.
	refer func(K, V) bpfFdbKey
	// inOrder has them written in this order.
	inOrder bool
}

// turn is when a row gets its place.
type turn int

const (
	turnFirst turn = iota
	turnLater
	turnLast
	turnCount
)

func (r rule[K, V]) turn(k K, v V) turn {
	switch {
	case r.last != nil && r.last(k):
		return turnLast
	case r.first != nil && !r.first(k, v):
		return turnLater
	}
	return turnFirst
}

// row is a row to be written.
type row[K comparable, V comparable] struct {
	k K
	v V
}

// wantedRow is a row that is to be in the map.
type wantedRow[K comparable, V comparable] struct {
	row[K, V]
	written bool // it is, be it with another value
	put     bool // the change has it
}

// hand is an owner's rows of one kind, in order.
type hand struct {
	owner
	later bool // not of those that come first
	rows  []int
}

// keeps is how many rows of the map are kept for those that come first.
func (t *table[K, V]) keeps() int {
	if t.rule.first == nil {
		return 0
	}
	return int(t.limit) / keptPart
}

// place chooses of the rows that are wanted those that are to be in the map.
func (t *table[K, V]) place(rows []wantedRow[K, V]) []bool {
	limit, left := int(t.limit), int(t.limit)-t.keeps()
	chosen, n := make([]bool, len(rows)), 0
	for _, last := range []bool{false, true} {
		players := t.players(rows, last)
		for turn := 0; len(players) > 0 && n < limit; turn++ {
			players = slices.DeleteFunc(players, func(p []int) bool { return turn >= len(p) })
			for _, p := range players {
				i := p[turn]
				later := i < 0
				if later {
					i = ^i
				}
				if n == limit || chosen[i] || later && left == 0 {
					continue // chosen: another owner's already
				}
				if later {
					left--
				}
				chosen[i] = true
				n++
			}
		}
	}
	return chosen
}

// players are the projects' rows, each in the order in which the project has room for
// them: indices, with those inverted that do not come first. last: of the rows that come after all others.
func (t *table[K, V]) players(rows []wantedRow[K, V], last bool) [][]int {
	var players [][]int
	var order []int
	hands := t.hands(rows, last)
	for i := 0; i < len(hands); {
		// The owners of a project take turns with their rows of a kind.
		same := i + 1
		for same < len(hands) && hands[same].project == hands[i].project && hands[same].later == hands[i].later {
			same++
		}
		going := slices.Clone(hands[i:same])
		for turn := 0; len(going) > 0; turn++ {
			going = slices.DeleteFunc(going, func(h *hand) bool { return turn >= len(h.rows) })
			for _, h := range going {
				if h.later {
					order = append(order, ^h.rows[turn])
				} else {
					order = append(order, h.rows[turn])
				}
			}
		}
		if same == len(hands) || hands[same].project != hands[i].project {
			players, order = append(players, order), nil
		}
		i = same
	}
	return players
}

// hands are the rows of each owner, in order of projects, kinds and owners.
func (t *table[K, V]) hands(rows []wantedRow[K, V], last bool) []*hand {
	type kind struct {
		owner
		later bool
	}
	byKind := map[kind]*hand{}
	var hands []*hand
	var owners []owner
	for i := range rows {
		r := &rows[i]
		turn := t.rule.turn(r.k, r.v)
		if last != (turn == turnLast) {
			continue
		}
		later := turn != turnFirst
		owners = t.rule.owners(r.k, r.v, owners[:0])
		for _, o := range owners {
			h := byKind[kind{o, later}]
			if h == nil {
				h = &hand{owner: o, later: later}
				byKind[kind{o, later}] = h
				hands = append(hands, h)
			}
			h.rows = append(h.rows, i)
		}
	}
	for _, h := range hands {
		slices.SortFunc(h.rows, func(a, b int) int { return t.rule.compare(rows[a].k, rows[a].v, rows[b].k, rows[b].v) })
	}
	slices.SortFunc(hands, func(a, b *hand) int {
		return cmp.Or(cmp.Compare(a.project, b.project), firstThenLater(a.later, b.later), cmp.Compare(a.key, b.key))
	})
	return hands
}

func firstThenLater(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// offer takes the rows of a change. Its rows are then those to be written, and evicted
// those that are in the map and make room for others.
func (t *table[K, V]) offer(c *change[K, V], p *plan) {
	changed := false
	for k, v := range c.put {
		old, ok := t.have[k]
		if !ok {
			old, ok = t.waiting[k]
			t.waiting[k] = v
		}
		changed = changed || !ok || old != v
	}
	for _, k := range c.del {
		if !has(c.put, k) {
			changed = changed || has(t.have, k) || has(t.waiting, k)
			delete(t.waiting, k)
		}
	}
	if t.full(c) {
		t.offerDeal(c, p)
		t.inOrder(c)
		return
	}
	t.deal = nil
	if !changed && !p.allOwners && len(p.owners) == 0 && (t.rule.follows == nil || !t.rule.follows(p)) && !t.owed {
		return
	}
	t.owed = false
	want := t.want(c)
	var chosen []bool // nil: all
	if len(want) > int(t.limit)-t.keeps() {
		chosen = t.place(want)
	}
	for i, r := range want {
		switch in := chosen == nil || chosen[i]; {
		case in && (r.put || !r.written):
			c.rows = append(c.rows, r.row)
		case !in && r.written:
			c.evicted = append(c.evicted, r.k)
		}
	}
	t.inOrder(c)
}

// full tells whether a table whose rows have one owner each has more of them wanted than there
// is room for at once. It stays full until some room is free, so that a deal serves many changes.
func (t *table[K, V]) full(c *change[K, V]) bool {
	if t.rule.shared {
		return false
	}
	n := len(t.have) + len(t.waiting)
	gone := map[K]bool{}
	for _, k := range c.del {
		if !gone[k] && !has(c.put, k) && has(t.have, k) {
			n--
		}
		gone[k] = true
	}
	room := int(t.limit) - t.keeps()
	return n > room || t.deal != nil && n > room/4*3
}

func (t *table[K, V]) inOrder(c *change[K, V]) {
	if t.rule.inOrder {
		slices.SortFunc(c.rows, func(a, b row[K, V]) int { return t.rule.compare(a.k, a.v, b.k, b.v) })
	}
}

// want are the rows that are wanted after a change: all of them, or, where there is room for
// all, those that the change has or that wait.
func (t *table[K, V]) want(c *change[K, V]) []wantedRow[K, V] {
	var rows []wantedRow[K, V]
	if n := len(t.have) + len(t.waiting); n > int(t.limit)-t.keeps() {
		rows = make([]wantedRow[K, V], 0, n)
		gone := make(map[K]bool, len(c.del))
		for _, k := range c.del {
			gone[k] = true
		}
		for k, v := range t.have {
			now, put := c.put[k]
			if put {
				v = now
			}
			if put || !gone[k] {
				rows = append(rows, wantedRow[K, V]{row[K, V]{k, v}, true, put})
			}
		}
	} else {
		for k, v := range c.put {
			if has(t.have, k) {
				rows = append(rows, wantedRow[K, V]{row[K, V]{k, v}, true, true})
			}
		}
	}
	for k, v := range t.waiting {
		rows = append(rows, wantedRow[K, V]{row: row[K, V]{k, v}})
	}
	return rows
}

// write puts rows that offer has chosen, and returns those that the map has no room for
// yet: rows that are to go may still be there.
func (t *table[K, V]) write(rows []row[K, V], f *failures) (left []row[K, V]) {
	for _, r := range rows {
		err := t.put(r.k, r.v)
		switch {
		case errors.Is(err, errFull):
			t.waiting[r.k] = r.v
			left = append(left, r)
		case err == nil:
			delete(t.waiting, r.k)
		default:
			t.owed = true
			f.add(err)
		}
	}
	return left
}

// evict removes a row that makes room for another, and has it wait.
func (t *table[K, V]) evict(c *change[K, V], k K, f *failures) {
	v, ok := t.have[k]
	if !ok {
		return // at an earlier step
	}
	if now, put := c.put[k]; put {
		v = now
	}
	if err := t.del(k); err != nil {
		t.owed = true
		f.add(err)
		return
	}
	t.waiting[k] = v
}

// change puts another value in a row's place, be it written or waiting.
func (t *table[K, V]) change(k K, v V) (err error) {
	if has(t.have, k) {
		onOneCPU(func() { err = t.put(k, v) })
		return err
	}
	if has(t.waiting, k) {
		t.waiting[k] = v
	}
	return nil
}

// row is what the table has under a key, written or waiting.
func (t *table[K, V]) row(k K) V {
	if v, ok := t.have[k]; ok {
		return v
	}
	return t.waiting[k]
}
