package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/pause"
)

func newHostCommand() *cobra.Command {
	k := client.Agents
	columns := []string{"id", "host", "alive", "admin_state_up", "heartbeat_timestamp", "configurations", "description"}
	return needSubcommand("host", "The site's hosts: who is alive, who takes gateway devices", "",
		newListCommand(k, columns), newShowCommand(k, columns), newDrainCommand(columns), newHostDeleteCommand(), newHostVerifyCommand())
}

func newDrainCommand(columns []string) *cobra.Command {
	var undo, wait bool
	var drain *cobra.Command
	drain = showing(&cobra.Command{
		Use: "drain HOST", Short: "Take the gateway devices off a host, and place no more on it",
		Long: `Take the gateway devices off a host, and place no more on it: sets admin_state_up of
the host's agent. Each device goes to another host that may serve it; where there is none it stays, and says so
(causeway gateway-device list). Ports that are bound to the host stay there.

With --undo the host may have gateway devices again. Those that are bound to it (binding:host_id) come
back; others stay where they are.

With --wait it fails where a device has to stay.`,
		Args: cobra.ExactArgs(1),
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		id, err := c.Find(ctx, client.Agents, args[0])
		if err != nil {
			return nil, err
		}
		agent, err := c.Update(ctx, client.Agents, id, client.Attrs{"admin_state_up": undo})
		if err != nil || !wait || undo {
			return agent, err
		}
		if err := untilDrained(ctx, c, client.Str(agent, "host"), drain.ErrOrStderr()); err != nil {
			return nil, err
		}
		return c.Get(ctx, client.Agents, id)
	})
	drain.Flags().BoolVar(&wait, "wait", false, "end only once no gateway device is on the host, and say meanwhile how far each has come")
	drain.Flags().BoolVar(&undo, "undo", false, "let it have gateway devices again")
	return drain
}

// untilDrained waits until a host has no gateway device, and tells of each how far it has come.
func untilDrained(ctx context.Context, c *client.Client, host string, progress io.Writer) error {
	said := map[string]string{}
	for {
		devices, err := c.List(ctx, client.GatewayDevices, nil)
		if err != nil {
			return err
		}
		left := false
		for _, d := range devices {
			at, how := client.Str(d, "host"), client.Str(d, "host_reason")
			moves := strings.Contains(how, "moves from host "+host+" ")
			if at != host && !moves && said[client.ID(d)] == "" {
				continue
			}
			if at == host && !moves {
				return fmt.Errorf("gateway device %s stays: %s", client.ID(d), how)
			}
			line := cmp.Or(how, "host "+at+" serves it")
			if line != said[client.ID(d)] {
				said[client.ID(d)] = line
				fmt.Fprintf(progress, "gateway device %s: %s\n", client.ID(d), line)
			}
			left = left || moves
		}
		if !left {
			return nil
		}
		if err := pause.For(ctx, drainLook); err != nil {
			return err
		}
	}
}

// drainLook is how often untilDrained looks.
const drainLook = 200 * time.Millisecond

func newHostDeleteCommand() *cobra.Command {
	var off bool
	remove := siteCommand(&cobra.Command{
		Use: "delete HOST...", Short: "Take hosts out of the site that are not coming back",
		Long: `Take hosts out of the site that are not coming back. With a host go what it has said
of ports, its hold on the keys of what was deleted, and the gateway devices placed on it, which
are placed on another host if there is one. Ports stay bound to it, and are DOWN.

A host that is alive is refused. A host that is not may forward on by what it had: switch it
off, or clean it up there with "causeway agent cleanup", before its keys are used again.
With --off a host is deleted whatever was heard of it. One whose agent runs all the same comes
back as a new one.`,
		Args: cobra.MinimumNArgs(1),
	}, func(ctx context.Context, c *client.Client, args []string) error {
		return each(args, func(arg string) error {
			id, err := c.Find(ctx, client.Agents, arg)
			if err != nil {
				return err
			}
			return c.DeleteHost(ctx, id, off)
		})
	})
	remove.Flags().BoolVar(&off, "off", false, "the hosts are switched off: delete them even if they were heard lately")
	return remove
}

func newHostVerifyCommand() *cobra.Command {
	var report reportFlags
	cmd := &cobra.Command{
		Use: "verify [HOST...]", Short: "Compare the rows that hosts have with those that they should have",
		Long: `Compare the rows that hosts have with those that they should have: of the hosts that are named, or of all. A controller works
out anew, from all resources of the site, what rows a host is to have, and its agent what it has. Nothing is changed, and packets are
not touched. Each host costs a controller what working out the rows of the whole site costs; a controller does one at
a time. This is for administrators.

The exit code is 0 where all rows agree and are in the hosts' maps, 1 otherwise: also where a host is not alive or could
not be asked, which its line says. A host whose rows differ gets them anew when its agent starts anew (packets go on
meanwhile); please report it.`,
		Example: `  causeway host verify
  causeway host verify a1 a2 -f json`,
	}
	report.register(cmd)
	return siteCommand(cmd, func(ctx context.Context, c *client.Client, args []string) error {
		hosts, err := hostsToVerify(ctx, c, args)
		if err != nil {
			return err
		}
		list := []client.HostRows{}
		agree := true
		for _, a := range hosts {
			r, err := rowsOf(ctx, c, a, len(args) > 0)
			if err != nil {
				return err
			}
			list = append(list, r)
			agree = agree && r.Agrees
		}
		err = report.write(cmd.OutOrStdout(), list, func(w io.Writer) error { return hostRowsText(w, list) })
		if err == nil && !agree {
			err = cli.Exit(cli.ExitFailure)
		}
		return err
	})
}

// hostsToVerify are the agents of some hosts; of all where none is named.
func hostsToVerify(ctx context.Context, c *client.Client, names []string) (agents []client.Attrs, err error) {
	for _, name := range names {
		id, err := c.Find(ctx, client.Agents, name)
		if err != nil {
			return nil, err
		}
		a, err := c.Get(ctx, client.Agents, id)
		if err != nil {
			return nil, err
		}
		agents = append(agents, a)
	}
	if len(names) > 0 {
		return agents, nil
	}
	return c.List(ctx, client.Agents, url.Values{"sort_key": {"host"}, "sort_dir": {"asc"}})
}

// rowsOf has the rows of an agent's host compared; of one that is not alive only where it is named. What keeps one host from being
// compared does not keep others.
func rowsOf(ctx context.Context, c *client.Client, agent client.Attrs, named bool) (client.HostRows, error) {
	name := client.Str(agent, "host")
	if alive, _ := agent["alive"].(bool); !alive && !named {
		return client.HostRows{Host: name, Differing: []string{}, Reason: "not compared: the host is not alive"}, nil
	}
	r, err := c.HostRows(ctx, client.ID(agent))
	var refused *client.APIError
	if errors.As(err, &refused) && (refused.Status == http.StatusServiceUnavailable || refused.Status == http.StatusBadRequest) {
		return client.HostRows{Host: name, Differing: []string{}, Reason: "not compared: " + refused.Message}, nil
	}
	return r, err
}

func hostRowsText(w io.Writer, list []client.HostRows) error {
	rows := make([][]string, 0, len(list))
	for _, r := range list {
		agree := "agree"
		if !r.Agrees {
			agree = strings.Join(append([]string{r.Reason}, r.Differing...), "; ")
		}
		rows = append(rows, []string{cli.Plain(r.Host), fmt.Sprint(r.Groups), fmt.Sprint(r.Revision), cli.Plain(agree)})
	}
	return cli.Table(w, []string{"Host", "Groups", "Revision", "Rows"}, rows)
}
