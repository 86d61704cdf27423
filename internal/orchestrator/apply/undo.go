package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

// finder looks for what a create would have made.
type finder interface {
	Find(ctx context.Context, a *plan.Action, id sites.Resolver) (string, error)
}

var (
	errNotKept = errors.New("how it was made is not known any more")
	errHeld    = errors.New("what hangs on it could not be taken back")
	errMayCome = errors.New("no answer came to a request for it and it may be made yet; what shows that it is the peering's stays")
)

// takeBack undoes what was done in all rounds. It returns what could not be undone.
func (r *Run) takeBack(ctx context.Context) []string {
	var left []string
	stays := map[string]bool{}
	for _, w := range slices.Backward(r.rounds) {
		left = append(left, w.takeBack(ctx, stays)...)
	}
	return left
}

// late are the sites at which requests may still be on their way.
func (r *Run) late() []string {
	var out []string
	for _, w := range r.rounds {
		for i := range w.unsure {
			out = append(out, w.plan.Actions[i].Site)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// takeBack undoes what was done, each site for itself, the last step first. It
// returns what could not be undone, and with it what that hangs on: without its port, nobody could tell
// a remote MAC entry to be the peering's. At the sites in stays nothing is touched; those at
// which no more may be are added.
func (w *work) takeBack(ctx context.Context, stays map[string]bool) []string {
	bySite := map[string][]int{}
	// What failed may have been done all the same, if its answer was lost.
	last := slices.Clone(w.done)
	slices.Reverse(last)
	for _, i := range slices.Concat(w.failed, last) {
		site := w.plan.Actions[i].Site
		bySite[site] = append(bySite[site], i)
	}
	var mu sync.Mutex
	var left []string
	var all sync.WaitGroup
	for site := range stays {
		delete(bySite, site)
	}
	for site, actions := range bySite {
		all.Go(func() {
			held := map[string]bool{} // what something that stays hangs on
			for _, i := range actions {
				a, maybe := &w.plan.Actions[i], slices.Contains(w.failed, i)
				if w.found[i] {
					continue // another run's
				}
				err := errHeld
				if !held[a.ID] {
					err = w.undo(ctx, w.Sites[site], a, maybe)
				}
				// A remote MAC entry bears no mark: it is the peering's by the connection
				// and the remote-site port that it belongs to.
				mayCome := err == nil && w.unsure[i] && a.Op == plan.Create && a.Kind == plan.RemoteMAC
				if mayCome {
					err = errMayCome
				}
				state := Undone
				if err != nil {
					state = Stays
					for _, id := range a.After {
						held[id] = true
					}
					mu.Lock()
					left = append(left, fmt.Sprintf("%s: %s: %v", site, a.What, err))
					if mayCome {
						stays[site] = true
					}
					mu.Unlock()
				}
				if !maybe || err != nil {
					w.tell(Event{Action: a, State: state, Err: err})
				}
				if mayCome {
					return
				}
			}
		})
	}
	all.Wait()
	slices.Sort(left)
	return left
}

// undo does the opposite of an action.
func (w *work) undo(ctx context.Context, site Doer, a *plan.Action, maybe bool) error {
	if w.Check != nil {
		if err := w.Check(); err != nil {
			return err
		}
	}
	for _, back := range inverse(a) {
		if maybe && a.Op == plan.Create {
			f, ok := site.(finder)
			if !ok {
				return nil
			}
			id, err := f.Find(ctx, a, w.resolve)
			if err != nil || id == "" {
				return err
			}
			back.Target = plan.Ref{ID: id}
		}
		if maybe && (a.Op == plan.Delete || a.Op == plan.Detach) {
			return nil // a delete whose end is unknown is left to the next run
		}
		if back.Op == "" {
			return errNotKept
		}
		did, err := site.Do(ctx, &back, w.resolve)
		if err != nil {
			return fmt.Errorf("%s: %w", back.Op, err)
		}
		id := did.ID
		w.mu.Lock()
		w.ids[back.ID] = id
		// A create that finds the old one still there gives its id.
		if old := a.Target.ID; back.Op == plan.Create && old != "" && old != id {
			w.alias[old] = id
			delete(w.alias, id)
		}
		w.mu.Unlock()
	}
	return nil
}

// inverse are the actions that undo one. An action without an operation is what
// cannot be undone.
func inverse(a *plan.Action) []plan.Action {
	back := plan.Action{ID: a.ID + "/back", Site: a.Site, Kind: a.Kind, What: a.What, Remote: a.Remote, Target: a.Target, Parent: a.Parent}
	switch a.Op {
	case plan.Create:
		back.Op, back.Target = plan.Delete, plan.Ref{From: a.ID}
	case plan.Update:
		back.Op, back.Attrs = plan.Update, a.Before
	case plan.AddTag:
		back.Op, back.Tag = plan.RemoveTag, a.Tag
	case plan.RemoveTag:
		back.Op, back.Tag = plan.AddTag, a.Tag
	case plan.AddRoutes:
		back.Op, back.Routes = plan.RemoveRoutes, a.Routes
	case plan.RemoveRoutes:
		back.Op, back.Routes = plan.AddRoutes, a.Routes
	case plan.Attach:
		// Detaching takes the port with it. One that this run did not make is made
		// again.
		back.Op = plan.Detach
		if a.Target.From == "" {
			return append([]plan.Action{back}, remake(a, false)...)
		}
	case plan.Delete, plan.Detach:
		if a.Before == nil {
			return []plan.Action{back}
		}
		return remake(a, a.Op == plan.Detach)
	}
	return []plan.Action{back}
}

// remake makes a resource again that was deleted, with its marks.
func remake(a *plan.Action, attach bool) []plan.Action {
	again := plan.Action{ID: a.ID + "/again", Site: a.Site, Op: plan.Create, Kind: a.Kind, What: a.What, Remote: a.Remote, Parent: a.Parent, Attrs: a.Before}
	out := []plan.Action{again}
	made := plan.Ref{From: again.ID}
	for _, t := range a.Tags {
		out = append(out, plan.Action{ID: a.ID + "/mark", Site: a.Site, Op: plan.AddTag, Kind: a.Kind, What: a.What, Target: made, Tag: t})
	}
	if attach {
		out = append(out, plan.Action{ID: a.ID + "/attach", Site: a.Site, Op: plan.Attach, Kind: a.Kind, What: a.What, Target: made, Parent: a.Parent})
	}
	return out
}
