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
	// underWay are those of transactions that may have come to their end already: the
	// hosts may have acknowledged one before its revision is known here.
	underWay map[string]int
	rescan   time.Time // zero: at once
}

// expect notes what a transaction frees if it comes to its end; conclude, that it has.
func (ts *tombstones) expect(names []string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, name := range names {
		ts.underWay[name]++
	}
}

func (ts *tombstones) conclude(names []string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, name := range names {
		if ts.underWay[name]--; ts.underWay[name] <= 0 {
			delete(ts.underWay, name)
		}
	}
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

func (ts *tombstones) forget(names []string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, name := range names {
		delete(ts.pending, name)
	}
}

// refresh looks into the index for tombstones that this process does not know: those of
// transactions that are under way; and from time to time those of other controllers, and
// of itself before it was started.
func (ts *tombstones) refresh(snap store.Snapshot, now time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	look := func(name, id string) {
		if _, known := ts.pending[name]; !known && isTombstone(snap, name, id) {
			ts.pending[name] = snap.Revision() // it went at this revision or before
		}
	}
	for name := range ts.underWay {
		if id, ok := snap.Lookup(ixKey, name); ok && len(ts.pending) < maxPending {
			look(name, id)
		}
	}
	if now.Before(ts.rescan) {
		return
	}
	for name, id := range snap.Scan(ixKey, "") {
		if len(ts.pending) >= maxPending {
			return // the rest another time, at once
		}
		look(name, id)
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
		err := s.update(ctx, func(t *tx) error {
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
		s.freed.forget(chunk)
	}
	return nil
}

// ackedByAll is the revision that every registered host has applied.
func ackedByAll(r store.Reader) int64 {
	acked := int64(1<<63 - 1)
	for h := range store.All(r, store.Hosts) {
		acked = min(acked, h.AckedRevision)
	}
	return acked
}
