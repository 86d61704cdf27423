package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/client"
	"github.com/causeway-net/causeway/internal/model"
)

func newRemoteMACCommand() *cobra.Command {
	columns := []string{"id", "mac_address", "vtep_address", "segmentation_id"}
	var device string
	// table finds the remote MAC table that --gateway-device names.
	table := func(ctx context.Context, c *client.Client) (client.Collection, error) {
		id, err := c.Find(ctx, client.GatewayDevices, device)
		return client.RemoteMACEntries(id), err
	}
	onDevice := func(cmd *cobra.Command) *cobra.Command {
		cmd.Flags().StringVar(&device, "gateway-device", "", "gateway `DEVICE` (name or id) whose table it is")
		mustRequire(cmd, "gateway-device")
		return cmd
	}

	var mac, vtep, vni string
	create := showing(&cobra.Command{
		Use:   "create --gateway-device DEVICE --mac-address MAC --vtep-address IP --segmentation-id VNI",
		Short: "Tell a gateway device behind which VTEP a MAC is",
		Args:  cobra.NoArgs,
	}, columns, func(ctx context.Context, c *client.Client, _ []string) (any, error) {
		if err := checkVNI(vni); err != nil {
			return nil, err
		}
		k, err := table(ctx, c)
		if err != nil {
			return nil, err
		}
		return c.Create(ctx, k, client.Attrs{"mac_address": mac, "vtep_address": vtep, "segmentation_id": vni})
	})
	f := create.Flags()
	f.StringVar(&mac, "mac-address", "", "`MAC` of the port at the other site")
	f.StringVar(&vtep, "vtep-address", "", "tunnel `IP` of the other site")
	f.StringVar(&vni, "segmentation-id", "", "`VNI`")
	mustRequire(create, "mac-address", "vtep-address", "segmentation-id")

	list := showing(&cobra.Command{
		Use: "list --gateway-device DEVICE", Short: "List the remote MAC table of a gateway device", Args: cobra.NoArgs,
	}, columns, func(ctx context.Context, c *client.Client, _ []string) (any, error) {
		k, err := table(ctx, c)
		if err != nil {
			return nil, err
		}
		return c.List(ctx, k, nil)
	})
	show := showing(&cobra.Command{
		Use: "show ID|MAC --gateway-device DEVICE", Short: "Show one remote MAC entry", Args: cobra.ExactArgs(1),
	}, columns, func(ctx context.Context, c *client.Client, args []string) (any, error) {
		k, err := table(ctx, c)
		if err != nil {
			return nil, err
		}
		id, err := findEntry(ctx, c, k, args[0])
		if err != nil {
			return nil, err
		}
		return c.Get(ctx, k, id)
	})
	del := siteCommand(&cobra.Command{
		Use: "delete ID|MAC... --gateway-device DEVICE", Short: "Delete remote MAC entries", Args: cobra.MinimumNArgs(1),
	}, func(ctx context.Context, c *client.Client, args []string) error {
		k, err := table(ctx, c)
		if err != nil {
			return err
		}
		return each(args, func(arg string) error {
			id, err := findEntry(ctx, c, k, arg)
			if err != nil {
				return err
			}
			return c.Delete(ctx, k, id)
		})
	})
	return needSubcommand("remote-mac", "Remote MAC tables of gateway devices", "",
		onDevice(create), onDevice(list), onDevice(show), onDevice(del))
}

// findEntry takes an id, or a MAC in place of a name: an entry has none. One MAC
// may stand in the table once for each VNI.
func findEntry(ctx context.Context, c *client.Client, k client.Collection, arg string) (string, error) {
	mac, err := model.ParseMAC(arg)
	if err != nil {
		return arg, nil
	}
	entries, err := c.List(ctx, k, nil)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, e := range entries {
		if m, err := model.ParseMAC(client.Str(e, "mac_address")); err == nil && m == mac {
			ids = append(ids, client.ID(e))
		}
	}
	slices.Sort(ids)
	switch len(ids) {
	case 0:
		return "", client.NotFound(k, arg)
	case 1:
		return ids[0], nil
	}
	return "", &client.Ambiguous{What: k.What, Name: arg, IDs: ids}
}
