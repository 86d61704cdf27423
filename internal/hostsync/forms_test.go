package hostsync

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

// groupOf is a network's group with so many neighbors.
func groupOf(key model.NetworkKey, neighbors int) (hoststate.Group, *hoststate.GroupRows) {
	rows := &hoststate.GroupRows{State: hoststate.NewState()}
	rows.Networks[key] = hoststate.Network{Name: fmt.Sprint(key)}
	for i := range neighbors {
		rows.Neighbors[hoststate.NeighborKey{Network: key, IP: netip.AddrFrom4([4]byte{10, byte(key), byte(i >> 8), byte(i)})}] = model.MAC{byte(i)}
	}
	g := hoststate.Group{Kind: hoststate.GroupNetwork, Key: uint32(key)}
	rows.Digest = rows.Digests()[g]
	return g, rows
}

// sourceOf are groups that do not change.
func sourceOf(gs fakeGroups) Source { return func(read func(Groups)) { read(gs) } }

// TestWholeGroups: whole groups, of any size, and changes of others come together, in parts of about as many rows as
// are asked for.
func TestWholeGroups(t *testing.T) {
	forms, gs, want := &Forms{}, fakeGroups{}, hoststate.NewState()
	q := NewQueue(sourceOf(gs), forms)
	var changes []Change
	for i, n := range []int{1, partRows, 3, 2*partRows + 5, 0, 7} {
		g, rows := groupOf(model.NetworkKey(i+1), n)
		gs[g] = rows
		want.Apply(hoststate.Delta{Set: rows.State})
		changes = append(changes, Change{Group: g})
	}
	dev := hoststate.Group{Kind: hoststate.GroupDevice, Name: "d"}
	gs[dev] = &hoststate.GroupRows{State: hoststate.State{Gateways: map[model.GatewayDeviceID]hoststate.Gateway{"d": {TunnelIP: netip.MustParseAddr("192.0.2.1")}}}}
	want.Apply(hoststate.Delta{Set: gs[dev].State})
	other := hoststate.State{Routers: map[model.RouterKey]hoststate.Router{9: {Name: "r"}}}
	want.Apply(hoststate.Delta{Set: other})
	gone := model.RouterKey(10)
	changes = append(changes, Change{Group: dev}, Change{Group: hoststate.Group{Kind: hoststate.GroupRouter, Key: 9},
		Delta: &hoststate.Delta{Set: other, Unset: hoststate.Keys{Routers: []model.RouterKey{gone}}}, Rows: 1})
	q.Push(5, changes...)

	parts := partsOf(t, q.takeOut(), partRows)
	got := hoststate.Delta{Set: hoststate.NewState()}
	for i, p := range parts {
		before := got.Set.Len() + got.Unset.Len()
		if err := decode(p, &got); err != nil {
			t.Fatal(err)
		}
		if n := got.Set.Len() + got.Unset.Len() - before; n > partRows || p.More != (i < len(parts)-1) || p.Revision != 5 || p.Full {
			t.Errorf("part %d of %d has %d rows: %d, more %v, full %v", i, len(parts), n, p.Revision, p.More, p.Full)
		}
	}
	if !got.Set.Equal(want) || len(got.Replaced) != len(gs) || len(got.Unset.Routers) != 1 {
		t.Errorf("%d groups replaced, %d rows of %d, gone %v", len(got.Replaced), got.Set.Len(), want.Len(), got.Unset.Routers)
	}
	if _, ok := q.Take(); ok {
		t.Error("something is left")
	}
}

// TestEncodedOnce: hosts share the form of a group, while its rows are the same; nobody gets an old one.
func TestEncodedOnce(t *testing.T) {
	forms, gs := &Forms{}, fakeGroups{}
	g, rows := groupOf(1, 10)
	gs[g] = rows
	take := func() (rows *byte) {
		q := NewQueue(sourceOf(gs), forms)
		q.PushAll(1)
		return &q.takeOut().whole[0].chunks[0].fields[0]
	}
	first := take()
	if take() != first {
		t.Error("a second host's rows are encoded again")
	}
	_, gs[g] = groupOf(1, 11) // without a word to the forms
	q := NewQueue(sourceOf(gs), forms)
	q.PushAll(2)
	if d, _ := q.Take(); len(d.Set.Neighbors) != 11 {
		t.Errorf("%d rows of 11: an old form", len(d.Set.Neighbors))
	}
	second := take()
	if second == first {
		t.Error("an old form")
	}
	forms.Drop(g)
	if len(forms.of) != 0 || forms.size != 0 {
		t.Errorf("%d forms, %d bytes are kept of what has changed", len(forms.of), forms.size)
	}
	take()
	if forms.Clear(); len(forms.of) != 0 || forms.size != 0 {
		t.Errorf("%d forms, %d bytes are kept of what there was before", len(forms.of), forms.size)
	}
	take() // and they can be used again
}

// TestFormsAreBounded: what is kept does not grow beyond its bound, and what is sent is whole all the same.
func TestFormsAreBounded(t *testing.T) {
	forms, gs := &Forms{most: 4000}, fakeGroups{}
	for i := range 20 {
		g, rows := groupOf(model.NetworkKey(i+1), 50)
		gs[g] = rows
	}
	var takers sync.WaitGroup
	for range 4 {
		takers.Go(func() {
			q := NewQueue(sourceOf(gs), forms)
			for rev := range int64(5) {
				q.PushAll(rev)
				if d, _ := q.Take(); d.Set.Len() != 20*51 {
					t.Errorf("%d rows of %d", d.Set.Len(), 20*51)
				}
				forms.Drop(hoststate.Group{Kind: hoststate.GroupNetwork, Key: uint32(rev)})
			}
		})
	}
	takers.Wait()
	kept := 0
	for _, x := range forms.of {
		kept += x.kept
	}
	if kept != forms.size || forms.size > forms.most || len(forms.of) == 0 {
		t.Errorf("%d forms of %d bytes, counted %d, of %d", len(forms.of), kept, forms.size, forms.most)
	}
}

// TestNoForm: a text that has no form on the wire ends the stream, and nothing else.
func TestNoForm(t *testing.T) {
	g, rows := groupOf(1, 0)
	rows.Networks[1] = hoststate.Network{Name: "\xff"}
	q := NewQueue(sourceOf(fakeGroups{g: rows}), &Forms{})
	q.PushAll(1)
	for f, err := range q.takeOut().frames(partRows) {
		if err == nil {
			t.Errorf("is sent as %v", f)
		}
	}
}

// TestRowThatMoves: a row that has moved from one device's group to another's, which is sent whole, is set and not gone.
func TestRowThatMoves(t *testing.T) {
	from, to := hoststate.Group{Kind: hoststate.GroupDevice, Name: "from"}, hoststate.Group{Kind: hoststate.GroupDevice, Name: "to"}
	k := hoststate.VNIKey{TunnelIP: netip.MustParseAddr("192.0.2.1"), VNI: 7}
	rows := &hoststate.GroupRows{State: hoststate.State{VNIs: map[hoststate.VNIKey]model.NetworkKey{k: 3}}}
	q := NewQueue(sourceOf(fakeGroups{to: rows}), &Forms{})
	q.Push(1, Change{Group: from, Delta: &hoststate.Delta{Unset: hoststate.Keys{VNIs: []hoststate.VNIKey{k}}}}, Change{Group: to})
	if d, _ := q.Take(); len(d.Unset.VNIs) != 0 || d.Set.VNIs[k] != 3 {
		t.Errorf("set %v, gone %v", d.Set.VNIs, d.Unset.VNIs)
	}
}
