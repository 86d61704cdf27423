package crash

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/causeway-net/causeway/internal/testutil"
)

// addressOp is a request about one address: to make a port with it, or to delete a port that had it.
type addressOp struct {
	address string
	id      string // of the port to delete; "": one is made
}

// addressResult is what the API said: the new port's id; or that the address is taken, or the port not there.
type addressResult struct {
	id      string
	refused bool
}

// addresses is the model: who has an address. Its state is the id of the port, "" for nobody.
var addresses = porcupine.Model{
	Partition: func(history []porcupine.Operation) (out [][]porcupine.Operation) {
		of := map[string][]porcupine.Operation{}
		for _, o := range history {
			a := o.Input.(addressOp).address
			of[a] = append(of[a], o)
		}
		for _, ops := range of {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		has, op, got := state.(string), in.(addressOp), out.(addressResult)
		switch {
		case op.id == "" && got.refused:
			return has != "", has
		case op.id == "":
			return has == "", got.id
		case got.refused:
			return has != op.id, has
		}
		return has == op.id, ""
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
}

// TestAddressesAreLinearizable: clients of three controllers make and delete ports with a few addresses, and one order
// explains all answers: an address that was given has one port at a time, is refused while it has, and is free once the
// delete was acknowledged, whichever controller is asked.
func TestAddressesAreLinearizable(t *testing.T) {
	c := newCluster(t, 3, 0)
	network := c.create(0, "networks", attrs{"name": "n"})
	subnet := c.create(1, "subnets", attrs{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"})
	ctx := testContext(t)
	const clients, each = 6, 80
	start := time.Now()
	histories := make([][]porcupine.Operation, clients)
	var made sync.Map // address: the id of the last port that was made with it
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(n)))
			for range each {
				a := c.apis[rng.IntN(len(c.apis))]
				op := addressOp{address: fmt.Sprintf("10.0.0.%d", 10+rng.IntN(3))}
				if id, ok := made.Load(op.address); ok && rng.IntN(2) == 0 {
					op.id = id.(string)
				}
				var got addressResult
				call := time.Since(start)
				if op.id == "" {
					status, out, err := a.call(ctx, "POST", "ports", attrs{"port": attrs{
						"network_id": network, "fixed_ips": []attrs{{"subnet_id": subnet, "ip_address": op.address}}}})
					if err != nil || status != 201 && status != 409 {
						t.Errorf("create: %d %v %v", status, out, err)
						return
					}
					if got.refused = status == 409; !got.refused {
						got.id = str(one(out, "ports"), "id")
						made.Store(op.address, got.id)
					}
				} else {
					status, out, err := a.call(ctx, "DELETE", "ports/"+op.id, nil)
					if err != nil || status != 204 && status != 404 {
						t.Errorf("delete: %d %v %v", status, out, err)
						return
					}
					got.refused = status == 404
				}
				histories[n] = append(histories[n], porcupine.Operation{ClientId: n, Input: op, Call: int64(call), Output: got, Return: int64(time.Since(start))})
			}
		})
	}
	testutil.Wait(t, "the clients", wg.Wait)
	var history []porcupine.Operation
	won := 0
	for _, h := range histories {
		history = append(history, h...)
		for _, o := range h {
			if !o.Output.(addressResult).refused {
				won++
			}
		}
	}
	t.Logf("%d operations, of which %d changed something", len(history), won)
	if won < clients || won == len(history) {
		t.Error("too little was contended for this to prove anything")
	}
	switch porcupine.CheckOperationsTimeout(addresses, history, time.Minute) {
	case porcupine.Illegal:
		t.Errorf("no order explains the %d operations", len(history))
	case porcupine.Unknown:
		t.Error("the check took too long")
	}
	c.sound()
}
