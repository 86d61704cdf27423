package storetest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// testUniqueness: of clients that race for one index key exactly one wins, and
// the loser's object is nowhere.
func testUniqueness(t *testing.T, f Factory) {
	open := f(t)
	stores := []store.Store{open(), open()}
	const rounds, clients = 15, 8
	for round := range rounds {
		key := fmt.Sprint("addr/", round)
		results := make(chan error, clients)
		for c := range clients {
			go func() {
				id := fmt.Sprintf("%d-%d", round, c)
				_, err := stores[c%2].Update(Context(t), func(tx store.Tx) error {
					if owner, taken := tx.Lookup("ip", key); taken {
						return model.Errf(model.KindConflict, "IpAddressInUse", "taken by %s", owner)
					}
					tx.SetIndex("ip", key, id)
					store.Put(tx, store.Networks, id, network(id, ""))
					return nil
				})
				results <- err
			}()
		}
		won := 0
		for range clients {
			if err := <-results; err == nil {
				won++
			} else {
				wantKind(t, err, model.KindConflict)
			}
		}
		v := mustView(t, stores[round%2])
		owner, _ := v.Lookup("ip", key)
		if won != 1 || v.Get(store.Networks.Kind(), owner) == nil {
			t.Fatalf("%d clients won %s; its owner is %q", won, key, owner)
		}
	}
	n := 0
	for range mustView(t, stores[0]).List(store.Networks.Kind()) {
		n++
	}
	if n != rounds {
		t.Errorf("%d objects for %d keys", n, rounds)
	}
}

// testContention: everybody gets through where all change the same object, and
// no increment is lost.
func testContention(t *testing.T, f Factory) {
	open := f(t)
	stores := []store.Store{open(), open()}
	const clients, each = 12, 15
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for range each {
				_, err := stores[c%2].Update(Context(t), func(tx store.Tx) error {
					v, _ := tx.Lookup("counter", "n")
					n, _ := strconv.Atoi(v)
					tx.SetIndex("counter", "n", strconv.Itoa(n+1))
					return nil
				})
				if err != nil {
					t.Errorf("client %d: %v", c, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if v, _ := mustView(t, stores[0]).Lookup("counter", "n"); v != strconv.Itoa(clients*each) {
		t.Errorf("the counter is %s after %d increments", v, clients*each)
	}
}

type registerOp struct {
	kind  string // read, write, add, all
	key   string
	value int
}

// registers is the sequential specification: a few numbers that are read, set
// and added to one by one, and read all at once.
func registers(keys []string) porcupine.Model {
	index := make(map[string]int)
	for i, k := range keys {
		index[k] = i
	}
	type state [4]int
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(st, in, out any) (bool, any) {
			s, op := st.(state), in.(registerOp)
			i := index[op.key]
			switch op.kind {
			case "read":
				return out.(int) == s[i], s
			case "write":
				s[i] = op.value
				return true, s
			case "add":
				if out.(int) != s[i] {
					return false, s
				}
				s[i] += op.value
				return true, s
			}
			return out.([4]int) == [4]int(s), s
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %v", in, out) },
	}
}

// testLinearizable records what clients of two stores see and has porcupine look
// for an order that explains it.
func testLinearizable(t *testing.T, f Factory) {
	open := f(t)
	stores := []store.Store{open(), open()}
	keys := []string{"a", "b", "c"}
	const clients, each = 6, 60
	number := func(r store.Reader, key string) int {
		v, _ := r.Lookup("reg", key)
		n, _ := strconv.Atoi(v)
		return n
	}
	start := time.Now()
	histories := make([][]porcupine.Operation, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(c), 1))
			s := stores[c%2]
			for i := range each {
				op := registerOp{key: keys[rng.IntN(len(keys))], value: c*each + i + 1}
				var out any
				call := time.Since(start)
				var err error
				switch rng.IntN(5) {
				case 0, 1:
					op.kind = "read"
					var v store.Snapshot
					if v, err = s.View(Context(t)); err == nil {
						out = number(v, op.key)
					}
				case 2:
					op.kind = "write"
					_, err = s.Update(Context(t), func(tx store.Tx) error {
						tx.SetIndex("reg", op.key, strconv.Itoa(op.value))
						return nil
					})
				case 3:
					op.kind = "add"
					_, err = s.Update(Context(t), func(tx store.Tx) error {
						n := number(tx, op.key)
						out = n
						tx.SetIndex("reg", op.key, strconv.Itoa(n+op.value))
						return nil
					})
				case 4:
					op.kind = "all"
					read := func(r store.Reader) {
						var all [4]int
						for j, k := range keys {
							all[j] = number(r, k)
						}
						out = all
					}
					if rng.IntN(2) == 0 {
						var v store.Snapshot
						if v, err = s.View(Context(t)); err == nil {
							read(v)
						}
					} else { // a transaction that only reads
						_, err = s.Update(Context(t), func(tx store.Tx) error { read(tx); return nil })
					}
				}
				if err != nil {
					t.Errorf("client %d: %s: %v", c, op.kind, err)
					return
				}
				histories[c] = append(histories[c], porcupine.Operation{
					ClientId: c, Input: op, Call: int64(call), Output: out, Return: int64(time.Since(start)),
				})
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	var history []porcupine.Operation
	for _, h := range histories {
		history = append(history, h...)
	}
	switch porcupine.CheckOperationsTimeout(registers(keys), history, time.Minute) {
	case porcupine.Illegal:
		t.Errorf("no order explains the %d operations", len(history))
	case porcupine.Unknown:
		t.Error("the check took too long")
	}
}
