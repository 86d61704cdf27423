package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/causeway-net/causeway/internal/identity"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/policy"
	"github.com/causeway-net/causeway/internal/testutil"
)

// policySet is one policy file with what it is asked.
type policySet struct {
	File      string           `json:"file"`
	Actions   []string         `json:"actions"`
	Questions []policyQuestion `json:"questions"`
}

type policyQuestion struct {
	Creds  map[string]any    `json:"creds"`
	Target map[string]string `json:"target"`
	caller identity.Caller
}

// oslo decides about what it reads as Neutron does: whether the caller is an admin
// first, then the rest with that.
const oslo = `
import json, logging, sys
from oslo_config import cfg
from oslo_policy import policy
logging.disable(logging.CRITICAL)
conf = cfg.ConfigOpts()
conf([])
for line in sys.stdin:
    s = json.loads(line)
    e = policy.Enforcer(conf, use_conf=False, rules=policy.Rules.load(s["file"], "default"))
    out = []
    for q in s["questions"]:
        creds = dict(q["creds"], is_admin=False)
        creds["is_admin"] = bool(e.enforce("context_is_admin", {}, dict(creds)))
        out.append("".join("1" if e.enforce(a, dict(q["target"]), dict(creds)) else "0" for a in s["actions"]))
    print(json.dumps(out))
`

