package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/causeway-net/causeway/test/stats"
)

// runner takes the figures one after the other.
type runner struct {
	o     options
	out   *output
	large *changer
}

func (r *runner) run(ctx context.Context, dir string) error {
	if err := r.cold(ctx); err != nil {
		return err
	}
	if r.o.real {
		if err := r.real(ctx); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{r.changes, r.deletes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if r.o.smallPorts > 0 {
		if err := r.against(ctx, dir); err != nil {
			return err
		}
	}
	if r.o.attacks {
		if err := r.attacks(ctx); err != nil {
			return err
		}
	}
	if err := r.reconnect(ctx); err != nil {
		return err
	}
	return r.restart(ctx)
}

// agents is how many there are without a kernel.
func (r *runner) agents() int {
	n := 0
	_ = r.large.fleet.each(func(*agent) error { n++; return nil })
	return n
}

// allConnected starts something and waits until all agents have what they are to have.
func (r *runner) allConnected(ctx context.Context, begin func() error) (took time.Duration, cpu time.Duration, err error) {
	start := time.Now()
	if err := begin(); err != nil {
		return 0, 0, err
	}
	before, err := r.large.process.CPU()
	if err != nil {
		return 0, 0, err
	}
	if err := r.large.fleet.connected(ctx); err != nil {
		return 0, 0, err
	}
	took = time.Since(start)
	after, err := r.large.process.CPU()
	return took, after - before, err
}

func (r *runner) cold(ctx context.Context) error {
	took, cpu, err := r.allConnected(ctx, func() error { return r.large.fleet.start(ctx) })
	if err != nil {
		return err
	}
	rows, have := r.large.fleet.taken()
	r.out.aim(fmt.Sprintf("all %d agents cold", r.agents()), took.Seconds(), "s", 15, "%.1f s of it the controller's processor time; %d rows; %d agents keep them, the others only count them", cpu.Seconds(), have, min(r.o.whole, r.agents()))
	r.out.tell("rows sent to cold agents, for each that they have", float64(rows)/float64(max(have, 1)), "times", "%d rows an agent", have/max(r.agents(), 1))
	return r.settle(ctx)
}

// settle waits until the store is at rest.
func (r *runner) settle(ctx context.Context) error {
	_, err := r.large.quiet(ctx, quietFor)
	return err
}

func (r *runner) real(ctx context.Context) (err error) {
	spare := r.o.count
	h, err := startReal(ctx, r.large.site, spare)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := r.settle(ctx); err != nil {
		return err
	}
	took, err := h.toMap(ctx, spare)
	if err != nil {
		return err
	}
	r.out.aim("port create -> in its host's map, p50", percentile(took, .5), "ms", 10, "a real agent, %d creates", len(took))
	r.out.aim("port create -> in its host's map, p99", percentile(took, .99), "ms", 100, "")
	resident, err := h.process.Resident()
	if err != nil {
		return err
	}
	r.out.aim("a real agent, resident", resident/1e6, "MB", 40, "%d ports on its host", r.portsOf(0))
	return nil
}

func (r *runner) portsOf(host int) (n int) {
	for _, x := range r.large.drawing.Networks {
		for _, h := range x.ports {
			if h == host {
				n++
			}
		}
	}
	return n
}

func (r *runner) changes(ctx context.Context) error {
	took, concerned, err := r.large.anywhere(ctx, r.o.count)
	if err != nil {
		return err
	}
	r.out.tell("a port's change acknowledged by all whom it concerns, p50", percentile(took, .5), "ms", "%.0f agents p50, %.0f at most", percentile(concerned, .5), percentile(concerned, 1))
	r.out.aim("a port's change acknowledged by all whom it concerns, p99", percentile(took, .99), "ms", 100, "%d creates and deletes anywhere", len(took))
	all, err := r.large.everywhere(ctx, max(5, r.o.count/5), r.agents())
	if err != nil {
		return err
	}
	r.out.aim("what touches every host acknowledged by all, p99", percentile(all, .99), "ms", 1000, "a host whose MTU on the fabric changes; p50 %.0f ms", percentile(all, .5))
	return nil
}

func (r *runner) deletes(ctx context.Context) error {
	w, err := r.large.writes(ctx, r.o.deletes)
	if err != nil {
		return err
	}
	r.out.aim("store writes that a delete makes", percentile(w, 1), "writes", 3, "most of %d deletes, one controller", len(w))
	return nil
}

func (r *runner) against(ctx context.Context, dir string) (err error) {
	d := draw(r.o.smallPorts, r.o.smallHosts)
	s, err := newSite(ctx, r.o.binary, filepath.Join(dir, "small"), d, 0, d.Hosts, r.o.journals)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.fleet.start(ctx); err != nil {
		return err
	}
	if err := s.fleet.connected(ctx); err != nil {
		return err
	}
	if _, err := s.quiet(ctx, quietFor); err != nil {
		return err
	}
	p, err := compare(ctx, r.large, &changer{site: s}, r.o.rounds, r.o.changes)
	if err != nil {
		return err
	}
	of := fmt.Sprintf("%d ports on %d hosts against %d on %d", r.out.Ports, r.o.hosts, d.ports(), d.Hosts)
	for _, x := range []struct {
		what   string
		ratios []float64
	}{{"time of a create", p.create}, {"time of a delete", p.remove}} {
		_, high, exact := stats.Interval(x.ratios)
		note := "upper end of the interval"
		if !exact {
			note = "largest: too few rounds for an interval"
		}
		r.out.aim(x.what+", large site against small", high, "times", 1.25, "%s; median %.2f; %s", note, stats.Median(x.ratios), of)
	}
	if len(p.cpu) > 0 {
		_, high, _ := stats.Interval(p.cpu)
		r.out.aim("controller's processor time of both, large against small", high, "times", 1.25, "upper end; median %.2f", stats.Median(p.cpu))
	}
	return nil
}

func (r *runner) reconnect(ctx context.Context) error {
	a := r.large.fleet.agents[len(r.large.fleet.agents)-1]
	took, bytes, rows, err := r.large.reconnects(ctx, a, 30)
	if err != nil {
		return err
	}
	if rows > 0 {
		return fmt.Errorf("an agent that came again with all that it is to have was sent %d rows", rows)
	}
	r.out.aim("an agent's reconnect with nothing changed, p50", percentile(took, .5), "ms", 5, "TLS and a synced write included; p99 %.1f ms; %d rows", percentile(took, .99), a.state.Len())
	r.out.aim("bytes of it, p50", percentile(bytes, .5), "bytes", 4096, "both ways, TLS included")
	return nil
}

func (r *runner) restart(ctx context.Context) error {
	if err := r.large.fleet.learn(ctx); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	resident, err := r.large.process.Resident()
	if err != nil {
		return err
	}
	took, cpu, err := r.allConnected(ctx, func() error {
		if err := r.large.process.Kill(); err != nil {
			return err
		}
		r.large.fleet.again()
		return r.large.startController(ctx)
	})
	if err != nil {
		return err
	}
	r.out.aim(fmt.Sprintf("all %d agents after a kill of the controller", r.agents()), took.Seconds(), "s", 15, "%.1f s of it the controller's processor time", cpu.Seconds())
	if err := r.settle(ctx); err != nil {
		return err
	}
	after, err := r.large.process.Resident()
	if err != nil {
		return err
	}
	r.out.aim("controller, resident", max(resident, after)/1e6, "MB", 1200, "before the kill %.0f MB, after it %.0f MB", resident/1e6, after/1e6)
	return r.large.fleet.each(func(a *agent) error { return a.bad })
}
