package client

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/yamlerr"
)

// parseClouds reads YAML, or JSON, as PyYAML does: values are nil, bool, string, unclear, []any and
// map[string]any. Numbers are texts.
func parseClouds(b []byte) (map[string]any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, yamlerr.Explain(b, err)
	}
	if len(doc.Content) == 0 {
		return map[string]any{}, nil
	}
	p := &pyYAML{left: maxNodes}
	v, err := p.value(doc.Content[0])
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("wanted keys and values, the first of them clouds")
	}
	return m, nil
}

// maxNodes bounds what aliases make of a file.
const maxNodes = 1 << 20

// unclear is a number that PyYAML would change: 010 is 8 to it.
type unclear string

type pyYAML struct{ left int }

func (p *pyYAML) value(n *yaml.Node) (any, error) {
	if p.left--; p.left < 0 {
		return nil, errors.New("more values than a file of clouds has")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return p.value(n.Alias)
	case yaml.SequenceNode:
		out := []any{}
		for _, c := range n.Content {
			v, err := p.value(c)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.MappingNode:
		return p.mapping(n)
	}
	return scalar(n), nil
}

// mapping takes merge keys ("<<") in: what stands in the mapping itself wins, then what is merged
// first.
func (p *pyYAML) mapping(n *yaml.Node) (map[string]any, error) {
	own, merged := map[string]any{}, map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, vn := n.Content[i], n.Content[i+1]
		v, err := p.value(vn)
		if err != nil {
			return nil, err
		}
		if k.Tag == "!!merge" || k.Value == "<<" && k.Style == 0 {
			list, ok := v.([]any)
			if !ok {
				list = []any{v}
			}
			for _, x := range list {
				m, ok := x.(map[string]any)
				if !ok {
					return nil, fmt.Errorf("line %d: << wants keys and values", k.Line)
				}
				for mk, mv := range m {
					if _, there := merged[mk]; !there {
						merged[mk] = mv
					}
				}
			}
			continue
		}
		if k.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key that is no text", k.Line)
		}
		if _, twice := own[k.Value]; twice {
			return nil, fmt.Errorf("line %d: %s is there twice", k.Line, k.Value)
		}
		own[k.Value] = v
	}
	for k, v := range merged {
		if _, there := own[k]; !there {
			own[k] = v
		}
	}
	return own, nil
}

// The plain scalars of YAML 1.1 that are no texts, as PyYAML resolves them.
var (
	yamlInt = regexp.MustCompile(`^[-+]?(0b[0-1_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(:[0-5]?[0-9])+|0|[0-9][0-9_]*)$`)
	// plainInt keeps its text.
	plainInt  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	yamlFloat = regexp.MustCompile(`^[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$`)
)

func scalar(n *yaml.Node) any {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 || n.Style&yaml.TaggedStyle != 0 && n.Tag == "!!str" {
		return n.Value
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false
	}
	switch {
	case plainInt.MatchString(n.Value):
		return n.Value
	case yamlInt.MatchString(n.Value):
		return unclear(n.Value)
	case yamlFloat.MatchString(n.Value):
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil && strings.Contains(n.Value, ".") && pythonFloat(f) == n.Value {
			return n.Value
		}
		return unclear(n.Value)
	}
	return n.Value
}

// pythonFloat is a short float as Python writes it.
func pythonFloat(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
