package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/features"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Member is a member of an etcd cluster that a lab runs, as its operator's own etcd would be run.
// It speaks to clients and to the other members in the clear.
type Member struct {
	Name    string
	DataDir string
	// Client and Peer are the addresses, IP:PORT, at which it serves clients and the other members.
	Client, Peer string
	// Cluster has each member's name and peer address, NAME=IP:PORT, this one's too.
	Cluster []string
	Logger  *slog.Logger
}

const (
	// memberTick and memberElection are short, for members of one machine: a new leader is there
	// within two seconds.
	memberTick     = 50
	memberElection = 20
	// memberPeerRead bounds what another member may take to send a request: etcd's own value.
	memberPeerRead = 5 * time.Minute
)

// Serve runs the member until ctx ends; then it returns nil.
func (m Member) Serve(ctx context.Context) error {
	if err := os.MkdirAll(m.DataDir, 0o700); err != nil {
		return err
	}
	var lc net.ListenConfig
	// With etcd's own deadlines, by which a connection that was cut is noticed.
	peer, err := transport.NewListenerWithOpts(m.Peer, "http", transport.WithTimeout(rafthttp.ConnReadTimeout, rafthttp.ConnWriteTimeout))
	if err != nil {
		return err
	}
	defer peer.Close()
	client, err := lc.Listen(ctx, "tcp", m.Client)
	if err != nil {
		return err
	}
	defer client.Close()
	end := newEnding()
	cfg, err := m.config(end)
	if err != nil {
		return err
	}
	etcd, err := newEtcd(cfg, end)
	if err != nil {
		return err
	}
	end.started.Store(true)
	// In this order: the others must reach it before it can be a member that takes part.
	etcd.Start()
	peers := &http.Server{Handler: etcdhttp.NewPeerHandler(cfg.Logger, etcd), ReadTimeout: memberPeerRead, ErrorLog: stdlog.New(io.Discard, "", 0)}
	clients := v3rpc.Server(etcd, nil, nil, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}))
	failed := make(chan error, 2)
	serve := func(what string, f func(net.Listener) error, l net.Listener) {
		go func() { failed <- fmt.Errorf("serve %s at %s: %w", what, l.Addr(), f(l)) }()
	}
	serve("members", peers.Serve, peer)
	serve("clients", clients.Serve, client)
	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	case <-etcd.StopNotify():
		err = errors.New("etcd stopped")
	}
	clients.Stop()
	etcd.Stop() // it hands its leadership over while the others still reach it
	_ = peers.Close()
	return err
}

func (m Member) config(end *ending) (config.ServerConfig, error) {
	zl := newZap(m.Logger, end)
	peers, err := types.NewURLs([]string{"http://" + m.Peer})
	if err != nil {
		return config.ServerConfig{}, err
	}
	clients, err := types.NewURLs([]string{"http://" + m.Client})
	if err != nil {
		return config.ServerConfig{}, err
	}
	all := types.URLsMap{}
	for _, c := range m.Cluster {
		name, addr, ok := strings.Cut(c, "=")
		if !ok {
			return config.ServerConfig{}, fmt.Errorf("%q is not NAME=IP:PORT", c)
		}
		if all[name], err = types.NewURLs([]string{"http://" + addr}); err != nil {
			return config.ServerConfig{}, err
		}
	}
	return config.ServerConfig{
		Name: m.Name, DataDir: m.DataDir, PeerURLs: peers, ClientURLs: clients,
		InitialPeerURLsMap: all, InitialClusterToken: "lab", NewCluster: true,
		TickMs: memberTick, ElectionTicks: memberElection, InitialElectionTickAdvance: true, PreVote: true, BootstrapTimeout: time.Second,
		SnapshotCount: etcdserver.DefaultSnapshotCount, SnapshotCatchUpEntries: etcdserver.DefaultSnapshotCatchUpEntries,
		MaxSnapFiles: 3, MaxWALFiles: 3, QuotaBackendBytes: defaultQuotaBytes,
		MaxTxnOps: clusterMaxTxnOps, MaxRequestBytes: clusterMaxRequestBytes, MaxConcurrentStreams: 1 << 10,
		WarningApplyDuration: time.Second, WarningUnaryRequestDuration: time.Second, WatchProgressNotifyInterval: 10 * time.Minute,
		BcryptCost: 10, MaxLearners: 1, Metrics: "basic", AuthToken: "simple", TokenTTL: 300,
		ServerFeatureGate: features.NewDefaultServerFeatureGate(m.Name, zl), Logger: zl,
	}, nil
}
