package etcdstore

import (
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// connect makes the client of a cluster. It connects on first use.
func connect(opt Options) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:            opt.Endpoints,
		TLS:                  opt.TLS,
		Username:             opt.Username,
		Password:             opt.Password,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		MaxCallSendMsgSize:   opt.MaxRequestBytes + 512<<10,
		MaxCallRecvMsgSize:   1<<31 - 1, // a page of a listing has no other bound
		Logger:               newZap(opt.Logger),
	})
}
