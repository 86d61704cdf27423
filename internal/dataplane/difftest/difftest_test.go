package difftest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/dataplane"
	"github.com/causeway-net/causeway/internal/testutil"
)

var (
	flagSeed       = flag.Uint64("difftest.seed", 1, "seed of topologies and packets")
	flagPackets    = flag.Uint64("difftest.packets", 1_000_000, "how many packets")
	flagFollowed   = flag.Uint64("difftest.followed", 100_000, "how many packets to follow over the hosts of a site")
	flagTopologies = flag.Uint64("difftest.topologies", 24, "on how many topologies")
	flagObject     = flag.String("difftest.object", "", "compiled programs instead of the built-in ones")
	flagCoverage   = flag.Bool("difftest.coverage", false, "list how often each branch was taken")
	flagTopology   = flag.Int64("difftest.topology", -1, "only this topology …")
	flagPacket     = flag.Int64("difftest.packet", -1, "… and only this packet of it")
)

// onThread runs f on a thread that ends afterwards, with its namespace.
func onThread(t testing.TB, f func() error) (err error) {
	t.Helper()
	testutil.Wait(t, "the thread's end", func() { err = f() })
	return err
}

func TestDifferential(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip")
	t.Logf("seed %d", *flagSeed)
	err := onThread(t, func() (err error) {
		cfg := dataplane.Config{PinDir: pinDir(t)}
		if *flagObject != "" {
			b, err := os.ReadFile(*flagObject)
			if err != nil {
				return err
			}
			cfg.Object = bytes.NewReader(b)
		}
		r, err := NewRunner(cfg)
		if err != nil {
			return err
		}
		defer func() {
			if cerr := r.Close(); err == nil {
				err = cerr
			}
		}()
		if *flagTopology >= 0 && *flagPacket >= 0 {
			return r.Run(*flagSeed, uint64(*flagTopology), uint64(*flagPacket), uint64(*flagPacket)+1)
		}
		start := time.Now()
		each := *flagPackets / *flagTopologies
		for n := range *flagTopologies {
			if *flagTopology >= 0 && n != uint64(*flagTopology) {
				continue
			}
			if err := r.Run(*flagSeed, n, 0, each); err != nil {
				return err
			}
		}
		if *flagTopology < 0 {
			// A few topologies need not have everything: others are drawn until each branch was taken.
			least := floor * r.Total / 1_000_000
			const further = 4
			for n := *flagTopologies; n < further**flagTopologies && len(missing(r, least)) > 0; n++ {
				t.Logf("%d topologies: %s", n, strings.Join(missing(r, least), "; "))
				if err := r.Run(*flagSeed, n, 0, each); err != nil {
					return err
				}
			}
			checkCoverage(t, r, least)
		}
		t.Logf("%d packets, %.0f a second", r.Total, float64(r.Total)/time.Since(start).Seconds())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func pinDir(t *testing.T) string {
	dir := fmt.Sprintf("/sys/fs/bpf/causeway-difftest-%d-%d", os.Getpid(), time.Now().UnixNano())
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what a failure left
	return dir
}
