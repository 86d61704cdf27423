//go:build packaging

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/causeway-net/causeway/internal/config"
)

// packagingCommands make what packages have beside the program. They are not in the program
// itself, and neither is what they are made with.
func packagingCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use:    "package-files DIRECTORY",
		Short:  "Write manual pages, completions and examples of settings",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return packageFiles(cmd.Root(), args[0])
		},
	}}
}

func packageFiles(root *cobra.Command, dir string) error {
	for _, sub := range []string{"man", "completions"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	// The day is that of the source, so that the same source makes the same files.
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	day := time.Unix(seconds, 0).UTC()
	root.DisableAutoGenTag = true
	head := &doc.GenManHeader{Section: "1", Date: &day, Source: "Causeway", Manual: "Causeway Manual"}
	if err := doc.GenManTree(root, head, filepath.Join(dir, "man")); err != nil {
		return err
	}
	for name, write := range map[string]func(string) error{
		"causeway":      func(p string) error { return root.GenBashCompletionFileV2(p, true) },
		"_causeway":     root.GenZshCompletionFile,
		"causeway.fish": func(p string) error { return root.GenFishCompletionFile(p, true) },
	} {
		if err := write(filepath.Join(dir, "completions", name)); err != nil {
			return err
		}
	}
	controller, agent, health := config.NewSet("controller"), config.NewSet("agent"), config.NewSet("health")
	new(config.Controller).Bind(controller)
	new(config.Agent).Bind(agent)
	new(config.Health).Bind(health)
	for name, set := range map[string]*config.Set{"controller.yaml": controller, "agent.yaml": agent, "health.yaml": health} {
		if err := os.WriteFile(filepath.Join(dir, name), set.Example(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
