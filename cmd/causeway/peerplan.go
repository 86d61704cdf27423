package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/show"
)

func newPeerPlan() *cobra.Command {
	var p peerFlags
	var report reportFlags
	var destroy bool
	cmd := &cobra.Command{
		Use:   "plan --file FILE",
		Short: "Say what would be done at each site, and what stands in the way",
		Long: `Say what would be done at each site to make it as the file says: what is added (+),
changed (~) and taken away (-). Everything that stands in the way is told at once,
with the way out. Nothing is touched.

Exit codes: 0 nothing is to be done; 4 something is; 5 something stands in the way.`,
	}
	p.register(cmd)
	report.register(cmd)
	cmd.Flags().BoolVar(&destroy, "destroy", false, "say what destroy would do")
	p.registerSites(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if len(p.sites) > 0 && !destroy {
			return named(cmd, cli.Usagef("--site goes with --destroy"))
		}
		planner := orchestrator.ForApply(plan.Options{})
		if destroy {
			planner = orchestrator.ForDestroy(plan.Options{Only: p.sites})
		}
		return reportEach(cmd, &p, &report,
			func(w io.Writer, pl *plan.Plan) error { return show.Plan(w, style(cmd), pl) },
			func(ctx context.Context, o *orchestrator.Orchestrator, spec *peering.Peering) (*plan.Plan, int, error) {
				pl, _, err := o.Plan(ctx, spec, planner)
				if err != nil {
					return nil, 0, err
				}
				return pl, planCode(pl), nil
			})
	}
	return cmd
}

func planCode(p *plan.Plan) int {
	switch {
	case len(p.Blockers) > 0:
		return cli.ExitBlocked
	case len(p.Actions) > 0:
		return cli.ExitChanges
	}
	return 0
}

func newPeerStatus() *cobra.Command {
	var p peerFlags
	var report reportFlags
	cmd := &cobra.Command{
		Use:   "status --file FILE",
		Short: "Say how each pair of sites stands, and what has drifted",
		Long: `Say how each pair of sites stands, and what differs from what the file says: each
attribute by its name. Nothing is touched.

Exit codes: 0 in sync; 4 something has drifted; 5 something stands in the way, such as
a site that does not answer.`,
	}
	p.register(cmd)
	report.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return reportEach(cmd, &p, &report,
			func(w io.Writer, st *plan.Status) error { return show.Status(w, style(cmd), st) },
			func(ctx context.Context, o *orchestrator.Orchestrator, spec *peering.Peering) (*plan.Status, int, error) {
				st, err := o.Status(ctx, spec)
				if err != nil {
					return nil, 0, err
				}
				return st, statusCode(st), nil
			})
	}
	return cmd
}

func statusCode(s *plan.Status) int {
	switch {
	case len(s.Problems) > 0:
		return cli.ExitBlocked
	case !s.InSync:
		return cli.ExitChanges
	}
	return 0
}

func newPeerRender() *cobra.Command {
	var p peerFlags
	var format string
	var destroy bool
	cmd := &cobra.Command{
		Use:   "render --file FILE -f openstack|neutron",
		Short: "Write the plan as the commands of an OpenStack client",
		Long: `Write the plan as a shell script of the commands of an OpenStack client, for those who
audit it or do it by hand. "openstack" uses causeway's own commands for what the
OpenStack client does not know; "neutron" is the client of the guide, with its plug-ins.

The script is for the sites as they are now. Exit codes as of plan.`,
	}
	p.register(cmd)
	registerFormat(cmd, &format, show.Formats(), "`FORMAT`: the commands of which client, openstack or neutron")
	cmd.Flags().BoolVar(&destroy, "destroy", false, "write what destroy would do")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		planner := orchestrator.ForApply(plan.Options{})
		if destroy {
			planner = orchestrator.ForDestroy(plan.Options{})
		}
		return p.eachPeering(cmd, func(ctx context.Context, o *orchestrator.Orchestrator, spec *peering.Peering) (int, error) {
			pl, obs, err := o.Plan(ctx, spec, planner)
			if err != nil {
				return 0, err
			}
			if len(pl.Blockers) > 0 {
				return cli.ExitBlocked, show.Plan(cmd.ErrOrStderr(), style(cmd), pl)
			}
			return planCode(pl), show.Render(cmd.OutOrStdout(), format, pl, spec, obs)
		})
	}
	return cmd
}
