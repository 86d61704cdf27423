package main

import (
	"context"
	"fmt"
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
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify -f FILE",
		Short: "Prove on packets that every site reaches every other",
		Long: `Prove on packets that every site reaches every other: each site's peer router sends
probes through its dataplane to every other site's, and tells what came back: loss,
round-trip time, and the largest packet that passes whole. For a way that is broken it
says which piece is missing or wrong, by both sites' tables (as causeway trace does)
and by what has drifted from the file. Nothing is changed.

Exit codes: 0 every way passes; 1 one is broken, loses packets or takes no packets as
large as the network's; 5 a site could not be asked.`,
	}
	p.register(cmd)
	f := cmd.Flags()
	f.IntVar(&o.Count, "count", probe.DefaultCount, fmt.Sprintf("how many `PACKETS` each way, up to %d", probe.MaxCount))
	f.DurationVar(&interval, "interval", probe.DefaultInterval, "`TIME` between two packets of a way")
	f.DurationVar(&wait, "wait", probe.DefaultTimeout, "`TIME` to wait for each answer")
	f.BoolVar(&o.NoPathMTU, "no-path-mtu", false, "do not look for the largest packet that passes")
	f.BoolVar(&asJSON, "json", false, "as JSON, one object a peering, with all traces")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.IntervalMS, o.TimeoutMS = int(interval.Milliseconds()), int(wait.Milliseconds())
		// An answer comes when all packets have been sent and waited for.
		p.timeout = max(p.timeout, time.Duration(o.Count)*interval+wait+searching)
		return p.eachPeering(cmd, func(ctx context.Context, orch *orchestrator.Orchestrator, spec *peering.Peering) (int, error) {
			res, err := orch.Verify(ctx, spec, o)
			if err != nil {
				return 0, err
			}
			if asJSON {
				err = writeIndented(cmd.OutOrStdout(), res)
			} else {
				err = show.Verified(cmd.OutOrStdout(), style(cmd), res)
			}
			return verifyCode(res), err
		})
	}
	return cmd
}

// verifyCode is the exit code for what was proved.
func verifyCode(r *verify.Result) int {
	code := 0
	for _, w := range r.Pairs {
		switch w.State {
		case verify.Passes:
		case verify.Unknown:
			if code == 0 {
				code = cli.ExitBlocked
			}
		default:
			code = cli.ExitFailure
		}
	}
	return code
}
