package hostsync

import (
	"fmt"
	"hash/maphash"
	"maps"
	"sync"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
)

// Skim is for a benchmark that is many hosts on one machine, whose time their decoding would be. Of the first delta of
// each stream, its client reads the rows of ports and networks alone, and only counts the others; of later
// deltas it reads everything.
type Skim struct {
	// Digests, if not nil, has it tell what rows there were. It is for sites without gateway devices, whose rows of
	// VNIs say nothing of their group.
	Digests *RowDigests

	mu   sync.Mutex
	seen Skimmed
}

// Skimmed is what a Skim has seen.
type Skimmed struct {
	All     int64             // rows, of first deltas
	Last    int64             // of them, of the last one that was whole
	Digests hoststate.Digests // of those; nil: not known
}

// Seen is what it has seen.
func (s *Skim) Seen() Skimmed {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	seen.Digests = maps.Clone(seen.Digests)
	return seen
}

// RowDigests remember the digest of each row by what it looks like on the wire: hosts share rows.
type RowDigests struct {
	seed maphash.Seed
	mu   sync.RWMutex
	of   map[uint64]rowDigest
}

type rowDigest struct {
	group  hoststate.Group
	digest hoststate.Digest
}

// NewRowDigests knows no row yet.
func NewRowDigests() *RowDigests {
	return &RowDigests{seed: maphash.MakeSeed(), of: map[uint64]rowDigest{}}
}

// row is the digest of a row, which is a field of a pb.Delta.
func (r *RowDigests) row(field []byte) (rowDigest, error) {
	k := maphash.Bytes(r.seed, field)
	r.mu.RLock()
	x, ok := r.of[k]
	r.mu.RUnlock()
	if ok {
		return x, nil
	}
	var p pb.Delta
	d := hoststate.Delta{Set: hoststate.NewState()}
	if err := proto.Unmarshal(field, &p); err != nil {
		return x, err
	}
	if err := decode(&p, &d); err != nil {
		return x, err
	}
	for g, digest := range d.Set.Digests() {
		x = rowDigest{g, digest}
	}
	r.mu.Lock()
	r.of[k] = x
	r.mu.Unlock()
	return x, nil
}

// codec is that of one stream.
func (s *Skim) codec() encoding.CodecV2 { return &skimCodec{codec: newCodec(), of: s} }

type skimCodec struct {
	codec
	of   *Skim
	rows int64
	have hoststate.Digests
	over bool // the first delta
}

func (c *skimCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*pb.FromController)
	if !ok || c.over {
		return c.codec.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	kept, err := c.skim(buf.ReadOnlyData())
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(kept, m); err != nil {
		return err
	}
	if d := m.GetDelta(); d != nil && !d.More {
		c.over = true
		c.of.mu.Lock()
		if d.Full {
			c.of.seen.Last, c.of.seen.Digests = c.rows, c.have
		}
		c.of.mu.Unlock()
	}
	return nil
}

// Numbers of fields of pb.Delta.
const (
	portsField, networksField = 10, 11
	firstGoneField            = 30
)

// skim leaves rows out of a pb.FromController.
func (c *skimCodec) skim(m []byte) ([]byte, error) {
	num, typ, n := protowire.ConsumeTag(m)
	if num != 2 || typ != protowire.BytesType {
		return m, nil // no delta
	}
	delta, k := protowire.ConsumeBytes(m[n:])
	if k < 0 || n+k != len(m) {
		return nil, fmt.Errorf("a delta of %d bytes: %w", len(m), protowire.ParseError(k))
	}
	var kept []byte
	rows := int64(0)
	for len(delta) > 0 {
		num, _, n := protowire.ConsumeField(delta)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		field := delta[:n]
		delta = delta[n:]
		isRow := num >= portsField && num < firstGoneField
		if isRow {
			rows++
			if err := c.learn(field); err != nil {
				return nil, err
			}
		}
		if !isRow || num == portsField || num == networksField {
			kept = append(kept, field...)
		}
	}
	c.rows += rows
	c.of.mu.Lock()
	c.of.seen.All += rows
	c.of.mu.Unlock()
	b := protowire.AppendTag(make([]byte, 0, len(kept)+16), 2, protowire.BytesType)
	return protowire.AppendBytes(b, kept), nil
}

func (c *skimCodec) learn(field []byte) error {
	if c.of.Digests == nil {
		return nil
	}
	x, err := c.of.Digests.row(field)
	if err != nil {
		return err
	}
	if c.have == nil {
		c.have = hoststate.Digests{}
	}
	c.have.Add(x.group, x.digest)
	return nil
}
