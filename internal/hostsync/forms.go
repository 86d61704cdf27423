package hostsync

import (
	"errors"
	"fmt"
	"iter"
	"sync"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that codec goes on with
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
)

// mostFormBytes bounds what Forms keep. A site of 50,000 ports has some 25 MB.
const mostFormBytes = 256 << 20

// Forms keep the wire form of groups that were sent whole, so that rows which many hosts want are encoded once and not
// for each host. The zero Forms are empty. A form is of the rows of one digest: of others it is made anew.
type Forms struct {
	mu   sync.Mutex
	of   map[hoststate.Group]*form
	size int // bytes
	most int // bytes; 0: mostFormBytes
}

// form is the wire form of a group's rows. Once it is made, it does not change.
type form struct {
	digest hoststate.Digest
	once   sync.Once
	chunks []chunk
	kept   int // bytes that count in Forms.size, whose mu guards it
}

// chunk are rows as fields of a pb.Delta, in bytes: chunks one after another are such fields too.
type chunk struct {
	fields []byte
	rows   int
	err    error // there is no such form: a text is not UTF-8
}

// shared tells whether several hosts may want a group, and no other group has rows with keys of its rows. Rows of
// gateway devices may move from one device's group to another's, and are put together for each host.
func shared(g hoststate.Group) bool {
	return g.Kind != hoststate.GroupHost && g.Kind != hoststate.GroupDevice
}

// whole is the form of a group's rows, which do not change meanwhile.
func (f *Forms) whole(g hoststate.Group, rows *hoststate.GroupRows) *form {
	f.mu.Lock()
	x := f.of[g]
	if x == nil || x.digest != rows.Digest {
		f.drop(g)
		x = &form{digest: rows.Digest}
		if f.of == nil {
			f.of = map[hoststate.Group]*form{}
		}
		f.of[g] = x
	}
	f.mu.Unlock()
	x.once.Do(func() {
		for c := range chunksOf(&hoststate.Delta{Set: rows.State}, partRows) {
			x.chunks = append(x.chunks, c)
		}
		f.keep(g, x)
	})
	return x
}

// keep counts a form that has been made, and drops others where there are too many.
func (f *Forms) keep(g hoststate.Group, x *form) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of[g] != x {
		return // the rows have changed since
	}
	for _, c := range x.chunks {
		x.kept += len(c.fields)
	}
	f.size += x.kept
	most := f.most
	if most == 0 {
		most = mostFormBytes
	}
	for other := range f.of {
		if f.size <= most {
			return
		}
		f.drop(other)
	}
}

// Drop lets go of the form of a group whose rows have changed.
func (f *Forms) Drop(g hoststate.Group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(g)
}

// Clear lets go of all forms: other rows may have come in their place.
func (f *Forms) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of, f.size = nil, 0
}

// drop needs mu.
func (f *Forms) drop(g hoststate.Group) {
	if x := f.of[g]; x != nil {
		f.size -= x.kept
		delete(f.of, g)
	}
}

// update is what a queue gives to be sent: a delta, and whole groups beside it of which it has no rows.
type update struct {
	hoststate.Delta
	whole []*form
}

// chunks are all that is to be sent of it, in chunks of n rows at most.
func (u *update) chunks(n int) iter.Seq[chunk] {
	return func(yield func(chunk) bool) {
		for _, f := range u.whole {
			for _, c := range f.chunks {
				if !yield(c) {
					return
				}
			}
		}
		for c := range chunksOf(&u.Delta, n) {
			if !yield(c) {
				return
			}
		}
	}
}

// frames cut an update into messages of about n rows; there is at least one. A chunk of a group is not cut.
func (u *update) frames(n int) iter.Seq2[*frame, error] {
	return func(yield func(*frame, error) bool) {
		head := &pb.Delta{Revision: u.Revision, Full: u.Full, More: true}
		for _, g := range u.Replaced {
			head.Replaced = append(head.Replaced, groupRow(g))
		}
		var waiting []chunk
		rows := 0
		for c := range u.chunks(n) {
			if rows > 0 && rows+c.rows > n {
				if !yield(newFrame(head, waiting)) {
					return
				}
				head.Replaced, waiting, rows = nil, nil, 0
			}
			waiting, rows = append(waiting, c), rows+c.rows
		}
		head.More = false
		yield(newFrame(head, waiting))
	}
}

// frame is a pb.FromController with a delta, of which the rows are encoded already.
type frame struct{ parts mem.BufferSlice }

func newFrame(head *pb.Delta, rows []chunk) (*frame, error) {
	const delta = protowire.Number(2) // in FromController
	fields, err := proto.Marshal(head)
	size := len(fields)
	for _, c := range rows {
		size, err = size+len(c.fields), errors.Join(err, c.err)
	}
	if err != nil {
		return nil, fmt.Errorf("encode a delta: %w", err)
	}
	b := protowire.AppendTag(make([]byte, 0, len(fields)+16), delta, protowire.BytesType)
	b = append(protowire.AppendVarint(b, uint64(size)), fields...)
	f := &frame{parts: append(make(mem.BufferSlice, 0, 1+len(rows)), mem.SliceBuffer(b))}
	for _, c := range rows {
		f.parts = append(f.parts, mem.SliceBuffer(c.fields))
	}
	return f, nil
}

// codec is gRPC's for protobuf, and knows frames too.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return f.parts, nil
	}
	return c.CodecV2.Marshal(v)
}
