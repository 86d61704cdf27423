package journal

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/hoststate/statetest"
	"github.com/causeway-net/causeway/internal/model"
)

// TestJournalKeepsEveryTable: rows of each come back as they were.
func TestJournalKeepsEveryTable(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	j := &Journal{path: filepath.Join(dir, File), life: "a"}
	defer j.Close()
	st := hoststate.NewState()
	for n := range int64(20) {
		next := statetest.Random(r, 4)
		if n > 0 {
			next = statetest.Change(r, st, 2)
		}
		d := hoststate.Diff(st, next)
		d.Revision, d.Full = n+1, n == 0
		st = next
		if err := j.Add(d, st); err != nil {
			t.Fatal(err)
		}
		if got, rev, ok, err := Read(dir, "a"); err != nil || !ok || rev != n+1 || !got.Equal(st) {
			t.Fatalf("revision %d is read back as %d: %v %v", n+1, rev, ok, err)
		}
	}
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	st := hoststate.NewState()
	full := hoststate.Delta{Revision: 5, Full: true, Set: hoststate.NewState()}
	full.Set.Networks[1] = hoststate.Network{ID: "net", Name: "tenant", MTU: 1450}
	full.Set.Routers[1] = hoststate.Router{ID: "router"}
	full.Set.Gateways["gw"] = hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Uplinks: []hoststate.Uplink{{Addr: netip.MustParsePrefix("10.1.0.1/24")}}}
	j := &Journal{path: filepath.Join(dir, File), life: "a"}
	st.Apply(full)
	if err := j.Add(full, st); err != nil {
		t.Fatal(err)
	}
	d := hoststate.Delta{Revision: 6, Set: hoststate.NewState(), Unset: hoststate.Keys{Routers: []model.RouterKey{1}}}
	d.Set.Ports[1] = hoststate.Port{ID: "port-1", Network: 1, Interface: "vm1", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.3")}, PortSecurity: true}
	st.Apply(d)
	before, _ := os.ReadFile(j.path)
	if err := j.Add(d, st); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(j.path)
	if len(after) <= len(before) || len(after) > len(before)+2000 {
		t.Errorf("a small delta made %d bytes of %d", len(after), len(before))
	}
	j.Close()
	got, rev, ok, err := Read(dir, "a")
	if err != nil || !ok || rev != 6 || !got.Equal(st) {
		t.Errorf("read back: revision %d, %v %v, equal %v", rev, ok, err, got.Equal(st))
	}
	if _, _, ok, err := Read(dir, "b"); ok || err != nil {
		t.Errorf("of another life: %v %v", ok, err)
	}
	// Cut anywhere, it yields the full state, both, or nothing; never another.
	for n := range len(after) {
		if err := os.WriteFile(j.path, after[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got, rev, ok, err := Read(dir, "a")
		switch {
		case err != nil:
			t.Fatalf("cut at %d: %v", n, err)
		case !ok:
		case rev == 5 && got.Equal(full.Set):
		case rev == 6 && got.Equal(st):
		default:
			t.Fatalf("cut at %d: revision %d and another state", n, rev)
		}
	}
}
