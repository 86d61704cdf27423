package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/show"
	"github.com/causeway-net/causeway/internal/orchestrator/sites"
)

func newPeerCommand() *cobra.Command {
	return needSubcommand("peer", "Peer tenant routers of any number of sites, as a file says",
		`Peer tenant routers of any number of sites, as a file says (examples/peering.yaml).

All is done through the sites' own APIs, and nothing is kept elsewhere: what belongs
to a peering bears its mark at the sites, so that any machine with the file and the
accounts can go on. One run at a time works on a peering.

Exit codes: 0 everything is as the file says, or was made so; 4 something is to be
done (plan) or has drifted (status); 5 something stands in the way, and nothing was
done; 6 another run has the lease; 1 a step failed; 2, 3 and 130 as everywhere. Of several
peerings it is the gravest: 1, then 6, 5, 4. "verify" has its own.`,
		newPeerPlan(), newPeerApply(), newPeerStatus(), newPeerVerify(), newPeerRun(), newPeerDestroy(), newPeerAdopt(), newPeerRender())
}

// peerFlags say which peerings, and how patient to be.
type peerFlags struct {
	files   []string
	only    []string
	sites   []string // that a teardown is narrowed to
	timeout time.Duration
	patient func() bool // --timeout was given
	several bool        // the files hold more than one peering
}

func (p *peerFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&p.files, "file", nil, "`FILE` or directory that says what is peered; - is standard input; repeatable")
	f.StringArrayVar(&p.only, "peering", nil, "only the peering of this `NAME`; repeatable")
	f.DurationVar(&p.timeout, "timeout", 30*time.Second, "longest wait for one answer of a site, a `DURATION`")
	p.patient = func() bool { return f.Changed("timeout") }
	mustRequire(cmd, "file")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml")
	cmd.Args = cobra.NoArgs
}

// registerSites lets a teardown be narrowed.
func (p *peerFlags) registerSites(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&p.sites, "site", nil, "only what is at the `SITE`, to take one out of a peering; repeatable")
}

// read gives the peerings that are meant.
func (p *peerFlags) read(stdin io.Reader) ([]peering.Peering, error) {
	all, err := peering.ReadFiles(p.files, stdin)
	if err != nil {
		return nil, cli.BadFile(err)
	}
	p.several = len(all) > 1
	out := all
	if len(p.only) > 0 {
		out = nil
	}
	for _, name := range p.only {
		i := slices.IndexFunc(all, func(q peering.Peering) bool { return q.Name == name })
		if i < 0 {
			var names []string
			for _, q := range all {
				names = append(names, q.Name)
			}
			return nil, &cli.Error{Err: errors.New("no peering is called " + name), Code: cli.ExitNotFound, Hint: "There are " + strings.Join(names, ", ") + "."}
		}
		out = append(out, all[i])
	}
	for _, name := range p.sites {
		if !slices.ContainsFunc(out, func(q peering.Peering) bool { return q.Site(name) != nil }) {
			return nil, &cli.Error{Err: fmt.Errorf("no site of the file is called %s", name), Code: cli.ExitNotFound}
		}
	}
	return out, nil
}

// command is one of the peer commands for the same files, and for one peering of theirs.
func (p *peerFlags) command(name string, spec *peering.Peering) string {
	s := "causeway peer " + name
	for _, f := range p.files {
		s += " --file " + plan.Quote(f)
	}
	if len(p.only) > 0 || p.several {
		s += " --peering " + spec.Name
	}
	return s
}

func (p *peerFlags) orchestrator() *orchestrator.Orchestrator {
	return orchestrator.New(orchestrator.Options{Sites: sites.Options{Timeout: p.timeout, TimeoutWins: p.patient != nil && p.patient()}})
}

// eachPeering does something with each peering and returns the gravest exit code:
// the first error ends it.
func (p *peerFlags) eachPeering(cmd *cobra.Command, fn func(ctx context.Context, o *orchestrator.Orchestrator, spec *peering.Peering) (code int, err error)) error {
	specs, err := p.read(cmd.InOrStdin())
	if err != nil {
		return named(cmd, err)
	}
	o := p.orchestrator()
	worst := 0
	for i := range specs {
		code, err := fn(cmd.Context(), o, &specs[i])
		if err != nil {
			return named(cmd, peerError(err))
		}
		worst = cli.Graver(worst, code)
	}
	if worst != 0 {
		return cli.Exit(worst)
	}
	return nil
}

// peerError gives errors their exit codes and ways out.
func peerError(err error) error {
	var held lease.Held
	switch {
	case errors.As(err, &held):
		return &cli.Error{Err: err, Code: cli.ExitLeased}
	case errors.Is(err, orchestrator.ErrDeclined):
		return &cli.Error{Err: err, Code: cli.ExitChanges}
	case errors.Is(err, orchestrator.ErrChanged):
		return &cli.Error{Err: err, Code: cli.ExitChanges, Hint: "Run it again to see what would be done now."}
	case errors.Is(err, lease.ErrLost):
		return cli.Hinted(err, "Nothing more was done. Run it again: it completes what is left.")
	}
	return err
}

func style(cmd *cobra.Command) show.Style { return show.Style{Colour: wantsColour(cmd.OutOrStdout())} }

// reportEach writes a report of each peering: for people as soon as it is there, as data one list of all.
func reportEach[T any](cmd *cobra.Command, p *peerFlags, r *reportFlags, text func(io.Writer, T) error,
	fn func(ctx context.Context, o *orchestrator.Orchestrator, spec *peering.Peering) (T, int, error),
) error {
	all := []T{}
	err := p.eachPeering(cmd, func(ctx context.Context, o *orchestrator.Orchestrator, spec *peering.Peering) (int, error) {
		one, code, err := fn(ctx, o, spec)
		if err != nil {
			return 0, err
		}
		all = append(all, one)
		if r.data() == "" {
			err = text(cmd.OutOrStdout(), one)
		}
		return code, err
	})
	if r.data() == "" || err != nil && !isExit(err) {
		return err
	}
	if werr := cli.Data(cmd.OutOrStdout(), r.data(), all); werr != nil {
		return named(cmd, werr)
	}
	return err
}

func isExit(err error) bool {
	_, ok := err.(cli.Exit)
	return ok
}
