package kernel

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/causeway-net/causeway/internal/testutil"
)

// TestCheckHere: the kernel that the tests run on has everything.
func TestCheckHere(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	for _, n := range general() {
		if err := n.try(); err != nil {
			t.Errorf("%s: %v", n.what, err)
		}
	}
	if err := Check(nil); err != nil {
		t.Error(err)
	}
}

// TestProbesCanFail: flags, sizes, helpers and functions that no kernel has are found
// missing, by the same ways.
func TestProbesCanFail(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	for name, try := range map[string]func() error{
		"flag of bpf_fib_lookup":      func() error { return accepts(fibLookup(1 << 30)) },
		"flag of bpf_skb_adjust_room": func() error { return accepts(adjustRoom(-tunnelHeader, 1<<40)) },
		"size of a tunnel key":        func() error { return accepts(setTunnelKey(43)) },
		"function":                    func() error { return kfunc("bpf_no_such_function") },
	} {
		if err := try(); !errors.Is(err, errLacks) {
			t.Errorf("%s: %v, want that it is not there", name, err)
		}
	}
	spec := &ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{"hash": {Type: ebpf.Hash}},
		Programs: map[string]*ebpf.ProgramSpec{"p": {
			Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.FnSkbAdjustRoom.Call(), asm.FnGetCurrentTask.Call(), asm.FnProbeReadUser.Call(), asm.FnOverrideReturn.Call(), asm.Return()},
		}},
	}
	err := Check(spec)
	if err == nil {
		t.Fatal("nothing is missing")
	}
	if want := "bpf_override_return for programs of type SchedCLS"; !strings.Contains(err.Error(), want) {
		t.Errorf("%q is not in: %v", want, err)
	}
	for _, not := range []string{"bpf_skb_adjust_room for", "maps of type Hash", "TCX"} {
		if strings.Contains(err.Error(), not) {
			t.Errorf("%q is there, and named as missing: %v", not, err)
		}
	}
}

// TestWords: all that is missing is named at once, and what cannot be asked is an error of its
// own.
func TestWords(t *testing.T) {
	lacks := func() error { return errLacks }
	err := check([]need{{"a", lacks}, {"b", func() error { return nil }}, {"c", lacks}})
	if err == nil || !strings.Contains(err.Error(), "lacks a; c;") {
		t.Errorf("%v", err)
	}
	odd := errors.New("odd")
	if err := check([]need{{"a", func() error { return odd }}}); !errors.Is(err, odd) || !strings.Contains(err.Error(), "ask the kernel for a") {
		t.Errorf("%v", err)
	}
	if err := check(nil); err != nil {
		t.Error(err)
	}
	if got := helperName(asm.FnSkbAdjustRoom); got != "bpf_skb_adjust_room" {
		t.Error(got)
	}
}

func TestRealTime(t *testing.T) {
	for _, c := range []struct {
		version, file string
		want          bool
	}{
		{"#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-01-01)", "", false},
		{"#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-01-01)", "0\n", false},
		{"#1 SMP PREEMPT_RT Debian 6.12.9-1 (2025-01-10)", "", true},
		{"#1 SMP PREEMPT RT", "1\n", true},
	} {
		if got := realTime(c.version, c.file); got != c.want {
			t.Errorf("%q, %q: %v", c.version, c.file, got)
		}
	}
}
