package etcdstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Bare is an etcd as the store has one in a data directory, without the store: what a
// benchmark compares the store's transactions with.
type Bare struct {
	server *server
	n      atomic.Int64
}

// OpenBare starts it.
func OpenBare(ctx context.Context, dir string) (*Bare, error) {
	opt, err := Options{DataDir: dir, Logger: slog.New(slog.DiscardHandler)}.withDefaults()
	if err != nil {
		return nil, err
	}
	sv, err := startServer(ctx, opt)
	if err != nil {
		return nil, err
	}
	return &Bare{server: sv}, nil
}

// Transact commits one transaction: so many new keys, with so many comparisons, and a
// value of so many bytes at the first key. Several goroutines may call it at once.
func (b *Bare) Transact(ctx context.Context, puts, compares, value int) error {
	n := b.n.Add(1)
	key := func(kind string, i int) string {
		return fmt.Sprintf("/bare/%s/7d3c3c0e-3c39-4d4e-9a1b-2f6f0b6d%04d/%032d", kind, i, n)
	}
	var cmps []clientv3.Cmp
	for i := range compares {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(key("read", i)), "=", 0))
	}
	var ops []clientv3.Op
	for i := range puts {
		v := ""
		if i == 0 {
			v = strings.Repeat("x", value)
		}
		ops = append(ops, clientv3.OpPut(key("put", i), v))
	}
	resp, err := b.server.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if err == nil && !resp.Succeeded {
		err = fmt.Errorf("the transaction %d met others", n)
	}
	return err
}

// Close ends it.
func (b *Bare) Close() error { return b.server.stop() }
