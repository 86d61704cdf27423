package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	memberName = "causeway"
	// memberURL is this member's address to other members, of which there are
	// none: nothing listens on it. It is part of the member's identity.
	memberURL = "http://127.0.0.1:2380"

	// A lone member elects itself after one or two ticks.
	tickMillis    = 50
	electionTicks = 2

	// quotaReserve is what etcd's own quota, which counts free pages too, has
	// above ours: room for these and for the marks that deletions write.
	quotaReserve = 64 << 20

	// raftEntries is how many entries of the log etcd applies before it writes a
	// snapshot: what a start may have to apply again.
	raftEntries = 100
	// raftCatchUp is how many applied entries etcd keeps in memory. A member that
	// starts hands raft's committed entries to etcd at once, and counts them as
	// applied only after etcd may have dropped all but these from memory. An
	// election at that moment looks at each of them for a change of the members, and
	// ends the process if one is not there (raft's hasUnappliedConfChanges). So this
	// is more than a start can find after the last snapshot: raftEntries, and the
	// transactions of this process that were on their way meanwhile. (Only in a directory of a release
	// that wrote snapshots more rarely a first start may find more. It ends no worse than
	// with an exit, and the next one goes on.)
	raftCatchUp = raftEntries + 4*maxConcurrentCommits

	defragAtStartMB = 32
)

// server is an etcd inside this process. It has one member, no listener for
// peers, and clients call its functions.
type server struct {
	etcd   *etcdserver.EtcdServer
	client *clientv3.Client
	lock   *os.File
	grpc   []*grpc.Server
	serve  sync.WaitGroup
	disk   *disk
}

// startServer starts etcd on the data directory and waits until it answers.
func startServer(ctx context.Context, opt Options) (_ *server, err error) {
	if err := os.MkdirAll(opt.DataDir, 0o700); err != nil {
		return nil, err
	}
	sv := &server{disk: &disk{dir: opt.DataDir, log: opt.Logger}}
	if sv.lock, err = lockDir(opt.DataDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = sv.stop()
		}
	}()
	if err := formatFile(opt.DataDir); err != nil {
		return nil, err
	}
	if err := dropHalfMade(opt.DataDir); err != nil {
		return nil, err
	}
	if err := sv.disk.release(); err != nil {
		return nil, err
	}
	end := newEnding()
	cfg, err := etcdConfig(opt, newZap(opt.Logger, end))
	if err != nil {
		return nil, err
	}
	if !sv.disk.roomToCopy() {
		cfg.BootstrapDefragThresholdMegabytes = 0 // it makes a copy of the database
	}
	if sv.etcd, err = newEtcd(cfg, end); err != nil {
		return nil, damaged(opt.DataDir, err)
	}
	end.started.Store(true)
	sv.etcd.Start()
	sv.client = v3client.New(sv.etcd)
	if err := sv.ready(ctx); err != nil {
		return nil, err
	}
	if err := markMade(opt.DataDir); err != nil {
		return nil, err
	}
	if err := sv.disk.keep(); err != nil {
		opt.Logger.Warn("no room is kept back for a start on a full disk", "error", err)
	}
	if opt.ClientSocket != "" {
		if err := sv.listen(opt.ClientSocket, nil); err != nil {
			return nil, err
		}
	}
	if opt.ReadSocket {
		if err := sv.listen(readSocket(opt.DataDir), readsAlone, grpc.ChainStreamInterceptor(noStreams)); err != nil {
			opt.Logger.Warn("the state cannot be exported while this process runs", "error", err)
		}
	}
	return sv, nil
}

// etcdConfig is that of a cluster of one member, whom nobody else reaches.
func etcdConfig(opt Options, zl *zap.Logger) (config.ServerConfig, error) {
	urls, err := types.NewURLs([]string{memberURL})
	if err != nil {
		return config.ServerConfig{}, err
	}
	return config.ServerConfig{
		Name:                memberName,
		PeerURLs:            urls,
		InitialPeerURLsMap:  types.URLsMap{memberName: urls},
		InitialClusterToken: "causeway",
		NewCluster:          true,
		DataDir:             etcdDir(opt.DataDir),

		TickMs:                     tickMillis,
		ElectionTicks:              electionTicks,
		InitialElectionTickAdvance: true,
		BootstrapTimeout:           time.Second,

		SnapshotCount:          raftEntries,
		SnapshotCatchUpEntries: raftCatchUp,
		MaxSnapFiles:           3,
		MaxWALFiles:            3,

		QuotaBackendBytes:                 opt.QuotaBytes + opt.QuotaBytes/4 + quotaReserve,
		BootstrapDefragThresholdMegabytes: defragAtStartMB,
		MaxTxnOps:                         uint(opt.MaxTxnOps),
		MaxRequestBytes:                   uint(opt.MaxRequestBytes + requestOverheadReserve),
		MaxConcurrentStreams:              1 << 10,

		WarningApplyDuration:        time.Second,
		WarningUnaryRequestDuration: time.Second,
		WatchProgressNotifyInterval: 10 * time.Minute,
		BcryptCost:                  10, // etcd's default; there are no users
		MaxLearners:                 1,
		Metrics:                     "basic",
		ServerFeatureGate:           features.NewDefaultServerFeatureGate(memberName, zl),
		Logger:                      zl,
	}, nil
}

