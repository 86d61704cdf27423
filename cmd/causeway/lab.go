package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/testbed"
)

func labCommands() []*cobra.Command {
	return []*cobra.Command{newDemoCommand(), newTestbedCommand()}
}

func newTestbedCommand() *cobra.Command {
	return needSubcommand("testbed", "Sites, hosts and links in network namespaces of this machine",
		`A lab of sites on this machine: each site's controller runs here and listens on the
loopback port that the lab's file names; each host is a network namespace with an
agent of its own; links are veth pairs. Where a site has several controllers, they and the
members of their etcd have namespaces too. "ip netns" shows the namespaces as
LAB-NODE. Any OpenStack client can drive the sites. Needs root.

To try failures: kill ends a server as a crash does, restart starts it again; cut and heal
cut links, and the ways of controllers, and mend them.`,
		newTestbedUp(), newTestbedAttach(), newTestbedExec(), newTestbedList(), newTestbedStatus(), newTestbedRestart(), newTestbedKill(),
		newTestbedCut(), newTestbedHeal(), newTestbedDown(), newTestbedMember())
}

func newTestbedUp() *cobra.Command {
	return &cobra.Command{
		Use:   "up FILE",
		Short: "Bring up the lab that FILE describes",
		Long: `Bring up the lab that a YAML file describes, such as examples/two-sites.yaml. Labs of
different names and API ports can be up side by side. If it cannot be brought up,
or is interrupted, nothing of it stays.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer survivePipe()()
			f, err := testbed.ReadFile(args[0])
			if err != nil {
				return labError(cmd, cli.BadFile(err))
			}
			out := cmd.OutOrStdout()
			l, err := testbed.Up(cmd.Context(), f, testbed.Options{Progress: func(s string) { fmt.Fprintln(out, s) }})
			if err != nil {
				return labError(cmd, err)
			}
			fmt.Fprintf(out, "\nlab %s is up:\n", l.Name())
			for _, s := range f.Sites {
				endpoint, err := l.Endpoint(s.Name)
				if err != nil {
					return labError(cmd, err)
				}
				fmt.Fprintf(out, "  %s: export OS_AUTH_TYPE=none OS_ENDPOINT=%s\n", s.Name, endpoint)
			}
			fmt.Fprintf(out, "attach workloads with: causeway testbed attach --site %s --port PORT --name VM\n", f.Sites[0].Name)
			fmt.Fprintf(out, "take it away with: causeway testbed down --lab %s\n", l.Name())
			return nil
		},
	}
}

// labFlag chooses one of the labs of this machine.
type labFlag struct{ name string }

func (f *labFlag) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "lab", "", "`NAME` of the lab; may be left out while there is only one")
}

func (f *labFlag) choose() (string, error) {
	if f.name != "" {
		return f.name, nil
	}
	labs, err := testbed.Labs()
	if err != nil {
		return "", err
	}
	switch len(labs) {
	case 0:
		return "", &cli.Error{Err: errors.New("no lab is up"), Code: cli.ExitNotFound, Hint: "Bring one up with: causeway testbed up FILE"}
	case 1:
		return labs[0], nil
	}
	return "", &cli.Error{Err: fmt.Errorf("several labs are up: %s", strings.Join(labs, ", ")), Code: cli.ExitNotFound, Hint: "Choose one with --lab."}
}

func (f *labFlag) open() (*testbed.Lab, error) {
	name, err := f.choose()
	if err != nil {
		return nil, err
	}
	return testbed.Open(name)
}

// labError adds ways out to the errors of a lab.
func labError(cmd *cobra.Command, err error) error {
	switch {
	case errors.Is(err, testbed.ErrNoLab):
		err = &cli.Error{Err: err, Code: cli.ExitNotFound, Hint: "Those that are up: causeway testbed list"}
	case errors.Is(err, testbed.ErrExists):
		err = cli.Hinted(err, "Take it away with: causeway testbed down --lab NAME; or give the lab another name in its file.")
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		err = cli.Hinted(err, "A lab is root's: try sudo.")
	}
	return named(cmd, err)
}

func newTestbedAttach() *cobra.Command {
	var lab labFlag
	var o testbed.AttachOptions
	site := new(siteFlags)
	cmd := &cobra.Command{
		Use:   "attach --site SITE --port PORT --name NAME",
		Short: "Make a workload at a port of a site",
		Long: `Make a workload: a network namespace with the MAC, addresses, routes and MTU of a
port, whose other end on the site's host is bound to the port. It returns when the
port is ACTIVE. The API is the lab's own unless --endpoint or --os-cloud is given.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	lab.register(cmd)
	f.StringVar(&o.Site, "site", "", "`SITE` of the lab")
	f.StringVar(&o.Host, "host", "", "`HOST` of the site (default: the only one)")
	f.StringVar(&o.Port, "port", "", "`PORT` (name or id)")
	f.StringVar(&o.Name, "name", "", "`NAME` of the workload, for testbed exec")
	f.StringVar(&o.Kind, "kind", testbed.KindVeth, "`KIND` of interface: "+testbed.KindVeth+", or "+testbed.KindVethSameNS+": by a bridge on the host")
	f.StringVar(&site.opts.Endpoint, "endpoint", "", "root `URL` of the site's API, if not the lab's")
	f.StringVar(&site.opts.Token, "token", "", "`TOKEN` to send with --endpoint")
	f.StringVar(&site.opts.Cloud, "os-cloud", "", "`NAME` of a cloud in clouds.yaml")
	mustRequire(cmd, "site", "port", "name")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		defer survivePipe()()
		w, err := attach(cmd.Context(), lab, site, o)
		if err != nil {
			return labError(cmd, err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, MTU %d, on %s of host %s; namespace %s\n",
			w.Name, cli.Plain(strings.Join(w.Addresses, ", ")), cli.Plain(w.MAC), w.MTU, cli.Plain(w.Interface), w.Host, w.NetNS)
		return nil
	}
	return cmd
}

func attach(ctx context.Context, lab labFlag, site *siteFlags, o testbed.AttachOptions) (testbed.Workload, error) {
	l, err := lab.open()
	if err != nil {
		return testbed.Workload{}, err
	}
	if site.opts.Endpoint != "" || site.opts.Cloud != "" {
		if o.Client, err = site.client(ctx); err != nil {
			return testbed.Workload{}, err
		}
	}
	return l.Attach(ctx, o)
}

func newTestbedExec() *cobra.Command {
	var lab labFlag
	cmd := &cobra.Command{
		Use:   "exec NAME -- COMMAND [ARGUMENT...]",
		Short: "Run a command in a workload or node of a lab",
		Long: `Run a command in the network namespace of a workload, host or underlay router, or of a
controller or etcd member of a site with several. The mounts stay those of this
machine, so that bpftool and tc see the agent's programs. The exit code is the command's.`,
		Args:    cobra.MinimumNArgs(2),
		Example: "  causeway testbed exec vm-a -- ping -c 3 10.0.1.3",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.open()
			if err != nil {
				return labError(cmd, err)
			}
			argv := args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return usageError(cmd, errors.New("which command?"))
			}
			return labError(cmd, l.Replace(args[0], argv))
		},
	}
	// What follows NAME is the command's, with or without "--".
	cmd.Flags().SetInterspersed(false)
	lab.register(cmd)
	return cmd
}

