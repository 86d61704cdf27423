// Package config gives the long-running commands their settings: each is a flag,
// an environment variable and a key of a YAML file, from one table (Controller.Bind,
// Agent.Bind). The flag wins over the variable, the variable over the file, the
// file over the default. What is not in the table is refused, wherever it stands.
package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/yamlerr"
)

// Source says where a setting's value comes from.
type Source string

// Set is the table of one command's settings.
type Set struct {
	command string
	flags   *pflag.FlagSet
	file    string
	sources map[string]Source
}

// NewSet makes the table of "causeway COMMAND", with --config in it.
func NewSet(command string) *Set {
	s := &Set{command: command, flags: pflag.NewFlagSet(command, pflag.ContinueOnError), sources: map[string]Source{}}
	s.flags.SortFlags = false
	s.flags.StringVar(&s.file, "config", "", "YAML `FILE` of settings; its keys are the names of these flags")
	return s
}

// Flags are the flags to add to the command's own.
func (s *Set) Flags() *pflag.FlagSet { return s.flags }

// EnvName is the environment variable of a flag: CAUSEWAY_CONTROLLER_API_LISTEN
// of --api-listen.
func (s *Set) EnvName(flag string) string {
	return s.envPrefix() + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func (s *Set) envPrefix() string {
	return "CAUSEWAY_" + strings.ToUpper(strings.ReplaceAll(s.command, "-", "_")) + "_"
}

// Source of a setting after Resolve: "flag --x", "environment variable X",
// "FILE:LINE" or "default".
func (s *Set) Source(flag string) Source {
	if src, ok := s.sources[flag]; ok {
		return src
	}
	return "default"
}

// Name describes a setting in an error: "--api-listen", followed by where its
// value comes from unless that is the command line.
func (s *Set) Name(flag string) string {
	src := s.Source(flag)
	if src == "default" || strings.HasPrefix(string(src), "flag ") {
		return "--" + flag
	}
	return fmt.Sprintf("--%s (from %s)", flag, src)
}

// Resolve fills in from environ (as of os.Environ) and the file what the command
// line did not set. It is called once, after the flags have been parsed.
func (s *Set) Resolve(environ []string) error {
	// Not Visit: the flags may have been parsed as part of another set.
	s.flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			s.sources[f.Name] = Source("flag --" + f.Name)
		}
	})
	if err := s.fromEnv(environ); err != nil {
		return err
	}
	if s.file == "" {
		return nil
	}
	data, err := os.ReadFile(s.file)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name("config"), err)
	}
	return s.fromFile(data)
}

func (s *Set) fromEnv(environ []string) error {
	byEnv := map[string]*pflag.Flag{}
	s.flags.VisitAll(func(f *pflag.Flag) { byEnv[s.EnvName(f.Name)] = f })
	var errs []error
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, s.envPrefix()) {
			continue
		}
		f := byEnv[name]
		if f == nil && kubernetesService(strings.TrimPrefix(name, s.envPrefix()), value) {
			continue
		}
		if f == nil {
			errs = append(errs, fmt.Errorf("environment variable %s: causeway %s has no such setting", name, s.command))
			continue
		}
		if f.Changed || value == "" && f.Value.Type() != "string" {
			continue
		}
		if err := s.flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", name, cause(err)))
			continue
		}
		s.sources[f.Name] = Source("environment variable " + name)
	}
	return errors.Join(errs...)
}

// Kubernetes sets these variables for each service of a namespace; a service called
// "causeway-controller" has the names of our settings.
var (
	serviceVariable = regexp.MustCompile(`^(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	serviceURL      = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// kubernetesService tells whether a variable, without our prefix, is one of those.
func kubernetesService(name, value string) bool {
	return serviceVariable.MatchString(name) || (name == "PORT" || strings.HasSuffix(name, "_PORT")) && serviceURL.MatchString(value)
}

func (s *Set) fromFile(data []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s: %w", s.file, yamlerr.Explain(data, err))
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: not a mapping of settings", s.file, root.Line)
	}
	var errs []error
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, node := root.Content[i], root.Content[i+1]
		at := fmt.Sprintf("%s:%d", s.file, key.Line)
		f := s.flags.Lookup(key.Value)
		switch {
		case f == nil || key.Value == "config":
			errs = append(errs, fmt.Errorf("%s: %q: causeway %s has no such setting in its file", at, key.Value, s.command))
		case seen[key.Value]:
			errs = append(errs, fmt.Errorf("%s: %q is given twice", at, key.Value))
		case f.Changed: // the command line or the environment has it
		default:
			if err := setNode(f, node); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", at, key.Value, err))
				break
			}
			s.sources[f.Name] = Source(at)
		}
		seen[key.Value] = true
	}
	return errors.Join(errs...)
}

func setNode(f *pflag.Flag, node *yaml.Node) error {
	list, isList := f.Value.(pflag.SliceValue)
	switch {
	case node.Kind == yaml.SequenceNode && isList:
		var items []string
		for _, n := range node.Content {
			if n.Kind != yaml.ScalarNode {
				return errors.New("not a list of plain values")
			}
			items = append(items, n.Value)
		}
		return list.Replace(items)
	case node.Kind == yaml.ScalarNode && isList:
		return list.Replace([]string{node.Value})
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return errors.New("has no value")
	case node.Kind == yaml.ScalarNode:
		if err := f.Value.Set(node.Value); err != nil {
			return fmt.Errorf("%q is not a valid %s: %w", node.Value, f.Value.Type(), err)
		}
		return nil
	}
	return fmt.Errorf("not a plain value")
}

// cause takes pflag's words about the command line off an error.
func cause(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("%q is not a valid %s: %w", invalid.GetValue(), invalid.GetFlag().Value.Type(), errors.Unwrap(err))
	}
	return err
}

// Table lists the settings for documentation: flag, variable, default, usage.
func (s *Set) Table() [][4]string {
	var rows [][4]string
	s.flags.VisitAll(func(f *pflag.Flag) {
		_, usage := pflag.UnquoteUsage(f)
		rows = append(rows, [4]string{"--" + f.Name, s.EnvName(f.Name), f.DefValue, usage})
	})
	slices.SortFunc(rows, func(a, b [4]string) int { return strings.Compare(a[0], b[0]) })
	return rows
}
