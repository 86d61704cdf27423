package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/causeway-net/causeway/internal/fair"
	"github.com/causeway-net/causeway/internal/store"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/semaphore"
)

// Store implements store.Store.
type Store struct {
	opt    Options
	log    *slog.Logger
	keys   keys
	client *clientv3.Client
	server *server // nil beside a cluster

	formatRev int64 // ModRevision of the format's key
	listPage  int64 // keys of a page of a listing

	mirror   *mirror
	heads    heads
	slots    slots
	groups   groups
	lanes    *semaphore.Weighted
	lines    lines
	yielding yielding
	bulks    *fair.Gate // of operations
	maintain *maintainer

	// ctx ends when Close begins to stop the store's goroutines.
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	closing  bool
	updates  sync.WaitGroup // running Updates: they get to know their outcome
	routines sync.WaitGroup
	closed   sync.Once
	closeErr error
}

var _ store.Store = (*Store)(nil)

// Open starts or connects to etcd, checks the format of what is there and reads
// it. ctx bounds the opening alone.
func Open(ctx context.Context, opt Options) (_ *Store, err error) {
	opt, err = opt.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		opt: opt, log: opt.Logger, keys: keys{opt.Prefix},
		lanes: semaphore.NewWeighted(maxConcurrentCommits),
		bulks: newBulks(), listPage: listPage,
	}
	s.mirror = newMirror(s.keys, opt.WatchBuffer, s.yielding.asked)
	s.heads = heads{ask: s.askHead, run: s.spawn}
	s.yielding.id = newMark()
	s.slots.store = s
	s.groups.s, s.groups.patience = s, groupPatience
	s.maintain = newMaintainer(s)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	where := opt.DataDir
	if where == "" {
		where = fmt.Sprint(opt.Endpoints)
	}
	if opt.DataDir != "" {
		if s.server, err = startServer(ctx, opt); err != nil {
			return nil, fmt.Errorf("open store at %s: %w", where, err)
		}
		s.client = s.server.client
	} else if s.client, err = connect(opt); err != nil {
		return nil, fmt.Errorf("open store at %s: %w", where, err)
	}
	if err = s.openFormat(ctx); err != nil {
		return nil, fmt.Errorf("open store at %s: %w", where, err)
	}
	if err = s.reload(ctx); err != nil {
		return nil, fmt.Errorf("open store at %s: %w", where, err)
	}
	s.spawn(func() { s.feed(s.ctx) })
	s.spawn(func() { s.maintain.run(s.ctx) })
	return s, nil
}

// spawn starts a goroutine that Close waits for, unless the store is closing.
func (s *Store) spawn(fn func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.routines.Go(fn)
	return true
}

func (s *Store) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.updates.Add(1)
	return true
}

func (s *Store) end() { s.updates.Done() }

func (s *Store) open() error {
	if s.ctx.Err() != nil {
		return unavailable("StoreUnavailable", "%s", errClosed)
	}
	return nil
}

// Close implements store.Store. Transactions that were sent are waited for;
// feeds close.
func (s *Store) Close() error {
	s.closed.Do(func() {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		s.updates.Wait()
		s.mu.Lock()
		s.cancel()
		s.mu.Unlock()
		s.routines.Wait()
		s.mirror.fail(unavailable("StoreUnavailable", "%s", errClosed))
		s.closeErr = s.disconnect()
	})
	return s.closeErr
}

func (s *Store) disconnect() error {
	if s.server != nil {
		return s.server.stop()
	}
	if s.client == nil {
		return nil
	}
	s.slots.mu.Lock()
	ses := s.slots.session
	s.slots.mu.Unlock()
	if ses != nil {
		ctx, cancel := context.WithTimeout(context.Background(), s.opt.RequestTimeout)
		defer cancel()
		if _, err := s.client.Revoke(ctx, ses.lease); err != nil {
			s.log.Debug("the lease was left to expire", "error", err)
		}
	}
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close the etcd client: %w", err)
	}
	return nil
}
