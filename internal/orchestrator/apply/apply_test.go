package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

// recorder is a site that does everything, or fails where it is told to.
type recorder struct {
	mu    sync.Mutex
	did   []string
	fails map[string]error
	// unsure are the actions of which some requests got no answer.
	unsure map[string]bool
	// found are those whose result is there already.
	found map[string]bool
	// still is what Create answers where the resource never went.
	still string
}

func (r *recorder) Do(_ context.Context, a *plan.Action, id sites.Resolver) (sites.Did, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	target := id(a.Target)
	if err := r.fails[a.ID]; err != nil {
		return sites.Did{Sure: !r.unsure[a.ID]}, err
	}
	r.did = append(r.did, strings.TrimSpace(fmt.Sprintf("%s %s %s", a.Op, a.Kind, target)))
	switch {
	case a.Op == plan.Create && r.still != "":
		return sites.Did{ID: r.still, Sure: true}, nil
	case a.Op == plan.Create:
		return sites.Did{ID: "made-" + a.ID, Sure: !r.unsure[a.ID], Found: r.found[a.ID]}, nil
	}
	return sites.Did{ID: target, Sure: !r.unsure[a.ID], Found: r.found[a.ID]}, nil
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

// finding finds what a create is said to have made all the same.
type finding struct{ *recorder }

func (f finding) Find(_ context.Context, a *plan.Action, _ sites.Resolver) (string, error) {
	return "found-" + a.ID, nil
}

// TestAllThatFailed: of steps that fail side by side, each may have been done.
func TestAllThatFailed(t *testing.T) {
	r := &recorder{fails: map[string]error{"a": errRefused, "b": errRefused}}
	actions := []plan.Action{{ID: "a", Site: "s", Op: plan.Create, Kind: plan.Network}, {ID: "b", Site: "s", Op: plan.Create, Kind: plan.Router}}
	// Check is asked as each step begins: neither goes on before both have begun.
	var begun sync.WaitGroup
	begun.Add(len(actions))
	var first atomic.Int64
	w := &Run{Sites: map[string]Doer{"s": finding{r}}, Check: func() error {
		if first.Add(1) <= int64(len(actions)) {
			begun.Done()
			begun.Wait()
		}
		return nil
	}}
	_, err := w.Do(t.Context(), &plan.Plan{Goal: plan.Apply, Actions: actions})
	var step *StepError
	if !errors.As(err, &step) || !step.TakenBack {
		t.Fatal(err)
	}
	slices.Sort(r.did)
	if want := []string{"delete network found-a", "delete router found-b"}; !slices.Equal(r.did, want) {
		t.Errorf("did %q, want %q", r.did, want)
	}
}

// TestMayCome: what shows that a remote MAC entry is the peering's stays while a
// request for it may be on its way, in the rounds before too; at other sites, and for
// what bears a mark, it is only said.
func TestMayCome(t *testing.T) {
	for kind, want := range map[plan.Kind][]string{
		plan.RemoteMAC: {"delete remote_mac_entry made-entry"},
		plan.Port:      {"delete port made-entry", "delete port made-port", "delete network made-net"},
	} {
		r := &recorder{fails: map[string]error{"last": errRefused}, unsure: map[string]bool{"entry": true}}
		other := &recorder{}
		w := &Run{Sites: map[string]Doer{"s": r, "other": other}}
		if _, err := w.Do(t.Context(), &plan.Plan{Goal: plan.Apply, Actions: []plan.Action{{ID: "net", Site: "s", Op: plan.Create, Kind: plan.Network}}}); err != nil {
			t.Fatal(err)
		}
		_, err := w.Do(t.Context(), &plan.Plan{Goal: plan.Apply, Actions: []plan.Action{
			{ID: "port", Site: "s", Op: plan.Create, Kind: plan.Port},
			{ID: "entry", Site: "s", Op: plan.Create, Kind: kind, After: []string{"port"}},
			{ID: "else", Site: "other", Op: plan.Create, Kind: plan.Port, After: []string{"entry"}},
			{ID: "last", Site: "s", Op: plan.Update, Kind: plan.Port, Target: plan.Ref{ID: "z"}, After: []string{"else"}},
		}})
		var step *StepError
		if !errors.As(err, &step) || !slices.Equal(step.Late, []string{"s"}) || step.TakenBack == (kind == plan.RemoteMAC) {
			t.Fatalf("%s: %v: %+v", kind, err, step)
		}
		back := slices.DeleteFunc(r.did[3:], func(s string) bool { return s == "update port z" })
		if !slices.Equal(back, want) || !slices.Equal(other.did, []string{"create port", "delete port made-else"}) {
			t.Errorf("%s: took back %q, want %q; at the other site %q", kind, back, want, other.did)
		}
	}
}

// TestWhatStaysCanBeTold: where a step cannot be taken back, what it is told by stays.
func TestWhatStaysCanBeTold(t *testing.T) {
	r := &recorder{fails: map[string]error{"last": errRefused, "entry/back": errRefused}}
	_, err := run(t, r, plan.Apply, nil,
		plan.Action{ID: "port", Op: plan.Create, Kind: plan.Port},
		plan.Action{ID: "mark", Op: plan.AddTag, Kind: plan.Port, Target: plan.Ref{From: "port"}, After: []string{"port"}},
		plan.Action{ID: "other", Op: plan.Create, Kind: plan.Router, After: []string{"mark"}},
		plan.Action{ID: "entry", Op: plan.Create, Kind: plan.RemoteMAC, After: []string{"mark"}},
		plan.Action{ID: "last", Op: plan.Update, Kind: plan.Port, Target: plan.Ref{ID: "z"}, After: []string{"entry", "other"}})
	var step *StepError
	if !errors.As(err, &step) || step.TakenBack || len(step.Left) != 3 {
		t.Fatalf("%v, left %q", err, step.Left)
	}
	if want := []string{"update port z", "delete router made-other"}; !slices.Equal(r.did[4:], want) {
		t.Errorf("took back %q, want %q", r.did[4:], want)
	}
}

// TestFoundIsNotTakenBack: what another run has made is not this one's to take away, though this one
// goes on with it.
func TestFoundIsNotTakenBack(t *testing.T) {
	r := &recorder{fails: map[string]error{"last": errRefused}, found: map[string]bool{"device": true, "attach": true}}
	n, err := run(t, r, plan.Apply, nil,
		plan.Action{ID: "device", Op: plan.Create, Kind: plan.Device},
		plan.Action{ID: "gateway", Op: plan.Create, Kind: plan.L2Gateway, After: []string{"device"}},
		plan.Action{ID: "attach", Op: plan.Attach, Kind: plan.Port, Target: plan.Ref{ID: "p"}, After: []string{"gateway"}},
		plan.Action{ID: "last", Op: plan.Update, Kind: plan.Port, Target: plan.Ref{ID: "z"}, After: []string{"attach"}})
	var step *StepError
	if !errors.As(err, &step) || !step.TakenBack || n != 3 {
		t.Fatalf("%d steps, %v", n, err)
	}
	if want := []string{"update port z", "delete l2_gateway made-gateway"}; !slices.Equal(r.did[3:], want) {
		t.Errorf("took back %q, want %q", r.did[3:], want)
	}
}
