package plan

import (
	"slices"
)

// order sorts the actions so that each comes after those that it waits for, and
// otherwise stays where it was planned.
func (b *builder) order() {
	b.plan.Actions = ordered(b.plan.Actions)
	b.plan.Counts = CountOf(b.plan.Actions)
}

func ordered(actions []Action) []Action {
	index := make(map[string]int, len(actions))
	for i, a := range actions {
		index[a.ID] = i
	}
	done := make([]bool, len(actions))
	out := make([]Action, 0, len(actions))
	var visit func(i int)
	visit = func(i int) {
		if done[i] {
			return
		}
		done[i] = true // before the loop: what waits in a circle ends
		for _, id := range actions[i].After {
			if j, ok := index[id]; ok {
				visit(j)
			}
		}
		out = append(out, actions[i])
	}
	for i := range actions {
		visit(i)
	}
	return slices.Clip(out)
}
