package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/causeway-net/causeway/test/stats"
)

const (
	// littlePorts is what the other site holds whose creates are compared.
	littlePorts = 1_000
	// growthRounds is how often the two sites' creates are compared.
	growthRounds = 15
	// rest is how long the large site rests before its memory is read.
	rest = 10 * time.Second
)

// own is what is measured of Causeway alone.
type own struct {
	Little int `json:"ports_little"`
	Many   int `json:"ports_many"`
	// Seconds that filling the large site took, with batches by several clients.
	Filled float64 `json:"filled_s"`
	// Create is the median of a create in each round, at the little and the large site.
	CreateLittle []float64 `json:"create_little_ms"`
	CreateMany   []float64 `json:"create_many_ms"`
	Resident     float64   `json:"resident_mb"`
	LiveHeap     float64   `json:"live_heap_mb"`
	EmptyRSS     float64   `json:"resident_empty_mb"`
}

// ownFigures fills two sites, each with one network that holds all its ports, and
// compares what a create costs there.
func ownFigures(ctx context.Context, o options, dir string, out *output) (err error) {
	sites := map[int]*controller{}
	w := own{Little: littlePorts, Many: o.many}
	for _, n := range []int{littlePorts, o.many} {
		c, err2 := startController(ctx, o.binary, filepath.Join(dir, fmt.Sprint("own-", n)), "10.0.0.0/12")
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, c.close()) }()
		sites[n] = c
		if w.EmptyRSS, err = c.process.Resident(); err != nil {
			return err
		}
		fmt.Printf("seeding Causeway with %d ports: %s\n", n, c.seeding)
		start := time.Now()
		if err := c.fill(ctx, n); err != nil {
			return fmt.Errorf("seed with %d ports: %w", n, err)
		}
		w.Filled = time.Since(start).Seconds()
		if have, err := c.count(ctx); err != nil || have != n {
			return errors.Join(fmt.Errorf("seeded %d ports instead of %d", have, n), err)
		}
	}
	if err := w.memory(ctx, sites[o.many]); err != nil {
		return err
	}
	for round := range growthRounds {
		for i := range 2 {
			n, list := littlePorts, &w.CreateLittle
			if (i+round)%2 == 1 {
				n, list = o.many, &w.CreateMany
			}
			v, err := createPort(ctx, sites[n].target, o.one/5)
			if err != nil {
				return err
			}
			*list = append(*list, v)
			if err := sites[n].deleteMade(ctx); err != nil {
				return err
			}
		}
	}
	out.Own = &w
	return nil
}

// memory reads what the large site holds after a rest.
func (w *own) memory(ctx context.Context, c *controller) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rest):
	}
	const mb = 1e6
	resident, err := c.process.Resident()
	if err != nil {
		return err
	}
	// The collector starts anew when the heap has grown by GOGC percent over what
	// was live: so what was live follows from where it will start.
	next, err := c.metric(ctx, "go_memstats_next_gc_bytes")
	if err != nil {
		return err
	}
	percent, err := c.metric(ctx, "go_gc_gogc_percent")
	if err != nil {
		return err
	}
	w.Resident, w.EmptyRSS, w.LiveHeap = resident/mb, w.EmptyRSS/mb, next/(1+percent/100)/mb
	return nil
}

// growth is the ratio of the costs, round by round.
func (w *own) growth() ratio {
	x := stats.Ratios(w.CreateMany, w.CreateLittle)
	r := ratio{Test: fmt.Sprintf("create port, %d ports there against %d", w.Many, w.Little), Median: stats.Median(x)}
	r.Low, r.High, r.Exact = stats.Interval(x)
	return r
}
