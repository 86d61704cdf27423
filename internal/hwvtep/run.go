package hwvtep

import (
	"context"
	"reflect"
	"sync"

	"github.com/causeway-net/causeway/internal/model"
)

// Run drives the switches of the last targets that came, each on its own, until ctx
// ends. A switch that is no more among them is cleaned, if it is there.
func Run(ctx context.Context, opts Options, targets <-chan []Target) error {
	var all sync.WaitGroup
	defer all.Wait()
	drivers := map[model.GatewayDeviceID]*driver{}
	for {
		var now []Target
		select {
		case now = <-targets:
		case <-ctx.Done():
			return nil
		}
		wanted := make(map[model.GatewayDeviceID]bool, len(now))
		for _, t := range now {
			id := t.Want.Device
			wanted[id] = true
			d := drivers[id]
			if d != nil && d.address == t.Address {
				if old := d.wanted(); !reflect.DeepEqual(old, t.Want) {
					d.set(t.Want)
				}
				continue
			}
			if d != nil {
				d.retire()
			}
			d = newDriver(opts, t)
			drivers[id] = d
			all.Go(func() { d.run(ctx) })
		}
		for id, d := range drivers {
			if !wanted[id] {
				d.retire()
				delete(drivers, id)
			}
		}
	}
}
