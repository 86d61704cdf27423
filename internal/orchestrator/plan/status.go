package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-net/causeway/internal/orchestrator/observed"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
)

// Status says how the sites differ from what the file says.
type Status struct {
	Peering string  `json:"peering"`
	InSync  bool    `json:"in_sync"`
	Choices Choices `json:"choices"`
	Pairs   []Pair  `json:"pairs"`
	// Drift is each difference; Problems and Warnings are what no apply mends.
	Drift    []Drift   `json:"drift"`
	Problems []Problem `json:"problems"`
	Warnings []Problem `json:"warnings"`
}

// PairState is how one site stands towards another.
type PairState string

// The states.
const (
	InSync      PairState = "in sync"
	Drifted     PairState = "drifted"
	Absent      PairState = "absent" // nothing of the peering is at the site
	Unreachable PairState = "unreachable"
	InTheWay    PairState = "blocked"
)

// Pair is what one site has for another: the way from one to the other needs both
// directions.
type Pair struct {
	From  string    `json:"from"`
	To    string    `json:"to"`
	State PairState `json:"state"`
	Why   []string  `json:"why,omitempty"`
}

// Drift is one difference.
type Drift struct {
	Site string `json:"site"`
	// Remote is the other site that it is about; "" for all.
	Remote   string `json:"remote,omitempty"`
	Resource string `json:"resource"`
	Text     string `json:"text"`
}

func (d Drift) String() string { return d.Site + ": " + d.Resource + ": " + d.Text }

// StatusOf compares the sites with the file.
func StatusOf(p *peering.Peering, obs []observed.Site) *Status {
	pl := Build(p, obs, Options{WithoutDown: true})
	s := &Status{Peering: p.Name, Choices: pl.Choices, Drift: Differences(pl), Problems: pl.Blockers, Warnings: []Problem{}, Pairs: []Pair{}}
	down := map[string]string{}
	there := map[string]bool{}
	for i := range p.Sites {
		name := p.Sites[i].Name
		at := slices.IndexFunc(obs, func(o observed.Site) bool { return o.Name == name })
		if at < 0 || obs[at].Problem != nil {
			down[name] = "it does not answer"
			if at >= 0 {
				down[name] = obs[at].Problem.Text
			}
			continue
		}
		there[name] = newView(p, &p.Sites[i], &obs[at]).net != nil
	}
	for _, w := range pl.Warnings {
		if down[w.Site] != "" {
			s.Problems = append(s.Problems, w)
		} else {
			s.Warnings = append(s.Warnings, w)
		}
	}
	for _, from := range pl.Sites {
		for _, to := range pl.Sites {
			if from != to {
				s.Pairs = append(s.Pairs, s.pair(from, to, down, there))
			}
		}
	}
	s.InSync = len(s.Drift) == 0 && len(s.Problems) == 0
	return s
}

func (s *Status) pair(from, to string, down map[string]string, there map[string]bool) Pair {
	p := Pair{From: from, To: to, State: InSync}
	for _, name := range []string{from, to} {
		if why := down[name]; why != "" {
			p.State = Unreachable
			p.Why = append(p.Why, name+": "+why)
		}
	}
	if p.State == Unreachable {
		return p
	}
	if !there[from] {
		p.State, p.Why = Absent, []string{from + ": nothing of the peering is there"}
		return p
	}
	for _, d := range s.Drift {
		// What the other site lacks of its own, such as its router's port, is in the
		// way as well.
		if d.Site == from && (d.Remote == "" || d.Remote == to) || d.Site == to && d.Remote == "" {
			p.State = Drifted
			p.Why = append(p.Why, d.String())
		}
	}
	for _, b := range s.Problems {
		if b.concerns(from, to) {
			p.State = InTheWay
			p.Why = append(p.Why, b.String())
		}
	}
	return p
}

// Differences puts the actions of a plan the other way round: what is not as it
// should be, each thing by itself.
func Differences(pl *Plan) []Drift {
	out := []Drift{}
	made := map[string]bool{}
	for i := range pl.Actions {
		a := &pl.Actions[i]
		if a.Op == Create {
			made[a.ID] = true
		}
		for _, text := range differences(a, made) {
			out = append(out, Drift{Site: a.Site, Remote: a.Remote, Resource: a.What, Text: text})
		}
	}
	return out
}

func differences(a *Action, made map[string]bool) []string {
	switch a.Op {
	case Create:
		return []string{"it is missing"}
	case Delete, Detach:
		return []string{"it is there, and should not be"}
	case AddTag:
		if made[a.Target.From] {
			return nil
		}
		return []string{"it bears no mark " + a.Tag}
	case RemoveTag:
		return []string{"it bears the mark " + a.Tag}
	case Attach:
		if made[a.Target.From] {
			return nil
		}
		return []string{"the port is not on it"}
	case AddRoutes, RemoveRoutes:
		var out []string
		for _, r := range a.Routes {
			word := "is missing"
			if a.Op == RemoveRoutes {
				word = "is there, and should not be"
			}
			out = append(out, fmt.Sprintf("the route to %s by %s %s", r.Destination, r.NextHop, word))
		}
		return out
	case Update:
		var out []string
		for _, k := range sortedKeys(a.Attrs) {
			out = append(out, fmt.Sprintf("%s is %s, and should be %s", k, Text(a.Before[k]), Text(a.Attrs[k])))
		}
		return out
	}
	return nil
}

// Text writes an attribute's value for people.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		if v == "" {
			return `""`
		}
		return v
	case []any:
		if len(v) == 0 {
			return "none"
		}
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = Text(e)
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		// The address of a fixed IP says it all; its subnet is the peering's.
		if ip, ok := v["ip_address"]; ok {
			return Text(ip)
		}
		var parts []string
		for _, k := range sortedKeys(v) {
			parts = append(parts, k+"="+Text(v[k]))
		}
		return strings.Join(parts, " ")
	case Ref:
		return firstOf(v.ID, v.From)
	}
	return fmt.Sprint(v)
}
