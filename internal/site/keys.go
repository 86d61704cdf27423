package site

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/store"
)

// keyFreed stands in ixKey for a key whose resource is gone but which some host
// may still have in its maps.
const keyFreed = "-"

const (
	// keyProbes bounds the random search for a free key. The space has 2^24
	// keys; at a million in use all probes fail once in 2^128.
	keyProbes = 32
	// reclaimChunk bounds the writes of one reclaiming transaction.
	reclaimChunk = 50
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

// freeKey leaves a tombstone: the key is not given out before every host has
// acknowledged that its resource is gone.
func (t *tx) freeKey(kind store.Kind, n uint32) {
	name := keyName(kind, n)
	t.SetIndex(ixKey, name, keyFreed)
	t.SetIndex(ixFreed, name, "")
}

// ReclaimKeys gives freed keys back that every registered host has acknowledged.
//
// A transaction does not know its own revision, so a tombstone starts without
// one; whoever sees it first in a snapshot knows that it was freed at or before
// that snapshot's revision, and writes that down.
func (s *Site) ReclaimKeys(ctx context.Context) error {
	snap, err := s.st.View(ctx)
	if err != nil {
		return err
	}
	acked := ackedByAll(snap)
	type tombstone struct{ name, value, next string } // next "": gone
	var todo []tombstone
	for name, value := range snap.Scan(ixFreed, "") {
		freedBy := freedRevision(value, snap.Revision())
		switch {
		case freedBy <= acked:
			todo = append(todo, tombstone{name: name, value: value})
		case value == "":
			todo = append(todo, tombstone{name, value, strconv.FormatInt(freedBy, 10)})
		}
	}
	for len(todo) > 0 {
		chunk := todo[:min(len(todo), reclaimChunk)]
		todo = todo[len(chunk):]
		err := s.update(ctx, func(t *tx) error {
			for _, ts := range chunk {
				if v, ok := t.Lookup(ixFreed, ts.name); !ok || v != ts.value {
					continue // another controller was faster
				}
				if ts.next != "" {
					t.SetIndex(ixFreed, ts.name, ts.next)
					continue
				}
				t.DeleteIndex(ixFreed, ts.name)
				t.DeleteIndex(ixKey, ts.name)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("reclaim keys: %w", err)
		}
	}
	return nil
}

// freedRevision reads a tombstone: the revision by which the key was free; seen
// is that of the snapshot in which it was read.
func freedRevision(value string, seen int64) int64 {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		return n
	}
	return seen
}

// ackedByAll is the revision that every registered host has applied.
func ackedByAll(r store.Reader) int64 {
	acked := int64(1<<63 - 1)
	for h := range store.All[model.Host](r, store.Hosts) {
		acked = min(acked, h.AckedRevision)
	}
	return acked
}
