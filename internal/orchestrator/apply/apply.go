// Package apply carries out a plan: the sites side by side, each step once, and
// takes back what this run has done where a step fails for good.
package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

// Doer does single steps at a site.
type Doer interface {
	Do(ctx context.Context, a *plan.Action, id sites.Resolver) (sites.Did, error)
}

// State is how far an action has come.
type State string

// The states.
const (
	Started State = "started"
	Done    State = "done"
	Failed  State = "failed"
	Undone  State = "taken back"
	// Stays is what could not be taken back.
	Stays State = "stays"
)

// Event tells of one action.
type Event struct {
	Action *plan.Action
	State  State
	Err    error
	Took   time.Duration
	// Done of All steps are done, or taken back. Marks that go with what is made count for none.
	Done, All int
}

// Run carries out a plan.
type Run struct {
	Sites map[string]Doer
	// Check, if not nil, is asked before each step; its error ends the run, and
	// nothing is taken back, since somebody else may be at work.
	Check func() error
	// Progress, if not nil, is told of each step, one at a time.
	Progress func(Event)
	// KeepPartial leaves what was done where a step fails for good.
	KeepPartial bool
	// Parallel bounds the steps under way; 64 if zero.
	Parallel int

	// rounds are what earlier plans of this run did, which is taken back as well.
	rounds []*work
}

// StepError is a step that failed for good.
type StepError struct {
	Action *plan.Action
	Err    error
	// TakenBack tells that everything is as before; Left is what could not be taken
	// back.
	TakenBack bool
	Left      []string
	// Late are the sites that gave no answer to a request: they may still do it, after
	// everything was taken back.
	Late []string
}

func (e *StepError) Error() string {
	return fmt.Sprintf("%s: %s %s: %v", e.Action.Site, e.Action.Op, e.Action.What, e.Err)
}

func (e *StepError) Unwrap() error { return e.Err }

// errFenced ends a run in which Check said no.
type errFenced struct{ error }

func (e errFenced) Unwrap() error { return e.error }

// work is one run's state.
type work struct {
	*Run
	plan *plan.Plan

	mu     sync.Mutex
	ids    map[string]string // of what actions made
	alias  map[string]string // the ids of what was made again
	done   []int             // in the order of their completion
	steps  int               // of those done, what counts; allSteps: of the plan
	failed []int             // some may have been done all the same
	unsure map[int]bool      // some requests for them may still be on their way
	found  map[int]bool      // somebody else had made what they make

	allSteps int
}

// Do carries out a plan. It may be called again, with what is left then. It returns the number of steps done, and a StepError if
// one failed for good. An end of ctx takes nothing back: the next run goes on.
func (r *Run) Do(ctx context.Context, p *plan.Plan) (int, error) {
	w := &work{Run: r, plan: p, ids: map[string]string{}, alias: map[string]string{}, unsure: map[int]bool{}, found: map[int]bool{}}
	for i := range p.Actions {
		if p.Actions[i].IsStep() {
			w.allSteps++
		}
	}
	failed, err := w.all(ctx)
	n := w.steps
	r.rounds = append(r.rounds, w)
	if err == nil || failed == nil {
		return n, err
	}
	step := &StepError{Action: failed, Err: err}
	var fenced errFenced
	if p.Goal == plan.Apply && !r.KeepPartial && ctx.Err() == nil && !errors.As(err, &fenced) {
		step.Left = r.takeBack(ctx)
		step.TakenBack = len(step.Left) == 0 && ctx.Err() == nil
	}
	step.Late = r.late()
	return n, step
}

// all does the actions, each when those before it are done. It returns the action
// that failed, if one did.
func (w *work) all(ctx context.Context) (*plan.Action, error) {
	limit := w.Parallel
	if limit == 0 {
		limit = 64
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	actions := w.plan.Actions
	waits := make([]int, len(actions))
	next := make([][]int, len(actions))
	index := make(map[string]int, len(actions))
	for i := range actions {
		index[actions[i].ID] = i
	}
	var ready []int
	for i := range actions {
		for _, id := range actions[i].After {
			if j, ok := index[id]; ok {
				waits[i]++
				next[j] = append(next[j], i)
			}
		}
		if waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	type result struct {
		i   int
		err error
	}
	results := make(chan result)
	running, finished := 0, 0
	var failed *plan.Action
	var first error
	for {
		for len(ready) > 0 && running < limit && first == nil && ctx.Err() == nil {
			i := ready[0]
			ready = ready[1:]
			running++
			go func() { results <- result{i, w.one(ctx, i)} }()
		}
		if running == 0 {
			break
		}
		r := <-results
		running--
		if r.err != nil {
			w.failed = append(w.failed, r.i)
			if first == nil {
				failed, first = &actions[r.i], r.err
			}
			continue
		}
		finished++
		for _, j := range next[r.i] {
			if waits[j]--; waits[j] == 0 {
				ready = append(ready, j)
			}
		}
	}
	switch {
	case first != nil:
		return failed, first
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case finished != len(actions):
		return nil, fmt.Errorf("the plan's steps wait for each other: %d of %d were done", finished, len(actions))
	}
	return nil, nil
}

// one does one action.
func (w *work) one(ctx context.Context, i int) error {
	a := &w.plan.Actions[i]
	if w.Check != nil {
		if err := w.Check(); err != nil {
			return errFenced{err}
		}
	}
	site := w.Sites[a.Site]
	if site == nil {
		return fmt.Errorf("no site is called %s", a.Site)
	}
	w.tell(Event{Action: a, State: Started})
	begin := time.Now()
	did, err := site.Do(ctx, a, w.resolve)
	if !did.Sure {
		w.mu.Lock()
		w.unsure[i] = true
		w.mu.Unlock()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		w.tell(Event{Action: a, State: Failed, Err: err, Took: time.Since(begin)})
		return err
	}
	w.mu.Lock()
	w.ids[a.ID] = did.ID
	w.found[i] = did.Found
	w.done = append(w.done, i)
	if a.IsStep() {
		w.steps++
	}
	w.mu.Unlock()
	w.tell(Event{Action: a, State: Done, Took: time.Since(begin)})
	return nil
}

func (w *work) tell(e Event) {
	if w.Progress == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Done, e.All = w.steps, w.allSteps
	w.Progress(e)
}

// resolve gives the id that a reference means by now.
func (w *work) resolve(r plan.Ref) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := r.ID
	if r.From != "" {
		id = w.ids[r.From]
	}
	for again, ok := w.alias[id]; ok; again, ok = w.alias[id] {
		id = again
	}
	return id
}
