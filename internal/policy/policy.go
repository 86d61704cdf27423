// Package policy says who may do what: rules in the YAML form of oslo.policy, as
// Neutron's operators write them, and their evaluation. It is pure: the rules are
// handed in as text, and a decision follows from the Rules, the Caller and the
// Target alone.
//
// A rule has a name and an expression of checks:
//
//	"admin_or_owner": "rule:context_is_admin or rule:owner"
//	"owner": "tenant_id:%(tenant_id)s"
//
// The names that are actions (create_network, get_port, create_port:mac_address …)
// decide about requests; the others are there to be referred to. What a file does
// not name keeps its default (see Defaults).
package policy

import (
	"fmt"
	"sync"

	"github.com/causeway-net/causeway/internal/identity"
)

// Target is what is acted on.
type Target interface {
	// Attribute is an attribute's value as a policy's text compares it: True and
	// False for booleans, "" and false for what the target does not have. A name
	// like network:project_id asks for an attribute of the target's parent.
	Attribute(name string) (value string, ok bool)
}

// Rules is a whole policy: the defaults, with what a file changes. It never
// changes itself.
type Rules struct {
	rules map[string]rule
}

type rule struct {
	line int // in the file; 0: a default
	expr node
}

// contextIsAdmin is the rule that makes a Caller an admin.
const contextIsAdmin = "context_is_admin"

// defaultRule decides about an action that has no rule.
const defaultRule = "default"

// Has tells whether there is a rule of that name: an attribute's own rule is asked
// only where there is one.
func (r *Rules) Has(name string) bool {
	_, ok := r.rules[name]
	return ok
}

// Names lists the rules' names, in no order.
func (r *Rules) Names() []string {
	out := make([]string, 0, len(r.rules))
	for name := range r.rules {
		out = append(out, name)
	}
	return out
}

// For looks at the policy with one caller's eyes.
func (r *Rules) For(c identity.Caller) *Decider {
	d := &Decider{rules: r, caller: c, admin: c.Admin, reduced: map[string]node{}}
	if !d.admin {
		d.admin = d.Allowed(contextIsAdmin, nobody{})
		clear(d.reduced) // is_admin may mean something else now
	}
	return d
}

// nobody is a target without attributes.
type nobody struct{}

func (nobody) Attribute(string) (string, bool) { return "", false }

// Decider decides for one caller. What follows from the caller alone is worked out
// once, so that looking at many targets is cheap. It may be used from several
// goroutines.
type Decider struct {
	rules  *Rules
	caller identity.Caller
	admin  bool

	mu      sync.Mutex
	reduced map[string]node
}

// Caller is whom it decides for.
func (d *Decider) Caller() identity.Caller { return d.caller }

// Has tells whether there is a rule of that name.
func (d *Decider) Has(name string) bool { return d.rules.Has(name) }

// Admin tells whether the caller is an admin.
func (d *Decider) Admin() bool { return d.admin }

// Allowed decides whether the caller may do the action to the target.
func (d *Decider) Allowed(action string, t Target) bool {
	return d.rule(action).eval(d, t)
}

// Always tells whether the answer is the same for every target, and which.
func (d *Decider) Always(action string) (allowed, known bool) {
	c, ok := d.rule(action).(constant)
	return bool(c), ok
}

// rule is the action's rule as far as it can be worked out for this caller.
func (d *Decider) rule(name string) node {
	if name == contextIsAdmin && d.caller.Admin {
		return constant(true)
	}
	d.mu.Lock()
	n, ok := d.reduced[name]
	d.mu.Unlock()
	if ok {
		return n
	}
	r, ok := d.rules.rules[name]
	if !ok {
		r = d.rules.rules[defaultRule]
	}
	n = r.expr.reduce(d)
	d.mu.Lock()
	d.reduced[name] = n
	d.mu.Unlock()
	return n
}

// Error says what is wrong with a policy file, and where.
type Error struct {
	Line int
	Rule string // "" where no rule is meant
	Err  error
}

func (e *Error) Error() string {
	switch {
	case e.Rule != "" && e.Line > 0:
		return fmt.Sprintf("line %d: %s: %v", e.Line, e.Rule, e.Err)
	case e.Rule != "":
		return fmt.Sprintf("%s: %v", e.Rule, e.Err)
	case e.Line > 0:
		return fmt.Sprintf("line %d: %v", e.Line, e.Err)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }
