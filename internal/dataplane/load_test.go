package dataplane

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/testutil"
)

// checkDepths holds the stack that the verifier found each function to use against what
// stackOf says.
func checkDepths(t *testing.T, name string, spec *ebpf.ProgramSpec, log string) {
	t.Helper()
	_, line, ok := strings.Cut(log, "stack depth ")
	line, _, _ = strings.Cut(line, "\n")
	if !ok {
		t.Fatalf("%s: the verifier's log has no depths: %s", name, log)
	}
	var found []int
	for n := range strings.SplitSeq(line, "+") {
		d, err := strconv.Atoi(n)
		if err != nil {
			t.Fatalf("%s: depth %q of %q: %v", name, n, line, err)
		}
		found = append(found, d)
	}
	t.Logf("%s: stack of its functions %s", name, line)
	depths, _ := stackOf(spec)
	// The log has no names: the deepest of the one is held against the deepest of the other.
	own := slices.Sorted(maps.Values(depths))
	slices.Reverse(own)
	slices.Sort(found)
	slices.Reverse(found)
	for i, d := range found {
		most := 0
		if i < len(own) {
			most = (own[i] + 7) / 8 * 8
		}
		if d > most {
			t.Fatalf("%s: the verifier found stacks of %v, and the programs' text says %v", name, found, own)
		}
	}
}

// TestVerifier: the kernel takes the programs, with and without record, and the
// verifier has room to spare: its limit is a million instructions.
func TestVerifier(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	for _, record := range []uint8{0, 1} {
		spec, err := loadBpf()
		if err != nil {
			t.Fatal(err)
		}
		if err := spec.Variables[bpfVarCfgRecord].Set(record); err != nil {
			t.Fatal(err)
		}
		c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
			Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
		})
		if err != nil {
			var ve *ebpf.VerifierError
			if errors.As(err, &ve) {
				t.Log(strings.Join(ve.Log[max(0, len(ve.Log)-60):], "\n"))
			}
			t.Fatal(err)
		}
		for name, p := range c.Programs {
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			n, _ := info.VerifiedInstructions()
			code, err := info.Instructions()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, record %d: the verifier looked at %d instructions, and keeps %d", name, record, n, len(code))
			checkDepths(t, name, spec.Programs[name], p.VerifierLog)
			if n > 500_000 {
				t.Errorf("%s is half way to the verifier's limit: %d instructions looked at", name, n)
			}
		}
		c.Close()
	}
}
