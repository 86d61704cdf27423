package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/yamlerr"
)

const (
	// MaxFile bounds a policy file, in bytes.
	MaxFile = 1 << 20
	// maxCost bounds how many checks one decision may need, rules that are
	// referred to counted each time: a few rules that refer to each other twice
	// could otherwise need more than there is time for.
	maxCost = 10_000
)

// Parse reads a policy file: a mapping of rule names to expressions, each a text or,
// as older files have it, a list of alternatives, which are lists of checks that
// must all hold. What it does not name keeps its default. Errors name the line.
func Parse(data []byte) (*Rules, error) {
	r := Defaults()
	if len(data) > MaxFile {
		return nil, &Error{Err: fmt.Errorf("larger than %d bytes", MaxFile)}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, yamlError(data, err)
	}
	if len(doc.Content) == 0 {
		return r, nil // nothing but comments
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return r, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, &Error{Line: root.Line, Err: errors.New("not a mapping of rules")}
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Value == "" {
			return nil, &Error{Line: key.Line, Err: errors.New("a rule's name is a text")}
		}
		if old := r.rules[key.Value]; old.line > 0 {
			return nil, &Error{key.Line, key.Value, fmt.Errorf("is given twice, first on line %d", old.line)}
		}
		expr, err := parseNode(value)
		if err != nil {
			return nil, &Error{key.Line, key.Value, err}
		}
		r.rules[key.Value] = rule{key.Line, expr}
	}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// yamlError takes the line out of the YAML library's words.
func yamlError(data []byte, err error) error {
	text := strings.TrimPrefix(yamlerr.Explain(data, err).Error(), "yaml: ")
	line := 0
	if m := yamlLine.FindStringSubmatchIndex(text); m != nil {
		line, _ = strconv.Atoi(text[m[2]:m[3]])
		text = text[:m[0]] + text[m[1]:]
	}
	return &Error{Line: line, Err: fmt.Errorf("not YAML: %s", text)}
}

func parseNode(n *yaml.Node) (node, error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil, errors.New(`has no value; "" allows everything, "!" nothing`)
	case n.Kind == yaml.ScalarNode:
		return parse(n.Value)
	case n.Kind == yaml.SequenceNode:
		return parseList(n)
	}
	return nil, errors.New("neither a text nor a list")
}

// parseList reads alternatives: a list each, or a single check. No alternative at
// all allows everything, as in oslo.policy.
func parseList(n *yaml.Node) (node, error) {
	if len(n.Content) == 0 {
		return constant(true), nil
	}
	var alternatives []node
	for _, item := range n.Content {
		checks := []*yaml.Node{item}
		if item.Kind == yaml.SequenceNode {
			if checks = item.Content; len(checks) == 0 {
				continue
			}
		}
		var all []node
		for _, c := range checks {
			if c.Kind != yaml.ScalarNode || c.Value == "" {
				return nil, errors.New("an alternative is a list of checks")
			}
			if strings.ContainsAny(c.Value, " \t\r\n") {
				return nil, fmt.Errorf("%q: a check of a list is one word", c.Value)
			}
			one, err := parseCheck(c.Value)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		alternatives = append(alternatives, and(all))
	}
	return or(alternatives), nil
}

// connect makes sure that every rule referred to exists, that none comes back to
// itself, and that a decision ends in time.
func (r *Rules) connect() error {
	names := r.Names()
	slices.Sort(names)
	w := walker{r: r, cost: map[string]int{}}
	for _, name := range names {
		if _, err := w.rule(name, nil); err != nil {
			return err
		}
	}
	return nil
}

type walker struct {
	r    *Rules
	cost map[string]int // of rules that are sound
}

func (w *walker) rule(name string, path []string) (int, error) {
	if c, done := w.cost[name]; done {
		return c, nil
	}
	if i := slices.Index(path, name); i >= 0 {
		// The file's part of the circle is what must be changed.
		circle := append(slices.Clone(path[i:]), name)
		at := name
		for _, n := range circle {
			if w.r.rules[n].line > w.r.rules[at].line {
				at = n
			}
		}
		return 0, &Error{w.r.rules[at].line, at, fmt.Errorf("refers to itself: %s", strings.Join(circle, " → "))}
	}
	rl := w.r.rules[name]
	if len(path) > maxDepth {
		return 0, &Error{rl.line, name, fmt.Errorf("rules refer to each other more than %d deep", maxDepth)}
	}
	c, err := w.node(rl.expr, name, append(path, name))
	if err != nil {
		return 0, err
	}
	if c > maxCost {
		return 0, &Error{rl.line, name, fmt.Errorf("comes to more than %d checks with the rules that it refers to", maxCost)}
	}
	w.cost[name] = c
	return c, nil
}

func (w *walker) node(n node, in string, path []string) (int, error) {
	sum := func(parts []node) (int, error) {
		total := 1
		for _, p := range parts {
			c, err := w.node(p, in, path)
			if err != nil {
				return 0, err
			}
			total += c
		}
		return total, nil
	}
	switch n := n.(type) {
	case and:
		return sum(n)
	case or:
		return sum(n)
	case not:
		return sum([]node{n.node})
	case reference:
		if !w.r.Has(string(n)) {
			return 0, &Error{w.r.rules[in].line, in, fmt.Errorf("refers to rule %q, which does not exist", string(n))}
		}
		c, err := w.rule(string(n), path)
		return c + 1, err
	}
	return 1, nil
}

// Unused lists the rules of the file that nothing asks for: neither an action of
// the defaults, nor one of its attributes, nor referred to. They are misspelt, or
// of a part of Neutron that does not exist here.
func (r *Rules) Unused() []string {
	used := map[string]bool{}
	var note func(node)
	note = func(n node) {
		switch n := n.(type) {
		case and:
			for _, p := range n {
				note(p)
			}
		case or:
			for _, p := range n {
				note(p)
			}
		case not:
			note(n.node)
		case reference:
			used[string(n)] = true
		}
	}
	known := map[string]bool{}
	for _, s := range sections {
		for _, x := range s.rules {
			known[x[0]] = true
		}
	}
	for _, x := range r.rules {
		note(x.expr)
	}
	var out []string
	for name := range r.rules {
		action, _, _ := strings.Cut(name, ":")
		if !known[name] && !known[action] && !used[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
