package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
)

// resourceCommands are the nouns for what the OpenStack client does not know.
func resourceCommands() []*cobra.Command {
	return []*cobra.Command{
		newHostCommand(),
		newPortCommand(),
		newGatewayDeviceCommand(),
		newRemoteMACCommand(),
		newL2GatewayCommand(),
		newL2GatewayConnectionCommand(),
		newTraceCommand(),
		newProbeCommand(),
	}
}

const siteHelp = `
The site's API is found by --endpoint, by --os-cloud or OS_CLOUD in clouds.yaml, or
by the OS_* variables as in the OpenStack client: OS_AUTH_TYPE=none or admin_token
with OS_ENDPOINT, or Keystone's.`

// siteFlags say where the API is.
type siteFlags struct {
	opts    client.Options
	patient func() bool // --timeout was given
}

func (s *siteFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.opts.Endpoint, "endpoint", "", "root `URL` of the site's API, without Keystone (http://127.0.0.1:9696)")
	f.StringVar(&s.opts.Token, "token", "", "`TOKEN` to send with --endpoint")
	f.StringVar(&s.opts.Cloud, "os-cloud", "", "`NAME` of a cloud in clouds.yaml")
	f.DurationVar(&s.opts.Timeout, "timeout", time.Minute, "longest wait for one answer, a `DURATION` such as 30s; it wins over api_timeout of clouds.yaml")
	s.patient = func() bool { return f.Changed("timeout") }
	cmd.Long += "\n" + siteHelp
}

func (s *siteFlags) client(ctx context.Context) (*client.Client, error) {
	if s.opts.Token != "" && s.opts.Endpoint == "" {
		return nil, cli.Usagef("--token goes with --endpoint; elsewhere the token is OS_TOKEN")
	}
	s.opts.TimeoutWins = s.patient != nil && s.patient()
	return client.New(ctx, s.opts)
}

// outputFlags say how to print resources.
type outputFlags struct {
	out  cli.Output
	json *bool
}

func (o *outputFlags) register(cmd *cobra.Command) {
	registerFormat(cmd, &o.out.Format, cli.Formats(), "`FORMAT`: table, json, yaml or value")
	o.json = registerJSON(cmd)
	cmd.Flags().StringArrayVarP(&o.out.Columns, "column", "c", nil, "`COLUMN` to show; repeatable")
}

func (o *outputFlags) output() cli.Output {
	if *o.json {
		o.out.Format = cli.FormatJSON
	}
	return o.out
}

// siteCommand makes a command that speaks to a site's API. what names it in errors.
func siteCommand(cmd *cobra.Command, fn func(ctx context.Context, c *client.Client, args []string) error) *cobra.Command {
	site := new(siteFlags)
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	site.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := site.client(cmd.Context())
		if err == nil {
			err = fn(cmd.Context(), c, args)
		}
		return named(cmd, err)
	}
	return cmd
}

// named says in the error which command it was.
func named(cmd *cobra.Command, err error) error {
	var x cli.Exit
	if err == nil || errors.As(err, &x) {
		return err
	}
	what := cmd.Name()
	for p := cmd.Parent(); p != nil && p.HasParent(); p = p.Parent() {
		what = p.Name() + " " + what
	}
	return &cli.Error{What: what, Err: err}
}

// showing adds -f and -c to a command that prints one resource or a list.
func showing(cmd *cobra.Command, columns []string, fn func(ctx context.Context, c *client.Client, args []string) (any, error)) *cobra.Command {
	out := new(outputFlags)
	out.register(cmd)
	return siteCommand(cmd, func(ctx context.Context, c *client.Client, args []string) error {
		v, err := fn(ctx, c, args)
		if err != nil {
			return err
		}
		switch v := v.(type) {
		case client.Attrs:
			return out.output().Show(cmd.OutOrStdout(), showColumns(columns, v), v)
		case []client.Attrs:
			rows := make([]cli.Row, len(v))
			for i, a := range v {
				rows[i] = a
			}
			return out.output().List(cmd.OutOrStdout(), columns, rows)
		}
		return fmt.Errorf("nothing to show in a %T", v)
	})
}

// showColumns puts the columns of the list first and adds the rest in order.
func showColumns(first []string, a client.Attrs) []string {
	var cols, rest []string
	for _, c := range first {
		if _, ok := a[c]; ok {
			cols = append(cols, c)
		}
	}
	for k := range a {
		if !slices.Contains(cols, k) {
			rest = append(rest, k)
		}
	}
	slices.Sort(rest)
	return append(cols, rest...)
}

func newListCommand(k client.Collection, columns []string) *cobra.Command {
	return showing(&cobra.Command{
		Use: "list", Short: fmt.Sprintf("List the %ss", k.What), Args: cobra.NoArgs,
	}, columns, func(ctx context.Context, c *client.Client, _ []string) (any, error) {
		return c.List(ctx, k, nil)
	})
}

