package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/client"
)

func newMoveCommand(columns []string) *cobra.Command {
	return showing(&cobra.Command{
		Use: "move NAME|ID [HOST]", Short: "Move a gateway device of type router_vtep to another host, without loss",
		Long: `Move a gateway device of type router_vtep to another host, without loss: to HOST, or to the first of its
standbys (causeway gateway-device show). It ends once the move has begun; host_reason says how far it has come.

A device that is bound to a host is bound to the new one then. Any other stays there, and is bound to
none. A host that does not answer, that is drained, or whose agent does not say --gateway is refused.`,
		Example: `  causeway gateway-device move a-device
  causeway gateway-device move a-device a2`,
		Args: cobra.RangeArgs(1, 2),
	}, append(columns, "hosts"), func(ctx context.Context, c *client.Client, args []string) (any, error) {
		id, err := c.Find(ctx, client.GatewayDevices, args[0])
		if err != nil {
			return nil, err
		}
		d, err := c.Get(ctx, client.GatewayDevices, id)
		if err != nil {
			return nil, err
		}
		host, err := whereTo(d, args[1:])
		if err != nil {
			return nil, err
		}
		return moveDevice(ctx, c, d, host)
	})
}

// whereTo is the host that a device is to move to: the one that is named, else the first that stands by.
func whereTo(d client.Attrs, named []string) (string, error) {
	hosts, _ := d["hosts"].([]any)
	for _, v := range hosts {
		h, _ := v.(map[string]any)
		name, _ := h["host"].(string)
		switch state := h["ha_state"]; {
		case len(named) == 0 && state == "standby":
			return name, nil
		case len(named) == 0 || name != named[0]:
		case name == client.Str(d, "host"):
			return "", fmt.Errorf("host %s serves gateway device %s already", name, client.ID(d))
		case state == "unknown":
			return "", fmt.Errorf("host %s does not answer: gateway device %s stays where it is", name, client.ID(d))
		}
	}
	if len(named) > 0 {
		return named[0], nil // the site knows whether it may
	}
	return "", fmt.Errorf("no host stands by for gateway device %s: start the agent of another host with --gateway, or see causeway host list", client.ID(d))
}

// moveDevice has a device go to a host. A binding makes it go; one that was bound to none is bound to none again.
func moveDevice(ctx context.Context, c *client.Client, d client.Attrs, host string) (client.Attrs, error) {
	const binding = "binding:host_id"
	id, was := client.ID(d), client.Str(d, binding)
	moved, err := c.Update(ctx, client.GatewayDevices, id, client.Attrs{binding: host})
	if err != nil {
		return nil, err
	}
	why := client.Str(moved, "host_reason")
	stays := strings.HasPrefix(why, "it is bound to host "+host+" and served by")
	if was != "" && !stays {
		return moved, nil
	}
	now, err := c.Update(ctx, client.GatewayDevices, id, client.Attrs{binding: was})
	if err != nil {
		err = fmt.Errorf("gateway device %s is bound to host %s still (causeway gateway-device update --no-host): %w", id, host, err)
	}
	if stays {
		return nil, errors.Join(fmt.Errorf("gateway device %s does not move: %s", id, why), err)
	}
	return now, err
}
