package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
)

func newGatewayDeviceCommand() *cobra.Command {
	k := client.GatewayDevices
	columns := []string{"id", "name", "type", "resource_id", "tunnel_ips", "host", "host_reason"}
	var project string
	var dev newDevice
	create := showing(&cobra.Command{
		Use: `create NAME --router ROUTER --tunnel-ip IP
  causeway gateway-device create NAME --type hw_vtep --management-ip IP --tunnel-ip IP
  causeway gateway-device create NAME --type network_vlan --network NETWORK`,
		Short: "Make a router the site's VXLAN endpoint, drive a switch, or carry VLANs on an uplink",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			return dev.check()
		},
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		a, err := dev.attrs(ctx, c)
		if err != nil {
			return nil, err
		}
		a["name"] = args[0]
		return c.Create(ctx, k, withProject(a, project))
	})
	f := create.Flags()
	f.StringVar(&dev.typ, "type", string(model.RouterVTEP), "`TYPE` of gateway device: router_vtep, hw_vtep or network_vlan")
	f.StringVar(&dev.router, "router", "", "`ROUTER` (name or id) that becomes the VTEP router")
	f.StringVar(&dev.network, "network", "", "uplink `NETWORK` (name or id) that carries the VLANs of a network_vlan")
	f.StringVar(&dev.managementIP, "management-ip", "", "`IP` address of a hw_vtep's OVSDB server")
	f.Uint16Var(&dev.managementPort, "management-port", 6640, "TCP `PORT` of a hw_vtep's OVSDB server")
	f.StringArrayVar(&dev.tunnelIPs, "tunnel-ip", nil, "`IP` address of the site, or of the switch, in the outer header")
	f.StringVar(&dev.host, "host", "", "`HOST` that is to serve a router_vtep (default: the site chooses one that may)")
	f.StringVar(&project, "project", "", "`ID` of the owner")

	var newName, newHost string
	var newTunnelIPs []string
	var noHost bool
	var update *cobra.Command
	update = showing(&cobra.Command{
		Use: "update NAME|ID", Short: "Change the name, the tunnel IP or the host of a gateway device", Args: cobra.ExactArgs(1),
		Long: `Change the name, the tunnel IP or the host of a gateway device.

With --host the device goes to that host, which must be one that may serve gateway devices. With
--no-host it stays where it is, and the site may choose another host if that is drained or deleted.`,
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		a := client.Attrs{}
		if update.Flags().Changed("name") {
			a["name"] = newName
		}
		if update.Flags().Changed("tunnel-ip") {
			a["tunnel_ips"] = newTunnelIPs
		}
		if update.Flags().Changed("host") || noHost {
			a["binding:host_id"] = newHost
		}
		if len(a) == 0 {
			return nil, cli.Usagef("nothing to change: give --name, --tunnel-ip, --host or --no-host")
		}
		id, err := c.Find(ctx, k, args[0])
		if err != nil {
			return nil, err
		}
		return c.Update(ctx, k, id, a)
	})
	update.Flags().StringVar(&newName, "name", "", "new `NAME`")
	update.Flags().StringArrayVar(&newTunnelIPs, "tunnel-ip", nil, "new `IP` address")
	update.Flags().StringVar(&newHost, "host", "", "`HOST` that is to serve it")
	update.Flags().BoolVar(&noHost, "no-host", false, "let the site choose who serves it")
	update.MarkFlagsMutuallyExclusive("host", "no-host")

	return needSubcommand("gateway-device", "VXLAN endpoints, switches and VLAN uplinks of the site", "",
		create, newListCommand(k, columns), newShowCommand(k, append(columns, "hosts")), update, newMoveCommand(columns), newDeleteCommand(k), newSwitchStatusCommand(),
		newRetiredCommand(), newForgetCommand())
}

// newSwitchStatusCommand shows how it stands with the switch of a hw_vtep.
func newSwitchStatusCommand() *cobra.Command {
	columns := []string{"connected", "in_sync", "error", "problems", "driver", "changed_at", "learned_macs"}
	return showing(&cobra.Command{
		Use: "status NAME|ID", Short: "Say how it stands with the switch of a hw_vtep, and which MACs are behind it", Args: cobra.ExactArgs(1),
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		id, err := c.Find(ctx, client.GatewayDevices, args[0])
		if err != nil {
			return nil, err
		}
		return c.Get(ctx, client.Switch(id), "switch")
	})
}

// newRetiredCommand lists what deleted devices have left on switches that are away.
func newRetiredCommand() *cobra.Command {
	columns := []string{"id", "name", "management_ip", "connected", "error"}
	return showing(&cobra.Command{
		Use: "retired", Short: "List the deleted devices of type hw_vtep whose switches are still to be cleaned", Args: cobra.NoArgs,
	}, columns, func(ctx context.Context, c *client.Client, _ []string) (any, error) {
		return c.List(ctx, client.RetiredSwitches, nil)
	})
}

func newForgetCommand() *cobra.Command {
	return siteCommand(&cobra.Command{
		Use: "forget ID...", Short: "Stop trying to clean the switches of deleted devices: they are not coming back", Args: cobra.MinimumNArgs(1),
	}, func(ctx context.Context, c *client.Client, args []string) error {
		return each(args, func(id string) error { return c.Delete(ctx, client.RetiredSwitches, id) })
	})
}

// newDevice is what a gateway device is made of.
type newDevice struct {
	typ, router, network, managementIP, host string
	managementPort                           uint16
	tunnelIPs                                []string
}

// check asks for what the type needs; what it has no use for is the API's to refuse.
func (d *newDevice) check() error {
	needs := func(flag string) error { return cli.Usagef("a gateway device of type %s needs --%s", d.typ, flag) }
	switch t := model.GatewayDeviceType(d.typ); {
	case t == model.HWVTEP && d.managementIP == "":
		return needs("management-ip")
	case t == model.NetworkVLAN && d.network == "":
		return needs("network")
	case t == model.RouterVTEP && d.router == "":
		return needs("router")
	case t != model.NetworkVLAN && len(d.tunnelIPs) == 0:
		return needs("tunnel-ip")
	}
	return nil
}

func (d *newDevice) attrs(ctx context.Context, c *client.Client) (client.Attrs, error) {
	a := client.Attrs{"type": d.typ}
	if d.typ == string(model.HWVTEP) {
		a["management_port"] = d.managementPort
	}
	resource, name := client.Routers, d.router
	if d.network != "" {
		resource, name = client.Networks, d.network
	}
	if d.managementIP != "" {
		a["management_ip"] = d.managementIP
	}
	if len(d.tunnelIPs) > 0 {
		a["tunnel_ips"] = d.tunnelIPs
	}
	if d.host != "" {
		a["binding:host_id"] = d.host
	}
	if name == "" {
		return a, nil
	}
	id, err := c.Find(ctx, resource, name)
	a["resource_id"] = id
	return a, err
}
