// Command benchapi measures Causeway's API beside a real Neutron: one load, both
// servers on this machine, in interleaved rounds, so that a slow minute of the
// machine falls on both alike. "make bench-api" installs what it needs and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/causeway-net/causeway/internal/store/etcdstore"
)

type options struct {
	binary  string
	older   string
	neutron string
	dir     string
	json    string
	rounds  int
	lists   int
	one     time.Duration // length of one measurement
	own     bool
	many    int // ports of the large site of Causeway's own figures
}

func main() {
	var o options
	flag.StringVar(&o.binary, "causeway", "bin/causeway", "the binary to measure")
	flag.StringVar(&o.older, "older", "", "another binary of Causeway, such as the last release's, measured beside; empty: none")
	flag.StringVar(&o.neutron, "neutron", "", "directory with the unpacked package neutron-common; empty: Causeway alone")
	flag.StringVar(&o.dir, "dir", "bin", "directory on the disk to measure on; all data goes below it and is removed at the end")
	flag.StringVar(&o.json, "json", "bin/bench-api.json", "file for the results; empty: none")
	flag.IntVar(&o.rounds, "rounds", 7, "how often each figure is taken; fewer than 6 have no interval")
	flag.IntVar(&o.lists, "lists", 6, "how often the list of 10,000 ports is taken")
	flag.DurationVar(&o.one, "one", 2500*time.Millisecond, "length of one measurement")
	flag.BoolVar(&o.own, "own", true, "take Causeway's own figures too: growth and memory")
	flag.IntVar(&o.many, "many", 100_000, "ports of the large site in Causeway's own figures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-api:", err)
		os.Exit(1)
	}
}

// What both servers hold while the figures are taken.
const (
	fewPorts  = 400
	manyPorts = 10_000
)

func bench(ctx context.Context, o options) (err error) {
	started := time.Now()
	dir, err := os.MkdirTemp(o.dir, "bench-api-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	out := &output{CPUs: runtime.NumCPU(), Rounds: o.rounds}
	if out.Disk, err = fdatasync(dir); err != nil {
		return fmt.Errorf("measure the disk: %w", err)
	}
	if err := compare(ctx, o, dir, out); err != nil {
		return err
	}
	if o.own {
		if err := ownFigures(ctx, o, dir, out); err != nil {
			return err
		}
	}
	out.Took = time.Since(started).Seconds()
	out.conclude()
	if err := out.print(os.Stdout); err != nil || o.json == "" {
		return err
	}
	fmt.Printf("\nwritten to %s\n", o.json)
	return out.write(o.json)
}

// compare takes the figures of all servers in turn. Each round starts with another
// server, so that none always follows the other.
func compare(ctx context.Context, o options, dir string, out *output) (err error) {
	c, err := startCauseway(ctx, causeway, o.binary, filepath.Join(dir, "causeway"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	bare, err := etcdstore.OpenBare(ctx, filepath.Join(dir, "bare"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.Close()) }()
	c.bare = func(ctx context.Context) error { return bare.Transact(ctx, portPuts, portCompares, portBytes) }
	targets := []*target{c}
	if o.older != "" {
		old, err := startCauseway(ctx, older, o.older, filepath.Join(dir, "older"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, old.close()) }()
		targets = append(targets, old)
	}
	if o.neutron != "" {
		n, err := startNeutron(ctx, o.neutron, filepath.Join(dir, "neutron"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, n.close()) }()
		targets = append(targets, n)
	}
	for _, t := range targets {
		fmt.Printf("seeding %s with %d ports: %s\n", t.name, fewPorts, t.seeding)
		if err := t.fill(ctx, fewPorts); err != nil {
			return fmt.Errorf("seed %s: %w", t.name, err)
		}
	}
	if err := rounds(ctx, o.rounds, o.one, targets, small, out); err != nil {
		return err
	}
	for _, t := range targets {
		fmt.Printf("seeding %s with %d ports: %s\n", t.name, manyPorts, t.seeding)
		if err := t.fill(ctx, manyPorts); err != nil {
			return fmt.Errorf("seed %s: %w", t.name, err)
		}
	}
	return rounds(ctx, o.lists, o.one, targets, large, out)
}

func rounds(ctx context.Context, count int, one time.Duration, targets []*target, tests []test, out *output) error {
	for round := range count {
		for i := range targets {
			t := targets[(i+round)%len(targets)]
			for _, x := range tests {
				value, err := x.run(ctx, t, one)
				if err != nil {
					return fmt.Errorf("%s of %s in round %d: %w", x.name, t.name, round+1, err)
				}
				if value > 0 {
					out.add(x, t.name, value)
				}
			}
		}
		fmt.Printf("round %d of %d\n", round+1, count)
	}
	return nil
}
