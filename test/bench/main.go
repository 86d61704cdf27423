// Command bench measures Causeway beside what the kernel offers: on one machine,
// in network namespaces, in interleaved rounds, so that a slow minute of the
// machine falls on all alike. It needs root. "make bench" runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-net/causeway/test/stats"
)

type options struct {
	rounds   int
	variants []string
	binary   string
	older    string
	load     rows // of variant L
	json     string
	idle     time.Duration
	durations
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		if err := worker(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench worker:", err)
			os.Exit(1)
		}
		return
	}
	o := options{load: rows{routes: 10_000, macs: 10_000, vnis: 1_000}}
	flag.IntVar(&o.rounds, "rounds", 15, "how often each figure is taken")
	variants := flag.String("variants", "K,N,R,V,C,L", "which dataplanes, by letter")
	flag.StringVar(&o.binary, "causeway", "bin/causeway", "the binary to measure")
	flag.StringVar(&o.older, "older", "", "another binary, as variant O, to compare with")
	flag.StringVar(&o.json, "json", "bin/bench.json", "file for the results")
	flag.DurationVar(&o.idle, "idle", 30*time.Second, "how long the processes rest before their memory is read")
	flag.DurationVar(&o.udp, "udp", 1200*time.Millisecond, "length of one measurement of 64-byte UDP")
	flag.DurationVar(&o.roundTrips, "rtt", 1200*time.Millisecond, "length of one measurement of round trips")
	flag.DurationVar(&o.bulk, "bulk", 2*time.Second, "length of one measurement of bulk TCP")
	flag.DurationVar(&o.warmup, "warmup", 400*time.Millisecond, "what bulk TCP may take to find its rate")
	flag.Parse()
	o.variants = strings.Split(*variants, ",")
	if o.older != "" && !slices.Contains(o.variants, "O") {
		o.variants = append(o.variants, "O")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for network namespaces")
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	out := &output{Kernel: unix.ByteSliceToString(u.Release[:]), CPUs: runtime.NumCPU(), Rounds: o.rounds}
	built := map[string]*hosts{}
	defer func() {
		for _, h := range built {
			if h != nil {
				err = errors.Join(err, h.close())
			}
		}
	}()
	var products []*product
	for _, v := range o.variants {
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Printf("building %s\n", v)
		binary, args := o.product(v)
		if binary == "" {
			if built[v], err = build(v, v); err != nil {
				return err
			}
			continue
		}
		p, err := newProduct(ctx, binary, v, args...)
		built[v] = p.hosts
		if err != nil {
			return err
		}
		products = append(products, p)
		if v == "L" {
			if out.Loaded, err = p.load(ctx, o.load); err != nil {
				return err
			}
		}
	}
	if err := rounds(ctx, o, built, out); err != nil {
		return err
	}
	more := extras(ctx, o, products, out)
	out.compare() // what was measured is told, whatever became of the rest
	if err := errors.Join(out.print(os.Stdout), more); err != nil {
		return err
	}
	if o.json == "" {
		return nil
	}
	fmt.Printf("\nwritten to %s\n", o.json)
	return out.write(o.json)
}

// product returns the binary of a variant and its controllers' arguments. The binary is
// empty where the variant is one of the kernel's.
func (o options) product(variant string) (binary string, args []string) {
	switch variant {
	case "C":
		return o.binary, nil
	case "L":
		return o.binary, []string{"--max-routes", fmt.Sprint(maxRoutes)}
	case "O":
		return o.older, nil
	}
	return "", nil
}

// rounds takes every figure of every variant in turn. Each round starts with
// another variant, so that none always follows the same one.
func rounds(ctx context.Context, o options, built map[string]*hosts, out *output) error {
	for _, t := range tests {
		for _, v := range o.variants {
			out.Series = append(out.Series, series{Test: t.name, Variant: v, Unit: t.unit})
		}
	}
	for round := range o.rounds {
		for ti, t := range tests {
			for i := range o.variants {
				vi := (i + round) % len(o.variants)
				v := o.variants[vi]
				x, err := t.run(ctx, built[v], o.durations)
				if err != nil {
					return fmt.Errorf("%s of %s in round %d: %w", t.name, v, round+1, err)
				}
				s := &out.Series[ti*len(o.variants)+vi]
				s.Values = append(s.Values, x)
			}
		}
		fmt.Printf("round %d of %d\n", round+1, o.rounds)
	}
	for i := range out.Series {
		out.Series[i].Median = stats.Median(out.Series[i].Values)
	}
	return nil
}

// extras is what is measured of Causeway alone.
func extras(ctx context.Context, o options, products []*product, out *output) error {
	if len(products) == 0 {
		return nil
	}
	fmt.Printf("resting for %v\n", o.idle)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(o.idle):
	}
	out.Memory = map[string]float64{}
	for _, p := range products {
		if err := p.memory(out); err != nil {
			return err
		}
	}
	for _, p := range products {
		if err := p.costs(ctx, o, out); err != nil {
			return err
		}
		if err := p.propagation(ctx, out); err != nil {
			return err
		}
	}
	return firstAnswer(ctx, o.binary, out)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
