package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// test is one figure.
type test struct {
	name, unit string
	// more is true where a larger figure is better.
	more bool
	run  func(ctx context.Context, t *target, length time.Duration) (float64, error)
}

// least is how often a quick operation is timed, however long that takes.
const least = 5

// small is what is measured with 400 ports there. Each test leaves the number of
// ports as it was but for those in t.made, which the next ones use up.
var small = []test{
	{"list 400 ports", "ms", false, listPorts(fewPorts, least)},
	{"create port", "ms", false, createPort},
	{bareTransaction, "ms", false, bareTransact},
	{"show port", "ms", false, showPort},
	{"delete port", "ms", false, deletePort},
	{"create port, 8 clients", "per s", true, createPorts},
	{"processor time of such a create", "ms", false, spent},
	{bareTransactions, "per s", true, bareTransactAll},
	{"create network", "ms", false, createNetwork},
	{"create router with interface", "ms", false, createRouter},
}

// large is what is measured with 10,000 ports there.
var large = []test{
	{"list 10,000 ports", "ms", false, listPorts(manyPorts, 1)},
}

func (t *target) createPort(ctx context.Context) (string, error) {
	return t.api.create(ctx, "port", object{"network_id": t.network})
}

func createPort(ctx context.Context, t *target, length time.Duration) (float64, error) {
	return sequence(ctx, length, least, func(ctx context.Context) (time.Duration, bool, error) {
		var id string
		took, err := timed(ctx, func(ctx context.Context) (err error) {
			id, err = t.createPort(ctx)
			return err
		})
		t.made = append(t.made, id)
		return took, true, err
	})
}

// What a create is compared with.
const (
	bareTransaction  = "bare etcd transaction"
	bareTransactions = "bare etcd transaction, 8 clients"
)

// What a create of a port puts and compares, and how long the port is as JSON.
const portPuts, portCompares, portBytes = 7, 10, 500

// bareTransact times a transaction of etcd alone; nothing where there is none beside.
func bareTransact(ctx context.Context, t *target, length time.Duration) (float64, error) {
	if t.bare == nil {
		return 0, nil
	}
	return sequence(ctx, length/2, least, func(ctx context.Context) (time.Duration, bool, error) {
		took, err := timed(ctx, t.bare)
		return took, true, err
	})
}

// bareTransactAll has all clients make such transactions at once.
func bareTransactAll(ctx context.Context, t *target, length time.Duration) (float64, error) {
	if t.bare == nil {
		return 0, nil
	}
	return crowd(ctx, length/2, func(ctx context.Context, _ int) error { return t.bare(ctx) })
}

func showPort(ctx context.Context, t *target, length time.Duration) (float64, error) {
	i := 0
	return sequence(ctx, length/2, least, func(ctx context.Context) (time.Duration, bool, error) {
		i++
		took, err := timed(ctx, func(ctx context.Context) error {
			_, _, err := t.api.call(ctx, http.MethodGet, "ports/"+t.made[i%len(t.made)], nil)
			return err
		})
		return took, true, err
	})
}

// deletePort uses up what createPort made: what is left after the time is deleted
// by all clients together.
func deletePort(ctx context.Context, t *target, length time.Duration) (float64, error) {
	value, err := sequence(ctx, length, least, func(ctx context.Context) (time.Duration, bool, error) {
		if len(t.made) == 0 {
			return 0, false, nil
		}
		last := len(t.made) - 1
		id := t.made[last]
		t.made = t.made[:last]
		took, err := timed(ctx, func(ctx context.Context) error { return t.api.remove(ctx, "ports/"+id) })
		return took, true, err
	})
	if err != nil {
		return 0, err
	}
	return value, t.deleteMade(ctx)
}

func (t *target) deleteMade(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for _, id := range t.made {
		group.Go(func() error { return t.api.remove(ctx, "ports/"+id) })
	}
	t.made = nil
	return group.Wait()
}

func createPorts(ctx context.Context, t *target, length time.Duration) (float64, error) {
	var made [clients][]string
	before, err := t.used()
	if err != nil {
		return 0, err
	}
	value, err := crowd(ctx, length, func(ctx context.Context, client int) error {
		id, err := t.createPort(ctx)
		if err != nil {
			return err
		}
		made[client] = append(made[client], id)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, ids := range made {
		t.made = append(t.made, ids...)
	}
	after, err := t.used()
	if err != nil {
		return 0, err
	}
	t.spent = float64(after-before) / float64(time.Millisecond) / float64(len(t.made))
	return value, t.deleteMade(ctx)
}

// used is the processor time that the server has taken; 0 where that is not known.
func (t *target) used() (time.Duration, error) {
	if t.cpu == nil {
		return 0, nil
	}
	return t.cpu()
}

// spent is what createPorts has found.
func spent(_ context.Context, t *target, _ time.Duration) (float64, error) { return t.spent, nil }

// listPorts lists all ports, of which there must be so many.
func listPorts(count, least int) func(context.Context, *target, time.Duration) (float64, error) {
	return func(ctx context.Context, t *target, length time.Duration) (float64, error) {
		return sequence(ctx, length, least, func(ctx context.Context) (time.Duration, bool, error) {
			var body []byte
			took, err := timed(ctx, func(ctx context.Context) (err error) {
				body, _, err = t.api.call(ctx, http.MethodGet, "ports", nil)
				return err
			})
			if n := bytes.Count(body, []byte(`"mac_address"`)); err == nil && n != count {
				err = fmt.Errorf("the list has %d ports, not %d", n, count)
			}
			return took, true, err
		})
	}
}

func createNetwork(ctx context.Context, t *target, length time.Duration) (float64, error) {
	var ids []string
	value, err := sequence(ctx, length/2, least, func(ctx context.Context) (time.Duration, bool, error) {
		var id string
		took, err := timed(ctx, func(ctx context.Context) (err error) {
			id, err = t.api.create(ctx, "network", object{"name": "made"})
			return err
		})
		ids = append(ids, id)
		return took, true, err
	})
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for _, id := range ids {
		group.Go(func() error { return t.api.remove(ctx, "networks/"+id) })
	}
	return value, group.Wait()
}

// createRouter times a router and its interface on a subnet that is there already.
func createRouter(ctx context.Context, t *target, length time.Duration) (float64, error) {
	network, err := t.api.create(ctx, "network", object{"name": "routed"})
	if err != nil {
		return 0, err
	}
	subnet, err := t.api.create(ctx, "subnet", object{"network_id": network, "ip_version": 4, "cidr": "10.255.0.0/24", "enable_dhcp": false})
	if err != nil {
		return 0, err
	}
	// The interface is taken away again each time, since the subnet has one gateway.
	value, err := sequence(ctx, length, least, func(ctx context.Context) (time.Duration, bool, error) {
		var router string
		took, err := timed(ctx, func(ctx context.Context) (err error) {
			if router, err = t.api.create(ctx, "router", object{"name": "made"}); err != nil {
				return err
			}
			_, _, err = t.api.call(ctx, http.MethodPut, "routers/"+router+"/add_router_interface", object{"subnet_id": subnet})
			return err
		})
		if err != nil {
			return 0, false, err
		}
		if _, _, err := t.api.call(ctx, http.MethodPut, "routers/"+router+"/remove_router_interface", object{"subnet_id": subnet}); err != nil {
			return 0, false, err
		}
		return took, true, t.api.remove(ctx, "routers/"+router)
	})
	if err != nil {
		return 0, err
	}
	return value, t.api.remove(ctx, "networks/"+network)
}
