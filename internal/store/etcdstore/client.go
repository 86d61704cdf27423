package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// connect makes the client of a cluster. With a password it logs in, else it
// connects on first use.
func connect(opt Options) (*clientv3.Client, error) {
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            opt.Endpoints,
		TLS:                  opt.TLS,
		Username:             opt.Username,
		Password:             opt.Password,
		DialTimeout:          opt.RequestTimeout,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		MaxCallSendMsgSize:   opt.MaxRequestBytes + 512<<10,
		MaxCallRecvMsgSize:   1<<31 - 1, // a page of a listing has no other bound
		Logger:               clientZap(opt.Logger),
	})
	if err != nil {
		return nil, silence(err)
	}
	return c, nil
}

// silence says in words what the client reports of servers that it cannot reach
// or whose TLS it cannot agree with.
func silence(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from etcd (is it there, and does it agree on TLS?): %w", err)
	}
	return err
}
