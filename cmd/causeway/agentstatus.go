package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/agent"
	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/reconcile"
)

func newAgentStatusCommand() *cobra.Command {
	set := config.NewSet("agent")
	var c config.Agent
	c.Bind(set)
	var report reportFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List what the agent of this host cannot bring to its wanted state",
		Long: `List the objects of this host that are not as the controller says: what is wanted, what
is there instead or why the last try failed, and when it is tried again. An object that is
refused, or waits, is looked at when something about it changes. Of a host on the fabric, the
other hosts of its site are listed too, with what is known of the way to each: "proven" says that the
host has answered, "unproven" that nothing keeps packets from leaving and nothing has come
back, "unreachable" that none can leave.

The agent is asked at its --metrics-listen, which is found as the agent finds it: by flag, variable or
file. Nothing else of its settings matters here. An agent that hangs is told as one. The exit
code is 0 where all is as wanted and the agent is connected to its controller, 1 otherwise.`,
		Example: `  causeway agent status
  causeway agent status --all -f json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := resolveAgent(cmd, set, &c); err != nil {
				return err
			}
			if c.MetricsListen == "" {
				return &cli.Error{What: "agent status", Err: cli.Usagef("--metrics-listen is empty: the agent cannot be asked"),
					Hint: "Have the agent listen, and give the same here: --metrics-listen 127.0.0.1:9698"}
			}
			s, err := agent.AskStatus(cmd.Context(), c.MetricsListen, all)
			if err != nil {
				return &cli.Error{What: "agent status", Err: err}
			}
			err = report.write(cmd.OutOrStdout(), s, func(w io.Writer) error { return agentStatusText(w, s, time.Now()) })
			if err == nil && !allDone(s) {
				err = cli.Exit(cli.ExitFailure)
			}
			return err
		},
	}
	cmd.Flags().AddFlagSet(set.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "list the objects that are as wanted too")
	report.register(cmd)
	return cmd
}

func allDone(s agent.Status) bool {
	for _, o := range s.Objects {
		if o.State != reconcile.Done {
			return false
		}
	}
	return s.Connected && s.Stuck == ""
}

func agentStatusText(w io.Writer, s agent.Status, now time.Time) error {
	if s.Stuck != "" {
		if _, err := fmt.Fprintf(w, "%s: nothing here is brought to its wanted state, and what follows is what it last knew.\n%s\n", s.Stuck,
			"Send it SIGQUIT, keep the stacks that it writes to its log, and start it anew: packets go on meanwhile."); err != nil {
			return err
		}
	}
	connected := "connected to the controller"
	if !s.Connected {
		connected = "not connected to the controller"
		if s.Problem != "" {
			connected += " (" + cli.Plain(s.Problem) + ")"
		}
	}
	done, others := 0, 0
	for _, of := range s.Counts {
		for state, n := range of {
			if state == reconcile.Done {
				done += n
			} else {
				others += n
			}
		}
	}
	if _, err := fmt.Fprintf(w, "%s; revision %d of %d is in the maps; %d objects as wanted, %d not\n",
		connected, s.AppliedRevision, s.WantedRevision, done, others); err != nil {
		return err
	}
	if s.Fabric != nil {
		if err := fabricText(w, *s.Fabric); err != nil {
			return err
		}
	}
	if len(s.Objects) == 0 {
		return nil
	}
	rows := make([][]string, 0, len(s.Objects))
	for _, o := range s.Objects {
		rows = append(rows, []string{o.Kind, o.Name, string(o.State), o.Wanted, o.Cause, nextTry(o, now)})
	}
	return cli.Table(w, []string{"Kind", "Object", "State", "Wanted", "What is there", "Next try"}, rows)
}

// fabricText says how this host stands to the others of its site.
func fabricText(w io.Writer, f agent.Fabric) error {
	problem := ""
	if f.Problem != "" {
		problem = "; " + f.Problem
	}
	if _, err := fmt.Fprintf(w, "on the fabric as %s, UDP port %d, by %s, MTU %s%s; %d other hosts\n",
		f.Address, f.Port, f.Device, mtuText(f.MTU), problem, len(f.Hosts)); err != nil || len(f.Hosts) == 0 {
		return err
	}
	rows := make([][]string, 0, len(f.Hosts))
	for _, h := range f.Hosts {
		rows = append(rows, []string{string(h.Host), h.Address.String(), h.State, mtuText(h.MTU), h.Why})
	}
	return cli.Table(w, []string{"Host", "Address", "State", "MTU", "Why"}, rows)
}

func mtuText(mtu int) string {
	if mtu == 0 {
		return "unknown"
	}
	return strconv.Itoa(mtu)
}

// nextTry says when an object is tried again.
func nextTry(o reconcile.Status, now time.Time) string {
	if o.State == reconcile.Done {
		return ""
	}
	words := "on a change"
	if o.NextTry != nil {
		words = "in " + max(0, o.NextTry.Sub(now)).Round(100*time.Millisecond).String()
	}
	if o.Failures > 1 {
		words += fmt.Sprintf(", after %d tries", o.Failures)
	}
	if o.On != (reconcile.Ref{}) {
		words += strings.Join([]string{", with", o.On.Kind, o.On.Name}, " ")
	}
	return words
}
