package dataplane

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
)

func TestVerifier(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			n := len(ve.Log)
			for _, l := range ve.Log[max(0, n-80):] {
				fmt.Println(l)
			}
		}
		t.Fatalf("%.300v", err)
	}
	for n, p := range c.Programs {
		fmt.Println(n, p.VerifierLog)
	}
}
