package main

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
)

const (
	groupPeering   = "peering"
	groupServers   = "servers"
	groupResources = "resources"
	groupLab       = "lab"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "causeway",
		Short: "Peer tenant routers of different cloud sites over VXLAN",
		Long: `Causeway peers tenant routers of different cloud sites over VXLAN.

Each site runs one controller, which speaks the OpenStack Neutron v2.0 API with
MidoNet's gateway-device extension, and an agent on its host, which forwards
packets with eBPF. To see it at work on this machine, run: sudo causeway demo

Exit codes: 0 done; 1 it could not be done; 2 the command was called wrongly, or a file
that it was given cannot be read or is malformed; 3 what was named does not exist, or the
name is ambiguous; 130 interrupted.
"peer" has three more, which its help tells.
"testbed exec" passes on the exit code of the command it ran.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Without this, "causeway tets" would print the help and succeed.
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddGroup(
		&cobra.Group{ID: groupPeering, Title: "Peerings of sites:"},
		&cobra.Group{ID: groupServers, Title: "Servers:"},
		&cobra.Group{ID: groupResources, Title: "Resources that the OpenStack client does not know:"},
		&cobra.Group{ID: groupLab, Title: "Lab on this machine:"},
	)
	var log logFlags
	log.register(root)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		decideSignals(cmd)
		return log.install(cmd)
	}
	addGroup(root, groupPeering, newPeerCommand())
	addGroup(root, groupServers, serverCommands()...)
	addGroup(root, groupResources, resourceCommands()...)
	addGroup(root, groupLab, labCommands()...)
	root.AddCommand(newVersionCommand())
	root.AddCommand(packagingCommands()...)
	root.Version = version()
	root.SetVersionTemplate(versionLine())
	return root
}

func addGroup(root *cobra.Command, group string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// needSubcommand makes a command that only groups others: called alone it says
// what it has, and that this was not enough.
func needSubcommand(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, s := range cmd.Commands() {
				if s.IsAvailableCommand() {
					names = append(names, s.Name())
				}
			}
			return usageError(cmd, fmt.Errorf("which of %s?", strings.Join(names, ", ")))
		},
	}
	c.AddCommand(subs...)
	return c
}

// markStart reports through the pointer whether a command's own code has begun:
// an error before that is one of usage.
func markStart(root *cobra.Command) *bool {
	started := new(bool)
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if inner := c.RunE; inner != nil {
			c.RunE = func(cmd *cobra.Command, args []string) error {
				*started = true
				return inner(cmd, args)
			}
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(root)
	return started
}

func usageError(cmd *cobra.Command, err error) error {
	var e *cli.Error
	if errors.As(err, &e) && e.Code != 0 && e.Code != cli.ExitUsage {
		return err
	}
	path := strings.TrimPrefix(cmd.CommandPath(), "causeway")
	return &cli.Error{
		What: strings.TrimSpace(path), Err: err, Code: cli.ExitUsage,
		Hint: fmt.Sprintf("Run \"%s --help\" for how to call it.", cmd.CommandPath()),
	}
}

type logFlags struct {
	verbose bool
	level   string
	format  string
}

func (l *logFlags) register(root *cobra.Command) {
	f := root.PersistentFlags()
	f.BoolVarP(&l.verbose, "verbose", "v", false, "log everything (same as --log-level debug)")
	f.StringVar(&l.level, "log-level", "", "least `LEVEL` logged: debug, info, warn or error (default warn)")
	f.StringVar(&l.format, "log-format", "text", "log `FORMAT`: text or json; logs go to standard error")
}

// install makes the logger the process's default. The servers have --log-level
// and --log-format among their settings and make their own.
func (l *logFlags) install(cmd *cobra.Command) error {
	if cmd.GroupID == groupServers {
		if l.verbose && !cmd.Flags().Changed("log-level") {
			return cmd.Flags().Set("log-level", slog.LevelDebug.String())
		}
		return nil
	}
	level := slog.LevelWarn
	if l.level != "" {
		if err := level.UnmarshalText([]byte(l.level)); err != nil {
			return cli.Usagef("--log-level %s: one of debug, info, warn, error", l.level)
		}
	}
	if l.verbose {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		slog.SetDefault(slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), opts)))
	case "json":
		slog.SetDefault(slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), opts)))
	default:
		return cli.Usagef("--log-format %s: one of text, json", l.format)
	}
	return nil
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

func versionLine() string {
	return fmt.Sprintf("causeway %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// version is what the build left in the binary: a module version, or the
// revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	var rev, dirty string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	if (v == "" || v == "(devel)") && rev != "" {
		v = rev[:min(12, len(rev))] + dirty
	}
	if v == "" || v == "(devel)" {
		return "development"
	}
	return v
}
