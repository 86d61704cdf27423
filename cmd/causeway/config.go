package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/causeway-net/causeway/internal/cli"
)

// addConfigFlag gives a server --config: then every flag of it can also stand in
// the environment and in that file. Precedence: flag, environment, file, default.
func addConfigFlag(cmd *cobra.Command) {
	cmd.Flags().String("config", "", "YAML file whose keys are the names of these flags")
}

// applyConfig fills in the flags that were not given, from the environment and
// the file. It does nothing for commands without --config.
func applyConfig(cmd *cobra.Command, lookup func(string) (string, bool)) error {
	flags := cmd.Flags()
	if flags.Lookup("config") == nil {
		return nil
	}
	if err := applyEnv(cmd, lookup); err != nil {
		return err
	}
	path, err := flags.GetString("config")
	if err != nil || path == "" {
		return err
	}
	values, err := readConfig(path)
	if err != nil {
		return err
	}
	return applyFile(flags, path, values)
}

func configurable(f *pflag.Flag) bool { return f.Name != "help" }

func envName(cmd *cobra.Command, flag string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "_", "-", "_").Replace(cmd.CommandPath() + "_" + flag))
}

func applyEnv(cmd *cobra.Command, lookup func(string) (string, bool)) error {
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !configurable(f) || f.Changed {
			return
		}
		name := envName(cmd, f.Name)
		if v, ok := lookup(name); ok {
			if err := cmd.Flags().Set(f.Name, v); err != nil {
				errs = append(errs, cli.Usagef("%s: %w", name, err))
			}
		}
	})
	return errors.Join(errs...)
}

func readConfig(path string) (map[string]yaml.Node, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, cli.Usagef("--config: %w", err)
	}
	values := map[string]yaml.Node{}
	if err := yaml.Unmarshal(b, &values); err != nil && !errors.Is(err, io.EOF) {
		return nil, cli.Usagef("--config %s: %w", path, err)
	}
	return values, nil
}

func applyFile(flags *pflag.FlagSet, path string, values map[string]yaml.Node) error {
	var known []string
	flags.VisitAll(func(f *pflag.Flag) {
		if configurable(f) && f.Name != "config" {
			known = append(known, f.Name)
		}
	})
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		n := values[k]
		if !slices.Contains(known, k) {
			return cli.Usagef("%s:%d: unknown key %q; the keys are %s", path, n.Line, k, strings.Join(known, ", "))
		}
		f := flags.Lookup(k)
		if f.Changed {
			continue
		}
		if err := setFromNode(flags, f, n); err != nil {
			return cli.Usagef("%s:%d: %s: %w", path, n.Line, k, err)
		}
	}
	return nil
}

func setFromNode(flags *pflag.FlagSet, f *pflag.Flag, n yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		return flags.Set(f.Name, n.Value)
	case yaml.SequenceNode:
		s, ok := f.Value.(pflag.SliceValue)
		if !ok {
			return fmt.Errorf("takes one value, not a list")
		}
		list := make([]string, 0, len(n.Content))
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode {
				return fmt.Errorf("line %d: only simple values may stand in the list", e.Line)
			}
			list = append(list, e.Value)
		}
		if err := s.Replace(list); err != nil {
			return err
		}
		f.Changed = true
		return nil
	}
	return fmt.Errorf("takes a simple value")
}
