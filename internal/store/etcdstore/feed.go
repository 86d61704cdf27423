package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/causeway-net/causeway/internal/pause"
)

const (
	// listPage is large because for each page etcd walks over all keys that are left, to
	// count them: pages of 2,000 took most of the time of a start with 100,000 ports.
	listPage     = 1 << 16
	minFeedPause = 20 * time.Millisecond
	maxFeedPause = 2 * time.Second
)

var errCompacted = errors.New("the watched revision has been compacted")

// list reads all data as of one revision, which is linearizable.
func (s *Store) list(ctx context.Context) (kvs []*mvccpb.KeyValue, rev int64, err error) {
	from, end := s.keys.data(), prefixEnd(s.keys.data())
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(s.listPage)}
		if rev != 0 {
			// Not serializable: a member that has just come back may not have the revision yet.
			opts = append(opts, clientv3.WithRev(rev))
		}
		pageCtx, cancel := context.WithTimeout(ctx, s.opt.RequestTimeout)
		resp, err := s.client.Get(pageCtx, from, opts...)
		cancel()
		if err != nil {
			return nil, 0, fmt.Errorf("list %s: %w", s.keys.data(), err)
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		kvs = append(kvs, resp.Kvs...)
		if !resp.More || len(resp.Kvs) == 0 {
			return kvs, rev, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

func (s *Store) reload(ctx context.Context) error {
	kvs, rev, err := s.list(ctx)
	if err != nil {
		return err
	}
	return s.mirror.load(kvs, rev)
}

// feed keeps the mirror up to date until ctx ends. The mirror holds a listing
// when it begins.
func (s *Store) feed(ctx context.Context) {
	wait := minFeedPause
	for ctx.Err() == nil {
		before, _ := s.mirror.current()
		err := s.watch(ctx, before.rev+1)
		if ctx.Err() != nil {
			return
		}
		if after, _ := s.mirror.current(); after.rev > before.rev {
			wait = minFeedPause
		}
		switch {
		case errors.Is(err, errCompacted):
			s.log.Warn("the watch fell behind compaction; reading everything again", "revision", before.rev)
			err = s.reload(ctx)
		case errors.As(err, new(*corruptError)):
			s.mirror.fail(err)
			s.log.Error("the state cannot be read", "error", err)
			wait = maxFeedPause
			if pause.For(ctx, wait) == nil {
				err = s.reload(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("the watch of the store ended; it begins again", "error", err, "after", wait)
			_ = pause.For(ctx, wait)
			wait = min(2*wait, maxFeedPause)
		}
	}
}

// corruptError: what etcd holds cannot be decoded.
type corruptError struct{ err error }

func (e *corruptError) Error() string { return e.err.Error() }
func (e *corruptError) Unwrap() error { return e.err }

// watch applies events from rev on until the watch ends.
func (s *Store) watch(ctx context.Context, rev int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Without WithFragment a transaction's events come in one response. With a
	// leader required, a member cut off from its cluster ends the watch instead
	// of standing still, and the client goes to another.
	events := s.client.Watch(clientv3.WithRequireLeader(ctx), s.keys.data(), clientv3.WithPrefix(), clientv3.WithRev(rev))
	for resp := range events {
		if resp.CompactRevision != 0 {
			return errCompacted
		}
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch %s: %w", s.keys.data(), err)
		}
		for evs := resp.Events; len(evs) > 0; {
			n := 1
			for n < len(evs) && evs[n].Kv.ModRevision == evs[0].Kv.ModRevision {
				n++
			}
			if err := s.mirror.apply(evs[0].Kv.ModRevision, evs[:n]); err != nil {
				return &corruptError{err}
			}
			evs = evs[n:]
		}
	}
	return errors.New("the watch channel was closed")
}
