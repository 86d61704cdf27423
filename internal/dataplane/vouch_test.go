package dataplane

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestVouch: what the maps say follows the setting, and where programs with maps of another layout still run, those
// are vouched for too.
func TestVouch(t *testing.T) {
	l := newLab(t, 1450, 1500)
	site := l.sites["A"]
	until := func(dir string) uint64 {
		t.Helper()
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, bpfMapVouched), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var v uint64
		if err := m.Lookup(uint32(0), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	dir := func() string {
		t.Helper()
		used, _, err := mapDirs(site.cfg.PinDir)
		if err != nil || len(used) != 1 {
			t.Fatal(used, err)
		}
		return used[0]
	}
	if v := until(dir()); v != math.MaxUint64 {
		t.Errorf("without the setting: until %d", v)
	}
	site.cfg.StopAfter = time.Hour
	l.open("A", layoutVersion)
	l.sync("A")
	first := until(dir())
	if first == 0 || first == math.MaxUint64 {
		t.Errorf("with the setting: until %d", first)
	}
	second := first
	testutil.Eventually(t, "a later time", func() bool {
		if err := site.dp.Vouch(); err != nil {
			t.Fatal(err)
		}
		second = until(dir())
		return second > first
	})
	l.exec("vA", "ping -c 1 -W 5 -q 10.0.1.3")
	l.open("A", layoutVersion)
	if v := until(dir()); v != second {
		t.Errorf("a start alone vouches until %d, and before until %d", v, second)
	}
	// A new layout: the programs that run have the maps before it until the first Sync.
	l.open("A", layoutVersion+1)
	if err := site.dp.Vouch(); err != nil {
		t.Fatal(err)
	}
	if third := until(dir()); third <= second {
		t.Errorf("the maps that are in use are vouched for until %d, and before %d", third, second)
	}
	l.sync("A")
	if err := site.dp.TestVouch(false); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the drop to be counted", func() bool {
		l.exec("vA", "ping -c 1 -W 1 -q 10.0.1.3 || true")
		n, err := site.dp.Drops()
		if err != nil {
			t.Fatal(err)
		}
		return n[reason.AgentDead] > 0
	})
	site.cfg.StopAfter = 0
	l.open("A", layoutVersion+1)
	l.exec("vA", "ping -c 1 -W 5 -q 10.0.1.3")
}
