package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-net/causeway/test/process"
)

const (
	maxRoutes = 65_536 // that a loaded router may have; far above the default
	loaders   = 8      // requests at a time
)

// rows is how much a site is loaded with.
type rows struct{ routes, macs, vnis int }

// load fills both sites' tables through the API and waits until the hosts have
// them. It returns what the maps of site A then hold.
func (p *product) load(ctx context.Context, n rows) (string, error) {
	var group errgroup.Group
	for i := range p.site {
		group.Go(func() error { return p.site[i].load(ctx, other(i), n) })
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	var said string
	for i := range p.site {
		m, err := openMaps(p.site[i].pins)
		if err != nil {
			return "", err
		}
		want := map[string]int{"routes": n.routes, "fdb": n.macs, "vnis": n.vnis}
		for name, least := range want {
			var have int
			if err := process.Poll(ctx, 200*time.Millisecond, 2*time.Minute, "the loaded "+name, func() (bool, error) {
				var err error
				have, err = m.entries(name)
				return have >= least, err
			}); err != nil {
				return "", fmt.Errorf("%w (has %d of %d)", err, have, least)
			}
			if i == 0 {
				said += fmt.Sprintf("%s: %d entries; ", name, have)
			}
		}
		if err := m.close(); err != nil {
			return "", err
		}
	}
	return said, nil
}

func (s *site) load(ctx context.Context, o siteFacts, n rows) error {
	routes := []object{{"destination": o.network, "nexthop": o.peer}}
	for i := range n.routes {
		to := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24)
		routes = append(routes, object{"destination": to.String(), "nexthop": o.peer})
	}
	if _, err := s.api.call(ctx, http.MethodPut, "routers/"+s.ids.router, "router", object{"routes": routes}); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loaders)
	for v := vni + 1; v <= vni+n.vnis; v++ {
		group.Go(func() error {
			do := &setup{ctx: ctx, api: s.api}
			network := do.create("networks", "network", object{"name": fmt.Sprint("load-", v), "port_security_enabled": false})
			gateway := do.create("l2-gateways", "l2_gateway", object{"devices": []object{{"device_id": s.ids.device, "segmentation_id": fmt.Sprint(v)}}})
			do.create("l2-gateway-connections", "l2_gateway_connection", object{"l2_gateway_id": gateway, "network_id": network})
			for m := range n.macs / n.vnis {
				do.create("gw/gateway_devices/"+s.ids.device+"/remote_mac_entries", "remote_mac_entry", object{
					"mac_address":     fmt.Sprintf("02:10:00:%02x:%02x:%02x", v>>8, v&0xff, m),
					"vtep_address":    o.tunnelIP,
					"segmentation_id": fmt.Sprint(v),
				})
			}
			return do.err
		})
	}
	return group.Wait()
}