func newShowCommand(k client.Collection, columns []string) *cobra.Command {
	return showing(&cobra.Command{
		Use: "show NAME|ID", Short: "Show one " + k.What, Args: cobra.ExactArgs(1),
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		id, err := c.Find(ctx, k, args[0])
		if err != nil {
			return nil, err
		}
		return c.Get(ctx, k, id)
	})
}

func newDeleteCommand(k client.Collection) *cobra.Command {
	return siteCommand(&cobra.Command{
		Use: "delete NAME|ID...", Short: fmt.Sprintf("Delete %ss", k.What), Args: cobra.MinimumNArgs(1),
	}, func(ctx context.Context, c *client.Client, args []string) error {
		return each(args, func(arg string) error {
			id, err := c.Find(ctx, k, arg)
			if err != nil {
				return err
			}
			return c.Delete(ctx, k, id)
		})
	})
}

// each does all it can and reports what it could not.
func each(args []string, fn func(string) error) error {
	var errs []error
	for _, a := range args {
		if err := fn(a); err != nil {
			if len(args) > 1 {
				err = fmt.Errorf("%s: %w", a, err)
			}
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

func newPortCommand() *cobra.Command {
	columns := []string{"id", "name", "status", "binding:host_id", "binding:profile", "mac_address", "fixed_ips", "network_id"}
	var host, iface string
	bind := showing(&cobra.Command{
		Use:   "bind PORT --host HOST --interface INTERFACE",
		Short: "Put a workload's host-side interface under a port",
		Long: `Put a workload's host-side interface (a tap device or one end of a veth pair) under
a port, as a hypervisor would: sets binding:host_id and binding:profile's
interface_name. The port turns ACTIVE when the host has attached the interface.`,
		Args: cobra.ExactArgs(1),
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		id, err := c.Find(ctx, client.Ports, args[0])
		if err != nil {
			return nil, err
		}
		return c.Bind(ctx, id, host, iface)
	})
	bind.Flags().StringVar(&host, "host", "", "`HOST` that the interface is on")
	bind.Flags().StringVar(&iface, "interface", "", "`NAME` of the interface on the host")
	mustRequire(bind, "host", "interface")

	unbind := showing(&cobra.Command{
		Use: "unbind PORT", Short: "Take a port off its interface", Args: cobra.ExactArgs(1),
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		id, err := c.Find(ctx, client.Ports, args[0])
		if err != nil {
			return nil, err
		}
		return c.Bind(ctx, id, "", "")
	})
	status := showing(&cobra.Command{
		Use: "status PORT", Short: "Say how it stands with a port, and why it is not ACTIVE", Args: cobra.ExactArgs(1),
		Long: `Say how it stands with a port: its host and interface, whether the host's agent is
connected and since when, what it was sent and has applied, and in words why the port is not ACTIVE.

The host itself is asked whether the interface is there, and what has been counted of the port since it came
to the host: traffic (rx: what the workload has sent; tx: what it was sent), and of what it has sent the packets that
were dropped, by reason. Where the host does not answer, "unanswered" says why. host_state is alive, away (host_gone_since
says since when), unknown (no agent of that name has ever connected) or unbound.`,
	}, []string{"port_id", "status", "reason", "host", "interface", "host_state", "host_gone_since", "host_alive", "agent_connected", "agent_since",
		"wanted_revision", "applied_revision", "interface_there", "traffic", "drops", "unanswered"},
		func(ctx context.Context, c *client.Client, args []string) (any, error) {
			id, err := c.Find(ctx, client.Ports, args[0])
			if err != nil {
				return nil, err
			}
			return c.Get(ctx, client.PortStatus(id), "causeway_status")
		})
	return needSubcommand("port", "Bind ports to interfaces of a host, and say how they are", "", bind, unbind, status)
}

// mustRequire marks flags as required; it can only go wrong by a typing error here.
func mustRequire(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err)
		}
	}
}

// checkVNI refuses a VNI that is none. The API would take 0 for a missing one.
func checkVNI(vni string) error {
	if vni == "" {
		return nil
	}
	if n, err := strconv.ParseUint(vni, 10, 32); err != nil || n < 1 || n > model.MaxVNI {
		return cli.Usagef("--segmentation-id %s: a VNI is a number from 1 to %d", vni, model.MaxVNI)
	}
	return nil
}

func withProject(a client.Attrs, project string) client.Attrs {
	if project != "" {
		a["tenant_id"] = project
	}
	return a
}

