package difftest

import (
	"fmt"
	"testing"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/reason"
	"github.com/causeway-net/causeway/internal/testutil"
	"github.com/causeway-net/causeway/internal/trace"
)

// TestRateLimit is the part of the pipeline that the differential test leaves out:
// with an allowance of one error a second and router, nearly every packet that is
// due an ICMP error is dropped for its reason alone, and the limit is counted.
func TestRateLimit(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip")
	const packets = 40_000
	err := onThread(t, func() error {
		r, err := NewRunner(dataplane.Config{PinDir: pinDir(t), ICMPRate: 1, ICMPBurst: 1})
		if err != nil {
			return err
		}
		defer r.Close()
		topology, _ := stage(*flagSeed, 0)
		if err := r.d.Sync(topology.State, r.env(topology)); err != nil {
			return err
		}
		pure := topology.Env(hashKey)
		pure.Memory = r.memory
		p := trace.New(topology.State, pure).Quiet()
		r.memory.Keep(p)
		g := &gen{t: topology, underlayMAC: r.uplink}
		var slow, limited, asked uint64
		for i := range uint64(packets) {
			c := g.Case(*flagSeed, i)
			res := enter(p, c, r.uplink)
			// All of them, so that the programs learn the senders that p learns.
			got, err := r.d.TestRun(r.testRun(c))
			if err != nil {
				return err
			}
			// A router's question for a neighbor is no error. It has a time of its own,
			// and takes of the same allowance.
			if res.Reason == reason.NeighborResolving {
				asked++
				continue
			}
			if res.Verdict != trace.Slow || res.Reason == reason.None {
				continue
			}
			switch {
			case got.Reason != res.Reason:
				return fmt.Errorf("packet %d: reason %s, want %s", i, got.Reason, res.Reason)
			case trace.Verdict(got.Verdict) == trace.Slow:
				slow++
			case trace.Verdict(got.Verdict) == trace.Drop:
				limited++
			default:
				return fmt.Errorf("packet %d: verdict %s", i, trace.Verdict(got.Verdict))
			}
		}
		drops, err := r.d.Drops()
		if err != nil {
			return err
		}
		if n := drops[reason.SlowPathLimited]; n < limited || n > limited+asked {
			return fmt.Errorf("%d packets were limited and %d asked for a neighbor, and %d counted", limited, asked, n)
		}
		if slow == 0 || limited < floor {
			return fmt.Errorf("%d errors let through, %d limited: want some, and %d", slow, limited, floor)
		}
		t.Logf("%d errors let through, %d limited", slow, limited)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