// TestPolicyBesideOslo: what our policy says to random rules, callers and targets is
// what the library says that Neutron decides by.
func TestPolicyBesideOslo(t *testing.T) {
	testutil.RequireTool(t, "/usr/bin/oslopolicy-checker", python)
	seed := rand.Uint64()
	t.Logf("random seed %d", seed)
	const each = 100
	var sets []policySet
	for _, s := range []uint64{1, seed} {
		g := ruleMaker{rand.New(rand.NewPCG(s, 2))}
		for n := 0; n < each; {
			set := g.set()
			if _, err := policy.Parse([]byte(set.File)); err != nil && strings.Contains(err.Error(), "checks with the rules that it refers to") {
				continue // rules that come to more than ours may; by chance some do
			}
			sets = append(sets, set)
			n++
		}
	}
	var in bytes.Buffer
	for _, s := range sets {
		if err := json.NewEncoder(&in).Encode(s); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-c", oslo)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("oslo_policy: %v\n%s", err, stderr.Bytes())
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	yes, decisions := 0, 0
	for i, s := range sets {
		var theirs []string
		if err := answers.Decode(&theirs); err != nil {
			t.Fatalf("set %d of seed 1 and %d: %v\n%s", i, seed, err, stderr.Bytes())
		}
		rules, err := policy.Parse([]byte(s.File))
		if err != nil {
			t.Fatalf("set %d of seed 1 and %d is refused: %v\n%s", i, seed, err, s.File)
		}
		for j, q := range s.Questions {
			d := rules.For(q.caller)
			for k, action := range s.Actions {
				ours := d.Allowed(action, policyTarget(q.Target))
				if ours != (theirs[j][k] == '1') {
					t.Fatalf("set %d of seed 1 and %d: %s: we say %v\ncaller %+v\ntarget %v\n%s", i, seed, action, ours, q.caller, q.Target, s.File)
				}
				decisions++
				if ours {
					yes++
				}
			}
		}
	}
	t.Logf("%d decisions, %d of them yes", decisions, yes)
	if yes*5 < decisions || (decisions-yes)*5 < decisions {
		t.Errorf("%d of %d decisions are yes: the rules hardly differ", yes, decisions)
	}
}

type policyTarget map[string]string

func (t policyTarget) Attribute(name string) (string, bool) {
	v, ok := t[name]
	return v, ok
}

// ruleMaker makes rules of few names and values, so that much is equal by chance.
type ruleMaker struct{ *rand.Rand }

func (g ruleMaker) one(of ...string) string { return of[g.IntN(len(of))] }

// attributes are what targets have; tenant_id and the like by their usual names.
var policyAttributes = []string{"tenant_id", "project_id", "network:tenant_id", "user_id", "shared", "name", "none"}

func (g ruleMaker) value() string {
	return g.one("p", "q", "u", "v", "True", "False", "None", "member", "P")
}

func (g ruleMaker) match() string {
	switch g.IntN(8) {
	case 0, 1:
		return g.value()
	case 2:
		return "%(" + g.one(policyAttributes...) + ")s-" + g.value()
	case 3:
		return g.value() + "-%(" + g.one(policyAttributes...) + ")s%%"
	}
	return "%(" + g.one(policyAttributes...) + ")s"
}

// check is one check; before are the rules that it may refer to.
func (g ruleMaker) check(before []string) string {
	switch n := g.IntN(20); {
	case n < 5 && len(before) > 0:
		return "rule:" + g.one(before...)
	case n < 8:
		return "role:" + g.one("member", "MEMBER", "reader", "admin", "other", "%(name)s")
	case n < 13:
		return g.one("tenant_id", "project_id", "user_id", "user_domain_id", "project_domain_id") + ":" + g.match()
	case n < 14:
		return "is_admin:" + g.one("True", "False")
	case n < 15:
		return "system_scope:all"
	case n < 18:
		return g.one("'p'", "'q'", `\"u\"`, "True", "False", "None", "'p-q'", "'q-p%'") + ":" + g.match()
	}
	return g.one("@", "!")
}

func (g ruleMaker) expression(before []string, depth int) string {
	space := func() string { return g.one(" ", " ", "  ", "   ") }
	if depth == 0 || g.IntN(4) == 0 {
		return g.check(before)
	}
	if g.IntN(5) == 0 {
		return g.one("not", "NOT", "Not") + space() + g.bracketed(before, depth-1)
	}
	out := g.bracketed(before, depth-1)
	for range 1 + g.IntN(3) {
		out += space() + g.one("and", "or", "AND", "Or") + space() + g.bracketed(before, depth-1)
	}
	return out
}

// bracketed is an expression with or without parentheses: what the words bind is a
// part of the question.
func (g ruleMaker) bracketed(before []string, depth int) string {
	e := g.expression(before, depth)
	if g.IntN(2) == 0 {
		return "(" + e + ")"
	}
	return e
}

// rule is a rule's value in YAML, one in five as a list.
func (g ruleMaker) rule(before []string) string {
	if g.IntN(20) == 0 {
		return `""`
	}
	if g.IntN(5) > 0 {
		return `"` + g.expression(before, g.IntN(5)) + `"`
	}
	var alternatives []string
	for range g.IntN(4) {
		var all []string
		for range g.IntN(4) {
			all = append(all, `"`+g.check(before)+`"`)
		}
		if len(all) == 1 && g.IntN(2) == 0 {
			alternatives = append(alternatives, all[0])
			continue
		}
		alternatives = append(alternatives, "["+strings.Join(all, ", ")+"]")
	}
	return "[" + strings.Join(alternatives, ", ") + "]"
}

func (g ruleMaker) set() policySet {
	var file strings.Builder
	s := policySet{Actions: []string{"no_such_rule"}}
	fmt.Fprintf(&file, "\"default\": %s\n", g.rule(nil))
	fmt.Fprintf(&file, "\"context_is_admin\": %s\n", g.rule(nil))
	before := []string{"context_is_admin"}
	for i := range 2 + g.IntN(8) {
		name := fmt.Sprintf("r%d:x", i)
		fmt.Fprintf(&file, "%q: %s\n", name, g.rule(before))
		before = append(before, name)
	}
	s.File, s.Actions = file.String(), append(s.Actions, before...)
	for range 6 {
		s.Questions = append(s.Questions, g.question())
	}
	return s
}

func (g ruleMaker) question() policyQuestion {
	c := identity.Caller{System: g.IntN(4) == 0}
	for _, r := range []string{"member", "Reader", "admin", "p"} {
		if g.IntN(3) == 0 {
			c.Roles = append(c.Roles, r)
		}
	}
	maybe := func() string { return g.one("", g.value(), g.value(), "p-q", "q-p%") }
	c.ProjectID, c.UserID = model.ProjectID(maybe()), maybe()
	c.UserDomainID, c.ProjectDomainID = maybe(), maybe()
	// What a caller is not said to have is not among its credentials at all.
	creds := map[string]any{"roles": append([]string{}, c.Roles...)}
	for name, v := range map[string]string{
		"project_id": string(c.ProjectID), "tenant_id": string(c.ProjectID), "user_id": c.UserID,
		"user_domain_id": c.UserDomainID, "project_domain_id": c.ProjectDomainID,
	} {
		if v != "" {
			creds[name] = v
		}
	}
	if c.System {
		creds["system_scope"] = "all"
	}
	target := map[string]string{}
	for _, name := range policyAttributes {
		if name != "none" && g.IntN(4) > 0 {
			target[name] = g.value()
		}
	}
	return policyQuestion{Creds: creds, Target: target, caller: c}
}
