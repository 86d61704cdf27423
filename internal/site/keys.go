package site

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

const (
	// keyProbes bounds the random search for a free key. The space has 2^24
	// keys; at a million in use all probes fail once in 2^128.
	keyProbes = 32
	// reclaimChunk bounds the writes of one reclaiming transaction.
	reclaimChunk = 100
	// rescanAfter is how long keys that another controller freed may lie idle.
	rescanAfter = 10 * time.Minute
	// maxPending bounds what is remembered of freed keys; beyond it, they are
	// found by reading the index again.
	maxPending = 10_000
)

func keyName(kind store.Kind, n uint32) string {
	return string(kind) + "/" + strconv.FormatUint(uint64(n), 10)
}

// newKey draws a key at random: two writers seldom draw the same one, so that
// they seldom have to run again.
func (t *tx) newKey(kind store.Kind, id string) (uint32, error) {
	for range keyProbes {
		n := 1 + rand.Uint32N(model.MaxKey)
		name := keyName(kind, n)
		if _, taken := t.Lookup(ixKey, name); !taken {
			t.SetIndex(ixKey, name, id)
			return n, nil
		}
	}
	return 0, model.Errf(model.KindUnavailable, "ServiceUnavailable", "no free key for a new %s was found", kind)
}

// freeKey notes that a key's resource goes. The key's entry stays and names a
// resource that is gone: a tombstone, which keeps the key from being given out
// before every host has acknowledged. Nothing is written for it, so that deletions
// only delete, which a full store still takes.
func (t *tx) freeKey(kind store.Kind, n uint32) { t.freed = append(t.freed, keyName(kind, n)) }

// tombstones remembers which keys wait for the hosts, each with the revision at or
// before which its resource went. It is a cache: reading the index finds them all.
type tombstones struct {
	mu      sync.Mutex
	pending map[string]int64
	rescan  time.Time // zero: at once
}

// Freed tells of a transaction's changes, of whichever process, before any host can have
// acknowledged them: of the keys whose resources have gone.
func (s *Site) Freed(b store.Batch) {
	var names []string
	for _, c := range b.Changes {
		if c.Object != nil {
			continue
		}
		switch o := c.Old.(type) {
		case *model.Network:
			names = append(names, keyName(c.Kind, uint32(o.Key)))
		case *model.Port:
			names = append(names, keyName(c.Kind, uint32(o.Key)))
		case *model.Router:
			names = append(names, keyName(c.Kind, uint32(o.Key)))
		}
	}
	s.freed.add(names, b.Revision)
}

// wait tells whether keys wait for the hosts, or may.
func (ts *tombstones) wait(now time.Time) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return len(ts.pending) > 0 || !now.Before(ts.rescan)
}

func (ts *tombstones) add(names []string, revision int64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, name := range names {
		if len(ts.pending) >= maxPending {
			ts.rescan = time.Time{}
			return
		}
		ts.pending[name] = revision
	}
}

// between lists what was freed after one revision and at or before another.
func (ts *tombstones) between(after, revision int64) []string {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var out []string
	for name, freed := range ts.pending {
		if after < freed && freed <= revision {
			out = append(out, name)
		}
	}
	return out
}

// last is the revision at which the last of them was freed.
func (ts *tombstones) last(names []string) (revision int64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, name := range names {
		revision = max(revision, ts.pending[name])
	}
	return revision
}

func (ts *tombstones) forget(names []string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, name := range names {
		delete(ts.pending, name)
	}
}

// refresh looks from time to time into the index for tombstones that this process does
// not know: of those that there were before it was started, and of those that it had no room for.
func (ts *tombstones) refresh(snap store.Snapshot, now time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if now.Before(ts.rescan) {
		return
	}
	for name, id := range snap.Scan(ixKey, "") {
		if len(ts.pending) >= maxPending {
			return // the rest another time, at once
		}
		if _, known := ts.pending[name]; !known && isTombstone(snap, name, id) {
			ts.pending[name] = snap.Revision() // it went at this revision or before
		}
	}
	ts.rescan = now.Add(rescanAfter)
}

// isTombstone tells whether the entry of a key names a resource that is gone.
func isTombstone(r store.Reader, name, id string) bool {
	kind, _, _ := strings.Cut(name, "/")
	return r.Get(store.Kind(kind), id) == nil
}

// ReclaimKeys gives freed keys back that every registered host has acknowledged.
func (s *Site) ReclaimKeys(ctx context.Context) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	s.freed.refresh(snap, s.now())
	freed := s.freed.between(-1, ackedByAll(snap))
	for len(freed) > 0 {
		chunk := freed[:min(len(freed), reclaimChunk)]
		freed = freed[len(chunk):]
		last := s.freed.last(chunk)
		held := false
		err := s.update(ctx, func(t *tx) error {
			if held = ackedByAll(t) < last; held {
				return nil // a host has come meanwhile that has not passed
			}
			for _, name := range chunk {
				if id, ok := t.Lookup(ixKey, name); ok && isTombstone(t, name, id) {
					t.DeleteIndex(ixKey, name)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("reclaim keys: %w", err)
		}
		if held {
			return nil
		}
		s.freed.forget(chunk)
	}
	return nil
}
