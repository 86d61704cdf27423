package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/internal/dataplane/mutation"
	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/internal/testutil"
)

func TestFlowBits(t *testing.T) {
	for n, want := range map[int]int{1: 12, 2: 12, 64: 12, 128: 11, 512: 9, 4096: 8, 8192: 8} {
		if got := flowBits(n); got != want {
			t.Errorf("%d processors: 2^%d rows each, want 2^%d", n, got, want)
		}
	}
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	if names := mapNames(spec); slices.Contains(names, bpfMapFlows) || slices.Contains(names, bpfMapFlowTags) {
		t.Error("the flows of one load of the programs would be another's")
	}
	if n := unsafe.Sizeof(bpfFlowRow{}); n != 128 {
		t.Errorf("a row has %d bytes: it is to be two cache lines", n)
	}
}

// flowLab is the host of speedState whose router has a next packet go to MAC n by neighbor.
type flowLab struct {
	d    *Dataplane
	st   hoststate.State
	env  Env
	data []byte // from port 1 by the router to 10.0.2.3
	lo   int
}

var flowTarget = hoststate.NeighborKey{Network: 2, IP: netip.MustParseAddr("10.0.2.3")}

// flowMAC is one of 256 MACs that lead to port 3.
func flowMAC(n uint64) model.MAC { return model.MAC{2, 0, 0, 0, 7, byte(n)} }

func newFlowLab(t *testing.T, cfg Config) *flowLab {
	t.Helper()
	st, env, ways := speedState(t)
	for n := range uint64(256) {
		st.FDB[hoststate.FDBKey{Network: 2, MAC: flowMAC(n)}] = hoststate.FDBEntry{Kind: hoststate.FDBPort, Port: 3}
	}
	st.Neighbors[flowTarget] = flowMAC(0)
	l := &flowLab{st: st, env: env, lo: env.Links["lo"].Index}
	for _, w := range ways {
		if w.name == "workload by router to port" {
			l.data = w.data
		}
	}
	cfg.PinDir = labPins(t)
	l.open(t, cfg)
	if err := l.d.Sync(st, env); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *flowLab) open(t *testing.T, cfg Config) {
	t.Helper()
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.d = d
	t.Cleanup(func() {
		if l.d == d {
			if err := d.Remove(); err != nil {
				t.Error(err)
			}
		}
	})
}

// delta makes the neighbor of the packets' destination MAC n.
func (l *flowLab) delta(n uint64) hoststate.Delta {
	d := hoststate.Delta{Set: hoststate.NewState()}
	d.Set.Neighbors[flowTarget] = flowMAC(n)
	l.st.Apply(d)
	return d
}

// goesTo sends a packet and tells which MAC it goes to, and whether a row of flows said so.
func (l *flowLab) goesTo(t *testing.T) (n uint64, known bool) {
	t.Helper()
	r, err := l.d.TestRun(&TestRun{Program: bpfProgFromWorkload, Ifindex: l.lo, Data: l.data, Out: make([]byte, 2048)})
	if err != nil {
		t.Fatal(err)
	}
	return uint64(r.Data[5]), r.Known
}

// mustGo sends three packets: the first is to be decided anew, and the last is not.
func (l *flowLab) mustGo(t *testing.T, what string, n uint64) {
	t.Helper()
	for turn := range 3 {
		if got, known := l.goesTo(t); got != n || turn != 1 && known != (turn > 0) {
			t.Errorf("%s, packet %d: goes to MAC %d, by a row: %v; want %d, %v", what, turn+1, got, known, n, turn > 0)
		}
	}
}

// TestFlowsForgotten: what the programs remember counts no more after each of the calls that
// change maps, also where it fails, and after a start.
func TestFlowsForgotten(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip")
	if !testutil.InNetNS(t) {
		return
	}
	stayOnOneProcessor(t)
	cfg := Config{Record: true, HashKey: 1}
	l := newFlowLab(t, cfg)
	cfg.PinDir = l.d.dir
	l.mustGo(t, "at first", 0)
	if err := l.d.Update(l.delta(1), l.st, l.env); err != nil {
		t.Fatal(err)
	}
	l.mustGo(t, "after Update", 1)
	l.delta(2)
	if err := l.d.Sync(l.st, l.env); err != nil {
		t.Fatal(err)
	}
	l.mustGo(t, "after Sync", 2)
	if err := l.d.Forget(l.st, l.env); err != nil {
		t.Fatal(err)
	}
	if n, known := l.goesTo(t); n != 2 || !known {
		t.Errorf("after a Forget of nothing: goes to MAC %d, by a row: %v; want 2, true", n, known)
	}
	// Of a port that is not there.
	if err := l.d.tables.maps[bpfMapLearned].Put(&bpfLearnedKey{Net: 2, Kind: senderMAC}, &bpfLearnedRow{Port: 99}); err != nil {
		t.Fatal(err)
	}
	if err := l.d.Forget(l.st, l.env); err != nil {
		t.Fatal(err)
	}
	l.mustGo(t, "after a Forget of a row", 2)

	// Neighbors come before routes, whose map the agent cannot write now.
	routes := l.d.tables.routes
	routes.m = brokenMap(t)
	d := l.delta(3)
	r := hoststate.RouteKey{Router: 7, Prefix: netip.MustParsePrefix("10.9.0.0/16")}
	d.Set.Routes[r] = hoststate.Route{Kind: hoststate.RouteDrop}
	l.st.Apply(d)
	if err := l.d.Update(d, l.st, l.env); err == nil {
		t.Fatal("an Update that cannot write a map succeeds")
	}
	l.mustGo(t, "after an Update that failed", 3)
	routes.m = l.d.tables.maps[bpfMapRoutes]

	// A kill after a write: nobody has raised for it. The second start begins with the
	// generation that the first one began with.
	for n := uint64(5); n < 7; n++ {
		if err := l.d.tables.load(); err != nil {
			t.Fatal(err)
		}
		if err := l.d.tables.neighbors.put(neighborKeyRow(flowTarget), bpfNeighbor{Mac: flowMAC(n)}); err != nil {
			t.Fatal(err)
		}
		old := l.d
		l.open(t, cfg)
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		l.mustGo(t, "after a start", n)
	}
}

