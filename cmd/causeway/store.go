package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/controller"
)

func newStoreCommand() *cobra.Command {
	return needSubcommand("store", "Export, import and verify a site's state", `Export a site's state to a file, import it from one, and verify either.

The state is that of --data-dir, or that of the etcd cluster of --etcd-endpoints. An export is of one
moment, also of a state that a controller uses. So a state goes from the embedded store to a
cluster and back, and to another machine.`,
		newStoreExport("store", "export FILE"), newStoreImport(), newStoreVerify())
}

// storePlace are the settings that say where a state is: those of the controller.
type storePlace struct {
	set *config.Set
	c   config.Controller
}

func (p *storePlace) register(cmd *cobra.Command) {
	p.set = config.NewSet("controller")
	p.c.Bind(p.set)
	for _, name := range []string{"config", "data-dir", "etcd-endpoints", "etcd-prefix", "etcd-tls-cert", "etcd-tls-key", "etcd-tls-ca", "etcd-user", "etcd-password-file"} {
		cmd.Flags().AddFlag(p.set.Flags().Lookup(name))
	}
}

func (p *storePlace) resolve(cmd *cobra.Command) (config.Controller, error) {
	if err := p.set.Resolve(os.Environ()); err != nil {
		return p.c, usageError(cmd, err)
	}
	if err := p.c.Finish(p.set); err != nil {
		return p.c, usageError(cmd, err)
	}
	return p.c, nil
}

func storeError(what string, err error) error {
	if err == nil {
		return nil
	}
	return &cli.Error{What: "store " + what, Err: err}
}

// storeLog keeps the store's own lines but for what goes wrong.
func storeLog(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// newStoreExport is "store export", and "controller backup", which does the same.
func newStoreExport(parent, use string) *cobra.Command {
	name := strings.Fields(use)[0]
	var place storePlace
	cmd := &cobra.Command{
		Use:   use,
		Short: "Write a site's state to a file",
		Long: `Write a site's state, as it is at one moment, to a file that only its owner can read; "-" is
standard output. A file that is there is not overwritten. A controller may use the state
meanwhile: of a --data-dir, one on this machine. Run this command as the controller's user; root may
export what a controller uses, and nothing that belongs to another user. The file is lines of JSON and holds all
that the site knows, secrets of none: there are none in a state.`,
		Example: `  causeway ` + parent + ` ` + name + ` --data-dir /var/lib/causeway/controller site-a.state
  causeway ` + parent + ` ` + name + ` --etcd-endpoints https://e1:2379,https://e2:2379 - | zstd > site-a.state.zst`,
		Args: cobra.ExactArgs(1),
	}
	place.register(cmd)
	exportError := func(err error) error {
		if err == nil {
			return nil
		}
		return &cli.Error{What: parent + " " + name, Err: err}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := place.resolve(cmd)
		if err != nil {
			return err
		}
		var sum controller.StateSummary
		write := func(w io.Writer) error {
			sum, err = controller.ExportState(cmd.Context(), c, w, version(), storeLog(cmd))
			return err
		}
		if args[0] == "-" {
			return exportError(write(cmd.OutOrStdout()))
		}
		if err := writeNewFile(args[0], write); err != nil {
			return exportError(err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], sum)
		return err
	}
	return cmd
}

// writeNewFile makes a file that only its owner can read, whole or not at all.
func writeNewFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		err = errors.Join(err, os.Remove(f.Name()))
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // unlike a rename, it fails where there is one
}

func newStoreImport() *cobra.Command {
	var place storePlace
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Read a site's state from a file into an empty place",
		Long: `Read a site's state from a file that "causeway store export" or "causeway controller
backup" has written, into a --data-dir or a cluster's --etcd-prefix that has none; "-" is standard
input. The file is checked to its end, the state is brought to this version's format, and then
verified as by "store verify". An import that does not come to its end leaves a place that no
controller starts on; importing again, this file or another, begins anew.

Controllers of the old place must have ended before the first of the new one starts: two places that
tell the same hosts what to forward are two sites. Agents need nothing.`,
		Example: `  causeway store import --data-dir /var/lib/causeway/controller site-a.state`,
		Args:    cobra.ExactArgs(1),
	}
	place.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := place.resolve(cmd)
		if err != nil {
			return err
		}
		return withInput(cmd, args[0], func(r io.Reader) error {
			sum, err := controller.ImportState(cmd.Context(), c, r, storeLog(cmd))
			if err != nil {
				return storeError("import", namedFile(args[0], err))
			}
			return tellState(cmd, "import", args[0], sum)
		})
	}
	return cmd
}

func newStoreVerify() *cobra.Command {
	var place storePlace
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Say whether a site's state is whole and sound",
		Long: `Say whether a site's state is whole and sound: the one in a file ("-": standard input), or without one that of
--data-dir or --etcd-endpoints. Looked for is what no history of requests can lead to: an
index entry without its object or an object without its entries, two owners of what is unique, a reference that leads
nowhere. Of a file the sum is checked too, and that this version can read it.

Nothing is changed. A file is read into a store of its own in a temporary directory ($TMPDIR). The exit code is 0 for a sound
state, 1 for any other.`,
		Example: `  causeway store verify site-a.state
  causeway store verify --data-dir /var/lib/causeway/controller`,
		Args: cobra.MaximumNArgs(1),
	}
	place.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := place.resolve(cmd)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			sum, err := controller.VerifyState(cmd.Context(), c, storeLog(cmd))
			if err != nil {
				return storeError("verify", err)
			}
			return tellState(cmd, "verify", "the store", sum)
		}
		return withInput(cmd, args[0], func(r io.Reader) error {
			sum, err := verifyFile(cmd.Context(), r, storeLog(cmd))
			if err != nil {
				return storeError("verify", namedFile(args[0], err))
			}
			return tellState(cmd, "verify", args[0], sum)
		})
	}
	return cmd
}

func verifyFile(ctx context.Context, r io.Reader, log *slog.Logger) (sum controller.StateSummary, err error) {
	dir, err := os.MkdirTemp("", "causeway-verify-*")
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var c config.Controller
	c.DataDir = filepath.Join(dir, "store")
	return controller.ImportState(ctx, c, r, log)
}

func withInput(cmd *cobra.Command, path string, use func(io.Reader) error) error {
	if path == "-" {
		return use(cmd.InOrStdin())
	}
	f, err := os.Open(path)
	if err != nil {
		return cli.BadFile(err)
	}
	defer f.Close()
	return use(f)
}

func namedFile(path string, err error) error {
	if path == "-" {
		path = "standard input"
	}
	return fmt.Errorf("%s: %w", path, err)
}

// tellState says what there is, and what is wrong with it.
func tellState(cmd *cobra.Command, what, where string, sum controller.StateSummary) error {
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", where, sum); err != nil {
		return err
	}
	for _, p := range sum.Problems {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), "  not sound: "+p); err != nil {
			return err
		}
	}
	if len(sum.Problems) > 0 {
		return &cli.Error{What: "store " + what, Err: fmt.Errorf("%s: %d things are not sound", where, len(sum.Problems)),
			Hint: "A controller starts on it and goes on as well as it can. Tell the developers, with the lines above."}
	}
	return nil
}
