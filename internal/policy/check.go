package policy

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/causeway-net/causeway/internal/identity"
)

// node is a part of an expression.
type node interface {
	eval(*Decider, Target) bool
	// reduce works out what follows from the caller alone. References to other
	// rules are gone from the result.
	reduce(*Decider) node
}

// constant is @ or !, or what a check came to.
type constant bool

func (c constant) eval(*Decider, Target) bool { return bool(c) }
func (c constant) reduce(*Decider) node       { return c }

type and []node

func (a and) eval(d *Decider, t Target) bool {
	for _, n := range a {
		if !n.eval(d, t) {
			return false
		}
	}
	return true
}

func (a and) reduce(d *Decider) node { return join(a, d, true) }

type or []node

func (o or) eval(d *Decider, t Target) bool {
	for _, n := range o {
		if n.eval(d, t) {
			return true
		}
	}
	return false
}

func (o or) reduce(d *Decider) node { return join(o, d, false) }

// join reduces the parts of an and (neutral true) or an or (neutral false).
func join(parts []node, d *Decider, neutral bool) node {
	var left []node
	for _, n := range parts {
		n = n.reduce(d)
		if c, ok := n.(constant); ok {
			if bool(c) != neutral {
				return c
			}
			continue
		}
		left = append(left, n)
	}
	switch {
	case len(left) == 0:
		return constant(neutral)
	case len(left) == 1:
		return left[0]
	case neutral:
		return and(left)
	}
	return or(left)
}

type not struct{ node }

func (n not) eval(d *Decider, t Target) bool { return !n.node.eval(d, t) }

func (n not) reduce(d *Decider) node {
	in := n.node.reduce(d)
	if c, ok := in.(constant); ok {
		return !c
	}
	return not{in}
}

// reference is rule:NAME.
type reference string

func (r reference) eval(d *Decider, t Target) bool { return d.rule(string(r)).eval(d, t) }
func (r reference) reduce(d *Decider) node         { return d.rule(string(r)) }

// role is role:NAME: the caller has the role, in whatever case.
type role struct{ name template }

func (r role) eval(d *Decider, t Target) bool {
	name, ok := r.name.fill(t)
	return ok && d.caller.HasRole(name)
}

func (r role) reduce(d *Decider) node {
	if r.name.constant() {
		return constant(r.eval(d, nil))
	}
	return r
}

// admin is is_admin:True or is_admin:False.
type admin bool

func (a admin) eval(d *Decider, _ Target) bool { return bool(a) == d.admin }
func (a admin) reduce(d *Decider) node         { return constant(bool(a) == d.admin) }

// system is system_scope:all: the credentials are for the whole cloud.
type system struct{}

func (system) eval(d *Decider, _ Target) bool { return d.caller.System }
func (system) reduce(d *Decider) node         { return constant(d.caller.System) }

// credential is KIND:TEMPLATE: what the credentials say is what the template
// comes to. A credential that is empty is nobody's and equals nothing.
type credential struct {
	of   func(*identity.Caller) string
	want template
}

func (c credential) eval(d *Decider, t Target) bool {
	have := c.of(&d.caller)
	if have == "" {
		return false
	}
	want, ok := c.want.fill(t)
	return ok && want == have
}

func (c credential) reduce(d *Decider) node {
	if c.of(&d.caller) == "" {
		return constant(false)
	}
	if c.want.constant() {
		return constant(c.eval(d, nil))
	}
	return c
}

// credentialOf is what a check of the caller may name.
func credentialOf(kind string) func(*identity.Caller) string {
	switch kind {
	case "project_id", "tenant_id", "tenant", "project":
		return func(c *identity.Caller) string { return string(c.ProjectID) }
	case "user_id", "user":
		return func(c *identity.Caller) string { return c.UserID }
	case "user_name":
		return func(c *identity.Caller) string { return c.UserName }
	case "project_name", "tenant_name":
		return func(c *identity.Caller) string { return c.ProjectName }
	case "user_domain_id", "user_domain":
		return func(c *identity.Caller) string { return c.UserDomainID }
	case "project_domain_id", "project_domain":
		return func(c *identity.Caller) string { return c.ProjectDomainID }
	}
	return nil
}

// literal is 'TEXT':TEMPLATE: an attribute of the target has this value.
type literal struct {
	text string
	want template
}

func (l literal) eval(_ *Decider, t Target) bool {
	want, ok := l.want.fill(t)
	return ok && want == l.text
}

func (l literal) reduce(d *Decider) node {
	if l.want.constant() {
		return constant(l.eval(d, nil))
	}
	return l
}

// field is field:RESOURCES:NAME=VALUE: an attribute of the target, or of the
// network that it belongs to, has this value.
type field struct {
	resources, name string
	value           string
	pattern         *regexp.Regexp // in place of value
}

func (f field) eval(_ *Decider, t Target) bool {
	have, ok := t.Attribute(f.attribute(t))
	if !ok {
		return false
	}
	if f.pattern != nil {
		return f.pattern.MatchString(have)
	}
	if want, err := strconv.ParseBool(f.value); err == nil {
		if b, err := strconv.ParseBool(have); err == nil {
			return b == want
		}
	}
	return have == f.value
}

// attribute: field:networks:shared asks a subnet or a port for its network's.
func (f field) attribute(t Target) string {
	if f.resources != "networks" && f.resources != "network" {
		return f.name
	}
	if parent := "network:" + f.name; t != nil {
		if _, ok := t.Attribute(parent); ok {
			return parent
		}
	}
	return f.name
}

func (f field) reduce(*Decider) node { return f }

// template is text with %(attribute)s in it.
type template []part

type part struct {
	text      string
	attribute bool
}

func (t template) constant() bool {
	for _, p := range t {
		if p.attribute {
			return false
		}
	}
	return true
}

// fill puts the target's attributes in; false where it lacks one.
func (t template) fill(target Target) (string, bool) {
	if len(t) == 1 && t[0].attribute {
		return target.Attribute(t[0].text)
	}
	var b strings.Builder
	for _, p := range t {
		if !p.attribute {
			b.WriteString(p.text)
			continue
		}
		v, ok := target.Attribute(p.text)
		if !ok {
			return "", false
		}
		b.WriteString(v)
	}
	return b.String(), true
}
