package hwvtep

import (
	"context"
	"net/netip"
	"reflect"
	"sync"

	"github.com/causeway-net/causeway/internal/model"
)

// Run drives the switches of the last targets that came, each on its own, until ctx
// ends. A switch that is no more among them is left alone.
func Run(ctx context.Context, opts Options, targets <-chan []Target) error {
	var all sync.WaitGroup
	defer all.Wait()
	type running struct {
		*driver
		end context.CancelFunc
	}
	drivers := map[model.GatewayDeviceID]running{}
	for {
		var now []Target
		select {
		case now = <-targets:
		case <-ctx.Done():
			return nil
		}
		wanted := make(map[model.GatewayDeviceID]netip.AddrPort, len(now))
		for _, t := range now {
			wanted[t.Want.Device] = t.Address
		}
		for id, d := range drivers {
			if wanted[id] != d.address {
				d.end()
				delete(drivers, id)
			}
		}
		for _, t := range now {
			id := t.Want.Device
			if d, known := drivers[id]; known {
				if !reflect.DeepEqual(d.wanted(), t) {
					d.set(t)
				}
				continue
			}
			own, end := context.WithCancel(ctx)
			d := running{newDriver(opts, t), end}
			drivers[id] = d
			all.Go(func() {
				defer end()
				d.run(own)
			})
		}
	}
}