func newL2GatewayCommand() *cobra.Command {
	k := client.L2Gateways
	columns := []string{"id", "name", "devices"}
	var device, vni, project string
	var interfaces []string
	create := showing(&cobra.Command{
		Use:   "create NAME --gateway-device DEVICE [--segmentation-id VNI]",
		Short: "Name a gateway device and a VNI, for networks to be connected to",
		Args:  cobra.ExactArgs(1),
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		if err := checkVNI(vni); err != nil {
			return nil, err
		}
		ports, err := switchPorts(interfaces)
		if err != nil {
			return nil, err
		}
		id, err := c.Find(ctx, client.GatewayDevices, device)
		if err != nil {
			return nil, err
		}
		d := client.Attrs{"device_id": id}
		if vni != "" {
			d["segmentation_id"] = vni
		}
		if len(ports) > 0 {
			d["interfaces"] = ports
		}
		return c.Create(ctx, k, withProject(client.Attrs{"name": args[0], "devices": []client.Attrs{d}}, project))
	})
	f := create.Flags()
	f.StringVar(&device, "gateway-device", "", "gateway `DEVICE` (name or id)")
	f.StringVar(&vni, "segmentation-id", "", "`VNI`, or VLAN on a network_vlan; without it the connection gives one")
	f.StringArrayVar(&interfaces, "interface", nil, "`PORT[=VLAN,…]` of a hw_vtep that the network is on; without a VLAN its untagged frames; repeatable")
	f.StringVar(&project, "project", "", "`ID` of the owner")
	mustRequire(create, "gateway-device")
	return needSubcommand("l2-gateway", "Gateway devices with a VNI", "",
		create, newListCommand(k, columns), newShowCommand(k, columns), newDeleteCommand(k))
}

// switchPorts reads --interface.
func switchPorts(flags []string) ([]client.Attrs, error) {
	var out []client.Attrs
	for _, f := range flags {
		// A port's name may hold a "=", VLANs do not.
		name, vlans := f, []string(nil)
		if i := strings.LastIndex(f, "="); i >= 0 {
			name, vlans = f[:i], strings.Split(f[i+1:], ",")
		}
		for _, v := range vlans {
			if n, err := strconv.ParseUint(v, 10, 16); err != nil || n > model.MaxVLAN {
				return nil, cli.Usagef("--interface %s: VLANs are numbers from 0 to %d", f, model.MaxVLAN)
			}
		}
		port := client.Attrs{"name": name}
		if vlans != nil {
			port["segmentation_id"] = vlans
		}
		out = append(out, port)
	}
	return out, nil
}

func newL2GatewayConnectionCommand() *cobra.Command {
	k := client.L2GatewayConnections
	columns := []string{"id", "l2_gateway_id", "network_id", "segmentation_id"}
	var vni string
	create := showing(&cobra.Command{
		Use:   "create L2-GATEWAY NETWORK [--segmentation-id VNI]",
		Short: "Stretch a network over an L2 gateway to the other sites",
		Args:  cobra.ExactArgs(2),
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		if err := checkVNI(vni); err != nil {
			return nil, err
		}
		gateway, err := c.Find(ctx, client.L2Gateways, args[0])
		if err != nil {
			return nil, err
		}
		network, err := c.Find(ctx, client.Networks, args[1])
		if err != nil {
			return nil, err
		}
		a := client.Attrs{"l2_gateway_id": gateway, "network_id": network}
		if vni != "" {
			a["segmentation_id"] = vni
		}
		return c.Create(ctx, k, a)
	})
	create.Flags().StringVar(&vni, "segmentation-id", "", "`VNI`, where the L2 gateway has none")
	show := newShowCommand(k, columns)
	show.Use = "show ID"
	del := newDeleteCommand(k)
	del.Use = "delete ID..."
	return needSubcommand("l2-gateway-connection", "Networks on L2 gateways", "",
		create, newConnectionListCommand(k, columns), show, del)
}

func newConnectionListCommand(k client.Collection, columns []string) *cobra.Command {
	var gateway, network string
	list := &cobra.Command{Use: "list", Short: "List the L2 gateway connections", Args: cobra.NoArgs}
	list.Flags().StringVar(&gateway, "l2-gateway", "", "only those of this L2 `GATEWAY` (name or id)")
	list.Flags().StringVar(&network, "network", "", "only those of this `NETWORK` (name or id)")
	return showing(list, columns, func(ctx context.Context, c *client.Client, _ []string) (any, error) {
		filter := url.Values{}
		for _, f := range []struct {
			key, value string
			of         client.Collection
		}{{"l2_gateway_id", gateway, client.L2Gateways}, {"network_id", network, client.Networks}} {
			if f.value == "" {
				continue
			}
			id, err := c.Find(ctx, f.of, f.value)
			if err != nil {
				return nil, err
			}
			filter.Set(f.key, id)
		}
		all, err := c.List(ctx, k, filter)
		// A server that does not know a filter ignores it.
		return slices.DeleteFunc(all, func(a client.Attrs) bool {
			for key := range filter {
				if client.Str(a, key) != filter.Get(key) {
					return true
				}
			}
			return false
		}), err
	})
}
