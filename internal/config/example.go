package config

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// exampleWidth is how long the comments of an example are, in characters.
const exampleWidth = 90

// Example is a file for --config that changes nothing: each setting is there with what it
// says and its default, as a comment.
func (s *Set) Example() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Settings of \"causeway %s\". Those that are comments have their defaults. They are read\n", s.command)
	fmt.Fprintf(&out, "# when it starts: causeway-%s(1).\n", s.command)
	s.flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" {
			return
		}
		_, usage := pflag.UnquoteUsage(f)
		_, list := f.Value.(pflag.SliceValue)
		out.WriteByte('\n')
		for line := range wrapped(strings.ToUpper(usage[:1])+usage[1:], exampleWidth) {
			fmt.Fprintf(&out, "# %s\n", line)
		}
		value := f.DefValue // of a list: in brackets, as YAML has it
		if !list {
			value = scalar(f)
		}
		fmt.Fprintf(&out, "#%s: %s\n", f.Name, value)
	})
	return out.Bytes()
}

// scalar is a flag's default as YAML has it: texts are quoted where they need it.
func scalar(f *pflag.Flag) string {
	n := yaml.Node{Kind: yaml.ScalarNode, Value: f.DefValue}
	if f.Value.Type() == "string" && f.DefValue == "" {
		n.Style = yaml.DoubleQuotedStyle
	}
	b, err := yaml.Marshal(&n)
	if err != nil {
		return fmt.Sprintf("%q", f.DefValue)
	}
	return strings.TrimSpace(string(b))
}

// wrapped breaks a text between words into lines of at most so many characters.
func wrapped(text string, width int) iter.Seq[string] {
	return func(yield func(string) bool) {
		line := ""
		for word := range strings.FieldsSeq(text) {
			switch {
			case line == "":
				line = word
			case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
				if !yield(line) {
					return
				}
				line = word
			default:
				line += " " + word
			}
		}
		if line != "" {
			yield(line)
		}
	}
}
