package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

// recorder is a site that does everything, or fails where it is told to.
type recorder struct {
	mu    sync.Mutex
	did   []string
	fails map[string]error
	// still is what Create answers where the resource never went.
	still string
}

func (r *recorder) Do(_ context.Context, a *plan.Action, id sites.Resolver) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	target := id(a.Target)
	if err := r.fails[a.ID]; err != nil {
		return "", err
	}
	r.did = append(r.did, strings.TrimSpace(fmt.Sprintf("%s %s %s", a.Op, a.Kind, target)))
	switch {
	case a.Op == plan.Create && r.still != "":
		return r.still, nil
	case a.Op == plan.Create:
		return "made-" + a.ID, nil
	}
	return target, nil
}

func run(t *testing.T, r *recorder, goal plan.Goal, change func(*Run), actions ...plan.Action) (int, error) {
	t.Helper()
	for i := range actions {
		actions[i].Site = "s"
	}
	w := &Run{Sites: map[string]Doer{"s": r}}
	if change != nil {
		change(w)
	}
	return w.Do(t.Context(), &plan.Plan{Goal: goal, Actions: actions})
}

var errRefused = errors.New("refused")

// TestTakenBack: the opposite of each step, the last first.
func TestTakenBack(t *testing.T) {
	for _, tc := range []struct {
		name    string
		actions []plan.Action
		want    []string // after the steps themselves
		left    int
	}{
		{"create", []plan.Action{{ID: "a", Op: plan.Create, Kind: plan.Network}, {ID: "b", Op: plan.Create, Kind: plan.Subnet, After: []string{"a"}}},
			[]string{"delete subnet made-b", "delete network made-a"}, 0},
		{"update", []plan.Action{{ID: "a", Op: plan.Update, Kind: plan.Port, Target: plan.Ref{ID: "p"}}}, []string{"update port p"}, 0},
		{"tag", []plan.Action{{ID: "a", Op: plan.AddTag, Kind: plan.Port, Target: plan.Ref{ID: "p"}}}, []string{"untag port p"}, 0},
		{"untag", []plan.Action{{ID: "a", Op: plan.RemoveTag, Kind: plan.Router, Target: plan.Ref{ID: "r"}}}, []string{"tag router r"}, 0},
		{"routes", []plan.Action{{ID: "a", Op: plan.AddRoutes, Kind: plan.Router, Target: plan.Ref{ID: "r"}}, {ID: "b", Op: plan.RemoveRoutes, Kind: plan.Router, Target: plan.Ref{ID: "r"}, After: []string{"a"}}},
			[]string{"add routes router r", "remove routes router r"}, 0},
		{"delete", []plan.Action{{ID: "a", Op: plan.Delete, Kind: plan.Port, Target: plan.Ref{ID: "p"}, Before: plan.Attrs{"name": "x"}, Tags: []string{"t"}}},
			[]string{"create port p", "tag port made-a/again"}, 0},
		{"delete of what cannot be made again", []plan.Action{{ID: "a", Op: plan.Delete, Kind: plan.Network, Target: plan.Ref{ID: "n"}}}, nil, 1},
		{"detach", []plan.Action{{ID: "a", Op: plan.Detach, Kind: plan.Port, Target: plan.Ref{ID: "p"}, Parent: plan.Ref{ID: "r"}, Before: plan.Attrs{"name": "x"}}},
			[]string{"create port p", "attach port made-a/again"}, 0},
		{"attach of a port that was there", []plan.Action{{ID: "a", Op: plan.Attach, Kind: plan.Port, Target: plan.Ref{ID: "p"}, Before: plan.Attrs{"name": "x"}, Tags: []string{"t"}}},
			[]string{"detach port p", "create port", "tag port made-a/again"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &recorder{fails: map[string]error{"last": errRefused}}
			var after []string
			for _, a := range tc.actions {
				after = append(after, a.ID)
			}
			n, err := run(t, r, plan.Apply, nil, append(slices.Clone(tc.actions), plan.Action{ID: "last", Op: plan.Update, Kind: plan.Port, Target: plan.Ref{ID: "z"}, After: after})...)
			var step *StepError
			if !errors.As(err, &step) || !errors.Is(err, errRefused) || n != len(tc.actions) || len(step.Left) != tc.left || step.TakenBack != (tc.left == 0) {
				t.Fatalf("%d steps, %v, left %v", n, err, step)
			}
			got := slices.DeleteFunc(r.did[len(tc.actions):], func(s string) bool { return s == "update port z" })
			if fmt.Sprint(got) != fmt.Sprint(want(tc.want, got)) {
				t.Errorf("did %q, want %q", got, tc.want)
			}
		})
	}
}

// want lets "create port" stand for a create, which has no target.
func want(w, got []string) []string {
	out := slices.Clone(w)
	for i := range out {
		if i < len(got) && strings.HasPrefix(out[i], "create ") && strings.HasPrefix(got[i], "create ") {
			out[i] = got[i]
		}
	}
	return out
}

// TestStillThere: what was thought gone and is still there is no circle.
func TestStillThere(t *testing.T) {
	r := &recorder{fails: map[string]error{"last": errRefused}, still: "p"}
	_, err := run(t, r, plan.Apply, nil,
		plan.Action{ID: "a", Op: plan.Attach, Kind: plan.Port, Target: plan.Ref{ID: "p"}, Before: plan.Attrs{"name": "x"}, Tags: []string{"t"}},
		plan.Action{ID: "b", Op: plan.Update, Kind: plan.Port, Target: plan.Ref{ID: "p"}, After: []string{"a"}},
		plan.Action{ID: "last", Op: plan.Update, Kind: plan.Port, Target: plan.Ref{ID: "p"}, After: []string{"b"}})
	if !errors.Is(err, errRefused) {
		t.Error(err)
	}
}

// TestNothingTakenBack: not for a destroy, not where it is to be kept, and not by who
// has lost the lease.
func TestNothingTakenBack(t *testing.T) {
	actions := func() []plan.Action {
		return []plan.Action{{ID: "a", Op: plan.Create, Kind: plan.Network}, {ID: "last", Op: plan.Create, Kind: plan.Subnet, After: []string{"a"}}}
	}
	for name, change := range map[string]func(*Run){
		"kept": func(r *Run) { r.KeepPartial = true },
		"lost": func(r *Run) {
			n := 0
			r.Check = func() error {
				if n++; n > 1 {
					return errRefused
				}
				return nil
			}
		},
	} {
		r := &recorder{fails: map[string]error{"last": errRefused}}
		if n, err := run(t, r, plan.Apply, change, actions()...); n != 1 || err == nil || len(r.did) != 1 {
			t.Errorf("%s: %d steps, %v, did %q", name, n, err, r.did)
		}
	}
	r := &recorder{fails: map[string]error{"last": errRefused}}
	if n, err := run(t, r, plan.Destroy, nil, actions()...); n != 1 || err == nil || len(r.did) != 1 {
		t.Errorf("destroy: %d steps, %v, did %q", n, err, r.did)
	}
	r = &recorder{}
	if _, err := run(t, r, plan.Apply, nil, plan.Action{ID: "a", After: []string{"b"}}, plan.Action{ID: "b", After: []string{"a"}}); err == nil || len(r.did) != 0 {
		t.Errorf("steps that wait for each other: %v", err)
	}
}