// etcd makes its write-ahead log first and writes that it is a member of its own
// cluster later. Killed in between it would wait for a leader for ever, for it
// takes itself for a member of nothing. Nothing can have been acknowledged before
// it has once answered: without the mark of that, its data is made anew.
func dropHalfMade(dir string) error {
	_, err := os.Stat(madeMark(dir))
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(etcdDir(dir)); err != nil {
		return fmt.Errorf("remove what a killed first start left: %w", err)
	}
	return nil
}

func markMade(dir string) error {
	if _, err := os.Stat(madeMark(dir)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return writeDurably(madeMark(dir), "etcd has answered from its data here\n")
}

func etcdDir(dir string) string  { return filepath.Join(dir, "etcd") }
func madeMark(dir string) string { return filepath.Join(dir, "made") }

// newEtcd makes errors of etcd's panics and last words: it has them for data that it
// cannot read, in goroutines of its own too.
func newEtcd(cfg config.ServerConfig, e *ending) (*etcdserver.EtcdServer, error) {
	type made struct {
		etcd *etcdserver.EtcdServer
		err  error
	}
	done := make(chan made, 1)
	go func() {
		var m made
		defer func() {
			if r := recover(); r != nil {
				m.err = fmt.Errorf("%v", r)
			}
			done <- m
		}()
		m.etcd, m.err = etcdserver.NewServer(cfg)
	}()
	var m made
	select {
	case m = <-done:
	case <-e.failed: // the goroutine has ended, or waits for another one that has
	}
	select {
	case <-e.failed:
		m.err = e.err
	default:
	}
	if m.err != nil {
		return nil, fmt.Errorf("start etcd: %w", m.err)
	}
	return m.etcd, nil
}

// readyTimeout is far beyond the second that an election and a long log take.
const readyTimeout = 2 * time.Minute

// ready waits until the member has elected itself and answers reads.
func (sv *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		_, err := sv.client.Get(ctx, "\x00", clientv3.WithLimit(1))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for etcd to answer: %w", err)
		}
		select {
		case <-sv.etcd.StopNotify():
			return fmt.Errorf("etcd stopped: %w", err)
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// listen answers other clients at a unix socket that only this user may open.
func (sv *server) listen(path string, which grpc.UnaryServerInterceptor, more ...grpc.ServerOption) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listen at %s: %w", path, err)
	}
	// The socket is made under a name of its own and moved when its mode is set.
	tmp := path + ".new"
	_ = os.Remove(tmp)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen at %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		_ = l.Close()
		return fmt.Errorf("listen at %s: %w", path, err)
	}
	g := v3rpc.Server(sv.etcd, nil, which, more...)
	sv.grpc = append(sv.grpc, g)
	sv.serve.Go(func() { _ = g.Serve(l) }) // ends with Stop
	return nil
}

// readSocket is where the etcd of a data directory answers reads; see Options.ReadSocket.
func readSocket(dir string) string { return filepath.Join(dir, "read.sock") }

// readsAlone lets reads of keys through and nothing else.
func readsAlone(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if info.FullMethod != "/etcdserverpb.KV/Range" {
		return nil, status.Error(codes.PermissionDenied, "this socket is for reading keys alone")
	}
	return handler(ctx, req)
}

func noStreams(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error {
	return status.Error(codes.PermissionDenied, "this socket is for reading keys alone")
}

func (sv *server) stop() error {
	var err error
	if sv.client != nil {
		if cerr := sv.client.Close(); cerr != nil && !errors.Is(cerr, context.Canceled) {
			err = fmt.Errorf("close the etcd client: %w", cerr)
		}
	}
	for _, g := range sv.grpc {
		g.Stop()
	}
	sv.serve.Wait()
	if sv.etcd != nil {
		sv.etcd.Stop()
		if sv.disk.lent.Load() {
			// The segment that etcd had ready is gone again: the next start's room.
			err = errors.Join(err, sv.disk.keep())
		}
	}
	if sv.lock != nil {
		err = errors.Join(err, sv.lock.Close())
	}
	return err
}

// heldError is a data directory that another process, with this id, uses.
type heldError struct{ pid string }

func (e *heldError) Error() string {
	return fmt.Sprintf("the data directory is in use by another process (pid %s)", e.pid)
}

// Hint is the way out.
func (e *heldError) Hint() string {
	end := "end that one first"
	if e.pid != "" { // it writes its id when it has the lock
		end += ": kill " + e.pid
	}
	return "A data directory has one controller. Give another --data-dir, or " + end + ". Packets go on meanwhile."
}

// lockDir keeps other processes, and other stores of this one, out.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(f.Name())
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &heldError{strings.TrimSpace(string(holder))}
		}
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0) // only for the message above
	}
	return f, nil
}

// formatFile guards what is beside etcd's data: a version that keeps it in
// another way is told before etcd touches it.
func formatFile(dir string) error {
	path := filepath.Join(dir, "format")
	b, err := os.ReadFile(path)
	if err == nil {
		_, err := formatKnown(strings.TrimSpace(string(b)), dirFormat)
		return err
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(etcdDir(dir)); err == nil {
		return fmt.Errorf("there is etcd data but no file %s: is this Causeway's data?", path)
	}
	return writeDurably(path, fmt.Sprintf("%d\n", dirFormat))
}

func writeDurably(path, text string) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
