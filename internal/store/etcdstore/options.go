package etcdstore

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/store"
)

const (
	// A resource with 10,000 routes is below 1 MiB; etcd itself is not made for
	// requests beyond 10 MiB.
	embeddedMaxTxnOps       = 4096
	embeddedMaxRequestBytes = 4 << 20

	// What a cluster accepts unless it was started with other values
	// (etcd --max-txn-ops, --max-request-bytes).
	clusterMaxTxnOps       = 128
	clusterMaxRequestBytes = 1536 << 10

	defaultQuotaBytes      = 2 << 30
	defaultPrefix          = "/causeway/"
	defaultHistory         = 5 * time.Minute
	defaultRequestTimeout  = 10 * time.Second
	defaultWatchBuffer     = 1024
	maxConcurrentCommits   = 32
	maxConflicts           = 1000
	conflictsBeforeAlone   = 3
	requestOverheadReserve = 4 << 10
)

// Options say where the state is. Either DataDir or Endpoints is set.
type Options struct {
	// DataDir holds the data of an etcd inside this process. It is made if it
	// does not exist and belongs to one process at a time.
	DataDir string
	// ClientSocket is the path of a unix socket at which the etcd inside this
	// process also answers other clients, which must be of the same user or
	// root; empty: none.
	ClientSocket string
	// ReadSocket says that the etcd inside this process answers reads at a unix socket in
	// DataDir, which must be of the same user or root: OpenExporter reads there what another
	// process has.
	ReadSocket bool
	// QuotaBytes bounds the database of the etcd inside this process (default
	// 2 GiB). Beyond it only transactions that delete a resource, or do nothing but
	// delete, go through.
	QuotaBytes int64

	// Endpoints are the client URLs of a cluster.
	Endpoints []string
	// TLS is for the connections to a cluster; nil: none.
	TLS                *tls.Config
	Username, Password string

	// MaxTxnOps and MaxRequestBytes are the limits of one transaction. For a
	// cluster they must not be above those of its servers (default: etcd's own
	// defaults, 128 and 1.5 MiB).
	MaxTxnOps       int
	MaxRequestBytes int

	// Migrations bring a state of an older format to the newest: the first one
	// from format 1 to 2, and so on.
	Migrations []store.Migration

	// Prefix starts all keys, default "/causeway/".
	Prefix string
	// History is how long old revisions are kept before they are compacted
	// (default 5 minutes); negative: compaction is left to others.
	History time.Duration
	// RequestTimeout bounds one exchange with etcd (default 10 s).
	RequestTimeout time.Duration
	// WatchBuffer is how many batches a watcher may lag behind before its feed
	// breaks (default 1024).
	WatchBuffer int

	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.DataDir == "" && len(o.Endpoints) == 0:
		return o, errors.New("open store: neither a data directory nor etcd endpoints are given")
	case o.DataDir != "" && len(o.Endpoints) != 0:
		return o, errors.New("open store: both a data directory and etcd endpoints are given")
	case o.DataDir == "" && o.ClientSocket != "":
		return o, errors.New("open store: a client socket needs a data directory")
	}
	ops, size := clusterMaxTxnOps, clusterMaxRequestBytes
	if o.DataDir != "" {
		ops, size = embeddedMaxTxnOps, embeddedMaxRequestBytes
	}
	if o.MaxTxnOps <= 0 {
		o.MaxTxnOps = ops
	}
	if o.MaxRequestBytes <= 0 {
		o.MaxRequestBytes = size
	}
	if o.QuotaBytes <= 0 {
		o.QuotaBytes = defaultQuotaBytes
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if !strings.HasSuffix(o.Prefix, "/") {
		o.Prefix += "/"
	}
	if o.History == 0 {
		o.History = defaultHistory
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = defaultRequestTimeout
	}
	if o.WatchBuffer <= 0 {
		o.WatchBuffer = defaultWatchBuffer
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
