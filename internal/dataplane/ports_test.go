package dataplane

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestSentFrom: a port counts for the path that it was lately used on.
func TestSentFrom(t *testing.T) {
	testutil.RequireRoot(t)
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	_ = rlimit.RemoveMemlock()
	m, err := ebpf.NewMap(spec.Maps[bpfMapSentPorts])
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	local, remote := netip.MustParseAddr("200.200.0.1"), netip.MustParseAddr("200.200.0.2")
	write := func(at uint32, port uint16, tick uint64) {
		t.Helper()
		rows := make([]bpfSentPort, ebpf.MustPossibleCPU())
		rows[len(rows)-1] = bpfSentPort{Tick: tick, Local: addrRow(local), Remote: addrRow(remote), Port: port}
		if err := m.Put(at, rows); err != nil {
			t.Fatal(err)
		}
	}
	write(3, 50000, 1_000_000)
	write(255, 50001, 1_000_000-lately)
	d := &Dataplane{tables: &tables{maps: map[string]*ebpf.Map{bpfMapSentPorts: m}}}
	for _, c := range []struct {
		remote netip.Addr
		port   uint16
		want   bool
	}{{remote, 50000, true}, {remote, 50001, false}, {remote, 50002, false}, {local, 50000, false}} {
		if got, err := d.SentFrom(local, c.remote, c.port); err != nil || got != c.want {
			t.Errorf("to %s from port %d: %v, %v", c.remote, c.port, got, err)
		}
	}
}