// brokenMap is one that cannot be written.
func brokenMap(t *testing.T) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestFlowsUnderChange: no packet that comes after the end of an Update goes as the maps had it
// before, whatever a program that was under way then has remembered. To be caught at
// it, programs are slowed down before they remember.
func TestFlowsUnderChange(t *testing.T) {
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "clang-19")
	testutil.RequireCPUs(t, 2) // a program and the agent at once
	if !testutil.InNetNS(t) {
		return
	}
	const invalid = "*(volatile __u64 *)&r->generation = 0;"
	slow := filepath.Join(t.TempDir(), "slow")
	object, err := mutation.Compile(slow, "bpf", "flows.h", invalid, "for (int i = 0; i < 4000; i++)\n\t\tbpf_ktime_get_ns();\n\t"+invalid)
	if err != nil {
		t.Fatal(err)
	}
	if err := olderRow(t, object, 400); err != nil {
		t.Error(err)
	}
	const stamp = "*(volatile __u64 *)&r->generation = p->generation;"
	object, err = mutation.Compile(slow+"-stamp", slow, "flows.h", stamp, "*(volatile __u64 *)&r->generation = generation;")
	if err != nil {
		t.Fatal(err)
	}
	if olderRow(t, object, 10_000) == nil {
		t.Error("a row with the generation of when it is written is not seen to be old")
	}
}

// olderRow changes where packets go so many times, two at a time, while they are sent on another processor,
// and returns an error where one goes by what was before.
func olderRow(t *testing.T, object []byte, changes uint64) (stale error) {
	t.Helper()
	l := newFlowLab(t, Config{Object: bytes.NewReader(object)})
	defer func() {
		if err := l.d.Remove(); err != nil {
			t.Error(err)
		}
		l.d = nil
		run(t, "ip link del up0")
	}()
	var acknowledged, sent atomic.Uint64
	var stop atomic.Bool
	done := make(chan error, 1)
	program := l.d.programs[bpfProgFromWorkload]
	var all, first, last unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for i := range 1024 {
		if all.IsSet(i) {
			if first.Count() == 0 {
				first.Set(i)
			}
			last.Zero()
			last.Set(i)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &all) }()
	go func() {
		runtime.LockOSThread() // the thread ends here
		if err := unix.SchedSetaffinity(0, &last); err != nil {
			done <- err
			return
		}
		ctx, out := skbContext{Ifindex: uint32(l.lo)}, make([]byte, 2048)
		for !stop.Load() {
			least := acknowledged.Load()
			opts := ebpf.RunOptions{Data: l.data, DataOut: out, Context: &ctx}
			if _, err := program.Run(&opts); err != nil {
				done <- err
				return
			}
			// The MAC has the last byte of the number. There are never more than two unacknowledged.
			if behind := byte(least) - opts.DataOut[5]; behind > 0 && behind < 128 {
				done <- fmt.Errorf("a packet that came after change %d goes by one that was %d before", least, behind)
				return
			}
			sent.Add(1)
		}
		done <- nil
	}()
	defer func() {
		stop.Store(true)
		if err := testutil.Receive(t, "the sender's end", done); err != nil {
			stale = err
		}
	}()
	for n := uint64(1); n <= changes; n++ {
		if err := l.d.Update(l.delta(n), l.st, l.env); err != nil {
			t.Fatal(err)
		}
		acknowledged.Store(n)
		if n%2 == 0 {
			for from := sent.Load(); sent.Load() < from+3 && len(done) == 0; {
				runtime.Gosched()
			}
		}
		if len(done) > 0 {
			return nil
		}
	}
	return nil
}
