package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/causeway-net/causeway/internal/hoststate"
	"github.com/causeway-net/causeway/internal/model"
)

func itoa(n int) string { return strconv.Itoa(n) }

// namespaceOfTest is a process in the test's own namespace.
func namespaceOfTest() string { return itoa(os.Getpid()) }

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	st := hoststate.NewState()
	full := hoststate.Delta{Revision: 5, Full: true, Set: hoststate.NewState()}
	addNetwork(&full.Set)
	full.Set.Gateways["gw"] = hoststate.Gateway{TunnelIP: netip.MustParseAddr("200.200.0.1"), Uplinks: []hoststate.Uplink{{Addr: netip.MustParsePrefix("10.1.0.1/24")}}}
	j := &journal{path: filepath.Join(dir, journalFile), life: "a"}
	st.Apply(full)
	if err := j.add(full, st); err != nil {
		t.Fatal(err)
	}
	d := hoststate.Delta{Revision: 6, Set: hoststate.NewState(), Unset: hoststate.Keys{Routers: []model.RouterKey{1}}}
	bind(&d.Set, 1, vm1)
	st.Apply(d)
	before, _ := os.ReadFile(j.path)
	if err := j.add(d, st); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(j.path)
	if len(after) <= len(before) || len(after) > len(before)+2000 {
		t.Errorf("a small delta made %d bytes of %d", len(after), len(before))
	}
	j.close()
	got, rev, ok, err := readJournal(dir, "a")
	if err != nil || !ok || rev != 6 || !got.Equal(st) {
		t.Errorf("read back: revision %d, %v %v, equal %v", rev, ok, err, got.Equal(st))
	}
	if _, _, ok, err := readJournal(dir, "b"); ok || err != nil {
		t.Errorf("of another life: %v %v", ok, err)
	}
	// Cut anywhere, it yields the full state, both, or nothing; never another.
	for n := range len(after) {
		if err := os.WriteFile(j.path, after[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got, rev, ok, err := readJournal(dir, "a")
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
