package hostsync

import (
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hoststate/statetest"
	"github.com/causeway-net/causeway/internal/hostsync/pb"
)

// TestEachTableHasAWireForm and none has two.
func TestEachTableHasAWireForm(t *testing.T) {
	var names []string
	for _, w := range wires {
		names = append(names, w.name())
	}
	want := hoststate.TableNames()
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("forms of %v, tables %v", names, want)
	}
}

// overTheWire is d as the other end gets it, in parts of n rows.
func overTheWire(t *testing.T, d hoststate.Delta, n int) hoststate.Delta {
	t.Helper()
	got := hoststate.Delta{Revision: d.Revision, Full: d.Full, Set: hoststate.NewState()}
	for _, p := range partsOf(t, &update{Delta: d}, n) {
		if err := decode(p, &got); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// partsOf are the messages that an update is sent in, as the other end's codec reads them.
func partsOf(t interface {
	Helper()
	Fatal(...any)
}, u *update, n int) (parts []*pb.Delta) {
	t.Helper()
	for f, err := range u.frames(n) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := newCodec().Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var m pb.FromController
		if err := proto.Unmarshal(b.Materialize(), &m); err != nil || m.GetDelta() == nil || len(m.ProtoReflect().GetUnknown()) > 0 {
			t.Fatal(err, "is sent as", &m)
		}
		parts = append(parts, m.GetDelta())
	}
	return parts
}

// TestEachFieldArrives: a field that the wire form overlooked would be zero on the host.
func TestEachFieldArrives(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		for field, st := range statetest.EachField(r) {
			got := overTheWire(t, hoststate.Diff(st[0], st[1]), 1)
			if !got.Set.Equal(st[1]) {
				t.Errorf("%s: sent %+v, got %+v", field, st[1], got.Set)
			}
		}
	}
}

// FuzzWire: rows of every table, and keys of rows that are gone, arrive as they are.
func FuzzWire(f *testing.F) {
	f.Add(uint64(1), uint8(1))
	f.Add(uint64(2), uint8(100))
	f.Fuzz(func(t *testing.T, seed uint64, parts uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		from := statetest.Random(r, 6)
		to := statetest.Change(r, from, 3)
		st := from.Clone()
		st.Apply(overTheWire(t, hoststate.Diff(from, to), int(parts)+1))
		if !st.Equal(to) {
			t.Fatalf("%+v arrives as %+v", to, st)
		}
	})
}
