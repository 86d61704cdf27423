package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/causeway-net/causeway/internal/testutil"
)

var causeway string

// TestMain lets the test binary be its own worker, as the benchmark is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		if err := worker(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(testutil.MainWithProgram(m, "github.com/causeway-net/causeway/cmd/causeway", func(path string) { causeway = path }))
}

// TestKernelVariants builds each of the kernel's dataplanes and takes each
// figure once, briefly: the yardstick itself must carry traffic.
func TestKernelVariants(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "bridge", "nft", "ping", "sysctl")
	short := durations{udp: 50 * time.Millisecond, roundTrips: 50 * time.Millisecond, bulk: 100 * time.Millisecond, warmup: 20 * time.Millisecond}
	for _, v := range []string{"K", "N", "R", "V"} {
		t.Run(v, func(t *testing.T) {
			h, err := build(v, "test-"+v)
			if h != nil {
				defer func() {
					if err := h.close(); err != nil {
						t.Error(err)
					}
				}()
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range tests {
				x, err := f.run(t.Context(), h, short)
				if err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
				if x <= 0 {
					t.Errorf("%s = %v %s", f.name, x, f.unit)
				}
			}
		})
	}
}

// TestProducts builds Causeway unloaded, as an older binary and with more of everything
// than an API's own limits let a tenant have, and takes each figure once, briefly.
func TestProducts(t *testing.T) {
	testutil.RequireRoot(t)
	testutil.RequireKernel(t, 6, 6)
	testutil.RequireTool(t, "ip", "bridge", "ping", "sysctl")
	o := options{
		rounds: 1, variants: []string{"C", "L", "O"}, binary: causeway, older: causeway, load: rows{routes: 200, macs: 40, vnis: 10}, idle: time.Millisecond,
		durations: durations{udp: 50 * time.Millisecond, roundTrips: 50 * time.Millisecond, bulk: 100 * time.Millisecond, warmup: 20 * time.Millisecond},
	}
	if err := bench(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}
