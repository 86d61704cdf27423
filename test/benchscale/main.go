// Command benchscale measures a site of a thousand hosts: a real controller with its real store, and an agent for each
// host that does everything but touch the kernel (the real client of the stream, rows, digests, a journal,
// acknowledgements), with a real agent beside them where the machine allows. "make bench-scale" runs it.
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
)

type options struct {
	binary, dir, json string
	ports, hosts      int
	whole             int // agents that keep rows
	smallPorts        int
	smallHosts        int
	rounds, changes   int // of the comparison with a small site
	count             int // changes of ports anywhere
	deletes           int
	real, journals    bool
	attacks           bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "causeway", "bin/causeway", "the binary to measure")
	flag.StringVar(&o.dir, "dir", "bin", "directory on the disk to measure on; all data goes below it and is removed at the end")
	flag.StringVar(&o.json, "json", "bin/bench-scale.json", "file for the results; empty: none")
	flag.IntVar(&o.ports, "ports", 50_000, "ports of the site")
	flag.IntVar(&o.hosts, "hosts", 1000, "hosts of the site")
	flag.IntVar(&o.whole, "whole", 100, "agents that read and keep all rows; the others read those of ports and networks, and count the rest: their decoding would be the time of all")
	flag.IntVar(&o.smallPorts, "small-ports", 1000, "ports of the small site that it is compared with; 0: no comparison")
	flag.IntVar(&o.smallHosts, "small-hosts", 10, "hosts of the small site")
	flag.IntVar(&o.rounds, "rounds", 15, "how often the two sites are compared; fewer than 6 have no interval")
	flag.IntVar(&o.changes, "changes", 20, "changes in each round of the comparison")
	flag.IntVar(&o.count, "count", 100, "changes of ports anywhere at the site, each a create and a delete")
	flag.IntVar(&o.deletes, "deletes", 5, "deletes whose writes are counted")
	flag.BoolVar(&o.real, "real", os.Geteuid() == 0, "have one real agent: it needs root and a kernel for it")
	flag.BoolVar(&o.journals, "journals", true, "have agents that keep all rows keep journals, some 3 MB each")
	flag.BoolVar(&o.attacks, "attacks", true, "have agents that do harm, and compare the others' pace")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	out, err := bench(ctx, o)
	stop()
	if err == nil && out != nil {
		if err = out.print(os.Stdout); err == nil && o.json != "" {
			fmt.Printf("\nwritten to %s\n", o.json)
			err = out.write(o.json)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-scale:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) (out *output, err error) {
	started := time.Now()
	if o.whole < 1 {
		return nil, errors.New("-whole is to be 1 at least: an agent that comes again has to have its rows")
	}
	dir, err := os.MkdirTemp(o.dir, "bench-scale-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return nil, err
	}
	d := draw(o.ports, o.hosts)
	out = &output{Law: law, Site: d.String(), CPUs: runtime.NumCPU(), Hosts: o.hosts, Ports: d.ports(), Networks: len(d.Networks), Routers: len(d.Routers), Real: o.real}
	from := 0
	if o.real {
		from = 1
	}
	s, err := newSite(ctx, o.binary, filepath.Join(dir, "large"), d, from, o.whole, o.journals)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := &runner{o: o, out: out, large: &changer{site: s}}
	err = r.run(ctx, dir)
	out.Took = time.Since(started).Seconds()
	return out, err
}
