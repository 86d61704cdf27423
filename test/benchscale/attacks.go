package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-net/causeway/internal/hostsync"
	"github.com/causeway-net/causeway/internal/model"
	"github.com/causeway-net/causeway/test/stats"
)

// attacks compares the pace of changes while an agent does harm with that of the same changes while it does not, in pairs.
func (r *runner) attacks(ctx context.Context) error {
	agents := r.large.fleet.having(r.large.site.made.networks[0])
	evil, err := r.large.fleet.agent(len(r.large.fleet.agents)+1, false)
	if err != nil {
		return err
	}
	evil.noWatch = true
	// The harmful host has a port on the probe network: it is one of those that changes concern.
	if _, err := r.large.client.create(ctx, "port", boundPort(r.large.site.made.networks[0], evil.name, "evil")); err != nil {
		return err
	}
	for _, x := range []struct {
		what  string
		mute  bool
		flood bool
	}{{"an agent never acknowledges", true, false}, {"an agent floods reports", false, true}} {
		var ratios []float64
		for round := range max(r.o.rounds/2, 2) {
			var median [2]float64
			for i := range 2 {
				harm := (i+round)%2 == 1
				if median[btoi(harm)], err = r.pace(ctx, evil, agents, harm && x.mute, harm && x.flood); err != nil {
					return err
				}
			}
			ratios = append(ratios, median[1]/median[0])
		}
		low, high, _ := stats.Interval(ratios)
		r.out.tell("others' pace while "+x.what, stats.Median(ratios), "times", "change acknowledged, against the same without; [%.2f, %.2f]", low, high)
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pace is the median time of changes beside an agent that may do harm.
func (r *runner) pace(ctx context.Context, evil *agent, agents int, mute, flood bool) (float64, error) {
	evil.mute = mute
	if err := evil.restart(ctx, true); err != nil {
		return 0, err
	}
	if err := evil.connected(ctx); err != nil {
		return 0, err
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		// More than the stream takes, and not more: what the flood costs its own machine is not to be measured.
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		floods := [2]hostsync.Report{flooding(0), flooding(1)}
		for n := 0; flood; n++ {
			select {
			case <-done:
				return
			case <-tick.C:
				evil.client.Report(floods[n%2])
			}
		}
	}()
	var all []float64
	for range r.o.changes {
		c, d, err := r.large.onProbe(ctx, agents)
		if err != nil {
			return 0, err
		}
		all = append(all, ms(c), ms(d))
	}
	close(done)
	<-stopped
	evil.stop()
	return stats.Median(all), nil
}

// flooding is a report with other words for many ports each time.
func flooding(n int) hostsync.Report {
	r := hostsync.Report{UnderlayMTU: 1400 + n%100}
	for i := range 1000 {
		r.Ports = append(r.Ports, hostsync.PortReport{ID: model.PortID(fmt.Sprint("port-", i)), Status: model.PortError, Reason: strings.Repeat(string(rune('a'+n%26)), 1000)})
	}
	return r
}
