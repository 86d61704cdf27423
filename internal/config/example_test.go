package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// binder is the settings of a command.
type binder interface {
	Bind(*Set)
	Finish(*Set) error
}

// TestExample: an example is taken as it is, and taken with any one of its comments made a
// setting it changes nothing either. It has every setting.
func TestExample(t *testing.T) {
	for command, settings := range map[string]func() binder{
		"controller": func() binder { return &Controller{} }, "agent": func() binder { return &Agent{} },
		"health": func() binder { return &Health{} },
	} {
		bound := NewSet(command)
		settings().Bind(bound)
		example := string(bound.Example())
		read := func(text string) *Set {
			t.Helper()
			path := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, c := NewSet(command), settings()
			c.Bind(s)
			if err := s.Flags().Parse([]string{"--config", path}); err != nil {
				t.Fatal(err)
			}
			if err := s.Resolve(nil); err != nil {
				t.Fatalf("%s\n%v", text, err)
			}
			if err := c.Finish(s); err != nil {
				t.Fatalf("%s\n%v", text, err)
			}
			return s
		}
		read(example)
		setting := regexp.MustCompile(`(?m)^#([a-z].*)$`)
		all := read(setting.ReplaceAllString(example, "$1"))
		bound.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "config" {
				return
			}
			if !strings.Contains(string(all.Source(f.Name)), "c.yaml:") {
				t.Errorf("%s: the example does not have %s: it comes from %s", command, f.Name, all.Source(f.Name))
			}
			got := all.Flags().Lookup(f.Name).Value.String()
			if f.Name == "local-host" {
				return // the machine's
			}
			if got != f.DefValue {
				t.Errorf("%s: %s is %q in the example, its default is %q", command, f.Name, got, f.DefValue)
			}
		})
		for n, line := range strings.Split(example, "\n") {
			if len([]rune(line)) > exampleWidth+40 {
				t.Errorf("%s: line %d is %d characters long", command, n+1, len(line))
			}
		}
	}
}
