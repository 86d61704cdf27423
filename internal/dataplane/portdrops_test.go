package dataplane

import (
	"maps"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// checkPortDrops: each port with a row of ports has one of port_drops, ports that are not in the state have none but
// such that rest, and what is known of the map is what is in it.
func checkPortDrops(t *testing.T, dp *Dataplane, st hoststate.State) {
	t.Helper()
	d := dp.tables.drops
	for _, row := range dp.tables.ports.have {
		if !d.rows[row.Port] || d.resting[row.Port] {
			t.Errorf("drops of port %d are not counted: %v, resting %v", row.Port, d.rows, d.resting)
		}
	}
	for k := range d.rows {
		if _, ok := st.Ports[model.PortKey(k)]; !ok && !d.resting[k] {
			t.Errorf("port %d has gone, and its drops stay", k)
		}
	}
	now := newPortDrops(d.m)
	if err := now.load(); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(now.rows, d.rows) {
		t.Errorf("the map has rows %v, known are %v", now.rows, d.rows)
	}
}

// TestPortDropsLife: what is counted of a port lasts while its interface comes and goes, and over restarts, and goes with
// the port.
func TestPortDropsLife(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	cfg := Config{PinDir: labPins(t)}
	dp, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dp.Remove(); err != nil {
			t.Error(err)
		}
	}()
	st, none := labState(0, 1450), labState(0, 1450)
	var port model.PortKey
	for k := range st.Ports {
		port = k
	}
	delete(none.Ports, port)
	there := Env{Links: map[string]Link{st.Ports[port].Interface: {Index: 7, MTU: 1450}}}
	write := func(st hoststate.State, env Env) {
		t.Helper()
		if err := dp.Update(hoststate.Delta{Set: st, Unset: hoststate.Keys{}}, st, env); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, known, there bool, n uint64) {
		t.Helper()
		s, k, err := dp.Port(port)
		if err != nil || k != known || s.There != there || s.Drops[reason.SpoofIP] != n {
			t.Fatalf("%s: known %v, there %v, %d drops, %v", what, k, s.There, s.Drops[reason.SpoofIP], err)
		}
	}
	write(st, there)
	want("new", true, true, 0)
	counted := bpfDropCounts{}
	counted.N[reason.SpoofIP] = 5
	if err := dp.tables.drops.m.Update(uint32(port), &counted, ebpf.UpdateExist); err != nil {
		t.Fatal(err)
	}
	want("counted", true, true, 5)
	write(st, Env{})
	want("without its interface", true, false, 5)
	write(st, there)
	want("with its interface again", true, true, 5)
	if err := dp.Close(); err != nil {
		t.Fatal(err)
	}
	if dp, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	write(st, there)
	want("after a restart", true, true, 5)
	gone := hoststate.Diff(st, none)
	if err := dp.Update(gone, none, there); err != nil {
		t.Fatal(err)
	}
	want("gone", false, false, 0)
	back := hoststate.Diff(none, st)
	if err := dp.Update(back, st, there); err != nil {
		t.Fatal(err)
	}
	want("another with its key", true, true, 0)
	if err := dp.Update(gone, none, there); err != nil {
		t.Fatal(err)
	}
	if err := dp.Forget(none, there); err != nil {
		t.Fatal(err)
	}
	if n := len(dp.tables.drops.rows); n != 0 {
		t.Errorf("%d rows stay", n)
	}
	checkPortDrops(t, dp, none)
}
