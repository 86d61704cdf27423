package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/orchestrator"
	"github.com/causeway-net/causeway/internal/orchestrator/peering"
	"github.com/causeway-net/causeway/internal/orchestrator/show"
	"github.com/causeway-net/causeway/internal/orchestrator/verify"
	"github.com/causeway-net/causeway/internal/probe"
)

// searching is more than the search for a path MTU takes.
const searching = 30 * time.Second

func newPeerVerify() *cobra.Command {
	var p peerFlags
	var o verify.Options
	var interval, wait time.Duration
	var report reportFlags
	cmd := &cobra.Command{
		Use:   "verify --file FILE",
		Short: "Prove on packets that every site reaches every other",
		Long: `Prove on packets that every site reaches every other, the way that tenants' packets go.
Each site's peer router sends probes through its dataplane to every other site's, and
from its tenant networks into each network that another site advertises: there by its
own routes and the tunnel, and back by the other router's. What came back is told:
loss, round-trip time, and the largest packet that passes whole.

What is wrong is named once, with the command that mends it: what differs from the
file, what is disabled on the way, and where packets are lost by both sites' tables
(as causeway trace shows them). What could not be looked at is named too, and is not
called well. Nothing is changed.

Exit codes: 0 everything was looked at and is as it should be; 1 something was found;
5 nothing was found, and not everything was looked at.`,
	}
	p.register(cmd)
	f := cmd.Flags()
	f.IntVar(&o.Count, "count", probe.DefaultCount, fmt.Sprintf("how many `PACKETS` each way, up to %d", probe.MaxCount))
	f.DurationVar(&interval, "interval", probe.DefaultInterval, "`TIME` between two packets of a way")
	f.DurationVar(&wait, "wait", probe.DefaultTimeout, "`TIME` to wait for each answer")
	f.BoolVar(&o.NoPathMTU, "no-path-mtu", false, "do not look for the largest packet that passes")
	f.IntVar(&o.Most, "most", verify.DefaultMost, "how many `WAYS` from a router into another site's network are probed at most; spread over all pairs of sites")
	f.BoolVar(&o.All, "all", false, "probe all of these ways, however many there are")
	report.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.IntervalMS, o.TimeoutMS = int(interval.Milliseconds()), int(wait.Milliseconds())
		// An answer comes when all packets have been sent and waited for.
		p.timeout = max(p.timeout, time.Duration(o.Count)*interval+wait+searching)
		return reportEach(cmd, &p, &report,
			func(w io.Writer, res *verify.Result) error { return show.Verified(w, style(cmd), res) },
			func(ctx context.Context, orch *orchestrator.Orchestrator, spec *peering.Peering) (*verify.Result, int, error) {
				o := o
				o.Apply = p.command("apply", spec)
				tell, end := verifyProgress(cmd.ErrOrStderr())
				o.Progress = tell
				res, err := orch.Verify(ctx, spec, o)
				end()
				if err != nil {
					return nil, 0, err
				}
				return res, verifyCode(res), nil
			})
	}
	return cmd
}

// verifyCode is the exit code for what was proved.
func verifyCode(r *verify.Result) int {
	switch {
	case slices.ContainsFunc(r.Findings, func(f verify.Finding) bool { return !f.Unproved }):
		return cli.ExitFailure
	case !r.Passes:
		return cli.ExitBlocked
	}
	return 0
}

// tellEvery is how often it is told how far a long verify is where lines cannot be rewritten.
const tellEvery = 10 * time.Second

// verifyProgress tells how far a long verify is.
func verifyProgress(w io.Writer) (tell func(done, all int), end func()) {
	last := time.Now()
	if !isTerminal(w) {
		return func(done, all int) {
			if time.Since(last) >= tellEvery {
				last = time.Now()
				fmt.Fprintf(w, "%d of %d ways are probed\n", done, all)
			}
		}, func() {}
	}
	open := false
	return func(done, all int) {
			if time.Since(last) >= 100*time.Millisecond {
				last, open = time.Now(), true
				fmt.Fprintf(w, "\r\x1b[K%d of %d ways are probed", done, all)
			}
		}, func() {
			if open {
				fmt.Fprint(w, "\r\x1b[K")
			}
		}
}
