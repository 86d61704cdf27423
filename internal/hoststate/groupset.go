package hoststate

import (
	"iter"
	"slices"
)

// GroupSet is a set of groups that does not change. A controller keeps one for each host, and most of what is in it are
// networks and routers: those take 8 bytes each, and nothing for the garbage collector to look at.
type GroupSet struct {
	keyed []uint64 // the groups without a name, in order
	named []Group  // in order
}

// NewGroupSet has the groups that it is given, each once.
func NewGroupSet(groups ...Group) GroupSet {
	var s GroupSet
	for _, g := range groups {
		if g.Name == "" {
			s.keyed = append(s.keyed, g.number())
		} else {
			s.named = append(s.named, g)
		}
	}
	slices.Sort(s.keyed)
	s.keyed = slices.Compact(s.keyed)
	slices.SortFunc(s.named, Group.Compare)
	s.named = slices.Compact(s.named)
	return s
}

// number is a group without a name as one number; they are in the order of the groups.
func (g Group) number() uint64 { return uint64(g.Kind)<<32 | uint64(g.Key) }

func numbered(n uint64) Group { return Group{Kind: GroupKind(n >> 32), Key: uint32(n)} }

// Len is how many groups there are.
func (s GroupSet) Len() int { return len(s.keyed) + len(s.named) }

// Has tells whether a group is one of them.
func (s GroupSet) Has(g Group) bool {
	if g.Name == "" {
		_, ok := slices.BinarySearch(s.keyed, g.number())
		return ok
	}
	_, ok := slices.BinarySearchFunc(s.named, g, Group.Compare)
	return ok
}

// All are the groups: first those without a name, then the others, each in order.
func (s GroupSet) All() iter.Seq[Group] {
	return func(yield func(Group) bool) {
		for _, n := range s.keyed {
			if !yield(numbered(n)) {
				return
			}
		}
		for _, g := range s.named {
			if !yield(g) {
				return
			}
		}
	}
}

// Equal tells whether two sets have the same groups.
func (s GroupSet) Equal(t GroupSet) bool {
	return slices.Equal(s.keyed, t.keyed) && slices.Equal(s.named, t.named)
}

// Without are those groups for which drop says no.
func (s GroupSet) Without(drop func(Group) bool) GroupSet {
	var left []Group
	for g := range s.All() {
		if !drop(g) {
			left = append(left, g)
		}
	}
	return NewGroupSet(left...)
}

// differ calls gone for each group of s that t lacks, and come for each of t that s lacks.
func (s GroupSet) differ(t GroupSet, gone, come func(Group)) {
	differ(s.keyed, t.keyed, func(a, b uint64) int {
		switch {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	}, func(n uint64) { gone(numbered(n)) }, func(n uint64) { come(numbered(n)) })
	differ(s.named, t.named, Group.Compare, gone, come)
}

// differ does so for what is in order.
func differ[T any](before, after []T, compare func(a, b T) int, gone, come func(T)) {
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(after) == 0:
			order = -1
		case len(before) == 0:
			order = 1
		default:
			order = compare(before[0], after[0])
		}
		switch {
		case order < 0:
			gone(before[0])
			before = before[1:]
		case order > 0:
			come(after[0])
			after = after[1:]
		default:
			before, after = before[1:], after[1:]
		}
	}
}
