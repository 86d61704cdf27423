package difftest

import (
	"testing"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/testutil"
)

// TestFollowed: on random sites of several hosts each packet, and each copy of it, is followed over all hosts that it
// crosses. The programs of each do what its pipeline does; nothing crosses the fabric twice, and nothing is
// bridged from one tunnel into another.
func TestFollowed(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip")
	const each = 1000
	err := onThread(t, func() (err error) {
		f, err := NewFollowed(dataplane.Config{PinDir: pinDir(t)})
		if err != nil {
			return err
		}
		defer func() {
			if cerr := f.Close(); err == nil {
				err = cerr
			}
		}()
		for seed := *flagSeed; f.Total < *flagFollowed; seed++ {
			if err := f.Run(seed, each); err != nil {
				return err
			}
		}
		least := f.Total / 1000
		for _, kind := range []string{"port over the fabric", "tunnel over the fabric", "flood over the fabric", "port", "tunnel", "flood", "slow", "reply", "drop", "tagged", "tagged over the fabric"} {
			if f.Ends[kind] < least {
				t.Errorf("%s: %d of %d packets: too few to see much", kind, f.Ends[kind], f.Total)
			}
		}
		if f.Known < least {
			t.Errorf("%d of %d packets by a row of flows: too few to see much", f.Known, f.Total)
		}
		t.Log(f.Total, f.Known, f.Ends)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
