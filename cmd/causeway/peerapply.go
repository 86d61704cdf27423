package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/apply"
	"github.com/causeway-net/causeway/internal/orchestrator/lease"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/plan"
	"github.com/causeway-net/causeway/internal/orchestrator/show"
)

// doFlags are those of the commands that change something.
type doFlags struct {
	peerFlags
	yes  bool
	keep bool
	wait time.Duration
}

func (d *doFlags) register(cmd *cobra.Command) {
	d.peerFlags.register(cmd)
	f := cmd.Flags()
	f.BoolVarP(&d.yes, "yes", "y", false, "do not ask")
	f.DurationVar(&d.wait, "wait", time.Minute, "how long to wait for another run of this peering, a `DURATION`")
}

func newPeerApply() *cobra.Command {
	var d doFlags
	cmd := &cobra.Command{
		Use:   "apply --file FILE",
		Short: "Make the sites as the file says",
		Long: `Make the sites as the file says: show the plan, ask, and do it, the sites side by side.

Interrupted or killed, run it again: it completes what is left. If a step fails for
good, what this run has done is taken back, unless --keep-partial is given. Two runs
for one peering do not mix: the second waits (--wait), or says who has the lease.

Exit codes: 0 the sites are as the file says; 1 a step failed; 4 nothing was done,
since the answer was no; 5 something stands in the way; 6 another run has the lease.`,
	}
	d.register(cmd)
	cmd.Flags().BoolVar(&d.keep, "keep-partial", false, "leave what was done where a step fails for good")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return d.run(cmd, orchestrator.ForApply(plan.Options{}), "Everything is as the file says now")
	}
	return cmd
}

func newPeerDestroy() *cobra.Command {
	var d doFlags
	cmd := &cobra.Command{
		Use:   "destroy --file FILE",
		Short: "Take away what the peering made, and nothing else",
		Long: `Take away what the peering made at every site of the file, in the right order, and
nothing else: what bears the peering's mark, and what is told by that. Interrupted, or
failed, run it again.

Exit codes as of apply.`,
	}
	d.register(cmd)
	d.registerSites(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		well := "Nothing of the peering is left"
		if len(d.sites) > 0 {
			well += " at " + strings.Join(d.sites, ", ")
		}
		return d.run(cmd, orchestrator.ForDestroy(plan.Options{Only: d.sites}), well)
	}
	return cmd
}

func newPeerAdopt() *cobra.Command {
	var d doFlags
	cmd := &cobra.Command{
		Use:   "adopt --file FILE",
		Short: "Take over a peering that was made by hand",
		Long: `Take over a peering that was made by hand, as the guide says: give its networks,
subnets and ports the peering's mark. Nothing else is changed, and packets go on. Then
"causeway peer plan" says what differs from the file, and the peering can be changed and
destroyed like any other.

Exit codes as of apply.`,
	}
	d.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return d.run(cmd, plan.TakeOver, "The peering bears its mark now")
	}
	return cmd
}

// run carries out a plan for each peering.
func (d *doFlags) run(cmd *cobra.Command, planner orchestrator.Planner, well string) error {
	defer survivePipe()()
	out := cmd.OutOrStdout()
	return d.eachPeering(cmd, func(ctx context.Context, o *orchestrator.Orchestrator, spec *peering.Peering) (int, error) {
		st := style(cmd)
		progress := show.NewProgress(out, st, columns(out))
		ro := orchestrator.RunOptions{
			Progress: progress.Tell, KeepPartial: d.keep, Wait: d.wait,
			OnWait:    func(h lease.Held) { fmt.Fprintln(out, show.Waiting(h, d.wait)) },
			AfterWait: func(w orchestrator.Waited) { fmt.Fprintln(out, show.AfterWait(w)) },
			Confirm: func(p *plan.Plan) (bool, error) {
				if err := show.Plan(out, st, p); err != nil {
					return false, err
				}
				if d.yes {
					return true, nil
				}
				return d.ask(cmd)
			},
		}
		begin := time.Now()
		res, err := o.Run(ctx, spec, planner, ro)
		progress.End()
		var blocked orchestrator.Blocked
		var step *apply.StepError
		switch {
		case errors.As(err, &blocked):
			return cli.ExitBlocked, show.Plan(out, st, blocked.Plan)
		case errors.As(err, &step):
			return 0, failed(step, res, d.keep)
		case err != nil:
			if ctx.Err() != nil && res.Steps > 0 {
				fmt.Fprintf(out, "%s done. Run it again: it completes what is left.\n", show.Count(res.Steps, "step"))
			}
			return 0, err
		case res.Steps == 0:
			return 0, show.Plan(out, st, res.Plan)
		}
		_, err = fmt.Fprintf(out, "%s: %s, %s in %.1f s.\n", spec.Name, well, show.Count(res.Steps, "step"), time.Since(begin).Seconds())
		return 0, err
	})
}

// failed says what a failed step leaves behind.
func failed(e *apply.StepError, res orchestrator.Outcome, keep bool) error {
	var hint string
	switch {
	case res.Plan.Goal != plan.Apply:
		hint = "What was done stays done. Run it again when the cause is gone."
	case e.TakenBack && len(e.Late) > 0:
		hint = "What this run had done was taken back. " + cli.Plain(strings.Join(e.Late, ", ")) + " gave no answer to a step and may still do it:\ncauseway peer destroy takes away what comes of it."
	case e.TakenBack:
		hint = "What this run had done was taken back."
	case keep:
		hint = "What was done stays, for you to look at: causeway peer status says what is missing."
	case len(e.Left) > 0:
		hint = "These could not be taken back; apply completes them, destroy takes them away:\n" + strings.Join(plain(e.Left), "\n")
	default:
		hint = "What was done stays. Run it again: it completes what is left."
	}
	return cli.Hinted(e, "%s", hint)
}

// plain keeps each name in its line.
func plain(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = cli.Plain(n)
	}
	return out
}

// ask wants a yes.
func (d *doFlags) ask(cmd *cobra.Command) (bool, error) {
	for _, f := range d.files {
		if f == "-" {
			return false, cli.Usagef("the file comes from standard input, so that nobody can be asked: give --yes")
		}
	}
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); ok && !isTerminal(f) {
		return false, cli.Usagef("standard input is no terminal, so that nobody can be asked: give --yes")
	}
	fmt.Fprint(cmd.OutOrStdout(), "Do this? [y/N] ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(cmd.OutOrStdout())
		return false, nil
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// columns tells how wide a terminal is; nil: w is none.
func columns(w any) func() int {
	if !isTerminal(w) {
		return nil
	}
	return func() int {
		f, _ := fileOf(w)
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil || size.Col == 0 {
			return 80
		}
		return int(size.Col)
	}
}

// isTerminal tells whether lines on it can be rewritten.
func isTerminal(w any) bool {
	f, ok := fileOf(w)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
