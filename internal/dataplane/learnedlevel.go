package dataplane

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// Where the map of what is learned is three quarters full, those who hold most of it are cut down to one level,
// a number of rows a port, so that these are not exceeded: a port that holds fewer loses nothing,
// and new ones find room. The level holds until half of the map is free.

// heldRows are the rows of learned by whom they are charged to.
type heldRows map[uint32][]heldRow

type heldRow struct {
	key  bpfLearnedKey
	seen uint64
}

func (h heldRows) add(k bpfLearnedKey, v bpfLearnedRow) {
	h[v.Port] = append(h[v.Port], heldRow{k, v.Seen})
}

// portsOf is how many ports' shares a learner has.
func portsOf(learner uint32) int {
	if learner&learnerVLAN != 0 {
		return LearnPerNetwork / LearnPerPort
	}
	return 1
}

// highest is the highest level, of those up to most, at which no more than room rows are held.
func (h heldRows) highest(most, room int) int {
	n := sort.Search(most, func(i int) bool { // i: how far below most
		sum := 0
		for learner, rows := range h {
			sum += min(len(rows), (most-i)*portsOf(learner))
		}
		return sum <= room
	})
	return max(1, most-n)
}

// above are the rows beyond a level, those that were silent longest.
func (h heldRows) above(level int) (over []bpfLearnedKey) {
	for learner, rows := range h {
		n := len(rows) - level*portsOf(learner)
		if n <= 0 {
			continue
		}
		slices.SortFunc(rows, func(a, b heldRow) int { return cmp.Compare(a.seen, b.seen) })
		for _, r := range rows[:n] {
			over = append(over, r.key)
		}
	}
	return over
}

// level writes how many rows a port may hold, and returns those to be removed.
func (d *Dataplane) level(held heldRows, rows int) ([]bpfLearnedKey, error) {
	most := int(d.tables.maps[bpfMapLearned].MaxEntries())
	want, level := d.config, LearnPerPort-int(d.config.LearnLess)
	switch {
	case rows > most/4*3:
		level = held.highest(level, most/4*3)
	case rows <= most/2:
		level = LearnPerPort
	}
	want.LearnLess = uint32(LearnPerPort - level)
	if want != d.config {
		// First, so that what is removed does not come back.
		if err := d.tables.maps[bpfMapConfigs].Put(uint32(0), &want); err != nil {
			return nil, fmt.Errorf("write map %s: %w", bpfMapConfigs, err)
		}
		d.config = want
	}
	if level == LearnPerPort {
		return nil, nil
	}
	return held.above(level), nil
}
