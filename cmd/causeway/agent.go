package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/agent"
	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/config"
	"github.com/causeway-net/causeway/internal/hostenv"
	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/pathmtu"
	"github.com/causeway-net/causeway/internal/revocation"
	"github.com/causeway-net/causeway/internal/systemd"
)

// newAgentCommand runs on each host that carries workloads or tunnels.
func newAgentCommand() *cobra.Command {
	set := config.NewSet("agent")
	var c config.Agent
	c.Bind(set)
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Forward packets on this host as the controller says",
		Long: `Forward packets on this host as the site's controller says.

The agent keeps eBPF programs and maps, two network devices (cw-vxlan, cw-slow; with
--fabric-address a third, cw-fabric), tunnel addresses and, for VTEP routers with uplinks,
routing tables and rules. All of it stays when the agent ends, is killed or is replaced, and
packets go on flowing (for how long, --stop-after says); "causeway agent cleanup" takes it away. It ends cleanly on SIGTERM and
SIGINT.
SIGHUP does not end it: the files of --tls-* are read for each connection to the
controller, settings at the start only.

Each setting is a flag, an environment variable (CAUSEWAY_AGENT_ and the flag's name
in capitals, with _ for -) and a key of the file of --config. The flag wins over the
variable, the variable over the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := resolveAgent(cmd, set, &c); err != nil {
				return err
			}
			if err := runAgent(cmd.Context(), c); err != nil {
				return &cli.Error{What: "agent", Err: err}
			}
			return nil
		},
	}
	cmd.Flags().AddFlagSet(set.Flags())
	markServer(cmd)
	cmd.AddCommand(newAgentCleanupCommand(), newAgentStatusCommand())
	return cmd
}

func newAgentCleanupCommand() *cobra.Command {
	set := config.NewSet("agent")
	var c config.Agent
	c.Bind(set)
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Take everything away that the agent ever added to this host",
		Long: `Take everything away that the agent ever added to this host: programs, maps and
their pins, devices, addresses, rules and routes, and what it remembers in its state
directory. Nothing else is touched. The agent must not be running. Give the
same --pin-dir and --state-dir as to the agent.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := resolveAgent(cmd, set, &c); err != nil {
				return err
			}
			if err := agent.Cleanup(agentConfig(c, c.Log.Logger())); err != nil {
				return &cli.Error{What: "agent cleanup", Err: err}
			}
			return nil
		},
	}
	cmd.Flags().AddFlagSet(set.Flags())
	return cmd
}

func resolveAgent(cmd *cobra.Command, set *config.Set, c *config.Agent) error {
	if err := set.Resolve(os.Environ()); err != nil {
		return usageError(cmd, err)
	}
	if err := c.Finish(set); err != nil {
		return usageError(cmd, err)
	}
	return nil
}

func agentConfig(c config.Agent, log *slog.Logger) agent.Config {
	mark, _ := c.Mark() // it was checked
	return agent.Config{
		PinDir: c.PinDir, StateDir: c.StateDir,
		UnderlayInterfaces: c.UnderlayInterfaces, WorkloadInterfaces: c.WorkloadInterfaces,
		AnyUnderlay: c.ReversePath == config.ReversePathOff, UnderlayMark: mark,
		StopAfter: c.StopAfter, KernelOutput: c.Output == config.OutputKernel, Fabric: fabricOf(c),
		ICMPRate: c.ICMPRate, ICMPBurst: c.ICMPBurst, FloodRate: c.FloodRate, FloodBurst: c.FloodBurst, Limits: c.Limits,
		PathMTU:       pathmtu.Settings{Fixed: c.PathMTU, Floor: c.PathMTUFloor, Interval: c.PathMTUInterval},
		MetricsListen: c.MetricsListen, Log: log,
	}
}

// fabricOf is this host's end of the fabric.
func fabricOf(c config.Agent) hostenv.Fabric {
	ip, err := c.Fabric()
	if err != nil || !ip.IsValid() { // it was checked
		return hostenv.Fabric{}
	}
	return hostenv.Fabric{Addr: ip, Port: c.FabricPort}
}

// goesOn is for how long packets go on without the agent.
func goesOn(stopAfter time.Duration) string {
	if stopAfter <= 0 {
		return ""
	}
	return ", for " + stopAfter.String() + " at most"
}

func runAgent(ctx context.Context, c config.Agent) (err error) {
	defer survivePipe()()
	defer agentGC.collect(ctx)()
	log := c.Log.Logger()
	slog.SetDefault(log)
	defer func() {
		log.Info("agent ended; packets go on as they were told"+goesOn(c.StopAfter), endOf(ctx, err)...)
	}()
	service := systemd.New(log)
	defer context.AfterFunc(ctx, service.Stopping)()
	defer tellHangups(ctx, service, log)()
	opts := hostsync.ClientOptions{Targets: c.Controllers, Version: version(), GatewayPriority: c.Priority(), Logger: log}
	if f := fabricOf(c); f.On() {
		opts.Fabric = netip.AddrPortFrom(f.Addr, f.Port)
	}
	if c.TLS.Any() {
		opts.TLS = &hostsync.TLSFiles{Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.CA}
	}
	if c.TLS.CRL != "" {
		revoked, err := revocation.Load(c.TLS.CRL, c.TLS.CA, log)
		if err != nil {
			return fmt.Errorf("--tls-crl: %w", err)
		}
		opts.TLS.Revoked = revoked
		go revoked.Watch(ctx)
	}
	client, err := hostsync.NewClient(opts)
	if err != nil {
		return err
	}
	cfg := agentConfig(c, log)
	cfg.Service = service
	return agent.Run(ctx, cfg, client)
}
