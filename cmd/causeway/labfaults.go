package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/store/etcdstore"
	"github.com/causeway-net/causeway/internal/testbed"
)

// serverVerb is a command that does something with a server of a lab: kill or restart.
type serverVerb struct {
	verb, does, how, done string
	do                    func(*testbed.Lab, context.Context, testbed.Kind, string) error
}

// of is its command for one kind of server.
func (v serverVerb) of(kind testbed.Kind, arg, what string) *cobra.Command {
	var lab labFlag
	short := v.does + " " + what
	cmd := &cobra.Command{
		Use: string(kind) + " " + arg, Short: short, Args: cobra.ExactArgs(1),
		Long: short + ". " + v.how,
		RunE: func(cmd *cobra.Command, args []string) error {
			defer survivePipe()()
			l, err := lab.open()
			if err != nil {
				return labError(cmd, err)
			}
			if err := v.do(l, cmd.Context(), kind, args[0]); err != nil {
				return labError(cmd, err)
			}
			pid, err := l.PID(args[0])
			if err != nil {
				return labError(cmd, err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s, pid %d\n", kind, args[0], v.done, pid)
			return err
		},
	}
	lab.register(cmd)
	return cmd
}

func (v serverVerb) command(short, long string) *cobra.Command {
	return needSubcommand(v.verb, short, long,
		v.of(testbed.KindAgent, "HOST", "the agent of a host"),
		v.of(testbed.KindController, "NAME", "the controller of a site, or one of several by its own name"),
		v.of(testbed.KindEtcd, "MEMBER", "a member of a site's etcd"))
}

func newTestbedRestart() *cobra.Command {
	return serverVerb{"restart", "Restart", `It ends as a service manager ends it (SIGTERM), starts again with the same
settings, and the command returns when it answers. One that does not run is started.`, "runs again", (*testbed.Lab).RestartServer}.command(
		"Restart a controller, an agent or an etcd member of a lab",
		"Restart a server of a lab, to see what becomes of packets and requests meanwhile.")
}

func newTestbedKill() *cobra.Command {
	return serverVerb{"kill", "Kill", `It ends at once (SIGKILL), as in a crash, and stays away until "testbed restart"
starts it again.`, "is gone", (*testbed.Lab).KillServer}.command(
		"Kill a controller, an agent or an etcd member of a lab",
		"Kill a server of a lab, to see what becomes of packets and requests without it.")
}

func newTestbedCut() *cobra.Command {
	return cutCommand("cut NODE [NODE]", "Cut the ways between two nodes of a lab, or all of one", cobra.RangeArgs(1, 2),
		`Cut the ways between two nodes, or all ways of one: what either sends there is lost, and no
error comes back. Nodes are hosts and underlay routers, whose ways are the lab's links, and
the controllers and etcd members of a site with several controllers: these and the
site's hosts have a way to each other. Clients of the API reach a controller all the same.
"testbed heal" mends what was cut, "testbed list" shows it.`, "cut", (*testbed.Lab).Cut)
}

func newTestbedHeal() *cobra.Command {
	return cutCommand("heal [NODE [NODE]]", "Mend what was cut between two nodes of a lab, of one, or all", cobra.RangeArgs(0, 2),
		`Mend what "testbed cut" has cut: the ways between two nodes, all ways of one, or all of the lab.`, "mended", (*testbed.Lab).Heal)
}

func cutCommand(use, short string, args cobra.PositionalArgs, long, done string, do func(*testbed.Lab, context.Context, string, string) ([]testbed.Cut, error)) *cobra.Command {
	var lab labFlag
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			defer survivePipe()()
			l, err := lab.open()
			if err != nil {
				return labError(cmd, err)
			}
			nodes := append(args, "", "")
			if nodes[1] == nodes[0] && nodes[0] != "" {
				return usageError(cmd, errors.New("the two are one node"))
			}
			changed, err := do(l, cmd.Context(), nodes[0], nodes[1])
			if err != nil {
				return labError(cmd, err)
			}
			words := done + ": " + cutWords(changed)
			if len(changed) == 0 {
				words = "nothing to do"
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), words)
			return err
		},
	}
	lab.register(cmd)
	return cmd
}

func cutWords(cuts []testbed.Cut) string {
	var words []string
	for _, c := range cuts {
		words = append(words, c.A+" and "+c.B)
	}
	return strings.Join(words, ", ")
}

// clusterRows are the rows of a site's several controllers and of their etcd, in the table of servers.
func clusterRows(s testbed.SiteStatus, running func(testbed.ProcessStatus) string) (rows [][]string) {
	for _, k := range s.Controllers {
		api := k.Endpoint
		if !k.APIUp {
			api += " does not answer"
		}
		rows = append(rows, []string{"controller", k.Name, running(k.ProcessStatus), api, k.Metrics, k.Log})
	}
	for _, m := range s.Etcd {
		rows = append(rows, []string{"etcd", m.Name, running(m.ProcessStatus), "", "", m.Log})
	}
	return rows
}

// newTestbedMember is the process of an etcd member, which labs start.
func newTestbedMember() *cobra.Command {
	m := etcdstore.Member{}
	cmd := &cobra.Command{
		Use: "etcd-member NAME", Short: "Run a member of a lab's etcd", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m.Name, m.Logger = args[0], slog.New(slog.NewTextHandler(os.Stderr, nil))
			return named(cmd, m.Serve(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.DataDir, "data-dir", "", "`DIRECTORY` of its data")
	f.StringVar(&m.Client, "client", "", "`ADDRESS` for clients")
	f.StringVar(&m.Peer, "peer", "", "`ADDRESS` for other members")
	f.StringArrayVar(&m.Cluster, "member", nil, "`NAME=ADDRESS` of a member, this one too; repeatable")
	mustRequire(cmd, "data-dir", "client", "peer", "member")
	return cmd
}