func newTestbedDown() *cobra.Command {
	var lab labFlag
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take a lab away",
		Long: `Take away exactly what up and attach made, also after a crash: processes, network
namespaces, mounts, directories. Processes that "testbed exec" left running end too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			defer survivePipe()()
			name, err := lab.choose()
			if err != nil {
				return labError(cmd, err)
			}
			if err := testbed.Down(name); err != nil {
				return labError(cmd, err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "lab %s is gone\n", name)
			return err
		},
	}
	lab.register(cmd)
	return cmd
}

func newTestbedList() *cobra.Command {
	var report reportFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the labs of this machine",
		Long:  "List the labs that are up on this machine, and how many of their servers run. \"testbed status\" looks closer at one.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			labs, err := testbed.List()
			if err != nil {
				return labError(cmd, err)
			}
			return report.write(cmd.OutOrStdout(), labs, func(w io.Writer) error {
				var rows [][]string
				for _, l := range labs {
					servers := fmt.Sprintf("%d of %d run", l.Running, l.Servers)
					if l.Error != "" {
						servers = l.Error
					}
					rows = append(rows, []string{l.Lab, strings.Join(l.Sites, ", "), strings.Join(l.Hosts, ", "), servers, strings.Join(l.Workloads, ", "), cutWords(l.Cuts)})
				}
				return cli.Table(w, []string{"Lab", "Sites", "Hosts", "Servers", "Workloads", "Cut"}, rows)
			})
		},
	}
	report.register(cmd)
	return cmd
}

func newTestbedStatus() *cobra.Command {
	var lab labFlag
	var report reportFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a lab: servers, ports, underlay",
		Long:  "Show a lab: its servers, bound ports and underlay. The exit code is 0 if all of it is well, 1 if not.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.open()
			if err != nil {
				return labError(cmd, err)
			}
			st, err := l.Status(cmd.Context())
			if err != nil {
				return labError(cmd, err)
			}
			err = report.write(cmd.OutOrStdout(), st, func(w io.Writer) error { return printStatus(w, st) })
			if err == nil && !st.OK {
				err = cli.Exit(cli.ExitFailure)
			}
			return err
		},
	}
	lab.register(cmd)
	report.register(cmd)
	return cmd
}

func printStatus(w io.Writer, st *testbed.Status) error {
	var servers, ports, underlay [][]string
	running := func(p testbed.ProcessStatus) string {
		if p.Running {
			return fmt.Sprintf("running, pid %d", p.PID)
		}
		return "not running"
	}
	for _, s := range st.Sites {
		api := s.Endpoint
		if !s.APIUp {
			api += " does not answer"
		}
		if len(s.Controllers) == 0 {
			servers = append(servers, []string{"controller", s.Name, running(s.Controller), api, s.Controller.Metrics, s.Controller.Log})
		}
		servers = append(servers, clusterRows(s, running)...)
		for _, h := range s.Hosts {
			servers = append(servers, []string{"agent", h.Name, running(h.Agent), "netns " + h.NetNS, h.Agent.Metrics, h.Agent.Log})
		}
		for _, p := range s.Ports {
			workload := ""
			for _, wl := range st.Workloads {
				if wl.PortID == p.ID {
					workload = wl.Name
				}
			}
			ports = append(ports, []string{s.Name, p.ID, p.Name, p.Host, p.Interface, p.Status, workload})
		}
	}
	for _, wl := range st.Workloads {
		if wl.PortStatus == "GONE" {
			ports = append(ports, []string{wl.Site, wl.PortID, "", "", "", "not bound", wl.Name})
		}
	}
	for _, u := range st.Underlay {
		result := u.Error
		if u.OK {
			result = u.RTT.Round(time.Microsecond).String()
		}
		underlay = append(underlay, []string{fmt.Sprintf("%s (%s)", u.From, u.Source), fmt.Sprintf("%s (%s)", u.To, u.Addr), result})
	}
	fmt.Fprintf(w, "lab %s\n", st.Lab)
	err := cli.Table(w, []string{"Server", "Of", "State", "At", "Metrics", "Log"}, servers)
	if len(ports) > 0 {
		err = errors.Join(err, cli.Table(w, []string{"Site", "Port", "Name", "Host", "Interface", "Status", "Workload"}, ports))
	}
	err = errors.Join(err, cli.Table(w, []string{"Ping from", "To", "Answer"}, underlay))
	verdict := "all is well"
	if len(st.Cuts) > 0 {
		verdict = "not all is well: cut are " + cutWords(st.Cuts)
	} else if !st.OK {
		verdict = "not all is well: something above does not run, is not ACTIVE or does not answer"
	}
	_, werr := fmt.Fprintln(w, verdict)
	return errors.Join(err, werr)
}
