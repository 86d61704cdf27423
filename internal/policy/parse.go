package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	// maxDepth bounds parentheses and nots inside each other.
	maxDepth = 100
	// maxExpression bounds an expression's text, in bytes.
	maxExpression = 64 << 10
)

// parse reads an expression in oslo.policy's language: checks joined by and, or and
// not, with parentheses; "" and @ allow everything, ! nothing.
func parse(text string) (node, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("an expression of more than %d bytes", maxExpression)
	}
	if strings.TrimSpace(text) == "" {
		return constant(true), nil
	}
	tokens, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	n, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.at < len(p.tokens) {
		return nil, fmt.Errorf("%.80q is not expected here", p.tokens[p.at])
	}
	return n, nil
}

// tokenize cuts at spaces, and takes parentheses off the ends of what is between
// them: a parenthesis inside a check, as in %(project_id)s, belongs to it.
func tokenize(text string) ([]string, error) {
	var out []string
	for _, word := range strings.Fields(text) {
		for strings.HasPrefix(word, "(") {
			out, word = append(out, "("), word[1:]
		}
		var closing int
		for strings.HasSuffix(word, ")") {
			closing, word = closing+1, word[:len(word)-1]
		}
		if word != "" {
			out = append(out, word)
		}
		for range closing {
			out = append(out, ")")
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no check in it")
	}
	return out, nil
}

type parser struct {
	tokens []string
	at     int
}

// word tells whether the next token is this one, and takes it.
func (p *parser) word(w string) bool {
	if p.at < len(p.tokens) && strings.EqualFold(p.tokens[p.at], w) {
		p.at++
		return true
	}
	return false
}

func (p *parser) or(depth int) (node, error) {
	return p.chain(depth, "or", p.and, func(parts []node) node { return or(parts) })
}

func (p *parser) and(depth int) (node, error) {
	return p.chain(depth, "and", p.one, func(parts []node) node { return and(parts) })
}

func (p *parser) chain(depth int, word string, next func(int) (node, error), made func([]node) node) (node, error) {
	n, err := next(depth)
	if err != nil {
		return nil, err
	}
	parts := []node{n}
	for p.word(word) {
		if n, err = next(depth); err != nil {
			return nil, err
		}
		parts = append(parts, n)
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return made(parts), nil
}

func (p *parser) one(depth int) (node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	if p.word("not") {
		n, err := p.one(depth + 1)
		if err != nil {
			return nil, err
		}
		return not{n}, nil
	}
	if p.word("(") {
		n, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.word(")") {
			return nil, errors.New("a parenthesis is not closed")
		}
		return n, nil
	}
	if p.at == len(p.tokens) {
		return nil, errors.New("it ends where a check is expected")
	}
	word := p.tokens[p.at]
	switch strings.ToLower(word) {
	case "and", "or", ")":
		return nil, fmt.Errorf("%.80q stands where a check is expected", word)
	}
	p.at++
	return parseCheck(word)
}

// parseCheck reads KIND:MATCH, @ or !.
func parseCheck(word string) (node, error) {
	switch word {
	case "@":
		return constant(true), nil
	case "!":
		return constant(false), nil
	}
	kind, match, ok := cutKind(word)
	if !ok {
		return nil, fmt.Errorf("%.80q is no check: one is written KIND:MATCH", word)
	}
	switch kind {
	case "rule":
		if match == "" {
			return nil, fmt.Errorf("%.80q names no rule", word)
		}
		return reference(match), nil
	case "field":
		return parseField(word, match)
	case "is_admin":
		b, err := strconv.ParseBool(match)
		if err != nil {
			return nil, fmt.Errorf("%.80q: is_admin is True or False", word)
		}
		return admin(b), nil
	case "system_scope":
		if match != "all" {
			return nil, fmt.Errorf("%.80q: the only system scope is all", word)
		}
		return system{}, nil
	}
	want, err := parseTemplate(match)
	if err != nil {
		return nil, fmt.Errorf("%.80q: %w", word, err)
	}
	if kind == "role" {
		return role{want}, nil
	}
	if of := credentialOf(kind); of != nil {
		return credential{of, want}, nil
	}
	if text, ok := unquote(kind); ok {
		return literal{text, want}, nil
	}
	switch kind {
	case "True", "False", "None":
		return literal{kind, want}, nil
	case "http", "https":
		return nil, fmt.Errorf("%.80q: checks by a remote server do not exist here", word)
	}
	return nil, fmt.Errorf("%.80q: there is no check %.80q", word, kind)
}

// cutKind cuts at the first colon that is not in quotes.
func cutKind(word string) (kind, match string, ok bool) {
	if word[0] == '\'' || word[0] == '"' {
		end := strings.IndexByte(word[1:], word[0])
		if end < 0 || !strings.HasPrefix(word[end+2:], ":") {
			return "", "", false
		}
		return word[:end+2], word[end+3:], true
	}
	return strings.Cut(word, ":")
}

func unquote(s string) (string, bool) {
	if len(s) >= 2 && (s[0] == '\'' || s[0] == '"') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1], true
	}
	return "", false
}

// parseField reads RESOURCES:NAME=VALUE, where NAME may have colons itself and
// ~VALUE is a regular expression.
func parseField(word, match string) (node, error) {
	left, value, ok := strings.Cut(match, "=")
	resources, name, ok2 := strings.Cut(left, ":")
	if !ok || !ok2 || resources == "" || name == "" {
		return nil, fmt.Errorf("%.80q: written field:RESOURCES:NAME=VALUE", word)
	}
	f := field{resources: resources, name: name, value: value}
	if expr, ok := strings.CutPrefix(value, "~"); ok {
		// As Python's re.match: at the beginning of the value.
		re, err := regexp.Compile(`^(?:` + expr + `)`)
		if err != nil {
			return nil, fmt.Errorf("%.80q: %w", word, err)
		}
		f.pattern = re
	}
	return f, nil
}

// parseTemplate reads text with %(attribute)s.
func parseTemplate(s string) (template, error) {
	var out template
	text := func(s string) {
		if s != "" {
			out = append(out, part{text: s})
		}
	}
	for {
		before, rest, found := strings.Cut(s, "%")
		text(before)
		if !found {
			return out, nil
		}
		switch {
		case strings.HasPrefix(rest, "%"):
			text("%")
			s = rest[1:]
		case strings.HasPrefix(rest, "("):
			name, after, ok := strings.Cut(rest[1:], ")s")
			if !ok || name == "" || strings.ContainsAny(name, "()%") {
				return nil, errors.New("an attribute is written %(NAME)s")
			}
			out = append(out, part{text: name, attribute: true})
			s = after
		default:
			return nil, errors.New("an attribute is written %(NAME)s, a percent sign %%")
		}
	}
}
