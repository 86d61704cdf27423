package dataplane

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/causeway-net/causeway/internal/testutil"
)

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
			t.Logf("%s: %d instructions looked at", name, n)
			if n > 500_000 {
				t.Errorf("%s is half way to the verifier's limit: %d instructions looked at", name, n)
			}
		}
		c.Close()
	}
}
