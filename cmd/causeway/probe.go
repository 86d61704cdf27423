package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/probe"
)

func newProbeCommand() *cobra.Command {
	var router, to, from string
	var interval, timeout time.Duration
	var q probe.Question
	var report reportFlags
	cmd := &cobra.Command{
		Use:   "probe --router ROUTER --to IP",
		Short: "Send echo requests from a router, through the tunnels, and tell what comes back",
		Long: `Send ICMP echo requests from a router's own address, as packets like any other:
through the virtual topology, and to another site through the tunnel. The site's host
sends them and tells what came back: answers and how long they took, errors of other
routers, the largest packet that passes (--path-mtu). This is for administrators.

The exit code is 0 where at least one answer came, 1 where none did.`,
		Example: `  causeway probe --router SiteATenantRouter --to 192.168.0.2
  causeway probe --router SiteATenantRouter --to 10.0.1.3 --from 192.168.0.1 --count 20 --path-mtu --json`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&router, "router", "", "`ROUTER` (name or id) that sends")
	f.StringVar(&to, "to", "", "destination `IP`")
	f.StringVar(&from, "from", "", "source `IP`, one of the router's (default: that of the interface towards --to)")
	f.IntVar(&q.Count, "count", probe.DefaultCount, fmt.Sprintf("how many `PACKETS`, up to %d", probe.MaxCount))
	f.IntVar(&q.Size, "size", probe.DefaultSize, "`BYTES` of the IP packet")
	f.DurationVar(&interval, "interval", probe.DefaultInterval, "`TIME` between two packets")
	f.DurationVar(&timeout, "wait", probe.DefaultTimeout, "`TIME` to wait for each answer")
	f.BoolVar(&q.PathMTU, "path-mtu", false, "look for the largest packet that passes")
	report.register(cmd)
	mustRequire(cmd, "router", "to")
	return siteCommand(cmd, func(ctx context.Context, c *client.Client, _ []string) (err error) {
		if q.Target, err = parseAddr("to", to); err != nil {
			return err
		}
		if from != "" {
			if q.Source, err = parseAddr("from", from); err != nil {
				return err
			}
		}
		q.IntervalMS, q.TimeoutMS = int(interval.Milliseconds()), int(timeout.Milliseconds())
		id, err := c.Find(ctx, client.Routers, router)
		if err != nil {
			return err
		}
		r, err := c.Probe(ctx, id, q)
		if err != nil {
			return err
		}
		err = report.write(cmd.OutOrStdout(), r, func(w io.Writer) error {
			_, err := io.WriteString(w, probeText(r))
			return err
		})
		if err == nil && r.Received == 0 {
			err = cli.Exit(cli.ExitFailure)
		}
		return err
	})
}

func probeText(r probe.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s → %s from host %s: %d sent, %d answered, %.0f %% lost\n", r.Source, r.Target, cli.Plain(r.Host), r.Sent, r.Received, 100*r.Loss)
	if t := r.RTT; t != nil {
		fmt.Fprintf(&b, "round trip %.1f/%.1f/%.1f µs (least, mean, most)\n", t.Min, t.Avg, t.Max)
	}
	if r.PathMTU > 0 {
		fmt.Fprintf(&b, "packets of up to %d bytes pass whole\n", r.PathMTU)
	}
	if r.Path != nil {
		fmt.Fprintln(&b, r.Path)
	}
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "%d × %s\n", e.Count, cli.Plain(e.Text))
	}
	return b.String()
}
