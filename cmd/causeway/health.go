package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/liveness"
	"github.com/causeway-net/causeway/internal/systemd"
)

// newHealthCommand runs beside each agent that serves gateway devices.
func newHealthCommand() *cobra.Command {
	set := config.NewSet("health")
	var c config.Health
	c.Bind(set)
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Watch whether the remote VTEPs of this host's tunnels are alive",
		Long: `Watch whether the remote VTEPs of this host's tunnels are alive, by S-BFD (RFC 7880), BFD
(RFC 5880) or ICMP echo, and measure round trip and loss. It answers S-BFD of these VTEPs, and of
nobody else.

It is a process of its own, so that it goes on while the agent is ended, replaced or busy. The agent
leaves a list of the VTEPs in its --state-dir; "causeway health status" shows their states. While
the agent is away, those that it named last are watched. The process schedules itself in real
time (SCHED_FIFO) and locks its memory where that is allowed; "causeway health status" says
whether it is. It forwards nothing, and nothing moves when a VTEP goes down.

SIGHUP has it read the file of --remotes again, and the keys that this names; all other settings
are read at the start. Each setting is a flag, an environment variable (CAUSEWAY_HEALTH_ and the
flag's name in capitals, with _ for -) and a key of the file of --config. The flag wins over the
variable, the variable over the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := resolveHealth(cmd, set, &c); err != nil {
				return err
			}
			if err := runHealth(cmd.Context(), c); err != nil {
				return &cli.Error{What: "health", Err: err}
			}
			return nil
		},
	}
	cmd.Flags().AddFlagSet(set.Flags())
	markServer(cmd)
	cmd.AddCommand(newHealthStatusCommand())
	return cmd
}

func resolveHealth(cmd *cobra.Command, set *config.Set, c *config.Health) error {
	if err := set.Resolve(os.Environ()); err != nil {
		return usageError(cmd, err)
	}
	if err := c.Finish(set); err != nil {
		return usageError(cmd, err)
	}
	return nil
}

func runHealth(ctx context.Context, c config.Health) error {
	defer survivePipe()()
	log := c.Log.Logger()
	slog.SetDefault(log)
	service := systemd.New(log)
	defer context.AfterFunc(ctx, service.Stopping)()
	return liveness.Run(ctx, liveness.Config{
		StateDir: c.StateDir, Rules: c.Rules, Hangups: hangups(ctx), MetricsListen: c.MetricsListen, Log: log, Service: service,
	})
}

func newHealthStatusCommand() *cobra.Command {
	set := config.NewSet("health")
	var c config.Health
	c.Bind(set)
	var report reportFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the remote VTEPs of this host's tunnels, and whether they are alive",
		Long: `List the remote VTEPs of this host's tunnels: whether each is up, by which means that is
known, since when, and the round trip and the loss of the last 128 packets. "unknown" is a VTEP that has
never answered: it may be alive and answer neither S-BFD nor ICMP echo.

The process is asked at its socket in --state-dir. Nothing else of its settings matters here. The
exit code is 0 where no VTEP is down, 1 otherwise.`,
		Example: `  causeway health status
  causeway health status -f json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := resolveHealth(cmd, set, &c); err != nil {
				return err
			}
			s, err := liveness.Ask(cmd.Context(), c.StateDir)
			if err != nil {
				hint := "Start it with: systemctl start causeway-health; or give the --state-dir of the one that runs."
				if !errors.Is(err, liveness.ErrNotRunning) {
					hint = ""
				}
				return &cli.Error{What: "health status", Err: err, Hint: hint}
			}
			err = report.write(cmd.OutOrStdout(), s, func(w io.Writer) error { return healthText(w, s, time.Now()) })
			for _, r := range s.Remotes {
				if err == nil && r.State == liveness.Down {
					err = cli.Exit(cli.ExitFailure)
				}
			}
			return err
		},
	}
	cmd.Flags().AddFlagSet(set.Flags())
	report.register(cmd)
	return cmd
}

func healthText(w io.Writer, s liveness.Status, now time.Time) error {
	count := map[liveness.State]int{}
	for _, r := range s.Remotes {
		count[r.State]++
	}
	if _, err := fmt.Fprintf(w, "remote VTEPs: %d up, %d down, %d unknown; real time: %s; memory: %s\n",
		count[liveness.Up], count[liveness.Down], count[liveness.Unknown], cli.Plain(s.RealTime), cli.Plain(s.Memory)); err != nil {
		return err
	}
	if s.Problem != "" {
		if _, err := fmt.Fprintln(w, cli.Plain(s.Problem)); err != nil {
			return err
		}
	}
	if s.Unwatched > 0 {
		if _, err := fmt.Fprintf(w, "%d more are not watched: %d is the most\n", s.Unwatched, liveness.MaxRemotes); err != nil {
			return err
		}
	}
	if len(s.Remotes) == 0 {
		return nil
	}
	rows := make([][]string, 0, len(s.Remotes))
	for _, r := range s.Remotes {
		rtt, loss := "", ""
		if r.RTTMicros != nil && r.Loss != nil {
			rtt = strconv.FormatFloat(*r.RTTMicros/1000, 'f', 3, 64) + " ms"
			loss = strconv.FormatFloat(*r.Loss*100, 'f', 1, 64) + " %"
		}
		rows = append(rows, []string{r.VTEP.String(), r.TunnelIP.String(), string(r.State), string(r.Means), max(0, now.Sub(r.Since)).Round(time.Second).String(), rtt, loss, r.Why})
	}
	return cli.Table(w, []string{"VTEP", "Tunnel IP", "State", "Means", "For", "Round trip", "Loss", "Why"}, rows)
}
